package bench_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"steelyard/firmware-bridge/modbus"
	"steelyard/firmware-bridge/serial"
	"steelyard/firmware-bridge/weighbridge"
	"steelyard/internal/config"
	"steelyard/internal/program"
	"steelyard/internal/unit"
)

// site is the part of edge.yaml that find prints, read as strictly as an edge reads it.
type site struct {
	Weighbridges []struct {
		Device   string              `yaml:"device"`
		Line     serial.Config       `yaml:"line"`
		Dialect  string              `yaml:"dialect"`
		Options  weighbridge.Options `yaml:"options"`
		Unit     unit.Unit           `yaml:"unit"`
		Division unit.Mass           `yaml:"division"`
		Max      unit.Mass           `yaml:"max"`
	} `yaml:"weighbridges"`
}

// printed loads the YAML behind "For edge.yaml".
func printed(t testing.TB, stdout string) site {
	t.Helper()
	_, text, ok := strings.Cut(stdout, "For edge.yaml:\n\n")
	if !ok {
		t.Fatalf("no lines for edge.yaml in\n%s", stdout)
	}
	var s site
	if err := config.Load("edge.yaml", []byte(text), &s, nil); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFind(t *testing.T) {
	for _, test := range []struct {
		name    string
		sends   []string // to simulate
		weight  string
		finds   []string // to find
		dialect string
		options weighbridge.Options
		unit    unit.Unit
	}{
		{"yaohua", []string{"yaohua-tf0", "-weight", "23960"}, "23960", []string{"-unit", "kg"}, "yaohua-tf0", weighbridge.Options{}, unit.KG},
		{"toledo", []string{"mt-cont", "-weight", "12340"}, "12340 kg", nil, "mt-cont", weighbridge.Options{}, unit.KG},
		{"toledo without checksum", []string{"mt-cont", "-weight", "12340", "-checksum", "none"}, "12340", nil, "mt-cont", weighbridge.Options{Checksum: "none"}, unit.KG},
		{"toledo with a plain sum", []string{"mt-cont", "-weight", "12340", "-checksum", "sum8"}, "12340", []string{"-dialect", "mt-cont"}, "mt-cont", weighbridge.Options{Checksum: "sum8"}, unit.KG},
		{"forward", []string{"yaohua-eq-fwd", "-weight", "3.000"}, "3", []string{"-dialect", "yaohua-eq-fwd"}, "yaohua-eq-fwd", weighbridge.Options{}, ""},
		{"reversed", []string{"yaohua-eq-rev", "-weight", "12340"}, "12340", nil, "yaohua-eq-rev", weighbridge.Options{}, ""},
		{"A&D", []string{"and18", "-weight", "12.34"}, "12.34", nil, "and18", weighbridge.Options{}, unit.KG},
		{"asked: sics", []string{"sics", "-weight", "12340"}, "12340", []string{"-ask"}, "sics", weighbridge.Options{}, unit.KG},
		{"asked: yaohua", []string{"yaohua-cmd", "-weight", "12340"}, "12340", []string{"-ask"}, "yaohua-cmd", weighbridge.Options{}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			path := link(t)
			r := start(t, append([]string{"simulate", "-pty", path, "-rate", "40", "-dialect"}, test.sends...)...)
			r.at()
			args := append([]string{"find", "-port", path, "-baud", "9600", "-format", "8N1", "-listen", "700ms", "-division", "20kg", "-max", "60 t"}, test.finds...)
			// The person answers the question; a script would say -known.
			stdout, stderr, code := run(t, test.weight+"\n", args...)
			if code != program.Done || !strings.Contains(stdout, "Which weight does the display show?") {
				t.Fatalf("code %d\n%s%s", code, stdout, stderr)
			}
			w := printed(t, stdout).Weighbridges[0]
			if w.Dialect != test.dialect || w.Options.Checksum != test.options.Checksum || w.Unit != test.unit ||
				w.Division != 20*unit.Kilogram || w.Max != 60*unit.Tonne || w.Line.Port != path || w.Line.Baud != 9600 {
				t.Errorf("found %+v\n%s", w, stdout)
			}
			d, ok := weighbridge.Find(w.Dialect)
			if !ok || d.Check(w.Options) != nil || w.Line.Check() != nil {
				t.Errorf("an edge would refuse %+v", w)
			}
			if code := r.stop(); code != program.Done {
				t.Errorf("simulate: code %d", code)
			}
		})
	}
}

