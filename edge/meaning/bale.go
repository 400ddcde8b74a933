package meaning

import (
	"fmt"
	"strings"
	"time"

	"steelyard/firmware-bridge/device"
	"steelyard/internal/record"
	"steelyard/internal/unit"
)

// Baler is one baler that numbers its bales.
type Baler struct {
	Device   string
	Material string // what it presses until an operator says otherwise
	// Number is the meaning of the value that numbers the bales: BySequence, which the machine writes
	// after the block of its last bale, or ByCount, a counter beside which a mass may change at any time.
	Number string
	Most   int64 // bales that it can press in an hour; more are not believed
}

// What numbers bales, as profiles call it.
const (
	BySequence = "bale.sequence"
	ByCount    = "bale.count"
)

// BalerState is the last bale that is recorded, or the counter at first sight.
type BalerState struct {
	First    uint64 // where the counter stood when it began to be counted
	Last     uint64 // the number up to which everything is recorded
	Before   uint64 // Last of the counter before this one; 0: there was none
	At       time.Time
	Material string

	Odd   bool      // the counter was last recorded elsewhere than it can be, and no bale since
	Shown uint64    // where
	OddAt time.Time // when it last was; also after it has come back
}

// baler follows the number of the last bale. What each number may mean, what is counted and what is
// noted stands as a table in docs/decisions/0017.
type baler struct {
	Baler
	shown  shownBale
	at     time.Time     // of the newest poll with a number
	since  time.Time     // when the number that is recorded was last shown
	credit time.Duration // of pressing, for bales that were not shown yet
	quiet  time.Duration // since the newest note
	run    *run          // the numbers that are shown and don't follow what is recorded; nil: there are none
	stood  *uint64       // the newest of them, until the counter is well again: time makes it no bale
}

// shownBale is what polls show until a bale is whole.
type shownBale struct {
	number uint64
	mass   unit.Decimal
	weighs bool
	since  time.Time // the first of the polls with this number; zero: there was none
	rests  time.Time // and with this mass
	moves  int       // how often the mass was another one
	whole  bool      // the mass has rested, too
}

// run is a run of numbers that don't follow what is recorded. It is a counter of its own when it has
// gone on for some bales.
type run struct {
	base   uint64
	last   uint64
	floor  uint64        // what it repeats of the run before it is no bale
	since  time.Time     // when last was last shown
	credit time.Duration // of pressing
	shown  bool          // twice: it is no word torn in its middle
	fresh  bool          // begun by a start: its first step may be the way back to what was shown before
	bales  []*record.Bale
}

const (
	usualMost    = 600 // bales in an hour: more than any baler that is known here
	provenBales  = 3   // a run of so many bales is a new counter
	burst        = 2   // bales may show sooner one after the other than they are pressed
	countRests   = 5 * time.Second
	massPatience = 30 * time.Second
	massMoves    = 5
	counterNotes = "counter: " // begins the details of what is noted of a counter
)

func (b *baler) scan(last *BalerState, scan device.Scan) []record.Fact {
	v, ok := scan.Quantity(b.Number)
	if !ok {
		return nil // the slower values of the machine come in scans of their own
	}
	if !v.OK || v.Number.Scale != 0 || v.Number.Coef < 0 {
		b.shown.since = time.Time{}
		return nil
	}
	number := uint64(v.Number.Coef)
	twice, whole := b.confirmed(number, scan)
	switch {
	case last == nil && twice:
		return []record.Fact{b.counter(scan.At, number, "the baler's counter at first sight")}
	case last == nil:
		return nil
	}
	b.advance(*last, number, scan.At)
	follows := number == last.Last || b.canFollow(*last, number, scan.At)
	if !follows {
		b.strays(number, scan.At)
	} else if b.run != nil && !b.run.leadsTo(number, b, scan.At) {
		b.run = nil
	}
	switch {
	case !twice, !whole && number != last.Last:
		return nil
	case number == last.Last:
		facts := b.ends(*last, number, scan.At)
		b.recovered(scan.At)
		return facts
	case follows:
		return append(b.ends(*last, number, scan.At), record.Fact{At: scan.At, Device: b.Device, Body: b.bale(*last, last.Last, number, scan)})
	}
	return b.astray(*last, number, scan)
}

// canFollow reports whether a number above the recorded one can be that of a bale.
func (b *baler) canFollow(last BalerState, number uint64, at time.Time) bool {
	stands := b.stood != nil && *b.stood == number
	again := number == last.Before && number != last.Last+1
	return number > last.Last && !stands && !again && number-last.Last <= b.most(b.since, b.credit, at)
}

// recovered ends whatever was wrong with the counter.
func (b *baler) recovered(at time.Time) { b.run, b.stood, b.since = nil, nil, at }

