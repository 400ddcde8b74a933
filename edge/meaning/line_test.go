package meaning_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"steelyard/edge/meaning"
	"steelyard/firmware-bridge/device"
	"steelyard/internal/record"
	"steelyard/internal/unit"
)

func (s *shift) belt(counts int64, after time.Duration) []*record.Belt {
	s.t.Helper()
	s.now = s.now.Add(after)
	var out []*record.Belt
	for _, e := range s.take(s.site.Scan(device.Scan{Device: "belt-1", At: s.now, Values: []device.Value{
		{Tag: "total", Quantity: "totaliser.mass", Unit: "kg", OK: true, Number: unit.Decimal{Coef: counts}}}})) {
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
	s.belt(10, time.Second)
	if got := s.belt(10, 5*time.Second); len(got) != 1 || got[0].Event != record.BeltReset || got[0].Raw != 10 || got[0].Standing != 51_000*unit.Kilogram {
		t.Errorf("reset: %+v", got)
	}
	if got := s.run(10, 100, 2*time.Minute); got != 51_090*unit.Kilogram {
		t.Errorf("after the reset: %s", got)
	}
	s.belt(900_000, time.Second)
	if got := s.belt(900_000, 5*time.Second); len(got) != 1 || got[0].Event != record.BeltJump || got[0].Raw != 900_000 || got[0].Standing != 51_090*unit.Kilogram {
		t.Errorf("jump: %+v", got)
	}
	if got := s.run(900_000, 900_050, 2*time.Minute); got != 51_140*unit.Kilogram {
		t.Errorf("after the jump: %s", got)
	}
}

// run lets a total rise evenly, a poll a second, and gives the standing at rest.
func (s *shift) run(from, to int64, d time.Duration) unit.Mass {
	s.t.Helper()
	polls := int64(d / time.Second)
	for i := range polls {
		s.belt(from+(to-from)*(i+1)/polls, time.Second)
	}
	return s.standing(to)
}

// What the journal says of a belt since the n-th entry.
func (s *shift) events(n int) (events []string) {
	for _, e := range s.journal[n:] {
		if b, ok := e.Body.(*record.Belt); ok {
			events = append(events, b.Event)
		}
	}
	return events
}

// A belt scale whose total went 300, 299, 300 while the belt stood was counted as set back to nothing
// each time: 299 kg on an idle belt, again and again.
func TestATotalThatTremblesByACountWasTakenForAReset(t *testing.T) {
	s := newShift(t)
	s.belt(300, 0)
	for range 15 {
		s.belt(299, time.Second)
		s.belt(300, time.Second)
	}
	s.belt(299, time.Minute)
	s.restart(time.Second, false)
	if got := s.standing(300); got != 0 || len(s.journal) != 1 {
		t.Errorf("the standing of an idle belt is %s after %v", got, s.events(0))
	}
	if got := s.run(300, 400, time.Minute); got != 100*unit.Kilogram {
		t.Errorf("the next 100 kg: %s", got)
	}
	// Around the modulus, too.
	s = newShift(t)
	s.belt(999_990, 0)
	s.belt(0, time.Second)
	s.belt(1, time.Second)
	for range 15 {
		s.belt(0, time.Second)
		s.belt(999_999, time.Second)
		s.belt(1, time.Second)
	}
	if got := s.standing(1); got != 11*unit.Kilogram {
		t.Errorf("a total that trembles around the modulus: %s after %v", got, s.events(0))
	}
}

// After a power cut the total came back from an older save, and all of it was counted again.
func TestATotalThatCameBackALittleLowerWasTakenForAReset(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		s := newShift(t)
		s.belt(3900, 0)
		if got := s.run(3900, 4000, time.Minute); got != 100*unit.Kilogram {
			t.Fatalf("before: %s", got)
		}
		n := len(s.journal)
		s.belt(3990, 70*time.Second)
		if restarted {
			s.restart(time.Second, false)
		}
		for range 6 {
			s.belt(3990, time.Second)
		}
		if events := s.events(n); len(events) != 1 || events[0] != record.BeltReset {
			t.Errorf("restarted %v: noted %v, want the reset", restarted, events)
		}
		if restarted {
			s.restart(time.Second, true)
		}
		if belts, _ := s.site.Lines(); belts["belt-1"].Standing != 100*unit.Kilogram {
			t.Errorf("restarted %v: %s were counted", restarted, belts["belt-1"].Standing)
		}
		// What was given back is taken off what comes next.
		if got := s.run(3990, 4020, 10*time.Second); got != 120*unit.Kilogram {
			t.Errorf("restarted %v: after it: %s", restarted, got)
		}
		if events := s.events(n); len(events) < 2 || events[len(events)-1] != record.BeltTick {
			t.Errorf("restarted %v: the note stays open: %v", restarted, events)
		}
	}
}

