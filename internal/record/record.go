// Package record holds the facts that travel from a site to the city.
//
// In: nothing; these are the words that edge, wire and cloud share. Out: one body type per kind.
// It promises that a body written by this version reads back equal, that masses are whole grams,
// and that Check refuses a fact that contradicts itself (net ≠ gross − tare).
// It does not decide what is weighed or counted.
//
// The order of the fields is the order on the wire and part of the contract (docs/wire-format.md).
// No field is left out when it is empty, except where a comment says so.
package record

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"steelyard/internal/unit"
)

// Kind names the kind of a fact.
type Kind string

// The kinds of the records stream, and Sample, the one kind of the samples stream beside Opened
// and Gap.
const (
	KindOpened     Kind = "opened"
	KindWeighing   Kind = "weighing"
	KindTicket     Kind = "ticket"
	KindBale       Kind = "bale"
	KindBelt       Kind = "belt"
	KindTare       Kind = "tare"
	KindStock      Kind = "stock"
	KindCorrection Kind = "correction"
	KindDevice     Kind = "device"
	KindOperator   Kind = "operator"
	KindClock      Kind = "clock"
	KindGap        Kind = "gap"
	KindSample     Kind = "sample"
	KindThinning   Kind = "thinning"
)

// Body is the content of one fact.
type Body interface {
	Kind() Kind
	// Check returns what is invalid in the fact by itself; nil when nothing is.
	Check() error
}

// New returns an empty body to decode into; nil for a kind this version does not know.
func New(k Kind) Body {
	switch k {
	case KindOpened:
		return new(Opened)
	case KindWeighing:
		return new(Weighing)
	case KindTicket:
		return new(Ticket)
	case KindBale:
		return new(Bale)
	case KindBelt:
		return new(Belt)
	case KindTare:
		return new(Tare)
	case KindStock:
		return new(Stock)
	case KindCorrection:
		return new(Correction)
	case KindDevice:
		return new(Device)
	case KindOperator:
		return new(Operator)
	case KindClock:
		return new(Clock)
	case KindGap:
		return new(Gap)
	case KindSample:
		return new(Sample)
	case KindThinning:
		return new(Thinning)
	}
	return nil
}

// Ref points to an entry: the journal's id and the entry's number. The zero Ref points nowhere.
type Ref struct {
	Journal string `json:"journal"`
	N       uint64 `json:"n"`
}

// Opened is the first entry of every journal and of every start.
type Opened struct {
	Version  string `json:"version"`  // of the software, from its build information
	Build    string `json:"build"`    // revision of the source; empty in a development build
	Config   string `json:"config"`   // SHA-256 of the configuration file, hex
	Key      string `json:"key"`      // the edge's public key, base64
	Previous Ref    `json:"previous"` // last entry of the journal before this one, when a new journal begins
	Reason   string `json:"reason"`   // "start", or why a new journal was begun
}

// Stability is how a weight was judged to be at rest. It is stored with the weight so that the
// judgement can be repeated from the evidence.
type Stability struct {
	By       string    `json:"by"`        // "flag": the indicator said so; "inferred": from the frames
	WindowMS int64     `json:"window_ms"` // length of the window that was looked at
	Frames   int       `json:"frames"`    // valid frames in the window
	Spread   unit.Mass `json:"spread"`    // largest minus smallest weight in the window, g
}

// Point is one point of a weight curve.
type Point struct {
	MS   int64     `json:"ms"`   // before (negative) the weighing's time
	Mass unit.Mass `json:"mass"` // g
}

// Weighing is one captured weight of one vehicle, with its evidence.
type Weighing struct {
	Mass      unit.Mass `json:"mass"`     // g
	Text      string    `json:"text"`     // the digits as the indicator sent them
	Unit      unit.Unit `json:"unit"`     // the indicator's unit
	Shown     string    `json:"shown"`    // "gross", "net" or "" when the indicator does not say
	Division  unit.Mass `json:"division"` // e, g
	Max       unit.Mass `json:"max"`      // the instrument's capacity, g
	Stability Stability `json:"stability"`
	Frames    []string  `json:"frames"` // raw frames of the window, hex, oldest first
	Curve     []Point   `json:"curve"`  // the weight from drive-on to the weighing, thinned
	Alibi     string    `json:"alibi"`  // number in the instrument's own memory, if it has one
	Flags     []string  `json:"flags"`  // what was noticed: "not-from-zero", "not-a-multiple-of-e"
}

// Direction of a ticket.
const (
	Inbound  = "inbound"
	Outbound = "outbound"
)

