package modbus

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"math/big"
	"slices"
	"strconv"

	"steelyard/internal/unit"
)

// Encode is the inverse of Decode: the registers with which a machine of this model would say the
// values. A value is a decimal ("12.5"), a word of the point's enumeration, or a text. Registers
// of values that are not given hold 0, constants hold their constant. It is meant for machines
// that do not exist.
func (p *Profile) Encode(values map[string]string) (map[Register]uint16, error) {
	m := p.newImage()
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if _, ok := p.byName[name]; !ok {
			return nil, fmt.Errorf("profile %s: point %.40q: no such point", p.Name, name)
		}
	}
	for i := range p.decoder {
		d := &p.decoder[i]
		text, ok := values[d.Name]
		if !ok && d.Constant != nil {
			text, ok = strconv.FormatInt(*d.Constant, 10), true
		}
		if !ok {
			continue
		}
		if err := p.put(m, d, text, values); err != nil {
			return nil, fmt.Errorf("profile %s: point %s: value %.40q: %w", p.Name, d.Name, text, err)
		}
	}
	registers := map[Register]uint16{}
	for i, b := range p.blocks {
		for r := range b.Count {
			registers[Register{b.FC, b.From + uint16(r)}] = binary.BigEndian.Uint16(m.data[i][2*r:])
		}
	}
	return registers, nil
}

func (p *Profile) put(m *image, d *decoder, text string, values map[string]string) error {
	raw := m.data[d.block][2*d.first : 2*(d.first+d.width)]
	if d.valid >= 0 {
		p.setBit(m, d.valid, d.Valid.Bit)
	}
	if d.Type == "string" {
		return d.putText(raw, text)
	}
	n, err := d.number(text)
	if err != nil {
		return err
	}
	factor := rational(d.scale)
	if d.decimals >= 0 {
		decimals, err := strconv.ParseUint(values[p.decoder[d.decimals].Name], 10, 4)
		if err != nil {
			return fmt.Errorf("needs %s, the number of its decimals", d.ScaleFrom)
		}
		factor.Mul(factor, rational(unit.Decimal{Coef: 1, Scale: uint8(decimals)}))
	}
	value := rational(n)
	value.Sub(value, rational(d.offset)).Quo(value, factor)
	if d.sign >= 0 && value.Sign() < 0 {
		value.Neg(value)
		p.setBit(m, d.sign, d.SignFrom.Bit)
	}
	bits, err := d.bits(value)
	if err != nil {
		return err
	}
	d.putBits(raw, bits)
	return nil
}

// setBit sets one bit of the point that others rest on.
func (p *Profile) setBit(m *image, index, bit int) {
	d := &p.decoder[index]
	d.putBits(m.data[d.block][2*d.first:2*(d.first+d.width)], 1<<bit)
}

// number of a text: a word of the enumeration or a decimal.
func (d *decoder) number(text string) (unit.Decimal, error) {
	for n, word := range d.Enum {
		if word == text && d.Type != "bits" {
			return unit.Decimal{Coef: n}, nil
		}
	}
	return unit.ParseDecimal(text)
}

func rational(d unit.Decimal) *big.Rat {
	ten := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(d.Scale)), nil)
	return new(big.Rat).SetFrac(big.NewInt(d.Coef), ten)
}

// bits of a raw value.
func (d *decoder) bits(value *big.Rat) (uint64, error) {
	switch d.Type {
	case "f32":
		f, _ := value.Float32()
		return uint64(math.Float32bits(f)), nil
	case "f64":
		f, _ := value.Float64()
		return math.Float64bits(f), nil
	}
	if !value.IsInt() || !value.Num().IsInt64() {
		return 0, fmt.Errorf("is not a whole number of counts: %s", value.RatString())
	}
	n := value.Num().Int64()
	bits := uint64(n)
	switch d.Type {
	case "bcd16", "bcd32":
		var err error
		if bits, err = strconv.ParseUint(strconv.FormatInt(n, 10), 16, 16*d.width); err != nil {
			return 0, err
		}
	case "base1000":
		bits = 0
		for i, rest := 0, n; i < d.width; i, rest = i+1, rest/1000 {
			bits |= uint64(rest%1000) << (16 * i)
		}
	}
	signed := d.Type[0] == 's'
	limit := uint64(one64)
	if size := 16 * d.width; d.Type != "base1000" {
		limit = d.mask()
		if signed && (n > int64(limit>>1) || n < -int64(limit>>1)-1) {
			return 0, fmt.Errorf("does not fit %d bits with sign", size)
		}
	}
	if !signed && (n < 0 || bits > limit) {
		return 0, fmt.Errorf("does not fit %d bits", 16*d.width)
	}
	return bits & limit, nil
}

// putBits adds bits to the registers: several points may share them.
func (d *decoder) putBits(raw []byte, bits uint64) {
	bits <<= d.lowBit
	for i := range d.width {
		place := i // register i, counted from the least significant
		if !d.lowFirst {
			place = d.width - 1 - i
		}
		w := uint16(bits >> (16 * i))
		if d.swapped {
			w = w<<8 | w>>8
		}
		binary.BigEndian.PutUint16(raw[2*place:], binary.BigEndian.Uint16(raw[2*place:])|w)
	}
}

func (d *decoder) putText(raw []byte, text string) error {
	if len(text) > 2*d.width {
		return fmt.Errorf("is longer than %d characters", 2*d.width)
	}
	copy(raw, text)
	if d.swapped {
		for i := 0; i < len(raw); i += 2 {
			raw[i], raw[i+1] = raw[i+1], raw[i]
		}
	}
	return nil
}
