package bench_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"steelyard/firmware-bridge/bench"
	"steelyard/firmware-bridge/catalog"
	"steelyard/firmware-bridge/modbus"
	"steelyard/firmware-bridge/serial"
	"steelyard/firmware-bridge/sim"
	plants "steelyard/firmware-bridge/site"
	"steelyard/internal/program"
)

// only reaches the line at one setting, and at any other a line on which nobody is: a
// pseudo-terminal has neither speed nor parity.
func only(t testing.TB, baud int, format string) func(modbus.Link) modbus.Link {
	nobody := terminalOf(t)
	return func(l modbus.Link) modbus.Link {
		if l.Baud != baud || l.Format != format {
			l.Address = nobody.Path()
		}
		return l
	}
}

// hunt runs find -modbus over lines of the test.
func hunt(t testing.TB, lines bench.Lines, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	env := program.Env{Args: append([]string{"find", "-modbus"}, args...), Stdout: &out, Stderr: &errs, Log: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	err = bench.FindMachines(ctx, env, lines)
	return out.String(), errs.String(), err
}

// registersOf is a machine with the values of its profile's first test.
func registersOf(t testing.TB, name string) *sim.Registers {
	t.Helper()
	known, err := catalog.Open("")
	if err != nil {
		t.Fatal(err)
	}
	p, err := known.Find(name)
	if err != nil {
		t.Fatal(err)
	}
	size := 0
	for _, b := range p.Blocks() {
		size = max(size, int(b.From)+b.Count)
	}
	words, err := p.Tests[0].Registers()
	if err != nil {
		t.Fatal(err)
	}
	machine := sim.NewRegisters(size)
	machine.Update(func(image []uint16) {
		for r, w := range words {
			image[r.Address] = w
		}
	})
	return machine
}

// onTerminal puts machines on a line.
func onTerminal(t testing.TB, units sim.Units) (*sim.Pty, *sim.ModbusRTU) {
	t.Helper()
	p := terminalOf(t)
	m := sim.NewModbusRTU(p, units, 1)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { m.Run(ctx) })
	t.Cleanup(func() { cancel(); p.Close(); running.Wait() })
	return p, m
}

// handmade is a machine of which a test decides each answer. Whatever is asked must be a read with
// function 3 or 4.
func handmade(t testing.TB, answer func(request []byte) (frames []byte)) *sim.Pty {
	t.Helper()
	p := terminalOf(t)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			request := make([]byte, 8)
			if _, err := io.ReadFull(p, request); err != nil {
				return
			}
			if !bytes.Equal(bench.WithCRC(request[:6]), request) || request[1] != 3 && request[1] != 4 {
				t.Errorf("% X was sent", request)
			}
			if frames := answer(request); frames != nil {
				_, _ = p.Write(frames)
			}
		}
	})
	t.Cleanup(func() { p.Close(); running.Wait() })
	return p
}

// frank is a handmade machine, and a master that has all the patience of a test with its answers and
// is told at once where there will be none: so neither waits for a time-out that a busy computer
// would need longer for than the machine.
func frank(t testing.TB, answer func(request []byte) (frames []byte)) (*sim.Pty, func(modbus.MasterConfig) (bench.Asker, error)) {
	t.Helper()
	silent := make(chan struct{}, 1)
	p := handmade(t, func(request []byte) []byte {
		frames := answer(request)
		if frames == nil {
			silent <- struct{}{}
		}
		return frames
	})
	return p, func(c modbus.MasterConfig) (bench.Asker, error) {
		c.Timeout, c.Latency = patience, time.Nanosecond // what is not answered at once never is
		m, err := modbus.NewMaster(c)
		return told{m, silent}, err
	}
}

// told is a master that learns of a silence from the machine.
type told struct {
	*modbus.Master
	silent chan struct{}
}

func (m told) Read(ctx context.Context, q modbus.Question) ([]byte, time.Time, error) {
	ctx, cancel := context.WithCancel(ctx)
	var listening sync.WaitGroup
	listening.Go(func() {
		select {
		case <-m.silent:
			cancel()
		case <-ctx.Done():
		}
	})
	defer listening.Wait()
	defer cancel()
	return m.Master.Read(ctx, q)
}

