package telemetry_test

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"steelyard/cloud/telemetry"
	"steelyard/internal/chain"
	"steelyard/internal/record"
	"steelyard/internal/wire"
)

// batchOf makes a batch as ingest hands it over; the chain and the signature are ingest's matter.
func batchOf(t testing.TB, site string, first uint64, bodies ...any) *wire.Batch {
	t.Helper()
	b := &wire.Batch{Header: wire.Header{V: wire.Version, Site: site, Journal: journal, Stream: wire.Samples, First: first}}
	for i, body := range bodies {
		e := wire.Entry{Site: site, Journal: journal, N: first + uint64(i), At: start.Add(time.Duration(i) * time.Second),
			Clock: wire.Synced, Kind: record.KindSample, Device: "baler-1", Prev: chain.Hash{}}
		switch body := body.(type) {
		case string:
			e.Body = []byte(body)
		case record.Body:
			var err error
			if e.Body, err = wire.EncodeBody(body); err != nil {
				t.Fatal(err)
			}
			e.Kind = body.Kind()
		}
		b.Entries = append(b.Entries, e)
	}
	b.Last = first + uint64(len(bodies)) - 1
	return b
}

func numeric(tag, value, unit string) record.SampleValue {
	return record.SampleValue{Tag: tag, Value: value, Unit: unit, OK: true}
}

func TestRecorder(t *testing.T) {
	h := historyAt(t, filepath.Join(t.TempDir(), "history.db"))
	r := telemetry.NewRecorder(h, 4, logger(t))
	batches := []*wire.Batch{
		batchOf(t, "a", 1,
			&record.Opened{Key: "k"},
			&record.Sample{Values: []record.SampleValue{
				numeric("motor_current", "12.50", "A"), numeric("motor_current", "99", "A"), // the same tag again
				numeric("bad value", "1", "A"), numeric("rate", "NaN", ""), numeric("rate", "1e3", ""), numeric("rate", "", ""),
				{Tag: "state", Text: "running", OK: true}, {Tag: "oil", OK: false}, {Tag: "oil", Value: "3", OK: false},
				{Tag: "text", Text: "two\nlines", OK: true},
			}},
			&record.Gap{Journal: journal, From: 1, To: 2, Reason: "thinned"},
			"not json", `{"values":17}`, `{}`,
			&record.Sample{Values: []record.SampleValue{numeric("motor_current", "13.5", "A"), numeric("one", "1", "°C"), numeric("two", "2", ""), numeric("three", "3", "")}},
		),
		batchOf(t, "b", 1, &record.Sample{Values: []record.SampleValue{numeric("motor_current", "-0.5", "A")}}),
	}
	for range 2 {
		if err := r.Samples(t.Context(), batches); err != nil {
			t.Fatal(err)
		}
	}
	c := r.Counts()
	why := c.Why
	c.Why = ""
	same(t, c, telemetry.Counts{Taken: 12, Absent: 4, Bad: 2 * 9})
	if !strings.Contains(why, "entry") {
		t.Errorf("the reason %q does not name the entry", why)
	}
	series, err := h.Series(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	var tags []string
	for _, s := range series {
		tags = append(tags, s.Tag)
	}
	same(t, tags, []string{"motor_current", "one", "state", "two"}) // "three" is one too many
	if got := curve(t, h, "a", start, time.Minute, time.Minute); len(got) != 1 || got[0].Mean != 13 || got[0].Count != 2 {
		t.Errorf("got %+v", got)
	}

	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.Samples(t.Context(), batches); err == nil {
		t.Error("a store that is gone takes samples: a receipt would follow")
	}
	if got := r.Counts().Taken; got != 12 {
		t.Errorf("taken %d, want 12: nothing was", got)
	}
	if err := r.Samples(t.Context(), nil); err != nil {
		t.Errorf("no batches: %v", err)
	}
}

// TestRecorderOutage: the error of a store that is down reaches ingest, with the pause.
func TestRecorderOutage(t *testing.T) {
	s := script(t, answer(503, "Retry-After: 9", ""))
	r := telemetry.NewRecorder(scriptedStore(t, s.URL, patience), 0, logger(t))
	batch := batchOf(t, "a", 1, &record.Sample{Values: []record.SampleValue{numeric("rate", "1", "")}})
	err := r.Samples(t.Context(), []*wire.Batch{batch})
	if got := telemetry.RetryAfter(err); got != 9*time.Second {
		t.Errorf("got %v, want a pause of 9 s", err)
	}
	if errors.Is(err, t.Context().Err()) && t.Context().Err() != nil {
		t.Error(err)
	}
}

// FuzzSample: the fast decoder and the general one agree on everything.
func FuzzSample(f *testing.F) {
	for _, body := range []string{
		`{"values":[{"tag":"a","value":"1.5","text":"","unit":"A","ok":true}]}`,
		`{"values":[{"tag":"a","value":"1.5","text":"","unit":"A","ok":true},{"tag":"b","value":"","text":"x","unit":"","ok":false}]}`,
		`{"values":[{"tag":"a","value":"1\u0031","text":"停","unit":"°C","ok":true}]}`,
		`{"machine":"belt","name":"1号皮带秤","english":"Belt 1","values":[{"tag":"a","value":"1.5","text":"","unit":"t/h","ok":true}]}`,
		`{"machine":"belt","english":"Belt 1","values":[{"tag":"a","value":"1.5","text":"","unit":"t/h","ok":true}]}`,
		`{"name":"a","machine":"belt","values":[{"tag":"a","value":"1.5","text":"","unit":"t/h","ok":true}]}`,
		`{"values":[]}`, `{"values":null}`, `{}`, `{"values":[{"tag":"a"}]}`, `{"values":[{"tag":"a\"","value":"}]}`, `{"values":[,]}`,
		`{"values":[{"tag":"a","value":"1.5","text":"","unit":"A","ok":true},]}`, `{"values":[{"tag":"a","value":"1.5","text":"","unit":"A","ok":true}]} `,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		fast, ok := telemetry.FastDecode(body)
		if !ok {
			return
		}
		var general record.Sample
		if err := json.Unmarshal(body, &general); err != nil {
			t.Fatalf("%q: the fast decoder takes what is no JSON: %v", body, err)
		}
		same(t, fast, general)
	})
}
