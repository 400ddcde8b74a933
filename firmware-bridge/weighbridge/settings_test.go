package weighbridge_test

import (
	"maps"
	"slices"
	"testing"

	"steelyard/firmware-bridge/weighbridge"
	"steelyard/internal/unit"
)

// settings lists every combination of options that a dialect takes, the given one first. Which
// options it has is asked of the dialect itself, so a new one is fuzzed without a change here.
func settings(t testing.TB, name string, first weighbridge.Options) []weighbridge.Options {
	t.Helper()
	type change = func(*weighbridge.Options)
	var axes [][]change
	for _, axis := range [][]change{
		each(func(o *weighbridge.Options, v unit.Unit) { o.Unit = v }, unit.KG, unit.T, unit.G, unit.LB, unit.OZ),
		each(func(o *weighbridge.Options, v string) { o.Checksum = v }, "mt7", "neg8", "sum8", "none"),
		each(func(o *weighbridge.Options, v string) { o.DummyZeros = v }, "sent", "multiply"),
		each(func(o *weighbridge.Options, v bool) { o.NoPoint = v }, true),
		each(func(o *weighbridge.Options, v bool) { o.Short = v }, true),
		each(func(o *weighbridge.Options, v uint8) { o.Mask = v }, 0x7F, 0xFF),
		each(func(o *weighbridge.Options, v int) { o.Characters = v }, 6, 7, 8),
		each(func(o *weighbridge.Options, v int) { o.Digits = v }, 4, 5, 6, 7, 8, 9),
		each(func(o *weighbridge.Options, v int) { o.Address = v }, 1, 2, 7, 10, 26, 99),
		each(func(o *weighbridge.Options, v string) { o.TareIs = v }, "C", "D"),
	} {
		axes = append(axes, slices.DeleteFunc(axis, func(c change) bool {
			o := first
			c(&o)
			return dialect(t, name).Check(o) != nil
		}))
	}
	all := []weighbridge.Options{first}
	for _, axis := range axes {
		for _, o := range slices.Clone(all) {
			for _, c := range axis {
				changed := o
				c(&changed)
				if dialect(t, name).Check(changed) == nil {
					all = append(all, changed)
				}
			}
		}
	}
	return all
}

func each[V any](set func(*weighbridge.Options, V), values ...V) (axis []func(*weighbridge.Options)) {
	for _, v := range values {
		axis = append(axis, func(o *weighbridge.Options) { set(o, v) })
	}
	return axis
}

// The fuzzer would say nothing about an option that no setting has.
func TestSettingsCoverEveryOption(t *testing.T) {
	counts := map[string]int{}
	for _, d := range weighbridge.Dialects() {
		first := weighbridge.Options{}
		if d.Name == "generic" {
			first.Layout = tf0()
		}
		counts[d.Name] = len(settings(t, d.Name, first))
	}
	for name, want := range map[string]int{
		"yaohua-tf0": 6, "yaohua-eq-rev": 6 * 4, "yaohua-cmd": 6 * 6 * 3, "yaohua-ww": 6 * 7 * 2, "mt-cont": 6 * 5 * 3 * 2 * 3,
		"flintec-cont": 6 * 5 * 3 * 3, "flintec-fast": 6 * 7 * 2, "wi120": 6 * 4 * 2, "toledo8217": 6 * 7 * 3 * 2, "and18": 6 * 3,
		"dini-pid": 6 * 7, "laumas-ascii": 6 * 7, "generic": 6,
	} {
		if counts[name] != want {
			t.Errorf("%s has %d settings, want %d", name, counts[name], want)
		}
	}
}

// template is a layout to begin with, and the dialect whose vectors it reads.
type template struct {
	like   string
	layout weighbridge.Layout
}

func templates() []template {
	bytesOf := func(s string) weighbridge.Bytes { return weighbridge.Bytes(s) }
	span := func(from, to int) weighbridge.Span { return weighbridge.Span{From: from, To: to} }
	return []template{
		{"yaohua-tf0", tf0()}, {"mt-cont", toledo()}, {"and18", comma()},
		{"yaohua-eq-fwd", weighbridge.Layout{Start: bytesOf("="), Length: 9, NextStartEnds: true,
			Digits: weighbridge.Digits{Span: span(3, 9), Point: true}, Sign: weighbridge.Sign{At: 2, Plus: "0", Minus: "-"}}},
		{"flintec-fast", weighbridge.Layout{Start: bytesOf("\x02"), End: bytesOf("\r\n"),
			Codes:  []weighbridge.Code{{At: 2, Is: map[string]string{"S": "stable ok", "D": "unstable ok", "+": "over", "-": "under"}}},
			Digits: weighbridge.Digits{Span: span(3, -3), Signed: true, Pointed: true, Count: 8}}},
		{"laumas-rip", weighbridge.Layout{Start: bytesOf("&N"), End: bytesOf("\r"), Length: 19, Means: "net",
			Checksum: weighbridge.Checksum{Kind: "xor", From: 2, To: 15, At: 17, Encoding: "hex"},
			Digits:   weighbridge.Digits{Span: span(3, 8), Signed: true, Padded: true},
			Gross:    weighbridge.Digits{Span: span(10, 15), Signed: true, Padded: true},
			Texts:    map[string]string{"O-L": "over"}}},
		{"laumas-tx", weighbridge.Layout{End: bytesOf("\r\n"), Digits: weighbridge.Digits{Span: span(1, -3), Signed: true, Padded: true}}},
		{"wi120", weighbridge.Layout{Start: bytesOf(" "), End: bytesOf("\r\n"), Length: 14, OrLength: 15,
			Digits: weighbridge.Digits{Span: span(4, -6), Point: true, Padded: true}}},
		{"fairbanks10", weighbridge.Layout{Start: bytesOf("\x02"), End: bytesOf("\x03"), Length: 10,
			Digits: weighbridge.Digits{Span: span(4, 9), BCD: true}, DashesIs: "over",
			Checksum: weighbridge.Checksum{Kind: "sum8", From: 2, To: 8, At: -2}}},
	}
}

