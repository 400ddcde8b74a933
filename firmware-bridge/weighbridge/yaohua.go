package weighbridge

import (
	"fmt"

	"steelyard/firmware-bridge/device"
)

const (
	stx = 0x02
	etx = 0x03
)

func crlf() Bytes { return Bytes{'\r', '\n'} }

// buildTF0 reads the continuous frame that is called tF=0:
//
//	┌────┬──────┬──────────┬──────────┬─────────┬────┐
//	│ 02 │ sign │ 6 digits │ decimals │ XOR 2–9 │ 03 │
//	└────┴──────┴──────────┴──────────┴─────────┴────┘
//	  1     2      3 – 8        9       10, 11    12
//
// It says neither gross or net, nor unit, nor stability, nor range: they stay unknown. The
// exclusive or does not see swapped digits; only several equal frames protect against those.
// It is read by hand, since most of the country's weighbridges speak it; a test holds it to the
// same frame written as a Layout.
func buildTF0(o Options) (codec, error) {
	take := func(b []byte, _ bool) (int, verdict) {
		switch {
		case len(b) < 12:
			return 0, more
		case b[11] != etx:
			return 1, broken(badEnd)
		}
		return 12, whole
	}
	return codec{start: stx, hasStart: true, take: take, decode: func(b []byte, w *device.Weight) Refusal {
		sum, ok := nibblePair(b[9], b[10])
		if !ok || sum != xorSum.of(b[1:9]) {
			return badSum
		}
		w.Unit = o.Unit
		return signedSix(b[1:9], w)
	}}, nil
}

// signedSix reads sign, six digits and the number of decimals. Six blanks or six dashes are no weight:
// what an overloaded indicator sends is not documented, so it may be either.
func signedSix(b []byte, w *device.Weight) Refusal {
	switch {
	case b[0] != '+' && b[0] != '-':
		return badSign
	case b[7] < '0' || b[7] > '4':
		return badPoint
	}
	d, state := parseNumber(b[1:7], numberFormat{})
	switch state {
	case number:
	case blank, dashes:
		return accepted
	default:
		return badDigits
	}
	if b[0] == '-' {
		d.Coef = -d.Coef
	}
	d.Scale = b[7] - '0'
	w.Value, w.HasValue = d, true
	return accepted
}

// The "=" formats have no checksum and no end, so the start of the next frame must prove the
// length: a lost byte would move the decimals.
func equalsLayout(characters int) Layout {
	return Layout{Start: Bytes{'='}, Length: 1 + characters, NextStartEnds: true}
}

// buildEqualsReversed reads "=" and the characters from the last to the first, the sign at the
// end: "=0600000-" is -60. The old format of 6 or 7 characters has no place for a sign.
func buildEqualsReversed(o Options) (codec, error) {
	n := o.Characters
	if n == 0 {
		n = 8
	}
	l := equalsLayout(n)
	l.Digits = Digits{Span: Span{2, 1 + n}, Reversed: true, Point: true}
	if n == 8 {
		l.Digits.To = 8
		l.Sign = Sign{At: 9, Plus: "0", Minus: "-"}
	}
	return l.compile(o.Unit)
}

// buildEqualsForward reads "=", the sign ('0' or '-') and the digits as they are read aloud.
func buildEqualsForward(o Options) (codec, error) {
	n := o.Characters
	if n == 0 {
		n = 8
	}
	l := equalsLayout(n)
	l.Sign = Sign{At: 2, Plus: "0", Minus: "-"}
	l.Digits = Digits{Span: Span{3, 1 + n}, Point: true}
	return l.compile(o.Unit)
}

func yaohuaAddress(o Options) byte { return byte('A' + max(1, o.Address) - 1) }

