package bench_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"steelyard/internal/program"
)

const devices = "../../configs/devices/"

func shipped(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob(devices + "*.yaml")
	if err != nil || len(files) < 13 {
		t.Fatalf("%d profiles, %v", len(files), err)
	}
	return files
}

func TestCheck(t *testing.T) {
	t.Parallel()
	files := shipped(t)
	stdout, stderr, code := run(t, "", append([]string{"check"}, files...)...)
	if code != program.ExitOK || strings.Count(stdout, "in order") != len(files) || stderr != "" {
		t.Errorf("code %d: %s%s", code, stdout, stderr)
	}
	good, err := os.ReadFile(devices + "laumas-tlb.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	bad := write("laumas-tlb.yaml", strings.NewReplacer("name: net,", "name: gross,", "gross: 12340", "gross: 12341", "status: manual", "statuss: manual").Replace(string(good)))
	other := write("other.yaml", string(good))
	missing := filepath.Join(dir, "missing.yaml")
	stdout, stderr, code = run(t, "", "check", bad, files[0], other, missing)
	for _, want := range []string{bad + ":4:1: statuss: ", "\"gross\"", other + ":1:1: profile: \"laumas-tlb\" stands in a file of another name", missing, files[0] + ": in order"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is not in\n%s", want, stdout)
		}
	}
	if code != program.ExitError || !strings.Contains(stderr, "in 3 of 4 files") {
		t.Errorf("code %d: %s", code, stderr)
	}
	stdout, _, code = run(t, "", "check", "-json", bad, files[0])
	got := objects(t, stdout)
	if code != program.ExitError || got[0]["ok"] != false || got[1]["ok"] != true || got[0]["mistakes"].([]any)[0].(map[string]any)["line"] == 0.0 {
		t.Errorf("code %d: %s", code, stdout)
	}
}

func TestPlan(t *testing.T) {
	t.Parallel()
	var all strings.Builder
	for _, args := range [][]string{
		{"-profile", "laumas-tlb"},
		{"-profile", "laumas-tlb", "-baud", "1200", "-units", "2"},
		{"-profile", "laumas-tlb", "-baud", "1200", "-units", "4", "-latency", "20ms"},
		{"-profile", "eastron-sdm630", "-units", "8", "-every", "2s"},
		{"-profile", "hbk-wtx"},
		{"-profile", devices + "generic-belt.yaml", "-baud", "19200", "-json"},
	} {
		stdout, stderr, code := run(t, "", append([]string{"plan"}, args...)...)
		if code != program.ExitOK || stderr != "" {
			t.Errorf("%q: code %d: %s", args, code, stderr)
		}
		all.WriteString("$ plan " + strings.Join(args, " ") + "\n" + stdout + "\n")
	}
	golden(t, "plan.golden", all.String())
	if _, stderr, code := run(t, "", "plan", "-profile", "laumas"); code != program.ExitError || !strings.Contains(stderr, "laumas-tlb") {
		t.Errorf("an unknown profile: code %d, %s", code, stderr)
	}
}

func TestOwnProfiles(t *testing.T) {
	t.Parallel()
	good, err := os.ReadFile(devices + "laumas-tlb.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ours.yaml"), []byte(strings.Replace(string(good), "profile: laumas-tlb", "profile: ours", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := run(t, "", "plan", "-profile", "ours", "-profiles", dir); code != program.ExitOK {
		t.Errorf("code %d: %s", code, stderr)
	}
	if _, _, code := run(t, "", "plan", "-profile", "ours"); code != program.ExitError {
		t.Errorf("without the folder: code %d", code)
	}
}

func TestOrder(t *testing.T) {
	t.Parallel()
	var all strings.Builder
	for _, args := range [][]string{
		{"-hex", "0000 3034", "-display", "12340"},
		{"-hex", "D000 4640", "-display", "12340"}, // float32 12340.0, words swapped
		{"-hex", "6643 3333", "-display", "230.2"}, // float32 230.2, bytes swapped
		{"-hex", "04D2", "-display", "123.4", "-at", "40008", "-base", "40001"},
		{"-hex", "0001 2340", "-display", "12340"}, // BCD
		{"-hex", "FFC4 FFFF", "-display", "-60"},   // s32 -60, words swapped
		{"-hex", "3034", "-display", "77"},         // nothing
	} {
		stdout, stderr, code := run(t, "", append([]string{"order"}, args...)...)
		if code != program.ExitOK || stderr != "" {
			t.Errorf("%q: code %d: %s", args, code, stderr)
		}
		all.WriteString("$ order " + strings.Join(args, " ") + "\n" + stdout + "\n")
	}
	golden(t, "order.golden", all.String())
}

// The word orders of one number of each kind, as Modbus machines send them: the right form must be
// marked, and each wrong order must not.
func TestOrderFindsEveryOrder(t *testing.T) {
	t.Parallel()
	orders := []string{"ABCD", "CDAB", "BADC", "DCBA"}
	for _, test := range []struct {
		kind, display string
		hex           [4]string
	}{
		{"s32", "-60", [4]string{"FF FF FF C4", "FF C4 FF FF", "FF FF C4 FF", "C4 FF FF FF"}},
		{"u32", "305419896", [4]string{"12 34 56 78", "56 78 12 34", "34 12 78 56", "78 56 34 12"}},
		{"f32", "12340", [4]string{"46 40 D0 00", "D0 00 46 40", "40 46 00 D0", "00 D0 40 46"}},
		{"f32", "230.2", [4]string{"43 66 33 33", "33 33 43 66", "66 43 33 33", "33 33 66 43"}},
		{"f64", "12345", [4]string{"40 C8 1C 80 00 00 00 00", "00 00 00 00 1C 80 40 C8", "C8 40 80 1C 00 00 00 00", "00 00 00 00 80 1C C8 40"}},
		{"u64", "12345678901234", [4]string{"00 00 0B 3A 73 CE 2F F2", "2F F2 73 CE 0B 3A 00 00", "00 00 3A 0B CE 73 F2 2F", "F2 2F CE 73 3A 0B 00 00"}},
		{"s64", "-60", [4]string{"FF FF FF FF FF FF FF C4", "FF C4 FF FF FF FF FF FF", "FF FF FF FF FF FF C4 FF", "C4 FF FF FF FF FF FF FF"}},
		{"bcd48", "123456789012", [4]string{"12 34 56 78 90 12", "90 12 56 78 12 34", "34 12 78 56 12 90", "12 90 78 56 34 12"}},
		{"base10000", "12345678", [4]string{"04 D2 16 2E", "16 2E 04 D2", "D2 04 2E 16", "2E 16 D2 04"}},
	} {
		for i, hex := range test.hex {
			stdout, stderr, _ := run(t, "", "order", "-json", "-hex", hex, "-display", test.display)
			if stderr != "" {
				t.Fatal(stderr)
			}
			marked := 0
			for _, r := range objects(t, stdout)[0]["readings"].([]any) {
				r := r.(map[string]any)
				if r["type"] == test.kind && r["match"] == "exact" {
					if marked++; r["order"] != orders[i] {
						t.Errorf("%s %s: marks %s", test.kind, hex, r["order"])
					}
				}
			}
			if marked != 1 {
				t.Errorf("%s %s as %s: %d marked", test.kind, hex, test.display, marked)
			}
		}
	}
}
