package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// clock is the time of a site's machines and persons: the computer's, but for a Past.
type clock struct {
	now   func() time.Time
	pause func(ctx context.Context, d time.Duration) bool // false when ctx has ended
}

// Past is who reads a site's machines in a time that is over before the site runs.
type Past struct {
	To time.Time
	// Frame takes what an indicator sends, Poll the registers of a belt or baler; both before anything
	// else happens at that time.
	Frame func(device string, at time.Time, frame []byte) error
	Poll  func(device string, at time.Time, words []uint16) error
	// Edge is the address of the operator's page, whose clock is that of the newest frame.
	Edge string
}

const (
	frameEvery = 100 * time.Millisecond
	pollEvery  = 15 * time.Second
	// A lorry that comes so shortly before the end would still be on the deck.
	longestVisit = time.Minute
	// In the last of it lorries are made to come: whoever looks at a site that has just begun to run
	// finds some on it, and the first is ready to leave soon after.
	lastOfPast  = 15 * time.Minute
	leastOnSite = 2
	readySoon   = 2 * time.Second
)

// Live lets an opened site that does not run yet live through its past at the speed of life, as fast as
// the computer can: the same machines, lorries and persons, and a clock that is moved on by hand. The
// truth has it all, and Run goes on where it ends.
func (s *Site) Live(ctx context.Context, p Past) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	life := &past{Past: p, site: s, at: s.cfg.Past, r: rand.New(rand.NewPCG(s.cfg.Seed, 7)), end: end}
	real := *s.clock
	*s.clock = clock{life.now, life.pass}
	s.truth.now = life.now
	s.pace(1)
	s.Connect(p.Edge)
	defer func() {
		*s.clock, s.truth.now = real, real.now
		s.pace(s.cfg.Speed)
		s.Connect(s.cfg.Operator)
	}()
	for _, w := range s.Weighbridges {
		w.next = life.at.Add(w.gap() / 10)
	}
	for ctx.Err() == nil && life.at.Before(p.To.Add(-longestVisit)) {
		served := false
		for _, w := range s.Weighbridges {
			if p.To.Sub(life.at) < lastOfPast && w.onSite() < leastOnSite {
				w.next = life.at
			}
			served = w.serve(ctx) || served
		}
		if !served {
			life.pass(ctx, frameEvery)
		}
	}
	life.pass(ctx, p.To.Sub(life.at))
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("site %s: past at %s: %w", s.cfg.Name, life.at.Format(time.RFC3339), err)
	}
	for _, w := range s.Weighbridges {
		w.awake(p.To, real.now())
	}
	return nil
}

// pace sets how much faster than life everything goes.
func (s *Site) pace(speed float64) {
	for _, w := range s.Weighbridges {
		w.cfg.Speed, w.fleet.pace = speed, speed
	}
	for _, b := range s.Belts {
		b.cfg.Speed = speed
	}
	for _, b := range s.Balers {
		b.cfg.Speed = speed
	}
}

// awake turns what a weighbridge waits for at the end of a past into times of the running site.
func (w *Weighbridge) awake(then, now time.Time) {
	turn := func(t time.Time) time.Time { return now.Add(time.Duration(float64(t.Sub(then)) / w.cfg.Speed)) }
	first := -1
	for i := range w.yard {
		w.yard[i].due = turn(w.yard[i].due)
		if first < 0 || w.yard[i].due.Before(w.yard[first].due) {
			first = i
		}
	}
	if first >= 0 {
		w.yard[first].due = now.Add(readySoon)
	}
	w.next = turn(w.next)
}

// past moves the clock of one site.
type past struct {
	Past
	site   *Site
	at     time.Time
	polled time.Time // of the machines; zero before the first
	r      *rand.Rand
	end    context.CancelCauseFunc
}

func (p *past) now() time.Time { return p.at }

var errTooLong = errors.New("something that was begun did not end in time")

// pass lets a time pass: frames come, machines work and are polled.
func (p *past) pass(ctx context.Context, d time.Duration) bool {
	for until := p.at.Add(d); p.at.Before(until); {
		if ctx.Err() != nil {
			return false
		}
		if !p.at.Before(p.To) {
			p.end(errTooLong)
			return false
		}
		p.at = p.at.Add(frameEvery)
		if err := p.show(); err != nil {
			p.end(err)
			return false
		}
	}
	return true
}

// show brings everything to the time that it is.
func (p *past) show() error {
	for _, w := range p.site.Weighbridges {
		if err := p.Frame(w.Device, p.at, w.Indicator.frame(p.at, p.r)); err != nil {
			return err
		}
	}
	if !p.polled.IsZero() && p.at.Sub(p.polled) < pollEvery {
		return nil
	}
	p.polled = p.at
	for _, b := range p.site.Belts {
		b.step(pollEvery)
		if err := p.poll(b.cfg.Device, b.registers); err != nil {
			return err
		}
	}
	for _, b := range p.site.Balers {
		b.step(pollEvery)
		if err := p.poll(b.cfg.Device, b.registers); err != nil {
			return err
		}
	}
	return nil
}

func (p *past) poll(device string, r *Registers) error {
	words, _ := r.Words(0, len(r.words))
	return p.Poll(device, p.at, words)
}
