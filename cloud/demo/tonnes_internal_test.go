package demo

import (
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"steelyard/cloud/rollup"
	"steelyard/edge/journal"
	"steelyard/firmware-bridge/sim"
	"steelyard/internal/record"
	"steelyard/internal/unit"
	"steelyard/internal/wire"
)

// TestPendingBecomesLost: what is missing is on its way until patience ends, or the audit is final.
func TestPendingBecomesLost(t *testing.T) {
	s := newShift()
	last := noon.Add(20 * time.Minute)
	for _, tc := range []struct {
		name  string
		now   time.Time
		final bool
		want  [5]int
	}{
		{"just written", last.Add(time.Second), false, [5]int{0, 0, 0, 0, 1}},
		{"at the end of patience", last.Add(patience - time.Millisecond), false, [5]int{0, 0, 0, 0, 1}},
		{"after it", last.Add(patience), false, [5]int{1}},
		{"at once in a final audit", last.Add(time.Second), true, [5]int{2}}, // and the belt carried more than was recorded
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := s.evidence(t)
			b.ledger = b.ledger[:len(b.ledger)-1]
			a := audit(b, tc.now, tc.final)
			if diff := cmp.Diff(map[record.Kind][5]int{record.KindBelt: tc.want}, a.counts()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
	// The other way round: the city has it before the truth file says it.
	b := s.evidence(t)
	b.truth = slices.DeleteFunc(b.truth, func(e sim.Event) bool { return e.Bale == 43 })
	if got := audit(b, noon.Add(4*time.Minute+10*time.Second), false).counts()[record.KindBale]; got != [5]int{0, 0, 0, 0, 1} {
		t.Errorf("a bale that the truth is about to say: got %v, want it pending", got)
	}
	if got := audit(b, noon.Add(time.Hour), false).counts()[record.KindBale]; got != [5]int{0, 0, 0, 1} {
		t.Errorf("a bale that the truth never says: got %v, want it invented", got)
	}
}

func TestEmittedIsWhatHappened(t *testing.T) {
	b := newShift().evidence(t)
	b.truth = nil
	a := audit(b, noon.Add(time.Hour), true)
	for _, kind := range observed() {
		if k := a.kinds[kind]; k.Emitted != 0 || k.Invented != k.InLedger || k.InLedger == 0 {
			t.Errorf("without any truth: %+v", k)
		}
	}
	if k := a.kinds[record.KindBelt]; k.Invented != 21 {
		t.Errorf("without any truth: %+v", k)
	}
}

func category(material string, _ time.Time) (string, error) {
	top, _, ok := strings.Cut(material, "/")
	if !ok {
		return "", errors.New("no grade")
	}
	return top, nil
}

// TestTonnes: a kilogram more, less or elsewhere is found and named.
func TestTonnes(t *testing.T) {
	truth := map[tonnesKey]unit.Mass{}
	events := append(newShift().truth,
		sim.Event{Kind: sim.TicketEvent, AtUS: us(0), Direction: record.Outbound, Destination: record.ToReuse, Parts: []record.Part{{Material: "paper/occ", Mass: 3_000 * kg}}},
		sim.Event{Kind: sim.TicketEvent, AtUS: us(0), Direction: record.Outbound, Destination: record.ToDisposal, Parts: []record.Part{{Material: "other/residue", Mass: 700 * kg}}},
		sim.Event{Kind: sim.TicketEvent, AtUS: us(0), Direction: record.Outbound, Destination: record.ToCentre, Parts: []record.Part{{Material: "paper/occ", Mass: 50 * kg}}})
	if err := trueTonnes(events, category, map[string]uint64{"baler-1": 41}, truth); err != nil {
		t.Fatal(err)
	}
	want := map[tonnesKey]unit.Mass{
		{"paper", rollup.Collected}: 26_000 * kg, {"paper", rollup.Sorted}: 821 * kg,
		{"paper", rollup.Recycled}: 3_000 * kg, {"other", rollup.Residue}: 700 * kg, {"paper", rollup.Transfer}: 50 * kg,
	}
	if diff := cmp.Diff(want, truth, cmp.AllowUnexported(tonnesKey{})); diff != "" {
		t.Fatalf("the sums of the truth (-want +got):\n%s", diff)
	}
	rows, equal := compareTonnes(truth, want)
	if !equal || len(rows) != 5 || len(differences(rows)) != 0 {
		t.Errorf("equal books: %v %v", equal, rows)
	}
	for name, tc := range map[string]struct {
		harm func(map[tonnesKey]unit.Mass)
		say  []string
	}{
		"a gram less": {func(m map[tonnesKey]unit.Mass) { m[tonnesKey{"paper", rollup.Sorted}]-- },
			[]string{"tonnes: sorted of paper were 821 kg, the ledger has 820.999 kg"}},
		"a row lost": {func(m map[tonnesKey]unit.Mass) { delete(m, tonnesKey{"other", rollup.Residue}) },
			[]string{"tonnes: residue of other were 700 kg, the ledger has 0 kg"}},
		"a row invented": {func(m map[tonnesKey]unit.Mass) { m[tonnesKey{"glass", rollup.Collected}] = kg },
			[]string{"tonnes: collected of glass were 0 kg, the ledger has 1 kg"}},
		"moved to another category": {func(m map[tonnesKey]unit.Mass) {
			m[tonnesKey{"paper", rollup.Collected}] -= kg
			m[tonnesKey{"other", rollup.Residue}] += kg
		}, []string{"tonnes: collected of paper were 26000 kg, the ledger has 25999 kg", "tonnes: residue of other were 700 kg, the ledger has 701 kg"}},
	} {
		t.Run(name, func(t *testing.T) {
			ledger := map[tonnesKey]unit.Mass{}
			maps.Copy(ledger, want)
			tc.harm(ledger)
			rows, equal := compareTonnes(truth, ledger)
			if equal {
				t.Error("the difference is not found")
			}
			if diff := cmp.Diff(tc.say, said(differences(rows))); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			for _, f := range differences(rows) {
				checkFilled(t, f)
			}
		})
	}
}

func TestPrintNamesTheFaults(t *testing.T) {
	a := Audit{Exact: true, Sites: []SiteAudit{{Site: "xinhua-1", Kinds: []KindAudit{{Kind: record.KindBale, Emitted: 2, Lost: 1}}}}}
	var out strings.Builder
	if err := a.Print(&out); err != nil || !strings.HasSuffix(out.String(), "the audit is exact\n") {
		t.Errorf("got %v %q", err, out.String())
	}
	out.Reset()
	a.Exact, a.Faults = false, []Fault{faultOf("xinhua-1", "bale-unrecorded", with{"number": 42, "device": "baler-1"})}
	if err := a.Print(&out); err != nil || !strings.HasSuffix(out.String(), "THE AUDIT IS NOT EXACT\nxinhua-1: bale 42 of baler-1 has no record\n") {
		t.Errorf("got %v %q", err, out.String())
	}
}

// TestJournalIsReadFromTheDisk: the second book is the edge's own files, not what it says of them.
func TestJournalIsReadFromTheDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "records")
	if got, err := readJournal(dir); err != nil || len(got) != 0 {
		t.Errorf("a journal that is not there: %v %v", got, err)
	}
	j, err := journal.Open(journal.Options{Dir: dir, Site: "xinhua-1", Stream: wire.Records})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	written, err := j.Append(wire.Synced, record.Fact{At: noon, Device: "baler-1", Body: bale(42, 412*kg)}, record.Fact{At: noon, Body: bale(43, 409*kg)})
	if err != nil {
		t.Fatal(err)
	}
	got, err := readJournal(dir)
	if err != nil || len(got) != 2 || got[1].hash != written[1].Hash || got[0].body.(*record.Bale).Mass != 412*kg {
		t.Errorf("got %+v %v", got, err)
	}
}
