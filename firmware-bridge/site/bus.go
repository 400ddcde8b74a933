package site

import (
	"fmt"
	"time"

	"steelyard/firmware-bridge/modbus"
	"steelyard/internal/unit"
)

// Bus is one RS-485 line or one gateway with the machines on it.
type Bus struct {
	Link           string        `yaml:"link"`             // tcp://host:port, rtu:///dev/…?baud=9600&format=8N1 with dtr=on, rts=off as needed, rtu-over-tcp://host:port
	Timeout        time.Duration `yaml:"timeout"`          // until a reply begins; 0: as the machine's profile says
	Gap            time.Duration `yaml:"gap"`              // silence between a reply and the next request; 0: 3.5 characters
	ConnectPause   time.Duration `yaml:"connect_pause"`    // between connecting and the first request
	CloseAfterPoll bool          `yaml:"close_after_poll"` // for a gateway with few connections that others need too; Modbus TCP only
	Machines       []Machine     `yaml:"machines"`
}

// Machine is one unit on a bus. What it is, its profile says.
type Machine struct {
	Device   string `yaml:"device"`
	Names    `yaml:",inline"`
	Profile  string        `yaml:"profile"`
	Unit     uint8         `yaml:"unit"`
	Every    time.Duration `yaml:"every"`
	Material string        `yaml:"material"`  // what it works until an operator says otherwise; belts and balers only, which the edge checks
	MaxRate  unit.Mass     `yaml:"max_rate"`  // belts: the most it can carry in an hour
	Record   time.Duration `yaml:"record"`    // belts: how often a moving belt's standing is recorded
	MaxBales int64         `yaml:"max_bales"` // balers: the most it can press in an hour

	// Model is the profile of that name; nil before the check, and where the name is wrong.
	Model *modbus.Profile `yaml:"-"`
}

const (
	defaultEvery   = time.Second
	defaultRecord  = time.Minute
	defaultMaxRate = 200 * unit.Tonne
	defaultBales   = 600
	mostBales      = 3600
)

// Config of the checked bus, as its reader takes it.
func (b Bus) Config() modbus.Config {
	c := modbus.Config{Link: b.Link, Timeout: b.Timeout, Gap: b.Gap, ConnectPause: b.ConnectPause, CloseAfterPoll: b.CloseAfterPoll}
	for _, m := range b.Machines {
		c.Units = append(c.Units, modbus.Unit{Device: m.Device, ID: m.Unit, Profile: m.Model, Every: m.Every})
	}
	return c
}

func (b *Bus) check(k checking, at place) {
	serialLine := false
	if link, err := modbus.ParseLink(b.Link); err != nil {
		k.Fault(at("link"), "%v", err)
	} else {
		k.taken("port", link.Address, at("link"))
		serialLine = link.Scheme != modbus.TCP
	}
	for key, d := range map[string]time.Duration{"timeout": b.Timeout, "gap": b.Gap, "connect_pause": b.ConnectPause} {
		if d < 0 || d > time.Minute {
			k.Fault(at(key), "%v: between 0s and 1m", d)
		}
	}
	if serialLine && b.CloseAfterPoll {
		k.Fault(at("close_after_poll"), "is for tcp:// links; on a serial line another master's late reply would be taken for ours, so leave it out")
	}
	units := map[uint8]string{}
	for i := range b.Machines {
		m, its := &b.Machines[i], func(key string) string { return at("machines", i, key) }
		first, used := units[m.Unit]
		switch {
		case serialLine && (m.Unit < 1 || m.Unit > 247):
			k.Fault(its("unit"), "unit id %d: machines on a serial line have 1 to 247", m.Unit)
		case used:
			k.Fault(its("unit"), "unit id %q is used already (line %d)", fmt.Sprint(m.Unit), k.Line(first))
		default:
			units[m.Unit] = its("unit")
		}
		m.check(k, its)
	}
	if len(b.Machines) == 0 {
		k.Fault(at(), "a bus without machines")
	}
}

func (m *Machine) check(k checking, at func(key string) string) {
	k.device(m.Device, at("device"))
	m.Names.check(k, func(parts ...any) string { return at(fmt.Sprint(parts...)) })
	if m.Every == 0 {
		m.Every = defaultEvery
	}
	if m.Record == 0 {
		m.Record = defaultRecord
	}
	if m.MaxRate == 0 {
		m.MaxRate = defaultMaxRate
	}
	if m.MaxBales == 0 {
		m.MaxBales = defaultBales
	}
	if m.Every < 10*time.Millisecond || m.Every > 24*time.Hour {
		k.Fault(at("every"), "a poll every %v: between 10ms and 24h", m.Every)
	}
	if m.Record < time.Second || m.Record > 24*time.Hour {
		k.Fault(at("record"), "a standing every %v: between 1s and 24h", m.Record)
	}
	if m.MaxRate < 0 {
		k.Fault(at("max_rate"), "a belt can't carry %s in an hour", m.MaxRate)
	}
	if m.MaxBales < 1 || m.MaxBales > mostBales {
		k.Fault(at("max_bales"), "%d bales in an hour: between 1 and %d", m.MaxBales, mostBales)
	}
	var err error
	if m.Model, err = k.known.Find(m.Profile); err != nil {
		k.Fault(at("profile"), "%v", err)
	}
}
