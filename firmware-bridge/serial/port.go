// Package serial opens the serial line of a machine, [Open], and reads and writes its bytes, [Port].
//
// In: the bytes of a tty, or of the same line behind a raw TCP terminal server; how its characters
// are built and its control lines set.
// Out: those bytes, in the pieces in which they arrived; writes with a deadline.
// It promises a raw line (no character is swallowed or translated), one owner per device, a Read
// that ends by itself on a silent line with os.ErrDeadlineExceeded, a Write that never stalls for
// ever, a Close that wakes both, and errors that tell silence, unplugging and closing apart.
// It does not know frames, does not retry and does not reopen: that is the reader's work.
package serial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	bugst "go.bug.st/serial"
)

// ErrUnplugged reports that the line is gone: the adapter was pulled, the terminal hung up, the
// terminal server closed the connection. The Port is of no more use; close it and open again.
var ErrUnplugged = errors.New("line lost")

// ErrInUse reports that another Port, here or in another process, holds the device.
var ErrInUse = errors.New("already in use")

// Port is one open line. One goroutine may read while another writes; Close may come from any.
type Port struct {
	name         string
	line         deadlineConn
	tty          bugst.Port   // nil for TCP; holds mode and exclusiveness, never reads or writes
	lock         io.Closer    // nil for TCP
	readTimeout  atomic.Int64 // nanoseconds
	writeTimeout time.Duration
	closed       atomic.Bool
	closing      sync.Once
	closeErr     error
}

// deadlineConn is what *os.File and net.Conn have in common.
type deadlineConn interface {
	io.ReadWriteCloser
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

// Open opens the line and takes it for itself. Bytes that were waiting in the tty are discarded:
// they are older than the caller's interest in them.
func Open(c Config) (*Port, error) { return OpenContext(context.Background(), c) }

// OpenContext is Open; ctx ends a TCP dial early.
func OpenContext(ctx context.Context, c Config) (*Port, error) {
	if err := c.Check(); err != nil {
		return nil, fmt.Errorf("serial line: %w", err)
	}
	c = c.withDefaults()
	p := &Port{name: c.Port, writeTimeout: c.WriteTimeout}
	p.readTimeout.Store(int64(c.Poll))
	var err error
	if address, ok := c.tcp(); ok {
		err = p.dial(ctx, address, c.DialTimeout)
	} else {
		err = p.openTTY(c)
	}
	if err != nil {
		return nil, fmt.Errorf("serial line %s: %w", c.Port, err)
	}
	return p, nil
}

func (p *Port) dial(ctx context.Context, address string, timeout time.Duration) error {
	// A terminal server that lost power says nothing; keep-alives end such a connection.
	d := net.Dialer{Timeout: timeout, KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3}}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	p.line = conn
	return nil
}

// openTTY opens the device twice. The library sets raw mode, rate and parity and forbids other
// openers; the bytes go through our own descriptor in the runtime's poller, because the library's
// Write cannot be ended, its Close frees the descriptor before it wakes readers, and its select
// breaks above descriptor 1023.
func (p *Port) openTTY(c Config) error {
	info, err := os.Stat(c.Port)
	if err != nil {
		return fmt.Errorf("%w; is the adapter plugged in?", cause(err))
	}
	if info.Mode()&os.ModeCharDevice == 0 {
		return errors.New("not a serial device")
	}
	device, err := filepath.EvalSymlinks(c.Port)
	if err != nil {
		return cause(err)
	}
	lock, err := lockDevice(device)
	if err != nil {
		return err
	}
	p.lock = lock
	mode, err := c.mode()
	if err != nil {
		return errors.Join(err, lock.Close())
	}
	file, err := openFile(device)
	if err != nil {
		return errors.Join(err, lock.Close())
	}
	tty, err := bugst.Open(device, &mode)
	if err != nil {
		return errors.Join(fmt.Errorf("%w; is it a serial device, and this user in the group dialout?", err), file.Close(), lock.Close())
	}
	if err := c.control(tty); err != nil {
		return errors.Join(err, file.Close(), tty.Close(), lock.Close())
	}
	if err := tty.ResetInputBuffer(); err != nil {
		return errors.Join(fmt.Errorf("discard old input: %w", err), file.Close(), tty.Close(), lock.Close())
	}
	p.line, p.tty = file, tty
	return nil
}

