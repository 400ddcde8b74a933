package sim

import (
	"context"
	"time"
)

// machineTick is how often belts and balers look at the clock.
const machineTick = 100 * time.Millisecond

// longestStep bounds what a machine makes up for at once: when the process was stopped for an
// hour, the machines stood still too.
const longestStep = time.Second

// every calls step with the time since the last call until ctx ends.
func every(ctx context.Context, period time.Duration, step func(dt time.Duration)) {
	tick := time.NewTicker(period)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			now := time.Now()
			step(min(now.Sub(last), longestStep))
			last = now
		}
	}
}
