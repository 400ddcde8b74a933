package telemetry

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"steelyard/cloud/rollup"
	"steelyard/internal/unit"
	"steelyard/internal/wire"
)

// The measurements as they stand in InfluxDB.
const (
	sampleMeasurement  = "sample"  // tags device, site, tag; fields value (a number), text, unit
	tonnageMeasurement = "tonnage" // tags category, flow, site; field grams (an integer)
)

// Limits of a point. They keep the lines plain: what passes them needs no escaping in a tag.
const (
	maxTag  = 64
	maxText = 200
	maxUnit = 24
	maxMS   = 7_258_118_400_000 // 2200-01-01
)

// Point is one value of one tag: a number, a word, or both.
type Point struct {
	Site, Device, Tag string
	Journal           string // with N: the entry that brought it
	N                 uint64
	AtMS              int64 // the edge's time, Unix ms
	Value             unit.Decimal
	Numeric           bool   // Value says something
	Text              string // the word of a state; empty when there is none
	Unit              string
}

// perMS is the number of stamps in a millisecond.
const perMS = 1_000_000

// Stamp is the point's time in Unix ns. Below the millisecond stands the entry's number, so that
// two entries of one millisecond do not overwrite each other and the same entry always gets the
// same stamp.
func (p Point) Stamp() int64 { return p.AtMS*perMS + int64(p.N%perMS) }

// Check says why a point can't be kept.
func (p Point) Check() error {
	if err := wire.CheckSlug("site", p.Site); err != nil {
		return err
	}
	if err := wire.CheckSlug("device", p.Device); err != nil {
		return err
	}
	if err := checkTag(p.Tag); err != nil {
		return err
	}
	if p.AtMS < 0 || p.AtMS > maxMS {
		return fmt.Errorf("tag %s: time %d ms is not between 1970 and 2200", p.Tag, p.AtMS)
	}
	if err := checkWord("text", p.Text, maxText); err != nil {
		return fmt.Errorf("tag %s: %w", p.Tag, err)
	}
	if err := checkWord("unit", p.Unit, maxUnit); err != nil {
		return fmt.Errorf("tag %s: %w", p.Tag, err)
	}
	if !p.Numeric && p.Text == "" {
		return fmt.Errorf("tag %s: neither a number nor a word", p.Tag)
	}
	return nil
}

// checkTag accepts the names that device profiles give: "rate", "motor_current".
func checkTag(tag string) error {
	bad := tag == "" || len(tag) > maxTag || tag[0] == '-' || tag[0] == '.'
	for i := range len(tag) {
		c := tag[i]
		bad = bad || (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' && c != '.'
	}
	if bad {
		return fmt.Errorf(`tag %.80q: use 1 to %d of a-z, A-Z, 0-9, "_" and inner "-" or "."`, tag, maxTag)
	}
	return nil
}

func checkWord(what, word string, most int) error {
	if len(word) > most || !utf8.ValidString(word) || strings.ContainsFunc(word, unicode.IsControl) {
		return fmt.Errorf("%s %.60q: at most %d bytes of printable text", what, word, most)
	}
	return nil
}

// Tonne is one posting as the store keeps it.
type Tonne struct {
	Site, Category, Flow string
	At                   int64 // Unix ns, unique within site, category and flow
	Grams                int64
}

// Places below the millisecond of a posting's stamp: sign, part of the entry, number of the entry.
const (
	tonneParts   = 512
	tonneEntries = perMS / (2 * tonneParts)
)

// TonneOf gives a posting its point. The stamp rests on what the posting is, never on its place in
// the ledger's order: a ledger that was rebuilt from its entries writes the same points again.
// Within a millisecond, entries are told apart by their number, the parts of one entry by their
// index, and a reversal from what replaces it by its sign.
func TonneOf(p rollup.Posting) (Tonne, error) {
	t := Tonne{Site: p.Site, Category: p.Category, Flow: string(p.Flow), Grams: int64(p.Mass)}
	ms := p.At.UnixMilli()
	if p.Part < 0 || p.Part >= tonneParts || ms < 0 || ms > maxMS {
		return t, fmt.Errorf("posting %d: part %d at %s can't be stamped", p.Seq, p.Part, p.At)
	}
	place := int64(p.Ref.N%tonneEntries)*tonneParts + int64(p.Part)
	sign := int64(0)
	if p.Mass < 0 {
		sign = 1
	}
	t.At = ms*perMS + 2*place + sign
	return t, t.Check()
}

// Check says why tonnage can't be kept.
func (t Tonne) Check() error {
	if err := wire.CheckSlug("site", t.Site); err != nil {
		return err
	}
	if err := checkTag(t.Category); err != nil {
		return fmt.Errorf("category: %w", err)
	}
	if err := checkTag(t.Flow); err != nil {
		return fmt.Errorf("flow: %w", err)
	}
	if t.At < 0 || t.At > maxMS*perMS {
		return fmt.Errorf("tonnage of %s: time %d ns is not between 1970 and 2200", t.Site, t.At)
	}
	return nil
}

// appendLine writes the point in InfluxDB's line protocol. The point must have passed Check: its
// tags then need no escaping. The number keeps its digits; without a suffix it is a float there.
func (p Point) appendLine(line []byte) []byte {
	line = append(line, sampleMeasurement+",device="...)
	line = append(line, p.Device...)
	line = append(line, ",site="...)
	line = append(line, p.Site...)
	line = append(line, ",tag="...)
	line = append(line, p.Tag...)
	line = append(line, ' ')
	if p.Text != "" {
		line = appendField(line, "text", p.Text)
		line = append(line, ',')
	}
	if p.Unit != "" {
		line = appendField(line, "unit", p.Unit)
		line = append(line, ',')
	}
	if p.Numeric {
		line = append(line, "value="...)
		line = append(line, p.Value.String()...)
	} else {
		line = line[:len(line)-1]
	}
	line = append(line, ' ')
	return append(strconv.AppendInt(line, p.Stamp(), 10), '\n')
}

func (t Tonne) appendLine(line []byte) []byte {
	line = append(line, tonnageMeasurement+",category="...)
	line = append(line, t.Category...)
	line = append(line, ",flow="...)
	line = append(line, t.Flow...)
	line = append(line, ",site="...)
	line = append(line, t.Site...)
	line = append(line, " grams="...)
	line = strconv.AppendInt(line, t.Grams, 10)
	line = append(line, 'i', ' ')
	return append(strconv.AppendInt(line, t.At, 10), '\n')
}

// appendField writes a string field. Quote and backslash are the only characters that mean
// something within the quotes; control characters have been refused.
func appendField(line []byte, key, text string) []byte {
	line = append(append(line, key...), '=', '"')
	for i := range len(text) {
		if c := text[i]; c == '"' || c == '\\' {
			line = append(line, '\\')
		}
		line = append(line, text[i])
	}
	return append(line, '"')
}
