package telemetry

import (
	"slices"
	"time"

	"steelyard/internal/wire"
)

// picture is what is known of a site's values as it has put them in order.
type picture struct {
	session string
	n       uint64         // of the newest message of the session
	began   uint64         // with this message; 0: a message was lost, and the next picture is waited for
	of      int            // values
	values  []*liveValue   // nil for what was refused
	devices [][]*liveValue // the same, by device
	device  string         // the newest of them
	count   uint64         // pictures begun since the start
}

// applyNumbered takes a message of a site that numbers them. After a loss nothing is taken until the next
// picture, for which the site is asked: what is shown until then keeps the age that it had, and grows
// stale.
func (l *Live) applyNumbered(s *liveSite, m wire.Live, now time.Time) {
	p := &s.picture
	switch {
	case m.Session == p.session && m.N <= p.n, slices.Contains(s.past, m.Session):
		return // overtaken, or from a connection before the present one
	case m.Session != p.session:
		p.session, p.began = m.Session, 0
	case m.N != p.n+1:
		p.began = 0
	}
	p.n, s.heard = m.N, now
	var known bool
	switch {
	case m.Picture == m.N && m.First == 0:
		p.began, p.of, p.values, p.devices, p.count = m.N, m.Of, p.values[:0], p.devices[:0], p.count+1
		known = true
	case m.Of > 0:
		known = p.began == m.Picture && p.of == m.Of && len(p.values) == m.First
	default:
		known = p.began == m.Picture && p.of == len(p.values)
	}
	if !known {
		p.began = 0
		if l.config.Ask != nil && (s.pictureAsked.IsZero() || now.Sub(s.pictureAsked) >= time.Second) {
			s.pictureAsked = now
			l.config.Ask(m.Site, wire.Request{Stream: wire.LiveValues, Why: wire.WhyHole})
		}
		return
	}
	switch part := m.Of > 0 || m.Picture == m.N; {
	case part:
		l.change(s)
		l.applyPicture(s, m, now)
		l.notify()
	case len(m.Changes) > 0:
		l.change(s)
		l.applyChanges(s, m, now)
		l.notify()
	}
	l.confirm(s, m.Ages, now)
}

// applyPicture takes the next values of a picture. With the last one goes what the picture has not.
func (l *Live) applyPicture(s *liveSite, m wire.Live, now time.Time) {
	p := &s.picture
	for i, v := range m.Values {
		held := l.take(s, v, now)
		if held != nil {
			held.seen = p.count
		}
		if i == 0 && m.First == 0 || v.Device != p.device {
			p.device, p.devices = v.Device, append(p.devices, nil)
		}
		last := len(p.devices) - 1
		p.values, p.devices[last] = append(p.values, held), append(p.devices[last], held)
	}
	if len(p.values) < p.of {
		return
	}
	for name, v := range s.values {
		if v.seen != p.count {
			delete(s.values, name)
			s.whole = s.changed
		}
	}
}

// applyChanges takes changes of the picture.
func (l *Live) applyChanges(s *liveSite, m wire.Live, now time.Time) {
	p := &s.picture
	for _, c := range m.Changes {
		if c.I < 0 || c.I >= len(p.values) || p.values[c.I] == nil {
			s.refused++
			continue
		}
		next := p.values[c.I].LiveValue
		next.Value, next.Text, next.OK, next.AgeMS = c.Value, c.Text, c.OK, m.AgeMS
		l.take(s, next, now)
	}
}

// confirm takes note that what was not said to have changed was still so when its device was heard.
func (l *Live) confirm(s *liveSite, ages []int64, now time.Time) {
	p := &s.picture
	if len(ages) != len(p.devices) {
		return
	}
	turned := false
	for d, age := range ages {
		if age < 0 || age > maxMS {
			s.refused++
			continue
		}
		born := now.Add(-time.Duration(age) * time.Millisecond)
		stale := now.Sub(born) > l.config.Stale
		for _, v := range p.devices[d] {
			if v == nil {
				continue
			}
			if v.stale != stale && !turned {
				turned = true
				l.change(s)
			}
			l.age(s, v, born, now)
		}
	}
	if turned {
		l.notify()
	}
}
