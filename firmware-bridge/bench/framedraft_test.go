package bench_test

import (
	"bytes"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"steelyard/firmware-bridge/bench"
	"steelyard/firmware-bridge/catalog"
	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/weighbridge"
	"steelyard/internal/program"
)

// hexFile writes pieces of a line as lines of hexadecimal.
func hexFile(t testing.TB, frames ...[]byte) string {
	t.Helper()
	var text strings.Builder
	for _, f := range frames {
		fmt.Fprintf(&text, "% X\n", f)
	}
	path := filepath.Join(t.TempDir(), "came.txt")
	if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// reads returns the reader of a draft: how it reads a frame, "" where it refuses it.
func reads(t testing.TB, text string) func([]byte) string {
	t.Helper()
	m, err := catalog.Read("own-indicator.yaml", []byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	d, o := m.Indicator.Speaks()
	return func(frame []byte) string {
		value := ""
		decoder := weighbridge.NewDecoder(d, o)
		emit := func(w device.Weight) {
			if w.HasValue {
				value = w.Value.String()
			}
		}
		decoder.Write(time.Time{}, frame, emit)
		decoder.Flush(emit)
		return value
	}
}

// Every frame of the catalogue that shows a weight, as if nobody had described it: the draft finds the weight
// and proves itself, but where the sign stands apart from the digits and where parity is in bit 7.
func TestDraftFindsTheWeightOfEveryFormat(t *testing.T) {
	known, err := catalog.Open("")
	if err != nil {
		t.Fatal(err)
	}
	drafted := 0
	for _, m := range known.Indicators() {
		for _, test := range m.Tests {
			value := test.Expect["value"]
			frame, err := test.Bytes()
			if value == "" || value == "none" || err != nil {
				continue
			}
			stdout, stderr, code := run(t, "", "draft", "frame", "-known", value, hexFile(t, slices.Repeat([][]byte{frame}, 12)...))
			switch {
			case code == program.ExitOK:
				// Between frames it may have been cut otherwise, so three of them are sent.
				if got := reads(t, stdout)(slices.Repeat(frame, 3)); !equal(got, value) {
					t.Errorf("%s: reads %s, want %s", m.Name, got, value)
				}
				drafted++
			case strings.HasPrefix(value, "-") && strings.Contains(stderr, "the sign may stand apart"):
			case frame[0] == 0x82 && strings.Contains(stderr, "is the line 7E1"):
			default:
				t.Errorf("%s: %s is not found in % X: %s", m.Name, value, frame, stderr)
			}
		}
	}
	if drafted < 80 {
		t.Errorf("only %d frames were drafted", drafted)
	}
}

// equal reports whether two decimals are the same number.
func equal(a, b string) bool {
	x, okX := new(big.Rat).SetString(a)
	y, okY := new(big.Rat).SetString(b)
	return okX && okY && x.Cmp(y) == 0
}

// From a load that was moved once the draft has the checksum, so it reads weights that were never seen and
// refuses damaged ones.
func TestDraftFindsTheChecksum(t *testing.T) {
	tf0 := func(kg int) []byte {
		body := fmt.Sprintf("+%06d0", kg)
		sum := byte(0)
		for _, c := range []byte(body) {
			sum ^= c
		}
		return fmt.Appendf(nil, "\x02%s%02X\x03", body, sum)
	}
	frames := slices.Repeat([][]byte{tf0(12340)}, 20)
	for kg := 12340; kg > 0; kg -= 1020 {
		frames = append(frames, tf0(kg))
	}
	stdout, stderr, code := run(t, "", "draft", "frame", "-known", "12340", hexFile(t, frames...))
	if code != program.ExitOK || !strings.Contains(stdout, "checksum: {kind: xor, from: 2, to: 9, at: 10, encoding: hex}") || !strings.Contains(stderr, "C a checksum") {
		t.Fatalf("code %d\n%s%s", code, stdout, stderr)
	}
	read := reads(t, stdout)
	if got := read(tf0(56780)); got != "56780" {
		t.Errorf("a weight that was never seen reads %q", got)
	}
	if got := read(bytes.Replace(tf0(56780), []byte("567"), []byte("667"), 1)); got != "" {
		t.Errorf("a damaged frame reads %q", got)
	}
}

// What a frame says beside the weight is held fast: with a tare on, the next frames say NT, and a draft that
// let them pass would take net for gross.
func TestDraftHoldsWhatItDoesNotKnow(t *testing.T) {
	frames := slices.Repeat([][]byte{[]byte("ST,GS,+0012340kg\r\n")}, 20)
	frames = append(frames, []byte("US,GS,+0012100kg\r\n"), []byte("US,GS,+0012000kg\r\n"))
	stdout, stderr, code := run(t, "", "draft", "frame", "-known", "12340", hexFile(t, frames...))
	if code != program.ExitOK || !strings.Contains(stderr, "22 frames of 18 bytes; the layout reads 22") {
		t.Fatalf("code %d\n%s%s", code, stdout, stderr)
	}
	if !strings.Contains(stdout, `{at: 1, is: {"S": "", "U": ""}}  # whenever the weight had changed it was "U": unstable, and the other stable?`) || !strings.Contains(stderr, "read as well by and18") {
		t.Errorf("%s%s", stdout, stderr)
	}
	read := reads(t, stdout)
	for frame, want := range map[string]string{"US,GS,+0009000kg\r\n": "9000", "ST,NT,+0004340kg\r\n": "", "OL,GS,+0099999kg\r\n": "", "ST,GS,+0012340lb\r\n": "12340", "ST,GS,+0012340pc\r\n": ""} {
		if got := read([]byte(frame)); got != want {
			t.Errorf("%q reads %q, want %q", frame, got, want)
		}
	}
}

// Two weights settle what one leaves open, and a weight that is nowhere is said with the frame.
func TestDraftFromSeveralWeights(t *testing.T) {
	net := func(net, gross int) []byte { return fmt.Appendf(nil, "\x02N%06d G%06d\r\n", net, gross) }
	one := hexFile(t, slices.Repeat([][]byte{net(12340, 12340)}, 12)...)
	two := hexFile(t, slices.Repeat([][]byte{net(4340, 12340)}, 12)...)
	stdout, stderr, code := run(t, "", "draft", "frame", "-known", "12340", one)
	if code != program.ExitOK || !strings.Contains(stdout, "twin: {from: 11, to: 16}") || reads(t, stdout)(net(4340, 12340)) != "" {
		t.Errorf("one weight: code %d\n%s%s", code, stdout, stderr)
	}
	stdout, stderr, code = run(t, "", "draft", "frame", "12340="+one, "12340="+two)
	if code != program.ExitOK || !strings.Contains(stdout, "digits: {from: 11, to: 16") || strings.Contains(stdout, "twin") || reads(t, stdout)(net(3000, 12000)) != "12000" {
		t.Errorf("two weights: code %d\n%s%s", code, stdout, stderr)
	}
	_, stderr, code = run(t, "", "draft", "frame", "-known", "777", one)
	if code != program.ExitError || !strings.Contains(stderr, "777 stands at no one place in the frames of 18 bytes") || !strings.Contains(stderr, "02 4E 30 31") {
		t.Errorf("a wrong weight: code %d: %s", code, stderr)
	}
	noise := make([]byte, 400)
	for i := range noise {
		noise[i] = byte(i * i * 7 >> 3)
	}
	_, stderr, code = run(t, "", "draft", "frame", "-known", "777", hexFile(t, noise))
	if code != program.ExitError || !strings.Contains(stderr, "nothing in them comes again") {
		t.Errorf("noise: code %d: %s", code, stderr)
	}
}

// Beside the machine: the draft is written, checks good, and the printed lines are a site that checks good.
func TestDraftBesideTheMachine(t *testing.T) {
	t.Parallel()
	p := terminalOf(t)
	babble(t, p, 10*time.Millisecond, func(n int) []byte { return []byte("wn001.171kg\r\n") })
	folder := t.TempDir()
	out := filepath.Join(folder, "acme-w200.yaml")
	args := []string{"draft", "frame", "-port", p.Path(), "-known", "1.171", "-for", "1s", "-division", "1 g", "-max", "3 kg", "-unit", "kg", "-out", out}
	stdout, stderr, code := run(t, "", args...)
	if code != program.ExitOK || !strings.Contains(stderr, "W  W  W") {
		t.Fatalf("code %d\n%s%s", code, stdout, stderr)
	}
	_, lines, _ := strings.Cut(stdout, "For edge.yaml:\n\n")
	site := filepath.Join(t.TempDir(), "edge.yaml")
	if err := os.WriteFile(site, []byte(lines), 0o644); err != nil {
		t.Fatal(err)
	}
	if stdout, stderr, code := run(t, "", "check", out, site); code != program.ExitOK || !strings.Contains(stdout, "1 weighbridge") || !strings.Contains(stdout, "indicator acme-w200, dialect generic") {
		t.Errorf("code %d\n%s%s\n%s", code, stdout, stderr, lines)
	}
	if _, stderr, code := run(t, "", args...); code != program.ExitError || !strings.Contains(stderr, "overwrites nothing") {
		t.Errorf("again: code %d: %s", code, stderr)
	}
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"-port", p.Path()}, "needs the weight on the display"},
		{[]string{"-known", "1"}, "either a port"},
		{[]string{"-known", "1", "-port", p.Path(), "-request", "5A"}, "known to read only"},
		{[]string{"-known", "1", "-port", p.Path(), "-out", "Own File.yaml"}, "lower-case letters"},
		{[]string{"x.txt"}, "which weight did the display show"},
	} {
		if _, stderr, code := run(t, "", append([]string{"draft", "frame"}, test.args...)...); code != program.ExitUsage || !strings.Contains(stderr, test.want) {
			t.Errorf("%q: code %d: %s", test.args, code, stderr)
		}
	}
}

