package agent

import (
	"crypto/rand"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"steelyard/edge/meaning"
	"steelyard/firmware-bridge/modbus"
	"steelyard/firmware-bridge/site"
	"steelyard/internal/record"
	"steelyard/internal/wire"
)

// openBuses checks what the configuration's own check has not; it connects to nothing.
func (a *agent) openBuses() error {
	for _, b := range a.config.Buses {
		bus, err := modbus.New(b.Config(), a.loop, a.log)
		if err != nil {
			return err
		}
		a.buses = append(a.buses, bus)
	}
	return nil
}

// Meaning tells package meaning what the site has.
func (c Config) Meaning() meaning.Config {
	m := meaning.Config{Series: series(), Material: func(name string, at time.Time) error {
		_, err := c.catalogue.Category(name, at)
		return err
	}}
	gaps := map[string]time.Duration{} // by port
	for _, l := range c.Lines() {
		gaps[l.Config.Port] = l.Gap()
	}
	for _, w := range c.Weighbridges {
		m.Decks = append(m.Decks, meaning.Deck{Device: w.Device, Division: w.Division, Min: w.Min, Max: w.Max, Unit: w.Unit,
			Window: w.Window, Gap: gaps[w.Line.Port], Stores: w.StoreWeighings})
	}
	for _, b := range c.Buses {
		for _, x := range b.Machines {
			switch {
			case isBelt(x.Model):
				m.Belts = append(m.Belts, meaning.Belt{Device: x.Device, Step: x.Model.Totaliser.Step, Modulus: x.Model.Totaliser.Modulus,
					MaxRate: x.MaxRate, Every: x.Record, Material: x.Material})
			case numbers(x.Model) != "":
				m.Balers = append(m.Balers, meaning.Baler{Device: x.Device, Material: x.Material, Number: numbers(x.Model), Most: x.MaxBales})
			}
		}
	}
	return m
}

// machinesOf returns of each device what it is and what it is called.
func machinesOf(c Config) map[string]*known {
	all := map[string]*known{}
	for _, w := range c.Weighbridges {
		all[w.Device] = &known{kind: record.Weighbridge, name: w.Name, english: w.English}
	}
	for _, b := range c.Buses {
		for _, m := range b.Machines {
			all[m.Device] = &known{kind: kindOf(m.Model), name: m.Name, english: m.English}
		}
	}
	return all
}

// kindOf returns what a profile describes: what it makes of a machine here, or what most of its points
// are about.
func kindOf(p *modbus.Profile) string {
	switch {
	case isBelt(p):
		return record.BeltScale
	case numbers(p) != "":
		return record.Baler
	}
	about := map[string]string{"bale": record.Baler, "belt": record.BeltScale, "weight": record.Scale, "energy": record.Meter, "power": record.Meter, "drive": record.Drive}
	votes := map[string]int{}
	kind := record.OtherMachine
	for _, v := range p.Points {
		subject, _, _ := strings.Cut(v.Quantity, ".")
		if k := about[subject]; k != "" {
			if votes[k]++; votes[k] > votes[kind] {
				kind = k
			}
		}
	}
	return kind
}

// series draws eight hexadecimal digits. Two starts of a site within a day get the same ones once in
// four thousand million times, and the city raises an alarm on a number it has seen.
func series() string {
	var raw [4]byte
	rand.Read(raw[:]) // never fails
	return hex.EncodeToString(raw[:])
}

// A profile that counts tonnes makes its machine a belt, one that numbers bales a baler.
func isBelt(p *modbus.Profile) bool { return p.Totaliser != nil }

// numbers is the quantity by which a profile numbers bales; empty: it numbers none.
func numbers(p *modbus.Profile) string {
	for _, word := range []string{meaning.BySequence, meaning.ByCount} {
		if slices.ContainsFunc(p.Points, func(v modbus.Point) bool { return v.Quantity == word }) {
			return word
		}
	}
	return ""
}

// machineNames are what people call the machines, as far as they have names.
func (a *agent) machineNames() []wire.MachineName {
	all := []wire.MachineName{}
	add := func(device string, n site.Names) {
		if n.Name != "" && len(all) < wire.MaxMachines {
			all = append(all, wire.MachineName{Device: device, Name: n.Name, English: n.English})
		}
	}
	for _, w := range a.config.Weighbridges {
		add(w.Device, w.Names)
	}
	for _, b := range a.config.Buses {
		for _, m := range b.Machines {
			add(m.Device, m.Names)
		}
	}
	return all
}
