package modbus

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"

	"steelyard/firmware-bridge/device"
	"steelyard/internal/unit"
)

// snapshot holds the registers of one poll. A block, or part of one, that could not be read carries
// the reason; its points become "no value" with that reason.
type snapshot struct {
	data [][]byte // per block, two bytes a register as they came; of coils and inputs two bytes each, that hold 0 or 1
	gaps []gap
}

// gap is a run of registers that could not be read.
type gap struct {
	block, first, count int
	why                 string
}

func (p *Profile) newSnapshot() *snapshot {
	m := &snapshot{data: make([][]byte, len(p.blocks))}
	for i, b := range p.blocks {
		m.data[i] = make([]byte, 2*b.Count)
	}
	return m
}

// why says why the registers are missing, or nothing.
func (m *snapshot) why(block, first, count int) string {
	for _, g := range m.gaps {
		if g.block == block && g.first < first+count && first < g.first+g.count {
			return g.why
		}
	}
	return ""
}

// decoder is a point made ready: everything that can be known before the first reply.
type decoder struct {
	*Point
	form
	block    int  // index into the profile's blocks
	first    int  // register, coil or input within the block
	width    int  // registers, coils or inputs
	coils    bool // it is in a table of bits
	counts   bool // what it means are whole numbers
	lowFirst bool
	swapped  bool
	lowBit   int // of a bit or bits
	bitCount int // 0: the whole value
	scale    unit.Decimal
	offset   unit.Decimal
	sign     int // index of the point with the sign; -1: none
	valid    int // index of the point that reports whether there is a value; -1: none
	decimals int // index of the point with the decimals; -1: none
	factors  []int
	plus     int // index of the point that is added; -1: none
	unitFrom int // index of the point with the unit; -1: none
}

const one64 = ^uint64(0)

// word16 returns the i-th register, counted from the most significant, with its bytes put right.
func (d *decoder) word16(raw []byte, i int) uint16 {
	if d.lowFirst {
		i = d.width - 1 - i
	}
	w := binary.BigEndian.Uint16(raw[2*i:])
	if d.swapped {
		w = w<<8 | w>>8
	}
	return w
}

// integer returns the raw bits of a value of up to four registers, or of a run of coils or inputs.
func (d *decoder) integer(raw []byte) uint64 {
	var n uint64
	for i := range d.width {
		if d.coils {
			n |= uint64(raw[2*i+1]&1) << i
		} else {
			n = n<<16 | uint64(d.word16(raw, i))
		}
	}
	if d.bitCount > 0 {
		n = n >> d.lowBit & (one64 >> (64 - d.bitCount))
	}
	if d.Inverted {
		n ^= 1
	}
	return n
}

// size is how many bits the registers, coils or inputs have.
func (d *decoder) size() int {
	if d.coils {
		return d.width
	}
	return 16 * d.width
}

// mask has as many ones as the value has bits.
func (d *decoder) mask() uint64 {
	if d.bitCount > 0 {
		return one64 >> (64 - d.bitCount)
	}
	return one64 >> (64 - d.size())
}

// raw returns the number in the registers before scale and sign; why is not empty when they hold
// no number.
func (d *decoder) raw(bytes []byte) (number unit.Decimal, why string) {
	switch d.kind {
	case floating:
		bits, size := d.integer(bytes), 16*d.width
		value := math.Float64frombits(bits)
		if size == 32 {
			value = float64(math.Float32frombits(uint32(bits)))
		}
		return d.float(value, size)
	case digital, written:
		number, why = d.digits(bytes)
		for _, s := range d.Sentinel {
			if why == "" && number == (unit.Decimal{Coef: s}) {
				why = fmt.Sprintf("the device says %d: no value", s)
			}
		}
		return number, why
	}
	n := d.integer(bytes)
	for _, s := range d.Sentinel {
		if n == uint64(s)&d.mask() {
			return unit.Decimal{}, fmt.Sprintf("the device says %#x: no value", n)
		}
	}
	switch {
	case d.kind == packed4:
		return bcd(n)
	case d.kind == signed:
		unused := 64 - 16*d.width
		return fits(unit.Decimal{Coef: int64(n<<unused) >> unused})
	case n > math.MaxInt64:
		return unit.Decimal{}, tooLarge
	}
	return fits(unit.Decimal{Coef: int64(n)})
}

const tooLarge = "the number has more than 18 digits"

// fits refuses what its own text could not be read back from.
func fits(d unit.Decimal) (unit.Decimal, string) {
	const limit = 1_000_000_000_000_000_000
	if d.Coef <= -limit || d.Coef >= limit || d.Scale > 17 {
		return unit.Decimal{}, tooLarge
	}
	return d, ""
}

