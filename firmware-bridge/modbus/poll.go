package modbus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"steelyard/firmware-bridge/device"
	"steelyard/internal/unit"
)

// poll reads the blocks of one job and gives the scan to the sink.
func (b *Bus) poll(ctx context.Context, t turn) {
	b.counter.polls.Add(1)
	begun := time.Now()
	at, err := b.readParts(ctx, t)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		b.failed(ctx, t, err)
		return
	}
	b.recordCost(t, begun)
	t.job.done(begun)
	if t.job == &t.jobs[0] {
		t.responding = true
	}
	b.deliver(t, t.Profile.values(t.snapshot, t.job.reads), at)
}

// readParts fills the snapshot. It gives up at the first part that brings neither registers nor a
// refusal of these registers.
func (b *Bus) readParts(ctx context.Context, t turn) (at time.Time, err error) {
	m := t.member
	if m.fence {
		if probe, ok := m.probe(); ok {
			_, _, err := b.ask(ctx, m, probe)
			if _, refused := errors.AsType[Exception](err); err != nil && !refused {
				return at, fmt.Errorf("first question after an error: %w", err)
			}
		}
		m.fence = false
	}
	m.snapshot.gaps = m.snapshot.gaps[:0]
	at = time.Now()
	for i := 0; i < len(m.parts); i++ {
		p := m.parts[i]
		if !t.job.reads(p.block) {
			continue
		}
		if p.why != "" && time.Now().Before(p.again) {
			m.snapshot.gaps = append(m.snapshot.gaps, gap{p.block, p.first, p.count, p.why})
			continue
		}
		data, arrived, err := b.ask(ctx, m, m.request(p))
		if refusal, ok := errors.AsType[Exception](err); ok && refusal.Code <= IllegalValue && refusal.Code > 0 {
			if m.refused(i, refusal, arrived) {
				i-- // the two halves stand in its place
			} else {
				m.snapshot.gaps = append(m.snapshot.gaps, gap{p.block, p.first, p.count, m.parts[i].why})
			}
			continue
		}
		if err != nil {
			return arrived, err
		}
		m.parts[i].why = ""
		if r := m.request(p); r.bits() {
			data = spread(data, r.count)
		}
		copy(m.snapshot.data[p.block][2*p.first:], data)
		at = arrived
	}
	return at, nil
}

// spread makes two bytes of each bit, as a snapshot has them.
func spread(bits []byte, count int) []byte {
	words := make([]byte, 2*count)
	for i := range count {
		words[2*i+1] = bits[i/8] >> (i % 8) & 1
	}
	return words
}

// refused deals with a part that the machine will not read: an illegal address is split once, an
// illegal length until single points remain, and what is still refused is left alone for a
// while. It reports whether the part was split.
func (m *member) refused(i int, refusal Exception, now time.Time) (split bool) {
	p := &m.parts[i]
	request := m.request(*p).String()
	splits := refusal.Code == IllegalAddress && p.depth == 0 || refusal.Code == IllegalValue
	if splits && !m.Profile.blocks[p.block].Whole {
		if left, right, ok := m.split(*p); ok {
			m.log.Warn("machine refuses a read, which is split from now on", "request", request, "err", refusal)
			m.parts = slices.Replace(m.parts, i, i+1, left, right)
			return true
		}
	}
	if p.why == "" {
		m.log.Error("machine refuses a read", "request", request, "err", refusal)
	}
	p.why, p.again = refusal.Error(), now.Add(refusedPause)
	return false
}

// ask makes one request. An error that is not an exception ends with the line in order: on TCP by
// a new connection; on a serial line the unit is left alone until no reply can come any more, and
// is then asked something that cannot be mistaken.
func (b *Bus) ask(ctx context.Context, m *member, r request) ([]byte, time.Time, error) {
	for try := 0; ; try++ {
		if b.line == nil && !b.connect(ctx) {
			return nil, time.Now(), errors.Join(ErrLost, ctx.Err())
		}
		if err := b.wait(ctx, b.free); err != nil {
			return nil, time.Now(), err
		}
		b.counter.requests.Add(1)
		m.asked = r
		sent := time.Now()
		data, at, err := b.line.read(ctx, r)
		b.free = at.Add(max(b.config.Gap, time.Duration(m.Profile.Limits.GapMS)*time.Millisecond))
		if err == nil {
			b.counter.replies.Add(1)
			b.good++
			b.bad = 0
			return data, at, nil
		}
		if _, ok := errors.AsType[Exception](err); ok {
			b.counter.exceptions.Add(1)
			b.good++
			b.bad = 0
			return nil, at, err
		}
		if ctx.Err() != nil {
			return nil, at, ctx.Err()
		}
		b.counter.failures.Add(1)
		lost := errors.Is(err, ErrLost)
		again := lost && b.good > 0 && try == 0 && !b.link.serial()
		b.recoverLine(m, sent, lost)
		if again {
			// The peer closed a connection that had worked, as some do after each reply or
			// when idle. Nothing can be under way on the new one.
			continue
		}
		return nil, at, fmt.Errorf("%s: %w", r, err)
	}
}

