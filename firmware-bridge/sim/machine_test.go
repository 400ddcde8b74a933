package sim_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"steelyard/firmware-bridge/sim"
	"steelyard/internal/unit"
)

func openTruth(t *testing.T) (*sim.Truth, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), sim.TruthFile)
	truth, err := sim.OpenTruth(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := truth.Close(); err != nil {
			t.Error(err)
		}
	})
	return truth, path
}

func readTruth(t *testing.T, path string) []sim.Event {
	t.Helper()
	events, err := sim.ReadTruth(path)
	if err != nil {
		t.Fatal(err)
	}
	return events
}

// run runs a machine until the test ends, and gives what stops it sooner.
func run(t *testing.T, machine func(context.Context)) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { machine(ctx) })
	stop = func() { cancel(); wg.Wait() }
	t.Cleanup(stop)
	return stop
}

func u32(w []uint16, at int) uint32 { return uint32(w[at])<<16 | uint32(w[at+1]) }

func image(t *testing.T, r *sim.Registers, n int) []uint16 {
	t.Helper()
	w, ok := r.Words(0, n)
	if !ok {
		t.Fatalf("no %d registers", n)
	}
	return w
}

// await waits until done says so; it fails the test when that takes unreasonably long.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(50 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after 50 s", what)
		}
	}
}

// seen is the last-bale block as a reader accepted it.
type seen struct {
	sequence uint32
	block    [12]uint16
}

// accept polls under the rule of the tag contract: a bale counts when its sequence is unchanged at
// the next poll, with the block of the first of the two.
func accept(poll func() []uint16, until func() bool) (bales []seen) {
	before := poll()
	last := u32(before, 10)
	for !until() {
		now := poll()
		if s := u32(before, 10); s == u32(now, 10) && s != last {
			last = s
			bales = append(bales, seen{s, [12]uint16(before[12:24])})
		}
		before = now
	}
	return bales
}

func TestNoReaderSeesATornBale(t *testing.T) {
	t.Parallel()
	truth, path := openTruth(t)
	registers := sim.NewRegisters(sim.BalerRegisters)
	baler := sim.NewBaler(sim.BalerConfig{
		Device: "baler-1", Material: "paper/occ", Recipe: 3, Counter: 411,
		Speed: 1000, MinCycle: 300 * time.Millisecond, Seed: 1,
	}, registers, truth)
	stop := run(t, baler.Run)
	bales := accept(func() []uint16 { return image(t, registers, sim.BalerRegisters) },
		func() bool { return u32(image(t, registers, sim.BalerRegisters), 10) >= 420 })
	stop()

	// A reader that is held up misses bales; those it accepts are whole.
	events := map[uint64]sim.Event{}
	for _, e := range readTruth(t, path) {
		events[e.Bale] = e
	}
	if len(bales) < 3 || len(bales) > len(events) {
		t.Fatalf("%d bales accepted of %d", len(bales), len(events))
	}
	for _, b := range bales {
		want := events[uint64(b.sequence)]
		if want.Kind != sim.BaleEvent || want.Device != "baler-1" || want.Material != "paper/occ" || uint64(b.sequence) != want.Bale {
			t.Fatalf("bale %d: truth %+v", b.sequence, want)
		}
		block := b.block[:]
		if got := unit.Mass(u32(block, 0)); got != want.Mass {
			t.Errorf("bale %d: %s, truth %s", b.sequence, got, want.Mass)
		}
		if want.Mass < 480*unit.Kilogram || want.Mass > 620*unit.Kilogram || block[2] < 1150 || block[2] > 1250 ||
			block[3] < 10 || block[4] != 5 || block[5] != 3 || block[9] < 120 || u32(block, 10) < 2500 {
			t.Errorf("bale %d is not one of cardboard: %s, % d", b.sequence, want.Mass, block)
		}
	}
}

