package journal

import (
	"errors"
	"io"

	"steelyard/internal/chain"
	"steelyard/internal/wire"
)

// Stored is an entry as it lies in the journal.
type Stored struct {
	Entry wire.Entry
	Hash  chain.Hash
	Line  []byte // the exact bytes: the evidence
}

// Link is the entry's place in the chain.
func (s Stored) Link() chain.Link {
	return chain.Link{Journal: s.Entry.Journal, N: s.Entry.N, Prev: s.Entry.Prev, Hash: s.Hash}
}

// window is how much of a segment is in memory at a time. It holds any frame twice.
const window = 256 << 10

// block is the unit in which an unreadable medium is stepped over.
const block = 4 << 10

// scanner walks over the sound frames of one segment, whatever lies between them. A frame counts
// when its checksum holds, its line is an entry of this journal, and its number is larger than the
// last one's and smaller than limit: a copy of an older page does not count.
type scanner struct {
	file    file
	journal string
	off     int64  // where the next frame is due
	end     int64  // bytes that count
	limit   uint64 // numbers that count are smaller; 0: no bound
	last    uint64 // number of the last sound frame, or of the entry before the first one
	good    int64  // end of the last sound frame, or of the header
	resync  bool   // last is not known: the header is damaged and nothing was found yet
	looks   int    // how often misplaced has looked ahead

	buf   []byte
	start int64 // offset of buf in the file
}

// next returns the next sound frame and where it begins. io.EOF: at the end. Any other error is
// the medium's.
func (f *scanner) next() (Stored, int64, error) {
	for f.off < f.end {
		s, size, err := f.at(f.off)
		if err != nil {
			return Stored{}, 0, err
		}
		astray := false
		if size > 0 && (f.resync || s.Entry.N > f.last+1) {
			if astray, err = f.misplaced(f.off+int64(size), s.Entry.N); err != nil {
				return Stored{}, 0, err
			}
		}
		if size > 0 && !astray {
			at := f.off
			f.off += int64(size)
			f.good, f.last, f.resync = f.off, s.Entry.N, false
			return s, at, nil
		}
		if f.off, err = f.mark(f.off + 1); err != nil {
			return Stored{}, 0, err
		}
	}
	return Stored{}, 0, io.EOF
}

// maxLooks bounds the work that a segment full of damage can make.
const maxLooks = 64

// misplaced reports whether a frame that leaves out numbers is a copy of a later page that was written
// to the wrong place: then entries with numbers up to its own still follow from off on.
func (f *scanner) misplaced(off int64, n uint64) (bool, error) {
	if f.looks++; f.looks > maxLooks {
		return false, nil
	}
	ahead := scanner{file: f.file, journal: f.journal, off: off, end: f.end, limit: n + 1, last: f.last, looks: maxLooks}
	_, _, err := ahead.next()
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	return err == nil, err
}

// at reads the frame at off; size 0: none that counts.
func (f *scanner) at(off int64) (s Stored, size int, err error) {
	head, err := f.bytes(off, frameSize)
	if err != nil {
		return s, 0, err
	}
	n := frameLength(head)
	if n == 0 {
		return s, 0, nil
	}
	frame, err := f.bytes(off, n)
	if err != nil || len(frame) < n {
		return s, 0, err
	}
	line, sound := frameLine(frame)
	if !sound {
		return s, 0, nil
	}
	s.Line = append([]byte(nil), line...)
	if s.Entry, err = wire.ParseEntry(s.Line); err != nil {
		return s, 0, nil
	}
	if s.Entry.Journal != f.journal || s.Entry.N <= f.last || f.limit > 0 && s.Entry.N >= f.limit {
		return s, 0, nil
	}
	s.Hash = chain.Of(s.Line)
	return s, n, nil
}

// mark finds the next frame mark from off on, or the end.
func (f *scanner) mark(off int64) (int64, error) {
	for off < f.end {
		b, err := f.bytes(off, window/2)
		if err != nil {
			return 0, err
		}
		if i := nextMark(b, 0); i >= 0 {
			return off + int64(i), nil
		}
		if len(b) < len(frameMark) {
			break
		}
		off += int64(len(b) - len(frameMark) + 1)
	}
	return f.end, nil
}

// bytes returns n bytes from off on, fewer at the end. They are good until the next call.
func (f *scanner) bytes(off int64, n int) ([]byte, error) {
	n = int(min(int64(n), f.end-off))
	if off < f.start || off+int64(n) > f.start+int64(len(f.buf)) {
		if cap(f.buf) == 0 {
			f.buf = make([]byte, 0, min(window, f.end-off))
		}
		size := min(int64(cap(f.buf)), f.end-off)
		if size < int64(n) {
			f.buf = make([]byte, 0, window)
			size = min(window, f.end-off)
		}
		f.buf, f.start = f.buf[:size], off
		got, err := readOver(f.file, f.buf, off)
		if err != nil {
			f.buf = f.buf[:0]
			return nil, err
		}
		if int64(got) < size { // the file is shorter than it was
			f.buf = f.buf[:got]
			f.end = off + int64(got)
			n = min(n, got)
		}
	}
	at := int(off - f.start)
	return f.buf[at : at+n], nil
}

// readOver reads b from off on. Blocks that the medium no longer gives read as zeros as long as
// others still can be read: a bad sector costs what stands in it. When nothing can be read the
// medium is gone, which is an error and not damage.
func readOver(r io.ReaderAt, b []byte, off int64) (int, error) {
	got, err := r.ReadAt(b, off)
	if err == nil || errors.Is(err, io.EOF) {
		return got, nil
	}
	readable := false
	for at := 0; at < len(b); {
		size := min(len(b)-at, block-int((off+int64(at))%block))
		n, e := r.ReadAt(b[at:at+size], off+int64(at))
		switch {
		case e == nil:
			readable = true
		case errors.Is(e, io.EOF):
			return at + n, nil
		default:
			clear(b[at : at+size])
		}
		at += size
	}
	if !readable {
		return 0, err
	}
	return len(b), nil
}
