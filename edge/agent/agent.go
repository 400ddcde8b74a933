// Package agent runs the whole edge: [Run] is its program, [Start] an agent of one configuration.
//
// In: a site's configuration. Out: a running agent that reads its machines, keeps its journals,
// serves the operator and brings everything to the cloud, until it is told to stop.
// It promises that a mistake in the configuration, a port in use or a journal that can't be
// written stops it before anything starts, with one line per fault, and that whatever it was
// doing when it was killed goes on at the next start.
// Rules about weights and formats are those of the packages it connects.
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
	"steelyard/firmware-bridge/device"
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
	return Start(ctx, c, Faults{}, env.Log)
}

// Faults switch protections off. No configuration reaches them: they serve the tests that show
// what each protection is for.
type Faults struct {
	TrustPuback bool // frees entries on the broker's word
	NoSync      bool // acknowledges entries before they are on the disk
	GoOn        bool // continues a journal that the city has not vouched for
}

// agent is what an edge is made of, opened before anything starts.
type agent struct {
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
	loop        *loop
	uplinks     [2]*uplink.Sender
	link        linkState
}

// Start runs an agent until ctx ends.
func Start(ctx context.Context, c Config, w Faults, log *slog.Logger) (err error) {
	if err := program.CheckClock(time.Now()); err != nil {
		return err
	}
	a := &agent{config: c, viewings: make(chan wire.Request, 8), log: log.With("site", c.Site), clock: newClock()}
	defer func() { err = errors.Join(err, a.close()) }()
	if err := a.open(w); err != nil {
		return err
	}
	if err := a.vouch(ctx, w); err != nil || ctx.Err() != nil {
		return err
	}
	a.openUplinks(w)
	if err := a.begin(); err != nil {
		return err
	}
	return a.run(ctx)
}

// open opens everything that can fail, the cheapest first.
func (a *agent) open(w Faults) (err error) {
	c := a.config
	if a.cloud, err = chain.ParsePublicKey(c.Cloud.Key); err != nil {
		return fmt.Errorf("cloud.key: %w", err)
	}
	if c.Cloud.CAFile != "" {
		if a.authorities, err = config.Authorities(c.Cloud.CAFile); err != nil {
			return err
		}
	}
	if c.Cloud.PasswordFile != "" {
		if a.password, err = config.Password(c.Cloud.PasswordFile); err != nil {
			return err
		}
	}
	link := c.Cloud.options(c.Site)
	link.Password = a.password
	for _, warning := range mqtt.Warnings(link) {
		a.log.Warn(warning)
	}
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return fmt.Errorf("data folder: %w: create it, or name another as data", err)
	}
	if a.key, err = program.OpenKey(filepath.Join(c.Data, keyFile)); err != nil {
		return err
	}
	if a.listener, err = net.Listen("tcp", c.Listen); err != nil {
		return fmt.Errorf("operator's page: %w: end the program that uses it, or choose another listen", err)
	}
	if a.records, err = journal.Open(journal.Options{Dir: filepath.Join(c.Data, "records"), Site: c.Site, Stream: wire.Records,
		Budget: c.Journal.RecordsMiB << 20, Log: a.log, NoSync: w.NoSync}); err != nil {
		return err
	}
	if a.samples, err = journal.Open(journal.Options{Dir: filepath.Join(c.Data, "samples"), Site: c.Site, Stream: wire.Samples,
		Budget: c.Journal.SamplesMiB << 20, Log: a.log, NoSync: w.NoSync}); err != nil {
		return err
	}
	a.sampler = newSampler(a.samples, a.clock, a.log)
	a.sampler.known = machinesOf(c)
	a.sampler.thin = newThinning(c.Journal.DailyMiB << 20)
	a.sampler.record = func(ctx context.Context, f record.Fact) error {
		_, err := a.loop.do(ctx, func(*meaning.Site) ([]record.Fact, error) { return []record.Fact{f}, nil })
		return err
	}
	a.openLoop()
	return a.openBuses()
}

