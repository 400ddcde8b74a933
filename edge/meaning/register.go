package meaning

import (
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"steelyard/firmware-bridge/device"
	"steelyard/internal/record"
	"steelyard/internal/unit"
)

// A deck whose indicator stores weighings takes no weighing from its live weight. When a load rests that it would
// weigh, it wants the indicator to weigh and store; ToStore hands that wish to whoever can ask,
// and the weighing is made of the answer, which comes in as a frame like any other:
//
//	rests ──▶ wanted ──ToStore─────▶ out ──┬─▶ answer that agrees ───▶ weighing, with its number
//	            ▲                          ├─▶ refusal, error ───────┐
//	            │                          ├─▶ answer that differs ──┤ (noted)
//	            │                          └─▶ nothing in time ──────┤ (noted)
//	            └─────── after a pause, while the load still rests ◀─┘
//
// Whatever the indicator has stored and no weighing was made of is noted in the journal as a fault,
// so that each number of its memory is found there.
const (
	answerWithin = 3 * time.Second // an answer that takes longer is late
	lateWithin   = time.Minute     // and after that it answers no request
	answerTurn   = time.Second     // of the line, at most, in which the live weight waits for an answer
	refusedPause = 3 * time.Second
	failedPause  = 5 * time.Second // doubled with each failure for one load: each may have filled the indicator's memory
	longestPause = time.Minute
	mostNotes    = 16 // that wait for the journal; whatever is beyond them is lost with the disk that took none
)

// outcome is what came of the latest request for a load.
type outcome int8

const (
	nothing outcome = iota
	refused
	unanswered
	different
	failed
)

// storing is what a deck knows of the load that is to be stored.
type storing struct {
	rests  bool             // a load has come to rest that may be weighed
	load   unit.Mass        // of it, when it came to rest
	live   unit.Mass        // what the display showed of it last
	rest   record.Stability // how it rested, in the newest frame in which it did
	ready  bool             // which is the newest of all
	asked  bool             // it was asked for
	draft  *record.Weighing // what the live weight said of it when it was asked for
	drawn  time.Time        // when
	again  time.Time        // nothing is asked before
	tries  int              // requests that brought nothing usable since the deck was loaded
	came   outcome
	answer *record.Fact // the weighing, until the journal has it

	heard bool      // an answer came since the newest live weight
	out   time.Time // when the request was handed over that has no answer yet; zero: none
	here  bool      // the latest request was made since the deck was loaded
	owed  int       // requests that were never answered: a late answer may be one of theirs
	notes []record.Fact
	stray string // the newest note of a stored weighing: a line that repeats itself fills no journal
}

// answers reports whether a frame answers a request to store: it shows a stored weighing, or a
// refusal, which is neither a weight nor a fault of the range.
func (d *deck) answers(w device.Weight) bool {
	return w.Alibi != "" || d.Stores && !w.HasValue && w.Error != "" && w.Range == device.RangeUnknown
}

// Answers reports whether a frame of a weighbridge is no live weight but the answer to such a request. It
// may be called from any goroutine.
func (s *Site) Answers(w device.Weight) bool {
	d := s.decks[w.Device]
	return d != nil && d.answers(w)
}

// ToStore names the decks whose indicators are to be told now to weigh and store. Whoever takes a
// name tells that indicator, once: the deck is not named again before it has answered or had its time.
func (s *Site) ToStore(now time.Time) []string {
	var all []string
	for _, c := range s.config.Decks {
		if d := s.decks[c.Device]; d.wants(now) {
			d.ask(now)
			all = append(all, c.Device)
		}
	}
	return all
}

// wants reports whether a load rests in the newest frame that waits for its number.
func (d *deck) wants(now time.Time) bool {
	r := &d.storing
	return r.ready && now.Sub(d.frame.At) <= staleAfter &&
		d.onDeck.Ref.N == 0 && r.answer == nil && r.out.IsZero() && !now.Before(r.again)
}

