package weighbridge_test

import (
	"strings"
	"testing"

	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/weighbridge"
)

// A fitter is told which rule a frame fails, and sees its bytes.
func TestRefusalsNameTheirRule(t *testing.T) {
	for _, test := range []struct{ dialect, bytes, want string }{
		{"yaohua-tf0", "+01234001F\x03+01234001F\x03", "no byte 02, with which a frame begins: 2B 30 31"},
		{"yaohua-tf0", "\x02+01234001F\r\x02+01234001F\r", "the end is missing (2 times): 02 2B"},
		{"yaohua-tf0", "\x02+01234001E\x03", "the checksum is wrong: 02 2B"},
		{"yaohua-tf0", "\x02*01234001E\x03", "the sign is neither plus nor minus: 02 2A"},
		{"yaohua-tf0", "\x02+0123x0053\x03", "what stands for the weight is no number: 02 2B"},
		{"yaohua-tf0", "\x02+012340916\x03", "the place of the point is not known: 02 2B"},
		{"yaohua-cmd", "\x02BB+01234001F\x03", "it is from another address: 02 42"},
		{"and18", "ST,NX,+0012340kg\r\n", "a status or legend is not known: 53 54 2C 4E 58"},
		{"and18", "ST,GS,+0012340pc\r\n", "the unit is not known: 53 54"},
		{"and18", "ST,GS,+012340kg\r\n", "the length is wrong: 53 54"},
		{"laumas-td", "&T012340P012341\\05\r", "two numbers contradict each other: 26 54"},
		{"mt-cont", "\x02\x2A0 012340000000\r\x2E", "the checksum is wrong: 02 2A"},
		{"systec-rn", "<001005.06.1813:12  211   20000       0   20000kg  >", "a status or legend is not known: 3C 30"},
	} {
		d := weighbridge.NewDecoder(dialect(t, test.dialect), weighbridge.Options{})
		d.Write(start, []byte(test.bytes), func(w device.Weight) { t.Errorf("%s: %q is taken: %+v", test.dialect, test.bytes, w) })
		d.Flush(func(w device.Weight) { t.Errorf("%s: %q is taken: %+v", test.dialect, test.bytes, w) })
		if got := d.Refused().String(); !strings.HasPrefix(got, test.want) {
			t.Errorf("%s: %q\n got %s\nwant %s", test.dialect, test.bytes, got, test.want)
		}
	}
}

// What was refused before the latest frame is history: a line that fails now is told what fails now.
func TestRefusalsAreSinceTheLatestFrame(t *testing.T) {
	d := weighbridge.NewDecoder(dialect(t, "and18"), weighbridge.Options{})
	frames := 0
	emit := func(device.Weight) { frames++ }
	d.Write(start, []byte(strings.Repeat("ST,NX,+0012340kg\r\n", 5)+"ST,GS,+0012340kg\r\nST,GS,+0012340pc\r\n"), emit)
	if got := d.Refused(); frames != 1 || got.Times != 1 || !strings.Contains(got.String(), "the unit is not known") {
		t.Errorf("%d frames, %s", frames, got)
	}
	if got := d.EverRefused(); got.Times != 5 || !strings.Contains(got.String(), "legend") {
		t.Errorf("ever: %s", got)
	}
}
