package modbus

import "slices"

// Quantity is one word of the closed vocabulary by which everything behind the bridge knows a
// value, whatever the machine calls it.
type Quantity struct {
	Word  string
	Units []string // allowed units; nil: a count, a state or a bit, without unit
	Exact bool     // tonnes rest on it: a float register may not carry it
}

// Quantities is the whole vocabulary.
func Quantities() []Quantity {
	mass := []string{"g", "kg", "t", "lb", "N", ""} // empty: the instrument says the unit, or it is unknown
	return []Quantity{
		{"weight.gross", mass, false}, {"weight.net", mass, false}, {"weight.tare", mass, false},
		{"weight.peak", mass, false}, {"weight.stable", nil, false}, {"weight.moving", nil, false},
		{"weight.over", nil, false}, {"weight.under", nil, false}, {"weight.zero", nil, false},
		{"weight.is_net", nil, false}, {"weight.fault", nil, false}, {"weight.decimals", nil, false},
		{"weight.unit", nil, false}, {"weight.status", nil, false},

		{"totaliser.mass", []string{"g", "kg", "t"}, true}, {"totaliser.batch", []string{"g", "kg", "t"}, true},
		{"totaliser.step", []string{"g", "kg", "t"}, true},
		{"belt.rate", []string{"t/h", "kg/h"}, false}, {"belt.load", []string{"kg/m", "g/m"}, false},
		{"belt.speed", []string{"m/s", "mm/s"}, false}, {"belt.material", nil, false},

		{"machine.identity", nil, false}, {"machine.version", nil, false}, {"machine.heartbeat", nil, false},
		{"machine.state", nil, false}, {"machine.mode", nil, false}, {"machine.flags", nil, false},
		{"machine.running", nil, false}, {"machine.ready", nil, false}, {"machine.direction", nil, false},
		{"machine.fault", nil, false}, {"machine.fault_code", nil, false}, {"machine.fault_count", nil, false},
		{"machine.warning", nil, false}, {"machine.material", nil, false},
		{"machine.wire_low", nil, false}, {"machine.emergency_stop", nil, false},
		{"machine.pressure", []string{"bar"}, false}, {"machine.temperature", []string{"°C"}, false},
		{"machine.level", []string{"%"}, false}, {"machine.wire_level", []string{"%"}, false},
		{"machine.current", []string{"A"}, false}, {"machine.hours", []string{"h"}, false},
		{"machine.strokes", nil, false}, {"machine.ties", nil, false}, {"machine.length", []string{"mm"}, false},

		{"bale.count", nil, true}, {"bale.count_shift", nil, true}, {"bale.sequence", nil, true},
		{"bale.mass", []string{"g", "kg"}, true}, {"bale.length", []string{"mm"}, false},
		{"bale.strokes", nil, false}, {"bale.wires", nil, false}, {"bale.material", nil, false},
		{"bale.ended_at", []string{"s"}, false}, {"bale.pressure_max", []string{"bar"}, false},
		{"bale.cycle", []string{"s"}, false}, {"bale.energy", []string{"Wh", "kWh"}, false},

		{"drive.frequency", []string{"Hz"}, false}, {"drive.setpoint", []string{"Hz", "%"}, false},
		{"drive.current", []string{"A"}, false}, {"drive.voltage", []string{"V"}, false},
		{"drive.dc_voltage", []string{"V"}, false}, {"drive.speed", []string{"rpm"}, false},
		{"drive.torque", []string{"%"}, false}, {"drive.power", []string{"kW", "W", "%"}, false},

		{"energy.import", []string{"kWh", "Wh"}, false}, {"energy.export", []string{"kWh", "Wh"}, false},
		{"energy.total", []string{"kWh", "Wh"}, false},
		{"power.active", []string{"W", "kW"}, false}, {"power.reactive", []string{"var", "kvar"}, false},
		{"power.apparent", []string{"VA", "kVA"}, false}, {"power.factor", nil, false},
		{"power.voltage", []string{"V"}, false}, {"power.current", []string{"A"}, false},
		{"power.frequency", []string{"Hz"}, false},
	}
}

// Worded reports whether a machine may say it as a text; every other quantity is a number or a bit.
func (q Quantity) Worded() bool {
	return slices.Contains([]string{"weight.unit", "weight.status", "belt.material", "bale.material", "machine.identity", "machine.version",
		"machine.state", "machine.mode", "machine.material", "machine.fault", "machine.fault_code", "machine.warning"}, q.Word)
}

// quantityOf finds a word of the vocabulary.
func quantityOf(word string) (Quantity, bool) {
	all := Quantities()
	i := slices.IndexFunc(all, func(q Quantity) bool { return q.Word == word })
	if i < 0 {
		return Quantity{}, false
	}
	return all[i], true
}