// zeros answers a read with registers that hold nothing.
func zeros(request []byte) []byte {
	n := 2 * binary.BigEndian.Uint16(request[4:])
	return bench.WithCRC(append([]byte{request[0], request[1], byte(n)}, make([]byte, n)...))
}

// refusal answers with an exception.
func refusal(request []byte, code byte) []byte {
	return bench.WithCRC([]byte{request[0], request[1] | 0x80, code})
}

var (
	fitting  = regexp.MustCompile(`^( {4}| +# profile: )([a-z0-9-]+)( +\d block.*)?$`)
	excluded = regexp.MustCompile(`excluded: \d+ `)
	column   = regexp.MustCompile(` +(\d) block`)
)

// withoutNewcomers leaves out of what find prints the profiles that the catalogue did not have when
// the golden file was written: whoever adds a machine model has no business here.
func withoutNewcomers(text string) string {
	then := strings.Fields("ssc-baler-v1 acrel-adl3000 abb-acs dini-dgt flintec-ft112 generic-pulse laumas-tlb tunaylar-id551pn")
	const among = "proven by nothing: "
	var b strings.Builder
	for line := range strings.Lines(excluded.ReplaceAllString(text, "excluded: N ")) {
		if fits := fitting.FindStringSubmatch(strings.TrimSuffix(line, "\n")); fits != nil && !slices.Contains(then, fits[2]) {
			continue
		}
		if head, names, ok := strings.Cut(strings.TrimSuffix(line, "\n"), among); ok {
			known := slices.DeleteFunc(strings.Split(names, ", "), func(n string) bool { return !slices.Contains(then, n) })
			line = head + among + strings.Join(known, ", ") + "\n"
		}
		b.WriteString(column.ReplaceAllString(line, " $1 block"))
	}
	return b.String()
}

// Two machines of different makes are found at the one setting at which they answer, and what is
// printed names the profile of the one that proves itself, and of the other those that could be.
func TestFindMachines(t *testing.T) {
	t.Parallel()
	p, _ := onTerminal(t, sim.Units{1: registersOf(t, "ssc-baler-v1"), 3: registersOf(t, "laumas-tlb")})
	stdout, stderr, err := hunt(t, bench.Lines{Reach: only(t, 19200, "8E1")},
		"-port", p.Path(), "-baud", "9600,19200", "-format", "8N1,8E1", "-units", "1,3,4", "-timeout", "200ms", "-listen", "100ms")
	if err != nil {
		t.Fatalf("%v\n%s%s", err, stdout, stderr)
	}
	if !strings.Contains(stderr, "asking 3 unit ids at 4 settings, with functions 3 and 4: 0:09 at most") || !strings.Contains(stderr, "9600 8E1: nobody answers") {
		t.Errorf("said on the way:\n%s", stderr)
	}
	columns := map[int]bool{}
	for line := range strings.Lines(stdout) {
		if fits := fitting.FindStringSubmatch(strings.TrimSuffix(line, "\n")); fits != nil && fits[3] != "" {
			columns[strings.Index(line, " block")] = true
		}
	}
	if len(columns) != 1 || !strings.Contains(stdout, "\n    flintec-ft112-cdab ") {
		t.Errorf("the blocks stand in %d columns:\n%s", len(columns), stdout)
	}
	golden(t, "find-modbus.golden", withoutNewcomers(strings.ReplaceAll(stdout, p.Path(), "/dev/ttyUSB0")))
	// The edge reads the lines as they stand, but for the machine whose profile a person must choose.
	_, text, _ := strings.Cut(stdout, "For edge.yaml:\n\n")
	if _, err := plants.Load("edge.yaml", []byte(text)); err == nil || strings.Count(err.Error(), "\n") > 0 || !strings.Contains(err.Error(), "machines[1].profile") {
		t.Errorf("an edge says %v", err)
	}
	plant, err := plants.Load("edge.yaml", []byte(strings.Replace(text, "# profile: laumas-tlb", "profile: laumas-tlb", 1)))
	if err != nil {
		t.Fatalf("after a choice: %v", err)
	}
	link, err := modbus.ParseLink(plant.Buses[0].Link)
	if err != nil || link.Baud != 19200 || link.Format != "8E1" || link.Address != p.Path() || plant.Buses[0].Machines[0].Profile != "ssc-baler-v1" {
		t.Errorf("%v: %+v", err, plant)
	}
}

