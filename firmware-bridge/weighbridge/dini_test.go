package weighbridge_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/weighbridge"
)

// The answer to a registered weighing has no checksum. What protects it are the places, and
// statements that must agree; each of these is one character or one field away from a good answer.
func TestDiniStoredIsStrict(t *testing.T) {
	const good = "PIDST,1,     12340kg,PT      8000kg,00126-000048\r\n"
	change := func(from, to string) string {
		t.Helper()
		if !strings.Contains(good, from) {
			t.Fatalf("%q is not in the good answer", from)
		}
		return strings.Replace(good, from, to, 1)
	}
	if got, _ := decode(t, "dini-pid", weighbridge.Options{}, []byte(good)); len(got) != 1 || got[0].Alibi != "00126-000048" {
		t.Fatalf("the good answer: %+v", got)
	}
	for name, frame := range map[string]string{
		"accepted, and not stable":   change("ST", "US"),
		"status of two blanks":       change("ST", "  "),
		"scale 0":                    change(",1,", ",0,"),
		"scale 5":                    change(",1,", ",5,"),
		"scale of two digits":        change(",1,", ",01,"),
		"letter O":                   change("12340", "1234O"),
		"blank inside":               change("12340", "12 40"),
		"negative gross":             change("    12340", "   -12340"),
		"negative tare":              change("     8000", "    -8000"),
		"a point in one number only": change("     12340", "    123.40"),
		"gross of blanks":            change("12340", "     "),
		"gross of dashes":            change("12340", "-----"),
		"tare of blanks":             change("8000", "    "),
		"two units":                  change("8000kg", "8000 t"),
		"no unit":                    change("12340kg", "12340  "),
		"unknown unit":               change("12340kg", "12340kq"),
		"unknown kind of tare":       change(",PT", ",TP"),
		"half a kind of tare":        change(",PT", ",P "),
		"a separator lost":           change("kg,PT", "kg PT"),
		"a decimal comma":            change("    12340", "  12,340 "),
		"letter in the rewrite id":   change("00126-", "0O126-"),
		"letter in the number":       change("000048", "00004B"),
		"blank in the number":        change("-000048", "-    48"),
		"no dash":                    change("00126-", "00126 "),
		"id one digit longer":        change("00126-000048", "000126-00048"),
		"number one digit shorter":   change("000048", "00048"),
		"number one digit longer":    change("000048", "0000048"),
		"no number":                  change("00126-000048", ""),
		"a field more":               change("\r\n", ",1\r\n"),
		"another command":            change("PID", "PIE"),
		"NO in another place":        change(",00126-000048", "NO"),
		"NO as a number":             change("00126-000048", "00126-0000NO"),
		"something before NO":        "PIDST,1,NO\r\n",
		"error 0":                    "ERR00\r\n",
		"error 5":                    "ERR05\r\n",
		"more behind an error":       "ERR012\r\n",
		"an address of letters":      "A1" + good,
		"nothing but an address":     "01\r\n",
		"the live string":            "ST,GS,   12340,kg\r\n",
	} {
		if got, stats := decode(t, "dini-pid", weighbridge.Options{}, []byte(frame)); len(got) != 0 || stats.Bad != 1 {
			t.Errorf("%s: %q is read as %+v, %+v", name, frame, got, stats)
		}
	}
}

// One indicator is asked for its live weight and, between two polls, told to register: its dialect
// reads both answers, and only those of its own address.
func TestDiniLiveDialectsReadStoredWeighings(t *testing.T) {
	live := map[string]string{
		"dini-short": "ST,GS,   12340,kg\r\n",
		"dini-ext":   "1ST,      4340,PT      8000,         0,kg\r\n",
	}
	const stored = "PIDST,1,     12340kg,PT      8000kg,00126-000048\r\n"
	const refused = "PIDUS,1,     12340kg,PT      8000kg,NO\r\n"
	for name, line := range live {
		for _, test := range []struct {
			address int
			prefix  string
			want    int
		}{{0, "", 3}, {0, "07", 3}, {7, "07", 3}, {7, "", 0}, {7, "08", 0}, {7, "70", 0}} {
			input := test.prefix + line + test.prefix + stored + test.prefix + refused
			got, _ := decode(t, name, weighbridge.Options{Address: test.address}, []byte(input))
			if len(got) != test.want {
				t.Errorf("%s at address %d: %d weights from %q, want %d", name, test.address, len(got), input, test.want)
				continue
			}
			if len(got) == 0 {
				continue
			}
			if got[0].Alibi != "" || !got[0].HasValue {
				t.Errorf("%s: the live weight %+v", name, got[0])
			}
			if w := got[1]; w.Alibi != "00126-000048" || w.Value.String() != "12340" || w.Kind != device.Gross || w.TareKind != device.TarePreset {
				t.Errorf("%s: the stored weight %+v", name, w)
			}
			if w := got[2]; w.HasValue || w.HasTare || w.HasGross || w.Alibi != "" || w.Error != "refused: negative or not stable" {
				t.Errorf("%s: the refusal %+v", name, w)
			}
		}
		requests := dialect(t, name).Requests()
		if !slices.Contains(requests, weighbridge.Store) || dialect(t, name).Poll == weighbridge.Store {
			t.Errorf("%s knows %q and polls %q", name, requests, dialect(t, name).Poll)
		}
		ask, err := dialect(t, name).Encode(weighbridge.Store, weighbridge.Options{Address: 7})
		if err != nil || !bytes.Equal(ask, []byte("07PID\r\n")) {
			t.Errorf("%s: registers with %q, %v", name, ask, err)
		}
	}
	// The negative control: another maker's short string has no such answer.
	if got, _ := decode(t, "and18", weighbridge.Options{}, []byte(stored)); len(got) != 0 {
		t.Errorf("and18 reads %+v", got)
	}
}
