package meaning_test

import (
	"testing"
	"time"

	"steelyard/edge/meaning"
	"steelyard/firmware-bridge/device"
	"steelyard/internal/record"
	"steelyard/internal/unit"
)

func TestLorryIsWeighedOnceWithItsEvidence(t *testing.T) {
	s := newShift(t)
	w := s.weigh(23960)
	if w.Mass != 23960*unit.Kilogram || w.Text != "23960" || w.Unit != unit.KG || w.Stability.By != "inferred" {
		t.Errorf("got %+v", w)
	}
	if w.Stability.Frames < 15 || w.Stability.Spread != 0 || len(w.Frames) < 15 || len(w.Flags) != 0 {
		t.Errorf("stability %+v, %d frames, flags %v", w.Stability, len(w.Frames), w.Flags)
	}
	if len(w.Curve) < 8 || w.Curve[0].MS >= 0 || w.Curve[0].Mass >= w.Mass {
		t.Errorf("curve does not show the drive-on: %v", w.Curve)
	}
	if more := s.rest(23960, time.Minute); len(more) != 0 {
		t.Errorf("weighed again while standing: %v", more)
	}
	s.rest(0, time.Second)
	if again := s.weigh(23960); len(again.Flags) != 0 {
		t.Errorf("flags of the next lorry: %v", again.Flags)
	}
}

func TestLorryOnTheDeckIsNotWeighedTwiceAfterARestart(t *testing.T) {
	for _, checkpoint := range []bool{false, true} {
		s := newShift(t)
		s.weigh(23960)
		s.restart(10*time.Minute, checkpoint)
		if more := s.rest(23960, 20*time.Second); len(more) != 0 {
			t.Errorf("checkpoint %v: weighed again after the restart", checkpoint)
		}
		if err := s.weighIn(lorry("p1", "豫D12345", record.Inbound)); err != nil {
			t.Errorf("checkpoint %v: the weighing from before the restart can't be used: %v", checkpoint, err)
		}
		s.restart(time.Minute, checkpoint)
		s.rest(23960, 5*time.Second)
		if err := s.weighIn(lorry("p2", "豫D99999", record.Inbound)); code(err) != "used" {
			t.Errorf("checkpoint %v: a spent weighing served again: %v", checkpoint, err)
		}
	}
}

// A weight whose frame names neither gross nor net is the displayed one: it counts, unless the frame shows
// that a tare is on. Then it may be net, and a net weight must never be taken for a gross one.
func TestADisplayedWeightBesideATareIsNoGross(t *testing.T) {
	for name, c := range map[string]struct {
		w    device.Weight
		want string
	}{
		"no word of a tare": {device.Weight{}, "captured"},
		"no tare":           {device.Weight{HasTare: true, TareKind: device.TareMeasured}, "captured"},
		"a tare":            {device.Weight{HasTare: true, Tare: unit.Decimal{Coef: 8000}}, "net-mode"},
		"a preset tare":     {device.Weight{TareKind: device.TarePreset}, "net-mode"},
		"gross and a tare":  {device.Weight{Kind: device.Gross, HasTare: true, Tare: unit.Decimal{Coef: 8000}}, "captured"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShift(t)
			for n := range 40 {
				w, kg := c.w, int64(0)
				if n >= 10 {
					kg = 12340
				}
				s.now = s.now.Add(100 * time.Millisecond)
				w.Device, w.At, w.HasValue, w.Value, w.Unit, w.Stable, w.Raw = deck, s.now, true, unit.Decimal{Coef: kg}, unit.KG, device.Yes, []byte{byte(n)}
				s.take(s.site.Weight(w))
			}
			if got := s.site.DeckViews(s.now)[0].Code; got != c.want {
				t.Errorf("%s: %s, want %s", name, got, c.want)
			}
		})
	}
}

// Negative control of the test above: without the journal's word, the lorry is weighed again.
func TestWithoutTheJournalALorryIsWeighedTwice(t *testing.T) {
	s := newShift(t)
	s.weigh(23960)
	s.site = meaning.New(s.config)
	s.rest(23960, 5*time.Second)
	if n := len(s.weighings()); n != 2 {
		t.Errorf("%d weighings, want 2: the test of the restart proves nothing", n)
	}
}

func TestLorryThatCameBeforeAnythingWasSeenIsFlagged(t *testing.T) {
	s := newShift(t)
	s.driveOn(18000)
	s.rest(18000, 500*time.Millisecond)
	s.restart(time.Second, false)
	entries := s.rest(18000, 4*time.Second)
	if len(entries) != 1 || !has(entries[0].Body.(*record.Weighing).Flags, "zero-not-seen") {
		t.Errorf("got %v", entries)
	}
}

