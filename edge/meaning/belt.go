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
	Raw      int64 // the register up to which everything is counted
	Standing unit.Mass
	At       time.Time
	Material string

	Odd   bool      // the register was last recorded elsewhere than it can be, and no standing since
	Shown int64     // where
	OddAt time.Time // when it last was; also after it has come back
}

// belt follows one totaliser between two records. What it adds to the record is lost in a restart
// and found again, because the register goes on counting. What each reading may mean, what is counted
// and what is noted stands as a table in docs/decisions/0017.
type belt struct {
	Belt
	seen    bool
	raw     int64         // up to here everything is counted; the highest that was believed
	counts  int64         // since the last record
	at      time.Time     // of the newest reading
	elapsed time.Duration // between it and the one before
	doubt   *int64        // a reading far above raw, until the next goes on from it
	unseen  unit.Mass     // what the belt may have carried that the register has not shown yet
	moved   time.Time     // when raw last changed
	wrapped bool          // since the last record
	other   *series       // what the register shows instead of raw or a step beyond; nil: it shows that
	astray  time.Duration // for how long it has shown what it can't
	quiet   time.Duration // since the newest note
	left    *series       // the newest series that was left and may have been real: to be noted
	base    BeltState     // the record that counts rest on
}

// series is a run of readings that a belt may have made, but not from where its total stood. It
// becomes the belt's own when it has lasted and risen, and the old total has not come back.
type series struct {
	fell   bool  // begun below the total: set back, or an older value; otherwise above, a jump
	wrap   bool  // begun at 0 where a wrap was possible: the next count tells
	deep   bool  // begun by more than the one count by which a total trembles
	base   int64 // where it was first seen
	raw    int64 // the highest since
	floor  int64 // the highest of the series before it: what it repeats of that is not counted
	risen  int64 // counts since base
	rises  int   // readings that were higher than all before
	age    time.Duration
	unseen unit.Mass
	fresh  bool // begun by a start: its first rise may be the way back to what was shown before
	stayed bool // for more than one reading
	noted  bool // the journal knows of it
}

const (
	restAfter   = 5 * time.Second  // a belt rests before its last standing is recorded; and how long a wrong reading may stand unnoted
	unseenFor   = 5 * time.Second  // of carrying may show in one step, however close two answers are
	astrayFor   = 10 * time.Minute // of carrying is believed when a register that showed something else comes back
	tremble     = 1                // counts by which a total may go back and be the same
	provenAfter = time.Minute      // a wrong value goes within seconds; a new series stays
	provenRises = 5                // and rises
	noteEvery   = time.Minute      // a machine that shows nonsense for months must not fill the journal
)

func (b *belt) scan(last *BeltState, scan device.Scan) []record.Fact {
	v, ok := scan.Quantity("totaliser.mass")
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
		return []record.Fact{b.fact(scan.At, raw, 0, record.BeltTick, b.Material)}
	}
	b.rebase(*last)
	b.elapsed = max(0, scan.At.Sub(b.at))
	b.quiet += b.elapsed
	b.advance(b.elapsed)
	b.at = scan.At
	b.read(raw)
	return b.proposals(*last, scan.At)
}

// rebase puts what is counted upon the newest record.
func (b *belt) rebase(last BeltState) {
	if b.seen && b.base == last {
		return
	}
	if last.OddAt != b.base.OddAt {
		b.quiet = 0
	}
	if !b.seen {
		b.quiet = noteEvery
		b.unseen, b.other = b.carries(unseenFor), nil
		if b.raw = last.Raw; last.Odd {
			b.begin(last.Shown, false)
			b.other.fresh = true
		}
	}
	if b.other != nil && last.Odd && last.OddAt != b.base.OddAt {
		b.other.noted = true
	}
	if b.left != nil && last.OddAt != b.base.OddAt {
		b.left = nil
	}
	if !b.seen || b.at.IsZero() {
		b.at, b.moved = last.At, last.At
	}
	b.seen, b.base, b.raw, b.counts, b.wrapped = true, last, last.Raw, 0, false
}