// layoutFrom takes a template by the first byte and edits it by pairs: which field, what it
// becomes. An edit that the dialect would refuse is left out, so that nearly every input is a
// layout that an operator could have written.
func layoutFrom(t testing.TB, edits []byte) weighbridge.Layout {
	t.Helper()
	all := templates()
	if len(edits) == 0 {
		return all[0].layout
	}
	l := all[int(edits[0])%len(all)].layout
	edits = edits[1:]
	for n := 0; n < 12 && len(edits) >= 2; n++ {
		changed := edited(l, edits[0], edits[1])
		if dialect(t, "generic").Check(weighbridge.Options{Layout: changed}) == nil {
			l = changed
		}
		edits = edits[2:]
	}
	return l
}

func edited(l weighbridge.Layout, field, v byte) weighbridge.Layout {
	marks := []weighbridge.Bytes{nil, {2}, {3}, {'\r'}, {'\r', '\n'}, {'\n'}, {'='}, {2, '4'}, {'\n', '\r'}, {2, 2}, {'\r', '\n', 'A'}, {v}}
	mark := marks[int(v)%len(marks)]
	position := int(int8(v))
	bit := func(n int) bool { return v>>n&1 == 1 }
	pick := func(words ...string) string { return words[int(v)%len(words)] }
	words := func() string {
		return pick("", "gross", "net stable ok", "over", "unstable", "error", "zero", "kg", "preset-tare", "reject", "negative", "expanded", "foreign-unit")
	}
	text := string([]byte{v})
	switch field % 32 {
	case 0:
		l.Mask = []uint8{0, 0x7F, 0xFF}[v%3]
	case 1:
		l.Start = mark
	case 2:
		l.End = mark
	case 3:
		l.Length = int(v)
	case 4:
		l.OrLength = int(v)
	case 5:
		l.Between = mark
	case 6:
		l.NextStartEnds = bit(0)
	case 7:
		if l.Checksum.Kind = pick("", "xor", "sum8", "neg8", "mt7"); l.Checksum.Kind == "" {
			l.Checksum = weighbridge.Checksum{}
		} else if l.Checksum == (weighbridge.Checksum{Kind: l.Checksum.Kind}) {
			l.Checksum.From, l.Checksum.To, l.Checksum.At = 1, 2, 3
		}
	case 8:
		l.Checksum.From = position
	case 9:
		l.Checksum.To = position
	case 10:
		l.Checksum.At = position
	case 11:
		l.Checksum.Encoding = pick("", "raw", "nibble", "hex")
	case 12:
		l.Checksum = weighbridge.Checksum{Kind: l.Checksum.Kind, AfterEnd: bit(0)}
	case 13:
		l.Sign = weighbridge.Sign{At: position, Plus: "+ 0", Minus: "-"}
	case 14:
		l.Digits.From = position
	case 15:
		l.Digits.To = position
	case 16:
		l.Digits.Reversed, l.Digits.BCD, l.Digits.Point, l.Digits.Pointed = bit(0), bit(1), bit(2), bit(3)
		l.Digits.Signed, l.Digits.Padded, l.Digits.Gapped, l.Digits.Trailing = bit(4), bit(5), bit(6), bit(7)
	case 17:
		l.Digits.Count = int(v)
	case 18:
		l.Decimals.Fixed = int(v)
	case 19:
		l.Decimals.At = position
	case 20:
		l.Decimals.Kind, l.Decimals.Mask, l.Decimals.MultiplyDummyZeros = pick("", "digit", "bits", "toledo", "exponent"), v, bit(4)
	case 21:
		l.Tare = weighbridge.Digits{Span: weighbridge.Span{From: position, To: position + 3}, Padded: true, Point: bit(6)}
	case 22:
		l.Gross = weighbridge.Digits{Span: weighbridge.Span{From: position, To: position + 3}, Padded: true, Signed: bit(6)}
	case 23:
		l.Twin = weighbridge.Span{From: position, To: position + 5}
	case 24:
		l.Codes = append(slices.Clone(l.Codes), weighbridge.Code{At: 2, Is: map[string]string{text: words()}, Other: pick("", "ignore", "error")})
	case 25:
		l.Bits = append(slices.Clone(l.Bits), weighbridge.Bit{At: 3, Mask: v, Is: v & -v, Then: words(), Else: pick("", "ok", "reject")})
	case 26:
		l.Unit = weighbridge.UnitField{Span: weighbridge.Span{From: position, To: position + 1}}
	case 27:
		l.Texts = maps.Clone(l.Texts)
		if l.Texts == nil {
			l.Texts = map[string]string{}
		}
		l.Texts[text] = words()
	case 29:
		l.Decimals.To = position
	case 30:
		l.Decimals.Less = int(v % 10)
	case 31:
		l.Decimals.Is = map[string]int{pick("0", "1", "7", ".", text): int(int8(v)) % 10}
	case 28:
		l.BlankIs, l.DashesIs, l.Means = words(), pick("", "over", "under"), pick("", "gross", "unstable")
		l.Messages = map[string]string{text + "1": words()}
	}
	return l
}
