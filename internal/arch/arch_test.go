package arch_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"steelyard/internal/arch"
)

// root finds the folder of go.mod above this one.
func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above this test")
		}
		dir = filepath.Dir(dir)
	}
}

func TestTheHouseKeepsItsLaws(t *testing.T) {
	findings, err := arch.Check(os.DirFS(root(t)))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings {
		t.Error(f)
	}
}

// Each testdata/*.txt is a small tree: the findings it must give, then its files behind lines
// "-- name --". Those that break a law are the negative control of the test above.
func TestLaws(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no test data: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, tree := read(t, file)
			findings, err := arch.Check(tree)
			if err != nil {
				t.Fatal(err)
			}
			got := []string{}
			for _, f := range findings {
				got = append(got, f.String())
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func read(t *testing.T, file string) (want []string, tree fstest.MapFS) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want, tree, name := []string{}, fstest.MapFS{}, ""
	for line := range strings.Lines(string(data)) {
		if header, ok := strings.CutPrefix(line, "-- "); ok {
			name = strings.TrimSuffix(strings.TrimSpace(header), " --")
			tree[name] = &fstest.MapFile{}
		} else if name != "" {
			// The words that mark put-off work are written apart in the test data.
			tree[name].Data = append(tree[name].Data, strings.ReplaceAll(line, "_·_", "")...)
		} else if text, ok := strings.CutPrefix(line, "# want: "); ok {
			want = append(want, strings.TrimSpace(strings.ReplaceAll(text, "_·_", "")))
		}
	}
	return want, tree
}

func TestTreeThatDoesNotParse(t *testing.T) {
	_, err := arch.Check(fstest.MapFS{"edge/main.go": {Data: []byte("package main\nfunc {")}})
	if err == nil || !strings.Contains(err.Error(), "edge/main.go:2:") {
		t.Errorf("got %v, want the place named", err)
	}
}
