package weighbridge

import (
	"fmt"

	"steelyard/firmware-bridge/device"
)

// toledoLayout is Toledo's continuous frame, emulated by half of the trade:
//
//	┌────┬───┬───┬───┬──────────┬────────┬────┬────────────┐
//	│ 02 │ A │ B │ C │ weight 6 │ tare 6 │ 0D │ [checksum] │
//	└────┴───┴───┴───┴──────────┴────────┴────┴────────────┘
//	  1    2   3   4    5 – 10    11 – 16  17
//
// Only the documented bits are read; those that are called fixed differ between makers.
func toledoLayout(o Options) Layout {
	l := Layout{
		Mask: o.Mask, Start: Bytes{stx}, End: Bytes{'\r'}, Length: 17,
		Between:  Bytes{'\r', '\n', 0},
		Checksum: Checksum{Kind: o.Checksum, AfterEnd: true},
		Digits:   Digits{Span: Span{5, 10}, Padded: true},
		Tare:     Digits{Span: Span{11, 16}, Padded: true},
		Decimals: Decimals{At: 2, Kind: "toledo", MultiplyDummyZeros: o.DummyZeros == "multiply"},
		Bits: []Bit{
			{At: 3, Mask: 0x01, Is: 0x01, Then: "net", Else: "gross"},
			{At: 3, Mask: 0x02, Is: 0x02, Then: "negative"},
			{At: 3, Mask: 0x04, Is: 0x04, Then: "over-or-under", Else: "ok"},
			{At: 3, Mask: 0x08, Is: 0x08, Then: "unstable", Else: "stable"},
			// The extension in C names other units per model; only 0 and 1 (grams) are common.
			{At: 3, Mask: 0x10, Is: 0x10, Then: "kg", Else: "lb"},
			{At: 4, Mask: 0x07, Is: 0x01, Then: "g"},
			{At: 4, Mask: 0x06, Is: 0x00, Else: "foreign-unit"},
			// A and C are printing characters with every maker. A character of wrong parity, and a break,
			// arrive as NUL: in A that would move the point, in C lose the unit. B may be below 20h
			// (Fairbanks FB3000); a NUL there says pounds.
			{At: 2, Mask: 0x60, Is: 0x00, Then: "reject"},
			{At: 4, Mask: 0x60, Is: 0x00, Then: "reject"},
		},
	}
	if o.Short {
		l.Length, l.Tare = 11, Digits{}
	}
	if o.Checksum == string(noChecksum) {
		l.Checksum = Checksum{}
	}
	return l
}

// buildToledo reads the maker's own form. The parity bit is masked always: a 7E1 line that is
// read with 8 bits carries it even in STX (seen on XK8142-07).
func buildToledo(o Options) (codec, error) {
	if o.Checksum == "" {
		o.Checksum = string(mt7)
	}
	if o.Mask == 0 {
		o.Mask = 0x7F
	}
	if o.Mask == 0x7F && (o.Checksum == string(neg8) || o.Checksum == string(sum8)) {
		o.Mask = 0xFF // a checksum of 8 bits needs a line of 8 bits
	}
	l := toledoLayout(o)
	l.Bits = append(l.Bits,
		Bit{At: 3, Mask: 0x40, Is: 0x40, Then: "power-up", Else: "not-power-up"},
		Bit{At: 4, Mask: 0x10, Is: 0x10, Then: "expanded"})
	return l.compile(o.Unit)
}

// buildFlintec differs in the checksum, in the inverted power-up bit, in a C whose bit 4 means
// nothing, and in words instead of digits (Flintec FT-111 manual pp. 85-93).
func buildFlintec(o Options) (codec, error) {
	if o.Checksum == "" {
		o.Checksum = string(neg8)
	}
	if o.Mask == 0 {
		o.Mask = 0xFF
	}
	l := toledoLayout(o)
	l.Bits = append(l.Bits, Bit{At: 3, Mask: 0x40, Is: 0x40, Then: "not-power-up", Else: "power-up"})
	l.Texts = map[string]string{"OVER": "over", "UNDER": "under", "A.OUT": "error", "L-VOLT": "error", "TILT": "error"}
	return l.compile(o.Unit)
}

// buildFlintecFast reads STX, a status letter, sign and digits, CR LF; without digits when the
// letter is '+' (over) or '-' (under). The manual also lists 'M' and 'O' without saying what they
// mean: such a frame carries no weight.
func buildFlintecFast(o Options) (codec, error) {
	n := o.Digits
	if n == 0 {
		n = 7
	}
	return Layout{
		Start: Bytes{stx}, End: crlf(),
		Codes: []Code{{At: 2, Is: map[string]string{
			"S": "stable ok", "D": "unstable ok", "+": "over", "-": "under", "M": "error", "O": "error"}}},
		Digits: Digits{Span: Span{3, -3}, Signed: true, Pointed: !o.NoPoint, Count: n + 1},
	}.compile(o.Unit)
}

// build8217 reads the answers of parcel scales: STX, digits with a point, 'N' when net, CR; or
// STX, '?', a status byte, CR. A weight in the answer means that it is stable.
func build8217(o Options) (codec, error) {
	n := o.Digits
	if n == 0 {
		n = 5
	}
	if o.Mask == 0 {
		o.Mask = 0x7F
	}
	m := &compiledLayout{Layout: Layout{Start: Bytes{stx}, End: Bytes{'\r'}}}
	decode := func(b []byte, w *device.Weight) Refusal {
		w.Unit = o.Unit
		body := b[1 : len(b)-1]
		if len(body) == 2 && body[0] == '?' {
			status8217(body[1]).apply(w)
			if body[1]&0x40 == 0 { // set in every status
				return badStatus
			}
			return accepted
		}
		if len(body) > 0 && body[len(body)-1] == 'N' {
			w.Kind, body = device.Net, body[:len(body)-1]
		}
		digits := Digits{Count: n}
		d, state := digits.parse(body, numberFormat{point: !o.NoPoint, pointed: !o.NoPoint})
		if state != number {
			return badDigits
		}
		w.Value, w.HasValue, w.Stable, w.Range = d, true, device.Yes, device.RangeOK
		return accepted
	}
	return codec{mask: o.Mask, start: stx, hasStart: true, take: m.takeToEnd, decode: decode}, nil
}

func status8217(c byte) status {
	var all status
	for _, b := range []struct {
		mask byte
		m    status
	}{{0x01, unstable}, {0x02, over}, {0x04, under}, {0x10, zero}, {0x20, net}} {
		if c&b.mask != 0 {
			all |= b.m
		}
	}
	return all
}

// buildWI120 reads the Weigh-Tronix form, which has neither motion nor overload.
func buildWI120(o Options) (codec, error) {
	n := o.Digits
	if n == 0 {
		n = 6
	}
	if n > 6 {
		return codec{}, fmt.Errorf("digits %d: not between 4 and 6", n)
	}
	l := Layout{
		End: crlf(), Length: 9 + n,
		Codes: []Code{
			{At: 1, Is: map[string]string{" ": ""}},
			{At: 2, Is: map[string]string{"G": "gross", "N": "net"}},
			{At: -5, Is: map[string]string{" ": ""}},
		},
		Sign:   Sign{At: 3, Plus: "+ ", Minus: "-"},
		Digits: Digits{Span: Span{4, -6}, Pointed: !o.NoPoint, Padded: true, Count: n},
		Unit:   UnitField{Span: Span{-4, -3}},
	}
	if o.NoPoint {
		l.Length--
	}
	return l.compile(o.Unit)
}
