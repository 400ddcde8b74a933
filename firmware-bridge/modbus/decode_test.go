package modbus_test

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/modbus"
)

// one makes a profile of one point from register 0 and the rest of its line.
func one(t testing.TB, point string) *modbus.Profile {
	t.Helper()
	return load(t, "profile: one\nstatus: bench\nsources: [{doc: test}]\naddress_base: 0\npoints: [{name: v, at: 0, "+point+"}]\n")
}

func registers(t testing.TB, text string) map[modbus.Register]uint16 {
	t.Helper()
	bytes, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	r := map[modbus.Register]uint16{}
	for i := 0; i+1 < len(bytes); i += 2 {
		r[modbus.Register{FC: 3, Address: uint16(i / 2)}] = uint16(bytes[i])<<8 | uint16(bytes[i+1])
	}
	return r
}

func TestDecode(t *testing.T) {
	for _, test := range []struct{ point, hex, want string }{
		// The four orders (Modbus practice; 12340, -60, 12345678h, 12340.0 and 230.2).
		{"type: s32", "00 00 30 34", "12340"}, {"type: s32, order: CDAB", "30 34 00 00", "12340"},
		{"type: s32, order: BADC", "00 00 34 30", "12340"}, {"type: s32, order: DCBA", "34 30 00 00", "12340"},
		{"type: s32", "FF FF FF C4", "-60"}, {"type: s32, order: CDAB", "FF C4 FF FF", "-60"},
		{"type: s32, order: BADC", "FF FF C4 FF", "-60"}, {"type: s32, order: DCBA", "C4 FF FF FF", "-60"},
		{"type: u32", "12 34 56 78", "305419896"}, {"type: u32, order: CDAB", "56 78 12 34", "305419896"},
		{"type: u32, order: BADC", "34 12 78 56", "305419896"}, {"type: u32, order: DCBA", "78 56 34 12", "305419896"},
		{"type: f32", "46 40 D0 00", "12340"}, {"type: f32, order: CDAB", "D0 00 46 40", "12340"},
		{"type: f32, order: BADC", "40 46 00 D0", "12340"}, {"type: f32, order: DCBA", "00 D0 40 46", "12340"},
		{"type: f32", "43 66 33 33", "230.2"}, {"type: f32, order: CDAB", "33 33 43 66", "230.2"},
		{"type: f32, order: BADC", "66 43 33 33", "230.2"}, {"type: f32, order: DCBA", "33 33 66 43", "230.2"},

		{"type: u16", "FF FF", "65535"}, {"type: s16", "FF FF", "-1"}, {"type: u32", "FF FF FF FF", "4294967295"},
		{"type: s16, scale: \"0.1\", sentinels: [-32768]", "80 00", "none"}, {"type: s16, sentinels: [0x8000]", "80 01", "-32767"},
		{"type: u32, sentinels: [0xFFFFFFFF]", "FF FF FF FF", "none"}, {"type: u16, sentinels: [22222]", "56 CE", "none"},
		{"type: u16, scale: \"0.01\", offset: \"-40\"", "10 68", "2.00"}, {"type: u16, scale: \"0.25\"", "00 03", "0.75"},
		{"type: u64", "00 00 00 01 00 00 00 00", "4294967296"}, {"type: u64", "FF FF FF FF FF FF FF FF", "none"},
		{"type: s64", "FF FF FF FF FF FF FF C4", "-60"}, {"type: u64, order: CDAB", "00 02 00 01 00 00 00 00", "65538"},
		{"type: f64", "40 6C C6 66 66 66 66 66", "230.2"},
		{"type: f32", "7F C0 00 00", "none"}, {"type: f32", "7F 80 00 00", "none"}, {"type: f32", "FF 80 00 00", "none"},
		{"type: f32", "7F 7F FF FF", "none"}, {"type: f32", "00 00 00 01", "0.000000000000"}, {"type: f32, scale: \"0.1\"", "80 00 00 00", "0.0"},
		{"type: f32, sentinels: [-1]", "BF 80 00 00", "none"},
		{"type: bcd16", "12 34", "1234"}, {"type: bcd16", "12 3A", "none"}, {"type: bcd32", "12 34 56 78", "12345678"},
		{"type: base1000, length: 3", "00 01 00 02 00 03", "1002003"}, {"type: base1000, length: 2", "03 E8 00 00", "none"},
		{"type: base1000, length: 2, order: CDAB", "00 02 00 01", "1002"},
		{"bit: 11", "08 00", "1"}, {"bit: 10", "08 00", "0"}, {"bits: [4, 6]", "00 20", "2"}, {"type: u32, bit: 31", "80 00 00 00", "1"},
		{"type: u16, enum: {3: running}", "00 03", "running"}, {"type: u16, enum: {3: running}", "00 04", "4"},
		{"type: bits, enum: {0: a, 8: b}", "01 01", "a, b"}, {"type: bits", "01 01", "257"},
		{"type: string, length: 3", "41 42 43 20 00 00", "ABC"}, {"type: string, length: 2, order: BADC", "42 41 44 43", "ABCD"},
		{"type: string, length: 1", "41 07", "none"},
		{"type: u16, constant: 7", "00 07", "7"}, {"type: u16, constant: 7", "00 08", "none"},
		{"type: bcd48, scale: \"0.01\"", "00 00 01 23 45 67", "12345.67"}, {"type: bcd64", "12 34 56 78 90 12 34 56", "1234567890123456"},
		{"type: bcd48, order: CDAB", "45 67 01 23 00 00", "1234567"}, {"type: bcd32, bits: [0, 27]", "91 23 45 67", "1234567"}, {"type: bcd64", "F0 00 00 00 00 00 00 01", "none"},
		{"type: u48", "00 01 00 00 00 02", "4294967298"}, {"type: s48", "FF FF FF FF FF C4", "-60"}, {"type: s48, order: DCBA", "C4 FF FF FF FF FF", "-60"},
		{"type: base10000, length: 4, order: CDAB", "04 D2 00 01 00 00 00 00", "11234"}, {"type: base10000, length: 4", "27 10 00 00 00 00 00 00", "none"},
		{"type: base10000, length: 5", "00 00 27 0F 27 0F 27 0F 27 0F", "9999999999999999"}, {"type: base10000, length: 5", "27 0F 27 0F 27 0F 27 0F 27 0F", "none"},
		{"type: base1000, length: 6", "03 E7 03 E7 03 E7 03 E7 03 E7 03 E7", "999999999999999999"}, {"type: base100, length: 2", "00 0C 00 22", "1234"},
		{"type: base10000, length: 2, sentinels: [99999999]", "27 0F 27 0F", "none"},
		{"type: digits, length: 4", "20 20 31 32 33 34 30 20", "12340"}, {"type: digits, length: 4, scale: \"0.1\"", "2D 20 31 32 33 2E 34 00", "-12.34"},
		{"type: digits, length: 4, unit: kg", "31 32 33 2E 34 20 6B 67", "123.4"}, {"type: digits, length: 4, unit: t", "31 32 33 2E 34 20 6B 67", "none"},
		{"type: digits, length: 3, order: BADC", "32 31 2E 33 20 34", "123.4"}, {"type: digits, length: 2, order: BADC", "32 31 34 33", "1234"},
		{"type: digits, length: 2", "20 20 20 20", "none"}, {"type: digits, length: 2", "2D 2D 2D 2D", "none"}, {"type: digits, length: 2", "2B 2D 31 32", "none"}, {"type: digits, length: 3", "4F 4C 20 20 20 20", "none"},
		{"type: u16, scale: \"-0.1\"", "00 7B", "-12.3"}, {"type: s16, scale: \"-1\", offset: \"100\"", "00 1E", "70"},
		{"bit: 3, inverted: true", "00 08", "0"}, {"bit: 3, inverted: true", "00 00", "1"},
		{"type: f32, decimals: 3", "44 9A 52 2B", "1234.568"}, {"type: f32, decimals: 3", "45 FF FF FF", "8192.000"}, {"type: f32, decimals: 3", "46 00 00 00", "none"},
		{"type: f32, decimals: 0, quantity: bale.count", "42 28 00 00", "42"}, {"type: f32, decimals: 0, quantity: bale.count", "42 2A 00 00", "none"},
		{"type: f32, decimals: 0, quantity: bale.count", "4B 00 00 00", "none"}, {"type: f64, decimals: 1, scale: \"0.1\"", "40 6C C6 66 66 66 66 66", "23.02"},
		{"type: u32", "00 01", "none"}, // the second register was not read
	} {
		got := one(t, test.point).Decode(registers(t, test.hex))[0]
		if text := modbus.Text(got); text != test.want || got.OK != (test.want != "none") || got.OK == (got.Why != "") {
			t.Errorf("{%s} of %s = %q (ok %v, %q), want %q", test.point, test.hex, text, got.OK, got.Why, test.want)
		}
	}
}

