package weighbridge_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/weighbridge"
)

// legend is a field of a dialect that says what the digits are: where it stands, what the documents name,
// and, by the frame of a weight, what an unknown text there must come to.
type legend struct {
	dialect string
	options weighbridge.Options
	field   string
	frame   string   // of a weight
	at      int      // of the field in it, from 0
	known   []string // of the documents, all of the length of the field
	blank   bool     // a blank field is as a format without the field: a unit that is not named
	fix     func([]byte)
}

// What was looked at, dialect by dialect. yaohua-tf0, the "=" formats, sics and toledo8217 have no field that
// says gross: their weight is the displayed one, whatever it is, and no text can change that.
func legends() []legend {
	const cas = "ST,GS,1\xE4,000013.5 kg\r\n"
	const toledo = "\x02\x2A\x30\x20012340000000\r"
	const sma = "\n 1G       12340kg \r"
	const dini, diniExt = "ST,GS,   12340,kg\r\n", "1ST,      4340,PT      8000,         0,kg\r\n"
	const stored = "PIDST,1,     12340kg,         800kg,00001-000123\r\n"
	const systec = "<000005.06.1813:12  211   20000       0   20000kg  "
	none := weighbridge.Options{Checksum: "none"}
	return []legend{
		{dialect: "yaohua-cmd", field: "command", frame: "\x02AB+012340000\x03", at: 2, known: []string{"B", "C", "D"}, fix: nibbles(1, 11)},
		{dialect: "yaohua-a12", field: "kind", frame: "WN012340 kg00\r\n", at: 0, known: []string{"WG", "WN"}, fix: nibbles(0, 11)},
		{dialect: "yaohua-a12", field: "unit", frame: "WN012340 kg00\r\n", at: 9, known: units(2), blank: true, fix: nibbles(0, 11)},
		{dialect: "yaohua-ww", field: "kind", frame: "ww00015.000kg\r\n", at: 0, known: []string{"ww", "wn", "wt"}},
		{dialect: "yaohua-ww", field: "unit", frame: "ww00015.000kg\r\n", at: 11, known: units(2), blank: true},
		{dialect: "mt-cont", options: none, field: "unit extension", frame: toledo, at: 3, known: bytesWhere(func(c byte) bool { return c&0x16 == 0 && c&0x60 != 0 })},
		{dialect: "flintec-cont", options: none, field: "unit extension", frame: toledo, at: 3, known: bytesWhere(func(c byte) bool { return c&6 == 0 && c&0x60 != 0 })},
		{dialect: "flintec-fast", field: "status", frame: "\x02S+000123.4\r\n", at: 1, known: []string{"S", "D"}},
		{dialect: "sics", field: "status", frame: "S S     100.00 g\r\n", at: 2, known: []string{"S", "D"}},
		{dialect: "sics", field: "unit", frame: "S S     100.00 kg\r\n", at: 15, known: []string{"kg", "KG", "Kg", "g ", "G ", "t ", "lb", "LB", "oz", "OZ"}},
		{dialect: "sma", field: "status", frame: sma, at: 1, known: []string{" ", "Z"}},
		{dialect: "sma", field: "kind", frame: sma, at: 3, known: []string{"G", "N", "T", "g", "n"}},
		{dialect: "sma", field: "motion", frame: sma, at: 4, known: []string{" ", "M"}},
		{dialect: "sma", field: "unit", frame: sma, at: 16, known: units(3), blank: true},
		{dialect: "rlws", field: "unit", frame: "\x02   12340KG \r\n", at: 9, known: []string{"L", "K", "G", "O"}, blank: true},
		{dialect: "rlws", field: "kind", frame: "\x02   12340KG \r\n", at: 10, known: []string{"G", "N"}},
		{dialect: "rlws", field: "status", frame: "\x02   12340KG \r\n", at: 11, known: []string{" ", "M", "Z"}},
		{dialect: "cardinal738", field: "status", frame: "\r+012340.  kg g  \x03", at: 9, known: []string{" ", "m"}},
		{dialect: "cardinal738", field: "kind", frame: "\r+012340.  kg g  \x03", at: 14, known: []string{"g", "n"}},
		{dialect: "cardinal738", field: "unit", frame: "\r+012340.  kg g  \x03", at: 11, known: units(2), blank: true},
		{dialect: "wi120", field: "kind", frame: " G+012340. kg\r\n", at: 1, known: []string{"G", "N"}},
		{dialect: "wi120", field: "unit", frame: " G+012340. kg\r\n", at: 11, known: units(2), blank: true},
		{dialect: "fairbanks10", field: "kind and unit", frame: "\x0243 12340\x03", at: 2, known: []string{"0", "1", "2", "3", "4", "5"}},
		{dialect: "fairbanks-concon", field: "unit", frame: "\x02 12340K \r", at: 7, known: []string{"K", "L"}, blank: true},
		{dialect: "fairbanks-concon", field: "error", frame: "\x02 12340K \r", at: 8, known: []string{" ", "M"}},
		{dialect: "toledo8217", options: weighbridge.Options{Mask: 0xFF}, field: "kind", frame: "\x0204.139N\r", at: 7, known: []string{"N", "\r"}},
		{dialect: "and18", field: "status", frame: "ST,GS,+0012340kg\r\n", at: 0, known: []string{"ST", "US", "HD"}},
		{dialect: "and18", field: "kind", frame: "ST,GS,+0012340kg\r\n", at: 3, known: []string{"GS", "NT", "TR", "PT"}},
		{dialect: "and18", field: "unit", frame: "ST,GS,+0012340kg\r\n", at: 14, known: units(2), blank: true},
		{dialect: "cas22", field: "status", frame: cas, at: 0, known: []string{"ST", "US", "HD"}},
		{dialect: "cas22", field: "kind", frame: cas, at: 3, known: []string{"GS"}}, // beside a gross lamp "NT" says both
		{dialect: "cas22", field: "lamps", frame: cas, at: 7, known: bytesWhere(func(c byte) bool { return c&0x80 != 0 })},
		{dialect: "cas22", field: "unit", frame: cas, at: 18, known: units(2), blank: true},
		{dialect: "ohaus3000", field: "stability", frame: "-   0.060 kg    NET\r\n", at: 15, known: []string{" ", "?"}},
		{dialect: "ohaus3000", field: "legend", frame: "-   0.060 kg    NET\r\n", at: 16, known: []string{"G  ", "NET", "T  "}},
		{dialect: "ohaus3000", field: "unit", frame: "-   0.060 kg    NET\r\n", at: 10, known: units(5), blank: true},
		{dialect: "dini-short", field: "status", frame: dini, at: 0, known: []string{"ST", "US"}},
		{dialect: "dini-short", field: "kind", frame: dini, at: 3, known: []string{"GS", "NT"}},
		{dialect: "dini-short", field: "unit", frame: dini, at: 15, known: units(2), blank: true},
		{dialect: "dini-ext", field: "status", frame: diniExt, at: 1, known: []string{"ST", "US"}},
		{dialect: "dini-ext", field: "tare", frame: diniExt, at: 15, known: []string{"PT", "  "}},
		{dialect: "dini-ext", field: "unit", frame: diniExt, at: 39, known: units(2), blank: true},
		{dialect: "dini-pid", field: "status", frame: stored, at: 3, known: []string{"ST"}},
		{dialect: "dini-pid", field: "tare", frame: stored, at: 21, known: []string{"  ", "PT"}},
		{dialect: "laumas-ascii", field: "kind", frame: "&&01012340t\\00\r", at: 10, known: []string{"t", "n"}, fix: hexes(2, 12)},
		{dialect: "laumas-rip", field: "mark", frame: "&N004340L012340\\05\r", at: 1, known: []string{"N"}, fix: hexes(1, 16)},
		{dialect: "systec-rn", field: "status", frame: systec, at: 3, known: []string{"00"}},
		{dialect: "systec-rn", field: "unit", frame: systec, at: 47, known: units(2), blank: true},
	}
}

