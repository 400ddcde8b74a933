package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"

	"steelyard/internal/wire"
)

// stub is what a book keeps of its receipts: the newest one, and the highest number that any
// receipt ever covered, which must never be given to another entry even if the cloud takes the
// receipt back.
type stub struct {
	Receipt wire.Receipt `json:"receipt"`
	High    uint64       `json:"high"`
	Fork    uint64       `json:"fork"` // the cloud holds another entry under this number; 0: none

	lost bool // the file is there and can't be read: what was receipted is not known
}

const stubFirst = "steelyard receipt 1 " // before the CRC-32C of the second line, 8 hex digits
const maxStub = 4 << 10

func (s stub) encode() []byte {
	line, err := json.Marshal(s)
	if err != nil { // strings and numbers
		panic(err)
	}
	return fmt.Appendf(nil, "%s%08x\n%s\n", stubFirst, crc32.Checksum(line, castagnoli), line)
}

// load reads the file; none is no error, and neither is a damaged one.
func (s *stub) load(disk filesystem, dir, journal string) error {
	f, err := disk.Open(filepath.Join(dir, receiptName))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("receipt: %w", err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return fmt.Errorf("receipt: %w", err)
	}
	data := make([]byte, min(size, maxStub))
	got, err := readOver(f, data, 0)
	if err != nil {
		return fmt.Errorf("receipt: %w", err)
	}
	head, line, _ := bytes.Cut(data[:got], []byte("\n"))
	line, ended := bytes.CutSuffix(line, []byte("\n"))
	var read stub
	if !ended || string(head) != fmt.Sprintf("%s%08x", stubFirst, crc32.Checksum(line, castagnoli)) ||
		json.Unmarshal(line, &read) != nil || read.Receipt.Journal != journal {
		s.lost = true
		return nil
	}
	*s = read
	return nil
}

// save replaces the file. Order of system calls:
//
//	create  receipt.tmp   after removing what a crash left of it
//	write
//	fsync   receipt.tmp
//	rename  to receipt    readers see the old one or the new one
//	fsync   the directory
func (s stub) save(disk filesystem, dir string) error {
	temp := filepath.Join(dir, receiptName+".tmp")
	if err := disk.Remove(temp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := disk.Create(temp)
	if err != nil {
		return err
	}
	_, err = f.Write(s.encode())
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := disk.Rename(temp, filepath.Join(dir, receiptName)); err != nil {
		return err
	}
	return disk.SyncDir(dir)
}

// AheadError says that the cloud has receipted more than the journal holds: an older copy of it was
// put back, and the numbers in between are taken. The journal appends nothing more; opening it
// again begins a new one.
type AheadError struct {
	Journal   string
	Receipted uint64
	Last      uint64
}

func (e *AheadError) Error() string {
	return fmt.Sprintf("journal %s: the cloud holds entries up to %d, the disk only up to %d: an older copy was put back; the next start begins a new journal", e.Journal, e.Receipted, e.Last)
}

// ForkError says that the cloud holds another entry under a number than the journal does: an older
// copy of it was put back and written on. The journal appends nothing more; opening it again begins
// a new one. What was written on stays here, and in the cloud's quarantine when it is sent.
type ForkError struct {
	Journal string
	N       uint64
}

func (e *ForkError) Error() string {
	return fmt.Sprintf("journal %s: the cloud holds another entry %d than this disk: an older copy was put back and written on, or another edge has this one's key; the next start begins a new journal", e.Journal, e.N)
}

// setReceipt is Journal.SetReceipt for one book.
func (b *book) setReceipt(r wire.Receipt) error {
	b.receipts.Lock()
	defer b.receipts.Unlock()
	b.mu.Lock()
	old, last := b.keep, b.last
	b.mu.Unlock()
	if r.N == old.Receipt.N && r.Hash == old.Receipt.Hash && !old.lost && old.Receipt.V != 0 {
		return nil // spares the flash
	}
	if err := b.compare(r); err != nil {
		return err
	}
	ending := ""
	ahead := &AheadError{b.id, r.N, last.N}
	if r.N > last.N {
		ending = ahead.Error()
	}
	if err := b.keepStub(stub{Receipt: r, High: max(old.High, r.N), Fork: old.Fork}, ending); err != nil {
		return err
	}
	if r.N < old.Receipt.N {
		b.log.Warn("journal: the cloud took its receipt back, entries will be sent again",
			"journal", b.id, "from", r.N+1, "to", old.Receipt.N)
	}
	if r.N > last.N {
		return ahead
	}
	return nil
}

// compare ends the book when the cloud holds another entry under the receipt's number.
func (b *book) compare(r wire.Receipt) error {
	b.mu.Lock()
	old, last := b.keep, b.last
	b.mu.Unlock()
	if r.N == 0 || r.N > last.N || r.N == old.Receipt.N && r.Hash == old.Receipt.Hash {
		return nil
	}
	e, ok := b.find(r.N)
	if !ok || e.Hash == r.Hash {
		return nil
	}
	fork := &ForkError{b.id, r.N}
	next := stub{Receipt: old.Receipt, High: old.High, Fork: r.N}
	next.Receipt.Journal = b.id // there may be none yet
	return errors.Join(fork, b.keepStub(next, fork.Error()))
}

// keepStub saves a stub; a reason ends the journal.
func (b *book) keepStub(next stub, ending string) error {
	if err := next.save(b.disk, b.dir); err != nil {
		return fmt.Errorf("save the receipt of journal %s: %w", b.id, remedy(err, b.dir))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.keep = next
	if ending != "" {
		b.ending = ending
	}
	return nil
}

// receipt is Journal.Receipt for one book.
func (b *book) receipt() (wire.Receipt, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.keep.Receipt, b.keep.Receipt.V != 0 || b.keep.Receipt.Journal != ""
}
