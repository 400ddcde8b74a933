package meaning

import (
	"fmt"

	"steelyard/firmware-bridge/device"
	"steelyard/internal/record"
	"steelyard/internal/unit"
)

// Baler is one baler that keeps the block of its last bale, written sequence number last.
type Baler struct {
	Device   string
	Material string // what it presses until an operator says otherwise
}

// BalerState is the last bale that is recorded, or the counter at first sight.
type BalerState struct {
	Last     uint64
	Material string
}

// baler waits for the second poll: a block is whole when its sequence number, which the machine
// writes last, is the same in two polls.
type baler struct {
	Baler
	seen     bool
	sequence uint64
}

func (b *baler) scan(last *BalerState, scan device.Scan) []record.Fact {
	v, ok := scan.Means("bale.sequence")
	if !ok {
		return nil // the slower values of the machine come in scans of their own
	}
	if !v.OK || v.Number.Scale != 0 || v.Number.Coef < 0 {
		b.seen = false
		return nil
	}
	sequence := uint64(v.Number.Coef)
	settled := b.seen && b.sequence == sequence
	b.seen, b.sequence = true, sequence
	switch {
	case !settled:
		return nil
	case last == nil:
		return b.counter(scan, sequence, "the baler's counter at first sight")
	case sequence == last.Last:
		return nil
	case sequence < last.Last:
		return b.counter(scan, sequence, fmt.Sprintf("the baler's counter went from %d to %d: controller replaced or reset", last.Last, sequence))
	}
	material := last.Material
	if material == "" {
		material = b.Material
	}
	bale := &record.Bale{
		Number: sequence, Material: material, Missed: sequence - last.Last - 1,
		LengthMM: whole(scan, "bale.length", 0), Strokes: whole(scan, "bale.strokes", 0), Wires: whole(scan, "bale.wires", 0),
		CycleS: whole(scan, "bale.cycle", 0), PressureMax: whole(scan, "bale.pressure_max", 1),
		EnergyWh: whole(scan, "bale.energy", 0), EndedAt: whole(scan, "bale.ended_at", 0),
	}
	if v, ok := scan.Means("bale.mass"); ok && v.OK {
		mass, err := v.Number.Mass(unit.Unit(v.Unit))
		bale.Weighed = err == nil && mass > 0 // the contract: 0 says that the bale was not weighed
		if bale.Weighed {
			bale.Mass = mass
		}
	}
	return []record.Fact{{At: scan.At, Device: b.Device, Body: bale}}
}

// whole reads a value as a whole number of 10^-scale of its unit; 0 when there is none.
func whole(scan device.Scan, meaning string, scale uint8) int64 {
	v, ok := scan.Means(meaning)
	if !ok || !v.OK {
		return 0
	}
	n := v.Number
	for ; n.Scale < scale; n.Scale++ {
		n.Coef *= 10
	}
	for ; n.Scale > scale; n.Scale-- {
		n.Coef /= 10
	}
	return n.Coef
}

func (b *baler) counter(scan device.Scan, at uint64, detail string) []record.Fact {
	return []record.Fact{{At: scan.At, Device: b.Device, Body: &record.Device{State: "counter", Detail: detail, Counter: at}}}
}
