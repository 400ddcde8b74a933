package broker

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// Limits of what a connection may send and how long it may take.
const (
	maxPacket    = 256 << 10        // bytes of a packet, its header included
	maxConnect   = 8 << 10          // bytes of the first packet, from somebody unknown
	connectTime  = 10 * time.Second // from accept to the complete CONNECT, TLS included
	writeTime    = 10 * time.Second // one write to a reader that does not read
	maxKeepAlive = 600              // s; none, or a longer one, counts as this
	maxTopic     = 256              // bytes
	maxLevels    = 8                // of a topic
	maxFilters   = 32               // of one SUBSCRIBE or UNSUBSCRIBE
	maxClientID  = 128              // bytes
	maxUser      = 16               // user properties of one packet, MQTT 5
)

// refusal is an error with the kind it is counted and logged under.
type refusal struct {
	kind string
	err  error
}

func (r refusal) Error() string { return r.err.Error() }
func (r refusal) Unwrap() error { return r.err }

func refuse(kind, format string, args ...any) error {
	return refusal{kind, fmt.Errorf(format, args...)}
}

// packetFilter is a connection that lets only whole, decodable and permitted packets through to the
// protocol library. It reads a packet, decodes it with the library's own decoder where a panic
// does no harm, looks at it, and only then hands on the bytes.
type packetFilter struct {
	net.Conn
	in       *bufio.Reader
	on       bool
	packet   []byte // of the present packet, not yet handed on
	version  byte   // of the protocol, 0 before CONNECT
	freeSlot func() // gives its handshake slot back, once

	// Set by the hook while it greets the client; all on the connection's goroutine.
	client    *mochi.Client
	session   string // the client id it holds, empty for none
	shortened bool   // the keep-alive was
	kind      string // why the hook ended the connection
}

func newPacketFilter(conn net.Conn, on bool, freeSlot func()) *packetFilter {
	// The library sets its first deadline after CONNECT; until then this one stands.
	_ = conn.SetReadDeadline(time.Now().Add(connectTime))
	return &packetFilter{Conn: conn, in: bufio.NewReaderSize(conn, 4<<10), on: on, freeSlot: freeSlot}
}

// Read hands on bytes of checked packets, never of two at once.
func (f *packetFilter) Read(p []byte) (int, error) {
	if !f.on {
		return f.in.Read(p)
	}
	if len(f.packet) == 0 {
		if err := f.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, f.packet)
	f.packet = f.packet[n:]
	return n, nil
}

// next reads and checks one packet.
func (f *packetFilter) next() error {
	header := make([]byte, 1, 5)
	if _, err := io.ReadFull(f.in, header); err != nil {
		return f.slow(err)
	}
	size := 0
	for shift := 0; ; shift += 7 {
		c, err := f.in.ReadByte()
		if err != nil {
			return f.slow(err)
		}
		header = append(header, c)
		size |= int(c&0x7f) << shift
		if c&0x80 == 0 {
			break
		}
		if shift == 21 {
			return refuse("malformed", "packet length of more than four bytes")
		}
	}
	limit := maxPacket
	if f.version == 0 {
		limit = maxConnect
		if header[0]>>4 != packets.Connect {
			return refuse("malformed", "first packet is of type %d, not CONNECT", header[0]>>4)
		}
	}
	if len(header)+size > limit {
		return refuse("oversize", "packet of %d bytes, %d are allowed", len(header)+size, limit)
	}
	packet := make([]byte, len(header)+size)
	copy(packet, header)
	if _, err := io.ReadFull(f.in, packet[len(header):]); err != nil {
		return f.slow(err)
	}
	pk, err := decode(header[0], packet[len(header):], f.version)
	if err != nil {
		return refusal{"malformed", err}
	}
	if err := checkLimits(pk, f.version); err != nil {
		return err
	}
	if f.version == 0 {
		f.version = pk.ProtocolVersion
	}
	f.packet = packet
	return nil
}

// slow tells a connection that never said CONNECT from one that merely ended.
func (f *packetFilter) slow(err error) error {
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() && f.version == 0 {
		return refuse("slow", "no complete CONNECT within %v", connectTime)
	}
	return err
}

