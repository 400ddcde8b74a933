package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// acceptor lets the peers of a list in, so many at a time, each to a goroutine of its own.
type acceptor struct {
	listener net.Listener
	allow    []netip.Prefix
	most     int
	serve    func(context.Context, net.Conn)
	log      *slog.Logger
	refused  map[netip.Addr]bool // already in the log; like full only run touches it
	full     bool                // all places are taken, and the log says so

	mu     sync.Mutex
	active map[net.Conn]bool
}

const (
	writeLimit     = 2 * time.Second // for a peer to take what it was sent
	mostRefused    = 64              // strangers that are named in the log; more would let them fill it
	acceptPause    = 100 * time.Millisecond
	defaultClients = 8
	mostClients    = 256
)

func listen(c Listener, serve func(context.Context, net.Conn), log *slog.Logger) (*acceptor, error) {
	allow, err := prefixes(c.Allow)
	if err != nil {
		return nil, err
	}
	// A peer that lost power says nothing; keep-alives free its place.
	lc := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3}}
	l, err := lc.Listen(context.Background(), "tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("%w; is another program there, or does the address belong to another machine?", err)
	}
	most := c.Clients
	if most == 0 {
		most = defaultClients
	}
	return &acceptor{listener: l, allow: allow, most: most, serve: serve, log: log,
		refused: map[netip.Addr]bool{}, active: map[net.Conn]bool{}}, nil
}

// run accepts until ctx ends and waits for all that it accepted.
func (a *acceptor) run(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	stop := context.AfterFunc(ctx, a.close)
	defer stop()
	defer a.close()
	for {
		conn, err := a.listener.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = conn.Close()
			}
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("%s: closed by another part of the program", a.listener.Addr())
		}
		if err != nil {
			// Too many open files, or a peer that was gone again: both pass.
			a.log.Warn("cannot accept", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(acceptPause):
			}
			continue
		}
		if !a.accept(conn) {
			reset(conn)
			continue
		}
		all.Go(func() {
			defer a.release(conn)
			a.serve(ctx, conn)
		})
	}
}

// accept reports whether a peer may come in.
func (a *acceptor) accept(conn net.Conn) bool {
	peer := netip.Addr{}
	if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		peer = tcp.AddrPort().Addr().Unmap().WithZone("")
	}
	if !slices.ContainsFunc(a.allow, func(p netip.Prefix) bool { return p.Contains(peer) }) {
		if !a.refused[peer] && len(a.refused) < mostRefused {
			a.refused[peer] = true
			a.log.Warn("peer refused: add it to allow if it belongs here", "peer", peer.String())
		}
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.active) >= a.most {
		if a.full {
			return false
		}
		a.full = true
		a.log.Warn("peer refused: all places are taken; raise clients or close old connections", "peer", peer.String(), "clients", a.most)
		return false
	}
	a.full, a.active[conn] = false, true
	return true
}

func (a *acceptor) release(conn net.Conn) {
	_ = conn.Close() // whatever the last packet's fate, the peer has gone
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.active, conn)
}

// reset ends a connection at once. An orderly end would keep what was not taken in the kernel, and
// the socket with it, for as long as the peer pleases.
func reset(conn net.Conn) {
	if c, ok := conn.(*net.TCPConn); ok {
		_ = c.SetLinger(0)
	}
	_ = conn.Close()
}

// close ends the listener and wakes every connection.
func (a *acceptor) close() {
	_ = a.listener.Close() // the second time it is closed already
	a.mu.Lock()
	defer a.mu.Unlock()
	for conn := range a.active {
		_ = conn.Close()
	}
}

// prefixes reads addresses ("192.168.10.7") and networks ("192.168.10.0/24").
func prefixes(texts []string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			a, err := netip.ParseAddr(text)
			if err != nil || a.Zone() != "" {
				return nil, fmt.Errorf("peer %.60q: write an address like 192.168.10.7 or a network like 192.168.10.0/24", text)
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		if p.Addr().Is4In6() {
			return nil, fmt.Errorf("peer %.60q: write the IPv4 address as it is", text)
		}
		if p.Masked() != p {
			return nil, fmt.Errorf("peer %.60q: has bits behind its length; write %s", text, p.Masked())
		}
		all = append(all, p)
	}
	return all, nil
}