func (d *deck) ask(now time.Time) {
	r := &d.storing
	r.draft, r.drawn = d.weighing(d.frame, r.rest), d.frame.At
	r.asked, r.here, r.out = true, true, now
	r.owed++
}

// turn is how much longer than ever two live weights may be apart, because the line had to wait for
// an answer between them.
func (r *storing) turn() time.Duration {
	if r.heard || !r.out.IsZero() {
		return answerTurn
	}
	return 0
}

// onRest takes in that a load rests that a deck without a memory of its own would weigh now, and
// sets why it is not weighed yet.
func (d *deck) onRest(stability record.Stability) {
	r := &d.storing
	if !r.rests {
		r.rests, r.load = true, d.mass
	}
	r.rest, r.ready = stability, true
	switch {
	case r.came == nothing || !r.out.IsZero():
		d.why = "registering"
	case r.came == refused:
		d.why = "register-refused"
	case r.came == unanswered:
		d.why = "register-unanswered"
	case r.came == different:
		d.why = "register-differs"
	default:
		d.why = "register-failed"
	}
}

// onLiveWeight takes in a live weight of a loaded deck.
func (d *deck) onLiveWeight() {
	if r := &d.storing; r.rests && !withinOf(d.mass, r.load, rearmBand*d.Division) {
		d.onUnrest()
	}
	d.storing.live = d.mass
}

// onUnrest ends the load that rested: another one, or nothing, is on the deck from now on. A request
// that is out stays out, and pauses stay, so that a rocking load can't shorten them.
func (d *deck) onUnrest() {
	r := &d.storing
	if r.answer != nil {
		w := r.answer.Body.(*record.Weighing)
		d.note(r.answer.At, storedText(w.Text, w.Unit, w.Alibi, "the load left before the journal took it", w.Frames[len(w.Frames)-1]))
	}
	r.rests, r.asked, r.draft, r.answer = false, false, nil, nil
}

// onUnload ends the visit of a load.
func (d *deck) onUnload() {
	d.onUnrest()
	r := &d.storing
	r.here, r.again, r.tries, r.came = false, time.Time{}, 0, nothing
}

// checkOverdue ends a wait that was too long.
func (d *deck) checkOverdue(at time.Time) {
	if r := &d.storing; !r.out.IsZero() && at.Sub(r.out) > answerWithin {
		d.onNoAnswer(at)
	}
}

// onNoAnswer ends the wait for an answer. What the indicator has done is not known then: it may have
// stored the weighing, and the number of the next one tells.
func (d *deck) onNoAnswer(at time.Time) {
	d.storing.out = time.Time{}
	d.note(at, "registering: the indicator gave no answer; perhaps it has stored a weighing, which the number of the next one tells: compare with its memory")
	d.onFailure(at, unanswered)
}

// onFailure takes in that a request brought nothing usable. The next load does not wait for that.
func (d *deck) onFailure(at time.Time, came outcome) {
	r := &d.storing
	if !r.here {
		return
	}
	r.again, r.came = at.Add(min(failedPause<<min(r.tries, 8), longestPause)), came
	r.tries++
}

// onError takes in an error that the indicator has sent in place of a weight. While a request is out
// it may be the answer to that: an indicator without a memory does not know the command.
func (d *deck) onError(w device.Weight) {
	r := &d.storing
	if r.out.IsZero() || w.HasValue || w.Error == "" {
		return
	}
	if r.out = (time.Time{}); r.tries == 0 {
		d.note(w.At, fmt.Sprintf("registering: the indicator answered %.40q; see whether its alibi memory is fitted and has room", w.Error))
	}
	r.owed--
	d.onFailure(w.At, failed)
}