// The same reader is deceived by a machine that writes the sequence first.
func TestASequenceWrittenFirstTearsBales(t *testing.T) {
	registers := sim.NewRegisters(sim.BalerRegisters)
	ready, read := make(chan bool), make(chan bool)
	go func() {
		defer close(ready)
		for n := range uint16(3) {
			registers.Update(func(w []uint16) { w[11] = n + 1 })
			ready <- true // two polls happen here
			<-read
			for i := 12; i < 24; i++ {
				registers.Update(func(w []uint16) { w[i] = n + 1 })
			}
		}
	}()
	polls, torn := 0, 0
	bales := accept(func() []uint16 {
		if polls > 0 && polls%2 == 0 {
			read <- true
		}
		if polls%2 == 0 {
			<-ready
		}
		polls++
		return image(t, registers, sim.BalerRegisters)
	}, func() bool { return polls == 6 })
	read <- true
	<-ready
	for _, b := range bales {
		if uint32(b.block[0]) != b.sequence {
			torn++
		}
	}
	if torn == 0 {
		t.Errorf("no torn bale among %v", bales)
	}
}

func TestBalerServesTheTagContract(t *testing.T) {
	t.Parallel()
	truth, path := openTruth(t)
	registers := sim.NewRegisters(sim.BalerRegisters)
	baler := sim.NewBaler(sim.BalerConfig{
		Device: "baler-1", Material: "plastics/pet", Recipe: 2, Counter: 70_000,
		Speed: 500, MinCycle: 2 * time.Second, Seed: 1,
	}, registers, truth)
	w := image(t, registers, sim.BalerRegisters)
	if w[0] != 0x5342 || w[1] != 1 || u32(w, 6) != 70_000 || u32(w, 10) != 70_000 || w[24] != 2 {
		t.Errorf("at power-on: % d", w)
	}
	stop := run(t, baler.Run)
	states := make(map[uint16]bool)
	beats := make(map[uint16]bool)
	most, last := uint16(0), uint32(0)
	// One bale shows it all to a reader that is not held up; any other waits for the next.
	await(t, "a bale, all states from 4 to 8, a moving heartbeat and a pressure", func() bool {
		w := image(t, registers, sim.BalerRegisters)
		states[w[3]], beats[w[2]] = true, true
		most, last = max(most, w[27]), u32(w, 10)
		for state := uint16(4); state <= 8; state++ {
			if !states[state] {
				return false
			}
		}
		return last > 70_000 && len(beats) >= 2 && most >= 1000
	})

	baler.Restart()
	w = image(t, registers, sim.BalerRegisters)
	if w[2] != 0 || u32(w, 6) < last || u32(w, 6) > last+1 { // one may just have ended
		t.Errorf("after a restart: heartbeat %d, counter %d, was %d", w[2], u32(w, 6), last)
	}
	last = u32(w, 6)
	await(t, "work after the restart", func() bool { return image(t, registers, 4)[3] == 5 })
	if err := baler.ResetCounter(); err != nil {
		t.Fatal(err)
	}
	await(t, "the first bale of a new count", func() bool { return u32(image(t, registers, 12), 10) == 1 })
	baler.Stop()
	await(t, "a stop", func() bool { return image(t, registers, 4)[3] == 2 })
	stop()
	var kinds []string
	for _, e := range readTruth(t, path) {
		kinds = append(kinds, string(e.Kind)+" "+e.Key)
	}
	var want []string
	for n := uint32(70_001); n <= last; n++ {
		want = append(want, fmt.Sprint("bale ", n))
	}
	if d := cmp.Diff(append(want, "counter ", "bale 1"), kinds); d != "" {
		t.Errorf("truth (-want +got):\n%s", d)
	}
}

