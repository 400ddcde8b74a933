package modbus

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// MasterConfig describes a line that is read for others. Zero durations mean the default given
// beside each field.
type MasterConfig struct {
	Link         string        // see Link
	Timeout      time.Duration // until a reply begins; 500 ms on a serial line, 1 s on TCP
	Latency      time.Duration // the latest that a reply ever comes; twice the time-out
	Gap          time.Duration // silence between a reply and the next request; 3.5 characters
	ConnectPause time.Duration // between connecting and the first request; none
}

// Question is one read: function 1 (coils), 2 (discrete inputs), 3 (holding registers) or 4 (input
// registers).
type Question struct {
	Unit  uint8
	FC    uint8
	From  uint16 // on the wire, from 0
	Count int    // registers, or bits
}

// The most that one read may ask for (Modbus Application Protocol V1.1b3, 6.1 to 6.4).
const (
	MostBits      = 2000
	MostRegisters = 125
)

// Check says what is wrong with a question: an Exception, as a machine would refuse it.
func (q Question) Check() error {
	most := MostRegisters
	switch q.FC {
	case 1, 2:
		most = MostBits
	case 3, 4:
	default:
		return Exception{IllegalFunction}
	}
	if q.Count < 1 || q.Count > most {
		return Exception{IllegalValue}
	}
	if int(q.From)+q.Count > 1<<16 {
		return Exception{IllegalAddress}
	}
	return nil
}

// Master is the one master of a line that many ask through. It belongs to one goroutine: that is
// what keeps one request in flight.
//
// After a question to which no answer came, the unit is left alone until no reply can be under way
// any more, and on a serial line is then asked for another length first. A unit that stays silent
// is asked less and less often, also one of which a gateway says that nothing comes from it, and so
// is a line that cannot be opened; in between, Read fails at once, for the same reason.
type Master struct {
	link    Link
	config  MasterConfig
	line    conn // nil while closed
	open    backoff
	openErr *OpenError
	free    time.Time // no request before: the gap after the last reply
	good    int       // answers over the present line
	bad     int       // failures in a row, whoever failed
	units   [256]asked
	stale   atomic.Uint64

	noFence bool // as in Bus
}

// asked is what a master knows of a unit.
type asked struct {
	settle time.Time // it is not asked before: a reply may still be under way
	lost   request   // the question that got no answer; count 0: none
	fails  int       // in a row
	pause  backoff
	why    error // of the last failure
}

// NewMaster checks the configuration. It opens nothing.
func NewMaster(c MasterConfig) (*Master, error) {
	link, err := ParseLink(c.Link)
	wrong := []error{err}
	for _, d := range []time.Duration{c.Timeout, c.Latency, c.Gap, c.ConnectPause} {
		if d < 0 || d > time.Minute {
			wrong = append(wrong, errors.New("timeout, latency, gap and connect pause: must be between 0 and one minute"))
			break
		}
	}
	if c.Timeout == 0 {
		c.Timeout = time.Second
		if err == nil && link.serial() {
			c.Timeout = 500 * time.Millisecond
		}
	}
	if c.Latency == 0 {
		c.Latency = 2 * c.Timeout
	}
	if err := errors.Join(wrong...); err != nil {
		return nil, err
	}
	return &Master{link: link, config: c}, nil
}

// Serial reports whether a serial line is at the far end: it has the units 1 to 247 only.
func (m *Master) Serial() bool { return m.link.serial() }

// Read asks and waits for the answer: the data bytes without their count, which are the caller's,
// and when the last of them came. The error holds an Exception when the machine refuses or Check
// does, an OpenError when the line cannot be opened and ErrLost when it was lost; any other is about
// this unit alone.
func (m *Master) Read(ctx context.Context, q Question) ([]byte, time.Time, error) {
	if err := q.Check(); err != nil {
		return nil, time.Now(), err
	}
	u := &m.units[q.Unit]
	if now := time.Now(); now.Before(u.pause.until) || now.Before(u.settle) {
		return nil, now, fmt.Errorf("unit %d is left alone for a while: %w", q.Unit, u.why)
	}
	r := q.request(m.config.Timeout)
	data, at, err := m.settled(ctx, u, r)
	refusal, refused := errors.AsType[Exception](err)
	_, closed := errors.AsType[*OpenError](err)
	switch {
	case err == nil, refused && !refusal.Absent():
		u.fails, u.why = 0, nil
		u.pause.reset()
	case ctx.Err() != nil, closed:
		// Nothing was asked: the unit is not to blame.
	default:
		u.why = err
		if u.fails++; u.fails >= 2 && !m.noFence {
			u.pause.failed(time.Now())
		}
	}
	return data, at, err
}