// A value that the device itself calls invalid is none, and so is one of which the device's word is
// missing. Without the key the same registers are a number.
func TestValuesThatTheDeviceCallsInvalid(t *testing.T) {
	const points = "profile: p\nstatus: bench\nsources: [{doc: d}]\naddress_base: 0\npoints:\n" +
		"  - {name: status, at: 0, type: u16}\n  - {name: gross, at: 1, type: s32%s}\n  - {name: name, at: 3, type: string, length: 1%[1]s}\n"
	careful := load(t, fmt.Sprintf(points, ", valid_from: {point: status, bit: 15}"))
	careless := load(t, fmt.Sprintf(points, ""))
	for _, test := range []struct{ hex, gross, name, careless string }{
		{"80 00 00 00 30 34 41 42", "12340", "AB", "12340"},
		{"7F FF 00 00 30 34 41 42", "none", "none", "12340"},
	} {
		values := careful.Decode(registers(t, test.hex))
		if got := modbus.Text(values[1]) + " " + modbus.Text(values[2]); got != test.gross+" "+test.name {
			t.Errorf("%s reads %s", test.hex, got)
		}
		if got := modbus.Text(careless.Decode(registers(t, test.hex))[1]); got != test.careless {
			t.Errorf("%s reads %s without valid_from: this proves nothing", test.hex, got)
		}
	}
	missing := registers(t, "80 00 00 00 30 34 41 42")
	delete(missing, modbus.Register{FC: 3, Address: 0})
	if v := careful.Decode(missing)[1]; v.OK || !strings.Contains(v.Why, "register 0 was not read") {
		t.Errorf("a value of which the device's word is missing: %+v", v)
	}
	served, err := careful.Encode(map[string]string{"gross": "-60"})
	if err != nil {
		t.Fatal(err)
	}
	if got := modbus.Text(careful.Decode(served)[1]); got != "-60" {
		t.Errorf("served and read again: %s", got)
	}
}

