package bench_test

import (
	"bytes"
	"context"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"steelyard/firmware-bridge/catalog"
	"steelyard/firmware-bridge/modbus"
	"steelyard/firmware-bridge/sim"
	"steelyard/internal/program"
)

// at is where a simulated machine says that it is.
func (r *running) at() string {
	r.t.Helper()
	for begun := time.Now(); !strings.Contains(r.out.String(), "\ncommands:"); time.Sleep(5 * time.Millisecond) {
		select {
		case <-r.done:
			r.t.Fatalf("simulate: code %d: %s", r.code, &r.err)
		default:
		}
		if time.Since(begun) > patience {
			r.t.Fatalf("simulate does not say where it is:\n%s%s", &r.out, &r.err)
		}
	}
	head, _, _ := strings.Cut(r.out.String(), "\n")
	_, at, _ := strings.Cut(head, " at ")
	return at
}

// link puts a terminal's link into a folder of its own.
func link(t testing.TB) string { return filepath.Join(t.TempDir(), "line") }

// mbpoll reads with other people's master.
func mbpoll(t testing.TB, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var both bytes.Buffer
	c := exec.CommandContext(ctx, "mbpoll", args...)
	c.Stdout, c.Stderr = &both, &both
	if err := c.Run(); err != nil {
		t.Fatalf("mbpoll %s: %v\n%s", strings.Join(args, " "), err, &both)
	}
	return both.String()
}

func TestSimulateForMbpoll(t *testing.T) {
	t.Run("tcp", func(t *testing.T) {
		r := start(t, "simulate", "-profile", "laumas-tlb", "-listen", "tcp://127.0.0.1:0", "-set", "gross=23960", "-unit", "7")
		host, port, err := net.SplitHostPort(strings.TrimPrefix(r.at(), "tcp://"))
		if err != nil {
			t.Fatal(err)
		}
		got := mbpoll(t, "-m", "tcp", "-p", port, "-a", "7", "-t", "4:int", "-B", "-r", "8", "-c", "1", "-1", host)
		if !strings.Contains(got, "23960") {
			t.Errorf("mbpoll reads\n%s", got)
		}
		if code := r.stop(); code != program.ExitOK {
			t.Errorf("code %d: %s", code, &r.err)
		}
	})
	t.Run("rtu", func(t *testing.T) {
		path := link(t)
		r := start(t, "simulate", "-profile", "dini-dgt", "-pty", path, "-set", "gross=6020", "-baud", "19200")
		r.at()
		got := mbpoll(t, "-m", "rtu", "-b", "19200", "-P", "none", "-a", "1", "-t", "3:int", "-B", "-r", "1", "-c", "1", "-1", path)
		if !strings.Contains(got, "6020") {
			t.Errorf("mbpoll reads\n%s", got)
		}
	})
}

// Every shipped profile is served and read back over TCP by show: with the values of its first
// test, through the real bus.
func TestSimulateEveryProfile(t *testing.T) {
	t.Parallel()
	for _, file := range shipped(t) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		m, err := catalog.Read(file, data)
		if err != nil {
			t.Fatal(err)
		}
		p := m.Profile
		if p == nil {
			continue // an indicator
		}
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			r := start(t, "simulate", "-profile", file, "-listen", "tcp://127.0.0.1:0")
			stdout, stderr, code := run(t, "", "show", "-link", r.at(), "-profile", file, "-unit", "1", "-json", "-every", "100ms", "-count", strconv.Itoa(scans(p)))
			if code != program.ExitOK {
				t.Fatalf("code %d: %s%s", code, stdout, stderr)
			}
			values := map[string]any{}
			for _, o := range objects(t, stdout) {
				if v, ok := o["values"].(map[string]any); ok {
					maps.Copy(values, v)
				}
			}
			kinds := map[string]string{}
			for _, point := range p.Points {
				kinds[point.Name] = point.Type
			}
			compared := 0
			for tag, want := range p.Tests[0].Expect {
				moves := p.Heartbeat != nil && tag == p.Heartbeat.Point
				if want == "none" || kinds[tag] == "bits" || moves {
					continue
				}
				if compared++; values[tag] != want {
					t.Errorf("%s reads %v, want %s", tag, values[tag], want)
				}
			}
			if compared == 0 {
				t.Errorf("nothing was compared: %s", stdout)
			}
		})
	}
}

// scans is how many it takes until each register was read, slow ones too.
func scans(p *modbus.Profile) int {
	n := 1
	for _, b := range p.Blocks() {
		if b.Every == modbus.Slow {
			n += 10
		}
	}
	return n
}