// confirmed reports whether a number was shown twice, as one must be that is no word torn in its middle,
// and whether its bale is whole. A sequence is written after its bale, so then it is. A count promises no
// order: it and the mass beside it must have rested for a while, and the bale beside which the mass finds
// no rest has none.
func (b *baler) confirmed(number uint64, scan device.Scan) (twice, whole bool) {
	mass, _ := scan.Quantity("bale.mass")
	now := shownBale{number: number, mass: mass.Number, weighs: mass.OK, since: b.shown.since, rests: b.shown.rests, moves: b.shown.moves}
	twice = !now.since.IsZero() && number == b.shown.number && !scan.At.Before(now.rests) // the clock may be set back
	if now.mass != b.shown.mass || now.weighs != b.shown.weighs {
		now.rests, now.moves = scan.At, now.moves+1
	}
	if !twice {
		now.since, now.rests, now.moves = scan.At, scan.At, 0
	}
	now.whole = now.weighs && scan.At.Sub(now.rests) >= countRests
	b.shown = now
	rested := scan.At.Sub(now.since)
	return twice, b.Number != ByCount || now.whole || !now.weighs && rested >= countRests || now.moves >= massMoves && rested >= massPatience
}

// press is the shortest time that a bale takes.
func (b *baler) press() time.Duration { return time.Hour / time.Duration(b.Most) }

// advance takes in that time has passed since the last poll. A baler that is seen to stand at a number
// gains no more than the bales that may be in it; while it is not, it may press.
func (b *baler) advance(last BalerState, number uint64, at time.Time) {
	if b.at.IsZero() {
		b.at, b.since, b.credit, b.quiet = last.At, last.At, b.press(), noteEvery
		if last.Odd {
			b.strays(last.Shown, last.OddAt)
			b.run.shown, b.run.fresh = true, true
		}
	}
	elapsed := max(0, at.Sub(b.at))
	b.at, b.quiet = at, b.quiet+elapsed
	gains := func(credit time.Duration, stands bool) time.Duration {
		if credit += elapsed; stands {
			return min(credit, max(elapsed, burst*b.press()))
		}
		return credit
	}
	b.credit = gains(b.credit, number == last.Last)
	if b.run != nil {
		b.run.credit = gains(b.run.credit, number == b.run.last)
	}
}

// most is how many bales can have been pressed since a number was last shown: one that was in the
// baler and those for which there was time.
func (b *baler) most(since time.Time, credit time.Duration, at time.Time) uint64 {
	return uint64(min(credit/b.press(), 1+max(0, at.Sub(since))/b.press()))
}

// leadsTo reports whether a run may have gone on to a number.
func (r *run) leadsTo(number uint64, b *baler, at time.Time) bool {
	return number >= r.last && number-r.last <= b.most(r.since, r.credit, at)
}

// strays takes in a number that does not follow what is recorded, be it seen once.
func (b *baler) strays(number uint64, at time.Time) {
	r := b.run
	if b.stood = &number; r != nil && r.leadsTo(number, b, at) {
		return
	}
	b.run = &run{base: number, last: number, since: at, credit: b.press()}
	if r != nil && r.last > number && r.last-number <= uint64(b.Most) { // what is further off was nonsense
		b.run.floor = max(r.floor, r.last)
	}
	b.run.fresh = r != nil && r.fresh
}

// ends ends what was noted of the counter, for it shows a number that follows what is recorded. If it
// may have counted up to here from a smaller number, bales may be missing, and that is noted first.
func (b *baler) ends(last BalerState, number uint64, at time.Time) (facts []record.Fact) {
	r := b.run
	if r != nil && r.shown && !last.Odd {
		facts = append(facts, b.stray(last, r.last, at))
	}
	if last.Odd || len(facts) > 0 {
		facts = append(facts, b.note(at, device.Online, number, "shows %d, and %d is recorded: it is counted again; what it showed meanwhile is not", number, last.Last))
	}
	return facts
}

// astray takes in a number that was shown twice and does not follow what is recorded.
func (b *baler) astray(last BalerState, number uint64, scan device.Scan) (facts []record.Fact) {
	r := b.run
	if r.fresh && number > r.last {
		r.base, r.fresh = number, false
	} else if number > r.last && number > r.floor {
		r.bales = append(r.bales, b.bale(last, max(r.last, r.floor), number, scan))
	}
	r.credit -= time.Duration(number-r.last) * b.press()
	r.last, r.since, r.shown = number, scan.At, true
	// A counter that begins anew begins at 0. Elsewhere its numbers are new ones, or it shows again what
	// was recorded.
	if anew := r.base == 0 || r.base >= last.Last || r.last < last.First; anew && len(r.bales) >= provenBales {
		facts = append(facts, b.counter(scan.At, r.base,
			fmt.Sprintf("a new counter: bales %d to %d came one after the other, and the one before had stood at %d", r.bales[0].Number, r.last, last.Last)))
		if last.Odd {
			facts = append(facts, b.note(scan.At, device.Online, r.last, "the new counter is counted"))
		}
		for _, bale := range r.bales {
			facts = append(facts, record.Fact{At: scan.At, Device: b.Device, Body: bale})
		}
		return facts
	}
	if known := last.Odd && last.Shown == number; !known && b.quiet >= noteEvery {
		facts = append(facts, b.stray(last, number, scan.At))
	}
	return facts
}