// Destination of an outbound ticket: what the load becomes. Inbound tickets have none.
const (
	ToReuse    = "reuse"    // recycled use
	ToDisposal = "disposal" // residue
	ToCentre   = "centre"   // a transfer: inbound at another centre, netted there
)

// Modes of a ticket.
const (
	TwoPass    = "two-pass"
	StoredTare = "stored-tare"
	ByHand     = "by-hand"
)

// Part is one material of a load; the parts of a ticket sum exactly to its net.
type Part struct {
	Material string    `json:"material"` // category or category/grade
	Mass     unit.Mass `json:"mass"`
}

// Deduction is taken off a part's mass by agreement (moisture, dirt). It changes what is paid,
// never what was weighed: Net stays gross − tare.
type Deduction struct {
	Mass   unit.Mass `json:"mass"`
	Reason string    `json:"reason"`
}

// Ticket is a completed transaction.
type Ticket struct {
	Number       string      `json:"number"` // unique within the site
	Direction    string      `json:"direction"`
	Destination  string      `json:"destination"`
	Mode         string      `json:"mode"`
	Passage      string      `json:"passage"` // the open passage this ticket ends; empty when there was none
	Vehicle      string      `json:"vehicle"`
	Counterparty string      `json:"counterparty"`
	Operator     string      `json:"operator"`
	Gross        unit.Mass   `json:"gross"`
	Tare         unit.Mass   `json:"tare"`
	Net          unit.Mass   `json:"net"`
	Parts        []Part      `json:"parts"`
	Deductions   []Deduction `json:"deductions"`
	GrossRef     Ref         `json:"gross_ref"` // the weighing, or zero when by hand
	TareRef      Ref         `json:"tare_ref"`  // the weighing or stored tare, or zero when by hand
	Flags        []string    `json:"flags"`
}

// Bale is one pressed bale, or the statement that Missed bales ended unseen before this one.
type Bale struct {
	Number      uint64    `json:"number"` // the baler's lifetime counter
	Material    string    `json:"material"`
	Mass        unit.Mass `json:"mass"`    // 0 when not weighed
	Weighed     bool      `json:"weighed"` // false: Mass says nothing
	LengthMM    int64     `json:"length_mm"`
	Strokes     int64     `json:"strokes"`
	Wires       int64     `json:"wires"`
	CycleS      int64     `json:"cycle_s"`
	PressureMax int64     `json:"pressure_max"` // 0.1 bar
	EnergyWh    int64     `json:"energy_wh"`
	EndedAt     int64     `json:"ended_at"` // Unix seconds by the baler's clock, 0 when it has none
	Missed      uint64    `json:"missed"`   // bales that ended unseen since the last record: known by the counter only
}

// Belt events.
const (
	BeltTick  = "tick"  // regular standing
	BeltWrap  = "wrap"  // the register passed its modulus
	BeltReset = "reset" // the register was set back
	BeltJump  = "jump"  // an implausible step: kept, not counted
)

// Belt is the standing of a belt scale's totaliser: not a difference, so that a lost standing is
// repaired by the next. Standing is what has been counted since the journal began, over all
// wraps and resets.
type Belt struct {
	Raw      int64     `json:"raw"`     // the register
	Step     unit.Mass `json:"step"`    // g per count
	Modulus  int64     `json:"modulus"` // counts until the register wraps
	Standing unit.Mass `json:"standing"`
	Material string    `json:"material"`
	Event    string    `json:"event"`
}

// Tare is a stored tare.
type Tare struct {
	Vehicle   string    `json:"vehicle"`
	Mass      unit.Mass `json:"mass"`
	Weighing  Ref       `json:"weighing"`
	Operator  string    `json:"operator"`
	ExpiresAt int64     `json:"expires_at"` // Unix seconds
}

// Stock is a count of what lies on the yard.
type Stock struct {
	Material string    `json:"material"`
	Mass     unit.Mass `json:"mass"`
	Method   string    `json:"method"`
	Operator string    `json:"operator"`
}

// What a correction does.
const (
	Void  = "void"  // takes back what the entry brought
	Amend = "amend" // puts another body in its place
	Date  = "date"  // says when it was
)

// Correction voids, amends or dates an entry; the original stays.
type Correction struct {
	Target      Ref    `json:"target"`
	Action      string `json:"action"` // Void, Amend or Date
	Reason      string `json:"reason"`
	Operator    string `json:"operator"`
	Second      string `json:"second"`      // the second person; never the same as Operator
	Replacement string `json:"replacement"` // the amended body as JSON, or the time as in an entry; empty for a void
}

