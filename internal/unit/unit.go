// Package unit holds mass as whole grams and the numbers that instruments show as exact decimals.
//
// In: the text an indicator or a register shows ("23960", "-0.5", "12.340") and its unit.
// Out: a Mass in grams, or the same text back, digit for digit.
// It promises that no step rounds: what is not a whole number of grams is an error.
// It does not know instruments, tolerances or legal limits.
package unit

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Mass is a mass in whole grams. The range is ±9.2e12 t; JSON readers that hold numbers as
// 64-bit floats read it exactly up to 9e9 t.
type Mass int64

// The masses that people speak of.
const (
	Gram     Mass = 1
	Kilogram Mass = 1_000
	Tonne    Mass = 1_000_000
)

// Unit is the unit printed beside a number. The empty unit means that the instrument did not say.
type Unit string

// Units that instruments of this trade send. Only G, KG and T can become a Mass: pounds and
// ounces are not whole grams, and nothing in this product may round a weight.
const (
	Unknown Unit = ""
	G       Unit = "g"
	KG      Unit = "kg"
	T       Unit = "t"
	LB      Unit = "lb"
	OZ      Unit = "oz"
)

// exponent returns the power of ten that leads from the unit to grams.
func (u Unit) exponent() (int, bool) {
	switch u {
	case G:
		return 0, true
	case KG:
		return 3, true
	case T:
		return 6, true
	}
	return 0, false
}

// Decimal is Coef / 10^Scale: the digits of a display and the place of its point.
type Decimal struct {
	Coef  int64
	Scale uint8 // digits after the point, 0 to 18
}

// ErrInexact is the error of a value that is not a whole number of the smaller unit.
var ErrInexact = errors.New("not a whole number of grams")

const maxScale = 18

// ParseDecimal reads an optional sign, digits and at most one point with digits on both or one
// side ("12340." and ".5" occur on displays). It takes no blanks, no exponent, no other script's
// digits and no more than 18 digits in all.
func ParseDecimal(text string) (Decimal, error) {
	rest, negative := text, false
	if rest != "" && (rest[0] == '+' || rest[0] == '-') {
		negative, rest = rest[0] == '-', rest[1:]
	}
	var d Decimal
	digits, point := 0, false
	for i := range len(rest) {
		switch c := rest[i]; {
		case c >= '0' && c <= '9':
			if digits++; digits > maxScale {
				return Decimal{}, fmt.Errorf("number %.40q: more than %d digits", text, maxScale)
			}
			d.Coef = d.Coef*10 + int64(c-'0')
			if point {
				d.Scale++
			}
		case c == '.' && !point:
			point = true
		default:
			return Decimal{}, fmt.Errorf("number %.40q: unexpected %q", text, c)
		}
	}
	if digits == 0 {
		return Decimal{}, fmt.Errorf("number %.40q: no digits", text)
	}
	if negative {
		d.Coef = -d.Coef
	}
	return d, nil
}

// String writes the decimal with exactly Scale digits after the point: the text of the display
// without its leading zeros.
func (d Decimal) String() string {
	digits := strconv.FormatInt(d.Coef, 10)
	if d.Scale == 0 {
		return digits
	}
	sign := ""
	if d.Coef < 0 {
		sign, digits = "-", digits[1:]
	}
	if short := int(d.Scale) + 1 - len(digits); short > 0 {
		digits = strings.Repeat("0", short) + digits
	}
	point := len(digits) - int(d.Scale)
	return sign + digits[:point] + "." + digits[point:]
}

// MarshalText and UnmarshalText make a Decimal travel as its text.
func (d Decimal) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText is ParseDecimal.
func (d *Decimal) UnmarshalText(text []byte) (err error) {
	*d, err = ParseDecimal(string(text))
	return err
}

// Times multiplies exactly; a profile's scale factor "0.01" is a Decimal.
func (d Decimal) Times(k Decimal) (Decimal, error) {
	p := d.Coef * k.Coef
	if d.Coef != 0 && (p/d.Coef != k.Coef || (d.Coef == -1 && k.Coef == math.MinInt64)) {
		return Decimal{}, fmt.Errorf("%s × %s: too large", d, k)
	}
	scale := int(d.Scale) + int(k.Scale)
	for scale > maxScale && p%10 == 0 {
		p, scale = p/10, scale-1
	}
	if scale > maxScale {
		return Decimal{}, fmt.Errorf("%s × %s: more than %d decimals", d, k, maxScale)
	}
	return Decimal{p, uint8(scale)}, nil
}

