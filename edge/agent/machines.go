package agent

import (
	"slices"
	"time"

	"steelyard/edge/meaning"
	"steelyard/firmware-bridge/modbus"
)

// openBuses checks what the configuration's own check has not; it connects to nothing.
func (p *parts) openBuses() error {
	for _, b := range p.config.Buses {
		bus, err := modbus.New(b.Config(), p.desk, p.log)
		if err != nil {
			return err
		}
		p.buses = append(p.buses, bus)
	}
	return nil
}

// meaningOf tells package meaning what the site has.
func meaningOf(c Config) meaning.Config {
	m := meaning.Config{Material: func(name string, at time.Time) error {
		_, err := c.menu.Category(name, at)
		return err
	}}
	gaps := map[string]time.Duration{} // by port
	for _, l := range c.Lines() {
		gaps[l.Config.Port] = l.Gap()
	}
	for _, w := range c.Weighbridges {
		m.Decks = append(m.Decks, meaning.Deck{Device: w.Device, Division: w.Division, Min: w.Min, Max: w.Max, Unit: w.Unit,
			Window: w.Window, Gap: gaps[w.Line.Port], Register: w.Register})
	}
	for _, b := range c.Buses {
		for _, x := range b.Machines {
			switch {
			case isBelt(x.Model):
				m.Belts = append(m.Belts, meaning.Belt{Device: x.Device, Step: x.Model.Totaliser.Step, Modulus: x.Model.Totaliser.Modulus,
					MaxRate: x.MaxRate, Every: x.Record, Material: x.Material})
			case isBaler(x.Model):
				m.Balers = append(m.Balers, meaning.Baler{Device: x.Device, Material: x.Material})
			}
		}
	}
	return m
}

// A profile that counts tonnes makes its machine a belt, one that numbers bales a baler.
func isBelt(p *modbus.Profile) bool { return p.Totaliser != nil }

func isBaler(p *modbus.Profile) bool {
	return slices.ContainsFunc(p.Points, func(v modbus.Point) bool { return v.Meaning == "bale.sequence" })
}
