package modbus

import (
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

// types gives the registers of each type; 0: the point says its length.
func types(name string) (registers int, known bool) {
	switch name {
	case "u16", "s16", "bcd16":
		return 1, true
	case "u32", "s32", "f32", "bcd32":
		return 2, true
	case "u64", "s64", "f64":
		return 4, true
	case "bits":
		return 1, true // or the length, up to 4
	case "string", "base1000":
		return 0, true
	}
	return 0, false
}

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

func (p *Profile) checkHead(report fault) {
	if !slug.MatchString(p.Name) {
		report("profile", "%.60q is no name: lower-case letters, digits and dashes", p.Name)
	}
	if !slices.Contains([]string{"manual", "bench", "field"}, p.Status) {
		report("status", "%.40q is none of manual, bench, field", p.Status)
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
		report("address_base", "is missing: 0, 1, 30001 or 40001, as the manual counts")
	} else if !slices.Contains([]uint32{0, 1, 30001, 40001, 300001, 400001}, *p.AddressBase) {
		report("address_base", "%d is none of 0, 1, 30001, 40001, 300001, 400001", *p.AddressBase)
	}
	l := &p.Limits
	if l.MaxRegisters == 0 {
		l.MaxRegisters = 125
	}
	for _, n := range []struct {
		path       string
		value, max int
	}{
		{"limits.max_registers", l.MaxRegisters, 125}, {"limits.hole", l.Hole, 124}, {"limits.gap_ms", l.GapMS, 10_000},
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
func (p *Profile) wire(printed uint32, count int) (uint16, error) {
	base := *p.AddressBase
	switch {
	case printed < base:
		return 0, fmt.Errorf("address %d lies before the base %d", printed, base)
	case int64(printed-base)+int64(count) > 65536:
		return 0, fmt.Errorf("address %d with %d registers passes the end 65535", printed, count)
	}
	return uint16(printed - base), nil
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
	*d = decoder{Point: point, block: -1, sign: -1, valid: -1, decimals: -1, unitFrom: -1}
	if !slug.MatchString(point.Name) {
		report(at("name"), "%.60q is no name: lower-case letters, digits and _", point.Name)
	} else if other, taken := p.byName[point.Name]; taken {
		report(at("name"), "%q is used by points[%d] already", point.Name, other)
	}
	p.byName[point.Name] = i
	if point.Type == "" && (point.Bit != nil || point.Bits != nil) {
		point.Type = "u16"
	}
	width, known := types(point.Type)
	if !known {
		report(at("type"), "%.40q is none of u16 s16 u32 s32 u64 s64 f32 f64 bcd16 bcd32 bits string base1000", point.Type)
		return
	}
	d.width = width
	longest := map[string]int{"string": 125, "base1000": 4, "bits": 4}[point.Type]
	switch {
	case longest == 0 && point.Length != 0 && point.Length != width:
		report(at("length"), "a %s has %d registers", point.Type, width)
	case longest > 0 && (point.Length < 0 || point.Length > longest || point.Length == 0 && width == 0):
		report(at("length"), "%d is not between 1 and %d registers", point.Length, longest)
		return
	case longest > 0:
		d.width = max(width, point.Length)
	}
	if _, err := p.wire(point.At, d.width); err != nil {
		report(at("at"), "%v", err)
	}
	if point.FC != 0 && point.FC != 3 && point.FC != 4 {
		report(at("fc"), "%d is none of 3 (holding), 4 (input)", point.FC)
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
	if d.Bit == nil && d.Bits == nil {
		return
	}
	size := 16 * d.width
	switch {
	case d.Type[0] != 'u' && d.Type != "bits":
		report(at("type"), "bits can be taken from u16, u32, u64 and bits, not from %s", d.Type)
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

// compileValue makes factor, offset, meaning and sentinels ready.
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
		case key == "scale" && n.Coef <= 0:
			report(at(key), "%s is not above 0", text)
		case key == "scale":
			d.scale = n
		default:
			d.offset = n
		}
	}
	if d.Type == "string" && (d.Scale != "" || d.Offset != "" || d.SignFrom != nil || d.ScaleFrom != "" || d.Sentinel != nil || d.Constant != nil) {
		report(at("type"), "a string has no factor, sign, sentinel or constant")
	}
	if d.Meaning != "" {
		m, known := meaningOf(d.Meaning)
		switch {
		case !known:
			report(at("meaning"), "%.60q is not in the vocabulary", d.Meaning)
		case m.Exact && (d.Type == "f32" || d.Type == "f64"):
			report(at("type"), "%s counts exactly: a float loses counts above 16 777 216, use the integer register", d.Meaning)
		case m.Units == nil && d.Unit != "":
			report(at("unit"), "%s has no unit, %.20q is given", d.Meaning, d.Unit)
		case m.Units != nil && !slices.Contains(m.Units, d.Unit) && d.UnitFrom == "":
			report(at("unit"), "%.20q is none of %q that %s may have", d.Unit, m.Units, d.Meaning)
		}
	}
	if d.Type == "f32" || d.Type == "f64" || d.Type == "string" || d.Type == "base1000" {
		return
	}
	low, high := -(int64(d.mask()>>1) + 1), int64(d.mask()&(one64>>1))
	for i, s := range append(slices.Clone(d.Sentinel), constant(d.Constant)...) {
		if s < low || s > high {
			report(at("sentinels"), "value %d (number %d) does not fit %s", s, i+1, d.Type)
		}
	}
	for n := range d.Enum {
		if d.Type == "bits" && (n < 0 || n >= int64(16*d.width)) || d.Type != "bits" && (n < low || n > high) {
			report(at("enum"), "%s does not fit %s", strconv.FormatInt(n, 10), d.Type)
		}
	}
}

func constant(c *int64) []int64 {
	if c == nil {
		return nil
	}
	return []int64{*c}
}
