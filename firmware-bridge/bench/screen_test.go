package bench_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"steelyard/firmware-bridge/bench"
	"steelyard/internal/program"
)

// The tests that start other programs run alone: between a fork and the exec after it, the child
// holds every open line, and a test beside it could not open its own again.

// desk is a terminal of its own with the program in it.
type desk struct {
	t      *testing.T
	socket string
}

// sit starts a tmux server on its own socket, with the program as its only window.
func sit(t *testing.T, args ...string) *desk {
	t.Helper()
	return sitAt(t, 100, 30, "", args...)
}

// sitAt is sit at a terminal of another size or, where it is named, kind.
func sitAt(t *testing.T, width, height int, kind string, args ...string) *desk {
	t.Helper()
	d := &desk{t: t, socket: filepath.Join(t.TempDir(), "tmux")}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var quoted []string
	for _, a := range append([]string{self}, args...) {
		quoted = append(quoted, "'"+a+"'")
	}
	// The interrupt key reaches the shell as well, which must outlive it. A shell of a known kind waits behind the program, so that its last picture can be looked at.
	if kind != "" {
		kind = "TERM=" + kind + " "
	}
	command := fmt.Sprintf("trap : INT; STEELYARD_BENCH=1 %s%s; echo \"code $?.\"; exec sleep 300", kind, strings.Join(quoted, " "))
	d.tmux("-f", "/dev/null", "new-session", "-d", "-x", strconv.Itoa(width), "-y", strconv.Itoa(height), "/bin/sh", "-c", command)
	t.Cleanup(func() { d.tmux("kill-server") })
	return d
}

func (d *desk) tmux(args ...string) string {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, "tmux", append([]string{"-S", d.socket}, args...)...).CombinedOutput()
	if err != nil {
		d.t.Fatalf("tmux %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// sees waits until the screen shows all of the texts at once.
func (d *desk) sees(want ...string) string {
	d.t.Helper()
	var screen string
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		screen = d.tmux("capture-pane", "-p")
		all := true
		for _, w := range want {
			all = all && strings.Contains(screen, w)
		}
		if all {
			return screen
		}
	}
	d.t.Fatalf("%q are not on the screen:\n%s", want, screen)
	return ""
}

// matches waits until the screen does.
func (d *desk) matches(want *regexp.Regexp) {
	d.t.Helper()
	var screen string
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if screen = d.tmux("capture-pane", "-p"); want.MatchString(screen) {
			return
		}
	}
	d.t.Fatalf("%s is not on the screen:\n%s", want, screen)
}

func (d *desk) types(keys ...string) { d.t.Helper(); d.tmux(append([]string{"send-keys"}, keys...)...) }

// frameRate is any: how fast a simulated machine sends depends on the computer.
var frameRate = regexp.MustCompile(`frames +\d+ +\d+\.\d/s   rejected 0`)

func TestShowOnAScreen(t *testing.T) {
	path := link(t)
	machine := start(t, "simulate", "-dialect", "yaohua-tf0", "-pty", path, "-weight", "23960")
	machine.at()
	d := sit(t, "show", "-port", path, "-dialect", "yaohua-tf0", "-unit", "kg")
	screen := d.sees("    23960 kg", "listening for", "last frames", "last bytes", "02 2B 30 32 33 39 36 30 30 31 35 03", "rejected 0")
	for end := time.Now().Add(patience); !frameRate.MatchString(screen); screen = d.sees("rejected 0") {
		if time.Now().After(end) {
			t.Fatalf("no rate of frames is shown:\n%s", screen)
		}
	}
	if strings.Count(screen, "last frames") != 1 || strings.Contains(screen, "errors") {
		t.Errorf("the picture is not drawn over the one before, or shows errors:\n%s", screen)
	}
	machine.says("weight 12340")
	d.sees("\n    12340 kg")
	machine.says("wrong-checksum")
	d.sees("errors", "frame rejected", "s ago)")
	machine.says("healthy")
	machine.says("unplug")
	d.sees("lost for", "is the adapter plugged in?")
	machine.says("replug")
	d.sees("listening for", "\n    12340 kg\n")
	d.types("C-c")
	if screen := d.sees("code 0."); !strings.Contains(screen, "12340 kg") {
		t.Errorf("the last picture did not stay:\n%s", screen)
	}
}

func TestShowAMachineOnAScreen(t *testing.T) {
	machine := start(t, "simulate", "-profile", "laumas-tlb", "-listen", "tcp://127.0.0.1:0")
	d := sit(t, "show", "-link", machine.at(), "-profile", "laumas-tlb", "-every", "100ms")
	d.sees("unit 1", "online for", "12340 kg", "weight.gross", "values of")
	machine.says("set gross=-60")
	d.sees("-60 kg")
	machine.says("exception 2")
	d.sees("errors", "exception 02")
	d.types("C-c")
	d.sees("code 0.")
}

