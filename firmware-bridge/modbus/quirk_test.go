package modbus_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/modbus"
)

// narrow answers rightly only when one value is asked for by itself: with more it gives the first
// register over and over, as machines do that keep a buffer for one. values are the registers of each.
func narrow(values [][2]int) func(conn net.Conn) {
	return func(conn net.Conn) {
		request := make([]byte, 12)
		for {
			if _, err := io.ReadFull(conn, request); err != nil {
				return
			}
			answer := respond(request[6:])
			from, count := int(binary.BigEndian.Uint16(request[8:])), int(binary.BigEndian.Uint16(request[10:]))
			alone := false
			for _, v := range values {
				alone = alone || v == [2]int{from, count}
			}
			for i := 5; !alone && i < len(answer); i++ {
				answer[i] = answer[i-2]
			}
			if _, err := conn.Write(mbap(request, answer)); err != nil {
				return
			}
		}
	}
}

// A machine that answers rightly only to reads of one value. Without the limit its values are wrong.
func TestOnePointPerRead(t *testing.T) {
	t.Parallel()
	address := listen(t, narrow([][2]int{{10, 1}, {11, 1}, {12, 1}, {13, 1}, {14, 2}}))
	const points = "profile: p\nstatus: bench\nsources: [{doc: d}]\naddress_base: 0\npoints:\n" +
		"  - {name: r10, at: 10, type: u16}\n  - {name: r11, at: 11, type: u16}\n  - {name: r12, at: 12, type: u16}\n" +
		"  - {name: low, at: 13, bit: 0}\n  - {name: high, at: 13, bits: [8, 15]}\n  - {name: r13, at: 13, type: bits}\n" +
		"  - {name: wide, at: 14, type: u32}\n"
	wrong := func(text string, reads int) int {
		p := load(t, text)
		if n := len(p.Blocks()); n != reads {
			t.Errorf("%d reads planned, want %d: %+v", n, reads, p.Blocks())
		}
		book := newBook(map[string]uint8{"plc": 1})
		var last device.Scan
		book.onScan = func(s device.Scan) { book.mu.Lock(); last = s; book.mu.Unlock() }
		stop := run(t, newBus(t, modbus.Config{Link: "tcp://" + address, Units: []modbus.Unit{
			{Device: "plc", ID: 1, Profile: p, Every: 5 * time.Millisecond}}}, book))
		book.until(t, "scans", func() bool { return book.scans["plc"] >= 5 })
		stop()
		n := len(book.wrong)
		if v, _ := last.Find("wide"); v.Number.Coef != int64(holds(1, 14))<<16|int64(holds(1, 15)) {
			n++
		}
		return n
	}
	if n := wrong(points+"limits: {one_point_per_read: true}\n", 5); n > 0 {
		t.Errorf("%d wrong values", n)
	}
	if wrong(points, 1) == 0 {
		t.Error("read together the values were right: this proves nothing")
	}
}

// A machine that answers rightly only to the first poll of a connection; later it repeats itself.
func forgetful(polls *atomic.Int64, reads int) func(conn net.Conn) {
	return func(conn net.Conn) {
		request := make([]byte, 12)
		var first []byte
		for n := 0; ; n++ {
			if _, err := io.ReadFull(conn, request); err != nil {
				return
			}
			answer := respond(request[6:])
			switch {
			case n == 0:
				first = answer
				polls.Add(1)
			case n >= reads:
				answer = first
			}
			if _, err := conn.Write(mbap(request, answer)); err != nil {
				return
			}
		}
	}
}

