package bench_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"steelyard/firmware-bridge/bench"
	"steelyard/firmware-bridge/catalog"
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
		Model    string              `yaml:"indicator"`
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
	for i := range s.Weighbridges {
		if w := &s.Weighbridges[i]; w.Model != "" {
			m, err := catalog.Read(devices+w.Model+".yaml", read(t, devices+w.Model+".yaml"))
			if err != nil {
				t.Fatal(err)
			}
			w.Dialect, w.Options = m.Indicator.Dialect, m.Indicator.Options
			w.Unit = cmp.Or(w.Unit, m.Indicator.Unit)
		}
	}
	return s
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestFind(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		sends   []string // to simulate
		weight  string
		finds   []string // to find
		dialect string
		options weighbridge.Options
		unit    unit.Unit
		model   string // empty: several fit, or none
	}{
		{"yaohua", []string{"yaohua-tf0", "-weight", "23960"}, "23960", []string{"-unit", "kg"}, "yaohua-tf0", weighbridge.Options{}, unit.KG, ""},
		{"toledo", []string{"mt-cont", "-weight", "12340"}, "12340 kg", nil, "mt-cont", weighbridge.Options{}, unit.KG, "mettler-toledo-continuous"},
		{"toledo without checksum", []string{"mt-cont", "-weight", "12340", "-checksum", "none"}, "12340", nil, "mt-cont", weighbridge.Options{Checksum: "none"}, unit.KG, "mettler-toledo-continuous-plain"},
		{"toledo with a plain sum", []string{"mt-cont", "-weight", "12340", "-checksum", "sum8"}, "12340", []string{"-dialect", "mt-cont"}, "mt-cont", weighbridge.Options{Checksum: "sum8"}, unit.KG, ""},
		{"forward", []string{"yaohua-eq-fwd", "-weight", "3.000"}, "3", []string{"-dialect", "yaohua-eq-fwd"}, "yaohua-eq-fwd", weighbridge.Options{}, "", "yaohua-xk3190-a26-format2"},
		{"reversed", []string{"yaohua-eq-rev", "-weight", "12340"}, "12340", nil, "yaohua-eq-rev", weighbridge.Options{}, "", ""},
		{"A&D", []string{"and18", "-weight", "12.34"}, "12.34", nil, "and18", weighbridge.Options{}, unit.KG, ""},
		{"asked: sics", []string{"sics", "-weight", "12340"}, "12340", []string{"-ask"}, "sics", weighbridge.Options{}, unit.KG, "mettler-sics"},
		{"asked: yaohua", []string{"yaohua-cmd", "-weight", "12340"}, "12340", []string{"-ask"}, "yaohua-cmd", weighbridge.Options{}, "", ""},
		{"asked: one model", []string{"yaohua-cmd", "-weight", "12340"}, "12340", []string{"-ask", "-indicator", "yaohua-xk3190-a9-command"}, "yaohua-cmd", weighbridge.Options{}, "", "yaohua-xk3190-a9-command"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			path := link(t)
			r := start(t, append([]string{"simulate", "-pty", path, "-rate", "40", "-dialect"}, test.sends...)...)
			r.at()
			args := append([]string{"find", "-port", path, "-baud", "9600", "-format", "8N1", "-listen", "700ms", "-division", "20kg", "-max", "60 t"}, test.finds...)
			// The person answers the question; a script would say -known.
			stdout, stderr, code := run(t, test.weight+"\n", args...)
			if code != program.ExitOK || !strings.Contains(stdout, "Which weight does the display show?") {
				t.Fatalf("code %d\n%s%s", code, stdout, stderr)
			}
			w := printed(t, stdout).Weighbridges[0]
			if w.Dialect != test.dialect || w.Model != test.model || cmp.Or(w.Options.Checksum, "mt7") != cmp.Or(test.options.Checksum, "mt7") || w.Unit != test.unit ||
				w.Division != 20*unit.Kilogram || w.Max != 60*unit.Tonne || w.Line.Port != path || w.Line.Baud != 9600 {
				t.Errorf("found %+v\n%s", w, stdout)
			}
			d, ok := weighbridge.Find(w.Dialect)
			if !ok || d.Check(w.Options) != nil || w.Line.Check() != nil {
				t.Errorf("an edge would refuse %+v", w)
			}
			if code := r.stop(); code != program.ExitOK {
				t.Errorf("simulate: code %d", code)
			}
		})
	}
}

