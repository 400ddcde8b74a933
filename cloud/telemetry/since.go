package telemetry

import (
	"errors"
	"time"

	"steelyard/internal/wire"
)

// Since returns the sites of which anything has changed after a mark, each with the values that say
// something else than before or have grown stale, and the next mark; the first mark is 0. A value
// that only was said again has not changed. Whole is set where the values replace all that were known.
//
// What is unchanged costs one look at each site: following the values is as dear as their changes.
func (l *Live) Since(mark uint64) ([]SiteNow, uint64) {
	now := l.config.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []SiteNow
	for name, s := range l.sites {
		if !s.staleAt.IsZero() && now.After(s.staleAt) {
			l.grow(s, now)
		}
		if mark > 0 && s.changed <= mark {
			continue
		}
		n := s.now(name, now)
		n.Whole = mark == 0 || s.whole > mark
		for _, v := range s.values {
			if n.Whole || v.changed > mark {
				n.Values = append(n.Values, s.value(v, now, l.config.Stale))
			}
		}
		list = append(list, n)
	}
	return list, l.changes
}

func (s *liveSite) now(name string, now time.Time) SiteNow {
	n := SiteNow{Site: name, Status: s.status, Online: s.status.Online, Heard: s.heard, Refused: s.refused, Machines: s.names}
	if !s.heard.IsZero() {
		n.Silence = now.Sub(s.heard)
	}
	if !s.waitingSince.IsZero() {
		n.Unreceipted = now.Sub(s.waitingSince)
	}
	return n
}

func (s *liveSite) value(v *liveValue, now time.Time, stale time.Duration) ValueNow {
	age := now.Sub(v.born)
	// A site of which no status has been heard is judged by its values alone.
	online := s.status.Online || !s.heardStatus()
	return ValueNow{v.LiveValue, age, v.OK && online && age <= stale}
}

// change counts a change of a site. The caller holds the lock, as for all below.
func (l *Live) change(s *liveSite) {
	l.changes++
	s.changed = l.changes
}

// take keeps a value that has come with the newest change; nil when it is senseless or too many.
func (l *Live) take(s *liveSite, v wire.LiveValue, now time.Time) *liveValue {
	bad := errors.Join(CheckName("site", v.Device, v.Tag), checkWord("text", v.Text, maxText), checkWord("unit", v.Unit, maxUnit))
	name := seriesName{v.Device, v.Tag}
	held := s.values[name]
	if bad != nil || v.AgeMS < 0 || v.AgeMS > maxMS || len(v.Value) > maxTag ||
		held == nil && len(s.values) >= wire.MaxLive && !l.forget(s, now) {
		s.refused++
		return nil
	}
	if held == nil {
		held = &liveValue{changed: s.changed}
		s.values[name] = held
	}
	if !same(held.LiveValue, v) {
		held.changed = s.changed
	}
	held.LiveValue = v
	l.age(s, held, now.Add(-time.Duration(v.AgeMS)*time.Millisecond), now)
	return held
}

// age takes note of when a value was so.
func (l *Live) age(s *liveSite, v *liveValue, born, now time.Time) {
	v.born = born
	if stale := now.Sub(born) > l.config.Stale; stale != v.stale {
		v.stale, v.changed = stale, s.changed
	}
	if turn := born.Add(l.config.Stale); !v.stale && (s.staleAt.IsZero() || turn.Before(s.staleAt)) {
		s.staleAt = turn
	}
}

func same(a, b wire.LiveValue) bool {
	a.AgeMS = b.AgeMS
	return a == b
}

// grow counts the values of a site that have grown stale.
func (l *Live) grow(s *liveSite, now time.Time) {
	s.staleAt = time.Time{}
	counted := false
	for _, v := range s.values {
		if v.stale {
			continue
		}
		if turn := v.born.Add(l.config.Stale); !now.After(turn) {
			if s.staleAt.IsZero() || turn.Before(s.staleAt) {
				s.staleAt = turn
			}
			continue
		}
		if !counted {
			l.change(s)
			counted = true
		}
		v.stale, v.changed = true, s.changed
	}
}
