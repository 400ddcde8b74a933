package bench_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
	command := fmt.Sprintf("trap : INT; STEELYARD_BENCH=1 %s; echo \"code $?.\"; exec sleep 300", strings.Join(quoted, " "))
	d.tmux("-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "30", "/bin/sh", "-c", command)
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

func (d *desk) types(keys ...string) { d.t.Helper(); d.tmux(append([]string{"send-keys"}, keys...)...) }

func TestShowOnAScreen(t *testing.T) {
	path := link(t)
	machine := start(t, "simulate", "-dialect", "yaohua-tf0", "-pty", path, "-weight", "23960")
	machine.at()
	d := sit(t, "show", "-port", path, "-dialect", "yaohua-tf0", "-unit", "kg")
	screen := d.sees("    23960 kg", "listening for", "last frames", "last bytes", "02 2B 30 32 33 39 36 30 30 31 35 03", "10.0/s")
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
	if code != program.Done || strings.Count(stdout, "12.34 kg  net  stable") != 3 || strings.Contains(stdout, "\x1b") {
		t.Errorf("code %d: %q%s", code, stdout, stderr)
	}
	stdout, _, code = run(t, "", "show", "-port", path, "-for", "300ms")
	if code != program.Done || !strings.Contains(stdout, "ST,") || !strings.Contains(stdout, "67 0D 0A") {
		t.Errorf("bytes only: code %d: %q", code, stdout)
	}
}

// Work that takes long shows how far it is at the foot of a terminal, and leaves nothing of it
// there.
func TestLongWorkShowsProgress(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "line")
	start(t, "simulate", "-dialect", "yaohua-tf0", "-pty", path, "-weight", "23960").at()
	recording := filepath.Join(dir, "recording.txt")
	d := sit(t, "record", "-port", path, "-for", "3s", recording)
	d.sees("[", " %  0:0", " left  ", "pieces")
	if screen := d.sees("bytes in", "code 0."); strings.Contains(screen, " left") {
		t.Errorf("record leaves its bar behind:\n%s", screen)
	}
	d = sit(t, "replay", recording, "-pty", filepath.Join(dir, "again"))
	d.sees("[###", " %  0:0", " left  ", "pieces sent")
	if screen := d.sees(" sent\n", "code 0."); strings.Contains(screen, " left") {
		t.Errorf("replay leaves its bar behind:\n%s", screen)
	}
	d = sit(t, "replay", recording, "-loop", "-pty", filepath.Join(dir, "again"))
	d.sees("0:01  ", "pieces sent") // with no end in sight the time that has passed
	d.types("C-c")
	d.sees("code 0.")
	d = sit(t, "find", "-port", filepath.Join(dir, "line"), "-baud", "600,9600", "-format", "8N1", "-listen", "1s", "-known", "23960")
	d.sees("[", " %  0:0", " left  listening at 600 8N1")
	if screen := d.sees("600 8N1: ", "For edge.yaml", "code 0."); strings.Contains(screen, " left") {
		t.Errorf("find leaves its bar behind:\n%s", screen)
	}
	d = sit(t, "find", "-port", filepath.Join(dir, "line"), "-baud", "9600", "-format", "8N1", "-listen", "500ms", "-known", "23960", "-json")
	if screen := d.sees(`"confirmed"`, "code 0."); strings.Contains(screen, "listening") || strings.Contains(screen, "8N1: ") {
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
