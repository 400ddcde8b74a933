package telemetry

import (
	"time"

	"steelyard/internal/wire"
)

// Since gives the sites of which anything has changed after a mark, each with the values that say
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
		if !s.turns.IsZero() && now.After(s.turns) {
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
	n := SiteNow{Site: name, Status: s.status, Online: s.status.Online, Heard: s.heard, Refused: s.refused}
	if !s.heard.IsZero() {
		n.Silence = now.Sub(s.heard)
	}
	if !s.stands.IsZero() {
		n.Unreceipted = now.Sub(s.stands)
	}
	return n
}

func (s *liveSite) value(v liveValue, now time.Time, stale time.Duration) ValueNow {
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

// take keeps a value that has come with the newest change.
func (l *Live) take(s *liveSite, name seriesName, v wire.LiveValue, now time.Time) {
	next := liveValue{LiveValue: v, born: now.Add(-time.Duration(v.AgeMS) * time.Millisecond), changed: s.changed}
	next.stale = now.Sub(next.born) > l.config.Stale
	if before, known := s.values[name]; known && before.stale == next.stale && same(before.LiveValue, v) {
		next.changed = before.changed
	}
	if turn := next.born.Add(l.config.Stale); !next.stale && (s.turns.IsZero() || turn.Before(s.turns)) {
		s.turns = turn
	}
	s.values[name] = next
}

func same(a, b wire.LiveValue) bool {
	a.AgeMS = b.AgeMS
	return a == b
}

// grow counts the values of a site that have grown stale.
func (l *Live) grow(s *liveSite, now time.Time) {
	s.turns = time.Time{}
	counted := false
	for name, v := range s.values {
		if v.stale {
			continue
		}
		if turn := v.born.Add(l.config.Stale); !now.After(turn) {
			if s.turns.IsZero() || turn.Before(s.turns) {
				s.turns = turn
			}
			continue
		}
		if !counted {
			l.change(s)
			counted = true
		}
		v.stale, v.changed = true, s.changed
		s.values[name] = v
	}
}
