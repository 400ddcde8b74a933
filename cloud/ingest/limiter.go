package ingest

import (
	"sync"
	"time"
)

// limiter is a token bucket for each key. Keys are made of enrolled sites, never of what a message says.
type limiter struct {
	burst int
	every time.Duration

	mu   sync.Mutex
	keys map[string]*bucket
}

type bucket struct {
	left int
	at   time.Time // when left was last added to
}

func newLimiter(burst int, every time.Duration) *limiter {
	return &limiter{burst: burst, every: every, keys: map[string]*bucket{}}
}

func (l *limiter) allow(key string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.keys[key]
	if b == nil {
		b = &bucket{left: l.burst, at: now}
		l.keys[key] = b
	}
	if now.Before(b.at) {
		b.at = now // the clock was set back
	}
	if n := int64(now.Sub(b.at) / l.every); n > 0 {
		b.left = int(min(int64(b.left)+n, int64(l.burst)))
		b.at = b.at.Add(time.Duration(n) * l.every)
	}
	if b.left == 0 {
		return false
	}
	b.left--
	return true
}
