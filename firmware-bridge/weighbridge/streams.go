package weighbridge

// The North American streams: fixed columns, status by letter.

// riceLakeLayout: STX, polarity, 7 characters, unit letter, G or N, status, CR LF. 'T' is tons,
// which are not tonnes, so its numbers are no weights here.
func riceLakeLayout() Layout {
	return Layout{
		Start: Bytes{stx}, End: crlf(), Length: 14,
		Sign:   Sign{At: 2, Plus: " ", Minus: "-"},
		Digits: Digits{Span: Span{3, 9}, Point: true, Padded: true},
		Unit: UnitField{Span: Span{10, 10}, Is: map[string]string{
			"L": "lb", "K": "kg", "T": "foreign-unit", "G": "g", "O": "oz"}},
		Codes: []Code{
			{At: 11, Is: map[string]string{"G": "gross", "N": "net"}},
			{At: 12, Is: map[string]string{
				" ": "stable ok", "I": "error", "M": "unstable", "O": "over-or-under", "Z": "zero stable ok"}},
		},
	}
}

// buildCardinal reads CR, polarity, 6 digits and a point, status, blank, unit, blank, g or n,
// two blanks, ETX. The frame begins with CR.
func buildCardinal(o Options) (codec, error) {
	space := map[string]string{" ": ""}
	l := Layout{
		Start: Bytes{'\r'}, End: Bytes{etx}, Length: 18,
		Sign:   Sign{At: 2, Plus: "+ ", Minus: "-"},
		Digits: Digits{Span: Span{3, -10}, Pointed: !o.NoPoint, Padded: true, Count: 6},
		Unit:   UnitField{Span: Span{-7, -6}},
		Codes: []Code{
			{At: -9, Is: map[string]string{" ": "stable ok", "m": "unstable", "o": "over-or-under"}},
			{At: -8, Is: space}, {At: -5, Is: space}, {At: -3, Is: map[string]string{"  ": ""}},
			{At: -4, Is: map[string]string{"g": "gross", "n": "net"}},
		},
	}
	if o.NoPoint {
		l.Length = 17
	}
	return l.compile(o.Unit)
}

// fairbanksLayout: STX, '4' and a digit for kind and unit, 6 digits, ETX. Dashes are overload; on
// underload the indicator stops sending.
func fairbanksLayout() Layout {
	return Layout{
		Start: Bytes{stx, '4'}, End: Bytes{etx}, Length: 10,
		Codes: []Code{{At: 3, Is: map[string]string{
			"0": "gross lb", "1": "net lb", "2": "tare lb", "3": "gross kg", "4": "net kg", "5": "tare kg"}}},
		Digits:   Digits{Span: Span{4, 9}, Padded: true},
		DashesIs: "over",
	}
}

// conconLayout: STX, 6 digits, unit letter, error letter, CR. Only the blank and 'M' (motion) are
// documented; any other letter is an error without a weight.
func conconLayout() Layout {
	return Layout{
		Start: Bytes{stx}, End: Bytes{'\r'}, Length: 10,
		Digits: Digits{Span: Span{2, 7}, Padded: true},
		Unit:   UnitField{Span: Span{8, 8}, Is: map[string]string{"K": "kg", "L": "lb"}},
		Codes: []Code{{At: 9, Other: "error",
			Is: map[string]string{" ": "stable ok", "M": "unstable"}}},
	}
}

// smaLayout is the answer of SMA SCP-0499: LF, status, range, kind, motion, reserved, 10
// characters, unit, CR. Instead of a frame '?' (unknown command) or '!' (communication error).
func smaLayout() Layout {
	return Layout{
		Start: Bytes{'\n'}, End: Bytes{'\r'},
		Codes: []Code{
			{At: 2, Is: map[string]string{" ": "ok not-zero", "Z": "ok zero", "O": "over", "U": "under",
				"E": "error", "I": "error", "T": "error"}},
			{At: 4, Is: map[string]string{"G": "gross", "N": "net", "T": "tare", "g": "gross", "n": "net"}},
			{At: 5, Is: map[string]string{" ": "stable", "M": "unstable"}},
			{At: 20, Is: map[string]string{"\r": ""}}, // neither a byte lost nor one too many
		},
		Digits:   Digits{Span: Span{7, 16}, Signed: true, Point: true, Padded: true},
		Unit:     UnitField{Span: Span{17, 19}},
		Messages: map[string]string{"?": "error", "!": "error"},
	}
}