func units(n int) (all []string) {
	for _, u := range []string{"kg", "KG", "Kg", "g", "G", "t", "lb", "LB", "oz", "OZ"} {
		for shift := range n - len(u) + 1 {
			all = append(all, strings.Repeat(" ", shift)+u+strings.Repeat(" ", n-len(u)-shift))
		}
	}
	return all
}

func bytesWhere(known func(byte) bool) (all []string) {
	for c := range 256 {
		if known(byte(c)) {
			all = append(all, string([]byte{byte(c)}))
		}
	}
	return all
}

// nibbles and hexes set the checksum of a frame, an exclusive or from a byte up to the two characters of it.
func nibbles(from, at int) func([]byte) {
	return func(b []byte) {
		copy(b[at:], fmt.Sprintf("%02X", xorOf(b[from:at])))
	}
}

func hexes(from, at int) func([]byte) {
	return func(b []byte) { copy(b[at:], fmt.Sprintf("%02X", xorOf(b[from:at-1]))) }
}

func xorOf(b []byte) (sum byte) {
	for _, c := range b {
		sum ^= c
	}
	return sum
}

// A legend, a status, a mode or a unit that no document names must not make a weight: with a tare on, a net
// weight would be taken for a gross one. Every text of the field's length that differs from a known one in
// a character is tried, and some words of the trade.
func TestAnUnknownLegendIsNoWeight(t *testing.T) {
	covered := map[string]bool{}
	for _, l := range legends() {
		covered[l.dialect] = true
		t.Run(l.dialect+" "+l.field, func(t *testing.T) {
			n := len(l.known[0])
			with := func(text string) []byte {
				b := []byte(l.frame)
				copy(b[l.at:], text)
				if l.fix != nil {
					l.fix(b)
				}
				return b
			}
			decoder, weight := weighbridge.NewDecoder(dialect(t, l.dialect), l.options), false
			look := func(w device.Weight) { weight = weight || w.HasValue }
			weighs := func(text string) bool {
				weight = false
				decoder.Write(start, with(text), look)
				decoder.Flush(look)
				return weight
			}
			for _, text := range l.known {
				if !weighs(text) {
					t.Errorf("%q is known and gives no weight", text)
				}
			}
			tried := map[string]bool{}
			for _, text := range append(slices.Clone(l.known), "NETTO", "TARE ", "PCS  ", "     ", "%    ", "B/G  ", "PT   ", "HOLD ", "net  ", "ct   ") {
				text = text[:min(n, len(text))]
				if len(text) < n {
					continue
				}
				for i := range n {
					for c := range 256 {
						other := []byte(text)
						other[i] = byte(c)
						tried[string(other)] = true
					}
				}
			}
			for text := range tried {
				if slices.Contains(l.known, text) || l.blank && strings.Trim(text, " ") == "" {
					continue
				}
				if weighs(text) {
					t.Errorf("%q is not known and gives a weight", text)
				}
			}
			if len(tried) < 200 {
				t.Errorf("only %d texts were tried", len(tried))
			}
		})
	}
	// Nothing in their frames says what the weight is, or a word outside of the frames does.
	for _, name := range []string{"yaohua-tf0", "yaohua-eq-rev", "yaohua-eq-fwd", "laumas-tx", "laumas-td", "generic"} {
		covered[name] = true
	}
	for _, d := range weighbridge.Dialects() {
		if !covered[d.Name] {
			t.Errorf("%s: its legends are not looked at", d.Name)
		}
	}
}

