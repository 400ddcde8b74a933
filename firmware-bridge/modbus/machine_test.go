package modbus_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/modbus"
	"steelyard/firmware-bridge/sim"
	"steelyard/internal/leaktest"
)

func TestMain(m *testing.M) {
	if count := os.Getenv(machinesVariable); count != "" {
		serveMachines(count) // the machines of a benchmark, in a process of their own
		return
	}
	leaktest.Main(m)
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// holds is what register a of a unit holds in every machine of these tests, so that a value tells
// whether it is the answer to the question.
func holds(unit uint8, a uint16) uint16 { return a*31 ^ uint16(unit)<<8 }

// blocks is a profile of n blocks of ten registers, all of one length: a late reply fits them all.
func blocks(t testing.TB, n int, timeout, latency time.Duration) *modbus.Profile {
	t.Helper()
	var text strings.Builder
	fmt.Fprintf(&text, "profile: blocks\nstatus: bench\nsources: [{doc: test}]\naddress_base: 0\nlimits: {timeout_ms: %d, latency_ms: %d}\nreads:\n",
		timeout.Milliseconds(), latency.Milliseconds())
	for b := range n {
		fmt.Fprintf(&text, "  - {fc: 3, from: %d, count: 10}\n", b*100)
	}
	text.WriteString("points:\n")
	for b := range n {
		for r := range 10 {
			fmt.Fprintf(&text, "  - {name: r%d, at: %d, type: u16}\n", b*100+r, b*100+r)
		}
	}
	return load(t, text.String())
}

func load(t testing.TB, text string) *modbus.Profile {
	t.Helper()
	p, err := modbus.Load("test.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// book is a sink that compares every value with what the machines hold.
type book struct {
	mu     sync.Mutex
	units  map[string]uint8
	scans  map[string]int
	wrong  []string
	health []device.Health
	news   chan struct{}
	onScan func(device.Scan)
}

func newBook(units map[string]uint8) *book {
	return &book{units: units, scans: map[string]int{}, news: make(chan struct{}, 1)}
}

func (b *book) Weight(device.Weight) {}

func (b *book) Scan(s device.Scan) {
	b.mu.Lock()
	b.scans[s.Device]++
	for _, v := range s.Values {
		address, err := strconv.Atoi(strings.TrimPrefix(v.Tag, "r"))
		if err != nil || !v.OK {
			continue
		}
		if want := int64(holds(b.units[s.Device], uint16(address))); v.Number.Coef != want {
			b.wrong = append(b.wrong, fmt.Sprintf("%s %s = %s, holds %d", s.Device, v.Tag, v.Number, want))
		}
	}
	b.mu.Unlock()
	if b.onScan != nil {
		b.onScan(s)
	}
	b.tell()
}

func (b *book) Health(h device.Health) {
	b.mu.Lock()
	b.health = append(b.health, h)
	b.mu.Unlock()
	b.tell()
}

func (b *book) tell() {
	select {
	case b.news <- struct{}{}:
	default:
	}
}

// until waits until the condition holds; it is called with the book locked.
func (b *book) until(t testing.TB, what string, condition func() bool) {
	t.Helper()
	limit := time.NewTimer(60 * time.Second)
	defer limit.Stop()
	for {
		b.mu.Lock()
		done := condition()
		b.mu.Unlock()
		if done {
			return
		}
		select {
		case <-b.news:
		case <-time.After(50 * time.Millisecond):
		case <-limit.C:
			t.Fatalf("never came: %s; scans %v, health %v", what, b.scans, b.health)
		}
	}
}

func (b *book) check(t testing.TB) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.wrong) > 0 {
		t.Errorf("%d wrong values, the first: %s", len(b.wrong), b.wrong[0])
	}
}

// run starts a bus and stops it with the test.
func run(t testing.TB, bus *modbus.Bus) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- bus.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

func newBus(t testing.TB, c modbus.Config, sink device.Sink) *modbus.Bus {
	t.Helper()
	bus, err := modbus.New(c, sink, quiet())
	if err != nil {
		t.Fatal(err)
	}
	return bus
}

// slave answers RTU requests on one end of a line, in order, as slowly as it is told.
type slave struct {
	end   io.ReadWriteCloser
	reply func(unit uint8, request, answer []byte) []byte // nil: the answer as it is; may wait; empty: silence
	asked func(unit uint8)
	sent  func(asked time.Time) // after each answer that went out as it is
}

// serve runs until the line is closed.
func (s *slave) serve() {
	var pending []byte
	buffer := make([]byte, 256)
	for {
		n, err := s.end.Read(buffer)
		if err != nil {
			return
		}
		pending = append(pending, buffer[:n]...)
		for len(pending) >= 8 {
			request := pending[:8]
			if modbus.CRC(request[:6]) != binary.LittleEndian.Uint16(request[6:]) {
				pending = pending[1:]
				continue
			}
			pending = pending[8:]
			begun := time.Now()
			if s.asked != nil {
				s.asked(request[0])
			}
			right := withCRC(respond(request[:6]))
			answer := bytes.Clone(right)
			if s.reply != nil {
				answer = s.reply(request[0], request, answer)
			}
			if len(answer) > 0 {
				if _, err := s.end.Write(answer); err != nil {
					return
				}
			}
			if s.sent != nil && bytes.Equal(answer, right) {
				s.sent(begun)
			}
		}
	}
}

// respond builds unit, function and data of the right answer.
func respond(request []byte) []byte {
	from, count := binary.BigEndian.Uint16(request[2:]), int(binary.BigEndian.Uint16(request[4:]))
	answer := []byte{request[0], request[1], byte(2 * count)}
	for i := range count {
		answer = binary.BigEndian.AppendUint16(answer, holds(request[0], from+uint16(i)))
	}
	return answer
}

func withCRC(frame []byte) []byte {
	return binary.LittleEndian.AppendUint16(frame, modbus.CRC(frame))
}

// ptyLine opens a pty; the test's machine has the master, the bus the path.
func ptyLine(t testing.TB) (machine *os.File, path string) {
	t.Helper()
	machine, tty, err := sim.OpenTerminal()
	if err != nil {
		t.Fatal(err)
	}
	// The tty stays open here, so that the line does not hang up when the bus reopens it.
	t.Cleanup(func() { tty.Close() })
	return machine, tty.Name()
}

// onPty runs a slave on a pty until the test ends.
func onPty(t testing.TB, s *slave) (path string) {
	t.Helper()
	master, path := ptyLine(t)
	s.end = master
	done := make(chan struct{})
	go func() { defer close(done); s.serve() }()
	t.Cleanup(func() { master.Close(); <-done })
	return path
}

// listen accepts connections until the test ends and serves each in a goroutine that is waited for.
func listen(t testing.TB, serve func(net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					t.Error(err)
				}
				return
			}
			mu.Lock()
			open = append(open, conn)
			mu.Unlock()
			all.Go(func() { defer conn.Close(); serve(conn) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, conn := range open {
			conn.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return l.Addr().String()
}

// serve answers a Modbus TCP connection until it ends.
func serve(conn net.Conn, answer func(request []byte) []byte) {
	request := make([]byte, 12)
	for {
		if _, err := io.ReadFull(conn, request); err != nil {
			return
		}
		if _, err := conn.Write(mbap(request, answer(request[6:]))); err != nil {
			return
		}
	}
}
