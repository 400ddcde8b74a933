package bench_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"steelyard/firmware-bridge/weighbridge"
	"steelyard/internal/program"
)

type vector struct {
	ID     string         `json:"id"`
	Proto  string         `json:"proto"`
	Hex    string         `json:"hex"`
	Expect map[string]any `json:"expect"`
}

func vectors(t testing.TB) (protos []string, by map[string][]vector) {
	t.Helper()
	data, err := os.ReadFile("frames.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []vector
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	by = map[string][]vector{}
	for _, v := range all {
		if by[v.Proto] == nil {
			protos = append(protos, v.Proto)
		}
		by[v.Proto] = append(by[v.Proto], v)
	}
	return protos, by
}

// Every known frame goes through the command, all of a dialect in one call, without options.
func TestDecodeKnownFrames(t *testing.T) {
	protos, by := vectors(t)
	tested := 0
	for _, proto := range protos {
		t.Run(proto, func(t *testing.T) {
			var in strings.Builder
			for _, v := range by[proto] {
				in.WriteString("# " + v.ID + "\n" + v.Hex + "  # as printed\n\n")
			}
			stdout, stderr, code := run(t, in.String(), "decode", "-dialect", proto)
			got := objects(t, stdout)
			if code != program.ExitOK || stderr != "" || len(got) != len(by[proto]) {
				t.Fatalf("code %d, %d objects for %d lines: %s", code, len(got), len(by[proto]), stderr)
			}
			for i, v := range by[proto] {
				tested++
				for key, want := range v.Expect {
					value, known := got[i][key]
					if diff := cmp.Diff(want, value); diff != "" || !known {
						t.Errorf("%s: %s: -want +got\n%s", v.ID, key, diff)
					}
				}
				raw := strings.ToLower(strings.ReplaceAll(v.Hex, " ", ""))
				if got[i]["raw"] != raw {
					t.Errorf("%s: raw %v, want %s", v.ID, got[i]["raw"], raw)
				}
				if len(v.Expect) > 0 && got[i]["valid"] != true {
					t.Errorf("%s: not valid: %v", v.ID, got[i])
				}
			}
		})
	}
	if tested < 128 {
		t.Errorf("only %d frames were tested", tested)
	}
}

// Requests are named; those that make a machine act are not known here.
func TestDecodeRequests(t *testing.T) {
	for _, test := range []struct{ dialect, hex, request string }{
		{"yaohua-cmd", "02 41 42 30 33 03", "gross"},
		{"yaohua-cmd", "02 42 42 30 30 03", "gross"},
		{"yaohua-cmd", "02 41 46 30 37 03", ""},
		{"sics", "53 49 0D 0A", "weight"},
		{"sics", "5A 0D 0A", ""},
		{"toledo8217", "57", "weight"},
	} {
		stdout, _, _ := run(t, test.hex, "decode", "-dialect", test.dialect)
		got := objects(t, stdout)[0]
		request, _ := got["request"].(string)
		if request != test.request || got["valid"] != (test.request != "") || got["value"] != nil {
			t.Errorf("%s %s: %v, want request %q", test.dialect, test.hex, got, test.request)
		}
	}
}

// A damaged frame must be shown as damaged: of each known frame with a check, every digit is
// changed in turn.
func TestDecodeDamaged(t *testing.T) {
	for _, test := range []struct{ dialect, hex string }{
		{"yaohua-tf0", "02 2B 30 32 33 39 36 30 30 31 35 03"},
		{"mt-cont", "02 2A 30 20 30 31 32 33 34 30 30 30 30 30 30 30 0D 2D"},
		{"laumas-ascii", "26 26 30 31 30 31 32 33 34 30 74 5C 37 31 0D"},
		{"modbus-crc", "01 03 0A 08 00 00 00 30 34 00 00 10 F4 1D 2F"},
	} {
		whole, _, _ := run(t, test.hex, "decode", "-dialect", test.dialect)
		if objects(t, whole)[0]["valid"] != true {
			t.Errorf("%s: the whole frame is not valid: %s", test.dialect, whole)
		}
		var in strings.Builder
		bytes := strings.Fields(test.hex)
		for i, b := range bytes {
			if b[0] != '3' || b > "39" {
				continue
			}
			other := append([]string{}, bytes...)
			other[i] = map[bool]string{true: "31", false: "30"}[b == "30"]
			in.WriteString(strings.Join(other, " ") + "\n")
		}
		stdout, _, code := run(t, in.String(), "decode", "-dialect", test.dialect)
		for i, got := range objects(t, stdout) {
			if got["valid"] != false || got["value"] != nil || got["why"] == "" {
				t.Errorf("%s: damaged frame %d: %v", test.dialect, i, got)
			}
		}
		if code != program.ExitOK {
			t.Errorf("%s: code %d", test.dialect, code)
		}
	}
}

// The control of the test above: told that the line has no checksum, the same command takes a
// changed digit for a weight.
func TestDecodeDamagedWithoutCheck(t *testing.T) {
	stdout, _, _ := run(t, "02 2A 30 20 31 31 32 33 34 30 30 30 30 30 30 30 0D 2D", "decode", "-dialect", "mt-cont", "-checksum", "none")
	if got := objects(t, stdout)[0]; got["value"] != "112340" {
		t.Errorf("%v, want the wrong weight 112340", got)
	}
}

func TestDecodeStream(t *testing.T) {
	in := "# a frame in three pieces, and one without its end\n02 2B 30 32\n33:39:36 30\n30 31 35 03 02 2B\n"
	stdout, _, code := run(t, in, "decode", "-dialect", "yaohua-tf0", "-stream", "-unit", "kg")
	got := objects(t, stdout)
	if code != program.ExitOK || len(got) != 1 || got[0]["value"] != "23960" || got[0]["unit"] != "kg" {
		t.Errorf("code %d: %s", code, stdout)
	}
}

func TestDecodeReplies(t *testing.T) {
	in := strings.Join([]string{
		"01 03 00 06 00 05 65 C8",
		"01 03 0A 08 00 00 00 30 34 00 00 10 F4 1D 2F",
		"00 07 00 00 00 0D 01 03 0A 08 00 00 00 30 34 00 00 10 F4", // the same over TCP
		"01 03 0A 01 80 00 00 00 3C 00 00 00 50",                   // and as in a profile's tests
		"01 03 0A 08 00 00 00 30 34 00 00 10 F4 1D 2E",             // wrong CRC
		"01 83 02 C0 F1",
		"01 03 04 00 00 30 34",
	}, "\n")
	stdout, _, code := run(t, in, "decode", "-profile", "laumas-tlb")
	got := objects(t, stdout)
	if code != program.ExitOK || len(got) != 7 {
		t.Fatalf("code %d, %d objects: %s", code, len(got), stdout)
	}
	for i, want := range []map[string]any{
		{"valid": true, "request": "read 5 holding registers from 6"},
		{"gross": "12340", "net": "4340", "stable": "1"},
		{"gross": "12340", "net": "4340", "stable": "1"},
		{"gross": "-60", "net": "-80", "stable": "0"},
		{"valid": false, "why": "no Modbus frame: the CRC or the length is not right"},
		{"valid": false, "why": "exception 02: illegal address; the profile does not fit the machine, or a read crosses a gap"},
		{"valid": false, "why": "the request is not known and 0 reads of laumas-tlb have this length: give the request in the line before"},
	} {
		in := got[i]
		if values, ok := in["values"].(map[string]any); ok {
			if _, peak := values["peak"]; peak {
				t.Errorf("line %d: a value that was not read: %v", i, in)
			}
			in = values
		}
		for key, value := range want {
			if in[key] != value {
				t.Errorf("line %d: %s is %v, want %v", i, key, in[key], value)
			}
		}
	}
}

func TestDecodeBadInput(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"02 2B\n0G", "1 line of 2"},
		{"02 2\nx\n", "2 lines of 2"},
		{strings.Repeat("00", 40_000), "longer than"},
	} {
		_, stderr, code := run(t, test.in, "decode", "-dialect", "yaohua-tf0")
		if code != program.ExitError || !strings.Contains(stderr, test.want) {
			t.Errorf("%.20q: code %d, %s; want %q", test.in, code, stderr, test.want)
		}
	}
	stdout, _, _ := run(t, "02 2\n02 2B 30 30 31 35 36 30 30 31 39 03\n", "decode", "-dialect", "yaohua-tf0")
	if got := objects(t, stdout); len(got) != 2 || got[0]["valid"] != false || got[0]["line"] != 1.0 ||
		!strings.Contains(got[0]["why"].(string), "hexadecimal") || got[1]["value"] != "1560" {
		t.Errorf("a line that is no hexadecimal took another with it: %v", got)
	}
	for _, named := range [][]string{{"-dialect", "yaohua-tf0"}, {"-indicator", "yaohua-xk3190-a9"}} {
		_, stderr, code := run(t, "", append([]string{"decode", "-checksum", "mt7"}, named...)...)
		if code != program.ExitError || !strings.Contains(stderr, "no meaning here") {
			t.Errorf("%v: an option of another dialect: code %d, %s", named, code, stderr)
		}
	}
}

