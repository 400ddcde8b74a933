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
	"steelyard/internal/wire"
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
	kinds   map[string]string // of the machines, by device

	mu      sync.Mutex // guards the fields below
	tags    map[string]map[string]*tag
	pending []record.Fact
	dropped int // facts, since the journal last took any
}

// tag is the newest value of one tag of one device.
type tag struct {
	now     record.SampleValue
	at      time.Time
	written record.SampleValue // as the journal has it
	since   time.Time          // when it was written
}

func newSampler(j *journal.Journal, c *clock, log *slog.Logger) *sampler {
	return &sampler{journal: j, clock: c, log: log, tags: map[string]map[string]*tag{}}
}

// scan takes one poll of a machine.
func (s *sampler) scan(scan device.Scan) {
	values := make([]record.SampleValue, 0, len(scan.Values))
	for _, v := range scan.Values {
		values = append(values, sampleOf(v))
	}
	s.take(scan.Device, scan.At, values)
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
	t := s.tag(w.Device, v.Tag)
	t.now, t.at = v, w.At
}

func sampleOf(v device.Value) record.SampleValue {
	out := record.SampleValue{Tag: v.Tag, Text: v.Text, Unit: v.Unit, OK: v.OK}
	if v.OK && v.Text == "" {
		out.Value = v.Number.String()
	}
	return out
}

func (s *sampler) tag(dev, name string) *tag {
	if s.tags[dev] == nil {
		s.tags[dev] = map[string]*tag{}
	}
	if s.tags[dev][name] == nil {
		s.tags[dev][name] = new(tag)
	}
	return s.tags[dev][name]
}

func (s *sampler) take(dev string, at time.Time, values []record.SampleValue) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var changed []record.SampleValue
	for _, v := range values {
		t := s.tag(dev, v.Tag)
		t.now, t.at = v, at
		if t.due(at) {
			t.written, t.since = v, at
			changed = append(changed, v)
		}
	}
	if len(changed) > 0 {
		s.pending = append(s.pending, record.Fact{At: at, Device: dev, Body: &record.Sample{Machine: s.kinds[dev], Values: changed}})
	}
	s.trim()
}

// trim drops the oldest of what waits for a journal that takes nothing. The caller holds mu.
func (s *sampler) trim() {
	if over := len(s.pending) - mostPending; over > 0 {
		s.pending, s.dropped = slices.Delete(s.pending, 0, over), s.dropped+over
	}
}

func (t *tag) due(at time.Time) bool { return t.now != t.written || at.Sub(t.since) >= repeatAfter }

// silence marks what a silent device showed as no longer known.
func (s *sampler) silence(dev string, at time.Time) {
	s.mu.Lock()
	var gone []record.SampleValue
	for _, t := range s.tags[dev] {
		v := t.now
		v.OK, v.Value, v.Text = false, "", ""
		gone = append(gone, v)
	}
	s.mu.Unlock()
	slices.SortFunc(gone, func(a, b record.SampleValue) int { return cmpString(a.Tag, b.Tag) })
	s.take(dev, at, gone)
}

func cmpString(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// run writes the samples down once a second until ctx ends.
func (s *sampler) run(ctx context.Context) error {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	healthy := true
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		err := s.flush()
		if (err == nil) != healthy {
			healthy = err == nil
			if healthy {
				s.log.Info("samples are written again", "dropped", s.took())
			} else {
				s.log.Error("samples are not written", "err", err)
			}
		}
	}
}

// took gives how many facts were dropped, and forgets it.
func (s *sampler) took() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.dropped
	s.dropped = 0
	return n
}

// flush writes down what waits, as much at a time as the journal takes.
func (s *sampler) flush() error {
	s.mu.Lock()
	for _, dev := range slices.Sorted(maps.Keys(s.tags)) {
		if t := s.tags[dev]["weight"]; t != nil && t.due(t.at) {
			t.written, t.since = t.now, t.at
			s.pending = append(s.pending, record.Fact{At: t.at, Device: dev, Body: &record.Sample{Machine: s.kinds[dev], Values: []record.SampleValue{t.now}}})
		}
	}
	facts := s.pending
	s.pending = nil
	s.mu.Unlock()
	for len(facts) > 0 {
		n := min(len(facts), journal.MaxFacts)
		if _, err := s.journal.Append(s.clock.state(), facts[:n]...); err != nil {
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

// live is the newest of everything.
func (s *sampler) live(site string, now time.Time) wire.Live {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := wire.Live{Site: site, AtMS: now.UnixMilli(), Values: []wire.LiveValue{}}
	for _, dev := range slices.Sorted(maps.Keys(s.tags)) {
		for _, name := range slices.Sorted(maps.Keys(s.tags[dev])) {
			t := s.tags[dev][name]
			l.Values = append(l.Values, wire.LiveValue{Device: dev, Tag: name, Value: t.now.Value, Text: t.now.Text,
				Unit: t.now.Unit, OK: t.now.OK, AgeMS: max(0, now.Sub(t.at).Milliseconds())})
		}
	}
	return l
}
