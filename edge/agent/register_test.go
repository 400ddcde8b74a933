package agent_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"steelyard/edge/journal"
	"steelyard/firmware-bridge/sim"
	"steelyard/internal/record"
	"steelyard/internal/unit"
)

// newLegalSite is a site whose indicator is asked for its weight and stores each weighing.
func newLegalSite(t *testing.T) *site {
	t.Helper()
	return bringUp(t, sim.IndicatorConfig{Dialect: sim.Dini, Seed: 1}, "line: {port: %q}, indicator: dini-argeo-dgt-serial, store_weighings: true")
}

// page is what the operator sees of the deck.
type page struct {
	State    string
	Weighing *struct {
		Alibi, Text string
	}
}

func (r *running) sees() page {
	return into[struct{ Decks []page }](r.t, r.get("/api/decks")).Decks[0]
}

func (r *running) untilState(state string) {
	r.t.Helper()
	r.until("the page says "+state, func() bool { return r.deckState() == state })
}

// records are the bodies of the site's journals, one after the other. The agent must have ended.
func (s *site) records(data string) (all []record.Body) {
	s.t.Helper()
	journals, err := journal.Readers(filepath.Join(data, "records"))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, j := range journals {
		for stored, err := range j.After(0) {
			if err != nil {
				s.t.Fatal(err)
			}
			body, err := stored.Entry.Decode()
			if err != nil {
				s.t.Fatal(err)
			}
			all = append(all, body)
		}
	}
	return all
}

// accounted ends the agent and holds the indicator's memory against the journal: each of its numbers
// is that of one weighing with the same weight, or stands in a note. It gives the numbers of the
// weighings, in their order, and the notes.
func (r *running) accounted(data string) (weighed, notes []string) {
	r.t.Helper()
	r.end()
	masses := map[string]unit.Mass{}
	for _, body := range r.records(data) {
		switch b := body.(type) {
		case *record.Weighing:
			weighed = append(weighed, b.Alibi)
			masses[b.Alibi] = b.Mass
		case *record.Device:
			if strings.HasPrefix(b.Detail, "registering: ") {
				notes = append(notes, b.Detail)
			}
		}
	}
	for _, s := range r.indicator.Stored() {
		noted := slices.ContainsFunc(notes, func(n string) bool { return strings.Contains(n, s.Number) })
		if mass, ok := masses[s.Number]; !noted && (!ok || mass != s.Mass) {
			r.t.Errorf("the indicator stored %s as %s: the journal has %s, notes %q", s.Mass, s.Number, mass, notes)
		}
	}
	return weighed, notes
}

func (s *site) data() string { return filepath.Join(s.dir, "data") }

func TestRegisteredWeighing(t *testing.T) {
	t.Parallel()
	r := newLegalSite(t).start()
	r.weigh(30 * tonne)
	if p := r.sees(); p.Weighing == nil || p.Weighing.Alibi != "00126-000001" || p.Weighing.Text != "30000" {
		t.Errorf("the page shows %+v", p)
	}
	a := r.weighIn("p-1", "豫D12345").must(t, http.StatusCreated)
	if !strings.Contains(a.Body, `"alibi":"00126-000001"`) {
		t.Errorf("weighed in: %s", a.Body)
	}
	r.weigh(12 * tonne)
	type ticket struct {
		Gross   unit.Mass
		GrossBy struct{ Alibi, Text string } `json:"gross_by"`
		TareBy  struct{ Alibi, Text string } `json:"tare_by"`
	}
	got := into[ticket](t, r.weighOut("p-1", 18*tonne).must(t, http.StatusCreated))
	want := ticket{Gross: 30 * tonne}
	want.GrossBy.Alibi, want.GrossBy.Text, want.TareBy.Alibi, want.TareBy.Text = "00126-000001", "30000", "00126-000002", "12000"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	weighed, notes := r.accounted(r.data())
	if diff := cmp.Diff([]string{"00126-000001", "00126-000002"}, weighed); diff != "" || len(notes) != 0 {
		t.Errorf("notes %q, -want +got\n%s", notes, diff)
	}
}

// The answer is lost on its way: the page says so, the load is asked for again, and the next number
// tells that one is missing.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	r := newLegalSite(t).start()
	r.untilState("empty")
	r.indicator.Fault(sim.LostAnswer)
	r.deck.Place(12 * tonne)
	r.untilState("register-unanswered")
	if a := r.weighIn("p-1", "豫D12345"); a.Status != http.StatusConflict || !strings.Contains(a.Body, `"code":"register-unanswered"`) {
		t.Errorf("weighed in: %d %s", a.Status, a.Body)
	}
	r.indicator.Fault(sim.Healthy)
	r.untilState("captured")
	stored := r.indicator.Stored()
	if p := r.sees(); len(stored) != 2 || p.Weighing.Alibi != stored[1].Number {
		t.Errorf("stored %v, the page shows %+v", stored, p)
	}
	r.end()
	weighed, notes := []string{}, 0
	for _, body := range r.records(r.data()) {
		switch b := body.(type) {
		case *record.Weighing:
			weighed = append(weighed, b.Alibi)
		case *record.Device:
			if strings.Contains(b.Detail, "no answer; perhaps it has stored") {
				notes++
			}
		}
	}
	if diff := cmp.Diff([]string{"00126-000002"}, weighed); diff != "" || notes != 1 {
		t.Errorf("%d notes, -want +got\n%s", notes, diff)
	}
}

