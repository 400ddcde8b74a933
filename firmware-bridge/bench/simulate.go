package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"steelyard/firmware-bridge/modbus"
	"steelyard/firmware-bridge/sim"
	"steelyard/internal/unit"
)

// texts is a flag that may be given several times.
type texts []string

func (t *texts) String() string { return strings.Join(*t, " ") }

// Set adds one.
func (t *texts) Set(text string) error { *t = append(*t, text); return nil }

// simulateFlags are all flags of simulate.
type simulateFlags struct {
	profile, dialect, indicator, pty, listen, checksum string
	baud, rate                                         int
	units, set, weights                                texts
	empty, asJSON                                      bool
	hold                                               time.Duration
	division, max                                      string
	counts                                             int64
}

const simulateSynopsis = "-profile P | -indicator I | -dialect D  -pty PATH | -listen [rtu-over-]tcp://host:port  [flags]"

// simulate is a machine until ctx ends or the input says quit.
func simulate(ctx context.Context, c invocation) error {
	var f simulateFlags
	c.flags.StringVar(&f.profile, "profile", "", "serve the registers of this profile")
	c.flags.StringVar(&f.dialect, "dialect", "", "send the frames of this dialect")
	c.flags.StringVar(&f.indicator, "indicator", "", "send the frames of this indicator's file; with a deck, where its dialect has one, any weight")
	c.flags.StringVar(&f.pty, "pty", "", "make a pseudo-terminal and this link to it")
	c.flags.StringVar(&f.listen, "listen", "", "tcp://host:port: Modbus TCP, or a terminal server with an indicator behind it; rtu-over-tcp://host:port: a terminal server with a profile's machine behind it")
	c.flags.IntVar(&f.baud, "baud", 9600, "pace of a pseudo-terminal; 0: as fast as it can")
	c.flags.Var(&f.units, "unit", "unit id; may be repeated (default 1)")
	c.flags.Var(&f.set, "set", "tag=value; may be repeated")
	c.flags.BoolVar(&f.empty, "empty", false, "begin with zeros and not with the values of the profile's first test")
	c.flags.Int64Var(&f.counts, "counts", 0, "counts that the profile's totaliser makes in a second")
	c.flags.Var(&f.weights, "weight", "weight on the display in kg; may be repeated: one after the other")
	c.flags.DurationVar(&f.hold, "hold", 5*time.Second, "how long each weight stays")
	c.flags.IntVar(&f.rate, "rate", 10, "frames a second")
	c.flags.StringVar(&f.checksum, "checksum", "", "of Toledo frames: mt7, neg8, sum8 or none")
	c.flags.StringVar(&f.division, "division", "1 kg", "division of the simulated indicator")
	c.flags.StringVar(&f.max, "max", "100 t", "its capacity; above it and 9 divisions it is out of range")
	c.flags.BoolVar(&f.asJSON, "json", false, "print JSON")
	c.catalogFlag()
	if _, err := c.parse(simulateSynopsis, 0); err != nil {
		return err
	}
	usage := "usage: firmware-bridge simulate " + simulateSynopsis
	switch {
	case one(f.profile, f.dialect, f.indicator) != 1:
		return wrongCall(usage, "simulate needs a profile, an indicator or a dialect, and one of them only")
	case one(f.pty, f.listen) != 1:
		return wrongCall(usage, "simulate needs either -pty or -listen")
	case f.baud < 0 || f.baud > 1_000_000:
		return wrongCall(usage, "baud %d: must be between 0 and 1000000", f.baud)
	case f.rate < 1 || f.rate > 100:
		return wrongCall(usage, "rate %d: must be between 1 and 100 frames a second", f.rate)
	case f.hold < 10*time.Millisecond || f.hold > 24*time.Hour:
		return wrongCall(usage, "hold %s: must be between 10ms and 24h", f.hold)
	case f.counts < 0 || f.counts > 1_000_000:
		return wrongCall(usage, "counts %d: must be between 0 and 1000000", f.counts)
	case f.listen != "":
		if err := f.checkListen(); err != nil {
			return wrongCall(usage, "%w", err)
		}
	}
	s, err := c.simulated(&f)
	if err != nil {
		return err
	}
	if err := c.refuseOthers(f, s); err != nil {
		return err
	}
	if f.listen != "" {
		if err := c.refuse("is the pace of a pseudo-terminal, and TCP has none; leave it out", "baud"); err != nil {
			return err
		}
	}
	if f.profile != "" {
		return c.simulateProfile(ctx, f)
	}
	return c.simulateDialect(ctx, f, s)
}

// simulated is the indicator that is to be one; nothing for a profile. A model's speed is the pace of its
// pseudo-terminal, unless another was said.
func (c invocation) simulated(f *simulateFlags) (s chosenDialect, err error) {
	switch {
	case f.profile != "":
		return s, nil
	case f.dialect == "generic":
		return s, wrongCall("", "dialect generic: its frames are described by a file; simulate that with -indicator FILE")
	}
	if s, err = c.speaks(f.dialect, f.indicator, new(dialectFlags)); err != nil {
		return s, err
	}
	if s.model != nil && s.model.Line.Baud != 0 && !c.given("baud") {
		f.baud = s.model.Line.Baud
	}
	return s, nil
}

// onDeck reports whether the indicator can be simulated with a deck, and so show any weight.
func (s chosenDialect) onDeck() bool {
	return s.dialect.Name == string(sim.Yaohua) || s.dialect.Name == string(sim.Toledo) && !s.options.Short
}

