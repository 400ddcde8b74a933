package meaning

import (
	"cmp"
	"encoding/hex"
	"time"

	"steelyard/firmware-bridge/device"
	"steelyard/internal/record"
	"steelyard/internal/unit"
)

// Deck is one weighbridge as its type plate says.
type Deck struct {
	Device   string
	Division unit.Mass     // e
	Min      unit.Mass     // 20 e on a class III instrument (NAWI, OIML R 76); weights below are no weighings
	Max      unit.Mass     // capacity; nothing is indicated above Max + 9 e (OIML R 76)
	Unit     unit.Unit     // of the display, for formats that do not say it
	Window   time.Duration // how long a weight must rest when the indicator has no stability flag
	Gap      time.Duration // between two frames: after a longer one rest is waited for anew; 500 ms if zero
	Stores   bool          // the indicator stores each weighing in a memory of its own, when it is told to
}

// Rules of capture. The window and the spread of 1 e are OIML R 76-1 4.4.2 read for a receiver
// that only sees frames; re-arming above 2 e keeps one plateau one weighing.
const (
	flagWindow   = 500 * time.Millisecond
	flagFrames   = 3
	leastFrames  = 5
	usualGap     = 500 * time.Millisecond
	zeroBand     = 2  // e
	rearmBand    = 2  // e
	overBand     = 9  // e above Max
	keptFrames   = 40 // raw frames stored with a weighing
	keptCurve    = 240
	curveSpacing = time.Second
)

// DeckState is what the journal knows of a deck.
type DeckState struct {
	Last Capture // the newest weighing
}

// Capture is a weighing in the journal.
type Capture struct {
	Ref   record.Ref
	Hash  string
	At    time.Time
	Mass  unit.Mass
	Text  string
	Unit  unit.Unit
	Alibi string // its number in the indicator's own memory; empty where it has none
	Flags []string
	Used  bool // by a weigh-in or a ticket: a weighing serves once
}

// frame is one weight of the window.
type frame struct {
	at   time.Time
	mass unit.Mass
	raw  []byte
}

// deck observes the frames of one weighbridge.
type deck struct {
	Deck
	frame    device.Weight // newest frame, without Raw
	mass     unit.Mass     // of frame, when it has a mass
	measured bool          // mass is what frame shows to lie on the deck
	seen     []Seen        // of the last half minute, oldest first
	why      string        // code: why frame can't be captured; empty when it can
	window   []frame
	curve    []record.Point // times relative to curveAt
	curveAt  time.Time
	distinct int     // different raw frames since the deck was loaded, at most 2
	lastRaw  []byte  // of the frame before
	onDeck   Capture // the weighing of what stands on the deck; zero when there is none yet
	zero     zeroSeen
	loaded   bool

	storing storing // where Stores is set; elsewhere only its notes are used
}

// zeroSeen reports whether the deck was seen empty since the last weighing.
type zeroSeen int8

const (
	zeroUnknown zeroSeen = iota // since the start nothing was seen
	zeroYes
	zeroNo
)

func newDeck(d Deck) *deck { return &deck{Deck: d, why: "silent"} }

// onSilence drops what was seen: after a silence the next frame is looked at afresh, and only the
// journal reports whether the load was weighed before.
func (d *deck) onSilence(at time.Time) {
	d.window, d.curve, d.distinct, d.lastRaw = nil, nil, 0, nil
	d.onDeck, d.zero, d.why, d.loaded = Capture{}, zeroUnknown, "silent", false
	d.frame = device.Weight{}
	if !d.storing.out.IsZero() {
		d.onNoAnswer(at)
	}
	d.onUnload()
}

// Weight takes one frame of a weighbridge and proposes the weighing that it completes, if any.
// The frame's Raw may be reused by the caller afterwards. Where the indicator stores weighings, ToStore
// may have something to be asked afterwards.
func (s *Site) Weight(w device.Weight) []record.Fact {
	d := s.decks[w.Device]
	if d == nil {
		return nil
	}
	var last Capture
	if st := s.state.Decks[w.Device]; st != nil {
		last = st.Last
	}
	if d.answers(w) {
		d.onAnswer(w, last)
		return d.proposals()
	}
	fact := d.weight(w, last)
	facts := d.proposals()
	if fact != nil {
		facts = append(facts, *fact)
	}
	return facts
}