func TestFindOnAScreen(t *testing.T) {
	path := link(t)
	machine := start(t, "simulate", "-dialect", "mt-cont", "-pty", path, "-weight", "23960")
	machine.at()
	d := sit(t, "find", "-port", path, "-division", "20 kg", "-max", "60 t")
	d.sees("1. mt-cont at 9600 8N1", "reads 23960 kg", "Which weight does the display show?")
	d.types("23960", "Enter")
	d.sees("mt-cont reads 23960, as on the display", "weighbridges:", "dialect: mt-cont", "unit: kg", "division: 20 kg", "code 0.")
}

// Where standard output is no terminal there are plain lines, without one control character.
func TestShowInAPipe(t *testing.T) {
	t.Parallel()
	path := link(t)
	machine := start(t, "simulate", "-dialect", "and18", "-pty", path, "-weight", "12.34")
	machine.at()
	stdout, stderr, code := run(t, "", "show", "-port", path, "-dialect", "and18", "-count", "3")
	if code != program.ExitOK || strings.Count(stdout, "12.34 kg  net  stable") != 3 || strings.Contains(stdout, "\x1b") {
		t.Errorf("code %d: %q%s", code, stdout, stderr)
	}
	stdout, _, code = run(t, "", "show", "-port", path, "-count", "30")
	var all strings.Builder // where the pieces of a line end, nobody knows
	for line := range strings.Lines(stdout) {
		all.WriteString(strings.ReplaceAll(strings.Split(line, "  ")[1], " ", ""))
	}
	if code != program.ExitOK || strings.Count(stdout, "\n") != 30 || !strings.Contains(all.String(), "53542C4E542C2B303031322E33346B670D0A") {
		t.Errorf("bytes only: code %d: %q", code, stdout)
	}
}

// On a screen that is too small nothing is cut off unsaid: what is wide is folded, and what has no
// place below is counted. The state of the line is the last thing that may be missing.
func TestShowOnASmallScreen(t *testing.T) {
	path := link(t)
	start(t, "simulate", "-dialect", "yaohua-tf0", "-pty", path, "-weight", "23960").at()
	d := sitAt(t, 40, 12, "", "show", "-port", path, "-dialect", "yaohua-tf0")
	d.sees("listening", "    23960", "rejected 0", "… ", "more: make the window larger")
	d.types("C-c")
	d.sees("code 0.")
}

// The terminal is in order at every moment between two pictures, so also when the program is stopped
// and not ended, and when it is killed.
func TestShowLeavesTheCursor(t *testing.T) {
	path := link(t)
	start(t, "simulate", "-dialect", "yaohua-tf0", "-pty", path, "-weight", "23960").at()
	for _, signal := range []string{"-STOP", "-KILL"} {
		d := sit(t, "show", "-port", path, "-dialect", "yaohua-tf0")
		d.sees("    23960", "last bytes")
		child := strings.TrimSpace(d.shell("pgrep -P " + strings.TrimSpace(d.tmux("display", "-p", "#{pane_pid}"))))
		d.shell("kill " + signal + " " + child)
		if signal == "-KILL" {
			d.sees("code 137.")
		} else {
			d.stopped(child)
		}
		var state string // what was written before is drawn a little later
		for end := time.Now().Add(patience / 3); state != "1 0" && time.Now().Before(end); {
			state = strings.TrimSpace(d.tmux("display", "-p", "#{cursor_flag} #{alternate_on}"))
		}
		if state != "1 0" {
			t.Errorf("behind kill %s the cursor and the other screen are %q, want 1 0", signal, state)
		}
		if signal == "-STOP" {
			d.shell("kill -CONT " + child)
			d.types("C-c")
			d.sees("code 0.")
		}
	}
}

// shell runs a command beside the terminal.
func (d *desk) shell(command string) string {
	d.t.Helper()
	out, err := exec.Command("/bin/sh", "-c", command).CombinedOutput()
	if err != nil {
		d.t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return string(out)
}

// stopped waits until a process is.
func (d *desk) stopped(pid string) {
	d.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		data, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil {
			d.t.Fatal(err)
		}
		if _, behind, _ := strings.Cut(string(data), ") "); strings.HasPrefix(behind, "T") {
			return
		}
	}
	d.t.Fatalf("process %s does not stop", pid)
}

// A terminal that knows no control sequences gets lines.
func TestShowOnADumbTerminal(t *testing.T) {
	path := link(t)
	start(t, "simulate", "-dialect", "yaohua-tf0", "-pty", path, "-weight", "23960").at()
	d := sitAt(t, 100, 30, "dumb", "show", "-port", path, "-dialect", "yaohua-tf0", "-count", "3")
	if screen := d.sees("code 0."); strings.Count(screen, "  02 2B 30 32 33 39 36 30 30 31 35 03\n") != 3 || strings.Contains(screen, "last") {
		t.Errorf("three frames are shown as\n%s", screen)
	}
}

