package weighbridge_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/weighbridge"
)

// seal closes a tF=0 frame with the checksum that fits, so that only the text is at fault.
func seal(body string) string {
	sum := byte(0)
	for _, c := range []byte(body) {
		sum ^= c
	}
	return "\x02" + body + fmt.Sprintf("%X%X", sum>>4, sum&15) + "\x03"
}

// sealToledo closes a Toledo frame with its checksum.
func sealToledo(body string) string {
	sum := byte(0x02 + 0x0D)
	for _, c := range []byte(body) {
		sum += c
	}
	return "\x02" + body + "\r" + string([]byte{-sum & 0x7F})
}

// Bad input that reaches sites, each with what must come of it: the values read, "-" for a frame
// without a value, nothing for a rejected one.
func TestCorpus(t *testing.T) {
	const good = "\x02+01234001F\x03"
	k64 := 64 << 10
	tests := []struct {
		name, dialect, input, want string
	}{
		// 1 fragments, floods, line ends
		{"empty", "yaohua-tf0", "", ""},
		{"only STX", "yaohua-tf0", "\x02", ""},
		{"only ETX", "yaohua-tf0", "\x03", ""},
		{"64 KiB without an end, then a frame", "yaohua-tf0", strings.Repeat("8", k64) + good, "12340"},
		{"64 KiB of NUL", "yaohua-tf0", strings.Repeat("\x00", k64) + good, "12340"},
		{"64 KiB of FF", "yaohua-tf0", strings.Repeat("\xFF", k64) + good, "12340"},
		{"64 KiB without a line end, then a line", "and18", strings.Repeat("ST,GS,", k64/6) + "\r\n" + "ST,GS,+0012340kg\r\n", "12340"},
		{"parity in bit 7 where 8 bits are agreed", "yaohua-tf0", "\x82\xAB\x30\xB1\xB2\x33\xB4\x30\x30\xB1\xC6\x03", ""},
		{"parity in bit 7 of Toledo", "mt-cont", "\x82\xAA\x30\xA0\x30\xB1\xB2\x33\xB4\x30\x30\x30\x30\x30\x30\x30\x8D\x2D", "12340"},
		{"LF only", "and18", "ST,GS,+0012340kg\n", ""},
		{"CR only", "and18", "ST,GS,+0012340kg\r", ""},
		{"LF CR", "and18", "ST,GS,+0012340kg\n\rST,GS,+0012340kg\n\r", ""},
		{"empty lines between", "and18", "\r\n\r\nST,GS,+0012340kg\r\n\r\n", "12340"},
		{"Toledo with LF and without a checksum", "mt-cont/none", "\x02*0 012340000000\r\n\x02*0 012340000000\r\n", "12340 12340"},
		// 2 cut, glued, old and new
		{"glued", "yaohua-tf0", good + good, "12340 12340"},
		{"old tail, new head", "yaohua-tf0", "40" + "01F\x03" + good, "12340"},
		{"head glued to a new frame", "yaohua-tf0", "\x02+0123" + good, "12340"},
		{"half \"=\" frame before a whole one", "yaohua-eq-fwd", "=00123=0012340.", "12340"},
		{"\"=\" frame with a byte too many", "yaohua-eq-fwd", "=00123450.=0012340.", "12340"},
		// 3 checksums
		{"wrong checksum", "yaohua-tf0", "\x02+01234001E\x03", ""},
		{"checksum missing", "yaohua-tf0", "\x02+0123400\x03", ""},
		{"altered digit", "yaohua-tf0", "\x02+01334001F\x03", ""},
		// The exclusive or can't see two swapped digits. The fitter must know; equal frames in a
		// row are the protection.
		{"swapped digits pass", "yaohua-tf0", "\x02+02134001F\x03", "21340"},
		{"3Ah form of a checksum digit", "yaohua-tf0", "\x02+01234001?\x03", "12340"},
		{"Toledo digit altered", "mt-cont", "\x02*0 012341000000\r-", ""},
		{"Toledo without its checksum", "mt-cont", "\x02*0 012340000000\r\x02*0 012340000000\r", ""},
		// 4 numbers
		{"two signs", "yaohua-tf0", seal("+-012300"), ""},
		{"letter O", "yaohua-tf0", seal("+O123400"), ""},
		{"blank inside", "yaohua-tf0", seal("+01 3400"), ""},
		{"blank before", "yaohua-tf0", seal("+ 123400"), ""},
		{"exponent", "yaohua-tf0", seal("+0001e30"), ""},
		{"hexadecimal", "yaohua-tf0", seal("+00x1000"), ""},
		{"decimals beyond four", "yaohua-tf0", seal("+0123405"), ""},
		{"decimals not a digit", "yaohua-tf0", seal("+012340A"), ""},
		{"minus zero", "yaohua-tf0", seal("-0000000"), "0"},
		{"no sign", "yaohua-tf0", seal("00123400"), ""},
		{"dashes", "yaohua-tf0", seal("+------0"), "-"},
		{"dashes and digits", "yaohua-tf0", seal("+---1230"), ""},
		{"blank", "yaohua-tf0", seal("+      0"), "-"},
		{"full-width digits", "and18", "ST,GS,+００12kg\r\n", ""},
		{"comma as point", "and18", "ST,GS,+012,340kg\r\n", ""},
		{"two points", "and18", "ST,GS,+01.2.34kg\r\n", ""},
		{"NaN", "and18", "ST,GS,+    NaNkg\r\n", ""},
		{"Inf", "and18", "ST,GS,+    Infkg\r\n", ""},
		{"only a point", "and18", "ST,GS,+      .kg\r\n", ""},
		{"only a sign", "and18", "ST,GS,-       kg\r\n", "-"},
		{"unit t", "and18", "ST,GS,+0012.34 t\r\n", "12.34"},
		{"unit in capitals", "and18", "ST,GS,+0012340KG\r\n", "12340"},
		{"unit missing", "and18", "ST,GS,+0012340  \r\n", "12340"},
		{"unit damaged", "and18", "ST,GS,+0012340kq\r\n", ""},
		{"20 digits", "generic", "", ""},
		{"letter O in SICS", "sics", "S S      1234O kg\r\n", ""},
		{"comma in SICS", "sics", "S S     12,340 kg\r\n", ""},
		{"unknown unit in SICS", "sics", "S S      12340 ct\r\n", ""},
		// 5 status
		{"unknown header", "and18", "XX,GS,+0012340kg\r\n", ""},
		{"overload", "and18", "OL,GS,+9999999kg\r\n", "-"},
		{"overload with a damaged unit", "and18", "OL,GS,+9999999??\r\n", "-"},
		{"reserved bits set", "mt-cont", sealToledo("\x6A\x30\x60012340000000"), "12340"},
		{"expanded display", "mt-cont", sealToledo("\x2A\x30\x30012340000000"), "-"},
		// Two flipped bits, one in the checksum, make a digit of the blank where the point would stand.
		{"A12 with a digit too many", "yaohua-a12", "WN0123400kg21\r\n", ""},
		{"A12 with a point and a blank", "yaohua-a12", string(resealed("yaohua-a12", []byte("WN0123. kg00\r\n"))), ""},
		{"A12 with a point", "yaohua-a12", string(resealed("yaohua-a12", []byte("WN01234.0kg00\r\n"))), "1234.0"},
		{"8217 status", "toledo8217", "\x02?\x42\r", "-"},
		{"8217 status without its fixed bit", "toledo8217", "\x02?\x05\r", ""},
		{"Systec below zero", "systec-rn", "<000005.06.1813:12   21  -20000       0  -20000kg  >", ""},
		{"Systec with a tare below zero", "systec-rn", "<000005.06.1813:12   21   20000    -100   20100kg  >", ""},
		{"NUL in the first status word, the rest intact", "mt-cont/none", "\x02\x000 001234000000\r", ""},
		{"NUL in the third", "mt-cont/none", "\x02+0\x00001234000000\r", ""},
		{"SMA zero error", "sma", "\nE1G  ----------kg \r", "-"},
		{"SMA dashes without an error", "sma", "\n 1G  ----------kg \r", "-"},
		{"SMA unknown command", "sma", "\n?\r", "-"},
		{"Fairbanks dashes", "fairbanks10", "\x0243------\x03", "-"},
		{"CAS lamp without bit 7", "cas22", "ST,GS,1d,   12340 kg\r\n", ""},
		{"Laumas pair that differs", "laumas-td", "&T012340P012341\\05\r", ""},
		{"Laumas alarm", "laumas-ascii", laumas("01   O-Lt"), "-"},
		{"Systec with gross - tare ≠ net", "systec-rn", "<000005.06.1813:12   21   20000    1000   20000kg  >", ""},
		{"Systec refused", "systec-rn", "<13>", "-"},
		// 6 other speakers
		{"echo of our own request", "yaohua-cmd", "\x02AB03\x03" + "\x02AB+01234001C\x03", "12340"},
		{"handshake is no weight", "yaohua-cmd", "\x02AA00\x03", ""},
		{"answer of another address", "yaohua-cmd", "\x02BB+01234001F\x03", ""},
		{"answer to a command we never send", "yaohua-cmd", "\x02AE+01234001B\x03", ""},
		{"answer of another Dini", "dini-short/1", "02ST,GS,   12340,kg\r\n", ""},
		{"answer without an address", "dini-short/1", "ST,GS,   12340,kg\r\n", ""},
		{"answer of another Laumas", "laumas-ascii", laumas("02012340t"), ""},
		{"echo in SICS", "sics", "SI\r\nS S      12340 kg\r\n", "12340"},
		{"echo in Laumas", "laumas-ascii", "$01t75\r" + laumas("01012340t"), "12340"},
		{"continuous Yaohua read as Toledo", "mt-cont/none", strings.Repeat(good, 20), ""},
		{"Toledo read as Yaohua", "yaohua-tf0", strings.Repeat("\x02*0 012340000000\r-", 20), ""},
		// 8 noise that is text
		{"modem", "and18", "AT\r\r\nOK\r\nNO CARRIER\r\nRING\r\n", ""},
		{"boot banner", "yaohua-tf0", "U-Boot 2019.07 (Mar 01 2021)\r\nDRAM: 64 MiB\r\n" + good, "12340"},
		{"ANSI escapes", "sics", "\x1b[2J\x1b[1;1H\x1b[31mERROR\x1b[0m\r\n", ""},
		{"printer escapes", "yaohua-ww", "\x1b@\x1bE\x0c\x1b!0\r\nww00015.000kg\r\n", "15.000"},
		{"GB18030 text", "and18", "\xb5\xd8\xb0\xf5\xb3\xd3\xd6\xd8\r\nST,GS,+0012340kg\r\n", "12340"},
		{"CSV", "and18", "12340,kg,stable\r\n2026-03-01,08:00,12340\r\n", ""},
	}
	for _, test := range tests {
		t.Run(test.dialect+" "+test.name, func(t *testing.T) {
			name, variant, _ := strings.Cut(test.dialect, "/")
			o := weighbridge.Options{}
			switch variant {
			case "none":
				o.Checksum = variant
			case "1":
				o.Address = 1
			}
			input := test.input
			if name == "generic" {
				o.Layout = weighbridge.Layout{Start: weighbridge.Bytes{2}, End: weighbridge.Bytes{3},
					Digits: weighbridge.Digits{Span: weighbridge.Span{From: 2, To: -2}}}
				input = "\x0212345678901234567890\x03"
			}
			got, _ := decode(t, name, o, []byte(input))
			var values []string
			for _, w := range got {
				value := "-"
				if w.HasValue {
					value = w.Value.String()
				}
				values = append(values, value)
			}
			if s := strings.Join(values, " "); s != test.want {
				t.Errorf("read %q, want %q", s, test.want)
			}
		})
	}
}

