package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"

	"steelyard/internal/record"
	"steelyard/internal/unit"
	"steelyard/internal/wire"
)

// Recorder brings the batches of the samples stream into a store.
type Recorder struct {
	store Store
	most  int
	log   *slog.Logger

	mu     sync.Mutex
	counts Counts
	series map[string]map[seriesName]struct{} // by site: what has been seen since the start
	told   map[string]bool                    // sites whose bad values have been logged
}

type seriesName struct{ device, tag string }

// Counts says what became of the values since the start.
type Counts struct {
	Taken  int64  // in the store, sent again included
	Absent int64  // the machine gave no valid value: a gap in the curve, as it should be
	Bad    int64  // left out: not a number, not a name, or one series too many
	Why    string // the newest reason for Bad
}

// NewRecorder makes a recorder. A site may bring up to most series (0 means 10,000): a store is
// harmed more by names without end than by points without end.
func NewRecorder(store Store, most int, log *slog.Logger) *Recorder {
	if most == 0 {
		most = 10_000
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Recorder{store: store, most: most, log: log,
		series: map[string]map[seriesName]struct{}{}, told: map[string]bool{}}
}

// Samples puts the samples of the batches into the store. Only when it returns nil may a receipt
// follow; on an error the edges' journals keep what was not taken, and the same batches may come
// again. Values that can't be kept are counted and never hold up the others.
func (r *Recorder) Samples(ctx context.Context, batches []*wire.Batch) error {
	points, counts := r.points(batches)
	if len(points) > 0 {
		if err := r.store.Put(ctx, points); err != nil {
			return fmt.Errorf("samples: %w", err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts.Taken += int64(len(points))
	r.counts.Absent += counts.Absent
	r.counts.Bad += counts.Bad
	if counts.Why != "" {
		r.counts.Why = counts.Why
	}
	return nil
}

// Counts says what became of the values since the start.
func (r *Recorder) Counts() Counts {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts
}

func (r *Recorder) points(batches []*wire.Batch) ([]Point, Counts) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var counts Counts
	var points []Point
	bad := func(e *wire.Entry, err error) {
		counts.Bad++
		counts.Why = fmt.Sprintf("%s entry %d: %v", e.Site, e.N, err)
		if !r.told[e.Site] {
			r.told[e.Site] = true
			r.log.Warn("sample values left out, counted from here on", "site", e.Site, "number", e.N, "device", e.Device, "err", err)
		}
	}
	for _, b := range batches {
		for i := range b.Entries {
			e := &b.Entries[i]
			if e.Kind != record.KindSample {
				continue // opened and gap belong to the stream, not to a curve
			}
			sample, err := decodeSample(e.Body)
			if err != nil {
				bad(e, err)
				continue
			}
			from := len(points)
			for _, v := range sample.Values {
				if !v.OK {
					counts.Absent++
					continue
				}
				p, err := pointOf(e, v)
				if err == nil {
					err = twice(points[from:], p.Tag)
				}
				if err == nil {
					err = r.known(e.Site, seriesName{e.Device, v.Tag})
				}
				if err != nil {
					bad(e, err)
					continue
				}
				points = append(points, p)
			}
		}
	}
	return points, counts
}

// known bounds the series of a site.
func (r *Recorder) known(site string, name seriesName) error {
	names := r.series[site]
	if names == nil {
		names = map[seriesName]struct{}{}
		r.series[site] = names
	}
	if _, ok := names[name]; ok {
		return nil
	}
	if len(names) >= r.most {
		return fmt.Errorf("tag %s of %s: site has more than %d series", name.tag, name.device, r.most)
	}
	names[name] = struct{}{}
	return nil
}

func pointOf(e *wire.Entry, v record.SampleValue) (Point, error) {
	p := Point{Site: e.Site, Device: e.Device, Tag: v.Tag, Journal: e.Journal, N: e.N,
		AtMS: e.At.UnixMilli(), Text: v.Text, Unit: v.Unit}
	if v.Value != "" {
		d, err := unit.ParseDecimal(v.Value)
		if err != nil {
			return p, fmt.Errorf("tag %.40q: %w", v.Tag, err)
		}
		p.Value, p.Numeric = d, true
	}
	return p, p.Check()
}

// twice refuses a second value for one tag in one sample: it would overwrite the first.
func twice(before []Point, tag string) error {
	for i := range before {
		if before[i].Tag == tag {
			return fmt.Errorf("tag %s occurs twice in one sample", tag)
		}
	}
	return nil
}

// decodeSample reads a sample's body. An edge writes one form only, which is read here without
// reflection since there are very many; everything else goes to the general reader.
func decodeSample(body []byte) (record.Sample, error) {
	if s, ok := quickSample(body); ok {
		return s, nil
	}
	var s record.Sample
	if err := json.Unmarshal(body, &s); err != nil {
		return s, fmt.Errorf("sample: %w", err)
	}
	return s, nil
}

func quickSample(body []byte) (s record.Sample, ok bool) {
	q := quick{rest: body}
	q.expect(`{"values":[`)
	s.Values = make([]record.SampleValue, 0, 1+bytes.Count(body, []byte("},{")))
	for !q.failed {
		var v record.SampleValue
		q.expect(`{"tag":"`)
		v.Tag = q.text()
		q.expect(`,"value":"`)
		v.Value = q.text()
		q.expect(`,"text":"`)
		v.Text = q.text()
		q.expect(`,"unit":"`)
		v.Unit = q.text()
		if q.starts(`,"ok":true}`) {
			v.OK = true
		} else {
			q.expect(`,"ok":false}`)
		}
		s.Values = append(s.Values, v)
		if !q.starts(",") {
			break
		}
	}
	q.expect(`]}`)
	return s, !q.failed && len(q.rest) == 0
}

// quick reads the one canonical form and fails on anything that needs thought.
type quick struct {
	rest   []byte
	failed bool
}

func (q *quick) starts(text string) bool {
	if q.failed || len(q.rest) < len(text) || string(q.rest[:len(text)]) != text {
		return false
	}
	q.rest = q.rest[len(text):]
	return true
}

func (q *quick) expect(text string) { q.failed = q.failed || !q.starts(text) }

// text reads up to the closing quote: printable ASCII without escapes.
func (q *quick) text() string {
	if q.failed {
		return ""
	}
	for i, c := range q.rest {
		if c == '"' {
			text := string(q.rest[:i])
			q.rest = q.rest[i+1:]
			return text
		}
		if c < ' ' || c > '~' || c == '\\' {
			break
		}
	}
	q.failed = true
	return ""
}
