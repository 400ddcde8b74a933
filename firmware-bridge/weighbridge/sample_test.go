package weighbridge_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/weighbridge"
)

// sample is a whole frame of one dialect, and where its weight and its unit stand. What is done to
// one dialect by the tests of damage is done to all of them.
type sample struct {
	name  string // of the dialect, with its variant
	o     weighbridge.Options
	good  string
	value string

	from, to     int  // bytes of the digits, the sign not among them
	unitAt, unit int  // first byte of a unit in letters, and how many; 0: none
	goesOn       bool // the number goes on behind them, with a point
	reversed     bool
	silent       []string // documented frames without a weight
	blind        string   // which attacks on its digits look like a whole frame

	decoder *weighbridge.Decoder // used again and again: a Flush leaves nothing in it
}

func (s sample) dialect(t testing.TB) weighbridge.Dialect {
	t.Helper()
	name, _, _ := strings.Cut(s.name, "/")
	return dialect(t, name)
}

// Attacks on the digits of a frame, in the words of sample.blind. A format without a checksum can
// show none of them.
const (
	nothing    = ""
	underSum   = "pair swap splice" // the exclusive or and the sums
	everything = "flip pair swap splice"
)

func samples(t testing.TB) []sample {
	t.Helper()
	all := frames()
	for i, s := range all {
		all[i].decoder = weighbridge.NewDecoder(s.dialect(t), s.o)
	}
	return all
}

