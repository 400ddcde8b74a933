package weighbridge_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/weighbridge"
)

// The layouts that an operator would write for formats that have a dialect of their own.

func tf0() weighbridge.Layout {
	return weighbridge.Layout{
		Start: weighbridge.Bytes{0x02}, End: weighbridge.Bytes{0x03}, Length: 12,
		Checksum: weighbridge.Checksum{Kind: "xor", From: 2, To: 9, At: 10, Encoding: "nibble"},
		Sign:     weighbridge.Sign{At: 2, Plus: "+", Minus: "-"},
		Digits:   weighbridge.Digits{Span: weighbridge.Span{From: 3, To: 8}},
		Decimals: weighbridge.Decimals{At: 9},
	}
}

func toledo() weighbridge.Layout {
	return weighbridge.Layout{
		Mask: 0x7F, Start: weighbridge.Bytes{0x02}, End: weighbridge.Bytes{'\r'}, Length: 17,
		Checksum: weighbridge.Checksum{Kind: "mt7", AfterEnd: true},
		Digits:   weighbridge.Digits{Span: weighbridge.Span{From: 5, To: 10}, Padded: true},
		Tare:     weighbridge.Digits{Span: weighbridge.Span{From: 11, To: 16}, Padded: true},
		Decimals: weighbridge.Decimals{At: 2, Kind: "toledo"},
		Bits: []weighbridge.Bit{
			{At: 3, Mask: 0x01, Is: 0x01, Then: "net", Else: "gross"},
			{At: 3, Mask: 0x02, Is: 0x02, Then: "negative"},
			{At: 3, Mask: 0x04, Is: 0x04, Then: "over-or-under", Else: "ok"},
			{At: 3, Mask: 0x08, Is: 0x08, Then: "unstable", Else: "stable"},
			{At: 3, Mask: 0x10, Is: 0x10, Then: "kg", Else: "lb"},
			{At: 3, Mask: 0x40, Is: 0x40, Then: "power-up", Else: "not-power-up"},
		},
	}
}

func comma() weighbridge.Layout {
	separator := map[string]string{",": ""}
	return weighbridge.Layout{
		End: weighbridge.Bytes("\r\n"), Length: 18,
		Codes: []weighbridge.Code{
			{At: 1, Is: map[string]string{"ST": "stable ok", "US": "unstable ok", "OL": "over"}}, {At: 3, Is: separator},
			{At: 4, Is: map[string]string{"GS": "gross", "NT": "net"}}, {At: 6, Is: separator},
		},
		Sign:   weighbridge.Sign{At: 7, Plus: "+ ", Minus: "-"},
		Digits: weighbridge.Digits{Span: weighbridge.Span{From: 8, To: 14}, Point: true, Padded: true},
		Unit:   weighbridge.UnitField{Span: weighbridge.Span{From: 15, To: 16}},
	}
}

// What a layout file says must be what the built-in dialect says, over all vectors and over every
// vector with every byte damaged.
func TestGenericEqualsBuiltIn(t *testing.T) {
	for proto, layout := range map[string]weighbridge.Layout{"yaohua-tf0": tf0(), "mt-cont": toledo(), "and18": comma()} {
		tested := 0
		for _, v := range answers(t) {
			if v.Proto != proto {
				continue
			}
			tested++
			l := layout
			if v.options().Checksum == "none" {
				l.Checksum = weighbridge.Checksum{}
			}
			frame := v.bytes(t)
			for i := range frame {
				for _, c := range []byte{frame[i], ' ', '0', '9', '-', '.', 0xFF} {
					changed := bytes.Clone(frame)
					changed[i] = c
					want, _ := decode(t, proto, v.options(), changed)
					got, _ := decode(t, "generic", weighbridge.Options{Layout: l}, changed)
					if proto == "mt-cont" && i == 3 { // the extension in C is the dialect's own knowledge
						continue
					}
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("%s: byte %d %#02x: -dialect +generic\n%s", v.ID, i, c, diff)
					}
				}
			}
		}
		if tested == 0 {
			t.Errorf("no vector of %s", proto)
		}
	}
}

