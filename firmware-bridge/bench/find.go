package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"steelyard/firmware-bridge/catalog"
	"steelyard/firmware-bridge/modbus"
	"steelyard/firmware-bridge/serial"
	"steelyard/internal/unit"
	"steelyard/internal/wire"
)

// search is one run of find.
type search struct {
	invocation
	port     string
	bauds    []int
	formats  []string
	listen   time.Duration
	ask      bool
	only     string
	weight   string // on the display
	division string
	max      string
	unit     string
	device   string
	asJSON   bool

	models []*catalog.Indicator // of the catalogue
	model  *catalog.Indicator   // nil, unless it alone is looked for
	own    string               // its file, where it is not of the catalogue
	best   heard                // the setting at which the bytes look most like text
	line   serial.Config        // port and control lines; speed and format are those of the moment
	open   openFunc
	bar    *progress
	done   time.Duration // of what is being tried, and
	all    time.Duration // how long it takes at most
}

// openFunc opens a line. Tests have one on which only some control lines bring bytes: no
// pseudo-terminal has any.
type openFunc func(context.Context, serial.Config) (io.ReadWriteCloser, error)

func openSerial(ctx context.Context, c serial.Config) (io.ReadWriteCloser, error) {
	port, err := openPort(ctx, c)
	if err != nil {
		return nil, err // and not a nil *Port in an interface
	}
	return port, nil
}

// found is what find prints as JSON.
type found struct {
	Candidates []candidate `json:"candidates"`
	Confirmed  *candidate  `json:"confirmed"`
	YAML       string      `json:"yaml"`
}

const findSynopsis = "-port P [-known WEIGHT] [flags] | -modbus -port P | -link L [flags]"

// testHooks is where tests put a line of their own in place of one with speeds, formats and control
// lines, of which a pseudo-terminal has none, and end a silence that they know of before its time.
type testHooks struct {
	open     openFunc
	reach    func(modbus.Link) modbus.Link // what is really opened for a setting
	master   func(modbus.MasterConfig) (asker, error)
	trusting bool // hunt believes a first answer; for a negative control
}

// asker is a modbus.Master, or one of which a test decides how long it waits.
type asker interface {
	Read(context.Context, modbus.Question) ([]byte, time.Time, error)
	Close()
}

// newMaster is the master of a real line.
func newMaster(c modbus.MasterConfig) (asker, error) {
	m, err := modbus.NewMaster(c)
	if err != nil {
		return nil, err // and not a nil *Master in an interface
	}
	return m, nil
}

// find walks through speeds and formats until a dialect explains what the line brings, and asks a
// person for the weight on the display: several formats can't be told apart by their bytes. With
// -modbus it looks for machines: see hunt.
func find(ctx context.Context, c invocation) error {
	return findOver(ctx, c, testHooks{open: openSerial, master: newMaster, reach: func(l modbus.Link) modbus.Link { return l }})
}

func findOver(ctx context.Context, c invocation, way testHooks) error {
	s := search{invocation: c, open: way.open}
	var machines huntFlags
	s.flags.StringVar(&s.port, "port", "", "the line: /dev/serial/by-id/…, or tcp://host:port of a terminal server with an indicator, which sets its own speed")
	bauds := s.flags.String("baud", "9600,4800,2400,1200,19200,600", "speeds to try; with -modbus "+modbusBauds+" unless said")
	formats := s.flags.String("format", "8N1,7E1,7O1,8E1,7E2", "formats to try; with -modbus "+modbusFormats+" unless said")
	s.flags.DurationVar(&s.listen, "listen", 1500*time.Millisecond, "how long to listen at each setting, twice as long at 1200 baud and below; answers are waited for 500ms at most")
	s.flags.BoolVar(&s.ask, "ask", false, "ask where nothing is heard: read commands only, and none with a letter that makes some device tare or zero; with -modbus: where nobody answers, ask as DL/T 645 and Modbus ASCII do")
	s.flags.StringVar(&s.only, "dialect", "", "look for this dialect only")
	indicator := s.flags.String("indicator", "", "look for this indicator only: a name of the catalogue or a file; its own speed and format are tried first")
	s.flags.StringVar(&s.line.DTR, "dtr", "", "control line DTR, on or off; empty: both are tried where nothing is heard")
	s.flags.StringVar(&s.line.RTS, "rts", "", "control line RTS, as -dtr")
	s.flags.StringVar(&s.weight, "known", "", "the weight on the display; without it you are asked")
	s.flags.StringVar(&s.division, "division", "", "division e of the type plate, like \"20 kg\", for the printed lines")
	s.flags.StringVar(&s.max, "max", "", "capacity of the type plate, like \"60 t\", for the printed lines")
	s.flags.StringVar(&s.unit, "unit", "", "unit of the display, where the frames do not name it")
	s.flags.StringVar(&s.device, "device", "weighbridge-1", "id of the weighbridge in the printed lines")
	s.flags.BoolVar(&s.asJSON, "json", false, "print JSON")
	machines.add(s.flags)
	s.catalogFlag()
	if _, err := s.parse(findSynopsis, 0); err != nil {
		return err
	}
	usage := "usage: firmware-bridge find " + findSynopsis
	if err := machines.checkKind(s.flags); err != nil {
		return wrongCall(usage, "%w", err)
	}
	if machines.modbus {
		return s.findMachines(ctx, machines, *bauds, *formats, way)
	}
	if s.only != "" && *indicator != "" {
		return wrongCall(usage, "find looks for either a dialect or an indicator")
	}
	s.line.Port = s.port
	if err := s.check(*bauds, *formats); err != nil {
		return wrongCall(usage, "%w", err)
	}
	if err := s.learn(*indicator); err != nil {
		return err
	}
	s.bar = s.progress(s.asJSON)
	candidates, err := s.walk(ctx)
	s.bar.clear()
	if err != nil {
		return err
	}
	return s.confirm(ctx, candidates)
}

