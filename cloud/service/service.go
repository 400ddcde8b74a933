// Package service is the whole cloud put together.
//
// In: the city's configuration. Out: a running cloud that takes in what the sites send, keeps the
// ledger, makes tonnes and curves of it and shows them, until it is told to stop.
// It promises that a mistake in the configuration, a port in use or a ledger that can't be
// opened stops it before anything starts, with one line per fault.
// It contains no rule about entries or tonnes: those are the packages it connects.
package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
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
)

// Run is the cloud program: it reads the flags and the file they name, and runs until ctx ends.
func Run(ctx context.Context, env program.Env) error {
	var printKey bool
	path, check, err := env.ConfigFlags("cloud", "cloud [-config cloud.yaml] [-check | -key] | cloud demo [flags]", program.KeyFlag(&printKey))
	if err != nil {
		return err
	}
	if printKey {
		c := defaults()
		if err := config.LoadFile(path, &c, nil); err != nil {
			return err
		}
		return env.PrintKey(config.Beside(path, c.Data, keyFile))
	}
	c, err := ReadHere(path)
	if err != nil {
		return err
	}
	if check {
		_, err := io.WriteString(env.Stdout, c.describe(path))
		return err
	}
	return Start(ctx, c, env.Log)
}

// platform is what the cloud is made of, opened before anything starts.
type platform struct {
	config    Config
	log       *slog.Logger
	key       chain.Key
	materials *material.Catalogue
	unlock    func() error // gives the data folder back
	listener  net.Listener
	broker    *broker.Broker // nil when another one is used
	link      mqtt.Options   // to the other one
	ledger    *ledger.Ledger
	rollup    *rollup.Rollup
	store     telemetry.Store
	history   *telemetry.History // the store, when it is the embedded one
	influx    *telemetry.Influx  // the store, when it is not
	tonnes    *telemetry.Tonnes
	live      *telemetry.Live
	liveLog   logLimit
	ingest    *ingest.Ingest
	session   atomic.Pointer[mqtt.Session]
}

// Start runs the cloud until ctx ends.
func Start(ctx context.Context, c Config, log *slog.Logger) (err error) {
	if err := program.CheckClock(time.Now()); err != nil {
		return err
	}
	p := &platform{config: c, log: log}
	defer func() { err = errors.Join(err, p.close()) }()
	if err := p.open(ctx); err != nil {
		return err
	}
	return p.run(ctx)
}

func (p *platform) open(ctx context.Context) (err error) {
	c := p.config
	if p.materials, err = material.Open(c.Materials); err != nil {
		return err
	}
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return fmt.Errorf("data folder: %w: create it, or name another as data", err)
	}
	if p.key, err = program.OpenKey(filepath.Join(c.Data, keyFile)); err != nil {
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
		keys[s.ID] = key
	}
	if err := p.ledger.EnrolAll(ctx, keys, time.Now()); err != nil {
		return err
	}
	if p.rollup, err = rollup.Open(ctx, p.ledger, func(name string, at time.Time) (string, error) {
		category, err := p.materials.Category(name, at)
		return category.Code, err
	}, p.log); err != nil {
		return err
	}
	districts := map[string]string{}
	for _, s := range c.Sites {
		districts[s.ID] = s.District
	}
	if err := p.rollup.InDistricts(ctx, districts); err != nil {
		return err
	}
	if err := p.openTelemetry(ctx); err != nil {
		return err
	}
	return p.openIngest(keys)
}

// samplePoints bounds what the store is given at once.
const samplePoints = 5000

func (p *platform) openIngest(keys map[string]chain.PublicKey) (err error) {
	recorder := telemetry.NewRecorder(p.store, samplePoints, p.log)
	p.ingest, err = ingest.New(ingest.Config{Sites: keys, Key: p.key, Ledger: p.ledger, Log: p.log, Samples: recorder.Samples,
		Publish: p.publish, Now: time.Now})
	return err
}

// run starts every goroutine of the cloud and waits for all of them.
func (p *platform) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.ingest.Run(ctx) })
	g.Go(func() error { return p.rollup.Run(ctx) })
	g.Go(func() error { return p.tonnes.Run(ctx) })
	g.Go(func() error { return p.runBroker(ctx) })
	g.Go(func() error { return p.compact(ctx) })
	g.Go(func() error { return p.tendInflux(ctx) })
	g.Go(func() error { return p.serve(ctx) })
	p.log.Info("cloud is running", "pages", "http://"+p.listener.Addr().String(), "key", p.key.Public().String(), "sites", len(p.config.Sites))
	return g.Wait()
}

// serve runs the pages until ctx ends.
func (p *platform) serve(ctx context.Context) error {
	city := web.Config{Name: p.config.Name, Hosts: p.config.Hosts, Ledger: p.ledger.Reader, Rollup: p.rollup.Reader, Store: p.store, Live: p.live, Ingest: p.ingest.Stats, Behind: p.tonnes.Behind,
		Audit: p.config.Audit, Now: time.Now, Log: p.log}
	for _, s := range p.config.Sites {
		city.Sites = append(city.Sites, web.Site{ID: s.ID, Name: s.Name, English: s.English, District: s.District})
	}
	for _, c := range p.materials.Categories(time.Now()) {
		city.Categories = append(city.Categories, web.Category{Code: c.Code, ZH: c.Zh, EN: c.En})
	}
	pages := web.New(city)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return pages.Run(ctx) })
	g.Go(func() error { return program.Serve(ctx, p.listener, pages, p.log) })
	if err := g.Wait(); err != nil {
		return fmt.Errorf("pages: %w", err)
	}
	return nil
}

func (p *platform) close() error {
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