func TestFindInScripts(t *testing.T) {
	t.Parallel()
	path := link(t)
	r := start(t, "simulate", "-pty", path, "-dialect", "yaohua-tf0", "-weight", "23960", "-rate", "40")
	r.at()
	args := []string{"find", "-port", path, "-format", "8N1", "-baud", "9600", "-listen", "400ms"}
	stdout, stderr, code := run(t, "", append(args, "-known", "23960", "-json")...)
	if code != program.ExitOK {
		t.Fatalf("code %d: %s%s", code, stdout, stderr)
	}
	got := objects(t, stdout)[0]
	first := got["candidates"].([]any)[0].(map[string]any)
	if code != program.ExitOK || got["confirmed"] == nil || first["dialect"] != "yaohua-tf0" || first["checked"] != true ||
		!strings.Contains(got["yaml"].(string), "dialect: yaohua-tf0") || !strings.Contains(got["yaml"].(string), "# unit: kg, t or g") {
		t.Errorf("code %d: %s%s", code, stdout, stderr)
	}
	// Nobody confirmed it, or somebody denied it: then nothing is found.
	for _, known := range [][]string{{"-known", "23980"}, {}} {
		stdout, stderr, code = run(t, "", append(args, known...)...)
		if code != program.ExitError || strings.Contains(stdout, "For edge.yaml") || !strings.Contains(stdout, "1. yaohua-tf0") {
			t.Errorf("%q: code %d: %s%s", known, code, stdout, stderr)
		}
	}
}

// Models are named by what the line brings: all that fit are listed, one that was asked for is
// looked for alone, and a file of the operator's own counts like a shipped one.
func TestFindNamesModels(t *testing.T) {
	t.Parallel()
	path := link(t)
	r := start(t, "simulate", "-pty", path, "-dialect", "yaohua-tf0", "-weight", "23960", "-rate", "40")
	r.at()
	args := []string{"find", "-port", path, "-format", "8N1", "-baud", "9600", "-listen", "400ms", "-known", "23960"}
	stdout, stderr, code := run(t, "", args...)
	for _, want := range []string{"   spoken by keli-d2008, keli-xk3118-k9, ", "    dialect: yaohua-tf0\n", "    # indicator: keli-d2008\n"} {
		if code != program.ExitOK || !strings.Contains(stdout, want) {
			t.Errorf("%q is missing: code %d: %s%s", want, code, stdout, stderr)
		}
	}
	if strings.Contains(stdout, "generic-frame") {
		t.Errorf("a template that reads the same as a dialect is listed:\n%s", stdout)
	}
	stdout, stderr, code = run(t, "", append(args, "-indicator", "yaohua-xk3190-ds3")...)
	if code != program.ExitOK || !strings.Contains(stdout, "    indicator: yaohua-xk3190-ds3\n") || strings.Contains(stdout, "2. ") {
		t.Errorf("one model: code %d: %s%s", code, stdout, stderr)
	}
	if _, stderr, code = run(t, "", append(args, "-indicator", "toledo-8217")...); code != program.ExitError || !strings.Contains(stderr, "no dialect explains them") {
		t.Errorf("another model: code %d: %s", code, stderr)
	}
	if _, stderr, code = run(t, "", append(args, "-indicator", "toledo-8217", "-dialect", "sics")...); code != program.ExitUsage {
		t.Errorf("a model and a dialect: code %d: %s", code, stderr)
	}
}

// A frame that no dialect knows is found by the file in which an operator described it.
func TestFindByAnOwnLayout(t *testing.T) {
	t.Parallel()
	own := t.TempDir()
	file := strings.NewReplacer("generic-frame", "acme-1", `start: "02"`, `start: "7E"`, `"02 `, `"7E `).Replace(string(read(t, devices+"generic-frame.yaml")))
	if err := os.WriteFile(filepath.Join(own, "acme-1.yaml"), []byte(file), 0o644); err != nil {
		t.Fatal(err)
	}
	p := terminalOf(t)
	babble(t, p, 20*time.Millisecond, func(int) []byte { return []byte("\x7E+02396001" + "5\x03") })
	args := []string{"find", "-port", p.Path(), "-format", "8N1", "-baud", "9600", "-listen", "400ms", "-known", "23960"}
	stdout, stderr, code := run(t, "", append(args, "-profiles", own)...)
	if code != program.ExitOK || !strings.Contains(stdout, "    indicator: acme-1\n") || !strings.Contains(stdout, "# unit: kg, as the indicator's file says") {
		t.Errorf("code %d: %s%s", code, stdout, stderr)
	}
	if stdout, _, code = run(t, "", args...); code != program.ExitError {
		t.Errorf("without the file: code %d: %s", code, stdout)
	}
}

