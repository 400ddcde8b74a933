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

// door lets the peers of a list in, so many at a time, each to a goroutine of its own.
type door struct {
	listener net.Listener
	allow    []netip.Prefix
	most     int
	serve    func(context.Context, net.Conn)
	log      *slog.Logger
	refused  map[netip.Addr]bool // already in the log; like full only run touches it
	full     bool                // all places are taken, and the log says so

	mu     sync.Mutex
	inside map[net.Conn]bool
}

const (
	writeLimit     = 2 * time.Second // for a peer to take what it was sent
	mostRefused    = 64              // strangers that are named in the log; more would let them fill it
	acceptPause    = 100 * time.Millisecond
	defaultClients = 8
	mostClients    = 256
)

func openDoor(c Door, serve func(context.Context, net.Conn), log *slog.Logger) (*door, error) {
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
	return &door{listener: l, allow: allow, most: most, serve: serve, log: log,
		refused: map[netip.Addr]bool{}, inside: map[net.Conn]bool{}}, nil
}

// run accepts until ctx ends and waits for all whom it let in.
func (d *door) run(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	stop := context.AfterFunc(ctx, d.close)
	defer stop()
	defer d.close()
	for {
		conn, err := d.listener.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = conn.Close()
			}
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("%s: closed by somebody else", d.listener.Addr())
		}
		if err != nil {
			// Too many open files, or a peer that was gone again: both pass.
			d.log.Warn("cannot accept", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(acceptPause):
			}
			continue
		}
		if !d.enter(conn) {
			reset(conn)
			continue
		}
		all.Go(func() {
			defer d.leave(conn)
			d.serve(ctx, conn)
		})
	}
}

// enter reports whether a peer may come in.
func (d *door) enter(conn net.Conn) bool {
	peer := netip.Addr{}
	if a, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		peer = a.AddrPort().Addr().Unmap().WithZone("")
	}
	if !slices.ContainsFunc(d.allow, func(p netip.Prefix) bool { return p.Contains(peer) }) {
		if !d.refused[peer] && len(d.refused) < mostRefused {
			d.refused[peer] = true
			d.log.Warn("peer refused; add it to allow if it belongs here", "peer", peer.String())
		}
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.inside) >= d.most {
		if d.full {
			return false
		}
		d.full = true
		d.log.Warn("peer refused: all places are taken; raise clients or close old connections", "peer", peer.String(), "clients", d.most)
		return false
	}
	d.full, d.inside[conn] = false, true
	return true
}

func (d *door) leave(conn net.Conn) {
	_ = conn.Close() // whatever the last packet's fate, the peer has gone
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.inside, conn)
}

// reset ends a connection at once. An orderly end would keep what was not taken in the kernel, and
// the socket with it, for as long as the peer pleases.
func reset(conn net.Conn) {
	if c, ok := conn.(*net.TCPConn); ok {
		_ = c.SetLinger(0)
	}
	_ = conn.Close()
}

// close ends the listener and wakes everybody inside.
func (d *door) close() {
	_ = d.listener.Close() // the second time it is closed already
	d.mu.Lock()
	defer d.mu.Unlock()
	for conn := range d.inside {
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
