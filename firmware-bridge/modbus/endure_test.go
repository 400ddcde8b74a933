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

	"github.com/creack/pty"

	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/modbus"
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

const (
	faultTimeout = 25 * time.Millisecond
	faultLatency = 30 * time.Millisecond
)

// gremlin spoils one reply in two on average, but never a second before the bus has brought a scan
// again, so that recovery can be counted.
type gremlin struct {
	mu       sync.Mutex
	rng      *rand.Rand
	armed    bool
	done     int
	at       modbus.Stats // of the bus when it struck
	slowest  uint64       // polls until a scan, less those that failed for the test machine's own slowness
	bus      *modbus.Bus
	harmless bool // strikes no more: the connections that a stop leaves behind are no faults
}

func (g *gremlin) strike() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.armed || g.harmless || g.rng.IntN(2) > 0 {
		return false
	}
	g.armed = false
	g.done++
	g.at = g.bus.Stats()
	return true
}

func (g *gremlin) intn(n int) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.rng.IntN(n)
}

func (g *gremlin) scan(device.Scan) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if now := g.bus.Stats(); !g.armed && g.done > 0 {
		failed := now.Failures + now.Exceptions - g.at.Failures - g.at.Exceptions
		g.slowest = max(g.slowest, now.Polls-g.at.Polls-max(failed, 1)+1)
	}
	g.armed = true
}

// endure runs so many lines at once until each had its share of faults, and checks that none became
// a value and that a scan came at the third poll at the latest.
func endure(t *testing.T, lines, faults int, rig func(*testing.T, *gremlin) (link string)) {
	t.Parallel()
	var slowest, done uint64
	for i := range lines {
		g := &gremlin{rng: rand.New(rand.NewPCG(uint64(i), 11)), armed: true}
		g.mu.Lock() // nothing strikes before there is a bus to count by
		link := rig(t, g)
		book := newBook(map[string]uint8{"plc": 1})
		book.onScan = g.scan
		g.bus = newBus(t, modbus.Config{Link: link, Units: []modbus.Unit{
			{Device: "plc", ID: 1, Profile: blocks(t, 3, faultTimeout, faultLatency), Every: time.Millisecond}}}, book)
		g.mu.Unlock()
		stop := run(t, g.bus)
		defer func() {
			book.until(t, "all faults", func() bool {
				g.mu.Lock()
				defer g.mu.Unlock()
				g.harmless = g.done >= (faults+lines-1)/lines && g.armed
				return g.harmless
			})
			stop()
			book.check(t)
			slowest, done = max(slowest, g.slowest), done+uint64(g.done)
			if g.slowest > 3 {
				t.Errorf("recovery took %d polls, want at most 3", g.slowest)
			}
			if i == 0 { // the deferred calls run from the last line to the first
				t.Logf("%d faults on %d lines, slowest recovery %d polls", done, lines, slowest)
			}
		}()
	}
}

func TestThousandFaultsOnTCP(t *testing.T) {
	for _, kind := range []string{halfFrame, wrongID, exception, reset} {
		t.Run(kind, func(t *testing.T) {
			endure(t, 10, 1000, func(t *testing.T, g *gremlin) string {
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
		answer := mbap(request, respond(request[6:]))
		if g.strike() {
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
	}
}

// A gateway that is switched off and on: its connections end and for a moment nobody listens. The
// bus leaves a refused gateway alone for a second, so many run at once.
func TestThousandUnplugsOnTCP(t *testing.T) {
	endure(t, 100, 1000, func(t *testing.T, g *gremlin) string {
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
			endure(t, 10, 1000, func(t *testing.T, g *gremlin) string {
				path := onPty(t, &slave{reply: func(_ uint8, _, answer []byte) []byte {
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
	master, tty, err := pty.Open()
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
	end := awake(a.t, master)
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
	endure(t, 10, 1000, func(t *testing.T, g *gremlin) string {
		a := &adapter{t: t, name: t.TempDir() + "/adapter"}
		var serve func(end *os.File)
		serve = func(end *os.File) {
			s := &slave{end: end}
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

// Three hundred resets and three hundred unplugs leave no descriptor and no goroutine behind. It
// runs alone, before the parallel tests.
func TestNothingIsLeftOpen(t *testing.T) {
	open := func() int {
		names, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	g := &gremlin{rng: rand.New(rand.NewPCG(3, 3)), armed: true}
	address := listen(t, func(conn net.Conn) { spoil(conn, g, reset) })
	a := &adapter{t: t, name: t.TempDir() + "/adapter"}
	pulls := &gremlin{rng: rand.New(rand.NewPCG(4, 4)), armed: true}
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
		for link, g := range map[string]*gremlin{"tcp://" + address: g, "rtu://" + a.name + "?baud=115200": pulls} {
			book := newBook(map[string]uint8{"plc": 1})
			book.onScan = g.scan
			g.mu.Lock()
			g.bus = newBus(t, modbus.Config{Link: link, Units: []modbus.Unit{
				{Device: "plc", ID: 1, Profile: blocks(t, 3, 5*time.Millisecond, 5*time.Millisecond), Every: time.Millisecond}}}, book)
			g.armed, g.done, g.harmless = true, 0, false
			g.mu.Unlock()
			stop := run(t, g.bus)
			book.until(t, fmt.Sprint(faults, " faults of ", link), func() bool {
				g.mu.Lock()
				defer g.mu.Unlock()
				return g.done >= faults && g.armed
			})
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
	d, n := phase(300)
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
