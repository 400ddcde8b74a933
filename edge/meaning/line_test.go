package meaning_test

import (
	"testing"
	"time"

	"steelyard/firmware-bridge/device"
	"steelyard/internal/record"
	"steelyard/internal/unit"
)

func (s *shift) belt(counts int64, after time.Duration) []*record.Belt {
	s.t.Helper()
	s.now = s.now.Add(after)
	var out []*record.Belt
	for _, e := range s.take(s.site.Scan(device.Scan{Device: "belt-1", At: s.now, Values: []device.Value{
		{Tag: "total", Meaning: "totaliser.mass", Unit: "kg", OK: true, Number: unit.Decimal{Coef: counts}}}})) {
		out = append(out, e.Body.(*record.Belt))
	}
	return out
}

// standing lets a minute pass without a count, so that what is known is recorded.
func (s *shift) standing(counts int64) unit.Mass {
	s.t.Helper()
	s.belt(counts, time.Minute)
	s.belt(counts, time.Minute)
	belts, _ := s.site.Lines()
	return belts["belt-1"].Standing
}

func TestBeltStandingsOverWrapResetJumpAndRestart(t *testing.T) {
	s := newShift(t)
	first := s.belt(999_000, 0)
	if len(first) != 1 || first[0].Standing != 0 || first[0].Raw != 999_000 {
		t.Fatalf("first sight: %v", first)
	}
	if got := s.belt(999_500, 30*time.Second); len(got) != 0 {
		t.Errorf("recorded before it was due: %v", got[0])
	}
	if got := s.belt(100, 30*time.Second); len(got) != 1 || got[0].Event != record.BeltWrap || got[0].Standing != 1100*unit.Kilogram {
		t.Fatalf("wrap: %+v", got)
	}
	s.belt(400, time.Minute)
	s.restart(0, false)
	s.now = s.now.Add(time.Hour)
	if got := s.standing(50_000); got != 1100*unit.Kilogram+49_900*unit.Kilogram {
		t.Errorf("after the restart: %s", got)
	}
	if got := s.belt(10, time.Minute); len(got) != 1 || got[0].Event != record.BeltReset || got[0].Standing != 51_010*unit.Kilogram {
		t.Errorf("reset: %+v", got)
	}
	if got := s.belt(900_000, time.Minute); len(got) != 1 || got[0].Event != record.BeltJump || got[0].Standing != 51_010*unit.Kilogram {
		t.Errorf("jump: %+v", got)
	}
	if got := s.standing(900_050); got != 51_060*unit.Kilogram {
		t.Errorf("after the jump: %s", got)
	}
}

// What a belt carried shows when the machine answers, not when it was carried.
func TestWhatShowsLateIsCounted(t *testing.T) {
	const poll = 200 * time.Millisecond
	for _, test := range []struct {
		name string
		play func(s *shift) (want int64) // counts since the first sight, at 75 t in an hour
	}{
		{"one answer is late, the next is not", func(s *shift) int64 {
			s.belt(4, poll)
			s.belt(5, 3*time.Second)
			s.belt(68, 5*time.Millisecond)
			return 68
		}},
		{"the scale refreshes its register once a second", func(s *shift) (n int64) {
			for range 120 {
				n += 21
				s.belt(n, poll)
				for range 4 {
					s.belt(n, poll)
				}
			}
			return n
		}},
		{"the clock is set back between two answers", func(s *shift) int64 {
			s.belt(4, poll)
			s.belt(8, -time.Hour)
			s.belt(12, poll)
			return 12
		}},
		{"the edge was off for two years", func(s *shift) int64 {
			s.standing(10)
			s.restart(0, false)
			s.belt(900_010, 2*365*24*time.Hour)
			return 900_010
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newShift(t)
			s.belt(0, 0)
			want := test.play(s)
			if got := s.standing(want); got != unit.Mass(want)*unit.Kilogram {
				t.Errorf("the belt's standing is %s, want %d kg", got, want)
			}
		})
	}
}

// More than a belt can carry is not believed, in one step or in many, nor what is said to have come in
// a night through which it was seen to stand.
func TestWhatABeltCannotCarryIsNotCounted(t *testing.T) {
	for _, test := range []struct {
		name string
		most unit.Mass
		play func(s *shift) (raw int64)
	}{
		{"a load after a night", 0, func(s *shift) int64 {
			for range 12 {
				s.belt(0, time.Hour)
			}
			return 300_000
		}},
		{"a hundred times too fast, in many steps", 5 * unit.Tonne, func(s *shift) (raw int64) {
			for range 100 {
				raw += 2500
				s.belt(raw, time.Second)
			}
			return raw
		}},
		{"a little too much in each answer", 5 * unit.Tonne, func(s *shift) (raw int64) {
			for range 10_000 {
				raw++
				s.belt(raw, 10*time.Millisecond)
			}
			return raw
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newShift(t)
			s.belt(0, 0)
			if got := s.standing(0); got != 0 {
				t.Fatalf("an empty belt stands at %s", got)
			}
			raw := test.play(s)
			s.belt(raw, time.Second)
			if got := s.standing(raw); got > test.most {
				t.Errorf("the belt's standing is %s, want %s at most", got, test.most)
			}
			belts, _ := s.site.Lines()
			if belts["belt-1"].Raw != raw {
				t.Errorf("the register is at %d, and known as %d", raw, belts["belt-1"].Raw)
			}
		})
	}
}

