package agent

import (
	"context"
	"time"

	"steelyard/edge/journal"
	"steelyard/internal/record"
)

// thinning keeps what samples write to the disk within a budget a day, by writing each device more
// seldom: of the values that come meanwhile the newest is written, so that none is old for longer than
// the pause. Records, live values and what is known of a machine's silence are never thinned.
//
// A budget is saved up for some hours, so that a busy morning costs nothing. When it is used up the
// pause grows by a step each minute until what is written fits; it shrinks when the step below would
// fit, too.
type thinning struct {
	daily   int64 // bytes; 0: nothing is thinned
	saved   int64 // bytes of the budget that are left
	spent   int64 // bytes written since it was last adjusted
	step    int
	every   time.Duration
	leftOut int64 // values that were not written since the last fact about it
}

const (
	adjustEvery = time.Minute
	savedFor    = 2 * time.Hour // of the budget are saved up at most
	block       = 4 << 10       // the disk is written in blocks, and a file's node with each fsync
	minutesADay = 24 * 60
)

// pauses are the steps. The first of them lets every change pass.
func pauses() []time.Duration {
	return []time.Duration{0, 1 * time.Second, 2 * time.Second, 3 * time.Second, 5 * time.Second, 8 * time.Second,
		15 * time.Second, 30 * time.Second, time.Minute}
}

func newThinning(daily int64) thinning {
	return thinning{daily: daily, saved: daily * int64(savedFor/time.Minute) / minutesADay}
}

// may reports whether a device's values may be written now.
func (d *shown) may(at time.Time, every time.Duration) bool {
	return every == 0 || d.wrote.IsZero() || at.Sub(d.wrote) >= every
}

// wrote takes note of what was put on the disk with one fsync.
func (t *thinning) wrote(entries []journal.Written) {
	bytes := int64(0)
	for _, e := range entries {
		bytes += int64(len(e.Line))
	}
	if bytes > 0 {
		t.spent += (bytes+block-1)/block*block + block
	}
}

// adjust is called each minute; changed reports whether the pause is another one.
func (t *thinning) adjust() (changed bool) {
	spent := t.spent
	t.spent = 0
	if t.daily == 0 {
		return false
	}
	each := t.daily / minutesADay
	t.saved = min(t.saved+each-spent, each*int64(savedFor/time.Minute))
	steps := pauses()
	switch last := len(steps) - 1; {
	case t.saved < 0 && spent > each && t.step < last:
		t.step++
	case t.step > 0 && t.saved > 0 && 10*spent < 9*each*t.below()/100:
		t.step--
	default:
		t.saved = max(t.saved, -each) // a debt is not paid for by hours of silence
		return false
	}
	t.saved = max(t.saved, -each)
	t.every = steps[t.step]
	return true
}

// below returns how many percent of what is written below the present pause are written with it, at the
// worst. Without a pause ten values come in a second.
func (t *thinning) below() int64 {
	lower := max(pauses()[t.step-1], 100*time.Millisecond)
	return int64(100 * lower / pauses()[t.step])
}

// every is the present pause; 0: each change is written.
func (s *sampler) every() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.thin.every
}

// adjustThinning fits the pause to what was written, and says so where it changes.
func (s *sampler) adjustThinning(ctx context.Context) {
	s.mu.Lock()
	changed, t := s.thin.adjust(), s.thin
	if changed {
		s.thin.leftOut = 0
	}
	if t.every == 0 && !changed {
		s.thin.leftOut = 0 // values that were overtaken within a flush, as always
	}
	s.mu.Unlock()
	if !changed {
		return
	}
	err := s.record(ctx, record.Fact{At: time.Now(), Body: &record.Thinning{EveryMS: t.every.Milliseconds(), LeftOut: t.leftOut, Daily: t.daily}})
	if t.every > 0 {
		s.log.Warn("samples are thinned: the site changes more than samples_daily_mib lets it write; raise it, or poll less often",
			"every", t.every, "left_out", t.leftOut, "err", err)
	} else {
		s.log.Info("samples are written at each change again", "left_out", t.leftOut, "err", err)
	}
}
