package bench

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"steelyard/firmware-bridge/catalog"
	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/weighbridge"
	"steelyard/internal/config"
	"steelyard/internal/unit"
)

// dialectFlags are the options of a dialect on the command line, in the words of edge.yaml.
type dialectFlags struct {
	o    weighbridge.Options
	file string
	unit string
	mask int
}

func (c invocation) dialectFlags() *dialectFlags {
	d := new(dialectFlags)
	c.flags.StringVar(&d.o.Checksum, "checksum", "", "Toledo: mt7, neg8, sum8 or none")
	c.flags.StringVar(&d.o.DummyZeros, "dummy-zeros", "", "Toledo: sent or multiply")
	c.flags.BoolVar(&d.o.NoPoint, "no-point", false, "the display has no point where the format usually sends one")
	c.flags.BoolVar(&d.o.Short, "short", false, "Toledo: the frame without tare")
	c.flags.IntVar(&d.mask, "mask", 0, "bits of a character that count: 0x7F or 0xFF")
	c.flags.IntVar(&d.o.Characters, "characters", 0, "characters after \"=\": 6, 7 or 8")
	c.flags.IntVar(&d.o.Digits, "digits", 0, "digits of the weight")
	c.flags.IntVar(&d.o.Address, "address", 0, "address of the indicator on a shared line")
	c.flags.StringVar(&d.o.TareIs, "tare-is", "", "Yaohua: the command that reads the tare, C or D")
	c.flags.StringVar(&d.unit, "unit", "", "unit of the display when frames name none: kg, t, g, lb, oz")
	c.flags.StringVar(&d.file, "options", "", "a YAML file with the options, as below options: in edge.yaml; needed for a layout")
	return d
}

// optionFlags are the names of those flags, without -unit.
func optionFlags() []string {
	return []string{"checksum", "dummy-zeros", "no-point", "short", "mask", "characters", "digits", "address", "tare-is", "options"}
}

// options are those of the file with the flags over them. given is false when nothing was said.
func (d *dialectFlags) options() (o weighbridge.Options, given bool, err error) {
	if d.file != "" {
		data, err := config.ReadFile(d.file)
		if err != nil {
			return o, false, err
		}
		if err := config.Load(d.file, data, &o, nil); err != nil {
			return o, false, err
		}
	}
	o = d.o.Over(o, d.o.Keys()...)
	if d.mask < 0 || d.mask > 0xFF {
		return o, false, wrongCall("", "mask %#x: not 0x7F or 0xFF", d.mask)
	}
	if d.mask != 0 {
		o.Mask = uint8(d.mask)
	}
	given = d.file != "" || describeOptions(o) != ""
	if d.unit != "" {
		o.Unit = unit.Unit(d.unit)
	}
	return o, given, nil
}

// chosenDialect is what an indicator sends.
type chosenDialect struct {
	dialect weighbridge.Dialect
	options weighbridge.Options
	given   bool               // somebody said the options, so no other variant is tried
	model   *catalog.Indicator // nil: a dialect was named
}

// speaks takes it from a model of the catalogue or from the flags.
func (c invocation) speaks(dialect, indicator string, flags *dialectFlags) (s chosenDialect, err error) {
	if s.options, s.given, err = flags.options(); err != nil {
		return s, err
	}
	switch {
	case indicator == "":
		s.dialect, err = findDialect(dialect)
	default:
		if s.model, err = c.indicator(indicator); err != nil {
			break
		}
		own := s.options
		s.dialect, s.options = s.model.Speaks()
		s.options, s.given = own.Over(s.options, own.Keys()...), true
	}
	if err == nil {
		err = s.dialect.Check(s.options)
	}
	s.dialect = s.dialect.For(s.options)
	return s, err
}

// findDialect names all there are when the name is wrong.
func findDialect(name string) (weighbridge.Dialect, error) {
	if d, ok := weighbridge.Find(name); ok {
		return d, nil
	}
	var names []string
	for _, d := range weighbridge.Dialects() {
		names = append(names, d.Name)
	}
	return weighbridge.Dialect{}, wrongCall("", "dialect %.40q: not one of %s", name, strings.Join(names, ", "))
}

