package modbus

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"steelyard/firmware-bridge/device"
	"steelyard/internal/unit"
)

// Encode is the inverse of Decode: the registers with which a machine of this model would say the
// values. A value is a decimal ("12.5"), a word of the point's enumeration, or a text. Registers
// of values that are not given hold 0, constants hold their constant. It is meant for machines
// that do not exist.
func (p *Profile) Encode(values map[string]string) (map[Register]uint16, error) {
	m := p.newSnapshot()
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

func (p *Profile) put(m *snapshot, d *decoder, text string, values map[string]string) error {
	raw := m.data[d.block][2*d.first : 2*(d.first+d.width)]
	if d.valid >= 0 {
		p.setBit(m, d.valid, d.Valid.Bit)
	}
	if d.kind == wording {
		return d.putText(raw, text)
	}
	n, err := d.number(text)
	if err != nil {
		return err
	}
	factor := rational(d.scale)
	if d.decimals >= 0 {
		of := &p.decoder[d.decimals]
		places, err := of.number(values[of.Name])
		times, why := p.exponent(device.Value{Tag: of.Name, Number: places, Text: of.word(places.Coef), OK: err == nil})
		if why != "" {
			return fmt.Errorf("needs %s, the number of its decimals", d.ScaleFrom)
		}
		factor.Mul(factor, rational(times))
	}
	for _, i := range d.factors {
		times, err := p.decoder[i].number(values[p.decoder[i].Name])
		if err != nil || times.Coef == 0 {
			return fmt.Errorf("needs %s, by which it is multiplied", p.decoder[i].Name)
		}
		factor.Mul(factor, rational(times))
	}
	value := rational(n)
	value.Sub(value, rational(d.offset))
	if d.sign >= 0 && value.Sign() < 0 {
		value.Neg(value)
		p.setBit(m, d.sign, d.SignFrom.Bit)
	}
	if d.plus >= 0 {
		if err := p.putPart(m, &p.decoder[d.plus], value, factor, values); err != nil {
			return err
		}
	}
	value.Quo(value, factor)
	if d.kind == written {
		return d.putText(raw, strings.TrimSuffix(strings.TrimRight(value.FloatString(9), "0"), "."))
	}
	words, err := d.words(value)
	if err != nil {
		return err
	}
	d.putWords(raw, words)
	return nil
}

// putPart takes off a value what another point says of it: what that point was given, or else what is
// no whole count of the value's own.
func (p *Profile) putPart(m *snapshot, part *decoder, value, count *big.Rat, values map[string]string) error {
	negative := value.Sign() < 0 && part.kind != signed
	if negative {
		value.Neg(value)
		defer value.Neg(value)
	}
	if text, ok := values[part.Name]; ok {
		n, err := part.number(text)
		value.Sub(value, rational(n))
		return err
	}
	counts := new(big.Rat).Quo(value, count)
	whole := new(big.Rat).SetInt(new(big.Int).Div(counts.Num(), counts.Denom()))
	rest := new(big.Rat).Sub(value, whole.Mul(whole, count))
	value.Set(whole)
	return p.put(m, part, rest.FloatString(9), values)
}

// setBit sets one bit of the point that others rest on.
func (p *Profile) setBit(m *snapshot, index, bit int) {
	d := &p.decoder[index]
	d.putWords(m.data[d.block][2*d.first:2*(d.first+d.width)], d.cut(1<<bit))
}

// number of a text: a word of the enumeration or a decimal.
func (d *decoder) number(text string) (unit.Decimal, error) {
	for n, word := range d.Enum {
		if word == text && d.kind != flags {
			return unit.Decimal{Coef: n}, nil
		}
	}
	return unit.ParseDecimal(text)
}

func rational(d unit.Decimal) *big.Rat {
	ten := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(d.Scale)), nil)
	return new(big.Rat).SetFrac(big.NewInt(d.Coef), ten)
}

// words of a raw value, the least significant first.
func (d *decoder) words(value *big.Rat) ([]uint16, error) {
	switch {
	case d.kind == floating && d.width == 2:
		f, _ := value.Float32()
		return d.cut(uint64(math.Float32bits(f))), nil
	case d.kind == floating:
		f, _ := value.Float64()
		return d.cut(math.Float64bits(f)), nil
	}
	if !value.IsInt() || !value.Num().IsInt64() {
		return nil, fmt.Errorf("is not a whole number of counts: %s", value.RatString())
	}
	n := value.Num().Int64()
	if d.Inverted {
		n = 1 - n
	}
	bits, most := uint64(n), uint64(0)
	switch d.kind {
	case digital:
		words := make([]uint16, d.width)
		for i := range words {
			words[i], n = uint16(n%d.base), n/d.base
		}
		if value.Sign() < 0 || n > 0 {
			return nil, fmt.Errorf("does not fit %d registers", d.width)
		}
		return words, nil
	case packed4:
		var err error
		if bits, err = strconv.ParseUint(strconv.FormatInt(n, 10), 16, 16*d.width); err != nil {
			return nil, err
		}
	}
	if most = d.mask(); d.kind == signed {
		if n > int64(most>>1) || n < -int64(most>>1)-1 {
			return nil, fmt.Errorf("does not fit %d bits with sign", d.size())
		}
	} else if n < 0 || bits > most {
		return nil, fmt.Errorf("does not fit %d bits", d.size())
	}
	return d.cut(bits & most), nil
}

// cut makes words of bits, in their place among those of the registers; of coils and inputs a word each.
func (d *decoder) cut(bits uint64) []uint16 {
	bits <<= d.lowBit
	words := make([]uint16, d.width)
	for i := range words {
		if d.coils {
			words[i] = uint16(bits >> i & 1)
		} else {
			words[i] = uint16(bits >> (16 * i))
		}
	}
	return words
}

// putWords adds words to the registers: several points may share them.
func (d *decoder) putWords(raw []byte, words []uint16) {
	for i, w := range words {
		place := i // register i, counted from the least significant
		if !d.lowFirst && !d.coils {
			place = d.width - 1 - i
		}
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
