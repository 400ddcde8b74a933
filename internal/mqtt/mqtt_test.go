package mqtt_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"go.uber.org/goleak"

	"steelyard/internal/leaktest"
	"steelyard/internal/mqtt"
)

func TestMain(m *testing.M) {
	child()
	leaktest.Main(m)
}

func TestComesBackAfterTheBrokerIsKilled(t *testing.T) {
	for name, make := range brokers(t) {
		t.Run(name, func(t *testing.T) {
			port := freePort(t)
			s := make(port)
			type visit struct {
				id    string
				cause error
			}
			up, down := newQueue[string](), newQueue[visit]()
			got := newQueue[mqtt.Message]()
			o := quick(t, port)
			o.Username, o.Password = "cloud", "c-secret"
			run(t, o, func(ctx context.Context, s *mqtt.Session) error {
				if err := s.Subscribe(ctx, "steelyard/v1/+/records", 1, got.put); err != nil {
					return err
				}
				if err := s.Publish(ctx, mqtt.Message{Topic: "steelyard/v1/north-1/records", Payload: []byte(s.ID()), QoS: 1}); err != nil {
					return err
				}
				up.put(s.ID())
				<-ctx.Done()
				down.put(visit{s.ID(), context.Cause(ctx)})
				return nil
			})
			seen := map[string]bool{}
			for round := range 3 {
				s.start(t)
				id := within(t, "connection", up.ch)
				if seen[id] {
					t.Errorf("round %d: client id %q was used before", round, id)
				}
				seen[id] = true
				if m := within(t, "message", got.ch); string(m.Payload) != id {
					t.Errorf("round %d: message of %q, want %q", round, m.Payload, id)
				}
				s.kill(t)
				if v := within(t, "end of the session", down.ch); v.id != id || v.cause == nil {
					t.Errorf("round %d: session %q ended with cause %v", round, v.id, v.cause)
				}
			}
		})
	}
}

// queue is the bounded channel that a handler should put into; more than it holds is dropped.
type queue[T any] struct{ ch chan T }

func newQueue[T any]() queue[T] { return queue[T]{make(chan T, 4096)} }

func (q queue[T]) put(v T) {
	select {
	case q.ch <- v:
	default:
	}
}

func TestARefusedSubscriptionIsAnError(t *testing.T) {
	for name, make := range brokers(t) {
		t.Run(name, func(t *testing.T) {
			port := freePort(t)
			s := make(port)
			s.start(t)
			defer s.kill(t)
			o := quick(t, port)
			o.Username, o.Password = "north", "n-secret"
			type answer struct{ own, foreign error }
			answers := newQueue[answer]()
			run(t, o, func(ctx context.Context, s *mqtt.Session) error {
				answers.put(answer{
					s.Subscribe(ctx, "steelyard/v1/north-1/receipt/+", 1, func(mqtt.Message) {}),
					s.Subscribe(ctx, "steelyard/v1/+/secrets/of/others", 1, func(mqtt.Message) {}),
				})
				<-ctx.Done()
				return nil
			})
			got := within(t, "answer", answers.ch)
			if got.own != nil {
				t.Errorf("own topic: %v", got.own)
			}
			// mosquitto grants every subscription of an account and filters at delivery; only
			// the embedded broker refuses.
			if refused := got.foreign != nil && strings.Contains(got.foreign.Error(), "refused"); refused != (name == "embedded") {
				t.Errorf("foreign topic: got %v", got.foreign)
			}
		})
	}
}

// The library's token says nothing about a refusal. That is why Subscribe looks at the codes.
func TestTheLibraryDoesNotReportARefusedSubscription(t *testing.T) {
	port := rogue(t, refuseSubscriptions)
	client := plainClient(port, false)
	defer client.Disconnect(0)
	token := client.Subscribe("a", 1, nil)
	within(t, "token", token.Done())
	if token.Error() != nil {
		t.Fatalf("the library reports %v by itself: the check can go", token.Error())
	}

	refused := newQueue[error]()
	run(t, quick(t, port), func(ctx context.Context, s *mqtt.Session) error {
		refused.put(s.Subscribe(ctx, "a", 1, func(mqtt.Message) {}))
		<-ctx.Done()
		return nil
	})
	if err := within(t, "answer", refused.ch); err == nil {
		t.Error("a refused subscription is no error")
	}
}

func refuseSubscriptions(conn net.Conn) {
	io.WriteString(conn, accepted)
	for {
		p, err := packet(conn)
		if err != nil {
			return
		}
		if p[0]>>4 == 8 {
			conn.Write([]byte{0x90, 3, p[1], p[2], 0x80})
		}
	}
}