func (d *deck) weight(w device.Weight, last Capture) *record.Fact {
	raw := w.Raw
	gap := !d.frame.At.IsZero() && w.At.Sub(d.frame.At) > cmp.Or(d.Gap, usualGap)+d.storing.turn()
	d.frame = w
	d.frame.Raw = nil
	d.storing.ready, d.storing.heard = false, false
	d.checkOverdue(w.At)
	d.mass, d.why = d.rejectReason(w)
	d.measured = d.why == "" || d.mass != 0 // where there is none, rejectReason returns 0 with its reason
	d.see()
	if d.why != "" {
		d.window = d.window[:0]
		d.onError(w)
		if w.HasValue || d.why == "over" || d.why == "under" {
			d.onUnrest()
		}
		return nil
	}
	if d.mass.Abs() <= zeroBand*d.Division {
		d.onEmpty()
		return nil
	}
	if !d.loaded {
		d.loaded, d.curveAt = true, w.At
		d.curve, d.distinct = d.curve[:0], 0
		// What stands on the deck when nothing was seen before is the last weighed load, if it
		// shows that weight: the agent was restarted under a standing lorry.
		if d.zero == zeroUnknown && last.Ref.N != 0 && withinOf(d.mass, last.Mass, rearmBand*d.Division) {
			d.onDeck = last
		}
	}
	d.observe(w.At, raw, gap)
	if d.onDeck.Ref.N != 0 {
		if withinOf(d.mass, d.onDeck.Mass, rearmBand*d.Division) {
			return nil
		}
		d.onDeck, d.zero = Capture{}, zeroNo
		d.window = d.window[len(d.window)-1:]
	}
	d.onLiveWeight()
	if d.mass < d.Min {
		d.why = "below-minimum"
		return nil
	}
	stability, ok := d.stable(w)
	if !ok {
		d.why = "moving"
		return nil
	}
	if d.frozen(w) {
		d.why = "frozen"
		return nil
	}
	if d.Stores {
		d.onRest(stability)
		return nil
	}
	return &record.Fact{At: w.At, Device: d.Device, Body: d.weighing(w, stability)}
}

// rejectReason returns the mass of a frame and the code of why it can't be captured; empty when it can.
func (d *deck) rejectReason(w device.Weight) (unit.Mass, string) {
	switch {
	case w.Range == device.Over:
		return 0, "over"
	case w.Range == device.Under:
		return 0, "under"
	case !w.HasValue || w.Range == device.OverOrUnder || w.Range == device.RangeError:
		return 0, "no-weight"
	case w.Kind == device.Net && !zeroTare(w), w.Kind == device.Tare, w.Kind == device.Shown && tared(w):
		return 0, "net-mode"
	case w.PowerUp == device.Yes:
		return 0, "zero-not-set"
	}
	mass, err := w.Value.Mass(d.unitOf(w))
	switch {
	case err != nil:
		return 0, "unit"
	case mass > d.Max+overBand*d.Division:
		return mass, "over"
	case mass < -zeroBand*d.Division:
		return mass, "negative"
	}
	return mass, ""
}

// zeroTare reports whether a net weight is the gross weight: its frame says itself that the tare is zero. Some
// formats have no other (Dini's extended string).
func zeroTare(w device.Weight) bool { return w.HasTare && w.Tare.Coef == 0 }

// tared reports whether a weight of no kind has a tare beside it, so the display may be a net one.
func tared(w device.Weight) bool {
	return w.HasTare && w.Tare.Coef != 0 || !w.HasTare && w.TareKind == device.TarePreset
}

// unitOf is the unit of a frame's digits.
func (d *deck) unitOf(w device.Weight) unit.Unit { return cmp.Or(w.Unit, d.Unit) }

func (d *deck) onEmpty() {
	d.onUnload()
	d.why, d.loaded, d.zero = "empty", false, zeroYes
	d.onDeck = Capture{}
	d.window, d.curve, d.distinct, d.lastRaw = d.window[:0], d.curve[:0], 0, nil
}

// observe keeps the window and the curve. The window begins with the newest frame that is old and
// has successors enough, however seldom frames come: cut at its length it would never be filled.
func (d *deck) observe(at time.Time, raw []byte, gap bool) {
	if gap {
		d.window = d.window[:0]
	}
	d.window = append(d.window, frame{at, d.mass, append([]byte(nil), raw...)})
	span, old := max(d.Window, flagWindow), 0
	for old+leastFrames < len(d.window) && at.Sub(d.window[old+1].at) >= span {
		old++
	}
	d.window = append(d.window[:0], d.window[old:]...)
	if string(raw) != string(d.lastRaw) {
		d.distinct = min(d.distinct+1, 2)
		d.lastRaw = append(d.lastRaw[:0], raw...)
	}
	ms := at.Sub(d.curveAt).Milliseconds()
	if n := len(d.curve); n == 0 || !withinOf(d.mass, d.curve[n-1].Mass, d.Division-1) || ms-d.curve[n-1].MS >= curveSpacing.Milliseconds() {
		d.curve = append(d.curve, record.Point{MS: ms, Mass: d.mass})
	}
	if len(d.curve) > keptCurve {
		for i := range keptCurve / 2 {
			d.curve[i] = d.curve[2*i]
		}
		d.curve = d.curve[:keptCurve/2]
	}
}

