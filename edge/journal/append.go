package journal

import (
	"errors"
	"fmt"
	"path/filepath"

	"steelyard/internal/chain"
	"steelyard/internal/record"
	"steelyard/internal/wire"
)

// Written is an entry that Append has put on the disk.
type Written struct {
	Entry wire.Entry
	Hash  chain.Hash
	Line  []byte
}

// MaxFacts is how many facts one Append takes.
const MaxFacts = 1024

// Append makes entries of the facts and puts them on the disk, all with one fsync. When it returns
// without error they are durable; readers see them from then on. When it returns an error none of
// them is recorded: the number of a fact is free again, and the next Append begins a new segment.
// After a crash in that state the facts may turn up all the same, under the same numbers, if
// nothing was appended in between.
//
//	write   all frames, one call
//	fsync   the segment
//	stat    is the file still where it was? A deleted journal must not acknowledge
//
// After an error of any of these the segment is left for good: an fsync that failed once says
// nothing true when it is called again.
func (j *Journal) Append(clock wire.Clock, facts ...record.Fact) ([]Written, error) {
	if len(facts) == 0 {
		return nil, nil
	}
	if len(facts) > MaxFacts {
		return nil, fmt.Errorf("append %d facts: at most %d go together", len(facts), MaxFacts)
	}
	j.writing.Lock()
	defer j.writing.Unlock()
	written, err := j.append(clock, facts)
	j.wait.Lock()
	defer j.wait.Unlock()
	j.failed = err
	if err == nil {
		close(j.appended)
		j.appended = make(chan struct{})
	}
	return written, err
}

func (j *Journal) append(clock wire.Clock, facts []record.Fact) ([]Written, error) {
	if err := j.writable(); err != nil {
		return nil, err
	}
	written, frames, err := j.encode(clock, facts)
	if err != nil {
		return nil, fmt.Errorf("append: %w", err)
	}
	if j.opt.Budget > 0 && j.bytes()+int64(len(frames)) > j.opt.Budget {
		return nil, ErrFull
	}
	if j.active == nil || j.needsNewSegment(int64(len(frames))) {
		if err := j.begin(); err != nil {
			return nil, fmt.Errorf("append: nothing was recorded: %w", remedy(err, j.opt.Dir))
		}
	}
	s := j.segments[len(j.segments)-1]
	if err := j.put(s, frames); err != nil {
		j.abandon(s, int64(len(frames)))
		return nil, fmt.Errorf("append: nothing was recorded: segment %012d: %w", s.n, remedy(err, j.opt.Dir))
	}
	j.publish(s, written, int64(len(frames)))
	return written, nil
}

// writable returns why nothing can be appended.
func (j *Journal) writable() error {
	j.wait.Lock()
	closed := j.closed
	j.wait.Unlock()
	if closed {
		return ErrClosed
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.ending != "" {
		return fmt.Errorf("append: nothing was recorded: %s", j.ending)
	}
	return nil
}

// encode numbers the facts, chains them, and makes their frames.
func (j *Journal) encode(clock wire.Clock, facts []record.Fact) ([]Written, []byte, error) {
	last := j.Last()
	written := make([]Written, 0, len(facts))
	var frames []byte
	for _, fact := range facts {
		e := wire.Entry{Site: j.site, Journal: j.id, N: last.N + 1, At: wire.Time(fact.At), Clock: clock,
			Kind: fact.Body.Kind(), Device: fact.Device, Prev: last.Hash}
		line, err := e.LineOf(fact.Body)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", e.Kind, err)
		}
		last = e.Link(line)
		written = append(written, Written{e, last.Hash, line})
		frames = appendFrame(frames, line)
	}
	return written, frames, nil
}

// needsNewSegment reports whether the frames need a new segment: the active one holds entries, and they would
// not fit.
func (j *Journal) needsNewSegment(size int64) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.segments[len(j.segments)-1]
	return s.end > headerSize && s.end+size > j.opt.SegmentBytes
}

// begin makes the next segment. It gets no entry before all of this has succeeded:
//
//	create  the file, which must not exist
//	write   the header: its number, the first entry's number and prev, where the one before ends
//	fsync   the file
//	fsync   the journal's directory
//
// A segment that could not be begun is removed if possible, and its number is never used again.
func (j *Journal) begin() error {
	if j.next == 0 {
		j.next = 1
	}
	last := j.Last()
	h := header{journal: j.id, generation: j.number, segment: j.next, first: last.N + 1, prev: last.Hash,
		before: j.before.segment, beforeBytes: j.before.beforeBytes, stream: j.opt.Stream, site: j.site}
	j.next++
	if j.active != nil {
		j.active.Close() // all of it is durable
		j.active = nil
	}
	path := filepath.Join(j.dir, segmentName(h.segment))
	f, err := j.disk.Create(path)
	if err != nil {
		return fmt.Errorf("begin segment %012d: %w", h.segment, err)
	}
	_, err = f.Write(h.encode())
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = j.disk.SyncDir(j.dir)
	}
	if err != nil {
		f.Close()
		if e := j.disk.Remove(path); e != nil && !notExist(e) {
			err = errors.Join(err, e)
		}
		return fmt.Errorf("begin segment %012d: %w", h.segment, err)
	}
	j.active = f
	j.before = header{segment: h.segment, beforeBytes: headerSize}
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, s := range j.segments {
		if s.limit == 0 || s.limit > h.first {
			s.limit = h.first
		}
	}
	j.segments = append(j.segments[:len(j.segments):len(j.segments)],
		&segment{n: h.segment, path: path, known: true, head: h, first: h.first, size: headerSize, end: headerSize})
	return nil
}

// put writes the frames behind what counts.
func (j *Journal) put(s *segment, frames []byte) error {
	if _, err := j.active.Write(frames); err != nil {
		return err
	}
	if err := j.active.Sync(); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	if !j.active.StillAt(s.path) {
		return fmt.Errorf("%s was deleted or moved while the agent ran: put it back, or restart to begin a new journal", s.path)
	}
	return nil
}

// abandon leaves the active segment after a failure. What counts in it ends before the failed
// append; the next segment's header says so. The truncation only spares a later reader with a
// damaged header the doubt, and gives space back on a full disk.
func (j *Journal) abandon(s *segment, size int64) {
	j.mu.Lock()
	end := s.end
	s.size = end + size
	j.mu.Unlock()
	if j.active.Truncate(end) == nil {
		j.mu.Lock()
		s.size = end
		j.mu.Unlock()
	}
	j.active.Close()
	j.active = nil
}

// publish shows readers what is durable now.
func (j *Journal) publish(s *segment, written []Written, size int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	off := s.end
	for _, w := range written {
		s.addIndex(w.Entry.N, off)
		off += frameSize + int64(len(w.Line))
		if w.Entry.At.After(s.newest) {
			s.newest = w.Entry.At
		}
	}
	s.end += size
	s.size = s.end
	j.before.beforeBytes = s.end
	j.fresh.add(written)
	newest := written[len(written)-1]
	j.last = newest.Entry.Link(newest.Line)
}

// bytes is what all journals of the directory take on the disk.
func (j *Journal) bytes() (sum int64) {
	for _, g := range append([]*generation{j.generation}, j.older...) {
		g.mu.Lock()
		for _, s := range g.segments {
			sum += s.size
		}
		g.mu.Unlock()
	}
	return sum
}
