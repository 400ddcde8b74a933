package modbus_test

import (
	"encoding/binary"
	"fmt"
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
	"steelyard/firmware-bridge/serial"
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
	faultTimeout = 120 * time.Millisecond
	faultLatency = 150 * time.Millisecond
	faultEvery   = 20 * time.Millisecond
)

// The bus has a scan again within five seconds of a fault, which is longer than three polls.
const recovery = 5 * time.Second

// gremlin spoils one reply in two on average until it has had its share, but never a second before
// the bus has brought a scan again, so that recovery can be counted.
//
// A request that the computer lost, and not the bus, is a fault like the gremlin's: the count begins
// anew. Only what does not rest on the bus's word says that it was the computer: a machine whose answer
// went out after the time-out, or a pilot that stood still while the request was under way.
type gremlin struct {
	mu      sync.Mutex
	rng     *rand.Rand
	bus     *modbus.Bus
	share   int
	armed   bool
	done    int
	timeout time.Duration
	stood   func(from, to time.Time) time.Duration // of the pilot; nil: the computer never stands still
	polls   uint64                                 // of the bus when the recovery began
	first   time.Time                              // when the fault struck
	begun   time.Time                              // from which the recovery is counted: struck, or lost by the computer
	spared  int                                    // requests that the computer lost since the fault
	tally   tally
	over    chan struct{}
	leave   chan struct{} // closed when the bus may go on after the last fault
}

// tally is what came of the faults.
type tally struct {
	done    int
	polls   uint64        // the most until a scan
	longest time.Duration // until a scan, without what the computer stood still
	slow    int           // recoveries that took too long
	excused int           // such ones but for the requests that the computer lost
	own     int           // requests that the computer lost
}

func (a *tally) add(b tally) {
	a.done, a.polls, a.longest = a.done+b.done, max(a.polls, b.polls), max(a.longest, b.longest)
	a.slow, a.excused, a.own = a.slow+b.slow, a.excused+b.excused, a.own+b.own
}

// verdict says what is wrong. A computer that excuses one recovery in ten hides too many.
func (a tally) verdict() error {
	switch {
	case a.slow > 0:
		return fmt.Errorf("%d of %d recoveries took more than %s, the longest %s", a.slow, a.done, recovery, a.longest)
	case a.excused*10 > a.done:
		return fmt.Errorf("%d of %d recoveries were too slow, each after requests that the computer lost: it is too busy for this test", a.excused, a.done)
	}
	return nil
}

func (g *gremlin) strike() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.armed || g.done == g.share || g.rng.IntN(2) > 0 {
		return false
	}
	g.done++
	g.began()
	return true
}

// began sets the moment from which a recovery is counted; the lock is held.
func (g *gremlin) began() {
	if g.armed {
		g.armed, g.first, g.spared = false, time.Now(), 0
	}
	g.polls, g.begun = g.bus.Stats().Polls, time.Now()
}

// spare begins anew after a request that the computer lost; the lock is held.
func (g *gremlin) spare() {
	g.began()
	g.spared++
	g.tally.own++
}

// allowed is the time for a recovery: more by the pause that the bus makes after so many failures, where
// the computer made them.
func (g *gremlin) allowed() time.Duration {
	if g.spared == 0 {
		return recovery
	}
	return recovery + serial.Backoff(g.spared)
}

// answered is told when an answer that nobody spoilt was sent: after the time-out when the machine did
// not get the processor.
func (g *gremlin) answered(asked time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.bus != nil && time.Since(asked) >= g.timeout {
		g.spare()
	}
}

// lost is told of each request that brought nothing.
func (g *gremlin) lost(sent, ended time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.still(sent, ended) >= g.timeout/hands:
		g.spare()
	case g.armed: // of the bus's own making: it must recover from that too
		g.began()
	}
}

// still is how long the computer stood still.
func (g *gremlin) still(from, to time.Time) time.Duration {
	if g.stood == nil {
		return 0
	}
	return g.stood(from, to)
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
	if !g.armed {
		now := time.Now()
		took := func(since time.Time) time.Duration { return now.Sub(since) - g.still(since, now) }
		g.tally.polls = max(g.tally.polls, g.bus.Stats().Polls-g.polls)
		g.tally.longest = max(g.tally.longest, took(g.begun))
		switch {
		case took(g.begun) > g.allowed():
			g.tally.slow++
		case took(g.first) > recovery:
			g.tally.excused++
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
// value and that a scan came in time.
func endure(t *testing.T, o ordeal, rig func(*testing.T, *gremlin) (link string)) {
	t.Parallel()
	pilot := light(t, o.timeout/hands)
	gremlins, books := make([]*gremlin, o.lines), make([]*book, o.lines)
	for i := range o.lines {
		g := &gremlin{rng: rand.New(rand.NewPCG(uint64(i), 11)), armed: true, share: o.faults / o.lines, timeout: o.timeout,
			stood: pilot.stood, over: make(chan struct{}), leave: make(chan struct{})}
		g.mu.Lock() // nothing strikes before there is a bus to count by
		link := rig(t, g)
		b := newBook(map[string]uint8{"plc": 1})
		b.onScan = g.scan
		g.bus = newBus(t, modbus.Config{Link: link, Units: []modbus.Unit{
			{Device: "plc", ID: 1, Profile: blocks(t, 4, o.timeout, o.latency), Every: o.every}}}, b)
		g.bus.Overhear(g.lost)
		g.mu.Unlock()
		run(t, g.bus)
		gremlins[i], books[i] = g, b
		t.Cleanup(func() { close(g.leave) }) // before the bus is stopped
	}
	limit := time.NewTimer(5 * time.Minute)
	defer limit.Stop()
	var all tally
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
		g.tally.done = g.done
		all.add(g.tally)
		g.mu.Unlock()
	}
	t.Logf("%d faults on %d lines, slowest recovery %d polls and %s; the computer lost %d requests and excuses %d recoveries",
		all.done, o.lines, all.polls, all.longest.Round(time.Millisecond), all.own, all.excused)
	if err := all.verdict(); err != nil {
		t.Error(err)
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
	phase := func(faults int) {
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
				g.mu.Lock()
				t.Errorf("%d of %d faults of %s", g.done, faults, link)
				g.mu.Unlock()
			}
			close(g.leave)
			stop()
			book.check(t)
		}
	}
	counts := func() (descriptors, goroutines int) { return open(), runtime.NumGoroutine() }
	phase(10)
	// The machine's side ends a moment after the bus's: until nothing has ended for a while.
	descriptors, goroutines := counts()
	for still := time.Now(); time.Since(still) < 300*time.Millisecond; time.Sleep(5 * time.Millisecond) {
		if d, n := counts(); d < descriptors || n < goroutines {
			descriptors, goroutines, still = d, n, time.Now()
		}
	}
	phase(150)
	d, n := counts()
	for limit := time.Now().Add(30 * time.Second); (d > descriptors+2 || n > goroutines+2) && time.Now().Before(limit); d, n = counts() {
		time.Sleep(5 * time.Millisecond)
	}
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
