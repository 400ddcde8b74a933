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

// segmentRange is what a reader needs of a segment, taken at one moment.
type segmentRange struct {
	*segment
	known bool
	end   int64
	walk  scanner // without its file
}

// segmentRanges returns the segments that hold entries after n, and the newest durable entry.
func (g *generation) segmentRanges(n uint64) (run []segmentRange, last chain.Link) {
	g.mu.Lock()
	defer g.mu.Unlock()
	last = g.last
	if n >= last.N {
		return nil, last
	}
	for _, s := range g.segments {
		if s.limit > 0 && s.limit <= n+1 {
			continue
		}
		walk := s.walk(nil, g.id)
		if walk.limit == 0 {
			walk.limit = last.N + 1
		}
		known := s.known
		if p, ok := s.lookup(n + 1); ok {
			walk.off, walk.good, walk.last, walk.resync, known = p.off, p.off, p.n-1, false, true
		}
		run = append(run, segmentRange{s, known, s.end, walk})
	}
	return run, last
}

// after is Journal.After for one generation.
func (g *generation) after(n uint64) iter.Seq2[Stored, error] {
	return func(yield func(Stored, error) bool) {
		run, last := g.segmentRanges(n)
		it := iterator{generation: g, yield: yield, last: n}
		for _, part := range run {
			if !it.read(part) {
				return
			}
		}
		if n < last.N {
			it.end(last)
		}
	}
}

// iterator hands out entries with one of delay: an entry is verified by the next one, whose prev
// is its hash, and the newest one by the hash in memory. So not even bytes that were altered
// together with their checksum pass for the entry.
type iterator struct {
	*generation
	yield   func(Stored, error) bool
	last    uint64 // number of the last entry seen, or the cursor
	pending Stored // seen, not yet verified; number 0: none
	from    DamageError
}

// read goes through one segment; false: the caller wants no more, or the medium failed.
func (it *iterator) read(part segmentRange) bool {
	f, err := it.disk.Open(part.path)
	if errors.Is(err, os.ErrNotExist) {
		return true // dropped or deleted meanwhile: its numbers show as missing
	}
	if err != nil {
		it.yield(Stored{}, fmt.Errorf("journal %s: segment %012d: %w", it.id, part.n, err))
		return false
	}
	defer f.Close()
	walk := part.walk
	walk.file = f
	noted := walk.off - indexInterval
	for {
		last, good := walk.last, walk.good
		e, at, err := walk.next()
		if errors.Is(err, io.EOF) {
			it.from = DamageError{Journal: it.id, Segment: part.n, Offset: walk.good, Bytes: max(0, part.end-walk.good), Reason: Damaged}
			if part.known && it.from.Bytes > 0 {
				d := it.from
				if part.limit > 0 && part.limit > walk.last+1 {
					d.From, d.To = walk.last+1, part.limit-1
				}
				it.recordDamage(d)
			}
			return true
		}
		if err != nil {
			it.yield(Stored{}, fmt.Errorf("journal %s: segment %012d: offset %d: %w", it.id, part.n, walk.off, remedy(err, it.dir)))
			return false
		}
		if at >= noted+indexInterval {
			noted = at
			it.mu.Lock()
			part.addIndex(e.Entry.N, at)
			it.mu.Unlock()
		}
		if at > good || e.Entry.N > last+1 {
			it.from = DamageError{Journal: it.id, Segment: part.n, Offset: good, Bytes: at - good, Reason: Damaged}
			if part.known {
				it.recordSkipped(part.segment, last, good, e, at)
			}
		}
		if e.Entry.N > it.last && !it.step(e) {
			return false
		}
	}
}

// step takes the next entry and hands out the one before it.
func (it *iterator) step(e Stored) bool {
	if !it.emitVerified(e.Entry.N-1, e.Entry.Prev) || !it.missing(e.Entry.N-1) {
		return false
	}
	it.pending, it.last = e, e.Entry.N
	return true
}

// emitVerified hands out the pending entry. The next one says what the hash of entry n must be.
func (it *iterator) emitVerified(n uint64, hash chain.Hash) bool {
	e := it.pending
	it.pending = Stored{}
	switch {
	case e.Entry.N == 0:
		return true
	case e.Entry.N == n && e.Hash != hash:
		d := DamageError{Journal: it.id, From: n, To: n, Segment: it.from.Segment, Reason: Damaged}
		it.recordDamage(d)
		return it.yield(Stored{}, &d)
	}
	return it.yield(e, nil)
}

// missing names the numbers after the last one seen, up to to.
func (it *iterator) missing(to uint64) bool {
	if to <= it.last {
		return true
	}
	d := it.from
	d.Journal, d.From, d.To, d.Reason = it.id, it.last+1, to, it.why(to)
	if d.Reason == Damaged {
		it.recordDamage(d)
	}
	return it.yield(Stored{}, &d)
}

// why tells numbers that were dropped from numbers that were lost: only those below the first
// segment that is left can have been dropped, and of records only receipted ones.
func (it *iterator) why(to uint64) string {
	it.mu.Lock()
	defer it.mu.Unlock()
	if to < it.first() && (it.stream == wire.Samples || to <= it.receipts.High) {
		return Thinned
	}
	return Damaged
}

// end hands out the newest entry.
func (it *iterator) end(last chain.Link) {
	if it.emitVerified(last.N, last.Hash) {
		it.missing(last.N)
	}
}

// find returns entry n, if it can be read.
func (g *generation) find(n uint64) (Stored, bool) {
	for e, err := range g.after(n - 1) {
		return e, err == nil && e.Entry.N == n
	}
	return Stored{}, false
}

// latest returns the latest time in a segment; zero when none of its entries can be read. It reads
// the segment once.
func (g *generation) latest(s *segment) (time.Time, error) {
	g.mu.Lock()
	newest, walk := s.newest, s.walk(nil, g.id)
	g.mu.Unlock()
	if !newest.IsZero() {
		return newest, nil
	}
	f, err := g.disk.Open(s.path)
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
	g.mu.Lock()
	s.newest = newest
	g.mu.Unlock()
	return newest, nil
}
