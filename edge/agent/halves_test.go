package agent_test

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"steelyard/edge/agent"
	plant "steelyard/firmware-bridge/site" // the tests' own site is an agent with its machines
)

// The fitter's check reads the machines of a site's file and knows the edge's own keys by name only:
// it must know all of them, and no other.
func TestTheOtherHalfOfTheFile(t *testing.T) {
	var want []string
	for f := range reflect.TypeFor[agent.Config]().Fields() {
		if key := f.Tag.Get("yaml"); key != "" && !f.Anonymous {
			want = append(want, key)
		}
	}
	if diff := cmp.Diff(want, plant.EdgeKeys()); diff != "" {
		t.Errorf("the keys of agent.Config beside the machines and those of firmware-bridge/site differ: -edge +site\n%s", diff)
	}
	// The negative control: what is none of these keys is no key for either.
	const text = "site: xinhua-1\njournals: {keep: 1h}\n"
	file := filepath.Join(t.TempDir(), "edge.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, siteErr := plant.Load(file, []byte(text))
	_, edgeErr := agent.Read(file)
	for _, err := range []error{siteErr, edgeErr} {
		if want := `2:1: journals: unknown key; did you mean "journal"?`; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to say %q", err, want)
		}
	}
}

// What the fitter's check says about a file, the edge says too, word for word.
func TestBothProgramsSayTheSame(t *testing.T) {
	files, err := filepath.Glob("testdata/*.bad.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	said := 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, siteErr := plant.Load(file, data)
		_, edgeErr := agent.Read(file)
		all := strings.Split(edgeErr.Error(), "\n")
		if siteErr == nil {
			continue // the mistakes are in the edge's half
		}
		for line := range strings.SplitSeq(siteErr.Error(), "\n") {
			if said++; !slices.Contains(all, line) {
				t.Errorf("the edge does not say: %s", line)
			}
		}
	}
	if said < 20 {
		t.Errorf("only %d mistakes compared", said)
	}
}