func TestWeighingIsProposedUntilTheJournalHasIt(t *testing.T) {
	s := newShift(t)
	s.full = true
	s.driveOn(23960)
	s.rest(23960, 5*time.Second)
	if err := s.weighIn(lorry("p1", "豫D12345", record.Inbound)); err == nil {
		t.Error("weighed in although nothing was recorded")
	}
	s.full = false
	if got := s.rest(23960, time.Second); len(got) != 1 {
		t.Errorf("%d weighings once there was room, want 1", len(got))
	}
}

func TestWhatIsNoWeighing(t *testing.T) {
	for name, play := range map[string]func(*shift){
		"below minimum":  func(s *shift) { s.driveOn(380); s.rest(380, 5*time.Second) },
		"over":           func(s *shift) { s.driveOn(60200); s.rest(60200, 5*time.Second) },
		"negative":       func(s *shift) { s.rest(-60, 5*time.Second) },
		"net mode":       func(s *shift) { s.kind = device.Net; s.driveOn(9000); s.rest(9000, 5*time.Second) },
		"pounds":         func(s *shift) { s.unit = unit.LB; s.driveOn(9000); s.rest(9000, 5*time.Second) },
		"motion flagged": func(s *shift) { s.stable = device.No; s.driveOn(9000); s.rest(9000, 5*time.Second) },
		"drifting": func(s *shift) {
			s.driveOn(9000)
			for i := range int64(50) {
				s.frame(9000 + 20*i)
			}
		},
		"swinging": func(s *shift) {
			s.driveOn(9000)
			for i := range int64(50) {
				s.frame(9000 + 60*(i%2))
			}
		},
		"too short": func(s *shift) { s.driveOn(9000); s.rest(9000, 1500*time.Millisecond); s.rest(0, time.Second) },
		"frames with holes": func(s *shift) {
			s.driveOn(9000)
			for range 20 {
				s.now = s.now.Add(600 * time.Millisecond)
				s.frame(9000)
			}
		},
		"frozen from nothing to one weight": func(s *shift) { s.rest(0, time.Second); s.rest(9000, 10*time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newShift(t)
			play(s)
			if got := s.weighings(); len(got) != 0 {
				t.Errorf("%s: weighed %s, flags %v", name, got[0].Mass, got[0].Flags)
			}
		})
	}
}

func TestOverloadTextIsNeverZero(t *testing.T) {
	s := newShift(t)
	s.driveOn(23960)
	for range 50 {
		s.now = s.now.Add(100 * time.Millisecond)
		s.take(s.site.Weight(device.Weight{Device: deck, At: s.now, Range: device.Over}))
	}
	v := s.site.DeckViews(s.now)[0]
	if v.HasMass || v.Code != "over" || len(s.weighings()) != 0 {
		t.Errorf("view %+v", v)
	}
}

func TestIndicatorsFlagDecides(t *testing.T) {
	s := newShift(t)
	s.stable = device.Yes
	s.driveOn(23960)
	got := s.rest(23960, time.Second)
	if len(got) != 1 || got[0].Body.(*record.Weighing).Stability.By != "flag" {
		t.Errorf("got %v", got)
	}
}

func TestSecondPlateauIsRecordedAndNotUsable(t *testing.T) {
	s := newShift(t)
	s.weigh(23960)
	s.rest(15000, 5*time.Second)
	all := s.weighings()
	if len(all) != 2 || !has(all[1].Flags, "not-from-zero") {
		t.Fatalf("weighings %v", all)
	}
	if err := s.weighIn(lorry("p1", "豫D1", record.Inbound)); code(err) != "not-from-zero" {
		t.Errorf("got %v", err)
	}
}

func TestWrongDecimalsShowAsNoMultipleOfE(t *testing.T) {
	s := newShift(t)
	s.driveOn(23960)
	s.rest(23965, 4*time.Second)
	if err := s.weighIn(lorry("p1", "豫D1", record.Inbound)); code(err) != "not-a-multiple-of-e" {
		t.Errorf("got %v", err)
	}
}

func TestOldWeightIsNotShownAsLive(t *testing.T) {
	s := newShift(t)
	s.weigh(23960)
	if v := s.site.DeckViews(s.now)[0]; v.Code != "captured" || !v.MayWeigh {
		t.Errorf("fresh: %+v", v)
	}
	s.now = s.now.Add(3 * time.Second)
	if v := s.site.DeckViews(s.now)[0]; v.Code != "silent" || v.HasMass || v.MayWeigh {
		t.Errorf("stale: %+v", v)
	}
	if err := s.weighIn(lorry("p1", "豫D1", record.Inbound)); code(err) != "silent" {
		t.Errorf("a stale weight served: %v", err)
	}
}

