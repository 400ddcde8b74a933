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

	"steelyard/edge/journal"
	"steelyard/edge/meaning"
	"steelyard/edge/uplink"
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
	var printKey bool
	path, check, err := env.ConfigFlags("edge", "edge [-config edge.yaml] [-check | -key]", program.KeyFlag(&printKey))
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
	GoOn        bool // continues a journal that the city has not vouched for
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
	viewings    chan wire.Request // about the live values
	desk        *desk
	uplinks     [2]*uplink.Sender
	link        linkState
}

// Start runs an agent until ctx ends.
func Start(ctx context.Context, c Config, w Weakness, log *slog.Logger) (err error) {
	if err := program.CheckClock(time.Now()); err != nil {
		return err
	}
	p := &parts{config: c, viewings: make(chan wire.Request, 8), log: log.With("site", c.Site), clock: newClock()}
	defer func() { err = errors.Join(err, p.close()) }()
	if err := p.open(w); err != nil {
		return err
	}
	if err := p.vouch(ctx, w); err != nil || ctx.Err() != nil {
		return err
	}
	p.openUplinks(w)
	if err := p.begin(); err != nil {
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
		if p.authorities, err = config.Authorities(c.Cloud.CAFile); err != nil {
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
	if p.key, err = program.OpenKey(filepath.Join(c.Data, keyFile)); err != nil {
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
	p.sampler.known = machinesOf(c)
	p.sampler.thin = newThinning(c.Journal.DailyMiB << 20)
	p.sampler.tell = func(ctx context.Context, f record.Fact) error {
		_, err := p.desk.act(ctx, func(*meaning.Site) ([]record.Fact, error) { return []record.Fact{f}, nil })
		return err
	}
	p.openDesk()
	return p.openBuses()
}

func (p *parts) openDesk() {
	c := p.config
	p.desk = &desk{
		site: meaning.New(c.Meaning()), journal: p.records, clock: p.clock, sampler: p.sampler, log: p.log, units: map[string]unit.Unit{},
		in: make(chan func() []record.Fact, queue), asks: make(chan ask), done: make(chan struct{}),
		registers: map[string]chan weighbridge.Request{}, health: map[string]deviceHealth{}, save: p.saveCheckpoint,
	}
	for _, w := range c.Weighbridges {
		p.desk.units[w.Device] = w.Unit
		if w.Register {
			p.desk.registers[w.Device] = make(chan weighbridge.Request, 1)
		}
	}
}

// begin brings back what the site knew, and writes the first entries of this run.
func (p *parts) begin() error {
	if err := p.recall(p.desk.site); err != nil {
		return err
	}
	for _, j := range []*journal.Journal{p.samples, p.records} {
		opened := p.config.Opened(p.key.Public())
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

// Opened is the first entry of each start.
func (c Config) Opened(key chain.PublicKey) *record.Opened {
	version, build := program.Version()
	return &record.Opened{Version: version, Build: build, Config: c.digest, Key: key.String(), Reason: "start"}
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
	for _, l := range p.config.Lines() {
		r := weighbridge.Reader{Line: l.Config, Indicators: l.Indicators(), Sink: p.desk, Log: p.log}
		for i := range r.Indicators {
			r.Indicators[i].Ask = p.desk.registers[r.Indicators[i].Device] // nil where nothing is registered
		}
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
