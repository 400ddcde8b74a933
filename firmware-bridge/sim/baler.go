package sim

import (
	"context"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"steelyard/internal/unit"
)

// States of the SSC baler tag contract v1.
const (
	balerOff         = 1
	balerStopped     = 2
	balerIdle        = 4
	balerFeeding     = 5
	balerCompressing = 6
	balerTying       = 7
	balerEjecting    = 8
)

// BalerRegisters is how many registers the contract has.
const BalerRegisters = 62

// MinBaleCycle is the least time that a bale takes, at any speed.
const MinBaleCycle = 6 * time.Second

// BalerConfig describes a baler.
type BalerConfig struct {
	Device   string
	Material string
	Recipe   uint16 // of the material, on the machine's display
	Counter  uint32 // bales in its life so far
	Speed    float64
	MinCycle time.Duration // real time; 0 is MinBaleCycle
	Seed     uint64
}

// bale is one bale as it will be, drawn when it is begun.
type bale struct {
	pause    time.Duration // simulated, before it begins
	cycle    time.Duration // simulated
	mass     unit.Mass
	lengthMM int64
	strokes  int64
	wires    int64
	pressure int64 // 0.1 bar
	energyWh int64
}

// Baler presses bales of one material.
type Baler struct {
	cfg       BalerConfig
	registers *Registers
	truth     *Truth
	rand      *rand.Rand
	rested    chan struct{} // closed when it stands still after Stop

	mu        sync.Mutex // guards what follows
	plan      bale
	elapsed   time.Duration // of the plan's pause and then its cycle, real
	on        time.Duration // since power-on, real
	down      time.Duration // the PLC restarts for this much longer
	stopping  bool
	state     uint16
	counter   uint32
	shift     uint32
	strokes   uint32 // lifetime
	ties      uint32
	energy    int64 // Wh
	motor     time.Duration
	announced bool // rested is closed
}

// NewBaler makes a baler that serves registers.
func NewBaler(cfg BalerConfig, registers *Registers, truth *Truth) *Baler {
	if cfg.MinCycle == 0 {
		cfg.MinCycle = MinBaleCycle
	}
	if cfg.Speed == 0 {
		cfg.Speed = 1
	}
	b := &Baler{
		cfg: cfg, registers: registers, truth: truth,
		rand:    rand.New(rand.NewPCG(cfg.Seed, 3)),
		rested:  make(chan struct{}),
		state:   balerIdle,
		counter: cfg.Counter,
		strokes: cfg.Counter * 13, ties: cfg.Counter * 5, energy: int64(cfg.Counter) * 3000,
		motor: time.Duration(cfg.Counter) * 3 * time.Minute,
	}
	b.plan = b.draw()
	registers.Update(func(w []uint16) {
		w[0], w[1] = 0x5342, 1
		w[4] = 1 // automatic
		w[17], w[24] = cfg.Recipe, cfg.Recipe
		setU32(w, 10, cfg.Counter)
		w[28], w[29] = 412, 870
	})
	b.show()
	return b
}

// press is what a material makes of a press.
type press struct {
	material             string
	low, high            int64 // kg
	shortest, longest    int64 // mm
	fewStrokes, strokes  int64
	wires                int64
	lowWh, highWh        int64
	quickest, slowest    int64 // s
	lowPressure, highest int64 // 0.1 bar
}

// presses lists what the balers of the trade make; the first is for every material that is not
// listed.
var presses = [...]press{
	{"", 300, 420, 1000, 1150, 10, 16, 5, 2200, 3200, 130, 200, 1800, 2300},
	{"paper/occ", 480, 620, 1150, 1250, 10, 16, 5, 2500, 3600, 150, 210, 1900, 2300},
	{"paper", 420, 560, 1100, 1250, 10, 15, 5, 2300, 3300, 140, 200, 1900, 2300},
	{"plastics/pet", 260, 340, 1100, 1200, 14, 20, 6, 2800, 3900, 180, 260, 2000, 2400},
	{"plastics", 240, 330, 1050, 1200, 13, 19, 6, 2700, 3800, 170, 250, 1900, 2400},
	{"aluminium", 380, 520, 900, 1000, 12, 18, 6, 3200, 4500, 160, 240, 2100, 2500},
	{"steel", 700, 900, 700, 800, 14, 20, 0, 4200, 5600, 180, 260, 2300, 2600},
}

func (b *Baler) draw() bale {
	p := presses[0]
	for _, known := range presses[1:] {
		if known.material == b.cfg.Material {
			p = known
		}
	}
	in := func(low, high int64) int64 { return low + b.rand.Int64N(high-low+1) }
	return bale{
		pause:    time.Duration(in(5, 40)) * time.Second,
		cycle:    time.Duration(in(p.quickest, p.slowest)) * time.Second,
		mass:     unit.Mass(in(2*p.low, 2*p.high)) * 500 * unit.Gram, // its scale has e = 0.5 kg
		lengthMM: in(p.shortest, p.longest),
		strokes:  in(p.fewStrokes, p.strokes),
		wires:    p.wires,
		pressure: in(p.lowPressure, p.highest),
		energyWh: in(p.lowWh, p.highWh),
	}
}

// Run presses bales until ctx ends.
func (b *Baler) Run(ctx context.Context) {
	every(ctx, machineTick, func(dt time.Duration) { b.step(dt) })
}

