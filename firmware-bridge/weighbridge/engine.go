package weighbridge

import (
	"bytes"
	"math/bits"
	"slices"

	"steelyard/firmware-bridge/device"
	"steelyard/internal/unit"
)

const lineFeed = 0x0A

// takeLine frames a layout without a start: up to End, and only of a length that is named or a message.
func (m *compiledLayout) takeLine(b []byte, _ bool) (int, verdict) {
	n, v := takeLine(b, m.End)
	if v == whole && m.Length != 0 && n != m.Length && (m.OrLength == 0 || n != m.OrLength) {
		if _, ok := m.message(b[:n]); !ok {
			v = broken(badLength)
		}
	}
	return n, v
}

// takeToNext frames the "=" formats: the next start proves the length.
func (m *compiledLayout) takeToNext(b []byte, final bool) (int, verdict) {
	b = b[:min(len(b), m.Length+1)]
	next := bytes.IndexByte(b[1:], m.Start[0]) + 1
	switch {
	case next == m.Length, next == 0 && len(b) == m.Length && final:
		return m.Length, whole
	case next > 0:
		return next, broken(badLength)
	case len(b) > m.Length:
		return 1, broken(badLength) // too long already; the search goes on at the next start
	}
	return 0, more
}

// takeToEnd frames what has a start, an end and any length between them.
func (m *compiledLayout) takeToEnd(b []byte, _ bool) (int, verdict) {
	if !bytes.HasPrefix(b, m.Start) {
		return m.unlikeStart(b)
	}
	end := bytes.Index(b[len(m.Start):], m.End)
	if again := bytes.Index(b[len(m.Start):], m.Start); again >= 0 && (end < 0 || again < end) {
		return len(m.Start) + again, broken(badEnd) // the frame was cut off by another
	}
	if end < 0 {
		return 0, more
	}
	return len(m.Start) + end + len(m.End), whole
}

func (m *compiledLayout) unlikeStart(b []byte) (int, verdict) {
	if len(b) < len(m.Start) && bytes.HasPrefix(m.Start, b) {
		return 0, more
	}
	return 1, junk
}

// takeFixed frames what has a start and one or two lengths.
func (m *compiledLayout) takeFixed(b []byte, _ bool) (int, verdict) {
	if !bytes.HasPrefix(b, m.Start) {
		return m.unlikeStart(b)
	}
	if n := m.shortMessage(b); n > 0 {
		return n, whole
	}
	if len(b) < m.Length {
		return 0, more
	}
	if bytes.HasSuffix(b[:m.Length], m.End) {
		return m.takeTrailer(b)
	}
	if m.OrLength == 0 {
		return 1, broken(badEnd)
	}
	if len(b) < m.OrLength {
		return 0, more
	}
	if bytes.HasSuffix(b[:m.OrLength], m.End) {
		return m.OrLength, whole
	}
	return 1, broken(badEnd)
}

// shortMessage is the length of a message that ends before a frame would; 0 when there is none.
func (m *compiledLayout) shortMessage(b []byte) int {
	if len(m.messages) == 0 || len(m.End) == 0 {
		return 0
	}
	rest := b[len(m.Start):min(len(b), m.Length)]
	n := len(m.Start) + bytes.Index(rest, m.End) + len(m.End)
	if n < len(m.Start)+len(m.End) || n == m.Length {
		return 0
	}
	if _, ok := m.message(b[:n]); !ok {
		return 0
	}
	return n
}

// takeTrailer takes a checksum behind the end, with or without a line feed before it. A checksum
// may itself have the value of a line feed, so the shorter form is tried first.
func (m *compiledLayout) takeTrailer(b []byte) (int, verdict) {
	n := m.Length
	if !m.Checksum.AfterEnd {
		return n, whole
	}
	if len(b) <= n {
		return 0, more
	}
	if m.sameSum(b[:n], b[n]) {
		return n + 1, whole
	}
	if b[n] != lineFeed {
		return 1, broken(badSum)
	}
	if len(b) <= n+1 {
		return 0, more
	}
	if m.sameSum(b[:n+1], b[n+1]) {
		return n + 2, whole
	}
	return 1, broken(badSum)
}

func (m *compiledLayout) sameSum(b []byte, sum byte) bool {
	got := m.kind.of(b)
	if m.Mask != 0 {
		got &= m.Mask
	}
	return got == sum
}

