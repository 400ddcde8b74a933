package journal_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"steelyard/edge/journal"
	"steelyard/internal/durable"
	"steelyard/internal/leaktest"
	"steelyard/internal/record"
	"steelyard/internal/wire"
)

const secondAgent = "JOURNAL_SECOND_AGENT_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(secondAgent); dir != "" {
		_, err := journal.Open(journal.Options{Dir: dir, Site: "xinhua-1", Stream: wire.Records})
		if _, held := errors.AsType[*durable.LockedError](err); held {
			os.Exit(7)
		}
		os.Exit(1)
	}
	leaktest.Main(m)
}

// TestSecondAgent: another process is turned away at once and the first one goes on.
func TestSecondAgent(t *testing.T) {
	dir := t.TempDir()
	j := mustOpen(t, options(t, dir))
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), secondAgent+"="+dir)
	out, _ := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != 7 {
		t.Errorf("the second agent ended with %d: %s", code, out)
	}
	mustAppend(t, j, fact(1))
}

// TestClosedWhileAChildIsMade: a child that another goroutine is making has copies of all files until
// it has become a program; the journal can be opened again all the same.
func TestClosedWhileAChildIsMade(t *testing.T) {
	opt := options(t, t.TempDir())
	j, err := journal.Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	copies := 0
	for _, fd := range fds {
		if file, err := os.Readlink("/proc/self/fd/" + fd.Name()); err != nil || !strings.HasPrefix(file, opt.Dir) {
			continue
		}
		n, err := strconv.Atoi(fd.Name())
		if err != nil {
			t.Fatal(err)
		}
		held, err := syscall.Dup(n)
		if err != nil {
			t.Fatal(err)
		}
		defer syscall.Close(held)
		copies++
	}
	if copies == 0 {
		t.Fatal("no file of the journal was found")
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, mustOpen(t, opt), fact(1))
}

// TestContinues: a restart goes on with the same journal, its numbers and its chain.
func TestContinues(t *testing.T) {
	opt := options(t, t.TempDir())
	want := map[key]string{}
	id := ""
	for run := range 5 {
		j, err := journal.Open(opt)
		if err != nil {
			t.Fatal(err)
		}
		if run == 0 {
			id = j.ID()
			if previous, reason := j.Origin(); previous != (record.Ref{}) || reason == "" {
				t.Errorf("origin %v %q", previous, reason)
			}
		} else if previous, reason := j.Origin(); previous != (record.Ref{}) || reason != "" {
			t.Errorf("origin of a continued journal %v %q", previous, reason)
		}
		if j.ID() != id {
			t.Fatalf("run %d began a new journal", run)
		}
		for i := range 10 {
			for _, w := range mustAppend(t, j, facts(run*100+i, 1+i%3)...) {
				want[key{id, w.Entry.N}] = string(w.Line)
			}
		}
		got, damage := readAll(t, j)
		diff(t, "entries", got, want)
		if len(damage) > 0 {
			t.Errorf("damage %v", damage)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
	listed, err := journal.List(opt.Dir)
	if err != nil || len(listed) != 1 || listed[0].ID != id || listed[0].Last.N != uint64(len(want)) || listed[0].First != 1 {
		t.Errorf("listed %+v, err %v", listed, err)
	}
}

// TestReadersWhileAppending: readers with cursors of their own see every entry once, in order, and
// never before it is durable.
func TestReadersWhileAppending(t *testing.T) {
	j := mustOpen(t, options(t, t.TempDir()))
	const total = 600
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for n := uint64(0); n < total; {
				if err := j.Wait(t.Context(), n); err != nil {
					t.Error(err)
					return
				}
				for e, err := range j.After(n) {
					if err != nil || e.Entry.N != n+1 || e.Entry.N > j.Last().N {
						t.Errorf("after %d: entry %d, err %v", n, e.Entry.N, err)
						return
					}
					n = e.Entry.N
				}
				j.State()
			}
		})
	}
	for i := 0; i < total; i += 4 {
		mustAppend(t, j, facts(i, 4)...)
	}
	readers.Wait()
}

func TestWait(t *testing.T) {
	j := mustOpen(t, options(t, t.TempDir()))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := j.Wait(ctx, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	mustAppend(t, j, fact(1))
	if err := j.Wait(ctx, 0); err != nil {
		t.Errorf("got %v though there is an entry", err)
	}
	done := make(chan error)
	go func() { done <- j.Wait(context.Background(), 1) }()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, journal.ErrClosed) {
		t.Errorf("got %v", err)
	}
	if _, err := j.Append(wire.Synced, fact(2)); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("append after close: %v", err)
	}
}