// Over TCP, in scripts: what a gateway answers for units that are not there is no machine.
func TestFindMachinesOverTCP(t *testing.T) {
	t.Parallel()
	r := start(t, "simulate", "-profile", "generic-belt", "-listen", "tcp://127.0.0.1:0", "-unit", "2", "-unit", "7")
	stdout, stderr, code := run(t, "", "find", "-modbus", "-link", r.at(), "-json")
	if code != program.Done {
		t.Fatalf("code %d: %s%s", code, stdout, stderr)
	}
	got := objects(t, stdout)[0]
	units := got["units"].([]any)
	if len(units) != 2 || got["complete"] != true || got["link"] != r.at() {
		t.Fatalf("found %s", stdout)
	}
	for i, id := range []float64{2, 7} {
		unit := units[i].(map[string]any)
		best := unit["profiles"].([]any)[0].(map[string]any)
		if unit["unit"] != id || best["profile"] != "generic-belt" || best["proven"] != true || best["constants"] != 3.0 {
			t.Errorf("unit %v: %v", id, unit)
		}
	}
	plant, err := plants.Load("edge.yaml", []byte(got["yaml"].(string)))
	if err != nil || len(plant.Buses) != 1 || len(plant.Buses[0].Machines) != 2 || plant.Buses[0].Machines[1].Unit != 7 {
		t.Errorf("an edge says %v of\n%s", err, got["yaml"])
	}
	r.stop()
	if _, stderr, code = run(t, "", "find", "-modbus", "-link", r.at()); code != program.Failed || !strings.Contains(stderr, "refused") {
		t.Errorf("nobody there: code %d: %s", code, stderr)
	}
}

// A machine on the network itself may answer at every id. It is one machine all the same.
func TestFindMachineThatIgnoresTheUnit(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	t.Cleanup(func() { listener.Close(); serving.Wait() })
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			request := make([]byte, 12)
			for {
				if _, err := io.ReadFull(conn, request); err != nil {
					break
				}
				n := 2 * request[11]
				reply := append(slices.Clone(request[:4]), 0, n+3, request[6], request[7], n)
				if _, err := conn.Write(append(reply, make([]byte, n)...)); err != nil {
					break
				}
			}
			conn.Close()
		}
	})
	stdout, stderr, code := run(t, "", "find", "-modbus", "-link", "tcp://"+listener.Addr().String())
	if code != program.Done || strings.Count(stdout, "device: machine-") != 1 || !strings.Contains(stdout, "unit: 1\n") || !strings.Contains(stdout, "does not look at the id") {
		t.Errorf("code %d: %s%s", code, stdout, stderr)
	}
}

// Behind a terminal server there is one setting, and the link says so.
func TestFindMachinesBehindATerminalServer(t *testing.T) {
	t.Parallel()
	r := start(t, "simulate", "-profile", "ssc-baler-v1", "-listen", "rtu-over-tcp://127.0.0.1:0", "-unit", "5")
	stdout, stderr, code := run(t, "", "find", "-modbus", "-link", r.at()+"?baud=19200", "-units", "5", "-listen", "100ms", "-timeout", "2s")
	if code != program.Done || !strings.Contains(stdout, `link: "`+r.at()+`?baud=19200&format=8N1"`) || !strings.Contains(stdout, "profile: ssc-baler-v1\n        unit: 5\n") {
		t.Errorf("code %d: %s%s", code, stdout, stderr)
	}
}

