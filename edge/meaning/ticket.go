package meaning

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"steelyard/internal/day"
	"steelyard/internal/record"
	"steelyard/internal/unit"
	"steelyard/internal/wire"
)

// Passage is a lorry on the site between its first and its second weighing.
type Passage struct {
	ID           string
	At           time.Time
	Entry        record.Ref // of the weigh-in
	Hash         string
	Deck         string
	Vehicle      string
	Direction    string
	Material     string
	Counterparty string
	First        Capture
}

// ClosedPassage is a ticket that was written, kept for a while to answer a repeated act.
type ClosedPassage struct {
	At    time.Time
	Entry record.Ref
	Hash  string
	// Ticket is the body as journaled.
	Ticket *record.Ticket
	// Gross and Tare are its weighings, so far as this site still knows them.
	Gross, Tare Capture
}

// WeighIn asks to begin a passage with the weighing on the deck.
type WeighIn struct {
	Passage      string // chosen by the caller; repeating it repeats the answer
	Deck         string
	Operator     string
	Vehicle      string
	Direction    string
	Material     string
	Counterparty string
}

// WeighOut asks to end a passage with the weighing on the deck.
type WeighOut struct {
	Passage     string
	Deck        string
	Operator    string
	Destination string
	Parts       []record.Part // empty: all of it is the passage's material
	Deductions  []record.Deduction
}

const longestText = 64

// checkText accepts a person's text for a record: some letters, no control characters, not long.
func checkText(what, text string, needed bool) *Refusal {
	switch {
	case needed && strings.TrimSpace(text) == "":
		return refuse("missing-"+what, "%s is missing", what)
	case len([]rune(text)) > longestText:
		return refuse("bad-"+what, "%s is longer than %d characters", what, longestText)
	case strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) || r == unicode.ReplacementChar }):
		return refuse("bad-"+what, "%s contains control characters", what)
	}
	return nil
}

func firstOf(refusals ...*Refusal) error {
	for _, r := range refusals {
		if r != nil {
			return r
		}
	}
	return nil
}

// checkUsable returns why a captured weighing can't go on a ticket.
func checkUsable(c Capture) *Refusal {
	switch {
	case c.Ref.N == 0:
		return refuse("no-weighing", "nothing is weighed on the deck: wait until the weight stands still")
	case c.Used:
		return refuse("used", "this weighing is on a ticket already: drive off and on again to weigh again")
	case slices.Contains(c.Flags, "not-from-zero"):
		return refuse("not-from-zero", "the deck was not empty before this lorry: clear the deck and drive on again")
	case slices.Contains(c.Flags, "not-a-multiple-of-e"):
		return refuse("not-a-multiple-of-e", "%s %s is not a multiple of the division: check the indicator's decimals", c.Text, c.Unit)
	}
	return nil
}

// onDeck returns the weighing on a deck that an act may use.
func (s *Site) onDeck(name string, now time.Time) (Capture, error) {
	d := s.decks[name]
	if d == nil {
		return Capture{}, refuse("unknown-deck", "%q is no weighbridge of this site", name)
	}
	if d.frame.At.IsZero() || now.Sub(d.frame.At) > staleAfter {
		return Capture{}, refuse("silent", "the indicator of %s sends nothing: check cable and power", name)
	}
	if d.why == "frozen" {
		return Capture{}, refuse(d.why, "the output of %s may be frozen: it has sent the same frame since it was loaded; compare with the indicator's display, drive off and on again, or set the indicator to send continuously", name)
	}
	if d.why != "" {
		return Capture{}, refuse(d.why, "the deck is not ready: %s", d.why)
	}
	if r := checkUsable(d.onDeck); r != nil {
		return Capture{}, r
	}
	return d.onDeck, nil
}

// WeighIn proposes the fact that begins a passage. When the passage was begun before, it is
// returned instead and nothing is to be written.
func (s *Site) WeighIn(at time.Time, in WeighIn) ([]record.Fact, *Passage, error) {
	if p := s.state.Open[in.Passage]; p != nil {
		if p.Vehicle != in.Vehicle || p.Direction != in.Direction || p.Material != in.Material {
			return nil, nil, refuse("passage-differs", "passage %s was begun for %s, %s, %s", in.Passage, p.Vehicle, p.Direction, p.Material)
		}
		return nil, p, nil
	}
	if s.state.Closed[in.Passage] != nil {
		return nil, nil, refuse("passage-closed", "passage %s has its ticket already", in.Passage)
	}
	if err := firstOf(checkText("passage", in.Passage, true), checkText("operator", in.Operator, true), checkText("vehicle", in.Vehicle, true),
		checkText("counterparty", in.Counterparty, false)); err != nil {
		return nil, nil, err
	}
	if in.Direction != record.Inbound && in.Direction != record.Outbound {
		return nil, nil, refuse("bad-direction", "direction %.20q is neither inbound nor outbound", in.Direction)
	}
	for _, p := range s.state.Open {
		if p.Vehicle == in.Vehicle {
			return nil, nil, refuse("vehicle-on-site", "%s is on the site since %s: weigh it out, or cancel that passage", in.Vehicle, p.At.In(day.Shanghai()).Format("15:04"))
		}
	}
	if err := s.knownMaterial(in.Material, at); err != nil {
		return nil, nil, err
	}
	c, err := s.onDeck(in.Deck, at)
	if err != nil {
		return nil, nil, err
	}
	return []record.Fact{{At: at, Device: in.Deck, Body: &record.Operator{
		Operator: in.Operator, Action: record.ActWeighIn, Passage: in.Passage, Vehicle: in.Vehicle, Direction: in.Direction,
		Material: in.Material, Counterparty: in.Counterparty, Weighing: c.Ref, Flags: []string{},
	}}}, nil, nil
}

