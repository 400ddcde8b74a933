package telemetry

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"unicode/utf8"

	"steelyard/internal/record"
	"steelyard/internal/wire"
)

// Recorder brings the batches of the samples stream into a store.
type Recorder struct {
	store     Store
	maxSeries int
	log       *slog.Logger

	mu       sync.Mutex
	counts   Counts
	machines map[machineKey]*machine
	series   map[string]int  // of a site, seen since the start
	logged   map[string]bool // sites whose bad values have been logged
}

type machineKey struct{ site, device string }

// machine is what has been seen of one machine since the start: its tags, each with the last sample
// that it was in.
type machine struct {
	samples uint64
	tags    map[string]uint64
}

// seriesName is a tag of a device.
type seriesName struct{ device, tag string }

// Counts says what became of the values since the start.
type Counts struct {
	Taken  int64  // in the store, sent again included
	Absent int64  // the machine gave no valid value: a gap in the curve, as it should be
	Bad    int64  // left out: not a number, not a name, or one series too many
	Why    string // the newest reason for Bad
}

// NewRecorder makes a recorder. A site may bring up to maxSeries series (0 means 10,000): a store is
// harmed more by names without end than by points without end.
func NewRecorder(store Store, maxSeries int, log *slog.Logger) *Recorder {
	if maxSeries == 0 {
		maxSeries = 10_000
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Recorder{store: store, maxSeries: maxSeries, log: log,
		machines: map[machineKey]*machine{}, series: map[string]int{}, logged: map[string]bool{}}
}

// Samples puts the samples of the batches into the store. Only when it returns nil may a receipt
// follow; on an error the edges' journals keep what was not taken, and the same batches may come
// again. Values that can't be kept are counted and never hold up the others.
func (r *Recorder) Samples(ctx context.Context, batches []*wire.Batch) error {
	samples, counts := r.samples(batches)
	if len(samples) > 0 {
		if err := r.store.Put(ctx, samples); err != nil {
			return fmt.Errorf("samples: %w", err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts.Taken += counts.Taken
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

func (r *Recorder) samples(batches []*wire.Batch) ([]Sample, Counts) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var counts Counts
	count := 0
	for _, b := range batches {
		count += len(b.Entries)
	}
	samples := make([]Sample, 0, count)
	bad := func(e *wire.Entry, err error) {
		counts.Bad++
		counts.Why = fmt.Sprintf("%s entry %d: %v", e.Site, e.N, err)
		if !r.logged[e.Site] {
			r.logged[e.Site] = true
			r.log.Warn("sample values left out, counted from here on", "site", e.Site, "number", e.N, "device", e.Device, "err", err)
		}
	}
	for _, b := range batches {
		for i := range b.Entries {
			e := &b.Entries[i]
			if e.Kind != record.KindSample {
				continue // opened and gap belong to the stream, not to a curve
			}
			body, err := decodeSample(e.Body)
			if err != nil {
				bad(e, err)
				continue
			}
			s := Sample{Site: e.Site, Device: e.Device, Machine: body.Machine, Name: body.Name, English: body.English, Journal: e.Journal, N: e.N, AtMS: e.At.UnixMilli(), checked: true}
			if err := s.checkHead(); err != nil {
				bad(e, err)
				continue
			}
			m := r.machine(machineKey{e.Site, e.Device})
			m.samples++
			kept := body.Values[:0]
			for k := range body.Values {
				v := &body.Values[k]
				if !v.OK {
					counts.Absent++
					continue
				}
				if err := r.value(e.Site, m, v); err != nil {
					bad(e, err)
					continue
				}
				kept = append(kept, *v)
			}
			if s.Values = kept; len(kept) > 0 {
				samples = append(samples, s)
				counts.Taken += int64(len(kept))
			} else if len(m.tags) == 0 {
				delete(r.machines, machineKey{e.Site, e.Device})
			}
		}
	}
	return samples, counts
}

func (r *Recorder) machine(key machineKey) *machine {
	m := r.machines[key]
	if m == nil {
		m = &machine{tags: map[string]uint64{}}
		r.machines[key] = m
	}
	return m
}

// value checks one value of the machine's present sample. A second value for one tag in one sample
// would overwrite the first, and names without end would fill the store.
func (r *Recorder) value(site string, m *machine, v *record.SampleValue) error {
	field := fieldOf(v.Tag)
	last, known := m.tags[field]
	if !known {
		if err := checkTag(v.Tag); err != nil {
			return err
		}
	}
	if last == m.samples {
		return fmt.Errorf("tag %s occurs twice in one sample", v.Tag)
	}
	if err := checkValue(v); err != nil {
		return err
	}
	if !known {
		if r.series[site] >= r.maxSeries {
			return fmt.Errorf("tag %s: site has more than %d series", v.Tag, r.maxSeries)
		}
		r.series[site]++
		field = strings.Clone(field) // it is a part of the sample's text
	}
	m.tags[field] = m.samples
	return nil
}

// decodeSample reads a sample's body. An edge writes one form only, which is read here without
// reflection since there are very many; everything else goes to the general reader.
func decodeSample(body []byte) (record.Sample, error) {
	if s, ok := fastDecode(string(body)); ok {
		return s, nil
	}
	var s record.Sample
	if err := json.Unmarshal(body, &s); err != nil {
		return s, fmt.Errorf("sample: %w", err)
	}
	return s, nil
}

// fastDecode reads a body; what it returns is cut out of the body's own text.
func fastDecode(body string) (s record.Sample, ok bool) {
	d := fastDecoder{rest: body}
	d.expect("{")
	for _, said := range []struct {
		key  string
		text *string
	}{{`"machine":"`, &s.Machine}, {`"name":"`, &s.Name}, {`"english":"`, &s.English}} {
		if d.starts(said.key) {
			*said.text = d.text()
			d.expect(",")
		}
	}
	d.expect(`"values":[`)
	s.Values = make([]record.SampleValue, 0, 1+strings.Count(body, "},{"))
	for !d.failed {
		var v record.SampleValue
		d.expect(`{"tag":"`)
		v.Tag = d.text()
		d.expect(`,"value":"`)
		v.Value = d.text()
		d.expect(`,"text":"`)
		v.Text = d.text()
		d.expect(`,"unit":"`)
		v.Unit = d.text()
		if d.starts(`,"ok":true}`) {
			v.OK = true
		} else {
			d.expect(`,"ok":false}`)
		}
		s.Values = append(s.Values, v)
		if !d.starts(",") {
			break
		}
	}
	d.expect(`]}`)
	return s, !d.failed && d.rest == "" && utf8.ValidString(body)
}

// fastDecoder reads the one canonical form and fails on anything that needs thought.
type fastDecoder struct {
	rest   string
	failed bool
}

func (d *fastDecoder) starts(text string) bool {
	if d.failed || !strings.HasPrefix(d.rest, text) {
		return false
	}
	d.rest = d.rest[len(text):]
	return true
}

func (d *fastDecoder) expect(text string) { d.failed = d.failed || !d.starts(text) }

// text reads up to the closing quote: printable text without escapes.
func (d *fastDecoder) text() string {
	if d.failed {
		return ""
	}
	for i := range len(d.rest) {
		c := d.rest[i]
		if c == '"' {
			text := d.rest[:i]
			d.rest = d.rest[i+1:]
			return text
		}
		if c < ' ' || c == '\\' {
			break
		}
	}
	d.failed = true
	return ""
}
