// Package service is the whole cloud put together.
//
// In: the city's configuration. Out: a running cloud that takes in what the sites send, keeps the
// account, makes tonnes and curves of it and shows them, until it is told to stop.
// It promises that a mistake in the configuration, a port in use or an account that can't be
// opened stops it before anything starts, with one line per fault.
// It contains no rule about entries or tonnes: those are the packages it connects.
package service

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"steelyard/cloud/broker"
	"steelyard/cloud/ingest"
	"steelyard/cloud/ledger"
	"steelyard/cloud/rollup"
	"steelyard/cloud/telemetry"
	"steelyard/cloud/web"
	"steelyard/internal/chain"
	"steelyard/internal/config"
	"steelyard/internal/durable"
	"steelyard/internal/material"
	"steelyard/internal/mqtt"
	"steelyard/internal/program"
	"steelyard/internal/wire"
)

// Run is the cloud program: it reads the flags and the file they name, and runs until ctx ends.
func Run(ctx context.Context, env program.Env) error {
	path, check, err := env.ConfigFlags("cloud", "cloud [-config cloud.yaml] [-check] | cloud demo [flags]")
	if err != nil {
		return err
	}
	c, err := Read(path)
	if err != nil {
		return err
	}
	if check {
		fmt.Fprintf(env.Stdout, "%s: %d sites: good\n", path, len(c.Sites))
		return nil
	}
	return Start(ctx, c, env.Log)
}

// parts are what the cloud is made of, opened before anything starts.
type parts struct {
	config   Config
	log      *slog.Logger
	key      chain.Key
	menu     *material.Catalogue
	unlock   func() error // gives the data folder back
	listener net.Listener
	broker   *broker.Broker // nil when another one is used
	link     mqtt.Options
	ledger   *ledger.Ledger
	rollup   *rollup.Rollup
	store    telemetry.Store
	history  *telemetry.History // the store, when it is the embedded one
	tonnes   *telemetry.Tonnes
	live     *telemetry.Live
	ingest   *ingest.Ingest
	session  atomic.Pointer[mqtt.Session]
}

// Start runs the cloud until ctx ends.
func Start(ctx context.Context, c Config, log *slog.Logger) (err error) {
	if err := program.CheckClock(time.Now()); err != nil {
		return err
	}
	p := &parts{config: c, log: log}
	defer func() { err = errors.Join(err, p.close()) }()
	if err := p.open(ctx); err != nil {
		return err
	}
	return p.run(ctx)
}

func (p *parts) open(ctx context.Context) (err error) {
	c := p.config
	if p.menu, err = material.Open(c.Materials); err != nil {
		return err
	}
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return fmt.Errorf("data folder: %w: create it, or name another as data", err)
	}
	if p.key, err = program.OpenKey(filepath.Join(c.Data, "cloud.key")); err != nil {
		return err
	}
	if p.unlock, err = durable.Lock(filepath.Join(c.Data, "lock")); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	if p.listener, err = net.Listen("tcp", c.Listen); err != nil {
		return fmt.Errorf("pages: %w: end the program that uses it, or choose another listen", err)
	}
	if err := p.openBroker(); err != nil {
		return err
	}
	path := c.Ledger
	if path == "" {
		path = filepath.Join(c.Data, "ledger.db")
	}
	if p.ledger, err = ledger.Open(ctx, path, p.log); err != nil {
		return err
	}
	keys := map[string]chain.PublicKey{}
	for _, s := range c.Sites {
		key, err := chain.ParsePublicKey(s.Key)
		if err != nil {
			return fmt.Errorf("site %s: %w", s.ID, err)
		}
		if err := p.ledger.Enrol(ctx, s.ID, key, time.Now()); err != nil {
			return err
		}
		keys[s.ID] = key
	}
	if p.rollup, err = rollup.Open(ctx, p.ledger, func(name string, at time.Time) (string, error) {
		category, err := p.menu.Category(name, at)
		return category.Code, err
	}, p.log); err != nil {
		return err
	}
	if err := p.openTelemetry(ctx); err != nil {
		return err
	}
	return p.openIngest(keys)
}

