// Package device holds the words in which machines report: a weight frame [Weight], a scan of tags
// [Scan], a fault [Health].
//
// In: nothing; it is vocabulary. Out: the types every driver emits and the edge understands.
// It promises that "unknown" stays unknown: a missing status is never taken as stable, a missing
// digit never as zero. It does no I/O and keeps no state.
package device

import (
	"time"

	"steelyard/internal/unit"
)

// Tri is a statement that a device makes, denies or does not make at all.
type Tri int8

// The zero Tri is Unknown: a format that carries no stability bit has said nothing about it.
const (
	Unknown Tri = iota
	Yes
	No
)

// TriOf turns a bit that is really in the frame into Yes or No.
func TriOf(b bool) Tri {
	if b {
		return Yes
	}
	return No
}

// Kind says which weight an indicator showed.
type Kind string

// The zero Kind is Shown: the display's weight, gross or net unknown.
const (
	Shown Kind = ""
	Gross Kind = "gross"
	Net   Kind = "net"
	Tare  Kind = "tare"
)

// TareKind says how a tare came into the indicator.
type TareKind string

// Tare kinds; the zero value is unknown.
const (
	TareUnknown  TareKind = ""
	TareMeasured TareKind = "measured"
	TarePreset   TareKind = "preset"
)

// Range reports whether the load is within the instrument's range.
type Range string

// Range states. OverOrUnder is Toledo's one bit for both: its digits mean nothing.
const (
	RangeUnknown Range = ""
	RangeOK      Range = "ok"
	Over         Range = "over"
	Under        Range = "under"
	OverOrUnder  Range = "over-or-under"
	RangeError   Range = "error"
)

// Weight is one frame of a weighing indicator, decoded.
type Weight struct {
	Device   string       // id of the instrument in the site's configuration
	At       time.Time    // when the last byte of the frame arrived; carries the monotonic clock
	Value    unit.Decimal // digits as sent; meaningful only if HasValue
	HasValue bool         // false for blanks, dashes, overload text, out of range
	Kind     Kind
	Tare     unit.Decimal // meaningful only if HasTare
	HasTare  bool
	TareKind TareKind
	Gross    unit.Decimal // beside a net Value, when the frame carries both; meaningful only if HasGross
	HasGross bool
	Unit     unit.Unit
	Stable   Tri
	Range    Range
	Zero     Tri    // centre of zero
	PowerUp  Tri    // zero not captured since power-up
	Alibi    string // number in the instrument's own alibi memory; empty when it has none
	Error    string // what the instrument said instead of a weight ("syntax error", "busy"); empty when none
	Raw      []byte // the frame as it came; the evidence
}

// Value is one tag of one scan.
type Value struct {
	Tag      string       // name in the profile: "total", "rate", "motor_current"
	Quantity string       // closed vocabulary of the profiles: "totaliser.mass", "machine.state", …
	Number   unit.Decimal // exact: scale factors are decimals; meaningful only if OK
	Text     string       // for enumerations and strings: the word; empty otherwise
	Unit     string       // "kg", "t/h", "A", "bar", …; empty for counts and states
	OK       bool         // false: the device said "no value" (sentinel) or the value could not be read
	Why      string       // why not OK, in words
}

// Scan is everything that one poll of one device brought, read together.
type Scan struct {
	Device string
	At     time.Time // when the last reply of the poll arrived
	Values []Value
}

// Find returns the value of a tag, if the scan has it.
func (s Scan) Find(tag string) (Value, bool) {
	for _, v := range s.Values {
		if v.Tag == tag {
			return v, true
		}
	}
	return Value{}, false
}

// Quantity returns the first value of a quantity, if the scan has one.
func (s Scan) Quantity(word string) (Value, bool) {
	for _, v := range s.Values {
		if v.Quantity == word {
			return v, true
		}
	}
	return Value{}, false
}

// Health is a change in what is known of a device: it fell silent, it is back, it reports a fault.
type Health struct {
	Device string
	At     time.Time
	State  State
	Detail string // cause and remedy in words, one line
}

// State of a device as its driver sees it.
type State string

// A driver reports changes of state only, never the same state twice in a row.
const (
	Online State = "online"
	Silent State = "silent"
	Faulty State = "fault"
)

// Sink takes what the drivers bring. The calls may come from many goroutines and must not block
// for long: a sink that is slow holds up the machine it was called for, and only that one.
type Sink interface {
	Weight(Weight)
	Scan(Scan)
	Health(Health)
}
