package agent_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"steelyard/cloud/broker"
	"steelyard/edge/agent"
	"steelyard/edge/journal"
	"steelyard/internal/chain"
	"steelyard/internal/mqtt"
	"steelyard/internal/wire"
)

// TestReceiptFromTheFutureEndsTheAgentAndTheNextStartGoesOn: an older copy of the data folder was
// put back. The running agent must not give the numbers again that the city has already; the next
// start begins a new journal.
func TestReceiptFromTheFutureEndsTheAgentAndTheNextStartGoesOn(t *testing.T) {
	s := newSite(t)
	b, err := broker.Open(broker.Config{Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var working sync.WaitGroup
	defer func() {
		stop()
		working.Wait()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}()
	working.Go(func() { _ = b.Run(ctx) })
	text, err := os.ReadFile(s.file)
	if err != nil {
		t.Fatal(err)
	}
	connected := strings.Replace(string(text), "tcp://127.0.0.1:1\"", fmt.Sprintf("tcp://%s\"", b.Addr()), 1)
	if err := os.WriteFile(s.file, []byte(connected), 0o600); err != nil {
		t.Fatal(err)
	}

	// The city receipts whatever it gets, the first journal as if it had got more.
	batches := make(chan *wire.Batch, 256)
	first := ""
	working.Go(func() {
		_ = mqtt.Run(ctx, mqtt.Options{URL: "tcp://embedded:1883", Client: "cloud", Dial: b.Dial}, func(ctx context.Context, session *mqtt.Session) error {
			if err := session.Subscribe(ctx, wire.AllRecords, 1, func(m mqtt.Message) {
				if batch, err := wire.DecodeBatch(m.Payload); err == nil {
					batches <- batch
				}
			}); err != nil {
				return err
			}
			for {
				select {
				case batch := <-batches:
					if first == "" {
						first = batch.Journal
					}
					r := wire.Receipt{Site: "xinhua-1", Journal: batch.Journal, Stream: wire.Records, N: batch.Last, Hash: batch.Head, AtMS: time.Now().UnixMilli()}
					if batch.Journal == first {
						r.N, r.Hash = 1000, chain.Of([]byte("what the lost disk had"))
					}
					if err := session.Publish(ctx, mqtt.Message{Topic: wire.ReceiptTopic(r.Site, r.Stream), Payload: r.Encode(s.cloud), QoS: 1, Retained: true}); err != nil {
						return err
					}
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}
		})
	})

	c, err := agent.Read(s.file)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- agent.Start(ctx, c, agent.Weakness{}, slog.New(slog.NewTextHandler(t.Output(), nil))) }()
	select {
	case err = <-ended:
	case <-time.After(patience):
		t.Fatal("the agent goes on with a journal of which the city has more")
	}
	ahead, ok := errors.AsType[*journal.AheadError](err)
	if !ok || ahead.Receipted != 1000 || !strings.Contains(err.Error(), "restart, a new journal will begin") {
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
