package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"steelyard/internal/unit"
)

// SiteConfig describes a site. Zero means the default.
type SiteConfig struct {
	Name         string
	Dir          string // holds the lines' links and the truth; is made when missing
	Seed         uint64
	Speed        float64 // 1 is life
	Weighbridges int
	Belts        int
	Balers       int
	Start        time.Time     // what the site's simulated clock says first; zero is now
	Past         time.Time     // when a past begins that Live brings to its end; zero: there is none
	Operator     string        // base URL of the edge; empty: none yet, lorries wait for Connect
	Arrivals     time.Duration // mean simulated time between lorries at one weighbridge; 0 is 4 minutes
	Inside       time.Duration // a lorry stays on the site no longer than that, simulated; 0 is 20 minutes
	Rest         time.Duration // a lorry stands at least so long, real; 0 is 3 s
	Between      time.Duration // the deck is empty at least so long between lorries, real; 0 is 2 s
	Modulus      int64         // of the belts' totalisers; 0 is BeltModulus
	Log          *slog.Logger  // nil: none
}

// The instrument of every simulated site: class III, Max 60 t, e = 20 kg.
const (
	siteDivision = 20 * unit.Kilogram
	siteMax      = 60 * unit.Tonne
	deckBaud     = 9600
	beltBaud     = 19200
)

// TruthFile is the name of the truth in a site's folder.
const TruthFile = "truth.jsonl"

// Site is a whole sorting centre. Its machines are there to be made faulty.
type Site struct {
	Weighbridges []*Weighbridge
	Belts        []*Belt
	Balers       []*Baler
	BeltLine     *Pty         // the RS-485 line of the belts; nil without belts
	BeltLink     *ModbusRTU   // the slaves on it
	BalerLinks   []*ModbusTCP // one for each baler

	cfg      SiteConfig
	began    time.Time
	truth    *Truth
	clock    *clock
	operator *operator
	closing  chan struct{}
	quiesce  sync.Once
	ctx      context.Context // of the machines, ended by Close
	cancel   context.CancelFunc
	wg       sync.WaitGroup
	lines    []Line
	end      sync.Once
	ended    error // of the first Close
}

// Start starts a site. The end of ctx stops its machines; Close must be called all the same.
func Start(ctx context.Context, cfg SiteConfig) (*Site, error) {
	s, err := Open(ctx, cfg)
	if err == nil {
		s.Run()
	}
	return s, err
}

// Open makes a site whose machines stand still until Run. Close must be called.
func Open(ctx context.Context, cfg SiteConfig) (*Site, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	path := filepath.Join(cfg.Dir, TruthFile)
	stood, err := standings(path)
	if err != nil {
		return nil, err
	}
	truth, err := OpenTruth(path)
	if err != nil {
		return nil, err
	}
	if !cfg.Past.IsZero() {
		truth.now = func() time.Time { return cfg.Past }
	}
	real := &clock{time.Now, pause}
	s := &Site{cfg: cfg, began: time.Now(), truth: truth, closing: make(chan struct{}), clock: real, operator: newOperator("op-1", real, cfg.Log)}
	s.operator.connect(cfg.Operator)
	s.ctx, s.cancel = context.WithCancel(ctx)
	if err := errors.Join(s.openWeighbridges(stood), s.openBelts(stood), s.openBalers(stood)); err != nil {
		return nil, errors.Join(fmt.Errorf("site %s: %w", cfg.Name, err), s.Close())
	}
	return s, nil
}

// Run starts the machines of an opened site, once.
func (s *Site) Run() {
	for _, w := range s.Weighbridges {
		s.wg.Go(func() { w.Indicator.Run(s.ctx) })
		s.wg.Go(func() { w.run(s.ctx) })
	}
	for _, b := range s.Belts {
		s.wg.Go(func() { b.Run(s.ctx) })
	}
	for _, b := range s.Balers {
		s.wg.Go(func() { b.Run(s.ctx) })
	}
	if s.BeltLink != nil {
		s.wg.Go(func() { s.BeltLink.Run(s.ctx) })
	}
}

