package modbus_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"steelyard/firmware-bridge/modbus"
)

// best tries every way to put the spans into groups, each read as one run; it knows nothing of
// order or neighbourhood.
func best(spans []modbus.Span, w modbus.Wire) (time.Duration, bool) {
	found := time.Duration(-1)
	var groups [][]modbus.Span
	var try func(i int)
	try = func(i int) {
		if i == len(spans) {
			total := time.Duration(0)
			for _, g := range groups {
				cost, ok := readable(g, w)
				if !ok {
					return
				}
				total += cost
			}
			if found < 0 || total < found {
				found = total
			}
			return
		}
		for g := range groups {
			groups[g] = append(groups[g], spans[i])
			try(i + 1)
			groups[g] = groups[g][:len(groups[g])-1]
		}
		groups = append(groups, []modbus.Span{spans[i]})
		try(i + 1)
		groups = groups[:len(groups)-1]
	}
	try(0)
	return found, found >= 0
}

func readable(group []modbus.Span, w modbus.Wire) (time.Duration, bool) {
	g := slices.SortedFunc(slices.Values(group), func(a, b modbus.Span) int { return a.From - b.From })
	end := g[0].From
	for _, s := range g {
		if s.From-end > w.Hole {
			return 0, false
		}
		end = max(end, s.From+s.Count)
	}
	return w.Cost(end - g[0].From), end-g[0].From <= w.Max
}

func TestPlanIsTheOptimum(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 13))
	bauds := []int{0, 1200, 9600, 19200, 115200}
	for n := range 600 {
		var spans []modbus.Span
		from := rng.IntN(50)
		for range 1 + rng.IntN(7) {
			count := 1 + rng.IntN(8)
			spans = append(spans, modbus.Span{From: from, Count: count})
			from += count + rng.IntN(40)*rng.IntN(2)
		}
		rng.Shuffle(len(spans), func(i, j int) { spans[i], spans[j] = spans[j], spans[i] })
		w := modbus.Wire{Baud: bauds[rng.IntN(len(bauds))], Latency: time.Duration(rng.IntN(30)) * time.Millisecond,
			Max: 6 + rng.IntN(60), Hole: rng.IntN(60)}
		want, possible := best(spans, w)
		plan, ok := modbus.Plan(spans, w)
		if ok != possible {
			t.Fatalf("map %d: planned %v, possible %v: %v %+v", n, ok, possible, spans, w)
		}
		var cost time.Duration
		for _, r := range plan {
			cost += w.Cost(r.Count)
		}
		for _, s := range spans {
			if ok && !slices.ContainsFunc(plan, func(r modbus.Span) bool { return r.From <= s.From && s.From+s.Count <= r.From+r.Count }) {
				t.Fatalf("map %d: span %v is in no read of %v", n, s, plan)
			}
		}
		if ok && cost != want {
			t.Fatalf("map %d: plan costs %v, the best %v\n%v %+v\n%v", n, cost, want, spans, w, plan)
		}
	}
}

func sparse() []modbus.Span {
	return []modbus.Span{{0, 8}, {10, 2}, {20, 4}, {40, 2}, {44, 2}, {100, 10}, {120, 1}, {122, 1}, {124, 1}, {126, 1},
		{128, 1}, {200, 2}, {210, 2}, {220, 2}, {300, 4}, {350, 1}, {400, 2}, {500, 8}, {1000, 2}, {1020, 1}, {1050, 4}}
}

func TestPlanOfTheSparseMap(t *testing.T) {
	forbidden, _ := modbus.Plan(sparse(), modbus.Wire{Baud: 9600, Latency: 10 * time.Millisecond, Max: 125})
	if diff := cmp.Diff(sparse(), forbidden); diff != "" {
		t.Errorf("holes are forbidden, but the plan is not the blocks themselves (-want +got):\n%s", diff)
	}
	for _, w := range []modbus.Wire{
		{Baud: 9600, Latency: 10 * time.Millisecond, Max: 125, Hole: 124},
		{Baud: 115200, Latency: 10 * time.Millisecond, Max: 125, Hole: 124},
		{Latency: 5 * time.Millisecond, Max: 125, Hole: 124},
	} {
		plan, ok := modbus.Plan(sparse(), w)
		var cost, alone time.Duration
		registers := 0
		for _, r := range plan {
			cost += w.Cost(r.Count)
			registers += r.Count
		}
		for _, s := range sparse() {
			alone += w.Cost(s.Count)
		}
		t.Logf("baud %d: %d requests, %d registers, %v; block by block 21 requests, %v", w.Baud, len(plan), registers, cost, alone)
		if !ok || cost >= alone {
			t.Errorf("plan %v costs %v, block by block %v", plan, cost, alone)
		}
	}
}

// The times of a cycle for 9600, 19200 and 115200 baud: T = (8 + 5 + 2N)·Tchar + 2·T3.5.
func TestCost(t *testing.T) {
	for _, test := range []struct {
		baud, count int
		tenths      int64 // of a millisecond
	}{{9600, 1, 252}, {9600, 125, 3094}, {19200, 10, 229}, {19200, 80, 1031}, {115200, 1, 49}, {115200, 50, 143}} {
		got := modbus.Wire{Baud: test.baud}.Cost(test.count)
		if tenths := got.Round(100*time.Microsecond).Microseconds() / 100; tenths != test.tenths {
			t.Errorf("%d baud, %d registers: %v, want %d/10 ms", test.baud, test.count, got, test.tenths)
		}
	}
}

// Bits are eight to a byte: 16 coils cost what one register costs, and are read together where 16
// registers would be too.
func TestBitsCostAnEighth(t *testing.T) {
	bits, words := modbus.Wire{Baud: 9600, Bits: true, Max: 2000}, modbus.Wire{Baud: 9600, Max: 125}
	for count, registers := range map[int]int{1: 1, 16: 1, 17: 2, 2000: 125} {
		if byBits, byWords := bits.Cost(count), words.Cost(registers); byBits > byWords || byWords-byBits > 2*11*time.Second/9600 {
			t.Errorf("%d bits cost %s, %d registers %s", count, byBits, registers, byWords)
		}
	}
	p := load(t, "profile: p\nstatus: bench\nsources: [{doc: d}]\naddress_base: 0\nlimits: {max_bits: 20, hole: 3}\npoints:\n"+
		"  - {name: a, at: 0, fc: 1}\n  - {name: b, at: 4, fc: 1}\n  - {name: c, at: 9, fc: 1}\n  - {name: d, at: 0, fc: 2, type: bits, length: 12}\n  - {name: e, at: 12, fc: 2, every: slow}\n  - {name: f, at: 30, fc: 2}\n")
	var got []modbus.Span
	for _, b := range p.Blocks() {
		got = append(got, modbus.Span{From: int(b.FC)*1000 + int(b.From), Count: b.Count})
	}
	if diff := cmp.Diff([]modbus.Span{{From: 1000, Count: 5}, {From: 1009, Count: 1}, {From: 2000, Count: 12}, {From: 2030, Count: 1}, {From: 2012, Count: 1}}, got); diff != "" {
		t.Error(diff)
	}
}
