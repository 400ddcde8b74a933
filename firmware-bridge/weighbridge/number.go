package weighbridge

import (
	"bytes"

	"steelyard/firmware-bridge/device"
	"steelyard/internal/unit"
)

// outcome says what stood in a weight field.
type outcome uint8

const (
	unreadable outcome = iota // neither a number nor a known text: the frame is rejected
	number
	blank
	dashes
)

// numberFormat is what a weight field may contain beside its digits.
type numberFormat struct {
	point    bool // one point among the digits
	pointed  bool // the point must be there
	sign     bool // a sign before the digits, in the field itself
	padded   bool // blanks instead of leading zeros
	gapped   bool // blanks between the sign and the digits
	trailing bool // a number without a point has one blank behind its digits, where the point would stand
}

const mostDigits = 18 // as many as unit.Decimal holds exactly

// parseNumber reads a weight field. It takes digits, and nothing for a digit: no letter O, no
// blank inside the number, no digit of another script, no exponent, no comma.
func parseNumber(field []byte, s numberFormat) (unit.Decimal, outcome) {
	i := 0
	for i < len(field) && field[i] == ' ' {
		i++
	}
	if i == len(field) {
		return unit.Decimal{}, blank
	}
	if i > 0 && !s.padded {
		return unit.Decimal{}, classifyText(field)
	}
	minus := false
	if s.sign && (field[i] == '-' || field[i] == '+') {
		minus = field[i] == '-'
		i++
		for s.gapped && i < len(field) && field[i] == ' ' {
			i++
		}
	}
	var d unit.Decimal
	digits, point, left := 0, false, false
	for ; i < len(field); i++ {
		switch c := field[i]; {
		case c >= '0' && c <= '9':
			if digits++; digits > mostDigits {
				return unit.Decimal{}, unreadable
			}
			d.Coef = d.Coef*10 + int64(c-'0')
			if point {
				d.Scale++
			}
			continue
		case c == '.' && s.point && !point:
			point = true
			continue
		case c == ' ' && s.trailing && !point && i == len(field)-1:
			left = true
			continue
		}
		return unit.Decimal{}, classifyText(field)
	}
	// Where the point leaves its place, either it or the blank is there: a digit in that place would
	// be one too many, and make ten times the weight.
	if digits == 0 || s.pointed && !point || s.trailing && point == left {
		return unit.Decimal{}, classifyText(field)
	}
	if minus {
		d.Coef = -d.Coef
	}
	return d, number
}

// classifyText tells a field of blanks and one of dashes from other text.
func classifyText(field []byte) outcome {
	field = bytes.Trim(field, " ")
	switch len(field) {
	case 0:
		return blank
	case 1:
		return unreadable
	}
	for _, c := range field {
		if c != '-' {
			return unreadable
		}
	}
	return dashes
}

// parseBCD reads packed decimal bytes, most significant first.
func parseBCD(field []byte) (unit.Decimal, outcome) {
	var d unit.Decimal
	field = bytes.TrimLeft(field, "\x00") // however wide the field, the number has to fit
	if len(field)*2 > mostDigits {
		return d, unreadable
	}
	for _, c := range field {
		high, low := int64(c>>4), int64(c&0x0F)
		if high > 9 || low > 9 {
			return unit.Decimal{}, unreadable
		}
		d.Coef = d.Coef*100 + high*10 + low
	}
	return d, number
}

// withScale gives an integer its decimals; digits that already have a point may not get another.
func withScale(d unit.Decimal, scale int) (unit.Decimal, bool) {
	if d.Scale != 0 || scale < 0 || scale > mostDigits {
		return d, scale == 0
	}
	d.Scale = uint8(scale)
	return d, true
}

func noValue(w *device.Weight) {
	w.HasValue, w.Value = false, unit.Decimal{}
	if w.Range == device.RangeOK {
		w.Range = device.RangeUnknown // "ok" beside an empty field is no statement to rely on
	}
}
