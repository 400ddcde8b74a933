package weighbridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/serial"
)

// Reader owns one line with one indicator, or with several that are asked in turn: it opens, asks,
// reads, reports weights and changes of health, and opens again when the line is lost. There is
// one request in flight, whoever it is for.
type Reader struct {
	Line serial.Config

	// Indicators on the line. More than one must be polled or asked, each with an address of its
	// own: what sends by itself needs a line for itself.
	Indicators []Indicator

	Sink device.Sink
	Log  *slog.Logger // nil: no log

	Gap       time.Duration // pause between an answer and the next request; 200 ms if zero, never less
	Timeout   time.Duration // how long an answer may take; if zero 500 ms, or as long as a dialect on the line is known to need
	RetryFrom time.Duration // wait before the first reopening, doubled with each; 500 ms if zero
	RetryTo   time.Duration // longest wait before a reopening; 10 s if zero
}

const (
	leastGap         = 200 * time.Millisecond
	defaultTimeout   = 500 * time.Millisecond
	defaultRetryFrom = 500 * time.Millisecond
	defaultRetryTo   = 10 * time.Second
	leastSilence     = 500 * time.Millisecond
	framesOfSilence  = 10 // a continuous indicator that misses ten frames is silent
	pollsOfSilence   = 3  // a polled one that misses three answers is silent
	leastFlush       = 250 * time.Millisecond
	framesToFlush    = 3
	readStep         = 50 * time.Millisecond
)

// Check reports a configuration with which Run could never work.
func (r Reader) Check() error {
	var wrong []error
	if len(r.Indicators) == 0 {
		wrong = append(wrong, errors.New("no indicator"))
	}
	if r.Sink == nil {
		wrong = append(wrong, errors.New("no sink"))
	}
	if r.Gap != 0 && r.Gap < leastGap {
		wrong = append(wrong, fmt.Errorf("gap %s: indicators need at least %s between requests", r.Gap, leastGap))
	}
	if r.Gap > time.Minute || r.Timeout < 0 || r.Timeout > time.Minute || r.RetryFrom < 0 || r.RetryTo < 0 {
		wrong = append(wrong, errors.New("gap, timeout and retry times must be between 0 and 1m"))
	}
	wrong = append(wrong, r.Line.Check())
	for _, i := range r.Indicators {
		wrong = append(wrong, i.check())
	}
	wrong = append(wrong, checkShared(r.Indicators)...)
	if err := errors.Join(wrong...); err != nil {
		return fmt.Errorf("line %s: %w", r.Line.Port, err)
	}
	return nil
}

func (r Reader) withDefaults() Reader {
	if r.Log == nil {
		r.Log = slog.New(slog.DiscardHandler)
	}
	r.Indicators = slices.Clone(r.Indicators)
	for n := range r.Indicators {
		r.Indicators[n].Options.Device = r.Indicators[n].Device
	}
	timeout := defaultTimeout
	for _, i := range r.Indicators {
		timeout = max(timeout, i.Dialect.answers)
	}
	for _, d := range []struct {
		at    *time.Duration
		value time.Duration
	}{{&r.Gap, leastGap}, {&r.Timeout, timeout}, {&r.RetryFrom, defaultRetryFrom}, {&r.RetryTo, defaultRetryTo}} {
		if *d.at == 0 {
			*d.at = d.value
		}
	}
	return r
}

// SilenceAfter is how long an indicator of this line may bring no valid frame before it counts as
// silent: ten frames, or three turns of everyone on the line when each takes as long as it may.
func (r Reader) SilenceAfter() time.Duration {
	r = r.withDefaults()
	limit := max(leastSilence, r.Line.TimeOf(framesOfSilence*r.longestFrame()))
	if slices.ContainsFunc(r.Indicators, Indicator.polls) {
		limit = max(limit, pollsOfSilence*time.Duration(len(r.Indicators))*(r.Timeout+r.Gap))
	}
	return limit
}

// Turn is how long it takes to ask everyone on the line once when all answer at once: the time
// between two frames of one indicator. It is 0 where the indicator sends by itself.
func (r Reader) Turn() (all time.Duration) {
	r = r.withDefaults()
	for _, i := range r.Indicators {
		if !i.polls() {
			continue
		}
		request, _ := i.Dialect.Encode(i.Dialect.Poll, i.Options) // wrong options are Check's to report
		all += r.Gap + r.Line.TimeOf(len(request)+i.Dialect.FrameBytes)
	}
	return all
}

func (r Reader) longestFrame() (n int) {
	for _, i := range r.Indicators {
		n = max(n, i.Dialect.FrameBytes)
	}
	return n
}

// Run reads until ctx ends, then returns nil. The only error is a configuration that Check
// refuses: a missing adapter, a wrong speed or a dead indicator are reported to the sink and may
// mend.
func (r Reader) Run(ctx context.Context) error {
	if err := r.Check(); err != nil {
		return err
	}
	r = r.withDefaults()
	var healths []*health
	for _, i := range r.Indicators {
		healths = append(healths, &health{device: i.Device, sink: r.Sink, log: r.Log.With("device", i.Device)})
	}
	for wait := r.RetryFrom; ctx.Err() == nil; {
		worked, err := r.session(ctx, healths)
		if ctx.Err() != nil {
			break
		}
		if worked {
			wait = r.RetryFrom
		}
		for _, h := range healths {
			h.change(device.Faulty, err.Error())
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, r.RetryTo)
	}
	return nil
}

// session opens the line once and reads until it is lost. worked says that it brought a weight.
func (r Reader) session(ctx context.Context, healths []*health) (worked bool, err error) {
	port, err := serial.OpenContext(ctx, r.Line)
	if err != nil {
		return false, err
	}
	stop := context.AfterFunc(ctx, func() { port.Close() }) // wakes Read and Write
	defer func() {
		stop()
		if e := port.Close(); e != nil {
			r.Log.Warn("close", "line", r.Line.Port, "err", e)
		}
	}()
	if err := port.SetReadTimeout(readStep); err != nil {
		return false, err
	}
	l := newSession(r, port, healths)
	err = l.run()
	return l.worked(), err
}
