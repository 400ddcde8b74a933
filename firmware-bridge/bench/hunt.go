package bench

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"steelyard/firmware-bridge/modbus"
	"steelyard/firmware-bridge/serial"
)

// hunt is one run of find -modbus: which units answer on a line, at which of its settings, and which
// profiles of the catalogue fit them. It asks with functions 3 and 4 only.
type hunt struct {
	*search
	target   string        // the line as messages name it
	lines    []modbus.Link // the settings to try; one, once an answer has made it certain
	units    []uint8       // to ask, those that profiles name first
	named    int           // so many of units are named by profiles
	timeout  time.Duration // until a reply begins
	gap      time.Duration // the longest that a profile wants between a reply and the next request
	profiles []*modbus.Profile
	probes   []modbus.Question // what is asked to find out who is there, without the unit
	way      testHooks

	reached       bool          // somebody took a request over TCP, so a refused connection is worth another try
	settled       bool          // lines holds the one setting at which somebody answered
	patience      time.Duration // the time-out from then on
	noisySettings int           // at so many settings came what is no answer
	noise         []byte        // what it was
	responders    []*responder
	once          []uint8  // units that answered once and not again
	notes         []string // what is to be known about the answers
}

// responder is a unit that answers.
type responder struct {
	Unit     uint8  `json:"unit"`
	Function uint8  `json:"function"` // with which it was found
	Refused  string `json:"refused"`  // the exception that it answered; empty: it gave a register
	Examined bool   `json:"examined"` // false: it was found, and its profiles were not looked for to the end
	Profiles []fit  `json:"profiles"` // that nothing contradicts, best first
	Excluded int    `json:"excluded"` // profiles: a read is refused or not answered, or a constant does not hold

	probe modbus.Question
}

// huntFlags are the flags that find has for machines only.
type huntFlags struct {
	modbus      bool
	link, units string
	timeout     time.Duration
}

func (f *huntFlags) add(flags *flag.FlagSet) {
	flags.BoolVar(&f.modbus, "modbus", false, "find machines on Modbus, and no indicator: asks with functions 3 and 4 at every setting")
	flags.StringVar(&f.link, "link", "", "with -modbus, in place of -port: tcp://host:port, rtu-over-tcp://host:port, or rtu:///dev/… with echo=1 for an adapter that hears itself, dtr=on, dtr=off, rts=on, rts=off for one that needs its control lines so")
	flags.StringVar(&f.units, "units", "", "with -modbus: unit ids to ask, like 1-247 (default: those that profiles name, and 1-16; over tcp:// also 0 and 255)")
	flags.DurationVar(&f.timeout, "timeout", 0, "with -modbus: how long to wait until a reply begins (default 500ms on a serial line, 1s over tcp://)")
}

// Speeds and formats in the order in which sites use them.
const (
	modbusBauds   = "9600,19200,115200,38400,4800,2400"
	modbusFormats = "8N1,8E1,8N2,8O1"
)

// checkKind refuses the flags of one kind of device beside those of the other.
func (f huntFlags) checkKind(flags *flag.FlagSet) (err error) {
	indicators := []string{"dialect", "indicator", "dtr", "rts", "known", "division", "max", "unit", "device"}
	machines := []string{"link", "units", "timeout"}
	flags.Visit(func(given *flag.Flag) {
		switch {
		case f.modbus && slices.Contains(indicators, given.Name):
			err = fmt.Errorf("flag -%s: is about an indicator, and -modbus looks for machines; leave out one of the two", given.Name)
		case !f.modbus && slices.Contains(machines, given.Name):
			err = fmt.Errorf("flag -%s: is about machines on Modbus; add -modbus", given.Name)
		}
	})
	return err
}

// findMachines is find with -modbus.
func (s *search) findMachines(ctx context.Context, f huntFlags, bauds, formats string, way testHooks) error {
	h := &hunt{search: s, timeout: f.timeout, way: way}
	given := map[string]bool{}
	s.flags.Visit(func(g *flag.Flag) { given[g.Name] = true })
	if !given["baud"] {
		bauds = modbusBauds
	}
	if !given["format"] {
		formats = modbusFormats
	}
	if err := h.plan(f.link, bauds, formats, given["baud"] || given["format"]); err != nil {
		return wrongCall("usage: firmware-bridge find "+findSynopsis, "%w", err)
	}
	known, err := h.known()
	if err != nil {
		return err
	}
	h.models = known.Indicators()
	h.take(known.Profiles())
	if err := h.enlist(f.units); err != nil {
		return wrongCall("usage: firmware-bridge find "+findSynopsis, "%w", err)
	}
	h.bar = h.progress(h.asJSON)
	err = h.walk(ctx)
	if err == nil {
		err = h.examine(ctx)
	}
	h.bar.clear()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if len(h.responders) == 0 {
		if err == nil {
			err = h.nobody(ctx)
		}
		return err
	}
	return errors.Join(h.report(err == nil), err)
}

