package demo

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"steelyard/cloud/ledger/scribe"
	"steelyard/cloud/rollup"
	"steelyard/edge/journal"
	"steelyard/firmware-bridge/sim"
	"steelyard/internal/chain"
	"steelyard/internal/record"
	"steelyard/internal/unit"
	"steelyard/internal/wire"
)

// An oracle that can't fail proves nothing. These books are made by hand: a small shift whose
// account is exact, and one thing wrong with it at a time.

var noon = time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC)

const (
	kg      = unit.Kilogram
	modulus = 1000 // of the belt's register
	step    = 10 * kg
)

// shift is a site's three books while they are written.
type shift struct {
	*scribe.Journal
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
	s := &shift{Journal: scribe.New("xinhua-1", 7)}
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

// read gives the entries as a book has them.
func read(t *testing.T, j *scribe.Journal) (all []line) {
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

// book is the shift as the auditor reads it, with everything in the ledger.
func (s *shift) book(t *testing.T) book {
	all := read(t, s.Journal)
	return book{site: s.Site, truth: slices.Clone(s.truth), journal: all, ledger: slices.Clone(all)}
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

func TestCleanBooksAreExact(t *testing.T) {
	s := newShift()
	a := audit(s.book(t), noon.Add(time.Hour), true)
	if len(a.faults) > 0 || len(a.counts()) > 0 {
		t.Fatalf("got %v %v, want no fault", a.counts(), a.faults)
	}
	for kind, want := range map[record.Kind]int{record.KindWeighing: 4, record.KindOperator: 2, record.KindTicket: 2, record.KindBale: 2,
		record.KindBelt: 21, record.KindOpened: 1, record.KindDevice: 1} {
		k := a.kinds[kind]
		if k == nil || k.Emitted != want || k.Journaled != want || k.InLedger != want {
			t.Errorf("%s: got %+v, want %d everywhere", kind, k, want)
		}
	}
}

// again writes an entry of the ledger anew, with other content: the digest changes with it.
func again(t *testing.T, l line, device string, body record.Body) line {
	t.Helper()
	text, err := wire.EncodeBody(body)
	if err != nil {
		t.Fatal(err)
	}
	e := l.Entry
	e.Body, e.Device = text, device
	out, err := e.Line()
	if err != nil {
		t.Fatal(err)
	}
	return lineOf(e, chain.Of(out))
}

// both changes an entry in the journal and in the ledger alike: the machine or the edge was wrong,
// not the way to the city.
func (b *book) both(t *testing.T, kind record.Kind, k int, body func(record.Body) record.Body) {
	t.Helper()
	for _, lines := range [][]line{b.journal, b.ledger} {
		i := which(t, lines, kind, k)
		lines[i] = again(t, lines[i], lines[i].Device, body(lines[i].body))
	}
}

// never takes an entry out of both books: the edge did not write it.
func (b *book) never(t *testing.T, kind record.Kind, k int) {
	t.Helper()
	i := which(t, b.journal, kind, k)
	b.journal = slices.Delete(slices.Clone(b.journal), i, i+1)
	i = which(t, b.ledger, kind, k)
	b.ledger = slices.Delete(b.ledger, i, i+1)
}

// added puts an entry into both books that nothing in the truth stands for.
func (b *book) added(t *testing.T, device string, at time.Duration, body record.Body) {
	t.Helper()
	text, err := wire.EncodeBody(body)
	if err != nil {
		t.Fatal(err)
	}
	e := wire.Entry{Site: b.site, Journal: b.journal[0].Journal, N: uint64(len(b.journal)) + 1, At: noon.Add(at), Clock: wire.Synced,
		Kind: body.Kind(), Device: device, Prev: b.journal[len(b.journal)-1].hash, Body: text}
	out, err := e.Line()
	if err != nil {
		t.Fatal(err)
	}
	l := lineOf(e, chain.Of(out))
	b.journal, b.ledger = append(slices.Clone(b.journal), l), append(b.ledger, l)
}

func TestEachFaultIsFoundAndNamed(t *testing.T) {
	lost, duplicated, altered, invented := [5]int{1}, [5]int{0, 1}, [5]int{0, 0, 1}, [5]int{0, 0, 0, 1}
	inLedger := func(b *book, t *testing.T, kind record.Kind, k int, change func(lines []line, i int) []line) {
		b.ledger = change(b.ledger, which(t, b.ledger, kind, k))
	}
	drop := func(lines []line, i int) []line { return slices.Delete(lines, i, i+1) }
	double := func(lines []line, i int) []line { return slices.Insert(lines, i, lines[i]) }
	for _, tc := range []struct {
		name string
		harm func(t *testing.T, b *book)
		kind record.Kind
		want [5]int
		say  string
	}{
		// On the way to the city.
		{"weighing lost", func(t *testing.T, b *book) { inLedger(b, t, record.KindWeighing, 1, drop) }, record.KindWeighing, lost, "is not in the ledger"},
		{"operator's act lost", func(t *testing.T, b *book) { inLedger(b, t, record.KindOperator, 1, drop) }, record.KindOperator, lost, "is not in the ledger"},
		{"ticket lost", func(t *testing.T, b *book) { inLedger(b, t, record.KindTicket, 1, drop) }, record.KindTicket, lost, "is not in the ledger"},
		{"bale lost", func(t *testing.T, b *book) { inLedger(b, t, record.KindBale, 1, drop) }, record.KindBale, lost, "is not in the ledger"},
		{"belt standing lost", func(t *testing.T, b *book) { inLedger(b, t, record.KindBelt, 7, drop) }, record.KindBelt, lost, "is not in the ledger"},
		{"start lost", func(t *testing.T, b *book) { inLedger(b, t, record.KindOpened, 0, drop) }, record.KindOpened, lost, "is not in the ledger"},
		// The entry twice, and with it what it stands for.
		{"weighing twice", func(t *testing.T, b *book) { inLedger(b, t, record.KindWeighing, 1, double) }, record.KindWeighing, [5]int{0, 2}, "stands twice"},
		{"ticket twice", func(t *testing.T, b *book) { inLedger(b, t, record.KindTicket, 1, double) }, record.KindTicket, [5]int{0, 2}, "stands twice"},
		{"bale twice", func(t *testing.T, b *book) { inLedger(b, t, record.KindBale, 1, double) }, record.KindBale, [5]int{0, 2}, "stands twice"},
		{"belt standing twice", func(t *testing.T, b *book) { inLedger(b, t, record.KindBelt, 1, double) }, record.KindBelt, duplicated, "stands twice"},
		{"digest altered", func(t *testing.T, b *book) {
			inLedger(b, t, record.KindDevice, 0, func(lines []line, i int) []line {
				lines[i] = again(t, lines[i], "baler-1", &record.Device{State: "counter", Counter: 40})
				return lines
			})
		}, record.KindDevice, altered, "differs between journal and ledger"},
		{"entry that no edge wrote", func(t *testing.T, b *book) {
			inLedger(b, t, record.KindDevice, 0, func(lines []line, i int) []line {
				l := again(t, lines[i], "belt-1", &record.Device{State: "online"})
				l.N = 9999
				return append(lines, l)
			})
		}, record.KindDevice, invented, "which the edge did not write"},

		// At the site: what the edge made of it, the same in both books.
		{"weighing never written", func(t *testing.T, b *book) { b.never(t, record.KindWeighing, 0) }, record.KindWeighing, lost, "has no weighing"},
		{"weighing of another weight", func(t *testing.T, b *book) {
			b.both(t, record.KindWeighing, 0, func(record.Body) record.Body { return weighing(12_020 * kg) })
		}, record.KindWeighing, altered, "says 12020, the display showed 12000"},
		{"same lorry weighed twice", func(t *testing.T, b *book) {
			b.added(t, "weighbridge-1", 72*time.Second, weighing(12_000*kg))
		}, record.KindWeighing, duplicated, "was weighed again"},
		{"weighing of nobody", func(t *testing.T, b *book) {
			b.added(t, "weighbridge-1", 10*time.Minute, weighing(12_000*kg))
		}, record.KindWeighing, invented, "belongs to no visit"},
		{"weighing of another deck", func(t *testing.T, b *book) {
			b.added(t, "weighbridge-2", 72*time.Second, weighing(12_000*kg))
		}, record.KindWeighing, invented, "belongs to no visit"},
		{"confirmed act never written", func(t *testing.T, b *book) { b.never(t, record.KindOperator, 0) }, record.KindOperator, lost, "was confirmed and is not in the ledger"},
		{"act of another lorry", func(t *testing.T, b *book) {
			b.truth[slices.IndexFunc(b.truth, func(e sim.Event) bool { return e.Kind == sim.OperatorEvent })].Vehicle = "豫D7"
		}, record.KindOperator, altered, "the operator said 豫D7"},
		{"act of nobody", func(t *testing.T, b *book) {
			b.added(t, "weighbridge-1", 7*time.Minute, weighIn("p-9", "豫D9", record.Ref{}))
		}, record.KindOperator, invented, "happened nowhere"},
		{"confirmed ticket never written", func(t *testing.T, b *book) { b.never(t, record.KindTicket, 0) }, record.KindTicket, lost, "was confirmed and is not in the ledger"},
		{"ticket confirmed with another digest", func(t *testing.T, b *book) {
			b.both(t, record.KindTicket, 0, func(record.Body) record.Body { return ticket("T-1", "p-1", "豫D1", 12_000*kg, 4_000*kg) })
		}, record.KindTicket, altered, "with another digest"},
		{"ticket of another weight than the lorry's", func(t *testing.T, b *book) {
			b.truth[slices.IndexFunc(b.truth, func(e sim.Event) bool { return e.Kind == sim.TicketEvent })].Mass += 20 * kg
		}, record.KindTicket, altered, "the difference of 豫D1 was 7020"},
		{"ticket of another lorry", func(t *testing.T, b *book) {
			b.truth[slices.IndexFunc(b.truth, func(e sim.Event) bool { return e.Kind == sim.TicketEvent })].Vehicle = "豫D7"
		}, record.KindTicket, altered, "of 豫D1, the difference of 豫D7"},
		{"passage with two tickets", func(t *testing.T, b *book) {
			b.added(t, "weighbridge-1", 316*time.Second, ticket("T-1b", "p-1", "豫D1", 12_000*kg, 5_000*kg))
		}, record.KindTicket, [5]int{0, 1, 1}, "has two entries"},
		{"ticket of nobody", func(t *testing.T, b *book) {
			b.added(t, "weighbridge-1", 7*time.Minute, ticket("T-9", "p-9", "豫D9", 12_000*kg, 5_000*kg))
		}, record.KindTicket, invented, "happened nowhere"},
		{"ticket that contradicts itself", func(t *testing.T, b *book) {
			b.both(t, record.KindTicket, 0, func(record.Body) record.Body {
				wrong := ticket("T-1", "p-1", "豫D1", 12_000*kg, 5_000*kg)
				wrong.Net += 500 * kg
				return wrong
			})
		}, record.KindTicket, lost, "was confirmed and is not in the ledger"},
		{"bale never written", func(t *testing.T, b *book) { b.never(t, record.KindBale, 0) }, record.KindBale, lost, "bale 42 of baler-1 has no record"},
		{"bale of another weight", func(t *testing.T, b *book) {
			b.both(t, record.KindBale, 1, func(record.Body) record.Body { return bale(43, 410*kg) })
		}, record.KindBale, altered, "bale 43 of baler-1 says 410"},
		{"bale of another material", func(t *testing.T, b *book) {
			b.both(t, record.KindBale, 1, func(x record.Body) record.Body {
				other := *x.(*record.Bale)
				other.Material = "plastics/pet"
				return &other
			})
		}, record.KindBale, altered, "of plastics/pet"},
		{"same bale recorded twice", func(t *testing.T, b *book) { b.added(t, "baler-1", 5*time.Minute, bale(43, 409*kg)) }, record.KindBale, duplicated, "bale 43 of baler-1 stands twice"},
		{"bale that was never pressed", func(t *testing.T, b *book) { b.added(t, "baler-1", 5*time.Minute, bale(44, 409*kg)) }, record.KindBale, invented, "bale 44 of baler-1 was never pressed"},
		{"belt's standing too high", func(t *testing.T, b *book) {
			b.both(t, record.KindBelt, 5, func(record.Body) record.Body { return standing(950+5*60+20, 950) })
		}, record.KindBelt, altered, "says 1270"},
		{"belt's standing too low", func(t *testing.T, b *book) {
			b.both(t, record.KindBelt, 5, func(record.Body) record.Body { return standing(950+5*60-20, 950) })
		}, record.KindBelt, altered, "says 1230"},
		{"a wrap that was missed", func(t *testing.T, b *book) {
			b.both(t, record.KindBelt, 5, func(x record.Body) record.Body {
				missed := *x.(*record.Belt)
				missed.Standing -= modulus * step
				missed.Standing = max(missed.Standing, 0)
				return &missed
			})
		}, record.KindBelt, altered, "stood between"},
		{"belt of another step", func(t *testing.T, b *book) {
			b.both(t, record.KindBelt, 5, func(x record.Body) record.Body {
				other := *x.(*record.Belt)
				other.Step, other.Standing = 2*other.Step, 2*other.Standing
				return &other
			})
		}, record.KindBelt, altered, "in steps of 20"},
		{"belt without a modulus", func(t *testing.T, b *book) {
			b.both(t, record.KindBelt, 0, func(x record.Body) record.Body {
				other := *x.(*record.Belt)
				other.Modulus = 0
				return &other
			})
		}, record.KindBelt, altered, "up to 0"},
		{"a few grams on a standing", func(t *testing.T, b *book) {
			b.both(t, record.KindBelt, 5, func(x record.Body) record.Body {
				other := *x.(*record.Belt)
				other.Standing += 9
				return &other
			})
		}, record.KindBelt, altered, "belt-1 counts"},
		{"belt's last standing never written", func(t *testing.T, b *book) {
			b.never(t, record.KindBelt, 20)
			b.never(t, record.KindBelt, 19)
		}, record.KindBelt, lost, "carried up to 2100 counts, its last standing is 2030"},
		{"belt that was never read", func(t *testing.T, b *book) {
			for range 21 {
				b.never(t, record.KindBelt, 0)
			}
		}, record.KindBelt, lost, "belt-1 carried up to 2100 counts and has no standing"},
		{"belt that does not exist", func(t *testing.T, b *book) { b.added(t, "belt-7", time.Minute, standing(10, 0)) }, record.KindBelt, invented, "belt-7 does not exist"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newShift().book(t)
			tc.harm(t, &b)
			a := audit(b, noon.Add(time.Hour), true)
			if diff := cmp.Diff(map[record.Kind][5]int{tc.kind: tc.want}, a.counts()); diff != "" {
				t.Errorf("lost, duplicated, altered, invented, pending (-want +got):\n%s", diff)
			}
			if said := strings.Join(a.faults, "\n"); !strings.Contains(said, tc.say) || !strings.Contains(said, "xinhua-1: ") {
				t.Errorf("got %q, want it to say %q", said, tc.say)
			}
		})
	}
}

// TestPendingBecomesLost: what is missing is on its way until patience ends, or the account is final.
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
		{"at once in a final account", last.Add(time.Second), true, [5]int{2}}, // and the belt carried more than was recorded
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := s.book(t)
			b.ledger = b.ledger[:len(b.ledger)-1]
			a := audit(b, tc.now, tc.final)
			if diff := cmp.Diff(map[record.Kind][5]int{record.KindBelt: tc.want}, a.counts()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
	// The other way round: the city has it before the truth file says it.
	b := s.book(t)
	b.truth = slices.DeleteFunc(b.truth, func(e sim.Event) bool { return e.Bale == 43 })
	if got := audit(b, noon.Add(4*time.Minute+10*time.Second), false).counts()[record.KindBale]; got != [5]int{0, 0, 0, 0, 1} {
		t.Errorf("a bale that the truth is about to say: got %v, want it pending", got)
	}
	if got := audit(b, noon.Add(time.Hour), false).counts()[record.KindBale]; got != [5]int{0, 0, 0, 1} {
		t.Errorf("a bale that the truth never says: got %v, want it invented", got)
	}
}

func TestEmittedIsWhatHappened(t *testing.T) {
	b := newShift().book(t)
	b.truth = nil
	a := audit(b, noon.Add(time.Hour), true)
	for _, kind := range witnessed() {
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
			for k, m := range want {
				ledger[k] = m
			}
			tc.harm(ledger)
			rows, equal := compareTonnes(truth, ledger)
			if equal {
				t.Error("the difference is not found")
			}
			if diff := cmp.Diff(tc.say, differences(rows)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestPrintNamesTheFaults(t *testing.T) {
	a := Account{Exact: true, Sites: []SiteAccount{{Site: "xinhua-1", Kinds: []KindAccount{{Kind: record.KindBale, Emitted: 2, Lost: 1}}}}}
	var out strings.Builder
	if err := a.Print(&out); err != nil || !strings.HasSuffix(out.String(), "the account is exact\n") {
		t.Errorf("got %v %q", err, out.String())
	}
	out.Reset()
	a.Exact, a.Faults = false, []string{"xinhua-1: bale 42 of baler-1 has no record"}
	if err := a.Print(&out); err != nil || !strings.HasSuffix(out.String(), "THE ACCOUNT IS NOT EXACT\nxinhua-1: bale 42 of baler-1 has no record\n") {
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
