package modbus

import (
	"cmp"
	"slices"
	"time"
)

// Span is a run of registers, coils or inputs that must be read together.
type Span struct {
	From  int // wire address
	Count int
}

func (s Span) end() int { return s.From + s.Count }

// with is the run from the first to the last register of both.
func (s Span) with(o Span) Span {
	from := min(s.From, o.From)
	return Span{from, max(s.end(), o.end()) - from}
}

// Wire is what a read costs and what the machine allows.
type Wire struct {
	Baud    int           // bits a second with 11 bits a character; zero on TCP, where a byte costs nothing
	Latency time.Duration // of the machine, each request
	Bits    bool          // coils or inputs are read, eight to a byte, and no registers
	Max     int           // registers or bits in one read
	Hole    int           // undefined registers or bits that may be read across
	Apart   bool          // spans that do not overlap are never read together
}

// fixedBytes are the bytes of a request (8) and of a reply without its registers (5).
const fixedBytes = 8 + 5

// charTime is the time of one character: start, eight data bits, parity or a second stop, stop.
func charTime(baud int) time.Duration {
	if baud <= 0 {
		return 0
	}
	return 11 * time.Second / time.Duration(baud)
}

// silence is the pause that separates two frames: 3.5 characters, above 19200 baud fixed (Modbus
// over serial line V1.02, 2.5.1.1).
func silence(baud int) time.Duration {
	switch {
	case baud <= 0:
		return 0
	case baud > 19200:
		return 1750 * time.Microsecond
	}
	return charTime(baud) * 7 / 2
}

// Cost is the time that reading count registers takes: T = (8 + 5 + 2N)·Tchar + 2·T3.5 + Tslave; of
// bits N/8 in place of 2N.
// On TCP a register is given a nanosecond, so that of two plans with equal requests the one that
// reads less wins.
func (w Wire) Cost(count int) time.Duration {
	if w.Baud <= 0 {
		return max(w.Latency, time.Microsecond) + time.Duration(count)
	}
	bytes := 2 * count
	if w.Bits {
		bytes = (count + 7) / 8
	}
	return time.Duration(fixedBytes+bytes)*charTime(w.Baud) + 2*silence(w.Baud) + w.Latency
}

// Plan groups spans into the reads that cost the least time on the wire. Spans that overlap stay
// together. It looks at every place where a read may begin and end, so the plan is the optimum,
// not a guess: with the spans in order, the cheapest plan for the first i of them ends with one
// read over spans j to i after the cheapest plan for the first j. ok is false when some span is
// longer than the machine allows.
func Plan(spans []Span, w Wire) (reads []Span, ok bool) {
	atoms := join(spans)
	best := make([]time.Duration, len(atoms)+1) // best[i]: cheapest plan for the first i atoms
	start := make([]int, len(atoms)+1)          // start[i]: first atom of that plan's last read
	for i := 1; i <= len(atoms); i++ {
		best[i] = -1
		for j := i - 1; j >= 0; j-- {
			count := atoms[i-1].end() - atoms[j].From
			if count > w.Max || j < i-1 && (w.Apart || atoms[j+1].From-atoms[j].end() > w.Hole) {
				break // a read that begins still earlier crosses the same hole, or is longer
			}
			if cost := best[j] + w.Cost(count); best[i] < 0 || cost < best[i] {
				best[i], start[i] = cost, j
			}
		}
		if best[i] < 0 {
			return nil, false
		}
	}
	for i := len(atoms); i > 0; i = start[i] {
		from := atoms[start[i]].From
		reads = append(reads, Span{from, atoms[i-1].end() - from})
	}
	slices.Reverse(reads)
	return reads, true
}

// join sorts the spans and makes one of those that overlap.
func join(spans []Span) []Span {
	sorted := slices.SortedFunc(slices.Values(spans), func(a, b Span) int { return cmp.Compare(a.From, b.From) })
	var joined []Span
	for _, s := range sorted {
		if n := len(joined); n > 0 && s.From < joined[n-1].end() {
			joined[n-1].Count = max(joined[n-1].end(), s.end()) - joined[n-1].From
			continue
		}
		joined = append(joined, s)
	}
	return joined
}
