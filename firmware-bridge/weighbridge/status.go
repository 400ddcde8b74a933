package weighbridge

import (
	"fmt"
	"slices"
	"strings"

	"steelyard/firmware-bridge/device"
	"steelyard/internal/unit"
)

// status is a set of statements that one frame makes. A frame collects them from all its fields
// and applies them once, so that the order of the fields in a layout can't matter.
type status uint32

const (
	stable status = 1 << iota
	unstable
	inRange
	over
	under
	overOrUnder
	faulty
	gross
	net
	tare
	zero
	notZero
	powerUp
	notPowerUp
	negative
	presetTare
	measuredTare
	kilograms
	pounds
	grams
	tonnes
	ounces
	foreignUnit // a unit that is named but is none of ours: no weight can be made of the digits
	expanded
	reject
)

// The words for statuses in a layout file.
func statusWords() map[string]status {
	return map[string]status{
		"stable": stable, "unstable": unstable,
		"ok": inRange, "over": over, "under": under, "over-or-under": overOrUnder, "error": faulty,
		"gross": gross, "net": net, "tare": tare,
		"zero": zero, "not-zero": notZero, "power-up": powerUp, "not-power-up": notPowerUp,
		"negative": negative, "preset-tare": presetTare, "measured-tare": measuredTare,
		"kg": kilograms, "lb": pounds, "g": grams, "t": tonnes, "oz": ounces, "foreign-unit": foreignUnit,
		"expanded": expanded, "reject": reject,
	}
}

// parseStatus reads words separated by blanks. No word at all means nothing, which is allowed:
// a comma has to be there and says nothing.
func parseStatus(text string) (status, error) {
	words := statusWords()
	var all status
	for word := range strings.FieldsSeq(text) {
		m, ok := words[word]
		if !ok {
			known := make([]string, 0, len(words))
			for w := range words {
				known = append(known, w)
			}
			slices.Sort(known)
			return 0, fmt.Errorf("status %.40q: not one of %s", word, strings.Join(known, ", "))
		}
		all |= m
	}
	return all, nil
}

// outOfRange are the statuses under which the digits say nothing.
const outOfRange = over | under | overOrUnder | faulty | expanded

// kinds are the statuses that say which weight the digits are. A frame that says two of them is no weight.
const kinds = gross | net | tare

// apply writes the statements into w. Where two contradict each other the careful one holds:
// unstable beats stable, an error beats ok.
func (m status) apply(w *device.Weight) {
	switch {
	case m&unstable != 0:
		w.Stable = device.No
	case m&stable != 0:
		w.Stable = device.Yes
	}
	switch {
	case m&(faulty|expanded) != 0:
		w.Range = device.RangeError
	case m&overOrUnder != 0, m&over != 0 && m&under != 0:
		w.Range = device.OverOrUnder
	case m&over != 0:
		w.Range = device.Over
	case m&under != 0:
		w.Range = device.Under
	case m&inRange != 0:
		w.Range = device.RangeOK
	}
	switch m & kinds {
	case gross:
		w.Kind = device.Gross
	case net:
		w.Kind = device.Net
	case tare:
		w.Kind = device.Tare
	}
	switch {
	case m&zero != 0:
		w.Zero = device.Yes
	case m&notZero != 0:
		w.Zero = device.No
	}
	switch {
	case m&powerUp != 0:
		w.PowerUp = device.Yes
	case m&notPowerUp != 0:
		w.PowerUp = device.No
	}
	switch {
	case m&presetTare != 0:
		w.TareKind = device.TarePreset
	case m&measuredTare != 0:
		w.TareKind = device.TareMeasured
	}
	switch {
	case m&foreignUnit != 0:
		w.Unit = unit.Unknown
	case m&grams != 0:
		w.Unit = unit.G
	case m&tonnes != 0:
		w.Unit = unit.T
	case m&ounces != 0:
		w.Unit = unit.OZ
	case m&kilograms != 0:
		w.Unit = unit.KG
	case m&pounds != 0:
		w.Unit = unit.LB
	}
	if m&expanded != 0 && w.Error == "" {
		w.Error = "expanded display: end it on the indicator"
	}
}
