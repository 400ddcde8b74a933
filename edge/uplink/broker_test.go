package uplink_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"steelyard/cloud/broker"
	"steelyard/edge/journal"
	"steelyard/edge/uplink"
	"steelyard/internal/leaktest"
	"steelyard/internal/mqtt"
	"steelyard/internal/wire"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// cutting is a connection that is cut after some bytes, in the middle of whatever is on it.
type cutting struct {
	net.Conn
	mu   sync.Mutex
	left int
}

var errCut = errors.New("the link was cut")

func (c *cutting) take(n int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left -= n; c.left < 0 {
		return errors.Join(errCut, c.Conn.Close())
	}
	return nil
}

func (c *cutting) Write(p []byte) (int, error) {
	if err := c.take(len(p)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

func (c *cutting) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err == nil {
		err = c.take(n)
	}
	return n, err
}

// TestOverABrokerAndALinkThatIsCut sends through the real broker and the real client, both ends of
// the line being cut anywhere, and ends with every entry once and in order.
func TestOverABrokerAndALinkThatIsCut(t *testing.T) {
	const cuts, entries = 25, 400
	b, err := broker.Open(broker.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var working sync.WaitGroup
	defer func() {
		stop()
		working.Wait()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}()
	working.Go(func() { _ = b.Run(ctx) })

	dir := t.TempDir()
	opt := options(t, dir, wire.Records)
	opt.Log = nil
	j, err := journal.Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	defer shut(t, j)

	var mu sync.Mutex // guards random, connections, c and session
	random, connections := rand.New(rand.NewPCG(1, 2)), 0
	link := func(client string, most int) mqtt.Options {
		return mqtt.Options{URL: "tcp://embedded:1883", Client: client, MinBackoff: time.Millisecond, MaxBackoff: 5 * time.Millisecond,
			Dial: func(ctx context.Context) (net.Conn, error) {
				conn, err := b.Dial(ctx)
				if err != nil {
					return nil, err
				}
				mu.Lock()
				defer mu.Unlock()
				if connections++; connections > cuts {
					return conn, nil
				}
				return &cutting{Conn: conn, left: 200 + random.IntN(most)}, nil
			}}
	}

	c := newCloud(t)
	s := c.connect(j, func(c *uplink.Config) { c.Batch, c.Stall, c.Log = 5, 100*time.Millisecond, nil })
	working.Go(func() {
		_ = mqtt.Run(ctx, link("edge", 20_000), func(ctx context.Context, session *mqtt.Session) error {
			if err := s.Subscribe(ctx, session); err != nil {
				return err
			}
			return s.Run(ctx, session.Start)
		})
	})
	// The cloud's answers go over its own line: posted is what it has committed and not yet said.
	posted := make(chan wire.Receipt, 4096)
	working.Go(func() {
		_ = mqtt.Run(ctx, link("cloud", 50_000), func(ctx context.Context, session *mqtt.Session) error {
			if err := session.Subscribe(ctx, wire.AllRecords, 1, func(m mqtt.Message) {
				batch, err := wire.DecodeBatch(m.Payload)
				if err != nil {
					t.Errorf("a batch was broken on its way: %v", err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				c.post(batch, true)
				c.clock++
				r := c.held[batch.Journal]
				r.AtMS = c.clock
				if r.N > 0 {
					select {
					case posted <- r:
					default: // one that finds no room is followed by another; waiting would hold up the line
					}
				}
			}); err != nil {
				return err
			}
			for {
				select {
				case r := <-posted:
					if err := session.Publish(ctx, mqtt.Message{Topic: wire.ReceiptTopic(site, r.Stream), Payload: r.Encode(c.key), QoS: 1, Retained: true}); err != nil {
						return err
					}
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}
		})
	})
	all := write(t, j, entries)
	deadline := time.Now().Add(2 * time.Minute)
	for {
		mu.Lock()
		n := connections
		mu.Unlock()
		if r, _ := j.Receipt(); r.N == j.Last().N {
			if n > cuts {
				break
			}
			all = append(all, write(t, j, 1)...) // until the line has been cut often enough
		}
		if time.Now().After(deadline) {
			t.Fatalf("receipted up to %d of %d after %d connections", func() uint64 { r, _ := j.Receipt(); return r.N }(), j.Last().N, n)
		}
		time.Sleep(time.Millisecond)
	}
	mu.Lock()
	defer mu.Unlock()
	equal(t, "ledger", c.taken, lines(all))
}