func frames() []sample {
	none := weighbridge.Options{Checksum: "none"}
	sealed := func(name string, frame string) string { return string(resealed(name, []byte(frame))) }
	return []sample{
		{name: "yaohua-tf0", good: seal("+0123400"), value: "12340", from: 2, to: 8, blind: underSum,
			silent: []string{seal("+      0"), seal("+------0")}},
		{name: "yaohua-eq-rev", good: "=04321000", value: "12340", from: 1, to: 8, reversed: true, blind: everything},
		{name: "yaohua-eq-rev/old", o: weighbridge.Options{Characters: 7}, good: "=0432100", value: "12340", from: 1, to: 8, reversed: true, blind: everything},
		{name: "yaohua-eq-fwd", good: "=0012340.", value: "12340", from: 2, to: 8, blind: everything},
		{name: "yaohua-cmd", good: seal("AB+0123400"), value: "12340", from: 4, to: 10, blind: underSum,
			silent: []string{seal("AB+      0"), seal("AB+------0"), seal("AB+-------"), seal("AB+       ")}},
		{name: "yaohua-cmd/point", good: seal("AB+01234.0"), value: "1234.0", from: 4, to: 9, blind: underSum},
		{name: "yaohua-a12", good: "WN012340 kg31\r\n", value: "12340", from: 2, to: 8, unitAt: 9, unit: 2, blind: underSum,
			silent: []string{"         OL23\r\n", "         LO23\r\n"}},
		{name: "yaohua-ww", good: "ww00012.340kg\r\n", value: "12.340", from: 2, to: 7, unitAt: 11, unit: 2, goesOn: true, blind: everything,
			silent: []string{"ww         kg\r\n", "wn---------kg\r\n"}},
		{name: "mt-cont", good: sealToledo("*0 012340000000"), value: "12340", from: 4, to: 10, blind: underSum,
			silent: []string{sealToledo("*4 012340000000"), sealToledo("*00012340000000"), sealToledo("*0 ------000000")}},
		{name: "mt-cont/none", o: none, good: "\x02*0 012340000000\r", value: "12340", from: 4, to: 10, blind: everything,
			silent: []string{"\x02*4 012340000000\r"}},
		{name: "flintec-cont", good: sealed("flintec-cont", "\x02j00012340     0\r\x00"), value: "12340", from: 4, to: 10, blind: underSum,
			silent: []string{sealed("flintec-cont", "\x02j40OVER       0\r\x00"), sealed("flintec-cont", "\x02j00TILT       0\r\x00"),
				sealed("flintec-cont", "\x02j00A.OUT      0\r\x00"), sealed("flintec-cont", "\x02j00L-VOLT     0\r\x00"), sealed("flintec-cont", "\x02j40UNDER      0\r\x00")}},
		{name: "flintec-fast", good: "\x02S+012340.0\r\n", value: "12340.0", from: 3, to: 9, goesOn: true, blind: everything,
			silent: []string{"\x02+\r\n", "\x02-\r\n", "\x02O+012340.0\r\n", "\x02M+012340.0\r\n"}},
		{name: "sics", good: "S S 0000012340 kg\r\n", value: "12340", from: 4, to: 14, unitAt: 15, unit: 2, blind: everything,
			silent: []string{"S S            kg\r\n", "S D ---------- kg\r\n", "S +\r\n", "S -\r\n", "S I\r\n", "ES\r\n", "ET\r\n", "EL\r\n"}},
		{name: "sma", good: "\n 1G  0000012340kg \r", value: "12340", from: 6, to: 16, unitAt: 16, unit: 3, blind: everything,
			silent: []string{"\nO1G  0000012340kg \r", "\nU1G  0000012340kg \r", "\nE1G  ----------kg \r", "\nI1G  ----------kg \r", "\nT1G  ----------kg \r", "\n?\r", "\n!\r"}},
		{name: "rlws", good: "\x02 0012340KG \r\n", value: "12340", from: 2, to: 9, blind: everything,
			silent: []string{"\x02 0012340KGO\r\n", "\x02 0012340KGI\r\n", "\x02 0012340TG \r\n"}},
		{name: "cardinal738", good: "\r+012340.  kg g  \x03", value: "12340", from: 2, to: 8, unitAt: 11, unit: 2, goesOn: true, blind: everything,
			silent: []string{"\r+012340.o kg g  \x03", "\r          kg g  \x03"}},
		{name: "wi120", good: " G+012340. kg\r\n", value: "12340", from: 3, to: 9, unitAt: 11, unit: 2, goesOn: true, blind: everything,
			silent: []string{" G         kg\r\n", " G ------- kg\r\n"}},
		{name: "fairbanks10", good: "\x0243012340\x03", value: "12340", from: 3, to: 9, blind: everything, silent: []string{"\x0243------\x03"}},
		{name: "fairbanks-concon", good: "\x02012340K \r", value: "12340", from: 1, to: 7, blind: everything, silent: []string{"\x02012340KE\r"}},
		{name: "toledo8217", good: "\x0204.139\r", value: "4.139", from: 4, to: 7, blind: everything,
			silent: []string{"\x02?B\r", "\x02?D\r", "\x02?A\r", "\x02?P\r"}},
		{name: "and18", good: "ST,GS,+0012340kg\r\n", value: "12340", from: 7, to: 14, unitAt: 14, unit: 2, blind: everything,
			silent: []string{"OL,GS,        kg\r\n", "OL,GS,+9999999kg\r\n", "LO,GS,+0012340kg\r\n"}},
		{name: "cas22", good: "ST,GS,1\xE4,00012340 kg\r\n", value: "12340", from: 9, to: 17, unitAt: 18, unit: 2, blind: everything,
			silent: []string{"OL,GS,1\xE4,00012340 kg\r\n"}},
		{name: "ohaus3000", good: "  012.345 kg    G  \r\n", value: "12.345", from: 2, to: 5, unitAt: 10, unit: 5, goesOn: true, blind: everything},
		{name: "dini-short", good: "ST,GS,00012340,kg\r\n", value: "12340", from: 6, to: 14, unitAt: 15, unit: 2, blind: everything,
			silent: []string{"OL,GS,00012340,kg\r\n", "UL,GS,00012340,kg\r\n", "TL,GS,00012340,kg\r\n", "ERR01\r\n"}},
		{name: "dini-ext", good: "1ST,0000004340,PT      8000,         0,kg\r\n", value: "4340", from: 4, to: 14, unitAt: 39, unit: 2, blind: everything,
			silent: []string{"1OL,0000004340,PT      8000,         0,kg\r\n"}},
		{name: "dini-pid", good: "PIDST,1,0000012340kg,PT      8000kg,00126-000048\r\n", value: "12340", from: 8, to: 18, blind: everything,
			silent: []string{"PIDNO\r\n", "ERR04\r\n"}},
		{name: "laumas-ascii", good: laumas("01012340t"), value: "12340", from: 4, to: 10, blind: underSum,
			silent: []string{laumas("01   O-Lt"), laumas("01 O-F  t"), laumas("01_ERCELt"), laumas("01 ER OLt"), laumas("01_ER_ADt"), laumas("01?"), laumas("01#"), laumas("01      t"), laumas("01------t")}},
		{name: "laumas-tx", good: "012340\r\n", value: "12340", from: 0, to: 6, blind: everything,
			silent: []string{"  O-L \r\n", "O-F   \r\n", "_ER_OL\r\n", " ERCEL\r\n", "      \r\n", "------\r\n"}},
		// Two flips pass when they hit the same bit of both numbers.
		{name: "laumas-td", good: "&T012340P012340\\04\r", value: "12340", from: 2, to: 8, blind: nothing,
			silent: []string{"&T  O-L P  O-L \\04\r"}},
		{name: "laumas-rip", good: "&N004340L012340\\05\r", value: "4340", from: 2, to: 8, blind: underSum},
		// Net must be gross less tare: two flips pass when they hit the same bit of gross and net.
		{name: "systec-rn", good: "<000005.06.1813:12   21000123400000000000012340kg  >", value: "12340", from: 23, to: 31, unitAt: 47, unit: 2, blind: nothing,
			silent: []string{"<13>", "<990005.06.1813:12   21000123400000000000012340kg  >"}},
		{name: "generic", o: weighbridge.Options{Layout: tf0()}, good: seal("+0123400"), value: "12340", from: 2, to: 8, blind: underSum,
			silent: []string{seal("+      0"), seal("+------0")}},
	}
}

