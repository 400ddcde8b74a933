package ingest_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"steelyard/cloud/ingest"
	"steelyard/cloud/ledger"
	"steelyard/cloud/ledger/ledgertest"
	"steelyard/internal/chain"
	"steelyard/internal/wire"
)

// town is an Ingest with what is around it: the ledger, and a broker that keeps what it is told.
type town struct {
	testing.TB
	*ingest.Ingest
	ledger *ledger.Ledger
	key    chain.Key

	mu       sync.Mutex
	receipts []wire.Receipt
	requests map[string][]wire.Request
	samples  func([]*wire.Batch) error
}

func newTown(t testing.TB, maxQueue int, sites ...string) *town {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	l, err := ledger.Open(t.Context(), filepath.Join(t.TempDir(), "ledger.db"), log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	keys := map[string]chain.PublicKey{}
	for _, site := range sites {
		keys[site] = ledgertest.KeyOf(site).Public()
		if err := l.Enrol(t.Context(), site, keys[site], time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	town := &town{TB: t, ledger: l, key: ledgertest.KeyOf("the-cloud"), requests: map[string][]wire.Request{},
		samples: func([]*wire.Batch) error { return nil }}
	town.Ingest, err = ingest.New(ingest.Config{Sites: keys, Key: town.key, Ledger: l, Log: log, Now: time.Now, MaxQueue: maxQueue,
		Publish: town.publish, Samples: func(_ context.Context, batches []*wire.Batch) error {
			town.mu.Lock()
			store := town.samples
			town.mu.Unlock()
			return store(batches)
		}})
	if err != nil {
		t.Fatal(err)
	}
	return town
}

// start runs the Ingest until the test ends, or stop is called.
func (t *town) start() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- t.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error("Run:", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func (t *town) publish(_ context.Context, topic string, payload []byte, retained bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	site, rest, err := wire.SplitTopic(topic)
	if err != nil {
		return err
	}
	if rest == "request" {
		r, err := wire.DecodeRequest(payload)
		t.requests[site] = append(t.requests[site], r)
		return err
	}
	r, err := wire.DecodeReceipt(payload, t.key.Public())
	if err != nil || !retained || topic != wire.ReceiptTopic(r.Site, r.Stream) {
		t.Errorf("receipt on %s, retained %t: %v", topic, retained, err)
	}
	t.receipts = append(t.receipts, r)
	return nil
}

// receipted is the newest receipt of a journal.
func (t *town) receipted(j *ledgertest.Journal) (n uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range t.receipts {
		if r.Journal != j.ID {
			continue
		}
		if r.N > j.Last() || r.Hash != j.Hash(r.N) {
			t.Errorf("receipt for entry %d, which the edge has not written so", r.N)
		}
		n = max(n, r.N)
	}
	return n
}

func (t *town) told(site, why string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.ContainsFunc(t.requests[site], func(r wire.Request) bool { return strings.Contains(r.Why, why) })
}

func (t *town) until(what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain until %s; %+v", what, t.Stats())
		}
	}
}

func (t *town) send(j *ledgertest.Journal, first, last uint64) {
	t.Handle(wire.TopicOf(j.Site, j.Stream), j.Payload(first, last), false)
}

// holds compares the ledger with what the journals say: nothing lost, twice, altered or invented.
func (t *town) holds(journals ...*ledgertest.Journal) {
	t.Helper()
	if err := audit(t.ledger.Reader, journals...); err != nil {
		t.Error(err)
	}
}

func audit(r *ledger.Reader, journals ...*ledgertest.Journal) error {
	entries, err := r.Entries(context.Background(), 0, 1<<30)
	if err != nil {
		return err
	}
	next := map[string]uint64{}
	for _, e := range entries {
		next[e.Journal]++
		k := slices.IndexFunc(journals, func(j *ledgertest.Journal) bool { return j.ID == e.Journal })
		if k < 0 || e.N != next[e.Journal] || e.N > journals[k].Last() || string(e.Line) != string(journals[k].Lines[e.N-1]) {
			return fmt.Errorf("seq %d: entry %d of journal %s was never written so, or stands here again", e.Seq, e.N, e.Journal)
		}
	}
	for _, j := range journals {
		if next[j.ID] != j.Last() {
			return fmt.Errorf("site %s: %d of %d entries", j.Site, next[j.ID], j.Last())
		}
	}
	return nil
}
