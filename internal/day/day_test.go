package day_test

import (
	"testing"
	"time"

	"steelyard/internal/day"
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
			date := day.Of(moment)
			if date.String() != want {
				t.Errorf("%s is on %s, want %s", at, date, want)
			}
			if again, err := day.Parse(want); err != nil || again != date {
				t.Errorf("Parse(%s): %d, %v, want %d", want, again, err, date)
			}
			if moment.Before(date.Start()) || !moment.Before((date + 1).Start()) {
				t.Errorf("%s is outside of its day", at)
			}
		})
	}
	if _, err := day.Parse("23.11.2026"); err == nil {
		t.Error("a day in another form was read")
	}
}

func TestHoursLieWithinDays(t *testing.T) {
	for at, want := range map[string]string{
		"2026-11-22T15:59:59.999Z": "2026-11-22T15:00:00Z",
		"2026-11-22T16:00:00Z":     "2026-11-22T16:00:00Z",
		"1969-12-31T15:59:59.999Z": "1969-12-31T15:00:00Z",
	} {
		t.Run(at, func(t *testing.T) {
			moment, err := time.Parse(time.RFC3339, at)
			if err != nil {
				t.Fatal(err)
			}
			if got := time.UnixMicro(day.HourOf(moment)).UTC().Format(time.RFC3339); got != want {
				t.Errorf("the hour begins at %s, want %s", got, want)
			}
		})
	}
}
