package journal_test

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"steelyard/edge/journal"
	"steelyard/internal/wire"
)

// shift is a run of work on a disk that may fail, with what is known about it.
type shift struct {
	t      *testing.T
	disk   *memory
	opt    journal.Options
	j      *journal.Journal
	fact   int            // every attempt writes another fact
	acked  map[key]string // acknowledged, and so due for ever
	seen   map[key]string // acknowledged or shown to a reader: never another line under this number
	pruned map[string]uint64
	at     int64
}

func newShift(t *testing.T, disk *memory) *shift {
	opt := options(t, "/journal")
	opt.SegmentBytes, opt.Log = 2<<10, nil
	return &shift{t: t, disk: disk, opt: opt, acked: map[key]string{}, seen: map[key]string{}, pruned: map[string]uint64{}}
}

// open opens the journal, a second time if need be: a start after a fault must work.
func (s *shift) open() {
	s.t.Helper()
	for try := range 2 {
		j, err := journal.OpenOn(s.disk, s.opt)
		if err == nil {
			s.j = j
			return
		}
		if try > 0 {
			s.t.Fatalf("open after a fault: %v", err)
		}
	}
}

// append tries until it works, with another fact each time.
func (s *shift) append(n int) {
	s.t.Helper()
	for try := range 3 {
		s.fact += 10
		w, err := s.j.Append(wire.Synced, facts(s.fact, n)...)
		if err == nil {
			for _, e := range w {
				k := key{e.Entry.Journal, e.Entry.N}
				if old, taken := s.seen[k]; taken {
					s.t.Fatalf("entry %v was given twice:\n%s\n%s", k, old, e.Line)
				}
				s.acked[k], s.seen[k] = string(e.Line), string(e.Line)
			}
			return
		}
		if try == 2 {
			s.t.Fatalf("append after a fault: %v", err)
		}
	}
}

func (s *shift) receipt() {
	s.t.Helper()
	last := s.j.Last()
	s.at++
	r := wire.Receipt{V: 1, Site: s.opt.Site, Journal: s.j.ID(), Stream: s.opt.Stream, N: last.N, Hash: last.Hash, AtMS: noon.AddDate(2, 0, 0).UnixMilli() + s.at}
	for try := range 2 {
		err := s.j.SetReceipt(r)
		if err == nil {
			break
		}
		if try > 0 {
			s.t.Fatalf("receipt after a fault: %v", err)
		}
	}
}

func (s *shift) prune() {
	s.t.Helper()
	for try := range 2 {
		_, err := s.j.Prune(noon.AddDate(2, 0, 0), 24*time.Hour)
		if err == nil {
			break
		}
		if try > 0 {
			s.t.Fatalf("prune after a fault: %v", err)
		}
	}
	if r, ok := s.j.Receipt(); ok {
		s.pruned[s.j.ID()] = r.N
	}
}

// check compares what readers see with what is known.
func (s *shift) check(when string) {
	s.t.Helper()
	got := map[key]string{}
	first := map[string]uint64{}
	runs := map[string]func(func(journal.Stored, error) bool){s.j.ID(): s.j.After(0)}
	for _, o := range s.j.Older() {
		runs[o.ID()] = o.After(0)
	}
	for id, run := range runs {
		for e, err := range run {
			if d, ok := errors.AsType[*journal.DamageError](err); ok && d.Reason == journal.Thinned && d.To <= s.pruned[id] {
				continue
			}
			if err != nil {
				s.t.Fatalf("%s: %v", when, err)
			}
			if first[id] == 0 {
				first[id] = e.Entry.N
			}
			got[key{id, e.Entry.N}] = string(e.Line)
		}
	}
	for k, line := range s.acked {
		if got[k] != line && (k.n > s.pruned[k.journal] || got[k] != "") {
			s.t.Fatalf("%s: acknowledged entry %v: got %q, want %q", when, k, got[k], line)
		}
	}
	for k, line := range got {
		if old, ok := s.seen[k]; ok && old != line {
			s.t.Fatalf("%s: entry %v changed from %q to %q", when, k, old, line)
		}
		s.seen[k] = line
	}
}

// work is the script: a start, appends over several segments, receipts, dropping, a clean restart,
// more appends, a kill and a restart.
func (s *shift) work() {
	s.open()
	s.append(1)
	s.append(3)
	s.append(4)
	s.receipt()
	s.append(5)
	s.check("before pruning")
	s.prune()
	s.append(2)
	if err := s.j.Close(); err != nil {
		s.t.Fatal(err)
	}
	s.open()
	s.append(2)
	s.append(5)
	s.receipt()
	s.prune()
	s.append(1)
	s.check("while running")
}

