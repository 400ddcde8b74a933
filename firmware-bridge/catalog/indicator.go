package catalog

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/modbus"
	"steelyard/firmware-bridge/serial"
	"steelyard/firmware-bridge/weighbridge"
	"steelyard/internal/config"
	"steelyard/internal/unit"
)

// Indicator describes one model of weighing indicator in one setting of its serial output. Like a
// profile it holds no fact of a site and is never changed after it was read.
type Indicator struct {
	Name    string              `yaml:"indicator"` // slug: "yaohua-xk3190-a9"
	Maker   string              `yaml:"maker"`     // as on the plate
	Model   string              `yaml:"model"`     // the models and the setting that this file is for
	Status  string              `yaml:"status"`    // manual: from paper only; bench: seen on a table; field: seen on a site
	Notes   string              `yaml:"notes"`     // how the indicator is set, and what a fitter must know before trusting it
	Sources []modbus.Source     `yaml:"sources"`   // where each fact was read
	Dialect string              `yaml:"dialect"`   // one of weighbridge.Dialects
	Options weighbridge.Options `yaml:"options"`   // how this model speaks it; the unit is not among them
	Line    Line                `yaml:"line"`      // what the maker's documents name as default
	Unit    unit.Unit           `yaml:"unit"`      // of the display, where frames name none and the model has but one
	Tests   []Frame             `yaml:"tests"`     // frames and what they mean, checked at each load
}

// Line is the setting that the indicator leaves the factory with. Zero values: the documents do not
// say, so the fitter reads it on the indicator.
type Line struct {
	Baud   int    `yaml:"baud"`   // bits a second
	Format string `yaml:"format"` // "8N1", "7E1"
}

// Frame is a frame of a manual or of a capture and what it says.
type Frame struct {
	Frame string `yaml:"frame"` // hexadecimal, as it is on the line

	// Expect is a key of weighbridge.Description and its value as text: "12340", "gross", "yes",
	// "no", or "none" where the frame says nothing. {valid: no} alone is for a frame that must be
	// refused.
	Expect map[string]string `yaml:"expect"`
}

// Bytes of the frame. Blanks between the pairs are free.
func (f Frame) Bytes() ([]byte, error) {
	b, err := hex.DecodeString(strings.Join(strings.Fields(f.Frame), ""))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%.40q is not hexadecimal: write pairs, as in \"02 2B 30\"", f.Frame)
	case len(b) == 0 || len(b) > weighbridge.MaxFrame:
		return nil, fmt.Errorf("%d bytes: a frame has 1 to %d", len(b), weighbridge.MaxFrame)
	}
	return b, nil
}

// Refused reports that the frame is a damaged one, which must not be read.
func (f Frame) Refused() bool { return f.Expect["valid"] == "no" }

// Compare returns what the weight says otherwise than expected, in words; nothing when it agrees.
func (f Frame) Compare(w device.Weight) []string {
	said := describe(w)
	var wrong []string
	for _, key := range slices.Sorted(maps.Keys(f.Expect)) {
		if got, known := said[key]; !known {
			wrong = append(wrong, fmt.Sprintf("%.40q: a frame can't say that; it says %s", key, strings.Join(slices.Sorted(maps.Keys(said)), ", ")))
		} else if want := f.Expect[key]; got != want {
			wrong = append(wrong, fmt.Sprintf("%s reads %q, expected %q", key, got, want))
		}
	}
	return wrong
}

// describe is a description with every value as text.
func describe(w device.Weight) map[string]string {
	said := map[string]string{}
	var all map[string]any
	text, err := json.Marshal(weighbridge.Describe(w))
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil {
		panic("catalog: a description is not JSON: " + err.Error())
	}
	for key, value := range all {
		switch value := value.(type) {
		case string:
			said[key] = value
		case bool:
			said[key] = map[bool]string{true: "yes", false: "no"}[value]
		}
		if said[key] == "" {
			said[key] = "none"
		}
	}
	delete(said, "raw")
	return said
}

// Speaks returns the dialect and its options, the unit included, as a decoder takes them.
func (i *Indicator) Speaks() (weighbridge.Dialect, weighbridge.Options) {
	d, _ := weighbridge.Find(i.Dialect) // checked when the file was read
	o := i.Options
	o.Unit = i.Unit
	return d.For(o), o
}

