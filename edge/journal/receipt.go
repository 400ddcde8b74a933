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

// receiptFile is what a generation keeps of its receipts: the newest one, and the highest number that any
// receipt ever covered, which must never be given to another entry even if the cloud takes the
// receipt back.
type receiptFile struct {
	Receipt wire.Receipt `json:"receipt"`
	High    uint64       `json:"high"`
	Fork    uint64       `json:"fork"` // the cloud holds another entry under this number; 0: none

	lost bool // the file is there and can't be read: what was receipted is not known
}

const receiptMagic = "steelyard receipt 1 " // before the CRC-32C of the second line, 8 hex digits
const maxReceiptFile = 4 << 10

func (s receiptFile) encode() []byte {
	line, err := json.Marshal(s)
	if err != nil { // strings and numbers
		panic(err)
	}
	return fmt.Appendf(nil, "%s%08x\n%s\n", receiptMagic, crc32.Checksum(line, castagnoli), line)
}

// load reads the file; a missing or damaged one is no error.
func (s *receiptFile) load(disk filesystem, dir, journal string) error {
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
	data := make([]byte, min(size, maxReceiptFile))
	got, err := readOver(f, data, 0)
	if err != nil {
		return fmt.Errorf("receipt: %w", err)
	}
	head, line, _ := bytes.Cut(data[:got], []byte("\n"))
	line, ended := bytes.CutSuffix(line, []byte("\n"))
	var read receiptFile
	if !ended || string(head) != fmt.Sprintf("%s%08x", receiptMagic, crc32.Checksum(line, castagnoli)) ||
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
func (s receiptFile) save(disk filesystem, dir string) error {
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

// setReceipt is Journal.SetReceipt for one generation.
func (g *generation) setReceipt(r wire.Receipt) error {
	g.saving.Lock()
	defer g.saving.Unlock()
	g.mu.Lock()
	old, last := g.receipts, g.last
	g.mu.Unlock()
	if r.N == old.Receipt.N && r.Hash == old.Receipt.Hash && !old.lost && old.Receipt.V != 0 {
		return nil // spares the flash
	}
	if err := g.compare(r); err != nil {
		return err
	}
	ending := ""
	ahead := &AheadError{g.id, r.N, last.N}
	if r.N > last.N {
		ending = ahead.Error()
	}
	if err := g.saveReceipts(receiptFile{Receipt: r, High: max(old.High, r.N), Fork: old.Fork}, ending); err != nil {
		return err
	}
	if r.N < old.Receipt.N {
		g.log.Warn("journal: the cloud took its receipt back, entries will be sent again",
			"journal", g.id, "from", r.N+1, "to", old.Receipt.N)
	}
	if r.N > last.N {
		return ahead
	}
	return nil
}

// compare ends the generation when the cloud holds another entry under the receipt's number.
func (g *generation) compare(r wire.Receipt) error {
	g.mu.Lock()
	old, last := g.receipts, g.last
	g.mu.Unlock()
	if r.N == 0 || r.N > last.N || r.N == old.Receipt.N && r.Hash == old.Receipt.Hash {
		return nil
	}
	e, ok := g.find(r.N)
	if !ok || e.Hash == r.Hash {
		return nil
	}
	fork := &ForkError{g.id, r.N}
	next := receiptFile{Receipt: old.Receipt, High: old.High, Fork: r.N}
	next.Receipt.Journal = g.id // there may be none yet
	return errors.Join(fork, g.saveReceipts(next, fork.Error()))
}

// saveReceipts saves the receipt file; a reason ends the journal.
func (g *generation) saveReceipts(next receiptFile, ending string) error {
	if err := next.save(g.disk, g.dir); err != nil {
		return fmt.Errorf("save the receipt of journal %s: %w", g.id, remedy(err, g.dir))
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.receipts = next
	if ending != "" {
		g.ending = ending
	}
	return nil
}

// receipt is Journal.Receipt for one generation.
func (g *generation) receipt() (wire.Receipt, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.receipts.Receipt, g.receipts.Receipt.V != 0 || g.receipts.Receipt.Journal != ""
}
