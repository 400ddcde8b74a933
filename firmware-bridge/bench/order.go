package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"steelyard/firmware-bridge/modbus"
	"steelyard/internal/unit"
)

// reading is one way to read registers.
type reading struct {
	At     uint32 `json:"at"` // as the manual counts
	Type   string `json:"type"`
	Order  string `json:"order"`
	Length int    `json:"length,omitempty"` // registers, where the type does not say it
	Value  string `json:"value"`            // empty: they hold no such number
	Match  string `json:"match"`            // "exact", "near" or empty
	Scale  string `json:"scale"`            // factor that makes an exact match of it; empty is 1
}

// The order of the bytes as they arrive, in letters (Modbus puts no rule on it).
func orders() []string { return []string{"ABCD", "CDAB", "BADC", "DCBA"} }

const orderSynopsis = "-link L -unit N -at A -count N | -hex WORDS  [-display NUMBER] [flags]"

// order shows registers in every type and word order beside what the machine's display says.
func order(ctx context.Context, c invocation) error {
	link := c.flags.String("link", "", "tcp://host:port, rtu:///dev/…?baud=9600&format=8N1 or rtu-over-tcp://host:port")
	id := c.flags.Uint("unit", 1, "unit id")
	at := c.flags.Uint("at", 0, "first register, as the manual counts")
	base := c.flags.Uint("base", 0, "what the manual calls the first register of the machine: 0, 1, 30001, 40001, 300001 or 400001")
	number := c.flags.Int("count", 4, "registers")
	fc := c.flags.Uint("fc", 3, "3: holding registers, 4: input registers")
	words := c.flags.String("hex", "", "the registers themselves, as in \"0000 3034\"")
	display := c.flags.String("display", "", "the number on the machine's display, with its point")
	asJSON := c.flags.Bool("json", false, "print JSON")
	if _, err := c.parse(orderSynopsis, 0); err != nil {
		return err
	}
	usage := "usage: firmware-bridge order " + orderSynopsis
	if one(*link, *words) != 1 {
		return wrongCall(usage, "order needs either a link or the registers as hexadecimal")
	}
	var shown *unit.Decimal
	if *display != "" {
		d, err := displayed(*display)
		if err != nil {
			return wrongCall(usage, "display: %w", err)
		}
		shown = &d
	}
	if *base > *at || *at-*base > 65535 {
		return wrongCall(usage, "at %d: the first register is called %d and the last %d; correct -at or -base", *at, *base, *base+65535)
	}
	var registers []uint16
	var err error
	if *words != "" {
		if err := c.refuse("is about a read over a link, and -hex brings the registers; leave it out", "unit", "count", "fc"); err != nil {
			return err
		}
		if registers, err = parseWords(*words); err != nil {
			return wrongCall(usage, "hex: %w", err)
		}
	} else {
		if _, err := modbus.ParseLink(*link); err != nil {
			return wrongCall(usage, "%w", err)
		}
		if *id > 255 || *fc != 3 && *fc != 4 || *number < 1 || *number > 125 || int(*at-*base)+*number > 65536 {
			return wrongCall(usage, "unit %d, fc %d, at %d, count %d: unit is at most 255, fc is 3 or 4, count 1 to 125 and not beyond the last register", *id, *fc, *at, *number)
		}
		registers, err = readOnce(ctx, *link, uint8(*id), uint8(*fc), uint16(*at-*base), *number)
	}
	if err != nil {
		return err
	}
	all := interpret(registers, uint32(*at), shown)
	out := c.output()
	if *asJSON {
		out.json(map[string]any{"registers": registers, "readings": all})
		return out.failed()
	}
	printReadings(out, registers, all, uint32(*at), shown)
	return out.failed()
}

func parseWords(text string) ([]uint16, error) {
	b, err := parseHex(text)
	if err != nil {
		return nil, err
	}
	if len(b) == 0 || len(b)%2 == 1 || len(b) > 250 {
		return nil, fmt.Errorf("%s: registers have two bytes each, and a read brings at most 125 of them", count(len(b), "byte"))
	}
	words := make([]uint16, len(b)/2)
	for i := range words {
		words[i] = binary.BigEndian.Uint16(b[2*i:])
	}
	return words, nil
}

// kind is a type of a profile, of so many registers, as order tries it.
type kind struct {
	name   string
	length int
	wide   bool // shown only where it is what stands on the display, or where nothing is known of that
}

func kinds() []kind {
	all := []kind{{"u16", 1, false}, {"s16", 1, false}, {"bcd16", 1, false}, {"u32", 2, false}, {"s32", 2, false}, {"bcd32", 2, false}, {"f32", 2, false},
		{"bcd48", 3, true}, {"u48", 3, true}, {"s48", 3, true}, {"u64", 4, true}, {"s64", 4, true}, {"f64", 4, true}, {"bcd64", 4, true}}
	for length := 2; length <= 4; length++ {
		all = append(all, kind{"base1000", length, true}, kind{"base10000", length, true})
	}
	for length := 2; length <= 8; length++ {
		all = append(all, kind{"digits", length, true})
	}
	return all
}

// sized reports whether the file must name the length.
func (k kind) sized() bool { return k.name == "digits" || strings.HasPrefix(k.name, "base") }

