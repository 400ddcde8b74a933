package sim_test

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/simonvetter/modbus"

	"steelyard/firmware-bridge/sim"
)

// units are two on one line, with known words.
func units() sim.Units {
	u := sim.Units{1: sim.NewRegisters(62), 7: sim.NewRegisters(16)}
	u[1].Update(func(w []uint16) {
		for i := range w {
			w[i] = uint16(1000 + i)
		}
	})
	u[7].Update(func(w []uint16) { w[0], w[15] = 0x4253, 65535 })
	return u
}

type slave interface {
	Fault(sim.LinkFault)
	Requests() int64
}

// link is one of the two kinds of Modbus line, with the means to ask it something raw.
type link struct {
	slave
	mbpoll []string // arguments that lead to it
	dial   func() io.ReadWriteCloser
	frame  func(unit byte, pdu ...byte) []byte
	unwrap func(reply []byte) (unit byte, pdu []byte, err error)
	head   int                   // bytes that tell the length of the reply
	length func(head []byte) int // of the whole reply
	unplug func() error
	replug func() error
}

func links(t *testing.T) map[string]link {
	tcp, err := sim.ServeModbusTCP("127.0.0.1:0", units(), 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tcp.Close() })
	host, port, _ := net.SplitHostPort(tcp.Addr())

	line, err := sim.OpenPty(sim.PtyConfig{Link: filepath.Join(t.TempDir(), "bus.tty"), Baud: 19200})
	if err != nil {
		t.Fatal(err)
	}
	rtu := sim.NewModbusRTU(line, units(), 1)
	var wg sync.WaitGroup
	wg.Go(func() { rtu.Run(t.Context()) })
	t.Cleanup(func() {
		line.Close()
		wg.Wait()
	})
	return map[string]link{
		"tcp": {
			slave: tcp, mbpoll: []string{"-m", "tcp", "-p", port, host},
			dial: func() io.ReadWriteCloser { return dial(t, "tcp://"+tcp.Addr()) },
			frame: func(unit byte, pdu ...byte) []byte {
				b := []byte{0, 9, 0, 0, 0, byte(len(pdu) + 1), unit}
				return append(b, pdu...)
			},
			unwrap: func(b []byte) (byte, []byte, error) {
				if b[1] != 9 || binary.BigEndian.Uint32(b[1:]) != 9<<24 {
					return 0, nil, fmt.Errorf("header % X", b[:6])
				}
				return b[6], b[7:], nil
			},
			head: 6, length: func(h []byte) int { return 6 + int(h[5]) },
			unplug: tcp.Unplug, replug: tcp.Replug,
		},
		"rtu": {
			slave: rtu, mbpoll: []string{"-m", "rtu", "-b", "19200", "-P", "none", line.Path()},
			dial:  func() io.ReadWriteCloser { return dial(t, line.Path()) },
			frame: func(unit byte, pdu ...byte) []byte { return withCRC(append([]byte{unit}, pdu...)) },
			unwrap: func(b []byte) (byte, []byte, error) {
				if string(withCRC(b[:len(b)-2:len(b)-2])) != string(b) {
					return 0, nil, fmt.Errorf("bad crc in % X", b)
				}
				return b[0], b[1 : len(b)-2], nil
			},
			head: 3, length: func(h []byte) int {
				if h[1]&0x80 != 0 {
					return 5
				}
				return 5 + int(h[2])
			},
			unplug: line.Unplug, replug: line.Replug,
		},
	}
}

// withCRC appends the check of Modbus over serial line, computed by table-free long division.
func withCRC(b []byte) []byte {
	crc := uint16(0xFFFF)
	for _, c := range b {
		crc ^= uint16(c)
		for range 8 {
			if crc&1 == 1 {
				crc = crc>>1 ^ 0xA001
			} else {
				crc >>= 1
			}
		}
	}
	return append(b, byte(crc), byte(crc>>8))
}

