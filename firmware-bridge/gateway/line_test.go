package gateway_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"steelyard/firmware-bridge/catalog"
	"steelyard/firmware-bridge/gateway"
	"steelyard/firmware-bridge/serial"
	"steelyard/firmware-bridge/sim"
	"steelyard/internal/unit"
)

// scales is a deck with its indicator on a pty.
type scales struct {
	*sim.Indicator
	deck *sim.Deck
}

func indicator(t testing.TB, dialect sim.Dialect) (scales, *sim.Pty) {
	t.Helper()
	line, err := sim.OpenPty(sim.PtyConfig{Link: filepath.Join(t.TempDir(), "indicator.tty")})
	if err != nil {
		t.Fatal(err)
	}
	sum := sim.NoChecksum
	if dialect == sim.Toledo {
		sum = sim.MT7
	}
	deck := sim.NewDeck(sim.DeckConfig{Division: 20 * unit.Kilogram, Max: 60 * unit.Tonne, Seed: 1})
	i, err := sim.NewIndicator(sim.IndicatorConfig{Dialect: dialect, Checksum: sum, Rate: 100, Seed: 1}, deck, line)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { i.Run(ctx) })
	t.Cleanup(func() { cancel(); all.Wait(); line.Close() })
	return scales{i, deck}, line
}

func portOf(line *sim.Pty) serial.Config { return serial.Config{Port: line.Path(), Baud: 9600} }

// Many readers of one line get the same bytes, while its weight is published too.
func TestRawReadersBesideTheRegisters(t *testing.T) {
	t.Parallel()
	_, line := indicator(t, sim.Toledo)
	raw, registers := here(10), gateway.Registers{Listener: here(4), Unit: 7, Address: 1000}
	raw.Listen, registers.Listen = "127.0.0.1:0", "[::1]:0"
	registers.Allow = []string{"::1"}
	at := serve(t, gateway.Config{Lines: []gateway.Line{{Device: "w", Line: portOf(line), Raw: &raw,
		Output: catalog.Output{Dialect: "mt-cont", Options: options("mt7", unit.KG)}, Registers: &registers}}})
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			// The line may not be open yet: then the listener lets go at once.
			for limit := time.Now().Add(time.Minute); time.Now().Before(limit); {
				conn, err := net.Dial("tcp", at["127.0.0.1:0"])
				if err != nil {
					t.Error(err)
					return
				}
				// What a reader sends reaches nobody.
				_, _ = conn.Write([]byte("Z\r\nT\r\n"))
				got := make([]byte, 18*20)
				n, err := io.ReadFull(conn, got)
				conn.Close()
				if err != nil {
					time.Sleep(10 * time.Millisecond)
					continue
				}
				if frames := strings.Count(string(got[:n]), "\x02"); frames < 19 {
					t.Errorf("%d frames in the bytes of twenty", frames)
				}
				return
			}
			t.Error("the line never opened")
		})
	}
	all.Wait()
	c := dial(t, at["[::1]:0"])
	until(t, "a weight", func() bool {
		words, exception := c.ask(7, 3, 1000, 16)
		return exception == 0 && words[3]&1 == 1
	})
	if _, exception := c.ask(1, 3, 1000, 16); exception != 0x0A {
		t.Errorf("another unit id: exception %02X, want 0A", exception)
	}
}

// A reader that takes nothing is cut; the others miss no byte.
func TestSlowRawReaderIsCut(t *testing.T) {
	t.Parallel()
	l, err := sim.ListenTCP("127.0.0.1:0") // a terminal server can send faster than any line
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	raw := here(4)
	address := serve(t, gateway.Config{Lines: []gateway.Line{{Device: "w", Line: serial.Config{Port: l.Path()}, Raw: &raw}}})["127.0.0.1:0"]
	// stay returns a connection that the gateway has not let go because its line was still closed, and to
	// which everything that was sent until now has come.
	calls := 0
	stay := func() (conn net.Conn) {
		until(t, "an open line", func() bool {
			calls++
			call := fmt.Sprintf("<call %09d>", calls)
			var err error
			if conn, err = net.Dial("tcp", address); err != nil {
				t.Fatal(err)
			}
			if _, err := l.Write([]byte(call)); err != nil {
				t.Fatal(err)
			}
			_ = conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond)) // it may follow since after the call
			heard, one := "", make([]byte, 1)
			for !strings.HasSuffix(heard, call) {
				if _, err := conn.Read(one); err != nil {
					conn.Close()
					return false
				}
				heard += string(one)
			}
			return true
		})
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	slow, quick := stay(), stay()
	if err := slow.(*net.TCPConn).SetReadBuffer(2048); err != nil {
		t.Fatal(err)
	}
	const size = 24 << 20 // more than the queue and all buffers of the kernel
	chunk, got := make([]byte, 32<<10), make([]byte, 32<<10)
	for i := range chunk {
		chunk[i] = byte(i % 251)
	}
	_ = quick.SetReadDeadline(time.Now().Add(60 * time.Second))
	for sent := 0; sent < size; sent += len(chunk) {
		if _, err := l.Write(chunk); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(quick, got); err != nil || !bytes.Equal(got, chunk) {
			t.Fatalf("after %d of %d bytes: %v", sent, size, err)
		}
	}
	_ = slow.SetReadDeadline(time.Now().Add(30 * time.Second))
	if n, err := io.Copy(io.Discard, slow); n >= size {
		t.Errorf("the slow reader got %d bytes, %v", n, err)
	} else if e, ok := err.(net.Error); ok && e.Timeout() {
		t.Error("the slow reader was not cut")
	}
}