func TestFindInScripts(t *testing.T) {
	path := link(t)
	r := start(t, "simulate", "-pty", path, "-dialect", "yaohua-tf0", "-weight", "23960", "-rate", "40")
	r.at()
	args := []string{"find", "-port", path, "-format", "8N1", "-baud", "9600", "-listen", "400ms"}
	stdout, stderr, code := run(t, "", append(args, "-known", "23960", "-json")...)
	got := objects(t, stdout)[0]
	first := got["candidates"].([]any)[0].(map[string]any)
	if code != program.Done || got["confirmed"] == nil || first["dialect"] != "yaohua-tf0" || first["checked"] != true ||
		!strings.Contains(got["yaml"].(string), "dialect: yaohua-tf0") || !strings.Contains(got["yaml"].(string), "# unit: kg, t or g") {
		t.Errorf("code %d: %s%s", code, stdout, stderr)
	}
	// Nobody confirmed it, or somebody denied it: then nothing is found.
	for _, known := range [][]string{{"-known", "23980"}, {}} {
		stdout, stderr, code = run(t, "", append(args, known...)...)
		if code != program.Failed || strings.Contains(stdout, "For edge.yaml") || !strings.Contains(stdout, "1. yaohua-tf0") {
			t.Errorf("%q: code %d: %s%s", known, code, stdout, stderr)
		}
	}
}

// An empty bridge reads zero in either direction: two dialects are right, and none is chosen.
func TestFindDoesNotGuess(t *testing.T) {
	p := terminalOf(t)
	babble(t, p, 20*time.Millisecond, func(int) []byte { return []byte("=00000000") })
	args := []string{"find", "-port", p.Path(), "-format", "8N1", "-baud", "9600", "-listen", "400ms", "-known", "0"}
	stdout, stderr, code := run(t, "", args...)
	if code != program.Failed || !strings.Contains(stderr, "put another load on the scale") ||
		!strings.Contains(stdout, "no check in the frames") || !strings.Contains(stdout, "yaohua-eq-rev") || !strings.Contains(stdout, "yaohua-eq-fwd") {
		t.Errorf("code %d: %s%s", code, stdout, stderr)
	}
}

// A terminal server has set its line, so there is one setting. Frames with a wrong checksum
// are no candidate.
func TestFindOverTCP(t *testing.T) {
	t.Parallel()
	r := start(t, "simulate", "-listen", "tcp://127.0.0.1:0", "-dialect", "yaohua-tf0", "-weight", "23960", "-rate", "40")
	args := []string{"find", "-port", r.at(), "-listen", "700ms", "-known", "23960"}
	stdout, stderr, code := run(t, "", args...)
	if code != program.Done || !strings.Contains(stdout, "dialect: yaohua-tf0") || strings.Count(stderr, "8N1") != 1 {
		t.Errorf("code %d: %s%s", code, stdout, stderr)
	}
	r.says("wrong-checksum")
	r.out.has(t, "wrong-checksum\n")
	stdout, stderr, code = run(t, "", args...)
	if code != program.Failed || !strings.Contains(stderr, "no dialect explains them") {
		t.Errorf("wrong checksums: code %d: %s%s", code, stdout, stderr)
	}
}

