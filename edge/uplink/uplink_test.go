package uplink_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"steelyard/edge/journal"
	"steelyard/edge/uplink"
	"steelyard/internal/chain"
	"steelyard/internal/mqtt"
	"steelyard/internal/record"
	"steelyard/internal/wire"
)

// The tests run in bubbles: their time goes on only when nobody works, so that the 10 s without
// progress pass at once, and a goroutine that outlives its test is a failure by itself.

func equal[T any](t testing.TB, what string, got, want T) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func TestEverythingOnceInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := open(t, t.TempDir())
		defer shut(t, j)
		before := write(t, j, 700)
		c := newCloud(t)
		r := c.run(c.connect(j, nil))
		synctest.Wait()
		after := write(t, j, 30) // while it runs
		synctest.Wait()
		time.Sleep(time.Minute) // nothing is repeated without need
		if err := r.end(); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the cancellation", err)
		}
		equal(t, "ledger", c.taken, lines(before, after))
		equal(t, "sent", c.sent(j.ID()), numbers(1, 730))
		if got, ok := j.Receipt(); !ok || got.N != 730 {
			t.Errorf("the journal holds the receipt of %d, want 730", got.N)
		}
	})
}

func TestSendsAgainFromTheLastReceiptAfterStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := open(t, t.TempDir())
		defer shut(t, j)
		all := write(t, j, 50)
		c := newCloud(t)
		// The broker acknowledges everything. Of the first round it drops every batch after the
		// second, so that no later one shows the hole.
		c.fate = func(k int, _ *wire.Batch) fate { return fate{lost: k >= 2 && k < 5} }
		s := c.connect(j, func(c *uplink.Config) { c.Batch = 10 })
		r := c.run(s)
		synctest.Wait()
		equal(t, "before the stall", c.sent(j.ID()), numbers(1, 50))
		time.Sleep(13 * time.Second)
		synctest.Wait()
		r.end()
		equal(t, "with the stall", c.sent(j.ID()), append(numbers(1, 50), numbers(21, 50)...))
		equal(t, "ledger", c.taken, lines(all))
	})
}

func TestTrustedPubackLoses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := open(t, t.TempDir())
		defer shut(t, j)
		all := write(t, j, 50)
		c := newCloud(t)
		c.fate = func(k int, _ *wire.Batch) fate { return fate{lost: k >= 2 && k < 5} }
		s := c.connect(j, func(c *uplink.Config) { c.Batch, c.TrustPuback = 10, true })
		r := c.run(s)
		synctest.Wait()
		time.Sleep(time.Hour)
		r.end()
		r = c.run(s) // not even a new connection sends it
		time.Sleep(time.Hour)
		r.end()
		equal(t, "ledger", c.taken, lines(all[:20]))
	})
}

func TestNeitherPubackNorTokenFrees(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := open(t, t.TempDir())
		defer shut(t, j)
		write(t, j, 20)
		c := newCloud(t)
		c.fate = func(int, *wire.Batch) fate { return fate{lost: true} }
		r := c.run(c.connect(j, nil))
		time.Sleep(time.Hour)
		r.end()
		if got, ok := j.Receipt(); ok {
			t.Errorf("the journal has a receipt of %d that nobody gave", got.N)
		}
		// Every 10 s, looked at each 2.5 s: 360 times is the most, 240 the least.
		if n := len(c.batches); n < 240 || n > 361 {
			t.Errorf("sent %d times in an hour", n)
		}
		equal(t, "all from the start", c.batches[len(c.batches)-1].First, uint64(1))
	})
}

