package modbus_test

import (
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/modbus"
	"steelyard/firmware-bridge/sim"
)

// The faults of these tests, a thousand of each on each kind of line. Late replies are in
// late_test.go.
const (
	halfFrame = "half frame"
	wrongID   = "wrong id"
	exception = "exception"
	reset     = "reset"
	unplug    = "unplug"
)

// The time-out is one that a machine of these tests keeps on a busy computer too, and the polls leave
// the computer time.
const (
	faultTimeout = 80 * time.Millisecond
	faultLatency = 100 * time.Millisecond
	faultEvery   = 20 * time.Millisecond
)

// gremlin spoils one reply in two on average until it has had its share, but never a second before
// the bus has brought a scan again, so that recovery can be counted.
type gremlin struct {
	mu      sync.Mutex
	rng     *rand.Rand
	bus     *modbus.Bus
	share   int
	armed   bool
	done    int
	polls   uint64 // of the bus when it struck last
	struck  time.Time
	slowest uint64 // polls until a scan
	failed  int    // scans that came neither at the third poll nor within five seconds
	timeout time.Duration
	own     int // answers that the machine was late with by itself
	over    chan struct{}
	leave   chan struct{} // closed when the bus may go on after the last fault
}

func (g *gremlin) strike() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.armed || g.done == g.share || g.rng.IntN(2) > 0 {
		return false
	}
	g.armed = false
	g.done++
	g.polls, g.struck = g.bus.Stats().Polls, time.Now()
	return true
}

// answered is told when an answer that nobody spoilt was sent. One that came after the time-out, because
// the computer was busy with other things, is a fault like the others, and the count begins anew.
func (g *gremlin) answered(asked time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.bus == nil || time.Since(asked) < g.timeout {
		return
	}
	g.armed = false
	g.own++
	g.polls, g.struck = g.bus.Stats().Polls, time.Now()
}

func (g *gremlin) intn(n int) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.rng.IntN(n)
}

// scan sees the recovery. A bus that has lived through everything is held there, so that it leaves
// the processor to the others.
func (g *gremlin) scan(device.Scan) {
	g.mu.Lock()
	if !g.armed && g.done > 0 {
		polls := g.bus.Stats().Polls - g.polls
		g.slowest = max(g.slowest, polls)
		if polls > 3 && time.Since(g.struck) > 5*time.Second {
			g.failed++
		}
	}
	g.armed = true
	over := g.done == g.share
	g.mu.Unlock()
	if !over {
		return
	}
	select {
	case <-g.over:
	default:
		close(g.over)
	}
	<-g.leave
}

// ordeal is a number of lines, the faults that they share, and what the machines' profile says of
// their time.
type ordeal struct {
	lines, faults           int
	timeout, latency, every time.Duration
}

// endure runs all lines at once until each had its share of faults, and checks that none became a
// value and that a scan came at the third poll or within five seconds.
func endure(t *testing.T, o ordeal, rig func(*testing.T, *gremlin) (link string)) {
	t.Parallel()
	gremlins, books := make([]*gremlin, o.lines), make([]*book, o.lines)
	for i := range o.lines {
		g := &gremlin{rng: rand.New(rand.NewPCG(uint64(i), 11)), armed: true, share: o.faults / o.lines, timeout: o.timeout,
			over: make(chan struct{}), leave: make(chan struct{})}
		g.mu.Lock() // nothing strikes before there is a bus to count by
		link := rig(t, g)
		b := newBook(map[string]uint8{"plc": 1})
		b.onScan = g.scan
		g.bus = newBus(t, modbus.Config{Link: link, Units: []modbus.Unit{
			{Device: "plc", ID: 1, Profile: blocks(t, 4, o.timeout, o.latency), Every: o.every}}}, b)
		g.mu.Unlock()
		run(t, g.bus)
		gremlins[i], books[i] = g, b
		t.Cleanup(func() { close(g.leave) }) // before the bus is stopped
	}
	limit := time.NewTimer(100 * time.Second)
	defer limit.Stop()
	slowest, done, failed, own := uint64(0), 0, 0, 0
	for i, g := range gremlins {
		select {
		case <-g.over:
		case <-limit.C:
			g.mu.Lock()
			defer g.mu.Unlock()
			t.Fatalf("line %d: only %d of %d faults; stats %+v, health %v", i, g.done, g.share, g.bus.Stats(), books[i].health)
		}
		books[i].check(t)
		g.mu.Lock()
		slowest, done, failed, own = max(slowest, g.slowest), done+g.done, failed+g.failed, own+g.own
		g.mu.Unlock()
	}
	t.Logf("%d faults on %d lines, slowest recovery %d polls; %d answers late by themselves", done, o.lines, slowest, own)
	if failed > 0 {
		t.Errorf("%d of %d recoveries took more than three polls and five seconds", failed, done)
	}
}

// linesFor a kind: a machine that says that it is busy is left alone for a while, so more share the
// faults.
func linesFor(kind string) int {
	if kind == exception {
		return 50
	}
	return 25
}

