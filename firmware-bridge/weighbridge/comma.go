package weighbridge

import (
	"bytes"
	"errors"

	"steelyard/firmware-bridge/device"
)

// The comma family. A held display ("HD") is not what lies on the scale now, so it counts as not
// stable.

func commaHeader() map[string]string {
	return map[string]string{"ST": "stable ok", "US": "unstable ok", "OL": "over", "HD": "unstable", "LO": "over-or-under"}
}

func commaAt(position int) Code { return Code{At: position, Is: map[string]string{",": ""}} }

// buildAnD reads "ST,GS,+0012340kg" CR LF: header, kind, sign, 7 characters, unit. Some models
// put a blank between sign and digits.
func buildAnD(o Options) (codec, error) {
	return Layout{
		Mask: o.Mask, End: crlf(), Length: 18,
		Codes: []Code{
			{At: 1, Is: commaHeader()}, commaAt(3),
			{At: 4, Is: map[string]string{"GS": "gross", "NT": "net", "TR": "tare", "PT": "tare preset-tare"}}, commaAt(6),
		},
		Sign:   Sign{At: 7, Plus: "+ ", Minus: "-"},
		Digits: Digits{Span: Span{8, 14}, Point: true, Padded: true},
		Unit:   UnitField{Span: Span{15, 16}},
	}.compile(o.Unit)
}

// casLayout: "ST,GS," id, lamp byte, ",", 8 characters, blank, unit, CR LF. The lamp byte has bit
// 7 set and repeats the stability; where it contradicts the header the careful one holds.
func casLayout() Layout {
	return Layout{
		End: crlf(), Length: 22,
		Codes: []Code{
			{At: 1, Is: commaHeader()}, commaAt(3),
			{At: 4, Is: map[string]string{"GS": "gross", "NT": "net"}}, commaAt(6), commaAt(9),
			{At: 18, Is: map[string]string{" ": ""}},
		},
		Bits: []Bit{
			{At: 8, Mask: 0x80, Is: 0x80, Else: "reject"},
			{At: 8, Mask: 0x40, Is: 0x40, Then: "stable", Else: "unstable"},
			{At: 8, Mask: 0x10, Is: 0x10, Then: "unstable"}, // hold
			{At: 8, Mask: 0x01, Is: 0x01, Then: "zero", Else: "not-zero"},
		},
		Digits: Digits{Span: Span{10, 17}, Signed: true, Point: true, Padded: true},
		Unit:   UnitField{Span: Span{19, 20}},
	}
}

// ohausLayout: polarity, blank, 7 characters, blank, unit in 5, '?' if unstable, legend in 3, CR
// LF. Of the legends only "G" is documented; another one leaves the kind unknown.
func ohausLayout() Layout {
	space := map[string]string{" ": ""}
	return Layout{
		End: crlf(), Length: 21,
		Sign:   Sign{At: 1, Plus: "+ ", Minus: "-"},
		Digits: Digits{Span: Span{3, 9}, Point: true, Padded: true},
		Unit:   UnitField{Span: Span{11, 15}},
		Codes: []Code{
			{At: 2, Is: space}, {At: 10, Is: space},
			{At: 16, Is: map[string]string{" ": "stable", "?": "unstable"}},
			{At: 17, Is: map[string]string{"G  ": "gross"}, Other: "ignore"},
		},
	}
}

// buildDiniShort reads "[address]ST,GS,   12340,kg" CR LF.
func buildDiniShort(o Options) (codec, error) {
	l := Layout{
		End: crlf(), Length: 19,
		Codes: []Code{
			{At: 1, Is: diniHeader()}, commaAt(3),
			{At: 4, Is: map[string]string{"GS": "gross", "NT": "net"}}, commaAt(6), commaAt(15),
		},
		Digits:   Digits{Span: Span{7, 14}, Signed: true, Point: true, Padded: true},
		Unit:     UnitField{Span: Span{16, 17}},
		Messages: diniErrors(),
	}
	return addressed(l, o)
}

// buildDiniExtended reads "[address]scale ST,net,PTtare,pieces,kg" CR LF. "PT" marks a preset
// tare, two blanks any other.
func buildDiniExtended(o Options) (codec, error) {
	l := Layout{
		End: crlf(), Length: 43, Means: "net",
		Codes: []Code{
			{At: 1, Is: map[string]string{"1": "", "2": "", "3": "", "4": ""}},
			{At: 2, Is: diniHeader()}, commaAt(4), commaAt(15),
			{At: 16, Is: map[string]string{"PT": "preset-tare", "  ": "measured-tare"}},
			commaAt(28), commaAt(39),
		},
		Digits:   Digits{Span: Span{5, 14}, Signed: true, Point: true, Padded: true},
		Tare:     Digits{Span: Span{18, 27}, Signed: true, Point: true, Padded: true},
		Unit:     UnitField{Span: Span{40, 41}},
		Messages: diniErrors(),
	}
	return addressed(l, o)
}

func diniHeader() map[string]string {
	return map[string]string{"ST": "stable ok", "US": "unstable ok", "OL": "over", "UL": "under", "TL": "error"}
}

func diniErrors() map[string]string {
	return map[string]string{"ERR01": "error", "ERR02": "error", "ERR03": "error", "ERR04": "error"}
}

// addressed wraps a line layout whose lines may begin with a two-digit address. Without a
// configured address both forms are taken; with one, only lines that carry it.
func addressed(l Layout, o Options) (codec, error) {
	c, err := l.compile(o.Unit)
	if err != nil {
		return codec{}, err
	}
	if len(l.Start) != 0 {
		return codec{}, errors.New("layout: an address stands before a line without a start")
	}
	plain := c.decode
	c.take = func(b []byte, _ bool) (int, verdict) { return takeLine(b, l.End) }
	c.decode = func(b []byte, w *device.Weight) bool {
		rest, named := b, 0
		if bare := len(b) == l.Length || bytes.HasPrefix(b, []byte("ERR")); !bare {
			if len(b) < 3 || b[0] < '0' || b[0] > '9' || b[1] < '0' || b[1] > '9' {
				return false
			}
			rest, named = b[2:], int(b[0]-'0')*10+int(b[1]-'0')
		}
		if o.Address != 0 && named != o.Address {
			return false
		}
		if len(rest) != l.Length && !bytes.HasPrefix(rest, []byte("ERR")) {
			return false
		}
		return plain(rest, w)
	}
	return c, nil
}
