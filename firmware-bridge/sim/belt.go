package sim

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"steelyard/internal/unit"
)

// Run states of the profile generic-belt.
const (
	beltStopped  = 1
	beltStarting = 2
	beltRunning  = 3
	beltStopping = 4
)

// BeltRegisters is how many registers the map has.
const BeltRegisters = 16

// Defaults of a belt scale's totaliser.
const (
	BeltModulus = 1_000_000
	BeltStep    = unit.Kilogram
)

// BeltConfig describes a belt scale.
type BeltConfig struct {
	Device   string
	Material string
	Recipe   uint16
	Initial  int64     // counts on the totaliser; may be above Modulus, the register wraps
	Modulus  int64     // 2 to 2^32; 0 is BeltModulus
	Step     unit.Mass // whole kilograms a count; 0 is BeltStep
	Speed    float64
	Seed     uint64
}

// ramp is how long a belt takes to its full speed, simulated.
const ramp = 8 * time.Second

// mostRate is the most that a belt ever carries, 0.01 t/h.
const mostRate = 6000

// Belt carries one material over a belt scale.
type Belt struct {
	cfg       BeltConfig
	registers *Registers
	truth     *Truth
	rand      *rand.Rand
	rested    chan struct{} // closed when it stands still after Stop

	mu        sync.Mutex // guards what follows
	state     uint16
	inState   time.Duration // simulated
	runFor    time.Duration // simulated, of the run in hand
	stopFor   time.Duration // and of the pause after it
	rate      int64         // nominal, of the run in hand, 0.01 t/h
	speed     int64         // nominal, mm/s
	stopped   bool          // on command
	simulated time.Duration // since the start
	on        time.Duration // real

	carried   unit.Mass // since the start
	rest      int64     // of the division that made carried, g·ns/h
	base      int64     // counts at the last reset
	written   int64     // counts in the last line of the truth
	unwritten time.Duration
	announced bool // rested is closed
}

// NewBelt makes a belt scale that serves registers, and writes where it stands.
func NewBelt(cfg BeltConfig, registers *Registers, truth *Truth) *Belt {
	if cfg.Modulus == 0 {
		cfg.Modulus = BeltModulus
	}
	if cfg.Step == 0 {
		cfg.Step = BeltStep
	}
	if cfg.Speed == 0 {
		cfg.Speed = 1
	}
	b := &Belt{
		cfg: cfg, registers: registers, truth: truth,
		rand:   rand.New(rand.NewPCG(cfg.Seed, 4)),
		rested: make(chan struct{}),
		state:  beltStopped,
	}
	b.draw()
	b.stopFor = between(b.rand, 5*time.Second, 20*time.Second) // the shift begins
	registers.Update(func(w []uint16) {
		w[0], w[1] = 0x4253, 1
		w[5] = cfg.Recipe
		w[14] = uint16(cfg.Step / unit.Kilogram)
	})
	b.show(0)
	b.write("start")
	return b
}

// draw plans the next run.
func (b *Belt) draw() {
	b.runFor = between(b.rand, 15*time.Minute, 45*time.Minute)
	b.stopFor = between(b.rand, time.Minute, 5*time.Minute)
	b.rate = 1500 + b.rand.Int64N(mostRate-1500-500)
	b.speed = 1200 + b.rand.Int64N(800)
}

// Run moves the belt until ctx ends.
func (b *Belt) Run(ctx context.Context) {
	every(ctx, machineTick, func(dt time.Duration) { b.step(dt) })
}

// Stop lets the belt run out and keeps it still; Start lets it run again.
func (b *Belt) Stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopped = true
}

// Start lets the belt run again.
func (b *Belt) Start() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopped = false
}

// Reset sets the totaliser's register to 0.
func (b *Belt) Reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.base = b.counts()
	b.show(0)
	b.write("reset")
}

// step lets real time pass.
func (b *Belt) step(dt time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := b.raw()
	b.on += dt
	b.unwritten += dt
	rate := int64(0)
	for left := time.Duration(float64(dt) * b.cfg.Speed); left > 0; {
		slice := min(left, time.Second)
		rate = b.move(slice)
		left -= slice
	}
	b.show(rate)
	atRest := b.state == beltStopped
	switch moved := b.counts() != b.written; {
	case b.raw() < before:
		b.write("wrap")
	case atRest && moved:
		b.write("rest")
	case moved && b.unwritten >= time.Second:
		b.write("tick")
	}
	if atRest && b.stopped && !b.announced {
		b.announced = true
		close(b.rested)
	}
}

// move lets simulated time pass, at most a second, and returns the rate of the moment.
func (b *Belt) move(dt time.Duration) int64 {
	b.simulated += dt
	b.inState += dt
	share := int64(0) // of the full speed, parts per million
	switch b.state {
	case beltStopped:
		if !b.stopped && b.inState >= b.stopFor {
			b.draw()
			b.enter(beltStarting)
		}
		return 0
	case beltStarting:
		share = rise(b.inState, ramp)
		if b.inState >= ramp {
			b.enter(beltRunning)
		}
	case beltRunning:
		share = million
		if b.stopped || b.inState >= b.runFor {
			b.enter(beltStopping)
		}
	case beltStopping:
		share = million - rise(b.inState, ramp)
		if b.inState >= ramp {
			b.enter(beltStopped)
		}
	}
	rate := (b.rate + noise(b.cfg.Seed, int64(b.simulated/time.Second), b.rate/10)) * share / million
	rate = min(rate, mostRate)
	// 0.01 t/h is 10,000 g/h; an hour has 3.6e12 ns.
	flow := rate*10_000*int64(dt) + b.rest
	b.carried += unit.Mass(flow / int64(time.Hour))
	b.rest = flow % int64(time.Hour)
	return rate
}

func (b *Belt) enter(state uint16) { b.state, b.inState = state, 0 }

// counts is the standing over all wraps and resets; raw is what the register says.
func (b *Belt) counts() int64 { return b.cfg.Initial + int64(b.carried/b.cfg.Step) }
func (b *Belt) raw() int64    { return (b.counts() - b.base) % b.cfg.Modulus }

// show writes the registers. The rate is that of real time, so that it agrees with the totaliser.
func (b *Belt) show(rate int64) {
	speed, load := int64(0), int64(0)
	rate = int64(float64(rate) * b.cfg.Speed)
	if b.state != beltStopped {
		speed = b.speed
		load = rate * 10_000 / 3600 * 1000 / speed
	}
	b.registers.Update(func(w []uint16) {
		w[2] = uint16(b.on / time.Second)
		w[3] = b.state
		setU32(w, 6, uint32(rate))
		setU32(w, 8, uint32(load))
		w[10] = uint16(speed)
		setU32(w, 12, uint32(b.raw()))
	})
}

// write puts the standing into the truth.
func (b *Belt) write(why string) {
	b.written, b.unwritten = b.counts(), 0
	_ = b.truth.Append(Event{ // the truth keeps its failure, and the site ends with it
		Kind: BeltEvent, Device: b.cfg.Device, Material: b.cfg.Material,
		Counts: b.counts(), Initial: b.cfg.Initial, Raw: b.raw(),
		Modulus: b.cfg.Modulus, Step: b.cfg.Step, Detail: why,
	})
}