// TestEveryOperationFails fails each operation of the script once, with every outcome, goes on, and
// then cuts the power with both outcomes, twice.
func TestEveryOperationFails(t *testing.T) {
	sound := newShift(t, newMemory(t))
	sound.work()
	total := sound.disk.count
	if total < 60 {
		t.Fatalf("the script has only %d operations", total)
	}
	for k := 1; k <= total; k++ {
		for _, out := range []outcome{nothing, half, all} {
			for _, written := range []bool{false, true} {
				disk := newMemory(t)
				disk.failAt, disk.outcome = k, out
				s := newShift(t, disk)
				s.work()
				name := fmt.Sprintf("operation %d (%s) failed having done %s, power cut with the rest written: %v", k, disk.failed, out, written)
				for range 2 {
					disk.crash(written)
					s.open()
					s.check(name)
					s.append(2)
					s.check(name + ", after another append")
				}
				if t.Failed() {
					return
				}
			}
		}
	}
	t.Logf("%d operations, %d runs", total, total*6)
}

// TestFaultThenCrashAtOnce cuts the power right after the failing operation, before anything else.
func TestFaultThenCrashAtOnce(t *testing.T) {
	for _, written := range []bool{false, true} {
		for _, out := range []outcome{nothing, half, all} {
			for k := 1; ; k++ {
				disk := newMemory(t)
				s := newShift(t, disk)
				s.open()
				s.append(3)
				s.append(2)
				disk.count, disk.failAt, disk.outcome = 0, k, out
				for i := range 12 {
					if _, err := s.j.Append(wire.Synced, facts(500+i*10, 2)...); err != nil {
						break
					} else {
						s.collect()
					}
				}
				if disk.failed == "" {
					break
				}
				for range 2 {
					disk.crash(written)
					s.open()
					s.check(fmt.Sprintf("operation %d (%s) failed having done %s", k, disk.failed, out))
					s.append(1)
				}
			}
		}
	}
}

// TestKilledAfterFailure kills the process right after each failing operation, starts again, and
// then cuts the power: what the second start has shown, and so may have sent, must still be there.
// After a failed fsync the system goes on showing bytes that are on no medium.
func TestKilledAfterFailure(t *testing.T) {
	for _, out := range []outcome{nothing, half, all} {
		for k := 1; ; k++ {
			disk := newMemory(t)
			s := newShift(t, disk)
			s.open()
			s.append(2)
			disk.count, disk.failAt, disk.outcome, disk.dying = 0, k, out, true
			for i := range 6 {
				if _, err := s.j.Append(wire.Synced, facts(500+i*10, 2)...); err != nil {
					break
				}
				s.collect()
			}
			if disk.failed == "" {
				break
			}
			failed := disk.failed
			disk.kill()
			s.open()
			shown, _ := readAll(t, s.j)
			for _, written := range []bool{true, false} {
				disk.crash(written)
				s.open()
				s.check(failed)
				left, _ := readAll(t, s.j)
				for k, line := range shown {
					if left[k] != line {
						t.Fatalf("%s failed having done %s, kill, start, power cut: entry %v was shown and is gone", failed, out, k)
					}
				}
			}
		}
	}
}

// collect notes the newest entries as acknowledged.
func (s *shift) collect() {
	for e, err := range s.j.After(s.j.Last().N - 2) {
		if err != nil {
			s.t.Fatal(err)
		}
		k := key{e.Entry.Journal, e.Entry.N}
		s.acked[k], s.seen[k] = string(e.Line), string(e.Line)
	}
}

// TestFsyncAgainWouldLie is the control of the test above: on the disk used there, an fsync that is
// simply called again succeeds and has saved nothing.
func TestFsyncAgainWouldLie(t *testing.T) {
	disk := newMemory(t)
	f, err := disk.Create("/x")
	if err != nil {
		t.Fatal(err)
	}
	if err := disk.SyncDir("/"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("weight")); err != nil {
		t.Fatal(err)
	}
	disk.failAt = disk.count + 1
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("got %v", err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	disk.crash(true)
	if got := string(disk.names["/x"].data); got == "weight" {
		t.Error("the disk kept what a failed fsync dropped: the fault tests prove nothing")
	}
}
