package gateway

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"steelyard/firmware-bridge/modbus"
)

// bus puts the questions of many clients to one line. Each client has at most one question
// waiting, and they are taken in the order in which they came, so none is served twice while
// another waits.
type bus struct {
	Bus
	master   *modbus.Master // of run's goroutine
	requests chan request
	cache    *cache
	log      *slog.Logger
	lost     bool      // last reported; like failing only run touches it
	failing  [256]bool // units
}

// request is a client's question on its way to the line.
type request struct {
	modbus.Question
	came  time.Time
	reply chan response // holds one, so that the bus never waits for a client
}

type response struct {
	data      []byte
	exception uint8
}

const defaultPatience = 2 * time.Second

func newBus(c Bus, master *modbus.Master, log *slog.Logger) *bus {
	if c.Patience == 0 {
		c.Patience = defaultPatience
	}
	return &bus{Bus: c, master: master, requests: make(chan request), cache: newCache(c.MaxAge), log: log}
}

// answer is called by many connections.
func (b *bus) answer(ctx context.Context, q modbus.Question) ([]byte, uint8) {
	if len(b.Units) > 0 && !slices.Contains(b.Units, q.Unit) || b.master.Serial() && (q.Unit < 1 || q.Unit > 247) {
		return nil, modbus.NoPath
	}
	a := request{q, time.Now(), make(chan response, 1)}
	if data, ok := b.cache.find(q, a.came, a.came); ok {
		return data, 0
	}
	patience := time.NewTimer(b.Patience)
	defer patience.Stop()
	select {
	case b.requests <- a:
	case <-patience.C:
		return nil, modbus.Busy
	case <-ctx.Done():
		return nil, modbus.NoAnswer
	}
	select {
	case r := <-a.reply:
		return r.data, r.exception
	case <-ctx.Done():
		return nil, modbus.NoAnswer
	}
}

// run asks the line, one question after the other.
func (b *bus) run(ctx context.Context) error {
	defer b.master.Close()
	for {
		select {
		case <-ctx.Done():
			return nil
		case a := <-b.requests:
			// Somebody may have asked the same while this one waited.
			if data, ok := b.cache.find(a.Question, a.came, time.Now()); ok {
				a.reply <- response{data: data}
				continue
			}
			a.reply <- b.ask(ctx, a.Question)
		}
	}
}

func (b *bus) ask(ctx context.Context, q modbus.Question) response {
	began := time.Now()
	data, at, err := b.master.Read(ctx, q)
	if err == nil {
		b.cache.keep(entry{q, began, at, data})
		b.answers(q.Unit)
		return response{data: data}
	}
	exception := uint8(modbus.NoAnswer)
	if refusal, ok := errors.AsType[modbus.Exception](err); ok {
		if exception = refusal.Code; !refusal.Absent() {
			b.answers(q.Unit)
			return response{exception: exception}
		}
	}
	// What was read before the failure is of a machine that may be gone.
	if _, closed := errors.AsType[*modbus.OpenError](err); closed || errors.Is(err, modbus.ErrLost) {
		b.cache.clear()
		if !b.lost {
			b.lost = true
			b.log.Warn("line lost", "link", b.Link, "err", err)
		}
	} else {
		b.cache.forget(q.Unit)
		if !b.failing[q.Unit] {
			b.failing[q.Unit] = true
			err = b.master.Look(ctx, q, err)
			b.log.Warn("unit does not answer", "link", b.Link, "unit", q.Unit, "err", err)
		}
	}
	return response{exception: exception}
}

// answers says so in the log, once, when it had been otherwise.
func (b *bus) answers(unit uint8) {
	if b.lost {
		b.log.Info("line open again", "link", b.Link)
	}
	if b.failing[unit] {
		b.log.Info("unit answers again", "link", b.Link, "unit", unit)
	}
	b.lost, b.failing[unit] = false, false
}
