// Package configtest holds configurations to the answers that their bad files name.
//
// In: the folder testdata of the package under test, whose *.bad.yaml begin with the mistakes that
// must be reported, one a line: "# want: 14:5: device: is missing". A line that ends in "…" is the
// beginning of the mistake, for texts that go on with a list of names.
// Out: a failed test for each mistake that is missing, different or not asked for.
// It promises to look at every file, and to fail where there is none.
// It does not look for mistakes in any order but that of the file.
package configtest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"steelyard/internal/config"
)

// BadFiles hands each bad file to load, which returns the name under which it was loaded.
func BadFiles(t *testing.T, load func(file string, data []byte) (name string, err error)) {
	files, err := filepath.Glob("testdata/*.bad.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no testdata/*.bad.yaml", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".bad.yaml"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			name, err := load(file, data)
			if _, ok := errors.AsType[config.Mistakes](err); !ok {
				t.Fatalf("got %v, want mistakes", err)
			}
			got, want := strings.Split(err.Error(), "\n"), wanted(name, string(data))
			for i := range min(len(want), len(got)) {
				if start, open := strings.CutSuffix(want[i], "…"); open && strings.HasPrefix(got[i], strings.TrimRight(start, " ")) {
					got[i] = want[i]
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// wanted reads the head of a file.
func wanted(name, text string) (want []string) {
	for line := range strings.Lines(text) {
		mistake, ok := strings.CutPrefix(line, "# want: ")
		if !ok {
			break
		}
		want = append(want, name+":"+strings.TrimSpace(mistake))
	}
	return want
}
