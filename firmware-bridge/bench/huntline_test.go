package bench_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"steelyard/firmware-bridge/bench"
	"steelyard/firmware-bridge/modbus"
	"steelyard/firmware-bridge/serial"
	"steelyard/firmware-bridge/sim"
	"steelyard/internal/program"
)

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
		if code != program.ExitError || !strings.Contains(stderr, "they are no Modbus: this looks like an indicator (yaohua-tf0): try find without -modbus") {
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
	if code := r.stop(); code != program.ExitOK {
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
	if code != program.ExitError || !strings.Contains(stderr, "plugged in") {
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
		if code != program.ExitUsage || !strings.Contains(stderr, test.want) || stdout != "" {
			t.Errorf("%q: code %d, stdout %q, stderr %q; want %q", test.args, code, stdout, stderr, test.want)
		}
	}
	_, stderr, code := run(t, "", "find", "-port", "/dev/null", "-units", "1")
	if code != program.ExitUsage || !strings.Contains(stderr, "add -modbus") {
		t.Errorf("code %d: %s", code, stderr)
	}
}