// describeOptions writes options as edge.yaml does, without the braces: "checksum: none". The
// layout and the unit are not among them.
func describeOptions(o weighbridge.Options) string {
	var said []string
	add := func(is bool, key, value string) {
		if is {
			said = append(said, key+": "+value)
		}
	}
	add(o.Checksum != "", "checksum", o.Checksum)
	add(o.DummyZeros != "", "dummy_zeros", o.DummyZeros)
	add(o.NoPoint, "no_point", "true")
	add(o.Short, "short", "true")
	add(o.Mask != 0, "mask", fmt.Sprintf("0x%02X", o.Mask))
	add(o.Characters != 0, "characters", strconv.Itoa(o.Characters))
	add(o.Digits != 0, "digits", strconv.Itoa(o.Digits))
	add(o.Address != 0, "address", strconv.Itoa(o.Address))
	add(o.TareIs != "", "tare_is", o.TareIs)
	return strings.Join(said, ", ")
}

// variants are the forms in which makers send a dialect, the usual one first. Only Check knows
// which options a dialect has, so it is asked. A layout cannot be guessed, and the meaning of a
// tare command cannot be seen.
func variants(d weighbridge.Dialect) []weighbridge.Options {
	all := []weighbridge.Options{{}}
	spread := func(change ...func(*weighbridge.Options)) {
		base := slices.Clone(all)
		for _, c := range change {
			for _, o := range base {
				if c(&o); d.Check(o) == nil {
					all = append(all, o)
				}
			}
		}
	}
	spread(
		func(o *weighbridge.Options) { o.Checksum = "mt7" },
		func(o *weighbridge.Options) { o.Checksum = "neg8" },
		func(o *weighbridge.Options) { o.Checksum = "sum8" },
		func(o *weighbridge.Options) { o.Checksum = "none" })
	spread(func(o *weighbridge.Options) { o.Short = true })
	spread(func(o *weighbridge.Options) { o.NoPoint = true })
	for n := 4; n <= 9; n++ {
		spread(func(o *weighbridge.Options) {
			if o.Digits == 0 {
				o.Digits = n
			}
		})
	}
	spread(func(o *weighbridge.Options) { o.Characters = 6 }, func(o *weighbridge.Options) { o.Characters = 7 })
	spread(func(o *weighbridge.Options) { o.Mask = 0x7F })
	var addresses []func(*weighbridge.Options)
	for n := 1; n <= 32; n++ {
		addresses = append(addresses, func(o *weighbridge.Options) { o.Address = n })
	}
	spread(addresses...)
	var different []weighbridge.Options
	seen := map[string]bool{}
	for _, o := range all {
		if said := describeOptions(o); d.Check(o) == nil && !seen[said] {
			seen[said] = true
			different = append(different, o)
		}
	}
	return different
}

// frames decodes one piece of a line as a whole and returns its weights, each with its own bytes.
func frames(d weighbridge.Dialect, o weighbridge.Options, at time.Time, pieces ...[]byte) ([]device.Weight, weighbridge.Stats) {
	all, decoder := decoded(d, o, at, pieces...)
	return all, decoder.Stats()
}

// decoded is frames with the decoder, which knows what it has refused.
func decoded(d weighbridge.Dialect, o weighbridge.Options, at time.Time, pieces ...[]byte) (all []device.Weight, _ *weighbridge.Decoder) {
	keep := func(w device.Weight) {
		w.Raw = bytes.Clone(w.Raw)
		all = append(all, w)
	}
	decoder := weighbridge.NewDecoder(d, o)
	for _, p := range pieces {
		decoder.Write(at, p, keep)
	}
	decoder.Flush(keep)
	return all, decoder
}

// requestOf names the request that the bytes are, if they are one that this dialect sends.
func requestOf(d weighbridge.Dialect, b []byte) (weighbridge.Request, bool) {
	for _, r := range d.Requests() {
		for address := range 100 {
			for _, tareIs := range []string{"", "C"} {
				frame, err := d.Encode(r, weighbridge.Options{Address: address, TareIs: tareIs})
				if err == nil && bytes.Equal(frame, b) {
					return r, true
				}
			}
		}
	}
	return "", false
}