// One line that is too long takes no other with it, however long it is: a capture is not refused as
// a whole because of a piece of rubbish in it.
func TestDecodePassesOverALongLine(t *testing.T) {
	for _, long := range []int{65_536, 65_537, 1 << 20, 20 << 20} {
		in := strings.Repeat("0", long) + "\n02 2B 30 30 31 35 36 30 30 31 39 03"
		stdout, stderr, code := run(t, in, "decode", "-dialect", "yaohua-tf0")
		got := objects(t, stdout)
		if long == 65_536 {
			if len(got) != 2 || got[0]["raw"] == "" || got[1]["value"] != "1560" || code != program.ExitOK {
				t.Errorf("a line of %d characters: code %d: %d objects, %s", long, code, len(got), stderr)
			}
			continue
		}
		if code != program.ExitError || len(got) != 2 || got[0]["line"] != 1.0 || got[1]["line"] != 2.0 || got[1]["value"] != "1560" ||
			!strings.Contains(stderr, "1 line of 2 could not be read; the first is line 1: too long") {
			t.Errorf("a line of %d characters: code %d: %s%s", long, code, stdout, stderr)
		}
	}
}

// A capture tool that leaves out leading zeros must not make other bytes of the same digits.
func TestDecodeJoinsNoDigitsOverABlank(t *testing.T) {
	stdout, _, code := run(t, "2 2B 30 3\n022B 3031\n\ufeff02:2b\t30\r\n", "decode", "-dialect", "yaohua-tf0")
	got := objects(t, stdout)
	if code != program.ExitError || len(got) != 3 || got[0]["raw"] != "" || !strings.Contains(got[0]["why"].(string), "two digits") || got[1]["raw"] != "022b3031" {
		t.Errorf("code %d: %s", code, stdout)
	}
	// The mark at the beginning of a file is no part of it.
	stdout, _, _ = run(t, "\ufeff02:2b\t30\r\n", "decode", "-dialect", "yaohua-tf0")
	if got := objects(t, stdout)[0]; got["raw"] != "022b30" {
		t.Errorf("%v", got)
	}
}