// float takes the shortest decimal that names the float. A number with more decimals than a
// Decimal holds is noise around zero and is rounded to twelve of them.
func (d *decoder) float(value float64, bits int) (unit.Decimal, string) {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return unit.Decimal{}, "the device says " + strconv.FormatFloat(value, 'g', -1, bits) + ": no value"
	}
	for _, s := range d.Sentinel {
		if value == float64(s) {
			return unit.Decimal{}, fmt.Sprintf("the device says %d: no value", s)
		}
	}
	if d.Decimals != nil {
		bound := floatBound(bits, *d.Decimals)
		switch {
		case math.Abs(value) >= bound:
			return unit.Decimal{}, fmt.Sprintf("reads %s: with %d decimals an %s is exact below %.0f; give it fewer decimals", strconv.FormatFloat(value, 'f', -1, bits), *d.Decimals, d.Type, bound)
		case d.counts && value != math.Trunc(value):
			return unit.Decimal{}, "reads " + strconv.FormatFloat(value, 'f', -1, bits) + ", which is no count"
		}
		number, err := unit.ParseDecimal(strconv.FormatFloat(value, 'f', *d.Decimals, bits))
		if err != nil {
			return unit.Decimal{}, tooLarge
		}
		return number, ""
	}
	number, err := unit.ParseDecimal(strconv.FormatFloat(value, 'f', -1, bits))
	if err != nil {
		number, err = unit.ParseDecimal(strconv.FormatFloat(value, 'f', 12, bits))
	}
	if err != nil {
		return unit.Decimal{}, tooLarge
	}
	return number, ""
}

// digits reads registers that hold decimal digits each, or text.
func (d *decoder) digits(bytes []byte) (unit.Decimal, string) {
	if d.kind == written {
		text, why := d.text(bytes)
		if why != "" {
			return unit.Decimal{}, why
		}
		return number(text, d.Unit)
	}
	var n int64
	for i := range d.width {
		w := int64(d.word16(bytes, i))
		if w >= d.base {
			return unit.Decimal{}, fmt.Sprintf("register holds %d where a number below %d belongs", w, d.base)
		}
		if n > (math.MaxInt64-w)/d.base {
			return unit.Decimal{}, tooLarge
		}
		n = n*d.base + w
	}
	return fits(unit.Decimal{Coef: n})
}

// number reads a number as displays write it: blanks around it and behind its sign, and perhaps its
// unit.
func number(text, of string) (unit.Decimal, string) {
	short := strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(text), of))
	if rest := strings.TrimLeft(short, "+-"); len(short)-len(rest) == 1 {
		short = short[:1] + strings.TrimLeft(rest, " ")
	}
	n, err := unit.ParseDecimal(short)
	if err != nil {
		return n, fmt.Sprintf("text %q is no number", text)
	}
	return n, ""
}

// bcd reads four bits a digit; A to F are no digits.
func bcd(bits uint64) (unit.Decimal, string) {
	var n int64
	for shift := 60; shift >= 0; shift -= 4 {
		digit := bits >> shift & 0xF
		if digit > 9 {
			return unit.Decimal{}, fmt.Sprintf("%#x is not BCD", bits)
		}
		n = n*10 + int64(digit)
	}
	return unit.Decimal{Coef: n}, ""
}

// text reads a string of printable ASCII; NULs and blanks at the end belong to the register, not
// to the text.
func (d *decoder) text(bytes []byte) (text, why string) {
	var b strings.Builder
	for i := range d.width {
		high, low := bytes[2*i], bytes[2*i+1]
		if d.swapped {
			high, low = low, high
		}
		b.WriteByte(high)
		b.WriteByte(low)
	}
	text = strings.TrimRight(b.String(), "\x00 ")
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return "", fmt.Sprintf("text %q is not printable", text)
		}
	}
	return text, ""
}

// values decodes all points of the blocks that the poll read (due), in the order of the profile.
func (p *Profile) values(m *snapshot, due func(block int) bool) []device.Value {
	values := make([]device.Value, 0, len(p.decoder))
	for i := range p.decoder {
		if due(p.decoder[i].block) {
			values = append(values, p.value(m, i))
		}
	}
	return values
}

// bytes of a point, and why there are none.
func (p *Profile) bytes(m *snapshot, d *decoder) (raw []byte, why string) {
	if why := m.why(d.block, d.first, d.width); why != "" {
		return nil, why
	}
	return m.data[d.block][2*d.first : 2*(d.first+d.width)], ""
}

// value decodes one point.
func (p *Profile) value(m *snapshot, index int) device.Value {
	d := &p.decoder[index]
	v := device.Value{Tag: d.Name, Quantity: d.Quantity, Unit: d.Unit}
	raw, why := p.bytes(m, d)
	if why == "" && d.kind == wording {
		v.Text, why = d.text(raw)
	} else if why == "" {
		v.Number, why = d.raw(raw)
	}
	if why == "" && d.valid >= 0 {
		why = p.invalid(m, d)
	}
	if why == "" && d.Constant != nil && v.Number != (unit.Decimal{Coef: *d.Constant}) {
		why = fmt.Sprintf("reads %s, must be %d: wrong device, wrong profile or shifted addresses", v.Number, *d.Constant)
	}
	if why == "" && d.kind != wording {
		v.Text = d.word(v.Number.Coef)
		v.Number, why = p.finish(m, d, v.Number)
	}
	if why == "" && d.unitFrom >= 0 {
		from := p.value(m, d.unitFrom)
		v.Unit = from.Text
		if !from.OK || from.Text == "" {
			why = "the unit is not known: " + from.Tag + " reads " + from.Number.String() + from.Why
		}
	}
	if v.OK, v.Why = why == "", why; !v.OK {
		v.Number, v.Text = unit.Decimal{}, ""
	}
	return v
}

