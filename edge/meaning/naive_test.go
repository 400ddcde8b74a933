package meaning_test

import (
	"slices"
	"testing"
	"time"

	"steelyard/edge/meaning"
	"steelyard/firmware-bridge/device"
	"steelyard/internal/record"
	"steelyard/internal/unit"
)

// The rule of before believed each reading by itself: a smaller total or number was a reset, and what it
// showed was new. It is kept to see that the plant finds its faults.

type naiveBelt struct {
	last   *record.Belt
	at     time.Time
	raw    int64
	counts int64
	moved  time.Time
	newest time.Time
	unseen unit.Mass
	event  string
}

const (
	naiveMost  = 150 * unit.Tonne // in an hour
	naiveStep  = unit.Kilogram
	naiveTurns = int64(beltModulus)
)

func naiveCarries(d time.Duration) unit.Mass {
	return naiveMost / 3600 * unit.Mass(max(0, d.Milliseconds())) / 1000
}

func (b *naiveBelt) Apply(e meaning.Entry) {
	b.last, b.at = e.Body.(*record.Belt), e.At
	b.raw, b.counts, b.moved, b.newest, b.event = b.last.Raw, 0, e.At, e.At, ""
}

func (b *naiveBelt) Scan(scan device.Scan) []record.Fact {
	v := scan.Values[0]
	if !v.OK {
		return nil
	}
	raw := v.Number.Coef
	if b.last == nil {
		b.unseen = naiveCarries(5 * time.Second)
		return b.fact(scan.At, raw, 0, record.BeltTick)
	}
	carried := naiveCarries(scan.At.Sub(b.newest))
	b.newest = scan.At
	b.unseen = min(b.unseen+carried, max(carried, naiveCarries(5*time.Second)))
	if raw != b.raw {
		most, forward := int64(b.unseen/naiveStep)+1, raw-b.raw
		step := int64(0)
		switch {
		case forward >= 0 && forward <= most:
			step = forward
		case forward < 0 && b.raw > naiveTurns/10*9 && forward+naiveTurns <= most:
			step, b.event = forward+naiveTurns, record.BeltWrap
		case forward < 0:
			if b.event = record.BeltReset; raw <= most {
				step = raw
			}
		default:
			b.event = record.BeltJump
		}
		b.counts, b.raw, b.moved = b.counts+step, raw, scan.At
		b.unseen -= unit.Mass(step) * naiveStep
	}
	event := b.event
	if due := b.raw != b.last.Raw && (scan.At.Sub(b.at) >= time.Minute || scan.At.Sub(b.moved) >= 5*time.Second); event == "" && due {
		event = record.BeltTick
	}
	if event == "" {
		return nil
	}
	return b.fact(scan.At, b.raw, b.last.Standing+unit.Mass(b.counts)*naiveStep, event)
}

func (b *naiveBelt) fact(at time.Time, raw int64, standing unit.Mass, event string) []record.Fact {
	return []record.Fact{{At: at, Device: "machine", Body: &record.Belt{Raw: raw, Step: naiveStep, Modulus: naiveTurns, Standing: standing, Material: "steel", Event: event}}}
}

type naiveBaler struct {
	known bool
	last  uint64
	seen  bool
	shown uint64
}

func (b *naiveBaler) Apply(e meaning.Entry) {
	switch body := e.Body.(type) {
	case *record.Bale:
		b.known, b.last = true, body.Number
	case *record.Device:
		b.known, b.last = true, body.Counter
	}
}

func (b *naiveBaler) Scan(scan device.Scan) []record.Fact {
	v, mass := scan.Values[0], unit.Mass(scan.Values[1].Number.Coef)
	if !v.OK {
		b.seen = false
		return nil
	}
	number := uint64(v.Number.Coef)
	settled := b.seen && b.shown == number
	b.seen, b.shown = true, number
	switch {
	case !settled || b.known && number == b.last:
		return nil
	case !b.known || number < b.last:
		return []record.Fact{{At: scan.At, Device: "machine", Body: &record.Device{State: "counter", Counter: number}}}
	}
	return []record.Fact{{At: scan.At, Device: "machine", Body: &record.Bale{Number: number, Material: "steel", Mass: mass, Weighed: mass > 0, Missed: number - b.last - 1}}}
}

// Negative control: the plant finds the rule of before wrong, in each fault that brought phantom tonnes.
func TestThePlantFindsTheRuleOfBefore(t *testing.T) {
	naive := plants(func() counting { return new(naiveBelt) }, func() counting { return new(naiveBaler) }, func() counting { return new(naiveBaler) })
	ours := plants(beltRule, balerRule(meaning.BySequence), balerRule(meaning.ByCount))
	phantom := map[string][]string{
		"belt":              {"tremble", "older for a while", "silence"},
		"baler by sequence": {"zero", "older for a while", "nonsense"},
		"baler by count":    {"zero", "older for a while", "nonsense"},
	}
	for name, kinds := range phantom {
		for _, kind := range kinds {
			found := ""
			for seed := range uint64(20) {
				plan := []trouble{{Kind: "peace", Polls: calm, Seed: seed}, {Kind: kind, Polls: 20, Size: 30, Seed: seed}, {Kind: "peace", Polls: calm, Seed: seed}}
				if kind == "silence" { // and an older save behind it: the outage was a licence
					plan = slices.Insert(plan, 2, trouble{Kind: "older for a while", Polls: 20, Size: 30, Seed: seed})
				}
				if _, err := naive[name](plan); err != nil {
					found = err.Error()
				}
				if _, err := ours[name](plan); err != nil {
					t.Errorf("%s, %s, seed %d: %v", name, kind, seed, err)
				}
			}
			if t.Logf("%s, %s: %s", name, kind, found); found == "" {
				t.Errorf("%s: the rule of before passes %s", name, kind)
			}
		}
	}
}
