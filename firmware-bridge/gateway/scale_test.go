package gateway_test

import (
	"testing"

	"steelyard/firmware-bridge/catalog"
	"steelyard/firmware-bridge/gateway"
	"steelyard/firmware-bridge/sim"
	"steelyard/firmware-bridge/weighbridge"
	"steelyard/internal/unit"
)

func options(sum string, u unit.Unit) weighbridge.Options {
	return weighbridge.Options{Checksum: sum, Unit: u}
}

// none reports whether a block has no weight in any of the ways in which a program may look.
func none(words []uint16) bool {
	long := func(i int) uint32 { return uint32(words[i])<<16 | uint32(words[i+1]) }
	return words[3]&1 == 0 && words[3]&(1<<15) != 0 && long(4) == 0x80000000 && long(6) == 0x80000000 &&
		words[8] == 0xFFFF && words[9] == 0xFFFF && words[10] == 0xFFFF && long(14) == 0x80000000
}

// Whatever happens to an indicator, the block says "no weight" and never 0.
func TestNoWeightIsNeverANumber(t *testing.T) {
	t.Parallel()
	s, line := indicator(t, sim.Toledo)
	registers := gateway.Registers{Listener: here(4)}
	// The listener is open before the line: what is asked then has no weight either.
	address := serve(t, gateway.Config{Lines: []gateway.Line{{Device: "w", Line: portOf(line), Output: catalog.Output{Dialect: "mt-cont", Options: options("mt7", unit.KG)}, Registers: &registers}}})["127.0.0.1:0"]
	c := dial(t, address)
	read := func() []uint16 {
		words, exception := c.ask(1, 3, 0, 16)
		if exception != 0 || words[0] != 0x5357 || words[1] != 1 {
			t.Fatalf("%v, exception %02X", words, exception)
		}
		weight := words[3]&1 != 0
		if weight == none(words) || weight == (words[3]&(1<<15) != 0) {
			t.Fatalf("the block does not know whether it has a weight: %04X", words)
		}
		return words
	}
	has := func(grams uint32) func() bool {
		return func() bool {
			w := read()
			return w[3]&1 == 1 && uint32(w[4])<<16|uint32(w[5]) == grams
		}
	}
	lacks := func(bit uint16) func() bool {
		return func() bool { w := read(); return none(w) && w[3]&bit != 0 }
	}
	until(t, "zero", has(0))
	// One frame may be late: then the block says so for a moment.
	until(t, "the block of an empty bridge", func() bool {
		w := read()
		return w[3]&1 == 1 && w[9] == 2 && w[11] != 0xFFFF && (w[12] != 0 || w[13] != 0)
	})
	s.deck.Place(12_340 * unit.Kilogram)
	until(t, "12,340 kg", has(12_340_000))
	until(t, "stable", func() bool { return read()[3]&(1|2|4) == 1|2 })
	s.deck.Place(99 * unit.Tonne)
	until(t, "over range", lacks(8))
	s.deck.Place(12_340 * unit.Kilogram)
	until(t, "12,340 kg again", has(12_340_000))
	s.Fault(sim.Mute)
	until(t, "silence", lacks(1<<8))
	s.Fault(sim.Healthy)
	until(t, "12,340 kg after silence", has(12_340_000))
	s.Fault(sim.WrongSum)
	until(t, "nonsense", lacks(1<<9))
	s.Fault(sim.Healthy)
	until(t, "12,340 kg after nonsense", has(12_340_000))
	if err := line.Unplug(); err != nil {
		t.Fatal(err)
	}
	until(t, "an unplugged line", lacks(1<<9))
	if err := line.Replug(); err != nil {
		t.Fatal(err)
	}
	until(t, "12,340 kg after the plug", has(12_340_000))

	for _, q := range []struct{ fc, from, count, want int }{
		{3, 5, 1, 2}, {3, 4, 1, 2}, {3, 6, 1, 2}, {3, 13, 3, 2}, {3, 0, 17, 2}, {3, 16, 1, 2}, {4, 0, 5, 2}, {1, 0, 1, 1}, {2, 0, 1, 1},
	} {
		if _, exception := c.ask(1, byte(q.fc), q.from, q.count); int(exception) != q.want {
			t.Errorf("function %d, %d registers from %d: exception %02X, want %02X", q.fc, q.count, q.from, exception, q.want)
		}
	}
	if _, exception := c.ask(1, 4, 6, 2); exception != 0 {
		t.Errorf("a whole value: exception %02X", exception)
	}
}
