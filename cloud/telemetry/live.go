package telemetry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"steelyard/internal/wire"
)

// Limits of what is held in memory for the eye, beside wire.MaxLive.
const maxSessions = 16 // past sessions of one site that are still recognised

// watchEvery is how often a site is told again that somebody looks; wire.WatchFor is three times that.
const watchEvery = wire.WatchFor / 3

// LiveConfig says whose values are held.
type LiveConfig struct {
	Sites []string         // no other is held
	Stale time.Duration    // a value older than that is not live; 0 means 10 s
	Now   func() time.Time // nil means time.Now; its readings must carry the monotonic clock
	// Ask sends a request to a site. It must neither block nor use the Live; nil asks nothing.
	Ask func(site string, r wire.Request)
}

// Live holds the newest values of every site, with their age. The age counts from the message's
// arrival by this machine's clock, on top of the age it came with: no edge's clock can make a
// value younger.
type Live struct {
	config LiveConfig

	mu          sync.Mutex
	sites       map[string]*liveSite
	changes     uint64 // counts what has changed, from 1; Since tells by it what is new
	subscribers map[chan struct{}]struct{}
}

type liveSite struct {
	status       wire.Status
	heard        time.Time // the newest message of any kind
	atMS         int64     // of the newest live message, by the edge
	past         []string  // sessions before the present one
	values       map[seriesName]*liveValue
	picture      picture
	refused      int64     // messages that could not be read, values beyond the limit
	changed      uint64    // the newest change of anything of the site
	whole        uint64    // the newest change of all its values at once
	staleAt      time.Time // no value of it grows stale before; zero when none is fresh
	asked        time.Time // when it was last told that somebody looks
	names        []wire.MachineName
	waitingSince time.Time // since when records wait at the site and none was receipted; zero: none waits
	pictureAsked time.Time // when it was last asked for a picture
}

type liveValue struct {
	wire.LiveValue
	born    time.Time // by this machine's clock
	changed uint64    // the newest change of what it says
	stale   bool      // as it was told by Since
	seen    uint64    // the picture that it was in last
}

// SiteNow is the state of one site at the moment of the snapshot.
type SiteNow struct {
	Site    string
	Status  wire.Status // zero when none has been heard
	Online  bool        // by its newest session
	Heard   time.Time   // the newest message; zero when there was none
	Silence time.Duration
	// Unreceipted is how long the site has been online with records that wait, and none of them was
	// receipted; 0 when none waits.
	Unreceipted time.Duration
	Machines    []wire.MachineName // what people call them; not to be changed
	Values      []ValueNow         // by device and tag; from Since, in no order
	Whole       bool               // Values are all that the site has
	Refused     int64              // messages that could not be read, values beyond the limit
}

// ValueNow is one value with its age.
type ValueNow struct {
	wire.LiveValue
	Age  time.Duration
	Live bool // valid, young enough, and its site is online
}

