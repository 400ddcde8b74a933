package broker

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"steelyard/internal/mqtt"
)

// burst publishes count messages of the site's records at quality of service 1, as fast as its window
// allows, and waits for the broker's word on each.
func burst(t testing.TB, s *mqtt.Session, count int) {
	t.Helper()
	payload := make([]byte, 16<<10)
	var flying []<-chan error
	for range count {
		if len(flying) == 64 {
			if err := <-flying[0]; err != nil {
				t.Error(err)
				return
			}
			flying = flying[1:]
		}
		flying = append(flying, s.Start(mqtt.Message{Topic: "steelyard/v1/north-1/records", QoS: 1, Payload: payload}))
	}
	for _, f := range flying {
		if err := <-f; err != nil {
			t.Error(err)
			return
		}
	}
}

const (
	bursting = 20
	inBurst  = 100 // messages of each: 2,000 and 32 MB together, where a reader's queue holds 1,024
)

// bursts connects sites and lets all of them publish at once.
func bursts(t testing.TB, b *Broker) (wait func()) {
	t.Helper()
	var sending sync.WaitGroup
	for range bursting {
		s := join(t, b, "north", "n-secret")
		sending.Go(func() { burst(t, s, inBurst) })
	}
	return sending.Wait
}

// TestSlowCloudHoldsUpWhoSends: what the cloud can't take yet stays with the senders, and nothing is
// acknowledged that it does not get.
func TestSlowCloudHoldsUpWhoSends(t *testing.T) {
	var got, inside atomic.Int64
	open := make(chan struct{})
	b := serve(t, Config{Listen: "127.0.0.1:0", Accounts: accounts, Deliver: func(topic string, payload []byte, retained bool) {
		inside.Add(1)
		<-open
		got.Add(1)
	}})
	wait := bursts(t, b)
	for limit := time.Now().Add(patience); inside.Load() < bursting; time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("%d of %d senders reached the cloud", inside.Load(), bursting)
		}
	}
	if n := got.Load(); n != 0 {
		t.Errorf("%d messages were taken while the cloud took none", n)
	}
	close(open)
	wait()
	if s := b.Stats(); got.Load() != bursting*inBurst || s.Dropped != 0 {
		t.Errorf("%d of %d messages reached the cloud, %d were dropped", got.Load(), bursting*inBurst, s.Dropped)
	}
}

// TestSlowReaderLosesWhatWasAcknowledged is the negative control: to a reader behind a connection
// everything is acknowledged, and what its queue can't hold is gone.
func TestSlowReaderLosesWhatWasAcknowledged(t *testing.T) {
	b := serve(t, Config{Listen: "127.0.0.1:0", Accounts: accounts})
	var got atomic.Int64
	open := make(chan struct{})
	if err := join(t, b, "cloud", "c-secret").Subscribe(t.Context(), "steelyard/v1/+/records", 1, func(mqtt.Message) {
		<-open
		got.Add(1)
	}); err != nil {
		t.Fatal(err)
	}
	bursts(t, b)()
	close(open)
	// One that reads nothing for long is disconnected, too.
	if s := b.Stats(); s.Dropped == 0 && s.Clients == bursting+1 {
		t.Error("nothing was dropped: the test of the protection proves nothing")
	}
}

// TestDeliverWillsAndPublish: a lost site's will reaches the cloud by the same call, what the cloud
// publishes comes to the sites and not back to the cloud, and a foreign topic reaches nobody.
func TestDeliverWillsAndPublish(t *testing.T) {
	type message struct {
		topic, payload string
		retained       bool
	}
	got := make(chan message, 100)
	b := serve(t, Config{Accounts: accounts, Deliver: func(topic string, payload []byte, retained bool) {
		got <- message{topic, string(payload), retained}
	}})
	next := func() message {
		t.Helper()
		select {
		case m := <-got:
			return m
		case <-time.After(patience):
			t.Fatal("nothing is delivered")
			return message{}
		}
	}
	if err := b.Publish("steelyard/v1/north-1/receipt/records", []byte("before anybody connects"), true); err != nil {
		t.Fatal(err)
	}
	receipts := collect(t, join(t, b, "north", "n-secret"), "steelyard/v1/north-1/receipt/records") // its own topic, as an edge does
	for k, want := range []string{"before anybody connects", "after"} {
		if k == 1 {
			if err := b.Publish("steelyard/v1/north-1/receipt/records", []byte(want), true); err != nil {
				t.Fatal(err)
			}
		}
		select {
		case m := <-receipts:
			if string(m.Payload) != want || m.QoS != 1 {
				t.Errorf("receipt %q of quality %d, want %q of 1", m.Payload, m.QoS, want)
			}
		case <-time.After(patience):
			t.Fatal("a receipt does not come")
		}
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var working sync.WaitGroup
	defer working.Wait()
	working.Go(func() {
		_ = mqtt.Run(ctx, mqtt.Options{URL: "tcp://broker:1883", Client: "lost", Username: "south", Password: "s-secret", Dial: b.Dial,
			Will: func(string) mqtt.Message {
				return mqtt.Message{Topic: "steelyard/v1/south-1/status", Payload: []byte("offline"), QoS: 1, Retained: true}
			}},
			func(ctx context.Context, s *mqtt.Session) error {
				if err := s.Publish(ctx, mqtt.Message{Topic: "steelyard/v1/south-1/live", Payload: []byte("42")}); err != nil {
					return err
				}
				return fmt.Errorf("the line is cut")
			})
	})
	if want := (message{"steelyard/v1/south-1/live", "42", false}); next() != want {
		t.Errorf("want %v first", want)
	}
	if want := (message{"steelyard/v1/south-1/status", "offline", true}); next() != want {
		t.Errorf("want the will %v", want)
	}
	cancel()

	s := join(t, b, "south", "s-secret")
	_ = s.Publish(t.Context(), mqtt.Message{Topic: "steelyard/v1/north-1/records", Payload: []byte("in another's name"), QoS: 1})
	for len(got) > 0 {
		if m := <-got; m.payload == "in another's name" || m.topic == "steelyard/v1/north-1/receipt/records" {
			t.Errorf("delivered: %v", m)
		}
	}
}