// buildYaohuaCommand reads the answers of command mode:
//
//	┌────┬─────────┬─────────┬────────────────────┬─────┬────┐
//	│ 02 │ address │ command │ sign and 7 characters │ XOR │ 03 │
//	└────┴─────────┴─────────┴────────────────────┴─────┴────┘
//
// The seven characters are six digits and the number of decimals (Yaohua) or six digits with a
// point among them (Keli K9-R manual pp. 9-10). The answer to a handshake, which is also what an
// echo of our own request looks like, is no weight. C is the tare and D the net, as those manuals
// say, unless tare_is has been proven to be D; neither is ever asked for before, and neither is a weight
// to capture.
func buildYaohuaCommand(o Options) (codec, error) {
	if o.Address > 26 {
		return codec{}, fmt.Errorf("address %d: not between 1 and 26", o.Address)
	}
	address := yaohuaAddress(o)
	commands := map[byte]device.Kind{'B': device.Gross, 'C': device.Tare, 'D': device.Net}
	if o.TareIs == "D" {
		commands['C'], commands['D'] = device.Net, device.Tare
	}
	take := func(b []byte, _ bool) (int, verdict) {
		switch {
		case len(b) < 6:
			return 0, more
		case b[5] == etx && sumBefore(b[:6]):
			return 6, junk
		case len(b) < 14:
			return 0, more
		case b[13] != etx:
			return 1, broken(badEnd)
		}
		return 14, whole
	}
	decode := func(b []byte, w *device.Weight) Refusal {
		kind, ok := commands[b[2]]
		switch {
		case !sumBefore(b):
			return badSum
		case b[1] != address:
			return badAddress
		case !ok:
			return badStatus
		}
		w.Kind, w.Unit = kind, o.Unit
		switch _, state := parseNumber(b[4:11], numberFormat{point: true, pointed: true}); state {
		case number:
			return signedSeven(b[3:11], w)
		case blank, dashes:
			if b[3] != '+' && b[3] != '-' {
				return badSign
			}
			return accepted
		}
		return signedSix(b[3:11], w)
	}
	return codec{start: stx, hasStart: true, take: take, decode: decode}, nil
}

// sumBefore checks the exclusive or that stands before ETX over what stands behind STX.
func sumBefore(b []byte) bool {
	sum, ok := nibblePair(b[len(b)-3], b[len(b)-2])
	return ok && sum == xorSum.of(b[1:len(b)-3])
}

func signedSeven(b []byte, w *device.Weight) Refusal {
	if b[0] != '+' && b[0] != '-' {
		return badSign
	}
	d, state := parseNumber(b[1:], numberFormat{point: true})
	if state != number {
		return badDigits
	}
	if b[0] == '-' {
		d.Coef = -d.Coef
	}
	w.Value, w.HasValue = d, true
	return accepted
}

// a12Layout is the frame of the A12(E): "WN012340 kg", XOR over 1 to 11, CR LF; instead of it, at
// the end of a line of blanks, "OL23" (more than Max + 9e) or "LO23" (below -20d).
func a12Layout() Layout {
	return Layout{
		End: crlf(), Length: 15,
		Checksum: Checksum{Kind: "xor", From: 1, To: 11, At: 12, Encoding: encodedNibble},
		Codes:    []Code{{At: 1, Is: map[string]string{"WG": "gross", "WN": "net"}}},
		Digits:   Digits{Span: Span{3, 9}, Signed: true, Point: true, Trailing: true},
		Unit:     UnitField{Span: Span{10, 11}},
		Messages: map[string]string{"OL23": "over", "LO23": "under"},
	}
}

// buildWW reads "ww" gross, "wn" net or "wt" tare, 8 characters and a point, the unit, CR LF. A12(E) in
// some countries send 6 characters and a point: "wn001.171kg".
func buildWW(o Options) (codec, error) {
	n := o.Digits
	if n == 0 {
		n = 8
	}
	l := Layout{
		End: crlf(), Length: 7 + n,
		Codes:  []Code{{At: 1, Is: map[string]string{"ww": "gross", "wn": "net", "wt": "tare"}}},
		Digits: Digits{Span: Span{3, -5}, Signed: true, Pointed: !o.NoPoint, Count: n},
		Unit:   UnitField{Span: Span{-4, -3}},
	}
	if o.NoPoint {
		l.Length--
	}
	return l.compile(o.Unit)
}