// recoverLine puts the line in order after an error.
func (b *Bus) recoverLine(m *member, sent time.Time, lost bool) {
	b.bad++
	if b.noFence {
		return
	}
	if b.link.serial() {
		m.settle, m.fence = sent.Add(m.latency), true
		// Silence of one unit is the unit's; silence of all may be the adapter's.
		if !lost && b.bad <= 2*len(b.units) {
			return
		}
	} else if !lost {
		m.settle = sent.Add(m.latency)
	}
	b.closeLine()
}

// failed deals with a poll that brought nothing.
func (b *Bus) failed(ctx context.Context, t turn, err error) {
	now := time.Now()
	m, j := t.member, t.job
	lead := j == &m.jobs[0]
	if lead {
		m.responding = false
	}
	j.fails++
	refusal, refused := errors.AsType[Exception](err)
	state := device.Silent
	if refused && !refusal.Absent() {
		state = device.Faulty
	}
	patience := 2 // one lost reply is not silence; the next poll decides
	j.due = now.Add(min(j.every, time.Second))
	switch {
	case refused && (refusal.Code == Busy || refusal.Code == atWork):
		// It will answer: it is asked again soon, and for as long as it takes.
		patience = busyPatience
		j.due = now.Add(min(max(j.every, busyPause), time.Second))
	case refused && refusal.Code == memoryParity:
		patience = 1
	}
	if j.fails < patience {
		return
	}
	if patience < busyPatience {
		j.pause.failed(now)
		j.due = j.pause.until
	}
	if lead {
		if state == device.Silent && m.state != state && !b.noFence {
			err = look(ctx, b.link, b.config.ConnectPause, m.asked, err)
		}
		b.health(m, state, err.Error())
		for i := range m.jobs {
			// Whoever answers next may be another machine.
			if s := &m.jobs[i]; s.identifies && s != j {
				s.identified, s.due = false, now
			}
		}
		return
	}
	// The machine answers its polls: only these registers are missing, and their values say why.
	if j.fails == patience {
		m.log.Error("machine does not answer a slow read", "err", err)
	}
	m.snapshot.gaps = m.snapshot.gaps[:0]
	for _, i := range j.blocks {
		m.snapshot.gaps = append(m.snapshot.gaps, gap{i, 0, m.Profile.blocks[i].Count, err.Error()})
	}
	b.deliver(t, m.Profile.values(m.snapshot, j.reads), now)
}

// A machine that says that it is busy is asked again after a while that is shorter than any back-off,
// and reports a fault only when it goes on saying so.
const (
	busyPause    = 200 * time.Millisecond
	busyPatience = 5
)

// deliver judges whether the machine behind the registers is the right one and alive, and gives
// scan and health to the sink.
func (b *Bus) deliver(t turn, values []device.Value, at time.Time) {
	m := t.member
	state, detail := device.Online, fmt.Sprintf("%s answers on %s", m.Profile.Name, b.link)
	read := 0
	t.job.mismatch, t.job.identified = "", true
	for _, v := range values {
		if point := m.Profile.decoder[m.Profile.byName[v.Tag]]; point.Constant != nil && !v.OK {
			t.job.mismatch = v.Tag + " " + v.Why
		}
		if v.OK {
			read++
		}
	}
	for _, j := range m.jobs {
		if j.identifies && !j.identified {
			return // which machine this is stands in registers that were not read yet
		}
		if j.mismatch != "" { // of this scan, or of registers that are read at other times
			state, detail = device.Faulty, j.mismatch
		}
	}
	if still := m.heartbeatStuck(values, at); state == device.Online && still != "" {
		state, detail = device.Faulty, still
	}
	if state == device.Faulty {
		for i := range values {
			values[i].OK, values[i].Why = false, detail
			values[i].Number, values[i].Text = unit.Decimal{}, ""
		}
	} else if read == 0 && len(m.snapshot.gaps) > 0 && t.job == &m.jobs[0] {
		state, detail = device.Faulty, "no register can be read: "+m.snapshot.gaps[0].why
	}
	b.health(m, state, detail)
	b.counter.scans.Add(1)
	b.sink.Scan(device.Scan{Device: m.Device, At: at, Values: values})
}

// heartbeatStuck returns in words that the heartbeat stands; empty when it moves.
func (m *member) heartbeatStuck(values []device.Value, at time.Time) string {
	h := m.Profile.Heartbeat
	if h == nil {
		return ""
	}
	for _, v := range values {
		if v.Tag != h.Point || !v.OK {
			continue
		}
		if m.beatAt.IsZero() || v.Number != m.beat {
			m.beat, m.beatAt = v.Number, at
		}
	}
	if m.beatAt.IsZero() || at.Sub(m.beatAt) <= h.Limit {
		return ""
	}
	return fmt.Sprintf("%s has stood at %s for longer than %s: the machine's program does not run; check that its controller is in RUN", h.Point, m.beat, h.Limit)
}

// health reports a change of state.
func (b *Bus) health(m *member, state device.State, detail string) {
	if m.state == state {
		return
	}
	m.state = state
	switch state {
	case device.Online:
		m.log.Info("machine answers", "link", b.link.String())
	case device.Silent:
		m.log.Warn("machine is silent", "link", b.link.String(), "err", detail)
	default:
		m.log.Error("device fault", "link", b.link.String(), "err", detail)
	}
	b.sink.Health(device.Health{Device: m.Device, At: time.Now(), State: state, Detail: detail})
}
