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

// blindness tries the attacks on a sample and names those that make another weight of it:
//
//	flip    one bit
//	pair    the same bit of two characters of the digits, which an exclusive or and a sum can't see
//	swap    two digits change their places
//	splice  the head of an old frame and the tail of a new one, as after bytes that got lost; under a
//	        checksum it passes when both heads sum alike
func (s sample) blindness(t testing.TB) string {
	good := []byte(s.good)
	found := map[string]bool{}
	try := func(attack string, frame []byte, honest ...string) {
		for _, v := range s.values(t, frame) {
			if v != s.value && !slices.Contains(honest, v) {
				found[attack] = true
			}
		}
	}
	flipped := func(b []byte, i, bit int) []byte {
		b = bytes.Clone(b)
		b[i] ^= 1 << bit
		return b
	}
	for i := s.from; i < s.to; i++ {
		for bit := range 8 {
			once := flipped(good, i, bit)
			try("flip", once)
			for j := i + 1; j < s.to; j++ {
				try("pair", flipped(once, j, bit))
			}
		}
		for j := i + 1; j < s.to; j++ {
			swapped := bytes.Clone(good)
			swapped[i], swapped[j] = good[j], good[i]
			try("swap", swapped)
		}
	}
	for _, steps := range [][]byte{{1, 2, 4}, {0, 1, 9, 0, 1}, {0, 2, 2, 0, 1}} { // the second and the third cancel in the middle
		next, value := s.other(t, steps...)
		for i := range good {
			try("splice", slices.Concat(good[:i], next[i:]), value)
		}
	}
	var names []string
	for attack := range strings.FieldsSeq(everything) {
		if found[attack] {
			names = append(names, attack)
		}
	}
	return strings.Join(names, " ")
}

// What the bytes of a format can't show is written down for each dialect, and neither more nor less
// is true. The package comment and the notes of the indicators tell it to the fitter.
func TestWhatAFormatCannotShow(t *testing.T) {
	for _, s := range samples(t) {
		if got := s.blindness(t); got != s.blind {
			t.Errorf("%s does not show %q, written down is %q", s.name, got, s.blind)
		}
	}
}

