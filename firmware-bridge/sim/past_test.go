package sim_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"steelyard/firmware-bridge/sim"
)

// A lorry that an edge never lets weigh ends a past, and does not hold it up for ever.
func TestPastEndsWithoutAnEdge(t *testing.T) {
	edge := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"decks":[]}`)) }))
	defer edge.Close()
	from := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	site, err := sim.Open(t.Context(), sim.SiteConfig{Name: "xinhua-1", Dir: t.TempDir(), Seed: 1, Weighbridges: 1, Belts: 1, Balers: 1, Past: from})
	if err != nil {
		t.Fatal(err)
	}
	frames, polls := 0, 0
	err = site.Live(t.Context(), sim.Past{To: from.Add(20 * time.Minute), Edge: edge.URL,
		Frame: func(_ string, at time.Time, _ []byte) error {
			if frames++; !at.Equal(from.Add(time.Duration(frames) * 100 * time.Millisecond)) {
				t.Errorf("frame %d at %v", frames, at)
			}
			return nil
		},
		Poll: func(string, time.Time, []uint16) error { polls++; return nil }})
	if err == nil || !strings.Contains(err.Error(), "did not end in time") {
		t.Errorf("got %v", err)
	}
	if frames != 12_000 || polls != 2*80 {
		t.Errorf("%d frames and %d polls", frames, polls)
	}
	if err := site.Close(); err != nil {
		t.Error(err)
	}
	events, err := sim.ReadTruth(site.Truth())
	if err != nil || len(events) == 0 {
		t.Fatal(len(events), err)
	}
	for _, e := range events {
		if at := time.UnixMicro(e.AtUS); at.Before(from) || at.After(from.Add(20*time.Minute)) {
			t.Errorf("%+v", e)
		}
	}
}
