package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"steelyard/firmware-bridge/modbus"
)

// scan finds out which addresses of a machine answer. Most machines refuse a read as a whole when one of
// its addresses is none of theirs, so what was refused is asked again in smaller pieces.
type scan struct {
	*drafting
	master *modbus.Master
	bar    *progress
	began  time.Time
	next   time.Time // no request before
	most   map[uint8]int
	found  []*run
	absent []string // of whole tables, and why
	silent int      // reads of the present table that got no answer, though the machine is there
	quiet  int      // and of all
	asked  int
	first  modbus.Question // that was answered
}

// run is a read that the machine answers.
type run struct {
	modbus.Question
	data    []byte
	words   []uint16 // of the latest answer
	changed []bool
	at      time.Time
}

// errNoTable reports that a function brings nothing, while the machine is there.
var errNoTable = errors.New("left out")

// mostSilent is how many addresses of a table may be without an answer before it is left alone.
const mostSilent = 5

func newScan(d *drafting) (*scan, error) {
	m, err := modbus.NewMaster(modbus.MasterConfig{Link: linkText(d.line), Timeout: d.timeout})
	if err != nil {
		return nil, err
	}
	return &scan{drafting: d, master: m, began: time.Now(), bar: d.progress(d.asJSON), most: map[uint8]int{1: 1000, 2: 1000, 3: 100, 4: 100}}, nil
}

func (s *scan) close() { s.master.Close() }

// all asks every table.
func (s *scan) all(ctx context.Context) error {
	for _, t := range s.tables {
		found := len(s.found)
		s.silent = 0
		for _, span := range t.spans {
			err := s.span(ctx, t.fc, span)
			if errors.Is(err, errNoTable) {
				s.absent = append(s.absent, fmt.Sprintf("function %d: %v", t.fc, err))
				break
			}
			if err != nil {
				return err
			}
		}
		if err := s.join(ctx, found); err != nil {
			return err
		}
		answered := 0
		for _, r := range s.found[found:] {
			answered += r.Count
		}
		s.bar.clear()
		s.tell("function %d: %d %s answer", t.fc, answered, tableName(t.fc))
		if s.twin(found) {
			s.absent = append(s.absent, fmt.Sprintf("function %d: left out: the same as with function %d", t.fc, 7-t.fc))
			s.found = s.found[:found]
		}
	}
	return nil
}

// twin reports whether a table of registers is the one that was read with the other function, as of many
// machines.
func (s *scan) twin(from int) bool {
	this := s.found[from:]
	var other []*run
	for _, r := range s.found[:from] {
		if len(this) > 0 && r.FC == 7-this[0].FC && r.FC > 2 {
			other = append(other, r)
		}
	}
	all, unlike := 0, 0
	same := slices.EqualFunc(this, other, func(a, b *run) bool {
		for i := range min(a.Count, b.Count) {
			if all++; a.words[i] != b.words[i] {
				unlike++ // what counts has moved on between the two
			}
		}
		return a.From == b.From && a.Count == b.Count
	})
	return len(this) > 0 && same && unlike <= max(2, all/5)
}

// span asks a range of addresses. After a whole block was answered the next is asked whole; after an
// address that is refused the next is asked alone, and from one that answers as far as it goes.
func (s *scan) span(ctx context.Context, fc uint8, span modbus.Span) error {
	whole := true
	for at, end := span.From, span.From+span.Count; at < end; {
		most := min(s.most[fc], end-at)
		got := 0
		if whole {
			ok, err := s.try(ctx, fc, at, most)
			if err != nil {
				return err
			}
			if ok {
				got = most
			}
			most = min(s.most[fc], end-at) // the machine may take shorter reads only
		}
		if got == 0 {
			var err error
			if got, err = s.reach(ctx, fc, at, most); err != nil {
				return err
			}
		}
		whole = got > 0 && got == most
		at += max(got, 1)
	}
	return nil
}

// reach finds the longest read from an address that is answered; 0 when none is. Values of two registers
// may be had together only.
func (s *scan) reach(ctx context.Context, fc uint8, at, most int) (good int, err error) {
	try := func(n int) bool {
		if err != nil {
			return false
		}
		var ok bool
		ok, err = s.try(ctx, fc, at, n)
		return ok
	}
	if !try(1) {
		if fc > 2 && most >= 2 && try(2) {
			return 2, err
		}
		return 0, err
	}
	good = 1
	bad := most + 1
	for 2*good < bad {
		if !try(2 * good) {
			bad = 2 * good
			break
		}
		good *= 2
	}
	for good+1 < bad && err == nil {
		if half := (good + bad) / 2; try(half) {
			good = half
		} else {
			bad = half
		}
	}
	return good, err
}

// try reads, keeps what is answered in place of the shorter read from the same address, and reports whether
// it was answered.
func (s *scan) try(ctx context.Context, fc uint8, at, count int) (bool, error) {
	r, ok, err := s.read(ctx, modbus.Question{Unit: uint8(s.unit), FC: fc, From: uint16(at), Count: count})
	if err != nil || !ok {
		return false, err
	}
	if n := len(s.found) - 1; n >= 0 && s.found[n].FC == fc && s.found[n].From == r.From {
		s.found[n] = r
	} else {
		s.found = append(s.found, r)
	}
	return true, nil
}