// Where a number stands twice, both must be changed in the same way to pass.
func TestTheSameFlipInBothNumbersPasses(t *testing.T) {
	for name, frame := range map[string]string{
		"laumas-td": "&T012350P012350\\04\r",
		"systec-rn": "<000005.06.1813:12   21000123500000000000012350kg  >",
	} {
		if got, _ := decode(t, name, weighbridge.Options{}, []byte(frame)); len(got) != 1 || got[0].Value.String() != "12350" {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// Start, end and control characters in any place of a frame, under a checksum that fits them, are no
// other weight: nothing is read from the middle of a frame.
func TestMarksInsideAFrame(t *testing.T) {
	for _, s := range samples(t) {
		for i := range s.good {
			for _, c := range []byte{0x00, 0x02, 0x03, 0x05, 0x0D, 0x0A, 0x11, 0x13, '=', '<', '>', '&', '\\', 0x7F, 0x80, 0xFF} {
				if bits := strings.HasPrefix(s.name, "mt-cont") || s.name == "flintec-cont"; bits && (i == 2 || (i == 1 || i == 3) && c&0x60 != 0) {
					continue // printing characters are status words; B may be below 20h on Fairbanks FB3000
				}
				b := []byte(s.good)
				b[i] = c
				for what, frame := range map[string][]byte{"in": b, "in, and sealed,": resealed(s.name, b)} {
					stream := slices.Concat(frame, []byte(s.good), []byte(s.good))
					s.only(t, fmt.Sprintf("%02x %s byte %d", c, what, i), 0, s.values(t, stream), s.value)
				}
			}
		}
	}
}

// What a two-wire line gives back of our own requests is no answer, alone, twice or glued to one.
func TestEchoesOfOurRequestsAreNoAnswers(t *testing.T) {
	asked := 0
	for _, s := range samples(t) {
		d := s.dialect(t)
		o := s.o
		if d.Name == "yaohua-cmd" {
			o.TareIs = "C"
		}
		for _, r := range d.Requests() {
			asked++
			echo, err := d.Encode(r, o)
			if err != nil {
				t.Fatal(err)
			}
			if got, _ := decode(t, d.Name, s.o, echo, echo); len(got) != 0 {
				t.Errorf("%s: the echo %q is read as %+v", s.name, echo, got)
			}
			for _, pieces := range [][][]byte{{echo, []byte(s.good)}, {slices.Concat(echo, []byte(s.good))}} {
				if got := s.values(t, pieces...); !slices.Equal(got, []string{s.value}) {
					t.Errorf("%s: %q and the answer: read %q", s.name, echo, got)
				}
			}
		}
	}
	if asked < 15 {
		t.Errorf("only %d requests tried", asked)
	}
}

// An answer is read by the indicator of its address and by no other.
func TestAnAnswerOfAnyOtherAddressIsRefused(t *testing.T) {
	answers := map[string]func(address int) string{
		"yaohua-cmd":   func(a int) string { return seal(fmt.Sprintf("%cB+0123400", 'A'+a-1)) },
		"laumas-ascii": func(a int) string { return laumas(fmt.Sprintf("%02d012340t", a)) },
		"dini-short":   func(a int) string { return fmt.Sprintf("%02dST,GS,   12340,kg\r\n", a) },
		"dini-ext":     func(a int) string { return fmt.Sprintf("%02d1ST,      4340,PT      8000,         0,kg\r\n", a) },
		"dini-pid": func(a int) string {
			return fmt.Sprintf("%02dPIDST,1,     12340kg,PT      8000kg,00126-000048\r\n", a)
		},
	}
	for _, d := range weighbridge.Dialects() {
		if !d.Addressed() && answers[d.Name] == nil {
			continue
		}
		most := 99
		if d.Name == "yaohua-cmd" {
			most = 26
		}
		for _, own := range []int{1, 2, most} {
			for a := 1; a <= most; a++ {
				got, _ := decode(t, d.Name, weighbridge.Options{Address: own}, []byte(answers[d.Name](a)))
				if (len(got) == 1) != (a == own) {
					t.Errorf("%s: address %d reads %d answers of %d", d.Name, own, len(got), a)
				}
			}
		}
	}
}

// The display is switched to another unit in the middle of the stream. Each frame has its own unit and
// nothing of the one before; a unit that is none of ours makes no weight, because its number would be
// taken for kilograms.
func TestAUnitThatIsSwitchedIsSeen(t *testing.T) {
	units := func(got []device.Weight) string {
		var all []string
		for _, w := range got {
			switch {
			case !w.HasValue:
				all = append(all, "none")
			case w.Unit == "":
				all = append(all, "unsaid")
			default:
				all = append(all, string(w.Unit))
			}
		}
		return strings.Join(all, " ")
	}
	tested := 0
	for _, s := range samples(t) {
		if s.unit == 0 {
			continue
		}
		tested++
		var stream []byte
		for _, name := range []string{"kg", "lb", "kg", "t", "g", "oz", "kq", "xx", "%", "PC", "", "kg"} {
			field := fmt.Sprintf("%-*s", s.unit, name)
			stream = append(stream, resealed(s.name, []byte(s.good[:s.unitAt]+field+s.good[s.unitAt+s.unit:]))...)
		}
		want := "kg lb kg t g oz unsaid kg"
		if s.name == "sics" { // an answer without a unit is none
			want = "kg lb kg t g oz kg"
		}
		if got, _ := decode(t, s.dialect(t).Name, s.o, stream); units(got) != want {
			t.Errorf("%s: read the units %q", s.name, units(got))
		}
	}
	if tested < 10 {
		t.Errorf("only %d dialects with a unit", tested)
	}
	// The second status word of Toledo says kg or lb, the third another one.
	toledo := func(b, c string) string { return sealToledo("*" + b + c + "012340000000") }
	for name, test := range map[string]struct{ stream, want string }{
		"mt-cont": {toledo("0", " ") + toledo(" ", " ") + toledo("0", "!") + toledo("0", "\"") + toledo(" ", "'") + toledo("0", " "), "kg lb g none none kg"},
		"rlws":    {"\x02   12340KG \r\n\x02   12340LG \r\n\x02   12340TG \r\n\x02   12340OG \r\n\x02   12340XG \r\n\x02   12340KG \r\n", "kg lb none oz kg"},
		"generic": {"W12340kg\r\nW12340st\r\nW12340kg\r\n", "kg none kg"},
	} {
		o := weighbridge.Options{Unit: "kg"}
		if name == "generic" {
			o.Layout = weighbridge.Layout{Start: weighbridge.Bytes{'W'}, End: weighbridge.Bytes("\r\n"), Length: 10,
				Digits: weighbridge.Digits{Span: weighbridge.Span{From: 2, To: 6}},
				Unit:   weighbridge.UnitField{Span: weighbridge.Span{From: 7, To: 8}, Is: map[string]string{"kg": "kg", "st": "foreign-unit"}}}
		}
		got, _ := decode(t, name, o, []byte(test.stream))
		if units(got) != test.want {
			t.Errorf("%s: read the units %q, want %q", name, units(got), test.want)
		}
		for _, w := range got {
			if !w.HasValue && !strings.Contains(w.Error, "unit") {
				t.Errorf("%s: a foreign unit is told as %+v", name, w)
			}
		}
	}
}

// A stream of one format is no weight to the dialect of another, so that a wrong profile shows itself.
// The pairs that can't be told apart by their bytes are named; the fitter's known weight tells them.
func TestAStreamOfAnotherDialectIsNoWeight(t *testing.T) {
	ambiguous := map[string]string{
		"yaohua-eq-rev as yaohua-eq-fwd": "4321000",
		"mt-cont as mt-cont/none":        "12340", // the checksum is not looked at
		"mt-cont as flintec-cont":        "12340", // half of all sums of 7 bits are those of 8 bits
		"yaohua-tf0 as generic":          "12340", "generic as yaohua-tf0": "12340",
		"yaohua-cmd as yaohua-cmd/point": "12340", "yaohua-cmd/point as yaohua-cmd": "1234.0",
		"dini-pid as dini-short": "12340", "dini-pid as dini-ext": "12340",
	}
	all := samples(t)
	for _, s := range all {
		for _, as := range all {
			if s.name == as.name {
				continue
			}
			got := as.values(t, []byte(strings.Repeat(s.good, 4)))
			pair := s.name + " as " + as.name
			if len(got) > 0 != (ambiguous[pair] != "") || len(got) > 0 && got[0] != ambiguous[pair] {
				t.Errorf("%s: read %q, want %q", pair, got, ambiguous[pair])
			}
		}
	}
}
