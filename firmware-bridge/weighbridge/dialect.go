// Package weighbridge reads weighing indicators: a [Reader] those of a line, a [Decoder] any bytes.
//
// In: the bytes of a serial line, in whatever pieces they arrive, of one indicator or of several that
// are asked in turn.
// Out: one device.Weight per frame, with the digits as sent and the frame itself as evidence; the
// health of the line; and the requests that make a polled indicator answer.
// It promises that a frame with a wrong checksum, length, digit, unit or address is counted and
// never becomes a weight, that on a shared line an answer is only ever its own indicator's, that a
// format which does not speak of stability, range or kind leaves them unknown, that memory is
// bounded, and that no code path can send a command that zeroes, tares, clears or resets.
// It does not judge stability over time, convert units or know vehicles, and it never guesses a
// dialect: the profile names one and a person confirms it with a known weight. What the bytes of a
// format can't show, it does not see:
//
//   - Without a checksum (the "=" formats, "ww", the comma family, the North American streams, SICS,
//     SMA, 8217, Laumas TX, Toledo with the checksum off) a digit, a point, a unit or a status that the
//     line alters into another one, and the head of an old frame before the tail of a new one.
//   - Under an exclusive or or a sum, which show every single flipped bit: two digits that changed
//     places, two changes that cancel each other, and such a splice when both heads sum alike.
//   - Where the number stands twice (Laumas TD, Systec): the same change to both.
//   - In every format: a replay, and another indicator in place of this one.
//
// Against these stand a rest of several frames, the division and Max, which are judged behind this
// package, and the seal on the cable.
package weighbridge

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"steelyard/internal/unit"
)

// Dialect is one format of one family of indicators.
type Dialect struct {
	Name  string // in profiles: "yaohua-tf0"
	Makes string // who speaks it
	Cites string // where its layout is documented

	// FrameBytes is the length of a usual frame. It sets, with the line's speed, how long a
	// silence may last.
	FrameBytes int

	// Poll is the request that makes the indicator answer; empty for those that send by
	// themselves.
	Poll Request

	// answers is how long an answer may take where the documents say that it may be longer than
	// the Reader's usual time; 0 elsewhere.
	answers time.Duration

	options  []string // names of the options that this dialect uses, beside device and unit
	requests []Request
	encode   func(Request, Options) []byte // only for requests in the list

	// address is the number by which answers name their instrument on a shared line; it gives 0
	// when the options name none. Nil: the format has no place for one.
	address func(Options) int

	build func(Options) (codec, error)
}

// Options adapt a dialect to one instrument. Zero values mean the dialect's default. An option
// that the dialect does not use is a mistake, not a no-op.
type Options struct {
	Device string    `yaml:"-"`    // id put into every frame
	Unit   unit.Unit `yaml:"unit"` // unit of the digits when frames name none

	// Checksum is the variant behind a Toledo frame: mt7, neg8, sum8 or none. There is no
	// automatic choice: a line without a checksum and one with damaged frames look alike.
	Checksum string `yaml:"checksum"`

	// DummyZeros says what Toledo's codes for zeros without digits mean: "sent" (they are among
	// the six characters, the default) or "multiply".
	DummyZeros string `yaml:"dummy_zeros"`

	// NoPoint is for an instrument whose display has no point, in a format that sends one
	// elsewhere. It can't be read off the frames: a lost point would multiply the weight.
	NoPoint bool `yaml:"no_point"`

	Short      bool   `yaml:"short"`      // the Toledo frame without tare, 11 bytes
	Mask       uint8  `yaml:"mask"`       // 0x7F on a 7-bit line that is read with 8 bits, or 0xFF
	Characters int    `yaml:"characters"` // characters after "=": 6, 7 or 8
	Digits     int    `yaml:"digits"`     // digits of the weight where models differ
	Address    int    `yaml:"address"`    // of this instrument on a shared line; 0: the dialect's default
	TareIs     string `yaml:"tare_is"`    // command that reads the tare of a Yaohua indicator, C or D, proven with a known tare
	Layout     Layout `yaml:"layout"`     // of the dialect "generic"

	// Request is the question that makes an indicator with a layout of its own answer, one of a closed
	// list: none that zeroes, tares, clears, prints or stores. Empty: it sends by itself.
	Request Bytes `yaml:"request"`
}

