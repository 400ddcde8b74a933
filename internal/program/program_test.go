package program_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"steelyard/internal/program"
)

// The test binary plays the program when this variable is set: only a process can be killed.
const role = "STEELYARD_TEST_PROGRAM"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "":
		os.Exit(m.Run())
	case "polite":
		program.Main("edge", func(ctx context.Context, env program.Env) error {
			fmt.Fprintln(env.Stdout, "ready")
			<-ctx.Done()
			fmt.Fprintln(env.Stdout, context.Cause(ctx))
			return ctx.Err()
		})
	case "deaf":
		program.Main("edge", func(ctx context.Context, env program.Env) error {
			fmt.Fprintln(env.Stdout, "ready")
			<-ctx.Done()
			fmt.Fprintln(env.Stdout, "still closing")
			select {}
		})
	case "args":
		program.Main("edge", func(_ context.Context, env program.Env) error {
			fmt.Fprintln(env.Stdout, strings.Join(env.Args, "|"))
			return errors.New("no bridge")
		})
	}
}

type process struct {
	*exec.Cmd
	out    *bufio.Scanner
	stderr bytes.Buffer
}

func start(t *testing.T, as string, args ...string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: exec.CommandContext(t.Context(), self, args...)}
	p.Env = append(os.Environ(), role+"="+as)
	p.Stderr = &p.stderr
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewScanner(out)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *process) line(t *testing.T) string {
	t.Helper()
	if !p.out.Scan() {
		t.Fatalf("no more output: %v", p.out.Err())
	}
	return p.out.Text()
}

func TestSignalStopsCleanlyWithItsNameAsCause(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		p := start(t, "polite")
		p.line(t)
		if err := p.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		if got, want := p.line(t), sig.String(); !strings.HasPrefix(got, want) {
			t.Errorf("cause: got %q, want it to begin with %q", got, want)
		}
		if err := p.Wait(); err != nil {
			t.Errorf("%v: got %v, want exit 0; stderr %s", sig, err, &p.stderr)
		}
		var entry struct{ Msg, Cause string }
		if err := json.Unmarshal(p.stderr.Bytes(), &entry); err != nil || entry.Msg != "stopping" {
			t.Errorf("log: got %s (%v), want one JSON line that says stopping", &p.stderr, err)
		}
	}
}

func TestSecondSignalKills(t *testing.T) {
	p := start(t, "deaf")
	p.line(t)
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got, want := p.line(t), "still closing"; got != want {
		t.Fatalf("got %q, want %q", got, want)
	}
	// The signals are given back by a goroutine of their own, so a second one may still be
	// caught. It is sent until the process is gone, as a person would: a storm of signals can hit the
	// race detector's runtime while it dies of the first.
	gone := make(chan error, 1)
	go func() { gone <- p.Wait() }()
	for {
		p.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-gone:
			exit, ok := errors.AsType[*exec.ExitError](err)
			if !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
				t.Errorf("got %v, want death by SIGTERM", err)
			}
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func TestMainPassesArgumentsAndExitCode(t *testing.T) {
	p := start(t, "args", "run", "-c", "edge.yaml")
	if got, want := p.line(t), "run|-c|edge.yaml"; got != want {
		t.Errorf("arguments: got %q, want %q", got, want)
	}
	err := p.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 {
		t.Errorf("got %v, want exit 1", err)
	}
	if got, want := p.stderr.String(), "edge: no bridge\n"; got != want {
		t.Errorf("stderr: got %q, want %q", got, want)
	}
}

func TestExitCodes(t *testing.T) {
	real := errors.New("journal: close: input/output error")
	cancelled, cancel := context.WithCancelCause(context.Background())
	cause := errors.New("terminated signal received")
	cancel(cause)
	for _, tc := range []struct {
		name   string
		ctx    context.Context
		err    error
		code   int
		stderr string // after the log line of a stop
	}{
		{"clean", context.Background(), nil, 0, ""},
		{"error", context.Background(), real, 1, "edge: journal: close: input/output error\n"},
		{"many", context.Background(), errors.Join(real, errors.New("two")), 1, "edge: journal: close: input/output error\nedge: two\n"},
		{"usage", context.Background(), program.Usage("unknown command %q; try: run", "rnu"), 2, "edge: unknown command \"rnu\"; try: run\n"},
		{"stopped", cancelled, fmt.Errorf("serve: %w", context.Canceled), 0, ""},
		{"stopped by the cause", cancelled, cause, 0, ""},
		{"stopped twice", cancelled, errors.Join(context.Canceled, cause), 0, ""},
		{"stopped, but badly", cancelled, errors.Join(context.Canceled, real), 1, "edge: context canceled\nedge: journal: close: input/output error\n"},
		{"without a cancellation", context.Background(), context.Canceled, 1, "edge: context canceled\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var stderr bytes.Buffer
			env := program.Env{Stdout: io.Discard, Stderr: &stderr}
			code := program.RunMain(tc.ctx, "edge", env, func(context.Context, program.Env) error { return tc.err })
			if code != tc.code {
				t.Errorf("exit code: got %d, want %d", code, tc.code)
			}
			got := stderr.String()
			if tc.ctx.Err() != nil {
				_, got, _ = strings.Cut(got, "}\n")
			}
			if got != tc.stderr {
				t.Errorf("stderr: got %q, want %q", got, tc.stderr)
			}
		})
	}
}

