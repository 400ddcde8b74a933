// Package program is the frame of every main: [Main] runs a program with signals, a log and an exit
// code. Beside it: flags, the signing key, the data folder, the clock's check, HTTP and the version.
//
// In: the name of a program and its run function. Out: an exit code, and every error on a line of
// its own on standard error: 0 done or stopped by a signal, 1 an error, 2 called wrongly.
// It promises that SIGINT and SIGTERM cancel the context with the signal as cause, that a second
// one kills, and that run is waited for. It does not parse configuration, restart anything or
// catch panics: a panic ends the process and the service manager starts it again.
package program

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// The exit codes, for scripts and service managers.
const (
	ExitOK    = 0
	ExitError = 1
	ExitUsage = 2
)

// Env is what a program has of the world. Tests make their own.
type Env struct {
	Args   []string // without the program's name
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	Log    *slog.Logger   // to Stderr
	Level  *slog.LevelVar // of Log; for a flag such as -v. nil when the test brings a Log of its own
}

// Main is the body of a main function: it runs, says what went wrong and exits.
func Main(name string, run func(context.Context, Env) error) {
	// NotifyContext cancels with the signal as cause. Giving the signals back at once lets a
	// second one have its usual, deadly effect while run is still closing things.
	ctx, release := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, release)
	env := Env{Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	env.Log, env.Level = newLog(os.Stderr, terminal(os.Stderr))
	os.Exit(RunMain(ctx, name, env, run))
}

// RunMain is [Main] without the process: it runs and returns the exit code.
func RunMain(ctx context.Context, name string, env Env, run func(context.Context, Env) error) int {
	if env.Log == nil {
		env.Log, env.Level = newLog(env.Stderr, false)
	}
	logged := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(logged)
		env.Log.Info("stopping", "cause", context.Cause(ctx))
	})
	err := run(ctx, env)
	if !stop() {
		<-logged
	}
	usage, wrong := errors.AsType[*UsageError](err)
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return ExitOK
	case ctx.Err() != nil && stoppedBy(ctx, err):
		return ExitOK
	}
	for line := range strings.Lines(err.Error()) {
		if line = strings.TrimRight(line, "\n"); line != "" {
			fmt.Fprintf(env.Stderr, "%s: %s\n", name, line)
		}
	}
	if wrong {
		io.WriteString(env.Stderr, usage.Help)
		return ExitUsage
	}
	return ExitError
}

// stoppedBy reports whether err is nothing but the echo of the cancellation. An error that was joined
// with it is real: a journal that could not be closed must not look like a clean stop.
func stoppedBy(ctx context.Context, err error) bool {
	switch wrapped := err.(type) {
	case interface{ Unwrap() []error }:
		for _, inner := range wrapped.Unwrap() {
			if !stoppedBy(ctx, inner) {
				return false
			}
		}
		return true
	case interface{ Unwrap() error }:
		if inner := wrapped.Unwrap(); inner != nil {
			return stoppedBy(ctx, inner)
		}
	}
	return err == context.Canceled || err == context.Cause(ctx)
}

// UsageError is a wrong call of the program; the exit code is ExitUsage.
type UsageError struct {
	Err  error
	Help string // printed after the error as it is; may be empty
}

func (e *UsageError) Error() string { return e.Err.Error() }
func (e *UsageError) Unwrap() error { return e.Err }

// Usage makes a [UsageError] from a text that says what is wrong and what to write instead.
func Usage(format string, args ...any) error {
	return &UsageError{Err: fmt.Errorf(format, args...)}
}

// Parse reads flags and returns the arguments behind them. A mistake becomes a [UsageError] with the
// flags' help; -h prints that help to Stdout and returns [flag.ErrHelp], which [RunMain] takes for
// success. synopsis is the first line of the help: "edge run [flags]".
func (e Env) Parse(flags *flag.FlagSet, synopsis string, args []string) (rest []string, err error) {
	var help strings.Builder
	flags.Init(flags.Name(), flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	if err = flags.Parse(args); err == nil {
		return flags.Args(), nil
	}
	fmt.Fprintf(&help, "usage: %s\n", synopsis)
	flags.SetOutput(&help)
	flags.PrintDefaults()
	flags.SetOutput(io.Discard)
	if errors.Is(err, flag.ErrHelp) {
		if _, werr := io.WriteString(e.Stdout, help.String()); werr != nil {
			return nil, fmt.Errorf("print help: %w", werr)
		}
		return nil, flag.ErrHelp
	}
	return nil, &UsageError{Err: err, Help: help.String()}
}

// newLog writes text for a person at a terminal and JSON for everything that collects logs.
func newLog(w io.Writer, person bool) (*slog.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: withUnit}
	if person {
		return slog.New(slog.NewTextHandler(w, options)), level
	}
	return slog.New(slog.NewJSONHandler(w, options)), level
}

// withUnit writes a duration as "1.5s": JSON would say 1500000000, without a unit.
func withUnit(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		return slog.String(a.Key, a.Value.Duration().String())
	}
	return a
}

// terminal asks for the line settings, which only a terminal has; the file mode would also take
// /dev/null for one.
func terminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
