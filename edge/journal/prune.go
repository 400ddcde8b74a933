package journal

import (
	"fmt"
	"path/filepath"
	"time"

	"steelyard/internal/record"
	"steelyard/internal/wire"
)

// Pruned says what Prune dropped.
type Pruned struct {
	Segments int
	Bytes    int64
	Thinned  []record.Gap // numbers that the cloud had not receipted: samples only; write them down
}

// Prune drops whole segments from the old end. A segment goes when it is receipted and all its
// entries are older than keep. Samples go also, oldest first and receipted or not, until the next
// segment fits into the budget; of records nothing else ever goes. The newest segment stays. An
// older journal of which nothing is left goes with its directory. Old is what two clocks call old,
// now and that of the newest receipt: one that was set wrong deletes nothing.
//
//	unlink  the oldest segment
//	fsync   the directory        before the next one, so that no hole can stand in the middle
func (j *Journal) Prune(now time.Time, keep time.Duration) (Pruned, error) {
	j.writing.Lock()
	defer j.writing.Unlock()
	var p Pruned
	if receipted := j.lastReceiptTime(); receipted.Before(now) {
		now = receipted
	}
	for _, g := range append(j.older[:len(j.older):len(j.older)], j.generation) {
		if err := j.pruneGeneration(g, now.Add(-keep), &p); err != nil {
			return p, fmt.Errorf("prune journal %s: %w", g.id, remedy(err, j.opt.Dir))
		}
	}
	return p, nil
}

// lastReceiptTime is the latest time at which the cloud has said a receipt, by its clock.
func (j *Journal) lastReceiptTime() (at time.Time) {
	for _, g := range append(j.older[:len(j.older):len(j.older)], j.generation) {
		if r, _ := g.receipt(); r.AtMS > 0 && time.UnixMilli(r.AtMS).After(at) {
			at = time.UnixMilli(r.AtMS)
		}
	}
	return at
}

func (j *Journal) pruneGeneration(g *generation, before time.Time, p *Pruned) error {
	had := len(g.segments) > 0
	for len(g.segments) > 0 {
		s := g.segments[0]
		last := g.link().N
		if s.limit > 0 {
			last = s.limit - 1
		}
		if g == j.generation && len(g.segments) == 1 {
			return nil
		}
		receipt, _ := g.receipt()
		over := g.stream == wire.Samples && j.opt.Budget > 0 && j.bytes()+j.opt.SegmentBytes > j.opt.Budget
		if !over {
			if receipt.N < last {
				return nil
			}
			newest, err := g.newestFrom(0)
			if err != nil {
				return err
			}
			if !newest.Before(before) {
				return nil
			}
		}
		if err := g.drop(s); err != nil {
			return err
		}
		p.Segments, p.Bytes = p.Segments+1, p.Bytes+s.size
		if from := max(s.first, receipt.N+1, 1); from <= last {
			p.thin(record.Gap{Journal: g.id, From: from, To: last, Reason: Thinned})
		}
	}
	if !had {
		return nil
	}
	return j.dropGeneration(g)
}

// thin adds numbers, joining them to those just before.
func (p *Pruned) thin(g record.Gap) {
	if i := len(p.Thinned) - 1; i >= 0 && p.Thinned[i].Journal == g.Journal && p.Thinned[i].To+1 == g.From {
		p.Thinned[i].To = g.To
		return
	}
	p.Thinned = append(p.Thinned, g)
}

// newestFrom returns the latest time of segment i; where none of it can be read, that of the next
// one, which is no earlier.
func (g *generation) newestFrom(i int) (newest time.Time, err error) {
	for ; i < len(g.segments); i++ {
		if newest, err = g.latest(g.segments[i]); err != nil || !newest.IsZero() {
			return newest, err
		}
	}
	return newest, nil
}

func (g *generation) drop(s *segment) error {
	if err := g.disk.Remove(s.path); err != nil && !notExist(err) {
		return err
	}
	g.mu.Lock()
	g.segments = g.segments[1:]
	g.mu.Unlock()
	return g.disk.SyncDir(g.dir)
}

// dropGeneration removes what is left of an older journal without segments.
func (j *Journal) dropGeneration(g *generation) error {
	names, err := g.disk.List(g.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := g.disk.Remove(filepath.Join(g.dir, name)); err != nil && !notExist(err) {
			return err
		}
	}
	if err := g.disk.Remove(g.dir); err != nil && !notExist(err) {
		return err
	}
	return g.disk.SyncDir(j.opt.Dir)
}
