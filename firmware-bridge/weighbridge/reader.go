package weighbridge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/serial"
)

// Reader owns one line with one indicator: it opens, reads, asks where the dialect must be asked,
// reports weights and changes of health, and opens again when the line is lost.
type Reader struct {
	Device  string // id in the site's configuration
	Line    serial.Config
	Dialect Dialect
	Options Options // Options.Device is set from Device
	Sink    device.Sink
	Log     *slog.Logger // nil: no log

	// Listen stops the Reader from asking, for a polled indicator that is set to send by itself.
	Listen bool

	// Ask brings requests beside the poll, such as Register. May be nil. An unknown request is
	// logged and dropped.
	Ask <-chan Request

	Gap       time.Duration // pause between an answer and the next request; 200 ms if zero, never less
	Timeout   time.Duration // how long an answer may take; 500 ms if zero
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
	if r.Device == "" {
		wrong = append(wrong, errors.New("no device id"))
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
	wrong = append(wrong, r.Line.Check(), r.Dialect.Check(r.Options))
	if err := errors.Join(wrong...); err != nil {
		return fmt.Errorf("indicator %q: %w", r.Device, err)
	}
	return nil
}

func (r Reader) withDefaults() Reader {
	if r.Log == nil {
		r.Log = slog.New(slog.DiscardHandler)
	}
	r.Log = r.Log.With("device", r.Device)
	r.Options.Device = r.Device
	for _, d := range []struct {
		at    *time.Duration
		value time.Duration
	}{{&r.Gap, leastGap}, {&r.Timeout, defaultTimeout}, {&r.RetryFrom, defaultRetryFrom}, {&r.RetryTo, defaultRetryTo}} {
		if *d.at == 0 {
			*d.at = d.value
		}
	}
	return r
}

// SilenceAfter is how long the line may bring no valid frame before the indicator counts as
// silent.
func (r Reader) SilenceAfter() time.Duration {
	r = r.withDefaults()
	limit := max(leastSilence, r.Line.TimeOf(framesOfSilence*r.Dialect.FrameBytes))
	if r.polls() {
		limit = max(limit, pollsOfSilence*(r.Timeout+r.Gap))
	}
	return limit
}

func (r Reader) polls() bool { return r.Dialect.Poll != "" && !r.Listen }

// Run reads until ctx ends, then returns nil. The only error is a configuration that Check
// refuses: a missing adapter, a wrong speed or a dead indicator are reported to the sink and may
// mend.
func (r Reader) Run(ctx context.Context) error {
	if err := r.Check(); err != nil {
		return err
	}
	r = r.withDefaults()
	h := health{device: r.Device, sink: r.Sink, log: r.Log}
	for wait := r.RetryFrom; ctx.Err() == nil; {
		worked, err := r.session(ctx, &h)
		if ctx.Err() != nil {
			break
		}
		if worked {
			wait = r.RetryFrom
		}
		h.change(device.Faulty, err.Error())
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, r.RetryTo)
	}
	return nil
}

// session opens the line once and reads until it is lost. worked says that it brought a weight.
func (r Reader) session(ctx context.Context, h *health) (worked bool, err error) {
	port, err := serial.OpenContext(ctx, r.Line)
	if err != nil {
		return false, err
	}
	stop := context.AfterFunc(ctx, func() { port.Close() }) // wakes Read and Write
	defer func() {
		stop()
		if e := port.Close(); e != nil {
			r.Log.Warn("close", "err", e)
		}
	}()
	if err := port.SetReadTimeout(readStep); err != nil {
		return false, err
	}
	l := listening{Reader: r, port: port, health: h, decoder: NewDecoder(r.Dialect, r.Options), lastFrame: time.Now()}
	if r.Dialect.Poll == "" && len(r.Dialect.requests) > 0 {
		h.change(device.Online, "line open; the indicator answers when it is asked")
		l.unjudged = true
	}
	l.emit = func(w device.Weight) {
		w.Raw = bytes.Clone(w.Raw) // the sink may keep it
		l.lastFrame = w.At
		h.change(device.Online, "")
		r.Sink.Weight(w)
	}
	err = l.run()
	return l.decoder.Stats().Frames > 0, err
}

// listening is one session's state. It belongs to the goroutine of Run.
type listening struct {
	Reader
	port      *serial.Port
	health    *health
	decoder   *Decoder
	emit      func(device.Weight)
	lastFrame time.Time // when the latest valid frame ended, or the line was opened
	lastByte  time.Time // zero: none yet, or flushed
	heard     time.Time // when the latest byte of any kind came
	nextPoll  time.Time
	unjudged  bool // silence is no fault: nobody asks by default
}

func (l *listening) run() error {
	limit := l.SilenceAfter()
	flushAfter := max(leastFlush, l.Line.TimeOf(framesToFlush*l.Dialect.FrameBytes))
	buf := make([]byte, 4096)
	for {
		if err := l.ask(time.Now()); err != nil {
			return err
		}
		n, err := l.port.Read(buf)
		now := time.Now()
		switch {
		case n > 0:
			l.heard, l.lastByte = now, now
			before := l.lastFrame
			l.decoder.Write(now, buf[:n], l.emit)
			if l.lastFrame != before {
				l.nextPoll = now.Add(l.Gap)
			}
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return err
		}
		if !l.lastByte.IsZero() && now.Sub(l.lastByte) > flushAfter {
			l.decoder.Flush(l.emit)
			l.lastByte = time.Time{}
		}
		if now.Sub(l.lastFrame) > limit && !l.unjudged {
			if !l.heard.IsZero() && now.Sub(l.heard) <= limit {
				l.health.change(device.Faulty, "bytes arrive but no valid frame: wrong baud rate, format, checksum or dialect?")
			} else {
				l.health.change(device.Silent, fmt.Sprintf("no frame for %s: is the indicator on, its output enabled, the cable plugged?", limit))
			}
		}
	}
}

// ask sends what is due: a request from outside first, else the poll.
func (l *listening) ask(now time.Time) error {
	if now.Before(l.nextPoll) {
		return nil // an answer may still be on the line
	}
	due := Request("")
	select {
	case due = <-l.Ask:
		if !slices.Contains(l.Dialect.requests, due) {
			if due != "" { // empty: the channel was closed
				l.Log.Warn("request dropped", "request", due)
			} else {
				l.Ask = nil
			}
			due = ""
		}
	default:
	}
	if due == "" {
		if !l.polls() {
			return nil
		}
		due = l.Dialect.Poll
	}
	frame, err := l.Dialect.Encode(due, l.Options)
	if err != nil {
		l.Log.Warn("request dropped", "request", due, "err", err)
		return nil
	}
	l.nextPoll = now.Add(l.Timeout + l.Gap) // brought forward by an answer
	_, err = l.port.Write(frame)
	return err
}

// health reports changes of state, never the same state twice in a row.
type health struct {
	device string
	sink   device.Sink
	log    *slog.Logger
	state  device.State
}

func (h *health) change(to device.State, detail string) {
	if h.state == to {
		return
	}
	from := h.state
	h.state = to
	h.log.Info("indicator "+string(to), "was", string(from), "detail", detail)
	h.sink.Health(device.Health{Device: h.device, At: time.Now(), State: to, Detail: detail})
}
