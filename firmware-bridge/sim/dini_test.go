package sim_test

import (
	"bufio"
	"context"
	"io"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/sim"
	"steelyard/firmware-bridge/weighbridge"
	"steelyard/internal/unit"
)

// legal is an indicator with alibi memory on a line, and who asks it.
type legal struct {
	*sim.Indicator
	t    *testing.T
	deck *sim.Deck
	end  io.ReadWriter
	said *bufio.Reader
}

func startLegal(t *testing.T) legal {
	t.Helper()
	line, err := sim.OpenPty(sim.PtyConfig{Link: filepath.Join(t.TempDir(), "indicator.tty")})
	if err != nil {
		t.Fatal(err)
	}
	deck := sim.NewDeck(sim.DeckConfig{Division: division, Max: 60 * unit.Tonne, Seed: 1})
	indicator, err := sim.NewIndicator(sim.IndicatorConfig{Dialect: sim.Dini, Seed: 1}, deck, line)
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() { indicator.Run(context.Background()) })
	t.Cleanup(func() {
		line.Close() // which ends Run
		running.Wait()
	})
	end := dial(t, line.Path())
	return legal{indicator, t, deck, end, bufio.NewReader(end)}
}

// ask sends commands and gives the next answer.
func (l legal) ask(commands ...string) string {
	l.t.Helper()
	for _, c := range commands {
		if _, err := io.WriteString(l.end, c+"\r\n"); err != nil {
			l.t.Fatal(err)
		}
	}
	answer, err := l.said.ReadString('\n')
	if err != nil {
		l.t.Fatal(err)
	}
	return answer
}

func TestLegalIndicatorShowsAndStores(t *testing.T) {
	t.Parallel()
	l := startLegal(t)
	moving := sim.Pass{Axles: []unit.Mass{20 * unit.Tonne}, Enter: []time.Duration{0}, Ramp: time.Hour}
	for _, step := range []struct {
		what    string
		load    unit.Mass
		moves   bool
		command string
		want    string
	}{
		{"empty", 0, false, "READ", "ST,GS,       0,kg\r\n"},
		{"at rest", 12_340 * unit.Kilogram, false, "READ", "ST,GS,   12340,kg\r\n"},
		{"at rest", 12_340 * unit.Kilogram, false, "PID", "PIDST,1,     12340kg,           0kg,00126-000001\r\n"},
		{"once more", 12_340 * unit.Kilogram, false, "PID", "PIDST,1,     12340kg,           0kg,00126-000002\r\n"},
		{"moving", 0, true, "READ", "US,GS,       0,kg\r\n"},
		{"moving", 0, true, "PID", "PIDUS,1,         0kg,           0kg,NO\r\n"},
		{"negative", -60 * unit.Kilogram, false, "READ", "ST,GS,     -60,kg\r\n"},
		{"negative", -60 * unit.Kilogram, false, "PID", "PIDST,1,       -60kg,           0kg,NO\r\n"},
		{"over", 60_200 * unit.Kilogram, false, "READ", "OL,GS,   60200,kg\r\n"},
		{"over", 60_200 * unit.Kilogram, false, "PID", "PIDST,1,     60200kg,           0kg,NO\r\n"},
		{"the next", 9_000 * unit.Kilogram, false, "PID", "PIDST,1,      9000kg,           0kg,00126-000003\r\n"},
	} {
		l.deck.Place(step.load)
		if l.deck.Clear(); step.moves {
			l.deck.Enter(moving, time.Now())
		}
		got := l.ask(step.command)
		if got != step.want {
			t.Errorf("%s, %s: got %q, want %q", step.what, step.command, got, step.want)
		}
		// Each is a frame that a reader takes.
		d, _ := weighbridge.Find("dini-short")
		if _, stats := decodeAll(t, d, got); stats.Frames != 1 || stats.Bad != 0 {
			t.Errorf("%s, %s: %q is no frame: %+v", step.what, step.command, got, stats)
		}
	}
	want := []sim.Stored{{Number: "00126-000001", Mass: 12_340 * unit.Kilogram}, {Number: "00126-000002", Mass: 12_340 * unit.Kilogram},
		{Number: "00126-000003", Mass: 9_000 * unit.Kilogram}}
	if diff := cmp.Diff(want, l.Stored()); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestFaultsOfRegistering(t *testing.T) {
	t.Parallel()
	const live, second = "ST,GS,   12340,kg\r\n", "PIDST,1,     12340kg,           0kg,00126-000002\r\n"
	for fault, test := range map[sim.IndicatorFault]struct {
		faulty []string // what comes of PID and READ
		healed []string // what comes of READ when it is well again
		stored int
	}{
		sim.Healthy:        {[]string{second, live}, []string{live}, 2},
		sim.LostAnswer:     {[]string{live}, []string{live}, 2},
		sim.LateAnswer:     {[]string{live}, []string{second, live}, 2},
		sim.RepeatedNumber: {[]string{"PIDST,1,     12340kg,           0kg,00126-000001\r\n", live}, []string{live}, 2},
		sim.Refusing:       {[]string{"PIDST,1,     12340kg,           0kg,NO\r\n", live}, []string{live}, 1},
		sim.NoMemory:       {[]string{"ERR01\r\n", live}, []string{live}, 1},
	} {
		l := startLegal(t)
		l.deck.Place(12_340 * unit.Kilogram)
		l.ask("PID")
		hear := func(want []string, commands ...string) {
			for i := range want {
				if got := l.ask(commands...); got != want[i] {
					t.Errorf("%s: got %q, want %q", fault, got, want[i])
				}
				commands = nil
			}
		}
		l.Fault(fault)
		hear(test.faulty, "PID", "READ")
		if got := len(l.Stored()); got != test.stored {
			t.Errorf("%s: %d stored, want %d", fault, got, test.stored)
		}
		l.Fault(sim.Healthy)
		hear(test.healed, "READ")
	}
}

// Bytes that are no command are not answered, and a line without end is not kept.
func TestLegalIndicatorIgnoresNoise(t *testing.T) {
	t.Parallel()
	l := startLegal(t)
	long := make([]byte, 10_000)
	for i := range long {
		long[i] = 'P'
	}
	if got := l.ask(string(long), "ZERO", "TARE", "C", "PI", "", "READ"); got != "ST,GS,       0,kg\r\n" {
		t.Errorf("got %q", got)
	}
	if len(l.Stored()) != 0 {
		t.Errorf("stored %v", l.Stored())
	}
}

func decodeAll(t *testing.T, d weighbridge.Dialect, frames string) (int, weighbridge.Stats) {
	t.Helper()
	decoder := weighbridge.NewDecoder(d, weighbridge.Options{})
	n := 0
	decoder.Write(time.Now(), []byte(frames), func(w device.Weight) { n++ })
	return n, decoder.Stats()
}
