package rollup

import (
	"time"

	"steelyard/internal/day"
)

// month is a month of business days: twelve times its year, and its place in it from 0.
type month int64

func monthOf(d day.Day) month {
	at := d.Start()
	return month(12*at.Year() + int(at.Month()) - 1)
}

// first is the month's first day.
func (m month) first() day.Day {
	return day.Of(time.Date(0, time.January+time.Month(m), 1, 0, 0, 0, 0, day.Shanghai()))
}