// Plus adds exactly.
func (d Decimal) Plus(k Decimal) (Decimal, error) {
	scale := max(d.Scale, k.Scale)
	a, okA := shift(d.Coef, int(scale-d.Scale))
	b, okB := shift(k.Coef, int(scale-k.Scale))
	sum := a + b
	if !okA || !okB || (a > 0) == (b > 0) && (sum > 0) != (a > 0) && a != 0 {
		return Decimal{}, fmt.Errorf("%s + %s: too large", d, k)
	}
	return Decimal{sum, scale}, nil
}

// Mass converts a number in unit u to grams, exactly or not at all.
func (d Decimal) Mass(u Unit) (Mass, error) {
	exponent, ok := u.exponent()
	if !ok {
		return 0, fmt.Errorf("%s %s: a mass needs the unit g, kg or t", d, u)
	}
	grams, ok := shift(d.Coef, exponent-int(d.Scale))
	if !ok {
		return 0, fmt.Errorf("%s %s: %w", d, u, ErrInexact)
	}
	return Mass(grams), nil
}

// shift multiplies by 10^by; ok is false when digits would be lost or the number overflows.
func shift(n int64, by int) (int64, bool) {
	for ; by > 0; by-- {
		if n > math.MaxInt64/10 || n < math.MinInt64/10 {
			return 0, n == 0
		}
		n *= 10
	}
	for ; by < 0; by++ {
		if n%10 != 0 {
			return 0, false
		}
		n /= 10
	}
	return n, true
}

// ParseMass reads "23960 kg", "23.96 t", "500g": a decimal and its unit.
func ParseMass(text string) (Mass, error) {
	number := strings.TrimRight(text, "abcdefghijklmnopqrstuvwxyz")
	d, err := ParseDecimal(strings.TrimRight(number, " "))
	if err != nil {
		return 0, fmt.Errorf("mass %.40q: %w", text, err)
	}
	m, err := d.Mass(Unit(text[len(number):]))
	if err != nil {
		return 0, fmt.Errorf("mass %.40q: %w", text, err)
	}
	return m, nil
}

// In writes the mass in unit u with the given number of decimals, as the indicator would show
// it. It is an error when that would drop a gram.
func (m Mass) In(u Unit, decimals uint8) (Decimal, error) {
	exponent, ok := u.exponent()
	if !ok || decimals > maxScale {
		return Decimal{}, fmt.Errorf("%d g in %q with %d decimals: no such display", int64(m), u, decimals)
	}
	coef, ok := shift(int64(m), int(decimals)-exponent)
	if !ok {
		return Decimal{}, fmt.Errorf("%d g in %s with %d decimals: %w", int64(m), u, decimals, ErrInexact)
	}
	return Decimal{coef, decimals}, nil
}

// KG writes kilograms with as many decimals as the value needs: "23960", "0.5".
func (m Mass) KG() string { return Decimal{int64(m), 3}.shortest() }

// Tonnes writes tonnes with as many decimals as the value needs: "23.96".
func (m Mass) Tonnes() string { return Decimal{int64(m), 6}.shortest() }

func (d Decimal) shortest() string {
	for d.Scale > 0 && d.Coef%10 == 0 {
		d.Coef, d.Scale = d.Coef/10, d.Scale-1
	}
	return d.String()
}

// String is for logs: the mass in kilograms with its unit.
func (m Mass) String() string { return m.KG() + " kg" }

// Abs is the mass without its sign.
func (m Mass) Abs() Mass {
	if m < 0 {
		return -m
	}
	return m
}

// UnmarshalYAML reads "23960 kg": in configuration a mass carries its unit. In JSON it travels as
// the number of grams.
func (m *Mass) UnmarshalYAML(unmarshal func(any) error) error {
	var text string
	if err := unmarshal(&text); err != nil {
		return err
	}
	parsed, err := ParseMass(text)
	if err != nil {
		return err
	}
	*m = parsed
	return nil
}