func TestABeltWrapsAndComesToRest(t *testing.T) {
	t.Parallel()
	truth, path := openTruth(t)
	registers := sim.NewRegisters(sim.BeltRegisters)
	belt := sim.NewBelt(sim.BeltConfig{
		Device: "belt-1", Material: "paper", Recipe: 1, Initial: 2450, Modulus: 2500, Speed: 100, Seed: 1,
	}, registers, truth)
	w := image(t, registers, sim.BeltRegisters)
	if w[0] != 0x4253 || w[1] != 1 || w[3] != 1 || w[5] != 1 || w[14] != 1 || u32(w, 12) != 2450 {
		t.Errorf("at start: % d", w)
	}
	stop := run(t, belt.Run)

	// A reader follows the register over its wraps, of which each takes a second and a half at least.
	standing, last, wraps := int64(2450), int64(2450), 0
	follow := func() []uint16 {
		w := image(t, registers, sim.BeltRegisters)
		raw := int64(u32(w, 12))
		if raw < last {
			wraps++
			standing += 2500
		}
		standing += raw - last
		last = raw
		return w
	}
	states := make(map[uint16]bool)
	await(t, "two wraps", func() bool {
		w := follow()
		states[w[3]] = true
		if rate, speed, load := int64(u32(w, 6)), int64(w[10]), int64(u32(w, 8)); w[3] == 3 {
			if rate < 100*1000 || rate > 100*6000 { // 10 to 60 t/h, a hundred times
				t.Errorf("rate %d", rate)
			}
			if back := load * speed * 3600 / 10_000_000; back > rate+1 || back < rate*99/100 {
				t.Errorf("load %d g/m at %d mm/s is not %d of 0.01 t/h", load, speed, rate)
			}
		}
		return wraps >= 2
	})
	belt.Stop()
	await(t, "rest", func() bool { return follow()[3] == 1 })
	follow()
	stop()
	if !states[2] || !states[3] {
		t.Errorf("states %v", states)
	}

	events := readTruth(t, path)
	final := events[len(events)-1]
	if final.Detail != "rest" || final.Counts != standing || final.Raw != last || final.Initial != 2450 || final.Modulus != 2500 || final.Step != unit.Kilogram {
		t.Errorf("followed to %d (raw %d), truth %+v", standing, last, final)
	}
	count := make(map[string]int)
	for i, e := range events {
		count[e.Detail]++
		if e.Raw != e.Counts%2500 || i > 0 && e.Counts < events[i-1].Counts {
			t.Errorf("line %d: %+v", i+1, e)
		}
	}
	if count["start"] != 1 || count["wrap"] != wraps {
		t.Errorf("lines %v, %d wraps", count, wraps)
	}
}

func TestAResetBeltCountsOn(t *testing.T) {
	t.Parallel()
	truth, path := openTruth(t)
	registers := sim.NewRegisters(sim.BeltRegisters)
	belt := sim.NewBelt(sim.BeltConfig{Device: "belt-1", Material: "glass", Initial: 5_000, Speed: 100, Seed: 2}, registers, truth)
	stop := run(t, belt.Run)
	await(t, "movement", func() bool { return u32(image(t, registers, 16), 12) > 5_100 })
	belt.Reset()
	await(t, "movement from zero", func() bool {
		raw := u32(image(t, registers, 16), 12)
		return raw > 50 && raw < 5_000
	})
	stop()
	for _, e := range readTruth(t, path) {
		if e.Detail == "reset" && e.Raw == 0 && e.Counts > 5_100 {
			return
		}
	}
	t.Error("the truth tells of no reset")
}

func TestRegistersReadBits(t *testing.T) {
	r := sim.NewRegisters(3)
	r.Update(func(w []uint16) { w[0], w[1] = 0x8000, 1 })
	got, ok := r.Bits(1, 15, 3)
	if d := cmp.Diff([]bool{true, true, false}, got); !ok || d != "" {
		t.Error(ok, d)
	}
	if _, ok := r.Bits(2, 40, 9); ok {
		t.Error("bits beyond the end")
	}
}
