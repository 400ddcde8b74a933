package agent

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"steelyard/internal/record"
	"steelyard/internal/wire"
)

// clock watches the wall clock: whether the system calls it synchronised, and whether it steps.
type clock struct {
	synced   atomic.Bool
	wasEver  atomic.Bool
	lastWall time.Time // without its monotonic part
	lastMono time.Time
}

// A step is what the wall clock does beyond the monotonic one. NTP slews smaller differences.
const (
	leastStep  = 2 * time.Second
	clockEvery = time.Second
	staUnsync  = 0x0040 // STA_UNSYNC of adjtimex(2)
	timeError  = 5      // TIME_ERROR of adjtimex(2)
)

func newClock() *clock {
	c := new(clock)
	c.refresh()
	return c
}

// Clock is what an entry says of the computer's clock now.
func Clock() wire.Clock { return newClock().state() }

// refresh asks the kernel, which NTP daemons keep informed.
func (c *clock) refresh() {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	synced := err == nil && state != timeError && t.Status&staUnsync == 0
	c.synced.Store(synced)
	if synced {
		c.wasEver.Store(true)
	}
}

// state is what an entry says of the clock it was dated by.
func (c *clock) state() wire.Clock {
	switch {
	case c.synced.Load():
		return wire.Synced
	case c.wasEver.Load():
		return wire.Holdover
	}
	return wire.Unsynced
}

// run reports steps until ctx ends.
func (c *clock) run(ctx context.Context, step func(record.Fact)) error {
	tick := time.NewTicker(clockEvery)
	defer tick.Stop()
	now := time.Now()
	c.lastMono, c.lastWall = now, now.Round(0)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		c.refresh()
		now := time.Now()
		by := now.Round(0).Sub(c.lastWall) - now.Sub(c.lastMono)
		c.lastMono, c.lastWall = now, now.Round(0)
		if by.Abs() >= leastStep {
			step(record.Fact{At: now, Body: &record.Clock{StepMS: by.Milliseconds(), State: string(c.state())}})
		}
	}
}