// plan makes the settings out of the flags.
func (h *hunt) plan(link, bauds, formats string, narrowed bool) error {
	switch {
	case (h.port == "") == (link == ""):
		return errors.New("find -modbus needs either a port or a link" + whichPort())
	case strings.Contains(h.port, "://"):
		return fmt.Errorf("port %.80q: say -link tcp://… for Modbus TCP, or -link rtu-over-tcp://… for a terminal server", h.port)
	case h.listen < 50*time.Millisecond || h.listen > time.Minute:
		return fmt.Errorf("listen %s: must be between 50ms and 1m", h.listen)
	case h.timeout != 0 && h.timeout < 10*time.Millisecond || h.timeout > 15*time.Second:
		return fmt.Errorf("timeout %s: must be between 10ms and 15s", h.timeout)
	}
	if h.port != "" {
		if err := (serial.Config{Port: h.port}).Check(); err != nil {
			return err
		}
		link = (&url.URL{Scheme: modbus.Serial, Path: h.port}).String()
	}
	line, err := modbus.ParseLink(link)
	if err != nil {
		return err
	}
	h.target = line.Address
	if h.timeout == 0 {
		h.timeout = 500 * time.Millisecond
		if line.Scheme == modbus.TCP {
			h.timeout = time.Second
		}
	}
	said, err := url.Parse(link)
	if err != nil {
		return err
	}
	fixed := said.Query().Has("baud") || said.Query().Has("format")
	if narrowed && (fixed || line.Scheme != modbus.Serial) {
		return fmt.Errorf("link %.80q: has its speed and format, if any, in the link; leave out -baud and -format", link)
	}
	if fixed || line.Scheme != modbus.Serial {
		h.lines = []modbus.Link{line} // a terminal server has set its line
		return nil
	}
	for format := range strings.SplitSeq(formats, ",") {
		for text := range strings.SplitSeq(bauds, ",") {
			next := line
			if next.Baud, err = strconv.Atoi(strings.TrimSpace(text)); err != nil {
				return fmt.Errorf("baud %.20q: is no number; write speeds like 9600,19200", text)
			}
			next.Format = strings.TrimSpace(format)
			if _, err := modbus.ParseLink(linkText(next)); err != nil {
				return err
			}
			h.lines = append(h.lines, next)
		}
	}
	return nil
}

// take keeps the profiles that the line can have, and asks where most of them read: a machine has
// registers there, or refuses; either is an answer.
func (h *hunt) take(all []*modbus.Profile) {
	read := map[modbus.Register]int{}
	for _, p := range all {
		if h.serial() && p.Transport.RTU == nil && p.Transport.Port != 0 {
			continue // it has no serial line
		}
		if p.Status == modbus.Template {
			continue
		}
		h.profiles = append(h.profiles, p)
		h.gap = max(h.gap, time.Duration(p.Limits.GapMS)*time.Millisecond)
		for _, b := range p.Blocks() {
			for i := range b.Count {
				read[modbus.Register{FC: b.FC, Address: b.From + uint16(i)}]++
			}
		}
	}
	for _, fc := range []uint8{3, 4} {
		best := modbus.Register{FC: fc}
		for r, n := range read {
			if r.FC == fc && (n > read[best] || n == read[best] && r.Address < best.Address) {
				best = r
			}
		}
		h.probes = append(h.probes, modbus.Question{FC: fc, From: best.Address, Count: 1})
	}
}

// enlist makes the list of the units: those that profiles name first, the most usual at the front.
func (h *hunt) enlist(text string) error {
	asked := make([]bool, 256)
	if err := ids(asked, text, h.serial()); err != nil {
		return err
	}
	named := make([]int, 256)
	for _, p := range h.profiles {
		named[p.Transport.Unit]++
	}
	if text == "" {
		for id := range 17 {
			asked[id] = id > 0
		}
		for id := range asked {
			asked[id] = asked[id] || named[id] > 0 || id == 255
		}
		if h.serial() {
			asked[0], asked[255] = false, false // broadcast, and no id of a serial line
		} else {
			asked[0] = true // a machine on the network itself has 0 or 255, or any
		}
	}
	var others []uint8
	for id, ask := range asked {
		switch {
		case ask && named[id] > 0:
			h.units = append(h.units, uint8(id))
		case ask:
			others = append(others, uint8(id))
		}
	}
	h.named = len(h.units)
	slices.SortStableFunc(h.units, func(a, b uint8) int { return cmp.Compare(named[b], named[a]) })
	h.units = append(h.units, others...)
	return nil
}

// ids reads a list like "1-16,40".
func ids(asked []bool, text string, serial bool) error {
	least, most := uint64(0), uint64(255)
	if serial {
		least, most = 1, 247
	}
	for part := range strings.SplitSeq(text, ",") {
		if text == "" {
			return nil
		}
		from, to, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			to = from
		}
		first, errFirst := strconv.ParseUint(from, 10, 8)
		last, errLast := strconv.ParseUint(to, 10, 8)
		if errors.Join(errFirst, errLast) != nil || first < least || last > most || first > last {
			return fmt.Errorf("units %.40q: write ids between %d and %d, like 1-16,40", text, least, most)
		}
		for id := first; id <= last; id++ {
			asked[id] = true
		}
	}
	return nil
}

func (h *hunt) serial() bool { return h.lines[0].Scheme != modbus.TCP }

// at names a setting as far as it was chosen here.
func at(line modbus.Link) string {
	if line.Scheme != modbus.Serial {
		return line.Scheme + "://" + line.Address
	}
	return fmt.Sprintf("%d %s", line.Baud, line.Format)
}

// linkText writes a link as edge.yaml has it.
func linkText(l modbus.Link) string {
	u := url.URL{Scheme: l.Scheme, Host: l.Address}
	var query []string
	switch l.Scheme {
	case modbus.Serial:
		u.Host, u.Path = "", l.Address
		query = []string{"baud=" + strconv.Itoa(l.Baud), "format=" + l.Format}
	case modbus.RTUOverTCP:
		query = []string{"baud=" + strconv.Itoa(l.Baud), "format=" + l.Format}
	}
	if l.Echo {
		query = append(query, "echo=1")
	}
	if l.DTR != "" {
		query = append(query, "dtr="+l.DTR)
	}
	if l.RTS != "" {
		query = append(query, "rts="+l.RTS)
	}
	if l.AnyTransaction {
		query = append(query, "transaction=any")
	}
	if l.Trailing {
		query = append(query, "trailing=1")
	}
	u.RawQuery = strings.Join(query, "&")
	return u.String()
}
