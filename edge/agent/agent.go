// Package agent is the whole edge put together.
//
// In: a site's configuration. Out: a running agent that reads its machines, keeps its journals,
// serves the operator and brings everything to the cloud, until it is told to stop.
// It promises that a mistake in the configuration, a port in use or a journal that can't be
// written stops it before anything starts, with one line per fault, and that whatever it was
// doing when it was killed goes on at the next start.
// It contains no rule about weights and no format: those are the packages it connects.
package agent

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"steelyard/edge/hmi"
	"steelyard/edge/journal"
	"steelyard/edge/meaning"
	"steelyard/edge/uplink"
	"steelyard/firmware-bridge/catalog"
	"steelyard/firmware-bridge/modbus"
	"steelyard/firmware-bridge/weighbridge"
	"steelyard/internal/chain"
	"steelyard/internal/config"
	"steelyard/internal/mqtt"
	"steelyard/internal/program"
	"steelyard/internal/record"
	"steelyard/internal/unit"
	"steelyard/internal/wire"
)

// Run is the edge program: it reads the flags and the file they name, and runs until ctx ends.
func Run(ctx context.Context, env program.Env) error {
	path, check, err := env.ConfigFlags("edge", "edge [-config edge.yaml] [-check]")
	if err != nil {
		return err
	}
	c, err := Read(path)
	if err != nil {
		return err
	}
	if check {
		fmt.Fprintf(env.Stdout, "%s: site %s, %d weighbridges, %d buses: good\n", path, c.Site, len(c.Weighbridges), len(c.Buses))
		return nil
	}
	return Start(ctx, c, Weakness{}, env.Log)
}

// Weakness switches a protection off. No configuration reaches it: it serves the tests that show
// what each protection is for.
type Weakness struct {
	TrustPuback bool // frees entries on the broker's word
	NoSync      bool // acknowledges entries before they are on the disk
}

// parts are what an agent is made of, opened before anything starts.
type parts struct {
	config   Config
	log      *slog.Logger
	key      chain.Key
	cloud    chain.PublicKey
	password string
	// authorities may sign the broker's certificate; nil: the system's
	authorities *x509.CertPool
	buses       []*modbus.Bus
	listener    net.Listener
	records     *journal.Journal
	samples     *journal.Journal
	clock       *clock
	sampler     *sampler
	desk        *desk
	uplinks     [2]*uplink.Stream
	link        linkState
}

// Start runs an agent until ctx ends.
func Start(ctx context.Context, c Config, w Weakness, log *slog.Logger) (err error) {
	if err := program.CheckClock(time.Now()); err != nil {
		return err
	}
	p := &parts{config: c, log: log.With("site", c.Site), clock: newClock()}
	defer func() { err = errors.Join(err, p.close()) }()
	if err := p.open(w); err != nil {
		return err
	}
	return p.run(ctx)
}

// open opens everything that can fail, the cheapest first.
func (p *parts) open(w Weakness) (err error) {
	c := p.config
	if p.cloud, err = chain.ParsePublicKey(c.Cloud.Key); err != nil {
		return fmt.Errorf("cloud.key: %w", err)
	}
	if c.Cloud.CAFile != "" {
		if p.authorities, err = authorities(c.Cloud.CAFile); err != nil {
			return err
		}
	}
	if c.Cloud.PasswordFile != "" {
		if p.password, err = config.Password(c.Cloud.PasswordFile); err != nil {
			return err
		}
	}
	link := c.Cloud.options(c.Site)
	link.Password = p.password
	for _, warning := range mqtt.Warnings(link) {
		p.log.Warn(warning)
	}
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return fmt.Errorf("data folder: %w: create it, or name another as data", err)
	}
	if p.key, err = program.OpenKey(filepath.Join(c.Data, "edge.key")); err != nil {
		return err
	}
	if p.listener, err = net.Listen("tcp", c.Listen); err != nil {
		return fmt.Errorf("operator's page: %w: end the program that uses it, or choose another listen", err)
	}
	if p.records, err = journal.Open(journal.Options{Dir: filepath.Join(c.Data, "records"), Site: c.Site, Stream: wire.Records,
		Budget: c.Journal.RecordsMiB << 20, Log: p.log, NoSync: w.NoSync}); err != nil {
		return err
	}
	if p.samples, err = journal.Open(journal.Options{Dir: filepath.Join(c.Data, "samples"), Site: c.Site, Stream: wire.Samples,
		Budget: c.Journal.SamplesMiB << 20, Log: p.log, NoSync: w.NoSync}); err != nil {
		return err
	}
	p.sampler = newSampler(p.samples, p.clock, p.log)
	if err := p.openDesk(); err != nil {
		return err
	}
	p.openUplinks(w)
	return p.openBuses()
}

