package weighbridge_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

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
