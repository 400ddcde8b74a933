package bench_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"steelyard/firmware-bridge/bench"
	"steelyard/internal/leaktest"
	"steelyard/internal/program"
)

var update = flag.Bool("update", false, "write the golden files")

// TestMain lets the test's own binary be the program, for the tests that need a terminal.
func TestMain(m *testing.M) {
	if os.Getenv("STEELYARD_BENCH") == "1" {
		program.Main("firmware-bridge", bench.Run)
	}
	// These tests wait for lines and hardly compute: more of them than processors can run at a time.
	flag.Parse()
	if !slices.ContainsFunc(os.Args, func(a string) bool { return strings.HasPrefix(strings.TrimLeft(a, "-"), "test.parallel") }) {
		if err := flag.Set("test.parallel", "4"); err != nil {
			panic(err)
		}
	}
	code := m.Run()
	if err := leaktest.Left(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// patience bounds every wait of these tests; nothing is expected to take so long.
const patience = 30 * time.Second

// text is a buffer that can be watched while a program writes into it.
type text struct {
	of      string // for messages
	mu      sync.Mutex
	b       bytes.Buffer
	changed chan struct{} // closed at the next write
}

func (w *text) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.changed != nil {
		close(w.changed)
		w.changed = nil
	}
	return w.b.Write(p)
}

func (w *text) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

// has waits until the text contains what is wanted.
func (w *text) has(t testing.TB, want string) {
	t.Helper()
	late := time.After(patience)
	for {
		w.mu.Lock()
		if strings.Contains(w.b.String(), want) {
			w.mu.Unlock()
			return
		}
		if w.changed == nil {
			w.changed = make(chan struct{})
		}
		changed := w.changed
		w.mu.Unlock()
		select {
		case <-changed:
		case <-late:
			t.Fatalf("%q did not come:\n%s", want, w)
		}
	}
}

// running is a command that runs in this process.
type running struct {
	t        testing.TB
	out, err text
	in       *io.PipeWriter
	cancel   context.CancelFunc
	code     int
	done     chan struct{}
}

// start starts a command; it is stopped and waited for when the test ends.
func start(t testing.TB, args ...string) *running {
	t.Helper()
	r := &running{t: t, done: make(chan struct{})}
	stdin, in := io.Pipe()
	r.in = in
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	env := program.Env{Args: args, Stdin: stdin, Stdout: &r.out, Stderr: &r.err, Log: slog.New(slog.DiscardHandler)}
	go func() {
		defer close(r.done)
		r.code = program.RunMain(ctx, "firmware-bridge", env, bench.Run)
	}()
	t.Cleanup(func() { r.stop() })
	return r
}

// stop ends the command as a signal does and gives its exit code.
func (r *running) stop() int {
	r.cancel()
	r.in.Close()
	return r.wait()
}

func (r *running) wait() int {
	select {
	case <-r.done:
		return r.code
	case <-time.After(patience):
		r.t.Errorf("the command does not end:\n%s\n%s", &r.out, &r.err)
		return -1
	}
}

// says writes a line to the command's input.
func (r *running) says(line string) {
	r.t.Helper()
	if _, err := io.WriteString(r.in, line+"\n"); err != nil {
		r.t.Fatal(err)
	}
}

// run runs a command to its end.
func run(t testing.TB, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	ctx, cancel := context.WithTimeoutCause(context.Background(), 2*patience, errors.New("the test took too long"))
	defer cancel()
	env := program.Env{Args: args, Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &errs, Log: slog.New(slog.DiscardHandler)}
	code = program.RunMain(ctx, "firmware-bridge", env, bench.Run)
	if ctx.Err() != nil {
		t.Fatalf("firmware-bridge %s does not end:\n%s%s", strings.Join(args, " "), &out, &errs)
	}
	return out.String(), errs.String(), code
}

// objects reads lines of JSON.
func objects(t testing.TB, lines string) []map[string]any {
	t.Helper()
	var all []map[string]any
	for line := range strings.Lines(lines) {
		var o map[string]any
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		all = append(all, o)
	}
	return all
}

// golden compares a text with a file, or writes it with -update.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s: -want +got\n%s", name, diff)
	}
}