// ask sends a request and reads one reply, within patience.
func (l link) ask(t *testing.T, c io.ReadWriteCloser, patience time.Duration, unit byte, pdu ...byte) (byte, []byte, error) {
	t.Helper()
	if d, ok := c.(interface{ SetReadDeadline(time.Time) error }); ok {
		if err := d.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Write(l.frame(unit, pdu...)); err != nil {
		return 0, nil, err
	}
	reply := make([]byte, l.head)
	if _, err := io.ReadFull(c, reply); err != nil {
		return 0, nil, err
	}
	rest := make([]byte, max(0, l.length(reply)-l.head))
	if n, err := io.ReadFull(c, rest); err != nil {
		return 0, nil, fmt.Errorf("after %d bytes: %w", l.head+n, err)
	}
	return l.unwrap(append(reply, rest...))
}

var mbpollLine = regexp.MustCompile(`(?m)^\[(\d+)\]:\s+(\S+)`)

// An independent master, built on libmodbus, reads both kinds of line.
func TestMbpollReads(t *testing.T) {
	t.Parallel()
	for name, l := range links(t) {
		t.Run(name, func(t *testing.T) {
			read := func(args ...string) []string {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				out, err := exec.CommandContext(ctx, "mbpoll", append(append([]string{"-0", "-1", "-o", "3"}, args...), l.mbpoll...)...).CombinedOutput()
				if err != nil {
					t.Fatalf("mbpoll %v: %v\n%s", args, err, out)
				}
				var values []string
				for _, m := range mbpollLine.FindAllStringSubmatch(string(out), -1) {
					values = append(values, m[2])
				}
				return values
			}
			for _, table := range []string{"3", "4"} {
				got := read("-a", "1", "-r", "0", "-c", "62", "-t", table)
				if len(got) != 62 || got[0] != "1000" || got[61] != "1061" {
					t.Errorf("table %s: %v", table, got)
				}
			}
			if got := read("-a", "7", "-r", "15", "-c", "1", "-t", "4:hex"); len(got) != 1 || got[0] != "0xFFFF" {
				t.Errorf("unit 7: %v", got)
			}
			for _, table := range []string{"0", "1"} {
				got := strings.Join(read("-a", "7", "-r", "0", "-c", "16", "-t", table), "")
				if want := "1100101001000010"; got != want { // 4253h, lowest bit first
					t.Errorf("bits: %s, want %s", got, want)
				}
			}
		})
	}
}

func TestReadsAreAnsweredAndTheRestRefused(t *testing.T) {
	for name, l := range links(t) {
		t.Run(name, func(t *testing.T) {
			c := l.dial()
			for _, q := range []struct{ name, ask, want string }{
				{"holding", "03 0000 0002", "03 04 03E8 03E9"},
				{"input", "04 003D 0001", "04 02 0425"},
				{"beyond the end", "03 003D 0002", "83 02"},
				{"far address", "03 FFFF 0001", "83 02"},
				{"write register", "06 0000 0001", "86 01"},
				{"write registers", "10 0000 0001 02 0001", "90 01"},
				{"write coil", "05 0000 FF00", "85 01"},
				{"write coils", "0F 0000 0001 01 01", "8F 01"},
				{"unknown function", "2B 0E 01 00", "AB 01"},
			} {
				unit, pdu, err := l.ask(t, c, 5*time.Second, 1, unhex(q.ask)...)
				if err != nil || unit != 1 || string(pdu) != string(unhex(q.want)) {
					t.Errorf("%s: unit %d % X %v, want %s", q.name, unit, pdu, err, q.want)
				}
			}
			_, pdu, err := l.ask(t, c, 5*time.Second, 1, unhex("03 0000 0001")...)
			if err != nil || string(pdu) != string(unhex("03 02 03E8")) {
				t.Errorf("a write got through: % X %v", pdu, err)
			}
		})
	}
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// The frames of the devices' manuals, on the wire.
func TestRTUFramesCarryTheManualsCRC(t *testing.T) {
	l := links(t)["rtu"]
	for _, c := range []struct{ ask, want string }{
		{"01 06 10 01 00 01 1D 0A", "01 86 01 83 A0"},
		{"01 03 03 F1 00 0B 55 BA", "01 83 02 C0 F1"}, // exception 02 to FC 03
		{"01 03 00 00 00 0A C5 CD", ""},
	} {
		if got := withCRC(unhex(c.ask)[:6]); string(got) != string(unhex(c.ask)) {
			t.Errorf("crc of %s: % X", c.ask, got)
		}
		end := l.dial()
		if _, err := end.Write(unhex(c.ask)); err != nil {
			t.Fatal(err)
		}
		want := unhex(c.want)
		if c.want == "" {
			want = make([]byte, 25)
		}
		got := make([]byte, len(want))
		if _, err := io.ReadFull(end, got); err != nil || c.want != "" && string(got) != string(want) {
			t.Errorf("%s: % X %v, want %s", c.ask, got, err, c.want)
		}
		end.Close()
	}
}

func TestRTUFindsRequestsInNoise(t *testing.T) {
	t.Parallel()
	l := links(t)["rtu"]
	c := l.dial()
	good := l.frame(1, unhex("03 0000 0001")...)
	for _, noise := range []string{"00", "FF FF FF", "01 03", "01 03 00 00 00 01 00 00", "02 03 00 00 00 01 84 39"} {
		if _, err := c.Write(append(unhex(noise), good...)); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 7)
		if err := c.(interface{ SetReadDeadline(time.Time) error }).SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, got); err != nil || got[4] != 0xE8 {
			t.Errorf("after %s: % X %v", noise, got, err)
		}
	}
	if _, err := c.Write(l.frame(9, unhex("03 0000 0001")...)); err != nil { // nobody's
		t.Fatal(err)
	}
	if _, pdu, err := l.ask(t, c, 5*time.Second, 7, unhex("03 0000 0001")...); err != nil || string(pdu) != string(unhex("03 02 4253")) {
		t.Errorf("a foreign request was answered: % X %v", pdu, err)
	}
}

