package meaning

import (
	"time"

	"steelyard/firmware-bridge/device"
	"steelyard/internal/record"
	"steelyard/internal/unit"
)

// Belt is one belt scale.
type Belt struct {
	Device   string
	Step     unit.Mass     // g per count
	Modulus  int64         // counts until the register wraps
	MaxRate  unit.Mass     // g per hour that the belt can carry; larger steps are not believed
	Every    time.Duration // how often a moving belt's standing is recorded
	Material string        // what it carries until an operator says otherwise
}

// BeltState is the last recorded standing.
type BeltState struct {
	Raw      int64
	Standing unit.Mass
	At       time.Time
	Material string
}

// belt follows one totaliser between two records. What it adds to the record is lost in a restart
// and found again, because the register goes on counting.
type belt struct {
	Belt
	seen    bool
	raw     int64
	counts  int64 // since the last record, as reckoned
	at      time.Time
	unseen  unit.Mass // what the belt may have carried that the register has not shown yet
	moved   time.Time // when the register last changed
	pending string    // an event that is proposed until it is recorded
	base    BeltState // the record that counts rest on
}

const (
	settleAfter = 5 * time.Second // a belt rests before its last standing is recorded
	unseenFor   = 5 * time.Second // of carrying may show in one step, however close two answers are
)

func (b *belt) scan(last *BeltState, scan device.Scan) []record.Fact {
	v, ok := scan.Means("totaliser.mass")
	if !ok || !v.OK {
		return nil
	}
	total, err := v.Number.Mass(unit.Unit(v.Unit))
	raw := int64(total / b.Step)
	if err != nil || total%b.Step != 0 || raw < 0 || raw >= b.Modulus {
		return nil // not this totaliser: the profile's step or modulus is wrong, and nothing is counted
	}
	if last == nil {
		b.seen = false
		return b.fact(scan.At, raw, 0, record.BeltTick, b.Material)
	}
	if !b.seen || b.base != *last {
		if !b.seen {
			b.unseen = b.carries(unseenFor)
		}
		b.seen, b.base = true, *last
		b.raw, b.counts, b.at, b.moved, b.pending = last.Raw, 0, last.At, last.At, ""
	}
	b.passed(scan.At.Sub(b.at))
	if raw != b.raw {
		step, event := b.reckon(raw)
		b.counts += step
		b.unseen -= unit.Mass(step) * b.Step
		b.raw, b.moved = raw, scan.At
		if event != record.BeltTick {
			b.pending = event
		}
	}
	b.at = scan.At
	due := b.raw != last.Raw && (scan.At.Sub(last.At) >= b.Every || scan.At.Sub(b.moved) >= settleAfter)
	if b.pending == "" && !due {
		return nil
	}
	event := b.pending
	if event == "" {
		event = record.BeltTick
	}
	return b.fact(scan.At, b.raw, last.Standing+unit.Mass(b.counts)*b.Step, event, last.Material)
}

// carries is what the belt carries in a time at most, with half as much again: what a scale shows
// swings about what lies on the belt.
func (b *belt) carries(d time.Duration) unit.Mass {
	const hour = unit.Mass(time.Hour / time.Millisecond)
	most, ms := b.MaxRate*3/2, unit.Mass(max(0, d.Milliseconds()))
	return ms/hour*most + ms%hour*most/hour
}

// passed takes in that time has passed since the last answer. Steps are bounded by time on the whole
// and not one by one: after a late answer the next comes at once and shows all that was carried
// meanwhile, and many scales refresh their register less often than they are asked. A belt that was
// seen to stand gains nothing, so a step of a night's tonnage in the morning is not believed; nor one
// after a silence that is larger than the silence was long.
func (b *belt) passed(elapsed time.Duration) {
	carried := b.carries(elapsed)
	b.unseen = min(b.unseen+carried, max(carried, b.carries(unseenFor)))
}

// reckon tells how many counts lie between two register values. A step that the belt can't have
// made in the time is kept as an event and not counted.
func (b *belt) reckon(raw int64) (int64, string) {
	most := int64(b.unseen/b.Step) + 1
	forward := raw - b.raw
	switch {
	case forward >= 0 && forward <= most:
		return forward, record.BeltTick
	case forward < 0 && b.raw > b.Modulus/10*9 && forward+b.Modulus <= most:
		return forward + b.Modulus, record.BeltWrap
	case forward < 0 && raw <= most:
		return raw, record.BeltReset
	case forward < 0:
		return 0, record.BeltReset
	}
	return 0, record.BeltJump
}

func (b *belt) fact(at time.Time, raw int64, standing unit.Mass, event, material string) []record.Fact {
	if material == "" {
		material = b.Material
	}
	return []record.Fact{{At: at, Device: b.Device, Body: &record.Belt{
		Raw: raw, Step: b.Step, Modulus: b.Modulus, Standing: standing, Material: material, Event: event,
	}}}
}
