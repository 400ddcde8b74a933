// Package modbus reads machines that speak Modbus, many on one line: a [Bus] polls them by their
// profiles, a [Master] puts the questions of others.
//
// In: a link (Modbus TCP, a serial line, or one behind a terminal server), the units upon it and
// the profile of each: which registers it has and what they mean.
// Out: one Scan per poll of a unit, with exact decimals and words, and a Health at each change.
// It promises that a value is the answer to the question that was asked: a late, damaged or
// foreign reply never becomes another register's value; that "no value" stays no value; that a
// dead unit does not slow the living; and that it only reads: functions 1 to 4 are all it can
// send. A Master gives the same care to the questions of others, one at a time.
// Polls go before slow reads: a weight is not late because temperatures are read (turn.go).
// It does not know tonnes, keep history or judge whether a value is plausible.
package modbus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/serial"
)

// Config of one bus. Zero durations mean the default given beside each field.
type Config struct {
	Link         string        // see Link
	Timeout      time.Duration // until a reply begins, over what the profiles say
	Gap          time.Duration // silence between a reply and the next request to anyone; 3.5 characters
	ConnectPause time.Duration // between connecting and the first request, for slow gateways; none
	// CloseAfterPoll closes a TCP connection after each poll, so that other masters of a gateway with
	// few connections get their turn, and opens it for the next, a tenth of a second later at the
	// earliest: when polls are due more often, they come as often as that allows.
	CloseAfterPoll bool
	Units          []Unit
}

// Unit is one machine on the bus.
type Unit struct {
	Device  string // the machine's id in the site's configuration
	ID      uint8  // unit id; 0 only on TCP
	Profile *Profile
	Every   time.Duration // between two polls; 1 s
}

// Bus owns one line or one gateway: one connection, one request in flight.
type Bus struct {
	link    Link
	config  Config
	log     *slog.Logger
	sink    device.Sink
	units   []*member
	line    conn // nil while closed
	open    backoff
	good    uint64 // replies over the present line
	bad     int    // failures in a row, whoever failed
	served  uint64
	polled  int       // polls since the last slow read
	free    time.Time // no request before: the gap after the last reply
	reopen  time.Time // no connection before: others may have theirs
	counter counters
	running atomic.Bool

	// noFence switches off what keeps late replies away, noPriority what keeps slow reads behind polls.
	// Only negative controls of the tests set them.
	noFence, noPriority bool
	// dial opens the line and wait sleeps until a moment: openLine and sleepUntil, but in the test that
	// lives through a day in seconds, whose machines and clock are in memory.
	dial func(context.Context, Link, time.Duration, *atomic.Uint64) (conn, error)
	wait func(context.Context, time.Time) error
}

// counters are written by the bus and read by Stats.
type counters struct {
	requests, replies, exceptions, failures, opens, stale, polls, scans atomic.Uint64
}

// Stats is what a bus has done since it began.
type Stats struct {
	Requests   uint64 // sent
	Replies    uint64 // right ones
	Exceptions uint64 // refusals by machines or gateways
	Failures   uint64 // requests without a usable reply
	Opens      uint64 // connections made
	Stale      uint64 // times that bytes came unasked
	Polls      uint64 // begun, slow reads among them
	Scans      uint64 // given to the sink
}

// Stats may be called at any time from anywhere.
func (b *Bus) Stats() Stats {
	c := &b.counter
	return Stats{c.requests.Load(), c.replies.Load(), c.exceptions.Load(), c.failures.Load(),
		c.opens.Load(), c.stale.Load(), c.polls.Load(), c.scans.Load()}
}

// New checks the configuration and reports all its mistakes. It opens nothing.
func New(c Config, sink device.Sink, log *slog.Logger) (*Bus, error) {
	link, err := ParseLink(c.Link)
	wrong := []error{err}
	if c.Timeout < 0 || c.Gap < 0 || c.ConnectPause < 0 || c.Timeout > time.Minute || c.Gap > time.Minute || c.ConnectPause > time.Minute {
		wrong = append(wrong, errors.New("timeout, gap and connect pause: must be between 0 and one minute"))
	}
	if err == nil && c.CloseAfterPoll && link.serial() {
		wrong = append(wrong, errors.New("close after poll: on a serial line another master's late reply would be taken for ours; leave it out, it is for tcp:// links"))
	}
	if len(c.Units) == 0 {
		wrong = append(wrong, errors.New("units: a bus without units reads nothing"))
	}
	b := &Bus{link: link, config: c, log: log, sink: sink, dial: openLine, wait: sleepUntil}
	ids, names := map[uint8]string{}, map[string]bool{}
	for _, u := range c.Units {
		if u.Every == 0 {
			u.Every = time.Second
		}
		switch other, taken := ids[u.ID]; {
		case u.Device == "" || names[u.Device]:
			wrong = append(wrong, fmt.Errorf("unit %d: device %.60q is empty or on this bus already", u.ID, u.Device))
			continue
		case taken:
			wrong = append(wrong, fmt.Errorf("device %s: unit id %d is used by %s", u.Device, u.ID, other))
		case link.serial() && (u.ID < 1 || u.ID > 247):
			wrong = append(wrong, fmt.Errorf("device %s: unit id %d: a serial line has the ids 1 to 247", u.Device, u.ID))
		case u.Profile == nil || len(u.Profile.blocks) == 0:
			wrong = append(wrong, fmt.Errorf("device %s: has no profile; take one from the catalogue", u.Device))
			continue
		case u.Every < time.Millisecond || u.Every > 24*time.Hour:
			wrong = append(wrong, fmt.Errorf("device %s: poll every %s: must be between 1ms and 24h", u.Device, u.Every))
		}
		ids[u.ID], names[u.Device] = u.Device, true
		b.units = append(b.units, newMember(u, b.timeout(u.Profile), log.With("device", u.Device)))
	}
	if err := errors.Join(wrong...); err != nil {
		return nil, fmt.Errorf("modbus %s: %w", c.Link, err)
	}
	return b, nil
}

