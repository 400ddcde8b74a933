package sim

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// PtyConfig describes a serial line. Baud 0 means as fast as the machine can; otherwise bytes
// leave at Baud with Bits bits a character (10 for 8N1, 11 with parity or two stop bits; 0 is 10).
type PtyConfig struct {
	Link string // path of the symbolic link that the edge opens; it survives replugging
	Baud int
	Bits int
}

// Pty is a serial line on a pseudo-terminal in raw mode.
type Pty struct {
	cfg  PtyConfig
	done chan struct{} // closed by Close
	send sync.Mutex    // one writer at a time, so that frames do not mix

	mu      sync.Mutex // guards what follows
	master  *os.File   // nil while unplugged
	slave   string     // the terminal behind the link
	plugged chan struct{}
	closed  bool
}

// OpenPty creates the line and its link. A link that is there already is replaced; anything else
// in its place is an error.
func OpenPty(cfg PtyConfig) (*Pty, error) {
	if cfg.Bits == 0 {
		cfg.Bits = 10
	}
	p := &Pty{cfg: cfg, done: make(chan struct{}), plugged: make(chan struct{})}
	if err := p.Replug(); err != nil {
		return nil, err
	}
	return p, nil
}

// Path of the link.
func (p *Pty) Path() string { return p.cfg.Link }

// Replug puts a new terminal behind the link.
func (p *Pty) Replug() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return errClosed
	case p.master != nil:
		return nil
	}
	master, slave, err := rawTerminal()
	if err != nil {
		return fmt.Errorf("pseudo-terminal for %s: %w", p.cfg.Link, err)
	}
	if err := link(slave, p.cfg.Link); err != nil {
		return errors.Join(err, master.Close())
	}
	p.master, p.slave = master, slave
	close(p.plugged)
	return nil
}

// Unplug removes the link and hangs up: a reader gets the end of the file or an I/O error, as
// from a USB adapter that was pulled out.
func (p *Pty) Unplug() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.master == nil {
		return nil
	}
	err := errors.Join(os.Remove(p.cfg.Link), p.master.Close())
	p.master, p.plugged = nil, make(chan struct{})
	return err
}

// Close hangs up for good.
func (p *Pty) Close() error {
	err := p.Unplug()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.closed = true
		close(p.done)
	}
	return err
}

// line returns the terminal of the moment, or a channel that is closed when there is one again.
func (p *Pty) line() (master *os.File, slave string, plugged chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.master, p.slave, p.plugged
}

// Read waits for bytes from whoever has the link open.
func (p *Pty) Read(buf []byte) (int, error) {
	for {
		master, slave, plugged := p.line()
		if master == nil {
			select {
			case <-plugged:
				continue
			case <-p.done:
				return 0, io.EOF
			}
		}
		n, err := master.Read(buf)
		if err == nil {
			return n, nil
		}
		// The kernel answers EIO while nobody has the other side open, and it has no event for
		// the moment when somebody opens it: look again soon.
		if errors.Is(err, unix.EIO) {
			discard(slave)
		}
		if !p.pause(20 * time.Millisecond) {
			return 0, io.EOF
		}
	}
}

// pause waits, and reports whether the line is still there.
func (p *Pty) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-p.done:
		return false
	}
}

// Write sends bytes at the line's pace. It says that all were sent also when nobody was there.
func (p *Pty) Write(buf []byte) (int, error) {
	p.send.Lock()
	defer p.send.Unlock()
	step := len(buf)
	if p.cfg.Baud > 0 {
		step = max(1, p.cfg.Baud/p.cfg.Bits/250) // what goes over the wire in 4 ms
	}
	for sent := 0; sent < len(buf); sent += step {
		part := buf[sent:min(sent+step, len(buf))]
		if p.cfg.Baud > 0 && !p.pause(time.Duration(len(part)*p.cfg.Bits)*time.Second/time.Duration(p.cfg.Baud)) {
			return sent, errClosed
		}
		master, slave, _ := p.line()
		if master == nil {
			continue
		}
		if nobody(master) {
			discard(slave)
			continue
		}
		_ = master.SetWriteDeadline(time.Now().Add(writeTimeout))
		_, _ = master.Write(part) // the only failures are a reader that does not read, and Unplug: lost on the wire
	}
	return len(buf), nil
}

// onSlave opens the edge's side for a moment. The settings of a terminal live as long as its
// master, so the edge finds them whenever it opens the line.
func onSlave(slave string, do func(fd int) error) error {
	fd, err := unix.Open(slave, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", slave, err)
	}
	return errors.Join(do(fd), unix.Close(fd))
}

// rawTerminal opens a terminal whose settings are a serial line's from the first byte.
func rawTerminal() (master *os.File, slave string, err error) {
	master, tty, err := OpenTerminal()
	if err != nil {
		return nil, "", err
	}
	slave = tty.Name()
	if err := errors.Join(tty.Close(), onSlave(slave, makeRaw)); err != nil {
		return nil, "", errors.Join(err, master.Close())
	}
	return master, slave, nil
}

// makeRaw stops the kernel from eating 03h (Ctrl-C), turning 0Dh into 0Ah and echoing.
func makeRaw(fd int) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	t.Iflag, t.Oflag, t.Lflag = 0, 0, 0
	t.Cflag = unix.CS8 | unix.CREAD | unix.CLOCAL | unix.B9600
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	return unix.IoctlSetTermios(fd, unix.TCSETS, t)
}

// nobody reports whether the other side is closed.
func nobody(master *os.File) (hungUp bool) {
	conn, err := master.SyscallConn()
	if err != nil {
		return true
	}
	err = conn.Control(func(fd uintptr) {
		set := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		_, _ = unix.Poll(set, 0)
		hungUp = set[0].Revents&unix.POLLHUP != 0
	})
	return hungUp || err != nil
}

// discard throws away what a reader left unread when it closed the line: a real port is empty
// when it is opened again.
func discard(slave string) {
	_ = onSlave(slave, func(fd int) error {
		return unix.IoctlSetInt(fd, unix.TCFLSH, unix.TCIFLUSH)
	})
}

// link points path at target in one step.
func link(target, path string) error {
	if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSymlink == 0 {
		return fmt.Errorf("%s is there and is not a link; choose another name for the line", path)
	}
	next := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	_ = os.Remove(next) // left over from a process that was killed here
	if err := os.Symlink(target, next); err != nil {
		return err
	}
	return os.Rename(next, path)
}