// carries is what the belt carries in a time at most. For seconds it is half as much again: what a
// scale shows swings about what lies on the belt.
func (b *belt) carries(d time.Duration) unit.Mass {
	const hour = unit.Mass(time.Hour / time.Millisecond)
	of := func(d time.Duration) unit.Mass {
		ms := unit.Mass(max(0, d.Milliseconds()))
		return ms/hour*b.MaxRate + ms%hour*b.MaxRate/hour
	}
	return of(d) + of(min(d, unseenFor))/2
}

// advance takes in that time has passed since the last reading. Steps are bounded by time on the whole
// and not one by one: after a late answer the next comes at once and shows all that was carried
// meanwhile, and many scales refresh their register less often than they are asked. A belt that was
// seen to stand gains nothing, so a step of a night's tonnage in the morning is not believed; nor one
// after a silence that is larger than the silence was long. While its register shows something else
// the belt is not seen, whatever it does; but not for hours.
func (b *belt) advance(elapsed time.Duration) {
	carried := b.carries(elapsed)
	bounded := func(unseen unit.Mass, d time.Duration) unit.Mass {
		return min(unseen+carried, max(carried, b.carries(d)))
	}
	switch {
	case b.other == nil && b.doubt != nil:
		b.unseen += carried
		return
	case b.other == nil:
		b.unseen, b.astray = bounded(b.unseen, unseenFor), 0
		return
	}
	b.unseen = bounded(b.unseen, astrayFor)
	b.astray += elapsed
	b.other.unseen = bounded(b.other.unseen, unseenFor)
	b.other.age += elapsed
}

// step returns how many counts lie from one reading to another, if a belt can have carried them; a
// total that trembles has stayed where it was. Only in the first tenth behind the modulus is a
// smaller reading one that came around.
func (b *belt) step(from, to int64, unseen unit.Mass) (counts int64, wraps, ok bool) {
	most := int64(unseen/b.Step) + 1
	forward := to - from
	switch {
	case forward < 0 && from >= b.Modulus/10*9 && to <= b.Modulus/10 && forward+b.Modulus <= most:
		return forward + b.Modulus, true, true
	case forward >= -tremble && forward < 0, forward == b.Modulus-tremble:
		return 0, false, true
	}
	return forward, false, forward >= 0 && forward <= most
}

// read takes in what the register shows.
func (b *belt) read(raw int64) {
	counts, wraps, ours := b.step(b.raw, raw, b.unseen)
	waits := wraps && raw == 0 // it came around, or it is one of the zeros that go again: the next count tells
	o, risen, around, theirs := b.other, int64(0), false, false
	if o != nil {
		risen, around, theirs = b.step(o.raw, raw, o.unseen)
		trembles := counts == 0 && raw != b.raw
		ours = ours && !trembles && (!wraps || o.wrap || around) && (o.fell || !theirs && raw < o.base)
	}
	switch {
	case ours && !waits && b.doubts(counts, raw):
	case ours && !waits:
		// The total is where it was, or a step beyond. If it may also have risen to here from where it
		// was set back to, the least is counted, and it is noted that this is the least.
		if theirs && o.deep && !o.wrap {
			b.leave(o)
		}
		b.other = nil
		b.carried(counts, raw, wraps)
	case theirs:
		o.stayed = true
		if risen > 0 && o.fresh {
			o.floor, o.fresh = o.base+risen, false // beyond the modulus where it came around
		}
		if risen > 0 {
			o.raw, o.risen, o.rises = raw, o.risen+risen, o.rises+1
			o.unseen -= unit.Mass(risen) * b.Step
		}
		if o.rises >= provenRises && o.age >= provenAfter {
			b.leave(o)
			b.other, b.unseen = nil, o.unseen
			b.raw, b.counts, b.moved = o.raw, b.counts+max(0, o.risen-(o.floor-o.base)), b.at
		}
	default:
		b.begin(raw, waits && o == nil)
	}
}

