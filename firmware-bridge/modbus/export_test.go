package modbus

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"steelyard/firmware-bridge/serial"
)

// Trust switches off what keeps late replies away, for negative controls.
func (b *Bus) Trust() { b.noFence = true }

// Hasty takes slow reads for polls, for a negative control.
func (b *Bus) Hasty() { b.noPriority = true }

// Answer looks for a reply among bytes.
func Answer(bytes []byte, unit, fc uint8, from uint16, count int) ([]byte, bool, error) {
	return answer(bytes, request{unit: unit, fc: fc, from: from, count: count})
}

// Ask builds a request.
func Ask(unit, fc uint8, from uint16, count int) []byte {
	return ask(request{unit: unit, fc: fc, from: from, count: count})
}

// TrustCopies takes the same answer twice where any transaction is taken, for a negative control.
func (b *Bus) TrustCopies() {
	b.dial = func(ctx context.Context, l Link, _ time.Duration, stale *atomic.Uint64) (conn, error) {
		opened, err := openSeen(ctx, l, stale)
		if err == nil {
			opened.takesCopies = true
		}
		return opened, err
	}
}

// TrustMaster is Trust for a Master.
func (m *Master) TrustMaster() { m.noFence = true }

// ErrNoReply is what a line in memory fails with when nothing comes.
var ErrNoReply = errNoReply

// Port is what a serial link opens.
func (l Link) Port() serial.Config { return l.port() }

// Memory is a line in memory.
type Memory interface {
	Open() error
	Read(ctx context.Context, unit, fc uint8, from uint16, count int, timeout time.Duration) ([]byte, error)
	Close()
}

// InMemory puts a bus on a line in memory and on the clock of its bubble.
func (b *Bus) InMemory(m Memory) {
	b.dial = func(context.Context, Link, time.Duration, *atomic.Uint64) (conn, error) {
		if err := m.Open(); err != nil {
			return nil, err
		}
		return inMemory{m}, nil
	}
	b.wait = func(ctx context.Context, until time.Time) error {
		// No timer that is due already: within a bubble the runtime runs it on the spot, and the race
		// detector has crashed on that.
		if d := time.Until(until); d > 0 {
			select {
			case <-ctx.Done():
			case <-time.After(d):
			}
		}
		return ctx.Err()
	}
}

// Overhear tells of each request that brought nothing: when it was made and when it was given up. It is
// called before Run.
func (b *Bus) Overhear(lost func(sent, ended time.Time)) {
	dial := b.dial
	b.dial = func(ctx context.Context, l Link, timeout time.Duration, stale *atomic.Uint64) (conn, error) {
		opened, err := dial(ctx, l, timeout, stale)
		if err != nil {
			return nil, err
		}
		return overheard{opened, lost}, nil
	}
}

type overheard struct {
	conn
	lost func(sent, ended time.Time)
}

func (l overheard) read(ctx context.Context, r request) ([]byte, time.Time, error) {
	sent := time.Now()
	data, at, err := l.conn.read(ctx, r)
	if _, refused := errors.AsType[Exception](err); err != nil && !refused && ctx.Err() == nil {
		l.lost(sent, time.Now())
	}
	return data, at, err
}

type inMemory struct{ Memory }

func (l inMemory) read(ctx context.Context, r request) ([]byte, time.Time, error) {
	data, err := l.Read(ctx, r.unit, r.fc, r.from, r.count, r.timeout)
	return data, time.Now(), err
}

func (l inMemory) close() { l.Close() }
