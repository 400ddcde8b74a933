package meaning_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"steelyard/edge/meaning"
	"steelyard/firmware-bridge/device"
	"steelyard/internal/record"
	"steelyard/internal/unit"
)

// shift plays a site: frames come ten times a second, facts are journaled at once, and a restart
// begins with nothing but the journal.
type shift struct {
	t       testing.TB
	site    *meaning.Site
	config  meaning.Config
	now     time.Time
	journal []meaning.Entry
	full    bool // the journal takes nothing
	stable  device.Tri
	kind    device.Kind
	unit    unit.Unit
}

const deck = "weighbridge-1"

func newShift(t testing.TB) *shift {
	s := &shift{t: t, now: time.Date(2026, 11, 23, 2, 0, 0, 0, time.UTC), unit: unit.KG, config: meaning.Config{Series: "0000",
		Decks: []meaning.Deck{{Device: deck, Division: 20 * unit.Kilogram, Min: 400 * unit.Kilogram, Max: 60 * unit.Tonne,
			Unit: unit.KG, Window: 2 * time.Second}},
		Belts: []meaning.Belt{{Device: "belt-1", Step: unit.Kilogram, Modulus: 1_000_000, MaxRate: 100 * unit.Tonne,
			Every: time.Minute, Material: "plastics/pet"}},
		Balers: []meaning.Baler{{Device: "baler-1", Material: "paper/occ"}},
		Material: func(m string, _ time.Time) error {
			if m == "gold" {
				return fmt.Errorf("material %q is not in the catalogue", m)
			}
			return nil
		},
	}}
	s.site = meaning.New(s.config)
	return s
}

// take journals facts and applies them, unless the journal is full.
func (s *shift) take(facts []record.Fact) []meaning.Entry {
	s.t.Helper()
	if s.full {
		return nil
	}
	var entries []meaning.Entry
	for _, f := range facts {
		if err := f.Body.Check(); err != nil {
			s.t.Errorf("senseless %s: %v", f.Body.Kind(), err)
		}
		n := uint64(len(s.journal) + 1)
		e := meaning.Entry{Ref: record.Ref{Journal: "00000000000000000000000000000001", N: n}, Hash: fmt.Sprintf("%064d", n), At: f.At, Device: f.Device, Body: f.Body}
		s.journal, entries = append(s.journal, e), append(entries, e)
		s.site.Apply(e)
	}
	return entries
}

// restart forgets everything but the journal; with a checkpoint, also the entries before it.
func (s *shift) restart(off time.Duration, checkpoint bool) {
	s.t.Helper()
	fresh := meaning.New(s.config)
	if checkpoint {
		data, err := json.Marshal(s.site.State())
		if err != nil {
			s.t.Fatal(err)
		}
		var st meaning.State
		if err := json.Unmarshal(data, &st); err != nil {
			s.t.Fatal(err)
		}
		fresh.Restore(st)
	} else {
		for _, e := range s.journal {
			fresh.Apply(e)
		}
	}
	s.site, s.now = fresh, s.now.Add(off)
}

func (s *shift) frame(kg int64) []meaning.Entry {
	s.t.Helper()
	s.now = s.now.Add(100 * time.Millisecond)
	return s.take(s.site.Weight(device.Weight{Device: deck, At: s.now, HasValue: true, Value: unit.Decimal{Coef: kg},
		Unit: s.unit, Stable: s.stable, Kind: s.kind, Raw: fmt.Appendf(nil, "%06d", kg)}))
}

// rest shows one weight for a while and gives what was journaled.
func (s *shift) rest(kg int64, d time.Duration) (entries []meaning.Entry) {
	s.t.Helper()
	for range d / (100 * time.Millisecond) {
		entries = append(entries, s.frame(kg)...)
	}
	return entries
}

// driveOn climbs from an empty deck to the weight.
func (s *shift) driveOn(kg int64) (entries []meaning.Entry) {
	s.t.Helper()
	s.rest(0, time.Second)
	for part := int64(1); part < 8; part++ {
		entries = append(entries, s.rest(kg*part/8/20*20, 300*time.Millisecond)...)
	}
	return entries
}

func (s *shift) weigh(kg int64) *record.Weighing {
	s.t.Helper()
	entries := append(s.driveOn(kg), s.rest(kg, 4*time.Second)...)
	if len(entries) != 1 {
		s.t.Fatalf("%d weighings of a lorry of %d kg, want 1", len(entries), kg)
	}
	return entries[0].Body.(*record.Weighing)
}

func (s *shift) weighings() (all []*record.Weighing) {
	for _, e := range s.journal {
		if w, ok := e.Body.(*record.Weighing); ok {
			all = append(all, w)
		}
	}
	return all
}

func (s *shift) weighIn(in meaning.WeighIn) error {
	s.t.Helper()
	in.Deck = deck
	facts, _, err := s.site.WeighIn(s.now, in)
	s.take(facts)
	return err
}

func (s *shift) weighOut(out meaning.WeighOut) (*record.Ticket, error) {
	s.t.Helper()
	out.Deck, out.Operator = deck, "op-1"
	facts, closed, err := s.site.WeighOut(s.now, out)
	s.take(facts)
	if closed != nil {
		return closed.Ticket, err
	}
	if len(facts) == 0 {
		return nil, err
	}
	return facts[0].Body.(*record.Ticket), err
}

func lorry(passage, plate, direction string) meaning.WeighIn {
	return meaning.WeighIn{Passage: passage, Operator: "op-1", Vehicle: plate, Direction: direction, Material: "steel/heavy-melt"}
}

func code(err error) string {
	if r, ok := err.(*meaning.Refusal); ok {
		return r.Code
	}
	return fmt.Sprint(err)
}

func has(flags []string, flag string) bool { return slices.Contains(flags, flag) }