// Formats that exist only as layouts: one public driver each, no manual.
func TestGenericLongTail(t *testing.T) {
	span := func(from, to int) weighbridge.Span { return weighbridge.Span{From: from, To: to} }
	tests := []struct {
		name   string
		layout weighbridge.Layout
		frame  string
		want   string
	}{
		{"KLD2002: eight reversed characters", weighbridge.Layout{
			Start: weighbridge.Bytes{2}, End: weighbridge.Bytes{3}, Length: 10,
			Digits: weighbridge.Digits{Span: span(2, 9), Reversed: true, Point: true},
		}, "\x0204321000\x03", "12340"},
		{"HT9800: packed digits, low byte first", weighbridge.Layout{
			Start: weighbridge.Bytes{0xFF}, Length: 5,
			Digits:   weighbridge.Digits{Span: span(3, 5), Reversed: true, BCD: true},
			Decimals: weighbridge.Decimals{At: 2, Kind: "bits", Mask: 0x07},
			Bits:     []weighbridge.Bit{{At: 2, Mask: 0x20, Is: 0x20, Then: "negative"}},
		}, "\xFF\x21\x56\x34\x12", "-12345.6"},
		{"CS6: value in hundredths", weighbridge.Layout{
			Start: weighbridge.Bytes{2}, End: weighbridge.Bytes{3}, Length: 10,
			Digits:   weighbridge.Digits{Span: span(2, 9)},
			Decimals: weighbridge.Decimals{Fixed: 2},
		}, "\x0200012345\x03", "123.45"},
		{"Erte: status letter, six digits, CR", weighbridge.Layout{
			End: weighbridge.Bytes{'\r'}, Length: 8,
			Codes:  []weighbridge.Code{{At: 1, Is: map[string]string{"A": "", "B": "", "C": "", "D": "", "E": ""}}},
			Digits: weighbridge.Digits{Span: span(2, 7)},
			Unit:   weighbridge.UnitField{Fixed: "kg"},
		}, "A012340\r", "12340"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, stats := decode(t, "generic", weighbridge.Options{Layout: test.layout}, []byte(test.frame))
			if len(got) != 1 || !got[0].HasValue || got[0].Value.String() != test.want {
				t.Errorf("%+v (%+v), want %s", got, stats, test.want)
			}
		})
	}
}

func TestLayoutMistakesAreNamedTogether(t *testing.T) {
	err := dialect(t, "generic").Check(weighbridge.Options{Layout: weighbridge.Layout{
		Start: weighbridge.Bytes{2}, Length: 12, End: weighbridge.Bytes{3},
		Checksum: weighbridge.Checksum{Kind: "crc", From: 9, To: 2, At: 13, Encoding: "base64"},
		Sign:     weighbridge.Sign{At: 20},
		Digits:   weighbridge.Digits{Span: weighbridge.Span{From: 3, To: 80}, BCD: true, Point: true, Count: 99},
		Decimals: weighbridge.Decimals{At: 9, Fixed: 2},
		Codes:    []weighbridge.Code{{At: 1}, {At: 2, Is: map[string]string{"A": "heavy", "BB": ""}}},
		Bits:     []weighbridge.Bit{{At: 3, Mask: 0x01, Is: 0x02, Then: "stabel"}},
		Unit:     weighbridge.UnitField{Fixed: "stone"},
	}})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"kind \"crc\"", "encoding \"base64\"", "from 9 is behind to 2", "position 13", "position 20",
		"name the characters for plus", "position 80", "count 99", "packed digits", "either fixed or at", "no texts",
		"differ in length", "\"heavy\"", "\"stabel\"", "does not lie under mask", "stone"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not say %q:\n%v", want, err)
		}
	}
	for name, l := range map[string]weighbridge.Layout{
		"a frame needs one of them":   {Digits: weighbridge.Digits{Span: weighbridge.Span{From: 1, To: 2}}},
		"next_start_ends: needs":      {Start: weighbridge.Bytes{'='}, NextStartEnds: true, Digits: weighbridge.Digits{Span: weighbridge.Span{From: 1, To: 2}}},
		"or_length: 5 must be more":   {Start: weighbridge.Bytes{2}, Length: 9, OrLength: 5, Digits: weighbridge.Digits{Span: weighbridge.Span{From: 1, To: 2}}},
		"start: stands inside end":    {Start: weighbridge.Bytes{'\r'}, End: weighbridge.Bytes("\r\n"), Digits: weighbridge.Digits{Span: weighbridge.Span{From: 2, To: -3}}},
		"say where the weight stands": {Start: weighbridge.Bytes{2}, Length: 9},
	} {
		if err := dialect(t, "generic").Check(weighbridge.Options{Layout: l}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v, want %q", err, name)
		}
	}
}

