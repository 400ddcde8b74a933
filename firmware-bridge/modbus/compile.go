package modbus

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"steelyard/internal/unit"
)

// fault reports a mistake at a place of the file: "points[3].at".
type fault func(path, format string, args ...any)

// block is a read made ready.
type block struct {
	Block
	points []int // indices into Profile.decoder, by address: where a refused read may be split
}

var slug = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,47}$`)

// compile checks the profile, reports every mistake and makes it ready to decode. Nothing of it
// may be used when a mistake was reported.
func (p *Profile) compile(report fault) {
	before := 0
	mistake := func(path, format string, args ...any) { before++; report(path, format, args...) }
	p.checkHead(mistake)
	if p.AddressBase == nil {
		return // the addresses mean nothing before their base is known
	}
	p.decoder = make([]decoder, len(p.Points))
	p.byName = map[string]int{}
	for i := range p.Points {
		p.compilePoint(i, mistake)
	}
	broken := before > 0
	p.compileReads(mistake, broken)
	if broken {
		return
	}
	p.checkOverlap(mistake)
	for i := range p.decoder {
		p.compileReferences(i, mistake)
	}
	p.checkCounting(mistake)
	p.checkBale(mistake)
	if before > 0 {
		return
	}
	for i := range p.Tests {
		p.checkVector(i, mistake)
	}
}

// Template is the status of a file that shows where a make has its areas: it is there to be copied, and no
// machine is recognised by it.
const Template = "template"

func (p *Profile) checkHead(report fault) {
	if !slug.MatchString(p.Name) {
		report("profile", "%.60q is no name: lower-case letters, digits and dashes", p.Name)
	}
	if !slices.Contains([]string{"manual", "bench", "field", Template}, p.Status) {
		report("status", "%.40q is none of manual, bench, field, template", p.Status)
	}
	if len(p.Sources) == 0 {
		report("sources", "a map without a source cannot be trusted: name the document")
	}
	for i, s := range p.Sources {
		if s.Doc == "" {
			report(fmt.Sprintf("sources[%d].doc", i), "is missing")
		}
	}
	if p.AddressBase == nil {
		report("address_base", "is missing: 0, 1, 30001, 40001, 300001 or 400001, as the manual counts")
	} else if !slices.Contains([]uint32{0, 1, 30001, 40001, 300001, 400001}, *p.AddressBase) {
		report("address_base", "%d is none of 0, 1, 30001, 40001, 300001, 400001", *p.AddressBase)
	}
	l := &p.Limits
	if l.MaxRegisters == 0 {
		l.MaxRegisters = MostRegisters
	}
	if l.MaxBits == 0 {
		l.MaxBits = MostBits
	}
	for _, n := range []struct {
		path       string
		value, max int
	}{
		{"limits.max_registers", l.MaxRegisters, MostRegisters}, {"limits.max_bits", l.MaxBits, MostBits}, {"limits.hole", l.Hole, 124}, {"limits.gap_ms", l.GapMS, 10_000},
		{"limits.timeout_ms", l.TimeoutMS, 60_000}, {"limits.latency_ms", l.LatencyMS, 60_000},
	} {
		if n.value < 0 || n.value > n.max {
			report(n.path, "%d is not between 0 and %d", n.value, n.max)
		}
	}
	if r := p.Transport.RTU; r != nil {
		if err := checkLine(r.Baud, r.Format); err != nil {
			report("transport.rtu", "%v", err)
		}
	}
	if len(p.Points) == 0 {
		report("points", "a profile without points reads nothing")
	}
	if len(p.Points) > 1000 || len(p.Reads) > 200 {
		report("points", "more than 1000 points or 200 reads")
	}
}

// wire turns an address as printed into the one that is sent.
func (p *Profile) wire(fc uint8, printed uint32, count int) (uint16, error) {
	base := p.base(fc)
	// A manual that counts holding registers from 40001 counts input registers from 30001.
	if inputs := map[uint32]uint32{40001: 30001, 400001: 300001}[base]; fc == 4 && inputs > 0 && printed >= inputs && printed < base {
		base = inputs
	}
	switch {
	case printed < base:
		return 0, fmt.Errorf("address %d lies before the base %d%s", printed, base, map[uint8]string{1: " of the coils", 2: " of the discrete inputs"}[fc])
	case int64(printed-base)+int64(count) > 65536:
		return 0, fmt.Errorf("address %d with %d registers passes the end 65535", printed, count)
	}
	return uint16(printed - base), nil
}

// base is what the manual calls the first of a table.
func (p *Profile) base(fc uint8) uint32 {
	base := *p.AddressBase
	switch {
	case base < 30001 || !isBits(fc):
		return base
	case fc == 1:
		return 1
	case base < 300001:
		return 10001
	}
	return 100001
}

// Printed is the address as the manual has it.
func (p *Profile) Printed(fc uint8, wire uint16) uint32 { return p.base(fc) + uint32(wire) }

// table is the function that reads a point: its own, or that of the only table of which a read of the
// file holds it.
func (p *Profile) table(point *Point) uint8 {
	found := point.FC
	for _, r := range p.Reads {
		first, err := p.wire(r.FC, r.From, 1)
		at, errAt := p.wire(r.FC, point.At, 1)
		if point.FC == 0 && err == nil && errAt == nil && at >= first && int(at) < int(first)+r.Count {
			if found != 0 && found != r.FC {
				return 3 // placePoint says that it is not clear
			}
			found = r.FC
		}
	}
	return cmp.Or(found, 3)
}

func checkClass(path, every string, report fault) {
	if every != "" && every != Fast && every != Slow {
		report(path, "%.40q is none of fast, slow", every)
	}
}

// compilePoint makes everything ready that concerns one point alone.
func (p *Profile) compilePoint(i int, report fault) {
	point, d := &p.Points[i], &p.decoder[i]
	at := func(key string) string { return fmt.Sprintf("points[%d].%s", i, key) }
	*d = decoder{Point: point, block: -1, sign: -1, valid: -1, decimals: -1, plus: -1, unitFrom: -1}
	if !slug.MatchString(point.Name) {
		report(at("name"), "%.60q is no name: lower-case letters, digits and _", point.Name)
	} else if other, taken := p.byName[point.Name]; taken {
		report(at("name"), "%q is used by points[%d] already", point.Name, other)
	}
	p.byName[point.Name] = i
	if point.FC > 4 {
		report(at("fc"), "%d is none of 1 (coils), 2 (discrete inputs), 3 (holding registers), 4 (input registers)", point.FC)
		point.FC = 3
	}
	d.coils = isBits(p.table(point))
	if point.Type == "" && (point.Bit != nil || point.Bits != nil || d.coils) {
		point.Type = "u16"
	}
	known := false
	if d.form, known = formOf(point.Type); !known {
		report(at("type"), "%.40q is none of %s", point.Type, typeWords)
		return
	}
	if d.coils && point.Type != "u16" && d.kind != flags {
		report(at("type"), "a coil or an input is 0 or 1: u16, which may be left out, or bits with a length")
		return
	}
	d.width = d.registers
	if d.coils && d.kind == flags {
		d.longest = 63
	}
	switch {
	case d.longest == 0 && point.Length != 0 && point.Length != d.width:
		report(at("length"), "a %s has %d registers", point.Type, d.width)
	case d.longest > 0 && (point.Length < 0 || point.Length > d.longest || point.Length == 0 && d.width == 0):
		report(at("length"), "%d is not between 1 and %d registers", point.Length, d.longest)
		return
	case d.longest > 0:
		d.width = max(d.width, point.Length)
	}
	if _, err := p.wire(p.table(point), point.At, d.width); err != nil {
		report(at("at"), "%v", err)
	}
	checkClass(at("every"), point.Every, report)
	switch point.Order {
	case "", "ABCD":
	case "CDAB":
		d.lowFirst = true
	case "BADC":
		d.swapped = true
	case "DCBA":
		d.lowFirst, d.swapped = true, true
	default:
		report(at("order"), "%.40q is none of ABCD, CDAB, BADC, DCBA", point.Order)
	}
	p.compileBits(d, at, report)
	p.compileValue(d, at, report)
}

func (p *Profile) compileBits(d *decoder, at func(string) string, report fault) {
	if one := d.Bit != nil || d.coils && d.kind != flags; d.Inverted && !one {
		report(at("inverted"), "is for one bit, a coil or an input")
	}
	if d.Bit == nil && d.Bits == nil {
		return
	}
	size := d.size()
	switch {
	case !d.isInteger() || d.kind == signed:
		report(at("type"), "bits can be taken from u16 to u64, bcd16 to bcd64 and bits, not from %s", d.Type)
	case d.Bit != nil && d.Bits != nil:
		report(at("bits"), "stands beside bit: one of the two")
	case d.Bit != nil && (*d.Bit < 0 || *d.Bit >= size):
		report(at("bit"), "%d is not between 0 and %d", *d.Bit, size-1)
	case d.Bit != nil:
		d.lowBit, d.bitCount = *d.Bit, 1
	case len(d.Bits) != 2 || d.Bits[0] < 0 || d.Bits[1] < d.Bits[0] || d.Bits[1] >= size:
		report(at("bits"), "%v is not [first, last] between 0 and %d", d.Bits, size-1)
	default:
		d.lowBit, d.bitCount = d.Bits[0], d.Bits[1]-d.Bits[0]+1
	}
}

// compileValue makes factor, offset, quantity and sentinels ready.
func (p *Profile) compileValue(d *decoder, at func(string) string, report fault) {
	d.scale = unit.Decimal{Coef: 1}
	for key, text := range map[string]string{"scale": d.Scale, "offset": d.Offset} {
		if text == "" {
			continue
		}
		n, err := unit.ParseDecimal(text)
		switch {
		case err != nil:
			report(at(key), "%v", err)
		case key == "scale" && n.Coef == 0:
			report(at(key), "%s makes 0 of everything", text)
		case key == "scale":
			d.scale = n
		default:
			d.offset = n
		}
	}
	if d.kind == wording && (d.Scale != "" || d.Offset != "" || d.SignFrom != nil || d.ScaleFrom != "" || d.FactorFrom != nil || d.Plus != "" || d.Sentinel != nil || d.Constant != nil) {
		report(at("type"), "a string has no factor, sign, sentinel or constant; a number that is written as text is of type digits")
	}
	d.compileMeaning(at, report)
	if !d.isInteger() {
		return
	}
	low, high := -(int64(d.mask()>>1) + 1), int64(d.mask()&(one64>>1))
	for i, s := range append(slices.Clone(d.Sentinel), constant(d.Constant)...) {
		if s < low || s > high {
			report(at("sentinels"), "value %d (number %d) does not fit %s", s, i+1, d.Type)
		}
	}
	for n := range d.Enum {
		if d.kind == flags && (n < 0 || n >= int64(d.size())) || d.kind != flags && (n < low || n > high) {
			report(at("enum"), "%s does not fit %s", strconv.FormatInt(n, 10), d.Type)
		}
	}
}

// compileMeaning checks whether the registers can carry what they are said to mean.
func (d *decoder) compileMeaning(at func(string) string, report fault) {
	if d.Decimals != nil && (d.kind != floating || *d.Decimals < 0 || *d.Decimals > 9) {
		report(at("decimals"), "%d: is for floats, and between 0 and 9", *d.Decimals)
		return
	}
	if d.Quantity == "" {
		return
	}
	q, known := quantityOf(d.Quantity)
	switch {
	case !known:
		report(at("quantity"), "%.60q is not in the vocabulary", d.Quantity)
	case d.kind == wording && !q.Worded():
		report(at("type"), "%s is a number, and a string is none; a number that is written as text is of type digits", d.Quantity)
	case q.Exact && d.scale.Coef < 0:
		report(at("scale"), "%s never counts below 0", d.Quantity)
	case q.Exact && d.kind == floating && d.Decimals == nil:
		report(at("type"), "%s counts exactly, and a float only below a bound: use the integer register; where the machine has none say decimals, and the value is one only below the number up to which it is exact: decimals 0 below %.0f, 1 below %.0f, 3 below %.0f %s",
			d.Quantity, floatBound(16*d.width, 0), floatBound(16*d.width, 1), floatBound(16*d.width, 3), d.Unit)
	case q.Units == nil && d.Unit != "":
		report(at("unit"), "%s has no unit, %.20q is given", d.Quantity, d.Unit)
	case q.Units != nil && !slices.Contains(q.Units, d.Unit) && d.UnitFrom == "":
		report(at("unit"), "%.20q is none of %q that %s may have", d.Unit, q.Units, d.Quantity)
	}
	d.counts = q.Exact && q.Units == nil
}

func constant(c *int64) []int64 {
	if c == nil {
		return nil
	}
	return []int64{*c}
}