func (a *agent) openLoop() {
	c := a.config
	a.loop = &loop{
		site: meaning.New(c.Meaning()), journal: a.records, clock: a.clock, sampler: a.sampler, log: a.log, units: map[string]unit.Unit{},
		in: make(chan func() []record.Fact, queue), commands: make(chan command), done: make(chan struct{}),
		storeRequests: map[string]chan weighbridge.Request{}, health: map[string]device.Health{}, save: a.saveCheckpoint,
	}
	for _, w := range c.Weighbridges {
		a.loop.units[w.Device] = w.Unit
		if w.StoreWeighings {
			a.loop.storeRequests[w.Device] = make(chan weighbridge.Request, 1)
		}
	}
}

// begin brings back what the site knew, and writes the first entries of this run.
func (a *agent) begin() error {
	if err := a.restore(a.loop.site); err != nil {
		return err
	}
	for _, j := range []*journal.Journal{a.samples, a.records} {
		opened := a.config.Opened(a.key.Public())
		if j.Last().N == 0 {
			opened.Previous, opened.Reason = j.Origin()
		}
		written, err := j.Append(a.clock.state(), record.Fact{At: time.Now(), Body: opened})
		if err != nil {
			return fmt.Errorf("journal: %w", err)
		}
		if j == a.records {
			a.loop.written += len(written)
		}
	}
	return nil
}

// Opened is the first entry of each start.
func (c Config) Opened(key chain.PublicKey) *record.Opened {
	version, build := program.Version()
	return &record.Opened{Version: version, Build: build, Config: c.digest, Key: key.String(), Reason: "start"}
}

func (a *agent) openUplinks(w Faults) {
	for i, j := range []*journal.Journal{a.records, a.samples} {
		a.uplinks[i] = uplink.New(uplink.Config{Site: a.config.Site, Stream: [...]wire.Stream{wire.Records, wire.Samples}[i],
			Key: a.key, Cloud: a.cloud, Log: a.log, TrustPuback: w.TrustPuback}, j)
	}
}

// run starts every goroutine of the agent and waits for all of them.
func (a *agent) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.loop.run(ctx) })
	g.Go(func() error { return a.sampler.run(ctx) })
	g.Go(func() error {
		return a.clock.run(ctx, func(f record.Fact) {
			_, err := a.loop.do(ctx, func(*meaning.Site) ([]record.Fact, error) { return []record.Fact{f}, nil })
			if a.log.Warn("the clock stepped", "by_ms", f.Body.(*record.Clock).StepMS); err != nil {
				a.log.Error("the clock's step was not recorded", "err", err)
			}
		})
	})
	for _, l := range a.config.Lines() {
		r := weighbridge.Reader{Line: l.Config, Indicators: l.Indicators(), Sink: a.loop, Log: a.log}
		for i := range r.Indicators {
			r.Indicators[i].Ask = a.loop.storeRequests[r.Indicators[i].Device] // nil where nothing is registered
		}
		g.Go(func() error { return r.Run(ctx) })
	}
	for _, bus := range a.buses {
		g.Go(func() error { return bus.Run(ctx) })
	}
	g.Go(func() error { return a.uplink(ctx) })
	g.Go(func() error { return a.prune(ctx) })
	g.Go(func() error { return a.serve(ctx) })
	a.log.Info("edge is running", "page", "http://"+a.listener.Addr().String(), "journal", a.records.ID(),
		"last", a.records.Last().N, "key", a.key.Public().String())
	return g.Wait()
}

func (a *agent) close() error {
	var errs []error
	if a.listener != nil {
		if err := a.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	for _, j := range []*journal.Journal{a.records, a.samples} {
		if j != nil {
			errs = append(errs, j.Close())
		}
	}
	return errors.Join(errs...)
}