// openBroker opens the embedded broker, or takes down where another one is.
func (p *parts) openBroker() (err error) {
	c := p.config.Broker
	p.link = mqtt.Options{URL: c.URL, Client: "cloud", Username: c.Username, Log: p.log, MinBackoff: 500 * time.Millisecond, MaxBackoff: 10 * time.Second}
	if c.PasswordFile != "" {
		if p.link.Password, err = config.Password(c.PasswordFile); err != nil {
			return err
		}
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

func (p *parts) openTelemetry(ctx context.Context) (err error) {
	cursor := fileCursor(filepath.Join(p.config.Data, "influx.cursor"))
	load, save := cursor.load, cursor.save
	if in := p.config.Influx; in.URL != "" {
		token := ""
		if in.TokenFile != "" {
			if token, err = config.Password(in.TokenFile); err != nil {
				return err
			}
		}
		influx, err := telemetry.NewInflux(telemetry.InfluxConfig{URL: in.URL, Org: in.Org, Bucket: in.Bucket, Token: token, Log: p.log})
		if err != nil {
			return err
		}
		p.store = influx
	} else {
		path := filepath.Join(p.config.Data, "history.db")
		if p.history, err = telemetry.OpenHistory(ctx, telemetry.HistoryConfig{Path: path, Log: p.log}); err != nil {
			cause, _, _ := strings.Cut(err.Error(), "\n") // the database says the same again for each of its connections
			return fmt.Errorf("%s: check the disk, or move %s away: it holds curves only, no tonnes", cause, path)
		}
		p.store, load, save = p.history, p.history.LoadCursor, p.history.SaveCursor
	}
	p.tonnes = telemetry.NewTonnes(telemetry.TonnesConfig{Next: p.rollup.PostingsAfter, Load: load, Save: save, Store: p.store, Log: p.log})
	var sites []string
	for _, s := range p.config.Sites {
		sites = append(sites, s.ID)
	}
	p.live = telemetry.NewLive(telemetry.LiveConfig{Sites: sites})
	return nil
}

// fileCursor keeps a reader's place in a file. Falling behind it costs repetition only.
type fileCursor string

func (f fileCursor) load(context.Context) (int64, error) {
	data, err := os.ReadFile(string(f))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
}

func (f fileCursor) save(_ context.Context, place int64) error {
	return durable.WriteFile(string(f), strconv.AppendInt(nil, place, 10), 0o600)
}

// samplePoints bounds what the store is given at once.
const samplePoints = 5000

func (p *parts) openIngest(keys map[string]chain.PublicKey) (err error) {
	recorder := telemetry.NewRecorder(p.store, samplePoints, p.log)
	p.ingest, err = ingest.New(ingest.Config{Sites: keys, Key: p.key, Ledger: p.ledger, Log: p.log, Samples: recorder.Samples,
		Publish: p.publish, Now: time.Now})
	return err
}

var errNoLink = errors.New("no connection to the broker: it is said again at the next one")

// publish sends on the present connection. What is lost with it is announced on the next.
func (p *parts) publish(ctx context.Context, topic string, payload []byte, retained bool) error {
	s := p.session.Load()
	if s == nil {
		return errNoLink
	}
	return s.Publish(ctx, mqtt.Message{Topic: topic, Payload: payload, QoS: 1, Retained: retained})
}

// run starts every goroutine of the cloud and waits for all of them.
func (p *parts) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	if p.broker != nil {
		g.Go(func() error { return p.broker.Run(ctx) })
	}
	g.Go(func() error { return p.ingest.Run(ctx) })
	g.Go(func() error { return p.rollup.Run(ctx) })
	g.Go(func() error { return p.tonnes.Run(ctx) })
	g.Go(func() error { return mqtt.Run(ctx, p.link, p.connected) })
	g.Go(func() error { return p.compact(ctx) })
	g.Go(func() error { return p.serve(ctx) })
	p.log.Info("cloud is running", "pages", "http://"+p.listener.Addr().String(), "key", p.key.Public().String(), "sites", len(p.config.Sites))
	return g.Wait()
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

// compact keeps the embedded history small.
func (p *parts) compact(ctx context.Context) error {
	if p.history == nil {
		return nil
	}
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := p.history.Compact(ctx, time.Now()); err != nil && ctx.Err() == nil {
			p.log.Error("history is not compacted", "err", err)
		}
	}
}

// serve runs the pages until ctx ends.
func (p *parts) serve(ctx context.Context) error {
	city := web.City{Name: p.config.Name, Ledger: p.ledger, Rollup: p.rollup, Store: p.store, Live: p.live, Ingest: p.ingest.Stats, Behind: p.tonnes.Behind,
		Account: p.config.Account, Now: time.Now, Log: p.log}
	for _, s := range p.config.Sites {
		city.Sites = append(city.Sites, web.Site{ID: s.ID, Name: s.Name, English: s.English, District: s.District})
	}
	for _, c := range p.menu.Categories(time.Now()) {
		city.Categories = append(city.Categories, web.Category{Code: c.Code, ZH: c.Zh, EN: c.En})
	}
	if err := program.Serve(ctx, p.listener, web.Handler(city), p.log); err != nil {
		return fmt.Errorf("pages: %w", err)
	}
	return nil
}

func (p *parts) close() error {
	var errs []error
	if p.listener != nil {
		if err := p.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if p.broker != nil {
		errs = append(errs, p.broker.Close())
	}
	if p.store != nil {
		errs = append(errs, p.store.Close())
	}
	if p.ledger != nil {
		errs = append(errs, p.ledger.Close())
	}
	if p.unlock != nil {
		errs = append(errs, p.unlock())
	}
	return errors.Join(errs...)
}