// invalid says why the device's own word makes its registers no value, or nothing.
func (p *Profile) invalid(m *snapshot, d *decoder) string {
	from := &p.decoder[d.valid]
	raw, why := p.bytes(m, from)
	switch {
	case why != "":
		return "whether the value is valid is not known: " + why
	case from.integer(raw)>>d.Valid.Bit&1 == 0:
		return fmt.Sprintf("the device says that it has no valid value (bit %d of %s is 0)", d.Valid.Bit, from.Name)
	}
	return ""
}

// word of an enumeration, or the words of all bits that are set.
func (d *decoder) word(n int64) string {
	if d.kind != flags {
		return d.Enum[n]
	}
	var words []string
	for bit := range d.size() {
		if word, ok := d.Enum[int64(bit)]; ok && n>>bit&1 == 1 {
			words = append(words, word)
		}
	}
	return strings.Join(words, ", ")
}

// finish applies factor, decimals, what is added, sign and offset, all exactly.
func (p *Profile) finish(m *snapshot, d *decoder, n unit.Decimal) (unit.Decimal, string) {
	scaled, err := n.Times(d.scale)
	if err != nil && d.kind == floating {
		// The tail of a tiny float would not fit beside the factor's decimals.
		scaled, err = shorten(n).Times(d.scale)
	}
	if err == nil && d.decimals >= 0 {
		factor, why := p.exponent(p.value(m, d.decimals))
		if why != "" {
			return n, why
		}
		scaled, err = scaled.Times(factor)
	}
	for _, i := range d.factors {
		factor := p.value(m, i)
		if !factor.OK {
			return n, "the factor is not known: " + factor.Tag + " " + factor.Why
		}
		if err == nil {
			scaled, err = scaled.Times(factor.Number)
		}
	}
	if err == nil && d.plus >= 0 {
		more := p.value(m, d.plus)
		if !more.OK {
			return n, "a part is not known: " + more.Tag + " " + more.Why
		}
		if scaled.Coef < 0 && p.decoder[d.plus].kind != signed {
			more.Number.Coef = -more.Number.Coef
		}
		scaled, err = scaled.Plus(more.Number)
	}
	if d.sign >= 0 {
		from := &p.decoder[d.sign]
		raw, why := p.bytes(m, from)
		if why != "" {
			return n, "the sign is not known: " + why
		}
		if from.integer(raw)>>d.SignFrom.Bit&1 == 1 {
			scaled.Coef = -scaled.Coef
		}
	}
	if err == nil && d.offset.Coef != 0 {
		scaled, err = scaled.Plus(d.offset)
	}
	if err != nil {
		return n, err.Error()
	}
	return fits(scaled)
}

// exponent returns the factor that a register of decimals names: by the machine's table, as the number
// of decimals, or where it has a sign as the power of ten.
func (p *Profile) exponent(from device.Value) (factor unit.Decimal, why string) {
	d := &p.decoder[p.byName[from.Tag]]
	places := from.Number.Coef
	if d.kind == signed {
		places = -places
	}
	switch {
	case !from.OK || d.Enum != nil && from.Text == "" || from.Number.Scale != 0 || places < -9 || places > 9 || places < 0 && d.kind != signed:
		return factor, "the decimals are not known: " + from.Tag + " reads " + from.Number.String() + from.Why
	case d.Enum != nil:
		factor, _ = unit.ParseDecimal(from.Text) // checked when the profile was loaded
		return factor, ""
	}
	factor.Coef = 1
	for ; places < 0; places++ {
		factor.Coef *= 10
	}
	factor.Scale = uint8(places)
	return factor, ""
}

// shorten rounds to twelve decimals, half away from zero.
func shorten(n unit.Decimal) unit.Decimal {
	for n.Scale > 12 {
		last := n.Coef % 10
		n.Coef, n.Scale = n.Coef/10, n.Scale-1
		if n.Scale == 12 && (last >= 5 || last <= -5) {
			n.Coef += last / max(last, -last)
		}
	}
	return n
}

// Decode reads the profile's values from registers, as a poll of all blocks does. A register
// that is not in the map makes the points upon it "no value".
func (p *Profile) Decode(registers map[Register]uint16) []device.Value {
	m := p.newSnapshot()
	for i, b := range p.blocks {
		for r := range b.Count {
			w, ok := registers[Register{b.FC, b.From + uint16(r)}]
			if !ok {
				m.gaps = append(m.gaps, gap{i, r, 1, fmt.Sprintf("register %d was not read", int(b.From)+r)})
			}
			binary.BigEndian.PutUint16(m.data[i][2*r:], w)
		}
	}
	return p.values(m, func(int) bool { return true })
}
