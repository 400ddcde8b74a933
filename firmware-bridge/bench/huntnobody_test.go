package bench_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"steelyard/firmware-bridge/bench"
	"steelyard/internal/program"
)

// speaking is a TCP server of which a test makes each answer.
func speaking(t *testing.T, answer func(came []byte) []byte) (address string) {
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
				return
			}
			mu.Lock()
			open = append(open, conn)
			mu.Unlock()
			all.Go(func() {
				defer conn.Close()
				buffer := make([]byte, 512)
				for {
					n, err := conn.Read(buffer)
					if err != nil {
						return
					}
					if _, err := conn.Write(answer(buffer[:n])); err != nil {
						return
					}
				}
			})
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

// registersAnswer is the right answer to a read, unit, function and data.
func registersAnswer(body []byte) []byte {
	n := 2 * int(body[5])
	return append([]byte{body[0], body[1], byte(n)}, make([]byte, n)...)
}

func tcpAnswer(came []byte, transaction byte) []byte {
	if len(came) != 12 {
		return nil
	}
	body := registersAnswer(came[6:])
	return append([]byte{came[0], came[1] + transaction, 0, 0, 0, byte(len(body))}, body...)
}

// Nobody is found, and still there is somebody: find says who speaks, and how.
func TestFindNeverEndsWithNothing(t *testing.T) {
	t.Parallel()
	rtu := func(came []byte) []byte {
		if len(came) != 8 || came[0] != 1 {
			return nil
		}
		return bench.WithCRC(registersAnswer(came))
	}
	for name, test := range map[string]struct {
		scheme string
		answer func(came []byte) []byte
		want   string
	}{
		"another transaction": {"tcp", func(came []byte) []byte { return tcpAnswer(came, 1) }, "a whole answer came under transaction 2 for 1"},
		"RTU behind tcp://":   {"tcp", rtu, "unit 1 answers to the other framing of Modbus: use -link rtu-over-tcp://"},
		"TCP behind rtu-over": {"rtu-over-tcp", func(came []byte) []byte { return tcpAnswer(came, 0) }, "unit 1 answers to the other framing of Modbus: use -link tcp://"},
		"a web server":        {"tcp", func([]byte) []byte { return []byte("HTTP/1.1 400 Bad Request\r\n\r\n") }, "this is a web server"},
		"silence":             {"tcp", func([]byte) []byte { return nil }, "somebody takes connections, and no unit answers, neither as Modbus TCP nor as Modbus RTU over it"},
		"a silent line":       {"rtu-over-tcp", func([]byte) []byte { return nil }, "nobody answers: is the machine on, its Modbus enabled, A and B the right way round?"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stdout, _, err := hunt(t, bench.Lines{}, "-link", test.scheme+"://"+speaking(t, test.answer), "-units", "1-2", "-timeout", "200ms", "-listen", "50ms")
			if err == nil || stdout != "" || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v, want %s", err, test.want)
			}
		})
	}
}

// Meters on DL/T 645 and machines on Modbus ASCII are recognised when they are asked, which -ask allows, and
// when they are overheard; what to set on them is said.
func TestFindTellsOtherProtocols(t *testing.T) {
	t.Parallel()
	meter := []byte{0xFE, 0xFE, 0x68, 0x12, 0x34, 0x56, 0x78, 0x90, 0x12, 0x68, 0x93, 0x06, 0x45, 0x67, 0x89, 0xAB, 0xC3, 0x45, 0x20, 0x16}
	for name, test := range map[string]struct {
		asks   []byte // what is answered
		answer []byte
		want   string
	}{
		"a meter": {[]byte{0x68, 0xAA, 0xAA, 0xAA, 0xAA, 0xAA, 0xAA, 0x68, 0x13, 0x00, 0xDF, 0x16}, meter, "this is DL/T 645, which is not spoken here: set the meter to Modbus RTU"},
		"ASCII":   {[]byte(":010300000001FB\r\n"), []byte(":010302000CEE\r\n"), "this is Modbus ASCII, which is not spoken here: set the machine to RTU"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := terminalOf(t)
			var running sync.WaitGroup
			running.Go(func() {
				var came []byte
				for buffer := make([]byte, 64); ; {
					n, err := p.Read(buffer)
					if err != nil {
						return
					}
					came = append(came, buffer[:n]...)
					if bytes.HasSuffix(came, test.asks) {
						if _, err := p.Write(test.answer); err != nil {
							return
						}
					}
				}
			})
			t.Cleanup(func() { p.Close(); running.Wait() })
			args := []string{"-port", p.Path(), "-baud", "9600", "-format", "8N1", "-units", "1", "-timeout", "150ms", "-listen", "50ms"}
			if _, _, err := hunt(t, bench.Lines{}, args...); err == nil || !strings.Contains(err.Error(), "Modbus ASCII and DL/T 645 are recognised with -ask") {
				t.Errorf("without -ask: %v", err)
			}
			if _, _, err := hunt(t, bench.Lines{}, append(args, "-ask")...); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("with -ask: %v, want %s", err, test.want)
			}
		})
	}
	t.Run("overheard", func(t *testing.T) {
		t.Parallel()
		p := terminalOf(t)
		babble(t, p, 20e6, func(int) []byte { return meter })
		if _, _, err := hunt(t, bench.Lines{}, "-port", p.Path(), "-baud", "2400", "-format", "8E1", "-units", "1", "-timeout", "50ms", "-listen", "300ms"); err == nil || !strings.Contains(err.Error(), "unasked at 2400 8E1: this is DL/T 645") {
			t.Error(err)
		}
	})
}

