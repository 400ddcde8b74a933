package sim

import (
	"sync"
	"time"

	"steelyard/internal/unit"
)

// DeckConfig describes the instrument under a deck.
type DeckConfig struct {
	Division unit.Mass // e
	Max      unit.Mass // capacity; the display goes out of range above Max + 9 e
	Seed     uint64    // of the noise
}

// Deck is the bridge itself: the load on it, and what its display makes of that.
type Deck struct {
	cfg DeckConfig

	mu    sync.Mutex // guards what follows
	pass  *Pass
	enter time.Time // the pass began
	leave time.Time // zero while the lorry has not begun to leave
	dead  unit.Mass // a load that was simply put there
	roll  *Pass     // what rolls on or off to become dead; nil: nothing does
	from  unit.Mass // dead before it
	begun time.Time
}

// NewDeck makes an empty deck.
func NewDeck(cfg DeckConfig) *Deck { return &Deck{cfg: cfg} }

// Enter begins a pass; Leave lets the lorry drive off, and Clear ends the pass when it has.
func (d *Deck) Enter(p Pass, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pass, d.enter, d.leave = &p, now, time.Time{}
}

// Leave lets the lorry drive off.
func (d *Deck) Leave(now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.leave = now
}

// Clear ends the pass.
func (d *Deck) Clear() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pass = nil
}

// Place puts a dead load on the deck, on top of any lorry: a test weight, snow, or enough to
// overload it. Zero takes it away.
func (d *Deck) Place(m unit.Mass) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dead, d.roll = m, nil
}

// Roll is Place as a lorry does it: axle by axle, and with a swing when it brakes. It stands after
// five quarters of a time of over.
func (d *Deck) Roll(m unit.Mass, over time.Duration, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.from, _ = d.placed(now)
	d.dead, d.begun = m, now
	moved := (m - d.from).Abs()
	d.roll = &Pass{
		Axles: []unit.Mass{moved / 4, moved / 4, moved - 2*(moved/4)},
		Enter: []time.Duration{0, over / 4, over / 2}, Ramp: over / 4,
		Swing: 20_000, Tau: over / 10, Period: over / 8, Quiet: d.cfg.Division / 5,
	}
}

// placed is the dead load of a moment, and whether it is still rolling. The caller holds the mutex.
func (d *Deck) placed(now time.Time) (load unit.Mass, motion bool) {
	if d.roll == nil {
		return d.dead, false
	}
	since := now.Sub(d.begun)
	if d.dead < d.from {
		return d.dead + d.roll.Leaving(since), since < d.roll.On()
	}
	return d.from + d.roll.Entering(since), since < d.roll.Rest()
}

// Load is the true load, and whether it is moving.
func (d *Deck) Load(now time.Time) (load unit.Mass, motion bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	load, motion = d.placed(now)
	switch {
	case d.pass == nil:
	case !d.leave.IsZero():
		since := now.Sub(d.leave)
		load += d.pass.Leaving(since)
		motion = motion || since < d.pass.On()
	default:
		since := now.Sub(d.enter)
		load += d.pass.Entering(since)
		motion = motion || since < d.pass.Rest()
	}
	return load, motion
}

// noiseStep is how often the noise changes.
const noiseStep = 100 * time.Millisecond

// Shown is what the display says. At rest it stands still: the noise is a fifth of a division,
// and lorries stand at most a quarter off a division's middle.
func (d *Deck) Shown(now time.Time) Display {
	load, motion := d.Load(now)
	load += unit.Mass(noise(d.cfg.Seed, now.UnixNano()/int64(noiseStep), int64(d.cfg.Division/5)))
	shown := rounded(load, d.cfg.Division)
	return Display{
		Value:  unit.Decimal{Coef: int64(shown / unit.Kilogram)},
		Over:   shown > d.cfg.Max+9*d.cfg.Division,
		Motion: motion,
	}
}