// Whatever stands in a line, its object has the same keys, so that a script needs no question.
func TestDecodeAlwaysHasItsKeys(t *testing.T) {
	const frame = "02 2B 30 30 31 35 36 30 30 31 39 03"
	for _, test := range []struct{ args, lines, keys string }{
		{"-dialect yaohua-tf0", frame + "\n02 2B\nxyz\n00 0\n", "value unit stable range kind tare tare_kind center_zero error valid raw line"},
		{"-dialect yaohua-tf0 -stream", frame + "\nxyz\n", "value unit stable range kind tare tare_kind center_zero error valid raw line"},
		{"-dialect yaohua-cmd", "02 41 42 30 33 03\n", "value unit stable range kind tare tare_kind center_zero error valid raw line"},
		{"-profile laumas-tlb", "01 83 02 C0 F1\nxyz\n01\n", "valid line unit raw"},
		{"-dialect modbus-crc", "01 83 02 C0 F1\nxyz\n01\n", "valid line unit function exception registers meaning raw"},
	} {
		stdout, _, _ := run(t, test.lines, append([]string{"decode"}, strings.Fields(test.args)...)...)
		all := objects(t, stdout)
		if len(all) != strings.Count(test.lines, "\n") {
			t.Errorf("%s: %d objects: %s", test.args, len(all), stdout)
		}
		for i, o := range all {
			for key := range strings.FieldsSeq(test.keys) {
				if _, ok := o[key]; !ok {
					t.Errorf("%s: object %d has no %s: %v", test.args, i, key, o)
				}
			}
		}
	}
}

