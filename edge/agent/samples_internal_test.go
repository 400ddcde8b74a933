package agent

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"steelyard/edge/journal"
	"steelyard/firmware-bridge/device"
	"steelyard/internal/record"
	"steelyard/internal/unit"
	"steelyard/internal/wire"
)

var noon = time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC)

// newTestSampler writes into a journal of its own.
func newTestSampler(t *testing.T) (*sampler, string) {
	t.Helper()
	dir := t.TempDir()
	j, err := journal.Open(journal.Options{Dir: dir, Site: "xinhua-1", Stream: wire.Samples})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	return newSampler(j, newClock(), slog.New(slog.NewTextHandler(t.Output(), nil))), dir
}

// written are the samples in the journal, one line for each value.
func (s *sampler) lines(t *testing.T) (all []string) {
	t.Helper()
	for stored, err := range s.journal.After(0) {
		if err != nil {
			t.Fatal(err)
		}
		body, err := stored.Entry.Decode()
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range body.(*record.Sample).Values {
			all = append(all, fmt.Sprintf("%s %s %s=%s%s %v", stored.Entry.At.Sub(noon), stored.Entry.Device, v.Tag, v.Value, v.Text, v.OK))
		}
	}
	return all
}

func (s *sampler) mustFlush(t *testing.T) {
	t.Helper()
	if err := s.flush(); err != nil {
		t.Fatal(err)
	}
}

func scanOf(at time.Duration, values ...device.Value) device.Scan {
	return device.Scan{Device: "belt-1", At: noon.Add(at), Values: values}
}

func number(tag string, n int64) device.Value {
	return device.Value{Tag: tag, Number: unit.Decimal{Coef: n}, OK: true}
}

func TestSamplesAreReportedByException(t *testing.T) {
	s, _ := newTestSampler(t)
	word := device.Value{Tag: "state", Text: "running", OK: true}
	s.scan(scanOf(0, number("rate", 40), word))
	s.scan(scanOf(time.Second, number("rate", 40), word))
	s.scan(scanOf(2*time.Second, number("rate", 41), word))
	s.mustFlush(t)
	s.scan(scanOf(3*time.Second, number("rate", 41), word))
	s.scan(scanOf(repeatAfter, number("rate", 41), word)) // late comers learn what stands still
	s.mustFlush(t)
	s.mustFlush(t)
	want := []string{"0s belt-1 rate=40 true", "0s belt-1 state=running true", "2s belt-1 rate=41 true", "10m0s belt-1 state=running true"}
	if diff := cmp.Diff(want, s.lines(t)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestFramesOfASecondMakeOneSample(t *testing.T) {
	s, _ := newTestSampler(t)
	weight := func(at time.Duration, kg int64, known bool) {
		s.weight(device.Weight{Device: "weighbridge-1", At: noon.Add(at), Value: unit.Decimal{Coef: kg}, HasValue: known}, unit.KG)
	}
	for i := range int64(20) {
		weight(time.Duration(i)*50*time.Millisecond, 100*i, true)
	}
	s.mustFlush(t)
	weight(1100*time.Millisecond, 1900, true)
	s.mustFlush(t)
	weight(2*time.Second, 0, false)
	s.mustFlush(t)
	want := []string{"950ms weighbridge-1 weight=1900 true", "2s weighbridge-1 weight= false"}
	if diff := cmp.Diff(want, s.lines(t)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestSilenceMakesValuesUnknown(t *testing.T) {
	s, _ := newTestSampler(t)
	s.scan(scanOf(0, number("rate", 40), device.Value{Tag: "state", Text: "running", OK: true}))
	s.silence("belt-1", noon.Add(5*time.Second))
	s.silence("belt-1", noon.Add(6*time.Second)) // and says so once
	s.silence("belt-9", noon.Add(6*time.Second)) // of which nothing was ever known
	s.mustFlush(t)
	for _, v := range s.picture(noon.Add(7*time.Second), false) {
		if v.OK || v.Value != "" || v.Text != "" || v.AgeMS != 1000 {
			t.Errorf("live shows %+v", v)
		}
	}
	s.scan(scanOf(9*time.Second, number("rate", 40)))
	s.mustFlush(t)
	want := []string{"0s belt-1 rate=40 true", "0s belt-1 state=running true", "5s belt-1 rate= false", "5s belt-1 state= false", "9s belt-1 rate=40 true"}
	if diff := cmp.Diff(want, s.lines(t)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestSamplesOfAnOutageAreWrittenAfterIt: more than one Append takes has piled up while the journal
// took nothing; what was too much is dropped, the oldest first, and counted.
func TestSamplesOfAnOutageAreWrittenAfterIt(t *testing.T) {
	s, dir := newTestSampler(t)
	// A file in the place of the folder where segments are made.
	folder := filepath.Join(dir, s.journal.ID())
	if err := os.Rename(folder, folder+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(folder, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const changes = mostPending + 300
	for i := range changes {
		s.scan(scanOf(time.Duration(i)*time.Second, number("rate", int64(i))))
		if i%700 == 0 {
			if err := s.flush(); err == nil {
				t.Fatal("the journal took samples without a folder")
			}
		}
	}
	if err := os.Remove(folder); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(folder+".away", folder); err != nil {
		t.Fatal(err)
	}
	s.mustFlush(t)
	if got := s.takeDropped(); got != 300 {
		t.Errorf("%d facts were dropped, want 300", got)
	}
	got := s.lines(t)
	if want := "5m0s belt-1 rate=300 true"; len(got) != mostPending || got[0] != want || !slices.IsSorted(lengths(got)) {
		t.Errorf("got %d values from %s, want %d from %s, in order", len(got), got[0], mostPending, want)
	}
}

// lengths grow with the number in a line.
func lengths(lines []string) (all []int64) {
	for _, l := range lines {
		var at, dev string
		var n int64
		_, _ = fmt.Sscanf(l, "%s %s rate=%d", &at, &dev, &n)
		all = append(all, n)
	}
	return all
}
