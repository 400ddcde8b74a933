// Package retry paces what is tried again: [Policy.After] is the pause before the next attempt,
// [Sleep] waits for it.
//
// In: how often it was tried, and a context. Out: a pause, and whether to go on.
// It promises that pauses double up to the longest one and never exceed it. It does not decide what
// is worth another attempt.
package retry

import (
	"context"
	"math/rand/v2"
	"time"
)

// Policy bounds the pauses.
type Policy struct {
	Min, Max time.Duration // both above 0
	Jitter   bool          // spread a pause over its upper half, so that many sites do not come back at once
}

// After returns the pause after attempt n, counted from 0.
func (p Policy) After(n int) time.Duration {
	d := p.Max
	if n < 20 {
		d = min(d, p.Min<<n)
	}
	if p.Jitter {
		d -= time.Duration(rand.Int64N(int64(d)/2 + 1))
	}
	return d
}

// Sleep waits for d and reports whether ctx lasted as long.
func Sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
