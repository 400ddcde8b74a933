package weighbridge

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
		// GEC Avery and others send this line alone above their range.
		Messages: map[string]string{"OL": "over"},
	}.compile(o.Unit)
}

// casLayout: "ST,GS," id, lamp byte, ",", 8 characters, blank, unit, CR LF. The lamp byte has bit
// 7 set and repeats the stability; where it contradicts the header the careful one holds. A gross
// lamp beside "NT" says both kinds, so it is no weight.
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
			{At: 8, Mask: 0x04, Is: 0x04, Then: "gross"},
			{At: 8, Mask: 0x01, Is: 0x01, Then: "zero", Else: "not-zero"},
		},
		Digits: Digits{Span: Span{10, 17}, Signed: true, Point: true, Padded: true},
		Unit:   UnitField{Span: Span{19, 20}},
	}
}

// ohausLayout: polarity, blank, 7 characters, blank, unit in 5, '?' if unstable, legend in 3, CR
// LF. A legend that is not one of the manual's is no weight: with a tare on, it would be a net one.
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
			{At: 17, Is: map[string]string{"G  ": "gross", "NET": "net", "T  ": "tare"}},
		},
	}
}