func TestForgedForeignAndOlderReceiptsFreeNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := open(t, t.TempDir())
		defer shut(t, j)
		all := write(t, j, 30)
		c := newCloud(t)
		// The cloud commits 1 to 10, and nothing else arrives.
		c.fate = func(k int, _ *wire.Batch) fate { return fate{lost: k > 0} }
		s := c.connect(j, func(c *uplink.Config) { c.Batch = 10 })
		r := c.run(s)
		synctest.Wait()
		good := c.held[j.ID()]
		forged := func(change func(*wire.Receipt)) wire.Receipt {
			r := good
			r.N, r.Hash, r.AtMS = 30, all[29].Hash, 1<<40
			change(&r)
			return r
		}
		c.say(forged(func(*wire.Receipt) {}), chain.NewKey())
		c.say(forged(func(r *wire.Receipt) {}), c.edge)
		c.say(forged(func(r *wire.Receipt) { r.Site = "ruzhou-1" }), c.key)
		c.say(forged(func(r *wire.Receipt) { r.Stream = wire.Samples }), c.key)
		c.say(forged(func(r *wire.Receipt) { r.Journal = strings.Repeat("ab", 16) }), c.key)
		c.say(forged(func(r *wire.Receipt) { r.N, r.Hash, r.AtMS = 5, all[4].Hash, 0 }), c.key)
		for _, broken := range []string{"", "{", `{"v":1}`, `{"v":2}`, strings.Repeat("x", 1<<20)} {
			s.Receive(mqtt.Message{Topic: wire.ReceiptTopic(site, wire.Records), Payload: []byte(broken)})
		}
		altered := bytes.Replace(forged(func(r *wire.Receipt) { r.N = 20 }).Encode(c.key), []byte(`"n":20`), []byte(`"n":30`), 1)
		s.Receive(mqtt.Message{Topic: wire.ReceiptTopic(site, wire.Records), Payload: altered})
		time.Sleep(13 * time.Second)
		synctest.Wait()
		if got, _ := j.Receipt(); got.N != 10 {
			t.Errorf("the journal holds the receipt of %d, want 10", got.N)
		}
		equal(t, "sent", c.sent(j.ID()), append(numbers(1, 30), numbers(11, 30)...))
		r.end()
	})
}

func TestHoleGoesBackAlsoBelowTheReceipt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := open(t, t.TempDir())
		defer shut(t, j)
		all := write(t, j, 40)
		c := newCloud(t)
		s := c.connect(j, func(c *uplink.Config) { c.Window, c.Batch = 1, 10 })
		r := c.run(s)
		synctest.Wait()
		held := c.held[j.ID()]
		equal(t, "at first", held.N, uint64(40))
		retained, _ := j.Receipt()

		// The ledger is put back from an older copy: it ends at 10.
		c.taken = c.taken[:10]
		c.held[j.ID()] = wire.Receipt{N: 10, Hash: all[9].Hash}
		// What the broker had kept says 40 once more, before and after the request.
		c.say(retained, c.key)
		s.Request(wire.Request{V: 1, Journal: j.ID(), Stream: wire.Records, From: 11, Why: "hole"})
		c.say(retained, c.key)
		synctest.Wait()
		equal(t, "ledger", c.taken, lines(all))
		more := write(t, j, 1)
		synctest.Wait()
		equal(t, "ledger goes on", c.taken, lines(all, more))

		// What makes no sense changes nothing.
		n := len(c.batches)
		for _, q := range []wire.Request{
			{Journal: strings.Repeat("ab", 16), Stream: wire.Records, From: 1, Why: "hole"},
			{Journal: j.ID(), Stream: wire.Samples, From: 1, Why: "hole"},
			{Journal: j.ID(), Stream: wire.Records, From: 0, Why: "hole"},
			{Journal: j.ID(), Stream: wire.Records, From: 1 << 60, Why: "hole"},
		} {
			s.Request(q)
		}
		time.Sleep(time.Minute)
		equal(t, "batches", len(c.batches), n)
		r.end()
	})
}

func TestHoleOnTheWayIsFilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := open(t, t.TempDir())
		defer shut(t, j)
		all := write(t, j, 100)
		c := newCloud(t)
		c.fate = func(k int, _ *wire.Batch) fate { return fate{lost: k%3 == 1, mute: k%7 == 2} }
		r := c.run(c.connect(j, func(c *uplink.Config) { c.Batch = 7 }))
		time.Sleep(5 * time.Minute)
		r.end()
		equal(t, "ledger", c.taken, lines(all))
	})
}

func TestRefusalIsShownUntilTheNextReceipt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := open(t, t.TempDir())
		defer shut(t, j)
		write(t, j, 5)
		c := newCloud(t)
		var refuse atomic.Bool
		refuse.Store(true)
		c.fate = func(int, *wire.Batch) fate { return fate{lost: refuse.Load()} }
		s := c.connect(j, nil)
		r := c.run(s)
		synctest.Wait()
		equal(t, "at first", s.Refused(), "")
		s.Request(wire.Request{V: 1, Journal: j.ID(), Stream: wire.Records, From: 1, Why: "signature: not signed with the key of site xinhua-1"})
		synctest.Wait()
		equal(t, "refused", s.Refused(), "signature: not signed with the key of site xinhua-1")
		equal(t, "a refusal is no reason to send at once", len(c.batches), 1)
		refuse.Store(false)
		time.Sleep(13 * time.Second)
		synctest.Wait()
		equal(t, "accepted", s.Refused(), "")
		equal(t, "ledger", len(c.taken), 5)
		r.end()
	})
}

func TestWindowIsRespected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := open(t, t.TempDir())
		defer shut(t, j)
		all := write(t, j, 100)
		c := newCloud(t)
		quiet := true
		c.fate = func(int, *wire.Batch) fate { return fate{mute: quiet} }
		s := c.connect(j, func(c *uplink.Config) { c.Window, c.Batch = 3, 10 })
		r := c.run(s)
		synctest.Wait()
		equal(t, "in flight without a receipt", c.sent(j.ID()), numbers(1, 30))
		c.receipt(c.held[j.ID()]) // of 30: room for three more
		synctest.Wait()
		equal(t, "after one receipt", c.sent(j.ID()), numbers(1, 60))
		quiet = false
		c.receipt(c.held[j.ID()])
		synctest.Wait()
		equal(t, "ledger", c.taken, lines(all))
		equal(t, "sent", c.sent(j.ID()), numbers(1, 100))
		r.end()
	})
}

func TestPublishErrorEndsTheConnectionAndTheNextGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := open(t, t.TempDir())
		defer shut(t, j)
		all := write(t, j, 60)
		c := newCloud(t)
		cut := errors.New("the link dropped")
		c.fate = func(k int, _ *wire.Batch) fate {
			if k%4 == 3 {
				return fate{err: cut}
			}
			return fate{mute: k%2 == 0}
		}
		s := c.connect(j, func(c *uplink.Config) { c.Batch = 10 })
		for range 10 {
			if err := s.Run(t.Context(), c.publish); !errors.Is(err, cut) {
				t.Fatalf("got %v, want the error of the publish", err)
			}
			if len(c.taken) == 60 {
				break
			}
		}
		equal(t, "ledger", c.taken, lines(all))
	})
}

func TestBatchesKeepTheLimitsOfTheWire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opt := options(t, t.TempDir(), wire.Records)
		opt.SegmentBytes = 1 << 20
		j, err := journal.Open(opt)
		if err != nil {
			t.Fatal(err)
		}
		defer shut(t, j)
		largest := func() record.Fact {
			return record.Fact{At: noon, Body: &record.Device{State: "online", Detail: strings.Repeat("长", (wire.MaxLine-420)/3)}}
		}
		var all []journal.Written
		for range 20 {
			w, err := j.Append(wire.Synced, largest())
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, w...)
		}
		if got := len(all[0].Line); got < wire.MaxLine-200 {
			t.Fatalf("lines of %d bytes, want them near %d", got, wire.MaxLine)
		}
		all = append(all, write(t, j, 1500)...)
		c := newCloud(t)
		r := c.run(c.connect(j, func(c *uplink.Config) { c.Batch = wire.MaxEntries }))
		synctest.Wait()
		r.end()
		equal(t, "ledger", len(c.taken), len(all))
		most, plain := 0, 0
		for _, b := range c.batches { // the cloud has decoded each, with its limits
			size := 0
			for _, line := range b.Lines {
				size += len(line) + 1
			}
			most, plain = max(most, len(b.Entries)), max(plain, size)
		}
		if most > wire.MaxEntries || plain > wire.MaxBatch || plain < wire.MaxBatch/2 {
			t.Errorf("at most %d entries and %d bytes in a batch", most, plain)
		}
	})
}

