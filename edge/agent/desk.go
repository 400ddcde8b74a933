package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"steelyard/edge/journal"
	"steelyard/edge/meaning"
	"steelyard/firmware-bridge/device"
	"steelyard/internal/record"
	"steelyard/internal/unit"
)

// desk is where readings become facts and facts become entries. One goroutine owns the site's
// understanding; machines and pages hand their things in.
type desk struct {
	site    *meaning.Site
	journal *journal.Journal
	clock   *clock
	sampler *sampler
	units   map[string]unit.Unit // of weighbridges
	log     *slog.Logger
	save    func(site *meaning.Site) // stores a checkpoint

	in   chan func() []record.Fact
	asks chan ask

	health  map[string]device.Health // newest of each device that is not recorded yet
	written int                      // entries since the last checkpoint

	mu      sync.Mutex // guards problem
	problem string
}

// ask is a question or an act of a page.
type ask struct {
	act  func(*meaning.Site) ([]record.Fact, error)
	done chan answer
}

type answer struct {
	entries []meaning.Entry
	err     error
}

const (
	queue           = 256
	checkpointAfter = 500
)

// Weight, Scan and Health make the desk a device.Sink. They wait when the disk is slow: frames and
// polls then come late, but with the time at which they arrived.
func (d *desk) sink(ctx context.Context) device.Sink { return &sink{d, ctx} }

type sink struct {
	*desk
	ctx context.Context
}

func (s *sink) hand(f func() []record.Fact) {
	select {
	case s.in <- f:
	case <-s.ctx.Done():
	}
}

// Weight takes a frame. Raw belongs to the decoder and is copied.
func (s *sink) Weight(w device.Weight) {
	w.Raw = append([]byte(nil), w.Raw...)
	s.sampler.weight(w, s.units[w.Device])
	s.hand(func() []record.Fact { return s.site.Weight(w) })
}

// Scan takes a poll.
func (s *sink) Scan(scan device.Scan) {
	s.sampler.scan(scan)
	s.hand(func() []record.Fact { return s.site.Scan(scan) })
}

// Health takes a change of a machine's state.
func (s *sink) Health(h device.Health) {
	s.log.Info("machine is "+string(h.State), "device", h.Device, "detail", h.Detail)
	if h.State != device.Online {
		s.sampler.silence(h.Device, h.At)
	}
	s.hand(func() []record.Fact {
		s.health[h.Device] = h
		return nil
	})
}

// run is the goroutine that owns the site.
func (d *desk) run(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			d.save(d.site)
			return nil
		case f := <-d.in:
			if _, err := d.record(f()); err != nil {
				d.fail(err)
			}
		case a := <-d.asks:
			facts, err := a.act(d.site)
			var entries []meaning.Entry
			if err == nil {
				if entries, err = d.record(facts); err != nil {
					d.fail(err)
				}
			}
			a.done <- answer{entries, err}
		case <-tick.C:
		}
		for name, h := range d.health {
			if _, err := d.record(d.site.Health(h)); err != nil {
				d.fail(err)
				break
			}
			delete(d.health, name)
		}
		if d.written >= checkpointAfter {
			d.save(d.site)
			d.written = 0
		}
	}
}

// record journals facts and lets the site know. Until it has returned, nothing has happened.
func (d *desk) record(facts []record.Fact) ([]meaning.Entry, error) {
	if len(facts) == 0 {
		return nil, nil
	}
	written, err := d.journal.Append(d.clock.state(), facts...)
	if err != nil {
		return nil, fmt.Errorf("NOT RECORDED: %w", err)
	}
	d.heal()
	entries := make([]meaning.Entry, len(written))
	for i, w := range written {
		entries[i] = meaning.Entry{Ref: record.Ref{Journal: w.Entry.Journal, N: w.Entry.N}, Hash: w.Hash.String(),
			At: w.Entry.At, Device: w.Entry.Device, Body: facts[i].Body}
		d.site.Apply(entries[i])
	}
	d.written += len(entries)
	return entries, nil
}

func (d *desk) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.problem == "" {
		d.log.Error("nothing is recorded", "err", err)
	}
	d.problem = err.Error()
}

func (d *desk) heal() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.problem != "" {
		d.log.Info("recording again")
	}
	d.problem = ""
}

// failing says why nothing is recorded; empty when all is well.
func (d *desk) failing() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.problem
}

// act hands an act in and waits for its entries. An act whose caller gave up may still be recorded:
// repeating it repeats the answer.
func (d *desk) act(ctx context.Context, act func(*meaning.Site) ([]record.Fact, error)) ([]meaning.Entry, error) {
	a := ask{act, make(chan answer, 1)}
	select {
	case d.asks <- a:
	case <-ctx.Done():
		return nil, errBusy
	}
	select {
	case out := <-a.done:
		return out.entries, out.err
	case <-ctx.Done():
		return nil, errBusy
	}
}

var errBusy = errors.New("the agent is busy or its disk is slow: nothing is confirmed; repeat the act")

// look runs a question in the goroutine that owns the site.
func (d *desk) look(ctx context.Context, look func(*meaning.Site)) error {
	_, err := d.act(ctx, func(s *meaning.Site) ([]record.Fact, error) { look(s); return nil, nil })
	return err
}
