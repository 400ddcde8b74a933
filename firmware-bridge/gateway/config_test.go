package gateway_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"steelyard/configs"
	"steelyard/firmware-bridge/gateway"
	"steelyard/internal/program"
)

func TestMistakesAllAtOnce(t *testing.T) {
	t.Parallel()
	names, err := filepath.Glob("testdata/*.bad.yaml")
	if err != nil || len(names) < 3 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		t.Run(filepath.Base(name), func(t *testing.T) {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for line := range strings.Lines(string(data)) {
				if text, ok := strings.CutPrefix(line, "# want: "); ok {
					want = append(want, filepath.Base(name)+":"+strings.TrimSpace(text))
				}
			}
			_, err = gateway.Load(filepath.Base(name), data)
			if err == nil {
				t.Fatal("loaded")
			}
			got := strings.Split(err.Error(), "\n")
			for i := range max(len(got), len(want)) {
				switch {
				case i >= len(got):
					t.Errorf("missing: %s", want[i])
				case i >= len(want):
					t.Errorf("unexpected: %s", got[i])
				case !strings.HasPrefix(got[i], want[i]):
					t.Errorf("got  %s\nwant %s", got[i], want[i])
				}
			}
		})
	}
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
	if len(c.Lines) != 1 || len(c.Buses) != 1 || c.Lines[0].Raw == nil || c.Lines[0].Registers == nil {
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
		code = program.RunFunc(ctx, "firmware-bridge", program.Env{Args: args, Stdout: &stdout, Stderr: &stderr,
			Log: slog.New(slog.DiscardHandler)}, gateway.Run)
		return code, stdout.String(), stderr.String()
	}
	if code, out, errs := run(t.Context(), "-config", path, "-check"); code != program.Done || !strings.HasSuffix(out, "0 lines, 1 buses: good\n") {
		t.Errorf("-check: %d %q %q", code, out, errs)
	}
	if code, _, errs := run(t.Context(), "-config", path, "more"); code != program.WrongCall || !strings.Contains(errs, `unexpected "more"`) {
		t.Errorf("wrong call: %d %q", code, errs)
	}
	if code, _, errs := run(t.Context(), "-config", "testdata/nothing.bad.yaml"); code != program.Failed || !strings.Contains(errs, "serves nothing") {
		t.Errorf("wrong file: %d %q", code, errs)
	}
	if code, _, errs := run(t.Context(), "-config", path+".not"); code != program.Failed || !strings.Contains(errs, "check the path") {
		t.Errorf("no file: %d %q", code, errs)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if code, _, errs := run(ctx, "-config", path); code != program.Done {
		t.Errorf("stopped: %d %q", code, errs)
	}
}
