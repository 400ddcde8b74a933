package bench_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"steelyard/internal/program"
)

// What check says about files of each kind that are in order.
func TestCheckSaysWhatIsThere(t *testing.T) {
	t.Parallel()
	var all strings.Builder
	for _, args := range [][]string{
		{"../../configs/edge.yaml", "../../configs/gateway.yaml", devices + "laumas-tlb.yaml", devices + "cas-ci400.yaml"},
		{"testdata/site.yaml"},
		{"-json", "testdata/site.yaml"},
		{"-json", "../../configs/gateway.yaml"},
	} {
		stdout, stderr, code := run(t, "", append([]string{"check"}, args...)...)
		if code != program.ExitOK || stderr != "" {
			t.Errorf("%q: code %d: %s%s", args, code, stdout, stderr)
		}
		all.WriteString("$ check " + strings.Join(args, " ") + "\n" + stdout + "\n")
	}
	golden(t, "check.golden", all.String())
}

// Every mistake of every file at once, in the words of the programs that the files are for. The
// files begin with the lines that they must be answered with.
func TestCheckOfSitesAndGateways(t *testing.T) {
	t.Parallel()
	var files []string
	for _, folder := range []string{"../site", "../gateway"} {
		names, err := filepath.Glob(folder + "/testdata/*.bad.yaml")
		if err != nil || len(names) < 3 {
			t.Fatal(names, err)
		}
		files = append(files, names...)
	}
	stdout, stderr, code := run(t, "", append([]string{"check"}, files...)...)
	got := strings.Split(strings.TrimSuffix(stdout, "\n"), "\n")
	n := 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			text, ok := strings.CutPrefix(line, "# want: ")
			if !ok {
				break
			}
			// Those files were read from their own folder: the path in a text ends the comparison.
			text, _, _ = strings.Cut(strings.TrimSuffix(strings.TrimSpace(text), "…"), "testdata/")
			if n >= len(got) || !strings.HasPrefix(got[n], file+":"+text) {
				t.Fatalf("line %d: want %s:%s\nin\n%s", n, file, text, stdout)
			}
			n++
		}
	}
	if n != len(got) || code != program.ExitError || !strings.Contains(stderr, fmt.Sprintf("%d mistakes in %d of %d files", n, len(files), len(files))) {
		t.Errorf("%d lines for %d mistakes, code %d, %s", len(got), n, code, stderr)
	}
}

// A site's file and a broken model in its own folder: each mistake with its own file, for a
// program too.
func TestCheckOfBrokenModels(t *testing.T) {
	dir := t.TempDir()
	copied := func(from, to string, change ...string) {
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, to)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, to), []byte(strings.NewReplacer(change...).Replace(string(data))), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	copied("testdata/site.yaml", "edge.yaml", "buses:", "busses:")
	copied("testdata/own/acme-w200.yaml", "own/acme-w200.yaml", "status:", "statuss:", "value: 1560", "value: 1561")
	stdout, _, code := run(t, "", "check", "-json", filepath.Join(dir, "edge.yaml"))
	got := objects(t, stdout)[0]
	var paths []string
	for _, m := range got["mistakes"].([]any) {
		paths = append(paths, m.(map[string]any)["path"].(string))
	}
	if code != program.ExitError || got["ok"] != false || got["kind"] != "site" || strings.Join(paths, " ") != "statuss tests[0].expect busses" {
		t.Errorf("code %d, mistakes at %q: %s", code, paths, stdout)
	}
}

func TestKindsOfFiles(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"indicator: a\n": "indicator",
		"# a comment\n---\n\"profile\" : a\nlines: []\n":     "profile",
		"weighbridges: []\n":                                 "site",
		"name: x\njournal: {}\nlines: []\nsite: a\n":         "site", // with a stray key
		"buses: [{link: a, machines: []}]\n":                 "site",
		"buses: [{link: a, serve: {}}]\n":                    "gateway",
		"lines: []\n":                                        "gateway",
		"profiles: own\nlines: [{}]\nbuses: [{machines: 1}]": "site", // as many keys of one as of the other
		"broker: {}\nsites: []\ndata: x\nlisten: y\n":        "",
		"buses: []\n": "",
		"lines: [\n":  "",
		"":            "",
	} {
		file := filepath.Join(t.TempDir(), "file.yaml")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		stdout, _, code := run(t, "", "check", "-json", file)
		got := objects(t, stdout)[0]
		if code != program.ExitError || got["kind"] != want || len(got["mistakes"].([]any)) == 0 {
			t.Errorf("%q is taken for %q, want %q; code %d: %s", text, got["kind"], want, code, stdout)
		}
	}
}

// A model of the wrong kind is told from one that is not there, by its name and by its file, and
// the remedy is one that the command has.
func TestModelOfTheOtherKind(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ args, want string }{
		{"decode -profile " + devices + "cas-ci400.yaml", "cas-ci400.yaml: is an indicator on a serial line, and no profile; use -indicator"},
		{"decode -profile cas-ci400", "cas-ci400: is an indicator on a serial line, and no profile; use -indicator"},
		{"decode -indicator " + devices + "laumas-tlb.yaml", "laumas-tlb.yaml: is a profile of a machine on Modbus, and no indicator; use -profile"},
		{"decode -indicator laumas-tlb", "laumas-tlb: is a profile of a machine on Modbus, and no indicator; use -profile"},
		{"plan -profile cas-ci400", "cas-ci400: is an indicator on a serial line, and no profile; plan has no use for it"},
		{"plan -profile cas-ci4000", "not in the catalogue"},
		{"decode -indicator laumas-tlc", "not in the catalogue"},
	} {
		_, stderr, code := run(t, "", strings.Fields(test.args)...)
		if code != program.ExitError || !strings.Contains(stderr, test.want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: code %d, got %q, want %q", test.args, code, stderr, test.want)
		}
	}
}