// TestRefusedFacts: one fact that can't be written refuses all of its Append, and the next works.
func TestRefusedFacts(t *testing.T) {
	j := mustOpen(t, options(t, t.TempDir()))
	big := fact(1)
	big.Body = &record.Device{State: "online", Detail: strings.Repeat("x", wire.MaxLine)}
	odd := fact(1)
	odd.Device = "Weighbridge 1"
	for _, bad := range []record.Fact{big, odd} {
		if _, err := j.Append(wire.Synced, fact(1), bad); err == nil {
			t.Error("accepted")
		}
	}
	if _, err := j.Append("sometimes", fact(1)); err == nil {
		t.Error("accepted an unknown clock state")
	}
	if _, err := j.Append(wire.Synced, facts(0, journal.MaxFacts+1)...); err == nil {
		t.Error("accepted too many facts")
	}
	if w := mustAppend(t, j, fact(2)); w[0].Entry.N != 1 {
		t.Errorf("number %d", w[0].Entry.N)
	}
}

func TestReceipts(t *testing.T) {
	opt := options(t, t.TempDir())
	j, err := journal.Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := j.Receipt(); ok {
		t.Error("a new journal has a receipt")
	}
	w := mustAppend(t, j, facts(0, 10)...)
	steps := []struct {
		n    int
		at   int64
		want uint64
	}{{3, 10, 4}, {3, 11, 4}, {7, 20, 8}, {2, 30, 3}, {5, 20, 6}, {2, 15, 3}, {9, 10, 10}}
	for _, s := range steps {
		if err := j.SetReceipt(receipt(j, w[s.n], s.at)); err != nil {
			t.Fatal(err)
		}
		if r, ok := j.Receipt(); !ok || r.N != s.want {
			t.Errorf("after receipt %+v it is %d", s, r.N)
		}
	}
	for _, change := range []func(*wire.Receipt){
		func(r *wire.Receipt) { r.Site = "baofeng-1" },
		func(r *wire.Receipt) { r.Stream = wire.Samples },
		func(r *wire.Receipt) { r.Journal = strings.Repeat("0", 32) },
	} {
		r := receipt(j, w[9], 60)
		change(&r)
		if err := j.SetReceipt(r); err == nil {
			t.Errorf("receipt %+v was taken", r)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = mustOpen(t, opt)
	if r, ok := j.Receipt(); !ok || r.N != 10 || r.Hash != w[9].Hash {
		t.Errorf("after a restart the receipt is %+v", r)
	}
	if s := j.State(); s.Waiting != 0 || !s.Oldest.IsZero() || s.Receipted != 10 {
		t.Errorf("state %+v", s)
	}
	mustAppend(t, j, fact(77))
	if s := j.State(); s.Waiting != 1 || !s.Oldest.Equal(fact(77).At) {
		t.Errorf("state %+v", s)
	}
}

// TestOldCopyPutBack: yesterday's copy of the directory comes back. When the cloud's receipt shows
// it, nothing more is appended under the old id; a restart begins a new journal, and what the old
// one still holds can be read and receipted.
func TestOldCopyPutBack(t *testing.T) {
	dir, copied := t.TempDir(), t.TempDir()
	opt := options(t, dir)
	j, err := journal.Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	first := mustAppend(t, j, facts(0, 5)...)
	if err := os.CopyFS(filepath.Join(copied, "yesterday"), os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	later := mustAppend(t, j, facts(5, 5)...)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	opt.Dir = filepath.Join(copied, "yesterday")
	if j, err = journal.Open(opt); err != nil {
		t.Fatal(err)
	}
	old := j.ID()
	ahead, ok := errors.AsType[*journal.AheadError](j.SetReceipt(receipt(j, later[4], 1)))
	if !ok || ahead.Receipted != 10 || ahead.Last != 5 {
		t.Fatalf("got %v", ahead)
	}
	if _, err := j.Append(wire.Synced, fact(9)); err == nil || !strings.Contains(err.Error(), "the next start begins a new journal") {
		t.Fatalf("append went on: %v", err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time the new journal has no entry yet
		if j, err = journal.Open(opt); err != nil {
			t.Fatal(err)
		}
		previous, reason := j.Origin()
		if j.ID() == old || previous != (record.Ref{Journal: old, N: 5}) || reason == "" {
			t.Fatalf("journal %s, origin %v %q", j.ID(), previous, reason)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
	j = mustOpen(t, opt)
	if w := mustAppend(t, j, fact(11)); w[0].Entry.N != 1 {
		t.Errorf("number %d", w[0].Entry.N)
	}
	lines, damage := readAll(t, j)
	if len(lines) != 6 || len(damage) > 0 || lines[key{old, 5}] != string(first[4].Line) {
		t.Errorf("%d entries, damage %v", len(lines), damage)
	}
	r := receipt(j, first[4], 2)
	r.Journal = old
	if err := j.SetReceipt(r); err != nil {
		t.Errorf("receipt of the older journal: %v", err)
	}
	if got, _ := j.Older()[0].Receipt(); got.N != 5 {
		t.Errorf("the older journal's receipt is %+v", got)
	}
	if _, err := j.Prune(noon.AddDate(2, 0, 0), time.Hour); err != nil {
		t.Fatal(err)
	}
	if n := len(j.Older()); n != 0 {
		t.Errorf("%d older journals are left", n)
	}
	if _, err := os.Stat(filepath.Join(opt.Dir, old)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the older journal's directory is left: %v", err)
	}
}

// TestDeletedWhileRunning: a journal whose files vanish under it acknowledges nothing more, and a
// restart begins a new one.
func TestDeletedWhileRunning(t *testing.T) {
	opt := options(t, t.TempDir())
	j, err := journal.Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, j, fact(1))
	old := j.ID()
	if err := os.RemoveAll(filepath.Join(opt.Dir, old)); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := j.Append(wire.Synced, fact(2)); err == nil {
			t.Fatal("an append to a deleted journal was acknowledged")
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = mustOpen(t, opt)
	if j.ID() == old {
		t.Error("the deleted journal goes on")
	}
	mustAppend(t, j, fact(3))
}

// TestWrongDirectory: the journal of another site or stream is not continued.
func TestWrongDirectory(t *testing.T) {
	opt := options(t, t.TempDir())
	j, err := journal.Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	for _, change := range []func(*journal.Options){
		func(o *journal.Options) { o.Site = "baofeng-1" },
		func(o *journal.Options) { o.Stream = wire.Samples },
		func(o *journal.Options) { o.Stream = "" },
		func(o *journal.Options) { o.Site = "../x" },
		func(o *journal.Options) { o.Budget = 5000 },
		func(o *journal.Options) { o.SegmentBytes = 1 },
	} {
		o := opt
		change(&o)
		if j, err := journal.Open(o); err == nil {
			j.Close()
			t.Errorf("opened with %+v", o)
		} else {
			t.Log(err)
		}
	}
}

// TestDamagedReceiptFile: with a clean end it costs a re-transmission, with a cut one the numbers
// behind it may have been receipted, and a new journal begins.
func TestDamagedReceiptFile(t *testing.T) {
	for _, cut := range []bool{false, true} {
		opt := options(t, t.TempDir())
		j, err := journal.Open(opt)
		if err != nil {
			t.Fatal(err)
		}
		w := mustAppend(t, j, facts(0, 4)...)
		if err := j.SetReceipt(receipt(j, w[3], 1)); err != nil {
			t.Fatal(err)
		}
		id := j.ID()
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(opt.Dir, id, "receipt")
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		data[len(data)/2] ^= 1
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if cut {
			path := filepath.Join(opt.Dir, id, "000000000001.seg")
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(path, info.Size()-5); err != nil {
				t.Fatal(err)
			}
		}
		j = mustOpen(t, opt)
		if _, ok := j.Receipt(); ok && !cut {
			t.Error("a damaged receipt was read")
		}
		if began := j.ID() != id; began != cut {
			t.Errorf("end cut: %v, new journal: %v", cut, began)
		}
	}
}

// An old copy of the disk was put back and written on before the cloud was heard: the two histories
// differ under one number. The journal ends, and the next start begins another one.
func TestAForkedJournalIsNotContinued(t *testing.T) {
	opt := options(t, t.TempDir())
	j := mustOpen(t, opt)
	w := mustAppend(t, j, facts(0, 10)...)
	other := receipt(j, w[9], 50)
	other.N = 5
	if fork, ok := errors.AsType[*journal.ForkError](j.SetReceipt(other)); !ok || fork.N != 5 {
		t.Fatalf("a receipt for another entry 5 was taken: %v", fork)
	}
	if _, err := j.Append(wire.Synced, fact(77)); err == nil {
		t.Error("a forked journal was written on")
	}
	if r, ok := j.Receipt(); ok && r.N != 0 {
		t.Errorf("the foreign receipt frees entries up to %d", r.N)
	}
	id := j.ID()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = mustOpen(t, opt)
	defer j.Close()
	if j.ID() == id {
		t.Fatal("the forked journal is continued")
	}
	if older := j.Older(); len(older) != 1 || older[0].ID() != id || older[0].Last().N != 10 {
		t.Errorf("the forked journal is not kept: %v", older)
	}
	if previous, reason := j.Origin(); previous.Journal != id || !strings.Contains(reason, "another entry 5") {
		t.Errorf("origin %v, %q", previous, reason)
	}
}
