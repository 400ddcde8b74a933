package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"steelyard/edge/journal"
	"steelyard/internal/mqtt"
	"steelyard/internal/program"
	"steelyard/internal/wire"
)

// linkState reports whether a connection to the cloud's broker stands.
type linkState struct{ online atomic.Bool }

func (l *linkState) word() string {
	if l.online.Load() {
		return "online"
	}
	return "offline"
}

const statusEvery = 15 * time.Second

// uplink keeps the connection to the cloud and sends on it, until ctx ends or a journal must not
// be continued.
func (a *agent) uplink(ctx context.Context) error {
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	err := mqtt.Run(ctx, a.linkedMQTT(), func(ctx context.Context, s *mqtt.Session) error {
		err := a.session(ctx, s)
		if journal.Broken(err) {
			giveUp(err)
		}
		return err
	})
	if cause := context.Cause(ctx); journal.Broken(cause) {
		return cause
	}
	return err
}

// subscribe listens to the city on a new connection.
func (a *agent) subscribe(ctx context.Context, s *mqtt.Session) error {
	for _, u := range a.uplinks {
		if err := u.Subscribe(ctx, s); err != nil {
			return err
		}
	}
	return s.Subscribe(ctx, wire.RequestTopic(a.config.Site), 1, func(m mqtt.Message) {
		r, err := wire.DecodeRequest(m.Payload)
		if err != nil || m.Retained {
			return
		}
		for _, u := range a.uplinks {
			u.Request(r)
		}
		if r.Stream == wire.LiveValues {
			select {
			case a.viewings <- r:
			default: // said again as long as somebody looks
			}
		}
	})
}

// session is one connection.
func (a *agent) session(ctx context.Context, s *mqtt.Session) error {
	if err := a.subscribe(ctx, s); err != nil {
		return err
	}
	a.link.online.Store(true)
	defer a.link.online.Store(false)
	g, ctx := errgroup.WithContext(ctx)
	for _, u := range a.uplinks {
		g.Go(func() error { return u.Run(ctx, s.Start) })
	}
	g.Go(func() error { return a.publishStatus(ctx, s) })
	g.Go(func() error { return a.sendLive(ctx, s) })
	return g.Wait()
}

// publishStatus keeps the cloud informed of the site's state.
func (a *agent) publishStatus(ctx context.Context, s *mqtt.Session) error {
	status := time.NewTicker(statusEvery)
	defer status.Stop()
	version, _ := program.Version()
	sayStatus := func(ctx context.Context, online bool) error {
		st := a.records.State()
		m := wire.Status{Site: a.config.Site, Online: online, Session: s.ID(), AtMS: time.Now().UnixMilli(), Version: version,
			Last: st.Last, Backlog: st.Waiting}
		if !st.Oldest.IsZero() {
			m.Oldest = st.Oldest.UnixMilli()
		}
		return s.Publish(ctx, mqtt.Message{Topic: wire.StatusTopic(a.config.Site), Payload: m.Encode(), QoS: 1, Retained: true})
	}
	if err := sayStatus(ctx, true); err != nil {
		return err
	}
	names := wire.Machines{Site: a.config.Site, Machines: a.machineNames()}
	if err := s.Publish(ctx, mqtt.Message{Topic: wire.MachinesTopic(a.config.Site), Payload: names.Encode(), QoS: 1, Retained: true}); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			// A good-bye suppresses the last will, so it is said here; on a lost link it fails at once.
			bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			defer cancel()
			return errors.Join(context.Cause(ctx), sayStatus(bye, false))
		case <-status.C:
			if err := sayStatus(ctx, true); err != nil {
				return err
			}
		}
	}
}

// linkedMQTT are the options of the connection to the cloud.
func (a *agent) linkedMQTT() mqtt.Options {
	o := a.config.Cloud.options(a.config.Site)
	o.Password, o.Log = a.password, a.log
	o.MinBackoff, o.MaxBackoff = 500*time.Millisecond, 30*time.Second
	if a.authorities != nil {
		o.TLS = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: a.authorities}
	}
	o.Will = func(id string) mqtt.Message {
		s := wire.Status{Site: a.config.Site, Session: id}
		return mqtt.Message{Topic: wire.StatusTopic(a.config.Site), Payload: s.Encode(), QoS: 1, Retained: true}
	}
	return o
}