// fill puts in the defaults.
func (c *SiteConfig) fill() (err error) {
	if c.Name == "" || c.Weighbridges < 0 || c.Belts < 0 || c.Balers < 0 || c.Belts > 247 {
		return fmt.Errorf("site %q with %d weighbridges, %d belts, %d balers: it needs a name, and at most 247 belts on its line",
			c.Name, c.Weighbridges, c.Belts, c.Balers)
	}
	if c.Speed == 0 {
		c.Speed = 1
	}
	if c.Speed < 0.1 || c.Speed > 1000 {
		return fmt.Errorf("site %s: speed %g: it must be between 0.1 and 1000", c.Name, c.Speed)
	}
	if c.Modulus == 0 {
		c.Modulus = BeltModulus
	}
	if c.Modulus < 2 || c.Modulus > 1<<32 {
		return fmt.Errorf("site %s: modulus %d: it must be between 2 and 2^32", c.Name, c.Modulus)
	}
	orElse(&c.Arrivals, 4*time.Minute)
	orElse(&c.Inside, 20*time.Minute)
	orElse(&c.Rest, 3*time.Second)
	orElse(&c.Between, 2*time.Second)
	if c.Start.IsZero() {
		c.Start = time.Now()
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Log = c.Log.With("site", c.Name)
	if c.Dir, err = filepath.Abs(c.Dir); err != nil {
		return err
	}
	return os.MkdirAll(c.Dir, 0o755)
}

func orElse(d *time.Duration, otherwise time.Duration) {
	if *d == 0 {
		*d = otherwise
	}
}

func (s *Site) openWeighbridges(stood map[string]Event) error {
	for i := range s.cfg.Weighbridges {
		device := fmt.Sprintf("weighbridge-%d", i+1)
		seed := s.cfg.Seed*1000 + uint64(i)
		line, err := OpenPty(PtyConfig{Link: filepath.Join(s.cfg.Dir, device+".tty"), Baud: deckBaud})
		if err != nil {
			return err
		}
		s.lines = append(s.lines, line)
		deck := NewDeck(DeckConfig{Division: siteDivision, Max: siteMax, Seed: seed})
		dialect, sum := spoken(i)
		indicator, err := NewIndicator(IndicatorConfig{Dialect: dialect, Checksum: sum, Seed: seed}, deck, line)
		if err != nil {
			return err
		}
		w := &Weighbridge{
			Device: device, Deck: deck, Indicator: indicator, Line: line, clock: s.clock,
			cfg: s.cfg, fleet: NewFleet(seed, i+1, siteDivision, s.cfg.Speed),
			timing: rand.New(rand.NewPCG(seed, 5)), operator: s.operator, truth: s.truth,
			log: s.cfg.Log.With("device", device), closing: s.closing, rested: make(chan struct{}),
			state: deckEmpty, visits: stood[device].Counts,
		}
		w.next = time.Now().Add(w.gap() / 10)
		s.Weighbridges = append(s.Weighbridges, w)
	}
	return nil
}

// spoken is what the indicator of the i-th weighbridge speaks: a site has bought over the years.
func spoken(i int) (Dialect, Checksum) {
	switch i % 3 {
	case 1:
		return Toledo, MT7
	case 2:
		return Toledo, NoChecksum
	}
	return Yaohua, NoChecksum
}

// What the lines of a site carry, in turn.
var (
	beltMaterials  = [...]string{"paper", "plastics", "steel", "glass"}
	balerMaterials = [...]string{"paper/occ", "plastics/pet", "aluminium", "paper"}
)

func (s *Site) openBelts(stood map[string]Event) error {
	if s.cfg.Belts == 0 {
		return nil
	}
	line, err := OpenPty(PtyConfig{Link: filepath.Join(s.cfg.Dir, "belts.tty"), Baud: beltBaud})
	if err != nil {
		return err
	}
	s.lines, s.BeltLine = append(s.lines, line), line
	units := Units{}
	for i := range s.cfg.Belts {
		device := fmt.Sprintf("belt-%d", i+1)
		seed := s.cfg.Seed*1000 + 200 + uint64(i)
		r := rand.New(rand.NewPCG(seed, 6))
		initial := r.Int64N(s.cfg.Modulus)
		if i == 0 { // one belt that wraps soon
			initial = max(0, s.cfg.Modulus-5000)
		}
		if before, ok := stood[device]; ok {
			initial = before.Raw % s.cfg.Modulus
		}
		registers := NewRegisters(BeltRegisters)
		units[uint8(i+1)] = registers
		s.Belts = append(s.Belts, NewBelt(BeltConfig{
			Device: device, Material: beltMaterials[i%len(beltMaterials)], Recipe: uint16(i%len(beltMaterials) + 1),
			Initial: initial, Modulus: s.cfg.Modulus, Speed: s.cfg.Speed, Seed: seed,
		}, registers, s.truth))
	}
	s.BeltLink = NewModbusRTU(line, units, s.cfg.Seed)
	return nil
}

func (s *Site) openBalers(stood map[string]Event) error {
	for i := range s.cfg.Balers {
		device := fmt.Sprintf("baler-%d", i+1)
		seed := s.cfg.Seed*1000 + 400 + uint64(i)
		counter := uint32(400 + rand.New(rand.NewPCG(seed, 6)).Int64N(5000))
		if before, ok := stood[device]; ok {
			counter = uint32(before.Bale)
		}
		registers := NewRegisters(BalerRegisters)
		s.Balers = append(s.Balers, NewBaler(BalerConfig{
			Device: device, Material: balerMaterials[i%len(balerMaterials)], Recipe: uint16(i%len(balerMaterials) + 1),
			Counter: counter, Speed: s.cfg.Speed, Seed: seed,
		}, registers, s.truth))
		link, err := ServeModbusTCP("127.0.0.1:0", Units{1: registers}, seed)
		if err != nil {
			return err
		}
		s.BalerLinks = append(s.BalerLinks, link)
	}
	return nil
}

// Connect tells the operators where the edge is; an empty URL takes it away.
func (s *Site) Connect(baseURL string) { s.operator.connect(baseURL) }

// Truth is the path of the truth file.
func (s *Site) Truth() string { return filepath.Join(s.cfg.Dir, TruthFile) }

// Quiesce ends the shift: no lorry comes any more, those that are ready are served and leave, those
// that are not stay in the yard over night, belts run out, balers stop. It returns when everything rests; the machines go on answering until
// Close. A site that has been quiesced stays so.
func (s *Site) Quiesce(ctx context.Context) error {
	s.quiesce.Do(func() {
		close(s.closing)
		for _, b := range s.Belts {
			b.Stop()
		}
		for _, b := range s.Balers {
			b.Stop()
		}
	})
	wait := func(device string, rested chan struct{}) error {
		select {
		case <-rested:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("site %s: %s does not rest: %w", s.cfg.Name, device, context.Cause(ctx))
		case <-s.ctx.Done():
			return fmt.Errorf("site %s: closed before %s came to rest", s.cfg.Name, device)
		}
	}
	for _, w := range s.Weighbridges {
		if err := wait(w.Device, w.rested); err != nil {
			return err
		}
	}
	for _, b := range s.Belts {
		if err := wait(b.cfg.Device, b.rested); err != nil {
			return err
		}
	}
	for _, b := range s.Balers {
		if err := wait(b.cfg.Device, b.rested); err != nil {
			return err
		}
	}
	return nil
}

// Close ends every machine, removes the lines and closes the truth. Its error tells, too, whether
// an event could not be written down.
func (s *Site) Close() error {
	s.end.Do(func() {
		s.cancel()
		var errs []error
		for _, l := range s.lines {
			errs = append(errs, l.Close())
		}
		for _, l := range s.BalerLinks {
			errs = append(errs, l.Close())
		}
		s.wg.Wait()
		s.operator.client.CloseIdleConnections()
		s.ended = errors.Join(append(errs, s.truth.Close())...)
	})
	return s.ended
}