// every has a point of each kind that can be served.
const every = `
profile: every
status: bench
sources: [{doc: test}]
address_base: 40001
limits: {max_registers: 60}
points:
  - {name: status, at: 40001, type: u16}
  - {name: up, at: 40001, bit: 3}
  - {name: decimals, at: 40002, bits: [4, 6]}
  - {name: gross, at: 40003, type: u32, order: CDAB, sign_from: {point: status, bit: 7}}
  - {name: net, at: 40005, type: s32, order: DCBA, scale_from: decimals}
  - {name: temperature, at: 40007, type: s16, scale: "0.1", offset: "-5", valid_from: {point: status, bit: 9}}
  - {name: power, at: 40008, type: f32, order: BADC}
  - {name: energy, at: 40010, type: f64}
  - {name: count, at: 40014, type: u64}
  - {name: digits, at: 40018, type: bcd32}
  - {name: triples, at: 40020, type: base1000, length: 4}
  - {name: state, at: 40024, type: u16, enum: {1: on, 2: running}}
  - {name: name, at: 40025, type: string, length: 4, order: BADC}
  - {name: long, at: 40029, type: s64, order: CDAB, scale: "0.001"}
  - {name: bcd, at: 40033, type: bcd64, order: CDAB}
  - {name: wide, at: 40037, type: s48, order: BADC, scale: "-0.1"}
  - {name: modulo, at: 40040, type: base10000, length: 5, order: CDAB}
  - {name: table, at: 40045, type: u16, enum: {0: "1", 1: "0.1", 7: "100"}}
  - {name: tabled, at: 40046, type: s32, scale_from: table}
  - {name: power_of_ten, at: 40048, type: s16}
  - {name: sunspec, at: 40049, type: s16, scale_from: power_of_ten}
  - {name: kilograms, at: 40050, type: u16, scale: "0.001"}
  - {name: tonnes, at: 40051, type: s16, plus: kilograms}
  - {name: closed, at: 40052, bit: 5, inverted: true}
  - {name: rounded, at: 40053, type: f32, decimals: 2}
  - {name: coil, at: 40, fc: 1}
  - {name: faults, at: 10001, fc: 2, type: bits, length: 20}
`

func FuzzDecode(f *testing.F) {
	p := load(f, every)
	f.Add([]byte{0, 0x80, 0, 0x20})
	f.Add([]byte(strings.Repeat("\xff", 64)))
	f.Add([]byte(strings.Repeat("\x7f\xc0", 32)))
	f.Add([]byte(strings.Repeat("\x00\x01", 64)))
	f.Add([]byte(strings.Repeat("\xff\xfe\x04\xd2", 32)))
	f.Fuzz(func(t *testing.T, bytes []byte) {
		r := map[modbus.Register]uint16{}
		for i := 0; i+1 < len(bytes); i += 2 {
			r[modbus.Register{FC: 3, Address: uint16(i / 2)}] = uint16(bytes[i])<<8 | uint16(bytes[i+1])
			r[modbus.Register{FC: 1, Address: uint16(i / 2)}] = uint16(bytes[i] & 1)
			r[modbus.Register{FC: 2, Address: uint16(i / 2)}] = uint16(bytes[i+1] & 1)
		}
		values := p.Decode(r)
		if len(values) != len(p.Points) {
			t.Fatalf("%d values of %d points", len(values), len(p.Points))
		}
		for _, v := range values {
			if v.OK == (v.Why != "") {
				t.Errorf("%s: ok %v, why %q", v.Tag, v.OK, v.Why)
			}
		}
		served, err := p.Encode(texts(values))
		if err != nil {
			t.Fatalf("what was decoded cannot be served: %v", err)
		}
		for i, again := range p.Decode(served) {
			v := values[i]
			if v.OK && (!again.OK || plain(again) != plain(v)) && again.Tag != "status" {
				t.Errorf("%s: %+v, served and read again %+v", v.Tag, v, again)
			}
		}
	})
}