func TestWrongCalls(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{nil, "no command"},
		{[]string{"weigh"}, `command "weigh"`},
		{[]string{"decode"}, "a dialect, an indicator or a profile"},
		{[]string{"decode", "-dialect", "yaohua"}, "yaohua-tf0, yaohua-eq-rev"},
		{[]string{"decode", "-bogus"}, "-bogus"},
		{[]string{"check"}, "names of profiles"},
		{[]string{"plan"}, "needs a profile"},
		{[]string{"plan", "-profile", "laumas-tlb", "-units", "0"}, "units 0"},
		{[]string{"plan", "-profile", "laumas-tlb", "more"}, `"more"`},
		{[]string{"simulate", "-profile", "laumas-tlb"}, "either -pty or -listen"},
		{[]string{"simulate", "-pty", "x"}, "a profile, an indicator or a dialect"},
		{[]string{"simulate", "-profile", "laumas-tlb", "-listen", "127.0.0.1:1"}, "tcp://host:port"},
		{[]string{"decode", "-dialect", "sics", "-indicator", "mettler-sics"}, "one of them only"},
		{[]string{"show", "-port", "/dev/null", "-dialect", "sics", "-indicator", "mettler-sics"}, "either a dialect or an indicator"},
		{[]string{"show", "-dialect", "sics"}, "either a port or a link"},
		{[]string{"show", "-link", "tcp://127.0.0.1:1"}, "needs the profile"},
		{[]string{"show", "-port", "/dev/null", "-profile", "laumas-tlb"}, "a profile on a link"},
		{[]string{"show", "-link", "tcp://127.0.0.1:1", "-profile", "laumas-tlb", "-dialect", "sics"}, "a profile on a link"},
		{[]string{"simulate", "-dialect", "sics", "-listen", "rtu-over-tcp://127.0.0.1:0"}, "RTU is the framing of Modbus"},
		{[]string{"find", "-port", "/dev/null", "-dialect", "sics", "-indicator", "mettler-sics"}, "either a dialect or an indicator"},
		{[]string{"find", "-port", "/dev/null", "-dtr", "yes"}, "say on or off"},
		{[]string{"find"}, "needs a port"},
		{[]string{"find", "-port", "/dev/null", "-known", "much"}, "write the number"},
		{[]string{"find", "-port", "/dev/null", "-baud", "9601"}, "9601"},
		{[]string{"find", "-port", "/dev/null", "-device", "No 1"}, "device"},
		{[]string{"find", "-port", "/dev/null", "-unit", "lb"}, "as on the display"},
		{[]string{"find", "-port", "/dev/null", "-max", "60"}, "unit g, kg or t"},
		{[]string{"order"}, "either a link or the registers"},
		{[]string{"order", "-hex", "1234", "-display", "x"}, "display"},
		{[]string{"record", "-port", "/dev/null"}, "name of a file"},
		{[]string{"replay", "x"}, "one of -pty, -listen and -port"},
		{[]string{"replay", "x", "-pty", "y", "-port", "/z"}, "one of -pty, -listen and -port"},
		{[]string{"find", "-port", "ttyUSB0"}, "a device path that starts"},
		{[]string{"find", "-modbus", "-port", "ttyUSB0"}, "a device path that starts"},
		{[]string{"show", "-port", "ttyUSB0"}, "a device path that starts"},
		{[]string{"record", "-port", "ttyUSB0", "x"}, "a device path that starts"},
		{[]string{"replay", "x", "-port", "ttyUSB0"}, "a device path that starts"},
		{[]string{"show", "-port", "/dev/null", "-baud", "9601"}, "baud 9601"},
		{[]string{"show", "-port", "/dev/null", "-for", "5"}, `flag -for: "5" cannot be read; write a time with its unit, like 5s or 250ms`},
		{[]string{"show", "-port", "/dev/null", "-count", "x"}, `flag -count: "x" cannot be read; write a number`},
		{[]string{"show", "-link", "foo", "-profile", "laumas-tlb"}, "begins with none of"},
		{[]string{"order", "-link", "foo"}, "begins with none of"},
		{[]string{"order", "-hex", "12"}, "1 byte: registers have two bytes each"},
		{[]string{"order", "-hex", "1234", "-display", "12 340"}, "without blanks or commas"},
		{[]string{"record", "-port", "/dev/null", "-for", "-1s", "x"}, "for -1s: must not be negative"},
		{[]string{"plan", "-profile", "laumas-tlb", "-baud", "9601"}, "baud 9601"},
		{[]string{"decode", "-dialect", "yaohua"}, "modbus-crc, modbus-tcp"},
		{[]string{"simulate", "-dialect", "generic", "-pty", "x"}, "simulate that with -indicator FILE"},
		{[]string{"simulate", "-dialect", "mt-cont", "-pty", "x", "-weight", "heavy"}, "write kilograms"},
		{[]string{"simulate", "-profile", "laumas-tlb", "-pty", "x", "-set", "gross"}, "tag=value"},
	} {
		stdout, stderr, code := run(t, "", test.args...)
		if code != program.ExitUsage || !strings.Contains(stderr, test.want) || stdout != "" {
			t.Errorf("%q: code %d, stdout %q, stderr %q; want %d and %q", test.args, code, stdout, stderr, program.ExitUsage, test.want)
		}
	}
}

