package journal

import (
	"cmp"
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

// generation is one journal id: its segments, its newest entry, its receipt. The journal that is written
// and the older ones beside it are read through the same code.
type generation struct {
	disk   filesystem
	log    *slog.Logger
	dir    string
	id     string
	stream wire.Stream
	number uint64 // place among the directory's, from 1; 0: no header was readable

	mu          sync.Mutex  // held for the fields below, never while reading or writing a disk
	segments    []*segment  // in the order of their numbers
	last        chain.Link  // the newest durable entry; N 0 before the first
	ending      string      // why nothing may be appended any more; empty: it may
	truncated   bool        // an unfinished write was cut off at the end
	damagedTail DamageError // bytes at the end that may have been acknowledged; Bytes 0: none
	newest      *segment    // where last was found; never changes after loading
	damage      []DamageError
	fresh       fresh
	receipts    receiptFile

	saving sync.Mutex // held while a receipt is checked and saved
}

// segment is one file of a generation. Its fields are guarded by the generation's mu, except those that never
// change after it is made.
type segment struct {
	n     uint64 // never changes
	path  string // never changes
	known bool   // the header could be read; never changes
	head  header // zero when not known; never changes

	first  uint64 // number of the first entry that is or was due here
	size   int64  // bytes on the disk
	end    int64  // bytes that count
	limit  uint64 // entries that count have smaller numbers; 0 for the newest segment
	index  []indexEntry
	newest time.Time // latest time in it; zero when not looked at yet
}

// indexEntry remembers where an entry begins, so that reading need not begin at the header.
type indexEntry struct {
	n   uint64
	off int64
}

// indexInterval is how far apart, in bytes, index entries lie.
const indexInterval = 64 << 10

// addIndex remembers where entry n begins. The caller holds the generation's mu.
func (s *segment) addIndex(n uint64, off int64) {
	if len(s.index) == 0 || off >= s.index[len(s.index)-1].off+indexInterval {
		s.index = append(s.index, indexEntry{n, off})
	}
}

// lookup returns the last index entry at or before entry n.
func (s *segment) lookup(n uint64) (p indexEntry, ok bool) {
	i, found := slices.BinarySearchFunc(s.index, n, func(p indexEntry, n uint64) int { return cmp.Compare(p.n, n) })
	if !found {
		i--
	}
	if i < 0 {
		return p, false
	}
	return s.index[i], true
}

// maxDamage bounds how many places of damage are kept for State.
const maxDamage = 64

// recordDamage adds d to the known damage and logs it the first time. The caller does not hold mu.
func (g *generation) recordDamage(d DamageError) {
	g.mu.Lock()
	known := slices.Contains(g.damage, d)
	if !known && len(g.damage) < maxDamage {
		g.damage = append(g.damage, d)
	}
	g.mu.Unlock()
	if !known {
		g.log.Error("journal: entries are damaged", "journal", d.Journal, "segment", d.Segment, "from", d.From, "to", d.To, "err", &d)
	}
}

// loadGeneration reads what a directory holds of a journal, without changing anything in it: the headers
// of all segments, and the frames of the last ones up to the newest entry. Segments before that
// are checked when they are read. nil: nothing of a journal is there.
//
// syncFirst makes durable what is about to be shown: a killed process may have left a whole entry
// that no fsync has seen. The system's memory of those files is dropped first, because after a
// failed fsync it can hold what the medium does not.
func loadGeneration(disk filesystem, log *slog.Logger, dir, id string, syncFirst bool) (*generation, error) {
	names, err := disk.List(dir)
	if err != nil {
		return nil, err
	}
	g := &generation{disk: disk, log: log, dir: dir, id: id, last: chain.Link{Journal: id}}
	for _, name := range names {
		if n, ok := segmentNumber(name); ok {
			g.segments = append(g.segments, &segment{n: n, path: filepath.Join(dir, name)})
		}
	}
	slices.SortFunc(g.segments, func(x, y *segment) int { return cmp.Compare(x.n, y.n) })
	if err := g.receipts.load(disk, dir, id); err != nil {
		return nil, err
	}
	for _, s := range g.segments {
		if err := s.open(disk, id); err != nil {
			return nil, fmt.Errorf("segment %012d: %w", s.n, err)
		}
		if s.known {
			g.number, g.stream = s.head.generation, s.head.stream
		}
	}
	g.setLimits()
	if err := g.loadEnd(syncFirst); err != nil {
		return nil, err
	}
	size := int64(0)
	for _, s := range g.segments {
		size += s.size
		if !s.known && s.first > 0 {
			g.recordDamage(DamageError{Journal: id, Segment: s.n, Bytes: headerSize, Reason: Damaged})
		}
	}
	if g.last.N == 0 && !slices.ContainsFunc(g.segments, func(s *segment) bool { return s.known }) {
		if size > headerSize {
			log.Error("journal: nothing in this directory can be read any more, it is left as it is", "journal", id)
		}
		return nil, nil
	}
	return g, nil
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
	walk := scanner{file: f, journal: id, end: s.end, resync: true}
	first, _, err := walk.next()
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	s.first = first.Entry.N // 0: nothing readable
	return nil
}

// setLimits sets from each header how much of the segment before it counts.
func (g *generation) setLimits() {
	limit := uint64(0)
	for i, s := range slices.Backward(g.segments) {
		s.limit = limit
		if s.first > 0 && (limit == 0 || s.first < limit) {
			limit = s.first
		}
		for _, later := range g.segments[i+1:] {
			if later.known && later.head.before == s.n {
				s.end = min(s.end, max(later.head.beforeBytes, headerSize))
			}
		}
	}
}

// loadEnd finds the newest entry: the last sound frame of the last segment, or what the header of a
// segment without entries says it follows.
func (g *generation) loadEnd(syncFirst bool) error {
	for _, s := range slices.Backward(g.segments) {
		found, err := g.syncTail(s, syncFirst)
		if err != nil {
			return fmt.Errorf("segment %012d: %w", s.n, err)
		}
		if found.N > 0 {
			g.last, g.newest = found, s
			break
		}
		if s.known {
			g.last.N, g.last.Hash, g.newest = s.head.first-1, s.head.prev, s
			break
		}
	}
	g.seal()
	return nil
}

// seal lets nothing more be appended to the generation when what was lost at its end may have been acknowledged.
func (g *generation) seal() {
	if d := g.damagedTail; d.Bytes > 0 {
		d.From = g.last.N + 1
		g.ending = fmt.Sprintf("the end of journal %s is damaged after entry %d: what stood there may have been acknowledged", g.id, g.last.N)
		g.recordDamage(d)
	}
}

func (g *generation) syncTail(s *segment, syncFirst bool) (last chain.Link, err error) {
	f, err := g.disk.Open(s.path)
	if err != nil {
		return last, err
	}
	defer f.Close()
	if syncFirst {
		if err := f.Sync(); err != nil {
			return last, fmt.Errorf("sync: %w", err)
		}
		f.DropCache()
	}
	return g.readEnd(s, f)
}

// readEnd reads all frames of the newest segment and checks what lies behind the last one.
func (g *generation) readEnd(s *segment, f file) (last chain.Link, err error) {
	walk := s.walk(f, g.id)
	for {
		lost, good := walk.last, walk.good
		e, at, err := walk.next()
		if errors.Is(err, io.EOF) {
			return last, g.checkTail(s, f, walk.good, last)
		}
		if err != nil {
			return last, err
		}
		g.recordSkipped(s, lost, good, e, at)
		last = e.Link()
		s.addIndex(e.Entry.N, at)
		if e.Entry.At.After(s.newest) {
			s.newest = e.Entry.At
		}
	}
}

// walk begins at the segment's first frame. Without a header the frames are looked for from the
// first byte on.
func (s *segment) walk(f file, journal string) scanner {
	walk := scanner{file: f, journal: journal, end: s.end, limit: s.limit}
	if s.limit > 0 {
		walk.end = s.size // limit bounds it; a page that got in between must not push entries out
	}
	walk.resync = !s.known
	if s.known {
		walk.off, walk.good, walk.last = headerSize, headerSize, s.head.first-1
	}
	return walk
}

// recordSkipped remembers what was stepped over between the last sound frame, which ended at good, and
// the entry at at. Numbers that are missing are named.
func (g *generation) recordSkipped(s *segment, last uint64, good int64, e Stored, at int64) {
	d := DamageError{Journal: g.id, Segment: s.n, Offset: good, Bytes: at - good, Reason: Damaged}
	if e.Entry.N > last+1 && (s.known || last > 0) {
		d.From, d.To = last+1, e.Entry.N-1
	}
	if d.Bytes > 0 || d.From > 0 {
		g.recordDamage(d)
	}
}

// checkTail decides about the bytes behind the last sound frame of the newest segment. A cut-off
// write is cut: it was never acknowledged. Anything else may have been, and then its number is
// taken: the generation is ended, and a new journal begins with a new id.
func (g *generation) checkTail(s *segment, f file, good int64, last chain.Link) error {
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
		g.damagedTail = DamageError{Journal: g.id, Segment: s.n, Offset: good, Bytes: s.size - good, Reason: Damaged}
		return nil
	}
	g.truncated = true
	g.log.Warn("journal: an unfinished write was cut off", "journal", g.id, "segment", s.n,
		"offset", good, "bytes", s.size-good, "last", max(last.N, max(s.first, 1)-1))
	return nil
}
