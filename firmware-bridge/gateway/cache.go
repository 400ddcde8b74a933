package gateway

import (
	"slices"
	"sync"
	"time"

	"steelyard/firmware-bridge/modbus"
)

// cache holds what was read lately, so that ten who ask for the same cost the line one read.
type cache struct {
	maxAge time.Duration

	mu      sync.Mutex
	entries []entry // the oldest first
}

// entry is one read. data is never changed once it is here.
type entry struct {
	modbus.Question
	began time.Time // before the request was sent
	at    time.Time // when the last byte of the reply came
	data  []byte
}

// mostEntries bounds what clients can make the cache hold: 128 KiB at 250 bytes a read.
const mostEntries = 512

func newCache(maxAge time.Duration) *cache { return &cache{maxAge: maxAge} }

// find returns the answer to a question that came at a moment, if there is one that may be returned
// now: not older than max_age, or read after the question came. A read that covers more registers
// holds the answer too; of bits only the same read does.
func (c *cache) find(q modbus.Question, came, now time.Time) ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range slices.Backward(c.entries) {
		if e.Unit != q.Unit || e.FC != q.FC || e.began.Before(came) && now.Sub(e.at) >= c.maxAge {
			continue
		}
		if e.From == q.From && e.Count == q.Count {
			return e.data, true
		}
		first := int(q.From) - int(e.From)
		if e.FC >= 3 && first >= 0 && first+q.Count <= e.Count {
			return e.data[2*first : 2*(first+q.Count)], true
		}
	}
	return nil, false
}

func (c *cache) keep(e entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries = slices.DeleteFunc(c.entries, func(o entry) bool {
		return o.Question == e.Question || e.at.Sub(o.at) > max(c.maxAge, time.Minute)
	})
	if len(c.entries) >= mostEntries {
		c.entries = slices.Delete(c.entries, 0, 1)
	}
	c.entries = append(c.entries, e)
}

// forget drops what is known of a unit.
func (c *cache) forget(unit uint8) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries = slices.DeleteFunc(c.entries, func(e entry) bool { return e.Unit == unit })
}

func (c *cache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries = nil
}