// faultsOf are the lines of most tests here.
func faultsOf(lines int) ordeal {
	return ordeal{lines, 1000, faultTimeout, faultLatency, faultEvery}
}

func TestThousandFaultsOnTCP(t *testing.T) {
	for _, kind := range []string{halfFrame, wrongID, exception, reset} {
		t.Run(kind, func(t *testing.T) {
			endure(t, faultsOf(linesFor(kind)), func(t *testing.T, g *gremlin) string {
				return "tcp://" + listen(t, func(conn net.Conn) { spoil(conn, g, kind) })
			})
		})
	}
}

// spoil serves one connection until a fault ends it.
func spoil(conn net.Conn, g *gremlin, kind string) {
	request := make([]byte, 12)
	for {
		if _, err := io.ReadFull(conn, request); err != nil {
			return
		}
		asked := time.Now()
		answer := mbap(request, respond(request[6:]))
		struck := g.strike()
		if struck {
			switch kind {
			case halfFrame:
				answer = answer[:1+g.intn(len(answer)-1)]
			case wrongID:
				if g.intn(2) == 0 {
					answer[6] += byte(1 + g.intn(255)) // unit
				} else {
					answer[g.intn(2)] ^= byte(1 + g.intn(255)) // transaction
				}
			case exception:
				code := []byte{4, 5, 6, 7, 8, 0x0A, 0x0B, 0x41, 0xFF}[g.intn(9)]
				answer = []byte{answer[0], answer[1], 0, 0, 0, 3, answer[6], answer[7] | 0x80, code}
			case reset:
				conn.(*net.TCPConn).SetLinger(0)
				return
			}
		}
		if _, err := conn.Write(answer); err != nil {
			return
		}
		if !struck {
			g.answered(asked)
		}
	}
}

// A gateway that is switched off and on: its connections end and for a moment nobody listens. The
// bus leaves a refused gateway alone for a second, so many run at once.
func TestThousandUnplugsOnTCP(t *testing.T) {
	endure(t, faultsOf(100), func(t *testing.T, g *gremlin) string {
		first, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address := first.Addr().String()
		var all sync.WaitGroup
		var mu sync.Mutex
		var now io.Closer = first
		over := false
		all.Go(func() {
			for l := first; ; {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				mu.Lock()
				now = conn
				ended := over
				mu.Unlock()
				if ended {
					conn.Close()
					return
				}
				l.Close() // one connection only, so that its end is the gateway's
				spoil(conn, g, reset)
				conn.Close()
				for l = nil; l == nil; {
					mu.Lock()
					if over {
						mu.Unlock()
						return
					}
					if again, err := net.Listen("tcp", address); err == nil {
						l, now = again.(*net.TCPListener), again
					}
					mu.Unlock()
				}
			}
		})
		t.Cleanup(func() {
			mu.Lock()
			over = true
			now.Close()
			mu.Unlock()
			all.Wait()
		})
		return "tcp://" + address
	})
}

func TestThousandFaultsOnASerialLine(t *testing.T) {
	for _, kind := range []string{halfFrame, wrongID, exception} {
		t.Run(kind, func(t *testing.T) {
			endure(t, faultsOf(linesFor(kind)), func(t *testing.T, g *gremlin) string {
				path := onPty(t, &slave{sent: g.answered, reply: func(_ uint8, _, answer []byte) []byte {
					if !g.strike() {
						return answer
					}
					switch kind {
					case halfFrame:
						return answer[:1+g.intn(len(answer)-1)]
					case wrongID:
						answer[0] += byte(1 + g.intn(255))
						return withCRC(answer[:len(answer)-2])
					}
					return withCRC([]byte{answer[0], answer[1] | 0x80, []byte{4, 5, 6, 7, 8, 0x0A, 0x0B, 0x41, 0xFF}[g.intn(9)]})
				}})
				return "rtu://" + path + "?baud=115200"
			})
		})
	}
}

// adapter is a serial adapter that can be pulled and plugged in again under one name.
type adapter struct {
	t    *testing.T
	name string
	mu   sync.Mutex
	end  *os.File
	tty  *os.File
	all  sync.WaitGroup
}

// plug puts a new terminal behind the name and serves it until it is pulled.
func (a *adapter) plug(serve func(end *os.File)) {
	end, tty, err := sim.OpenTerminal()
	if err != nil {
		a.t.Error(err)
		return
	}
	next := a.name + ".next"
	if err := os.Symlink(tty.Name(), next); err != nil {
		a.t.Error(err)
	}
	if err := os.Rename(next, a.name); err != nil {
		a.t.Error(err)
	}
	a.mu.Lock()
	a.end, a.tty = end, tty
	a.mu.Unlock()
	a.all.Go(func() { serve(end) })
}

func (a *adapter) pull() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.end.Close()
	a.tty.Close()
}