// adapter is an adapter whose receiver works with one state of the control lines only.
type adapter struct {
	tried []string
	path  string
	works string // "dtr rts"; empty: it is silent in every state
	bare  bool   // it has no control lines
}

func (a *adapter) open(ctx context.Context, c serial.Config) (io.ReadWriteCloser, error) {
	state := c.DTR + " " + c.RTS
	if n := len(a.tried); n == 0 || a.tried[n-1] != state {
		a.tried = append(a.tried, state)
	}
	if a.bare && state != " " {
		return nil, fmt.Errorf("dtr: %w", serial.ErrNoControl)
	}
	c.DTR, c.RTS = "", "" // a pseudo-terminal has none
	port, err := serial.OpenContext(ctx, c)
	if err != nil || state == a.works {
		return port, err
	}
	return deaf{port}, nil
}

// deaf hears nothing.
type deaf struct{ *serial.Port }

func (d deaf) Read(b []byte) (int, error) {
	if _, err := d.Port.Read(b); err != nil {
		return 0, err
	}
	time.Sleep(time.Millisecond)
	return 0, os.ErrDeadlineExceeded
}

// Where nothing is heard the control lines are tried before anything is asked, and what was found
// with one state of them carries it into the lines for edge.yaml.
func TestFindTriesControlLines(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		is    adapter
		args  []string
		tried []string
		line  string // of edge.yaml; empty: nothing is found
		says  string
	}{
		{"as it is", adapter{works: " "}, nil, []string{" "}, "format: 8N1}", "9600 8N1: "},
		{"receives with RTS off", adapter{works: "on off"}, nil, []string{" ", "on off"}, "format: 8N1, dtr: on, rts: off}", "9600 8N1 DTR on RTS off: "},
		{"powered by neither", adapter{works: "off off"}, nil, []string{" ", "on off", "off on", "off off"}, "format: 8N1, dtr: off, rts: off}", ""},
		{"silent", adapter{}, nil, []string{" ", "on off", "off on", "off off"}, "", "nothing is sent"},
		{"silent and asked", adapter{}, []string{"-ask"}, []string{" ", "on off", "off on", "off off", " "}, "", "nothing answers"},
		{"given", adapter{works: "on off"}, []string{"-dtr", "off"}, []string{"off "}, "", "nothing is sent"},
		{"without any", adapter{bare: true}, nil, []string{" ", "on off"}, "", "has no control lines to try"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.is.path = link(t)
			start(t, "simulate", "-pty", test.is.path, "-dialect", "yaohua-tf0", "-weight", "23960", "-rate", "50").at()
			var out, errs bytes.Buffer
			env := program.Env{Args: append([]string{"find", "-port", test.is.path, "-baud", "9600", "-format", "8N1", "-listen", "400ms", "-known", "23960"}, test.args...),
				Stdout: &out, Stderr: &errs, Log: slog.New(slog.DiscardHandler)}
			err := bench.FindOver(t.Context(), env, test.is.open)
			if !slices.Equal(test.is.tried, test.tried) {
				t.Errorf("tried %q, want %q", test.is.tried, test.tried)
			}
			if (err == nil) != (test.line != "") || !strings.Contains(errs.String()+fmt.Sprint(err), test.says) {
				t.Fatalf("%v: %s%s", err, &out, &errs)
			}
			if test.line != "" && (!strings.Contains(out.String(), test.line) || printed(t, out.String()).Weighbridges[0].Line.Check() != nil) {
				t.Errorf("%q is missing, or an edge would refuse it:\n%s", test.line, &out)
			}
		})
	}
	// On a real line without control lines they are passed over politely; one that was named is a
	// mistake.
	p := terminalOf(t)
	_, stderr, code := run(t, "", "find", "-port", p.Path(), "-baud", "9600", "-format", "8N1", "-listen", "50ms", "-known", "0")
	if code != program.ExitError || !strings.Contains(stderr, "has no control lines to try") || !strings.Contains(stderr, "nothing is sent") {
		t.Errorf("code %d: %s", code, stderr)
	}
	_, stderr, code = run(t, "", "find", "-port", p.Path(), "-listen", "50ms", "-known", "0", "-rts", "off")
	if code != program.ExitError || !strings.Contains(stderr, "remove dtr and rts") {
		t.Errorf("code %d: %s", code, stderr)
	}
}

