package sim_test

import (
	"context"
	"io"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"steelyard/firmware-bridge/sim"
	"steelyard/internal/unit"
)

// bench is an indicator on a line, with its bytes being read.
type bench struct {
	*sim.Indicator
	deck *sim.Deck
	line sim.Line
	end  io.Reader
}

func startIndicator(t *testing.T, dialect sim.Dialect, sum sim.Checksum) bench {
	t.Helper()
	line, err := sim.OpenPty(sim.PtyConfig{Link: filepath.Join(t.TempDir(), "indicator.tty")})
	if err != nil {
		t.Fatal(err)
	}
	deck := sim.NewDeck(sim.DeckConfig{Division: division, Max: 60 * unit.Tonne, Seed: 1})
	indicator, err := sim.NewIndicator(sim.IndicatorConfig{Dialect: dialect, Checksum: sum, Rate: 100, Seed: 1}, deck, line)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { indicator.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		line.Close()
	})
	return bench{indicator, deck, line, dial(t, line.Path())}
}

// read returns the weights of the good frames among the next n bytes.
func (b bench) read(t *testing.T, n int, dialect sim.Dialect, length int) (weights []int64) {
	t.Helper()
	buf := make([]byte, n)
	if _, err := io.ReadFull(b.end, buf); err != nil {
		t.Fatal(err)
	}
	decode := decodeYaohua
	if dialect == sim.Toledo {
		decode = decodeToledo
	}
	for at := 0; at+length <= len(buf); at++ {
		if w, ok := decode(buf[at : at+length]); ok {
			weights = append(weights, w)
		}
	}
	return weights
}

// mark is a byte that no frame of a sound Yaohua indicator holds.
const mark = 0xEE

// sinceNow reads up to now: what was sent before lies before the mark, however late this test is. One
// frame may have been made before and written after.
func (b bench) sinceNow(t *testing.T) {
	t.Helper()
	b.line.Write([]byte{mark})
	for one := make([]byte, 1); one[0] != mark; {
		if _, err := io.ReadFull(b.end, one); err != nil {
			t.Fatal(err)
		}
	}
}

func TestIndicatorsShowTheDeck(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		dialect sim.Dialect
		sum     sim.Checksum
		length  int
	}{{sim.Yaohua, sim.NoChecksum, 12}, {sim.Toledo, sim.MT7, 18}, {sim.Toledo, sim.NoChecksum, 17}} {
		b := startIndicator(t, c.dialect, c.sum)
		b.deck.Place(23_960 * unit.Kilogram)
		for seen := false; !seen; { // frames of the empty deck may be under way
			for _, w := range b.read(t, 200, c.dialect, c.length) {
				seen = w == 23_960
			}
		}
		weights := b.read(t, 400, c.dialect, c.length)
		if want := 400/c.length - 1; len(weights) < want {
			t.Errorf("%s %s: %d frames, want %d", c.dialect, c.sum, len(weights), want)
		}
		for _, w := range weights {
			if w != 23_960 {
				t.Errorf("%s: shows %d", c.dialect, w)
			}
		}
	}
}

// Every fault leaves no weight that a careful reader would take; the healthy indicator before and
// after is the control.
func TestFaultyIndicatorsShowNoWeight(t *testing.T) {
	t.Parallel()
	for _, fault := range []sim.IndicatorFault{sim.WrongSum, sim.HalfFrames, sim.Garbage, sim.WrongBaud} {
		for _, dialect := range []sim.Dialect{sim.Yaohua, sim.Toledo} {
			t.Run(string(fault)+" "+string(dialect), func(t *testing.T) {
				sum, length := sim.MT7, 18
				if dialect == sim.Yaohua {
					sum, length = sim.NoChecksum, 12
				}
				b := startIndicator(t, dialect, sum)
				for len(b.read(t, 100, dialect, length)) == 0 {
				}
				b.Fault(fault)
				// What is under way is still good; after that nothing is.
				for len(b.read(t, 100, dialect, length)) > 0 {
				}
				if got := b.read(t, 600, dialect, length); len(got) != 0 {
					t.Errorf("weights %v", got)
				}
				b.Fault(sim.Healthy)
				for len(b.read(t, 100, dialect, length)) == 0 {
				}
			})
		}
	}
}

func TestAFrozenIndicatorRepeatsItself(t *testing.T) {
	t.Parallel()
	b := startIndicator(t, sim.Yaohua, "")
	b.Fault(sim.FrozenFrames)
	b.sinceNow(t)
	b.read(t, 24, sim.Yaohua, 12) // of which the second is the one that is repeated
	b.deck.Place(10 * unit.Tonne)
	for _, w := range b.read(t, 240, sim.Yaohua, 12) {
		if w != 0 {
			t.Fatalf("shows %d", w)
		}
	}
	b.Fault(sim.Healthy)
	for seen := false; !seen; {
		for _, w := range b.read(t, 60, sim.Yaohua, 12) {
			seen = seen || w == 10_000
		}
	}
}

func TestAMuteIndicatorComesBack(t *testing.T) {
	t.Parallel()
	b := startIndicator(t, sim.Yaohua, "")
	b.read(t, 24, sim.Yaohua, 12)
	b.Fault(sim.Mute)
	b.sinceNow(t)
	time.Sleep(300 * time.Millisecond) // thirty frames' time
	b.line.Write([]byte{mark})
	n := 0
	for one := make([]byte, 1); ; n++ {
		if _, err := io.ReadFull(b.end, one); err != nil {
			t.Fatal(err)
		}
		if one[0] == mark {
			break
		}
	}
	if n > 12 { // one frame
		t.Errorf("%d bytes from a mute indicator", n)
	}
	b.Fault(sim.Healthy)
	if len(b.read(t, 60, sim.Yaohua, 12)) == 0 {
		t.Error("still mute")
	}
}