// Where the point stands is written in many ways; each reads the same 123456.
func TestDecimalsOfALayout(t *testing.T) {
	read := func(d weighbridge.Decimals, frame string) string {
		l := weighbridge.Layout{End: weighbridge.Bytes("\r"), Decimals: d, Digits: weighbridge.Digits{Span: weighbridge.Span{From: 1, To: 6}, Point: d.Kind == "exponent"}}
		got, _ := decode(t, "generic", weighbridge.Options{Layout: l}, []byte(frame+"\r"))
		if len(got) != 1 {
			return "refused"
		}
		return got[0].Value.String()
	}
	digit := weighbridge.Decimals{At: 7}
	less := weighbridge.Decimals{At: 7, Less: 1}
	low := weighbridge.Decimals{At: 7, Kind: "bits", Mask: 0x07, Less: 1}
	high := weighbridge.Decimals{At: 7, Kind: "bits", Mask: 0x38}
	letters := weighbridge.Decimals{At: 7, Is: map[string]int{"A": 0, "B": 2, "x": -1}}
	codes := weighbridge.Decimals{At: 7, Kind: "bits", Mask: 0x38, Is: map[string]int{"1": 3, "0x07": -2}}
	exponent := weighbridge.Decimals{At: 7, To: 8, Kind: "exponent"}
	for _, test := range []struct {
		how         weighbridge.Decimals
		frame, want string
	}{
		{digit, "1234562", "1234.56"}, {digit, "1234565", "refused"},
		{less, "1234561", "123456"}, {less, "1234563", "1234.56"}, {less, "1234560", "refused"},
		{low, "123456\x44", "123.456"}, {low, "123456\x41", "123456"}, {low, "123456\x40", "refused"},
		{high, "123456\x10", "1234.56"}, {high, "123456\x17", "1234.56"},
		{letters, "123456A", "123456"}, {letters, "123456B", "1234.56"}, {letters, "123456x", "1234560"}, {letters, "123456C", "refused"},
		{codes, "123456\x08", "123.456"}, {codes, "123456\x38", "12345600"}, {codes, "123456\x10", "refused"},
		{exponent, "123456-2", "1234.56"}, {exponent, "123456+1", "1234560"}, {exponent, "123456 0", "123456"},
		{exponent, "1.2340+4", "12340"}, {exponent, "1.2340-1", "0.12340"}, {exponent, "123456-x", "refused"}, {exponent, "123456--", "refused"},
	} {
		if got := read(test.how, test.frame); got != test.want {
			t.Errorf("%+v: %q reads %s, want %s", test.how, test.frame, got, test.want)
		}
	}
	for want, d := range map[string]weighbridge.Decimals{
		"exclude each other":    {At: 7, Less: 1, Is: map[string]int{"1": 1}},
		"needs mask":            {At: 7, Kind: "bits"},
		"write the character":   {At: 7, Is: map[string]int{"10": 1}},
		"between -9 and 9":      {At: 7, Is: map[string]int{"1": 10}},
		"under the mask":        {At: 7, Kind: "bits", Mask: 0x07, Is: map[string]int{"8": 1}},
		"need at":               {Less: 1},
		"needs kind exponent":   {At: 6, To: 7},
		"position 0 is outside": {At: 7, Kind: "exponent"},
	} {
		l := weighbridge.Layout{End: weighbridge.Bytes("\r"), Decimals: d, Digits: weighbridge.Digits{Span: weighbridge.Span{From: 1, To: 6}}}
		if err := dialect(t, "generic").Check(weighbridge.Options{Layout: l}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", d, err, want)
		}
	}
}

