package gateway_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"steelyard/firmware-bridge/catalog"
	"steelyard/firmware-bridge/gateway"
	"steelyard/firmware-bridge/sim"
	"steelyard/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// serve runs a gateway until the test ends and gives the address of each listener.
func serve(t testing.TB, c gateway.Config) (addresses map[string]string) {
	t.Helper()
	g, err := gateway.New(c, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return g.Addresses()
}

// here is a listener for this machine on a port of the system's choice.
func here(clients int) gateway.Listener {
	return gateway.Listener{Listen: "127.0.0.1:0", Allow: []string{"127.0.0.1"}, Clients: clients}
}

// holds is what register a of a unit holds in the machines of these tests.
func holds(unit, a int) uint16 { return uint16(a*31) ^ uint16(unit)<<8 }

// machines is an RTU line with units on a pty.
func machines(t testing.TB, units ...uint8) (*sim.ModbusRTU, *sim.Pty) {
	t.Helper()
	line, err := sim.OpenPty(sim.PtyConfig{Link: filepath.Join(t.TempDir(), "bus.tty")})
	if err != nil {
		t.Fatal(err)
	}
	images := sim.Units{}
	for _, u := range units {
		images[u] = sim.NewRegisters(500)
		images[u].Update(func(words []uint16) {
			for a := range words {
				words[a] = holds(int(u), a)
			}
		})
	}
	bus := sim.NewModbusRTU(line, images, 1)
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { bus.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		if err := line.Close(); err != nil {
			t.Error(err)
		}
		all.Wait()
	})
	return bus, line
}

// patient is a time-out that no machine of these tests lets pass, however busy the computer is. It is for
// tests that are not about time-outs.
const patient = 20 * time.Second

// busOf is the configuration of a gateway before an RTU line.
func busOf(line *sim.Pty, maxAge time.Duration) gateway.Bus {
	return gateway.Bus{Name: "drives", Link: "rtu://" + line.Path() + "?baud=115200", Serve: here(32),
		Timeout: patient, Latency: patient, MaxAge: maxAge, Patience: time.Minute}
}

// client is a Modbus TCP client that does as it is told.
type client struct {
	net.Conn
	t           testing.TB
	transaction uint16
}

func dial(t testing.TB, address string) *client {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &client{Conn: conn, t: t}
}

// send sends a PDU.
func (c *client) send(unit byte, pdu ...byte) {
	c.t.Helper()
	c.transaction++
	frame := binary.BigEndian.AppendUint16(nil, c.transaction)
	frame = append(frame, 0, 0, 0, byte(1+len(pdu)), unit)
	if _, err := c.Write(append(frame, pdu...)); err != nil {
		c.t.Error(err)
	}
}

// receive returns the reply's PDU.
func (c *client) receive(unit byte) []byte {
	c.t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		c.t.Error(err)
	}
	header := make([]byte, 7)
	if _, err := io.ReadFull(c, header); err != nil {
		c.t.Errorf("no reply: %v", err)
		return nil
	}
	if got := binary.BigEndian.Uint16(header); got != c.transaction || header[6] != unit {
		c.t.Errorf("reply to transaction %d of unit %d, want %d of %d", got, header[6], c.transaction, unit)
	}
	pdu := make([]byte, binary.BigEndian.Uint16(header[4:])-1)
	if _, err := io.ReadFull(c, pdu); err != nil {
		c.t.Errorf("half a reply: %v", err)
	}
	return pdu
}

// ask reads registers; exception is 0 when there was none.
func (c *client) ask(unit, fc byte, from, count int) (words []uint16, exception byte) {
	c.t.Helper()
	c.send(unit, fc, byte(from>>8), byte(from), byte(count>>8), byte(count))
	pdu := c.receive(unit)
	switch {
	case len(pdu) == 2 && pdu[0] == fc|0x80:
		return nil, pdu[1]
	case len(pdu) != 2+2*count || pdu[0] != fc || int(pdu[1]) != 2*count:
		c.t.Errorf("reply % X to function %d, %d registers", pdu, fc, count)
		return nil, 0xFF
	}
	for i := range count {
		words = append(words, binary.BigEndian.Uint16(pdu[2+2*i:]))
	}
	return words, 0
}