// An indicator of its own layout that must be asked: by a question of the closed list, and no other.
func TestDraftAsks(t *testing.T) {
	t.Parallel()
	path := link(t)
	start(t, "simulate", "-pty", path, "-indicator", "../catalog/testdata/cases/tscale-asked.yaml", "-weight", "123.456").at()
	stdout, stderr, code := run(t, "", "draft", "frame", "-port", path, "-known", "123.456", "-request", "52 57 0D 0A", "-for", "3s")
	if code != program.ExitOK || !strings.Contains(stdout, `request: "52 57 0D 0A"`) || reads(t, stdout)([]byte("ST,GS,+ 123.456  g\r\n")) != "123.456" {
		t.Errorf("code %d\n%s%s", code, stdout, stderr)
	}
	stdout, stderr, code = run(t, "", "show", "-port", path, "-indicator", "../catalog/testdata/cases/tscale-asked.yaml", "-count", "2", "-for", "10s")
	if code != program.ExitOK || !strings.Contains(stdout, "123.456 g  gross  stable") {
		t.Errorf("show: code %d\n%s%s", code, stdout, stderr)
	}
}

// Bytes of a line are anything: a draft may fail, and never in another way than by an error.
func FuzzDraftFrame(f *testing.F) {
	f.Add([]byte(strings.Repeat("ST,GS,+0012340kg\r\n", 12)), "12340")
	f.Add([]byte(strings.Repeat("\x02+01234001F\x03", 12)), "12340")
	f.Add([]byte(strings.Repeat("=0432100", 12)), "1234.0")
	f.Add([]byte(strings.Repeat("\xFF\x44\x34\x12\x00", 12)), "1.234")
	f.Fuzz(func(t *testing.T, came []byte, known string) {
		if len(came) > 4096 || len(known) > 20 {
			return
		}
		if text, err := bench.Draft(came, known); err == nil {
			reads(t, text)
		}
	})
}
