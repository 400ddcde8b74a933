package bench_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"steelyard/firmware-bridge/bench"
	"steelyard/firmware-bridge/catalog"
	"steelyard/firmware-bridge/modbus"
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
	if code != program.ExitOK {
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
	if _, stderr, code = run(t, "", "find", "-modbus", "-link", r.at()); code != program.ExitError || !strings.Contains(stderr, "refused") {
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
	if code != program.ExitOK || strings.Count(stdout, "device: machine-") != 1 || !strings.Contains(stdout, "unit: 1\n") || !strings.Contains(stdout, "does not look at the id") {
		t.Errorf("code %d: %s%s", code, stdout, stderr)
	}
}

// Behind a terminal server there is one setting, and the link says so.
func TestFindMachinesBehindATerminalServer(t *testing.T) {
	t.Parallel()
	r := start(t, "simulate", "-profile", "ssc-baler-v1", "-listen", "rtu-over-tcp://127.0.0.1:0", "-unit", "5")
	stdout, stderr, code := run(t, "", "find", "-modbus", "-link", r.at()+"?baud=19200", "-units", "5", "-listen", "100ms", "-timeout", "2s")
	if code != program.ExitOK || !strings.Contains(stdout, `link: "`+r.at()+`?baud=19200&format=8N1"`) || !strings.Contains(stdout, "profile: ssc-baler-v1\n        unit: 5\n") {
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
