package rollup_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"steelyard/cloud/ledger/ledgertest"
	"steelyard/internal/day"
	"steelyard/internal/record"
	"steelyard/internal/unit"
)

// days gives the collected tonnes of a site by business day, and apart those that are to be dated.
func (b bench) days(from, to string) (all, suspect map[string]unit.Mass) {
	b.Helper()
	all, suspect = map[string]unit.Mass{}, map[string]unit.Mass{}
	first, err1 := day.Parse(from)
	last, err2 := day.Parse(to)
	if err1 != nil || err2 != nil {
		b.Fatal(err1, err2)
	}
	for d := first; d <= last; d++ {
		totals, err := b.Rollup.Totals(b.Context(), d, d)
		if err != nil {
			b.Fatal(err)
		}
		apart, err := b.SuspectTotals(b.Context(), d, d)
		if err != nil {
			b.Fatal(err)
		}
		for _, x := range totals {
			if x.Mass != 0 {
				all[d.String()] += x.Mass
			}
		}
		for _, x := range apart {
			suspect[d.String()] += x.Mass
		}
	}
	return all, suspect
}

func (b bench) suspects() (list []string) {
	b.Helper()
	found, err := b.Suspects(b.Context(), 10)
	if err != nil {
		b.Fatal(err)
	}
	for _, x := range found {
		list = append(list, fmt.Sprintf("%s %s, dated %s, counted %s", x.Number, x.Mass, x.At.Format(time.RFC3339), x.Counted.Format(time.RFC3339)))
	}
	return list
}

// A clock a day back and one a year ahead move no tonne into a closed day or one that is to come:
// both count where they can have been, apart, until two persons have dated them.
func TestAClockOfTheEdgeMovesNoTonneUnseen(t *testing.T) {
	b := newBench(t, "xinhua-1")
	j := ledgertest.New("xinhua-1", 1)
	noon := time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC) // in China
	write := func(number string, at time.Time) record.Ref { return j.Write(at, "wb-1", load(number, unit.Tonne)) }
	send := func(received time.Time, from uint64) { b.postAt(received, j.Batch(from, j.Last())) }

	write("good", noon)
	send(noon.Add(time.Second), 1)
	back := write("a day back", noon.Add(time.Hour).AddDate(0, 0, -1))
	send(noon.Add(time.Hour), 2)
	ahead := write("a year ahead", noon.Add(2*time.Hour).AddDate(1, 0, 0))
	send(noon.Add(2*time.Hour), 3)
	write("set right", noon.Add(3*time.Hour))
	write("off by a minute", noon.Add(3*time.Hour-time.Minute))
	send(noon.Add(3*time.Hour), 4)
	late := write("after three days without a link", noon.Add(4*time.Hour))
	send(noon.AddDate(0, 0, 3), late.N)

	// Control: by the times that the edge has written the tonnes stand in a closed day and in a coming one.
	control := map[string]int{}
	entries, err := b.Entries(t.Context(), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		control[day.Of(e.At).String()]++
	}
	if diff := cmp.Diff(map[string]int{"2026-11-22": 1, "2026-11-23": 4, "2027-11-23": 1}, control); diff != "" {
		t.Errorf("the entries have no wrong days, the test proves nothing: -want +got\n%s", diff)
	}
	all, suspect := b.days("2026-11-20", "2026-11-30")
	equal := func(what string, got, want map[string]unit.Mass) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: -want +got\n%s", what, diff)
		}
	}
	equal("all", all, map[string]unit.Mass{"2026-11-23": 6 * unit.Tonne})
	equal("to be dated", suspect, map[string]unit.Mass{"2026-11-23": 2 * unit.Tonne})
	if diff := cmp.Diff([]string{
		"a year ahead 1000 kg, dated 2027-11-23T06:00:00Z, counted 2026-11-23T06:00:00Z",
		"a day back 1000 kg, dated 2026-11-22T05:00:00Z, counted 2026-11-23T04:00:00Z",
	}, b.suspects()); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	date := func(target record.Ref, at string) record.Ref {
		return j.Write(noon.AddDate(0, 0, 4), "", &record.Correction{Target: target, Action: record.Date, Replacement: at, Reason: "the paper says so", Operator: "wang", Second: "li"})
	}
	dated := date(back, "2026-11-22T05:00:00.000Z") // the clock was right, and the one before wrong
	date(ahead, "2026-11-23T06:00:00.000Z")
	send(noon.AddDate(0, 0, 4), dated.N)
	all, suspect = b.days("2026-11-20", "2026-11-30")
	equal("all, when dated", all, map[string]unit.Mass{"2026-11-22": unit.Tonne, "2026-11-23": 5 * unit.Tonne})
	equal("to be dated in the end", suspect, map[string]unit.Mass{})

	// A date can be corrected as everything, and can't be in a time to come.
	again := date(dated, "2026-11-21T05:00:00.000Z")
	date(ahead, "2026-11-23T06:00:00.000Z")
	date(again, "2028-01-01T00:00:00.000Z")
	date(again, "yesterday")
	send(noon.AddDate(0, 0, 5), again.N)
	all, _ = b.days("2026-11-20", "2026-11-30")
	equal("all, dated again", all, map[string]unit.Mass{"2026-11-21": unit.Tonne, "2026-11-23": 5 * unit.Tonne})
	b.leftOut("already corrected", "was yet to come", `time "yesterday"`)
	before := b.postings()
	if err := b.Rebuild(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, b.postings()); diff != "" {
		t.Errorf("a rebuild gives other postings\n%s", diff)
	}
}

// The bound goes on in the next journal, which a start without a link begins.
func TestTheBoundGoesOnInTheNextJournal(t *testing.T) {
	b := newBench(t, "xinhua-1")
	noon := time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC)
	first, next := ledgertest.New("xinhua-1", 1), ledgertest.New("xinhua-1", 2)
	last := first.Write(noon, "wb-1", load("1", unit.Tonne))
	b.postAt(noon, first.Batch(1, 1))
	boot := time.Date(1970, 1, 1, 0, 0, 9, 0, time.UTC)
	next.Write(boot, "", &record.Opened{Version: "1", Key: "k", Previous: last, Reason: "no answer"})
	next.Write(boot.Add(time.Minute), "wb-1", load("2", unit.Tonne))
	b.postAt(noon.Add(time.Hour), next.Batch(1, 2))
	if diff := cmp.Diff([]string{"2 1000 kg, dated 1970-01-01T00:01:09Z, counted 2026-11-23T04:00:00Z"}, b.suspects()); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}
