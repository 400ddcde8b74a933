package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"sync"
	"time"
)

// Run serves connections until ctx ends or Close is called, and waits for the last of them. It runs
// once.
func (b *Broker) Run(ctx context.Context) error {
	if err := b.server.Serve(); err != nil {
		return errors.Join(fmt.Errorf("broker: %w", err), b.Close())
	}
	living, cancel := context.WithCancel(ctx)
	defer cancel()
	conns := open{conns: map[net.Conn]bool{}}
	var acceptors, served sync.WaitGroup
	acceptors.Go(func() {
		select {
		case <-living.Done():
		case <-b.quit:
			cancel()
		}
	})
	acceptors.Go(func() { b.accept(living, &conns, &served, b.nextPipe) })
	var failed error
	if b.listener != nil {
		acceptors.Go(func() {
			failed = b.accept(living, &conns, &served, func(context.Context) (net.Conn, error) { return b.listener.Accept() })
			cancel()
		})
		b.log.Info("broker listens", "addr", b.listener.Addr().String(), "tls", b.config.TLS != nil)
	}
	<-living.Done()
	closed := b.Close()
	acceptors.Wait()
	conns.closeAll()
	served.Wait()
	return errors.Join(failed, closed, b.server.Close())
}

// nextPipe returns the far end of the next Dial.
func (b *Broker) nextPipe(ctx context.Context) (net.Conn, error) {
	select {
	case conn := <-b.pipes:
		return conn, nil
	case <-ctx.Done():
		return nil, net.ErrClosed
	}
}

// accept serves one connection after the other, each on its goroutine. While every handshake slot is
// taken nothing is accepted: newcomers queue in the kernel and are not refused.
func (b *Broker) accept(ctx context.Context, conns *open, served *sync.WaitGroup, next func(context.Context) (net.Conn, error)) error {
	for {
		conn, err := next(ctx)
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			// Out of descriptors, or a connection that was gone before it was accepted.
			b.refusals.note("accept", "", err)
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		select {
		case b.waiting <- struct{}{}:
		case <-ctx.Done():
			conn.Close()
			return nil
		}
		if !conns.add(conn) {
			<-b.waiting
			return nil
		}
		served.Go(func() {
			defer conns.remove(conn)
			b.serve(conn)
		})
	}
}

// serve is the life of one connection. The protocol library reads, decodes and handles its packets
// on this goroutine, so that recovering here contains what it panics on.
func (b *Broker) serve(conn net.Conn) {
	remote := conn.RemoteAddr().String()
	guarded := conn
	if b.config.TLS != nil && conn.RemoteAddr().Network() != "pipe" {
		guarded = tls.Server(conn, b.config.TLS)
	}
	f := newPacketFilter(guarded, b.filtered, sync.OnceFunc(func() { <-b.waiting }))
	defer f.freeSlot()
	defer f.Close()
	defer b.sessions.release(f)
	defer func() {
		if r := recover(); r != nil {
			b.forget(f)
			b.refusals.panicked(remote, r, debug.Stack())
		}
	}()
	err := b.establish(f)
	if bad, ok := errors.AsType[refusal](err); ok {
		b.refusals.note(bad.kind, remote, bad)
	} else if f.kind != "" {
		b.refusals.note(f.kind, remote, err)
	}
}

// forget takes a client that ended in a panic out of the library's books.
func (b *Broker) forget(f *packetFilter) {
	cl := f.client
	if cl == nil {
		return
	}
	cl.Stop(errPanicked)
	if cl.IsTakenOver() {
		return
	}
	cl.ClearInflights()
	b.server.UnsubscribeClient(cl)
	b.server.Clients.Delete(cl.ID)
}

var errPanicked = errors.New("the connection ended in a panic")

// open is the set of connections, for the end of Run.
type open struct {
	mu     sync.Mutex
	conns  map[net.Conn]bool
	closed bool
}

func (o *open) add(conn net.Conn) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		conn.Close()
		return false
	}
	o.conns[conn] = true
	return true
}

func (o *open) remove(conn net.Conn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.conns, conn)
	conn.Close()
}

func (o *open) closeAll() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	for conn := range o.conns {
		conn.Close()
	}
}
