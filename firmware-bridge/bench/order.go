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
	At    uint32 `json:"at"` // as the manual counts
	Type  string `json:"type"`
	Order string `json:"order"`
	Value string `json:"value"` // empty: they hold no such number
	Match string `json:"match"` // "exact", "near" or empty
	Scale string `json:"scale"` // factor that makes an exact match of it; empty is 1
}

// The order of the bytes as they arrive, in letters (Modbus puts no rule on it).
func orders() []string { return []string{"ABCD", "CDAB", "BADC", "DCBA"} }

const orderSynopsis = "-link L -unit N -at A -count N | -hex WORDS  [-display NUMBER] [flags]"

// order shows registers in every type and word order beside what the machine's display says.
func order(ctx context.Context, c call) error {
	link := c.flags.String("link", "", "tcp://host:port, rtu:///dev/…?baud=9600&format=8N1 or rtu-over-tcp://host:port")
	id := c.flags.Uint("unit", 1, "unit id")
	at := c.flags.Uint("at", 0, "first register, as the manual counts")
	base := c.flags.Uint("base", 0, "what the manual calls the first register of the machine: 0, 1, 30001 or 40001")
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

// interpret reads every register and every pair in all ways.
func interpret(words []uint16, at uint32, display *unit.Decimal) []reading {
	var all []reading
	add := func(i int, kind, order string, value string, n *unit.Decimal) {
		r := reading{At: at + uint32(i), Type: kind, Order: order, Value: value}
		if n != nil && display != nil {
			r.Match, r.Scale = match(*n, *display, kind == "f32")
		}
		all = append(all, r)
	}
	integer := func(i int, kind, order string, n int64) {
		d := unit.Decimal{Coef: n}
		add(i, kind, order, d.String(), &d)
	}
	for i, w := range words {
		for _, order := range []string{"ABCD", "BADC"} {
			if order == "BADC" {
				w = w<<8 | w>>8
			}
			integer(i, "u16", order, int64(w))
			integer(i, "s16", order, int64(int16(w)))
			packed(add, i, "bcd16", order, uint32(w))
		}
		if i+1 == len(words) {
			break
		}
		for _, order := range orders() {
			v := arrange(words[i], words[i+1], order)
			integer(i, "u32", order, int64(v))
			integer(i, "s32", order, int64(int32(v)))
			floating(add, i, order, v)
			packed(add, i, "bcd32", order, v)
		}
	}
	return all
}

// arrange makes 32 bits of two registers.
func arrange(first, second uint16, order string) uint32 {
	if order == "BADC" || order == "DCBA" {
		first, second = first<<8|first>>8, second<<8|second>>8
	}
	if order == "CDAB" || order == "DCBA" {
		first, second = second, first
	}
	return uint32(first)<<16 | uint32(second)
}

type addReading func(i int, kind, order, value string, n *unit.Decimal)

// packed reads four bits a digit; A to F are no digits.
func packed(add addReading, i int, kind, order string, v uint32) {
	n, err := strconv.ParseInt(strconv.FormatUint(uint64(v), 16), 10, 64)
	if err != nil {
		add(i, kind, order, "", nil)
		return
	}
	d := unit.Decimal{Coef: n}
	add(i, kind, order, d.String(), &d)
}

// floating reads a float. Those that no machine of this trade would show are left empty.
func floating(add addReading, i int, order string, v uint32) {
	f := float64(math.Float32frombits(v))
	if size := math.Abs(f); math.IsNaN(f) || size > 1e12 || size != 0 && size < 1e-6 {
		add(i, "f32", order, "", nil)
		return
	}
	text := strconv.FormatFloat(f, 'f', -1, 32)
	d, err := unit.ParseDecimal(text)
	if err != nil {
		add(i, "f32", order, text, nil)
		return
	}
	add(i, "f32", order, text, &d)
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

// same says whether two decimals are the same number: "12.50" is "12.5".
func same(a, b unit.Decimal) bool {
	difference, err := a.Plus(unit.Decimal{Coef: -b.Coef, Scale: b.Scale})
	return err == nil && difference.Coef == 0
}

// real64 is for comparing with a tolerance only.
func real64(d unit.Decimal) float64 { return float64(d.Coef) / math.Pow10(int(d.Scale)) }

func printReadings(out *output, words []uint16, all []reading, at uint32, display *unit.Decimal) {
	byPlace := map[string]reading{}
	for _, r := range all {
		byPlace[fmt.Sprint(r.At, r.Type, r.Order)] = r
	}
	out.printf("%6s  %-4s  %-5s    %-17s  %-17s  %-17s  %s\n", "at", "raw", "type", "ABCD", "  CDAB", "  BADC", "  DCBA")
	for i, w := range words {
		place, raw := strconv.Itoa(int(at)+i), fmt.Sprintf("%04X", w)
		for _, kind := range []string{"u16", "s16", "bcd16", "u32", "s32", "bcd32", "f32"} {
			line, any := "", false
			for _, o := range orders() {
				r, ok := byPlace[fmt.Sprint(int(at)+i, kind, o)]
				mark := map[string]string{"exact": "= ", "near": "~ ", "": "  "}[r.Match]
				if ok && r.Value != "" {
					any = true
				} else if ok {
					r.Value = "-"
				}
				line += fmt.Sprintf("  %-17s", mark+r.Value)
			}
			if any {
				out.printf("%6s  %-4s  %-5s%s\n", place, raw, kind, strings.TrimRight(line, " "))
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
		if r.Scale != "" {
			scale = fmt.Sprintf(", scale: %q", r.Scale)
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

// hasUnsigned says whether a signed reading is the same as the unsigned one beside it.
func hasUnsigned(all []reading, r reading) bool {
	return r.Type[0] == 's' && slices.ContainsFunc(all, func(u reading) bool {
		return u.At == r.At && u.Order == r.Order && u.Type == "u"+r.Type[1:] && u.Value == r.Value
	})
}