// A flag that would have no effect is refused, because whoever gives it believes that it has.
func TestFlagsWithoutEffect(t *testing.T) {
	for _, test := range []struct{ args, flag string }{
		{"show -port /dev/null -every 5s", "every"},
		{"show -port /dev/null -checksum none", "checksum"},
		{"show -port /dev/null -unit kg", "unit"},
		{"show -link tcp://127.0.0.1:1 -profile laumas-tlb -baud 19200", "baud"},
		{"show -link tcp://127.0.0.1:1 -profile laumas-tlb -address 2", "address"},
		{"decode -profile laumas-tlb -unit kg", "unit"},
		{"decode -profile laumas-tlb -stream", "stream"},
		{"decode -dialect modbus-crc -checksum none", "checksum"},
		{"order -hex 1234 -count 3", "count"},
		{"replay x -pty y -baud 9600", "baud"},
		{"replay x -listen tcp://127.0.0.1:0 -rts on", "rts"},
		{"simulate -profile laumas-tlb -pty x -weight 5", "weight"},
		{"simulate -dialect mt-cont -pty x -set gross=5", "set"},
		{"simulate -dialect mt-cont -pty x -unit 5", "unit"},
		{"simulate -dialect yaohua-tf0 -pty x -checksum none", "checksum"},
		{"simulate -indicator toledo-8217 -pty x -max 5t", "max"},
		{"simulate -dialect mt-cont -listen tcp://127.0.0.1:0 -baud 1200", "baud"},
	} {
		stdout, stderr, code := run(t, "", strings.Fields(test.args)...)
		if code != program.ExitUsage || !strings.Contains(stderr, "flag -"+test.flag+": ") || !strings.Contains(stderr, "leave it out") && !strings.Contains(stderr, "name the indicator") || stdout != "" {
			t.Errorf("%s: code %d: %s%s", test.args, code, stdout, stderr)
		}
	}
}

// A mistake stays on the screen: not all flags are printed below it.
func TestWrongFlagIsSeen(t *testing.T) {
	for _, command := range []string{"find", "show", "draft frame", "order", "decode", "check", "plan", "record", "replay", "simulate"} {
		_, stderr, code := run(t, "", command, "-bogus")
		if code != program.ExitUsage || !strings.Contains(stderr, "-bogus") || !strings.Contains(stderr, command+" -h shows the flags") || strings.Count(stderr, "\n") > 3 {
			t.Errorf("%s: code %d: %s", command, code, stderr)
		}
	}
}

func TestHelp(t *testing.T) {
	stdout, _, code := run(t, "", "help")
	if code != program.ExitOK || !strings.Contains(stdout, "usage: firmware-bridge COMMAND") {
		t.Errorf("help: code %d, %s", code, stdout)
	}
	for _, command := range []string{"find", "show", "order", "decode", "check", "plan", "record", "replay", "simulate"} {
		if !strings.Contains(stdout, "  "+command) {
			t.Errorf("help does not name %s", command)
		}
		own, _, code := run(t, "", command, "-h")
		if code != program.ExitOK || !strings.Contains(own, "usage: firmware-bridge "+command) {
			t.Errorf("%s -h: code %d, %s", command, code, own)
		}
		if other, _, code := run(t, "", "help", command); code != program.ExitOK || other != own {
			t.Errorf("help %s: code %d, %s", command, code, other)
		}
		examples := 0
		for line := range strings.Lines(own) {
			example, ok := strings.CutPrefix(line, "  firmware-bridge "+command+" ")
			if !ok {
				continue
			}
			examples++
			for word := range strings.FieldsSeq(example) {
				if name, isFlag := strings.CutPrefix(word, "-"); isFlag && !strings.Contains(own, "\n  -"+name) {
					t.Errorf("%s -h: the example has a flag that is not there: %s", command, line)
				}
			}
		}
		if examples == 0 {
			t.Errorf("%s -h: no example:\n%s", command, own)
		}
	}
}

// The manual names every flag that a command has, and none that it has not.
func TestDocumentNamesEveryFlag(t *testing.T) {
	data, err := os.ReadFile("../../docs/commissioning.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(data), "## Every flag")
	rows := map[string][]string{}
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) < 3 {
			continue
		}
		for _, flag := range flagInText.FindAllStringSubmatch(cells[2], -1) {
			name := strings.Trim(strings.TrimSpace(cells[1]), "`")
			rows[name] = append(rows[name], flag[1])
		}
	}
	for _, command := range []string{"find", "show", "draft frame", "order", "decode", "check", "plan", "record", "replay", "simulate", "serve"} {
		own, _, _ := run(t, "", command, "-h")
		var has []string
		for _, flag := range flagInHelp.FindAllStringSubmatch(own, -1) {
			has = append(has, flag[1])
		}
		named := rows[command]
		if command == "show" || command == "decode" {
			named = slices.Concat(named, rows["options of a dialect"])
		}
		slices.Sort(has)
		slices.Sort(named)
		if diff := cmp.Diff(has, slices.Compact(named)); diff != "" {
			t.Errorf("%s: -has +docs/commissioning.md\n%s", command, diff)
		}
	}
}

var (
	flagInText = regexp.MustCompile("`-([a-z-]+)[^`]*`")
	flagInHelp = regexp.MustCompile(`(?m)^  -([a-z-]+)`)
)