// onAnswer takes a stored weighing or a refusal. Only what was asked for the load that still rests,
// and says the same as the display, becomes a weighing.
func (d *deck) onAnswer(w device.Weight, last Capture) {
	r := &d.storing
	owed := r.owed > 0 && w.At.Sub(r.drawn) <= lateWithin
	r.owed, r.out, r.heard = max(0, r.owed-1), time.Time{}, true
	if w.Alibi == "" {
		if r.here && owed {
			r.again, r.came = w.At.Add(refusedPause), refused
		}
		return
	}
	mass, why := d.rejectReason(w)
	waits := r.rests && r.asked && r.answer == nil && d.onDeck.Ref.N == 0
	switch {
	case waits && why == "" && withinOf(mass, r.live, d.Division) && w.At.Sub(d.frame.At) <= staleAfter:
		r.again, r.tries, r.came = time.Time{}, 0, nothing
		r.answer = &record.Fact{At: w.At, Device: d.Device, Body: d.stored(w, mass, last)}
	case waits:
		d.noteStored(w, "the display did not show the same: have the indicator and its line looked at")
		d.onFailure(w.At, different)
	case w.Alibi == last.Alibi && w.Value.String() == last.Text || r.answer != nil && w.Alibi == r.answer.Body.(*record.Weighing).Alibi:
		// The answer came twice, and its weighing is known.
	case !owed:
		d.noteStored(w, "nobody here had asked: see who registers at the indicator")
	case d.onDeck.Ref.N != 0:
		d.noteStored(w, "this load was registered before, as "+d.onDeck.Alibi)
	default:
		d.noteStored(w, "the load had gone or changed when the answer came")
	}
}

// stored makes the weighing of an answer: its digits and its number, and as evidence the live frames
// for which it was asked, and the answer itself.
func (d *deck) stored(w device.Weight, mass unit.Mass, last Capture) *record.Weighing {
	r := &d.storing
	body := *r.draft
	body.Mass, body.Text, body.Unit, body.Shown, body.Alibi = mass, w.Value.String(), d.unitOf(w), string(w.Kind), w.Alibi
	body.Frames = append(slices.Clone(body.Frames[max(0, len(body.Frames)-keptFrames+1):]), hex.EncodeToString(w.Raw))
	body.Curve = slices.Clone(body.Curve)
	for i := range body.Curve {
		body.Curve[i].MS -= w.At.Sub(r.drawn).Milliseconds()
	}
	body.Flags = d.flags(mass)
	if w.Alibi == last.Alibi {
		body.Flags = append(body.Flags, "alibi-repeated")
	}
	return &body
}

// noteStored notes a weighing that the indicator has stored and that does not count here.
func (d *deck) noteStored(w device.Weight, why string) {
	r := &d.storing
	if text := storedText(w.Value.String(), d.unitOf(w), w.Alibi, why, hex.EncodeToString(w.Raw)); text != r.stray {
		r.stray = text
		d.note(w.At, text)
	}
}

func storedText(text string, u unit.Unit, number, why, frame string) string {
	return fmt.Sprintf("registering: the indicator stored %s %s as %s, which is no weighing here: %s; frame %.200s", text, u, number, why, frame)
}

// note keeps a fault until the journal has it.
func (d *deck) note(at time.Time, detail string) {
	if r := &d.storing; len(r.notes) < mostNotes {
		r.notes = append(r.notes, record.Fact{At: at, Device: d.Device, Body: &record.Device{State: string(device.Faulty), Detail: detail}})
	}
}

// proposals are the oldest note and the weighing that the journal has not taken yet. The machine is
// as well after a note as before it, which the fact behind it says.
func (d *deck) proposals() (facts []record.Fact) {
	r := &d.storing
	if len(r.notes) > 0 {
		n := r.notes[0]
		facts = append(facts, n, record.Fact{At: n.At, Device: d.Device, Body: &record.Device{State: string(device.Online), Detail: "weights come as before"}})
	}
	if r.answer != nil {
		facts = append(facts, *r.answer)
	}
	return facts
}

// journaled takes in that the journal has a device's fact.
func (d *deck) journaled(body *record.Device) {
	if r := &d.storing; len(r.notes) > 0 && r.notes[0].Body.(*record.Device).Detail == body.Detail {
		r.notes = r.notes[1:]
	}
}