// Over lays those options of o that keys name over a model's. A layout is laid over as a whole.
func (o Options) Over(model Options, keys ...string) Options {
	own, merged := reflect.ValueOf(o), reflect.ValueOf(&model).Elem()
	for i := range merged.NumField() {
		if slices.Contains(keys, merged.Type().Field(i).Tag.Get("yaml")) {
			merged.Field(i).Set(own.Field(i))
		}
	}
	return model
}

// Keys names the options, the unit among them, that are not zero.
func (o Options) Keys() (keys []string) {
	for field, value := range reflect.ValueOf(o).Fields() {
		if key := field.Tag.Get("yaml"); key != "-" && !value.IsZero() {
			keys = append(keys, key)
		}
	}
	return keys
}

// Names of options, for the lists in the dialects.
const (
	optChecksum   = "checksum"
	optDummyZeros = "dummy_zeros"
	optShort      = "short"
	optNoPoint    = "no_point"
	optMask       = "mask"
	optCharacters = "characters"
	optDigits     = "digits"
	optAddress    = "address"
	optTareIs     = "tare_is"
	optLayout     = "layout"
	optRequest    = "request"
)

func (o Options) set() map[string]bool {
	return map[string]bool{
		optChecksum:   o.Checksum != "",
		optDummyZeros: o.DummyZeros != "",
		optShort:      o.Short,
		optNoPoint:    o.NoPoint,
		optMask:       o.Mask != 0,
		optCharacters: o.Characters != 0,
		optDigits:     o.Digits != 0,
		optAddress:    o.Address != 0,
		optTareIs:     o.TareIs != "",
		optRequest:    len(o.Request) > 0,
		optLayout:     o.Layout.Digits != Digits{} || len(o.Layout.Start)+len(o.Layout.End) > 0,
	}
}

// Find returns the dialect of that name.
func Find(name string) (Dialect, bool) {
	for _, d := range Dialects() {
		if d.Name == name {
			return d, true
		}
	}
	return Dialect{}, false
}

// For returns the dialect as an instrument with these options speaks it: a layout is asked only where its
// file says with what.
func (d Dialect) For(o Options) Dialect {
	if len(o.Request) > 0 && slices.Contains(d.options, optRequest) {
		d.Poll, d.requests = ReadWeight, []Request{ReadWeight}
		d.encode = func(_ Request, o Options) []byte { return slices.Clone(o.Request) }
	}
	return d
}

// Addressed reports whether an indicator of this dialect can be asked among others on its line: only
// then, and its answers name it.
func (d Dialect) Addressed() bool { return d.Poll != "" && d.address != nil }

// Check reports every mistake in the options at once.
func (d Dialect) Check(o Options) error {
	_, err := d.codec(o)
	return err
}