// Device is a change in the state of a machine or of the line to it. With the state "counter" it
// says where a machine's own counter stood when it was first seen or had been changed: what the
// machine counts from there on is known.
type Device struct {
	State   string `json:"state"` // "online", "silent", "fault", "counter"
	Detail  string `json:"detail"`
	Counter uint64 `json:"counter"`
}

// Operator is an act of a person at the site that is not a ticket yet, or never will be.
type Operator struct {
	Operator     string   `json:"operator"`
	Action       string   `json:"action"`  // "weigh-in", "cancel", "material", …
	Passage      string   `json:"passage"` // the open passage that a weigh-in begins and a ticket ends
	Vehicle      string   `json:"vehicle"`
	Direction    string   `json:"direction"`
	Material     string   `json:"material"`
	Counterparty string   `json:"counterparty"`
	Weighing     Ref      `json:"weighing"`
	Detail       string   `json:"detail"`
	Flags        []string `json:"flags"`
}

// Acts of Operator.Action.
const (
	ActWeighIn  = "weigh-in"
	ActCancel   = "cancel"
	ActMaterial = "material"
)

// Clock is a step of the wall clock.
type Clock struct {
	StepMS int64  `json:"step_ms"` // forward positive
	State  string `json:"state"`
}

// Gap is the loss of numbers From to To of a journal, with its reason.
type Gap struct {
	Journal string `json:"journal"`
	From    uint64 `json:"from"`
	To      uint64 `json:"to"`
	Reason  string `json:"reason"` // "thinned": samples made room; "damaged": unreadable on disk
}

// Thinning says that from now on samples are written more seldom than values change, because they
// change more than the site may write, or that this is over. It stands in the records stream, so that
// a sparse curve is not taken for a calm machine.
type Thinning struct {
	EveryMS int64 `json:"every_ms"` // shortest time between two samples of a device; 0: each change is written again
	LeftOut int64 `json:"left_out"` // values that were not written since the fact before
	Daily   int64 `json:"daily"`    // bytes that the site may write in a day
}

// Kinds of machines, as Sample.Machine says them.
const (
	Weighbridge  = "weighbridge"
	Baler        = "baler"
	BeltScale    = "belt"
	Scale        = "scale"
	Meter        = "meter"
	Drive        = "drive"
	OtherMachine = "other"
)

// Sample is the changed tags of one device at one time.
type Sample struct {
	Machine string        `json:"machine,omitempty"` // its kind; left out by edges that do not say it
	Name    string        `json:"name,omitempty"`    // what people call it, said once an hour; left out otherwise
	English string        `json:"english,omitempty"` // the same in English
	Values  []SampleValue `json:"values"`
}

// SampleValue is one tag. Value is an exact decimal as text; empty when OK is false.
type SampleValue struct {
	Tag   string `json:"tag"`
	Value string `json:"value"`
	Text  string `json:"text"` // the word of an enumeration
	Unit  string `json:"unit"`
	OK    bool   `json:"ok"`
}

// Kind of each body.
func (*Opened) Kind() Kind     { return KindOpened }
func (*Weighing) Kind() Kind   { return KindWeighing }
func (*Ticket) Kind() Kind     { return KindTicket }
func (*Bale) Kind() Kind       { return KindBale }
func (*Belt) Kind() Kind       { return KindBelt }
func (*Tare) Kind() Kind       { return KindTare }
func (*Stock) Kind() Kind      { return KindStock }
func (*Correction) Kind() Kind { return KindCorrection }
func (*Device) Kind() Kind     { return KindDevice }
func (*Operator) Kind() Kind   { return KindOperator }
func (*Clock) Kind() Kind      { return KindClock }
func (*Gap) Kind() Kind        { return KindGap }
func (*Sample) Kind() Kind     { return KindSample }
func (*Thinning) Kind() Kind   { return KindThinning }

// MaxMass bounds every single mass in a fact: 10,000 t is more than any vehicle, bale or heap.
const MaxMass = 10_000 * unit.Tonne

func mass(name string, m unit.Mass, least unit.Mass) error {
	if m < least || m > MaxMass {
		return fmt.Errorf("%s of %d g is not between %d g and %d g", name, int64(m), int64(least), int64(MaxMass))
	}
	return nil
}

func oneOf(name, value string, allowed ...string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	return fmt.Errorf("%s %.40q is not one of %q", name, value, allowed)
}

func given(name, value string) error {
	if value == "" {
		return fmt.Errorf("%s is missing", name)
	}
	return nil
}

// Check of Opened.
func (o *Opened) Check() error { return given("key", o.Key) }

