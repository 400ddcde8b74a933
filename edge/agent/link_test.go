package agent_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"steelyard/cloud/broker"
	"steelyard/edge/agent"
	"steelyard/edge/journal"
	"steelyard/internal/chain"
	"steelyard/internal/mqtt"
	"steelyard/internal/wire"
)

// city is a broker and who answers the site's records there.
func (s *site) city(answer func(b *wire.Batch, say func(topic string, payload []byte, retained bool))) {
	t := s.t
	t.Helper()
	b, err := broker.Open(broker.Config{Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var working sync.WaitGroup
	t.Cleanup(func() {
		stop()
		working.Wait()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	working.Go(func() { _ = b.Run(ctx) })
	text, err := os.ReadFile(s.file)
	if err != nil {
		t.Fatal(err)
	}
	connected := strings.Replace(string(text), "tcp://127.0.0.1:1\"", fmt.Sprintf("tcp://%s\"", b.Addr()), 1)
	if err := os.WriteFile(s.file, []byte(connected), 0o600); err != nil {
		t.Fatal(err)
	}
	batches := make(chan *wire.Batch, 256)
	ready := make(chan struct{})
	working.Go(func() {
		_ = mqtt.Run(ctx, mqtt.Options{URL: "tcp://embedded:1883", Client: "cloud", Dial: b.Dial}, func(ctx context.Context, session *mqtt.Session) error {
			if err := session.Subscribe(ctx, wire.AllRecords, 1, func(m mqtt.Message) {
				if batch, err := wire.DecodeBatch(m.Payload); err == nil {
					batches <- batch
				}
			}); err != nil {
				return err
			}
			close(ready)
			for {
				select {
				case batch := <-batches:
					answer(batch, func(topic string, payload []byte, retained bool) {
						if err := session.Publish(ctx, mqtt.Message{Topic: topic, Payload: payload, QoS: 1, Retained: retained}); err != nil && ctx.Err() == nil {
							t.Error(err)
						}
					})
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}
		})
	})
	<-ready
}

// receipt says that the city has all of a batch.
func (s *site) receipt(b *wire.Batch) wire.Receipt {
	return wire.Receipt{Site: "xinhua-1", Journal: b.Journal, Stream: wire.Records, N: b.Last, Hash: b.Head, AtMS: time.Now().UnixMilli()}
}

// TestReceiptFromTheFutureEndsTheAgentAndTheNextStartGoesOn: an older copy of the data folder was
// put back. The running agent must not give the numbers again that the city has already; the next
// start begins a new journal.
func TestReceiptFromTheFutureEndsTheAgentAndTheNextStartGoesOn(t *testing.T) {
	s := newSite(t)
	// The city receipts whatever it gets, the first journal as if it had got more.
	first := ""
	s.city(func(b *wire.Batch, say func(string, []byte, bool)) {
		r := s.receipt(b)
		if first == "" {
			first = b.Journal
		}
		if b.Journal == first {
			r.N, r.Hash = 1000, chain.Of([]byte("what the lost disk had"))
		}
		say(wire.ReceiptTopic(r.Site, r.Stream), r.Encode(s.cloud), true)
	})

	c, err := agent.Read(s.file)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		ended <- agent.Start(t.Context(), c, agent.Faults{}, slog.New(slog.NewTextHandler(t.Output(), nil)))
	}()
	select {
	case err = <-ended:
	case <-time.After(patience):
		t.Fatal("the agent goes on with a journal of which the city has more")
	}
	ahead, ok := errors.AsType[*journal.AheadError](err)
	if !ok || ahead.Receipted != 1000 || !strings.Contains(err.Error(), "the next start begins a new journal") {
		t.Fatalf("got %v, want an AheadError with its remedy", err)
	}

	r := s.start()
	r.weigh(12 * tonne)
	r.weighIn("p-1", "豫D12345").must(t, 201)
	r.until("the city has everything", func() bool {
		now := into[struct {
			Journal, Link            string
			Last, Receipted, Backlog uint64
		}](t, r.get("/api/journal"))
		return now.Journal != ahead.Journal && now.Link == "online" && now.Backlog == 0 && now.Receipted == now.Last
	})
}

// While the city refuses the journal nothing is confirmed to the operator, who sees why; what the
// machines say is recorded. It ends with the next receipt.
func TestActsAreRefusedWhileTheCityRefuses(t *testing.T) {
	s := newSite(t)
	var takes atomic.Bool
	s.city(func(b *wire.Batch, say func(string, []byte, bool)) {
		if takes.Load() {
			say(wire.ReceiptTopic("xinhua-1", wire.Records), s.receipt(b).Encode(s.cloud), true)
			return
		}
		say(wire.RequestTopic("xinhua-1"), wire.Request{Journal: b.Journal, Stream: wire.Records, Why: "signature: not this site's key"}.Encode(), false)
	})
	r := s.start()
	r.until("the refusal is on the page", func() bool {
		return into[struct {
			Code string `json:"problem_code"`
		}](t, r.get("/api/journal")).Code == "cloud-signature"
	})
	r.weigh(12 * tonne) // recorded
	if a := r.weighIn("p-1", "豫D12345").must(t, 409); !strings.Contains(a.Body, `"city-refuses"`) {
		t.Errorf("got %s", a.Body)
	}
	takes.Store(true)
	r.until("the city takes it", func() bool { return into[state](t, r.get("/api/journal")).Problem == "" })
	r.weighIn("p-1", "豫D12345").must(t, 201)
}
