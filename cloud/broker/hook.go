package broker

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// authHook is asked by the protocol library before it lets a client, a packet or a topic through.
type authHook struct {
	mochi.HookBase
	acl      acl
	sessions *sessions
	refusals *refusals
	server   *mochi.Server
	deliver  func(topic string, payload []byte, retained bool) // nil: nobody is called
}

func (h *authHook) ID() string { return "steelyard" }

func (h *authHook) Provides(b byte) bool {
	if b == mochi.OnPublish || b == mochi.OnWillSent {
		return h.deliver != nil
	}
	return b == mochi.OnPacketRead || b == mochi.OnConnect || b == mochi.OnConnectAuthenticate || b == mochi.OnACLCheck
}

// SetOpts and Init take nothing: the hook has its own log and needs no options.
func (h *authHook) SetOpts(*slog.Logger, *mochi.HookOptions) {}
func (h *authHook) Init(any) error                           { return nil }

// reject ends a connection. The library heeds only errors that wrap ErrRejectPacket.
func reject(f *packetFilter, kind, format string, args ...any) error {
	f.kind = kind
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), packets.ErrRejectPacket)
}

// OnPacketRead sees every packet after it was decoded and before it is handled.
func (h *authHook) OnPacketRead(cl *mochi.Client, pk packets.Packet) (packets.Packet, error) {
	f, ok := cl.Net.Conn.(*packetFilter)
	if !ok {
		return pk, packets.ErrRejectPacket
	}
	switch pk.FixedHeader.Type {
	case packets.Connect:
		return sanitizeConnect(f, pk), nil
	case packets.Publish:
		// The library drops a foreign publish of quality of service 0 without a word and does
		// not look at retain. A sender that does not know its own topics is disconnected.
		if !h.acl.of(cl.Properties.Username).mayPublish(pk.TopicName, pk.FixedHeader.Retain) {
			if cl.Properties.ProtocolVersion == 5 {
				_ = h.server.DisconnectClient(cl, packets.ErrNotAuthorized)
			}
			return pk, reject(f, "topic", "%q publishes to %q (retain %t), which is not its own", cl.Properties.Username, pk.TopicName, pk.FixedHeader.Retain)
		}
	}
	return pk, nil
}

// sanitizeConnect takes out of a CONNECT what would outlive the connection or lead the library astray.
func sanitizeConnect(f *packetFilter, pk packets.Packet) packets.Packet {
	pk.Connect.Clean = true
	if pk.Connect.Keepalive == 0 || pk.Connect.Keepalive > maxKeepAlive {
		pk.Connect.Keepalive = maxKeepAlive
		f.shortened = true
	}
	pk.Connect.WillProperties.WillDelayInterval = 0 // delayed wills are kept without a limit
	pk.Properties.TopicAliasMaximum = 0
	// A client's receive maximum leads to a lock that is taken for reading twice by the same
	// goroutine, which stops the broker when another wants to write in between.
	pk.Properties.ReceiveMaximum = 0
	return pk
}

// OnConnect decides about a client. The answer is given here because the library knows only one
// reason for a refusal.
func (h *authHook) OnConnect(cl *mochi.Client, pk packets.Packet) error {
	f, ok := cl.Net.Conn.(*packetFilter)
	if !ok {
		return packets.ErrRejectPacket
	}
	no := func(code packets.Code, kind, format string, args ...any) error {
		_ = h.server.SendConnack(cl, code, false, nil) // the connection is closed either way
		return refuse(kind, format, args...)
	}
	name := cl.Properties.Username
	if !h.acl.authenticate(name, pk.Connect.Password) {
		return no(packets.ErrBadUsernameOrPassword, "account", "%.100q: unknown account or wrong password", name)
	}
	if pk.Connect.WillFlag && !h.acl.of(name).mayPublish(pk.Connect.WillTopic, pk.Connect.WillRetain) {
		return no(packets.ErrBadUsernameOrPassword, "will", "%q leaves a will on %q, which is not its own", name, pk.Connect.WillTopic)
	}
	switch err := h.sessions.claim(f, cl.ID, string(name)); err {
	case errFull:
		return no(packets.ErrServerUnavailable, "full", "%q: %w", name, err)
	case errOtherAccount:
		return no(packets.ErrClientIdentifierNotValid, "account", "%q: %w: %q", name, err, cl.ID)
	}
	f.client = cl
	cl.State.ServerKeepalive = f.shortened
	f.freeSlot()
	return nil
}