// decode runs the library's decoder over one packet and makes an error of its panics.
func decode(head byte, body []byte, version byte) (pk packets.Packet, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("packet of type %d that the decoder panics on: %v", head>>4, r)
		}
	}()
	pk.ProtocolVersion = version
	if err := pk.FixedHeader.Decode(head); err != nil {
		return pk, err
	}
	pk.FixedHeader.Remaining = len(body)
	switch pk.FixedHeader.Type {
	case packets.Connect:
		err = pk.ConnectDecode(body)
	case packets.Publish:
		err = pk.PublishDecode(body)
	case packets.Puback:
		err = pk.PubackDecode(body)
	case packets.Subscribe:
		err = pk.SubscribeDecode(body)
	case packets.Unsubscribe:
		err = pk.UnsubscribeDecode(body)
	case packets.Pingreq:
		if len(body) > 0 {
			err = errors.New("PINGREQ with content")
		}
	case packets.Disconnect:
		err = pk.DisconnectDecode(body)
	default:
		err = fmt.Errorf("packet of type %d: only a broker may send it, or it belongs to quality of service 2", head>>4)
	}
	return pk, err
}

// checkLimits refuses what decodes but goes beyond the limits.
func checkLimits(pk packets.Packet, version byte) error {
	if len(pk.Properties.User) > maxUser || len(pk.Connect.WillProperties.User) > maxUser {
		return refuse("malformed", "more than %d user properties", maxUser)
	}
	switch pk.FixedHeader.Type {
	case packets.Connect:
		if version != 0 {
			return refuse("malformed", "second CONNECT")
		}
		if pk.ProtocolVersion != 4 && pk.ProtocolVersion != 5 {
			return refuse("malformed", "protocol version %d: MQTT 3.1.1 and 5 are spoken here", pk.ProtocolVersion)
		}
		if len(pk.Connect.ClientIdentifier) > maxClientID || controls(pk.Connect.ClientIdentifier) {
			return refuse("malformed", "client id of %d bytes: use up to %d, without control characters", len(pk.Connect.ClientIdentifier), maxClientID)
		}
		if pk.Properties.AuthenticationMethod != "" {
			return refuse("malformed", "extended authentication is not offered")
		}
		if pk.Connect.WillFlag {
			return topic(pk.Connect.WillTopic, false)
		}
	case packets.Publish:
		if pk.FixedHeader.Qos > 1 {
			return refuse("malformed", "quality of service 2 is not offered")
		}
		return topic(pk.TopicName, false)
	case packets.Subscribe, packets.Unsubscribe:
		if pk.PacketID == 0 || len(pk.Filters) == 0 || len(pk.Filters) > maxFilters {
			return refuse("malformed", "%d filters under packet id %d: use 1 to %d under an id", len(pk.Filters), pk.PacketID, maxFilters)
		}
		for _, sub := range pk.Filters {
			if err := topic(sub.Filter, true); err != nil {
				return err
			}
		}
	}
	return nil
}

// topic checks length, depth and characters of a topic name or, with wild, of a filter. UTF-8 and
// NUL are the decoder's business.
func topic(name string, wild bool) error {
	levels := strings.Count(name, "/") + 1
	if wild && strings.HasPrefix(name, "$share/") {
		levels -= 2
	}
	switch {
	case name == "" || len(name) > maxTopic:
		return refuse("malformed", "topic of %d bytes: use 1 to %d", len(name), maxTopic)
	case levels > maxLevels:
		return refuse("malformed", "topic of %d levels: use up to %d", levels, maxLevels)
	case controls(name):
		return refuse("malformed", "topic with control characters")
	case !wild && strings.ContainsAny(name, "+#"):
		return refuse("malformed", "topic with wildcards")
	}
	return nil
}

func controls(text string) bool {
	return strings.ContainsFunc(text, func(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 })
}

// Write gives up a reader that does not read, and with it the connection: the library goes on
// after a failed write.
func (f *packetFilter) Write(p []byte) (int, error) {
	err := f.Conn.SetWriteDeadline(time.Now().Add(writeTime))
	n := 0
	if err == nil {
		n, err = f.Conn.Write(p)
	}
	if err != nil {
		f.Conn.Close()
	}
	return n, err
}

// SetDeadline is how the library asks for the keep-alive. Write sets its own.
func (f *packetFilter) SetDeadline(t time.Time) error { return f.Conn.SetReadDeadline(t) }
