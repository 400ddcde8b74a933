package weighbridge

import (
	"bytes"
	"time"

	"steelyard/firmware-bridge/device"
	"steelyard/internal/unit"
)

// buildSICS reads the answers of MT-SICS: "S", status, 10 characters, unit; or a status alone; or
// an error. The answer does not say gross or net: it is the displayed weight.
func buildSICS(o Options) (codec, error) {
	end, units := crlf(), usualUnits()
	return codec{
		take: func(b []byte, _ bool) (int, verdict) { return takeLine(b, end) },
		decode: func(b []byte, w *device.Weight) Refusal {
			return readSICS(b[:len(b)-len(end)], o.Unit, units, w)
		},
	}, nil
}

// An answer to SI may take more than a second (EPICS driver mp49/mettlerToledo). Asked again before
// it came, a balance would answer ever later.
const slowSICS = 2 * time.Second

const sicsUnitAt = 15 // behind "S S ", 10 characters and a blank

func readSICS(line []byte, fallback unit.Unit, units map[string]string, w *device.Weight) Refusal {
	w.Unit = fallback
	if said, ok := sicsError(line); ok {
		w.Error = said
		return accepted
	}
	switch string(line) {
	case "S +":
		w.Range = device.Over
		return accepted
	case "S -":
		w.Range = device.Under
		return accepted
	}
	if len(line) <= sicsUnitAt || line[0] != 'S' || line[1] != ' ' || line[3] != ' ' || line[sicsUnitAt-1] != ' ' {
		return badLength
	}
	switch line[2] {
	case 'S':
		w.Stable = device.Yes
	case 'D':
		w.Stable = device.No
	default:
		return badStatus
	}
	d, state := parseNumber(line[4:14], numberFormat{point: true, sign: true, padded: true})
	name, known := units[string(bytes.TrimRight(line[sicsUnitAt:], " "))]
	switch {
	case state == unreadable:
		return badDigits
	case !known:
		return badUnit
	}
	if state != number { // blanks or dashes
		w.Unit = unit.Unit(name)
		return accepted
	}
	w.Value, w.HasValue, w.Unit, w.Range = d, true, unit.Unit(name), device.RangeOK
	return accepted
}

func sicsError(line []byte) (string, bool) {
	switch string(line) {
	case "ES":
		return "syntax", true
	case "ET":
		return "transmission", true
	case "EL":
		return "logical", true
	case "S I":
		return "not executable now", true
	}
	return "", false
}