func TestFindNothing(t *testing.T) {
	t.Parallel()
	silent := terminalOf(t)
	args := []string{"-format", "8N1,7E1", "-baud", "9600,1200", "-listen", "100ms", "-known", "0"}
	_, stderr, code := run(t, "", append([]string{"find", "-port", silent.Path()}, args...)...)
	if code != program.Failed || !strings.Contains(stderr, "nothing is sent") || strings.Contains(stderr, "7E1") {
		t.Errorf("silence: code %d: %s", code, stderr)
	}
	noisy := terminalOf(t)
	noise := rand.New(rand.NewPCG(1, 1))
	babble(t, noisy, 10*time.Millisecond, func(int) []byte {
		b := make([]byte, 12)
		for i := range b {
			b[i] = byte(noise.Uint32())
		}
		return b
	})
	_, stderr, code = run(t, "", append([]string{"find", "-port", noisy.Path()}, args...)...)
	if code != program.Failed || !strings.Contains(stderr, "no dialect explains them") || !strings.Contains(stderr, "1200 7E1") {
		t.Errorf("noise: code %d: %s", code, stderr)
	}
	_, stderr, code = run(t, "", "find", "-port", link(t), "-known", "0")
	if code != program.Failed || !strings.Contains(stderr, "plugged in") {
		t.Errorf("no port: code %d: %s", code, stderr)
	}
}

// Without -ask not one byte is sent; with it only reads, and none with a letter that some device
// obeys.
func TestFindSendsOnlyReads(t *testing.T) {
	for _, asks := range []bool{false, true} {
		t.Run(fmt.Sprint(asks), func(t *testing.T) {
			t.Parallel()
			p := terminalOf(t)
			heard := make(chan string)
			go func() {
				var all []byte
				buf := make([]byte, 256)
				for {
					n, err := p.Read(buf)
					if err != nil {
						heard <- string(all)
						return
					}
					all = append(all, buf[:n]...)
				}
			}()
			args := []string{"find", "-port", p.Path(), "-format", "8N1", "-baud", "9600,19200", "-listen", "100ms", "-known", "0"}
			if asks {
				args = append(args, "-ask")
			}
			_, stderr, code := run(t, "", args...)
			if code != program.Failed {
				t.Errorf("code %d: %s", code, stderr)
			}
			p.Close()
			sent := <-heard
			if !asks && sent != "" {
				t.Errorf("listening sent %q", sent)
			}
			if strings.ContainsAny(sent, "TtZzCc") {
				t.Errorf("asking sent %q", sent)
			}
			for _, want := range []string{"\nW\r", "W", "SI\r\n", "READ\r\n", "\x02AB03\x03"} {
				if asks && strings.Count(sent, want) < 2 {
					t.Errorf("%q was not asked at both speeds: %q", want, sent)
				}
				sent = strings.ReplaceAll(sent, want, "")
			}
			if asks && strings.Trim(sent, "\n\r") != "" {
				t.Errorf("asking also sent %q", sent)
			}
		})
	}
}

// The order of a machine over a real line, and what stands for it when there is none.
func TestOrderOverALine(t *testing.T) {
	t.Parallel()
	r := start(t, "simulate", "-profile", "laumas-tlb", "-listen", "tcp://127.0.0.1:0", "-set", "gross=123456")
	at := r.at()
	stdout, stderr, code := run(t, "", "order", "-link", at, "-at", "40008", "-base", "40001", "-count", "2", "-display", "123456")
	if code != program.Done || !strings.Contains(stdout, "{name: weight, at: 40008, type: u32, order: ABCD}") {
		t.Errorf("code %d: %s%s", code, stdout, stderr)
	}
	_, stderr, code = run(t, "", "order", "-link", at, "-at", "900", "-count", "2")
	if code != program.Failed || !strings.Contains(stderr, modbus.Exception{Code: 2}.Error()[:20]) {
		t.Errorf("an address that is not there: code %d: %s", code, stderr)
	}
	r.stop()
	_, stderr, code = run(t, "", "order", "-link", at, "-at", "1")
	if code != program.Failed || !strings.Contains(stderr, "check the machine's power") {
		t.Errorf("nobody there: code %d: %s", code, stderr)
	}
}
