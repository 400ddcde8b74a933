package modbus

import (
	"encoding/binary"

	"steelyard/internal/unit"
)

// Interpret reads registers as a point of this type and order would, without factor or sentinels. why is
// not empty when they hold no such number.
func Interpret(kind, order string, words []uint16) (n unit.Decimal, why string) {
	form, known := formOf(kind)
	if !known || form.kind == wording || form.kind == flags || form.registers != 0 && form.registers != len(words) || len(words) > max(form.longest, form.registers) {
		return n, "no number of this length"
	}
	raw := make([]byte, 0, 2*len(words))
	for _, w := range words {
		raw = binary.BigEndian.AppendUint16(raw, w)
	}
	d := decoder{Point: &Point{Type: kind}, form: form, width: len(words), lowFirst: order == "CDAB" || order == "DCBA", swapped: order == "BADC" || order == "DCBA"}
	return d.raw(raw)
}