// openBuses checks what the configuration's own check has not; it connects to nothing.
func (p *parts) openBuses() error {
	for _, b := range p.config.Buses {
		bus, err := modbus.New(busOf(b, p.config.profiles), p.desk, p.log)
		if err != nil {
			return err
		}
		p.buses = append(p.buses, bus)
	}
	return nil
}

func (p *parts) openDesk() error {
	c := p.config
	site := meaning.New(meaningOf(c))
	p.desk = &desk{
		site: site, journal: p.records, clock: p.clock, sampler: p.sampler, log: p.log, units: map[string]unit.Unit{},
		in: make(chan func() []record.Fact, queue), asks: make(chan ask), done: make(chan struct{}),
		health: map[string]deviceHealth{}, save: p.saveCheckpoint,
	}
	for _, w := range c.Weighbridges {
		p.desk.units[w.Device] = w.Unit
	}
	if err := p.recall(site); err != nil {
		return err
	}
	version, build := program.Version()
	for _, j := range []*journal.Journal{p.samples, p.records} {
		opened := &record.Opened{Version: version, Build: build, Config: c.digest, Key: p.key.Public().String(), Reason: "start"}
		if j.Last().N == 0 {
			opened.Previous, opened.Reason = j.Origin()
		}
		written, err := j.Append(p.clock.state(), record.Fact{At: time.Now(), Body: opened})
		if err != nil {
			return fmt.Errorf("journal: %w", err)
		}
		if j == p.records {
			p.desk.written += len(written)
		}
	}
	return nil
}

// meaningOf tells package meaning what the site has.
func meaningOf(c Config) meaning.Config {
	m := meaning.Config{Material: func(name string, at time.Time) error {
		_, err := c.menu.Category(name, at)
		return err
	}}
	for _, w := range c.Weighbridges {
		m.Decks = append(m.Decks, meaning.Deck{Device: w.Device, Division: w.Division, Min: w.Min, Max: w.Max, Unit: w.Unit, Window: w.Window})
	}
	for _, b := range c.Buses {
		for _, x := range b.Machines {
			profile, _ := c.profiles.Find(x.Profile) // checked by Read
			switch {
			case isBelt(profile):
				m.Belts = append(m.Belts, meaning.Belt{Device: x.Device, Step: profile.Totaliser.Step, Modulus: profile.Totaliser.Modulus,
					MaxRate: x.MaxRate, Every: x.Record, Material: x.Material})
			case isBaler(profile):
				m.Balers = append(m.Balers, meaning.Baler{Device: x.Device, Material: x.Material})
			}
		}
	}
	return m
}

func (p *parts) openUplinks(w Weakness) {
	for i, j := range []*journal.Journal{p.records, p.samples} {
		p.uplinks[i] = uplink.New(uplink.Config{Site: p.config.Site, Stream: [...]wire.Stream{wire.Records, wire.Samples}[i],
			Key: p.key, Cloud: p.cloud, Log: p.log, TrustPuback: w.TrustPuback}, j)
	}
}

