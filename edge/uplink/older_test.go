package uplink_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"steelyard/edge/journal"
	"steelyard/edge/uplink"
	"steelyard/internal/chain"
	"steelyard/internal/wire"
)

// successor closes a journal and puts a newer one into its directory, as after an older copy of
// the directory was put back: the older one is receipted up to done.
func successor(t testing.TB, dir string, j *journal.Journal, all []journal.Written, done int) *journal.Journal {
	t.Helper()
	r := wire.Receipt{V: 1, Site: site, Journal: j.ID(), Stream: wire.Records, N: j.Last().N + 5, AtMS: 1}
	if _, ahead := errors.AsType[*journal.AheadError](j.SetReceipt(r)); !ahead {
		t.Fatal("the journal took a receipt from its future")
	}
	r.N, r.AtMS, r.Hash = uint64(done), 2, chain.Hash{}
	if done > 0 {
		r.Hash = all[done-1].Hash
	}
	if err := j.SetReceipt(r); err != nil {
		t.Fatal(err)
	}
	shut(t, j)
	next := open(t, dir)
	if next.ID() == j.ID() || len(next.Older()) == 0 {
		t.Fatal("no new journal was begun")
	}
	return next
}

func TestOlderJournalsAreSentToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		first := open(t, dir)
		a := write(t, first, 30)
		second := successor(t, dir, first, a, 12)
		b := write(t, second, 25)
		third := successor(t, dir, second, b, 0)
		defer shut(t, third)
		d := write(t, third, 20)
		c := newCloud(t)
		c.clock = 10
		c.held[first.ID()] = wire.Receipt{N: 12, Hash: a[11].Hash}
		c.fate = func(k int, _ *wire.Batch) fate { return fate{lost: k == 1} }
		s := c.connect(third, func(c *uplink.Config) { c.Batch = 10 })
		r := c.run(s)
		time.Sleep(time.Minute)
		synctest.Wait()
		equal(t, "ledger", c.ledger(first, second, third), lines(a[12:], b, d))
		r.end()
		// On the next connection nothing is sent again but the question, the newest entry of all.
		n := len(c.batches)
		r = c.run(s)
		time.Sleep(time.Minute)
		r.end()
		equal(t, "batches", len(c.batches), n+1)
		equal(t, "the question", c.batches[n].First, third.Last().N)
	})
}

func TestUnreadableEndOfAnOlderJournalHoldsUpNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		first := open(t, dir)
		a := write(t, first, 30)
		second := successor(t, dir, first, a, 12)
		defer shut(t, second)
		d := write(t, second, 20)
		spoil(t, dir, first.ID(), "fact 30 of")
		c := newCloud(t)
		c.clock = 10
		c.held[first.ID()] = wire.Receipt{N: 12, Hash: a[11].Hash}
		s := c.connect(second, nil)
		for range 2 { // connections
			r := c.run(s)
			time.Sleep(time.Minute)
			r.end()
		}
		equal(t, "ledger", c.ledger(first, second), lines(a[12:29], d))
	})
}

func TestReceiptOfWhatIsNotThereEndsTheRun(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(r *wire.Receipt)
		is     func(error) bool
	}{
		"ahead": {func(r *wire.Receipt) { r.N = 25 }, func(err error) bool {
			e, ok := errors.AsType[*journal.AheadError](err)
			return ok && e.Receipted == 25 && e.Last == 20
		}},
		"fork": {func(r *wire.Receipt) { r.N, r.Hash = 15, chain.Of([]byte("another entry")) }, func(err error) bool {
			e, ok := errors.AsType[*journal.ForkError](err)
			return ok && e.N == 15
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := open(t, t.TempDir())
				defer shut(t, j)
				write(t, j, 20)
				c := newCloud(t)
				c.fate = func(int, *wire.Batch) fate { return fate{lost: true} }
				r := c.run(c.connect(j, nil))
				synctest.Wait()
				receipt := wire.Receipt{Site: site, Journal: j.ID(), Stream: wire.Records}
				tc.change(&receipt)
				c.receipt(receipt)
				if err := <-r.done; !tc.is(err) {
					t.Errorf("got %v", err)
				}
				r.stop()
			})
		})
	}
}

func TestDiskThatTakesNoReceiptStopsNoSending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		j := open(t, dir)
		defer shut(t, j)
		all := write(t, j, 100)
		// A folder that can't be removed stands where a receipt is written.
		block := filepath.Join(dir, j.ID(), "receipt.tmp")
		if err := os.MkdirAll(filepath.Join(block, "x"), 0o700); err != nil {
			t.Fatal(err)
		}
		c := newCloud(t)
		r := c.run(c.connect(j, func(c *uplink.Config) { c.Window, c.Batch = 2, 10 }))
		synctest.Wait()
		equal(t, "ledger", c.taken, lines(all))
		equal(t, "sent", c.sent(j.ID()), numbers(1, 100))
		if got, ok := j.Receipt(); ok {
			t.Errorf("the journal has a receipt of %d that is not on the disk", got.N)
		}
		if err := os.RemoveAll(block); err != nil {
			t.Fatal(err)
		}
		write(t, j, 1)
		synctest.Wait()
		if got, _ := j.Receipt(); got.N != 101 {
			t.Errorf("receipted up to %d, want 101", got.N)
		}
		r.end()
	})
}

// A journal that the cloud does not take, because it holds another history of it, is offered again
// and again, and holds up nothing.
func TestForkedJournalHoldsUpNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		first := open(t, dir)
		write(t, first, 30)
		forked := wire.Receipt{V: 1, Site: site, Journal: first.ID(), Stream: wire.Records, N: 20, Hash: chain.Of([]byte("another 20")), AtMS: 5}
		if _, fork := errors.AsType[*journal.ForkError](first.SetReceipt(forked)); !fork {
			t.Fatal("the fork was not noticed")
		}
		shut(t, first)
		second := open(t, dir)
		defer shut(t, second)
		d := write(t, second, 20)
		c := newCloud(t)
		c.clock = 10
		c.fate = func(_ int, b *wire.Batch) fate { return fate{lost: b.Journal == first.ID()} }
		r := c.run(c.connect(second, nil))
		time.Sleep(time.Minute)
		synctest.Wait()
		equal(t, "ledger", c.ledger(second), lines(d))
		if len(c.sent(first.ID())) < 60 {
			t.Errorf("the forked journal was offered with %d entries in a minute", len(c.sent(first.ID())))
		}
		r.end()
	})
}
