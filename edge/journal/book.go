package journal

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"steelyard/internal/chain"
	"steelyard/internal/wire"
)

// book is one journal id: its segments, its newest entry, its receipt. The journal that is written
// and the older ones beside it are read through the same code.
type book struct {
	disk       filesystem
	log        *slog.Logger
	dir        string
	id         string
	stream     wire.Stream
	generation uint64 // 0: no header was readable

	mu       sync.Mutex  // held for the fields below, never while reading or writing a disk
	segments []*segment  // in the order of their numbers
	last     chain.Link  // the newest durable entry; N 0 before the first
	ending   string      // why nothing may be appended any more; empty: it may
	cut      bool        // an unfinished write was cut off at the end
	suspect  DamageError // bytes at the end that may have been acknowledged; Bytes 0: none
	newest   *segment    // where last was found; never changes after loading
	damage   []DamageError
	fresh    fresh
	keep     stub

	receipts sync.Mutex // held while a receipt is checked and saved
}

// segment is one file of a book. Its fields are guarded by the book's mu, except those that never
// change after it is made.
type segment struct {
	n     uint64 // never changes
	path  string // never changes
	known bool   // the header could be read; never changes
	head  header // zero when not known; never changes

	first  uint64 // number of the first entry that is or was due here
	size   int64  // bytes on the disk
	end    int64  // bytes that count
	past   uint64 // entries that count have smaller numbers; 0 for the newest segment
	marks  []place
	newest time.Time // latest time in it; zero when not looked at yet
}

// place remembers where an entry begins, so that reading need not begin at the header.
type place struct {
	n   uint64
	off int64
}

// places lie this far apart.
const places = 64 << 10

// note remembers where entry n begins. The caller holds the book's mu.
func (s *segment) note(n uint64, off int64) {
	if len(s.marks) == 0 || off >= s.marks[len(s.marks)-1].off+places {
		s.marks = append(s.marks, place{n, off})
	}
}

// near gives the last remembered place at or before entry n.
func (s *segment) near(n uint64) (p place, ok bool) {
	i, found := slices.BinarySearchFunc(s.marks, n, func(p place, n uint64) int {
		switch {
		case p.n < n:
			return -1
		case p.n > n:
			return 1
		}
		return 0
	})
	if !found {
		i--
	}
	if i < 0 {
		return p, false
	}
	return s.marks[i], true
}

// maxDamage bounds how many places of damage are kept for State.
const maxDamage = 64

// harm remembers damage and logs it, once. The caller does not hold mu.
func (b *book) harm(d DamageError) {
	b.mu.Lock()
	known := slices.Contains(b.damage, d)
	if !known && len(b.damage) < maxDamage {
		b.damage = append(b.damage, d)
	}
	b.mu.Unlock()
	if !known {
		b.log.Error("journal: "+d.Error(), "journal", d.Journal, "segment", d.Segment, "from", d.From, "to", d.To)
	}
}

// loadBook reads what a directory holds of a journal, without changing anything in it: the headers
// of all segments, and the frames of the last ones up to the newest entry. Segments before that
// are checked when they are read. nil: nothing of a journal is there.
//
// settle makes durable what is about to be shown: a killed process may have left a whole entry
// that no fsync has seen. The system's memory of those files is dropped first, because after a
// failed fsync it can hold what the medium does not.
func loadBook(disk filesystem, log *slog.Logger, dir, id string, settle bool) (*book, error) {
	names, err := disk.List(dir)
	if err != nil {
		return nil, err
	}
	b := &book{disk: disk, log: log, dir: dir, id: id, last: chain.Link{Journal: id}}
	for _, name := range names {
		if n, ok := segmentNumber(name); ok {
			b.segments = append(b.segments, &segment{n: n, path: filepath.Join(dir, name)})
		}
	}
	slices.SortFunc(b.segments, func(x, y *segment) int {
		if x.n < y.n {
			return -1
		}
		return 1
	})
	if err := b.keep.load(disk, dir, id); err != nil {
		return nil, err
	}
	for _, s := range b.segments {
		if err := s.open(disk, id); err != nil {
			return nil, fmt.Errorf("segment %012d: %w", s.n, err)
		}
		if s.known {
			b.generation, b.stream = s.head.generation, s.head.stream
		}
	}
	b.bound()
	if err := b.loadEnd(settle); err != nil {
		return nil, err
	}
	size := int64(0)
	for _, s := range b.segments {
		size += s.size
		if !s.known && s.first > 0 {
			b.harm(DamageError{Journal: id, Segment: s.n, Bytes: headerSize, Reason: Damaged})
		}
	}
	if b.last.N == 0 && !slices.ContainsFunc(b.segments, func(s *segment) bool { return s.known }) {
		if size > headerSize {
			log.Error("journal: nothing in this directory can be read any more, it is left as it is", "journal", id)
		}
		return nil, nil
	}
	return b, nil
}

