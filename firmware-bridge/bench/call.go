package bench

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"steelyard/firmware-bridge/catalog"
	"steelyard/firmware-bridge/modbus"
	"steelyard/internal/config"
	"steelyard/internal/program"
)

// invocation is one run of one command: its flags and what it has of the world.
type invocation struct {
	name     string
	about    string // what stands in the command's help above its flags
	env      program.Env
	flags    *flag.FlagSet
	profiles *string
}

func newInvocation(name string, env program.Env) invocation {
	return invocation{name: name, env: env, flags: flag.NewFlagSet(name, flag.ContinueOnError)}
}

// parse reads flags and arguments in any order: "replay FILE -port P" and "replay -port P FILE".
func (c invocation) parse(synopsis string, arguments int) ([]string, error) {
	synopsis = "firmware-bridge " + c.name + " " + synopsis
	var given []string
	rest := c.env.Args[1:]
	for len(rest) > 0 {
		behind, err := c.env.Parse(c.flags, synopsis+c.about, rest)
		if wrong, ok := errors.AsType[*program.UsageError](err); ok {
			// All flags would push the mistake off the screen.
			return nil, wrongCall("usage: "+synopsis+"\nfirmware-bridge "+c.name+" -h shows the flags.", "%w", c.flagError(wrong.Err))
		}
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
		return nil, wrongCall("usage: "+synopsis, "unexpected argument %.60q", given[arguments])
	}
	return given, nil
}

// flagError says what a flag wants whose value could not be read.
func (c invocation) flagError(err error) error {
	parts := unreadFlag.FindStringSubmatch(err.Error())
	if parts == nil {
		return err
	}
	given := c.flags.Lookup(parts[2])
	if given == nil {
		return err
	}
	value, _ := given.Value.(flag.Getter)
	if value == nil {
		return err
	}
	remedy := "write a number"
	if _, ok := value.Get().(time.Duration); ok {
		remedy = "write a time with its unit, like 5s or 250ms"
	}
	return fmt.Errorf("flag -%s: %s cannot be read; %s", parts[2], parts[1], remedy)
}

// unreadFlag is what the standard library says of such a value.
var unreadFlag = regexp.MustCompile(`^invalid value (".*") for flag -(\S+): (?:parse error|value out of range)$`)

// refuse is a wrong call when one of these flags was given: a flag that is silently without effect
// lets a person believe in what was never done.
func (c invocation) refuse(why string, names ...string) (err error) {
	c.flags.Visit(func(given *flag.Flag) {
		if err == nil && slices.Contains(names, given.Name) {
			err = wrongCall("", "flag -%s: %s", given.Name, why)
		}
	})
	return err
}

// given reports whether one of these flags was.
func (c invocation) given(names ...string) (is bool) {
	c.flags.Visit(func(given *flag.Flag) { is = is || slices.Contains(names, given.Name) })
	return is
}

// wrongCall is a usage error with one line of help, or none.
func wrongCall(help, format string, args ...any) error {
	if help != "" {
		help += "\n"
	}
	return &program.UsageError{Err: fmt.Errorf(format, args...), Help: help}
}

// catalogFlag adds the folder of the operator's own profiles and indicators.
func (c *invocation) catalogFlag() {
	c.profiles = c.flags.String("profiles", "", "a folder of own profiles and indicators beside the built-in ones")
}

// profile finds a profile: a file, when the name looks like one, or a name of the catalogue.
func (c invocation) profile(name string) (*modbus.Profile, error) {
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

// otherKind reports that a name is one of a model, but of the other kind, and what to do.
func (c invocation) otherKind(name, kind string) error {
	what := map[string]string{kindProfile: "a profile of a machine on Modbus, and no indicator", kindIndicator: "an indicator on a serial line, and no profile"}[kind]
	if c.flags.Lookup(kind) == nil {
		return fmt.Errorf("%.80s: is %s; %s has no use for it", name, what, c.name)
	}
	return fmt.Errorf("%.80s: is %s; use -%s", name, what, kind)
}

// indicator finds an indicator as profile finds a profile.
func (c invocation) indicator(name string) (*catalog.Indicator, error) {
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

// isFile reports whether a name is one of a file and not of the catalogue.
func isFile(name string) bool {
	return strings.HasSuffix(name, ".yaml") || strings.ContainsRune(name, filepath.Separator)
}

// known is the catalogue with the operator's own folder.
func (c invocation) known() (*catalog.Catalog, error) {
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

func (c invocation) output() *output { return &output{w: c.env.Stdout} }

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

// terminal reports whether w is one that pictures can be drawn on: it has the settings that only a
// terminal has, and knows control sequences.
func terminal(w any) (fd int, ok bool) {
	f, isFile := w.(*os.File)
	if kind := os.Getenv("TERM"); !isFile || kind == "" || kind == "dumb" {
		return 0, false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return int(f.Fd()), err == nil
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

// wait lets time pass, or says that the context ended. What is due already gets no timer: within a
// bubble of a test the runtime runs such a one on the spot, and the race detector has crashed on that.
func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
