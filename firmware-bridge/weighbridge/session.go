package weighbridge

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/serial"
)

// member is an indicator in one session. It belongs to the goroutine of Run.
type member struct {
	Indicator
	line      serial.Config
	log       *slog.Logger
	health    *health
	decoder   *Decoder
	emit      func(device.Weight)
	lastFrame time.Time // when the latest valid frame ended, or the line was opened
	asked     time.Time // when its latest turn began; zero: it had none
	heard     time.Time // when the latest byte of any kind came in its turn
	unjudged  bool      // silence is no fault: it is not asked by default

	lastTurn       uint64    // the turn in which it was asked last
	misses         int       // polls in a row without an answer
	suspendedUntil time.Time // not polled before, while others respond
}

// session is one opening of the line. It belongs to the goroutine of Run.
//
// What arrives is given to the decoder of the indicator that was asked last, and to no other. An
// answer that comes too late meets the decoder of the next one, which refuses it because it bears
// another address. If it comes so late that its own indicator is being asked again, it answers the
// same question a turn later: it is a weight of that indicator, sent now, in words that name its
// kind; a registered weighing carries its own number.
type session struct {
	Reader
	turns
	port     *serial.Port
	current  *member   // whose bytes arrive; nil: none was asked yet
	open     bool      // current was asked and has not answered yet
	polled   bool      // what it was asked is its poll
	lastByte time.Time // zero: none yet, or flushed
	free     time.Time // no request before: an answer may still be on the line
}

func newSession(r Reader, port *serial.Port, healths []*health) *session {
	l := &session{Reader: r, port: port}
	now := time.Now()
	for n, i := range r.Indicators {
		m := &member{Indicator: i, line: r.Line, log: r.Log.With("device", i.Device), health: healths[n],
			decoder: NewDecoder(i.Dialect, i.Options), lastFrame: now}
		m.emit = func(w device.Weight) {
			w.Raw = bytes.Clone(w.Raw) // the sink may keep it
			m.lastFrame = w.At
			m.answered()
			m.health.change(device.Online, "")
			r.Sink.Weight(w)
		}
		m.forget() // before anybody hears that the line is open, so that what is asked then is kept
		if i.Dialect.Poll == "" && len(i.Dialect.requests) > 0 {
			m.health.change(device.Online, "line open; the indicator answers when it is asked")
			m.unjudged = true
		}
		l.members = append(l.members, m)
	}
	if len(l.members) == 1 {
		l.current = l.members[0] // whatever arrives is its own, asked for or not
	}
	return l
}

// worked reports whether the session has brought a frame.
func (l *session) worked() bool {
	for _, m := range l.members {
		if m.decoder.Stats().Frames > 0 {
			return true
		}
	}
	return false
}

func (l *session) run() error {
	limit := l.SilenceAfter()
	flushAfter := max(leastFlush, l.Line.TimeOf(framesToFlush*l.longestFrame()))
	buf := make([]byte, 4096)
	for {
		if err := l.ask(time.Now(), limit); err != nil {
			return err
		}
		n, err := l.port.Read(buf)
		now := time.Now()
		switch {
		case n > 0:
			l.take(now, buf[:n])
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return err
		}
		if !l.lastByte.IsZero() && now.Sub(l.lastByte) > flushAfter {
			l.flush()
		}
		l.checkSilence(now, limit)
	}
}

// take gives what has arrived to the indicator whose turn it is.
func (l *session) take(now time.Time, b []byte) {
	m := l.current
	if m == nil {
		return
	}
	m.heard, l.lastByte = now, now
	before := m.decoder.Stats().Frames
	m.decoder.Write(now, b, m.emit)
	if m.decoder.Stats().Frames != before {
		l.free, l.open = now.Add(l.Gap), false
	}
}

// flush ends what the current indicator has begun to say.
func (l *session) flush() {
	if l.current != nil {
		l.current.decoder.Flush(l.current.emit)
	}
	l.lastByte = time.Time{}
}

// ask gives the next turn, when the line is free.
func (l *session) ask(now time.Time, limit time.Duration) error {
	if now.Before(l.free) {
		return nil
	}
	if l.open {
		l.open = false
		if l.polled {
			l.missed(l.current, now)
		}
		l.current.checkSilence(now, limit)
	}
	m, due := l.next(now)
	if m == nil {
		return nil
	}
	frame, err := m.Dialect.Encode(due, m.Options)
	if err != nil {
		m.log.Warn("request dropped", "request", due, "err", err)
		return nil
	}
	if m != l.current {
		l.flush() // half an answer must not be glued to the next one of the same indicator
		l.current = m
	}
	m.asked, l.open, l.polled = now, true, due == m.Dialect.Poll
	l.free = now.Add(l.Timeout + l.Gap) // brought forward by an answer
	_, err = l.port.Write(frame)
	return err
}

// checkSilence reports who has been silent. Whose turn is open on a shared line is checked when it ends.
func (l *session) checkSilence(now time.Time, limit time.Duration) {
	for _, m := range l.members {
		if m != l.current || !l.open || len(l.members) == 1 {
			m.checkSilence(now, limit)
		}
	}
}

// checkSilence reports an indicator that has brought no valid frame for longer than the limit. One that
// is set aside keeps the verdict of its latest turn.
func (m *member) checkSilence(now time.Time, limit time.Duration) {
	inItsTurn := !m.asked.IsZero() && !m.heard.Before(m.asked)
	switch {
	case m.unjudged || now.Sub(m.lastFrame) <= limit:
	case !m.heard.IsZero() && (inItsTurn || now.Sub(m.heard) <= limit):
		m.health.change(device.Faulty, NoFrame(m.line, m.Dialect, limit, m.decoder.Refused()))
	default:
		m.health.change(device.Silent, fmt.Sprintf("no frame for %s: is the indicator on, its output enabled, the cable plugged?", limit))
	}
}

// NoFrame says of a line on which bytes arrive and no frame for that long what came, which rule it failed, and what may be
// set wrong.
func NoFrame(line serial.Config, d Dialect, limit time.Duration, refused Refused) string {
	own, suspects := "", "checksum or dialect"
	if d.address != nil {
		own, suspects = " from its address", "checksum, address or dialect"
	}
	suspects = "wrong baud rate, format, " + suspects + "?"
	if line.Network() {
		suspects = strings.Replace(suspects, "baud rate, format, ", "", 1) + " or is the serial side of the terminal server set otherwise than the indicator?"
	}
	if refused.Times == 0 {
		return fmt.Sprintf("bytes arrive but no valid frame for %s%s: %s", limit, own, suspects)
	}
	return fmt.Sprintf("bytes arrive but no valid frame for %s%s: %s; %s", limit, own, refused, suspects)
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
	h.log.Info("indicator health", "state", string(to), "was", string(from), "detail", detail)
	h.sink.Health(device.Health{Device: h.device, At: time.Now(), State: to, Detail: detail})
}
