package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"steelyard/firmware-bridge/serial"
)

// hub owns one serial line and hands its bytes to whoever follows it. When the line is lost every
// follower is let go: a connection that stays open and silent would look like a quiet machine.
type hub struct {
	line serial.Config
	log  *slog.Logger

	mu        sync.Mutex
	port      *serial.Port // nil while the line is closed
	followers map[*follower]bool
}

// follower is one reader of the line. Its queue is all that it may be behind; a slower one is cut.
type follower struct {
	conn  net.Conn
	queue chan []byte // closed by the hub, under its lock
}

const (
	chunkBytes  = 512
	queueChunks = 1024 // with whole chunks half a mebibyte, after what the kernel holds
	retryFrom   = 500 * time.Millisecond
	retryTo     = 10 * time.Second
)

func newHub(line serial.Config, log *slog.Logger) *hub {
	return &hub{line: line, log: log, followers: map[*follower]bool{}}
}

// run opens the line, and again when it is lost, until ctx ends.
func (h *hub) run(ctx context.Context) error {
	wait, logged := retryFrom, ""
	for ctx.Err() == nil {
		worked, err := h.session(ctx)
		if ctx.Err() != nil {
			break
		}
		if worked {
			wait, logged = retryFrom, ""
		}
		if err.Error() != logged {
			logged = err.Error()
			h.log.Warn("serial port unavailable", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, retryTo)
	}
	return nil
}

// session opens the line once and reads until it is lost.
func (h *hub) session(ctx context.Context) (worked bool, err error) {
	port, err := serial.OpenContext(ctx, h.line)
	if err != nil {
		return false, err
	}
	h.log.Info("serial port open", "port", h.line.Port)
	stop := context.AfterFunc(ctx, func() { _ = port.Close() }) // wakes Read
	h.set(port)
	defer func() {
		stop()
		h.set(nil)
		err = errors.Join(err, port.Close())
	}()
	buf := make([]byte, chunkBytes)
	for {
		n, err := port.Read(buf)
		switch {
		case n > 0:
			worked = true
			h.publish(bytes.Clone(buf[:n]))
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return worked, err
		}
	}
}

func (h *hub) set(port *serial.Port) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.port = port
	if port == nil {
		for f := range h.followers {
			h.drop(f)
		}
	}
}

// publish never waits: who has no room left is cut.
func (h *hub) publish(chunk []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for f := range h.followers {
		select {
		case f.queue <- chunk:
		default:
			h.log.Warn("slow client disconnected", "peer", f.conn.RemoteAddr().String())
			reset(f.conn)
			h.drop(f)
		}
	}
}

// drop ends a follower; the lock is held.
func (h *hub) drop(f *follower) {
	delete(h.followers, f)
	close(f.queue)
	_ = f.conn.Close() // also wakes a write that is stuck
}

// serve is a raw reader: nothing that it sends is listened to.
func (h *hub) serve(ctx context.Context, conn net.Conn) { h.serveClient(ctx, conn, nil) }

// serveClient sends the line's bytes to a reader until one of them is gone. poll are the only bytes that
// it may send itself; they go to the line.
func (h *hub) serveClient(ctx context.Context, conn net.Conn, poll []byte) {
	f := &follower{conn: conn, queue: make(chan []byte, queueChunks)}
	h.mu.Lock()
	open := h.port != nil
	if open {
		h.followers[f] = true
	}
	h.mu.Unlock()
	if !open {
		return
	}
	var listening sync.WaitGroup
	listening.Go(func() {
		h.listen(conn, poll)
		h.gone(f)
	})
	defer listening.Wait()
	for chunk := range f.queue {
		if err := conn.SetWriteDeadline(time.Now().Add(writeLimit)); err != nil {
			break
		}
		if _, err := conn.Write(chunk); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				h.log.Warn("slow client disconnected", "peer", conn.RemoteAddr().String())
			}
			reset(conn)
			break
		}
	}
	h.gone(f)
}

// gone ends a follower that left by itself.
func (h *hub) gone(f *follower) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.followers[f] {
		h.drop(f)
	}
}

// listen notices that the reader has gone. Without a poll its bytes are thrown away; with one, the
// first byte that is no part of a poll ends the connection.
func (h *hub) listen(conn net.Conn, poll []byte) {
	if len(poll) == 0 {
		_, _ = io.Copy(io.Discard, conn)
		return
	}
	frame := make([]byte, len(poll))
	for {
		if _, err := io.ReadFull(conn, frame); err != nil || !bytes.Equal(frame, poll) {
			return
		}
		h.mu.Lock()
		port := h.port
		h.mu.Unlock()
		if port == nil {
			return
		}
		if _, err := port.Write(poll); err != nil {
			return
		}
	}
}