// resealed returns a frame the checksum that fits its other bytes. The attacker of a sealed frame is
// taken to know the rule.
func resealed(name string, frame []byte) []byte {
	b, n := bytes.Clone(frame), len(frame)
	pair := func(at int, sum byte) { copy(b[at:], fmt.Sprintf("%02X", sum)) }
	switch name {
	case "yaohua-tf0", "yaohua-cmd", "yaohua-cmd/point", "generic":
		pair(n-3, sumOf("xor", b[1:n-3]))
	case "yaohua-a12":
		pair(n-4, sumOf("xor", b[:n-4]))
	case "laumas-ascii":
		pair(n-3, sumOf("xor", bytes.TrimLeft(b[:n-4], "&")))
	case "laumas-td", "laumas-rip":
		pair(n-3, sumOf("xor", b[1:n-4]))
	case "mt-cont":
		b[n-1] = sumOf("mt7", b[:n-1])
	case "flintec-cont":
		b[n-1] = sumOf("neg8", b[:n-1])
	}
	return b
}

// with returns the frame with other characters in the place of its digits, whole in every other way:
// resealed, and repeated where the format repeats the number.
func (s sample) with(field string) []byte {
	b := []byte(s.good[:s.from] + field + s.good[s.to:])
	switch s.name {
	case "laumas-td":
		b = []byte("&T" + field + "P" + field + "\\04\r")
	case "systec-rn":
		b = []byte(s.good[:s.from] + field + s.good[s.to:39] + field + s.good[47:])
	}
	return resealed(s.name, b)
}

// values are the numbers that a decoder reads, nothing else.
func (s sample) values(t testing.TB, pieces ...[]byte) (all []string) {
	t.Helper()
	keep := func(w device.Weight) {
		if w.HasValue {
			all = append(all, w.Value.String())
		}
	}
	for _, p := range pieces {
		s.decoder.Write(start, p, keep)
	}
	s.decoder.Flush(keep)
	return all
}