func (s *Site) applyOperator(e Entry, body *record.Operator) {
	switch body.Action {
	case record.ActWeighIn:
		s.use(body.Weighing)
		p := &Passage{ID: body.Passage, At: e.At, Entry: e.Ref, Hash: e.Hash, Deck: e.Device, Vehicle: body.Vehicle,
			Direction: body.Direction, Material: body.Material, Counterparty: body.Counterparty}
		if st := s.state.Decks[e.Device]; st != nil && st.Last.Ref == body.Weighing {
			p.First = st.Last
		}
		s.state.Open[body.Passage] = p
	case record.ActCancel:
		delete(s.state.Open, body.Passage)
	case record.ActMaterial:
		if b := s.state.Belts[e.Device]; b != nil {
			b.Material = body.Material
		}
		if b := s.state.Balers[e.Device]; b != nil {
			b.Material = body.Material
		}
	}
}

// Cancel proposes to end a passage without a ticket. The weighing and the weigh-in stay recorded.
func (s *Site) Cancel(at time.Time, passage, operator, reason string) ([]record.Fact, error) {
	p := s.state.Open[passage]
	if p == nil {
		return nil, refuse("unknown-passage", "no open passage %.64q", passage)
	}
	if err := firstOf(checkText("operator", operator, true), checkText("reason", reason, true)); err != nil {
		return nil, err
	}
	return []record.Fact{{At: at, Device: p.Deck, Body: &record.Operator{
		Operator: operator, Action: record.ActCancel, Passage: passage, Vehicle: p.Vehicle, Direction: p.Direction,
		Material: p.Material, Counterparty: p.Counterparty, Weighing: p.First.Ref, Detail: reason, Flags: []string{},
	}}}, nil
}

// Date proposes to say when an entry was written, of which the clock said otherwise. Two persons
// answer for it; whether there is such an entry the city finds.
func (s *Site) Date(now time.Time, target record.Ref, at time.Time, reason, operator, second string) ([]record.Fact, error) {
	if err := firstOf(checkText("reason", reason, true), checkText("operator", operator, true), checkText("second", second, true)); err != nil {
		return nil, err
	}
	switch {
	case operator == second:
		return nil, refuse("same-person", "operator and second person are both %s: another person must confirm", operator)
	case !wire.IsJournal(target.Journal) || target.N == 0:
		return nil, refuse("bad-entry", "%.40q, %d is no entry: give its journal and number as the city names them", target.Journal, target.N)
	case at.After(now):
		return nil, refuse("bad-time", "%s is yet to come: look at the date and at this controller's clock", at.In(day.Shanghai()).Format("2006-01-02 15:04"))
	}
	return []record.Fact{{At: now, Body: &record.Correction{Target: target, Action: record.Date, Reason: reason, Operator: operator, Second: second,
		Replacement: wire.FormatTime(at)}}}, nil
}