// OnConnectAuthenticate confirms what OnConnect has decided.
func (h *authHook) OnConnectAuthenticate(cl *mochi.Client, _ packets.Packet) bool {
	f, ok := cl.Net.Conn.(*packetFilter)
	return ok && f.client == cl
}

// OnPublish comes after the rights were checked and before the acknowledgement.
func (h *authHook) OnPublish(cl *mochi.Client, pk packets.Packet) (packets.Packet, error) {
	if !cl.Net.Inline {
		h.deliver(pk.TopicName, pk.Payload, pk.FixedHeader.Retain)
	}
	return pk, nil
}

// OnWillSent delivers a will, which was checked when it was left.
func (h *authHook) OnWillSent(_ *mochi.Client, pk packets.Packet) {
	h.deliver(pk.TopicName, pk.Payload, pk.FixedHeader.Retain)
}

// OnACLCheck is asked about each filter of a subscription, each topic published and each topic
// about to be delivered.
func (h *authHook) OnACLCheck(cl *mochi.Client, topic string, write bool) bool {
	a := h.acl.of(cl.Properties.Username)
	if write {
		return a.mayPublish(topic, false)
	}
	if !a.mayRead(topic) {
		h.refusals.note("topic", cl.Net.Remote, fmt.Errorf("%q may not read %q", cl.Properties.Username, topic))
		return false
	}
	return true
}

// sessions are the connected clients, by client id.
type sessions struct {
	mu     sync.Mutex
	most   int
	n      int
	owners map[string]owner
}

type owner struct {
	account string
	n       int // connections: two for the moment in which a new one takes over from the old
}

func newSessions(most int) *sessions { return &sessions{most: most, owners: map[string]owner{}} }

var (
	errFull         = fmt.Errorf("all places are taken")
	errOtherAccount = fmt.Errorf("another account is connected under this client id")
)

func (s *sessions) claim(f *packetFilter, id, account string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.owners[id]
	switch {
	case o.n > 0 && o.account != account:
		return errOtherAccount
	case s.n >= s.most:
		return errFull
	}
	s.n++
	s.owners[id] = owner{account, o.n + 1}
	f.session = id
	return nil
}

func (s *sessions) release(f *packetFilter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.session == "" {
		return
	}
	s.n--
	o := s.owners[f.session]
	if o.n--; o.n == 0 {
		delete(s.owners, f.session)
	} else {
		s.owners[f.session] = o
	}
	f.session = ""
}

func (s *sessions) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}

// refusals counts and logs what was refused: the first of a kind, then at most one a minute
// with the number of those not mentioned, because strangers decide how many there are.
type refusals struct {
	log    *slog.Logger
	mu     sync.Mutex
	total  uint64
	panics uint64
	by     map[string]*logState
}

type logState struct {
	next   time.Time
	silent int
}

func (r *refusals) note(kind, remote string, err error) {
	if more, yes := r.due(kind, false); yes {
		r.log.Warn("broker refused", "kind", kind, "remote", remote, "err", err, "more", more)
	}
}

func (r *refusals) panicked(remote string, cause any, stack []byte) {
	if more, yes := r.due("panic", true); yes {
		r.log.Error("broker ended a connection that its protocol library panicked on", "remote", remote, "err", fmt.Sprint(cause), "stack", string(stack), "more", more)
	}
}

func (r *refusals) due(kind string, panicked bool) (silent int, yes bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.total++
	if panicked {
		r.panics++
	}
	if r.by == nil {
		r.by = map[string]*logState{}
	}
	n := r.by[kind]
	if n == nil {
		n = new(logState)
		r.by[kind] = n
	}
	now := time.Now()
	if now.Before(n.next) {
		n.silent++
		return 0, false
	}
	silent, n.silent, n.next = n.silent, 0, now.Add(time.Minute)
	return silent, true
}

func (r *refusals) count() (total, panics uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.total, r.panics
}
