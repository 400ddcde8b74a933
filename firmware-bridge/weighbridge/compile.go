package weighbridge

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strconv"

	"steelyard/firmware-bridge/device"
	"steelyard/internal/unit"
)

// compiledLayout is a Layout made ready to run: words parsed, maps turned into short lists.
type compiledLayout struct {
	Layout
	kind       checksumKind
	always     status
	unit       unit.Unit
	codes      []codeTable
	bits       []bitTable
	units      []entry
	texts      []entry
	messages   []entry
	blank      status
	dashes     status
	points     []pointCode
	tellsKind  bool // some frames say gross and others net, so one that says neither is no weight
	style      numberFormat
	tareStyle  numberFormat
	grossStyle numberFormat
}

type entry struct {
	text string
	m    status
	said string // for Weight.Error
}

// pointCode is one entry of a table of the point.
type pointCode struct {
	code     byte
	decimals int
}

type codeTable struct {
	at, n   int
	entries []entry
	other   status
}

type bitTable struct {
	at           int
	mask, is     byte
	then, orElse status
}

// compile checks a layout, reports every mistake, and makes its codec. unit is what the frames
// mean when they name none.
func (l Layout) compile(fallback unit.Unit) (codec, error) {
	m := &compiledLayout{Layout: l, kind: checksumKind(l.Checksum.Kind), unit: fallback}
	var wrong []error
	complain := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	words := func(field, text string) status {
		got, err := parseStatus(text)
		if err != nil {
			complain("%s: %w", field, err)
		}
		return got
	}
	position := func(field string, at int) {
		switch longest := max(l.Length, l.OrLength); {
		case at == 0 || at > MaxFrame || at < -MaxFrame, longest > 0 && (at > longest || at < -longest):
			complain("%s: position %d is outside the frame", field, at)
		}
	}
	span := func(field string, s Span) {
		position(field+" from", s.From)
		position(field+" to", s.To)
		if (s.From > 0) == (s.To > 0) && s.From > s.To {
			complain("%s: from %d is behind to %d", field, s.From, s.To)
		}
	}
	table := func(field string, texts map[string]string) []entry {
		var entries []entry
		for text, m := range texts {
			if text == "" || len(text) > MaxFrame {
				complain("%s: text %.20q must have 1 to %d characters", field, text, MaxFrame)
			}
			entries = append(entries, entry{text, words(field+" "+text, m), text})
		}
		slices.SortFunc(entries, func(a, b entry) int { return bytes.Compare([]byte(a.text), []byte(b.text)) })
		return entries
	}

	l.checkFraming(complain)
	l.checkChecksum(complain, position, span)
	if m.kind == "" {
		m.kind = noChecksum
	}
	if m.Checksum.Encoding == "" {
		m.Checksum.Encoding = encodedRaw
	}
	m.always = words("means", l.Means)
	if l.Sign.At != 0 {
		position("sign", l.Sign.At)
		if l.Sign.Plus == "" || l.Sign.Minus == "" {
			complain("sign: name the characters for plus and for minus")
		}
	}
	if l.Digits.From == 0 {
		complain("digits: say where the weight stands")
	}
	for _, f := range []struct {
		name string
		d    Digits
		s    *numberFormat
	}{{"digits", l.Digits, &m.style}, {"tare", l.Tare, &m.tareStyle}, {"gross", l.Gross, &m.grossStyle}} {
		if f.d.Span == (Span{}) {
			continue
		}
		span(f.name, f.d.Span)
		if f.d.Count < 0 || f.d.Count > mostDigits {
			complain("%s: count %d must be between 0 and %d", f.name, f.d.Count, mostDigits)
		}
		if f.d.BCD && (f.d.Point || f.d.Pointed || f.d.Signed || f.d.Padded) {
			complain("%s: packed digits have no point, sign or blanks", f.name)
		}
		*f.s = numberFormat{point: f.d.Point || f.d.Pointed, pointed: f.d.Pointed, sign: f.d.Signed, padded: f.d.Padded, gapped: f.d.Gapped, trailing: f.d.Trailing}
	}
	m.points = l.Decimals.compile(complain, position, span)
	if (l.Decimals.At != 0 || l.Decimals.Fixed != 0) && (l.Digits.Point || l.Digits.Pointed) && l.Decimals.Kind != decimalsExponent {
		complain("decimals: digits that carry a point need no decimals")
	}
	if l.Twin != (Span{}) {
		span("twin", l.Twin)
	}
	for _, c := range l.Codes {
		m.codes = append(m.codes, c.compile(complain, position, words, table))
	}
	for _, b := range l.Bits {
		position("bits", b.At)
		if b.Mask == 0 || b.Is&^b.Mask != 0 {
			complain("bits at %d: value %#02x does not lie under mask %#02x", b.At, b.Is, b.Mask)
		}
		m.bits = append(m.bits, bitTable{b.At, b.Mask, b.Is, words("bits", b.Then), words("bits", b.Else)})
	}
	sayable := m.always
	for _, c := range m.codes {
		sayable |= c.says()
	}
	for _, b := range m.bits {
		sayable |= b.then | b.orElse
	}
	m.tellsKind = sayable&gross != 0 && sayable&net != 0
	m.units = l.unitTable(complain, span, table)
	if l.Unit.Fixed != "" {
		m.unit = unit.Unit(l.Unit.Fixed)
		if _, ok := usualUnits()[l.Unit.Fixed]; !ok {
			complain("unit: %.20q is not kg, g, t, lb or oz", l.Unit.Fixed)
		}
	}
	m.texts, m.messages = table("texts", l.Texts), table("messages", l.Messages)
	m.blank = words("blank_is", l.BlankIs)
	m.dashes = words("dashes_are", l.DashesIs)
	if err := errors.Join(wrong...); err != nil {
		return codec{}, fmt.Errorf("layout: %w", err)
	}

	c := codec{mask: l.Mask, between: l.Between, decode: m.decode}
	switch {
	case len(l.Start) == 0:
		c.take = m.takeLine
	case l.NextStartEnds:
		c.start, c.hasStart, c.take = l.Start[0], true, m.takeToNext
	case l.Length == 0:
		c.start, c.hasStart, c.take = l.Start[0], true, m.takeToEnd
	default:
		c.start, c.hasStart, c.take = l.Start[0], true, m.takeFixed
	}
	return c, nil
}

