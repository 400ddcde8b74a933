package modbus_test

import (
	"context"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/modbus"
	"steelyard/firmware-bridge/sim"
)

// states of a device in the order in which they were reported; to be called in until.
func (b *book) states(device string) (states []device.State, last string) {
	for _, h := range b.health {
		if h.Device == device {
			states, last = append(states, h.State), h.Detail
		}
	}
	return states, last
}

const beating = `
profile: beating
status: bench
sources: [{doc: test}]
address_base: 0
limits: {timeout_ms: 30000}
heartbeat: {point: beat, limit: 60ms}
points:
  - {name: id, at: 0, type: u16, constant: 77}
  - {name: beat, at: 1, type: u16}
  - {name: total, at: 2, type: u16}
`

// beater serves the profile above; id and standing are the test's.
func beater(t *testing.T, id *atomic.Uint32, standing *atomic.Bool) (address string) {
	var beat atomic.Uint32
	return listen(t, func(conn net.Conn) {
		request := make([]byte, 12)
		for {
			if _, err := io.ReadFull(conn, request); err != nil {
				return
			}
			if !standing.Load() {
				beat.Add(1)
			}
			b := uint16(beat.Load())
			if _, err := conn.Write(mbap(request, []byte{1, 3, 6, 0, byte(id.Load()), byte(b >> 8), byte(b), 0, 5})); err != nil {
				return
			}
		}
	})
}

// A machine whose program stands, or that is another machine, brings no values.
func TestStandingHeartbeatAndWrongMachine(t *testing.T) {
	t.Parallel()
	var id atomic.Uint32
	var standing atomic.Bool
	id.Store(77)
	address := beater(t, &id, &standing)
	book := newBook(nil)
	var total device.Value
	book.onScan = func(s device.Scan) {
		book.mu.Lock()
		defer book.mu.Unlock()
		total, _ = s.Find("total")
	}
	run(t, newBus(t, modbus.Config{Link: "tcp://" + address, Units: []modbus.Unit{
		{Device: "plc", ID: 1, Profile: load(t, beating), Every: time.Millisecond}}}, book))
	is := func(want device.State, count int, words string) func() bool {
		return func() bool {
			states, last := book.states("plc")
			ok := want == device.Online
			return len(states) == count && states[count-1] == want && strings.Contains(last, words) &&
				total.OK == ok && (ok || strings.Contains(total.Why, words) && total.Number.Coef == 0)
		}
	}
	book.until(t, "values", is(device.Online, 1, "beating"))
	standing.Store(true)
	book.until(t, "a standing heartbeat", is(device.Faulty, 2, "check that its controller is in RUN"))
	standing.Store(false)
	book.until(t, "values again", is(device.Online, 3, "beating"))
	id.Store(78)
	book.until(t, "the wrong machine", is(device.Faulty, 4, "reads 78, must be 77"))
	id.Store(77)
	book.until(t, "the right machine", is(device.Online, 5, "beating"))
}

// A gateway that is not there makes all its units silent, once, and each is online when it comes.
func TestGatewayThatComesLater(t *testing.T) {
	t.Parallel()
	gateway := reserve(t)
	book := newBook(map[string]uint8{"a": 1, "b": 2})
	p := blocks(t, 1, patient, 0)
	bus := newBus(t, modbus.Config{Link: "tcp://127.0.0.1:" + gateway.port, ConnectPause: time.Millisecond, Units: []modbus.Unit{
		{Device: "a", ID: 1, Profile: p, Every: 5 * time.Millisecond}, {Device: "b", ID: 2, Profile: p, Every: 5 * time.Millisecond}}}, book)
	stop := run(t, bus)
	book.until(t, "both silent", func() bool {
		a, why := book.states("a")
		b, _ := book.states("b")
		return len(a) == 1 && len(b) == 1 && a[0] == device.Silent && strings.HasPrefix(why, "cannot open the line: ") && strings.Contains(why, "refused")
	})
	l := gateway.listen(t)
	var all sync.WaitGroup
	var connections atomic.Int32
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			all.Go(func() {
				defer conn.Close()
				request := make([]byte, 12)
				for {
					if _, err := io.ReadFull(conn, request); err != nil {
						return
					}
					conn.Write(mbap(request, respond(request[6:])))
				}
			})
		}
	})
	book.until(t, "both online", func() bool { return book.scans["a"] > 5 && book.scans["b"] > 5 })
	stop()
	l.Close()
	all.Wait()
	book.check(t)
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections for two units behind one gateway", n)
	}
}

// An adapter that is pulled and plugged in again under the same name.
func TestUnplug(t *testing.T) {
	t.Parallel()
	name := t.TempDir() + "/adapter"
	plug := func() (pull func()) {
		end, tty, err := sim.OpenTerminal()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(tty.Name(), name); err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() { defer close(done); (&slave{end: end}).serve() }()
		return func() {
			os.Remove(name)
			end.Close()
			tty.Close()
			<-done
		}
	}
	book := newBook(map[string]uint8{"plc": 1})
	pull := plug()
	stop := run(t, newBus(t, modbus.Config{Link: "rtu://" + name + "?baud=115200", Units: []modbus.Unit{
		{Device: "plc", ID: 1, Profile: blocks(t, 2, patient, 100*time.Millisecond), Every: 5 * time.Millisecond}}}, book))
	book.until(t, "scans", func() bool { return book.scans["plc"] > 5 })
	pull()
	book.until(t, "silence", func() bool { s, _ := book.states("plc"); return len(s) == 2 && s[1] == device.Silent })
	pull = plug()
	book.until(t, "online again", func() bool { s, _ := book.states("plc"); return len(s) == 3 && s[2] == device.Online })
	stop()
	pull()
	book.check(t)
}

// Run ends although the machine never answers, and a bus runs once.
func TestShutdownWhileWaiting(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{}, 10)
	path := onPty(t, &slave{reply: func(_ uint8, _, _ []byte) []byte { asked <- struct{}{}; return nil }})
	bus := newBus(t, modbus.Config{Link: "rtu://" + path, Timeout: time.Minute, Units: []modbus.Unit{
		{Device: "plc", ID: 1, Profile: blocks(t, 1, 0, 0)}}}, newBook(nil))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- bus.Run(ctx) }()
	<-asked
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := bus.Run(context.Background()); err == nil {
		t.Error("ran twice")
	}
}
