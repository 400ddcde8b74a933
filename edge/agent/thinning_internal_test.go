package agent

import (
	"context"
	"fmt"
	"testing"
	"time"

	"steelyard/firmware-bridge/device"
	"steelyard/internal/record"
	"steelyard/internal/unit"
)

// shift runs a plant through some time of its own clock, polled each second. It gives what the samples
// write in each minute, by the thinning's count, and the facts about it. saved is what there is to spend
// at the start.
func shift(t *testing.T, daily, saved int64, lasts time.Duration, change func(at time.Duration) bool) (minutes []int64, facts []record.Thinning, s *sampler) {
	t.Helper()
	s, _ = newTestSampler(t)
	s.thin = newThinning(daily)
	s.thin.saved = saved
	s.record = func(_ context.Context, f record.Fact) error {
		facts = append(facts, *f.Body.(*record.Thinning))
		return nil
	}
	n := int64(0)
	for at := time.Second; at <= lasts; at += time.Second {
		if change(at) {
			n++
		}
		for d := range 20 {
			scan := device.Scan{Device: fmt.Sprint("belt-", d), At: noon.Add(at)}
			for i := range 40 {
				scan.Values = append(scan.Values, device.Value{Tag: fmt.Sprint("tag-", i), Number: unit.Decimal{Coef: n + int64(i)}, OK: true})
			}
			s.scan(scan)
		}
		s.mustFlush(t)
		if at%adjustEvery == 0 {
			minutes = append(minutes, s.thin.spent)
			s.adjustThinning(t.Context())
		}
	}
	return minutes, facts, s
}

func always(time.Duration) bool { return true }

const testDaily = 1 << 30 // half of what the plant of these tests writes, or less

// TestBusySiteKeepsItsBudget: everything changes at each poll. What is written fits the budget soon, a
// record says how seldom it is, and the journal goes on with the newest values. Without a budget, the
// negative control, several times as much is written.
func TestBusySiteKeepsItsBudget(t *testing.T) {
	const lasts = 15 * time.Minute
	each := int64(testDaily / minutesADay)
	minutes, facts, s := shift(t, testDaily, 0, lasts, always)
	unbound, none, _ := shift(t, 0, 0, 2*time.Minute, always)
	t.Logf("a budget of %d KiB a minute: %d with it, %d without", each>>10, minutes, unbound)
	for _, n := range minutes[8:] {
		if n > each {
			t.Errorf("%d bytes in a minute, want %d at most: %d", n, each, minutes)
			break
		}
	}
	if len(none) != 0 || unbound[1] < 3*each {
		t.Errorf("without a budget %d bytes and %d facts: the test proves nothing", unbound[1], len(none))
	}
	if len(facts) == 0 || facts[len(facts)-1].EveryMS < 3000 || facts[len(facts)-1].LeftOut == 0 || facts[0].Daily != testDaily {
		t.Fatalf("facts: %+v", facts)
	}
	// The newest is never older than the pause.
	newest := map[string]time.Duration{}
	for stored, err := range s.journal.After(0) {
		if err != nil {
			t.Fatal(err)
		}
		newest[stored.Entry.Device] = max(newest[stored.Entry.Device], stored.Entry.At.Sub(noon))
	}
	for dev, at := range newest {
		if at <= lasts-s.thin.every {
			t.Errorf("%s: the newest sample is of %v, the pause %v, now is %v", dev, at, s.thin.every, lasts)
		}
	}
	// What falls silent is written at once.
	s.silence("belt-0", noon.Add(lasts))
	if got := len(s.pending); got != 1 {
		t.Errorf("%d samples of a silent machine, want one at once", got)
	}
}

// TestCalmSiteIsNotThinned, nor is one that is busy for a while; and when a busy one has become calm
// each change is written again, and a record says so.
func TestCalmSiteIsNotThinned(t *testing.T) {
	minutes, facts, s := shift(t, testDaily, newThinning(testDaily).saved, 10*time.Minute, func(at time.Duration) bool { return at < 5*time.Minute })
	if len(facts) != 0 || s.thin.every != 0 {
		t.Errorf("five busy minutes of %d bytes: %+v", minutes, facts)
	}
	minutes, facts, s = shift(t, testDaily, 0, 15*time.Minute, func(at time.Duration) bool { return at < 5*time.Minute })
	if len(facts) < 2 || facts[0].EveryMS == 0 || facts[len(facts)-1].EveryMS != 0 || s.thin.every != 0 {
		t.Errorf("ten calm minutes after it, of %d bytes: %+v", minutes, facts)
	}
	for _, d := range s.devices { // the last values of the busy minutes are there
		for _, tag := range d.tags {
			if tag.now != tag.written {
				t.Fatalf("%+v was never written: %+v", tag.now, tag.written)
			}
		}
	}
}
