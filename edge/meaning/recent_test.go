package meaning_test

import (
	"testing"
	"time"

	"steelyard/edge/meaning"
	"steelyard/firmware-bridge/device"
	"steelyard/internal/unit"
)

// The curve goes back half a minute, has no more points than it can show, and where no load was
// known it has a hole, never a zero.
func TestRecentCurve(t *testing.T) {
	site := meaning.New(meaning.Config{Decks: []meaning.Deck{{Device: "w", Division: 20 * unit.Kilogram, Min: 400 * unit.Kilogram, Max: 60 * unit.Tonne, Unit: unit.KG}}})
	begin := time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC)
	for i := range 600 { // a minute at ten frames a second
		w := device.Weight{Device: "w", At: begin.Add(time.Duration(i) * 100 * time.Millisecond), Value: unit.Decimal{Coef: int64(i * 20)}, HasValue: true, Unit: unit.KG}
		switch i {
		case 500:
			w.Kind = device.Net // on the display, but not what lies on the deck
		case 501:
			w.HasValue = false
		}
		site.Weight(w)
	}
	now := begin.Add(time.Minute)
	seen := site.Recent(now)["w"]
	if len(seen) < 145 || len(seen) > 153 {
		t.Errorf("%d points", len(seen))
	}
	holes := 0
	for i, s := range seen {
		frame := s.At.Sub(begin) / (100 * time.Millisecond)
		hole := frame == 500 || frame == 501
		if now.Sub(s.At) > 30*time.Second || s.HasMass == hole || s.HasMass && s.Mass != unit.Mass(frame)*20*unit.Kilogram || i > 0 && !s.At.After(seen[i-1].At) {
			t.Errorf("%+v", s)
		}
		if hole {
			holes++
		}
	}
	if holes == 0 {
		t.Error("no hole")
	}
	if later := site.Recent(now.Add(time.Minute))["w"]; len(later) != 0 {
		t.Errorf("a minute later there are %d points", len(later))
	}
	if v := site.DeckViews(begin.Add(59_900 * time.Millisecond))[0]; !v.HasMass {
		t.Errorf("%+v", v)
	}
	site.Weight(device.Weight{Device: "w", At: now, Value: unit.Decimal{Coef: 36440}, HasValue: true, Unit: unit.KG, Kind: device.Net})
	if v := site.DeckViews(now)[0]; v.HasMass || v.Text != "36440" {
		t.Errorf("a net weight is taken for the load: %+v", v)
	}
}
