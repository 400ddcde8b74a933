package weighbridge

import (
	"slices"
	"time"

	"steelyard/firmware-bridge/serial"
)

// turns decides who is asked next on a line. It knows no clock and no port: the time comes with
// each call, and whether an answer came is told to it.
type turns struct {
	members []*member
	count   uint64 // turns given
}

// next is whose turn it is and what to ask; nil when nothing is due. Whoever has waited
// longest comes first, so the requests of one keep no other from being asked.
func (t *turns) next(now time.Time) (*member, Request) {
	waiting := slices.Clone(t.members)
	slices.SortStableFunc(waiting, func(a, b *member) int { return int(a.lastTurn) - int(b.lastTurn) })
	anyResponding := slices.ContainsFunc(waiting, (*member).responding)
	for _, m := range waiting {
		due := m.request()
		if due == "" && m.polls() && (!anyResponding || !now.Before(m.suspendedUntil)) {
			due = m.Dialect.Poll
		}
		if due != "" {
			t.count++
			m.lastTurn = t.count
			return m, due
		}
	}
	return nil, ""
}

// missed notes that a poll was not answered in its turn. After three in a row the indicator is set
// aside, for longer each time, so that those that respond keep their rate. When none responds there is no
// rate to protect, and it may be the line: all are asked as before and heal at once.
func (t *turns) missed(m *member, now time.Time) {
	m.misses++
	if m.responding() {
		return
	}
	if !slices.ContainsFunc(t.members, (*member).responding) {
		m.misses, m.suspendedUntil = pollsOfSilence, time.Time{}
		return
	}
	m.suspendedUntil = now.Add(serial.Backoff(m.misses - pollsOfSilence + 1))
}

// answered notes that the indicator has sent a frame of its own.
func (m *member) answered() { m.misses, m.suspendedUntil = 0, time.Time{} }

// responding reports whether the indicator is polled and has not been given up.
func (m *member) responding() bool { return m.polls() && m.misses < pollsOfSilence }

// request takes what waits in Ask, if the dialect knows it.
func (m *member) request() Request {
	select {
	case due, open := <-m.Ask:
		if !open {
			m.Ask = nil
			return ""
		}
		if !slices.Contains(m.Dialect.requests, due) {
			m.log.Warn("request dropped", "request", due)
			return ""
		}
		return due
	default:
		return ""
	}
}

// forget drops the requests that have waited since before the line was opened.
func (m *member) forget() {
	for range cap(m.Ask) + 1 {
		select {
		case due, open := <-m.Ask:
			if !open {
				m.Ask = nil
				return
			}
			m.log.Warn("request dropped: the line was down; ask again", "request", due)
		default:
			return
		}
	}
}