func (l Layout) checkFraming(complain func(string, ...any)) {
	if l.Length < 0 || l.Length >= MaxFrame || l.OrLength < 0 || l.OrLength >= MaxFrame {
		complain("length: %d, %d: must be below %d", l.Length, l.OrLength, MaxFrame)
	}
	if l.OrLength != 0 && l.OrLength <= l.Length {
		complain("or_length: %d must be more than length %d", l.OrLength, l.Length)
	}
	if n := len(l.Start) + len(l.End); n > 16 || l.Length > 0 && n >= l.Length {
		complain("start and end: %d bytes are too many", n)
	}
	switch {
	case l.NextStartEnds:
		if len(l.Start) != 1 || l.Length == 0 || l.OrLength != 0 || len(l.End) != 0 {
			complain("next_start_ends: needs a start of one byte, a length and no end")
		}
	case len(l.Start) == 0 && len(l.End) == 0:
		complain("start, end: a frame needs one of them")
	case len(l.End) == 0 && l.Length == 0:
		complain("end, length: a frame needs one of them")
	}
	if i := bytes.Index(l.End, l.Start); len(l.Start) > 0 && l.Length == 0 && i >= 0 && i+len(l.Start) < len(l.End) {
		complain("start: stands inside end, so the end of a frame would look like the start of the next; give the length")
	}
	if l.Checksum.AfterEnd && (len(l.Start) == 0 || l.Length == 0) {
		complain("checksum after_end: needs a start and a length")
	}
}

func (l Layout) checkChecksum(complain func(string, ...any), position func(string, int), span func(string, Span)) {
	c := l.Checksum
	switch checksumKind(c.Kind) {
	case "", noChecksum:
		if c != (Checksum{Kind: c.Kind}) {
			complain("checksum: from, to, at and encoding need a kind")
		}
		return
	case xorSum, sum8, neg8, mt7:
	default:
		complain("checksum: kind %.20q is not xor, sum8, neg8, mt7 or none", c.Kind)
	}
	switch c.Encoding {
	case "", encodedRaw, encodedNibble, encodedHex:
	default:
		complain("checksum: encoding %.20q is not raw, nibble or hex", c.Encoding)
	}
	if c.AfterEnd {
		if c.From != 0 || c.To != 0 || c.At != 0 || c.Encoding != "" && c.Encoding != encodedRaw {
			complain("checksum after_end: is one raw byte over all before it; from, to and at have no meaning")
		}
		return
	}
	span("checksum", Span{c.From, c.To})
	position("checksum", c.At)
}

func (c Code) compile(complain func(string, ...any), position func(string, int), words func(string, string) status,
	table func(string, map[string]string) []entry) codeTable {
	position("codes", c.At)
	t := codeTable{at: c.At, entries: table("codes", c.Is), other: reject}
	if len(t.entries) == 0 {
		complain("codes at %d: no texts", c.At)
		return t
	}
	t.n = len(t.entries[0].text)
	for i, e := range t.entries {
		t.entries[i].said = "status " + e.text
		if len(e.text) != t.n {
			complain("codes at %d: %q and %q differ in length", c.At, t.entries[0].text, e.text)
		}
	}
	switch c.Other {
	case "":
	case "ignore":
		t.other = 0
	default:
		t.other = words("codes other", c.Other)
	}
	if t.says()&kinds != 0 && t.other&(kinds|outOfRange|reject) == 0 {
		complain("codes at %d: its texts tell gross from net, and with any other text a net weight would be taken for a gross one; leave out other", c.At)
	}
	return t
}

