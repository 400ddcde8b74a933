package rollup_test

import (
	"testing"
	"time"

	"steelyard/cloud/ledger/ledgertest"
	"steelyard/internal/day"
	"steelyard/internal/record"
	"steelyard/internal/unit"
)

func TestMidnight(t *testing.T) {
	b := newBench(t, "xinhua-1")
	j := ledgertest.New("xinhua-1", 1)
	midnight := time.Date(2026, 11, 30, 16, 0, 0, 0, time.UTC) // in China, and a month's end
	for i, step := range []time.Duration{-time.Hour, -time.Millisecond, 0, time.Hour - time.Millisecond, time.Hour} {
		j.Write(midnight.Add(step), "", ticket(record.Inbound, "", record.Part{Material: "steel", Mass: unit.Mass(1) << i}))
	}
	b.post(j.Batch(1, 5))
	b.agree()
	for date, want := range map[string]unit.Mass{"2026-11-30": 1 + 2, "2026-12-01": 4 + 8 + 16} {
		d, err := day.Parse(date)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := b.Day(t.Context(), d, ""); err != nil || len(got) != 1 || got[0].Mass != want {
			t.Errorf("%s: %+v, %v, want %d", date, got, err, want)
		}
	}
	hours, err := b.Hours(t.Context(), midnight, midnight.Add(time.Hour), "xinhua-1")
	if err != nil || len(hours) != 1 || hours[0].Mass != 12 || !hours[0].Start.Equal(midnight) {
		t.Errorf("%+v %v", hours, err)
	}
	last, err := b.LastHour(t.Context(), midnight.Add(time.Hour-time.Millisecond))
	if err != nil || len(last) != 1 || last[0].Mass != 12 || last[0].Count != 2 {
		t.Errorf("%+v %v", last, err)
	}
}
