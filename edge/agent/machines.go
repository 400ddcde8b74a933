package agent

import (
	"time"

	"steelyard/edge/meaning"
	"steelyard/firmware-bridge/catalog"
	"steelyard/firmware-bridge/modbus"
)

// openBuses checks what the configuration's own check has not; it connects to nothing.
func (p *parts) openBuses() error {
	for _, b := range p.config.Buses {
		bus, err := modbus.New(busOf(b, p.config.profiles), p.desk, p.log)
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
	for _, w := range c.Weighbridges {
		m.Decks = append(m.Decks, meaning.Deck{Device: w.Device, Division: w.Division, Min: w.Min, Max: w.Max, Unit: w.Unit, Window: w.Window})
	}
	for _, b := range c.Buses {
		for _, x := range b.Machines {
			profile, _ := c.profiles.Find(x.Profile) // checked by Read
			switch {
			case isBelt(profile):
				m.Belts = append(m.Belts, meaning.Belt{Device: x.Device, Step: profile.Totaliser.Step, Modulus: profile.Totaliser.Modulus,
					MaxRate: x.MaxRate, Every: x.Record, Material: x.Material})
			case isBaler(profile):
				m.Balers = append(m.Balers, meaning.Baler{Device: x.Device, Material: x.Material})
			}
		}
	}
	return m
}

func busOf(b Bus, profiles *catalog.Catalog) modbus.Config {
	c := modbus.Config{Link: b.Link, Timeout: b.Timeout, Gap: b.Gap, ConnectPause: b.ConnectPause}
	for _, m := range b.Machines {
		profile, _ := profiles.Find(m.Profile) // checked by Read
		c.Units = append(c.Units, modbus.Unit{Device: m.Device, ID: m.Unit, Profile: profile, Every: m.Every})
	}
	return c
}
