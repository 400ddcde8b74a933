package service

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"steelyard/cloud/broker"
	"steelyard/internal/config"
	"steelyard/internal/mqtt"
	"steelyard/internal/wire"
)

var errNoLink = errors.New("not connected to the broker; receipts are resent on reconnect")

// openBroker opens the embedded broker, or takes down where another one is.
func (p *platform) openBroker() (err error) {
	c := p.config.Broker
	p.link = mqtt.Options{URL: c.URL, Client: "cloud", Username: c.Username, Log: p.log, MinBackoff: 500 * time.Millisecond, MaxBackoff: 10 * time.Second}
	if c.PasswordFile != "" {
		if p.link.Password, err = config.Password(c.PasswordFile); err != nil {
			return err
		}
	}
	if c.CAFile != "" {
		authorities, err := config.Authorities(c.CAFile)
		if err != nil {
			return err
		}
		p.link.TLS = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: authorities}
	}
	if c.URL != "" {
		for _, warning := range mqtt.Warnings(p.link) {
			p.log.Warn(warning)
		}
		return nil
	}
	var accounts []broker.Account
	for _, s := range p.config.Sites {
		if s.PasswordFile == "" {
			continue
		}
		password, err := config.Password(s.PasswordFile)
		if err != nil {
			return err
		}
		accounts = append(accounts, broker.Account{Name: s.ID, Password: password, Role: broker.Site, Site: s.ID})
	}
	secure, err := certificate(c)
	if err != nil {
		return err
	}
	p.broker, err = broker.Open(broker.Config{Listen: c.Listen, TLS: secure, Accounts: accounts, MaxClients: c.MaxClients, Log: p.log,
		Deliver: p.handleMessage})
	return err
}

// certificate loads what the embedded broker shows to the edges; nil without TLS.
func certificate(c Broker) (*tls.Config, error) {
	if c.CertFile == "" {
		return nil, nil
	}
	chain, err := config.ReadFile(c.CertFile)
	if err != nil {
		return nil, fmt.Errorf("broker certificate: %w", err)
	}
	key, err := config.Secret(c.KeyFile)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, fmt.Errorf("broker certificate %s with key %s: %w", c.CertFile, c.KeyFile, err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}, nil
}

// handleMessage takes a message from the embedded broker, on the goroutine of the site's connection: no
// queue lies between them that could overflow, and no second connection that could fail.
func (p *platform) handleMessage(topic string, payload []byte, retained bool) {
	switch _, rest, _ := wire.SplitTopic(topic); rest {
	case "status", "live", "machines":
		p.handleLive(topic, payload)
	default:
		p.ingest.HandleOwn(topic, payload, retained)
	}
}

func (p *platform) handleLive(topic string, payload []byte) {
	if err := p.live.Message(topic, payload); err != nil {
		if more, say := p.liveLog.note(topic, time.Now()); say {
			p.log.Warn("live message or status refused", "topic", topic, "bytes", len(payload), "err", err, "more", more)
		}
	}
}

// publish sends by the embedded broker or on the present connection. What is lost with it is
// announced on the next.
func (p *platform) publish(ctx context.Context, topic string, payload []byte, retained bool) error {
	if p.broker != nil {
		return p.broker.Publish(topic, payload, retained)
	}
	s := p.session.Load()
	if s == nil {
		return errNoLink
	}
	return s.Publish(ctx, mqtt.Message{Topic: topic, Payload: payload, QoS: 1, Retained: retained})
}

// runBroker runs the embedded broker, or keeps the connection to another one, until ctx ends.
func (p *platform) runBroker(ctx context.Context) error {
	if p.broker == nil {
		return mqtt.Run(ctx, p.link, p.runSession)
	}
	if err := p.ingest.Announce(ctx); err != nil {
		return err
	}
	return p.broker.Run(ctx)
}

// runSession is one connection to a broker.
func (p *platform) runSession(ctx context.Context, s *mqtt.Session) error {
	p.session.Store(s)
	defer p.session.CompareAndSwap(s, nil)
	handleBatch := func(m mqtt.Message) { p.ingest.Handle(m.Topic, m.Payload, m.Retained) }
	handleLive := func(m mqtt.Message) { p.handleLive(m.Topic, m.Payload) }
	for _, sub := range []struct {
		topic  string
		qos    byte
		handle func(mqtt.Message)
	}{{wire.AllRecords, 1, handleBatch}, {wire.AllSamples, 1, handleBatch}, {wire.AllStatus, 1, handleLive}, {wire.AllMachines, 1, handleLive}, {wire.AllLive, 0, handleLive}} {
		if err := s.Subscribe(ctx, sub.topic, sub.qos, sub.handle); err != nil {
			return err
		}
	}
	if err := p.ingest.Announce(ctx); err != nil {
		return err
	}
	<-ctx.Done()
	return context.Cause(ctx)
}
