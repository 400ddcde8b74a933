package sim_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"steelyard/firmware-bridge/sim"
	"steelyard/internal/record"
	"steelyard/internal/unit"
)

const division = 20 * unit.Kilogram

func TestLorriesRiseAxleByAxleAndStandStill(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		fleet := sim.NewFleet(seed, 1, division, rapid.Float64Range(0.5, 100).Draw(t, "speed"))
		for range rapid.IntRange(0, 10).Draw(t, "earlier") {
			fleet.Next()
		}
		lorry := fleet.Next()
		for _, pass := range []sim.Pass{lorry.First, lorry.Last} {
			checkPass(t, seed, pass)
		}
		first, last := lorry.First.Mass(), lorry.Last.Mass()
		if (lorry.Direction == record.Inbound) != (first > last) {
			t.Errorf("%s lorry comes with %s and goes with %s", lorry.Direction, first, last)
		}
		if gross := max(first, last); gross > 60*unit.Tonne || min(first, last) < 400*unit.Kilogram {
			t.Errorf("masses %s and %s are not within the bridge's range", first, last)
		}
	})
}

func checkPass(t *rapid.T, seed uint64, pass sim.Pass) {
	deck := sim.NewDeck(sim.DeckConfig{Division: division, Max: 60 * unit.Tonne, Seed: seed})
	start := time.Unix(1_800_000_000, 0)
	shown := func(at time.Time) unit.Mass {
		d := deck.Shown(at)
		m := unit.Mass(d.Value.Coef) * unit.Kilogram
		if m%division != 0 {
			t.Fatalf("display shows %s, which is no multiple of %s", m, division)
		}
		return m
	}
	if got := shown(start); got != 0 {
		t.Errorf("empty deck shows %s", got)
	}

	deck.Enter(pass, start)
	before := unit.Mass(-1)
	for at := time.Duration(0); at <= pass.On(); at += 10 * time.Millisecond {
		load := pass.Entering(at)
		if load < before {
			t.Fatalf("load falls from %d to %d g while the lorry drives on", before, load)
		}
		before = load
		shown(start.Add(at))
	}
	sum := unit.Mass(0)
	for i, axle := range pass.Axles {
		if got := pass.Entering(pass.Enter[i]); got != sum {
			t.Errorf("load of %s when axle %d touches the deck, want the %s of those before it", got, i+1, sum)
		}
		if axle <= 0 {
			t.Errorf("axle %d carries %s", i+1, axle)
		}
		sum += axle
	}

	// The swing is there, and dies.
	most := unit.Mass(0)
	for at := pass.On(); at < pass.Rest(); at += 10 * time.Millisecond {
		most = max(most, (pass.Entering(at) - pass.Mass()).Abs())
	}
	if most == 0 || most > pass.Mass()/10 {
		t.Errorf("swing of %s with a lorry of %s", most, pass.Mass())
	}
	_, motion := deck.Load(start.Add(pass.Rest() - time.Millisecond))
	_, rest := deck.Load(start.Add(pass.Rest()))
	if !motion || rest {
		t.Errorf("motion %t before rest and %t after", motion, rest)
	}
	want := shown(start.Add(pass.Rest()))
	for at := range 300 {
		if got := shown(start.Add(pass.Rest() + time.Duration(at)*33*time.Millisecond)); got != want {
			t.Fatalf("display at rest goes from %s to %s", want, got)
		}
	}
	if d := (want - pass.Mass()).Abs(); d > division/4 {
		t.Errorf("shows %s for %s", want, pass.Mass())
	}

	leave := start.Add(time.Minute)
	deck.Leave(leave)
	before = pass.Mass()
	for at := time.Duration(0); at <= pass.On(); at += 10 * time.Millisecond {
		load, _ := deck.Load(leave.Add(at))
		if load > before {
			t.Fatalf("load rises from %d to %d g while the lorry drives off", before, load)
		}
		before = load
	}
	if left, motion := deck.Load(leave.Add(pass.On())); left != 0 || motion {
		t.Errorf("%s left on the deck, motion %t", left, motion)
	}
}