// An indicator that sends seldom is listened to for longer, at the one speed at which its frames are
// frames; where nothing is a frame nobody waits longer than for noise.
func TestFindWaitsForAnIndicatorThatSendsSeldom(t *testing.T) {
	t.Parallel()
	path := link(t)
	start(t, "simulate", "-pty", path, "-dialect", "yaohua-tf0", "-weight", "23960", "-rate", "5").at()
	args := []string{"find", "-port", path, "-format", "8N1", "-baud", "9600", "-known", "23960", "-listen"}
	stdout, stderr, code := run(t, "", append(args, "500ms")...) // 2 or 3 frames at once
	if code != program.ExitOK || !strings.Contains(stdout, "dialect: yaohua-tf0") {
		t.Errorf("code %d: %s%s", code, stdout, stderr)
	}
}

// An empty bridge reads zero in either direction: two dialects are right, and none is chosen.
func TestFindDoesNotGuess(t *testing.T) {
	t.Parallel()
	p := terminalOf(t)
	babble(t, p, 20*time.Millisecond, func(int) []byte { return []byte("=00000000") })
	args := []string{"find", "-port", p.Path(), "-format", "8N1", "-baud", "9600", "-listen", "400ms", "-known", "0"}
	stdout, stderr, code := run(t, "", args...)
	if code != program.ExitError || !strings.Contains(stderr, "put another load on the scale") ||
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
	// Its speed and format are set there, so nothing is said of them here.
	if code != program.ExitOK || !strings.Contains(stdout, "dialect: yaohua-tf0") || strings.Count(stderr, "bytes") != 1 || strings.Contains(stdout+stderr, "8N1") || strings.Contains(stdout+stderr, "baud") {
		t.Errorf("code %d: %s%s", code, stdout, stderr)
	}
	r.says("wrong-checksum")
	r.out.has(t, "wrong-checksum\n")
	stdout, stderr, code = run(t, "", args...)
	if code != program.ExitError || !strings.Contains(stderr, "no dialect explains them: nearest is yaohua-tf0, and the checksum is wrong") || strings.Contains(stderr, "baud") {
		t.Errorf("wrong checksums: code %d: %s%s", code, stdout, stderr)
	}
}

func TestFindNothing(t *testing.T) {
	t.Parallel()
	silent := terminalOf(t)
	args := []string{"-format", "8N1,7E1", "-baud", "9600,1200", "-listen", "100ms", "-known", "0"}
	_, stderr, code := run(t, "", append([]string{"find", "-port", silent.Path()}, args...)...)
	if code != program.ExitError || !strings.Contains(stderr, "nothing is sent") || strings.Contains(stderr, "7E1") {
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
	if code != program.ExitError || !strings.Contains(stderr, "no dialect explains them") || !strings.Contains(stderr, "1200 7E1") {
		t.Errorf("noise: code %d: %s", code, stderr)
	}
	_, stderr, code = run(t, "", "find", "-port", link(t), "-known", "0")
	if code != program.ExitError || !strings.Contains(stderr, "plugged in") {
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
			if code != program.ExitError {
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
			// Those that end as another begins are taken out first.
			for _, want := range []string{"READ\r\n", "SUI\r\n", "SI\r\n", "\x02AB03\x03", "$", "\nW\r", "W\r", "W"} {
				if asks && strings.Count(sent, want) < 2 {
					t.Errorf("%q was not asked at both speeds: %q", want, sent)
				}
				sent = strings.ReplaceAll(sent, want, "")
			}
			if asks && sent != "" {
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
	if code != program.ExitOK || !strings.Contains(stdout, "{name: weight, at: 40008, type: u32, order: ABCD}") {
		t.Errorf("code %d: %s%s", code, stdout, stderr)
	}
	_, stderr, code = run(t, "", "order", "-link", at, "-at", "900", "-count", "2")
	if code != program.ExitError || !strings.Contains(stderr, modbus.Exception{Code: 2}.Error()[:20]) {
		t.Errorf("an address that is not there: code %d: %s", code, stderr)
	}
	r.stop()
	_, stderr, code = run(t, "", "order", "-link", at, "-at", "1")
	if code != program.ExitError || !strings.Contains(stderr, "check the machine's power") {
		t.Errorf("nobody there: code %d: %s", code, stderr)
	}
}