func TestRefusalAndErrorAreShown(t *testing.T) {
	t.Parallel()
	r := newLegalSite(t).start()
	for _, test := range []struct {
		fault sim.IndicatorFault
		state string
	}{{sim.Refusing, "register-refused"}, {sim.NoMemory, "register-failed"}} {
		r.deck.Place(0)
		r.untilState("empty")
		r.indicator.Fault(test.fault)
		r.deck.Place(12 * tonne)
		r.untilState(test.state)
		r.indicator.Fault(sim.Healthy)
		r.untilState("captured")
	}
	weighed, notes := r.accounted(r.data())
	if len(weighed) != 2 || len(notes) != 1 || !strings.Contains(notes[0], "ERR01") {
		t.Errorf("weighed %q, notes %q", weighed, notes)
	}
}

// The answer comes when the lorry has left and the next one stands there: it is noted, and no
// weighing of the next.
func TestLateAnswerIsNoted(t *testing.T) {
	t.Parallel()
	r := newLegalSite(t).start()
	r.untilState("empty")
	r.indicator.Fault(sim.LateAnswer)
	r.deck.Place(12 * tonne)
	r.until("it is stored", func() bool { return len(r.indicator.Stored()) == 1 })
	r.deck.Place(0)
	r.untilState("empty")
	r.indicator.Fault(sim.Healthy)
	r.weigh(9 * tonne)
	if p := r.sees(); p.Weighing.Alibi != "00126-000002" || p.Weighing.Text != "9000" {
		t.Errorf("the page shows %+v", p)
	}
	weighed, notes := r.accounted(r.data())
	if !slices.Equal(weighed, []string{"00126-000002"}) || !slices.ContainsFunc(notes, func(n string) bool {
		return strings.Contains(n, "stored 12000 kg as 00126-000001, which is no weighing here: the load had gone")
	}) {
		t.Errorf("weighed %q, notes %q", weighed, notes)
	}
}

func TestRepeatedNumberIsOnTheTicket(t *testing.T) {
	t.Parallel()
	r := newLegalSite(t).start()
	r.weigh(30 * tonne)
	r.weighIn("p-1", "豫D12345").must(t, http.StatusCreated)
	r.indicator.Fault(sim.RepeatedNumber)
	r.weigh(12 * tonne)
	if a := r.weighOut("p-1", 18*tonne).must(t, http.StatusCreated); !strings.Contains(a.Body, `"flags":["alibi-repeated"]`) {
		t.Errorf("the ticket: %s", a.Body)
	}
}

// A registered lorry stands on the deck over a restart: its number is known, and it is not stored
// twice. The next lorry's number shows that none was given meanwhile.
func TestRestartUnderARegisteredLorry(t *testing.T) {
	t.Parallel()
	s := newLegalSite(t)
	r := s.start()
	r.weigh(30 * tonne)
	r.end()
	r = s.start()
	r.untilState("captured")
	if p := r.sees(); p.Weighing.Alibi != "00126-000001" {
		t.Errorf("the page shows %+v", p)
	}
	r.weighIn("p-1", "豫D12345").must(t, http.StatusCreated)
	r.weigh(12 * tonne)
	weighed, notes := r.accounted(r.data())
	if !slices.Equal(weighed, []string{"00126-000001", "00126-000002"}) || len(notes) != 0 {
		t.Errorf("weighed %q, notes %q", weighed, notes)
	}
}

// The line falls while the request is out; what the indicator stored is in doubt, and the load is
// asked for again when the line is back.
func TestIndicatorFallsSilentWhileItIsAsked(t *testing.T) {
	t.Parallel()
	r := newLegalSite(t).start()
	r.untilState("empty")
	r.indicator.Fault(sim.LostAnswer)
	r.deck.Place(12 * tonne)
	r.until("it is stored", func() bool { return len(r.indicator.Stored()) == 1 })
	r.indicator.Fault(sim.Mute)
	r.untilState("silent")
	r.indicator.Fault(sim.Healthy)
	r.untilState("captured")
	if stored := r.indicator.Stored(); r.sees().Weighing.Alibi != stored[len(stored)-1].Number {
		t.Errorf("stored %v, the page shows %+v", stored, r.sees())
	}
	r.end()
	if !slices.ContainsFunc(r.records(r.data()), func(b record.Body) bool {
		d, ok := b.(*record.Device)
		return ok && strings.Contains(d.Detail, "no answer; perhaps it has stored")
	}) {
		t.Error("the doubt is not in the journal")
	}
}

// While nothing can be recorded nothing is stored in the indicator either, and what was stored before
// that was noticed is recorded when there is room again.
func TestNothingIsRegisteredThatCannotBeRecorded(t *testing.T) {
	s := newLegalSite(t)
	dir := disk(t, "4m")
	s.configure(fmt.Sprintf("data: %q\n", dir))
	r := s.start()
	r.weigh(12 * tonne)
	filler := fill(t, dir)
	r.exhaust()
	before := len(r.indicator.Stored())
	for _, m := range []unit.Mass{7 * tonne, 8 * tonne} {
		r.deck.Place(0)
		r.untilState("empty")
		r.deck.Place(m)
		r.untilState("registering")
		// The request would go out with the frame after which the page says so, and is answered before
		// the next.
		at := time.Now()
		r.until("two more weights have come", func() bool { return time.Since(at) > time.Second && r.deckState() == "registering" })
	}
	if after := len(r.indicator.Stored()); after != before {
		t.Errorf("%d weighings stored that could not be recorded", after-before)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	r.untilState("captured")
	if after := len(r.indicator.Stored()); after != before+1 {
		t.Errorf("%d weighings stored since there is room, want 1", after-before)
	}
	weighed, _ := r.accounted(dir)
	if len(weighed) < 2 {
		t.Errorf("weighed %q", weighed)
	}
}
