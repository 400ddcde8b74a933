package uplink_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
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

// A broker acknowledges large messages and drops them: small ones pass, and what they carry is not
// held up.
func TestBatchesShrinkWhereLargeOnesAreSwallowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := open(t, t.TempDir())
		defer shut(t, j)
		all := write(t, j, 100)
		c := newCloud(t)
		c.fate = func(_ int, b *wire.Batch) fate { return fate{lost: len(b.Entries) > 3} }
		s := c.connect(j, func(c *uplink.Config) { c.Batch = 64 })
		r := c.run(s)
		time.Sleep(30 * time.Second)
		if waits := s.Unanswered(); waits != 30*time.Second {
			t.Errorf("nothing was answered for %v, want 30 s", waits)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		equal(t, "ledger", c.taken, lines(all))
		equal(t, "waits at the end", s.Unanswered(), 0)
		r.end()
	})
}

// The city vouches with a word of now, not with one that a broker has kept, and only for what the
// disk holds.
func TestOnlyALiveReceiptVouches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := open(t, t.TempDir())
		defer shut(t, j)
		write(t, j, 5)
		c := newCloud(t)
		r := c.run(c.connect(j, nil))
		synctest.Wait()
		r.end()

		var answers atomic.Bool
		c.fate = func(int, *wire.Batch) fate { return fate{lost: !answers.Load()} }
		s := c.connect(j, nil)
		vouched := func() bool {
			select {
			case <-s.Vouched():
				return true
			default:
				return false
			}
		}
		r = c.run(s)
		s.Receive(mqtt.Message{Topic: wire.ReceiptTopic(site, wire.Records), Payload: c.held[j.ID()].Encode(c.key), Retained: true})
		time.Sleep(time.Second)
		if vouched() {
			t.Error("a kept receipt vouched")
		}
		answers.Store(true) // the question is sent again
		time.Sleep(time.Minute)
		if !vouched() {
			t.Error("the city's answer did not vouch")
		}
		r.end()
	})
}

// What the broker has kept comes with the subscription, before anything is sent.
func TestEarlyReceiptIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := open(t, t.TempDir())
		defer shut(t, j)
		write(t, j, 5)
		c := newCloud(t)
		c.fate = func(int, *wire.Batch) fate { return fate{lost: true} }
		s := c.connect(j, nil)
		s.Prepare()
		ahead := wire.Receipt{V: 1, Site: site, Journal: j.ID(), Stream: wire.Records, N: 9, AtMS: 1}
		s.Receive(mqtt.Message{Topic: wire.ReceiptTopic(site, wire.Records), Payload: ahead.Encode(c.key), Retained: true})
		r := c.run(s)
		synctest.Wait()
		if err := r.end(); !journal.Broken(err) {
			t.Errorf("got %v, want that the city has more", err)
		}
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
		// After 10 s and 20 s, then each 30 s, looked at each 2.5 s.
		if n := len(c.batches); n < 110 || n > 125 {
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
		equal(t, "sent", c.sent(j.ID()), append(numbers(1, 30), numbers(11, 15)...)) // carefully, after a stall
		r.end()
	})
}

func TestHoleGoesBackAlsoBelowTheReceipt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := open(t, t.TempDir())
		defer shut(t, j)
		all := write(t, j, 40)
		c := newCloud(t)
		c.clock = 1 << 41 // the city's clock is decades ahead
		s := c.connect(j, func(c *uplink.Config) { c.Window, c.Batch = 1, 10 })
		r := c.run(s)
		synctest.Wait()
		held := c.held[j.ID()]
		equal(t, "at first", held.N, uint64(40))
		retained, _ := j.Receipt()

		// The ledger is put back from an older copy: it ends at 10. The clock is set right meanwhile.
		c.clock = 0
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
		// Drawn, not counted: a period that a round of sending fits into would lose the same batch in
		// each of them.
		random := rand.New(rand.NewPCG(3, 7))
		c.fate = func(int, *wire.Batch) fate { return fate{lost: random.IntN(3) == 0, mute: random.IntN(7) == 0} }
		r := c.run(c.connect(j, func(c *uplink.Config) { c.Batch = 7 }))
		time.Sleep(20 * time.Minute)
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
		equal(t, "in flight without a receipt", c.sent(j.ID()), numbers(1, 10))
		for _, want := range []uint64{30, 60, 90} { // a window of two, then of three and no more
			c.receipt(c.held[j.ID()])
			synctest.Wait()
			equal(t, "after a receipt", c.sent(j.ID()), numbers(1, want))
		}
		quiet = false
		c.receipt(c.held[j.ID()])
		synctest.Wait()
		equal(t, "ledger", c.taken, lines(all))
		equal(t, "sent", c.sent(j.ID()), numbers(1, 100))
		r.end()
	})
}

// TestSlowCloudIsNotSentTheSameTwice: a cloud that has much to do answers late. What waits in its
// queue is not sent again, and little is added to it; when it is quick again the window opens.
func TestSlowCloudIsNotSentTheSameTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := open(t, t.TempDir())
		defer shut(t, j)
		write(t, j, 200)
		c := newCloud(t)
		late := 8 * time.Second // shorter than the first patience; then longer than it
		c.fate = func(int, *wire.Batch) fate { return fate{mute: true} }
		s := c.connect(j, func(c *uplink.Config) { c.Batch = 4 })
		r := c.run(s)
		most := 0
		answer := func(rounds int) {
			for range rounds {
				time.Sleep(late)
				c.mu.Lock()
				r, _ := j.Receipt()
				most = max(most, int(c.held[j.ID()].N-r.N)/4)
				c.receipt(c.held[j.ID()])
				c.mu.Unlock()
				synctest.Wait()
			}
		}
		answer(3)
		late = 20 * time.Second
		answer(5)
		if most != 1 {
			t.Errorf("up to %d batches in flight to a slow cloud, want 1", most)
		}
		late = 10 * time.Millisecond
		answer(5)
		if most != 8 {
			t.Errorf("up to %d batches in flight to a quick cloud, want 8", most)
		}
		if got := c.sent(j.ID()); !slices.Equal(got, numbers(1, uint64(len(got)))) {
			t.Errorf("sent twice, or out of order: %v", got)
		}
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
		const cuts = 4
		cutOff := 0
		c.fate = func(k int, _ *wire.Batch) fate {
			if k%4 == 3 && cutOff < cuts {
				cutOff++
				return fate{err: cut}
			}
			return fate{mute: k%2 == 0}
		}
		s := c.connect(j, func(c *uplink.Config) { c.Batch = 10 })
		// In which order a connection hears of receipts, holes and its end is chance: it may be the
		// second cut or the last after which everything is there. A connection on which nothing is
		// left to send goes on, so the bubble's clock ends it.
		ended := 0
		for alive := false; !alive; {
			ctx, stop := context.WithTimeout(t.Context(), time.Minute)
			err := s.Run(ctx, c.publish)
			stop()
			switch {
			case errors.Is(err, cut):
				ended++
			case errors.Is(err, context.DeadlineExceeded):
				alive = true
			default:
				t.Fatalf("got %v, want the error of the publish", err)
			}
		}
		if ended == 0 || ended > cuts {
			t.Errorf("%d connections ended with the error of a publish, %d were cut", ended, cutOff)
		}
		equal(t, "ledger", c.taken, lines(all))
	})
}
