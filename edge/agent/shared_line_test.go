package agent_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"steelyard/edge/agent"
	"steelyard/edge/meaning"
	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/sim"
	"steelyard/internal/unit"
)

// platform is a scale in command mode. It is empty at first.
type platform struct{ kilograms atomic.Int64 }

// load puts something on it, which swings before it rests: an output that never changes is frozen.
func (p *platform) load(kilograms int64) { p.kilograms.Store(-kilograms) }

func (p *platform) says(address byte) []byte {
	kilograms := p.kilograms.Load()
	if kilograms < 0 {
		p.kilograms.Store(-kilograms)
		kilograms = -kilograms - 20
	}
	said := fmt.Appendf(nil, "%cB+%06d0", address, kilograms)
	var sum byte
	for _, b := range said {
		sum ^= b
	}
	return fmt.Appendf(nil, "\x02%s%02X\x03", said, sum)
}

// platforms puts scales on one line, by their address: 'A' is 1.
func platforms(t *testing.T, path string, scales map[byte]*platform) {
	t.Helper()
	line, err := sim.OpenPty(sim.PtyConfig{Link: path})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for heard, buf := []byte(nil), make([]byte, 64); ; {
			n, err := line.Read(buf)
			if err != nil {
				return // closed
			}
			for heard = append(heard, buf[:n]...); len(heard) >= 6; heard = heard[6:] {
				if scale := scales[heard[1]]; scale != nil && heard[2] == 'B' {
					if _, err := line.Write(scale.says(heard[1])); err != nil {
						return
					}
				}
			}
		}
	}()
	t.Cleanup(func() {
		if err := line.Close(); err != nil {
			t.Error(err)
		}
		<-done
	})
}

// Two platform scales on one cable: the file gives each its address, and each weighs its own load.
// Neither of two readers could have opened the line beside the other.
func TestTwoWeighbridgesOnOneLine(t *testing.T) {
	s := newSite(t)
	one, four := new(platform), new(platform)
	platforms(t, filepath.Join(s.dir, "rs485"), map[byte]*platform{'A': one, 'D': four})
	text, err := os.ReadFile(s.file)
	if err != nil {
		t.Fatal(err)
	}
	both := fmt.Sprintf(`weighbridges:
  - {device: scale-1, line: {port: %[1]q, baud: 9600}, indicator: yaohua-xk3190-a9-command, unit: kg, division: 20 kg, max: 3 t}
  - {device: scale-2, line: {port: %[1]q, baud: 9600}, indicator: yaohua-xk3190-a9-command, options: {address: 4}, unit: kg, division: 20 kg, max: 3 t}
`, filepath.Join(s.dir, "rs485"))
	if err := os.WriteFile(s.file, []byte(strings.Replace(string(text), "weighbridges:\n", both, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	r := s.start()
	shows := func(want string) func() bool {
		return func() bool {
			var got []string
			for _, d := range into[struct {
				Decks []struct{ State, Text string }
			}](t, r.get("/api/decks")).Decks[:2] {
				got = append(got, d.Text+" "+d.State)
			}
			return strings.Join(got, ", ") == want
		}
	}
	r.until("both are empty", shows("0 empty, 0 empty"))
	one.load(1240)
	four.load(860)
	r.until("both have weighed", shows("1240 captured, 860 captured"))
}

// However many weighbridges a line has and however slow it is: each is weighed, or the file is
// refused.
func TestLineWithManyWeighbridges(t *testing.T) {
	for _, test := range []struct {
		weighbridges, baud int
		refused            bool
	}{{1, 9600, false}, {2, 9600, false}, {4, 9600, false}, {5, 9600, true}, {2, 4800, false}, {4, 115200, false}, {2, 2400, false},
		{3, 2400, false}, {4, 2400, true}, {1, 600, false}, {2, 600, true}} {
		var text strings.Builder
		text.WriteString("site: xinhua-1\ncloud: {broker: \"tcp://127.0.0.1:1883\", key: \"11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\"}\nweighbridges:\n")
		for i := range test.weighbridges {
			fmt.Fprintf(&text, "  - {device: scale-%d, line: {port: /dev/ttyS1, baud: %d}, dialect: yaohua-cmd, options: {address: %[1]d}, unit: kg, division: 1 kg, max: 3 t}\n", i+1, test.baud)
		}
		file := filepath.Join(t.TempDir(), "edge.yaml")
		if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := agent.Read(file)
		if test.refused {
			if err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), fmt.Sprintf(":%d:", 3+test.weighbridges)) ||
				!strings.Contains(err.Error(), "ask at least every 1s") {
				t.Errorf("%d weighbridges at %d baud: %v", test.weighbridges, test.baud, err)
			}
			continue
		}
		if err != nil {
			t.Error(err)
			continue
		}
		l := c.Lines()[0]
		if !weighs(l.Turn(), l.Gap()) {
			t.Errorf("%d weighbridges at %d baud: none would be weighed, one weight every %v", test.weighbridges, test.baud, l.Turn())
		}
		if weighs(l.Turn(), l.Turn()-time.Millisecond) {
			t.Error("control: a load is weighed although each weight comes too late")
		}
	}
}

// weighs reports whether a load is weighed whose weight comes so often.
func weighs(every, gap time.Duration) bool {
	deck := meaning.Deck{Device: "scale-1", Division: unit.Kilogram, Min: 20 * unit.Kilogram, Max: 3 * unit.Tonne, Unit: unit.KG, Window: 2 * time.Second, Gap: gap}
	yard := meaning.New(meaning.Config{Decks: []meaning.Deck{deck}})
	at, weighed := time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC), false
	for n := range int64(100) {
		w := device.Weight{Device: "scale-1", At: at.Add(time.Duration(n) * every), HasValue: true, Raw: fmt.Append(nil, n)}
		w.Value.Coef = 1240 * min(1, n/20) // empty at first
		weighed = len(yard.Weight(w)) > 0 || weighed
	}
	return weighed
}
