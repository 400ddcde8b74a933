package gateway_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"steelyard/configs"
	"steelyard/firmware-bridge/gateway"
	"steelyard/firmware-bridge/serial"
	"steelyard/firmware-bridge/sim"
	"steelyard/firmware-bridge/weighbridge"
	"steelyard/internal/config/configtest"
	"steelyard/internal/program"
	"steelyard/internal/unit"
)

func TestMistakesAllAtOnce(t *testing.T) {
	configtest.BadFiles(t, func(file string, data []byte) (string, error) {
		_, err := gateway.Load(file, data)
		return file, err
	})
}

func TestShippedConfiguration(t *testing.T) {
	t.Parallel()
	data, err := configs.Files.ReadFile("gateway.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c, err := gateway.Load("gateway.yaml", data)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Lines) != 2 || len(c.Buses) != 1 || c.Lines[1].Line.Baud != 9600 || c.Lines[0].Raw == nil || c.Lines[0].Registers == nil {
		t.Errorf("%+v", c)
	}
	// What is commented out is right too when it is switched on.
	var all strings.Builder
	for line := range strings.Lines(string(data)) {
		bare := strings.TrimLeft(line, " ")
		if rest, ok := strings.CutPrefix(bare, "# "); ok && strings.Contains(rest, ": ") && strings.Contains(rest, " # ") {
			line = line[:len(line)-len(bare)] + rest
		}
		all.WriteString(line)
	}
	if strings.Count(all.String(), "\n") == 0 || !strings.Contains(all.String(), "\n    patience: 2s") {
		t.Fatal("nothing was switched on")
	}
	if _, err := gateway.Load("gateway.yaml", []byte(all.String())); err != nil {
		t.Error(err)
	}
}

// A line takes from its model's file what that says, and from the gateway's what this instrument
// has otherwise. A model may be one of the operator's own, beside the gateway's file.
func TestLineByItsIndicator(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "own"), os.DirFS("../catalog/testdata/own")); err != nil {
		t.Fatal(err)
	}
	c, err := gateway.Load(filepath.Join(dir, "gateway.yaml"), []byte(`profiles: own
lines:
  - {device: one, line: {port: /dev/ttyS1}, indicator: acme-1, registers: {listen: "127.0.0.1:1501", allow: [127.0.0.1]}}
  - {device: two, line: {port: /dev/ttyS2, baud: 1200}, indicator: acme-1, options: {unit: kg}, registers: {listen: "127.0.0.1:1502", allow: [127.0.0.1]}}
  - {device: three, line: {port: /dev/ttyS3}, indicator: laumas-tlu-ascii, options: {address: 7}, registers: {listen: "127.0.0.1:1503", allow: [127.0.0.1]}}
`))
	if err != nil {
		t.Fatal(err)
	}
	type settled struct {
		Line    serial.Config
		Dialect string
		Options weighbridge.Options
	}
	var got []settled
	for _, l := range c.Lines {
		got = append(got, settled{l.Line, l.Dialect, l.Options})
	}
	layout := weighbridge.Layout{Start: weighbridge.Bytes{2}, End: weighbridge.Bytes{3}, Length: 8,
		Digits: weighbridge.Digits{Span: weighbridge.Span{From: 2, To: 7}}}
	want := []settled{
		{serial.Config{Port: "/dev/ttyS1", Baud: 4800, Format: "7E1"}, "generic", weighbridge.Options{Unit: unit.T, Layout: layout}},
		{serial.Config{Port: "/dev/ttyS2", Baud: 1200, Format: "7E1"}, "generic", weighbridge.Options{Unit: unit.KG, Layout: layout}},
		{serial.Config{Port: "/dev/ttyS3", Baud: 9600, Format: "8N1"}, "laumas-ascii", weighbridge.Options{Address: 7}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// The options beside a model reach the line: with another checksum than the instrument's no frame
// is taken, though the model alone reads it.
func TestOptionsBesideTheModelAreSpoken(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		options string
		state   uint16 // bit that must come
	}{{"", 1}, {", options: {checksum: sum8}", 1 << 9}} {
		_, line := indicator(t, sim.Toledo)
		c, err := gateway.Load("gateway.yaml", []byte("lines: [{device: w, indicator: mettler-toledo-continuous"+test.options+
			", line: {port: "+line.Path()+", baud: 9600}, registers: {listen: \"127.0.0.1:0\", allow: [127.0.0.1]}}]\n"))
		if err != nil {
			t.Fatal(err)
		}
		client := dial(t, serve(t, c)["127.0.0.1:0"])
		until(t, "the state"+test.options, func() bool {
			words, _ := client.ask(1, 3, 0, 16)
			return words[3]&test.state != 0
		})
	}
}

// The program: -check says what the file means, a wrong call and a wrong file are told apart, and
// a cancelled context is a clean end.
func TestRun(t *testing.T) {
	t.Parallel()
	_, line := machines(t, 1)
	path := filepath.Join(t.TempDir(), "gateway.yaml")
	if err := os.WriteFile(path, []byte("buses:\n  - name: b\n    link: rtu://"+line.Path()+"\n"+
		"    serve: {listen: \"127.0.0.1:0\", allow: [127.0.0.1]}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(ctx context.Context, args ...string) (code int, out, errs string) {
		var stdout, stderr bytes.Buffer
		code = program.RunMain(ctx, "firmware-bridge", program.Env{Args: args, Stdout: &stdout, Stderr: &stderr,
			Log: slog.New(slog.DiscardHandler)}, gateway.Run)
		return code, stdout.String(), stderr.String()
	}
	if code, out, errs := run(t.Context(), "-config", path, "-check"); code != program.ExitOK || !strings.HasSuffix(out, "0 lines, 1 buses: good\n") {
		t.Errorf("-check: %d %q %q", code, out, errs)
	}
	if code, _, errs := run(t.Context(), "-config", path, "more"); code != program.ExitUsage || !strings.Contains(errs, `unexpected "more"`) {
		t.Errorf("wrong call: %d %q", code, errs)
	}
	if code, _, errs := run(t.Context(), "-config", "testdata/nothing.bad.yaml"); code != program.ExitError || !strings.Contains(errs, "serves nothing") {
		t.Errorf("wrong file: %d %q", code, errs)
	}
	if code, _, errs := run(t.Context(), "-config", path+".not"); code != program.ExitError || !strings.Contains(errs, "check the path") {
		t.Errorf("no file: %d %q", code, errs)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if code, _, errs := run(ctx, "-config", path); code != program.ExitOK {
		t.Errorf("stopped: %d %q", code, errs)
	}
}
