package modbus

import (
	"slices"
	"strconv"
	"strings"
)

// form is how a number or a text stands in registers.
type form struct {
	registers int    // 0: the point says how many
	longest   int    // registers at most; 0: the number is fixed
	kind      string // what bits mean: the constants below
	base      int64  // of kind digital: what each register counts to
}

const (
	unsigned = "u"
	signed   = "s"
	floating = "f"
	packed4  = "bcd"    // four bits a decimal digit
	digital  = "base"   // registers of decimal digits
	written  = "digits" // a number written as text
	wording  = "string"
	flags    = "bits"
)

// formOf knows a type of a point.
func formOf(name string) (form, bool) {
	switch name {
	case flags:
		return form{1, 4, flags, 0}, true
	case wording, written:
		return form{0, 125, name, 0}, true
	case "base100":
		return form{0, 9, digital, 100}, true
	case "base1000":
		return form{0, 6, digital, 1000}, true
	case "base10000":
		return form{0, 5, digital, 10000}, true
	}
	kind := strings.TrimRight(name, "0123456789")
	bits, _ := strconv.Atoi(name[len(kind):])
	wide := []int{16, 32, 48, 64}
	if kind == floating {
		wide = []int{32, 64}
	}
	known := slices.Contains([]string{unsigned, signed, floating, packed4}, kind) && slices.Contains(wide, bits) && name == kind+strconv.Itoa(bits)
	return form{bits / 16, 0, kind, 0}, known
}

const typeWords = "u16 s16 u32 s32 u48 s48 u64 s64 f32 f64 bcd16 bcd32 bcd48 bcd64 base100 base1000 base10000 bits string digits"

// isInteger reports whether the registers hold one binary or packed number, of which bits can be taken.
func (f form) isInteger() bool {
	return f.kind == unsigned || f.kind == signed || f.kind == packed4 || f.kind == flags
}

// floatBound is the number below which a float of so many bits tells any two decimals with so many
// digits after the point apart: a power of two.
func floatBound(bits, decimals int) float64 {
	bound := float64(int64(1) << 23) // a float of 32 bits has 24 of them for its digits
	if bits == 64 {
		bound = float64(int64(1) << 52)
	}
	for range decimals {
		bound /= 10
	}
	whole := 1.0
	for whole*2 <= bound {
		whole *= 2
	}
	return whole
}
