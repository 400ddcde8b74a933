package broker

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"steelyard/internal/mqtt"
)

// patience bounds every wait for something that must come. How fast is not judged.
const patience = time.Minute

// accounts of the tests: two sites and the cloud.
var accounts = []Account{
	{Name: "north", Password: "n-secret", Role: Site, Site: "north-1"},
	{Name: "south", Password: "s-secret", Role: Site, Site: "south-1"},
	{Name: "cloud", Password: "c-secret", Role: Cloud},
}

// serve runs a broker until the test ends, and fails the test if it does not end then.
func serve(t testing.TB, c Config) *Broker {
	t.Helper()
	if c.Log == nil {
		c.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
	}
	b, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	run(t, b)
	return b
}

func run(t testing.TB, b *Broker) {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- b.Run(context.Background()) }()
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("run: %v", err)
			}
		case <-time.After(patience):
			t.Error("the broker did not end")
		}
	})
}

// join connects a client of an account and keeps it until the test ends.
func join(t testing.TB, b *Broker, name, password string) *mqtt.Session {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	up := make(chan *mqtt.Session, 1)
	ended := make(chan error, 1)
	o := mqtt.Options{URL: "tcp://broker:1883", Client: name, Username: name, Password: password, Dial: b.Dial}
	if b.Addr() != nil {
		o.URL, o.Dial = "tcp://"+b.Addr().String(), nil
	}
	go func() {
		ended <- mqtt.Run(ctx, o,
			func(ctx context.Context, s *mqtt.Session) error {
				up <- s
				<-ctx.Done()
				return nil
			})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case s := <-up:
		return s
	case <-time.After(patience):
		t.Fatalf("%s did not connect", name)
		return nil
	}
}

// collect subscribes and gives the channel of what arrives.
func collect(t testing.TB, s *mqtt.Session, filter string) <-chan mqtt.Message {
	t.Helper()
	ch := make(chan mqtt.Message, 1000)
	err := s.Subscribe(t.Context(), filter, 1, func(m mqtt.Message) {
		select {
		case ch <- m:
		default:
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

func next(t testing.TB, ch <-chan mqtt.Message) mqtt.Message {
	t.Helper()
	select {
	case m := <-ch:
		return m
	case <-time.After(patience):
		t.Fatal("no message")
		return mqtt.Message{}
	}
}

func TestASiteTalksToTheCloud(t *testing.T) {
	b := serve(t, Config{Listen: "127.0.0.1:0", Accounts: accounts})
	cloud, north := join(t, b, "cloud", "c-secret"), join(t, b, "north", "n-secret")
	records := collect(t, cloud, "steelyard/v1/+/records")
	receipts := collect(t, north, "steelyard/v1/north-1/receipt/+")

	if err := north.Publish(t.Context(), mqtt.Message{Topic: "steelyard/v1/north-1/records", Payload: []byte("batch"), QoS: 1}); err != nil {
		t.Fatal(err)
	}
	if got := next(t, records); got.Topic != "steelyard/v1/north-1/records" || string(got.Payload) != "batch" {
		t.Errorf("got %q on %q", got.Payload, got.Topic)
	}
	if err := cloud.Publish(t.Context(), mqtt.Message{Topic: "steelyard/v1/north-1/receipt/records", Payload: []byte("up to 7"), QoS: 1, Retained: true}); err != nil {
		t.Fatal(err)
	}
	if got := next(t, receipts); string(got.Payload) != "up to 7" {
		t.Errorf("got %q", got.Payload)
	}
	if got := b.Stats(); got.Clients != 2 || got.Retained < 1 || got.Received < 2 || got.Panics != 0 {
		t.Errorf("stats %+v", got)
	}
}

func TestOpenRefuses(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, c := range []struct {
		name   string
		config Config
		want   string
	}{
		{"address in use", Config{Listen: taken.Addr().String()}, "in use by another program"},
		{"outside without accounts", Config{Listen: "0.0.0.0:0"}, "add accounts"},
		{"every address without accounts", Config{Listen: ":0"}, "add accounts"},
		{"no password", Config{Accounts: []Account{{Name: "a", Role: Cloud}}}, "no password"},
		{"no role", Config{Accounts: []Account{{Name: "a", Password: "p"}}}, "role"},
		{"no site", Config{Accounts: []Account{{Name: "a", Password: "p", Role: Site}}}, "site"},
		{"site with a wildcard", Config{Accounts: []Account{{Name: "a", Password: "p", Role: Site, Site: "+"}}}, "site"},
		{"twice", Config{Accounts: []Account{{Name: "a", Password: "p", Role: Cloud}, {Name: "a", Password: "p", Role: Cloud}}}, "duplicate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := Open(c.config)
			if err == nil {
				b.Close()
				t.Fatal("opened")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %q, want it to say %q", err, c.want)
			}
		})
	}
}

func TestDialOnAClosedBroker(t *testing.T) {
	b, err := Open(Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Dial(t.Context()); err == nil {
		t.Error("dialled")
	}
}