// interpret reads registers in all ways.
func interpret(words []uint16, at uint32, display *unit.Decimal) []reading {
	var all []reading
	for i := range words {
		for _, k := range kinds() {
			if i+k.length > len(words) {
				continue
			}
			for _, order := range orders() {
				if (k.length == 1 || k.name == "digits") && (order == "CDAB" || order == "DCBA") {
					continue
				}
				r := reading{At: at + uint32(i), Type: k.name, Order: order}
				if k.sized() {
					r.Length = k.length
				}
				n, why := modbus.Interpret(k.name, order, words[i:i+k.length])
				float := k.name[0] == 'f'
				if why == "" && !(float && unlikely(n)) {
					r.Value = n.String()
					if display != nil {
						r.Match, r.Scale = match(n, *display, float)
					}
				}
				part := k.sized() && r.Scale != "" && r.Scale[0] != '0' // some of its digits
				if k.wide && (r.Value == "" || part || display != nil && r.Match != "exact" || display == nil && (k.sized() || unlikely(n))) {
					continue
				}
				all = append(all, r)
			}
		}
	}
	return all
}

// unlikely reports whether no machine of this trade would show such a number.
func unlikely(n unit.Decimal) bool {
	size := math.Abs(real64(n))
	return size > 1e12 || size < 1e-6 && (size != 0 || n.Scale > 0) // a tiny float is rounded to 0.000000000000
}

// match compares a number with the display's, which may show it with a point that the registers do
// not have. A float is shown rounded.
func match(n, display unit.Decimal, float bool) (word, scale string) {
	if n.Coef == 0 && display.Coef != 0 {
		return "", ""
	}
	if float {
		switch away := math.Abs(real64(n) - real64(display)); {
		case away <= 0.5*math.Pow10(-int(display.Scale)):
			return "exact", ""
		case away <= 0.005*math.Abs(real64(display)):
			return "near", ""
		}
		return "", ""
	}
	if same(n, display) {
		return "exact", ""
	}
	for decimals := uint8(1); decimals <= 6; decimals++ {
		if same(unit.Decimal{Coef: n.Coef, Scale: decimals}, display) {
			return "exact", unit.Decimal{Coef: 1, Scale: decimals}.String()
		}
	}
	for _, factor := range []int64{10, 100, 1000} {
		if times, err := n.Times(unit.Decimal{Coef: factor}); err == nil && same(times, display) {
			return "exact", strconv.FormatInt(factor, 10)
		}
	}
	if math.Abs(real64(n)-real64(display)) <= 0.005*math.Abs(real64(display)) {
		return "near", ""
	}
	return "", ""
}

// same reports whether two decimals are the same number: "12.50" is "12.5".
func same(a, b unit.Decimal) bool {
	difference, err := a.Plus(unit.Decimal{Coef: -b.Coef, Scale: b.Scale})
	return err == nil && difference.Coef == 0
}

// real64 is for comparing with a tolerance only.
func real64(d unit.Decimal) float64 { return float64(d.Coef) / math.Pow10(int(d.Scale)) }

func printReadings(out *output, words []uint16, all []reading, at uint32, display *unit.Decimal) {
	byPlace := map[string]reading{}
	for _, r := range all {
		byPlace[fmt.Sprint(r.At, r.Type, r.Length, r.Order)] = r
	}
	out.printf("%6s  %-4s  %-5s    %-17s  %-17s  %-17s  %s\n", "at", "raw", "type", "ABCD", "  CDAB", "  BADC", "  DCBA")
	for i, w := range words {
		place, raw := strconv.Itoa(int(at)+i), fmt.Sprintf("%04X", w)
		for _, k := range kinds() {
			line, any, length := "", false, 0
			if k.sized() {
				length = k.length
			}
			for _, o := range orders() {
				r, ok := byPlace[fmt.Sprint(int(at)+i, k.name, length, o)]
				mark := map[string]string{"exact": "= ", "near": "~ ", "": "  "}[r.Match]
				if ok && r.Value != "" {
					any = true
				} else if ok {
					r.Value = "-"
				}
				line += fmt.Sprintf("  %-17s", mark+r.Value)
			}
			if any {
				out.printf("%6s  %-4s  %-5s%s\n", place, raw, k.name, strings.TrimRight(line, " "))
				place, raw = "", ""
			}
		}
	}
	if display == nil {
		return
	}
	var exact []reading
	for _, r := range all {
		if r.Match == "exact" && !hasUnsigned(all, r) {
			exact = append(exact, r)
		}
	}
	if len(exact) == 0 {
		out.printf("\nnothing here is %s; ~ marks what is near it. Is the address right, and the base?\n", display)
		return
	}
	out.printf("\n%s is\n", display)
	for _, r := range exact {
		scale := ""
		if r.Length > 0 {
			scale = fmt.Sprintf(", length: %d", r.Length)
		}
		if r.Scale != "" {
			scale += fmt.Sprintf(", scale: %q", r.Scale)
		}
		out.printf("  - {name: weight, at: %d, type: %s, order: %s%s}\n", r.At, r.Type, r.Order, scale)
	}
	if slices.ContainsFunc(exact, func(r reading) bool { return r.Type[0] == 'u' }) {
		out.printf("A weight below zero tells whether u16 and u32 are rather s16 and s32.\n")
	}
	if len(exact) > 1 {
		out.printf("These registers do not tell the forms apart. Put a load on the scale whose number is above 65535\nor has unlike digits, and run again; the right form matches each time.\n")
	}
}

// hasUnsigned reports whether a signed reading is the same as the unsigned one beside it.
func hasUnsigned(all []reading, r reading) bool {
	return r.Type[0] == 's' && slices.ContainsFunc(all, func(u reading) bool {
		return u.At == r.At && u.Order == r.Order && u.Type == "u"+r.Type[1:] && u.Value == r.Value
	})
}
