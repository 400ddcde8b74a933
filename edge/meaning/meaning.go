// Package meaning turns what machines show and persons do into facts: a [Site] does so for one site.
//
// In: weights, scans and changes of health from the machines, acts of the operator, and every
// fact that the journal has taken. Out: facts to be journaled, and what may be done next.
// It promises that a fact is proposed until the journal has it and never after: nothing is
// remembered as done before Apply, so a failed write is proposed again, and a restart, which
// applies the journal from its beginning or a checkpoint, continues as if nothing had happened.
// It does no I/O and knows no clock: every time comes in with what happened.
package meaning

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"steelyard/firmware-bridge/device"
	"steelyard/internal/record"
	"steelyard/internal/unit"
)

// Config is what one site has.
type Config struct {
	Decks  []Deck
	Belts  []Belt
	Balers []Baler
	// Series is a part of each ticket's number that no other start of the program has.
	Series string
	// Material reports whether a material may be recorded at a time; nil accepts all.
	Material func(material string, at time.Time) error
}

// Entry is a fact that the journal has taken.
type Entry struct {
	Ref    record.Ref
	Hash   string
	At     time.Time
	Device string
	Body   record.Body
}

// State is everything that a site remembers over a restart: the sum of its journal. It is plain
// data so that a checkpoint can hold it.
type State struct {
	Decks   map[string]*DeckState
	Belts   map[string]*BeltState
	Balers  map[string]*BalerState
	Open    map[string]*Passage       // by passage id
	Closed  map[string]*ClosedPassage // tickets of the last days, by passage id, to answer a repeated act
	Serials Serials                   // of the tickets' numbers
	Devices map[string]string         // last recorded state of each machine
	Notes   []Note                    // the newest, oldest first
}

// keepClosed is how long the answer to an act can be repeated.
const keepClosed = 72 * time.Hour

// Site is the understanding of one site. It belongs to one goroutine.
type Site struct {
	config Config
	state  State
	decks  map[string]*deck
	belts  map[string]*belt
	balers map[string]*baler
}

// New begins with nothing known; Restore or Apply bring the past.
func New(c Config) *Site {
	s := &Site{config: c, decks: map[string]*deck{}, belts: map[string]*belt{}, balers: map[string]*baler{}}
	s.Restore(State{})
	for _, d := range c.Decks {
		s.decks[d.Device] = newDeck(d)
	}
	for _, b := range c.Belts {
		s.belts[b.Device] = &belt{Belt: b}
	}
	for _, b := range c.Balers {
		b.Number, b.Most = cmp.Or(b.Number, BySequence), cmp.Or(b.Most, usualMost)
		s.balers[b.Device] = &baler{Baler: b}
	}
	return s
}

// State is what a checkpoint stores. It is shared with the site: encode it before the next call.
func (s *Site) State() State { return s.state }

// Restore takes a checkpoint's state.
func (s *Site) Restore(st State) {
	s.state = State{
		Decks: orEmpty(st.Decks), Belts: orEmpty(st.Belts), Balers: orEmpty(st.Balers),
		Open: orEmpty(st.Open), Closed: orEmpty(st.Closed), Devices: orEmpty(st.Devices),
		Serials: st.Serials, Notes: st.Notes,
	}
	s.state.Serials.Days = orEmpty(st.Serials.Days)
}

func orEmpty[K comparable, V any](m map[K]V) map[K]V {
	if m == nil {
		return map[K]V{}
	}
	return m
}

// Apply takes in a fact that is in the journal.
func (s *Site) Apply(e Entry) {
	switch body := e.Body.(type) {
	case *record.Weighing:
		s.applyWeighing(e, body)
	case *record.Operator:
		s.applyOperator(e, body)
	case *record.Ticket:
		s.applyTicket(e, body)
	case *record.Belt:
		s.applyBelt(e, body)
	case *record.Bale:
		s.applyBale(e, body)
	case *record.Device:
		s.applyDevice(e, body)
	}
}

// Scan takes one poll of one device.
func (s *Site) Scan(scan device.Scan) []record.Fact {
	if b := s.belts[scan.Device]; b != nil {
		return b.scan(s.state.Belts[scan.Device], scan)
	}
	if b := s.balers[scan.Device]; b != nil {
		return b.scan(s.state.Balers[scan.Device], scan)
	}
	return nil
}

// Health takes a change in what is known of a machine. The same state is recorded once.
func (s *Site) Health(h device.Health) []record.Fact {
	if s.state.Devices[h.Device] == string(h.State) {
		return nil
	}
	var facts []record.Fact
	if d := s.decks[h.Device]; d != nil && h.State != device.Online {
		d.onSilence(h.At)
		facts = d.proposals()
	}
	return append(facts, record.Fact{At: h.At, Device: h.Device, Body: &record.Device{State: string(h.State), Detail: h.Detail}})
}

func (s *Site) applyDevice(e Entry, body *record.Device) {
	if body.State == "counter" {
		s.applyCounter(e, body)
		return
	}
	if s.applyCounterNote(e, body) {
		return // the line to it is as it was
	}
	s.state.Devices[e.Device] = body.State
	if d := s.decks[e.Device]; d != nil {
		d.journaled(body)
	}
}

// Passages are the lorries that are on the site with one weighing, oldest first.
func (s *Site) Passages() []Passage {
	var all []Passage
	for _, p := range s.state.Open {
		all = append(all, *p)
	}
	slices.SortFunc(all, func(a, b Passage) int { return a.At.Compare(b.At) })
	return all
}

// Lines are the last standings and counters of belts and balers, by device.
func (s *Site) Lines() (belts map[string]BeltState, balers map[string]BalerState) {
	belts, balers = map[string]BeltState{}, map[string]BalerState{}
	for name, b := range s.state.Belts {
		belts[name] = *b
	}
	for name, b := range s.state.Balers {
		balers[name] = *b
	}
	return belts, balers
}

// SetMaterial proposes that a line works another material from now on.
func (s *Site) SetMaterial(at time.Time, line, material, operator string) ([]record.Fact, error) {
	if s.belts[line] == nil && s.balers[line] == nil {
		return nil, refuse("unknown-line", "%q is neither a belt nor a baler of this site", line)
	}
	if err := s.knownMaterial(material, at); err != nil {
		return nil, err
	}
	return []record.Fact{{At: at, Device: line, Body: &record.Operator{
		Operator: operator, Action: record.ActMaterial, Material: material, Flags: []string{},
	}}}, nil
}

func (s *Site) knownMaterial(material string, at time.Time) error {
	if s.config.Material == nil {
		return nil
	}
	if err := s.config.Material(material, at); err != nil {
		return refuse("unknown-material", "%v", err)
	}
	return nil
}

// Refusal is why an act is not possible. Code is stable and is what pages translate.
type Refusal struct {
	Code string
	Text string
}

func (r *Refusal) Error() string { return r.Text }

func refuse(code, format string, args ...any) *Refusal {
	return &Refusal{code, fmt.Sprintf(format, args...)}
}

func (s *Site) forgetClosed(now time.Time) {
	maps.DeleteFunc(s.state.Closed, func(_ string, c *ClosedPassage) bool { return now.Sub(c.At) > keepClosed })
}

// withinOf reports whether two masses differ by no more than tolerance.
func withinOf(a, b, tolerance unit.Mass) bool { return (a - b).Abs() <= tolerance }
