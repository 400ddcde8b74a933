package site

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"steelyard/firmware-bridge/catalog"
	"steelyard/firmware-bridge/serial"
	"steelyard/firmware-bridge/weighbridge"
	"steelyard/internal/unit"
)

// Weighbridge is one indicator on a serial line.
type Weighbridge struct {
	Device string `yaml:"device"`
	Names  `yaml:",inline"`
	Line   serial.Config `yaml:"line"` // speed and format may be left out where the model's file has them

	catalog.Output `yaml:",inline"` // what the indicator sends: its model, or dialect and options

	Unit           unit.Unit     `yaml:"unit"`            // of the display, where neither the dialect nor the model's file says it
	Division       unit.Mass     `yaml:"division"`        // e of the type plate
	Min            unit.Mass     `yaml:"min"`             // Min of the type plate; 20 e when left out
	Max            unit.Mass     `yaml:"max"`             // Max of the type plate
	Window         time.Duration `yaml:"window"`          // rest needed where the indicator has no stability flag; 2 s
	StoreWeighings bool          `yaml:"store_weighings"` // the indicator has an alibi memory: it is told to store each weighing, and its stored weight is the one that counts
}

const (
	defaultWindow = 2 * time.Second
	leastWindow   = 500 * time.Millisecond
	mostWindow    = 30 * time.Second
	minDivisions  = 20 // Min = 20 e on class III instruments (NAWI Annex I; OIML R 76)
)

func (w *Weighbridge) check(k checking, at place) {
	k.device(w.Device, at("device"))
	w.Names.check(k, at)
	w.speak(k, at)
	if k.Faults(at("line"), w.Line.Check()) {
		k.claim(claim{w, at})
	}
	if w.Unit != unit.KG && w.Unit != unit.T && w.Unit != unit.G {
		k.Fault(at("unit"), "unit %q: say kg, t or g, as on the display", w.Unit)
	}
	if w.Division <= 0 {
		k.Fault(at("division"), "give the division e of the type plate, like 20 kg")
	}
	if w.Min == 0 {
		w.Min = minDivisions * w.Division
	}
	if w.Max <= w.Min || w.Min < 0 {
		k.Fault(at("max"), "capacity %s is not above the minimum %s", w.Max, w.Min)
	}
	if w.Window == 0 {
		w.Window = defaultWindow
	}
	if w.Window < leastWindow || w.Window > mostWindow {
		k.Fault(at("window"), "a weight must rest for %v to %v, not %v", leastWindow, mostWindow, w.Window)
	}
}

// speak settles what the indicator sends.
func (w *Weighbridge) speak(k checking, at place) {
	// A unit among the options would be in every frame and outvote the one of the display.
	if w.Options.Unit != unit.Unknown {
		k.Fault(at("options", "unit"), "say the unit once, as unit: %.20s beside options", w.Options.Unit)
		w.Options.Unit = unit.Unknown
	}
	model, ok := w.Resolve(&w.Line, k.known, k.Checker, at)
	switch {
	case model != nil:
		w.Unit = cmp.Or(w.Unit, model.Unit)
	case !ok && k.Has(at("indicator")):
		w.Unit = cmp.Or(w.Unit, unit.KG) // its file might have said it: one mistake is enough
	}
	d, known := weighbridge.Find(w.Dialect)
	d = d.For(w.Options)
	switch {
	case !known:
	case d.Poll == "" && len(d.Requests()) > 0:
		key := "dialect"
		if model != nil {
			key = "indicator"
		}
		k.Fault(at(key), "an indicator in %s says nothing but the answer to a weighing that it is told to store, and without a live weight nothing here tells when: "+
			"let it send its weight continuously or answer a question, and name that dialect; %s store weighings too, with store_weighings: true", d.Name, strings.Join(storing(), ", "))
	case w.StoreWeighings && !slices.Contains(d.Requests(), weighbridge.Store):
		k.Fault(at("store_weighings"), "dialect %s knows no command that stores a weighing: leave store_weighings out, or set the indicator to one of %s", d.Name, strings.Join(storing(), ", "))
	}
}

// storing names the dialects that show a live weight and store one when they are told to.
func storing() (names []string) {
	for _, d := range weighbridge.Dialects() {
		if d.Poll != "" && slices.Contains(d.Requests(), weighbridge.Store) {
			names = append(names, d.Name)
		}
	}
	return names
}
