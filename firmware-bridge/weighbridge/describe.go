package weighbridge

import (
	"encoding/hex"
	"strings"

	"steelyard/firmware-bridge/device"
)

// Description is a weight in words, for a fitter's screen and for tests: null where the frame
// said nothing.
type Description struct {
	Valid    bool    `json:"valid"` // a frame was decoded; the checksum, if there is one, held
	Value    *string `json:"value"`
	Unit     string  `json:"unit"`
	Kind     string  `json:"kind"` // gross, net, tare, or empty: the displayed weight
	Stable   *bool   `json:"stable"`
	Range    string  `json:"range"` // ok, over, under, over_or_under, error, or empty
	Tare     *string `json:"tare"`
	TareKind string  `json:"tare_kind"`
	Gross    *string `json:"gross"`
	Zero     *bool   `json:"center_zero"`
	PowerUp  *bool   `json:"power_up"`
	Alibi    string  `json:"alibi"`
	Error    string  `json:"error"`
	Raw      string  `json:"raw"` // hexadecimal
}

// Describe puts a weight into words.
func Describe(w device.Weight) Description {
	d := Description{
		Valid: true, Unit: string(w.Unit), Kind: string(w.Kind), Stable: boolOf(w.Stable),
		Range: strings.ReplaceAll(string(w.Range), "-", "_"), TareKind: string(w.TareKind),
		Zero: boolOf(w.Zero), PowerUp: boolOf(w.PowerUp), Alibi: w.Alibi, Error: w.Error,
		Raw: hex.EncodeToString(w.Raw),
	}
	if w.HasValue {
		d.Value = new(w.Value.String())
	}
	if w.HasTare {
		d.Tare = new(w.Tare.String())
	}
	if w.HasGross {
		d.Gross = new(w.Gross.String())
	}
	return d
}

func boolOf(t device.Tri) *bool {
	switch t {
	case device.Yes:
		return new(true)
	case device.No:
		return new(false)
	}
	return nil
}
