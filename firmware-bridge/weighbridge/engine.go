package weighbridge

import (
	"bytes"

	"steelyard/firmware-bridge/device"
	"steelyard/internal/unit"
)

const lineFeed = 0x0A

// takeLine frames a layout without a start: up to End, and only of a length that is named.
func (m *machine) takeLine(b []byte, _ bool) (int, verdict) {
	n, v := takeLine(b, m.End)
	if v == whole && m.Length != 0 && n != m.Length && (m.OrLength == 0 || n != m.OrLength) {
		v = bad
	}
	return n, v
}

// takeToNext frames the "=" formats: the next start proves the length.
func (m *machine) takeToNext(b []byte, final bool) (int, verdict) {
	b = b[:min(len(b), m.Length+1)]
	next := bytes.IndexByte(b[1:], m.Start[0]) + 1
	switch {
	case next == m.Length, next == 0 && len(b) == m.Length && final:
		return m.Length, whole
	case next > 0:
		return next, bad
	case len(b) > m.Length:
		return 1, bad // too long already; the search goes on at the next start
	}
	return 0, more
}

// takeToEnd frames what has a start, an end and any length between them.
func (m *machine) takeToEnd(b []byte, _ bool) (int, verdict) {
	if !bytes.HasPrefix(b, m.Start) {
		return m.unlikeStart(b)
	}
	end := bytes.Index(b[len(m.Start):], m.End)
	if again := bytes.Index(b[len(m.Start):], m.Start); again >= 0 && (end < 0 || again < end) {
		return len(m.Start) + again, bad // the frame was cut off by another
	}
	if end < 0 {
		return 0, more
	}
	return len(m.Start) + end + len(m.End), whole
}

func (m *machine) unlikeStart(b []byte) (int, verdict) {
	if len(b) < len(m.Start) && bytes.HasPrefix(m.Start, b) {
		return 0, more
	}
	return 1, junk
}

// takeFixed frames what has a start and one or two lengths.
func (m *machine) takeFixed(b []byte, _ bool) (int, verdict) {
	if !bytes.HasPrefix(b, m.Start) {
		return m.unlikeStart(b)
	}
	if len(b) < m.Length {
		return 0, more
	}
	if bytes.HasSuffix(b[:m.Length], m.End) {
		return m.takeTrailer(b)
	}
	if m.OrLength == 0 {
		return 1, bad
	}
	if len(b) < m.OrLength {
		return 0, more
	}
	if bytes.HasSuffix(b[:m.OrLength], m.End) {
		return m.OrLength, whole
	}
	return 1, bad
}

// takeTrailer takes a checksum behind the end, with or without a line feed before it. A checksum
// may itself have the value of a line feed, so the shorter form is tried first.
func (m *machine) takeTrailer(b []byte) (int, verdict) {
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
		return 1, bad
	}
	if len(b) <= n+1 {
		return 0, more
	}
	if m.sameSum(b[:n+1], b[n+1]) {
		return n + 2, whole
	}
	return 1, bad
}

func (m *machine) sameSum(b []byte, sum byte) bool {
	got := m.kind.of(b)
	if m.Mask != 0 {
		got &= m.Mask
	}
	return got == sum
}

// decode reads a frame that take has found. False rejects it.
func (m *machine) decode(b []byte, w *device.Weight) bool {
	w.Unit = m.unit
	if len(m.messages) > 0 {
		if e, ok := find(m.messages, bytes.Trim(b[len(m.Start):len(b)-len(m.End)], " ")); ok {
			e.say(w, 0)
			return true
		}
	}
	if m.kind != noChecksum && !m.Checksum.AfterEnd && !m.checksumHolds(b) {
		return false
	}
	all := m.always
	for i := range m.codes {
		c := &m.codes[i]
		k, ok := at(b, c.at)
		if !ok || k+c.n > len(b) {
			return false
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
			return false
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
			return false
		}
		all |= named
	}
	if all&reject != 0 {
		return false
	}
	return m.weigh(b, all, w)
}

