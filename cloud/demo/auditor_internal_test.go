package demo

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"steelyard/firmware-bridge/sim"
	"steelyard/internal/chain"
	"steelyard/internal/record"
	"steelyard/internal/wire"
)

func TestCleanBooksAreExact(t *testing.T) {
	s := newShift()
	a := audit(s.evidence(t), noon.Add(time.Hour), true)
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
func (b *evidence) both(t *testing.T, kind record.Kind, k int, body func(record.Body) record.Body) {
	t.Helper()
	for _, lines := range [][]line{b.journal, b.ledger} {
		i := which(t, lines, kind, k)
		lines[i] = again(t, lines[i], lines[i].Device, body(lines[i].body))
	}
}

// never takes an entry out of both books: the edge did not write it.
func (b *evidence) never(t *testing.T, kind record.Kind, k int) {
	t.Helper()
	i := which(t, b.journal, kind, k)
	b.journal = slices.Delete(slices.Clone(b.journal), i, i+1)
	i = which(t, b.ledger, kind, k)
	b.ledger = slices.Delete(b.ledger, i, i+1)
}

// added puts an entry into both books that nothing in the truth stands for.
func (b *evidence) added(t *testing.T, device string, at time.Duration, body record.Body) {
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

// said are faults in English.
func said(faults []Fault) (all []string) {
	for _, f := range faults {
		all = append(all, f.String())
	}
	return all
}

// checkFilled: a fault has a value for each slot of its words, and none that no word uses.
func checkFilled(t *testing.T, f Fault) {
	t.Helper()
	used := map[string]string{}
	for _, s := range slot.FindAllString(faultWords()[f.Code], -1) {
		used[s[1:len(s)-1]] = f.With[s[1:len(s)-1]]
	}
	if diff := cmp.Diff(used, f.With); diff != "" || len(used) == 0 {
		t.Errorf("%s: slots of its words (-), values of the fault (+): %s", f.Code, diff)
	}
}

func TestEachFaultIsFoundAndNamed(t *testing.T) {
	named := map[string]bool{"tonnes": true} // TestTonnes has it
	lost, duplicated, altered, invented := [5]int{1}, [5]int{0, 1}, [5]int{0, 0, 1}, [5]int{0, 0, 0, 1}
	inLedger := func(b *evidence, t *testing.T, kind record.Kind, k int, change func(lines []line, i int) []line) {
		b.ledger = change(b.ledger, which(t, b.ledger, kind, k))
	}
	drop := func(lines []line, i int) []line { return slices.Delete(lines, i, i+1) }
	double := func(lines []line, i int) []line { return slices.Insert(lines, i, lines[i]) }
	for _, tc := range []struct {
		name string
		harm func(t *testing.T, b *evidence)
		kind record.Kind
		want [5]int
		say  string
	}{
		// On the way to the city.
		{"weighing lost", func(t *testing.T, b *evidence) { inLedger(b, t, record.KindWeighing, 1, drop) }, record.KindWeighing, lost, "is not in the ledger"},
		{"operator's act lost", func(t *testing.T, b *evidence) { inLedger(b, t, record.KindOperator, 1, drop) }, record.KindOperator, lost, "is not in the ledger"},
		{"ticket lost", func(t *testing.T, b *evidence) { inLedger(b, t, record.KindTicket, 1, drop) }, record.KindTicket, lost, "is not in the ledger"},
		{"bale lost", func(t *testing.T, b *evidence) { inLedger(b, t, record.KindBale, 1, drop) }, record.KindBale, lost, "is not in the ledger"},
		{"belt standing lost", func(t *testing.T, b *evidence) { inLedger(b, t, record.KindBelt, 7, drop) }, record.KindBelt, lost, "is not in the ledger"},
		{"start lost", func(t *testing.T, b *evidence) { inLedger(b, t, record.KindOpened, 0, drop) }, record.KindOpened, lost, "is not in the ledger"},
		// The entry twice, and with it what it stands for.
		{"weighing twice", func(t *testing.T, b *evidence) { inLedger(b, t, record.KindWeighing, 1, double) }, record.KindWeighing, [5]int{0, 2}, "stands twice"},
		{"ticket twice", func(t *testing.T, b *evidence) { inLedger(b, t, record.KindTicket, 1, double) }, record.KindTicket, [5]int{0, 2}, "stands twice"},
		{"bale twice", func(t *testing.T, b *evidence) { inLedger(b, t, record.KindBale, 1, double) }, record.KindBale, [5]int{0, 2}, "stands twice"},
		{"belt standing twice", func(t *testing.T, b *evidence) { inLedger(b, t, record.KindBelt, 1, double) }, record.KindBelt, duplicated, "stands twice"},
		{"digest altered", func(t *testing.T, b *evidence) {
			inLedger(b, t, record.KindDevice, 0, func(lines []line, i int) []line {
				lines[i] = again(t, lines[i], "baler-1", &record.Device{State: "counter", Counter: 40})
				return lines
			})
		}, record.KindDevice, altered, "differs between journal and ledger"},
		{"entry that no edge wrote", func(t *testing.T, b *evidence) {
			inLedger(b, t, record.KindDevice, 0, func(lines []line, i int) []line {
				l := again(t, lines[i], "belt-1", &record.Device{State: "online"})
				l.N = 9999
				return append(lines, l)
			})
		}, record.KindDevice, invented, "which the edge did not write"},

		// At the site: what the edge made of it, the same in both books.
		{"weighing never written", func(t *testing.T, b *evidence) { b.never(t, record.KindWeighing, 0) }, record.KindWeighing, lost, "has no weighing"},
		{"weighing of another weight", func(t *testing.T, b *evidence) {
			b.both(t, record.KindWeighing, 0, func(record.Body) record.Body { return weighing(12_020 * kg) })
		}, record.KindWeighing, altered, "says 12020, the display showed 12000"},
		{"same lorry weighed twice", func(t *testing.T, b *evidence) {
			b.added(t, "weighbridge-1", 72*time.Second, weighing(12_000*kg))
		}, record.KindWeighing, duplicated, "was weighed again"},
		{"weighing of nobody", func(t *testing.T, b *evidence) {
			b.added(t, "weighbridge-1", 10*time.Minute, weighing(12_000*kg))
		}, record.KindWeighing, invented, "belongs to no visit"},
		{"weighing of another deck", func(t *testing.T, b *evidence) {
			b.added(t, "weighbridge-2", 72*time.Second, weighing(12_000*kg))
		}, record.KindWeighing, invented, "belongs to no visit"},
		{"confirmed act never written", func(t *testing.T, b *evidence) { b.never(t, record.KindOperator, 0) }, record.KindOperator, lost, "was confirmed and is not in the ledger"},
		{"act of another lorry", func(t *testing.T, b *evidence) {
			b.truth[slices.IndexFunc(b.truth, func(e sim.Event) bool { return e.Kind == sim.OperatorEvent })].Vehicle = "豫D7"
		}, record.KindOperator, altered, "the operator said 豫D7"},
		{"act of nobody", func(t *testing.T, b *evidence) {
			b.added(t, "weighbridge-1", 7*time.Minute, weighIn("p-9", "豫D9", record.Ref{}))
		}, record.KindOperator, invented, "happened nowhere"},
		{"confirmed ticket never written", func(t *testing.T, b *evidence) { b.never(t, record.KindTicket, 0) }, record.KindTicket, lost, "was confirmed and is not in the ledger"},
		{"ticket confirmed with another digest", func(t *testing.T, b *evidence) {
			b.both(t, record.KindTicket, 0, func(record.Body) record.Body { return ticket("T-1", "p-1", "豫D1", 12_000*kg, 4_000*kg) })
		}, record.KindTicket, altered, "with another digest"},
		{"ticket of another weight than the lorry's", func(t *testing.T, b *evidence) {
			b.truth[slices.IndexFunc(b.truth, func(e sim.Event) bool { return e.Kind == sim.TicketEvent })].Mass += 20 * kg
		}, record.KindTicket, altered, "the difference of 豫D1 was 7020"},
		{"ticket of another lorry", func(t *testing.T, b *evidence) {
			b.truth[slices.IndexFunc(b.truth, func(e sim.Event) bool { return e.Kind == sim.TicketEvent })].Vehicle = "豫D7"
		}, record.KindTicket, altered, "of 豫D1, the difference of 豫D7"},
		{"passage with two tickets", func(t *testing.T, b *evidence) {
			b.added(t, "weighbridge-1", 316*time.Second, ticket("T-1b", "p-1", "豫D1", 12_000*kg, 5_000*kg))
		}, record.KindTicket, [5]int{0, 1, 1}, "has two entries"},
		{"ticket of nobody", func(t *testing.T, b *evidence) {
			b.added(t, "weighbridge-1", 7*time.Minute, ticket("T-9", "p-9", "豫D9", 12_000*kg, 5_000*kg))
		}, record.KindTicket, invented, "happened nowhere"},
		{"ticket that contradicts itself", func(t *testing.T, b *evidence) {
			b.both(t, record.KindTicket, 0, func(record.Body) record.Body {
				wrong := ticket("T-1", "p-1", "豫D1", 12_000*kg, 5_000*kg)
				wrong.Net += 500 * kg
				return wrong
			})
		}, record.KindTicket, lost, "was confirmed and is not in the ledger"},
		{"bale never written", func(t *testing.T, b *evidence) { b.never(t, record.KindBale, 0) }, record.KindBale, lost, "bale 42 of baler-1 has no record"},
		{"bale of another weight", func(t *testing.T, b *evidence) {
			b.both(t, record.KindBale, 1, func(record.Body) record.Body { return bale(43, 410*kg) })
		}, record.KindBale, altered, "bale 43 of baler-1 says 410"},
		{"bale of another material", func(t *testing.T, b *evidence) {
			b.both(t, record.KindBale, 1, func(x record.Body) record.Body {
				other := *x.(*record.Bale)
				other.Material = "plastics/pet"
				return &other
			})
		}, record.KindBale, altered, "of plastics/pet"},
		{"same bale recorded twice", func(t *testing.T, b *evidence) { b.added(t, "baler-1", 5*time.Minute, bale(43, 409*kg)) }, record.KindBale, duplicated, "bale 43 of baler-1 stands twice"},
		{"bale that was never pressed", func(t *testing.T, b *evidence) { b.added(t, "baler-1", 5*time.Minute, bale(44, 409*kg)) }, record.KindBale, invented, "bale 44 of baler-1 was never pressed"},
		{"belt's standing too high", func(t *testing.T, b *evidence) {
			b.both(t, record.KindBelt, 5, func(record.Body) record.Body { return standing(950+5*60+20, 950) })
		}, record.KindBelt, altered, "says 1270"},
		{"belt's standing too low", func(t *testing.T, b *evidence) {
			b.both(t, record.KindBelt, 5, func(record.Body) record.Body { return standing(950+5*60-20, 950) })
		}, record.KindBelt, altered, "says 1230"},
		{"a wrap that was missed", func(t *testing.T, b *evidence) {
			b.both(t, record.KindBelt, 5, func(x record.Body) record.Body {
				missed := *x.(*record.Belt)
				missed.Standing -= modulus * step
				missed.Standing = max(missed.Standing, 0)
				return &missed
			})
		}, record.KindBelt, altered, "stood between"},
		{"belt of another step", func(t *testing.T, b *evidence) {
			b.both(t, record.KindBelt, 5, func(x record.Body) record.Body {
				other := *x.(*record.Belt)
				other.Step, other.Standing = 2*other.Step, 2*other.Standing
				return &other
			})
		}, record.KindBelt, altered, "in steps of 20"},
		{"belt without a modulus", func(t *testing.T, b *evidence) {
			b.both(t, record.KindBelt, 0, func(x record.Body) record.Body {
				other := *x.(*record.Belt)
				other.Modulus = 0
				return &other
			})
		}, record.KindBelt, altered, "up to 0"},
		{"a few grams on a standing", func(t *testing.T, b *evidence) {
			b.both(t, record.KindBelt, 5, func(x record.Body) record.Body {
				other := *x.(*record.Belt)
				other.Standing += 9
				return &other
			})
		}, record.KindBelt, altered, "belt-1 counts"},
		{"belt's last standing never written", func(t *testing.T, b *evidence) {
			b.never(t, record.KindBelt, 20)
			b.never(t, record.KindBelt, 19)
		}, record.KindBelt, lost, "carried up to 2100 counts, its last standing is 2030"},
		{"belt that was never read", func(t *testing.T, b *evidence) {
			for range 21 {
				b.never(t, record.KindBelt, 0)
			}
		}, record.KindBelt, lost, "belt-1 carried up to 2100 counts and has no standing"},
		{"belt that does not exist", func(t *testing.T, b *evidence) { b.added(t, "belt-7", time.Minute, standing(10, 0)) }, record.KindBelt, invented, "belt-7 does not exist"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newShift().evidence(t)
			tc.harm(t, &b)
			a := audit(b, noon.Add(time.Hour), true)
			if diff := cmp.Diff(map[record.Kind][5]int{tc.kind: tc.want}, a.counts()); diff != "" {
				t.Errorf("lost, duplicated, altered, invented, pending (-want +got):\n%s", diff)
			}
			if got := strings.Join(said(a.faults), "\n"); !strings.Contains(got, tc.say) || !strings.Contains(got, "xinhua-1: ") {
				t.Errorf("got %q, want it to say %q", got, tc.say)
			}
			for _, f := range a.faults {
				named[f.Code] = true
				checkFilled(t, f)
			}
		})
	}
	for code := range faultWords() {
		if !named[code] {
			t.Errorf("no case brings the fault %s", code)
		}
	}
}