// SetReadTimeout sets how long each following Read waits for its first byte.
func (p *Port) SetReadTimeout(d time.Duration) error {
	if d < time.Millisecond || d > longestTimeout {
		return fmt.Errorf("serial line %s: read timeout %s: must be between 1ms and %s", p.name, d, longestTimeout)
	}
	p.readTimeout.Store(int64(d))
	return nil
}

// Read waits for at least one byte. Silence for the read timeout returns os.ErrDeadlineExceeded, a
// lost line ErrUnplugged, a Close os.ErrClosed. It never returns 0, nil for a non-empty p.
func (p *Port) Read(b []byte) (int, error) {
	return p.read(b, time.Duration(p.readTimeout.Load()))
}

func (p *Port) read(b []byte, timeout time.Duration) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if err := p.line.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return 0, p.explain("read", err)
	}
	n, err := p.line.Read(b)
	if n > 0 {
		return n, nil // an error, if there was one, comes again with the next Read
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return 0, os.ErrDeadlineExceeded
	}
	if err == nil {
		err = io.EOF
	}
	return 0, p.explain("read", err)
}

// Write sends all of b or says why not. When the other side takes no bytes it gives up after the write
// timeout with os.ErrDeadlineExceeded; what was sent until then is unknown to the other side's
// parser, so the caller should close the Port and open again.
func (p *Port) Write(b []byte) (int, error) {
	if err := p.line.SetWriteDeadline(time.Now().Add(p.writeTimeout)); err != nil {
		return 0, p.explain("write", err)
	}
	n, err := p.line.Write(b)
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return n, fmt.Errorf("serial line %s: %w: nobody took byte %d of %d for %s; is flow control or the cable holding the line?",
			p.name, os.ErrDeadlineExceeded, n+1, len(b), p.writeTimeout)
	}
	return n, p.explain("write", err)
}

// most that Drain throws away: a machine that sends without pause must not hold it for ever.
const drainLimit = 64 << 10

// Drain discards what has arrived and was not read, so that the next bytes answer the next
// question. It must not run beside Read.
func (p *Port) Drain() error {
	if p.tty != nil {
		if err := p.tty.ResetInputBuffer(); err != nil {
			return p.explain("drain", err)
		}
	}
	var junk [1024]byte
	for taken := 0; taken < drainLimit; {
		n, err := p.read(junk[:], time.Millisecond)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return err
		}
		taken += n
	}
	return nil
}

// Close wakes a blocked Read or Write and frees the device. Closing twice is harmless.
func (p *Port) Close() error {
	p.closing.Do(func() {
		p.closed.Store(true)
		var flush, tty, lock error
		if p.tty != nil {
			// Some drivers wait 30 s on close for output that is not taken; a lost line
			// cannot be flushed and needs it no more.
			flush = ignoreLost(p.tty.ResetOutputBuffer())
		}
		line := p.line.Close()
		if p.tty != nil {
			tty = ignoreLost(p.tty.Close())
		}
		if p.lock != nil {
			lock = p.lock.Close()
		}
		if err := errors.Join(flush, line, tty, lock); err != nil {
			p.closeErr = fmt.Errorf("close serial line %s: %w", p.name, err)
		}
	})
	return p.closeErr
}

// explain gives an error its class. Whatever is neither our own Close nor a deadline means that
// the line is gone: EIO and end of file after a hang-up, a reset or a lost keep-alive on TCP.
func (p *Port) explain(doing string, err error) error {
	if p.closed.Load() || errors.Is(err, os.ErrClosed) || errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("%s serial line %s: %w", doing, p.name, os.ErrClosed)
	}
	return fmt.Errorf("%s serial line %s: %w (%w); check plug, cable and power", doing, p.name, ErrUnplugged, cause(err))
}

// cause strips the path that this package's own messages already carry.
func cause(err error) error {
	if path, ok := errors.AsType[*os.PathError](err); ok {
		return path.Err
	}
	return err
}