func (m *machine) checksumHolds(b []byte) bool {
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
func (m *machine) namedUnit(b []byte) (meaning, bool) {
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
func (m *machine) weigh(b []byte, all meaning, w *device.Weight) bool {
	if all&outOfRange != 0 {
		if field, ok := m.Digits.in(b); ok && len(m.texts) > 0 {
			if e, ok := find(m.texts, bytes.Trim(field, " ")); ok {
				e.say(w, all&^outOfRange) // the words are more exact than the bit
				return true
			}
		}
		all.apply(w)
		noValue(w)
		return true
	}
	if all&foreignUnit != 0 {
		// Without its unit the number would be taken for one of the configured unit.
		all.apply(w)
		noValue(w)
		w.Error = "the display is in another unit than kg, g, t, lb or oz: switch it on the indicator"
		return true
	}
	field, ok := m.Digits.in(b)
	if !ok {
		return false
	}
	if m.Twin.From != 0 {
		if twin, ok := m.Twin.in(b); !ok || !bytes.Equal(field, twin) {
			return false
		}
	}
	if m.Sign.At != 0 {
		k, ok := at(b, m.Sign.At)
		switch {
		case !ok:
			return false
		case contains(m.Sign.Minus, b[k]):
			all |= negative
		case !contains(m.Sign.Plus, b[k]):
			return false
		}
	}
	scale, zeros, ok := m.decimals(b)
	if !ok {
		return false
	}
	d, state := m.Digits.parse(field, m.style)
	switch state {
	case number:
	case blank:
		(all | m.blank).apply(w)
		noValue(w)
		return true
	case dashes:
		if e, ok := find(m.texts, bytes.Trim(field, " ")); ok {
			e.say(w, all)
			return true
		}
		(all&^inRange | m.dashes).apply(w)
		noValue(w)
		return true
	default:
		e, ok := find(m.texts, bytes.Trim(field, " "))
		if ok {
			e.say(w, all)
		}
		return ok
	}
	if all&negative != 0 {
		d.Coef = -d.Coef
	}
	if w.Value, ok = scaled(d, scale, zeros); !ok {
		return false
	}
	w.HasValue = true
	all.apply(w)
	if m.Tare.From != 0 {
		if w.Tare, w.HasTare, ok = m.beside(b, &m.Tare, m.tareStyle, scale, zeros); !ok {
			return false
		}
		if w.TareKind == device.TareMeasured && w.Tare.Coef == 0 {
			w.TareKind = device.TareUnknown // the place of a tare, without one
		}
	}
	if m.Gross.From != 0 {
		if w.Gross, w.HasGross, ok = m.beside(b, &m.Gross, m.grossStyle, scale, zeros); !ok {
			return false
		}
	}
	return true
}

// beside reads a second number. A blank one is absent.
func (m *machine) beside(b []byte, f *Digits, s style, scale, zeros int) (d unit.Decimal, has, ok bool) {
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
	d, ok = scaled(d, scale, zeros)
	return d, ok, ok
}

func (f *Digits) parse(field []byte, s style) (unit.Decimal, outcome) {
	if f.Count != 0 {
		n := len(field)
		if bytes.IndexByte(field, '.') >= 0 {
			n--
		}
		if n != f.Count {
			return unit.Decimal{}, textual(field)
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

// decimals says how many digits are behind the point and how many zeros are shown but not sent.
func (m *machine) decimals(b []byte) (scale, zeros int, ok bool) {
	d := &m.Decimals
	if d.At == 0 {
		return d.Fixed, 0, true
	}
	k, ok := at(b, d.At)
	if !ok {
		return 0, 0, false
	}
	switch d.Kind {
	case "toledo":
		// Code 0 shows XXXX00, 1 XXXXX0, 2 XXXXXX, 3 XXXXX.X and so on to 7.
		code := int(b[k] & 7)
		if code < 2 && d.MultiplyDummyZeros {
			zeros = 2 - code
		}
		return max(0, code-2), zeros, true
	case "bits":
		return int(b[k] & d.Mask), 0, true
	}
	if b[k] < '0' || b[k] > '4' {
		return 0, 0, false
	}
	return int(b[k] - '0'), 0, true
}

// scaled sets the point and adds the zeros that were not sent.
func scaled(d unit.Decimal, scale, zeros int) (unit.Decimal, bool) {
	for range zeros {
		if d.Coef > 1e16 || d.Coef < -1e16 {
			return d, false
		}
		d.Coef *= 10
	}
	if scale == 0 {
		return d, true
	}
	return withScale(d, scale)
}

func contains(set string, c byte) bool {
	for i := range len(set) {
		if set[i] == c {
			return true
		}
	}
	return false
}
