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
	"steelyard/firmware-bridge/weighbridge"
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

	registers map[string]chan weighbridge.Request // of indicators that store weighings; one request each

	in   chan func() []record.Fact
	asks chan ask
	done chan struct{} // closed when run has ended and nothing is taken any more

	health  map[string]device.Health // newest of each device that is not recorded yet
	written int                      // entries since the last checkpoint

	probed time.Time // when it was last tried whether the journal takes facts again

	mu      sync.Mutex // guards what follows
	problem error      // why nothing is recorded; nil when all is well
	since   time.Time  // since when
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
	probeEvery      = 3 * time.Second
)

// Weight, Scan and Health make the desk a device.Sink. They wait when the disk is slow: frames and
// polls then come late, but with the time at which they arrived.
func (d *desk) hand(f func() []record.Fact) {
	select {
	case d.in <- f:
	case <-d.done:
	}
}

// Weight takes a frame. Raw belongs to the decoder and is copied.
func (d *desk) Weight(w device.Weight) {
	w.Raw = append([]byte(nil), w.Raw...)
	if !d.site.Answers(w) { // a refusal is no reading
		d.sampler.weight(w, d.units[w.Device])
	}
	d.hand(func() []record.Fact { return d.site.Weight(w) })
}

// Scan takes a poll.
func (d *desk) Scan(scan device.Scan) {
	d.sampler.scan(scan)
	d.hand(func() []record.Fact { return d.site.Scan(scan) })
}

// Health takes a change of a machine's state.
func (d *desk) Health(h device.Health) {
	d.log.Info("machine is "+string(h.State), "device", h.Device, "detail", h.Detail)
	if h.State != device.Online {
		d.sampler.silence(h.Device, h.At)
	}
	d.hand(func() []record.Fact {
		d.health[h.Device] = h
		return nil
	})
}

// run is the goroutine that owns the site.
func (d *desk) run(ctx context.Context) error {
	defer close(d.done)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			d.save(d.site)
			return nil
		case f := <-d.in:
			entries, err := d.record(f())
			if err != nil {
				d.fail(err)
			}
			d.tell(entries)
			d.register()
		case a := <-d.asks:
			facts, err := a.act(d.site)
			if problem := d.failing(); err != nil && problem != nil {
				err = problem // no lorry is weighed while nothing is recorded: its rest is not the reason
			}
			var entries []meaning.Entry
			if err == nil {
				if entries, err = d.record(facts); err != nil {
					d.fail(err)
				}
			}
			a.done <- answer{entries, err}
		case now := <-tick.C:
			d.probe(now)
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

// register has indicators store what waits for it. While nothing can be recorded here nothing is
// stored there: no journal would have the number.
func (d *desk) register() {
	if len(d.registers) == 0 || d.failing() != nil {
		return
	}
	for _, name := range d.site.ToStore(time.Now()) {
		select {
		case d.registers[name] <- weighbridge.Register:
		default: // the one before is still to be sent, and serves
		}
	}
}

// tell logs what a frame has shown to be wrong with its machine.
func (d *desk) tell(entries []meaning.Entry) {
	for _, e := range entries {
		switch body := e.Body.(type) {
		case *record.Device:
			if body.State == string(device.Faulty) {
				d.log.Warn("machine has a fault", "device", e.Device, "detail", body.Detail, "number", e.Ref.N)
			}
		case *record.Belt:
			if body.Event == record.BeltReset || body.Event == record.BeltJump {
				d.log.Warn("belt shows what it can't have carried: not counted", "device", e.Device, "event", body.Event, "counts", body.Raw, "number", e.Ref.N)
			}
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

// probe tries whether the journal takes facts again while it does not. Otherwise an operator who
// stops weighing because nothing is recorded would never see that it is. The fact that it writes
// tells the city for how long this site was blind.
func (d *desk) probe(now time.Time) {
	d.mu.Lock()
	problem, since := d.problem, d.since
	d.mu.Unlock()
	if problem == nil || now.Sub(d.probed) < probeEvery {
		return
	}
	d.probed = now
	if _, err := d.record([]record.Fact{{At: now, Body: &record.Device{State: string(device.Faulty),
		Detail: fmt.Sprintf("nothing could be recorded since %s: %s", since.UTC().Format(time.RFC3339), problem)}}}); err != nil {
		d.fail(err)
	}
}

func (d *desk) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.problem == nil {
		d.log.Error("nothing is recorded", "err", err)
		d.since = time.Now()
	}
	d.problem = err
}

func (d *desk) heal() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.problem != nil {
		d.log.Info("recording again")
	}
	d.problem = nil
}

// failing says why nothing is recorded; nil when all is well.
func (d *desk) failing() error {
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