// The connection is closed after each poll where the profile or the bus says so, which is no fault
// and no change of health, and it leaves no descriptor behind. Not parallel: it counts descriptors.
func TestCloseAfterPoll(t *testing.T) {
	profile := "profile: p\nstatus: bench\nsources: [{doc: d}]\naddress_base: 0\nreads: [{fc: 3, from: 0, count: 2}, {fc: 3, from: 100, count: 2}]\n" +
		"points:\n  - {name: r0, at: 0, type: u16}\n  - {name: r100, at: 100, type: u16}\n"
	var connections atomic.Int64
	address := listen(t, forgetful(&connections, 2))
	wrong := func(text string, closing bool, scans int) (wrong int, s modbus.Stats, states []device.State) {
		book := newBook(map[string]uint8{"plc": 1})
		bus := newBus(t, modbus.Config{Link: "tcp://" + address, CloseAfterPoll: closing, Timeout: patient, Units: []modbus.Unit{
			{Device: "plc", ID: 1, Profile: load(t, text), Every: 5 * time.Millisecond}}}, book)
		stop := run(t, bus)
		book.until(t, "scans", func() bool { return book.scans["plc"] >= scans })
		stop()
		states, _ = book.states("plc")
		return len(book.wrong), bus.Stats(), states
	}
	descriptors := func() int {
		names, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	for name, c := range map[string]struct {
		profile string
		bus     bool
	}{"by the profile": {profile + "limits: {close_after_poll: true}\n", false}, "by the bus": {profile, true}} {
		wrong(c.profile, c.bus, 1) // what is opened once, is open now
		before := descriptors()
		n, s, states := wrong(c.profile, c.bus, 12)
		if n > 0 || s.Failures > 0 || s.Opens < 12 || s.Opens > s.Polls {
			t.Errorf("%s: %d wrong values, %+v", name, n, s)
		}
		if diff := cmp.Diff([]device.State{device.Online}, states); diff != "" {
			t.Errorf("%s: health -want +got:\n%s", name, diff)
		}
		// The machine's side ends a moment after the bus's.
		for limit := time.Now().Add(10 * time.Second); descriptors() > before+1; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(limit) {
				t.Errorf("%s: %d descriptors, %d before", name, descriptors(), before)
				break
			}
		}
	}
	if n, _, _ := wrong(profile, false, 12); n == 0 {
		t.Error("over one connection the values were right: this proves nothing")
	}
}

// gatewayForOne serves one connection and closes every other at once.
func gatewayForOne(t *testing.T) (address string) {
	var taken atomic.Bool
	return listen(t, func(conn net.Conn) {
		if !taken.CompareAndSwap(false, true) {
			return
		}
		defer taken.Store(false)
		serve(conn, respond)
	})
}

// Two masters at a gateway with one connection: both are served when ours closes after each poll,
// and the other never is when it does not.
func TestAnotherMasterGetsItsTurn(t *testing.T) {
	t.Parallel()
	rival := func(address string) (served bool) {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return false
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(patient)) // it is answered or hung up on
		reply := make([]byte, 9+2)
		if _, err := conn.Write([]byte{0, 1, 0, 0, 0, 6, 2, 3, 0, 0, 0, 1}); err != nil {
			return false
		}
		_, err = io.ReadFull(conn, reply)
		return err == nil
	}
	attempt := func(closing bool, done func(turns, tries int) bool) (turns int) {
		address := gatewayForOne(t)
		book := newBook(map[string]uint8{"a": 1})
		run(t, newBus(t, modbus.Config{Link: "tcp://" + address, CloseAfterPoll: closing, Units: []modbus.Unit{
			{Device: "a", ID: 1, Profile: blocks(t, 2, patient, 0), Every: 50 * time.Millisecond}}}, book))
		book.until(t, "the first scan", func() bool { return book.scans["a"] > 0 })
		for tries := 0; !done(turns, tries); tries++ {
			if rival(address) {
				turns++
			}
			time.Sleep(5 * time.Millisecond) // the other master's own pace
		}
		before := 0
		book.until(t, "", func() bool { before = book.scans["a"]; return true })
		book.until(t, "scans after the rival's turns", func() bool { return book.scans["a"] >= before+3 })
		book.check(t)
		return turns
	}
	limit := time.Now().Add(60 * time.Second)
	if turns := attempt(true, func(turns, _ int) bool { return turns >= 5 || time.Now().After(limit) }); turns < 5 {
		t.Errorf("the other master had %d turns", turns)
	}
	if turns := attempt(false, func(_, tries int) bool { return tries >= 50 }); turns > 0 {
		t.Errorf("the other master had %d turns although we never closed: this proves nothing", turns)
	}
}