func TestTCPAnswersForAMissingUnitLikeAGateway(t *testing.T) {
	l := links(t)["tcp"]
	if _, pdu, err := l.ask(t, l.dial(), 5*time.Second, 9, unhex("03 0000 0001")...); err != nil || string(pdu) != string(unhex("83 0B")) {
		t.Errorf("% X %v", pdu, err)
	}
}

func TestLinkFaults(t *testing.T) {
	t.Parallel()
	ask := unhex("03 0000 0002")
	healthy := string(unhex("03 04 03E8 03E9"))
	for name, l := range links(t) {
		t.Run(name, func(t *testing.T) {
			good := func(c io.ReadWriteCloser) {
				t.Helper()
				if unit, pdu, err := l.ask(t, c, 10*time.Second, 1, ask...); err != nil || unit != 1 || string(pdu) != healthy {
					t.Fatalf("healthy link: unit %d, % X, %v", unit, pdu, err)
				}
			}
			once := func(kind sim.LinkFaultKind, f sim.LinkFault) io.ReadWriteCloser {
				f.Kind, f.Times = kind, 1
				c := l.dial()
				good(c)
				l.Fault(f)
				return c
			}
			short := 300 * time.Millisecond

			c := once(sim.DroppedReply, sim.LinkFault{})
			if _, pdu, err := l.ask(t, c, short, 1, ask...); err == nil {
				t.Errorf("dropped: % X", pdu)
			}
			good(c)

			c = once(sim.LateReply, sim.LinkFault{Delay: 600 * time.Millisecond})
			if _, pdu, err := l.ask(t, c, short, 1, ask...); err == nil {
				t.Errorf("late: % X", pdu)
			}
			time.Sleep(600 * time.Millisecond)
			late := make([]byte, 64) // the late reply is there, and is the right one
			if n, _ := readSome(c, late); n < 9 {
				t.Errorf("late reply of %d bytes", n)
			}
			good(c)

			c = once(sim.HalfReply, sim.LinkFault{})
			if _, pdu, err := l.ask(t, c, short, 1, ask...); err == nil {
				t.Errorf("half: % X", pdu)
			}
			hush(t, c)

			c = once(sim.GarbageReply, sim.LinkFault{})
			if _, pdu, err := l.ask(t, c, short, 1, ask...); err == nil && string(pdu) == healthy {
				t.Error("garbage came out healthy")
			}
			hush(t, c)

			c = once(sim.WrongUnit, sim.LinkFault{})
			if unit, pdu, err := l.ask(t, c, 10*time.Second, 1, ask...); err != nil || unit != 2 || string(pdu) != healthy {
				t.Errorf("wrong unit: %d % X %v", unit, pdu, err)
			}
			good(c)

			c = once(sim.Exception, sim.LinkFault{Code: 6})
			if _, pdu, err := l.ask(t, c, 10*time.Second, 1, ask...); err != nil || string(pdu) != string(unhex("83 06")) {
				t.Errorf("exception: % X %v", pdu, err)
			}
			good(c)

			c = once(sim.SlowReply, sim.LinkFault{Delay: time.Millisecond})
			good(c)
			good(c)

			c = once(sim.ResetLine, sim.LinkFault{})
			if _, pdu, err := l.ask(t, c, 10*time.Second, 1, ask...); err == nil {
				t.Errorf("reset: % X", pdu)
			}
			c.Close()

			// Only unit 7 is ill.
			c = l.dial2(t)
			l.Fault(sim.LinkFault{Kind: sim.Exception, Code: 4, Unit: 7})
			good(c)
			if _, pdu, err := l.ask(t, c, 10*time.Second, 7, ask...); err != nil || string(pdu) != string(unhex("83 04")) {
				t.Errorf("unit 7: % X %v", pdu, err)
			}
			l.Fault(sim.LinkFault{})
			c.Close()

			if err := l.unplug(); err != nil {
				t.Fatal(err)
			}
			if err := l.replug(); err != nil {
				t.Fatal(err)
			}
			good(l.dial())
			if l.Requests() == 0 {
				t.Error("no requests were counted")
			}
		})
	}
}