// other is another weight, each of its digits moved by the step in its place.
func (s sample) other(t testing.TB, steps ...byte) (frame []byte, value string) {
	t.Helper()
	digits := []byte(s.good[s.from:s.to])
	for i, c := range digits {
		digits[i] = '0' + (c-'0'+steps[i%len(steps)])%10
	}
	frame = s.with(string(digits))
	got := s.values(t, frame)
	if len(got) != 1 || got[0] == s.value {
		t.Fatalf("%s: another weight in % x is read as %q", s.name, frame, got)
	}
	return frame, got[0]
}

// The samples stand for their dialects: each dialect has one, is read as the sample says, and its
// digits stand where the sample says, or the tests of damage would damage something else.
func TestSamplesStandForTheirDialects(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range samples(t) {
		seen[s.dialect(t).Name] = true
		got, stats := decode(t, s.dialect(t).Name, s.o, []byte(s.good))
		if len(got) != 1 || !got[0].HasValue || got[0].Value.String() != s.value || string(got[0].Raw) != s.good || stats.Discarded != 0 {
			t.Errorf("%s: %+v, %+v", s.name, got, stats)
		}
		if !bytes.Equal(s.with(s.good[s.from:s.to]), []byte(s.good)) {
			t.Errorf("%s: sealed anew it is %q, was %q", s.name, s.with(s.good[s.from:s.to]), s.good)
		}
		s.other(t, 1, 2, 4)
	}
	for _, d := range weighbridge.Dialects() {
		if !seen[d.Name] {
			t.Errorf("no sample of %s: add one beside the others", d.Name)
		}
	}
}

// What a format does not signal stays unknown and what it signals is known, one row for each
// dialect: rest, range, kind, unit, zero and the alibi number, "-" where the frame says nothing.
func TestWhoSignalsWhat(t *testing.T) {
	want := map[string]string{
		"yaohua-tf0": "- - - - -", "yaohua-eq-rev": "- - - - -", "yaohua-eq-rev/old": "- - - - -", "yaohua-eq-fwd": "- - - - -",
		"yaohua-cmd": "- - gross - -", "yaohua-cmd/point": "- - gross - -", "yaohua-a12": "- - net kg -", "yaohua-ww": "- - gross kg -",
		"mt-cont": "yes ok gross kg -", "mt-cont/none": "yes ok gross kg -", "flintec-cont": "yes ok gross kg -",
		"flintec-fast": "yes ok - - -", "sics": "yes ok - kg -", "sma": "yes ok gross kg no", "rlws": "yes ok gross kg -",
		"cardinal738": "yes ok gross kg -", "wi120": "- - gross kg -", "fairbanks10": "- - gross kg -", "fairbanks-concon": "yes ok - kg -",
		"toledo8217": "yes ok - - -", "and18": "yes ok gross kg -", "cas22": "yes ok gross kg no", "ohaus3000": "yes - gross kg -",
		"dini-short": "yes ok gross kg -", "dini-ext": "yes ok net kg -", "dini-pid": "yes ok gross kg -",
		"laumas-ascii": "- - gross - -", "laumas-tx": "- - gross - -", "laumas-td": "- - gross - -", "laumas-rip": "- - net - -",
		"systec-rn": "yes ok gross kg -", "generic": "- - - - -",
	}
	said := func(text string) string {
		if text == "" {
			return "-"
		}
		return text
	}
	tri := map[device.Tri]string{device.Unknown: "-", device.Yes: "yes", device.No: "no"}
	for _, s := range samples(t) {
		got, _ := decode(t, s.dialect(t).Name, s.o, []byte(s.good))
		w := got[0]
		row := fmt.Sprint(tri[w.Stable], " ", said(string(w.Range)), " ", said(string(w.Kind)), " ", said(string(w.Unit)), " ", tri[w.Zero])
		if row != want[s.name] {
			t.Errorf("%s says %q, want %q", s.name, row, want[s.name])
		}
	}
}