// The pause after connecting holds each time, and fast polls make no storm of connections.
func TestConnectPauseAfterEachClose(t *testing.T) {
	t.Parallel()
	const pause = 30 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		line := &paced{wire: modbus.Wire{Latency: 5 * time.Millisecond}}
		book := newBook(map[string]uint8{"a": 1, "b": 2})
		p := blocks(t, 2, time.Second, 0)
		bus := newBus(t, modbus.Config{Link: "tcp://memory:502", ConnectPause: pause, CloseAfterPoll: true, Units: []modbus.Unit{
			{Device: "a", ID: 1, Profile: p, Every: 10 * time.Millisecond}, {Device: "b", ID: 2, Profile: p, Every: 10 * time.Millisecond}}}, book)
		within(t, 10*time.Second, bus, line)
		book.check(t)
		first := map[time.Time]time.Time{} // question of each connection
		for _, q := range line.asked {
			at := line.opened[0]
			for _, o := range line.opened {
				if !o.After(q.at) {
					at = o
				}
			}
			if _, ok := first[at]; !ok {
				first[at] = q.at
			}
		}
		for opened, asked := range first {
			if d := asked.Sub(opened); d < pause {
				t.Errorf("asked %s after connecting", d)
			}
		}
		if n := len(line.opened); n < 50 || n > 100 {
			t.Errorf("%d connections in ten seconds, at most ten a second are made", n)
		}
		if a, b := book.scans["a"], book.scans["b"]; a-b > 1 || b-a > 1 || a+b > len(line.opened) {
			t.Errorf("%d and %d scans over %d connections", a, b, len(line.opened))
		}
	})
}

// One refused connection is another master's turn; the second in a row is silence.
func TestARefusedConnectionBetweenPolls(t *testing.T) {
	t.Parallel()
	for refusals, want := range map[int][]device.State{1: {device.Online}, 2: {device.Online, device.Silent, device.Online}} {
		synctest.Test(t, func(t *testing.T) {
			line := &refusing{paced: paced{wire: modbus.Wire{Latency: 5 * time.Millisecond}}, from: 5, until: 5 + refusals}
			book := newBook(map[string]uint8{"a": 1})
			bus := newBus(t, modbus.Config{Link: "tcp://memory:502", CloseAfterPoll: true, Units: []modbus.Unit{
				{Device: "a", ID: 1, Profile: blocks(t, 1, time.Second, 0), Every: time.Second}}}, book)
			bus.InMemory(line)
			stop := run(t, bus)
			time.Sleep(time.Minute)
			stop()
			states, _ := book.states("a")
			if diff := cmp.Diff(want, states); diff != "" {
				t.Errorf("%d refusals: health -want +got:\n%s", refusals, diff)
			}
		})
	}
}

// refusing is a line that some attempts to open fail on.
type refusing struct {
	paced
	tries, from, until int
}

func (r *refusing) Open() error {
	if r.tries++; r.tries > r.from && r.tries <= r.until {
		return errors.New("connection refused")
	}
	return r.paced.Open()
}

func TestCloseAfterPollIsForTCPOnly(t *testing.T) {
	for _, link := range []string{"rtu:///dev/ttyS9", "rtu-over-tcp://host:4001"} {
		_, err := modbus.New(modbus.Config{Link: link, CloseAfterPoll: true, Units: []modbus.Unit{
			{Device: "a", ID: 1, Profile: blocks(t, 1, 0, 0)}}}, nil, quiet())
		if err == nil || !strings.Contains(err.Error(), "close after poll: on a serial line") {
			t.Errorf("%s: %v", link, err)
		}
	}
}