// Stop ends the work: a bale that is being ejected is finished, any other stays in the
// press as it is. Start goes on.
func (b *Baler) Stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopping = true
}

// Start goes on after Stop.
func (b *Baler) Start() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopping = false
}

// Restart powers the PLC off and on: its heartbeat begins anew and the bale in the press with it;
// the lifetime counter stays.
func (b *Baler) Restart() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.on, b.elapsed, b.down = 0, 0, 2*time.Second
	b.show()
}

// ResetCounter sets the lifetime counter to 0, as after an exchange of the PLC.
func (b *Baler) ResetCounter() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counter, b.shift = 0, 0
	b.registers.Update(func(w []uint16) { setU32(w, 10, 0) })
	b.show()
	return b.truth.Append(Event{Kind: CounterEvent, Device: b.cfg.Device})
}

// step lets real time pass.
func (b *Baler) step(dt time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.on += dt
	b.down = max(0, b.down-dt)
	switch {
	case b.down > 0:
		b.state = balerOff
	case b.stopping && b.state != balerEjecting:
		b.state = balerStopped
	default:
		b.work(dt)
	}
	b.show()
	if b.stopping && b.state == balerStopped && !b.announced {
		b.announced = true
		close(b.rested)
	}
}

// work goes on with the bale.
func (b *Baler) work(dt time.Duration) {
	pause := b.real(b.plan.pause)
	b.elapsed += dt
	at := b.elapsed - pause
	if at < 0 {
		b.state = balerIdle
		return
	}
	b.motor += time.Duration(float64(dt) * b.cfg.Speed)
	switch share := at * 100 / b.cycle(); {
	case share < 55:
		b.state = balerFeeding
	case share < 80:
		b.state = balerCompressing
	case share < 92:
		b.state = balerTying
	case share < 100:
		b.state = balerEjecting
	default:
		b.eject()
		b.plan, b.elapsed, b.state = b.draw(), 0, balerIdle
	}
}

func (b *Baler) real(simulated time.Duration) time.Duration {
	return time.Duration(float64(simulated) / b.cfg.Speed)
}

// cycle is the real time that the bale in hand takes.
func (b *Baler) cycle() time.Duration { return max(b.real(b.plan.cycle), b.cfg.MinCycle) }

// eject writes the block of the last bale word by word, as a PLC does over several of its cycles,
// and the sequence after it: whoever sees the new sequence sees the whole block.
func (b *Baler) eject() {
	b.counter++
	b.shift++
	b.strokes += uint32(b.plan.strokes)
	b.ties += uint32(b.plan.wires)
	b.energy += b.plan.energyWh
	b.registers.Update(func(w []uint16) {
		setU32(w, 6, b.counter)
		setU32(w, 8, b.shift)
	})
	for i, v := range b.plan.block(b.cfg.Recipe, b.truth.now()) {
		b.registers.Update(func(w []uint16) { w[12+i] = v })
	}
	b.registers.Update(func(w []uint16) { setU32(w, 10, b.counter) })
	_ = b.truth.Append(Event{ // the truth keeps its failure, and the site ends with it
		Kind: BaleEvent, Device: b.cfg.Device, Key: strconv.FormatUint(uint64(b.counter), 10),
		Bale: uint64(b.counter), Mass: b.plan.mass, Material: b.cfg.Material,
	})
}

// block is registers 12 to 23.
func (p bale) block(recipe uint16, ended time.Time) (w [12]uint16) {
	setU32(w[:], 0, uint32(p.mass))
	w[2], w[3], w[4], w[5] = uint16(p.lengthMM), uint16(p.strokes), uint16(p.wires), recipe
	setU32(w[:], 6, uint32(ended.Unix()))
	w[8], w[9] = uint16(p.pressure), uint16(p.cycle/time.Second)
	setU32(w[:], 10, uint32(p.energyWh))
	return w
}

// show writes what a look at the machine would tell.
func (b *Baler) show() {
	var strokes, length, pressure, current int64
	flags := uint16(0)
	if at := b.elapsed - b.real(b.plan.pause); at > 0 && b.state != balerIdle && b.state != balerOff {
		done := min(100, int64(at*100/b.cycle()))
		strokes = b.plan.strokes * min(done, 80) / 80
		length = b.plan.lengthMM * min(done, 80) / 80
		switch b.state {
		case balerFeeding:
			pressure, current, flags = b.plan.pressure/4, 380, 0b101011
		case balerCompressing:
			pressure, current, flags = b.plan.pressure*(done-55)/25, 920, 0b000111
		case balerTying:
			pressure, current, flags = b.plan.pressure/2, 310, 0b000011
		case balerEjecting:
			pressure, current, flags = b.plan.pressure/3, 420, 0b010011
		}
	}
	b.registers.Update(func(w []uint16) {
		w[2] = uint16(b.on / time.Second)
		w[3] = b.state
		w[5] = flags
		setU32(w, 6, b.counter)
		setU32(w, 8, b.shift)
		w[25], w[26], w[27], w[30] = uint16(strokes), uint16(length), uint16(pressure), uint16(current)
		w[31] = uint16(1000 - b.ties*2%1000)
		setU32(w, 32, b.strokes+uint32(strokes))
		setU32(w, 34, b.ties)
		setU32(w, 36, uint32(b.energy/100))
		setU32(w, 38, uint32(b.motor/(6*time.Minute)))
	})
}
