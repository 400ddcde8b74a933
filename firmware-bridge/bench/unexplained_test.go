package bench_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"steelyard/internal/program"
)

// In this format bit 3 is 1 in motion, and this indicator sets it at rest: the weight is right, and an edge
// would weigh the lorry while it rolls. The lamps show it, so find says what the frames say and asks for them.
func TestFindAsksForTheLamps(t *testing.T) {
	t.Parallel()
	p := terminalOf(t)
	babble(t, p, 20*time.Millisecond, func(int) []byte { return []byte("\x02 8 012340\r\n") })
	args := []string{"find", "-port", p.Path(), "-format", "8N1", "-baud", "9600", "-listen", "400ms", "-known", "12340"}
	stdout, stderr, code := run(t, "", args...)
	if code != program.ExitOK {
		t.Fatalf("code %d: %s%s", code, stdout, stderr)
	}
	for _, want := range []string{"reads 12340 kg; moving, gross, zero not said", "Compare the lamps", "while the load is moved once",
		"while the weight stood still. If the display is at rest, this indicator says it the other way round", "firmware-bridge show -port " + p.Path() + " -baud 9600 -format 8N1 -indicator cardinal-225"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("does not say %q:\n%s", want, stdout)
		}
	}
	stdout, _, _ = run(t, "", append(args, "-json")...)
	if c := objects(t, stdout)[0]["confirmed"].(map[string]any); c["rest"] != "moving" || c["kind"] != "gross" || c["zero"] != "" {
		t.Errorf("%v", c)
	}
}

// A load that moves has frames of both kinds, and there is nothing to warn of.
func TestFindSeesBothStates(t *testing.T) {
	t.Parallel()
	p := terminalOf(t)
	babble(t, p, 20*time.Millisecond, func(n int) []byte {
		if n%4 == 0 {
			return []byte("US,GS,+0012100kg\r\n")
		}
		return []byte("ST,GS,+0012340kg\r\n")
	})
	stdout, stderr, code := run(t, "", "find", "-port", p.Path(), "-format", "8N1", "-baud", "9600", "-listen", "600ms", "-known", "12340")
	if code != program.ExitOK || !strings.Contains(stdout, "moving and stable, gross, zero not said") || strings.Contains(stdout, "the other way round") {
		t.Errorf("code %d: %s%s", code, stdout, stderr)
	}
}

// Seven characters, as A12(E) of two countries send them.
func TestFindSevenCharacters(t *testing.T) {
	t.Parallel()
	p := terminalOf(t)
	babble(t, p, 20*time.Millisecond, func(int) []byte { return []byte("wn001.171kg\r\n") })
	args := []string{"find", "-port", p.Path(), "-format", "8N1", "-baud", "9600", "-listen", "400ms", "-known", "1.171"}
	stdout, stderr, code := run(t, "", append(args, "-unit", "kg", "-division", "1 g", "-max", "3 kg")...)
	if code != program.ExitOK || !strings.Contains(stdout, "kind  net: an edge weighs nothing then") {
		t.Fatalf("code %d: %s%s", code, stdout, stderr)
	}
	if w := printed(t, stdout).Weighbridges[0]; w.Dialect != "yaohua-ww" || w.Options.Digits != 6 {
		t.Errorf("found %+v", w)
	}
	// Where no dialect explains them, the last lines stand there as text, with the rule that failed.
	_, stderr, code = run(t, "", append(args, "-dialect", "yaohua-a12")...)
	for _, want := range []string{"77 6E 30 30 31 2E 31 37 31 6B 67 0D 0A", "  wn001.171kg..\n", "nearest is yaohua-a12, and the length is wrong", "draft frame"} {
		if code != program.ExitError || !strings.Contains(stderr, want) {
			t.Errorf("code %d, does not say %q: %s", code, want, stderr)
		}
	}
}

// The lines that find prints of a model of one's own name its folder, so that an edge finds it.
func TestFindPrintsTheFolderOfOwnModels(t *testing.T) {
	t.Parallel()
	path := link(t)
	start(t, "simulate", "-pty", path, "-indicator", "testdata/own/acme-w200.yaml", "-rate", "40").at()
	stdout, stderr, code := run(t, "1560\n", "find", "-port", path, "-format", "8N1", "-baud", "9600", "-listen", "600ms", "-profiles", "testdata/own",
		"-indicator", "acme-w200", "-unit", "kg", "-division", "10 kg", "-max", "30 t")
	if code != program.ExitOK || !strings.Contains(stdout, `profiles: "/`) || !strings.Contains(stdout, "indicator: acme-w200") {
		t.Fatalf("code %d: %s%s", code, stdout, stderr)
	}
	_, lines, _ := strings.Cut(stdout, "For edge.yaml:\n\n")
	site := filepath.Join(t.TempDir(), "edge.yaml")
	if err := os.WriteFile(site, []byte(lines), 0o644); err != nil {
		t.Fatal(err)
	}
	if stdout, stderr, code := run(t, "", "check", site); code != program.ExitOK || !strings.Contains(stdout, "1 weighbridge") {
		t.Errorf("code %d: %s%s\n%s", code, stdout, stderr, lines)
	}
}

// Refusals show their bytes, and what is wrong with them.
func TestShowSaysWhichRuleFails(t *testing.T) {
	t.Parallel()
	p := terminalOf(t)
	babble(t, p, 20*time.Millisecond, func(int) []byte { return []byte("ST,NX,+0012340kg\r\n") })
	stdout, _, code := run(t, "", "show", "-port", p.Path(), "-dialect", "and18", "-for", "3s")
	if code != program.ExitError || !strings.Contains(stdout, "frame rejected: a status or legend is not known") || !strings.Contains(stdout, "ST,NX,+0012340kg") {
		t.Errorf("code %d: %s", code, stdout)
	}
}