// Look asks once more over TCP, on a connection of its own, and says which bytes came and what is wrong with
// them. It returns why, the error of a Read, where there is nothing to add.
func (m *Master) Look(ctx context.Context, q Question, why error) error {
	m.Close() // some machines take one connection only
	return look(ctx, m.link, m.config.ConnectPause, q.request(m.config.Timeout), why)
}

// settled asks once nothing older can be mistaken for the answer.
func (m *Master) settled(ctx context.Context, u *asked, r request) ([]byte, time.Time, error) {
	if err := m.connect(ctx); err != nil {
		return nil, time.Now(), err
	}
	// A serial machine answers in order: once it has answered a question of another length, nothing
	// older is under way. TCP has transaction ids.
	if lost := u.lost; m.link.serial() && lost.count > 0 && lost.fc == r.fc && lost.bytes() == r.bytes() {
		probe := lost
		if probe.count = 1; probe.bytes() == lost.bytes() {
			probe.count = 17 // bits: three bytes; registers: refused or not, another answer
			probe.from = min(probe.from, 1<<16-17)
		}
		if _, at, err := m.ask(ctx, u, probe); err != nil {
			if _, refused := errors.AsType[Exception](err); !refused {
				return nil, at, fmt.Errorf("first question after an error: %w", err)
			}
		}
	}
	return m.ask(ctx, u, r)
}

// ask makes one request and leaves the line in order.
func (m *Master) ask(ctx context.Context, u *asked, r request) ([]byte, time.Time, error) {
	for try := 0; ; try++ {
		if err := m.connect(ctx); err != nil {
			return nil, time.Now(), err
		}
		if err := sleepUntil(ctx, m.free); err != nil {
			return nil, time.Now(), err
		}
		sent := time.Now()
		data, at, err := m.line.read(ctx, r)
		m.free = at.Add(m.config.Gap)
		if _, refused := errors.AsType[Exception](err); err == nil || refused {
			u.lost = request{}
			m.good++
			m.bad = 0
			return data, at, err
		}
		lost := errors.Is(err, ErrLost)
		// A peer may close a connection that had worked when it is idle. Nothing can be under
		// way on the new one.
		again := lost && m.good > 0 && try == 0 && !m.link.serial() && ctx.Err() == nil
		m.bad++
		if m.link.serial() && !m.noFence {
			u.settle, u.lost = sent.Add(m.config.Latency), r
		}
		// Silence of one unit is the unit's; of all that are asked, perhaps the adapter's.
		if lost || !m.link.serial() || m.bad > 8 {
			m.Close()
		}
		if again {
			continue
		}
		return nil, at, fmt.Errorf("%s: %w", r, err)
	}
}

// connect opens the line if it is closed and its time has come.
func (m *Master) connect(ctx context.Context) error {
	if m.line != nil {
		return nil
	}
	if time.Now().Before(m.open.until) {
		return m.openErr
	}
	opened, err := openLine(ctx, m.link, m.config.Timeout, &m.stale)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err() // who asked has left: that says nothing about the line
		}
		m.open.failed(time.Now())
		m.openErr = &OpenError{err}
		return m.openErr
	}
	m.line, m.openErr, m.good, m.bad = opened, nil, 0, 0
	m.open.reset()
	return sleepUntil(ctx, time.Now().Add(m.config.ConnectPause))
}

// Close closes the line and waits for its goroutine. The next Read opens it again.
func (m *Master) Close() {
	if m.line != nil {
		m.line.close()
		m.line = nil
	}
}