func loadIndicator(name string, data []byte) (*Indicator, error) {
	i := new(Indicator)
	if err := config.Load(name, data, i, i.check); err != nil {
		return nil, err
	}
	return i, nil
}

var slug = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,47}$`)

// check reports every mistake. The frames are run only when the dialect is sure.
func (i *Indicator) check(k *config.Checker) {
	if !slug.MatchString(i.Name) {
		k.Fault("indicator", "%.60q is no name: lower-case letters, digits and dashes", i.Name)
	}
	for key, value := range map[string]string{"maker": i.Maker, "model": i.Model} {
		if value == "" {
			k.Fault(key, "is missing: write it as on the plate")
		}
	}
	if !slices.Contains([]string{"manual", "bench", "field"}, i.Status) {
		k.Fault("status", "%.40q is none of manual, bench, field", i.Status)
	}
	if len(i.Sources) == 0 {
		k.Fault("sources", "a format without a source cannot be trusted: name the document")
	}
	for n, s := range i.Sources {
		if s.Doc == "" {
			k.Fault(config.Path("sources", n, "doc"), "is missing")
		}
	}
	// The port is the site's; any will do to check the rest.
	k.Faults("line", serial.Config{Port: "/dev/null", Baud: i.Line.Baud, Format: i.Line.Format}.Check())
	if i.Unit != unit.Unknown && i.Unit != unit.KG && i.Unit != unit.T && i.Unit != unit.G {
		k.Fault("unit", "unit %.20q: say kg, t or g, or leave it out", i.Unit)
		i.Unit = unit.Unknown
	}
	if len(i.Tests) == 0 {
		k.Fault("tests", "a format without a frame is not proven: give one with what it means")
	}
	i.checkDialect(k)
}

func (i *Indicator) checkDialect(k *config.Checker) {
	d, ok := weighbridge.Find(i.Dialect)
	if !ok {
		k.Fault("dialect", "dialect %.40q is not known: choose one of %s", i.Dialect, dialects())
		return
	}
	if i.Options.Unit != unit.Unknown {
		k.Fault("options.unit", "say the unit once, as unit: %.20s beside options", i.Options.Unit)
	}
	o := i.Options
	o.Unit = i.Unit
	if !k.Faults("options", d.Check(o)) {
		return
	}
	for n, f := range i.Tests {
		f.check(k, n, d, o)
	}
}

// check runs the frame through the decoder, which must take all of it or, where it must be
// refused, nothing.
func (f Frame) check(k *config.Checker, n int, d weighbridge.Dialect, o weighbridge.Options) {
	b, err := f.Bytes()
	if err != nil {
		k.Fault(config.Path("tests", n, "frame"), "%v", err)
		return
	}
	expect := config.Path("tests", n, "expect")
	if len(f.Expect) == 0 {
		k.Fault(expect, "expects nothing")
		return
	}
	var all []device.Weight
	decoder := weighbridge.NewDecoder(d, o)
	keep := func(w device.Weight) {
		w.Raw = slices.Clone(w.Raw)
		all = append(all, w)
	}
	decoder.Write(time.Time{}, b, keep)
	decoder.Flush(keep)
	switch {
	case f.Refused() && len(f.Expect) > 1:
		k.Fault(expect, "a frame that must be refused says nothing else: keep valid: no alone")
	case f.Refused() && len(all) > 0:
		k.Fault(expect, "the frame must be refused, and is read as %s", strconv.Quote(describe(all[0])["value"]))
	case f.Refused():
	case len(all) != 1 || !slices.Equal(all[0].Raw, b):
		why := ""
		if refused := decoder.EverRefused(); refused.Times > 0 {
			why = ": " + refused.String()
		}
		k.Fault(config.Path("tests", n, "frame"), "is not one whole frame of dialect %s: %d found in %d bytes%s", d.Name, len(all), len(b), why)
	default:
		for _, wrong := range f.Compare(all[0]) {
			k.Fault(expect, "%s", wrong)
		}
	}
}
