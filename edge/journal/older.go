package journal

import (
	"cmp"
	"errors"
	"iter"
	"log/slog"
	"slices"
	"time"

	"steelyard/internal/chain"
	"steelyard/internal/record"
	"steelyard/internal/wire"
)

// Reader reads an older journal of the directory: one that ended because a new one was begun. Its
// entries are uploaded and pruned like those of the one that is written.
type Reader struct{ book *generation }

// Older returns the journals before this one that still have entries, the oldest first.
func (j *Journal) Older() []*Reader {
	var readers []*Reader
	for _, g := range j.older {
		g.mu.Lock()
		if len(g.segments) > 0 && g.last.N > 0 {
			readers = append(readers, &Reader{g})
		}
		g.mu.Unlock()
	}
	return readers
}

// ID, Last, After and Receipt are what they are of a Journal. The receipt of an older journal is
// saved with Journal.SetReceipt.
func (r *Reader) ID() string                              { return r.book.id }
func (r *Reader) Last() chain.Link                        { return r.book.link() }
func (r *Reader) After(n uint64) iter.Seq2[Stored, error] { return r.book.after(n) }
func (r *Reader) Receipt() (wire.Receipt, bool)           { return r.book.receipt() }

// Listed is a journal found by List.
type Listed struct {
	ID         string
	Generation uint64 // 1 for the first journal of the directory; 0 when no header is readable
	Stream     wire.Stream
	First      uint64 // number of the oldest entry that is left
	Last       chain.Link
	Segments   int
	Bytes      int64
	Damage     []DamageError
}

// List tells which journals lie in a directory, the newest last. It takes no lock and changes
// nothing.
func List(dir string) ([]Listed, error) {
	disk := system{}
	names, err := disk.List(dir)
	if err != nil {
		return nil, err
	}
	var generations []*generation
	for _, name := range names {
		if !wire.IsJournal(name) {
			continue
		}
		g, err := loadGeneration(disk, slog.New(slog.DiscardHandler), dir+"/"+name, name, false)
		if notExist(err) {
			continue // dropped meanwhile
		}
		if err != nil {
			return nil, err
		}
		if g != nil {
			generations = append(generations, g)
		}
	}
	sortGenerations(generations)
	listed := make([]Listed, 0, len(generations))
	for _, g := range generations {
		l := Listed{ID: g.id, Generation: g.number, Stream: g.stream, First: g.first(), Last: g.last, Segments: len(g.segments), Damage: g.damage}
		for _, s := range g.segments {
			l.Bytes += s.size
		}
		listed = append(listed, l)
	}
	return listed, nil
}

// sortGenerations puts the newest last. One of unknown number counts as the newest.
func sortGenerations(generations []*generation) {
	slices.SortFunc(generations, func(x, y *generation) int {
		return cmp.Or(cmp.Compare(x.number-1, y.number-1), cmp.Compare(x.id, y.id)) // 0−1 is the largest
	})
	number := uint64(0)
	for _, g := range generations {
		if g.number == 0 {
			g.number = number + 1
		}
		number = g.number
	}
}

// first is the number of the oldest entry that is left; 0: none. The caller may hold mu or be alone.
func (g *generation) first() uint64 {
	for _, s := range g.segments {
		if s.first > 0 && s.first <= g.last.N {
			return s.first
		}
	}
	return 0
}

// State is what an operator's page shows of a journal.
type State struct {
	Journal   string
	Bytes     int64 // of all journals in the directory
	Budget    int64 // 0: no bound
	Fill      int   // per mille of the budget; 0 without one
	First     uint64
	Last      uint64
	Receipted uint64
	Waiting   uint64        // entries that the cloud has not receipted, older journals included
	Oldest    time.Time     // time of the oldest of them; zero when there is none or it can't be read
	Err       error         // why the last Append failed; nil when it did not
	Damage    []DamageError // found since Open, at most 64 for each journal
}

// State takes stock. It reads the disk only when the oldest un-receipted entry is another one than
// last time.
func (j *Journal) State() State {
	s := State{Journal: j.id, Bytes: j.bytes(), Budget: j.opt.Budget}
	if s.Budget > 0 {
		s.Fill = int(s.Bytes * 1000 / s.Budget)
	}
	var oldest *generation
	var after uint64
	for _, g := range append(j.older[:len(j.older):len(j.older)], j.generation) {
		g.mu.Lock()
		s.Damage = append(s.Damage, g.damage...)
		s.First, s.Last, s.Receipted = g.first(), g.last.N, g.receipts.Receipt.N
		waits := len(g.segments) > 0 && s.Last > s.Receipted && (g == j.generation || g.receipts.Fork == 0 && g.receipts.High <= s.Last)
		g.mu.Unlock()
		if !waits {
			continue
		}
		done := max(s.Receipted, max(s.First, 1)-1)
		s.Waiting += s.Last - done
		if oldest == nil {
			oldest, after = g, done
		}
	}
	j.wait.Lock()
	s.Err = j.failed
	known := j.oldest
	j.wait.Unlock()
	if oldest == nil {
		return s
	}
	of := record.Ref{Journal: oldest.id, N: after}
	if known.of != of {
		known = cachedTime{of: of}
		for e, err := range oldest.after(after) {
			if err == nil {
				known.at = e.Entry.At
				break
			}
			if _, damage := errors.AsType[*DamageError](err); !damage {
				break
			}
		}
		j.wait.Lock()
		j.oldest = known
		j.wait.Unlock()
	}
	s.Oldest = known.at
	return s
}