// run starts every goroutine of the agent and waits for all of them.
func (p *parts) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.desk.run(ctx) })
	g.Go(func() error { return p.sampler.run(ctx) })
	g.Go(func() error {
		return p.clock.run(ctx, func(f record.Fact) {
			_, err := p.desk.act(ctx, func(*meaning.Site) ([]record.Fact, error) { return []record.Fact{f}, nil })
			p.log.Warn("the clock stepped", "by_ms", f.Body.(*record.Clock).StepMS, "err", err)
		})
	})
	for _, w := range p.config.Weighbridges {
		r := weighbridge.Reader{Device: w.Device, Line: w.Line, Options: w.Options, Sink: p.desk, Log: p.log}
		r.Dialect, _ = weighbridge.Find(w.Dialect)
		g.Go(func() error { return r.Run(ctx) })
	}
	for _, bus := range p.buses {
		g.Go(func() error { return bus.Run(ctx) })
	}
	g.Go(func() error { return p.uplink(ctx) })
	g.Go(func() error { return p.tidy(ctx) })
	g.Go(func() error { return p.serve(ctx) })
	p.log.Info("edge is running", "page", "http://"+p.listener.Addr().String(), "journal", p.records.ID(),
		"last", p.records.Last().N, "key", p.key.Public().String())
	return g.Wait()
}

func busOf(b Bus, profiles *catalog.Catalog) modbus.Config {
	c := modbus.Config{Link: b.Link, Timeout: b.Timeout, Gap: b.Gap, ConnectPause: b.ConnectPause}
	for _, m := range b.Machines {
		profile, _ := profiles.Find(m.Profile) // checked by Read
		c.Units = append(c.Units, modbus.Unit{Device: m.Device, ID: m.Unit, Profile: profile, Every: m.Every})
	}
	return c
}

// serve runs the operator's page until ctx ends.
func (p *parts) serve(ctx context.Context) error {
	pages := hmi.Handler(hmi.Desk{Site: p.config.Site, Name: p.config.Name, Look: p.desk.look, Act: p.desk.act,
		Journal: p.journalState, Materials: p.materials, Log: p.log})
	if err := program.Serve(ctx, p.listener, pages, p.log); err != nil {
		return fmt.Errorf("operator's page: %w", err)
	}
	return nil
}

func (p *parts) journalState() hmi.JournalState {
	s := p.records.State()
	version, _ := program.Version()
	out := hmi.JournalState{Site: p.config.Site, Name: p.config.Name, Journal: p.records.ID(), Last: s.Last, Receipted: s.Receipted, Backlog: s.Waiting,
		Bytes: s.Bytes, Budget: s.Budget, Link: p.link.word(), Problem: p.desk.failing(), Clock: string(p.clock.state()), Version: version}
	if !s.Oldest.IsZero() {
		out.OldestMS = s.Oldest.UnixMilli()
	}
	if refused := p.uplinks[0].Refused(); out.Problem == "" && refused != "" {
		out.Problem = "the cloud takes nothing: " + refused
	}
	return out
}

func (p *parts) materials() []hmi.Material {
	var all []hmi.Material
	for _, m := range p.config.menu.Materials(time.Now()) {
		all = append(all, hmi.Material{Code: m.Code, ZH: m.Zh, EN: m.En})
	}
	return all
}

// tidy drops what is receipted and old, and makes room among the samples.
func (p *parts) tidy(ctx context.Context) error {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for _, j := range []*journal.Journal{p.records, p.samples} {
			if err := p.prune(ctx, j); err != nil {
				p.log.Error("old segments stay", "err", err)
			}
		}
	}
}

// keepSamples is how long samples stay when there is room.
const keepSamples = 7 * 24 * time.Hour

// prune drops old segments of one journal. What was dropped unsent is a fact.
func (p *parts) prune(ctx context.Context, j *journal.Journal) error {
	keep := p.config.Journal.Keep
	if j == p.samples {
		keep = keepSamples
	}
	pruned, err := j.Prune(time.Now(), keep)
	for _, gap := range pruned.Thinned {
		_, failed := p.desk.act(ctx, func(*meaning.Site) ([]record.Fact, error) {
			return []record.Fact{{At: time.Now(), Body: &gap}}, nil
		})
		err = errors.Join(err, failed)
	}
	return err
}

func (p *parts) close() error {
	var errs []error
	if p.listener != nil {
		if err := p.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	for _, j := range []*journal.Journal{p.records, p.samples} {
		if j != nil {
			errs = append(errs, j.Close())
		}
	}
	return errors.Join(errs...)
}
