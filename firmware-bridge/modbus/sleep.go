package modbus

import (
	"context"
	"time"
)

// timerSlack is how late a timer of the runtime may be: an idle process sleeps whole milliseconds.
const timerSlack = 2500 * time.Microsecond

// wakeSlack is how late the kernel may end a sleep. It is spent waking: a few microseconds of a processor
// for each request, and none at all between polls.
const wakeSlack = 60 * time.Microsecond

// sleepUntil waits until a moment, to a tenth of a millisecond: at 115200 baud one millisecond too many
// is a sixth of the line.
func sleepUntil(ctx context.Context, until time.Time) error {
	if d := time.Until(until); d > timerSlack {
		timer := time.NewTimer(d - timerSlack)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
	}
	for d := time.Until(until); d > 0; d = time.Until(until) {
		if d > wakeSlack {
			preciseSleep(d - wakeSlack)
		}
	}
	return ctx.Err()
}
