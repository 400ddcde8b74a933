package rollup_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"steelyard/cloud/ledger"
	"steelyard/cloud/ledger/ledgertest"
	"steelyard/cloud/rollup"
	"steelyard/internal/record"
	"steelyard/internal/unit"
	"steelyard/internal/wire"
)

// category knows what a Shift uses, and rubber only from 2027 on.
func category(material string, at time.Time) (string, error) {
	code, _, _ := strings.Cut(material, "/")
	if slices.Contains(ledgertest.Materials(), material) || code == "rubber" && at.Year() >= 2027 {
		return code, nil
	}
	return "", fmt.Errorf("material %q is not in the catalogue", material)
}

type bench struct {
	*testing.T
	*ledger.Ledger
	*rollup.Rollup
	path string
}

func newBench(t *testing.T, sites ...string) bench {
	path := filepath.Join(t.TempDir(), "ledger.db")
	l, err := ledger.Open(t.Context(), path, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, site := range sites {
		if err := l.Enrol(t.Context(), site, ledgertest.KeyOf(site).Public(), ledgertest.Start()); err != nil {
			t.Fatal(err)
		}
	}
	r, err := rollup.Open(t.Context(), l, category, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	return bench{t, l, r, path}
}

// post takes batches in long after they were written.
func (b bench) post(batches ...*wire.Batch) {
	b.Helper()
	b.postAt(ledgertest.Start().AddDate(1, 0, 0), batches...)
}

func (b bench) postAt(received time.Time, batches ...*wire.Batch) {
	b.Helper()
	outcomes, err := b.Post(b.Context(), received, batches)
	if err != nil {
		b.Fatal(err)
	}
	for _, o := range outcomes {
		if o.Result != ledger.Accepted {
			b.Fatalf("%+v", o)
		}
	}
	if _, err := b.Rollup.Advance(b.Context()); err != nil {
		b.Fatal(err)
	}
}

func (b bench) postings() []rollup.Posting {
	b.Helper()
	all, err := b.PostingsAfter(b.Context(), rollup.Place{}, 1<<30)
	if err != nil {
		b.Fatal(err)
	}
	return all
}

// sums are what the ticket office would add up by hand.
type sums map[string]unit.Mass

func key(site, category string, flow rollup.Flow) string {
	return site + " " + category + " " + string(flow)
}

func (b bench) totals() sums {
	b.Helper()
	totals, err := b.Totals(b.Context(), -100_000, 4_000_000)
	if err != nil {
		b.Fatal(err)
	}
	got := sums{}
	for _, t := range totals {
		if t.Mass != 0 || t.Count != 0 {
			got[key(t.Site, t.Category, t.Flow)] = t.Mass
		}
	}
	return got
}

// agree holds postings, hours and days against each other and returns their sums.
func (b bench) agree() sums {
	b.Helper()
	posted, hourly := sums{}, sums{}
	for _, p := range b.postings() {
		posted[key(p.Site, p.Category, p.Flow)] += p.Mass
	}
	hours, err := b.Hours(b.Context(), time.Unix(-1<<40, 0), time.Unix(1<<40, 0), "")
	if err != nil {
		b.Fatal(err)
	}
	for _, h := range hours {
		hourly[key(h.Site, h.Category, h.Flow)] += h.Mass
	}
	daily := b.totals()
	for _, s := range []sums{posted, hourly} {
		for k, mass := range s {
			if mass != daily[k] {
				b.Errorf("%s: %v here, %v by days", k, mass, daily[k])
			}
		}
		for k := range daily {
			if _, there := s[k]; !there {
				b.Errorf("%s only by days", k)
			}
		}
	}
	return daily
}

func ticket(direction, destination string, parts ...record.Part) *record.Ticket {
	t := &record.Ticket{Number: "T1", Direction: direction, Destination: destination, Mode: record.ByHand, Vehicle: "豫D12345",
		Tare: unit.Tonne, Parts: parts, Deductions: []record.Deduction{}, Flags: []string{}}
	for _, p := range parts {
		t.Net += p.Mass
	}
	t.Gross = t.Tare + t.Net
	return t
}

func (b bench) leftOut(want ...string) {
	b.Helper()
	all, err := b.Unposted(b.Context(), 100)
	if err != nil {
		b.Fatal(err)
	}
	slices.Reverse(all)
	if len(all) != len(want) {
		b.Fatalf("left out %+v, want %q", all, want)
	}
	for i, l := range all {
		if !strings.Contains(l.Why, want[i]) {
			b.Errorf("left out because %q, want %q", l.Why, want[i])
		}
	}
}

func TestFlows(t *testing.T) {
	b := newBench(t, "xinhua-1")
	j := ledgertest.New("xinhua-1", 1)
	at := ledgertest.Start()
	part := func(material string, mass unit.Mass) record.Part { return record.Part{Material: material, Mass: mass} }
	j.Write(at, "", ticket(record.Inbound, "", part("steel/heavy", 20*unit.Tonne), part("copper", 340*unit.Kilogram), part("glass", 0)))
	j.Write(at, "", ticket(record.Outbound, record.ToReuse, part("steel", 18*unit.Tonne)))
	j.Write(at, "", ticket(record.Outbound, record.ToDisposal, part("glass", unit.Tonne)))
	j.Write(at, "", ticket(record.Outbound, record.ToCentre, part("copper", 300*unit.Kilogram)))
	j.Write(at, "baler-1", &record.Bale{Number: 1, Material: "paper/occ", Mass: 412*unit.Kilogram + 1, Weighed: true})
	j.Write(at, "baler-1", &record.Bale{Number: 2, Material: "paper/occ"})
	j.Write(at, "belt-1", &record.Belt{Step: 1, Standing: 9 * unit.Tonne, Material: "steel", Event: record.BeltTick})
	j.Write(at, "", &record.Stock{Material: "steel", Mass: 7 * unit.Tonne})
	b.post(j.Batch(1, j.Last()))
	want := sums{
		"xinhua-1 steel collected":  20 * unit.Tonne,
		"xinhua-1 copper collected": 340 * unit.Kilogram,
		"xinhua-1 steel recycled":   18 * unit.Tonne,
		"xinhua-1 glass residue":    unit.Tonne,
		"xinhua-1 copper transfer":  300 * unit.Kilogram,
		"xinhua-1 paper sorted":     412*unit.Kilogram + 1,
	}
	if diff := cmp.Diff(want, b.agree()); diff != "" {
		t.Error(diff)
	}
	b.leftOut()
}

func TestUnknownMaterialIsShown(t *testing.T) {
	b := newBench(t, "xinhua-1")
	j := ledgertest.New("xinhua-1", 1)
	bad := j.Write(ledgertest.Start(), "", ticket(record.Inbound, "", record.Part{Material: "steel", Mass: 5}, record.Part{Material: "rubber", Mass: 7}))
	j.Write(ledgertest.Start(), "", ticket(record.Inbound, "", record.Part{Material: "steel", Mass: 11}))
	b.post(j.Batch(1, 2))
	// Half a ticket is no ticket.
	if diff := cmp.Diff(sums{"xinhua-1 steel collected": 11}, b.agree()); diff != "" {
		t.Error(diff)
	}
	b.leftOut(`material "rubber" is not in the catalogue`)
	j.Write(ledgertest.Start(), "", amend(bad, ticket(record.Inbound, "", record.Part{Material: "steel", Mass: 5}, record.Part{Material: "glass", Mass: 7})))
	b.post(j.Batch(3, 3))
	if diff := cmp.Diff(sums{"xinhua-1 steel collected": 16, "xinhua-1 glass collected": 7}, b.agree()); diff != "" {
		t.Error(diff)
	}
	b.leftOut()
}

// TestSums holds the tables against a sum made by hand from the entries, at every step, and then
// against a rebuild.
func TestSums(t *testing.T) {
	b := newBench(t, "xinhua-1", "ruzhou-1")
	want, brings := sums{}, map[record.Ref]sums{}
	journals := []*ledgertest.Journal{ledgertest.New("xinhua-1", 1), ledgertest.New("ruzhou-1", 2)}
	byHand := func(e wire.Entry) sums {
		var t struct {
			Direction, Destination, Material string
			Weighed                          bool
			Mass                             unit.Mass
			Parts                            []record.Part
		}
		if err := json.Unmarshal(e.Body, &t); err != nil {
			b.Fatal(err)
		}
		made := sums{}
		brought := func(material, flow string, mass unit.Mass) {
			code, _, _ := strings.Cut(material, "/")
			made[e.Site+" "+code+" "+flow] += mass
		}
		for _, p := range t.Parts {
			flow := map[string]string{"": "collected", "reuse": "recycled", "disposal": "residue", "centre": "transfer"}[t.Destination]
			brought(p.Material, flow, p.Mass)
		}
		if e.Kind == record.KindBale && t.Weighed {
			brought(t.Material, "sorted", t.Mass)
		}
		return made
	}
	for round := range 8 {
		for _, j := range journals {
			first := j.Last() + 1
			j.Shift(120)
			for n := first; n <= first+119; n++ {
				e, err := wire.ParseEntry(j.Lines[n-1])
				if err != nil {
					t.Fatal(err)
				}
				made := byHand(e)
				brings[record.Ref{Journal: j.ID, N: n}] = made
				for k, mass := range made {
					want[k] += mass
				}
			}
			// Every seventh entry of the round before is voided.
			for n := max(first, 121) - 120; round > 0 && n < first; n += 7 {
				ref := record.Ref{Journal: j.ID, N: n}
				if brings[ref] == nil {
					continue // a void itself
				}
				j.Write(j.At, "", void(ref))
				for k, mass := range brings[ref] {
					want[k] -= mass
				}
			}
			b.post(j.Batch(first, j.Last()))
		}
		got := b.agree()
		for k := range want {
			if want[k] != got[k] {
				t.Errorf("round %d: %s: %v, by hand %v", round, k, got[k], want[k])
			}
		}
	}
	before, totals := b.postings(), b.totals()
	var seen, beside unit.Mass
	read, err := rollup.ReadTotals(t.Context(), b.path)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range read {
		beside += row.Mass
	}
	for _, mass := range totals {
		seen += mass
	}
	if beside != seen || seen == 0 {
		t.Errorf("another process reads %d g, this one %d g", beside, seen)
	}
	if err := b.Rebuild(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, b.postings()); diff != "" {
		t.Error("rebuilt postings:", diff)
	}
	if diff := cmp.Diff(totals, b.agree()); diff != "" {
		t.Error("rebuilt sums:", diff)
	}
}

// A place counted in one order is none in another, though the numbers are the same: another ledger, a
// copy that was put back and has gone on otherwise, tonnes made again with another catalogue.
func TestPlaceIsOfOneOrder(t *testing.T) {
	ctx := t.Context()
	ledgerOf := func(batches ...*wire.Batch) bench {
		b := newBench(t, "xinhua-1", "xinhua-2")
		for _, batch := range batches {
			b.post(batch)
		}
		return b
	}
	one, two := ledgertest.New("xinhua-1", 1).Shift(100).Batches(100)[0], ledgertest.New("xinhua-2", 2).Shift(100).Batches(100)[0]
	first, same, other := ledgerOf(one, two), ledgerOf(one, two), ledgerOf(two, one)
	all := first.postings()
	for _, p := range all {
		rest, err := same.PostingsAfter(ctx, p.Place(), len(all))
		if err != nil || len(rest) != len(all)-int(p.Seq) {
			t.Fatalf("after %d: %d postings, %v", p.Seq, len(rest), err)
		}
		if _, err := other.PostingsAfter(ctx, p.Place(), 1); !errors.Is(err, rollup.ErrOtherOrder) {
			t.Fatalf("after %d in another order: %v", p.Seq, err)
		}
	}
	if _, err := ledgerOf(one).PostingsAfter(ctx, all[len(all)-1].Place(), 1); !errors.Is(err, rollup.ErrOtherOrder) {
		t.Errorf("a place beyond the newest posting: %v", err)
	}
	if got, err := first.PostingsAfter(ctx, rollup.Place{}, 3); err != nil || len(got) != 3 || got[0].Seq != 1 {
		t.Errorf("from the beginning: %v, %v", got, err)
	}
}

func TestRunFollows(t *testing.T) {
	b := newBench(t, "xinhua-1")
	j := ledgertest.New("xinhua-1", 1).Shift(100)
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { ended <- b.Rollup.Run(ctx) }()
	for _, batch := range j.Batches(10) {
		if _, err := b.Post(t.Context(), ledgertest.Start(), []*wire.Batch{batch}); err != nil {
			t.Fatal(err)
		}
	}
	for {
		behind, err := b.Lag(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if behind == 0 {
			break
		}
		select {
		case err := <-ended:
			t.Fatal("Run ended", err)
		case <-time.After(time.Millisecond):
		}
	}
	b.agree()
	cancel()
	if err := <-ended; err != nil && !errors.Is(err, ctx.Err()) {
		t.Error(err)
	}
}