// A lorry half a division off does flicker: the check above can see it.
func TestALorryBetweenTwoDivisionsFlickers(t *testing.T) {
	deck := sim.NewDeck(sim.DeckConfig{Division: division, Max: 60 * unit.Tonne, Seed: 1})
	deck.Place(10*unit.Tonne + division/2)
	shown := make(map[int64]bool)
	for at := range 100 {
		shown[deck.Shown(time.Unix(1_800_000_000, 0).Add(time.Duration(at)*100*time.Millisecond)).Value.Coef] = true
	}
	if len(shown) != 2 {
		t.Errorf("shown %v, want two values", shown)
	}
}

func TestOverloadBeginsNineDivisionsAboveMax(t *testing.T) {
	deck := sim.NewDeck(sim.DeckConfig{Division: division, Max: 60 * unit.Tonne})
	for _, c := range []struct {
		load unit.Mass
		want bool
	}{{60 * unit.Tonne, false}, {60*unit.Tonne + 9*division, false}, {60*unit.Tonne + 10*division, true}} {
		deck.Place(c.load)
		if got := deck.Shown(time.Unix(0, 0)).Over; got != c.want {
			t.Errorf("%s: out of range %t, want %t", c.load, got, c.want)
		}
	}
}

func TestOneSeedIsOneShift(t *testing.T) {
	shift := func(seed uint64) (lorries []sim.Lorry) {
		fleet := sim.NewFleet(seed, 1, division, 1)
		for range 200 {
			lorries = append(lorries, fleet.Next())
		}
		return lorries
	}
	if d := cmp.Diff(shift(7), shift(7)); d != "" {
		t.Errorf("seed 7 differs from itself:\n%s", d)
	}
	if cmp.Equal(shift(7), shift(8)) {
		t.Error("seeds 7 and 8 are the same shift")
	}
	directions := make(map[string]int)
	for _, l := range shift(7) {
		directions[l.Direction+"/"+l.Destination]++
	}
	for _, want := range []string{"inbound/", "outbound/reuse", "outbound/disposal"} {
		if directions[want] == 0 {
			t.Errorf("no %s in 200 lorries: %v", want, directions)
		}
	}
}

func TestPaceIsBounded(t *testing.T) {
	axles := []unit.Mass{5 * unit.Tonne, 9 * unit.Tonne}
	life := sim.NewPass(rand.New(rand.NewPCG(1, 1)), axles, division, 1)
	fast := sim.NewPass(rand.New(rand.NewPCG(1, 1)), axles, division, 1000)
	if slowest := life.On() / 4; fast.On() < slowest-time.Millisecond {
		t.Errorf("drives on in %v, want at least a quarter of %v", fast.On(), life.On())
	}
}

// A load that rolls shows other weights before it stands, and stands exactly.
func TestALoadRollsOnAndOff(t *testing.T) {
	deck := sim.NewDeck(sim.DeckConfig{Division: 20 * unit.Kilogram, Max: 60 * unit.Tonne, Seed: 1})
	now := time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)
	for _, m := range []unit.Mass{31240 * unit.Kilogram, 0, 12340 * unit.Kilogram, 12000 * unit.Kilogram} {
		before, _ := deck.Load(now)
		deck.Roll(m, 2*time.Second, now)
		shown := map[unit.Mass]bool{}
		for range 24 {
			now = now.Add(100 * time.Millisecond)
			load, motion := deck.Load(now)
			if shown[load] = true; !motion && load != m {
				t.Errorf("on the way from %s to %s: %s at rest", before, m, load)
			}
		}
		now = now.Add(time.Second)
		if load, motion := deck.Load(now); load != m || motion || len(shown) < 10 {
			t.Errorf("from %s to %s: stands at %s, motion %v, after %d weights", before, m, load, motion, len(shown))
		}
	}
}
