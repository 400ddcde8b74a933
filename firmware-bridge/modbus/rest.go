package modbus

import (
	"context"
	"time"
)

// coarse is how late a timer of the runtime may be: an idle process sleeps whole milliseconds.
const coarse = 2500 * time.Microsecond

// slack is how late the kernel may end a nap. It is spent waking: a few microseconds of a processor
// for each request, and none at all between polls.
const slack = 60 * time.Microsecond

// rest waits until a moment, to a tenth of a millisecond: at 115200 baud one millisecond too many
// is a sixth of the line.
func rest(ctx context.Context, until time.Time) error {
	if d := time.Until(until); d > coarse {
		timer := time.NewTimer(d - coarse)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
	}
	for d := time.Until(until); d > 0; d = time.Until(until) {
		if d > slack {
			nap(d - slack)
		}
	}
	return ctx.Err()
}