// An unplugged line lets its readers go; plugged in again it serves them again.
func TestUnpluggedRawLine(t *testing.T) {
	t.Parallel()
	_, line := indicator(t, sim.Yaohua)
	raw := here(4)
	address := serve(t, gateway.Config{Lines: []gateway.Line{{Device: "w", Line: portOf(line), Raw: &raw}}})["127.0.0.1:0"]
	var conn net.Conn
	reads := func() bool {
		var err error
		if conn, err = net.Dial("tcp", address); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
		_, err = io.ReadFull(conn, make([]byte, 36))
		return err == nil
	}
	until(t, "bytes", reads)
	if err := line.Unplug(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); err != nil {
		if e, ok := err.(net.Error); ok && e.Timeout() {
			t.Error("the reader of an unplugged line still waits")
		}
	}
	if err := line.Replug(); err != nil {
		t.Fatal(err)
	}
	until(t, "bytes again", reads)
}

// A polled indicator on a shared line is asked by the gateway alone.
func TestPolledIndicatorOnASharedLine(t *testing.T) {
	t.Parallel()
	line, err := sim.OpenPty(sim.PtyConfig{Link: filepath.Join(t.TempDir(), "sics.tty")})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	var heard []byte
	all.Go(func() {
		buf := make([]byte, 64)
		for {
			n, err := line.Read(buf)
			if err != nil {
				return
			}
			mu.Lock()
			heard = append(heard, buf[:n]...)
			mu.Unlock()
			if strings.Contains(string(buf[:n]), "\n") {
				fmt.Fprintf(line, "S S %10s kg\r\n", "12340")
			}
		}
	})
	t.Cleanup(func() { line.Close(); all.Wait() })
	raw, registers := here(4), gateway.Registers{Listener: here(4)}
	registers.Listen, registers.Allow = "[::1]:0", []string{"::1"}
	at := serve(t, gateway.Config{Lines: []gateway.Line{{Device: "w", Line: portOf(line), Raw: &raw, Output: catalog.Output{Dialect: "sics"}, Registers: &registers}}})
	c := dial(t, at["[::1]:0"])
	until(t, "a weight", func() bool {
		words, exception := c.ask(1, 4, 0, 16)
		return exception == 0 && words[3]&1 == 1 && words[4] == 12_340_000>>16 && words[5] == 12_340_000&0xFFFF
	})
	reader := dial(t, at["127.0.0.1:0"])
	if _, err := reader.Write([]byte("Z\r\nT\r\nS\r\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(reader, make([]byte, 40)); err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	// The last poll may be under way.
	if rest := strings.ReplaceAll(string(heard), "SI\r\n", ""); !strings.HasPrefix("SI\r\n", rest) {
		t.Errorf("the indicator heard %q beside its polls", rest)
	}
}

func TestPymodbusReadsTheWeightBlock(t *testing.T) {
	t.Parallel()
	s, line := indicator(t, sim.Yaohua)
	s.deck.Place(23_960 * unit.Kilogram)
	registers := gateway.Registers{Listener: here(4), Unit: 3}
	address := serve(t, gateway.Config{Lines: []gateway.Line{{Device: "w", Line: portOf(line), Output: catalog.Output{Dialect: "yaohua-tf0", Options: options("", unit.KG)}, Registers: &registers}}})["127.0.0.1:0"]
	c := dial(t, address)
	until(t, "23,960 kg", func() bool {
		words, exception := c.ask(3, 3, 4, 2)
		return exception == 0 && uint32(words[0])<<16|uint32(words[1]) == 23_960_000
	})
	_, port, _ := net.SplitHostPort(address)
	out, err := exec.Command("/usr/bin/python3", "testdata/peers/client.py", port, "3").CombinedOutput()
	if err != nil {
		t.Fatalf("pymodbus: %v; install python3-pymodbus (.ci/peers does)\n%s", err, out)
	}
	lines := strings.Split(string(out), "\n")
	words := strings.Fields(lines[0])
	if len(words) != 17 || words[1] != "21335" || words[2] != "1" || words[5] != fmt.Sprint(23_960_000>>16) ||
		words[6] != fmt.Sprint(23_960_000&0xFFFF) || words[7] != "0" || words[8] != "23960" || words[9] != "0" || words[10] != "2" {
		t.Errorf("block %v", words)
	}
	want := []string{fmt.Sprintf("input %d %d", 23_960_000>>16, 23_960_000&0xFFFF), "write 1", "half 2"}
	for i, w := range want {
		if lines[i+1] != w {
			t.Errorf("pymodbus says %q, want %q", lines[i+1], w)
		}
	}
}
