// Package mqtt keeps a program connected to an MQTT 3.1.1 broker: [Run] makes one connection after the
// other, and a [Session] subscribes and publishes on each.
//
// In: the broker's address and a function to run on each connection. Out: that function is called
// once per connection with a Session to subscribe and publish on.
// It promises that each connection is a new client with a new id, that nothing it does blocks for
// longer than the time-outs in [Options], that a refused subscription is an error, that messages
// leave in the order they were started, and that a message in flight when the link drops ends in
// an error.
// It does not promise delivery. A nil error from Publish says that the broker has the message, and
// a broker may lose or drop what it has acknowledged: proof of delivery comes from the receiver.
// It keeps nothing across connections, neither subscriptions nor messages.
package mqtt

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"time"
)

// MaxPacket is the largest packet that is accepted from a broker, and the largest payload that is
// sent to one.
const MaxPacket = 1 << 20

// Message is one application message.
type Message struct {
	Topic    string
	Payload  []byte // belongs to the receiver; a sender leaves it alone until the result is there
	QoS      byte   // 0 or 1
	Retained bool
}

// Options say where the broker is and how patient to be. Zero durations mean the default.
type Options struct {
	URL      string // tcp://host:port, or ssl://host:port; ports 1883 and 8883 when left out
	Client   string // prefix of the client id; each connection adds "-" and a random part
	Username string // empty: none is sent
	Password string
	TLS      *tls.Config // for ssl; nil: the system's authorities, TLS 1.2 or better

	KeepAlive      time.Duration // silence after which the broker is asked; default 20 s, at least 1 s
	ConnectTimeout time.Duration // dial, TLS and CONNACK together, and each ping; default 10 s
	WriteTimeout   time.Duration // one write to the network; default 5 s
	AckTimeout     time.Duration // PUBACK or SUBACK; the connection ends without it; default 30 s
	MinBackoff     time.Duration // pause before the first new attempt; default 1 s
	MaxBackoff     time.Duration // default 30 s

	Will func(id string) Message // what the broker says when the connection of that client id is lost; may be nil

	Log *slog.Logger // nil: silent

	Failed func(err error) // called with the error of each connection that never came up or was lost; may be nil

	// Dial opens the connection in place of the address in URL; the scheme still decides about TLS.
	Dial func(ctx context.Context) (net.Conn, error)
}

// withDefaults fills what was left at zero.
func (o Options) withDefaults() Options {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&o.KeepAlive, 20 * time.Second},
		{&o.ConnectTimeout, 10 * time.Second},
		{&o.WriteTimeout, 5 * time.Second},
		{&o.AckTimeout, 30 * time.Second},
		{&o.MinBackoff, time.Second},
		{&o.MaxBackoff, 30 * time.Second},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	o.MaxBackoff = max(o.MaxBackoff, o.MinBackoff)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// Check returns what in o can never work, all of it at once; nil when nothing is wrong. What works
// but is unwise is in [Warnings].
func Check(o Options) error {
	var errs []error
	if _, _, err := address(o.URL); err != nil {
		errs = append(errs, err)
	}
	if o.Client == "" || len(o.Client) > 100 || strings.ContainsFunc(o.Client, func(r rune) bool { return r <= ' ' || r > '~' }) {
		errs = append(errs, fmt.Errorf("mqtt client id %.40q: use 1 to 100 printable ASCII characters", o.Client))
	}
	if o.Password != "" && o.Username == "" {
		errs = append(errs, errors.New("mqtt password without a username: name the account it belongs to"))
	}
	if o.KeepAlive != 0 && (o.KeepAlive < time.Second || o.KeepAlive > 10*time.Minute) {
		errs = append(errs, fmt.Errorf("mqtt keep-alive %v: use 1 s to 10 min", o.KeepAlive))
	}
	durations := []time.Duration{o.ConnectTimeout, o.WriteTimeout, o.AckTimeout, o.MinBackoff, o.MaxBackoff}
	for i, name := range []string{"connect time-out", "write time-out", "acknowledge time-out", "shortest back-off", "longest back-off"} {
		if d := durations[i]; d < 0 || d > time.Hour {
			errs = append(errs, fmt.Errorf("mqtt %s %v: use 0 (the default) to 1 h", name, d))
		}
	}
	return errors.Join(errs...)
}

// Warnings returns what in o works but should be known to the operator.
func Warnings(o Options) []string {
	var out []string
	secure, host, err := address(o.URL)
	if err != nil {
		return nil
	}
	if name, _, err := net.SplitHostPort(host); err == nil && !secure && o.Password != "" && o.Dial == nil && !isLoopback(name) {
		out = append(out, fmt.Sprintf("the mqtt password travels unencrypted to %s: use ssl://", host))
	}
	if o.TLS != nil && o.TLS.InsecureSkipVerify {
		out = append(out, "the mqtt broker's certificate is not verified: name its authority instead")
	}
	return out
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// address takes a broker's URL apart.
func address(text string) (secure bool, hostport string, err error) {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" {
		return false, "", fmt.Errorf("mqtt url %.80q: use tcp://host:port or ssl://host:port", redact(text))
	}
	if u.User != nil {
		return false, "", fmt.Errorf("mqtt url to %s carries credentials: use username and password instead", u.Host)
	}
	port := u.Port()
	switch u.Scheme {
	case "tcp", "mqtt":
		if port == "" {
			port = "1883"
		}
	case "ssl", "tls", "mqtts":
		secure = true
		if port == "" {
			port = "8883"
		}
	default:
		return false, "", fmt.Errorf("mqtt url %.80q: scheme %q is not known, use tcp or ssl", text, u.Scheme)
	}
	if (u.Path != "" && u.Path != "/") || u.RawQuery != "" || u.Fragment != "" {
		return false, "", fmt.Errorf("mqtt url %.80q: nothing may follow the port", text)
	}
	return secure, net.JoinHostPort(u.Hostname(), port), nil
}

// redact keeps what may be a password out of an error message.
func redact(text string) string {
	if i := strings.LastIndexByte(text, '@'); i >= 0 {
		return "…" + text[i:]
	}
	return text
}

// dial opens the network connection, with TLS where the scheme asks for it.
func (o Options) dial(ctx context.Context) (net.Conn, error) {
	secure, hostport, err := address(o.URL)
	if err != nil {
		return nil, err
	}
	var conn net.Conn
	if o.Dial != nil {
		conn, err = o.Dial(ctx)
	} else {
		conn, err = new(net.Dialer).DialContext(ctx, "tcp", hostport)
	}
	if err != nil || !secure {
		return conn, err
	}
	config := o.TLS.Clone()
	if config == nil {
		config = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(hostport)
	}
	guarded := tls.Client(conn, config)
	if err := guarded.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("tls to %s: %w", hostport, err), conn.Close())
	}
	return guarded, nil
}