func (d Dialect) codec(o Options) (codec, error) {
	if d.build == nil {
		return codec{}, errors.New("weighbridge dialect: none chosen; name one of the list")
	}
	var wrong []error
	for name, set := range o.set() {
		if set && !slices.Contains(d.options, name) {
			wrong = append(wrong, fmt.Errorf("option %s has no meaning here; remove it", name))
		}
	}
	slices.SortFunc(wrong, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	wrong = append(wrong, o.checkValues()...)
	if o.Unit != unit.Unknown {
		if _, ok := usualUnits()[string(o.Unit)]; !ok {
			wrong = append(wrong, fmt.Errorf("unit %.20q: not kg, g, t, lb or oz", o.Unit))
		}
	}
	if err := errors.Join(wrong...); err != nil {
		return codec{}, fmt.Errorf("weighbridge dialect %s: %w", d.Name, err)
	}
	c, err := d.build(o)
	if err != nil {
		return codec{}, fmt.Errorf("weighbridge dialect %s: %w", d.Name, err)
	}
	return c, nil
}

func (o Options) checkValues() []error {
	var wrong []error
	oneOf := func(name, value string, known ...string) {
		if value != "" && !slices.Contains(known, value) {
			wrong = append(wrong, fmt.Errorf("%s %.20q: not one of %q", name, value, known))
		}
	}
	if o.Checksum == "auto" {
		wrong = append(wrong, errors.New("checksum \"auto\": a line without checksum and one with damaged frames look alike; read the indicator's setting and name mt7, neg8, sum8 or none"))
	} else {
		oneOf(optChecksum, o.Checksum, string(mt7), string(neg8), string(sum8), string(noChecksum))
	}
	oneOf(optDummyZeros, o.DummyZeros, "sent", "multiply")
	oneOf(optTareIs, o.TareIs, "C", "D")
	if o.Mask != 0 && o.Mask != 0x7F && o.Mask != 0xFF {
		wrong = append(wrong, fmt.Errorf("mask %#02x: not 0x7f or 0xff", o.Mask))
	}
	if o.Characters != 0 && (o.Characters < 6 || o.Characters > 8) {
		wrong = append(wrong, fmt.Errorf("characters %d: not 6, 7 or 8", o.Characters))
	}
	if o.Digits < 0 || o.Digits > 9 || o.Digits > 0 && o.Digits < 4 {
		wrong = append(wrong, fmt.Errorf("digits %d: not between 4 and 9", o.Digits))
	}
	if len(o.Request) > 0 {
		wrong = append(wrong, CheckRequest(o.Request))
	}
	if o.Address < 0 || o.Address > 99 {
		wrong = append(wrong, fmt.Errorf("address %d: not between 1 and 99", o.Address))
	}
	return wrong
}

// Dialects lists every format this package reads, in one place.
func Dialects() []Dialect {
	return []Dialect{
		{Name: "yaohua-tf0", Makes: "Yaohua XK3190 A9+, A23p, DS3; Keli K9; many clones; continuous, 12 bytes",
			Cites:      "XK3190-A9+ manual p. 11; XK3190-DS3 manual pp. 7-9; XK3190-A23p manual pp. 23-26; Keli XK3118-K9-R manual pp. 9-10",
			FrameBytes: 12, build: buildTF0},
		{Name: "yaohua-eq-rev", Makes: "Yaohua DS3 (tF=2, 3), A26 format 1, A23p continuous 2; \"=\" and reversed digits",
			Cites:      "XK3190-A26 manual p. 11; XK3190-DS3 manual pp. 7-9; XK3190-A23p manual pp. 23-26",
			FrameBytes: 9, options: []string{optCharacters}, build: buildEqualsReversed},
		{Name: "yaohua-eq-fwd", Makes: "Yaohua A26 format 2, A23p continuous 3; \"=\" and forward digits",
			Cites:      "XK3190-A26 manual p. 11; XK3190-A23p manual pp. 23-26",
			FrameBytes: 9, options: []string{optCharacters}, build: buildEqualsForward},
		{Name: "yaohua-cmd", Makes: "Yaohua A9+, A23p, DS3 and Keli K9 in command mode",
			Cites:      "XK3190-A9+ manual p. 11; XK3190-A23p manual p. 24; XK3190-DS3 manual p. 7; Keli XK3118-K9-R manual pp. 9-10",
			FrameBytes: 14, Poll: ReadGross, options: []string{optAddress, optTareIs},
			requests: []Request{Handshake, ReadGross, ReadTare, ReadNet}, encode: encodeYaohua, address: addressOrOne, build: buildYaohuaCommand},
		{Name: "yaohua-a12", Makes: "Yaohua A12(E) bench indicators",
			Cites:      "XK3190-A12(E) manual pp. 12-13",
			FrameBytes: 15, build: layoutOf(a12Layout)},
		{Name: "yaohua-ww", Makes: "Yaohua A12+SS, A12(E) of some countries, Liden LUW2001 format A; axle pads, floor scales",
			Cites:      "Liden LUW2001 manual pp. 16-17",
			FrameBytes: 15, options: []string{optDigits, optNoPoint}, build: buildWW},
		{Name: "mt-cont", Makes: "Mettler Toledo continuous; Fairbanks, Cardinal, KERN, Systec, XK8142",
			Cites:      "Mettler Toledo Wildcat technical manual pp. 40-41; KERN FTC manual; Rockwell 57C428 manual; Cardinal 225 manual p. 126; Fairbanks FB2250 manual",
			FrameBytes: 18, options: []string{optChecksum, optDummyZeros, optShort, optMask}, build: buildToledo},
		{Name: "flintec-cont", Makes: "Flintec FT-11, FT-13, FT-111, FT-112 in Toledo format",
			Cites:      "Flintec FT-111 manual pp. 85-93",
			FrameBytes: 19, options: []string{optChecksum, optDummyZeros, optMask}, build: buildFlintec},
		{Name: "flintec-fast", Makes: "Flintec FT-111 fast continuous",
			Cites:      "Flintec FT-111 manual pp. 85-93",
			FrameBytes: 13, options: []string{optDigits, optNoPoint}, build: buildFlintecFast},
		{Name: "sics", Makes: "Mettler Toledo MT-SICS, OHAUS, many bench scales",
			Cites:      "METTLER AL-IC balance manual; OHAUS 7000 manual pp. 107-109",
			FrameBytes: 19, Poll: ReadWeight, answers: slowSICS,
			requests: []Request{ReadWeight, ReadStable, ReadRepeated, ReadTare}, encode: encodeSICS, build: buildSICS},
		{Name: "sma", Makes: "SMA SCP-0499: Rice Lake, Fairbanks, Sartorius, Minebea, B-TEK",
			Cites:      "SMA SCP-0499; Sartorius PR5220 manual p. 130; B-TEK T419S manual p. 61",
			FrameBytes: 20, Poll: ReadWeight,
			requests: []Request{ReadWeight}, encode: encodeSMA, build: layoutOf(smaLayout)},
		{Name: "rlws", Makes: "Rice Lake stream, Condec, Consolidated Controls",
			Cites:      "Rice Lake 380, 480, 482, 680 and 682 manuals, stream output",
			FrameBytes: 14, build: layoutOf(riceLakeLayout)},
		{Name: "cardinal738", Makes: "Cardinal 738",
			Cites:      "Cardinal 738 stream output, as listed in Rice Lake manuals",
			FrameBytes: 18, options: []string{optNoPoint}, build: buildCardinal},
		{Name: "wi120", Makes: "Avery Weigh-Tronix WI-120, WI-125; B-TEK, Brecknell with 5 digits",
			Cites:      "Weigh-Tronix WI-120 stream output, as listed in Rice Lake manuals; Brecknell RD65 manual",
			FrameBytes: 15, options: []string{optDigits, optNoPoint}, build: buildWI120},
		{Name: "fairbanks10", Makes: "Fairbanks, 10 bytes; stops sending on underload",
			Cites:      "Fairbanks 2800 manual pp. 64, 66",
			FrameBytes: 10, build: layoutOf(fairbanksLayout)},
		{Name: "fairbanks-concon", Makes: "Fairbanks in Consolidated Controls format",
			Cites:      "Fairbanks CONCON output",
			FrameBytes: 10, build: layoutOf(conconLayout)},
		{Name: "toledo8217", Makes: "Toledo 8217 and USB parcel scales",
			Cites:      "Mettler Toledo DIVA manual p. 45; Transcell PC150, Rice Lake BenchPro and Brecknell 67xx manuals; public point-of-sale driver (Odoo)",
			FrameBytes: 8, Poll: ReadWeight, options: []string{optDigits, optMask, optNoPoint},
			requests: []Request{ReadWeight}, encode: encode8217, build: build8217},
		{Name: "and18", Makes: "A&D AD-4402, AD-4406, AD-4410, AD-4329A; Jinzhong XK3102 and many Asian indicators",
			Cites:      "A&D AD-4402 manual p. 82; A&D AD-4410 manual p. 58; A&D AD-4406 manual pp. 47-48; A&D AD-4329A manual",
			FrameBytes: 18, options: []string{optMask}, build: buildAnD},
		{Name: "cas22", Makes: "CAS CI-400, CI-600D, NT-200; needs a line of 8 bits",
			Cites:      "CAS CI-400, CI-600D and NT-200 manuals",
			FrameBytes: 22, build: layoutOf(casLayout)},
		{Name: "ohaus3000", Makes: "OHAUS Defender 3000",
			Cites:      "OHAUS Defender 3000 manual p. 37",
			FrameBytes: 21, build: layoutOf(ohausLayout)},
		{Name: "dini-short", Makes: "Dini Argeo, short string",
			Cites:      "Dini Argeo DGT4X manual pp. 11-58; DGT1P manual p. 45; 3590 manual pp. 65-81; LTP manual p. 43",
			FrameBytes: 19, Poll: ReadWeight, options: []string{optAddress},
			requests: []Request{ReadWeight, Store}, encode: encodeDini("READ"), address: addressAsSet, build: buildDiniShort},
		{Name: "dini-ext", Makes: "Dini Argeo, extended string with tare",
			Cites:      "Dini Argeo DGT4X manual pp. 11-58; DGT1P manual p. 45; 3590 manual pp. 65-81; LTP manual p. 43",
			FrameBytes: 43, Poll: ReadWeight, options: []string{optAddress},
			requests: []Request{ReadWeight, Store}, encode: encodeDini("REXT"), address: addressAsSet, build: buildDiniExtended},
		{Name: "dini-pid", Makes: "Dini Argeo with alibi memory, answers to registered weighing",
			Cites:      "Dini Argeo DGT4X manual pp. 11-58; DGT1P manual p. 45; 3590 manual pp. 65-81; LTP manual p. 43; command PID",
			FrameBytes: 50, options: []string{optAddress},
			requests: []Request{Store}, encode: encodeDini(diniStored), address: addressAsSet, build: buildDiniStored},
		{Name: "laumas-ascii", Makes: "Laumas TLB, TLU, W100, WLIGHT, LCB on request",
			Cites:      "Laumas TLU manual pp. 31, 34; Laumas LCB manual pp. 8, 62, 74",
			FrameBytes: 15, Poll: ReadGross, options: []string{optAddress},
			requests: []Request{ReadGross, ReadNet}, encode: encodeLaumas, address: addressOrOne, build: buildLaumas},
		{Name: "laumas-tx", Makes: "Laumas continuous, 6 characters",
			Cites:      "Laumas WLIGHT manual p. 29",
			FrameBytes: 8, build: layoutOf(laumasTXLayout)},
		{Name: "laumas-td", Makes: "Laumas continuous, the gross twice",
			Cites:      "Laumas WLIGHT manual p. 29",
			FrameBytes: 19, build: layoutOf(laumasTDLayout)},
		{Name: "laumas-rip", Makes: "Laumas remote display, net and gross",
			Cites:      "Laumas TLU manual p. 26",
			FrameBytes: 19, build: layoutOf(laumasRemoteLayout)},
		{Name: "systec-rn", Makes: "Systec IT, answers to registered weighing",
			Cites:      "Systec IT manual, command RN",
			FrameBytes: 64, requests: []Request{Store}, encode: encodeSystec, build: buildSystec},
		{Name: "generic", Makes: "any indicator whose frame a layout can describe",
			Cites:      "the maker's manual, named in the device file",
			FrameBytes: 24, options: []string{optLayout, optRequest}, build: func(o Options) (codec, error) { return o.Layout.compile(o.Unit) }},
	}
}

func layoutOf(layout func() Layout) func(Options) (codec, error) {
	return func(o Options) (codec, error) { return layout().compile(o.Unit) }
}

// addressOrOne is for instruments that leave the factory with the address 1 and always use one.
func addressOrOne(o Options) int { return max(1, o.Address) }

// addressAsSet is for those that use an address only when they are told.
func addressAsSet(o Options) int { return o.Address }
