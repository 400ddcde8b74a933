package catalog

import (
	"cmp"
	"reflect"
	"strings"

	"steelyard/firmware-bridge/serial"
	"steelyard/firmware-bridge/weighbridge"
	"steelyard/internal/config"
)

// Output is what one indicator is set to send, as a site's or a gateway's file says it: by the
// name of its model, or by a dialect. After Resolve dialect and options are filled in either way.
type Output struct {
	Indicator string `yaml:"indicator"` // a model of the catalogue; excludes Dialect
	Dialect   string `yaml:"dialect"`   // one of weighbridge.Dialects

	// Options are those of the dialect. Beside a model they are this one instrument's, like its
	// address on a shared line: each that the file gives takes the place of the model's, the layout
	// as a whole.
	Options weighbridge.Options `yaml:"options"`
}

// Resolve takes from the model's file what the site's leaves open: dialect and options, and in line
// the speed and the format. Every mistake is reported below the path that at names. The model is
// nil where a dialect is named; ok is false when a mistake was found.
func (o *Output) Resolve(line *serial.Config, known *Catalog, k *config.Checker, at func(...any) string) (model *Indicator, ok bool) {
	switch named := k.Has(at("dialect")); {
	case k.Has(at("indicator")) && named:
		k.Fault(at("indicator"), "an indicator and a dialect: the indicator's file says the dialect, so remove one of the two")
		return nil, false
	case k.Has(at("indicator")):
		return o.settleModel(line, known, k, at)
	case !named && !k.Has(at("options")):
		k.Fault(at(), "say what the indicator sends: indicator: NAME of its model, or dialect: NAME with options")
		return nil, false
	}
	d, ok := weighbridge.Find(o.Dialect)
	if !ok {
		k.Fault(at("dialect"), "dialect %q is not known: choose one of %s", o.Dialect, dialects())
		return nil, false
	}
	return nil, k.Faults(at("options"), d.Check(o.Options))
}

func (o *Output) settleModel(line *serial.Config, known *Catalog, k *config.Checker, at func(...any) string) (*Indicator, bool) {
	model, err := known.FindIndicator(o.Indicator)
	if err != nil {
		k.Fault(at("indicator"), "%v", err)
		return nil, false
	}
	line.Baud = cmp.Or(line.Baud, model.Line.Baud)
	line.Format = cmp.Or(line.Format, model.Line.Format)
	d, _ := weighbridge.Find(model.Dialect) // checked when its file was read
	o.Dialect = model.Dialect
	// The model's own options are right, so one that is wrong over them is wrong by itself and is
	// reported at its own line; only what is left is a mistake of them together.
	ok := true
	for _, key := range given(k, at) {
		ok = k.Faults(at("options", key), d.Check(o.Options.Over(model.Options, key))) && ok
	}
	merged := o.Options.Over(model.Options, given(k, at)...)
	if ok {
		ok = k.Faults(at("options"), d.Check(merged))
	}
	o.Options = merged
	return model, ok
}

// given lists the options that the file gives, also those that it gives as nothing: "short: false"
// beside a model whose frames are short says something.
func given(k *config.Checker, at func(...any) string) []string {
	var keys []string
	for f := range reflect.TypeFor[weighbridge.Options]().Fields() {
		if key := f.Tag.Get("yaml"); key != "-" && k.Has(at("options", key)) {
			keys = append(keys, key)
		}
	}
	return keys
}

// dialects names all there are.
func dialects() string {
	var names []string
	for _, d := range weighbridge.Dialects() {
		names = append(names, d.Name)
	}
	return strings.Join(names, ", ")
}