// Lines are folded at blanks to any width, without a character lost, and to any height.
func TestFitted(t *testing.T) {
	const bold = "\x1b[1m"
	lines := []string{"    23960 kg  stable", "", bold + "a word-that-is-longer-than-any-screen b c", "12:00:00  ünïcödé bytes ünïcödé bytes"}
	for width := 1; width < 60; width++ {
		rows := bench.Fitted(lines, width, 1000)
		var got, want []string
		for _, row := range rows {
			if n := utf8.RuneCountInString(strings.TrimPrefix(row, bold)); n > width {
				t.Fatalf("width %d: %q has %d", width, row, n)
			}
			got = append(got, strings.Fields(strings.TrimPrefix(row, bold))...)
		}
		for _, line := range lines {
			want = append(want, strings.Fields(strings.TrimPrefix(line, bold))...)
		}
		if width > 10 && strings.Join(got, "") != strings.Join(want, "") {
			t.Errorf("width %d: %q", width, rows)
		}
	}
	for height := 1; height < 8; height++ {
		rows := bench.Fitted(lines, 80, height)
		if len(rows) > height || height < 4 && !strings.Contains(rows[len(rows)-1], fmt.Sprintf("… %d row", 4-height+1)) || height >= 4 && len(rows) != 4 {
			t.Errorf("height %d: %q", height, rows)
		}
	}
}

// Work that takes long shows how far it is at the foot of a terminal, and leaves nothing of it
// there. Each would take an hour; it is interrupted as soon as the bar was seen.
func TestLongWorkShowsProgress(t *testing.T) {
	dir := t.TempDir()
	path, recording := filepath.Join(dir, "line"), filepath.Join(dir, "recording.txt")
	start(t, "simulate", "-dialect", "yaohua-tf0", "-pty", path, "-weight", "23960", "-rate", "40").at()
	long := filepath.Join(dir, "long.txt")
	if err := os.WriteFile(long, []byte("0 0203\n30000000 0203\n30000001 0203\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, work := range []struct {
		args []string
		bar  string // a pattern, wide enough for a screen that is looked at seldom
		ends []string
	}{
		{[]string{"record", "-port", path, "-for", "1h", recording}, `\[---.* %  59:[0-5]\d left  .*pieces`, []string{"bytes in", "code 0."}},
		{[]string{"replay", long, "-pty", filepath.Join(dir, "again")}, `\[#.* %  0:[0-2]\d left  1 piece sent`, []string{"2 bytes in 1 piece sent", "code 0."}},
		{[]string{"replay", long, "-loop", "-speed", "1000", "-pty", filepath.Join(dir, "again")}, `(?m)^0:(0[1-9]|[1-5]\d)  \d+ pieces sent`, []string{" sent\n", "code 0."}}, // with no end in sight the time that has passed
		{[]string{"find", "-port", path, "-baud", "600,9600", "-format", "8N1", "-listen", "1m"}, `\[.* %  2:[0-5]\d left  listening at 600 8N1`, []string{"code 0."}},
	} {
		d := sit(t, work.args...)
		d.matches(regexp.MustCompile(work.bar))
		d.types("C-c")
		if screen := d.sees(work.ends...); strings.Contains(screen, " left") {
			t.Errorf("%s leaves its bar behind:\n%s", work.args[0], screen)
		}
	}
	// Where the computer is busy and few frames come in this time, find listens for longer by itself. Its
	// answer names every model that speaks so, and is longer than the usual screen.
	args := []string{"find", "-port", path, "-baud", "9600", "-format", "8N1", "-listen", "1s", "-known", "23960"}
	if screen := sitAt(t, 100, 100, "", args...).sees("9600 8N1: ", "For edge.yaml", "code 0."); strings.Contains(screen, " left") {
		t.Errorf("find leaves its bar behind:\n%s", screen)
	}
	if screen := sit(t, append(args, "-json")...).sees(`"confirmed"`, "code 0."); strings.Contains(screen, "listening") || strings.Contains(screen, "8N1: ") {
		t.Errorf("with -json there is more than JSON:\n%s", screen)
	}
}

// An interrupt ends long work at once, and leaves neither a bar nor a log on the screen.
func TestInterruptOfLongWork(t *testing.T) {
	path := link(t)
	start(t, "simulate", "-profile", "laumas-tlb", "-pty", path).at() // which sends nothing by itself
	d := sit(t, "find", "-port", path, "-listen", "30s", "-known", "0")
	d.sees("listening at 9600 8N1")
	d.types("C-c")
	if screen := d.sees("code 0."); strings.Contains(screen, "listening") || strings.Contains(screen, "stopping") {
		t.Errorf("an interrupted search shows\n%s", screen)
	}
}