// decode reads a frame that take has found, or says which rule it fails.
func (m *compiledLayout) decode(b []byte, w *device.Weight) Refusal {
	w.Unit = m.unit
	if e, ok := m.message(b); ok {
		e.say(w, 0)
		return accepted
	}
	if m.kind != noChecksum && !m.Checksum.AfterEnd && !m.checksumHolds(b) {
		return badSum
	}
	all := m.always
	for i := range m.codes {
		c := &m.codes[i]
		k, ok := at(b, c.at)
		if !ok || k+c.n > len(b) {
			return badLength
		}
		if e, ok := find(c.entries, b[k:k+c.n]); ok {
			all |= e.m
			if e.m&faulty != 0 {
				w.Error = e.said
			}
		} else {
			all |= c.other
			if c.other&faulty != 0 {
				w.Error = "status " + string(b[k:k+c.n])
			}
		}
	}
	for i := range m.bits {
		t := &m.bits[i]
		k, ok := at(b, t.at)
		if !ok {
			return badLength
		}
		if b[k]&t.mask == t.is {
			all |= t.then
		} else {
			all |= t.orElse
		}
	}
	if len(m.units) > 0 {
		named, ok := m.namedUnit(b)
		if !ok && all&outOfRange == 0 {
			return badUnit
		}
		all |= named
	}
	if all&reject != 0 {
		return badStatus
	}
	return m.weigh(b, all, w)
}

// message finds the text that stands for a whole frame, whatever its length.
func (m *compiledLayout) message(b []byte) (entry, bool) {
	if len(m.messages) == 0 || len(b) < len(m.Start)+len(m.End) {
		return entry{}, false
	}
	return find(m.messages, bytes.Trim(b[len(m.Start):len(b)-len(m.End)], " "))
}

func (m *compiledLayout) checksumHolds(b []byte) bool {
	c := &m.Checksum
	covered, ok := Span{c.From, c.To}.in(b)
	k, okAt := at(b, c.At)
	if !ok || !okAt {
		return false
	}
	if c.Encoding == encodedRaw {
		return m.sameSum(covered, b[k])
	}
	if k+1 >= len(b) {
		return false
	}
	sum, ok := hexPair(b[k], b[k+1])
	if c.Encoding == encodedNibble {
		sum, ok = nibblePair(b[k], b[k+1])
	}
	return ok && sum == m.kind.of(covered)
}

// namedUnit reads the unit field. A blank one names none, as a format without the field; one that is
// not in the table may be a damaged "kg", so it rejects the frame.
func (m *compiledLayout) namedUnit(b []byte) (status, bool) {
	field, ok := m.Unit.in(b)
	if !ok {
		return 0, false
	}
	field = bytes.Trim(field, " ")
	if len(field) == 0 {
		return 0, true
	}
	e, ok := find(m.units, field)
	return e.m, ok
}

// weigh reads the numbers and applies what the frame says about them.
func (m *compiledLayout) weigh(b []byte, all status, w *device.Weight) Refusal {
	if all&outOfRange != 0 {
		if field, ok := m.Digits.in(b); ok && len(m.texts) > 0 {
			if e, ok := find(m.texts, bytes.Trim(field, " ")); ok {
				e.say(w, all&^outOfRange) // the words are more exact than the bit
				return accepted
			}
		}
		all.apply(w)
		noValue(w)
		return accepted
	}
	if why := m.noWeight(all); why != "" {
		all.apply(w)
		noValue(w)
		w.Error = why
		return accepted
	}
	field, ok := m.Digits.in(b)
	if !ok {
		return badLength
	}
	if m.Twin.From != 0 {
		if twin, ok := m.Twin.in(b); !ok || !bytes.Equal(field, twin) {
			return badTwin
		}
	}
	if m.Sign.At != 0 {
		k, ok := at(b, m.Sign.At)
		switch {
		case !ok:
			return badLength
		case contains(m.Sign.Minus, b[k]):
			all |= negative
		case !contains(m.Sign.Plus, b[k]):
			return badSign
		}
	}
	decimals, ok := m.decimals(b)
	if !ok {
		return badPoint
	}
	d, state := m.Digits.parse(field, m.style)
	switch state {
	case number:
	case blank:
		(all | m.blank).apply(w)
		noValue(w)
		return accepted
	case dashes:
		if e, ok := find(m.texts, bytes.Trim(field, " ")); ok {
			e.say(w, all)
			return accepted
		}
		(all&^inRange | m.dashes).apply(w)
		noValue(w)
		return accepted
	default:
		e, ok := find(m.texts, bytes.Trim(field, " "))
		if !ok {
			return badDigits
		}
		e.say(w, all)
		return accepted
	}
	if all&negative != 0 {
		d.Coef = -d.Coef
	}
	if w.Value, ok = m.scaled(d, decimals); !ok {
		return badPoint
	}
	w.HasValue = true
	all.apply(w)
	if m.Tare.From != 0 {
		if w.Tare, w.HasTare, ok = m.secondNumber(b, &m.Tare, m.tareStyle, decimals); !ok {
			return badDigits
		}
		if w.TareKind == device.TareMeasured && w.Tare.Coef == 0 {
			w.TareKind = device.TareUnknown // the place of a tare, without one
		}
	}
	if m.Gross.From != 0 {
		if w.Gross, w.HasGross, ok = m.secondNumber(b, &m.Gross, m.grossStyle, decimals); !ok {
			return badDigits
		}
	}
	return accepted
}