func TestRecordsAndSamplesAreIndependent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		records := open(t, t.TempDir())
		defer shut(t, records)
		samples, err := journal.Open(options(t, t.TempDir(), wire.Samples))
		if err != nil {
			t.Fatal(err)
		}
		defer shut(t, samples)
		want := write(t, records, 40)
		write(t, samples, 40)
		c, curves := newCloud(t), newCloud(t)
		curves.key, curves.edge = c.key, c.edge
		curves.fate = func(int, *wire.Batch) fate { return fate{lost: true} } // InfluxDB is down
		r := c.run(c.connect(records, nil))
		q := curves.run(curves.connect(samples, func(c *uplink.Config) { c.Stream = wire.Samples }))
		synctest.Wait()
		// A receipt of records says nothing of samples, and the other way round.
		curves.say(c.held[records.ID()], c.key)
		time.Sleep(time.Minute)
		r.end()
		q.end()
		equal(t, "ledger", c.taken, lines(want))
		if _, ok := samples.Receipt(); ok || len(curves.taken) > 0 {
			t.Error("samples were receipted")
		}
	})
}

// segments are the files of a journal, in order.
func segments(t testing.TB, dir, id string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, id, "*"))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, f := range files {
		if name := filepath.Base(f); name != "receipt" && !strings.HasSuffix(name, ".tmp") {
			all = append(all, f)
		}
	}
	if len(all) == 0 {
		t.Fatalf("no segment of %s in %s", id, dir)
	}
	return all
}

// spoil flips a byte in the entry that holds a text.
func spoil(t testing.TB, dir, id, text string) {
	t.Helper()
	for _, f := range segments(t, dir, id) {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if i := bytes.Index(data, []byte(text)); i >= 0 {
			data[i] ^= 1
			if err := os.WriteFile(f, data, 0o600); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("%q is in no segment", text)
}

func TestDamageIsDeclaredAsAHole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		j := open(t, dir)
		defer shut(t, j)
		all := write(t, j, 40)
		spoil(t, dir, j.ID(), "fact 1 of")
		spoil(t, dir, j.ID(), "fact 17 of")
		spoil(t, dir, j.ID(), "fact 18 of")
		c := newCloud(t)
		r := c.run(c.connect(j, func(c *uplink.Config) { c.Batch = 10 }))
		synctest.Wait()
		r.end()
		equal(t, "ledger", c.taken, lines(all[1:16], all[18:]))
		equal(t, "holes", c.holes, []wire.Hole{{From: 1, Reason: "damaged"}, {From: 17, Reason: "damaged"}})
		if got, _ := j.Receipt(); got.N != 40 {
			t.Errorf("receipted up to %d, want 40", got.N)
		}
	})
}

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

func TestOlderJournalsGoFirst(t *testing.T) {
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
		equal(t, "ledger", c.taken, lines(a[12:], b, d))
		r.end()
		// On the next connection nothing of the older ones is sent again.
		n := len(c.batches)
		r = c.run(s)
		time.Sleep(time.Minute)
		equal(t, "batches", len(c.batches), n)
		r.end()
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
		equal(t, "ledger", c.taken, lines(a[12:29], d))
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