// echoOf finds a read of one register whose request is a sound reply to itself: its address stands
// where the register would. There are such reads, which is why an echo must be taken off.
func echoOf(t *testing.T) (unit uint8, from uint16) {
	t.Helper()
	for id := uint8(1); id < 248; id++ {
		for from := uint16(0x200); from < 0x300; from++ {
			if data, found, err := modbus.Answer(modbus.Ask(id, 3, from, 1), id, 3, from, 1); found && err == nil {
				t.Logf("unit %d, register %d: the request reads % X as a reply", id, from, data)
				return id, from
			}
		}
	}
	t.Fatal("no request is a sound reply: the test below proves nothing")
	return 0, 0
}

// An adapter that hears itself: with echo=1 the echo is never taken for a value, and its absence is
// found out. Without, there are registers for which the echo is the value.
func TestEcho(t *testing.T) {
	t.Parallel()
	id, from := echoOf(t)
	profile := load(t, fmt.Sprintf("profile: p\nstatus: bench\nsources: [{doc: d}]\naddress_base: 0\nlimits: {timeout_ms: 150, latency_ms: 160}\npoints:\n"+
		"  - {name: r%d, at: %[1]d, type: u16}\n", from))
	for name, c := range map[string]struct {
		query  string
		before []byte // what the line says before the reply
		echoes bool
		scans  bool
		wrong  bool
	}{
		"echo":                        {"&echo=1", nil, true, true, false},
		"noise and echo":              {"&echo=1", []byte{0, 0xFF}, true, true, false},
		"no echo":                     {"&echo=1", nil, false, false, false},
		"no echo, as said":            {"&echo=0", nil, false, true, false},
		"echo that nobody spoke of":   {"", nil, true, true, true},
		"no echo and nobody spoke of": {"", nil, false, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := onPty(t, &slave{reply: func(_ uint8, request, answer []byte) []byte {
				if !c.echoes {
					return answer
				}
				return append(append(bytes.Clone(c.before), request...), answer...)
			}})
			book := newBook(map[string]uint8{"plc": id})
			stop := run(t, newBus(t, modbus.Config{Link: "rtu://" + path + "?baud=115200" + c.query, Units: []modbus.Unit{
				{Device: "plc", ID: id, Profile: profile, Every: 5 * time.Millisecond}}}, book))
			book.until(t, "a word", func() bool {
				states, _ := book.states("plc")
				if c.scans {
					return book.scans["plc"] >= 10
				}
				return len(states) > 0 && states[0] == device.Silent
			})
			stop()
			if _, why := book.states("plc"); !c.scans && !strings.Contains(why, "the echo of the request is not among them; leave echo=1 out") {
				t.Errorf("health says %q", why)
			}
			if scans, wrong := book.scans["plc"] > 0, len(book.wrong) > 0; scans != c.scans || wrong != c.wrong {
				t.Errorf("scans %v, wrong values %v", book.scans, book.wrong)
			}
		})
	}
}

// The same behind a terminal server, for a Master.
func TestEchoOfAMaster(t *testing.T) {
	t.Parallel()
	id, from := echoOf(t)
	var mu sync.Mutex
	asked := 0
	address := listen(t, func(conn net.Conn) {
		(&slave{end: conn, reply: func(_ uint8, request, answer []byte) []byte {
			mu.Lock()
			asked++
			mu.Unlock()
			return append(bytes.Clone(request), answer...)
		}}).serve()
	})
	m := newMaster(t, modbus.MasterConfig{Link: "rtu-over-tcp://" + address + "?baud=115200&echo=1", Timeout: patient})
	data, _, err := m.Read(t.Context(), modbus.Question{Unit: id, FC: 3, From: from, Count: 1})
	if err != nil || binary.BigEndian.Uint16(data) != holds(id, from) {
		t.Errorf("% X, %v, want %04X", data, err, holds(id, from))
	}
	mu.Lock()
	defer mu.Unlock()
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
}
