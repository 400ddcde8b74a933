package gateway

import (
	"encoding/binary"
	"math"
	"testing"
	"time"

	"steelyard/firmware-bridge/device"
	"steelyard/internal/unit"
)

// One frame, one block: what cannot be brought about by a simulated indicator.
func TestBlockOfAFrame(t *testing.T) {
	now := time.Now()
	kg := func(coef int64, scale uint8) device.Weight {
		return device.Weight{At: now, Value: unit.Decimal{Coef: coef, Scale: scale}, HasValue: true, Unit: unit.KG}
	}
	with := func(w device.Weight, change func(*device.Weight)) device.Weight { change(&w); return w }
	for name, c := range map[string]struct {
		weight device.Weight
		health device.State
		age    time.Duration
		state  uint16
		grams  uint32
		digits uint32
	}{
		"says nothing of rest":  {kg(12340, 0), device.Online, 0, bitWeight, 12_340_000, 12340},
		"negative":              {with(kg(-60, 0), func(w *device.Weight) { w.Stable = device.Yes }), device.Online, 0, bitWeight | bitStable, math.MaxUint32 - 59_999, math.MaxUint32 - 59},
		"decimals":              {kg(12345, 1), device.Online, 0, bitWeight, 1_234_500, 12345},
		"less than a gram":      {kg(12345, 4), device.Online, 0, bitWeight, noLong, 12345},
		"pounds":                {with(kg(100, 0), func(w *device.Weight) { w.Unit = unit.LB }), device.Online, 0, bitWeight, noLong, 100},
		"more than fits":        {kg(1<<31, 0), device.Online, 0, bitNone, noLong, noLong},
		"grams do not fit":      {kg(3_000_000, 0), device.Online, 0, bitWeight, noLong, 3_000_000},
		"the sentinel's number": {kg(math.MinInt32, 0), device.Online, 0, bitNone, noLong, noLong},
		"a tare":                {with(kg(7, 0), func(w *device.Weight) { w.Kind = device.Tare }), device.Online, 0, bitNone, noLong, noLong},
		"net": {with(kg(7, 0), func(w *device.Weight) { w.Kind, w.Zero, w.PowerUp = device.Net, device.Yes, device.Yes }),
			device.Online, 0, bitWeight | bitNet | bitZero | bitPowerUp, 7000, 7},
		"blank":               {with(kg(0, 0), func(w *device.Weight) { w.HasValue = false }), device.Online, 0, bitNone, noLong, noLong},
		"digits out of range": {with(kg(7, 0), func(w *device.Weight) { w.Range, w.Stable = device.OverOrUnder, device.Yes }), device.Online, 0, bitNone | bitOver | bitUnder, noLong, noLong},
		"an error beside":     {with(kg(7, 0), func(w *device.Weight) { w.Error = "busy" }), device.Online, 0, bitNone | bitError, noLong, noLong},
		"old":                 {kg(7, 0), device.Online, 2 * time.Second, bitNone | bitSilent, noLong, noLong},
		"silent":              {kg(7, 0), device.Silent, 0, bitNone | bitSilent, noLong, noLong},
		"faulty":              {kg(7, 0), device.Faulty, 0, bitNone | bitFault, noLong, noLong},
		"never any":           {device.Weight{}, "", 0, bitNone | bitSilent, noLong, noLong},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScale(Registers{})
			s.limit = time.Second
			if !c.weight.At.IsZero() {
				s.Weight(c.weight)
			}
			s.Health(device.Health{State: c.health})
			b := s.block(now.Add(c.age))
			if len(b) != 2*blockRegisters {
				t.Fatalf("%d bytes", len(b))
			}
			word := func(i int) uint16 { return binary.BigEndian.Uint16(b[2*i:]) }
			if word(3) != c.state {
				t.Errorf("state %016b, want %016b", word(3), c.state)
			}
			if grams, digits := binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint32(b[12:]); grams != c.grams || digits != c.digits {
				t.Errorf("grams %08X, digits %08X, want %08X, %08X", grams, digits, c.grams, c.digits)
			}
			if missing := word(8) == noWord && word(9) == noWord && word(10) == noWord; missing != (c.state&bitNone != 0) {
				t.Errorf("decimals, unit, kind %04X %04X %04X beside the state %016b", word(8), word(9), word(10), c.state)
			}
		})
	}
}
