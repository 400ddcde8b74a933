package agent

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"steelyard/edge/journal"
	"steelyard/firmware-bridge/device"
	"steelyard/internal/record"
	"steelyard/internal/unit"
)

// Samples are written down once a second, and a tag only when it changed: a standing plant costs
// nothing. Each tag is repeated now and then, so that a reader who comes late knows it too.
const (
	flushEvery  = time.Second
	repeatAfter = 10 * time.Minute
	mostPending = 2000 // facts; beyond it the oldest are dropped, as the journal would drop them
)

// sampler collects what the machines show, for the samples journal and for the live values.
type sampler struct {
	journal *journal.Journal
	clock   *clock
	log     *slog.Logger
	known   map[string]*known                        // machines of the configuration, by device
	record  func(context.Context, record.Fact) error // writes a fact among the records

	mu      sync.Mutex // guards the fields below
	devices map[string]*shown
	pending []record.Fact
	dropped int // facts, since the journal last took any
	live    liveChanges
	thin    thinning
}

// shown is what a device shows. Its tags stand in the order in which it brought them first, which is
// nearly always that of the next poll too.
type shown struct {
	at    time.Time // when it was last heard
	scale bool      // an indicator, whose only tag is its weight
	wrote time.Time // when a sample of it was last taken for the journal
	tags  []*tag
}

// tag is the newest value of one tag of one device.
type tag struct {
	of      *shown
	said    device.Value // as the machine said it last; zero for a weight
	now     record.SampleValue
	written record.SampleValue // as the journal has it
	since   time.Time          // when it was written
	place   int                // in the picture that was sent last; -1: it is not in it
	dirty   bool               // changed since the live values were last sent
}

func newSampler(j *journal.Journal, c *clock, log *slog.Logger) *sampler {
	return &sampler{journal: j, clock: c, log: log, devices: map[string]*shown{}, live: newLiveChanges()}
}

// scan takes one poll of a machine. A value that the machine has said before costs a comparison.
func (s *sampler) scan(scan device.Scan) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.device(scan.Device)
	d.at = scan.At
	write := d.may(scan.At, s.thin.every)
	var changed []record.SampleValue
	for i, v := range scan.Values {
		t := d.tag(i, v.Tag)
		if t.said != v {
			t.said = v
			s.setValue(t, sampleOf(v))
		}
		if write && t.due(scan.At) {
			t.written, t.since = t.now, scan.At
			changed = append(changed, t.now)
		}
	}
	s.put(scan.Device, scan.At, changed)
}