// An adapter that hears itself is named by the link, and stays so in the lines for edge.yaml.
func TestFindMachinesThroughAnEcho(t *testing.T) {
	t.Parallel()
	p := handmade(t, func(request []byte) []byte { return append(slices.Clone(request), zeros(request)...) })
	link := (&url.URL{Scheme: modbus.Serial, Path: p.Path(), RawQuery: "echo=1"}).String()
	stdout, stderr, err := hunt(t, bench.Lines{}, "-link", link, "-baud", "9600", "-format", "8E1", "-units", "4", "-timeout", "500ms", "-listen", "100ms")
	if err != nil || !strings.Contains(stdout, "format=8E1&echo=1\"") || !strings.Contains(stdout, "unit: 4") {
		t.Errorf("%v\n%s%s", err, stdout, stderr)
	}
}

// Nobody: each setting is asked with both functions, first for the ids that profiles name.
func TestFindNoMachine(t *testing.T) {
	t.Parallel()
	asked := make(chan string, 100)
	p := handmade(t, func(request []byte) []byte {
		asked <- fmt.Sprintf("%d/%d", request[0], request[1])
		return nil
	})
	stdout, stderr, err := hunt(t, bench.Lines{}, "-port", p.Path(), "-baud", "9600,19200", "-format", "8N1", "-units", "9,1", "-timeout", "30ms", "-listen", "50ms")
	if err == nil || !strings.Contains(err.Error(), "nobody answers") || stdout != "" || !strings.Contains(stderr, "asking 2 unit ids at 2 settings, with functions 3 and 4: 0:0") {
		t.Errorf("%v\n%s%s", err, stdout, stderr)
	}
	p.Close()
	close(asked)
	var got []string
	for a := range asked {
		got = append(got, a)
	}
	if want := "1/3 1/4 1/3 1/4 9/3 9/4 9/3 9/4"; strings.Join(got, " ") != want {
		t.Errorf("asked %s, want %s", got, want)
	}
}

// An exception is as good as a register: somebody lives there. That it fits nothing is said.
func TestFindMachineThatRefuses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		code byte
	}{{"every address", 2}, {"being busy", 6}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			asked := 0
			p := handmade(t, func(request []byte) []byte {
				asked++
				return refusal(request, test.code)
			})
			stdout, stderr, err := hunt(t, bench.Lines{}, "-port", p.Path(), "-baud", "9600", "-format", "8E1", "-units", "9", "-timeout", "500ms", "-listen", "100ms")
			for _, want := range []string{fmt.Sprintf("unit 9 answers at 9600 8E1 with function 3: exception %02X", test.code), "no profile of the catalogue fits", "# profile: none of the catalogue", "unit: 9"} {
				if err != nil || !strings.Contains(stdout, want) {
					t.Errorf("%q is missing: %v\n%s%s", want, err, stdout, stderr)
				}
			}
			if p.Close(); asked > 60 {
				t.Errorf("it was asked %d times, again and again for each profile", asked)
			}
		})
	}
}

// A machine may know function 4 only and be silent about the other.
func TestFindMachineOfInputRegisters(t *testing.T) {
	t.Parallel()
	p, master := frank(t, func(request []byte) []byte {
		if request[1] != 4 {
			return nil
		}
		return zeros(request)
	})
	stdout, stderr, err := hunt(t, bench.Lines{Master: master}, "-port", p.Path(), "-baud", "2400", "-format", "8O1", "-units", "247", "-listen", "50ms", "-json")
	if err != nil || !strings.Contains(stdout, `"unit":247,"function":4,"refused":"","examined":true`) || !strings.Contains(stdout, `"profile":"eastron-sdm630"`) || strings.Contains(stdout, "laumas") {
		t.Errorf("%v\n%s%s", err, stdout, stderr)
	}
}