// show says which bytes came, for the machines of which nothing is to be had.
func TestShowSaysWhatCame(t *testing.T) {
	t.Parallel()
	profile := filepath.Join(t.TempDir(), "simple.yaml")
	text := "profile: simple\nmaker: Field\nmodel: two values\nstatus: bench\nsources: [{doc: field report}]\ntransport: {unit: 1, port: 502}\naddress_base: 0\nlimits: {timeout_ms: 200}\n" +
		"points: [{name: weight, at: 0, type: u32, unit: kg, quantity: weight.gross}]\ntests: [{request: \"01 03 00 00 00 02\", reply: \"01 03 04 00 00 00 2A\", expect: {weight: 42}}]\n"
	if err := os.WriteFile(profile, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	address := speaking(t, func(came []byte) []byte { return tcpAnswer(came, 1) })
	_, stderr, code := run(t, "", "show", "-link", "tcp://"+address, "-profile", profile, "-unit", "1", "-for", "5s")
	if code != program.ExitError || !strings.Contains(stderr, "00 02 00 00 00 07 01 03 04 00 00 00 00: a whole answer came under transaction 2 for 1") || strings.Contains(stderr, "baud") {
		t.Errorf("code %d: %s", code, stderr)
	}
	stdout, stderr, code := run(t, "", "show", "-link", "tcp://"+address+"?transaction=any", "-profile", profile, "-unit", "1", "-count", "1", "-json")
	if code != program.ExitOK || !strings.Contains(stdout, `"values":{"weight":"0"}`) {
		t.Errorf("code %d: %s\n%s", code, stdout, stderr)
	}
}

// A machine that is silent about coils, where it should refuse, is asked for them once and not for each
// profile that has some.
func TestFindAsksForCoilsThatAreNotThereOnce(t *testing.T) {
	t.Parallel()
	var coils, others atomic.Int64
	address := speaking(t, func(came []byte) []byte {
		if len(came) == 12 && came[7] <= 2 {
			coils.Add(1)
			return nil
		}
		others.Add(1)
		return tcpAnswer(came, 0)
	})
	own := t.TempDir()
	for i := range 3 { // like machines whose coils stand elsewhere
		name := fmt.Sprintf("coils-%d", i)
		text := strings.NewReplacer("coil-baler", name, "at: 40,", fmt.Sprintf("at: %d,", 40+i)).Replace(coilBaler)
		if err := os.WriteFile(filepath.Join(own, name+".yaml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	stdout, stderr, err := hunt(t, bench.Lines{}, "-link", "tcp://"+address, "-units", "1", "-timeout", "300ms", "-profiles", own)
	if err != nil || !strings.Contains(stdout, "unit 1 answers") {
		t.Fatalf("%v\n%s\n%s", err, stdout, stderr)
	}
	if n := coils.Load(); n < 1 || n > 2 || others.Load() < 10 {
		t.Errorf("asked %d times for coils and inputs, and %d times for registers", n, others.Load())
	}
}