// What is said on the command line is over what a file of options says, and both count.
func TestDecodeOptionsOverTheirFile(t *testing.T) {
	path := t.TempDir() + "/options.yaml"
	if err := os.WriteFile(path, []byte("address: 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	const answer = "02 42 42 2B 30 31 32 33 34 30 30 31 46 03" // of address 2
	for _, test := range []struct {
		flags string
		valid bool
	}{{"", false}, {"-address 2", true}} {
		stdout, stderr, _ := run(t, answer, append([]string{"decode", "-dialect", "yaohua-cmd", "-options", path}, strings.Fields(test.flags)...)...)
		if got := objects(t, stdout); stderr != "" || got[0]["valid"] != test.valid {
			t.Errorf("%q: %s%s", test.flags, stdout, stderr)
		}
	}
}

// What is said on the command line is this one instrument's, over what its model's file says.
func TestDecodeInstrumentOfAModel(t *testing.T) {
	const answer = "02 42 42 2B 30 31 32 33 34 30 30 31 46 03" // of address 2
	for address, want := range map[string]any{"1": false, "2": true} {
		stdout, stderr, code := run(t, answer, "decode", "-indicator", "yaohua-xk3190-a9-command", "-address", address)
		if code != program.ExitOK || objects(t, stdout)[0]["valid"] != want {
			t.Errorf("address %s: code %d: %s%s", address, code, stdout, stderr)
		}
	}
}

// A layout file is what edge.yaml has below options.
func TestDecodeLayout(t *testing.T) {
	path := t.TempDir() + "/options.yaml"
	layout := "layout:\n  start: \"02\"\n  end: \"03\"\n  length: 8\n  digits: {from: 2, to: 7}\n"
	if err := os.WriteFile(path, []byte(layout), 0o644); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, code := run(t, "02 30 32 33 39 36 30 03", "decode", "-dialect", "generic", "-options", path)
	if code != program.ExitOK || objects(t, stdout)[0]["value"] != "23960" {
		t.Errorf("code %d: %s%s", code, stdout, stderr)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("mt-cont", "02 2A 30 20 30 31 32 33 34 30 30 30 30 30 30 30 0D 2D")
	f.Add("modbus-tcp", "00 01 00 00 00 03 01 83 0B")
	f.Fuzz(func(t *testing.T, dialect, line string) {
		_, known := weighbridge.Find(dialect)
		_, _, code := run(t, line, "decode", "-dialect", dialect)
		if !known && !strings.HasPrefix(dialect, "modbus-") && code == program.ExitOK {
			t.Errorf("dialect %q was taken", dialect)
		}
	})
}

// A stream that holds no frame ended with nothing at all. Now a line says how many bytes there were, which
// rule they fail, and with which options they would be frames.
func TestDecodeNeverEndsWithNothing(t *testing.T) {
	const withoutSTX = "30 33 33 30 31 42 2b 30 30 30 30 33 33 30 31 42 2b 30 30 30 30 33 33 2b 30 30 30 30 33 33 30 31 42\n"
	const toledo = "02 33 30 20 30 31 32 33 34 30 30 30 30 30 30 30 0D 00\n"
	for _, test := range []struct {
		dialect, input string
		want           []string
	}{
		{"yaohua-tf0", withoutSTX, []string{"33 bytes and no frame of yaohua-tf0", "no byte 02", "30 33 33 30 31 42 2B", "03301B+"}},
		{"mt-cont", toledo, []string{"18 bytes and no frame of mt-cont", "the checksum is wrong", "02 33 30 20", "with {checksum: none} they hold 1 frame"}},
		{"and18", "", []string{"holds no bytes"}},
		{"and18", "# nothing\n\n", []string{"holds no bytes"}},
	} {
		stdout, stderr, code := run(t, test.input, "decode", "-dialect", test.dialect, "-stream")
		if code != program.ExitError || stdout != "" || strings.Count(strings.TrimSpace(stderr), "\n") != 0 {
			t.Errorf("%s: code %d, %q, %q", test.dialect, code, stdout, stderr)
		}
		for _, want := range test.want {
			if !strings.Contains(stderr, want) {
				t.Errorf("%s: %q does not say %q", test.dialect, stderr, want)
			}
		}
	}
	// A line that stands for itself is answered in its object, with the bytes and the rule.
	stdout, _, code := run(t, "53 54 2C 47 53 2C 2B 30 30 31 32 33 34 30 78 67 0D 0A\n", "decode", "-dialect", "and18")
	if code != program.ExitOK || !strings.Contains(stdout, "the unit is not known: 53 54 2C") {
		t.Errorf("code %d: %s", code, stdout)
	}
	// GEC Avery and others send OL alone above their range; it was no frame.
	stdout, stderr, code := run(t, "4f 4c 0d 0a\n", "decode", "-dialect", "and18")
	if code != program.ExitOK || !strings.Contains(stdout, `"value":null`) || !strings.Contains(stdout, `"range":"over"`) {
		t.Errorf("code %d: %s%s", code, stdout, stderr)
	}
}
