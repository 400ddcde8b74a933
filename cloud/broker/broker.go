// Package broker is the MQTT broker that comes with the cloud.
//
// In: connections of sites, and of whoever may read along, over TCP, TLS or within the process; what
// the cloud publishes. Out: their messages, to the cloud by a call, and to those whose account may
// see them.
// It promises that no packet of a connection ends more than that connection, that an account
// reads, writes, retains and leaves wills only on its own topics, and that memory is bounded by
// the limits of Config whatever is sent.
// It does not keep anything: sessions end with their connection, a restart forgets retained
// messages, and messages are dropped when a connected reader is too slow; the cloud, which is called,
// is never too slow: it holds up who sends. Neither an acknowledgement nor a
// topic proves anything to the ledger; receipts and signatures do. Any MQTT 3.1.1 broker with the
// same access rules can take its place.
package broker

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"sync"
	"syscall"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"steelyard/internal/wire"
)

// Config says who may connect, and where.
type Config struct {
	Listen     string      // host:port; empty: only connections from within the process, by Dial
	TLS        *tls.Config // nil: no encryption
	Accounts   []Account   // empty: everybody is the cloud, allowed on loopback only
	MaxClients int         // connected at the same time; default 1000
	MaxWaiting int         // connections that have not shown an account yet; default 256
	// Deliver is called with each message that a connection publishes or leaves as its will, before
	// it is acknowledged, on the goroutine of that connection: while it waits, this one sender waits
	// and nobody else. A sender that waits longer than its own time-outs gives the connection up.
	Deliver func(topic string, payload []byte, retained bool)
	Log     *slog.Logger
}

// Role is what an account is for.
type Role string

const (
	Site  Role = "site"  // sends the topics of one site, reads its receipts and requests
	Cloud Role = "cloud" // reads and writes every topic of the contract
)

// Account is a name and password with its rights.
type Account struct {
	Name     string
	Password string
	Role     Role
	Site     string // the site of a site's account; empty for the cloud
}

// Stats are figures since Open, but for Clients, Waiting and Retained, which are present counts.
type Stats struct {
	Clients  int
	Waiting  int
	Retained int64
	Received int64  // messages
	Sent     int64  // messages
	Dropped  int64  // messages not given to a reader that was too slow
	Refused  uint64 // connections and packets that were refused
	Panics   uint64 // connections ended because the protocol library could not bear them
}

// Broker is an embedded MQTT broker. Open it, Run it, Close it.
type Broker struct {
	config    Config
	log       *slog.Logger
	listener  net.Listener // nil without Listen
	pipes     chan net.Conn
	server    *mochi.Server
	self      *mochi.Client        // whom Publish publishes as; it has no connection
	establish func(net.Conn) error // what serves a connection; the protocol library's entrance
	filtered  bool                 // false only in the tests that show what the filter is for
	sessions  *sessions
	waiting   chan struct{}
	refusals  refusals

	quit chan struct{}
	stop sync.Once
}

// Open checks the configuration and takes the address. Nothing is served before Run.
func Open(c Config) (*Broker, error) {
	if c.MaxClients == 0 {
		c.MaxClients = 1000
	}
	if c.MaxWaiting == 0 {
		c.MaxWaiting = 256
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	acl, err := newACL(c.Accounts)
	if err != nil {
		return nil, err
	}
	if c.MaxClients < 1 || c.MaxWaiting < 1 {
		return nil, fmt.Errorf("broker: %d clients and %d waiting: use at least 1 of each", c.MaxClients, c.MaxWaiting)
	}
	if len(c.Accounts) == 0 && c.Listen != "" {
		if !loopback(c.Listen) {
			return nil, fmt.Errorf("broker: %s can be reached from outside and there are no accounts: add accounts, or listen on 127.0.0.1", c.Listen)
		}
		c.Log.Warn("broker has no accounts: everybody on this machine may read and write everything", "listen", c.Listen)
	}
	b := &Broker{
		config:   c,
		log:      c.Log,
		pipes:    make(chan net.Conn),
		filtered: true,
		sessions: newSessions(c.MaxClients),
		waiting:  make(chan struct{}, c.MaxWaiting),
		quit:     make(chan struct{}),
	}
	b.refusals.log = c.Log
	b.server = mochi.New(options())
	if err := b.server.AddHook(&authHook{acl: acl, sessions: b.sessions, refusals: &b.refusals, server: b.server, deliver: c.Deliver}, nil); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	b.self = b.server.NewClient(nil, "steelyard", "", true)
	b.establish = func(conn net.Conn) error { return b.server.EstablishConnection("steelyard", conn) }
	if c.Listen != "" {
		b.listener, err = net.Listen("tcp", c.Listen)
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("broker: %s is in use by another program: stop it or choose another port: %w", c.Listen, err)
		} else if err != nil {
			return nil, fmt.Errorf("broker: %w", err)
		}
	}
	return b, nil
}

