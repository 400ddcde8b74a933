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
	moved   time.Time // when the register last changed
	pending string    // an event that is proposed until it is recorded
	base    BeltState // the record that counts rest on
}

// settleAfter is how long a belt rests before its last standing is recorded.
const settleAfter = 5 * time.Second

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
		b.seen, b.base = true, *last
		b.raw, b.counts, b.at, b.moved, b.pending = last.Raw, 0, last.At, last.At, ""
	}
	if raw != b.raw {
		step, event := b.reckon(raw, scan.At.Sub(b.at))
		b.counts += step
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

// reckon tells how many counts lie between two register values. A step that the belt can't have
// made in the time is kept as an event and not counted.
func (b *belt) reckon(raw int64, elapsed time.Duration) (int64, string) {
	// A controller that was off for a while sees one large step: bounded by the same rate.
	most := int64(b.MaxRate)*elapsed.Milliseconds()/3_600_000*3/2/int64(b.Step) + 1
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
