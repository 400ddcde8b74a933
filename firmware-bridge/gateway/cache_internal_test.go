package gateway

import (
	"testing"
	"time"

	"steelyard/firmware-bridge/modbus"
)

// What the cache holds until it is told that a unit or the line is gone is still young enough to be
// given: without forget and clear it would be, so they are what keeps an answer of the past away.
func TestCacheForgets(t *testing.T) {
	now := time.Now()
	c := newCache(time.Minute)
	q := modbus.Question{Unit: 1, FC: 3, From: 0, Count: 2}
	fill := func() {
		for unit := uint8(1); unit <= 2; unit++ {
			c.keep(entry{modbus.Question{Unit: unit, FC: 3, From: 0, Count: 2}, now, now, []byte{0, unit, 0, 0}})
		}
	}
	has := func(unit uint8, at time.Time) bool {
		q.Unit = unit
		_, ok := c.find(q, at, at)
		return ok
	}
	fill()
	if !has(1, now.Add(59*time.Second)) || has(1, now.Add(time.Minute)) {
		t.Error("max_age is not what decides")
	}
	if c.forget(1); has(1, now) || !has(2, now) {
		t.Error("forget is not of one unit")
	}
	fill()
	if c.clear(); has(1, now) || has(2, now) {
		t.Error("clear left something")
	}
	// A read that began after the question came answers it, however old it is by now.
	fill()
	q.Unit = 1
	if _, ok := c.find(q, now.Add(-time.Hour), now.Add(2*time.Minute)); !ok {
		t.Error("a read that began after the question does not answer it")
	}
	for i := range 3 * mostEntries {
		c.keep(entry{modbus.Question{Unit: 1, FC: 3, From: uint16(i), Count: 1}, now, now, []byte{0, 0}})
	}
	if len(c.entries) > mostEntries {
		t.Errorf("%d entries", len(c.entries))
	}
}
