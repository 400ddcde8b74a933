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

// next is whose turn it is and what to ask; nil when nobody has anything due. Whoever has waited
// longest comes first, so nobody's requests keep another from being asked.
func (t *turns) next(now time.Time) (*member, Request) {
	waiting := slices.Clone(t.members)
	slices.SortStableFunc(waiting, func(a, b *member) int { return int(a.served) - int(b.served) })
	anyLives := slices.ContainsFunc(waiting, (*member).lives)
	for _, m := range waiting {
		due := m.request()
		if due == "" && m.polls() && (!anyLives || !now.Before(m.aside)) {
			due = m.Dialect.Poll
		}
		if due != "" {
			t.count++
			m.served = t.count
			return m, due
		}
	}
	return nil, ""
}

// missed says that a poll was not answered in its turn. After three in a row the indicator is set
// aside, for longer each time, so that the living keep their rate. When nobody else lives there is
// nobody to protect, and it may be the line: all are asked as before and heal at once.
func (t *turns) missed(m *member, now time.Time) {
	m.misses++
	if m.lives() {
		return
	}
	if !slices.ContainsFunc(t.members, (*member).lives) {
		m.misses, m.aside = pollsOfSilence, time.Time{}
		return
	}
	m.aside = now.Add(serial.Backoff(m.misses - pollsOfSilence + 1))
}

// answered says that the indicator has sent a frame of its own.
func (m *member) answered() { m.misses, m.aside = 0, time.Time{} }

// lives says that the indicator is polled and has not been given up.
func (m *member) lives() bool { return m.polls() && m.misses < pollsOfSilence }

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
