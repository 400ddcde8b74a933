package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"steelyard/internal/record"
	"steelyard/internal/unit"
)

// Lorry is one visit of a vehicle to a site: everything about it is drawn when it arrives, so that
// the lorries of one seed are the same whatever the edge does.
type Lorry struct {
	Vehicle      string
	Direction    string // record.Inbound: full, then empty; record.Outbound: empty, then full
	Destination  string // of an outbound load
	Material     string
	Second       string // material of the smaller part of a mixed load; empty for most
	Counterparty string
	Inside       time.Duration // unloading or loading, simulated
	First        Pass          // over the deck, coming
	Last         Pass          // over the deck, going
}

// vehicle is a lorry's body: it comes again and again.
type vehicle struct {
	plate string
	axles int
	tare  unit.Mass
}

// Fleet draws lorries.
type Fleet struct {
	rand     *rand.Rand
	division unit.Mass
	pace     float64
	vehicles []vehicle
	next     int
	yard     map[string]unit.Mass // what was brought and not fetched yet, by material
}

// fleetSize is more than a yard ever holds, so that no vehicle is in two places.
const fleetSize = 40

// heaviest is about what a lorry with so many axles may weigh on the road.
var heaviest = [...]unit.Mass{2: 18 * unit.Tonne, 3: 25 * unit.Tonne, 4: 31 * unit.Tonne, 5: 42 * unit.Tonne, 6: 48 * unit.Tonne}

// lightest is about what such a lorry weighs empty.
var lightest = [...]unit.Mass{2: 5 * unit.Tonne, 3: 9 * unit.Tonne, 4: 12 * unit.Tonne, 5: 14 * unit.Tonne, 6: 15 * unit.Tonne}

// materials are what a centre takes in; the first are the commonest.
var materials = [...]string{
	"steel/heavy-melt", "paper/occ", "steel", "plastics/pet", "paper", "plastics", "aluminium",
	"glass", "copper/bright-wire", "rubber", "copper", "battery", "lead", "zinc",
}

// NewFleet makes the vehicles that come to one weighbridge; lane tells their plates from those of
// the others.
func NewFleet(seed uint64, lane int, division unit.Mass, pace float64) *Fleet {
	f := &Fleet{
		rand: rand.New(rand.NewPCG(seed, uint64(lane))), division: division, pace: pace,
		yard: make(map[string]unit.Mass),
	}
	for _, n := range f.rand.Perm(1000)[:fleetSize] {
		axles := 2 + f.rand.IntN(5)
		f.vehicles = append(f.vehicles, vehicle{
			plate: fmt.Sprintf("豫D%02d%03d", lane%100, n),
			axles: axles,
			tare:  lightest[axles] + unit.Mass(f.rand.Int64N(2000))*unit.Kilogram,
		})
	}
	return f
}

// Next is the lorry that arrives next.
func (f *Fleet) Next() Lorry {
	v := f.vehicles[f.next%len(f.vehicles)]
	f.next++
	room := heaviest[v.axles] - v.tare
	load := room * unit.Mass(30+f.rand.Int64N(66)) / 100
	l := Lorry{
		Vehicle:      v.plate,
		Direction:    record.Inbound,
		Material:     f.material(),
		Counterparty: fmt.Sprintf("收集点-%02d", 1+f.rand.IntN(30)),
		Inside:       between(f.rand, 6*time.Minute, 20*time.Minute),
	}
	if f.rand.IntN(8) == 0 {
		l.Second = f.material()
	}
	if f.rand.IntN(5) < 2 && f.yard[l.Material] >= load {
		l.Direction, l.Second = record.Outbound, ""
		l.Counterparty = fmt.Sprintf("加工厂-%02d", 1+f.rand.IntN(8))
		l.Destination = record.ToReuse
		switch f.rand.IntN(20) {
		case 0, 1:
			l.Destination = record.ToDisposal
		case 2:
			l.Destination = record.ToCentre
		}
		f.yard[l.Material] -= load
	} else {
		f.yard[l.Material] += load
	}
	fuel := unit.Mass(f.rand.Int64N(100)) * unit.Kilogram
	empty := NewPass(f.rand, f.axles(v.axles, v.tare+fuel), f.division, f.pace)
	full := NewPass(f.rand, f.axles(v.axles, v.tare+fuel+load), f.division, f.pace)
	l.First, l.Last = full, empty
	if l.Direction == record.Outbound {
		l.First, l.Last = empty, full
	}
	return l
}

// material prefers the front of the list.
func (f *Fleet) material() string {
	return materials[min(f.rand.IntN(len(materials)), f.rand.IntN(len(materials)))]
}

// axles spreads a mass over n axles. The lorry stands at most a quarter of a division off a
// multiple of it: a display that flickers at rest is a fault, not a lorry.
func (f *Fleet) axles(n int, m unit.Mass) []unit.Mass {
	m = rounded(m, f.division) + unit.Mass(noise(f.rand.Uint64(), 0, int64(f.division/4)))
	loads := make([]unit.Mass, n)
	left := m
	for i := range n - 1 {
		// The steering axle carries a little less than its share.
		share := unit.Mass(90 + f.rand.Int64N(20))
		if i == 0 {
			share -= 15
		}
		loads[i] = m * share / 100 / unit.Mass(n)
		left -= loads[i]
	}
	loads[n-1] = left
	return loads
}

// parts splits a net over the materials of the load: about a third to the second one.
func (l Lorry) parts(net, division unit.Mass) []record.Part {
	if l.Second == "" || l.Second == l.Material || net < 4*division {
		return []record.Part{{Material: l.Material, Mass: net}}
	}
	second := net / 3 / division * division
	return []record.Part{{Material: l.Material, Mass: net - second}, {Material: l.Second, Mass: second}}
}
