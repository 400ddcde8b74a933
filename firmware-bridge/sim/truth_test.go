package sim_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"steelyard/firmware-bridge/sim"
	"steelyard/internal/record"
	"steelyard/internal/unit"
)

func TestTruthReadsBackWhatWasWritten(t *testing.T) {
	truth, path := openTruth(t)
	want := []sim.Event{
		{Kind: sim.WeighingEvent, Device: "weighbridge-1", Key: "visit-17", FromUS: 5, ToUS: 9, Mass: 23_960 * unit.Kilogram, Text: "23960"},
		{Kind: sim.OperatorEvent, Key: "p", Journal: "9f", N: 12, Hash: "ab", Weighing: record.Ref{Journal: "9f", N: 11}},
		{
			Kind: sim.TicketEvent, Key: "p", Number: "000412", N: 14, Mass: 1, Gross: 3, Tare: 2, Direction: record.Outbound,
			Destination: record.ToReuse, Parts: []record.Part{{Material: "steel", Mass: 1}},
		},
		{Kind: sim.BaleEvent, Device: "baler-1", Key: "412", Bale: 412, Mass: 500 * unit.Kilogram, Material: "paper/occ"},
		{Kind: sim.BeltEvent, Device: "belt-1", Counts: 1_000_007, Initial: 999_999, Raw: 7, Modulus: 1_000_000, Step: unit.Kilogram, Detail: "wrap"},
	}
	for _, e := range want {
		if err := truth.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	got := readTruth(t, path)
	if d := cmp.Diff(want, got, cmpopts.IgnoreFields(sim.Event{}, "AtUS")); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	for _, e := range got {
		if e.AtUS == 0 {
			t.Errorf("%s has no time", e.Kind)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"number":412`, `"number":"000412"`, `"mass":23960000,"text":"23960"`, `"counts":1000007,"initial":999999`} {
		if !strings.Contains(string(text), part) {
			t.Errorf("no %s in\n%s", part, text)
		}
	}
}

func TestTornTruthIsCutAndForeignTruthRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), sim.TruthFile)
	if err := os.WriteFile(path, []byte(`{"at_us":1,"kind":"bale","number":1}`+"\n"+`{"at_us":2,"ki`), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := readTruth(t, path); len(got) != 1 || got[0].Bale != 1 {
		t.Errorf("got %v", got)
	}
	truth, err := sim.OpenTruth(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := truth.Append(sim.Event{Kind: sim.BaleEvent, Bale: 2}); err != nil {
		t.Fatal(err)
	}
	if err := truth.Close(); err != nil {
		t.Fatal(err)
	}
	if got := readTruth(t, path); len(got) != 2 || got[1].Bale != 2 {
		t.Errorf("got %v", got)
	}
	if err := truth.Append(sim.Event{}); err == nil {
		t.Error("a closed truth takes events")
	}
	if err := os.WriteFile(path, []byte("not json\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := sim.ReadTruth(path); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("got %v", err)
	}
}
