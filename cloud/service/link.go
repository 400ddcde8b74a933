package service

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"steelyard/cloud/broker"
	"steelyard/internal/config"
	"steelyard/internal/mqtt"
	"steelyard/internal/wire"
)

var errNoLink = errors.New("no connection to the broker: it is said again at the next one")

// openBroker opens the embedded broker, or takes down where another one is.
func (p *parts) openBroker() (err error) {
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
	if len(accounts) > 0 {
		p.link.Username, p.link.Password = "cloud", rand.Text()
		accounts = append(accounts, broker.Account{Name: p.link.Username, Password: p.link.Password, Role: broker.Cloud})
	}
	secure, err := certificate(c)
	if err != nil {
		return err
	}
	p.broker, err = broker.Open(broker.Config{Listen: c.Listen, TLS: secure, Accounts: accounts, MaxClients: c.MaxClients, Log: p.log})
	if err != nil {
		return err
	}
	p.link.URL, p.link.Dial = "tcp://embedded:1883", p.broker.Dial
	return nil
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

// publish sends on the present connection. What is lost with it is announced on the next.
func (p *parts) publish(ctx context.Context, topic string, payload []byte, retained bool) error {
	s := p.session.Load()
	if s == nil {
		return errNoLink
	}
	return s.Publish(ctx, mqtt.Message{Topic: topic, Payload: payload, QoS: 1, Retained: retained})
}

// connected is one connection to the broker.
func (p *parts) connected(ctx context.Context, s *mqtt.Session) error {
	p.session.Store(s)
	defer p.session.CompareAndSwap(s, nil)
	money := func(m mqtt.Message) { p.ingest.Handle(m.Topic, m.Payload, m.Retained) }
	show := func(m mqtt.Message) {
		if err := p.live.Message(m.Topic, m.Payload); err != nil {
			p.log.Debug("live message refused", "topic", m.Topic, "err", err)
		}
	}
	for _, sub := range []struct {
		topic  string
		qos    byte
		handle func(mqtt.Message)
	}{{wire.AllRecords, 1, money}, {wire.AllSamples, 1, money}, {wire.AllStatus, 1, show}, {wire.AllLive, 0, show}} {
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
