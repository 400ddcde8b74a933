package agent

import (
	"slices"
	"testing"
	"time"

	"steelyard/internal/record"
)

// A machine's name is said with its first sample of every hour, whichever tag changed, and no more.
func TestMachineIsNamedOnceAnHour(t *testing.T) {
	s, _ := newTestSampler(t)
	s.known = map[string]*known{"belt-1": {kind: record.BeltScale, name: "1号皮带秤", english: "Belt 1"}}
	for i, at := range []time.Duration{0, time.Second, 59 * time.Minute, time.Hour, time.Hour + time.Minute, 26 * time.Hour} {
		s.scan(scanOf(at, number("rate", int64(i))))
	}
	s.mustFlush(t)
	var named []time.Duration
	for stored, err := range s.journal.After(0) {
		if err != nil {
			t.Fatal(err)
		}
		body, err := stored.Entry.Decode()
		if err != nil {
			t.Fatal(err)
		}
		sample := body.(*record.Sample)
		if sample.Machine != record.BeltScale {
			t.Errorf("kind %q", sample.Machine)
		}
		if sample.Name != "" {
			named = append(named, stored.Entry.At.Sub(noon))
			if sample.Name != "1号皮带秤" || sample.English != "Belt 1" {
				t.Errorf("named %q, %q", sample.Name, sample.English)
			}
		}
	}
	if want := []time.Duration{0, time.Hour, 26 * time.Hour}; !slices.Equal(named, want) {
		t.Errorf("named after %v, want %v", named, want)
	}
}