// stable reports whether the load rests, by the window. With a flag the indicator decides and the window only guards against
// a flickering bit; without one the frames must rest within 1 e for the whole window.
func (d *deck) stable(w device.Weight) (record.Stability, bool) {
	by, span, least := "inferred", d.Window, leastFrames
	switch w.Stable {
	case device.No:
		return record.Stability{}, false
	case device.Yes:
		by, span, least = "flag", flagWindow, flagFrames
	}
	first, low, high := len(d.window), d.mass, d.mass
	frames, rested := 0, time.Duration(0)
	for first > 0 && (rested < span || frames < least) {
		first--
		frames, rested = frames+1, w.At.Sub(d.window[first].at)
		low, high = min(low, d.window[first].mass), max(high, d.window[first].mass)
	}
	if rested < span || frames < least || high-low > d.Division {
		return record.Stability{}, false
	}
	return record.Stability{By: by, WindowMS: rested.Milliseconds(), Frames: frames, Spread: high - low}, true
}

// frozen reports whether a load rests in one and the same frame since it came, without a flag to say that
// it rests: a lorry shows other weights while it drives on, and an output that has stopped does not. Where
// the format has a flag the indicator says itself that the load rests, asked or not, and may say it in the
// same words each time. After a restart under a standing lorry there is nothing to compare: that weighing
// is flagged.
func (d *deck) frozen(w device.Weight) bool {
	return w.Stable == device.Unknown && d.distinct < 2 && d.zero != zeroUnknown
}

func (d *deck) weighing(w device.Weight, stability record.Stability) *record.Weighing {
	body := &record.Weighing{
		Mass: d.mass, Text: w.Value.String(), Unit: d.unitOf(w), Shown: string(w.Kind), Division: d.Division, Max: d.Max,
		Stability: stability, Frames: []string{}, Curve: []record.Point{}, Flags: d.flags(d.mass),
	}
	for _, f := range d.window[max(0, len(d.window)-min(keptFrames, stability.Frames)):] {
		body.Frames = append(body.Frames, hex.EncodeToString(f.raw))
	}
	end := w.At.Sub(d.curveAt).Milliseconds()
	for _, p := range d.curve {
		body.Curve = append(body.Curve, record.Point{MS: p.MS - end, Mass: p.Mass})
	}
	return body
}

// flags are what is noticed about a weighing.
func (d *deck) flags(mass unit.Mass) []string {
	flags := []string{}
	switch d.zero {
	case zeroUnknown:
		flags = append(flags, "zero-not-seen")
	case zeroNo:
		flags = append(flags, "not-from-zero")
	}
	if mass%d.Division != 0 {
		flags = append(flags, "not-a-multiple-of-e")
	}
	return flags
}

func (s *Site) applyWeighing(e Entry, body *record.Weighing) {
	c := Capture{Ref: e.Ref, Hash: e.Hash, At: e.At, Mass: body.Mass, Text: body.Text, Unit: body.Unit, Alibi: body.Alibi, Flags: body.Flags}
	s.state.Decks[e.Device] = &DeckState{Last: c}
	if d := s.decks[e.Device]; d != nil && d.loaded {
		d.onDeck, d.storing.answer = c, nil
	}
}

// use marks a weighing as spent.
func (s *Site) use(ref record.Ref) {
	for _, st := range s.state.Decks {
		if st.Last.Ref == ref {
			st.Last.Used = true
		}
	}
	for _, d := range s.decks {
		if d.onDeck.Ref == ref {
			d.onDeck.Used = true
		}
	}
}

// DeckView is what a page shows of a deck.
type DeckView struct {
	Deck     Deck
	At       time.Time // of the newest frame; zero when there was none
	Text     string    // digits as the indicator sent them; empty when there is no weight
	Unit     unit.Unit
	Mass     unit.Mass
	HasMass  bool
	Stable   device.Tri
	Zero     bool
	Code     string  // "captured", "empty", "moving", "below-minimum", "over", "silent", …
	OnDeck   Capture // zero when nothing is captured
	MayWeigh bool
}

// staleAfter is the age at which a weight is no longer shown as one.
const staleAfter = 2 * time.Second

// DeckViews shows every deck at a time, in the order of the configuration.
func (s *Site) DeckViews(now time.Time) []DeckView {
	var all []DeckView
	for _, c := range s.config.Decks {
		d := s.decks[c.Device]
		v := DeckView{Deck: c, At: d.frame.At, Code: d.why, OnDeck: d.onDeck}
		if d.frame.At.IsZero() || now.Sub(d.frame.At) > staleAfter {
			v.Code, v.OnDeck = "silent", Capture{}
			all = append(all, v)
			continue
		}
		if d.frame.HasValue {
			v.Text, v.Unit, v.Mass, v.HasMass = d.frame.Value.String(), d.frame.Unit, d.mass, d.measured
			if v.Unit == unit.Unknown {
				v.Unit = c.Unit
			}
		}
		v.Stable, v.Zero = d.frame.Stable, v.HasMass && v.Code == "empty"
		if d.onDeck.Ref.N != 0 && v.Code == "" {
			v.Code = "captured"
			if refusal := checkUsable(d.onDeck); refusal != nil {
				v.Code = refusal.Code
			} else {
				v.MayWeigh = true
			}
		}
		all = append(all, v)
	}
	return all
}