// weight takes one frame of an indicator; the frames of a second make one sample.
func (s *sampler) weight(w device.Weight, u unit.Unit) {
	v := record.SampleValue{Tag: "weight", Unit: string(u), OK: w.HasValue}
	if w.Unit != unit.Unknown {
		v.Unit = string(w.Unit)
	}
	if w.HasValue {
		v.Value = w.Value.String()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.device(w.Device)
	d.at, d.scale = w.At, true
	s.setValue(d.tag(0, v.Tag), v)
}

func sampleOf(v device.Value) record.SampleValue {
	out := record.SampleValue{Tag: v.Tag, Text: v.Text, Unit: v.Unit, OK: v.OK}
	if v.OK && v.Text == "" {
		out.Value = v.Number.String()
	}
	return out
}

func (s *sampler) device(name string) *shown {
	d := s.devices[name]
	if d == nil {
		d = new(shown)
		s.devices[name] = d
	}
	return d
}

// tag finds a tag; at is where it stood in the poll.
func (d *shown) tag(at int, name string) *tag {
	if at < len(d.tags) && d.tags[at].now.Tag == name {
		return d.tags[at]
	}
	for _, t := range d.tags {
		if t.now.Tag == name {
			return t
		}
	}
	t := &tag{of: d, now: record.SampleValue{Tag: name}, place: -1}
	d.tags = append(d.tags, t)
	return t
}

// setValue takes the newest value of a tag. The caller holds mu.
func (s *sampler) setValue(t *tag, v record.SampleValue) {
	if t.now != v || t.place < 0 {
		if t.now != v && t.now != t.written {
			s.thin.leftOut++ // the value before it will not be written
		}
		t.now = v
		s.live.changed(t)
	}
}

// put lets the changed tags of a device wait for the journal. The caller holds mu.
func (s *sampler) put(dev string, at time.Time, changed []record.SampleValue) {
	if len(changed) > 0 {
		s.devices[dev].wrote = at
		s.pending = append(s.pending, s.fact(dev, at, changed))
	}
	s.trim()
}

// known is what the configuration says of a machine.
type known struct {
	kind, name, english string
	named               time.Time // the hour for which its name was said
}

// fact is a sample for the journal. The first of an hour says what people call the machine, so that
// who comes late learns it. The caller holds mu.
func (s *sampler) fact(dev string, at time.Time, values []record.SampleValue) record.Fact {
	body := &record.Sample{Values: values}
	if k := s.known[dev]; k != nil {
		body.Machine = k.kind
		if hour := at.Truncate(time.Hour); k.name != "" && !hour.Equal(k.named) {
			body.Name, body.English, k.named = k.name, k.english, hour
		}
	}
	return record.Fact{At: at, Device: dev, Body: body}
}

// trim drops the oldest of what waits for a journal that takes nothing. The caller holds mu.
func (s *sampler) trim() {
	if over := len(s.pending) - mostPending; over > 0 {
		s.pending, s.dropped = slices.Delete(s.pending, 0, over), s.dropped+over
	}
}

func (t *tag) due(at time.Time) bool { return t.now != t.written || at.Sub(t.since) >= repeatAfter }

// silence marks what a silent device showed as no longer known, at once: nothing may come after it.
func (s *sampler) silence(dev string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.devices[dev]
	if d == nil {
		return
	}
	d.at = at
	var gone []record.SampleValue
	for _, t := range d.tags {
		v := t.now
		v.OK, v.Value, v.Text = false, "", ""
		t.said = device.Value{}
		s.setValue(t, v)
		if t.due(at) {
			t.written, t.since = v, at
			gone = append(gone, v)
		}
	}
	s.put(dev, at, gone)
}

// run writes the samples down once a second until ctx ends.
func (s *sampler) run(ctx context.Context) error {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	adjust := time.NewTicker(adjustEvery)
	defer adjust.Stop()
	healthy := true
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-adjust.C:
			s.adjustThinning(ctx)
			continue
		case <-tick.C:
		}
		err := s.flush()
		if (err == nil) != healthy {
			healthy = err == nil
			if healthy {
				s.log.Info("samples are written again", "dropped", s.takeDropped())
			} else {
				s.log.Error("samples are not written", "err", err)
			}
		}
	}
}

// takeDropped returns how many facts were dropped, and begins to count anew.
func (s *sampler) takeDropped() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.dropped
	s.dropped = 0
	return n
}

// flush writes down what waits, as much at a time as the journal takes.
func (s *sampler) flush() error {
	s.mu.Lock()
	for _, dev := range slices.Sorted(maps.Keys(s.devices)) {
		d := s.devices[dev]
		if !d.scale {
			continue
		}
		if t := d.tags[0]; d.may(d.at, s.thin.every) && t.due(d.at) {
			d.wrote = d.at
			t.written, t.since = t.now, d.at
			s.pending = append(s.pending, s.fact(dev, d.at, []record.SampleValue{t.now}))
		}
	}
	facts := s.pending
	s.pending = nil
	s.mu.Unlock()
	for len(facts) > 0 {
		n := min(len(facts), journal.MaxFacts)
		written, err := s.journal.Append(s.clock.state(), facts[:n]...)
		s.mu.Lock()
		s.thin.wrote(written)
		s.mu.Unlock()
		if err != nil {
			s.mu.Lock()
			s.pending = append(facts, s.pending...)
			s.trim()
			s.mu.Unlock()
			return err
		}
		facts = facts[n:]
	}
	return nil
}
