package ingest_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"steelyard/cloud/ingest"
	"steelyard/cloud/ledger"
	"steelyard/cloud/ledger/ledgertest"
	"steelyard/internal/chain"
	"steelyard/internal/wire"
)

// TestReceiptsDoNotWaitForEachOther: a broker that is far away acknowledges late. Receipts of many
// sites are on their way at once; of one journal only the newest is said, and never an older one
// after it.
func TestReceiptsDoNotWaitForEachOther(t *testing.T) {
	const sites, batches, away = 16, 20, 100 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		l, err := ledger.Open(ctx, filepath.Join(t.TempDir(), "ledger.db"), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		keys := map[string]chain.PublicKey{}
		var journals []*ledgertest.Journal
		for k := range sites {
			j := ledgertest.New(fmt.Sprint("site-", k), uint64(k+1)).Shift(batches)
			journals, keys[j.Site] = append(journals, j), j.Key.Public()
			if err := l.Enrol(ctx, j.Site, j.Key.Public(), ledgertest.Start()); err != nil {
				t.Fatal(err)
			}
		}
		var mu sync.Mutex // guards the fields below
		said, flying, most := map[string][]uint64{}, 0, 0
		i, err := ingest.New(ingest.Config{Sites: keys, Key: ledgertest.KeyOf("the-cloud"), Ledger: l, Log: slog.New(slog.DiscardHandler), Now: time.Now,
			Samples: func(context.Context, []*wire.Batch) error { return nil },
			Publish: func(_ context.Context, topic string, payload []byte, _ bool) error {
				r, err := wire.DecodeReceipt(payload, ledgertest.KeyOf("the-cloud").Public())
				mu.Lock()
				flying++
				most = max(most, flying)
				mu.Unlock()
				time.Sleep(away)
				mu.Lock()
				defer mu.Unlock()
				flying--
				said[topic] = append(said[topic], r.N)
				return err
			}})
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- i.Run(ctx) }()
		began := time.Now()
		for n := uint64(1); n <= batches; n++ {
			for _, j := range journals {
				i.Handle(wire.TopicOf(j.Site, j.Stream), j.Payload(n, n), false)
			}
			time.Sleep(away / 4)
		}
		done := func() bool {
			mu.Lock()
			defer mu.Unlock()
			for _, j := range journals {
				if all := said[wire.ReceiptTopic(j.Site, j.Stream)]; len(all) == 0 || all[len(all)-1] != batches {
					return false
				}
			}
			return true
		}
		for !done() && time.Since(began) < time.Minute {
			time.Sleep(away / 4)
		}
		// One by one, 16 newest receipts alone would take 1.6 s after the last batch.
		if took := time.Since(began); took > batches*away/4+3*away {
			t.Errorf("the last receipt is there after %v", took)
		}
		if most != sites {
			t.Errorf("up to %d receipts on their way at once, want %d", most, sites)
		}
		for topic, all := range said {
			for k := range all[1:] {
				if all[k] >= all[k+1] {
					t.Errorf("%s: receipts of %v", topic, all)
				}
			}
			if len(all) > batches/2 {
				t.Errorf("%s: %d receipts, want only the newest each time", topic, len(all))
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestFullQueueHoldsTheSenderUp: records for which there is no room wait at the door instead of
// being dropped; where nothing is ever taken the first waits in vain and the next ones do not wait.
func TestFullQueueHoldsTheSenderUp(t *testing.T) {
	for _, patience := range []time.Duration{0, -1} { // 0: the default; negative: the control, which drops
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			j := ledgertest.New("xinhua-1", 1).Shift(400)
			l, err := ledger.Open(ctx, filepath.Join(t.TempDir(), "ledger.db"), slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Enrol(ctx, j.Site, j.Key.Public(), ledgertest.Start()); err != nil {
				t.Fatal(err)
			}
			i, err := ingest.New(ingest.Config{Sites: map[string]chain.PublicKey{j.Site: j.Key.Public()}, Key: ledgertest.KeyOf("the-cloud"), Ledger: l,
				Log: slog.New(slog.DiscardHandler), Now: time.Now, MaxQueue: 64 << 10, Patience: patience,
				Samples: func(context.Context, []*wire.Batch) error { return nil },
				Publish: func(context.Context, string, []byte, bool) error { return nil }})
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				for n := uint64(1); n <= 400; n++ {
					i.HandleOwn(wire.TopicOf(j.Site, j.Stream), j.Payload(n, n), false)
				}
			}()
			if patience == 0 {
				synctest.Wait() // the queue is full, and Run has not begun
			} else {
				<-sent
			}
			ended := make(chan error, 1)
			go func() { ended <- i.Run(ctx) }()
			<-sent
			for i.Stats().Queued > 0 && time.Since(began) < time.Minute {
				time.Sleep(time.Millisecond)
			}
			synctest.Wait()
			switch s := i.Stats(); {
			case patience == 0 && (s.Dropped != 0 || s.Accepted != 400):
				t.Errorf("%d of 400 entries are taken, %d messages were dropped", s.Accepted, s.Dropped)
			case patience < 0 && s.Dropped == 0:
				t.Error("without patience nothing was dropped: the test proves nothing")
			}
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			if patience < 0 {
				return
			}
			// Nothing is taken any more: one sender waits, the others are told at once.
			began = time.Now()
			for range 400 {
				i.HandleOwn(wire.TopicOf(j.Site, j.Stream), j.Payload(1, 1), false)
			}
			if waited := time.Since(began); waited != 5*time.Second {
				t.Errorf("a queue of which nothing is taken held its senders up for %v, want 5 s once", waited)
			}
		})
	}
}
