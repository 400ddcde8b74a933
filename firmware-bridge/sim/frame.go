package sim

import (
	"fmt"

	"steelyard/internal/unit"
)

// Display is what an indicator shows at one moment.
type Display struct {
	Value  unit.Decimal
	Blank  bool // no weight on the display
	Over   bool // out of range: the digits mean nothing
	Motion bool
	Net    bool
	Pounds bool // kilograms otherwise
}

// Dialect names the bytes an indicator sends, in the words of the device configuration.
type Dialect string

// The dialects of the simulated indicators.
const (
	Yaohua Dialect = "yaohua-tf0" // XK3190-A9+/DS3/A23p, continuous, 12 bytes
	Toledo Dialect = "mt-cont"    // Mettler Toledo continuous, 17 bytes and perhaps a checksum
	Dini   Dialect = "dini-short" // Dini Argeo on request, with alibi memory
)

// Checksum is the variant of the Toledo checksum. Yaohua has only its XOR.
type Checksum string

// The variants that makers use.
const (
	NoChecksum Checksum = "none"
	MT7        Checksum = "mt7"  // two's complement of the low seven bits of the sum
	Neg8       Checksum = "neg8" // two's complement of the sum
	Sum8       Checksum = "sum8" // the plain sum
)

const (
	stx = 0x02
	etx = 0x03
	cr  = 0x0D
)

// Check says what is wrong with a dialect and its checksum.
func (d Dialect) Check(sum Checksum) error {
	switch {
	case (d == Yaohua || d == Dini) && (sum == "" || sum == NoChecksum):
		return nil
	case d == Toledo && (sum == "" || sum == NoChecksum || sum == MT7 || sum == Neg8 || sum == Sum8):
		return nil
	case d != Yaohua && d != Toledo && d != Dini:
		return fmt.Errorf("dialect %q: the simulated indicators speak %s, %s and %s", d, Yaohua, Toledo, Dini)
	}
	return fmt.Errorf("dialect %s has no checksum %q", d, sum)
}

// AppendFrame appends the frame that shows v. Division is the display's step in units of its last
// digit; Toledo sends its leading digit.
func (d Dialect) AppendFrame(b []byte, v Display, division int64, sum Checksum) []byte {
	switch d {
	case Toledo:
		return appendToledo(b, v, division, sum)
	case Dini:
		return appendDini(b, v)
	}
	return appendYaohua(b, v)
}

// appendYaohua follows the XK3190-A9+ manual: 02h, sign, six digits, number of decimals, XOR of
// bytes 2 to 9 as two characters, 03h. The manual does not say what an overloaded indicator
// sends; this one sends blanks.
func appendYaohua(b []byte, v Display) []byte {
	start := len(b)
	sign, digits := byte('+'), sixDigits(v.Value.Coef)
	if v.Value.Coef < 0 {
		sign = '-'
	}
	if v.Blank || v.Over {
		sign, digits = '+', [6]byte{' ', ' ', ' ', ' ', ' ', ' '}
	}
	b = append(b, stx, sign)
	b = append(b, digits[:]...)
	b = append(b, '0'+v.Value.Scale)
	xor := byte(0)
	for _, c := range b[start+1:] {
		xor ^= c
	}
	return append(b, nibble(xor>>4), nibble(xor&0x0F), etx)
}

func nibble(n byte) byte { return "0123456789ABCDEF"[n] }

func sixDigits(n int64) (d [6]byte) {
	if n < 0 {
		n = -n
	}
	for i := len(d) - 1; i >= 0; i-- {
		d[i] = '0' + byte(n%10)
		n /= 10
	}
	return d
}

// appendToledo follows the standard continuous output: 02h, status words A, B and C, six digits of
// weight, six of tare, 0Dh. A carries the point and the increment, B net, sign, range, motion and kg.
func appendToledo(b []byte, v Display, division int64, sum Checksum) []byte {
	start := len(b)
	a := 0x20 | increment(division)<<3 | 2 + v.Value.Scale
	flags := byte(0x20)
	for bit, set := range []bool{v.Net, v.Value.Coef < 0 && !v.Over, v.Over, v.Motion, !v.Pounds} {
		if set {
			flags |= 1 << bit
		}
	}
	digits := sixDigits(v.Value.Coef)
	switch {
	case v.Over:
		digits = [6]byte{'0', '0', '0', '0', '0', '0'}
	case v.Blank:
		digits = [6]byte{' ', ' ', ' ', ' ', ' ', ' '}
	}
	b = append(b, stx, a, flags, 0x20)
	b = append(b, digits[:]...)
	b = append(b, "000000\r"...)
	total := byte(0)
	for _, c := range b[start:] {
		total += c
	}
	switch sum {
	case MT7:
		b = append(b, -total&0x7F)
	case Neg8:
		b = append(b, -total)
	case Sum8:
		b = append(b, total)
	}
	return b
}

// increment is the Toledo code of a division's leading digit: ×1, ×2 or ×5.
func increment(division int64) byte {
	for division >= 10 {
		division /= 10
	}
	switch division {
	case 2:
		return 2
	case 5:
		return 3
	}
	return 1
}