// With a tare on, this frame decoded as a weight of no kind, which an edge captures as a gross one.
func TestOhausNetIsNet(t *testing.T) {
	got, _ := decode(t, "ohaus3000", weighbridge.Options{}, []byte("-   0.060 kg    NET\r\n"))
	if len(got) != 1 || got[0].Kind != device.Net || got[0].Value.String() != "-0.060" {
		t.Errorf("%+v, want -0.060 kg net", got)
	}
	// Without the rule, any legend makes a weight of no kind.
	l := weighbridge.Layout{End: weighbridge.Bytes("\r\n"), Length: 21,
		Sign:   weighbridge.Sign{At: 1, Plus: "+ ", Minus: "-"},
		Digits: weighbridge.Digits{Span: weighbridge.Span{From: 3, To: 9}, Point: true, Padded: true}}
	got, _ = decode(t, "generic", weighbridge.Options{Layout: l}, []byte("-   0.060 kg    WET\r\n"))
	if len(got) != 1 || !got[0].HasValue || got[0].Kind != device.Shown {
		t.Errorf("the negative control reads %+v", got)
	}
}

// A frame that says gross and net at once says neither, and one that says nothing where its format tells
// them apart may be either.
func TestAKindThatIsNotClearIsNoWeight(t *testing.T) {
	lamps := []weighbridge.Bit{{At: 1, Mask: 1, Is: 1, Then: "gross"}, {At: 1, Mask: 2, Is: 2, Then: "net"}}
	l := weighbridge.Layout{End: weighbridge.Bytes("\r\n"), Length: 8, Bits: lamps,
		Digits: weighbridge.Digits{Span: weighbridge.Span{From: 2, To: 6}}}
	for lamp, want := range map[byte]device.Kind{'@': "", 'A': device.Gross, 'B': device.Net, 'C': ""} {
		got, _ := decode(t, "generic", weighbridge.Options{Layout: l}, append([]byte{lamp}, "12340\r\n"...))
		if len(got) != 1 || got[0].HasValue != (want != "") || got[0].Kind != want || (want == "") != (got[0].Error != "") {
			t.Errorf("lamps %q: %+v, want kind %q", lamp, got, want)
		}
	}
	frame := bytes.Replace([]byte("ST,GS,1\xE4,000013.5 kg\r\n"), []byte("GS"), []byte("NT"), 1)
	if got, _ := decode(t, "cas22", weighbridge.Options{}, frame); len(got) != 1 || got[0].HasValue || got[0].Error == "" {
		t.Errorf("NT beside a gross lamp: %+v, want no weight and why", got)
	}
	// What only says net by a letter, and nothing otherwise, is the displayed weight then.
	if got, _ := decode(t, "toledo8217", weighbridge.Options{}, []byte("\x0204.139\r")); len(got) != 1 || !got[0].HasValue {
		t.Errorf("%+v, want a displayed weight", got)
	}
}

// A layout that tells gross from net may not let other texts pass as saying nothing.
func TestALayoutMayNotIgnoreALegend(t *testing.T) {
	l := weighbridge.Layout{End: weighbridge.Bytes("\r\n"), Digits: weighbridge.Digits{Span: weighbridge.Span{From: 2, To: -3}},
		Codes: []weighbridge.Code{{At: 1, Is: map[string]string{"G": "gross"}, Other: "ignore"}}}
	d := dialect(t, "generic")
	if err := d.Check(weighbridge.Options{Layout: l}); err == nil || !strings.Contains(err.Error(), "leave out other") {
		t.Errorf("%v", err)
	}
	for _, other := range []string{"", "net", "error", "reject"} {
		l.Codes[0].Other = other
		if err := d.Check(weighbridge.Options{Layout: l}); err != nil {
			t.Errorf("other %q: %v", other, err)
		}
	}
}