func TestHealthIsRecordedOnce(t *testing.T) {
	s := newShift(t)
	for range 3 {
		s.take(s.site.Health(device.Health{Device: deck, At: s.now, State: device.Silent, Detail: "no frames"}))
	}
	s.restart(time.Minute, false)
	s.take(s.site.Health(device.Health{Device: deck, At: s.now, State: device.Silent}))
	if len(s.journal) != 1 {
		t.Errorf("%d entries, want 1", len(s.journal))
	}
}

// However often an indicator sends, its weight is taken: after the first frame that has rested long
// enough, and at no earlier one. Cut at its length, a window of 2 s is never filled by frames that
// come each 450 ms.
func TestWeightRestsAtEveryRhythm(t *testing.T) {
	const window, least = 2 * time.Second, 5
	for every := 10 * time.Millisecond; every <= time.Second; every += 2 * time.Millisecond {
		site := meaning.New(meaning.Config{Decks: []meaning.Deck{{Device: "weighbridge-1", Division: 20 * unit.Kilogram,
			Min: 400 * unit.Kilogram, Max: 60 * unit.Tonne, Unit: unit.KG, Window: window, Gap: 2 * every}}})
		at := time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)
		send := func(kg int64) []record.Fact {
			at = at.Add(every)
			w := device.Weight{Device: "weighbridge-1", At: at, HasValue: true, Raw: []byte(at.String())}
			w.Value.Coef = kg
			return site.Weight(w)
		}
		for range 5 {
			send(0)
		}
		send(9000) // driving on
		want := max(least, 1+int((window+every-1)/every))
		for n := 1; ; n++ {
			facts := send(12340)
			if len(facts) == 0 && n < want {
				continue
			}
			if len(facts) != 1 || n != want {
				t.Errorf("a frame each %v: %d weighings at frame %d, want one at frame %d", every, len(facts), n, want)
				break
			}
			s := facts[0].Body.(*record.Weighing).Stability
			if rested := every * time.Duration(want-1); s.Frames != want || s.WindowMS != rested.Milliseconds() || s.Spread != 0 {
				t.Errorf("a frame each %v: %+v, want %d frames over %v", every, s, want, rested)
			}
			break
		}
	}
}

// A lorry whose first loaded frame repeated exactly was told to stand still for ever.
func TestAFrozenOutputWasToldToStandStill(t *testing.T) {
	shown := func(s *shift) string { return s.site.DeckViews(s.now)[0].Code }
	s := newShift(t)
	s.rest(0, time.Second)
	s.rest(12340, time.Second)
	if got := shown(s); got != "moving" {
		t.Errorf("before it has rested: %s", got)
	}
	s.rest(12340, 5*time.Second)
	if v := s.site.DeckViews(s.now)[0]; v.Code != "frozen" || v.MayWeigh || len(s.weighings()) != 0 {
		t.Errorf("the same frame since it was loaded: %+v", v)
	}
	if err := s.weighIn(lorry("p1", "豫D1", record.Inbound)); code(err) != "frozen" {
		t.Errorf("got %v", err)
	}
	// Another frame shows that the output lives.
	s.rest(12360, 200*time.Millisecond)
	s.rest(12340, 4*time.Second)
	if got := s.weighings(); len(got) != 1 || shown(s) != "captured" {
		t.Errorf("after another frame: %d weighings, %s", len(got), shown(s))
	}
	// The remedy: off and on again.
	s = newShift(t)
	s.rest(0, time.Second)
	s.rest(12340, 5*time.Second)
	s.weigh(12340)
}

// An indicator that says by a flag that the load rests may say it in the same words each time: asked
// twice a second, it may not have seen the lorry drive on.
func TestAFlaggedFrameMayRepeat(t *testing.T) {
	s := newShift(t)
	for range 10 {
		s.flagged(0, device.Yes)
	}
	var got []meaning.Entry
	for range 10 {
		got = append(got, s.flagged(12340, device.Yes)...)
	}
	if len(got) != 1 || got[0].Body.(*record.Weighing).Stability.By != "flag" {
		t.Errorf("got %v, %s", got, s.site.DeckViews(s.now)[0].Code)
	}
}

// flagged shows what an indicator that is asked twice a second answers.
func (s *shift) flagged(kg int64, stable device.Tri) []meaning.Entry {
	s.t.Helper()
	s.now = s.now.Add(400 * time.Millisecond)
	s.stable = stable
	return s.frame(kg)
}
