package broker

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"steelyard/internal/mqtt"
)

func TestOversizePackets(t *testing.T) {
	b := serve(t, Config{Accounts: accounts})
	cloud, south := join(t, b, "cloud", "c-secret"), join(t, b, "south", "s-secret")
	records := collect(t, cloud, "steelyard/v1/+/records")
	const topic = "steelyard/v1/south-1/records"
	fits := strings.Repeat("x", maxPacket-4-2-len(topic)-2)
	if err := south.Publish(t.Context(), mqtt.Message{Topic: topic, Payload: []byte(fits), QoS: 1}); err != nil {
		t.Errorf("the largest packet: %v", err)
	}
	if got := next(t, records); len(got.Payload) != len(fits) {
		t.Errorf("got %d bytes of %d", len(got.Payload), len(fits))
	}
	r := enter(t, b, login{id: "big", name: "south", password: "s-secret", keepAlive: 60})
	defer r.Close()
	r.send(publishOf(4, topic, fits+"x", 1, false))
	if got := r.receive(); got != nil {
		t.Errorf("one byte more: got % x", got)
	}
	if len(records) > 0 {
		t.Error("one byte more was delivered")
	}
}

// bubble runs a test with a clock of its own, in which everything but waiting takes no time.
func bubble(t *testing.T, test func(*testing.T, *Broker)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, serve(t, Config{Accounts: accounts, MaxClients: 3, MaxWaiting: 2})) })
}

func TestWhoDoesNotConnectIsDisconnected(t *testing.T) {
	for name, drip := range map[string]func(raw){
		"silence": func(raw) {},
		"one byte a second": func(r raw) {
			for _, c := range []byte(login{id: strings.Repeat("a", 100), name: "north", password: "n-secret"}.packet()) {
				if _, err := r.Write([]byte{c}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, b *Broker) {
				began := time.Now()
				r := dialRaw(t, b)
				defer r.Close()
				drip(r)
				_ = r.SetReadDeadline(time.Time{})
				if n, err := r.Read(make([]byte, 1)); n != 0 || err == nil {
					t.Errorf("read %d bytes, %v", n, err)
				}
				if took := time.Since(began); took < connectTime || took > connectTime+2*time.Second {
					t.Errorf("ended after %v, want %v", took, connectTime)
				}
				synctest.Wait()
				if got := b.Stats(); got.Waiting != 0 || got.Refused != 1 {
					t.Errorf("stats %+v", got)
				}
			})
		})
	}
}

func TestKeepAlive(t *testing.T) {
	for _, c := range []struct {
		version byte
		asked   uint16
		want    time.Duration
	}{{4, 20, 30 * time.Second}, {4, 0, 900 * time.Second}, {4, 65535, 900 * time.Second}, {5, 0, 900 * time.Second}} {
		t.Run(fmt.Sprintf("version %d, %d s", c.version, c.asked), func(t *testing.T) {
			bubble(t, func(t *testing.T, b *Broker) {
				r := dialRaw(t, b)
				defer r.Close()
				r.send(login{version: c.version, id: "a", name: "north", password: "n-secret", keepAlive: c.asked}.packet())
				got := r.receive()
				if c.version == 5 && !strings.Contains(string(got), "\x13\x02\x58") {
					t.Errorf("CONNACK % x does not tell the keep-alive of 600 s", got)
				}
				began := time.Now()
				_ = r.SetReadDeadline(time.Time{})
				if n, err := r.Read(make([]byte, 1)); n != 0 || err == nil {
					t.Errorf("read %d bytes, %v", n, err)
				}
				if took := time.Since(began); took != c.want {
					t.Errorf("ended after %v, want %v", took, c.want)
				}
			})
		})
	}
}

func TestAReaderThatDoesNotReadIsGivenUp(t *testing.T) {
	bubble(t, func(t *testing.T, b *Broker) {
		r := enter(t, b, login{id: "stalled", name: "cloud", password: "c-secret", keepAlive: 600})
		defer r.Close()
		r.send(subscribeTo(4, "steelyard/v1/+/records"))
		r.receive()
		south := enter(t, b, login{id: "south", name: "south", password: "s-secret", keepAlive: 600})
		defer south.Close()
		south.send(publishOf(4, "steelyard/v1/south-1/records", "x", 1, false))
		if got := south.receive(); len(got) == 0 || got[0] != 0x40 {
			t.Errorf("the writer got % x", got)
		}
		time.Sleep(writeTime + time.Second)
		synctest.Wait()
		if got := b.Stats().Clients; got != 1 {
			t.Errorf("%d clients, want the writer only", got)
		}
	})
}

// The library's default throws retained messages away after a day: the status of a site that has
// been connected for longer.
func TestARetainedStatusOutlivesTheDay(t *testing.T) {
	bubble(t, func(t *testing.T, b *Broker) {
		site := enter(t, b, login{id: "site", name: "north", password: "n-secret", keepAlive: 600})
		site.send(publishOf(4, "steelyard/v1/north-1/status", "online", 1, true))
		site.receive()
		site.Close()
		time.Sleep(25 * time.Hour)
		cloud := enter(t, b, login{id: "cloud", name: "cloud", password: "c-secret", keepAlive: 600})
		defer cloud.Close()
		cloud.send(subscribeTo(4, "steelyard/v1/+/status"))
		cloud.receive()
		if got := cloud.receive(); !strings.HasSuffix(string(got), "online") {
			t.Errorf("got %q", got)
		}
	})
}

func TestTooManyClients(t *testing.T) {
	b := serve(t, Config{Listen: "127.0.0.1:0", Accounts: accounts, MaxClients: 3, MaxWaiting: 2})
	var inside []raw
	for n := range 3 {
		inside = append(inside, enter(t, b, login{id: fmt.Sprint(n), name: "north", password: "n-secret", keepAlive: 60}))
	}
	r := dialRaw(t, b)
	r.send(login{id: "one more", name: "north", password: "n-secret", keepAlive: 60}.packet())
	if got := r.receive(); len(got) < 3 || got[2] != 3 {
		t.Errorf("got % x, want the code for an unavailable server", got)
	}
	r.Close()
	for _, r := range inside {
		r.send(ping)
		if got := r.receive(); len(got) == 0 || got[0] != 0xd0 {
			t.Errorf("inside: got % x", got)
		}
	}
	inside[0].Close()
	// The place is free again as soon as the broker has noticed.
	for deadline := time.Now().Add(patience); b.Stats().Clients == 3 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
	}
	r = enter(t, b, login{id: "one more", name: "north", password: "n-secret", keepAlive: 60})
	r.Close()
	inside[1].Close()
	inside[2].Close()
}

func TestAFullWaitingRoomDelaysNewcomersOnly(t *testing.T) {
	b := serve(t, Config{Listen: "127.0.0.1:0", Accounts: accounts, MaxWaiting: 2})
	member := enter(t, b, login{id: "member", name: "north", password: "n-secret", keepAlive: 60})
	defer member.Close()
	var idle []net.Conn
	for range 20 {
		conn, err := net.Dial("tcp", b.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, conn)
	}
	member.send(ping)
	if got := member.receive(); len(got) == 0 || got[0] != 0xd0 {
		t.Errorf("the member got % x", got)
	}
	if got := b.Stats().Waiting; got > 2 {
		t.Errorf("%d wait, want 2 at most", got)
	}
	for _, conn := range idle {
		conn.Close()
	}
	enter(t, b, login{id: "newcomer", name: "north", password: "n-secret", keepAlive: 60}).Close()
}