func laumas(body string) string {
	sum := byte(0)
	for _, c := range []byte(body) {
		sum ^= c
	}
	return "&&" + body + fmt.Sprintf("\\%02X\r", sum)
}

// The status that a frame does not carry stays unknown, and the one it carries is read, in every
// dialect: a damaged status must not turn into the good one.
func TestUnitIsNeverAssumed(t *testing.T) {
	for name, frame := range map[string]string{
		"yaohua-tf0": "\x02+01234001F\x03", "laumas-tx": "012340\r\n", "toledo8217": "\x0204.139\r",
		"and18": "ST,GS,+0012340  \r\n", "rlws": "\x02   12340TG \r\n"} {
		got, _ := decode(t, name, weighbridge.Options{}, []byte(frame))
		if len(got) != 1 || got[0].Unit != "" {
			t.Errorf("%s: %+v, want one weight of unknown unit", name, got)
		}
	}
	got, _ := decode(t, "yaohua-tf0", weighbridge.Options{Unit: "kg"}, []byte("\x02+01234001F\x03"))
	if len(got) != 1 || got[0].Unit != "kg" {
		t.Errorf("with a configured unit: %+v", got)
	}
}

// The CAS header and its lamp byte both speak of stability, and of gross; contradiction means not
// stable, and a kind that is unknown.
func TestContradictionIsUnstable(t *testing.T) {
	for frame, want := range map[string]device.Kind{"ST,GS,1\xE4,   12340 kg\r\n": device.Gross, "ST,NT,1\xE0,   12340 kg\r\n": device.Net,
		"ST,GS,1\xE0,   12340 kg\r\n": device.Gross, "ST,NT,1\xE4,   12340 kg\r\n": device.Shown} {
		if got, _ := decode(t, "cas22", weighbridge.Options{}, []byte(frame)); len(got) != 1 || got[0].Kind != want {
			t.Errorf("%q: %+v, want kind %q", frame, got, want)
		}
	}
	for frame, want := range map[string]device.Tri{
		"ST,GS,1\xE4,   12340 kg\r\n": device.Yes, "ST,GS,1\xA4,   12340 kg\r\n": device.No,
		"US,GS,1\xE4,   12340 kg\r\n": device.No, "ST,GS,1\xF4,   12340 kg\r\n": device.No,
		"HD,GS,1\xE4,   12340 kg\r\n": device.No,
	} {
		got, _ := decode(t, "cas22", weighbridge.Options{}, []byte(frame))
		if len(got) != 1 || got[0].Stable != want {
			t.Errorf("%q: %+v, want stable %d", frame, got, want)
		}
	}
}