func plainClient(port string, reconnect bool) paho.Client {
	o := paho.NewClientOptions().AddBroker("tcp://127.0.0.1:" + port).SetClientID("plain").SetProtocolVersion(4).
		SetAutoReconnect(reconnect).SetMaxReconnectInterval(50 * time.Millisecond)
	client := paho.NewClient(o)
	client.Connect().Wait()
	return client
}

// dropBeforePuback cuts each connection after a PUBLISH, without acknowledging it.
func dropBeforePuback(conn net.Conn) {
	io.WriteString(conn, accepted)
	for {
		p, err := packet(conn)
		if err != nil || p[0]>>4 == 3 {
			return
		}
	}
}

func TestAMessageInFlightWhenTheLinkDropsIsAnError(t *testing.T) {
	port := rogue(t, dropBeforePuback)
	results := newQueue[error]()
	run(t, quick(t, port), func(ctx context.Context, s *mqtt.Session) error {
		first := s.Start(mqtt.Message{Topic: "a", QoS: 1})
		second := s.Publish(ctx, mqtt.Message{Topic: "b", QoS: 1})
		results.put(<-first)
		results.put(second)
		return nil
	})
	for range 6 {
		if err := within(t, "result", results.ch); err == nil {
			t.Fatal("a message that was never acknowledged has no error")
		}
	}
}

// With reconnecting left to the library the same message succeeds. That is why it is switched off.
func TestTheLibraryCompletesWhatNobodyAcknowledged(t *testing.T) {
	var connections atomic.Int32
	port := rogue(t, func(conn net.Conn) {
		if connections.Add(1) == 1 {
			dropBeforePuback(conn)
			return
		}
		io.WriteString(conn, accepted)
		for {
			if _, err := packet(conn); err != nil {
				return
			}
		}
	})
	client := plainClient(port, true)
	defer client.Disconnect(100)
	token := client.Publish("a", 1, false, "x")
	within(t, "token", token.Done())
	if err := token.Error(); err != nil {
		t.Fatalf("the library reports %v by itself: it may reconnect again", err)
	}
}