// A register that read 0 for one poll, twice, lost the belt 40 kg and brought it two resets and two
// jumps.
func TestAZeroForOnePollWasTakenForAReset(t *testing.T) {
	s := newShift(t)
	raw := int64(500_000)
	s.belt(raw, 0)
	for range 3 {
		for range 10 {
			raw += 10
			s.belt(raw, time.Second)
		}
		raw += 10
		s.belt(0, time.Second)
	}
	if got := s.standing(500_330); got != 330*unit.Kilogram {
		t.Errorf("the belt carried 330 kg and has %s", got)
	}
	for _, event := range s.events(0) {
		if event != record.BeltTick {
			t.Errorf("a %s was noted of what was none", event)
		}
	}
	// Beside the modulus a zero may be either. The next count tells.
	s = newShift(t)
	s.belt(999_980, 0)
	s.belt(0, time.Second)
	s.belt(0, time.Minute)
	if got := s.standing(999_985); got != 5*unit.Kilogram {
		t.Errorf("a zero beside the modulus: %s after %v", got, s.events(0))
	}
	s.belt(0, time.Second)
	s.belt(0, time.Minute)
	if got := s.standing(7); got != 27*unit.Kilogram {
		t.Errorf("a zero on the way around: %s after %v", got, s.events(0))
	}
}

// An outage was a licence: after a weekend any total that the register showed was taken for carried.
// A register that had been set near its end came around while the edge was restarted: the way back to what
// was shown before was reckoned without the modulus, and a whole modulus was counted.
func TestAWrapOverARestartCountedAModulus(t *testing.T) {
	s := newShift(t)
	s.belt(500_000, 0)
	for range 6 {
		s.belt(999_950, time.Second)
	}
	if events := s.events(1); len(events) != 1 || events[0] != record.BeltJump {
		t.Fatalf("noted %v, want the jump", events)
	}
	s.restart(time.Second, false)
	if got := s.run(30, 130, 2*time.Minute); got != 100*unit.Kilogram {
		t.Errorf("%s were counted, and 100 kg were carried in sight", got)
	}
}