// refuseOthers refuses the flags of other machines than the one that is simulated.
func (c invocation) refuseOthers(f simulateFlags, s chosenDialect) error {
	if f.profile != "" {
		return c.refuse("is about an indicator, and -profile is a machine with registers; leave it out", "weight", "hold", "rate", "checksum", "division", "max")
	}
	if err := c.refuse("is about registers, and an indicator has none; leave it out", "unit", "set", "empty", "counts"); err != nil {
		return err
	}
	if s.dialect.Name != string(sim.Toledo) || !s.onDeck() {
		if err := c.refuse(fmt.Sprintf("is about Toledo frames; leave it out, or name an indicator with dialect %s", sim.Toledo), "checksum"); err != nil {
			return err
		}
	}
	if !s.onDeck() {
		return c.refuse(fmt.Sprintf("is about a simulated deck, which only indicators with dialect %s and %s have; leave it out", sim.Toledo, sim.Yaohua), "division", "max")
	}
	return nil
}

// checkListen looks at the address before anything is opened.
func (f simulateFlags) checkListen() error {
	scheme, address, ok := strings.Cut(f.listen, "://")
	if _, _, err := net.SplitHostPort(address); err != nil || !ok || scheme != modbus.TCP && scheme != modbus.RTUOverTCP {
		return fmt.Errorf("listen %.80q: write tcp://host:port, or rtu-over-tcp://host:port", f.listen)
	}
	if scheme == modbus.RTUOverTCP && f.profile == "" {
		return fmt.Errorf("listen %.80q: RTU is the framing of Modbus; an indicator's terminal server is tcp://host:port", f.listen)
	}
	return nil
}

// controllable is a machine that obeys.
type controllable interface {
	run(ctx context.Context)
	// obey does what a line says and returns what to print about it.
	obey(command string, words []string) (said string, err error)
	where() string
	close() error
}

// perform lets the machine run and obeys the input until ctx ends or "quit". The end of the input
// ends nothing: a machine in the background has none.
func (c invocation) perform(ctx context.Context, p controllable, what, commands string, asJSON bool) error {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { p.run(ctx) })
	out := c.output()
	if asJSON {
		out.json(map[string]string{"simulates": what, "at": p.where()})
	} else {
		out.printf("%s at %s\ncommands: %squit\n", what, p.where(), commands)
	}
	in := readLines(ctx, c.env.Stdin)
	for out.err == nil {
		text, err := in.line(ctx)
		words := strings.Fields(text)
		said := ""
		switch {
		case errors.Is(err, errLongLine):
		case err != nil: // the input is at its end, or cannot be read any more
			<-ctx.Done()
			words = []string{"quit"}
		case len(words) == 0:
			continue
		case words[0] != "quit":
			said, err = p.obey(words[0], words[1:])
		}
		if len(words) > 0 && words[0] == "quit" {
			break
		}
		if err != nil {
			said = "error: " + err.Error()
		}
		if asJSON {
			out.json(map[string]any{"command": text, "ok": err == nil, "said": said})
		} else {
			out.printf("%s\n", said)
		}
	}
	cancel()
	err := p.close()
	running.Wait()
	return errors.Join(out.failed(), err)
}

func unknownCommand(name, commands string) error {
	return fmt.Errorf("command %.40q: there are %squit", name, commands)
}

// duration reads an optional first word.
func duration(words []string, usual time.Duration) (time.Duration, error) {
	if len(words) == 0 {
		return usual, nil
	}
	d, err := time.ParseDuration(words[0])
	if err == nil && (d < 0 || d > time.Minute) {
		err = errors.New("must be between 0s and 1m")
	}
	if err != nil {
		return 0, fmt.Errorf("time %.40q: %w", words[0], err)
	}
	return d, nil
}

// mass reads a number of kilograms or a mass with its unit.
func mass(text string) (unit.Mass, error) {
	if d, err := unit.ParseDecimal(text); err == nil {
		return d.Mass(unit.KG)
	}
	m, err := unit.ParseMass(text)
	if err != nil {
		return 0, fmt.Errorf("weight %.40q: write kilograms, like 12340, or a mass with its unit, like \"12.34 t\"", text)
	}
	return m, nil
}

func (c invocation) simulateDialect(ctx context.Context, f simulateFlags, s chosenDialect) error {
	line, err := openLine(f.pty, f.listen, f.baud)
	if err != nil {
		return err
	}
	wire := sim.NewWire(line, s.dialect.Name, 1)
	var p controllable
	what := "indicator " + s.dialect.Name
	if s.model != nil {
		what = "indicator " + s.model.Name
	}
	switch {
	case s.onDeck() && (s.model == nil || c.given("weight", "checksum", "division", "max")):
		p, err = newIndicator(f, s, wire)
	case s.model != nil:
		p, err = newPlayer(f, s, framesOf(s.model), wire)
	default:
		var known []knownFrame
		if err = json.Unmarshal(knownFrames, &known); err == nil {
			p, err = newPlayer(f, s, known, wire)
		}
	}
	if err != nil {
		return errors.Join(err, wire.Close())
	}
	commands := indicatorCommands
	if _, ok := p.(*player); ok {
		commands = faultCommands
	}
	return c.perform(ctx, p, what, commands, f.asJSON)
}
