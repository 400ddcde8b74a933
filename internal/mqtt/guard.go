package mqtt

import (
	"bufio"
	"fmt"
	"net"
	"sync"
	"time"
)

// guardedConn is the network connection as the client library sees it. The library trusts the broker
// and the network more than we do: it reads byte by byte, allocates whatever length a packet
// announces, indexes by the number of codes in a SUBACK, takes an unknown CONNACK code for success
// and puts no deadline on the packets it writes besides PUBLISH. It makes up for each.
type guardedConn struct {
	net.Conn
	in           *bufio.Reader
	left         int // bytes of the present packet not yet handed on; only the reader touches it
	writeTimeout time.Duration
	once         sync.Once
	lost         func(error) // called once, with the first error of the connection
}

func newGuard(conn net.Conn, writeTimeout time.Duration, lost func(error)) *guardedConn {
	return &guardedConn{Conn: conn, in: bufio.NewReaderSize(conn, 8<<10), writeTimeout: writeTimeout, lost: lost}
}

func (g *guardedConn) fail(err error) error {
	g.once.Do(func() { g.lost(err) })
	return err
}

// Read hands on the bytes of packets whose header has been checked.
func (g *guardedConn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if g.left == 0 {
		if err := g.header(); err != nil {
			return 0, g.fail(err)
		}
	}
	n, err := g.in.Read(p[:min(len(p), g.left)])
	g.left -= n
	if err != nil {
		return n, g.fail(err)
	}
	return n, nil
}

// header looks at the next packet's header without consuming it.
func (g *guardedConn) header() error {
	size, shift := 0, 0
	for i := 1; ; i++ {
		head, err := g.in.Peek(i + 1)
		if err != nil {
			return err
		}
		size |= int(head[i]&0x7f) << shift
		shift += 7
		if head[i]&0x80 == 0 {
			g.left = i + 1 + size
			break
		}
		if i == 4 {
			return fmt.Errorf("broker sent a packet with a malformed length")
		}
	}
	head, _ := g.in.Peek(1)
	return g.checkHeader(head[0]>>4, size)
}

// Packet types that a broker may send, MQTT 3.1.1 section 2.2.1.
const (
	connack  = 2
	publish  = 3
	puback   = 4
	suback   = 9
	unsuback = 11
	pingresp = 13
)

// checkHeader refuses what a broker may not send to a client that subscribes to one filter at a
// time and publishes with QoS 0 and 1.
func (g *guardedConn) checkHeader(kind byte, size int) error {
	want := -1
	switch kind {
	case publish:
		if size > MaxPacket {
			return fmt.Errorf("broker sent a message of %d bytes: %d are accepted", size, MaxPacket)
		}
		return nil
	case connack, puback, unsuback:
		want = 2
	case suback:
		want = 3
	case pingresp:
		want = 0
	}
	if size != want {
		return fmt.Errorf("broker sent a packet of type %d with %d bytes, which is not MQTT 3.1.1", kind, size)
	}
	if kind == connack {
		head, err := g.in.Peek(4)
		if err != nil {
			return err
		}
		if head[3] > 5 {
			return fmt.Errorf("broker refused the connection with the unknown code %d", head[3])
		}
	}
	return nil
}

// Write sets a deadline for every write.
func (g *guardedConn) Write(p []byte) (int, error) {
	if err := g.Conn.SetWriteDeadline(time.Now().Add(g.writeTimeout)); err != nil {
		return 0, g.fail(err)
	}
	n, err := g.Conn.Write(p)
	if err != nil {
		return n, g.fail(err)
	}
	return n, nil
}

// SetWriteDeadline does nothing: Write sets a deadline itself, and the library would lift it.
func (g *guardedConn) SetWriteDeadline(time.Time) error { return nil }

// SetDeadline bounds the handshake; the deadline of writes stays with Write.
func (g *guardedConn) SetDeadline(t time.Time) error { return g.Conn.SetReadDeadline(t) }