// A machine that is silent about single registers that it does not have is asked again what it knows,
// and is not taken for dead. One that dies meanwhile is.
func TestFindMachineThatIsSilentAboutSome(t *testing.T) {
	t.Parallel()
	for _, dies := range []bool{false, true} {
		t.Run(fmt.Sprint("dies ", dies), func(t *testing.T) {
			t.Parallel()
			dead := false
			p, master := frank(t, func(request []byte) []byte {
				from, n := binary.BigEndian.Uint16(request[2:]), binary.BigEndian.Uint16(request[4:])
				switch known := request[1] == 3 && int(from+n) <= 2; {
				case dead:
				case known:
					return zeros(request)
				case n == 1 || n == 17:
					dead = dies
				default:
					return refusal(request, 2)
				}
				return nil
			})
			stdout, stderr, err := hunt(t, bench.Lines{Master: master}, "-port", p.Path(), "-baud", "9600", "-format", "8E1", "-units", "1", "-listen", "50ms")
			want := "generic-pulse     1 block answered"
			if dies {
				want = "Unit 1 stopped answering"
			}
			if err != nil || !strings.Contains(stdout, want) || strings.Contains(stdout, "laumas") {
				t.Errorf("%q is missing: %v\n%s%s", want, err, stdout, stderr)
			}
		})
	}
}

// A machine that needs longer than it was given is heard while its setting is left, and asked again
// with the time that it needs, also for its profiles. How long each master would wait is seen in its
// time-out and not on a clock.
func TestFindSlowMachine(t *testing.T) {
	t.Parallel()
	const needs = 640 * time.Millisecond
	machine := registersOf(t, "ssc-baler-v1")
	var inTime atomic.Bool
	var mu sync.Mutex
	var held []byte // answers for which nobody waited
	p, master := frank(t, func(request []byte) []byte {
		frames := refusal(request, 2)
		if words, ok := machine.Words(int(binary.BigEndian.Uint16(request[2:])), int(binary.BigEndian.Uint16(request[4:]))); ok {
			frames = []byte{request[0], request[1], byte(2 * len(words))}
			for _, w := range words {
				frames = binary.BigEndian.AppendUint16(frames, w)
			}
			frames = bench.WithCRC(frames)
		}
		if inTime.Load() {
			return frames
		}
		mu.Lock()
		defer mu.Unlock()
		held = append(held, frames...)
		return nil
	})
	lines := bench.Lines{
		Master: func(c modbus.MasterConfig) (bench.Asker, error) {
			inTime.Store(c.Timeout >= needs)
			return master(c)
		},
		Open: func(ctx context.Context, c serial.Config) (io.ReadWriteCloser, error) {
			port, err := bench.OpenLine(ctx, c)
			mu.Lock()
			defer mu.Unlock()
			late := held
			if held = nil; err != nil || len(late) == 0 {
				return port, err
			}
			_, err = p.Write(late)
			return &heard{port, len(late)}, err
		},
	}
	stdout, stderr, err := hunt(t, lines, "-port", p.Path(), "-baud", "9600", "-format", "8N1", "-units", "1", "-timeout", "200ms", "-listen", "50ms")
	if err != nil || !strings.Contains(stderr, "unit 1 comes late") || !strings.Contains(stdout, "unit 1 answers at 9600 8N1\n  ssc-baler-v1 fits") || !strings.Contains(stdout, "abb-acs") {
		t.Errorf("%v\n%s%s", err, stdout, stderr)
	}
}

// heard is a line whose first Read ends with all that was sent to it, however long that takes.
type heard struct {
	io.ReadWriteCloser
	sent int
}

func (l *heard) Read(b []byte) (n int, err error) {
	for n < l.sent && (err == nil || errors.Is(err, os.ErrDeadlineExceeded)) {
		var more int
		more, err = l.ReadWriteCloser.Read(b[n:])
		n += more
	}
	if l.sent > 0 {
		l.sent = 0
		return n, err
	}
	return l.ReadWriteCloser.Read(b)
}