// Packed digits of any width, in either order.
func TestPackedDigitsOfAnyWidth(t *testing.T) {
	for width := 2; width <= 24; width++ {
		for _, reversed := range []bool{false, true} {
			l := weighbridge.Layout{Start: weighbridge.Bytes{0xFF}, End: weighbridge.Bytes{0xFE}, Length: width + 2,
				Digits: weighbridge.Digits{Span: weighbridge.Span{From: 2, To: -2}, BCD: true, Reversed: reversed}}
			field := make([]byte, width)
			field[width-2], field[width-1] = 0x12, 0x34
			if reversed {
				slices.Reverse(field)
			}
			frame := append(append([]byte{0xFF}, field...), 0xFE)
			got, _ := decode(t, "generic", weighbridge.Options{Layout: l}, frame)
			if len(got) != 1 || got[0].Value.String() != "1234" {
				t.Errorf("%d bytes, reversed %v: %+v", width, reversed, got)
			}
			if field[0], field[width-1] = 0x12, 0x12; width <= 9 {
				continue
			}
			if got, _ := decode(t, "generic", weighbridge.Options{Layout: l}, append(append([]byte{0xFF}, field...), 0xFE)); len(got) != 0 {
				t.Errorf("%d digits were taken: %+v", 2*width, got)
			}
		}
	}
}

// A message that stands for a whole frame has a length of its own, with and without a start.
func TestAMessageIsShorterThanAFrame(t *testing.T) {
	digits := weighbridge.Digits{Span: weighbridge.Span{From: 2, To: 7}}
	said := map[string]string{"OL": "over", "-OL": "under"}
	for name, l := range map[string]weighbridge.Layout{
		"line":  {End: weighbridge.Bytes("\r\n"), Length: 9, Digits: digits, Messages: said},
		"start": {Start: weighbridge.Bytes{2}, End: weighbridge.Bytes("\r\n"), Length: 9, Digits: digits, Messages: said},
	} {
		begin := map[string]string{"line": "+", "start": "\x02"}[name]
		of := strings.TrimPrefix(begin, "+")
		got, stats := decode(t, "generic", weighbridge.Options{Layout: l}, []byte(begin+"012340\r\n"+of+"OL\r\n"+of+"-OL\r\n"+of+"XL\r\n"+begin+"012360\r\n"))
		var ranges []device.Range
		for _, w := range got {
			ranges = append(ranges, w.Range)
		}
		if !slices.Equal(ranges, []device.Range{"", device.Over, device.Under, ""}) || got[1].HasValue || stats.Bad == 0 && name == "line" {
			t.Errorf("%s: %q, %+v", name, ranges, stats)
		}
	}
	got, _ := decode(t, "and18", weighbridge.Options{}, []byte("ST,GS,+00679.4Kg\r\nOL\r\n"))
	if len(got) != 2 || got[0].Value.String() != "679.4" || got[1].Range != device.Over || got[1].HasValue {
		t.Errorf("and18: %+v", got)
	}
}

// What is asked of an indicator with a layout of its own is one of a closed list, and the same bytes.
func TestALayoutIsAskedByAClosedList(t *testing.T) {
	d := dialect(t, "generic")
	o := weighbridge.Options{Layout: comma(), Request: weighbridge.Bytes("RW\r\n")}
	asked := d.For(o)
	frame, err := asked.Encode(asked.Poll, o)
	if err != nil || string(frame) != "RW\r\n" || asked.Poll == "" {
		t.Errorf("%q, %v", frame, err)
	}
	if d.For(weighbridge.Options{Layout: comma()}).Poll != "" {
		t.Error("a layout without a request is asked")
	}
	for _, request := range []string{"T", "Z", "T\r\n", "MZ\r\n", "TARE\r\n", "\x02AE04\x03", "C", "P", "S\r\n", "RW", "rw\r\n", "RT\r\n", "\x02A071\x03", "01 06 00 00"} {
		if err := d.Check(weighbridge.Options{Layout: comma(), Request: weighbridge.Bytes(request)}); err == nil || !strings.Contains(err.Error(), "52 57 0D 0A") {
			t.Errorf("%q: %v", request, err)
		}
	}
	for q, cites := range weighbridge.Questions() {
		if strings.ContainsAny(q, "TtZzCcPp") || cites == "" {
			t.Errorf("%q could tare, zero, clear or print, or nobody says that it does not: %q", q, cites)
		}
	}
	if err := dialect(t, "and18").Check(weighbridge.Options{Request: weighbridge.Bytes("W")}); err == nil {
		t.Error("a dialect takes a request")
	}
}