// A broker that stops reading must not hold anything up: neither the publishes, nor the packets
// that the library writes without a deadline.
func TestAStalledBrokerIsGivenUp(t *testing.T) {
	for name, session := range map[string]func(context.Context, *mqtt.Session) error{
		"publish": func(ctx context.Context, s *mqtt.Session) error {
			payload := make([]byte, mqtt.MaxPacket)
			var last <-chan error
			for range mqtt.Window {
				last = s.Start(mqtt.Message{Topic: "a", Payload: payload, QoS: 1})
			}
			return <-last
		},
		"subscribe": func(ctx context.Context, s *mqtt.Session) error {
			payload := make([]byte, mqtt.MaxPacket)
			for range 8 {
				s.Start(mqtt.Message{Topic: "a", Payload: payload, QoS: 0})
			}
			return s.Subscribe(ctx, "a", 1, func(mqtt.Message) {})
		},
	} {
		t.Run(name, func(t *testing.T) {
			release := make(chan struct{})
			defer close(release)
			port := rogue(t, func(conn net.Conn) {
				if tcp, ok := conn.(*net.TCPConn); ok {
					tcp.SetReadBuffer(4 << 10)
				}
				io.WriteString(conn, accepted)
				<-release
			})
			o := quick(t, port)
			o.WriteTimeout, o.ConnectTimeout = 200*time.Millisecond, time.Second
			ends := newQueue[error]()
			ctx, cancel := context.WithCancel(context.Background())
			over := make(chan error, 1)
			go func() {
				over <- mqtt.Run(ctx, o, func(ctx context.Context, s *mqtt.Session) error {
					err := session(ctx, s)
					ends.put(err)
					return err
				})
			}()
			for range 3 { // it connects again each time
				if err := within(t, "session", ends.ch); err == nil {
					t.Error("a stalled write has no error")
				}
			}
			cancel()
			if err := within(t, "end of Run", over); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestFiftyReconnectsLeaveNothingBehind(t *testing.T) {
	var connections atomic.Int32
	port := rogue(t, func(conn net.Conn) {
		io.WriteString(conn, accepted)
		if connections.Add(1)%3 != 0 {
			packet(conn)
		}
	})
	o := quick(t, port)
	o.MinBackoff, o.MaxBackoff = time.Millisecond, time.Millisecond
	var sessions atomic.Int32
	enough := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	before := goleak.IgnoreCurrent()
	served := goleak.IgnoreAnyFunction("steelyard/internal/mqtt_test.rogue.func1.1")
	go func() {
		over <- mqtt.Run(ctx, o, func(ctx context.Context, s *mqtt.Session) error {
			n := sessions.Add(1)
			if n == 50 {
				close(enough)
			}
			if n%2 == 0 {
				return s.Subscribe(ctx, "a", 0, func(mqtt.Message) {})
			}
			s.Start(mqtt.Message{Topic: "a", QoS: 1}) // left behind
			return s.Publish(ctx, mqtt.Message{Topic: "a", QoS: 1})
		})
	}()
	within(t, "fifty sessions", enough)
	cancel()
	if err := within(t, "end of Run", over); err != nil {
		t.Error(err)
	}
	if err := leaktest.Left(before, served); err != nil {
		t.Error(err)
	}
}

func TestMessagesKeepTheirOrderAndTheWindowItsSize(t *testing.T) {
	hold := make(chan struct{})
	arrived := newQueue[string]()
	port := rogue(t, func(conn net.Conn) {
		io.WriteString(conn, accepted)
		var ids [][2]byte
		for {
			p, err := packet(conn)
			if err != nil {
				return
			}
			if p[0]>>4 != 3 {
				continue
			}
			n := int(p[1])<<8 | int(p[2])
			arrived.put(string(p[5+n:]))
			ids = append(ids, [2]byte{p[3+n], p[4+n]})
			if len(ids) == mqtt.Window {
				<-hold
				for _, id := range ids {
					conn.Write([]byte{0x40, 2, id[0], id[1]})
				}
			}
		}
	})
	results := newQueue[error]()
	run(t, quick(t, port), func(ctx context.Context, s *mqtt.Session) error {
		var flights []<-chan error
		for n := range mqtt.Window {
			flights = append(flights, s.Start(mqtt.Message{Topic: "a", Payload: fmt.Append(nil, n), QoS: 1}))
		}
		results.put(<-s.Start(mqtt.Message{Topic: "a", QoS: 1}))
		close(hold)
		for _, f := range flights {
			results.put(<-f)
		}
		<-ctx.Done()
		return nil
	})
	if err := within(t, "result beyond the window", results.ch); !errors.Is(err, mqtt.ErrWindow) {
		t.Errorf("beyond the window: got %v", err)
	}
	for n := range mqtt.Window {
		if got := within(t, "message", arrived.ch); got != fmt.Sprint(n) {
			t.Fatalf("message %d is %q", n, got)
		}
		if err := within(t, "result", results.ch); err != nil {
			t.Fatalf("message %d: %v", n, err)
		}
	}
}

func TestTheWillIsSentAfterAnErrorAndNotAfterAGoodBye(t *testing.T) {
	for name, make := range brokers(t) {
		t.Run(name, func(t *testing.T) {
			port := freePort(t)
			s := make(port)
			s.start(t)
			defer s.kill(t)

			status := newQueue[mqtt.Message]()
			watching := newQueue[bool]()
			o := quick(t, port)
			o.Username, o.Password = "cloud", "c-secret"
			run(t, o, func(ctx context.Context, s *mqtt.Session) error {
				if err := s.Subscribe(ctx, "steelyard/v1/+/status", 1, status.put); err != nil {
					return err
				}
				watching.put(true)
				<-ctx.Done()
				return nil
			})
			within(t, "subscription", watching.ch)

			o.Username, o.Password = "north", "n-secret"
			o.Will = func(id string) mqtt.Message {
				return mqtt.Message{Topic: "steelyard/v1/north-1/status", Payload: []byte("lost " + id), QoS: 1}
			}
			var first, second string
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			err := mqtt.Run(ctx, o, func(ctx context.Context, s *mqtt.Session) error {
				if first == "" {
					first = s.ID()
					return errors.New("something is wrong")
				}
				second = s.ID()
				// Only when the will has come may the good-bye go out: the broker serves each connection
				// for itself, and may hear of this one's end before it has dealt with the other's.
				if got := within(t, "will", status.ch); string(got.Payload) != "lost "+first {
					t.Errorf("got %q, want the will of %s", got.Payload, first)
				}
				cancel()
				<-ctx.Done()
				return s.Publish(context.Background(), mqtt.Message{Topic: "steelyard/v1/north-1/status", Payload: []byte("left " + s.ID()), QoS: 1})
			})
			if err != nil {
				t.Fatal(err)
			}
			if got := within(t, "good-bye", status.ch); string(got.Payload) != "left "+second {
				t.Errorf("got %q, want the good-bye of %s", got.Payload, second)
			}
			if len(status.ch) > 0 {
				t.Errorf("and then %q", (<-status.ch).Payload)
			}
		})
	}
}
