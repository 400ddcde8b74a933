package weighbridge

import (
	"bytes"

	"steelyard/firmware-bridge/device"
)

// laumasTexts are the alarms that stand in place of the digits. Only O-L is documented as
// overload; for the others it is enough that they are no weight. The underline of the manuals may
// stand for a blank on the line, so both are taken.
func laumasTexts() map[string]string {
	return map[string]string{"O-L": "over", "O-F": "error", "_ERCEL": "error", "_ER_OL": "error", "_ER_AD": "error",
		"ERCEL": "error", "ER OL": "error", "ER AD": "error"}
}

// laumasTXLayout: 6 characters, CR LF.
func laumasTXLayout() Layout {
	return Layout{
		End: crlf(), Length: 8, Means: "gross",
		Digits: Digits{Span: Span{1, 6}, Signed: true, Padded: true},
		Texts:  laumasTexts(),
	}
}

// laumasTDLayout: "&T", 6 characters, "P", the same 6 again, "\", XOR, CR. Being equal, the two
// cancel in the checksum, which is always 04: what protects is that they must be equal.
func laumasTDLayout() Layout {
	l := laumasPair("&T", "P", "gross")
	l.Twin = Span{10, 15}
	return l
}

// laumasRemoteLayout: "&N", net, "L", gross, "\", XOR, CR.
func laumasRemoteLayout() Layout {
	l := laumasPair("&N", "L", "net")
	l.Gross = Digits{Span: Span{10, 15}, Signed: true, Padded: true}
	return l
}

func laumasPair(start, between, means string) Layout {
	return Layout{
		Start: Bytes(start), End: Bytes{'\r'}, Length: 19, Means: means,
		Checksum: Checksum{Kind: "xor", From: 2, To: 15, At: 17, Encoding: encodedHex},
		Codes:    []Code{{At: 9, Is: map[string]string{between: ""}}, {At: 16, Is: map[string]string{`\`: ""}}},
		Digits:   Digits{Span: Span{3, 8}, Signed: true, Padded: true},
		Texts:    laumasTexts(),
	}
}

// buildLaumas reads the answers on request: "&&" (or "&" in W60000 mode), address, 6 characters,
// 't' gross or 'n' net, "\", XOR, CR; or "&&" address and '?' (refused) or '#' (not executable).
func buildLaumas(o Options) (codec, error) {
	address := max(1, o.Address)
	m := &compiledLayout{Layout: Layout{Start: Bytes{'&'}, End: Bytes{'\r'}}}
	take := func(b []byte, final bool) (int, verdict) {
		if len(b) > 1 && b[1] == '&' { // the second mark is not a new frame
			if n, v := m.takeToEnd(b[1:], final); v == whole || v >= bad {
				return n + 1, v
			}
			return 0, more
		}
		return m.takeToEnd(b, final)
	}
	texts := laumasTexts()
	decode := func(b []byte, w *device.Weight) Refusal {
		w.Unit = o.Unit
		body := bytes.TrimLeft(b[:len(b)-1], "&")
		slash := len(body) - 3
		if slash < 0 || body[slash] != '\\' {
			return badLength
		}
		sum, ok := hexPair(body[slash+1], body[slash+2])
		if body = body[:slash]; !ok || sum != xorSum.of(body) || len(body) < 3 {
			return badSum
		}
		if !digitsOnly(body[:2]) || int(body[0]-'0')*10+int(body[1]-'0') != address {
			return badAddress
		}
		switch body = body[2:]; {
		case len(body) == 1 && body[0] == '?':
			w.Error = "refused"
			return accepted
		case len(body) == 1 && body[0] == '#':
			w.Error = "not executable"
			return accepted
		case len(body) != 7:
			return badLength
		}
		switch body[6] {
		case 't':
			w.Kind = device.Gross
		case 'n':
			w.Kind = device.Net
		default:
			return badStatus
		}
		field := body[:6]
		switch d, state := parseNumber(field, numberFormat{sign: true, padded: true}); state {
		case number:
			w.Value, w.HasValue = d, true
			return accepted
		case blank, dashes:
			return accepted
		}
		text := string(bytes.Trim(field, " "))
		switch texts[text] {
		case "over":
			w.Range = device.Over
		case "error":
			w.Range, w.Error = device.RangeError, text
		default:
			return badDigits
		}
		return accepted
	}
	return codec{start: '&', hasStart: true, take: take, decode: decode}, nil
}
