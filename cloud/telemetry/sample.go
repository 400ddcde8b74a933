package telemetry

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"steelyard/cloud/rollup"
	"steelyard/internal/record"
	"steelyard/internal/unit"
	"steelyard/internal/wire"
)

// Limits of a sample. They keep the lines plain: what passes them needs no escaping in a tag.
const (
	maxTag  = 64
	maxText = 200
	maxUnit = 24
	maxMS   = 7_258_118_400_000 // 2200-01-01
)

// Sample is what one machine showed at one moment. It is one point of the store: all its values
// have one stamp.
type Sample struct {
	Site, Device string
	Machine      string // its kind; empty where its edge does not say it
	Name         string // what people call it; empty where this sample does not say it
	English      string // the same in English
	Journal      string // with N: the entry that brought it
	N            uint64
	AtMS         int64                // the edge's time, Unix ms
	Values       []record.SampleValue // valid ones, each tag once, with a number, a word or both

	checked bool // by the Recorder, value by value
}

// perMS is the number of stamps in a millisecond.
const perMS = 1_000_000

// Stamp is the sample's time in Unix ns. Below the millisecond stands the entry's number, so that
// two entries of one millisecond do not overwrite each other and the same entry always gets the
// same stamp.
func (s *Sample) Stamp() int64 { return s.AtMS*perMS + int64(s.N%perMS) }

// Check says why a sample can't be kept.
func (s *Sample) Check() error {
	if s.checked {
		return nil
	}
	if err := s.checkHead(); err != nil {
		return err
	}
	for i := range s.Values {
		v := &s.Values[i]
		if err := checkTag(v.Tag); err != nil {
			return err
		}
		if err := checkValue(v); err != nil {
			return err
		}
	}
	return nil
}

// checkHead checks what is not the values'.
func (s *Sample) checkHead() error {
	if err := wire.CheckSlug("site", s.Site); err != nil {
		return err
	}
	if err := wire.CheckSlug("device", s.Device); err != nil {
		return err
	}
	if s.Machine != "" {
		if err := wire.CheckSlug("machine", s.Machine); err != nil {
			return err
		}
	}
	if err := errors.Join(checkWord("name", s.Name, maxText), checkWord("name", s.English, maxText)); err != nil {
		return err
	}
	if s.AtMS < 0 || s.AtMS > maxMS {
		return fmt.Errorf("time %d ms is not between 1970 and 2200", s.AtMS)
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

// checkValue checks number, word and unit of a tag that is good.
func checkValue(v *record.SampleValue) error {
	if v.Value != "" && !isPlain(v.Value) {
		d, err := unit.ParseDecimal(v.Value)
		if err != nil {
			return fmt.Errorf("tag %s: %w", v.Tag, err)
		}
		v.Value = d.String()
	}
	if err := checkWord("text", v.Text, maxText); err != nil {
		return fmt.Errorf("tag %s: %w", v.Tag, err)
	}
	if err := checkWord("unit", v.Unit, maxUnit); err != nil {
		return fmt.Errorf("tag %s: %w", v.Tag, err)
	}
	if v.Value == "" && v.Text == "" {
		return fmt.Errorf("tag %s: neither a number nor a word", v.Tag)
	}
	return nil
}

// isPlain reports whether text is a decimal as edges write it, which every reader of numbers takes:
// digits with a point between them at most, a minus sign or none.
func isPlain(text string) bool {
	digits := strings.TrimPrefix(text, "-")
	point := strings.IndexByte(digits, '.')
	if len(digits) == 0 || len(digits) > 19 || point == 0 || point == len(digits)-1 || point < 0 && len(digits) > 18 {
		return false
	}
	for i := range len(digits) {
		if c := digits[i]; (c < '0' || c > '9') && i != point {
			return false
		}
	}
	return true
}

func checkWord(what, word string, most int) error {
	if word == "" {
		return nil
	}
	if len(word) > most || !utf8.ValidString(word) || strings.ContainsFunc(word, unicode.IsControl) {
		return fmt.Errorf("%s %.60q: at most %d bytes of printable text", what, word, most)
	}
	return nil
}

// Tonne is one posting as the store keeps it.
type Tonne struct {
	Site, Category, Flow string
	Material             string // as recorded: the category, or the category/grade
	At                   int64  // Unix ns, unique within site, material and flow
	Grams                int64
}

// Grade is what the material says beyond its category; empty when nothing.
func (t Tonne) Grade() string {
	_, grade, _ := strings.Cut(t.Material, "/")
	return grade
}

// Places below the millisecond of a posting's stamp: sign, part of the entry, number of the entry.
const (
	tonneParts   = 512
	tonneEntries = perMS / (2 * tonneParts)
)

// TonneOf returns a posting its point. The stamp rests on what the posting is, never on its place in
// the ledger's order: a ledger that was rebuilt from its entries writes the same points again.
// Within a millisecond, entries are told apart by their number, the parts of one entry by their
// index, and a reversal from what replaces it by its sign.
func TonneOf(p rollup.Posting) (Tonne, error) {
	t := Tonne{Site: p.Site, Category: p.Category, Flow: string(p.Flow), Material: p.Material, Grams: int64(p.Mass)}
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
	category, grade, graded := strings.Cut(t.Material, "/")
	if err := checkTag(category); err != nil {
		return fmt.Errorf("material: %w", err)
	}
	if graded {
		if err := checkTag(grade); err != nil {
			return fmt.Errorf("material: %w", err)
		}
	}
	if t.At < 0 || t.At > maxMS*perMS {
		return fmt.Errorf("tonnage of %s: time %d ns is not between 1970 and 2200", t.Site, t.At)
	}
	return nil
}