func TestThousandUnplugsOfASerialLine(t *testing.T) {
	endure(t, faultsOf(25), func(t *testing.T, g *gremlin) string {
		a := &adapter{t: t, name: t.TempDir() + "/adapter"}
		var serve func(end *os.File)
		serve = func(end *os.File) {
			s := &slave{end: end, sent: g.answered}
			s.reply = func(_ uint8, _, answer []byte) []byte {
				if !g.strike() {
					return answer
				}
				a.pull()
				a.plug(serve)
				return nil
			}
			s.serve()
		}
		a.plug(serve)
		t.Cleanup(func() { a.pull(); a.all.Wait() })
		return "rtu://" + a.name + "?baud=115200"
	})
}

// A hundred and fifty resets and as many unplugs leave no descriptor and no goroutine behind. It
// runs alone, before the parallel tests.
func TestNothingIsLeftOpen(t *testing.T) {
	open := func() int {
		names, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	resets := &gremlin{timeout: time.Minute, rng: rand.New(rand.NewPCG(3, 3))}
	address := listen(t, func(conn net.Conn) { spoil(conn, resets, reset) })
	a := &adapter{t: t, name: t.TempDir() + "/adapter"}
	pulls := &gremlin{timeout: time.Minute, rng: rand.New(rand.NewPCG(4, 4))}
	var serve func(end *os.File)
	serve = func(end *os.File) {
		(&slave{end: end, reply: func(_ uint8, _, answer []byte) []byte {
			if !pulls.strike() {
				return answer
			}
			a.pull()
			a.plug(serve)
			return nil
		}}).serve()
	}
	a.plug(serve)
	t.Cleanup(func() { a.pull(); a.all.Wait() })
	phase := func(faults int) (descriptors, goroutines int) {
		for link, g := range map[string]*gremlin{"tcp://" + address: resets, "rtu://" + a.name + "?baud=115200": pulls} {
			book := newBook(map[string]uint8{"plc": 1})
			book.onScan = g.scan
			g.mu.Lock()
			g.bus = newBus(t, modbus.Config{Link: link, Units: []modbus.Unit{
				{Device: "plc", ID: 1, Profile: blocks(t, 3, lateTimeout, lateLatency), Every: time.Millisecond}}}, book)
			g.armed, g.done, g.share = true, 0, faults
			g.over, g.leave = make(chan struct{}), make(chan struct{})
			g.mu.Unlock()
			stop := run(t, g.bus)
			select {
			case <-g.over:
			case <-time.After(60 * time.Second):
				t.Errorf("%d of %d faults of %s", g.done, faults, link)
			}
			close(g.leave)
			stop()
			book.check(t)
		}
		// The machine's side ends a moment after the bus's.
		for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			d, n := open(), runtime.NumGoroutine()
			if d == descriptors && n == goroutines || time.Now().After(deadline) {
				return d, n
			}
			descriptors, goroutines = d, n
		}
	}
	descriptors, goroutines := phase(10)
	d, n := phase(150)
	t.Logf("descriptors %d and then %d, goroutines %d and then %d", descriptors, d, goroutines, n)
	if d > descriptors+2 || n > goroutines+2 {
		t.Errorf("descriptors %d, then %d; goroutines %d, then %d", descriptors, d, goroutines, n)
	}
}

// Negative control: a machine that answers for another unit or with half a frame is found out by
// the same book when its values are taken anyhow.
func TestTheBookSeesWrongValues(t *testing.T) {
	t.Parallel()
	answer := withCRC(respond([]byte{2, 3, 0, 0, 0, 10})) // unit 2 for unit 1
	data, found, err := modbus.Answer(append([]byte{1}, answer[1:]...), 1, 3, 0, 10)
	if found || err != nil {
		t.Fatalf("a frame with a wrong CRC was taken: % X, %v", data, err)
	}
	book := newBook(map[string]uint8{"plc": 1})
	value := device.Value{Tag: "r5", OK: true}
	value.Number.Coef = int64(binary.BigEndian.Uint16(answer[3+10:]))
	book.Scan(device.Scan{Device: "plc", Values: []device.Value{value}})
	if len(book.wrong) != 1 {
		t.Error("a value of another unit passed")
	}
}

// Negative control: a bus that needs four polls and more than five seconds is found out, unless the
// machine was late by itself meanwhile.
func TestASlowRecoveryIsSeen(t *testing.T) {
	t.Parallel()
	for own, want := range map[bool]int{false: 1, true: 0} {
		bus := newBus(t, modbus.Config{Link: "tcp://127.0.0.1:9", Units: []modbus.Unit{{Device: "plc", ID: 1, Profile: blocks(t, 1, 0, 0)}}}, newBook(nil))
		g := &gremlin{bus: bus, share: 2, done: 1, timeout: faultTimeout}
		g.polls -= 4 // so many polls ago
		g.struck = time.Now().Add(-6 * time.Second)
		if own {
			g.answered(time.Now().Add(-faultTimeout))
		}
		g.scan(device.Scan{})
		if g.failed != want {
			t.Errorf("late by itself %v: %d slow recoveries, want %d", own, g.failed, want)
		}
	}
}
