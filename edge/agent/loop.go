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

// loop is where readings become facts and facts become entries. One goroutine owns the site's
// understanding; machines and pages hand their things in.
type loop struct {
	site    *meaning.Site
	journal *journal.Journal
	clock   *clock
	sampler *sampler
	units   map[string]unit.Unit // of weighbridges
	log     *slog.Logger
	save    func(site *meaning.Site) // stores a checkpoint

	storeRequests map[string]chan weighbridge.Request // of indicators that store weighings; one request each

	in       chan func() []record.Fact
	commands chan command
	done     chan struct{} // closed when run has ended and nothing is taken any more

	health  map[string]device.Health // newest of each device that is not recorded yet
	written int                      // entries since the last checkpoint

	probed time.Time // when it was last tried whether the journal takes facts again

	mu      sync.Mutex // guards what follows
	problem error      // why nothing is recorded; nil when all is well
	since   time.Time  // since when
}

// command is a question or an act of a page.
type command struct {
	do   func(*meaning.Site) ([]record.Fact, error)
	done chan result
}

type result struct {
	entries []meaning.Entry
	err     error
}

const (
	queue           = 256
	checkpointAfter = 500
	probeEvery      = 3 * time.Second
)

// enqueue hands what comes from a machine to run.
func (l *loop) enqueue(f func() []record.Fact) {
	select {
	case l.in <- f:
	case <-l.done:
	}
}

// Weight takes a frame. Raw belongs to the decoder and is copied. Weight, Scan and Health make the loop a
// [device.Sink]. They wait when the disk is slow: frames and polls then come late, but with the time at
// which they arrived.
func (l *loop) Weight(w device.Weight) {
	w.Raw = append([]byte(nil), w.Raw...)
	if !l.site.Answers(w) { // a refusal is no reading
		l.sampler.weight(w, l.units[w.Device])
	}
	l.enqueue(func() []record.Fact { return l.site.Weight(w) })
}

// Scan takes a poll.
func (l *loop) Scan(scan device.Scan) {
	l.sampler.scan(scan)
	l.enqueue(func() []record.Fact { return l.site.Scan(scan) })
}

// Health takes a change of a machine's state.
func (l *loop) Health(h device.Health) {
	l.log.Info("machine changed state", "device", h.Device, "state", h.State, "detail", h.Detail)
	if h.State != device.Online {
		l.sampler.silence(h.Device, h.At)
	}
	l.enqueue(func() []record.Fact {
		l.health[h.Device] = h
		return nil
	})
}

// run is the goroutine that owns the site.
func (l *loop) run(ctx context.Context) error {
	defer close(l.done)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			l.save(l.site)
			return nil
		case f := <-l.in:
			entries, err := l.record(f())
			if err != nil {
				l.fail(err)
			}
			l.logFaults(entries)
			l.requestStores()
		case a := <-l.commands:
			facts, err := a.do(l.site)
			if problem := l.failing(); err != nil && problem != nil {
				err = problem // no lorry is weighed while nothing is recorded: its rest is not the reason
			}
			var entries []meaning.Entry
			if err == nil {
				if entries, err = l.record(facts); err != nil {
					l.fail(err)
				}
			}
			a.done <- result{entries, err}
		case now := <-tick.C:
			l.probe(now)
		}
		for name, h := range l.health {
			if _, err := l.record(l.site.Health(h)); err != nil {
				l.fail(err)
				break
			}
			delete(l.health, name)
		}
		if l.written >= checkpointAfter {
			l.save(l.site)
			l.written = 0
		}
	}
}

// requestStores has indicators store what waits for it. While nothing can be recorded here nothing is
// stored there: no journal would have the number.
func (l *loop) requestStores() {
	if len(l.storeRequests) == 0 || l.failing() != nil {
		return
	}
	for _, name := range l.site.ToStore(time.Now()) {
		select {
		case l.storeRequests[name] <- weighbridge.Store:
		default: // the one before is still to be sent, and serves
		}
	}
}

// logFaults logs what a frame has shown to be wrong with its machine.
func (l *loop) logFaults(entries []meaning.Entry) {
	for _, e := range entries {
		switch body := e.Body.(type) {
		case *record.Device:
			if body.State == string(device.Faulty) {
				l.log.Warn("machine has a fault", "device", e.Device, "detail", body.Detail, "number", e.Ref.N)
			}
		case *record.Belt:
			if body.Event == record.BeltReset || body.Event == record.BeltJump {
				l.log.Warn("belt shows what it can't have carried: not counted", "device", e.Device, "event", body.Event, "counts", body.Raw, "number", e.Ref.N)
			}
		}
	}
}

// record journals facts and lets the site know. Until it has returned, nothing has happened.
func (l *loop) record(facts []record.Fact) ([]meaning.Entry, error) {
	if len(facts) == 0 {
		return nil, nil
	}
	written, err := l.journal.Append(l.clock.state(), facts...)
	if err != nil {
		return nil, fmt.Errorf("NOT RECORDED: %w", err)
	}
	l.heal()
	entries := make([]meaning.Entry, len(written))
	for i, w := range written {
		entries[i] = meaning.Entry{Ref: record.Ref{Journal: w.Entry.Journal, N: w.Entry.N}, Hash: w.Hash.String(),
			At: w.Entry.At, Device: w.Entry.Device, Body: facts[i].Body}
		l.site.Apply(entries[i])
	}
	l.written += len(entries)
	return entries, nil
}

// probe tries whether the journal takes facts again while it does not. Otherwise an operator who
// stops weighing because nothing is recorded would never see that it is. The fact that it writes
// tells the city for how long this site was blind.
func (l *loop) probe(now time.Time) {
	l.mu.Lock()
	problem, since := l.problem, l.since
	l.mu.Unlock()
	if problem == nil || now.Sub(l.probed) < probeEvery {
		return
	}
	l.probed = now
	if _, err := l.record([]record.Fact{{At: now, Body: &record.Device{State: string(device.Faulty),
		Detail: fmt.Sprintf("nothing could be recorded since %s: %s", since.UTC().Format(time.RFC3339), problem)}}}); err != nil {
		l.fail(err)
	}
}

func (l *loop) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.problem == nil {
		l.log.Error("nothing is recorded", "err", err)
		l.since = time.Now()
	}
	l.problem = err
}

func (l *loop) heal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.problem != nil {
		l.log.Info("recording again")
	}
	l.problem = nil
}

// failing returns why nothing is recorded; nil when all is well.
func (l *loop) failing() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.problem
}

// do hands an act in and waits for its entries. An act whose caller gave up may still be recorded:
// repeating it repeats the answer.
func (l *loop) do(ctx context.Context, act func(*meaning.Site) ([]record.Fact, error)) ([]meaning.Entry, error) {
	a := command{act, make(chan result, 1)}
	select {
	case l.commands <- a:
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

// view runs a question in the goroutine that owns the site.
func (l *loop) view(ctx context.Context, look func(*meaning.Site)) error {
	_, err := l.do(ctx, func(s *meaning.Site) ([]record.Fact, error) { look(s); return nil, nil })
	return err
}