// right asks and compares with what the machine holds.
func (c *client) right(unit, fc byte, from, count int) {
	c.t.Helper()
	words, exception := c.ask(unit, fc, from, count)
	if exception != 0 {
		c.t.Errorf("unit %d: exception %02X", unit, exception)
	}
	for i, w := range words {
		if want := holds(int(unit), from+i); w != want {
			c.t.Errorf("unit %d register %d = %d, holds %d", unit, from+i, w, want)
		}
	}
}

// until waits for a condition that no event announces.
func until(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never came: %s", what)
		}
	}
}

// closed waits until the peer ends the connection.
func closed(t testing.TB, conn net.Conn) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, conn); n > 0 {
		t.Errorf("%d bytes came, %v", n, err)
	} else if e, ok := err.(net.Error); ok && e.Timeout() {
		t.Error("the connection stays open")
	}
}

// A peer off the list gets not one byte, at any of the three kinds of listeners.
func TestStrangersAreRefused(t *testing.T) {
	t.Parallel()
	_, busLine := machines(t, 1)
	_, line := indicator(t, sim.Yaohua)
	strangers := gateway.Listener{Listen: "127.0.0.1:0", Allow: []string{"192.0.2.0/24", "127.0.0.2"}}
	for name, c := range map[string]gateway.Config{
		"bus": {Buses: []gateway.Bus{{Name: "b", Link: "rtu://" + busLine.Path(), Timeout: patient, Serve: strangers}}},
		"raw": {Lines: []gateway.Line{{Device: "w", Line: portOf(line), Raw: &strangers}}},
		"registers": {Lines: []gateway.Line{{Device: "w", Line: portOf(line), Output: catalog.Output{Dialect: "yaohua-tf0"},
			Registers: &gateway.Registers{Listener: strangers}}}},
	} {
		t.Run(name, func(t *testing.T) {
			address := serve(t, c)["127.0.0.1:0"]
			// The reset may come before the dial is done, or the request sent.
			if conn, err := net.Dial("tcp", address); err == nil {
				_, _ = conn.Write([]byte{0, 1, 0, 0, 0, 6, 1, 3, 0, 0, 0, 1})
				closed(t, conn)
				conn.Close()
			}
			// The same listener from an address that is on its list.
			friend := func(visit func(*client) bool) bool {
				d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
				conn, err := d.Dial("tcp", address)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				return visit(&client{Conn: conn, t: t})
			}
			switch name {
			case "bus":
				friend(func(c *client) bool { c.right(1, 3, 0, 5); return true })
			case "registers":
				friend(func(c *client) bool { c.ask(1, 3, 0, 2); return true })
			case "raw":
				// Until its line is open the listener lets go at once.
				until(t, "bytes of the line", func() bool {
					return friend(func(c *client) bool {
						_, err := io.ReadFull(c, make([]byte, 24))
						return err == nil
					})
				})
			}
		})
	}
}

// All places taken: the next is refused, those inside go on, and a place that is left is free.
func TestFullDoor(t *testing.T) {
	t.Parallel()
	_, line := machines(t, 1)
	b := busOf(line, 0)
	b.Serve.Clients = 3
	address := serve(t, gateway.Config{Buses: []gateway.Bus{b}})["127.0.0.1:0"]
	var inside []*client
	for range 3 {
		c := dial(t, address)
		c.right(1, 3, 0, 5)
		inside = append(inside, c)
	}
	if fourth, err := net.Dial("tcp", address); err == nil {
		closed(t, fourth)
		fourth.Close()
	}
	for _, c := range inside {
		c.right(1, 3, 10, 5)
	}
	inside[0].Close()
	until(t, "a free place", func() bool {
		c, err := net.Dial("tcp", address)
		if err != nil {
			return false
		}
		defer c.Close()
		if _, err := c.Write([]byte{0, 1, 0, 0, 0, 6, 1, 3, 0, 0, 0, 1}); err != nil {
			return false
		}
		_, err = io.ReadFull(c, make([]byte, 11))
		return err == nil
	})
}

// Two listeners at one address: all that was opened before is closed again.
func TestAddressInUse(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, line := machines(t, 1)
	taken := busOf(line, 0)
	taken.Serve.Listen = l.Addr().String()
	if _, err := gateway.New(gateway.Config{Buses: []gateway.Bus{busOf(line, 0), taken}}, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("opened an address that is in use")
	} else if want := fmt.Sprintf("drives: listen tcp %s", l.Addr()); err.Error()[:len(want)] != want {
		t.Errorf("the error does not begin with %q: %v", want, err)
	}
}