// The answer to what was asked at one setting comes when the same is asked at the next. It proves
// neither that setting nor another unit, be it that the machine hears nothing at the next setting, or
// that it is always one answer behind. Negative control: where the first answer is believed, the wrong
// setting is found.
func TestLateAnswerProvesNoSetting(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		reply  func([]byte) []byte
		behind bool // it goes on so
	}{
		{"register", zeros, false},
		{"exception", func(request []byte) []byte { return refusal(request, 2) }, false},
		{"always behind", zeros, true},
	} {
		for _, trusting := range []bool{false, true} {
			t.Run(fmt.Sprint(test.name, " trusting ", trusting), func(t *testing.T) {
				t.Parallel()
				var held []byte
				given := 0
				p := handmade(t, func(request []byte) []byte {
					if request[1] != 3 || given > 0 && !test.behind {
						return nil
					}
					late := held
					if held = test.reply(request); late != nil {
						given++
					}
					return late
				})
				stdout, stderr, err := hunt(t, bench.Lines{Trusting: trusting}, "-port", p.Path(), "-baud", "9600", "-format", "8N1,8N2", "-units", "1", "-timeout", "500ms", "-listen", "50ms")
				wrong := strings.Contains(stdout, "unit 1 answers at 9600 8N2")
				if wrong != trusting {
					t.Errorf("the wrong setting is found: %t, want %t: %v\n%s%s", wrong, trusting, err, stdout, stderr)
				}
				if !trusting && (err == nil || !strings.Contains(err.Error(), "answered once and not again")) {
					t.Errorf("%v\n%s", err, stderr)
				}
			})
		}
	}
	t.Run("another unit", func(t *testing.T) {
		t.Parallel()
		var held []byte
		p := handmade(t, func(request []byte) []byte {
			if request[0] == 1 {
				held = zeros(request)
				return nil
			}
			return held
		})
		stdout, stderr, err := hunt(t, bench.Lines{}, "-port", p.Path(), "-baud", "9600", "-format", "8N1", "-units", "1-2", "-timeout", "100ms", "-listen", "50ms")
		if err == nil || strings.Contains(stderr, "unit 2 answers") {
			t.Errorf("%v\n%s%s", err, stdout, stderr)
		}
	})
}

// A line on which somebody sends unasked is none of Modbus, or has a master already. Nothing is asked.
func TestFindMachinesOnAnotherLine(t *testing.T) {
	t.Parallel()
	noise := rand.New(rand.NewPCG(3, 1))
	for _, test := range []struct {
		name  string
		sends func(int) []byte
		want  string
	}{
		{"a dialect", func(int) []byte { return []byte("\x02+0239600" + "1B\x03") }, "this looks like an indicator"},
		{"text", func(n int) []byte { return fmt.Appendf(nil, "Waage %d bereit\r\n", n) }, "this looks like an indicator: try find without -modbus"},
		{"noise", func(int) []byte {
			b := make([]byte, 12)
			for i := range b {
				b[i] = byte(noise.Uint32())
			}
			return b
		}, "another master at a speed that was not tried"},
		{"a master", func(int) []byte { return bench.WithCRC([]byte{1, 3, 0, 0, 0, 16}) }, "another master asks on this line at 9600 8N1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := terminalOf(t)
			babble(t, p, 20*time.Millisecond, test.sends)
			_, stderr, err := hunt(t, bench.Lines{}, "-port", p.Path(), "-baud", "9600,19200", "-format", "8N1,8E1", "-units", "1", "-timeout", "50ms", "-listen", "400ms")
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(stderr, "asking") {
				t.Errorf("%v\n%s", err, stderr)
			}
		})
	}
	// One that is silent while the line is listened to, and sends later: it is found out, and not asked at
	// every setting there is.
	t.Run("one that begins later", func(t *testing.T) {
		t.Parallel()
		var asked atomic.Bool
		p := handmade(t, func([]byte) []byte { asked.Store(true); return nil })
		babble(t, p, 5*time.Millisecond, func(int) []byte {
			if !asked.Load() {
				return nil
			}
			return []byte("\x02+0239600" + "1B\x03")
		})
		_, stderr, err := hunt(t, bench.Lines{}, "-port", p.Path(), "-units", "1", "-timeout", "100ms", "-listen", "50ms")
		if err == nil || !strings.Contains(err.Error(), "came unasked") || strings.Count(stderr, "that are no Modbus") > 4 {
			t.Errorf("%v\n%s", err, stderr)
		}
	})
	t.Run("an indicator", func(t *testing.T) {
		t.Parallel()
		path := link(t)
		start(t, "simulate", "-pty", path, "-dialect", "yaohua-tf0", "-weight", "23960", "-rate", "40").at()
		_, stderr, code := run(t, "", "find", "-modbus", "-port", path, "-listen", "400ms")
		if code != program.Failed || !strings.Contains(stderr, "they are no Modbus: this looks like an indicator (yaohua-tf0): try find without -modbus") {
			t.Errorf("code %d: %s", code, stderr)
		}
	})
}

