package mqtt

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"

	"steelyard/internal/retry"
)

// Run connects, calls session once per connection, and connects again after a jittered pause,
// until ctx ends; then it returns nil. Only options that can never work make it return an error.
//
// The context of a session ends when the link is lost, with the cause, and when ctx ends. In the
// second case the link is still up and the session may say good-bye before it returns; Run waits
// for it. After ctx has ended, and after a session that returned nil, the broker is told that the
// end is meant and the will is not sent. After a session that returned an error the link is cut,
// so that the broker sends the will.
func Run(ctx context.Context, o Options, session func(ctx context.Context, s *Session) error) error {
	if err := Check(o); err != nil {
		return err
	}
	o = o.withDefaults()
	state := connLog{log: o.Log.With("broker", o.URL)}
	pauses := retry.Policy{Min: o.MinBackoff, Max: o.MaxBackoff, Jitter: true}
	for attempt := 0; ; attempt++ {
		began := time.Now()
		err := connect(ctx, o, &state, session)
		if ctx.Err() != nil {
			return nil
		}
		state.down(err)
		if o.Failed != nil {
			o.Failed(err)
		}
		if time.Since(began) > o.MaxBackoff {
			attempt = 0
		}
		if !retry.Sleep(ctx, pauses.After(attempt)) {
			return nil
		}
	}
}

// refusal is a connection that never came up.
type refusal struct{ cause error }

func (r refusal) Error() string { return r.cause.Error() }
func (r refusal) Unwrap() error { return r.cause }

// errSessionDone is the result of a session that returned nil.
var errSessionDone = errors.New("the session ended by itself")

// connect is one connection from dial to the last goroutine.
func connect(ctx context.Context, o Options, state *connLog, session func(context.Context, *Session) error) error {
	dialing, cancel := context.WithTimeout(ctx, o.ConnectTimeout)
	defer cancel()
	conn, err := o.dial(dialing)
	if err != nil {
		return refusal{err}
	}
	link, drop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer drop(nil)
	guarded := newGuard(conn, o.WriteTimeout, drop)

	id := o.Client + "-" + strings.ToLower(rand.Text()[:12])
	client := paho.NewClient(o.library(id, guarded, drop))
	token := client.Connect()
	select {
	case <-token.Done():
	case <-ctx.Done():
		guarded.Close()
		<-token.Done()
	}
	if err := token.Error(); err != nil {
		guarded.Close()
		if cause := context.Cause(link); cause != nil && !errors.Is(err, cause) {
			err = fmt.Errorf("%w: %w", err, cause)
		}
		return refusal{err}
	}

	sessionCtx, stop := context.WithCancelCause(link)
	defer stop(nil)
	defer context.AfterFunc(ctx, func() { stop(context.Cause(ctx)) })()

	s := newSession(id, o, client, link, drop)
	if link.Err() == nil {
		state.up(id)
		err = session(sessionCtx, s)
	}
	cut := err != nil && ctx.Err() == nil
	if cause := context.Cause(link); cause != nil {
		err = cause
	} else if err == nil {
		err = errSessionDone
	}
	if cut {
		guarded.Close()
	}
	// The library's Disconnect returns when all its goroutines have, or when the time is up; the
	// second one, on a closed connection, finds nothing left to wait for but them.
	client.Disconnect(uint(min(o.WriteTimeout, time.Second).Milliseconds()))
	guarded.Close()
	client.Disconnect(uint(o.WriteTimeout.Milliseconds()))
	s.finish()
	return err
}

// library is the client library's share of the options. Reconnecting, resuming and storing are
// switched off: each of them completes publishes that were never received, or loses subscriptions.
func (o Options) library(id string, conn net.Conn, drop context.CancelCauseFunc) *paho.ClientOptions {
	p := paho.NewClientOptions().
		AddBroker("tcp://unused").
		SetCustomOpenConnectionFn(func(*url.URL, paho.ClientOptions) (net.Conn, error) { return conn, nil }).
		SetClientID(id).
		SetUsername(o.Username).
		SetPassword(o.Password).
		SetProtocolVersion(4).
		SetCleanSession(true).
		SetAutoReconnect(false).
		SetConnectRetry(false).
		SetResumeSubs(false).
		SetOrderMatters(true).
		SetKeepAlive(o.KeepAlive).
		SetPingTimeout(o.ConnectTimeout).
		SetConnectTimeout(o.ConnectTimeout).
		SetWriteTimeout(o.WriteTimeout).
		SetConnectionLostHandler(func(_ paho.Client, err error) { drop(err) })
	if o.Will != nil {
		will := o.Will(id)
		p.SetBinaryWill(will.Topic, will.Payload, will.QoS, will.Retained)
	}
	return p
}

// connLog writes down changes of the connection's state, not each attempt.
type connLog struct {
	log       *slog.Logger
	last      string // what was logged last: a kind of event, without addresses that change
	downSince time.Time
}

func (l *connLog) up(id string) {
	if l.last != "" {
		l.log.Info("broker connected", "client", id, "after", time.Since(l.downSince).Round(time.Second))
	} else {
		l.log.Info("broker connected", "client", id)
	}
	l.last = "up"
}

func (l *connLog) down(err error) {
	kind, remedy := diagnose(err)
	if l.last == "up" || l.last == "" {
		l.downSince = time.Now()
	}
	if l.last == kind {
		return
	}
	l.last = kind
	if remedy != "" {
		l.log.Error("broker refused the connection", "err", err, "remedy", remedy)
		return
	}
	if _, never := errors.AsType[refusal](err); never {
		l.log.Warn("broker not reached", "err", err)
	} else {
		l.log.Warn("broker connection lost", "err", err)
	}
}

// diagnose names the kind of an error and, for a refusal that an operator can mend, the remedy.
func diagnose(err error) (kind, remedy string) {
	if _, never := errors.AsType[refusal](err); !never {
		return "lost", ""
	}
	switch {
	case errors.Is(err, packets.ErrorRefusedBadProtocolVersion):
		return "version", "the broker does not speak MQTT 3.1.1: use another one"
	case errors.Is(err, packets.ErrorRefusedIDRejected):
		return "id", "the broker does not accept this client id: choose another client prefix"
	case errors.Is(err, packets.ErrorRefusedServerUnavailable):
		return "unavailable", "the broker is full or shutting down: raise its limit of clients"
	case errors.Is(err, packets.ErrorRefusedBadUsernameOrPassword), errors.Is(err, packets.ErrorRefusedNotAuthorised):
		return "account", "check username and password, and that the account may leave this will"
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "certificate", "the broker's certificate is not from a known authority, or is for another name: check the authority file and the host in the url"
	}
	return "unreachable", ""
}