func TestBeltEventIsProposedUntilTheJournalHasIt(t *testing.T) {
	s := newShift(t)
	s.belt(999_999, 0)
	s.full = true
	s.belt(5, time.Second)
	s.belt(9, time.Second)
	s.full = false
	got := s.belt(9, time.Second)
	if len(got) != 1 || got[0].Event != record.BeltWrap || got[0].Standing != 10*unit.Kilogram {
		t.Errorf("got %+v", got)
	}
}

func TestUnreadableTotaliserCountsNothing(t *testing.T) {
	s := newShift(t)
	s.belt(100, 0)
	s.now = s.now.Add(time.Hour)
	for _, v := range []device.Value{
		{Meaning: "totaliser.mass", Unit: "kg", OK: false, Number: unit.Decimal{Coef: 0}},
		{Meaning: "totaliser.mass", Unit: "kg", OK: true, Number: unit.Decimal{Coef: 1_000_000}},
		{Meaning: "totaliser.mass", Unit: "kg", OK: true, Number: unit.Decimal{Coef: 1005, Scale: 1}},
		{Meaning: "totaliser.mass", Unit: "lb", OK: true, Number: unit.Decimal{Coef: 200}},
	} {
		if facts := s.site.Scan(device.Scan{Device: "belt-1", At: s.now, Values: []device.Value{v}}); len(facts) != 0 {
			t.Errorf("%+v was counted: %+v", v, facts[0].Body)
		}
	}
}

func (s *shift) baler(sequence, grams int64) []meaningBody {
	s.t.Helper()
	s.now = s.now.Add(time.Second)
	var out []meaningBody
	for _, e := range s.take(s.site.Scan(device.Scan{Device: "baler-1", At: s.now, Values: []device.Value{
		{Meaning: "bale.sequence", OK: true, Number: unit.Decimal{Coef: sequence}},
		{Meaning: "bale.mass", Unit: "g", OK: true, Number: unit.Decimal{Coef: grams}},
		{Meaning: "bale.pressure_max", Unit: "bar", OK: true, Number: unit.Decimal{Coef: 1805, Scale: 1}}}})) {
		out = append(out, e.Body)
	}
	return out
}

type meaningBody = record.Body

func TestBaleIsRecordedWhenItsBlockIsWhole(t *testing.T) {
	s := newShift(t)
	s.baler(411, 0)
	if got := s.baler(411, 0); len(got) != 1 || got[0].(*record.Device).Counter != 411 {
		t.Fatalf("first sight: %v", got)
	}
	if got := s.baler(412, 1); len(got) != 0 {
		t.Errorf("recorded from one poll: %v", got[0])
	}
	got := s.baler(412, 405_300)
	if len(got) != 1 {
		t.Fatalf("%d records, want 1", len(got))
	}
	b := got[0].(*record.Bale)
	if b.Number != 412 || b.Mass != 405_300 || !b.Weighed || b.Missed != 0 || b.Material != "paper/occ" || b.PressureMax != 1805 {
		t.Errorf("bale %+v", b)
	}
	if got := s.baler(412, 405_300); len(got) != 0 {
		t.Error("recorded twice")
	}
	s.restart(10*time.Minute, false)
	s.baler(415, 400_000)
	if got := s.baler(415, 400_000); len(got) != 1 || got[0].(*record.Bale).Missed != 2 {
		t.Errorf("after the restart: %v", got)
	}
	s.baler(416, 0)
	if got := s.baler(416, 0); len(got) != 1 || got[0].(*record.Bale).Weighed {
		t.Errorf("a bale of 0 g was called weighed: %v", got)
	}
	s.baler(3, 0)
	if got := s.baler(3, 0); len(got) != 1 || got[0].(*record.Device).Counter != 3 {
		t.Errorf("counter set back: %v", got)
	}
}

// The slower values of a machine come in scans of their own, between the polls.
func TestABaleSettlesAcrossScansOfOtherValues(t *testing.T) {
	s := newShift(t)
	s.baler(411, 0)
	s.baler(411, 0)
	s.baler(412, 405_300)
	oil := device.Value{Tag: "oil", Unit: "°C", OK: true, Number: unit.Decimal{Coef: 41}}
	s.take(s.site.Scan(device.Scan{Device: "baler-1", At: s.now, Values: []device.Value{oil}}))
	if got := s.baler(412, 405_300); len(got) != 1 || !got[0].(*record.Bale).Weighed {
		t.Errorf("%v, want the bale", got)
	}
	s.baler(413, 400_000)
	unread := device.Value{Meaning: "bale.sequence", Why: "no reply"}
	s.take(s.site.Scan(device.Scan{Device: "baler-1", At: s.now, Values: []device.Value{unread}}))
	if got := s.baler(413, 400_000); len(got) != 0 {
		t.Errorf("a poll that could not read the number counted as none: %v", got[0])
	}
}

func TestLineMaterialIsTheOperators(t *testing.T) {
	s := newShift(t)
	s.baler(1, 0)
	s.baler(1, 0)
	facts, err := s.site.SetMaterial(s.now, "baler-1", "plastics/pet", "op-1")
	if err != nil {
		t.Fatal(err)
	}
	s.take(facts)
	s.restart(time.Minute, true)
	s.baler(2, 300_000)
	if got := s.baler(2, 300_000); len(got) != 1 || got[0].(*record.Bale).Material != "plastics/pet" {
		t.Errorf("got %v", got)
	}
	if _, err := s.site.SetMaterial(s.now, "belt-1", "gold", "op-1"); code(err) != "unknown-material" {
		t.Errorf("got %v", err)
	}
	if _, err := s.site.SetMaterial(s.now, "belt-9", "steel", "op-1"); code(err) != "unknown-line" {
		t.Errorf("got %v", err)
	}
}
