package rollup_test

import (
	"testing"
	"time"

	"steelyard/cloud/ledger/ledgertest"
	"steelyard/cloud/rollup"
	"steelyard/internal/record"
	"steelyard/internal/unit"
)

func TestDays(t *testing.T) {
	for at, want := range map[string]string{
		"2026-11-22T15:59:59.999Z": "2026-11-22",
		"2026-11-22T16:00:00Z":     "2026-11-23",
		"2026-12-31T16:00:00Z":     "2027-01-01",
		"2024-02-28T16:00:00Z":     "2024-02-29",
		"1969-12-31T16:00:00Z":     "1970-01-01",
		"1969-12-31T15:59:59.999Z": "1969-12-31",
		"0001-01-01T00:00:00Z":     "0001-01-01",
		"9999-12-31T15:59:59Z":     "9999-12-31",
	} {
		t.Run(at, func(t *testing.T) {
			moment, err := time.Parse(time.RFC3339, at)
			if err != nil {
				t.Fatal(err)
			}
			day := rollup.DayOf(moment)
			if day.String() != want {
				t.Errorf("%s is on %s, want %s", at, day, want)
			}
			if again, err := rollup.ParseDay(want); err != nil || again != day {
				t.Errorf("ParseDay(%s): %d, %v, want %d", want, again, err, day)
			}
			if moment.Before(day.Start()) || !moment.Before((day + 1).Start()) {
				t.Errorf("%s is outside of its day", at)
			}
		})
	}
	if _, err := rollup.ParseDay("23.11.2026"); err == nil {
		t.Error("a day in another form was read")
	}
}

func TestMidnight(t *testing.T) {
	b := newBench(t, "xinhua-1")
	j := ledgertest.New("xinhua-1", 1)
	midnight := time.Date(2026, 11, 30, 16, 0, 0, 0, time.UTC) // in China, and a month's end
	for i, step := range []time.Duration{-time.Hour, -time.Millisecond, 0, time.Hour - time.Millisecond, time.Hour} {
		j.Write(midnight.Add(step), "", ticket(record.Inbound, "", record.Part{Material: "steel", Mass: unit.Mass(1) << i}))
	}
	b.post(j.Batch(1, 5))
	b.agree()
	for day, want := range map[string]unit.Mass{"2026-11-30": 1 + 2, "2026-12-01": 4 + 8 + 16} {
		d, err := rollup.ParseDay(day)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := b.Day(t.Context(), d, ""); err != nil || len(got) != 1 || got[0].Mass != want {
			t.Errorf("%s: %+v, %v, want %d", day, got, err, want)
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