// Whoever stops the search gets what was found until then.
func TestFindMachinesStopped(t *testing.T) {
	t.Parallel()
	p, _ := onTerminal(t, sim.Units{1: registersOf(t, "ssc-baler-v1")})
	r := start(t, "find", "-modbus", "-port", p.Path(), "-baud", "9600", "-format", "8N1", "-listen", "100ms", "-timeout", "5s")
	r.err.has(t, "unit 1 answers")
	if code := r.stop(); code != program.Done {
		t.Errorf("code %d: %s", code, &r.err)
	}
	for _, want := range []string{"unit 1 answers at 9600 8N1", "not looked for to the end", "The search was stopped", "device: machine-1"} {
		if !strings.Contains(r.out.String(), want) {
			t.Errorf("%q is missing:\n%s", want, &r.out)
		}
	}
}

// At a terminal the time that is left stands at the foot, and an interrupt leaves only what was found.
func TestFindMachinesOnAScreen(t *testing.T) {
	p, _ := onTerminal(t, sim.Units{1: registersOf(t, "ssc-baler-v1")})
	d := sit(t, "find", "-modbus", "-port", p.Path(), "-baud", "9600", "-format", "8N1", "-units", "1-3", "-listen", "100ms", "-timeout", "10s")
	d.sees("9600 8N1: unit 1 answers", "[#", " left  unit 2 at 9600 8N1")
	d.types("C-c")
	if screen := d.sees("device: machine-1", "unit: 1", "code 0."); strings.Contains(screen, " left") || strings.Contains(screen, "stopping") {
		t.Errorf("an interrupted search shows\n%s", screen)
	}
}

// A line that is pulled out ends the search.
func TestFindMachinesUnplugged(t *testing.T) {
	t.Parallel()
	var p *sim.Pty
	ready := make(chan struct{})
	p = handmade(t, func([]byte) []byte {
		<-ready
		_ = p.Unplug()
		return nil
	})
	close(ready)
	_, stderr, err := hunt(t, bench.Lines{}, "-port", p.Path(), "-listen", "50ms", "-timeout", "5s")
	if err == nil || !strings.Contains(err.Error(), "check plug, cable and power") {
		t.Errorf("%v\n%s", err, stderr)
	}
	_, stderr, code := run(t, "", "find", "-modbus", "-port", p.Path(), "-listen", "50ms")
	if code != program.Failed || !strings.Contains(stderr, "plugged in") {
		t.Errorf("no port: code %d: %s", code, stderr)
	}
}

