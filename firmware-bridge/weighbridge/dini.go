package weighbridge

import (
	"bytes"

	"steelyard/firmware-bridge/device"
	"steelyard/internal/unit"
)

// Dini Argeo. Every string may begin with the two-digit address of an RS-485 line, and each of
// the dialects takes, beside its own string, the answer to a registered weighing and the errors:
// one line and one decoder serve the live display and the alibi memory.

// buildDiniShort reads "[address]ST,GS,   12340,kg" CR LF.
func buildDiniShort(o Options) (codec, error) {
	return diniLines(o, &Layout{
		End: crlf(), Length: 19,
		Codes: []Code{
			{At: 1, Is: diniHeader()}, commaAt(3),
			{At: 4, Is: map[string]string{"GS": "gross", "NT": "net"}}, commaAt(6), commaAt(15),
		},
		Digits: Digits{Span: Span{7, 14}, Signed: true, Point: true, Padded: true},
		Unit:   UnitField{Span: Span{16, 17}},
	})
}

// buildDiniExtended reads "[address]scale ST,net,PTtare,pieces,kg" CR LF. "PT" marks a preset
// tare, two blanks any other.
func buildDiniExtended(o Options) (codec, error) {
	return diniLines(o, &Layout{
		End: crlf(), Length: 43, Means: "net",
		Codes: []Code{
			{At: 1, Is: map[string]string{"1": "", "2": "", "3": "", "4": ""}},
			{At: 2, Is: diniHeader()}, commaAt(4), commaAt(15),
			{At: 16, Is: map[string]string{"PT": "preset-tare", "  ": "measured-tare"}},
			commaAt(28), commaAt(39),
		},
		Digits: Digits{Span: Span{5, 14}, Signed: true, Point: true, Padded: true},
		Tare:   Digits{Span: Span{18, 27}, Signed: true, Point: true, Padded: true},
		Unit:   UnitField{Span: Span{40, 41}},
	})
}

// buildDiniStored reads the answers to registered weighings alone, on a line without a poll.
func buildDiniStored(o Options) (codec, error) { return diniLines(o, nil) }

func diniHeader() map[string]string {
	return map[string]string{"ST": "stable ok", "US": "unstable ok", "OL": "over", "UL": "under", "TL": "error"}
}

// diniLines makes the codec of a live string, or of none, beside the answers that all share.
// Without a configured address lines with and without one are taken; with one, only lines that
// carry it.
func diniLines(o Options, live *Layout) (codec, error) {
	length, plain := 0, func([]byte, *device.Weight) Refusal { return badLength }
	if live != nil {
		c, err := live.compile(o.Unit)
		if err != nil {
			return codec{}, err
		}
		length, plain = live.Length, c.decode
	}
	end, units := crlf(), usualUnits()
	decode := func(b []byte, w *device.Weight) Refusal {
		named := 0
		if len(b) != length && !diniWord(b) {
			if len(b) < 3 || !digitsOnly(b[:2]) {
				return badLength
			}
			b, named = b[2:], int(b[0]-'0')*10+int(b[1]-'0')
		}
		if o.Address != 0 && named != o.Address {
			return badAddress
		}
		switch line := b[:len(b)-len(end)]; {
		case bytes.HasPrefix(line, []byte(diniStored)):
			return readDiniStored(line, units, w)
		case bytes.HasPrefix(line, []byte(diniError)):
			return readDiniError(line, o.Unit, w)
		}
		if len(b) != length {
			return badLength
		}
		return plain(b, w)
	}
	return codec{take: func(b []byte, _ bool) (int, verdict) { return takeLine(b, end) }, decode: decode}, nil
}

const (
	diniStored = "PID"
	diniError  = "ERR"
)

// diniWord reports whether a line begins with a word of its own and not with an address.
func diniWord(b []byte) bool {
	return bytes.HasPrefix(b, []byte(diniStored)) || bytes.HasPrefix(b, []byte(diniError))
}