// open reads the header; where it is damaged, the first sound frame says where the segment stands.
func (s *segment) open(disk filesystem, id string) error {
	f, err := disk.Open(s.path)
	if err != nil {
		return err
	}
	defer f.Close()
	if s.size, err = f.Size(); err != nil {
		return err
	}
	s.end = s.size
	buf := make([]byte, headerSize)
	got, err := readOver(f, buf, 0)
	if err != nil {
		return err
	}
	s.head, err = decodeHeader(buf[:got])
	if errors.Is(err, errVersion) {
		return err
	}
	if s.known = err == nil && s.head.journal == id && s.head.segment == s.n; s.known {
		s.first = s.head.first
		return nil
	}
	s.head = header{}
	walk := frames{file: f, journal: id, end: s.end, adrift: true}
	first, _, err := walk.next()
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	s.first = first.Entry.N // 0: nothing readable
	return nil
}

// bound sets from each header how much of the segment before it counts.
func (b *book) bound() {
	past := uint64(0)
	for i, s := range slices.Backward(b.segments) {
		s.past = past
		if s.first > 0 && (past == 0 || s.first < past) {
			past = s.first
		}
		for _, later := range b.segments[i+1:] {
			if later.known && later.head.before == s.n {
				s.end = min(s.end, max(later.head.beforeBytes, headerSize))
			}
		}
	}
}

// loadEnd finds the newest entry: the last sound frame of the last segment, or what the header of a
// segment without entries says it follows.
func (b *book) loadEnd(settle bool) error {
	for _, s := range slices.Backward(b.segments) {
		found, err := b.settleEnd(s, settle)
		if err != nil {
			return fmt.Errorf("segment %012d: %w", s.n, err)
		}
		if found.N > 0 {
			b.last, b.newest = found, s
			break
		}
		if s.known {
			b.last.N, b.last.Hash, b.newest = s.head.first-1, s.head.prev, s
			break
		}
	}
	b.judge()
	return nil
}

// judge ends the book when what was lost at its end may have been acknowledged.
func (b *book) judge() {
	if d := b.suspect; d.Bytes > 0 {
		d.From = b.last.N + 1
		b.ending = fmt.Sprintf("the end of journal %s is damaged after entry %d: what stood there may have been acknowledged", b.id, b.last.N)
		b.harm(d)
	}
}

func (b *book) settleEnd(s *segment, settle bool) (last chain.Link, err error) {
	f, err := b.disk.Open(s.path)
	if err != nil {
		return last, err
	}
	defer f.Close()
	if settle {
		if err := f.Sync(); err != nil {
			return last, fmt.Errorf("sync: %w", err)
		}
		f.Forget()
	}
	return b.readEnd(s, f)
}

// readEnd reads all frames of the newest segment and judges what lies behind the last one.
func (b *book) readEnd(s *segment, f file) (last chain.Link, err error) {
	walk := s.walk(f, b.id)
	for {
		lost, good := walk.last, walk.good
		e, at, err := walk.next()
		if errors.Is(err, io.EOF) {
			return last, b.judgeTail(s, f, walk.good, last)
		}
		if err != nil {
			return last, err
		}
		b.passed(s, lost, good, e, at)
		last = e.Link()
		s.note(e.Entry.N, at)
		if e.Entry.At.After(s.newest) {
			s.newest = e.Entry.At
		}
	}
}

// walk begins at the segment's first frame. Without a header the frames are looked for from the
// first byte on.
func (s *segment) walk(f file, journal string) frames {
	walk := frames{file: f, journal: journal, end: s.end, past: s.past}
	if s.past > 0 {
		walk.end = s.size // past bounds it; a page that got in between must not push entries out
	}
	walk.adrift = !s.known
	if s.known {
		walk.off, walk.good, walk.last = headerSize, headerSize, s.head.first-1
	}
	return walk
}

// passed remembers what was stepped over between the last sound frame, which ended at good, and
// the entry at at. Numbers that are missing are named.
func (b *book) passed(s *segment, last uint64, good int64, e Stored, at int64) {
	d := DamageError{Journal: b.id, Segment: s.n, Offset: good, Bytes: at - good, Reason: Damaged}
	if e.Entry.N > last+1 && (s.known || last > 0) {
		d.From, d.To = last+1, e.Entry.N-1
	}
	if d.Bytes > 0 || d.From > 0 {
		b.harm(d)
	}
}

// judgeTail decides about the bytes behind the last sound frame of the newest segment. A cut-off
// write is cut: it was never acknowledged. Anything else may have been, and then its number is
// taken: the book is ended, and a new journal begins with a new id.
func (b *book) judgeTail(s *segment, f file, good int64, last chain.Link) error {
	if !s.known && last.N == 0 && s.size <= headerSize {
		s.end = 0 // a segment whose creation was cut off; entries come only after a whole header
		return nil
	}
	tail := make([]byte, min(s.end-good, 2*maxFrame))
	got, err := readOver(f, tail, good)
	if err != nil || got == 0 {
		return err
	}
	s.end = good
	if good < headerSize || !unfinished(tail[:got], good) {
		b.suspect = DamageError{Journal: b.id, Segment: s.n, Offset: good, Bytes: s.size - good, Reason: Damaged}
		return nil
	}
	b.cut = true
	b.log.Warn("journal: an unfinished write was cut off", "journal", b.id, "segment", s.n,
		"offset", good, "bytes", s.size-good, "last", max(last.N, max(s.first, 1)-1))
	return nil
}