func TestParse(t *testing.T) {
	run := func(args ...string) (code int, stdout, stderr string) {
		var out, errs bytes.Buffer
		env := program.Env{Args: args, Stdout: &out, Stderr: &errs}
		code = program.RunMain(t.Context(), "edge", env, func(_ context.Context, env program.Env) error {
			flags := flag.NewFlagSet("run", flag.ExitOnError)
			file := flags.String("c", "edge.yaml", "the configuration `file`")
			rest, err := env.Parse(flags, "edge run [flags]", env.Args)
			if err == nil {
				fmt.Fprintln(env.Stdout, *file, rest)
			}
			return err
		})
		return code, out.String(), errs.String()
	}
	help := "usage: edge run [flags]\n  -c file\n    \tthe configuration file (default \"edge.yaml\")\n"
	if code, out, errs := run("-c", "x.yaml", "now"); code != 0 || out != "x.yaml [now]\n" || errs != "" {
		t.Errorf("good call: got %d %q %q", code, out, errs)
	}
	if code, out, errs := run("-h"); code != 0 || out != help || errs != "" {
		t.Errorf("help: got %d %q %q, want 0 and %q", code, out, errs, help)
	}
	want := "edge: flag provided but not defined: -x\n" + help
	if code, out, errs := run("-x"); code != 2 || out != "" || errs != want {
		t.Errorf("wrong flag: got %d %q %q, want 2 and %q", code, out, errs, want)
	}
}

func TestLevelTurnsTheLogUp(t *testing.T) {
	var stderr bytes.Buffer
	program.RunMain(t.Context(), "edge", program.Env{Stderr: &stderr}, func(_ context.Context, env program.Env) error {
		env.Log.Debug("unheard")
		env.Level.Set(-4)
		env.Log.Debug("heard")
		return nil
	})
	if got := stderr.String(); strings.Contains(got, "unheard") || !strings.Contains(got, "heard") {
		t.Errorf("got %q, want only the second line", got)
	}
}

// TestDurationsHaveAUnit: a log that people collect says "after":"1.5s", not nanoseconds without a unit.
func TestDurationsHaveAUnit(t *testing.T) {
	var out bytes.Buffer
	code := program.RunMain(t.Context(), "edge", program.Env{Stderr: &out}, func(_ context.Context, env program.Env) error {
		env.Log.Info("broker connected", "after", 1500*time.Millisecond)
		return nil
	})
	if want := `"after":"1.5s"`; code != program.ExitOK || !strings.Contains(out.String(), want) {
		t.Errorf("got %d %s, want %s", code, out.String(), want)
	}
}