func (b *Bus) timeout(p *Profile) time.Duration {
	if b.config.Timeout > 0 {
		return b.config.Timeout
	}
	return p.Timeout(b.link.serial())
}

// Load is the share of a serial line's time that the polls need, in percent, when every machine
// answers at once. Above 70 the machines' own time will not fit; above 100 polls are left out.
// TCP has no such limit and returns 0.
func (b *Bus) Load() int {
	if !b.link.serial() {
		return 0
	}
	w := Wire{Baud: b.link.Baud}
	var busy time.Duration // in a thousand seconds
	for _, m := range b.units {
		for _, block := range m.Profile.blocks {
			period := m.Every
			if block.Every == Slow {
				period *= slowEvery
			}
			busy += block.Cost(w) * (1000 * time.Second / period)
		}
	}
	return int(busy / (10 * time.Second))
}

// Run polls until ctx ends, which is no error. It returns when the line is closed and every
// goroutine of the bus has ended: at the latest after the request in flight, or a dial.
func (b *Bus) Run(ctx context.Context) error {
	if b.running.Swap(true) {
		return fmt.Errorf("modbus %s: runs already", b.link)
	}
	defer b.closeLine()
	if load := b.Load(); load > 70 {
		b.log.Warn("line is loaded more than it should be: poll less often or raise the baud", "link", b.link.String(), "percent", load)
	}
	now := time.Now()
	for i, m := range b.units {
		// The first polls are spread, so that units of one period do not come in a bunch for ever.
		for n := range m.jobs {
			m.jobs[n].due = now.Add(m.Every * time.Duration(i) / time.Duration(len(b.units)) / 4)
			b.estimate(turn{m, &m.jobs[n]})
		}
	}
	for {
		if b.line == nil {
			if err := b.wait(ctx, b.reopen); err != nil {
				return nil
			}
		}
		now := time.Now()
		t := b.next(now)
		if err := b.wait(ctx, t.ready()); err != nil {
			return nil
		}
		if t.ready().After(now) {
			continue // something that goes first may have become due meanwhile
		}
		if !b.connect(ctx) {
			if ctx.Err() != nil {
				return nil
			}
			if err := b.wait(ctx, b.open.until); err != nil {
				return nil
			}
			continue
		}
		b.served++
		t.job.served = b.served
		if b.polled++; t.job.waits() {
			b.polled = 0
		}
		b.poll(ctx, t)
		if b.closes(t.Profile) {
			b.closeLine()
			b.reopen = time.Now().Add(reopenPause)
		}
	}
}

// reopenPause is how long a connection that is closed after each poll stays closed: time for another
// master, and a bound on the connections that fast polls make.
const reopenPause = 100 * time.Millisecond

// closes reports whether the connection is closed after the poll of a machine.
func (b *Bus) closes(p *Profile) bool {
	return !b.link.serial() && (b.config.CloseAfterPoll || p.Limits.CloseAfterPoll)
}

// connect opens the line if it is closed. When it cannot, all units are silent for one reason.
func (b *Bus) connect(ctx context.Context) bool {
	if b.line != nil {
		return true
	}
	if time.Now().Before(b.open.until) {
		return false
	}
	var longest time.Duration
	for _, m := range b.units {
		longest = max(longest, m.timeout)
	}
	opened, err := b.dial(ctx, b.link, longest, &b.counter.stale)
	if err != nil {
		if ctx.Err() == nil {
			err = &OpenError{err}
			b.open.failed(time.Now())
			for _, m := range b.units {
				if b.open.times == 1 && b.closes(m.Profile) {
					continue // another master has its turn; the next attempt decides
				}
				b.health(m, device.Silent, err.Error())
			}
		}
		return false
	}
	b.line = opened
	b.counter.opens.Add(1)
	b.open.reset()
	b.good, b.bad = 0, 0
	return b.wait(ctx, time.Now().Add(b.config.ConnectPause)) == nil
}

// openLine opens what a link names. timeout is that of every request on a TCP connection.
func openLine(ctx context.Context, l Link, timeout time.Duration, stale *atomic.Uint64) (conn, error) {
	if l.own() {
		opened, err := openSeen(ctx, l, stale)
		if err != nil {
			return nil, err // and not a nil *seenTCP in an interface
		}
		return opened, nil
	}
	if l.Scheme == TCP {
		return openTCP(l.Address, timeout)
	}
	return openRTU(ctx, l, stale)
}

// closeLine closes the line.
func (b *Bus) closeLine() {
	if b.line != nil {
		b.line.close()
		b.line = nil
	}
}

// backoff is how long something that failed is left alone.
type backoff struct {
	times int
	until time.Time
}

func (w *backoff) failed(now time.Time) {
	w.times++
	w.until = now.Add(serial.Backoff(w.times))
}

func (w *backoff) reset() { *w = backoff{} }