func TestAnOutageWasALicenceForAnyTotal(t *testing.T) {
	s := newShift(t)
	s.belt(3000, 0)
	s.belt(900_000, 8*time.Hour) // 800 t at most
	s.standing(900_000)
	s.belt(2990, 64*time.Hour)
	if got := s.standing(2990); got != 0 {
		t.Errorf("after a jump and an older value: %s, %v", got, s.events(0))
	}
	s.restart(time.Hour, false)
	s.belt(900_000, time.Second)
	if got := s.standing(900_000); got != 0 {
		t.Errorf("after the restart: %s, %v", got, s.events(0))
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
		name  string
		most  unit.Mass
		noted bool
		play  func(s *shift) (raw int64)
	}{
		{"a load after a night", 0, true, func(s *shift) int64 {
			for range 12 {
				s.belt(0, time.Hour)
			}
			return 300_000
		}},
		{"a hundred times too fast, in many steps", 5 * unit.Tonne, true, func(s *shift) (raw int64) {
			for range 100 {
				raw += 2500
				s.belt(raw, time.Second)
			}
			return raw
		}},
		{"a little too much in each answer", 5 * unit.Tonne, false, func(s *shift) (raw int64) {
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
			if events := s.events(0); test.noted && !slices.Contains(events, record.BeltJump) {
				t.Errorf("the register is at %d, and nobody hears of it: %v", raw, events)
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
		{Quantity: "totaliser.mass", Unit: "kg", OK: false, Number: unit.Decimal{Coef: 0}},
		{Quantity: "totaliser.mass", Unit: "kg", OK: true, Number: unit.Decimal{Coef: 1_000_000}},
		{Quantity: "totaliser.mass", Unit: "kg", OK: true, Number: unit.Decimal{Coef: 1005, Scale: 1}},
		{Quantity: "totaliser.mass", Unit: "lb", OK: true, Number: unit.Decimal{Coef: 200}},
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
		{Quantity: "bale.sequence", OK: true, Number: unit.Decimal{Coef: sequence}},
		{Quantity: "bale.mass", Unit: "g", OK: true, Number: unit.Decimal{Coef: grams}},
		{Quantity: "bale.pressure_max", Unit: "bar", OK: true, Number: unit.Decimal{Coef: 1805, Scale: 1}}}})) {
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
	if got := s.baler(3, 0); len(got) != 1 || got[0].(*record.Device).Counter != 3 || got[0].(*record.Device).State != "fault" {
		t.Errorf("counter set back: %v", got)
	}
}

// press shows each number for a while, a poll a second, and gives the bales that were recorded.
func (s *shift) press(d time.Duration, numbers ...int64) (bales []uint64) {
	s.t.Helper()
	for _, n := range numbers {
		for range max(2, d/time.Second) {
			for _, body := range s.baler(n, 400_000+n) {
				if b, ok := body.(*record.Bale); ok {
					bales = append(bales, b.Number)
					if int64(b.Mass) != 400_000+int64(b.Number) {
						s.t.Errorf("bale %d has the mass of another: %s", b.Number, b.Mass)
					}
				}
			}
		}
	}
	return bales
}

// notes are what was noted of the baler's counter.
func (s *shift) notes() (notes []string) {
	for _, e := range s.journal {
		if d, ok := e.Body.(*record.Device); ok {
			notes = append(notes, fmt.Sprint(d.State, " ", d.Counter))
		}
	}
	return notes
}

// A controller that shows 0 for some seconds after power-up had its last bale written again, each
// time: 1,350 kg for 450 kg pressed.
func TestAZeroAfterPowerUpWroteTheLastBaleAgain(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		s := newShift(t)
		if got := s.press(10*time.Second, 41, 42); !slices.Equal(got, []uint64{42}) {
			t.Fatalf("bales %v", got)
		}
		for range 3 {
			got := s.press(4*time.Second, 0)
			if restarted {
				s.restart(time.Second, false)
			}
			if got = append(got, s.press(time.Minute, 42)...); len(got) != 0 {
				t.Errorf("restarted %v: bales %v for a zero", restarted, got)
			}
		}
		if got := s.press(10*time.Second, 0, 43); !slices.Equal(got, []uint64{43}) {
			t.Errorf("restarted %v: bales %v after a zero, want 43", restarted, got)
		}
		if want := []string{"counter 41", "fault 0", "online 42", "fault 0", "online 42", "fault 0", "online 42", "fault 0", "online 43"}; !slices.Equal(s.notes(), want) {
			t.Errorf("restarted %v: notes %q, want %q", restarted, s.notes(), want)
		}
	}
}

func TestWhatABalerShowsAndWhatIsABale(t *testing.T) {
	const cycle = 30 * time.Second
	for _, test := range []struct {
		name  string
		play  func(s *shift) []uint64
		want  []uint64
		notes []string
	}{
		{"an older number, and on from there", func(s *shift) []uint64 { return s.press(cycle, 40, 41, 42, 43, 44) },
			[]uint64{43, 44}, []string{"fault 40", "online 42"}},
		{"what was recorded is shown again, one by one", func(s *shift) []uint64 { return s.press(cycle, 41, 40, 39, 38, 39, 40, 41, 42) },
			nil, []string{"fault 41", "fault 39", "fault 40", "online 42"}},
		{"a new controller", func(s *shift) []uint64 { return s.press(cycle, 0, 1, 2, 3, 4) },
			[]uint64{1, 2, 3, 4}, []string{"fault 0", "fault 2", "counter 0", "online 3"}},
		{"a new controller that goes on at another number", func(s *shift) []uint64 { return s.press(cycle, 9000, 9001, 9002, 9003, 9004) },
			[]uint64{9001, 9002, 9003, 9004}, []string{"fault 9000", "fault 9002", "counter 9000", "online 9003"}},
		{"a new controller, and a restart amid the proof", func(s *shift) (all []uint64) {
			all = s.press(cycle, 0, 1, 2)
			s.restart(time.Second, false)
			return append(all, s.press(cycle, 3, 4, 5, 6)...)
		}, []uint64{4, 5, 6}, []string{"fault 0", "fault 2", "fault 3", "fault 5", "counter 3", "online 6"}},
		{"a number that nobody can have pressed", func(s *shift) []uint64 { return s.press(3*time.Second, 5_000_000, 42, 47, 42, 44, 42) },
			nil, []string{"fault 5000000", "online 42"}},
		{"a number that nobody can have pressed, for a year", func(s *shift) []uint64 {
			all := s.press(cycle, 5_000_000)
			s.restart(365*24*time.Hour, true)
			all = append(all, s.press(cycle, 5_000_000)...)
			s.now = s.now.Add(365 * 24 * time.Hour)
			return append(all, s.press(cycle, 5_000_000, 43)...)
		}, []uint64{43}, []string{"fault 5000000", "online 43"}},
		{"a bale each second", func(s *shift) []uint64 {
			var numbers []int64
			for n := int64(43); n < 343; n++ {
				numbers = append(numbers, n)
			}
			return s.press(0, numbers...)
		}, []uint64{43, 44}, []string{"fault 45", "fault 75", "fault 105", "fault 135", "fault 165", "fault 195", "fault 225", "fault 255", "fault 285", "fault 315"}},
		{"bales while nobody looked", func(s *shift) []uint64 {
			s.now = s.now.Add(time.Hour)
			return s.press(cycle, 60)
		}, []uint64{60}, nil},
		{"the number of the counter before", func(s *shift) []uint64 {
			all := s.press(cycle, 0, 1, 2, 3)
			s.now = s.now.Add(24 * time.Hour)
			return append(all, s.press(cycle, 42, 3, 4)...)
		}, []uint64{1, 2, 3, 4}, []string{"fault 0", "fault 2", "counter 0", "online 3", "fault 42", "online 3"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newShift(t)
			s.press(cycle, 38, 39, 40, 41, 42)
			n := len(s.notes())
			if got := test.play(s); !slices.Equal(got, test.want) {
				t.Errorf("bales %v, want %v", got, test.want)
			}
			if got := s.notes()[n:]; !slices.Equal(got, test.notes) {
				t.Errorf("notes %q, want %q", got, test.notes)
			}
		})
	}
}

