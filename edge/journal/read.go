package journal

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"time"

	"steelyard/internal/chain"
	"steelyard/internal/wire"
)

// Reasons of a DamageError, as the wire and record.Gap spell them.
const (
	Damaged = "damaged" // unreadable on the disk
	Thinned = "thinned" // dropped, to make room or because they were receipted and old
)

// DamageError names a place of a journal that can't be read, and the entries it cost.
type DamageError struct {
	Journal string
	From    uint64 // first number that is gone; 0: no entry is missing
	To      uint64 // last number that is gone; 0 after a From: not known, at the end of a journal
	Segment uint64 // where the loss shows
	Offset  int64
	Bytes   int64  // bytes stepped over there
	Reason  string // Damaged or Thinned
}

func (e *DamageError) Error() string {
	what := fmt.Sprintf("entries %d to %d are gone", e.From, e.To)
	switch {
	case e.From == 0:
		what = "no entry is missing"
	case e.To == 0:
		what = fmt.Sprintf("entries from %d on may be gone", e.From)
	case e.From == e.To:
		what = fmt.Sprintf("entry %d is gone", e.From)
	}
	if e.Reason == Thinned {
		return fmt.Sprintf("journal %s: %s: %s", e.Journal, e.Reason, what)
	}
	return fmt.Sprintf("journal %s: segment %012d: offset %d: %d bytes are damaged: %s", e.Journal, e.Segment, e.Offset, e.Bytes, what)
}

// stretch is what a reader needs of a segment, taken at one moment.
type stretch struct {
	*segment
	known bool
	end   int64
	walk  frames // without its file
}

// stretches gives the segments that hold entries after n, and the newest durable entry.
func (b *book) stretches(n uint64) (run []stretch, limit chain.Link) {
	b.mu.Lock()
	defer b.mu.Unlock()
	limit = b.last
	if n >= limit.N {
		return nil, limit
	}
	for _, s := range b.segments {
		if s.past > 0 && s.past <= n+1 {
			continue
		}
		walk := s.walk(nil, b.id)
		if walk.past == 0 {
			walk.past = limit.N + 1
		}
		known := s.known
		if p, ok := s.near(n + 1); ok {
			walk.off, walk.good, walk.last, walk.adrift, known = p.off, p.off, p.n-1, false, true
		}
		run = append(run, stretch{s, known, s.end, walk})
	}
	return run, limit
}

// after is Journal.After for one book.
func (b *book) after(n uint64) iter.Seq2[Stored, error] {
	return func(yield func(Stored, error) bool) {
		run, limit := b.stretches(n)
		r := reading{book: b, yield: yield, last: n}
		for _, part := range run {
			if !r.read(part) {
				return
			}
		}
		if n < limit.N {
			r.end(limit)
		}
	}
}

// reading hands out entries with one of delay: an entry is vouched for by the next one, whose prev
// is its hash, and the newest one by the hash in memory. So not even bytes that were altered
// together with their checksum pass for the entry.
type reading struct {
	*book
	yield   func(Stored, error) bool
	last    uint64 // number of the last entry seen, or the cursor
	pending Stored // seen, not yet vouched for; number 0: none
	from    DamageError
}

// read goes through one segment; false: the caller wants no more, or the medium failed.
func (r *reading) read(part stretch) bool {
	f, err := r.disk.Open(part.path)
	if errors.Is(err, os.ErrNotExist) {
		return true // dropped or deleted meanwhile: its numbers show as missing
	}
	if err != nil {
		r.yield(Stored{}, fmt.Errorf("journal %s: segment %012d: %w", r.id, part.n, err))
		return false
	}
	defer f.Close()
	walk := part.walk
	walk.file = f
	noted := walk.off - places
	for {
		last, good := walk.last, walk.good
		e, at, err := walk.next()
		if errors.Is(err, io.EOF) {
			r.from = DamageError{Journal: r.id, Segment: part.n, Offset: walk.good, Bytes: max(0, part.end-walk.good), Reason: Damaged}
			if part.known && r.from.Bytes > 0 {
				d := r.from
				if part.past > 0 && part.past > walk.last+1 {
					d.From, d.To = walk.last+1, part.past-1
				}
				r.harm(d)
			}
			return true
		}
		if err != nil {
			r.yield(Stored{}, fmt.Errorf("journal %s: segment %012d: offset %d: %w", r.id, part.n, walk.off, remedy(err, r.dir)))
			return false
		}
		if at >= noted+places {
			noted = at
			r.mu.Lock()
			part.note(e.Entry.N, at)
			r.mu.Unlock()
		}
		if at > good || e.Entry.N > last+1 {
			r.from = DamageError{Journal: r.id, Segment: part.n, Offset: good, Bytes: at - good, Reason: Damaged}
			if part.known {
				r.passed(part.segment, last, good, e, at)
			}
		}
		if e.Entry.N > r.last && !r.step(e) {
			return false
		}
	}
}

// step takes the next entry and hands out the one before it.
func (r *reading) step(e Stored) bool {
	if !r.vouch(e.Entry.N-1, e.Entry.Prev) || !r.missing(e.Entry.N-1) {
		return false
	}
	r.pending, r.last = e, e.Entry.N
	return true
}

// vouch hands out the pending entry. The next one says what the hash of entry n must be.
func (r *reading) vouch(n uint64, hash chain.Hash) bool {
	e := r.pending
	r.pending = Stored{}
	switch {
	case e.Entry.N == 0:
		return true
	case e.Entry.N == n && e.Hash != hash:
		d := DamageError{Journal: r.id, From: n, To: n, Segment: r.from.Segment, Reason: Damaged}
		r.harm(d)
		return r.yield(Stored{}, &d)
	}
	return r.yield(e, nil)
}

// missing names the numbers after the last one seen, up to to.
func (r *reading) missing(to uint64) bool {
	if to <= r.last {
		return true
	}
	d := r.from
	d.Journal, d.From, d.To, d.Reason = r.id, r.last+1, to, r.why(to)
	if d.Reason == Damaged {
		r.harm(d)
	}
	return r.yield(Stored{}, &d)
}

// why tells numbers that were dropped from numbers that were lost: only those below the first
// segment that is left can have been dropped, and of records only receipted ones.
func (r *reading) why(to uint64) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if to < r.first() && (r.stream == wire.Samples || to <= r.keep.High) {
		return Thinned
	}
	return Damaged
}

// end hands out the newest entry.
func (r *reading) end(limit chain.Link) {
	if r.vouch(limit.N, limit.Hash) {
		r.missing(limit.N)
	}
}

// find gives entry n, if it can be read.
func (b *book) find(n uint64) (Stored, bool) {
	for e, err := range b.after(n - 1) {
		return e, err == nil && e.Entry.N == n
	}
	return Stored{}, false
}

// latest gives the latest time in a segment; zero when none of its entries can be read. It reads
// the segment once.
func (b *book) latest(s *segment) (time.Time, error) {
	b.mu.Lock()
	newest, walk := s.newest, s.walk(nil, b.id)
	b.mu.Unlock()
	if !newest.IsZero() {
		return newest, nil
	}
	f, err := b.disk.Open(s.path)
	if err != nil {
		return newest, err
	}
	defer f.Close()
	walk.file = f
	for {
		e, _, err := walk.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return time.Time{}, err
		}
		if e.Entry.At.After(newest) {
			newest = e.Entry.At
		}
	}
	b.mu.Lock()
	s.newest = newest
	b.mu.Unlock()
	return newest, nil
}
