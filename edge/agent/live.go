package agent

import (
	"context"
	"maps"
	"slices"
	"time"

	"steelyard/internal/mqtt"
	"steelyard/internal/wire"
)

// The paces of the live values. Nobody looks most of the time: then a picture now and then is all
// that is sent, so that a city that has just started has one. While somebody looks, a change leaves
// at once, or soon after the one before it, and each second says that what is unchanged is no older.
const (
	pictureEvery = time.Minute
	pictureAfter = time.Second            // the shortest time between two
	changesAfter = 100 * time.Millisecond // the shortest time between two messages of changes
	agesEvery    = time.Second
)

// liveChanges collects what has changed since the live values were last sent. It is guarded by the
// sampler's mu.
type liveChanges struct {
	on      bool // somebody looks: changes are collected
	grown   bool // there are tags that the last picture has not
	cut     bool // there are more values than may be shown, which was logged
	dirty   []*tag
	devices []*shown      // in the order of the picture
	more    chan struct{} // receives when dirty or grown has begun to hold
}

func newLiveChanges() liveChanges { return liveChanges{more: make(chan struct{}, 1)} }

// changed takes note of a tag's new value.
func (f *liveChanges) changed(t *tag) {
	switch {
	case t.place < 0 && !f.grown && !f.cut:
		f.grown = true
	case t.place >= 0 && f.on && !t.dirty:
		t.dirty = true
		if f.dirty = append(f.dirty, t); len(f.dirty) > 1 {
			return
		}
	default:
		return
	}
	select {
	case f.more <- struct{}{}:
	default:
	}
}

// picture is the newest of everything. collect: whether changes of it are collected from now on.
func (s *sampler) picture(now time.Time, collect bool) (values []wire.LiveValue) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := &s.live
	for _, t := range f.dirty {
		t.dirty = false
	}
	f.on, f.grown, f.dirty, f.devices = collect, false, f.dirty[:0], f.devices[:0]
	all := 0
	for _, dev := range slices.Sorted(maps.Keys(s.devices)) {
		d := s.devices[dev]
		all += len(d.tags)
		if all > wire.MaxLive {
			continue
		}
		f.devices = append(f.devices, d)
		for _, t := range d.tags {
			t.place = len(values)
			values = append(values, wire.LiveValue{Device: dev, Tag: t.now.Tag, Value: t.now.Value, Text: t.now.Text,
				Unit: t.now.Unit, OK: t.now.OK, AgeMS: max(0, now.Sub(d.at).Milliseconds())})
		}
	}
	if all > wire.MaxLive && !f.cut {
		f.cut = true
		s.log.Error("the city is shown a part of the live values: there are more than it takes; leave tags out of the profiles, or divide the site",
			"values", all, "shown", len(values))
	}
	return values
}

// changes returns what has changed since it was last asked, and the age of the oldest.
func (s *sampler) changes(now time.Time) (list []wire.LiveChange, ageMS int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.live.dirty {
		t.dirty = false
		list = append(list, wire.LiveChange{I: t.place, Value: t.now.Value, Text: t.now.Text, OK: t.now.OK})
		ageMS = max(ageMS, now.Sub(t.of.at).Milliseconds())
	}
	s.live.dirty = s.live.dirty[:0]
	return list, ageMS
}

// ages returns how old the newest word of each device of the picture is, in ms.
func (s *sampler) ages(now time.Time) (list []int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.live.devices {
		list = append(list, max(0, now.Sub(d.at).Milliseconds()))
	}
	return list
}

// news reports whether there is something to send: changes, tags that are new.
func (s *sampler) news() (changed, grown bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.live.dirty) > 0, s.live.grown
}

// stopCollecting stops collecting changes.
func (s *sampler) stopCollecting() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live.on = false
}

// viewer sends the live values on one connection.
type viewer struct {
	sampler *sampler
	head    wire.Live // what all messages have in common; N is the number of the next
	send    func(payload []byte) error

	watched  time.Time // until then somebody looks
	asked    bool      // for a picture
	pictured time.Time // when the last one was sent
	changed  time.Time // when changes were last sent
	aged     time.Time // when ages were last sent
}

// sendLive sends the live values on one connection until it ends.
func (a *agent) sendLive(ctx context.Context, s *mqtt.Session) error {
	topic := wire.LiveTopic(a.config.Site)
	v := &viewer{sampler: a.sampler, head: wire.Live{Site: a.config.Site, Session: s.ID(), N: 1},
		send: func(payload []byte) error { return s.Publish(ctx, mqtt.Message{Topic: topic, Payload: payload}) }}
	defer a.sampler.stopCollecting()
	return v.run(ctx, a.viewings)
}

func (v *viewer) run(ctx context.Context, requests <-chan wire.Request) error {
	tick := time.NewTimer(0)
	defer tick.Stop()
	for {
		now := time.Now()
		if err := v.step(now); err != nil {
			return err
		}
		tick.Reset(v.next(now).Sub(now))
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		case <-v.sampler.live.more:
		case r := <-requests:
			v.request(r, time.Now())
		}
	}
}

// request takes the cloud's word that somebody looks, or that a message was lost.
func (v *viewer) request(r wire.Request, now time.Time) {
	switch r.Why {
	case wire.WhyWatch:
		v.asked = v.asked || !now.Before(v.watched) // the receiver may have nothing to add changes to
		v.watched = now.Add(wire.WatchFor)
	case wire.WhyHole:
		v.asked = true
	}
}

// step sends what is due.
func (v *viewer) step(now time.Time) error {
	v.head.AtMS = now.UnixMilli()
	watched := now.Before(v.watched)
	changed, grown := v.sampler.news()
	since := now.Sub(v.pictured)
	switch {
	case v.pictured.IsZero(), since >= pictureEvery, (v.asked || grown) && since >= pictureAfter:
		v.asked, v.pictured, v.changed, v.aged = false, now, now, now
		v.head.Picture = v.head.N
		return v.publish(wire.EncodePicture(v.head, v.sampler.picture(now, watched)))
	case !watched:
		v.sampler.stopCollecting()
	case changed && now.Sub(v.changed) >= changesAfter, now.Sub(v.aged) >= agesEvery:
		head := v.head
		if now.Sub(v.aged) >= agesEvery {
			v.aged, head.Ages = now, v.sampler.ages(now)
		}
		v.changed = now
		var list []wire.LiveChange
		list, head.AgeMS = v.sampler.changes(now)
		return v.publish(wire.EncodeChanges(head, list))
	}
	return nil
}

// next returns when something is due if nothing happens before.
func (v *viewer) next(now time.Time) time.Time {
	due := v.pictured.Add(pictureEvery)
	sooner := func(t time.Time) {
		if t.Before(due) {
			due = t
		}
	}
	changed, grown := v.sampler.news()
	if v.asked || grown {
		sooner(v.pictured.Add(pictureAfter))
	}
	if now.Before(v.watched) {
		sooner(v.watched)
		sooner(v.aged.Add(agesEvery))
		if changed {
			sooner(v.changed.Add(changesAfter))
		}
	}
	return due
}

func (v *viewer) publish(messages [][]byte) error {
	for _, m := range messages {
		v.head.N++
		if err := v.send(m); err != nil {
			return err
		}
	}
	return nil
}