// The faults on command, as other people's master sees them: each spoils a read, and "healthy"
// mends it. What our own sees is in TestEveryFaultOfAMachine.
func TestSimulateFaults(t *testing.T) {
	path := link(t)
	r := start(t, "simulate", "-profile", "generic-belt", "-pty", path, "-baud", "0")
	r.at()
	read := func() (string, int) {
		stdout, stderr, code := run(t, "", "order", "-link", "rtu://"+path+"?baud=115200", "-unit", "1", "-at", "0", "-count", "1", "-display", "16979")
		return stdout + stderr, code
	}
	if got, code := read(); code != program.ExitOK || !strings.Contains(got, "= 16979") { // 4253h
		t.Fatalf("code %d: %s", code, got)
	}
	poll := func(patience string) string {
		got, _ := exec.Command("mbpoll", "-m", "rtu", "-b", "115200", "-P", "none", "-a", "1", "-t", "4", "-r", "1", "-1", "-o", patience, path).CombinedOutput()
		return string(got)
	}
	for _, fault := range []string{"dropped", "half", "garbage", "wrong-unit", "exception 6", "late 600ms"} {
		r.says(fault)
		r.out.has(t, strings.Fields(fault)[0]+" after")
		if got := poll("0.2"); strings.Contains(got, "16979") || !strings.Contains(got, "failed") {
			t.Errorf("%s: mbpoll reads %s", fault, got)
		}
	}
	r.says("late 600ms")
	if got := poll("5"); !strings.Contains(got, "16979") {
		t.Errorf("a late reply and a patient master: %s", got)
	}
	r.says("healthy")
	r.out.has(t, "healthy after")
	if got, code := read(); code != program.ExitOK {
		t.Errorf("healthy: code %d: %s", code, got)
	}
	r.says("slow 2ms")
	r.out.has(t, "slow after")
	if got, code := read(); code != program.ExitOK {
		t.Errorf("slow: code %d: %s", code, got)
	}
	r.says("unplug")
	r.out.has(t, "unplugged")
	if got, code := read(); code != program.ExitError || !strings.Contains(got, "plugged in") {
		t.Errorf("unplugged: code %d: %s", code, got)
	}
	r.says("replug")
	r.out.has(t, "replugged")
	if got, code := read(); code != program.ExitOK {
		t.Errorf("replugged: code %d: %s", code, got)
	}
	for _, wrong := range []string{"explode", "exception", "late x", "set magic", "set nothing=1", "set total=x"} {
		r.says(wrong)
	}
	r.says("quit")
	if code := r.wait(); code != program.ExitOK || strings.Count(r.out.String(), "error: ") != 6 {
		t.Errorf("code %d: %s", code, &r.out)
	}
}

// The totaliser of a belt is put before its end and runs over it; the heartbeat moves by itself,
// and stands when the registers are frozen.
func TestSimulateWrapsAndFreezes(t *testing.T) {
	t.Parallel()
	r := start(t, "simulate", "-profile", "generic-belt", "-listen", "tcp://127.0.0.1:0")
	at := r.at()
	watch := start(t, "show", "-link", at, "-profile", "generic-belt", "-every", "50ms")
	watch.out.has(t, "heartbeat=")
	r.says("wrap")
	r.out.has(t, "before it wraps")
	watch.out.has(t, "total=99999")
	wrapped := regexp.MustCompile(`(?s)total=99999\d .*total=\d{1,3} `) // not each count is polled on a busy computer
	for end := time.Now().Add(patience); !wrapped.MatchString(watch.out.String()); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the totaliser does not wrap:\n%s", &watch.out)
		}
	}
	r.says("frozen")
	r.out.has(t, "frozen after")
	frozen, _, code := run(t, "", "show", "-link", at, "-profile", "generic-belt", "-every", "300ms", "-count", "6", "-json")
	if code != program.ExitOK {
		t.Fatalf("code %d", code)
	}
	beats := map[any]bool{}
	for _, o := range objects(t, frozen) {
		if v, ok := o["values"].(map[string]any); ok {
			beats[v["heartbeat"]] = true
		}
	}
	if len(beats) != 1 {
		t.Errorf("a frozen machine's heartbeat reads %v", beats)
	}
}

func TestSimulateDialects(t *testing.T) {
	t.Parallel()
	protos, _ := vectors(t)
	for _, name := range protos {
		if strings.HasPrefix(name, "modbus-") || name == "systec-rn" || name == "dini-pid" {
			continue // no indicator; and those that answer only to a command that is never polled
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := link(t)
			r := start(t, "simulate", "-dialect", name, "-pty", path, "-rate", "20", "-hold", "200ms")
			r.at()
			args := []string{"show", "-port", path, "-dialect", name, "-json", "-count", "3"}
			if name == "dini-short" {
				args = append(args, "-address", "1")
			}
			stdout, stderr, code := run(t, "", args...)
			frames := 0
			for _, o := range objects(t, stdout) {
				if o["valid"] == true {
					frames++
				}
			}
			if code != program.ExitOK || frames != 3 {
				t.Errorf("code %d, %d frames: %s%s", code, frames, stdout, stderr)
			}
		})
	}
}

