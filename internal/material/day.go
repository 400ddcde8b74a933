package material

import (
	"fmt"
	"time"
)

// Day is a calendar day in Asia/Shanghai, where the business day is cut. The zero Day is no day.
type Day struct {
	Year  int
	Month time.Month
	Dom   int // day of the month
}

// China has kept UTC+8 without daylight saving since 1991, so no time zone data is needed, which
// small systems often lack.
const shanghaiOffset = 8 * 3600

// DayOf is the business day in which a moment falls.
func DayOf(at time.Time) Day {
	y, m, d := at.In(time.FixedZone("Asia/Shanghai", shanghaiOffset)).Date()
	return Day{y, m, d}
}

// String is "2024-01-31".
func (d Day) String() string { return fmt.Sprintf("%04d-%02d-%02d", d.Year, d.Month, d.Dom) }

// UnmarshalText reads "2024-01-31".
func (d *Day) UnmarshalText(text []byte) error {
	at, err := time.Parse(time.DateOnly, string(text))
	if err != nil || at.Year() < 1 {
		return fmt.Errorf("%.40q is no day; write it as 2024-01-31", text)
	}
	*d = Day{at.Year(), at.Month(), at.Day()}
	return nil
}

func (d Day) before(o Day) bool {
	if d.Year != o.Year {
		return d.Year < o.Year
	}
	if d.Month != o.Month {
		return d.Month < o.Month
	}
	return d.Dom < o.Dom
}
