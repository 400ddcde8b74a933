package sim

import (
	"fmt"
	"time"

	"steelyard/internal/unit"
)

// Endpoints is what the configuration of a site's edge needs to know.
type Endpoints struct {
	Weighbridges []WeighbridgeEndpoint
	Belts        []BeltEndpoint
	Balers       []BalerEndpoint
}

// WeighbridgeEndpoint describes an indicator and its line.
type WeighbridgeEndpoint struct {
	Device   string
	Port     string // path of the terminal
	Baud     int
	Format   string // "8N1"
	Dialect  Dialect
	Checksum Checksum
	Unit     unit.Unit
	Division unit.Mass // e
	Max      unit.Mass
	Rate     int // frames a second
}

// BeltEndpoint describes a belt scale on a Modbus line.
type BeltEndpoint struct {
	Device   string
	Link     string // rtu:///path?baud=19200&format=8N1
	Unit     uint8
	Profile  string
	Material string
	Modulus  int64
	Step     unit.Mass // g per count
}

// BalerEndpoint describes a baler behind Modbus TCP.
type BalerEndpoint struct {
	Device   string
	Link     string // tcp://host:port
	Unit     uint8
	Profile  string
	Material string
}

// Endpoints tells where the machines are.
func (s *Site) Endpoints() (e Endpoints) {
	for _, w := range s.Weighbridges {
		e.Weighbridges = append(e.Weighbridges, WeighbridgeEndpoint{
			Device: w.Device, Port: w.Line.Path(), Baud: deckBaud, Format: "8N1",
			Dialect: w.Indicator.cfg.Dialect, Checksum: w.Indicator.cfg.Checksum, Unit: unit.KG,
			Division: w.Deck.cfg.Division, Max: w.Deck.cfg.Max, Rate: w.Indicator.cfg.Rate,
		})
	}
	for i, b := range s.Belts {
		e.Belts = append(e.Belts, BeltEndpoint{
			Device: b.cfg.Device, Link: fmt.Sprintf("rtu://%s?baud=%d&format=8N1", s.BeltLine.Path(), beltBaud),
			Unit: uint8(i + 1), Profile: "generic-belt", Material: b.cfg.Material,
			Modulus: b.cfg.Modulus, Step: b.cfg.Step,
		})
	}
	for i, b := range s.Balers {
		e.Balers = append(e.Balers, BalerEndpoint{
			Device: b.cfg.Device, Link: "tcp://" + s.BalerLinks[i].Addr(), Unit: 1,
			Profile: "ssc-baler-v1", Material: b.cfg.Material,
		})
	}
	return e
}

// Snapshot is a look at the site.
type Snapshot struct {
	Name         string            `json:"name"`
	Time         time.Time         `json:"time"` // by the simulated clock
	Speed        float64           `json:"speed"`
	Weighbridges []WeighbridgeView `json:"weighbridges"`
	Belts        []BeltView        `json:"belts"`
	Balers       []BalerView       `json:"balers"`
}

// WeighbridgeView is a look at a deck.
type WeighbridgeView struct {
	Device  string `json:"device"`
	State   string `json:"state"`
	Vehicle string `json:"vehicle"`
	Shown   string `json:"shown"` // kg; empty when out of range
	OnSite  int    `json:"on_site"`
	Visits  int64  `json:"visits"`
	Tickets int64  `json:"tickets"`
	Refused int64  `json:"refused"`
}

// BeltView is a look at a belt.
type BeltView struct {
	Device   string `json:"device"`
	State    string `json:"state"`
	Material string `json:"material"`
	Counts   int64  `json:"counts"`
	Raw      int64  `json:"raw"`
}

// BalerView is a look at a baler.
type BalerView struct {
	Device   string `json:"device"`
	State    string `json:"state"`
	Material string `json:"material"`
	Bales    uint32 `json:"bales"` // lifetime
}

// Snapshot looks at everything.
func (s *Site) Snapshot() Snapshot {
	now := time.Now()
	v := Snapshot{
		Name: s.cfg.Name, Speed: s.cfg.Speed,
		Time: s.cfg.Start.Add(time.Duration(float64(now.Sub(s.began)) * s.cfg.Speed)),
	}
	for _, w := range s.Weighbridges {
		v.Weighbridges = append(v.Weighbridges, w.view(now))
	}
	for _, b := range s.Belts {
		v.Belts = append(v.Belts, b.view())
	}
	for _, b := range s.Balers {
		v.Balers = append(v.Balers, b.view())
	}
	return v
}

func (w *Weighbridge) view(now time.Time) WeighbridgeView {
	shown := ""
	if d := w.Deck.Shown(now); !d.Over {
		shown = d.Value.String()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return WeighbridgeView{
		Device: w.Device, State: w.state, Vehicle: w.vehicle, Shown: shown,
		OnSite: len(w.yard), Visits: w.visits, Tickets: w.tickets, Refused: w.refused,
	}
}

func (b *Belt) view() BeltView {
	b.mu.Lock()
	defer b.mu.Unlock()
	words := [...]string{"unknown", "stopped", "starting", "running", "stopping", "fault"}
	return BeltView{Device: b.cfg.Device, State: words[b.state], Material: b.cfg.Material, Counts: b.counts(), Raw: b.raw()}
}

func (b *Baler) view() BalerView {
	b.mu.Lock()
	defer b.mu.Unlock()
	words := [...]string{"unknown", "off", "stopped", "starting", "idle", "feeding", "compressing", "tying", "ejecting"}
	return BalerView{Device: b.cfg.Device, State: words[b.state], Material: b.cfg.Material, Bales: b.counter}
}
