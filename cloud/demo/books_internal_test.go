package demo

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"steelyard/cloud/ledger/ledgertest"
	"steelyard/firmware-bridge/sim"
	"steelyard/internal/chain"
	"steelyard/internal/record"
	"steelyard/internal/unit"
	"steelyard/internal/wire"
)

// An oracle that can't fail proves nothing. These books are made by hand: a small shift whose
// audit is exact, and one thing wrong with it at a time.

var noon = time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC)

const (
	kg      = unit.Kilogram
	modulus = 1000 // of the belt's register
	step    = 10 * kg
)

// shift is a site's three books while they are written.
type shift struct {
	*ledgertest.Journal
	truth []sim.Event
}

func us(at time.Duration) int64 { return noon.Add(at).UnixMicro() }

// visit is a lorry on the deck, weighed.
func (s *shift) visit(at time.Duration, m unit.Mass, passage string) record.Ref {
	text := fmt.Sprint(int64(m / kg))
	s.truth = append(s.truth, sim.Event{AtUS: us(at + 20*time.Second), Kind: sim.WeighingEvent, Device: "weighbridge-1", Key: "visit at " + at.String(),
		FromUS: us(at), ToUS: us(at + 20*time.Second), Mass: m, Text: text, Passage: passage})
	return s.Write(noon.Add(at+10*time.Second), "weighbridge-1", weighing(m))
}

func weighing(m unit.Mass) *record.Weighing {
	return &record.Weighing{Mass: m, Text: fmt.Sprint(int64(m / kg)), Unit: unit.KG, Division: 20 * kg, Max: 60_000 * kg,
		Stability: record.Stability{By: "flag"}, Frames: []string{}, Curve: []record.Point{}, Flags: []string{}}
}

// confirmed is what the operator was shown of an act.
func (s *shift) confirmed(e sim.Event, ref record.Ref) {
	e.Journal, e.N, e.Hash = ref.Journal, ref.N, s.Hash(ref.N).String()
	s.truth = append(s.truth, e)
}

func weighIn(passage, vehicle string, w record.Ref) *record.Operator {
	return &record.Operator{Operator: "wang", Action: record.ActWeighIn, Passage: passage, Vehicle: vehicle, Direction: record.Inbound,
		Material: "paper/occ", Weighing: w, Flags: []string{}}
}

func ticket(number, passage, vehicle string, gross, tare unit.Mass) *record.Ticket {
	return &record.Ticket{Number: number, Direction: record.Inbound, Mode: record.TwoPass, Passage: passage, Vehicle: vehicle, Operator: "wang",
		Gross: gross, Tare: tare, Net: gross - tare, Parts: []record.Part{{Material: "paper/occ", Mass: gross - tare}},
		Deductions: []record.Deduction{}, Flags: []string{}}
}

func (s *shift) weighIn(at time.Duration, passage, vehicle string, w record.Ref) {
	s.confirmed(sim.Event{AtUS: us(at), Kind: sim.OperatorEvent, Key: passage, Vehicle: vehicle, Direction: record.Inbound, Material: "paper/occ"},
		s.Write(noon.Add(at), "weighbridge-1", weighIn(passage, vehicle, w)))
}

func (s *shift) weighOut(at time.Duration, number, passage, vehicle string, gross, tare unit.Mass) {
	t := ticket(number, passage, vehicle, gross, tare)
	s.confirmed(sim.Event{AtUS: us(at), Kind: sim.TicketEvent, Key: passage, Number: number, Vehicle: vehicle, Direction: t.Direction,
		Mass: t.Net, Gross: gross, Tare: tare, Parts: t.Parts}, s.Write(noon.Add(at), "weighbridge-1", t))
}

func bale(number uint64, m unit.Mass) *record.Bale {
	return &record.Bale{Number: number, Material: "paper/occ", Mass: m, Weighed: true}
}