// Exceptions that are about the moment and not about the question, and so often are they waited for.
const (
	exceptionFunction = 1
	exceptionLength   = 3
	exceptionFailure  = 4
	busyLimit         = 10
)

// read asks one question at its time. A refusal is no error; nor is silence, when the machine still answers
// what it answered before.
func (s *scan) read(ctx context.Context, q modbus.Question) (*run, bool, error) {
	for tries := 0; ; tries++ {
		if err := wait(ctx, time.Until(s.next)); err != nil {
			return nil, false, err
		}
		s.next = time.Now().Add(time.Second / time.Duration(s.rate))
		s.asked++
		s.bar.show(time.Since(s.began), 0, fmt.Sprintf("function %d at %d, %d asked", q.FC, q.From, s.asked))
		data, at, err := s.master.Read(ctx, q)
		refusal, refused := errors.AsType[modbus.Exception](err)
		switch {
		case err == nil:
			s.first = cmp.Or(s.first, q)
			words := q.Words(data)
			return &run{Question: q, data: data, words: words, changed: make([]bool, len(words)), at: at}, true, nil
		case ctx.Err() != nil:
			return nil, false, context.Cause(ctx)
		case refused && refusal.Absent():
			return nil, false, fmt.Errorf("unit %d: %w", q.Unit, err)
		case refused && refusal.Code == exceptionFunction:
			return nil, false, fmt.Errorf("%w: exception 01: the machine does not know this function", errNoTable)
		case refused && refusal.Code == exceptionLength && q.Count > 1:
			s.most[q.FC] = min(s.most[q.FC], max(1, q.Count/2))
			return nil, false, nil
		case refused && refusal.Code <= exceptionFailure:
			return nil, false, nil
		case refused && tries < busyLimit:
			if err := wait(ctx, busyPause); err != nil {
				return nil, false, err
			}
		case refused:
			return nil, false, err
		case tries >= 2 || errors.As(err, new(*modbus.OpenError)):
			return nil, false, s.lost(ctx, q, err)
		default:
			// One answer may be lost. A master leaves the unit alone for a while after the second.
			if err := wait(ctx, time.Second); err != nil {
				return nil, false, err
			}
		}
	}
}

// lost reports whether the machine is gone, or only silent about an address.
func (s *scan) lost(ctx context.Context, q modbus.Question, why error) error {
	why = s.master.Look(ctx, q, why)
	if s.first.Count == 0 || s.first == q {
		return why
	}
	for range 10 {
		if err := wait(ctx, time.Second); err != nil {
			return err
		}
		if _, _, err := s.master.Read(ctx, s.first); err != nil {
			continue
		}
		s.quiet++
		if s.silent++; s.silent >= mostSilent {
			return fmt.Errorf("%w: %w", errNoTable, why)
		}
		return nil
	}
	return why
}

// join reads neighbours with one question where the machine allows it: a value may stand in both.
func (s *scan) join(ctx context.Context, from int) error {
	for i := from; i+1 < len(s.found); {
		a, b := s.found[i], s.found[i+1]
		if int(a.From)+a.Count != int(b.From) || a.Count+b.Count > s.most[a.FC] {
			i++
			continue
		}
		q := a.Question
		q.Count += b.Count
		r, ok, err := s.read(ctx, q)
		if err != nil {
			return err
		}
		if !ok {
			i++
			continue
		}
		s.found = slices.Replace(s.found, i, i+2, r)
	}
	return nil
}

// observe reads what was found again and again, so that what changes is seen.
func (s *scan) observe(ctx context.Context, length time.Duration) error {
	var picture *screen
	if fd, ok := terminal(s.env.Stdout); ok && !s.asJSON {
		picture = &screen{out: s.output(), fd: fd}
		defer picture.leave()
	}
	s.tell("watching %s for %s: work the machine, and compare with its display", count(len(s.found), "read"), length)
	for end := time.Now().Add(length); time.Now().Before(end); {
		for i, r := range s.found {
			again, ok, err := s.read(ctx, r.Question)
			if err != nil {
				return err
			}
			if !ok {
				continue // it refuses for the moment
			}
			for n := range again.words {
				again.changed[n] = r.changed[n] || again.words[n] != r.words[n]
			}
			s.found[i] = again
		}
		if picture != nil {
			picture.draw(time.Now(), s.lines())
		} else {
			s.bar.show(length-time.Until(end), length, "watching")
		}
	}
	return nil
}

// nothing says why there is no draft.
func (s *scan) nothing() error {
	if len(s.absent) == len(s.tables) {
		return fmt.Errorf("%s: unit %d answers and has none of the tables that were asked: %v", s.line, s.unit, s.absent)
	}
	return fmt.Errorf("%s: unit %d refuses every address that was asked: try others with -range, as in -range 1000-1299,4096-4396", s.line, s.unit)
}