// learn fetches the models of the catalogue, or the one that is looked for.
func (s *search) learn(indicator string) error {
	if indicator == "" {
		known, err := s.known()
		if err == nil {
			s.models = known.Indicators()
		}
		return err
	}
	var err error
	if s.model, err = s.indicator(indicator); err != nil {
		return err
	}
	if isFile(indicator) {
		s.own = indicator
	}
	s.models = []*catalog.Indicator{s.model}
	if !s.line.Network() {
		s.bauds = moveToFront(s.bauds, s.model.Line.Baud)
		s.formats = moveToFront(s.formats, s.model.Line.Format)
	}
	return nil
}

// moveToFront puts one of all to the front; nothing changes when it is none of them.
func moveToFront[T comparable](all []T, one T) []T {
	if i := slices.Index(all, one); i > 0 {
		all = slices.Insert(slices.Delete(slices.Clone(all), i, i+1), 0, one)
	}
	return all
}

// at is the line at a speed and a format.
func (s *search) at(baud int, format string) serial.Config {
	line := s.line
	line.Port, line.Baud, line.Format = s.port, baud, format
	return line
}

func (s *search) check(bauds, formats string) error {
	if s.port == "" {
		return errors.New("find needs a port" + whichPort())
	}
	if s.listen < 50*time.Millisecond || s.listen > time.Minute {
		return fmt.Errorf("listen %s: must be between 50ms and 1m", s.listen)
	}
	if s.only != "" {
		if _, err := findDialect(s.only); err != nil {
			return err
		}
	}
	if s.weight != "" {
		if _, err := displayed(s.weight); err != nil {
			return err
		}
	}
	if err := s.checkPlate(); err != nil {
		return err
	}
	for text := range strings.SplitSeq(bauds, ",") {
		baud, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil {
			return fmt.Errorf("baud %.20q: is no number; write speeds like 9600,4800", text)
		}
		s.bauds = append(s.bauds, baud)
	}
	for format := range strings.SplitSeq(formats, ",") {
		s.formats = append(s.formats, strings.TrimSpace(format))
	}
	if s.line.Network() {
		s.bauds, s.formats = s.bauds[:1], s.formats[:1] // the terminal server has set the line
	}
	for _, baud := range s.bauds {
		for _, format := range s.formats {
			if err := s.at(baud, format).Check(); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkPlate looks at what is only for the printed lines.
func (s *search) checkPlate() error {
	if err := wire.CheckSlug("device", s.device); err != nil {
		return err
	}
	if s.unit != "" && !slices.Contains([]unit.Unit{unit.KG, unit.T, unit.G}, unit.Unit(s.unit)) {
		return fmt.Errorf("unit %.20q: say kg, t or g, as on the display", s.unit)
	}
	for _, text := range []string{s.division, s.max} {
		if text != "" {
			if _, err := unit.ParseMass(text); err != nil {
				return err
			}
		}
	}
	return nil
}

// displayed reads the number that a person reads off, with or without its unit.
func displayed(text string) (unit.Decimal, error) {
	const letters = "abcdefghijklmnopqrstuvwxyz" + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	number := strings.TrimSpace(strings.TrimRight(strings.TrimSpace(text), letters))
	d, err := unit.ParseDecimal(number)
	if err != nil {
		return d, fmt.Errorf("weight %.40q: write the number on the display without blanks or commas, like 23960 or 12.50", text)
	}
	return d, nil
}

func (s *search) nothing(heard int) error {
	switch {
	case heard > 0:
		s.showLines()
		try := "try other -baud and -format, or describe the frame"
		if s.line.Network() {
			try = "is the serial side of the terminal server set as the indicator? else describe the frame"
		}
		return fmt.Errorf("%s: %d bytes came and no dialect explains them: %s%s, with firmware-bridge draft frame", s.port, heard, s.nearest(), try)
	case s.ask:
		return fmt.Errorf("%s: nothing is sent and nothing answers: is the indicator on, its output enabled, the cable right?", s.port)
	}
	return fmt.Errorf("%s: nothing is sent: is the indicator on and its output enabled? one that only answers is found with -ask", s.port)
}

func setting(all []candidate, line serial.Config, asked bool) []candidate {
	for i := range all {
		all[i].DTR, all[i].RTS, all[i].Asked = line.DTR, line.RTS, asked
		if !line.Network() { // a terminal server sets its own
			all[i].Baud, all[i].Format = line.Baud, line.Format
		}
	}
	return all
}

// say prints what was tried, for a person who waits.
func (s *search) say(format string, args ...any) {
	if !s.asJSON {
		s.bar.clear()
		fmt.Fprintf(s.env.Stderr, format+"\n", args...)
	}
}