// plain is a value's text without the zeros that rounding left behind the point.
func plain(v device.Value) string {
	text := modbus.Text(v)
	if strings.Contains(v.Number.String(), ".") && v.Text == "" {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text
}

// texts of the values that there are.
func texts(values []device.Value) map[string]string {
	served := map[string]string{}
	for _, v := range values {
		if v.OK {
			served[v.Tag] = modbus.Text(v)
		}
	}
	return served
}

func FuzzAnswer(f *testing.F) {
	f.Add(withCRC(respond(modbus.Ask(1, 3, 0, 5)[:6])), uint8(5))
	f.Add([]byte{1, 0x83, 2, 0xC0, 0xF1}, uint8(1))
	f.Fuzz(func(t *testing.T, bytes []byte, count uint8) {
		n := 1 + int(count)%125
		data, found, err := modbus.Answer(bytes, 1, 3, 0, n)
		if found && err == nil && len(data) != 2*n {
			t.Fatalf("%d bytes for %d registers", len(data), n)
		}
	})
}

// Frames with right CRCs as printed in the manuals.
func TestFrames(t *testing.T) {
	for _, text := range []string{"01 03 04 01 F4 00 0B FB FA", "01 86 02 C3 A1", "01 03 02 00 01 79 84", "01 83 06 C1 32", "01 83 02 C0 F1",
		"01 06 10 01 00 01 1D 0A", "01 10 10 01 00 02 04 00 01 01 90 AF 9F", "01 10 10 01 00 02 14 C8",
		"01 03 0A 08 00 00 00 30 34 00 00 10 F4 1D 2F", "01 04 0A 00 00 17 70 00 00 17 70 00 04 E5 FC", "01 04 04 43 66 33 33 5A FA"} {
		frame, _ := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
		if got := withCRC(frame[:len(frame)-2]); string(got) != string(frame) {
			t.Errorf("%s: CRC %x", text, got[len(got)-2:])
		}
	}
	for _, test := range []struct {
		unit, fc uint8
		from     uint16
		count    int
		want     string
	}{
		{1, 3, 6, 5, "01 03 00 06 00 05 65 C8"}, {1, 4, 0, 2, "01 04 00 00 00 02 71 CB"},
		{1, 3, 0x1000, 8, "01 03 10 00 00 08 40 CC"}, {1, 3, 1009, 11, "01 03 03 F1 00 0B 55 BA"},
		{1, 3, 0, 10, "01 03 00 00 00 0A C5 CD"}, {1, 3, 0x3000, 1, "01 03 30 00 00 01 8B 0A"}, {1, 3, 3, 3, "01 03 00 03 00 03 F5 CB"},
	} {
		if got := fmt.Sprintf("% X", modbus.Ask(test.unit, test.fc, test.from, test.count)); got != test.want {
			t.Errorf("request %s, want %s", got, test.want)
		}
	}
	reply, _ := hex.DecodeString("01030200017984")
	if data, found, err := modbus.Answer(reply, 1, 3, 0, 1); !found || err != nil || string(data) != "\x00\x01" {
		t.Errorf("answer = %x, %v, %v", data, found, err)
	}
	if _, found, err := modbus.Answer([]byte{1, 0x83, 2, 0xC0, 0xF1}, 1, 3, 0, 1); !found || err != (modbus.Exception{Code: 2}) {
		t.Errorf("exception = %v, %v", found, err)
	}
}

func TestEncodeRefuses(t *testing.T) {
	p := load(t, every)
	for tag, value := range map[string]string{"nobody": "1", "state": "flying", "digits": "123456789", "temperature": "1.25",
		"count": "-1", "name": "longer than eight", "net": "1.00", "triples": "-4", "up": "2"} {
		if _, err := p.Encode(map[string]string{tag: value}); err == nil {
			t.Errorf("%s: %q was taken", tag, value)
		}
	}
}