// stray is the note of a number that is no bale.
func (b *baler) stray(last BalerState, number uint64, at time.Time) record.Fact {
	if number < last.Last {
		return b.note(at, device.Faulty, number, "shows %d, and bales up to %d are recorded: nothing is counted until it is above that, or counts on from 0 for %d bales; have the controller looked at",
			number, last.Last, provenBales)
	}
	return b.note(at, device.Faulty, number, "went from %d to %d, and this baler presses %d in an hour at most: not counted until it has counted on for %d bales; have the controller looked at, or raise max_bales if it is so fast",
		last.Last, number, b.Most, provenBales)
}

func (b *baler) note(at time.Time, state device.State, number uint64, format string, args ...any) record.Fact {
	return record.Fact{At: at, Device: b.Device, Body: &record.Device{State: string(state), Detail: counterNotes + fmt.Sprintf(format, args...), Counter: number}}
}

func (b *baler) counter(at time.Time, number uint64, detail string) record.Fact {
	return record.Fact{At: at, Device: b.Device, Body: &record.Device{State: "counter", Detail: detail, Counter: number}}
}

// bale is the bale that a scan shows.
func (b *baler) bale(last BalerState, before, number uint64, scan device.Scan) *record.Bale {
	material := last.Material
	if material == "" {
		material = b.Material
	}
	bale := &record.Bale{
		Number: number, Material: material, Missed: number - before - 1,
		LengthMM: whole(scan, "bale.length", 0), Strokes: whole(scan, "bale.strokes", 0), Wires: whole(scan, "bale.wires", 0),
		CycleS: whole(scan, "bale.cycle", 0), PressureMax: whole(scan, "bale.pressure_max", 1),
		EnergyWh: whole(scan, "bale.energy", 0), EndedAt: whole(scan, "bale.ended_at", 0),
	}
	if v, ok := scan.Quantity("bale.mass"); ok && v.OK && (b.Number != ByCount || b.shown.whole) {
		mass, err := v.Number.Mass(unit.Unit(v.Unit))
		bale.Weighed = err == nil && mass > 0 // the contract: 0 says that the bale was not weighed
		if bale.Weighed {
			bale.Mass = mass
		}
	}
	return bale
}

// whole reads a value as a whole number of 10^-scale of its unit; 0 when there is none.
func whole(scan device.Scan, quantity string, scale uint8) int64 {
	v, ok := scan.Quantity(quantity)
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

func (s *Site) applyBale(e Entry, body *record.Bale) {
	st := BalerState{First: body.Number, Material: body.Material}
	if before := s.state.Balers[e.Device]; before != nil {
		st = *before
	}
	st.Last, st.At, st.Material, st.Odd = body.Number, e.At, body.Material, false
	s.state.Balers[e.Device] = &st
	if b := s.balers[e.Device]; b != nil {
		b.counted(body, e.At)
	}
}

// counted takes in that the journal has a bale.
func (b *baler) counted(body *record.Bale, at time.Time) {
	switch r := b.run; {
	case r == nil || body.Number <= r.base || body.Number > r.last:
		b.credit -= time.Duration(body.Missed+1) * b.press()
	case body.Number < r.last:
		return // more of its run come
	default:
		b.credit = r.credit
	}
	b.recovered(at)
}

// applyCounter takes in a counter at first sight, or a new one.
func (s *Site) applyCounter(e Entry, body *record.Device) {
	st := BalerState{First: body.Counter, Last: body.Counter, At: e.At}
	if before := s.state.Balers[e.Device]; before != nil {
		st.Before, st.Material, st.OddAt = before.Last, before.Material, before.OddAt
		n := noteOfCounter(e, body.Counter, before.Last)
		n.Code, n.Over = NoteCounterNew, e.At
		s.closeNote(e.Device, e.At)
		s.addNote(n)
	}
	s.state.Balers[e.Device] = &st
}

// applyCounterNote takes in that a counter showed what is no bale, or that it is well again, and reports
// whether an entry says so.
func (s *Site) applyCounterNote(e Entry, body *record.Device) bool {
	st := s.state.Balers[e.Device]
	if st == nil || !strings.HasPrefix(body.Detail, counterNotes) {
		return false
	}
	if st.Odd = body.State == string(device.Faulty); !st.Odd {
		s.closeNote(e.Device, e.At)
	} else {
		st.Shown, st.OddAt = body.Counter, e.At
		s.addNote(noteOfCounter(e, body.Counter, st.Last))
		if b := s.balers[e.Device]; b != nil {
			b.quiet = 0
		}
	}
	return true
}
