package weighbridge

import (
	"bytes"
	"strings"

	"steelyard/firmware-bridge/device"
	"steelyard/internal/unit"
)

// buildSystec reads the answer to a registered weighing:
//
//	┌───┬───────┬────────┬──────┬──────┬───────┬───────┬───────┬──────┬─────┬──────┬───────────┬───┬───┐
//	│ < │ error │ status │ date │ time │ ident │ scale │ gross │ tare │ net │ unit │ tare code │ … │ > │
//	└───┴───────┴────────┴──────┴──────┴───────┴───────┴───────┴──────┴─────┴──────┴───────────┴───┴───┘
//	      2       2        8      5      4       1       8       8      8     2      2
//
// What stands behind the tare code differs between models and is kept as evidence only. The frame
// proves itself: gross less tare must be net. The indicator registers only when stable, and
// refuses when negative. Ident begins at 1 every day, so the alibi number carries date and scale.
func buildSystec(o Options) (codec, error) {
	take := func(b []byte, final bool) (int, verdict) {
		end := bytes.IndexByte(b, '>')
		if again := bytes.IndexByte(b[1:], '<') + 1; again > 0 && (end < 0 || again < end) {
			if again >= systecShortest {
				return again, whole
			}
			return again, broken(badLength)
		}
		switch {
		case end >= 0:
			return end + 1, whole
		case final && len(b) >= systecShortest:
			return len(b), whole
		}
		return 0, more
	}
	units := usualUnits()
	return codec{start: '<', hasStart: true, between: crlf(), take: take,
		decode: func(b []byte, w *device.Weight) Refusal { return readSystec(b[1:], o.Unit, units, w) }}, nil
}

const systecShortest = 1 + 50 // '<' and all fields up to the tare code

func readSystec(b []byte, fallback unit.Unit, units map[string]string, w *device.Weight) Refusal {
	if len(b) < 2 || !digitsOnly(b[:2]) {
		return badStatus
	}
	if code := string(b[:2]); code != "00" {
		w.Error = "error " + code // refused: not stable, negative, printer, …
		return accepted
	}
	if len(b) < 50 || !dateAndTime(b[4:17]) {
		return badLength
	}
	if string(b[2:4]) != "00" {
		return badStatus // what other states of the scale mean was not found, and one of them is motion
	}
	ident, okIdent := parseNumber(b[17:21], numberFormat{padded: true})
	g, okGross := parseNumber(b[22:30], numberFormat{point: true, padded: true, sign: true})
	t, okTare := parseNumber(b[30:38], numberFormat{point: true, padded: true, sign: true})
	n, okNet := parseNumber(b[38:46], numberFormat{point: true, padded: true, sign: true})
	if okIdent != number || okGross != number || okTare != number || okNet != number || !digitsOnly(b[21:22]) {
		return badDigits
	}
	if g.Coef < 0 || t.Coef < 0 {
		return badSign // it refuses to register a negative load
	}
	minus := t
	minus.Coef = -minus.Coef
	if sum, err := g.Plus(minus); err != nil || sum.Scale != n.Scale || sum.Coef != n.Coef {
		return badTwin
	}
	name := string(bytes.Trim(b[46:48], " "))
	w.Unit = fallback
	if name != "" {
		known, ok := units[name]
		if !ok {
			return badUnit
		}
		w.Unit = unit.Unit(known)
	}
	if b[48] == 'P' && b[49] == 'T' {
		w.TareKind = device.TarePreset
	}
	w.Value, w.HasValue, w.Kind = g, true, device.Gross
	w.Gross, w.HasGross = g, true
	w.Tare, w.HasTare = t, true
	w.Stable, w.Range = device.Yes, device.RangeOK
	w.Alibi = strings.Join([]string{string(b[4:12]), string(b[21:22]), ident.String()}, "/")
	return accepted
}

func digitsOnly(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// dateAndTime checks the shape of "05.06.1813:12"; the indicator's clock is not ours to judge.
func dateAndTime(b []byte) bool {
	return digitsOnly(b[0:2]) && b[2] == '.' && digitsOnly(b[3:5]) && b[5] == '.' && digitsOnly(b[6:8]) &&
		digitsOnly(b[8:10]) && b[10] == ':' && digitsOnly(b[11:13])
}