// A port that cannot be opened is no silence: the search ends with the reason, be it while the line is
// listened to, or only when somebody is asked.
func TestFindMachinesOnAPortThatCannotBeOpened(t *testing.T) {
	t.Parallel()
	noTTY := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(noTTY, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	locked := terminalOf(t)
	owner, err := serial.Open(serial.Config{Port: locked.Path()})
	if err != nil {
		t.Fatal(err)
	}
	defer owner.Close()
	free := terminalOf(t)
	later := bench.Lines{Open: func(ctx context.Context, c serial.Config) (io.ReadWriteCloser, error) {
		c.Port = free.Path()
		return bench.OpenLine(ctx, c)
	}}
	for path, want := range map[string]string{noTTY: "not a serial device", locked.Path(): "already in use by another"} {
		for name, lines := range map[string]bench.Lines{"listening": {}, "cannot open the line": later} {
			stdout, stderr, err := hunt(t, lines, "-port", path, "-baud", "9600", "-format", "8N1", "-units", "1-3", "-timeout", "50ms", "-listen", "50ms")
			if err == nil || stdout != "" || !strings.Contains(err.Error(), want) || strings.Contains(stderr, "nobody answers") || strings.Contains(err.Error(), "cannot open the line") != (name == "cannot open the line") {
				t.Errorf("%s, %s: %v\n%s%s", path, name, err, stdout, stderr)
			}
		}
	}
}

// The control lines of a link are set while the line is listened to and while it is asked, and stand in
// the lines for edge.yaml.
func TestFindMachinesSetsControlLines(t *testing.T) {
	t.Parallel()
	p := handmade(t, zeros)
	link := func(query string) string {
		return (&url.URL{Scheme: modbus.Serial, Path: p.Path(), RawQuery: query}).String()
	}
	// A pseudo-terminal has none, and says so to whoever sets them.
	var listened []string
	open := func(ctx context.Context, c serial.Config) (io.ReadWriteCloser, error) {
		listened = append(listened, c.DTR+" "+c.RTS)
		c.DTR, c.RTS = "", ""
		return bench.OpenLine(ctx, c)
	}
	var asked []string
	master := func(c modbus.MasterConfig) (bench.Asker, error) {
		asked = append(asked, c.Link)
		bare, err := modbus.ParseLink(c.Link)
		bare.DTR, bare.RTS = "", ""
		if c.Link = bench.LinkText(bare); err != nil {
			return nil, err
		}
		c.Timeout = patience
		return modbus.NewMaster(c)
	}
	stdout, stderr, err := hunt(t, bench.Lines{Open: open, Master: master}, "-link", link("dtr=on&rts=off"), "-baud", "9600", "-format", "8E1", "-units", "4", "-listen", "50ms")
	if err != nil || !strings.Contains(stdout, `link: "`+link("baud=9600&format=8E1&dtr=on&rts=off")+`"`) {
		t.Errorf("%v\n%s%s", err, stdout, stderr)
	}
	if len(listened) == 0 || len(asked) == 0 {
		t.Fatalf("listened %q, asked %q", listened, asked)
	}
	for _, state := range listened {
		if state != "on off" {
			t.Errorf("it is listened with %q", state)
		}
	}
	for _, link := range asked {
		if !strings.HasSuffix(link, "&dtr=on&rts=off") {
			t.Errorf("it is asked over %s", link)
		}
	}
	if _, stderr, err := hunt(t, bench.Lines{}, "-link", link("rts=on"), "-listen", "50ms"); err == nil || !strings.Contains(err.Error(), "remove dtr and rts") {
		t.Errorf("on a line that has none: %v\n%s", err, stderr)
	}
}

func TestFindMachinesWrongCalls(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		args string
		want string
	}{
		{"", "either a port or a link"},
		{"-port /dev/null -link tcp://127.0.0.1:1", "either a port or a link"},
		{"-port tcp://127.0.0.1:1", "rtu-over-tcp://"},
		{"-port /dev/null -known 5", "flag -known: is about an indicator"},
		{"-port /dev/null -units 0-5", "between 1 and 247"},
		{"-port /dev/null -units 5-", "between 1 and 247"},
		{"-link tcp://127.0.0.1:1 -units 256", "between 0 and 255"},
		{"-port /dev/null -format 7E1", "8 data bits"},
		{"-port /dev/null -baud fast", "is no number"},
		{"-port /dev/null -timeout 1h", "between 10ms and 15s"},
		{"-port /dev/null -listen 1ms", "between 50ms and 1m"},
		{"-link rtu:///dev/null?baud=9600 -baud 9600", "in the link"},
		{"-link tcp://127.0.0.1:1 -baud 9600", "in the link"},
		{"-link udp://127.0.0.1:1", "begins with none of"},
	} {
		stdout, stderr, code := run(t, "", append([]string{"find", "-modbus"}, strings.Fields(test.args)...)...)
		if code != program.WrongCall || !strings.Contains(stderr, test.want) || stdout != "" {
			t.Errorf("%q: code %d, stdout %q, stderr %q; want %q", test.args, code, stdout, stderr, test.want)
		}
	}
	_, stderr, code := run(t, "", "find", "-port", "/dev/null", "-units", "1")
	if code != program.WrongCall || !strings.Contains(stderr, "add -modbus") {
		t.Errorf("code %d: %s", code, stderr)
	}
}
