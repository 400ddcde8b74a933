package bench

import (
	"cmp"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"steelyard/firmware-bridge/gateway"
	"steelyard/firmware-bridge/modbus"
	"steelyard/firmware-bridge/serial"
	"steelyard/firmware-bridge/site"
)

// installation is what a site's or a gateway's file connects.
type installation struct {
	Lines     []lineJSON `json:"lines"`     // serial lines with indicators
	Buses     []busJSON  `json:"buses"`     // Modbus
	Unchecked []string   `json:"unchecked"` // keys of a site's file that the edge reads and check does not
	Warnings  []string   `json:"warnings"`  // of what works, but not well
}

type lineJSON struct {
	Port      string      `json:"port"`
	Baud      int         `json:"baud"`
	Format    string      `json:"format"`
	TurnMS    int64       `json:"turn_ms"` // between two frames of one device that is asked; 0: it sends by itself, or a gateway's
	Devices   []scaleJSON `json:"devices"`
	Listeners []string    `json:"listeners"` // of a gateway: where others come in
}

// scaleJSON is a weighing indicator, or at a gateway whatever sends bytes.
type scaleJSON struct {
	Device         string `json:"device"`
	Indicator      string `json:"indicator"`       // its model; empty: a dialect was named
	Dialect        string `json:"dialect"`         // empty: nobody needs to know
	Options        string `json:"options"`         // of the dialect, without a layout
	StoreWeighings bool   `json:"store_weighings"` // it is told to store each weighing, and its stored weight counts
}

type busJSON struct {
	Link        string        `json:"link"`
	LoadPercent *int          `json:"load_percent"` // of the line's time; null: Modbus TCP, or a gateway's, which its clients load
	Machines    []machineJSON `json:"machines"`     // of a site
	Listeners   []string      `json:"listeners"`    // of a gateway
}

type machineJSON struct {
	Device  string `json:"device"`
	Profile string `json:"profile"`
	Unit    uint8  `json:"unit"`
	EveryMS int64  `json:"every_ms"`
}

// nothingInstalled has lists that are empty in JSON, and not null.
func nothingInstalled() installation {
	return installation{Lines: []lineJSON{}, Buses: []busJSON{}, Unchecked: []string{}, Warnings: []string{}}
}

func (n *installation) loadSite(name string, data []byte) error {
	plant, err := site.Load(name, data)
	if err != nil {
		return err
	}
	n.Unchecked = site.EdgeKeys()
	for _, l := range plant.Lines() {
		line := lineOf(l.Config)
		line.TurnMS = l.Turn().Milliseconds()
		for _, w := range l.Weighbridges {
			line.Devices = append(line.Devices, scaleJSON{w.Device, w.Indicator, w.Dialect, describeOptions(w.Options), w.StoreWeighings})
		}
		n.Lines = append(n.Lines, line)
	}
	for _, b := range plant.Buses {
		bus := busJSON{Link: b.Link, Machines: []machineJSON{}, Listeners: []string{}}
		for _, m := range b.Machines {
			bus.Machines = append(bus.Machines, machineJSON{m.Device, m.Profile, m.Unit, m.Every.Milliseconds()})
		}
		if bus.LoadPercent, err = loadOf(b); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if bus.LoadPercent != nil {
			n.warn(b.Link, *bus.LoadPercent)
		}
		n.Buses = append(n.Buses, bus)
	}
	return nil
}

// warn uses the words of plan.
func (n *installation) warn(link string, percent int) {
	switch {
	case percent > 100:
		n.Warnings = append(n.Warnings, link+": the line cannot carry it: polls will be left out; poll less often, raise the baud or use a second line")
	case percent > mostLoad/10:
		n.Warnings = append(n.Warnings, fmt.Sprintf("%s: more than %d %% of the line: machines that answer late will not fit; poll less often or raise the baud", link, mostLoad/10))
	}
}

// loadOf asks the bus itself, which opens nothing before it runs; nil on TCP, where a line's time
// is no limit.
func loadOf(b site.Bus) (*int, error) {
	bus, err := modbus.New(b.Config(), nil, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	if link, err := modbus.ParseLink(b.Link); err != nil || link.Scheme == modbus.TCP {
		return nil, err
	}
	return new(bus.Load()), nil
}

func (n *installation) loadGateway(name string, data []byte) error {
	c, err := gateway.Load(name, data)
	if err != nil {
		return err
	}
	for _, l := range c.Lines {
		line := lineOf(l.Line)
		line.Devices = append(line.Devices, scaleJSON{l.Device, l.Indicator, l.Dialect, describeOptions(l.Options), false})
		if l.Raw != nil {
			line.Listeners = append(line.Listeners, "bytes at "+l.Raw.Listen)
		}
		if l.Registers != nil {
			line.Listeners = append(line.Listeners, "registers at "+l.Registers.Listen)
		}
		n.Lines = append(n.Lines, line)
	}
	for _, b := range c.Buses {
		n.Buses = append(n.Buses, busJSON{Link: b.Link, Machines: []machineJSON{}, Listeners: []string{b.Name + " at " + b.Serve.Listen}})
	}
	return nil
}

// lineOf returns a line with what it means where the file says nothing.
func lineOf(c serial.Config) lineJSON {
	return lineJSON{Port: c.Port, Baud: cmp.Or(c.Baud, 9600), Format: cmp.Or(c.Format, "8N1"), Devices: []scaleJSON{}, Listeners: []string{}}
}

func (n installation) weighbridges() (all int) {
	for _, l := range n.Lines {
		all += len(l.Devices)
	}
	return all
}

func (n installation) machines() (all int) {
	for _, b := range n.Buses {
		all += len(b.Machines)
	}
	return all
}

func (n installation) print(out *output) {
	for _, l := range n.Lines {
		out.printf("  %s %d %s", l.Port, l.Baud, l.Format)
		if l.TurnMS != 0 {
			out.printf(", each asked every %d ms", l.TurnMS)
		}
		out.printf("\n")
		for _, d := range l.Devices {
			out.printf("    %s\n", strings.TrimRight(fmt.Sprintf("%-16s %s", d.Device, d.speech()), " "))
		}
		for _, listener := range l.Listeners {
			out.printf("    %s\n", listener)
		}
	}
	for _, b := range n.Buses {
		if b.LoadPercent == nil {
			out.printf("  %s\n", b.Link)
		} else {
			out.printf("  %s, load %d %%\n", b.Link, *b.LoadPercent)
		}
		for _, m := range b.Machines {
			out.printf("    %-16s %s as unit %d, every %s\n", m.Device, m.Profile, m.Unit, time.Duration(m.EveryMS)*time.Millisecond)
		}
		for _, listener := range b.Listeners {
			out.printf("    %s\n", listener)
		}
	}
	for _, w := range n.Warnings {
		out.printf("  warning: %s\n", w)
	}
}

// speech is what an indicator sends, in one line.
func (s scaleJSON) speech() string {
	var said []string
	for _, part := range []string{s.Indicator, s.Dialect, s.Options} {
		if part != "" {
			said = append(said, part)
		}
	}
	if s.StoreWeighings {
		said = append(said, "store_weighings: true")
	}
	return strings.Join(said, ", ")
}