// NewLive makes the memory; it is empty until messages come.
func NewLive(c LiveConfig) *Live {
	if c.Stale == 0 {
		c.Stale = 10 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	l := &Live{config: c, sites: map[string]*liveSite{}, changes: 1, subscribers: map[chan struct{}]struct{}{}}
	for _, site := range c.Sites {
		l.sites[site] = &liveSite{values: map[seriesName]*liveValue{}}
	}
	return l
}

// Message takes a message from its topic: live, status or machines. The site in it must be the topic's.
func (l *Live) Message(topic string, payload []byte) error {
	site, rest, err := wire.SplitTopic(topic)
	if err != nil {
		return err
	}
	said := ""
	switch rest {
	case "live":
		values, err := wire.DecodeLive(payload)
		if err != nil {
			return l.refuse(site, err)
		}
		if said = values.Site; said == site {
			return l.Values(values)
		}
	case "status":
		status, err := wire.DecodeStatus(payload)
		if err != nil {
			return l.refuse(site, err)
		}
		if said = status.Site; said == site {
			return l.Status(status)
		}
	case "machines":
		machines, err := wire.DecodeMachines(payload)
		if err != nil {
			return l.refuse(site, err)
		}
		if said = machines.Site; said == site {
			return l.Machines(machines)
		}
	default:
		return fmt.Errorf("topic %.80q carries neither live values nor a status nor names of machines", topic)
	}
	return l.refuse(site, fmt.Errorf("the message says that it is of site %.40q", said))
}

// refuse counts a message that is not taken.
func (l *Live) refuse(site string, err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.sites[site]; s != nil {
		s.refused++
	}
	return fmt.Errorf("site %s: %w", site, err)
}

// Values takes the newest values of a site.
func (l *Live) Values(m wire.Live) error {
	now := l.config.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	s, err := l.site(m.V, m.Site)
	if err != nil {
		return err
	}
	if m.Session != "" {
		l.applyNumbered(s, m, now)
		return nil
	}
	// An older edge says every value in each message.
	// A message a little older than the newest was overtaken. One much older means that the edge's
	// clock was set back: its values are as young as it says.
	const overtaken = 10_000
	if late := s.atMS - m.AtMS; late > 0 && late <= overtaken {
		return nil
	}
	s.atMS, s.heard = m.AtMS, now
	l.change(s)
	for _, v := range m.Values {
		l.take(s, v, now)
	}
	l.notify()
	return nil
}

// forget makes room by dropping the oldest value, if it is no longer live.
func (l *Live) forget(s *liveSite, now time.Time) bool {
	var oldest seriesName
	var born time.Time
	for name, v := range s.values {
		if born.IsZero() || v.born.Before(born) {
			oldest, born = name, v.born
		}
	}
	if now.Sub(born) <= l.config.Stale {
		return false
	}
	delete(s.values, oldest)
	s.whole = s.changed
	return true
}

// Status takes a site's status. What a session says after a newer one has begun, its last will
// above all, is not about the present and is left aside.
func (l *Live) Status(m wire.Status) error {
	now := l.config.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	s, err := l.site(m.V, m.Site)
	if err != nil {
		return err
	}
	if len(m.Session) > maxTag || len(m.Version) > maxTag {
		return fmt.Errorf("status of %s: session of %d and version of %d bytes: at most %d", m.Site, len(m.Session), len(m.Version), maxTag)
	}
	if present := s.status.Session; s.heardStatus() && m.Session != present {
		// Sessions are told apart by having been seen, not by their time: an edge that starts with
		// its clock in 1970 is newer all the same. A session that is first heard of by its will
		// has ended before we ever knew it.
		if slices.Contains(s.past, m.Session) || !m.Online {
			return nil
		}
		s.past = append(s.past, present)
		s.past = s.past[max(0, len(s.past)-maxSessions):]
		s.atMS = 0
	}
	before := s.status
	switch {
	case m.Backlog == 0 || !m.Online:
		s.waitingSince = time.Time{}
	case s.waitingSince.IsZero() || before.Session != m.Session || before.Last-before.Backlog != m.Last-m.Backlog:
		s.waitingSince = now
	}
	l.change(s)
	if m.Online != s.status.Online || !s.heardStatus() {
		s.whole = s.changed
	}
	s.status, s.heard = m, now
	l.notify()
	return nil
}

// Machines takes the names of a site's machines. They are no sign that it lives: a broker keeps them.
func (l *Live) Machines(m wire.Machines) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, err := l.site(m.V, m.Site)
	if err != nil {
		return err
	}
	for _, n := range m.Machines {
		if err := errors.Join(wire.CheckSlug("device", n.Device), checkWord("name", n.Name, maxText), checkWord("english", n.English, maxText)); err != nil {
			s.refused++
			return fmt.Errorf("machines of %s: %w", m.Site, err)
		}
	}
	l.change(s)
	s.names = m.Machines
	l.notify()
	return nil
}

func (s *liveSite) heardStatus() bool { return s.status.V != 0 }

func (l *Live) site(version int, name string) (*liveSite, error) {
	if version != wire.Version {
		return nil, fmt.Errorf("message of site %.40q: version %d is not known", name, version)
	}
	s := l.sites[name]
	if s == nil {
		return nil, fmt.Errorf("site %.40q is not configured", name)
	}
	return s, nil
}

// Watch takes note that somebody looks at a site's values: the site sends each change at once for a
// while, and by itself goes back to sending little. It is called again, at least every ten seconds,
// for as long as somebody looks; it costs next to nothing and never blocks.
func (l *Live) Watch(site string) {
	now := l.config.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sites[site]
	if s == nil || l.config.Ask == nil || !s.asked.IsZero() && now.Sub(s.asked) < watchEvery {
		return
	}
	s.asked = now
	l.config.Ask(site, wire.Request{Stream: wire.LiveValues, Why: wire.WhyWatch})
}

// Snapshot returns every site with its values, in order of their names.
func (l *Live) Snapshot() []SiteNow {
	now := l.config.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]SiteNow, 0, len(l.sites))
	for name, s := range l.sites {
		n := s.now(name, now)
		n.Values = make([]ValueNow, 0, len(s.values))
		for _, v := range s.values {
			n.Values = append(n.Values, s.value(v, now, l.config.Stale))
		}
		slices.SortFunc(n.Values, func(a, b ValueNow) int {
			return cmp.Or(strings.Compare(a.Device, b.Device), strings.Compare(a.Tag, b.Tag))
		})
		n.Whole = true
		list = append(list, n)
	}
	slices.SortFunc(list, func(a, b SiteNow) int { return strings.Compare(a.Site, b.Site) })
	return list
}

// Subscribe returns a channel that receives after changes, until ctx ends; then it is closed. Many
// changes may come as one: whoever receives takes a Snapshot. A slow receiver holds up nobody.
func (l *Live) Subscribe(ctx context.Context) <-chan struct{} {
	c := make(chan struct{}, 1)
	l.mu.Lock()
	l.subscribers[c] = struct{}{}
	l.mu.Unlock()
	context.AfterFunc(ctx, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.subscribers, c)
		close(c)
	})
	return c
}

// notify is called with the lock held, which keeps it from a channel that is being closed.
func (l *Live) notify() {
	for c := range l.subscribers {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}