// WeighOut proposes the ticket that ends a passage. When it was written before, it is returned
// instead and nothing is to be written.
func (s *Site) WeighOut(at time.Time, out WeighOut) ([]record.Fact, *ClosedPassage, error) {
	if c := s.state.Closed[out.Passage]; c != nil {
		return nil, c, nil
	}
	p := s.state.Open[out.Passage]
	if p == nil {
		return nil, nil, refuse("unknown-passage", "no open passage %.64q: weigh in first", out.Passage)
	}
	if err := firstOf(checkText("operator", out.Operator, true)); err != nil {
		return nil, nil, err
	}
	c, err := s.onDeck(out.Deck, at)
	if err != nil {
		return nil, nil, err
	}
	t := &record.Ticket{
		Number: s.nextNumber(at), Direction: p.Direction, Destination: out.Destination, Mode: record.TwoPass,
		Passage: p.ID, Vehicle: p.Vehicle, Counterparty: p.Counterparty, Operator: out.Operator,
		Gross: p.First.Mass, GrossRef: p.First.Ref, Tare: c.Mass, TareRef: c.Ref,
		Parts: out.Parts, Deductions: out.Deductions, Flags: []string{},
	}
	if p.Direction == record.Outbound {
		t.Gross, t.GrossRef, t.Tare, t.TareRef = t.Tare, t.TareRef, t.Gross, t.GrossRef
	}
	if t.Net = t.Gross - t.Tare; t.Net <= 0 {
		return nil, nil, refuse("negative-net", "%s in and %s out is no %s load: check the direction", p.First.Text, c.Text, p.Direction)
	}
	if len(t.Parts) == 0 {
		t.Parts = []record.Part{{Material: p.Material, Mass: t.Net}}
	}
	if t.Deductions == nil {
		t.Deductions = []record.Deduction{}
	}
	var sum unit.Mass
	for _, part := range t.Parts {
		if err := s.knownMaterial(part.Material, at); err != nil {
			return nil, nil, err
		}
		sum += part.Mass
	}
	if sum != t.Net {
		return nil, nil, refuse("parts", "the parts make %s, the net is %s", sum, t.Net)
	}
	for _, flag := range slices.Concat(p.First.Flags, c.Flags) {
		if !slices.Contains(t.Flags, flag) {
			t.Flags = append(t.Flags, flag)
		}
	}
	if err := t.Check(); err != nil {
		return nil, nil, refuse("ticket", "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return []record.Fact{{At: at, Device: out.Deck, Body: t}}, nil, nil
}

// nextNumber is the day, the series of this start and the day's serial. A disk that comes back from
// an old image, or another one in its place, knows nothing of the numbers given since; the series
// is drawn anew, so they are not given again. A clock that goes to another day and back goes on
// where that day's serial was.
func (s *Site) nextNumber(at time.Time) string {
	date := at.In(day.Shanghai()).Format(numberDay)
	return fmt.Sprintf("%s-%s-%04d", date, s.config.Series, s.state.Serials.last(date)+1)
}

const (
	numberDay  = "20060102"
	keptDays   = 400 // whose serials are known one by one
	mostSerial = 1<<31 - 1
)

// Serials are the last serials of the days of which tickets were written. No number is given twice,
// whatever the clock does; so a day that is forgotten goes on above all that are.
type Serials struct {
	Days      map[string]int
	Forgotten string // the newest day that is not in Days any more; empty: none
	Highest   int    // serial of the forgotten days
}

func (s Serials) last(day string) int {
	if n, ok := s.Days[day]; ok || day > s.Forgotten {
		return n
	}
	return s.Highest
}

// wrote takes in the number of a ticket.
func (s *Serials) wrote(number string) {
	day, rest, _ := strings.Cut(number, "-")
	serial, err := strconv.Atoi(rest[strings.LastIndexByte(rest, '-')+1:])
	if _, errDay := time.Parse(numberDay, day); err != nil || errDay != nil || serial < 1 || serial > mostSerial {
		return // not one of ours
	}
	s.Days[day] = max(serial, s.last(day))
	if len(s.Days) > keptDays {
		oldest := slices.Min(slices.Collect(maps.Keys(s.Days)))
		s.Forgotten, s.Highest = max(s.Forgotten, oldest), max(s.Highest, s.Days[oldest])
		delete(s.Days, oldest)
	}
}

func (s *Site) applyTicket(e Entry, t *record.Ticket) {
	s.state.Serials.wrote(t.Number)
	s.use(t.GrossRef)
	s.use(t.TareRef)
	if t.Passage != "" {
		s.state.Closed[t.Passage] = &ClosedPassage{At: e.At, Entry: e.Ref, Hash: e.Hash, Ticket: t,
			Gross: s.weighing(t.GrossRef, t.Passage), Tare: s.weighing(t.TareRef, t.Passage)}
	}
	delete(s.state.Open, t.Passage)
	s.forgetClosed(e.At)
}

// weighing finds a weighing of a ticket: the passage's first, or the newest of a deck.
func (s *Site) weighing(ref record.Ref, passage string) Capture {
	if p := s.state.Open[passage]; p != nil && p.First.Ref == ref {
		return p.First
	}
	for _, st := range s.state.Decks {
		if st.Last.Ref == ref {
			return st.Last
		}
	}
	return Capture{}
}

// Passage returns an open passage, or the zero Passage.
func (s *Site) Passage(id string) Passage {
	if p := s.state.Open[id]; p != nil {
		return *p
	}
	return Passage{}
}

// Ticket returns the ticket that ended a passage in the last days, or the zero ClosedPassage.
func (s *Site) Ticket(passage string) ClosedPassage {
	if c := s.state.Closed[passage]; c != nil {
		return *c
	}
	return ClosedPassage{}
}

// Tickets are those of the last days, newest first.
func (s *Site) Tickets() []ClosedPassage {
	var all []ClosedPassage
	for _, c := range s.state.Closed {
		all = append(all, *c)
	}
	slices.SortFunc(all, func(a, b ClosedPassage) int { return b.At.Compare(a.At) })
	return all
}