// readDiniError reads ERR01 to ERR04; the pages that were read do not say what each stands for.
func readDiniError(line []byte, fallback unit.Unit, w *device.Weight) Refusal {
	if len(line) != 5 || line[3] != '0' || line[4] < '1' || line[4] > '4' {
		return badStatus
	}
	w.Unit, w.Range, w.Error = fallback, device.RangeError, string(line)
	return accepted
}

// Places in the answer to a registered weighing, counted from 0.
const (
	storedStatus = 3
	storedScale  = 6
	storedGross  = 8
	storedTare   = 21
	storedAlibi  = 36
	storedLength = 48

	alibiID = 5 // digits before the dash of the alibi number
)

// readDiniStored reads a weighing that the indicator has stored in its alibi memory:
//
//	┌─────┬────────┬───┬───────┬───┬───────┬──────┬───┬──────┬──────┬──────┬───┬──────────────┐
//	│ PID │ status │ , │ scale │ , │ gross │ unit │ , │ kind │ tare │ unit │ , │ XXXXX-YYYYYY │
//	└─────┴────────┴───┴───────┴───┴───────┴──────┴───┴──────┴──────┴──────┴───┴──────────────┘
//	 1 – 3   4, 5    6     7     8   9 – 18 19, 20 21  22, 23 24 – 33 34, 35 36    37 – 48
//
// or, when it has refused because the load was negative or not stable, the same with "NO" in place
// of the number, or "NO" alone. Kind is "PT" for a preset tare, two blanks for any other. The
// number is the rewrite id and the number of the weighing; it is kept as printed. The answer has
// no checksum, so what is not documented is not guessed: a status that is not "ST" contradicts an
// accepted weighing, two units or two numbers of decimals contradict each other, and both reject
// it. It names no net, and none is computed.
func readDiniStored(line []byte, units map[string]string, w *device.Weight) Refusal {
	if bytes.HasSuffix(line, []byte("NO")) {
		w.Error = "refused: negative or not stable"
		if len(line) != len(diniStored)+2 && (len(line) != storedAlibi+2 || !storedCommas(line)) {
			return badLength
		}
		return accepted
	}
	if len(line) != storedLength || !storedCommas(line) {
		return badLength
	}
	if string(line[storedStatus:storedStatus+2]) != "ST" || line[storedScale] < '1' || line[storedScale] > '4' {
		return badStatus
	}
	numbers := numberFormat{point: true, sign: true, padded: true}
	g, okGross := parseNumber(line[storedGross:storedGross+10], numbers)
	t, okTare := parseNumber(line[storedTare+2:storedTare+12], numbers)
	if okGross != number || okTare != number || g.Coef < 0 || t.Coef < 0 || g.Scale != t.Scale {
		return badDigits
	}
	name, known := units[string(bytes.Trim(line[storedGross+10:storedGross+12], " "))]
	again, knownAgain := units[string(bytes.Trim(line[storedTare+12:storedTare+14], " "))]
	if !known || !knownAgain || name != again {
		return badUnit
	}
	switch string(line[storedTare : storedTare+2]) {
	case "PT":
		w.TareKind = device.TarePreset
	case "  ":
		if t.Coef != 0 { // else it is the place of a tare, without one
			w.TareKind = device.TareMeasured
		}
	default:
		return badStatus
	}
	alibi := line[storedAlibi:]
	if !digitsOnly(alibi[:alibiID]) || alibi[alibiID] != '-' || !digitsOnly(alibi[alibiID+1:]) {
		return badDigits
	}
	w.Value, w.HasValue, w.Kind, w.Unit = g, true, device.Gross, unit.Unit(name)
	w.Gross, w.HasGross = g, true
	w.Tare, w.HasTare = t, true
	w.Stable, w.Range = device.Yes, device.RangeOK
	w.Alibi = string(alibi)
	return accepted
}

func storedCommas(line []byte) bool {
	for _, at := range []int{storedScale - 1, storedGross - 1, storedTare - 1, storedAlibi - 1} {
		if line[at] != ',' {
			return false
		}
	}
	return true
}
