package program

import (
	"fmt"
	"runtime/debug"
	"time"
)

// released is a day on which this software did not exist yet; a later build may know better.
const released = "2026-11-01T00:00:00Z"

// CheckClock refuses a clock that stands before the software was built: every time that would be
// written down would be wrong by years, as on a controller whose clock lost its battery.
func CheckClock(now time.Time) error {
	built, err := time.Parse(time.RFC3339, released)
	if err != nil {
		return err
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if at, err := time.Parse(time.RFC3339, s.Value); s.Key == "vcs.time" && err == nil && at.After(built) {
				built = at
			}
		}
	}
	if now.Before(built) {
		return fmt.Errorf("clock: it is %s here, before this software was built (%s): set the clock, or wait for time synchronisation, and start again",
			now.UTC().Format(time.RFC3339), built.Format(time.DateOnly))
	}
	return nil
}