func (s *shift) bale(at time.Duration, number uint64, m unit.Mass) {
	s.truth = append(s.truth, sim.Event{AtUS: us(at), Kind: sim.BaleEvent, Device: "baler-1", Bale: number, Mass: m, Material: "paper/occ"})
	s.Write(noon.Add(at+time.Second), "baler-1", bale(number, m))
}

func standing(counts, origin int64) *record.Belt {
	return &record.Belt{Raw: counts % modulus, Step: step, Modulus: modulus, Standing: unit.Mass(counts-origin) * step,
		Material: "plastics/pet", Event: record.BeltTick}
}

// newShift is a morning: two lorries, three bales of which one is older than the record, and a belt
// whose register wraps twice.
func newShift() *shift {
	s := &shift{Journal: ledgertest.New("xinhua-1", 7)}
	s.Write(noon, "", &record.Opened{Version: "devel", Key: "k", Reason: "start"})
	s.Write(noon, "baler-1", &record.Device{State: "counter", Counter: 41})
	s.truth = append(s.truth, sim.Event{AtUS: us(-time.Hour), Kind: sim.BaleEvent, Device: "baler-1", Bale: 41, Mass: 400 * kg, Material: "paper/occ"})

	a := s.visit(time.Minute, 12_000*kg, "p-1")
	s.weighIn(75*time.Second, "p-1", "豫D1", a)
	b := s.visit(2*time.Minute, 30_000*kg, "p-2")
	s.weighIn(135*time.Second, "p-2", "豫D2", b)
	s.visit(5*time.Minute, 5_000*kg, "p-1")
	s.weighOut(315*time.Second, "T-1", "p-1", "豫D1", 12_000*kg, 5_000*kg)
	s.visit(6*time.Minute, 11_000*kg, "p-2")
	s.weighOut(375*time.Second, "T-2", "p-2", "豫D2", 30_000*kg, 11_000*kg)
	s.bale(3*time.Minute, 42, 412*kg)
	s.bale(4*time.Minute, 43, 409*kg)

	// The belt begins at 950 and carries one count a second for ten minutes and more.
	for i := int64(0); i <= 1200; i += 10 {
		counts := 950 + min(i, 1150)
		s.truth = append(s.truth, sim.Event{AtUS: us(time.Duration(i) * time.Second), Kind: sim.BeltEvent, Device: "belt-1",
			Counts: counts, Initial: 950, Raw: counts % modulus, Modulus: modulus, Step: step})
		if i%60 == 0 {
			s.Write(noon.Add(time.Duration(i)*time.Second), "belt-1", standing(counts, 950))
		}
	}
	return s
}

// read returns the entries as a book has them.
func read(t *testing.T, j *ledgertest.Journal) (all []line) {
	t.Helper()
	for _, text := range j.Lines {
		e, err := wire.ParseEntry(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, lineOf(e, chain.Of(text)))
	}
	return all
}

// evidence is the shift as the auditor reads it, with everything in the ledger.
func (s *shift) evidence(t *testing.T) evidence {
	all := read(t, s.Journal)
	return evidence{site: s.Site, truth: slices.Clone(s.truth), journal: all, ledger: slices.Clone(all)}
}

// which finds the k-th entry of a kind, from 0.
func which(t *testing.T, lines []line, kind record.Kind, k int) int {
	t.Helper()
	for i, l := range lines {
		if l.Kind == kind {
			if k == 0 {
				return i
			}
			k--
		}
	}
	t.Fatalf("no entry %d of kind %s", k, kind)
	return 0
}

// counts are the faults of every kind that has some: lost, duplicated, altered, invented, pending.
func (a *auditor) counts() map[record.Kind][5]int {
	all := map[record.Kind][5]int{}
	for kind, k := range a.kinds {
		if c := [5]int{k.Lost, k.Duplicated, k.Altered, k.Invented, k.Pending}; c != [5]int{} {
			all[kind] = c
		}
	}
	return all
}
