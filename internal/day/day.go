// Package day finds the business day of a moment: [Of] for a time, [Parse] for a date.
//
// In: times and dates. Out: business days, and the hours within them.
// It promises that a day is cut at midnight in Asia/Shanghai wherever the program runs, without a
// time zone database, which small controllers often lack. It reads no clock.
package day

import (
	"fmt"
	"time"
)

// Day is a business day: days since 1970-01-01 as they are cut in China.
type Day int64

// China has kept UTC+8 without summer time since 1991.
const (
	east        = 8 * 3600
	secondsADay = 24 * 3600
)

// Shanghai is China Standard Time.
func Shanghai() *time.Location { return time.FixedZone("CST", east) }

// Of returns the business day of a time.
func Of(t time.Time) Day {
	seconds := t.Unix() + east
	if seconds%secondsADay < 0 { // before 1970
		seconds -= secondsADay
	}
	return Day(seconds / secondsADay)
}

// Parse reads "2026-11-23".
func Parse(text string) (Day, error) {
	t, err := time.ParseInLocation(time.DateOnly, text, Shanghai())
	if err != nil || t.Year() < 1 {
		return 0, fmt.Errorf("invalid date %.40q, want YYYY-MM-DD", text)
	}
	return Of(t), nil
}

// UnmarshalText is [Parse].
func (d *Day) UnmarshalText(text []byte) (err error) {
	*d, err = Parse(string(text))
	return err
}

// Start is the day's first moment.
func (d Day) Start() time.Time { return time.Unix(int64(d)*secondsADay-east, 0).In(Shanghai()) }

// String is the date.
func (d Day) String() string { return d.Start().Format(time.DateOnly) }

// HourOf is the beginning of a time's hour, in microseconds since 1970. The offset is whole hours,
// so that hours lie within days.
func HourOf(t time.Time) int64 { return t.Truncate(time.Hour).UnixMicro() }