// doubts reports whether a step waits for the next reading. What was carried in a long time shows in one
// step, and so does nonsense; it is believed when the next reading goes on from it.
func (b *belt) doubts(counts, raw int64) bool {
	before := b.doubt
	if b.doubt = nil; unit.Mass(counts)*b.Step <= b.carries(unseenFor)+b.Step {
		return false
	}
	if before != nil {
		if _, _, on := b.step(*before, raw, b.carries(max(unseenFor, b.elapsed))); on {
			return false
		}
	}
	b.doubt = &raw
	return true
}

// begin begins a series beside the total.
func (b *belt) begin(raw int64, wrap bool) {
	below := b.raw - raw
	if below < 0 && below+b.Modulus <= b.Modulus/10 {
		below += b.Modulus // an older value, from before the register came around
	}
	floor, fresh := raw, false
	if o := b.other; o != nil {
		floor, fresh = max(floor, o.floor%b.Modulus, o.raw), o.fresh
		if o.deep && o.stayed {
			b.leave(o)
		}
	}
	b.other = &series{fresh: fresh, fell: below > 0, deep: below < 0 || below > tremble, wrap: wrap, base: raw, raw: raw, floor: floor, unseen: b.carries(unseenFor)}
}

// leave remembers a series of which the journal must know, because tonnes may be missing.
func (b *belt) leave(o *series) {
	if !o.noted {
		b.left = o
	}
}

func (b *belt) carried(counts, raw int64, wraps bool) {
	if counts == 0 {
		return
	}
	b.raw, b.counts, b.moved = raw, b.counts+counts, b.at
	b.unseen -= unit.Mass(counts) * b.Step
	b.wrapped = b.wrapped || wraps
}

// proposals are what is to be recorded now: the standing, and what was shown and not counted.
func (b *belt) proposals(last BeltState, at time.Time) (facts []record.Fact) {
	standing := last.Standing + unit.Mass(b.counts)*b.Step
	note := func(o *series, standing unit.Mass) {
		event := record.BeltJump
		if o.fell {
			event = record.BeltReset
		}
		facts = append(facts, b.fact(at, o.base, standing, event, last.Material))
	}
	moved := b.raw != last.Raw || b.counts != 0
	tick := func() {
		event := record.BeltTick
		if b.wrapped {
			event = record.BeltWrap
		}
		facts = append(facts, b.fact(at, b.raw, standing, event, last.Material))
	}
	mayNote := b.quiet >= noteEvery
	o := b.other
	switch {
	case b.left != nil && mayNote:
		note(b.left, last.Standing)
		tick()
	case o != nil && o.deep && !o.wrap && !o.noted && b.astray >= restAfter && mayNote:
		if moved {
			tick()
		}
		note(o, standing)
	case moved && (b.wrapped || at.Sub(last.At) >= b.Every || at.Before(last.At) || at.Sub(b.moved) >= restAfter), last.Odd && o == nil:
		tick()
	}
	return facts
}

func (b *belt) fact(at time.Time, raw int64, standing unit.Mass, event, material string) record.Fact {
	if material == "" {
		material = b.Material
	}
	return record.Fact{At: at, Device: b.Device, Body: &record.Belt{
		Raw: raw, Step: b.Step, Modulus: b.Modulus, Standing: standing, Material: material, Event: event,
	}}
}

// applyBelt takes in a standing, or that the register was seen where it can't be: then what is counted
// stays as it was.
func (s *Site) applyBelt(e Entry, body *record.Belt) {
	st := &BeltState{Raw: body.Raw, Standing: body.Standing, At: e.At, Material: body.Material}
	if before := s.state.Belts[e.Device]; before != nil {
		st.OddAt = before.OddAt
		if body.Event == record.BeltReset || body.Event == record.BeltJump {
			st.Raw, st.At = before.Raw, before.At
			st.Odd, st.Shown, st.OddAt = true, body.Raw, e.At
			s.addNote(noteOfTotal(e, body, before.Raw))
		}
	}
	if !st.Odd {
		s.closeNote(e.Device, e.At)
	}
	s.state.Belts[e.Device] = st
}
