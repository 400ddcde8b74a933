package sim

import (
	"math"
	"math/rand/v2"
	"time"

	"steelyard/internal/unit"
)

// Pass is one lorry's way over a deck: axle by axle onto it, a swing when it brakes, rest, and
// off again. The curve is a function of time alone; no mass in it is ever a float.
type Pass struct {
	Axles  []unit.Mass     // load of each axle, the first one leads
	Enter  []time.Duration // when each axle begins to roll on, from the start of the pass; the same gaps when leaving
	Ramp   time.Duration   // how long one axle takes from its first to its full load
	Swing  int64           // amplitude after braking, parts per million of the load
	Tau    time.Duration   // the swing falls to 1/e in this time
	Period time.Duration   // of the swing
	Quiet  unit.Mass       // a swing below this is rest
}

// million is the whole in parts per million.
const million = 1_000_000

// fastestPace bounds how much faster than in life a lorry drives: a curve needs its frames.
const fastestPace = 4

// NewPass draws a pass of a lorry with these axle loads, driven at pace times the speed of life.
func NewPass(r *rand.Rand, axles []unit.Mass, division unit.Mass, pace float64) Pass {
	pace = min(max(pace, 1), fastestPace)
	scale := func(d time.Duration) time.Duration { return time.Duration(float64(d) / pace) }
	p := Pass{
		Axles:  axles,
		Ramp:   scale(between(r, 450*time.Millisecond, 650*time.Millisecond)),
		Swing:  20_000 + r.Int64N(30_000),
		Tau:    scale(between(r, 350*time.Millisecond, 550*time.Millisecond)),
		Period: scale(between(r, 380*time.Millisecond, 520*time.Millisecond)),
		Quiet:  division / 5,
	}
	at := time.Duration(0)
	for range axles {
		p.Enter = append(p.Enter, at)
		at += p.Ramp + scale(between(r, 400*time.Millisecond, 900*time.Millisecond))
	}
	return p
}

func between(r *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(r.Int64N(int64(high-low)))
}

// Mass is the whole load.
func (p Pass) Mass() (sum unit.Mass) {
	for _, a := range p.Axles {
		sum += a
	}
	return sum
}

// On is when the whole load is on the deck, from the start of the pass; leaving takes as long.
func (p Pass) On() time.Duration {
	if len(p.Enter) == 0 {
		return 0
	}
	return p.Enter[len(p.Enter)-1] + p.Ramp
}

// Rest is when the swing is over, from the start of the pass.
func (p Pass) Rest() time.Duration {
	ratio := float64(p.Mass()) * float64(p.Swing) / million / float64(max(p.Quiet, 1))
	if ratio <= 1 {
		return p.On()
	}
	return p.On() + time.Duration(float64(p.Tau)*math.Log(ratio))
}

// Entering is the load at a time after the start of the pass, while the lorry has not left.
func (p Pass) Entering(t time.Duration) (load unit.Mass) {
	for i, a := range p.Axles {
		load += part(a, rise(t-p.Enter[i], p.Ramp))
	}
	if since := t - p.On(); since > 0 && t < p.Rest() {
		x := since.Seconds()
		swing := math.Exp(-x/p.Tau.Seconds()) * math.Sin(2*math.Pi*x/p.Period.Seconds())
		load += part(p.Mass(), int64(swing*float64(p.Swing)))
	}
	return load
}

// Leaving is the load at a time after the lorry began to leave.
func (p Pass) Leaving(t time.Duration) (load unit.Mass) {
	for i, a := range p.Axles {
		load += part(a, million-rise(t-p.Enter[i], p.Ramp))
	}
	return load
}

// rise is the share of an axle's load t after its wheel touched the deck, in parts per million:
// 3x² − 2x³, which starts and ends without a jerk.
func rise(t, ramp time.Duration) int64 {
	switch {
	case t <= 0:
		return 0
	case t >= ramp:
		return million
	}
	x := int64(t) * million / int64(ramp)
	return x * x / million * (3*million - 2*x) / million
}

func part(m unit.Mass, ppm int64) unit.Mass { return m * unit.Mass(ppm) / million }

// rounded is the nearest multiple of e.
func rounded(m, e unit.Mass) unit.Mass {
	half := m + e/2
	steps := half / e
	if half < 0 && half%e != 0 {
		steps--
	}
	return steps * e
}

// noise is between -amplitude and +amplitude, and a function of the seed and the step alone, so
// that a curve is the same however often somebody looks at it.
func noise(seed uint64, step, amplitude int64) int64 {
	x := seed + uint64(step)*0x9E3779B97F4A7C15 // splitmix64
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	x ^= x >> 31
	return int64(x%uint64(2*amplitude+1)) - amplitude
}
