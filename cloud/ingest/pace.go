package ingest

import (
	"sync"
	"time"
)

// pace lets something happen at most so often for each key. Keys are made of enrolled sites, never
// of what a message says.
type pace struct {
	burst int
	every time.Duration

	mu   sync.Mutex
	keys map[string]*bucket
}

type bucket struct {
	left int
	at   time.Time // when left was last added to
}

func newPace(burst int, every time.Duration) *pace {
	return &pace{burst: burst, every: every, keys: map[string]*bucket{}}
}

func (p *pace) allow(key string, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.keys[key]
	if b == nil {
		b = &bucket{left: p.burst, at: now}
		p.keys[key] = b
	}
	if now.Before(b.at) {
		b.at = now // the clock was set back
	}
	if n := int64(now.Sub(b.at) / p.every); n > 0 {
		b.left = int(min(int64(b.left)+n, int64(p.burst)))
		b.at = b.at.Add(time.Duration(n) * p.every)
	}
	if b.left == 0 {
		return false
	}
	b.left--
	return true
}