// Rows 7: the same frame ten thousand times is ten thousand weights; judging it is not our work.
func TestManyEqualFrames(t *testing.T) {
	got, stats := decode(t, "yaohua-tf0", weighbridge.Options{}, bytes.Repeat([]byte("\x02+01234001F\x03"), 10_000))
	if len(got) != 10_000 || stats.Frames != 10_000 || stats.Bad != 0 || stats.Discarded != 0 {
		t.Errorf("%d frames, %+v", len(got), stats)
	}
}

func TestDummyZeros(t *testing.T) {
	for code, want := range map[string]map[string]string{
		"\x28": {"sent": "12340", "multiply": "1234000"},
		"\x29": {"sent": "12340", "multiply": "123400"},
		"\x2A": {"sent": "12340", "multiply": "12340"},
		"\x2F": {"sent": "0.12340", "multiply": "0.12340"},
	} {
		for rule, value := range want {
			got, _ := decode(t, "mt-cont", weighbridge.Options{DummyZeros: rule}, []byte(sealToledo(code+"\x30\x20012340000000")))
			if len(got) != 1 || got[0].Value.String() != value {
				t.Errorf("code %q, %s: %+v, want %s", code, rule, got, value)
			}
		}
	}
}

func TestToledoVariants(t *testing.T) {
	body := "\x02*0 012340000000\r"
	sum := byte(0)
	for _, c := range []byte(body) {
		sum += c
	}
	for name, test := range map[string]struct {
		o     weighbridge.Options
		frame string
	}{
		"sum8":     {weighbridge.Options{Checksum: "sum8"}, body + string([]byte{sum})},
		"neg8":     {weighbridge.Options{Checksum: "neg8"}, body + string([]byte{-sum})},
		"neg8, LF": {weighbridge.Options{Checksum: "neg8"}, body + "\n" + string([]byte{-(sum + '\n')})},
		"short":    {weighbridge.Options{Checksum: "none", Short: true}, "\x02*0 012340\r"},
		"grams":    {weighbridge.Options{}, sealToledo("*0!012340000000")},
		"net":      {weighbridge.Options{}, sealToledo("*1 012340008000")},
	} {
		got, stats := decode(t, "mt-cont", test.o, []byte(test.frame), []byte(test.frame))
		if len(got) != 2 || got[0].Value.String() != "12340" || stats.Discarded != 0 {
			t.Errorf("%s: %+v, %+v", name, got, stats)
			continue
		}
		switch {
		case name == "grams" && got[0].Unit != "g", name == "net" && (got[0].Kind != "net" || got[0].Tare.String() != "8000"):
			t.Errorf("%s: %+v", name, got[0])
		}
	}
}

// "=" frames of the old models are shorter; the fitter says how long.
func TestEqualsLength(t *testing.T) {
	got, _ := decode(t, "yaohua-eq-rev", weighbridge.Options{Characters: 6}, []byte("=070.15=070.15=070.15"))
	if len(got) != 3 || got[0].Value.String() != "51.070" {
		t.Errorf("six characters: %+v", got)
	}
	if got, stats := decode(t, "yaohua-eq-rev", weighbridge.Options{}, []byte("=070.15=070.15=070.15")); len(got) != 0 || stats.Bad == 0 {
		t.Errorf("of eight configured: %+v, %+v", got, stats)
	}
}