// options are the protocol library's, each with the reason why its default will not do.
func options() *mochi.Options {
	c := mochi.NewDefaultServerCapabilities()
	c.MaximumClients = math.MaxInt64    // counted by sessions: the library checks before it adds
	c.MaximumPacketSize = maxPacket     // default: no limit
	c.MaximumQos = 1                    // the contract uses no more
	c.MaximumClientWritesPending = 1024 // messages queued to one reader
	c.MaximumInflight = 4096            // messages sent to one reader and not acknowledged
	c.ReceiveMaximum = 256              // the window of a site
	c.TopicAliasMaximum = 0             // an alias would hide the topic from the access check
	c.MaximumSessionExpiryInterval = 0  // sessions end with their connection
	c.MaximumMessageExpiryInterval = 0  // default: retained status is thrown away after a day
	c.MinimumProtocolVersion = 4        // MQTT 3.1.1
	c.Compatibilities.NoInheritedPropertiesOnAck = true
	return &mochi.Options{
		Capabilities:           c,
		Logger:                 slog.New(slog.DiscardHandler), // it logs whole packets, passwords and all
		SysTopicResendInterval: math.MaxInt32,
	}
}

func loopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Addr is the address taken, nil when there is none.
func (b *Broker) Addr() net.Addr {
	if b.listener == nil {
		return nil
	}
	return b.listener.Addr()
}

// Publish sends a message of the cloud's to whoever reads its topic, at quality of service 1. It does
// not wait for readers.
func (b *Broker) Publish(topic string, payload []byte, retained bool) error {
	err := b.server.InjectPacket(b.self, packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1, Retain: retained},
		TopicName:   topic, Payload: payload,
		PacketID: 1, // the library wants one and uses none
	})
	if err != nil {
		return fmt.Errorf("publish %q: %w", topic, err)
	}
	return nil
}

// Dial opens a connection from within the process. It waits for Run. The connection has no buffer: a
// client that stops reading while it writes stands still with the broker until a write times out.
func (b *Broker) Dial(ctx context.Context) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case b.pipes <- far:
		return near, nil
	case <-b.quit:
		return nil, errors.New("broker is closed")
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Close stops the broker. Run, if it runs, returns when the last connection has ended.
func (b *Broker) Close() error {
	var err error
	b.stop.Do(func() {
		close(b.quit)
		if b.listener != nil {
			err = b.listener.Close()
		}
	})
	return err
}

// Stats are the broker's figures at this moment.
func (b *Broker) Stats() Stats {
	info := b.server.Info.Clone()
	refused, panics := b.refusals.count()
	return Stats{
		Clients:  b.sessions.count(),
		Waiting:  len(b.waiting),
		Retained: info.Retained,
		Received: info.MessagesReceived,
		Sent:     info.MessagesSent,
		Dropped:  info.MessagesDropped + info.InflightDropped,
		Refused:  refused,
		Panics:   panics,
	}
}

// digest lets passwords of every length be compared in the same time.
func digest(password []byte) [sha256.Size]byte { return sha256.Sum256(password) }

// root is the common part of every topic.
const root = wire.Root + "/"
