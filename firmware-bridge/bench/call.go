package bench

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"steelyard/firmware-bridge/catalog"
	"steelyard/firmware-bridge/modbus"
	"steelyard/internal/config"
	"steelyard/internal/program"
)

// call is one run of one command: its flags and what it has of the world.
type call struct {
	name     string
	env      program.Env
	flags    *flag.FlagSet
	profiles *string
}

func newCall(name string, env program.Env) call {
	return call{name: name, env: env, flags: flag.NewFlagSet(name, flag.ContinueOnError)}
}

// parse reads flags and arguments in any order: "replay FILE -port P" and "replay -port P FILE".
func (c call) parse(synopsis string, arguments int) ([]string, error) {
	synopsis = "firmware-bridge " + c.name + " " + synopsis
	var given []string
	rest := c.env.Args[1:]
	for len(rest) > 0 {
		behind, err := c.env.Parse(c.flags, synopsis, rest)
		if err != nil {
			return nil, err
		}
		if len(behind) == 0 {
			break
		}
		if behind[0] == "--" {
			behind = behind[1:]
		}
		given, rest = append(given, behind[0]), behind[1:]
	}
	if arguments >= 0 && len(given) > arguments {
		return nil, wrongCall("usage: "+synopsis, "%.60q: nothing was expected here", given[arguments])
	}
	return given, nil
}

// wrongCall is a usage error with one line of help, or none.
func wrongCall(help, format string, args ...any) error {
	if help != "" {
		help += "\n"
	}
	return &program.UsageError{Err: fmt.Errorf(format, args...), Help: help}
}

// catalogFlag adds the folder of the operator's own profiles and indicators.
func (c *call) catalogFlag() {
	c.profiles = c.flags.String("profiles", "", "a folder of own profiles and indicators beside the built-in ones")
}

// profile finds a profile: a file, when the name looks like one, or a name of the catalogue.
func (c call) profile(name string) (*modbus.Profile, error) {
	if isFile(name) {
		data, err := config.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if catalog.Kind(data) == kindIndicator {
			return nil, c.otherKind(name, kindIndicator)
		}
		return modbus.Load(name, data)
	}
	known, err := c.known()
	if err != nil {
		return nil, err
	}
	p, err := known.Find(name)
	if _, other := known.FindIndicator(name); err != nil && other == nil {
		err = c.otherKind(name, kindIndicator)
	}
	return p, err
}

// otherKind says that a name is one of a model, but of the other kind, and what to do.
func (c call) otherKind(name, kind string) error {
	what := map[string]string{kindProfile: "a profile of a machine on Modbus, and no indicator", kindIndicator: "an indicator on a serial line, and no profile"}[kind]
	if c.flags.Lookup(kind) == nil {
		return fmt.Errorf("%.80s: is %s; %s has no use for it", name, what, c.name)
	}
	return fmt.Errorf("%.80s: is %s; use -%s", name, what, kind)
}

// indicator finds an indicator as profile finds a profile.
func (c call) indicator(name string) (*catalog.Indicator, error) {
	if isFile(name) {
		data, err := config.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if catalog.Kind(data) == kindProfile {
			return nil, c.otherKind(name, kindProfile)
		}
		m, err := catalog.Read(name, data)
		return m.Indicator, err
	}
	known, err := c.known()
	if err != nil {
		return nil, err
	}
	i, err := known.FindIndicator(name)
	if _, other := known.Find(name); err != nil && other == nil {
		err = c.otherKind(name, kindProfile)
	}
	return i, err
}

// isFile says whether a name is one of a file and not of the catalogue.
func isFile(name string) bool {
	return strings.HasSuffix(name, ".yaml") || strings.ContainsRune(name, filepath.Separator)
}

// known is the catalogue with the operator's own folder.
func (c call) known() (*catalog.Catalog, error) {
	if c.profiles == nil {
		return catalog.Open("")
	}
	return catalog.Open(*c.profiles)
}

// output is where a command prints. The first failure is kept and ends the command: a closed pipe
// is no reason to go on.
type output struct {
	w   io.Writer
	err error
}

func (c call) output() *output { return &output{w: c.env.Stdout} }

func (o *output) printf(format string, args ...any) {
	if o.err == nil {
		_, o.err = fmt.Fprintf(o.w, format, args...)
	}
}

// json prints one value on one line.
func (o *output) json(v any) {
	if o.err != nil {
		return
	}
	e := json.NewEncoder(o.w)
	e.SetEscapeHTML(false)
	o.err = e.Encode(v)
}

// failed gives the error of printing its context.
func (o *output) failed() error {
	if o.err != nil {
		return fmt.Errorf("print: %w", o.err)
	}
	return nil
}

// terminal says whether w is one, by the settings that only a terminal has.
func terminal(w any) (fd int, ok bool) {
	f, isFile := w.(*os.File)
	if !isFile {
		return 0, false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return int(f.Fd()), err == nil
}

// longestLine is more than any line of a capture; a recording's longest has 8 KiB.
const longestLine = 64 << 10

// errNoMoreLines says that the input is at its end.
var errNoMoreLines = errors.New("no more lines")

// lines are read from r by a goroutine of their own, because a read of a terminal or a pipe cannot
// be interrupted: when the command ends before its input does, that goroutine ends with the input
// or with the process.
type lines struct {
	next chan string
	err  error // of the input; set before next is closed
}

func readLines(ctx context.Context, r io.Reader) *lines {
	l := &lines{next: make(chan string)}
	if r == nil {
		close(l.next)
		return l
	}
	go func() {
		defer close(l.next)
		s := bufio.NewScanner(r)
		s.Buffer(make([]byte, 0, 4096), longestLine)
		for s.Scan() {
			select {
			case l.next <- s.Text():
			case <-ctx.Done():
				return
			}
		}
		l.err = s.Err()
	}()
	return l
}

// line gives the next line, errNoMoreLines, or why there is none.
func (l *lines) line(ctx context.Context) (string, error) {
	select {
	case text, ok := <-l.next:
		switch {
		case ok:
			return text, nil
		case errors.Is(l.err, bufio.ErrTooLong):
			return "", fmt.Errorf("input: a line is longer than %d characters", longestLine)
		case l.err != nil:
			return "", fmt.Errorf("input: %w", l.err)
		}
		return "", errNoMoreLines
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// parseHex reads hexadecimal digits; blanks and colons between them are free, and '#' begins a
// comment.
func parseHex(text string) ([]byte, error) {
	text, _, _ = strings.Cut(text, "#")
	text = strings.NewReplacer(" ", "", "\t", "", ":", "", "\r", "").Replace(text)
	b, err := hex.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("%.40q is not hexadecimal: %w", text, err)
	}
	return b, nil
}

// spaced writes bytes as a manual prints them: "02 2B 30".
func spaced(b []byte) string { return fmt.Sprintf("% X", b) }

// printable writes bytes as text, with a dot for what has no picture.
func printable(b []byte) string {
	text := make([]byte, len(b))
	for i, c := range b {
		if text[i] = c; c < ' ' || c > '~' {
			text[i] = '.'
		}
	}
	return string(text)
}

// wait lets time pass, or says that the context ended.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