// dial2 opens the line again once it is back after a reset.
func (l link) dial2(t *testing.T) io.ReadWriteCloser {
	t.Helper()
	if err := errors.Join(l.unplug(), l.replug()); err != nil {
		t.Fatal(err)
	}
	return l.dial()
}

// hush reads until the line has been silent for a while, as a master does after an error, and
// closes it.
func hush(t *testing.T, c io.ReadWriteCloser) {
	t.Helper()
	for {
		if err := c.(interface{ SetReadDeadline(time.Time) error }).SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 64)); err != nil {
			c.Close()
			return
		}
	}
}

func readSome(c io.ReadWriteCloser, p []byte) (int, error) {
	if d, ok := c.(interface{ SetReadDeadline(time.Time) error }); ok {
		if err := d.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			return 0, err
		}
	}
	return io.ReadAtLeast(c, p, 9)
}

func TestFrozenRegistersStandStill(t *testing.T) {
	registers := sim.NewRegisters(2)
	server, err := sim.ServeModbusTCP("127.0.0.1:0", sim.Units{1: registers}, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	client := open(t, "tcp://"+server.Addr(), 1)
	count := func() uint16 {
		t.Helper()
		v, err := client.ReadRegister(0, modbus.HOLDING_REGISTER)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	set := func(v uint16) { registers.Update(func(w []uint16) { w[0] = v }) }
	set(1)
	server.Fault(sim.LinkFault{Kind: sim.FrozenReplies})
	set(2)
	if got := count(); got != 1 {
		t.Errorf("frozen register reads %d", got)
	}
	server.Fault(sim.LinkFault{})
	if got := count(); got != 2 {
		t.Errorf("register reads %d", got)
	}
	if _, err := client.ReadRegister(2, modbus.HOLDING_REGISTER); !errors.Is(err, modbus.ErrIllegalDataAddress) {
		t.Errorf("got %v", err)
	}
	if err := client.WriteRegister(0, 9); !errors.Is(err, modbus.ErrIllegalFunction) {
		t.Errorf("got %v", err)
	}
}

// open is the library's client on a link.
func open(t testing.TB, url string, unit uint8) *modbus.ModbusClient {
	t.Helper()
	client, err := modbus.NewClient(&modbus.ClientConfiguration{URL: url, Timeout: 3 * time.Second, Speed: 19200, StopBits: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	if err := client.SetUnitId(unit); err != nil {
		t.Fatal(err)
	}
	return client
}

// A machine that was reset by its user must answer on the port it had.
func TestTCPKeepsItsPort(t *testing.T) {
	server, err := sim.ServeModbusTCP("127.0.0.1:0", units(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	addr := server.Addr()
	_, port, _ := net.SplitHostPort(addr)
	if n, err := strconv.Atoi(port); err != nil || n == 0 {
		t.Fatalf("port %s", port)
	}
	if err := server.Unplug(); err != nil {
		t.Fatal(err)
	}
	if c, err := net.Dial("tcp", addr); err == nil {
		c.Close()
		t.Error("an unplugged server takes calls")
	}
	if err := server.Replug(); err != nil || server.Addr() != addr {
		t.Errorf("back on %s, %v; want %s", server.Addr(), err, addr)
	}
}