// A machine that counts its bales and has no sequence never made one, and nobody said so.
func TestABalerThatOnlyCountsMadeNoBale(t *testing.T) {
	s := newShift(t)
	s.config.Balers = []meaning.Baler{{Device: "baler-1", Material: "paper/occ", Number: meaning.ByCount}}
	s.site = meaning.New(s.config)
	show := func(count int64, mass ...int64) (bales []*record.Bale) {
		s.now = s.now.Add(time.Second)
		values := []device.Value{{Quantity: "bale.count", OK: true, Number: unit.Decimal{Coef: count}}}
		for _, kg := range mass {
			values = append(values, device.Value{Quantity: "bale.mass", Unit: "kg", OK: true, Number: unit.Decimal{Coef: kg}})
		}
		for _, e := range s.take(s.site.Scan(device.Scan{Device: "baler-1", At: s.now, Values: values})) {
			if b, ok := e.Body.(*record.Bale); ok {
				bales = append(bales, b)
			}
		}
		return bales
	}
	hold := func(n int, count int64, mass ...int64) (bales []*record.Bale) {
		for range n {
			bales = append(bales, show(count, mass...)...)
		}
		return bales
	}
	hold(10, 42, 450)
	if got := hold(4, 43, 450); len(got) != 0 {
		t.Errorf("recorded before the mass has rested: %+v", got[0])
	}
	// The mass comes after the count, or before it: what stands beside the count at rest is its own.
	if got := hold(10, 43, 460); len(got) != 1 || got[0].Number != 43 || got[0].Mass != 460*unit.Kilogram || !got[0].Weighed {
		t.Errorf("got %+v", got)
	}
	hold(3, 43, 470)
	if got := hold(10, 44, 470); len(got) != 1 || got[0].Number != 44 || got[0].Mass != 470*unit.Kilogram {
		t.Errorf("got %+v", got)
	}
	// A mass that finds no rest is none, and no mass is not 0 kg.
	var got []*record.Bale
	for i := range int64(40) {
		got = append(got, show(45, 400+i)...)
	}
	if len(got) != 1 || got[0].Number != 45 || got[0].Weighed || got[0].Mass != 0 {
		t.Errorf("got %+v", got)
	}
	if got := hold(10, 46); len(got) != 1 || got[0].Number != 46 || got[0].Weighed {
		t.Errorf("got %+v", got)
	}
	s.now = s.now.Add(time.Hour)
	if got := hold(10, 76, 450); len(got) != 1 || got[0].Number != 76 || got[0].Missed != 29 {
		t.Errorf("after an hour: %+v", got)
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
	unread := device.Value{Quantity: "bale.sequence", Why: "no reply"}
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
