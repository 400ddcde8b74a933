package rollup_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"steelyard/cloud/ledger/ledgertest"
	"steelyard/cloud/rollup"
	"steelyard/internal/day"
	"steelyard/internal/record"
	"steelyard/internal/unit"
)

func load(number string, mass unit.Mass) *record.Ticket {
	return &record.Ticket{Number: number, Direction: record.Inbound, Mode: record.TwoPass, Passage: number, Vehicle: "豫D12345", Operator: "wang",
		Gross: mass + unit.Tonne, Tare: unit.Tonne, Net: mass, Parts: []record.Part{{Material: "paper/occ", Mass: mass}}, Deductions: []record.Deduction{}, Flags: []string{}}
}

func (b bench) alarms() (reasons []string) {
	b.Helper()
	causes, err := b.Causes(b.Context(), 100)
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range causes {
		if !c.Alarm {
			b.Errorf("%+v is no alarm", c)
		}
		reasons = append(reasons, c.Reason)
		b.Logf("%+v", c)
	}
	slices.Sort(reasons)
	return reasons
}

// A ticket number that comes again is an alarm, and both tickets are counted: two lorries were there.
func TestTicketNumberSeenBefore(t *testing.T) {
	b := newBench(t, "xinhua-1", "ruzhou-1")
	j, other := ledgertest.New("xinhua-1", 1), ledgertest.New("ruzhou-1", 2)
	at := ledgertest.Start()
	j.Write(at, "wb-1", load("20261123-0badcafe-0001", 5*unit.Tonne))
	j.Write(at, "wb-1", load("20261123-0badcafe-0002", 5*unit.Tonne))
	other.Write(at, "wb-1", load("20261123-0badcafe-0001", 5*unit.Tonne)) // another site's number is another number
	b.post(j.Batch(1, 2), other.Batch(1, 1))
	if got := b.alarms(); len(got) != 0 {
		t.Fatalf("alarms %q about sound numbers", got)
	}
	j.Write(at.Add(time.Hour), "wb-1", load("20261123-0badcafe-0001", 7*unit.Tonne))
	b.post(j.Batch(3, 3))
	if got := b.alarms(); !slices.Equal(got, []string{rollup.NumberAgain}) {
		t.Errorf("alarms %q", got)
	}
	if sum := b.collected("xinhua-1"); sum != 17*unit.Tonne {
		t.Errorf("%s are counted", sum)
	}
	if err := b.Rebuild(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := b.alarms(); !slices.Equal(got, []string{rollup.NumberAgain}) {
		t.Errorf("after a rebuild: alarms %q", got)
	}
}

func (b bench) collected(site string) (sum unit.Mass) {
	b.Helper()
	totals, err := b.Rollup.Totals(b.Context(), day.Of(ledgertest.Start())-1000, day.Of(ledgertest.Start())+1000)
	if err != nil {
		b.Fatal(err)
	}
	for _, x := range totals {
		if x.Site == site && x.Flow == rollup.Collected {
			sum += x.Mass
		}
	}
	return sum
}

// A journal that was begun by an old image, and one that goes on beside its successor.
func TestOldImageAndTwoEdgesAreSeen(t *testing.T) {
	b := newBench(t, "xinhua-1")
	first, next := ledgertest.New("xinhua-1", 1), ledgertest.New("xinhua-1", 2)
	at := ledgertest.Start()
	opened := func(previous record.Ref) *record.Opened {
		return &record.Opened{Version: "1", Key: "k", Previous: previous, Reason: "start"}
	}
	first.Write(at, "", opened(record.Ref{}))
	for k := range 3 {
		first.Write(at, "wb-1", load(fmt.Sprint("a", k), unit.Tonne))
	}
	b.post(first.Batch(1, 3))
	next.Write(at, "", opened(record.Ref{Journal: first.ID, N: 4}))
	next.Write(at, "wb-1", load("b", unit.Tonne))
	b.post(next.Batch(1, 2), first.Batch(4, 4)) // the end of the one before may come later
	if got := b.alarms(); len(got) != 0 {
		t.Fatalf("alarms %q about a sound succession", got)
	}
	image := ledgertest.New("xinhua-1", 3)
	image.Write(at, "", opened(record.Ref{Journal: first.ID, N: 2}))
	b.post(image.Batch(1, 1))
	if got := b.alarms(); !slices.Equal(got, []string{rollup.OldImage}) {
		t.Errorf("alarms %q", got)
	}
	for k := range 5 {
		first.Write(at, "wb-1", load(fmt.Sprint("c", k), unit.Tonne))
	}
	b.post(first.Batch(5, 9))
	if got := b.alarms(); !slices.Equal(got, []string{rollup.OldImage, rollup.TwoEdges}) {
		t.Errorf("alarms %q", got)
	}
	if sum := b.collected("xinhua-1"); sum != 9*unit.Tonne {
		t.Errorf("%s are counted", sum)
	}
}
