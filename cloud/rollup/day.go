package rollup

import (
	"fmt"
	"time"
)

// Day is a business day: days since 1970-01-01 as they are cut in China. The zone has had no
// summer time since 1991, so it is a fixed offset here and needs no time zone database.
type Day int64

const (
	east        = 8 * 3600
	perSecond   = int64(time.Second / time.Microsecond)
	microHour   = 3600 * perSecond
	secondsADay = 24 * 3600
)

// Shanghai is China Standard Time.
func Shanghai() *time.Location { return time.FixedZone("CST", east) }

// DayOf gives the business day of a time.
func DayOf(t time.Time) Day { return Day(floor(t.Unix()+east, secondsADay)) }

// ParseDay reads "2026-11-23".
func ParseDay(text string) (Day, error) {
	t, err := time.ParseInLocation(time.DateOnly, text, Shanghai())
	if err != nil {
		return 0, fmt.Errorf("day %.20q is not like 2026-11-23", text)
	}
	return DayOf(t), nil
}

// Start is the day's first moment.
func (d Day) Start() time.Time { return time.Unix(int64(d)*secondsADay-east, 0).In(Shanghai()) }

// String is the date.
func (d Day) String() string { return d.Start().Format(time.DateOnly) }

// month is a month of business days: twelve times its year, and its place in it from 0.
type month int64

func (d Day) month() month {
	at := d.Start()
	return month(12*at.Year() + int(at.Month()) - 1)
}

// first is the month's first day.
func (m month) first() Day {
	return DayOf(time.Date(int(floor(int64(m), 12)), time.January+time.Month(int64(m)-12*floor(int64(m), 12)), 1, 0, 0, 0, 0, Shanghai()))
}

// hourOf is the beginning of an hour in microseconds. The offset is whole hours, so that hours lie
// within days.
func hourOf(t time.Time) int64 { return floor(t.UnixMicro(), microHour) * microHour }

func floor(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
