package sim

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// Line is the far end of a wire to an edge: what is written here arrives there. Pty and TCPLine
// are the two kinds.
//
// A line never holds its machine up: bytes that nobody is there to read are lost, as on a real
// wire. Read waits for bytes over unplugging and reopening, and returns io.EOF only after Close.
type Line interface {
	io.ReadWriteCloser
	// Path is what the edge's configuration calls the port: a path, or tcp://host:port.
	Path() string
	// Unplug hangs the line up; Replug makes the same Path work again.
	Unplug() error
	Replug() error
}

// A reader that is there but does not read holds bytes up for this long, then they are lost.
const writeTimeout = 250 * time.Millisecond

// errClosed is what a use after Close returns.
var errClosed = errors.New("line is closed")

// TCPLine is a serial terminal server: every client that is connected gets the machine's bytes.
type TCPLine struct {
	mu       sync.Mutex // guards the listener and the clients
	addr     string
	listener net.Listener
	clients  map[net.Conn]bool
	closed   bool

	in   chan []byte   // what clients sent
	done chan struct{} // closed by Close
	wg   sync.WaitGroup
	rest []byte // of the last chunk from in; owned by the reader
}

// Clients beyond this are turned away, and a client's bytes beyond the queue are lost.
const (
	maxLineClients = 16
	lineQueue      = 64
)

// ListenTCP opens a terminal server on addr ("127.0.0.1:0" picks a port and keeps it).
func ListenTCP(addr string) (*TCPLine, error) {
	l := &TCPLine{addr: addr, clients: make(map[net.Conn]bool), in: make(chan []byte, lineQueue), done: make(chan struct{})}
	if err := l.Replug(); err != nil {
		return nil, err
	}
	return l, nil
}

// Path of the line, tcp://host:port.
func (l *TCPLine) Path() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return "tcp://" + l.addr
}

// Replug listens again on the same port.
func (l *TCPLine) Replug() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errClosed
	}
	if l.listener != nil {
		return nil
	}
	listener, err := net.Listen("tcp", l.addr)
	if err != nil {
		return err
	}
	l.listener, l.addr = listener, listener.Addr().String()
	l.wg.Go(func() { l.accept(listener) })
	return nil
}

// Unplug stops listening and drops every client.
func (l *TCPLine) Unplug() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.hangUp()
}

func (l *TCPLine) hangUp() error {
	if l.listener == nil {
		return nil
	}
	err := l.listener.Close()
	l.listener = nil
	for c := range l.clients {
		err = errors.Join(err, c.Close())
	}
	clear(l.clients)
	return err
}

// Close ends the line and waits for its goroutines.
func (l *TCPLine) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	err := l.hangUp()
	close(l.done)
	l.mu.Unlock()
	l.wg.Wait()
	return err
}

func (l *TCPLine) accept(listener net.Listener) {
	for {
		c, err := listener.Accept()
		if err != nil {
			return
		}
		l.mu.Lock()
		welcome := l.listener == listener && len(l.clients) < maxLineClients
		if welcome {
			l.clients[c] = true
			l.wg.Go(func() { l.receive(c) })
		}
		l.mu.Unlock()
		if !welcome {
			c.Close()
		}
	}
}

func (l *TCPLine) receive(c net.Conn) {
	defer l.drop(c)
	for {
		buf := make([]byte, 256)
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		select {
		case l.in <- buf[:n]:
		default: // the machine does not listen
		}
	}
}

func (l *TCPLine) drop(c net.Conn) {
	l.mu.Lock()
	delete(l.clients, c)
	l.mu.Unlock()
	c.Close()
}

// Read returns what any client sent.
func (l *TCPLine) Read(p []byte) (int, error) {
	if len(l.rest) == 0 {
		select {
		case l.rest = <-l.in:
		case <-l.done:
			return 0, io.EOF
		}
	}
	n := copy(p, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}

// Write sends to every client; one that cannot keep up is dropped.
func (l *TCPLine) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return 0, errClosed
	}
	for c := range l.clients {
		_ = c.SetWriteDeadline(time.Now().Add(writeTimeout))
		if _, err := c.Write(p); err != nil {
			delete(l.clients, c)
			c.Close()
		}
	}
	return len(p), nil
}
