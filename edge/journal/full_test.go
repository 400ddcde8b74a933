package journal_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"steelyard/edge/journal"
	"steelyard/internal/record"
	"steelyard/internal/wire"
)

// TestDiskFull: an append on a full disk is refused with the remedy, and works again when there is
// space, without a restart. Nothing is left behind that grows.
func TestDiskFull(t *testing.T) {
	disk := newMemory(t)
	s := newShift(t, disk)
	s.open()
	s.append(3)
	disk.full = true
	for range 20 {
		_, err := s.j.Append(wire.Synced, fact(7))
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "free space on the disk that holds /journal") {
			t.Fatalf("got %v", err)
		}
		if s.j.State().Err == nil {
			t.Fatal("the state does not show the error")
		}
	}
	if files := len(slices.Collect(maps.Keys(disk.names))); files > 2 {
		t.Errorf("%d files lie there after 20 refused appends", files)
	}
	disk.full = false
	s.append(2)
	if err := s.j.State().Err; err != nil {
		t.Errorf("the state still shows %v", err)
	}
	s.check("after there was space again")
	disk.crash(false)
	s.open()
	s.check("after a crash")
}

// TestBudget: at its budget the journal of records refuses and keeps everything; pruning what is
// receipted and old makes room.
func TestBudget(t *testing.T) {
	s := newShift(t, newMemory(t))
	s.opt.Budget = 12 << 10
	s.open()
	refused := false
	for i := range 100 {
		w, err := s.j.Append(wire.Synced, fact(i))
		if errors.Is(err, journal.ErrFull) {
			refused = true
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		s.acked[key{s.j.ID(), w[0].Entry.N}] = string(w[0].Line)
	}
	if state := s.j.State(); !refused || state.Bytes > s.opt.Budget || state.Fill < 900 || state.Fill > 1000 {
		t.Fatalf("refused: %v, state %+v", refused, state)
	}
	s.check("full")
	if p, err := s.j.Prune(noon.AddDate(2, 0, 0), 0); err != nil || p.Segments > 0 {
		t.Fatalf("pruned %+v of records without a receipt, err %v", p, err)
	}
	s.receipt()
	if p, err := s.j.Prune(noon, 0); err != nil || p.Segments > 0 {
		t.Fatalf("pruned %+v of records that are not old, err %v", p, err)
	}
	s.prune()
	s.append(3)
	s.check("after pruning")
}

// TestSamplesAreThinned: samples over their budget lose the oldest segments, and the numbers are
// named so that a gap can be written.
func TestSamplesAreThinned(t *testing.T) {
	s := newShift(t, newMemory(t))
	s.opt.Budget, s.opt.Stream = 12<<10, wire.Samples
	s.open()
	var gaps []record.Gap
	for i := range 200 {
		if _, err := s.j.Append(wire.Synced, fact(i)); err != nil {
			t.Fatal(err)
		}
		p, err := s.j.Prune(noon, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		gaps = append(gaps, p.Thinned...)
	}
	due := uint64(1)
	for _, g := range gaps {
		if g.From != due || g.Reason != "thinned" || g.Check() != nil {
			t.Fatalf("gap %+v where %d was due", g, due)
		}
		due = g.To + 1
	}
	if due < 100 || due != s.j.State().First {
		t.Errorf("thinned up to %d, the first one left is %d", due-1, s.j.State().First)
	}
	for _, err := range s.j.After(5) {
		if d, ok := errors.AsType[*journal.DamageError](err); !ok || d.From != 6 || d.To != due-1 || d.Reason != journal.Thinned {
			t.Errorf("got %v", err)
		}
		break
	}
}

// The edge's clock, or the city's, goes years ahead for a minute: what is receipted and young stays.
func TestAClockThatJumpedDeletesNothing(t *testing.T) {
	for _, test := range []struct {
		name      string
		now, said time.Time
		dropped   bool
	}{
		{"the edge's is ahead", noon.AddDate(3, 0, 0), noon.Add(time.Minute), false},
		{"the city's is ahead", noon.Add(time.Minute), noon.AddDate(3, 0, 0), false},
		{"both say that it is old", noon.AddDate(0, 2, 0), noon.AddDate(0, 2, 0), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			opt := options(t, t.TempDir())
			opt.SegmentBytes = 1 << 10
			j := mustOpen(t, opt)
			var w []journal.Written
			for k := range 20 {
				w = append(w, mustAppend(t, j, fact(k))...)
			}
			r := receipt(j, w[len(w)-1], 0)
			r.AtMS = test.said.UnixMilli()
			if err := j.SetReceipt(r); err != nil {
				t.Fatal(err)
			}
			p, err := j.Prune(test.now, 31*24*time.Hour)
			if err != nil || (p.Segments > 0) != test.dropped {
				t.Errorf("%s: %d segments dropped, %v", test.name, p.Segments, err)
			}
		})
	}
}