// says is everything that some text of the field says.
func (t codeTable) says() (all status) {
	for _, e := range t.entries {
		all |= e.m
	}
	return all | t.other&^reject
}

// Kinds of decimals.
const (
	decimalsDigit    = "digit"
	decimalsBits     = "bits"
	decimalsToledo   = "toledo"
	decimalsExponent = "exponent"
)

// compile checks what is said about the point and sorts its table.
func (d Decimals) compile(complain func(string, ...any), position func(string, int), span func(string, Span)) (points []pointCode) {
	if d.At == 0 {
		if d.Fixed < 0 || d.Fixed > 9 {
			complain("decimals: fixed %d must be between 0 and 9", d.Fixed)
		}
		if d.To != 0 || d.Mask != 0 || d.Less != 0 || len(d.Is) > 0 || d.Kind != "" {
			complain("decimals: to, kind, mask, less and is need at, the byte that says it")
		}
		return nil
	}
	if d.Fixed != 0 {
		complain("decimals: either fixed or at, not both")
	}
	position("decimals", d.At)
	switch d.Kind {
	case "", decimalsDigit, decimalsToledo:
	case decimalsBits:
		if d.Mask == 0 {
			complain("decimals: kind bits needs mask, the bits of the byte that are the number")
		}
	case decimalsExponent:
		span("decimals", Span{d.At, d.To})
	default:
		complain("decimals: kind %.20q is not digit, bits, toledo or exponent", d.Kind)
	}
	if d.Kind != decimalsExponent && d.To != 0 {
		complain("decimals: to is the last byte of an exponent and needs kind exponent")
	}
	if counts := d.Kind == "" || d.Kind == decimalsDigit || d.Kind == decimalsBits; !counts && (d.Less != 0 || len(d.Is) > 0) || d.Less != 0 && len(d.Is) > 0 {
		complain("decimals: less and is exclude each other and are for the kinds digit and bits")
	}
	if d.Less < 0 || d.Less > 9 {
		complain("decimals: less %d must be between 0 and 9", d.Less)
	}
	for _, text := range slices.Sorted(maps.Keys(d.Is)) {
		n := d.Is[text]
		code, ok := d.code(text)
		if !ok {
			complain("decimals: is %.20q: write the character, or for the kind bits the number under the mask", text)
		}
		if n < -9 || n > 9 {
			complain("decimals: is %.20q: %d digits behind the point must be between -9 and 9", text, n)
		}
		points = append(points, pointCode{code, n})
	}
	slices.SortFunc(points, func(a, b pointCode) int { return int(a.code) - int(b.code) })
	return points
}

// code is the byte, or the number under the mask, that a key of the table stands for.
func (d Decimals) code(text string) (byte, bool) {
	if d.Kind != decimalsBits {
		return (text + "\x00")[0], len(text) == 1
	}
	n, err := strconv.ParseUint(text, 0, 8)
	return byte(n), err == nil && byte(n) <= d.Mask>>bits.TrailingZeros8(d.Mask)
}

func (l Layout) unitTable(complain func(string, ...any), span func(string, Span), table func(string, map[string]string) []entry) []entry {
	if l.Unit.Span == (Span{}) {
		return nil
	}
	if l.Unit.Fixed != "" {
		complain("unit: either fixed or a field, not both")
	}
	span("unit", l.Unit.Span)
	texts := l.Unit.Is
	if len(texts) == 0 {
		texts = usualUnits()
	}
	return table("unit", texts)
}

// at turns a position into an index. False means that this frame is too short for it.
func at(b []byte, position int) (int, bool) {
	if position < 0 {
		position += len(b)
		return position, position >= 0
	}
	return position - 1, position <= len(b)
}

func (s Span) in(b []byte) ([]byte, bool) {
	from, okFrom := at(b, s.From)
	to, okTo := at(b, s.To)
	if !okFrom || !okTo || from > to {
		return nil, false
	}
	return b[from : to+1], true
}

func find(entries []entry, text []byte) (entry, bool) {
	for i := range entries {
		if entries[i].text == string(text) {
			return entries[i], true
		}
	}
	return entry{}, false
}

// say applies a text that stands for digits or for a whole frame.
func (e entry) say(w *device.Weight, all status) {
	(all&^inRange | e.m).apply(w)
	if e.m&faulty != 0 {
		w.Error = e.said
	}
	noValue(w)
}