// noWeight says why no weight can be made of the digits, however good they are; empty when one can.
func (m *compiledLayout) noWeight(all status) string {
	switch kind := all & kinds; {
	case all&foreignUnit != 0: // without its unit the number would be taken for one of the configured unit
		return "the display is in another unit than kg, g, t, lb or oz: switch it on the indicator"
	case kind&(kind-1) != 0:
		return "gross, net or tare: the frame says more than one of them at once"
	case kind == 0 && m.tellsKind:
		return "gross or net: the frame says neither, where its format tells them apart"
	}
	return ""
}

// secondNumber reads a second number. A blank one is absent.
func (m *compiledLayout) secondNumber(b []byte, f *Digits, s numberFormat, decimals int) (d unit.Decimal, has, ok bool) {
	field, ok := f.in(b)
	if !ok {
		return d, false, false
	}
	d, state := f.parse(field, s)
	if state == blank {
		return unit.Decimal{}, false, true
	}
	if state != number {
		return d, false, false
	}
	d, ok = m.scaled(d, decimals)
	return d, ok, ok
}

func (f *Digits) parse(field []byte, s numberFormat) (unit.Decimal, outcome) {
	if f.Count != 0 {
		n := len(field)
		if bytes.IndexByte(field, '.') >= 0 {
			n--
		}
		if n != f.Count {
			return unit.Decimal{}, classifyText(field)
		}
	}
	var turned [MaxFrame]byte
	if f.Reversed {
		for i, c := range field {
			turned[len(field)-1-i] = c
		}
		field = turned[:len(field)]
	}
	if f.BCD {
		return parseBCD(field)
	}
	return parseNumber(field, s)
}

// decimals says how many digits are behind the point; below zero, how many zeros are shown but not sent.
func (m *compiledLayout) decimals(b []byte) (int, bool) {
	d := &m.Decimals
	if d.At == 0 {
		return d.Fixed, true
	}
	k, ok := at(b, d.At)
	if !ok {
		return 0, false
	}
	switch d.Kind {
	case decimalsToledo:
		// Code 0 shows XXXX00, 1 XXXXX0, 2 XXXXXX, 3 XXXXX.X and so on to 7.
		n := int(b[k]&7) - 2
		if n < 0 && !d.MultiplyDummyZeros {
			n = 0
		}
		return n, true
	case decimalsExponent:
		field, ok := Span{d.At, d.To}.in(b)
		if !ok {
			return 0, false
		}
		e, state := parseNumber(field, numberFormat{sign: true, padded: true})
		return -int(e.Coef), state == number && e.Coef >= -mostDigits && e.Coef <= mostDigits
	}
	code := b[k]
	if d.Kind == decimalsBits {
		code = code & d.Mask >> bits.TrailingZeros8(d.Mask)
	}
	if len(m.points) > 0 {
		i := slices.IndexFunc(m.points, func(p pointCode) bool { return p.code == code })
		if i < 0 {
			return 0, false
		}
		return m.points[i].decimals, true
	}
	n := int(code) - d.Less
	if d.Kind != decimalsBits {
		if n -= '0'; n > 4 {
			return 0, false
		}
	}
	return n, n >= 0
}

// scaled sets the point, or adds the zeros that were not sent.
func (m *compiledLayout) scaled(d unit.Decimal, decimals int) (unit.Decimal, bool) {
	if decimals != 0 && d.Scale != 0 {
		if m.Decimals.Kind != decimalsExponent {
			return d, false // digits that already have a point may not get another
		}
		decimals += int(d.Scale)
		d.Scale = 0
	}
	for ; decimals < 0; decimals++ {
		if d.Coef > 1e16 || d.Coef < -1e16 {
			return d, false
		}
		d.Coef *= 10
	}
	if decimals == 0 {
		return d, true
	}
	return withScale(d, decimals)
}

func contains(set string, c byte) bool {
	for i := range len(set) {
		if set[i] == c {
			return true
		}
	}
	return false
}