// Check of Weighing: the digits, the unit and the mass say the same.
func (w *Weighing) Check() error {
	if err := mass("weighing", w.Mass, 0); err != nil {
		return err
	}
	d, err := unit.ParseDecimal(w.Text)
	if err != nil {
		return err
	}
	if m, err := d.Mass(w.Unit); err != nil || m != w.Mass {
		return errors.Join(err, fmt.Errorf("text %q %s does not say %d g", w.Text, w.Unit, int64(w.Mass)))
	}
	return oneOf("stability", w.Stability.By, "flag", "inferred")
}

// Check of Ticket: net = gross − tare, and the parts make the net.
func (t *Ticket) Check() error {
	var sum unit.Mass
	var err error
	for _, p := range t.Parts {
		err = errors.Join(err, mass("part", p.Mass, 0), given("material", p.Material))
		sum += p.Mass
	}
	if t.Net != t.Gross-t.Tare {
		err = errors.Join(err, fmt.Errorf("net %d g is not gross %d g − tare %d g", int64(t.Net), int64(t.Gross), int64(t.Tare)))
	}
	if sum != t.Net {
		err = errors.Join(err, fmt.Errorf("parts of %d g do not make the net of %d g", int64(sum), int64(t.Net)))
	}
	err = errors.Join(err, mass("net", t.Net, 0), mass("gross", t.Gross, 0), mass("tare", t.Tare, 0),
		given("number", t.Number), given("vehicle", t.Vehicle),
		oneOf("direction", t.Direction, Inbound, Outbound),
		oneOf("mode", t.Mode, TwoPass, StoredTare, ByHand))
	if t.Direction == Inbound {
		return errors.Join(err, oneOf("destination", t.Destination, ""))
	}
	return errors.Join(err, oneOf("destination", t.Destination, ToReuse, ToDisposal, ToCentre))
}

// Check of Bale.
func (b *Bale) Check() error {
	return errors.Join(mass("bale", b.Mass, 0), given("material", b.Material))
}

// Check of Belt.
func (b *Belt) Check() error {
	if b.Step <= 0 || b.Standing < 0 {
		return fmt.Errorf("belt standing %d g with step %d g", int64(b.Standing), int64(b.Step))
	}
	return oneOf("event", b.Event, BeltTick, BeltWrap, BeltReset, BeltJump)
}

// Check of Tare.
func (t *Tare) Check() error {
	return errors.Join(mass("tare", t.Mass, 1), given("vehicle", t.Vehicle))
}

// Check of Stock.
func (s *Stock) Check() error {
	return errors.Join(mass("stock", s.Mass, 0), given("material", s.Material))
}

// Check of Correction: two different persons, and something to correct.
func (c *Correction) Check() error {
	err := errors.Join(oneOf("action", c.Action, Void, Amend, Date), given("reason", c.Reason),
		given("operator", c.Operator), given("second person", c.Second))
	if c.Operator == c.Second && c.Second != "" {
		err = errors.Join(err, errors.New("the second person is the first"))
	}
	if c.Target.N == 0 {
		err = errors.Join(err, errors.New("target is missing"))
	}
	return err
}

// Check of Device.
func (d *Device) Check() error {
	return oneOf("state", d.State, "online", "silent", "fault", "counter")
}

// Check of Operator.
func (o *Operator) Check() error { return given("action", o.Action) }

// Check of Clock.
func (c *Clock) Check() error { return nil }

// Check of Gap.
func (g *Gap) Check() error {
	if g.From == 0 || g.To < g.From {
		return fmt.Errorf("gap from %d to %d", g.From, g.To)
	}
	return oneOf("reason", g.Reason, "thinned", "damaged")
}

// Check of Thinning.
func (t *Thinning) Check() error {
	if t.EveryMS < 0 || t.LeftOut < 0 || t.Daily < 0 {
		return fmt.Errorf("thinning to one in %d ms, %d left out, %d bytes a day: none is negative", t.EveryMS, t.LeftOut, t.Daily)
	}
	return nil
}

// Check of Sample.
func (s *Sample) Check() error {
	for _, v := range s.Values {
		if v.Value == "" {
			continue
		}
		if _, err := unit.ParseDecimal(v.Value); err != nil {
			return fmt.Errorf("tag %.40q: %w", v.Tag, err)
		}
	}
	return nil
}

// Fact is a body with its time and device, before it has an identity: what the edge concludes and
// the journal makes an entry of.
type Fact struct {
	At     time.Time // when the last byte that it rests on arrived; never the time of writing
	Device string    // empty for facts of the whole site
	Body   Body
}