func TestSimulateIndicatorFaults(t *testing.T) {
	t.Parallel()
	r := start(t, "simulate", "-dialect", "yaohua-tf0", "-listen", "tcp://127.0.0.1:0", "-weight", "23960", "-rate", "50")
	at := r.at()
	watch := start(t, "show", "-port", at, "-dialect", "yaohua-tf0", "-unit", "kg")
	watch.out.has(t, "23960 kg")
	r.says("weight 12340 kg")
	watch.out.has(t, "12340 kg")
	r.says("wrong-checksum")
	watch.out.has(t, "error: frame rejected")
	r.says("healthy")
	r.says("weight 200000")
	watch.out.has(t, "no weight") // above Max + 9e
	r.says("unplug")
	watch.out.has(t, "line lost")
	r.says("replug")
	r.says("weight 60")
	watch.out.has(t, " 60 kg")
	if code := watch.stop(); code != program.ExitOK {
		t.Errorf("show: code %d: %s", code, &watch.err)
	}
}

// A command that is far too long is no reason to obey no other.
func TestSimulateOutlivesALongLine(t *testing.T) {
	t.Parallel()
	r := start(t, "simulate", "-profile", "laumas-tlb", "-listen", "tcp://127.0.0.1:0")
	r.at()
	r.says(strings.Repeat("late ", 1<<20))
	r.out.has(t, "error: too long")
	r.says("dropped")
	r.out.has(t, "dropped after")
	r.says("quit")
	if code := r.wait(); code != program.ExitOK {
		t.Errorf("code %d: %s", code, &r.out)
	}
}

// Silence is no success: a script learns by the exit code that less came than it wanted, and why.
func TestShowOfSilenceFails(t *testing.T) {
	t.Parallel()
	silent, scale := terminalOf(t), link(t)
	start(t, "simulate", "-dialect", "yaohua-tf0", "-pty", scale, "-rate", "20").at()
	r := start(t, "simulate", "-profile", "laumas-tlb", "-listen", "tcp://127.0.0.1:0")
	machine := r.at()
	for _, test := range []struct{ args, want string }{
		{"-port " + silent.Path() + " -dialect yaohua-tf0 -for 100ms", "no frame came in 100ms: is the machine on"},
		{"-port " + silent.Path() + " -for 100ms", "no frame came in 100ms"},
		{"-port " + silent.Path() + "x -for ", ": serial line " + silent.Path() + "x: no such file"},
		{"-port " + scale + " -dialect yaohua-tf0 -for 300ms -count 5000", " of 5000 frames came in 300ms"},
		{"-link tcp://127.0.0.1:1 -profile laumas-tlb -for ", "connection refused"},
		{"-link " + machine + " -profile laumas-tlb -for 300ms -count 5000", " of 5000 polls came in 300ms"},
		{"-port " + scale + " -dialect yaohua-tf0 -for 30s -count 1", ""},
		{"-link " + machine + " -profile laumas-tlb -for 30s -count 1", ""},
	} {
		show := func(length string) (stderr string, code int) {
			_, stderr, code = run(t, "", append([]string{"show", "-json"}, strings.Fields(test.args+length)...)...)
			return stderr, code
		}
		var stderr string
		var code int
		if strings.HasSuffix(test.args, "-for ") {
			// A reason is known when somebody has tried: whoever was too busy for it is given longer.
			for length := 250 * time.Millisecond; length < patience; length *= 3 {
				if stderr, code = show(length.String()); !strings.Contains(stderr, "is the machine on") {
					break
				}
			}
		} else {
			stderr, code = show("")
		}
		if want := program.ExitError; test.want == "" && (code != program.ExitOK || stderr != "") || test.want != "" && (code != want || !strings.Contains(stderr, test.want) || strings.Count(stderr, "\n") != 1) {
			t.Errorf("%s: code %d: %s; want %q", test.args, code, stderr, test.want)
		}
	}
}

// What a machine that does not exist needs of the world is given back when its command ends.
func TestSimulateLeavesNothing(t *testing.T) {
	t.Parallel()
	path := link(t)
	r := start(t, "simulate", "-profile", "laumas-tlb", "-pty", path)
	r.at()
	if code := r.stop(); code != program.ExitOK {
		t.Errorf("code %d", code)
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("the link is still there")
	}
	if err := os.WriteFile(path, []byte("a file"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := run(t, "", "simulate", "-profile", "laumas-tlb", "-pty", path); code != program.ExitError || !strings.Contains(stderr, "is not a link") {
		t.Errorf("a file in the way: code %d: %s", code, stderr)
	}
}

// terminalOf opens a simulated line that a test writes to itself.
func terminalOf(t testing.TB) *sim.Pty {
	t.Helper()
	p, err := sim.OpenPty(sim.PtyConfig{Link: link(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// babble writes bytes to a line again and again until the test ends.
func babble(t testing.TB, p *sim.Pty, every time.Duration, frame func(n int) []byte) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				_, _ = p.Write(frame(n))
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
}
