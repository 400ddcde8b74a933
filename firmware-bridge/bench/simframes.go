package bench

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"strings"
	"sync"
	"time"

	"steelyard/firmware-bridge/catalog"
	"steelyard/firmware-bridge/sim"
	"steelyard/internal/unit"
)

// knownFrames are the frames of manuals and captures with what they mean.
//
//go:embed frames.json
var knownFrames []byte

// indicator is a simulated Yaohua or Toledo indicator on a deck.
type indicator struct {
	machine *sim.Indicator
	deck    *sim.Deck
	wire    *sim.Wire
	weights []unit.Mass
	hold    time.Duration
	chosen  chan unit.Mass // by command; ends the list
}

// rolling is how long a lorry drives on.
const rolling = 2 * time.Second

const indicatorCommands = "weight KG | wrong-checksum | wrong-baud | " + faultCommands

func newIndicator(f simulateFlags, s chosenDialect, wire *sim.Wire) (*indicator, error) {
	i := &indicator{wire: wire, hold: f.hold, chosen: make(chan unit.Mass, 1)}
	division, errDivision := mass(f.division)
	most, errMax := mass(f.max)
	if err := errors.Join(errDivision, errMax); err != nil {
		return nil, wrongCall("", "%w", err)
	}
	if division < unit.Kilogram || division%unit.Kilogram != 0 || most < division {
		return nil, wrongCall("", "division %s, max %s: the simulated indicators show whole kilograms", division, most)
	}
	for _, text := range f.weights {
		m, err := mass(text)
		if err != nil {
			return nil, wrongCall("", "%w", err)
		}
		i.weights = append(i.weights, m)
	}
	if f.checksum == "" {
		f.checksum = s.options.Checksum
	}
	if s.dialect.Name == string(sim.Toledo) && f.checksum == "" {
		f.checksum = string(sim.MT7) // what the dialect expects when nothing is said
	}
	i.deck = sim.NewDeck(sim.DeckConfig{Division: division, Max: most, Seed: 1})
	var err error
	i.machine, err = sim.NewIndicator(sim.IndicatorConfig{Dialect: sim.Dialect(s.dialect.Name), Checksum: sim.Checksum(f.checksum), Rate: f.rate, Seed: 1}, i.deck, wire)
	return i, err
}

func (i *indicator) run(ctx context.Context) {
	var sending sync.WaitGroup
	sending.Go(func() { i.machine.Run(ctx) })
	defer sending.Wait()
	weights := i.weights
	var shown unit.Mass
	if len(weights) > 0 {
		shown = weights[0] // it stands there when the indicator is switched on
		i.deck.Place(shown)
	}
	for n := 0; ; n++ {
		// What comes later drives on: a weight that is there from one frame to the next, and the same in each,
		// would be an output that is frozen.
		if len(weights) > 0 && weights[n%len(weights)] != shown {
			shown = weights[n%len(weights)]
			i.deck.Roll(shown, min(rolling, i.hold*2/5), time.Now())
		}
		t := time.NewTimer(i.hold)
		select {
		case m := <-i.chosen:
			weights = []unit.Mass{m}
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
		t.Stop()
	}
}

func (i *indicator) where() string { return i.wire.Path() }
func (i *indicator) close() error  { return i.wire.Close() }

func (i *indicator) obey(command string, words []string) (string, error) {
	switch command {
	case "weight":
		m, err := mass(strings.Join(words, " "))
		if err != nil {
			return "", err
		}
		select {
		case i.chosen <- m:
			return m.String(), nil
		default:
			return "", errors.New("the weight before is still on its way")
		}
	case "wrong-checksum", "wrong-baud":
		i.machine.Fault(map[string]sim.IndicatorFault{"wrong-checksum": sim.WrongSum, "wrong-baud": sim.WrongBaud}[command])
		return command, i.wire.Fault(sim.LinkFault{})
	}
	said, err := obeyWire(i.wire, command, words, indicatorCommands)
	if err == nil {
		i.machine.Fault(sim.Healthy)
	}
	return said, err
}

// knownFrame is one entry of the known frames.
type knownFrame struct {
	ID     string         `json:"id"`
	Proto  string         `json:"proto"`
	Hex    string         `json:"hex"`
	Expect map[string]any `json:"expect"`
}

// player sends the known frames of a dialect: by itself, or when it is asked where the dialect is
// one that answers.
type player struct {
	wire    *sim.Wire
	frames  [][]byte
	request []byte // empty: sends by itself
	rate    int
	hold    time.Duration
}

// framesOf are those of an indicator's file that are no damaged ones.
func framesOf(i *catalog.Indicator) []knownFrame {
	var known []knownFrame
	for _, test := range i.Tests {
		if test.Refused() {
			continue
		}
		expect := map[string]any{}
		for key, value := range test.Expect {
			if value != "none" {
				expect[key] = value
			}
		}
		known = append(known, knownFrame{Proto: i.Dialect, Hex: test.Frame, Expect: expect})
	}
	return known
}

func newPlayer(f simulateFlags, s chosenDialect, all []knownFrame, wire *sim.Wire) (*player, error) {
	d := s.dialect
	r := &player{wire: wire, rate: f.rate, hold: f.hold}
	if d.Poll != "" {
		request, err := d.Encode(d.Poll, s.options)
		if err != nil {
			return nil, err
		}
		r.request = request
	}
	var has []string
	for _, k := range all {
		value, weighs := k.Expect["value"].(string)
		if k.Proto != d.Name || len(k.Expect) == 0 {
			continue
		}
		if weighs {
			has = append(has, value)
		}
		wanted := len(f.weights) == 0
		for _, w := range f.weights {
			wanted = wanted || w == value
		}
		if b, err := parseHex(k.Hex); wanted && err == nil {
			r.frames = append(r.frames, b)
		}
	}
	if len(r.frames) == 0 {
		return nil, wrongCall("", "dialect %s: no frame of weight %s is known; known are %s", d.Name, f.weights.String(), strings.Join(has, ", "))
	}
	return r, nil
}

func (r *player) run(ctx context.Context) {
	start := time.Now()
	if len(r.request) > 0 {
		r.answer(start)
		return
	}
	tick := time.NewTicker(time.Second / time.Duration(r.rate))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			r.say(start)
		}
	}
}

// answer waits for requests until the line is closed.
func (r *player) answer(start time.Time) {
	buf, heard := make([]byte, 256), []byte{}
	for {
		n, err := r.wire.Read(buf)
		if err != nil {
			return
		}
		heard = append(heard, buf[:n]...)
		if at := bytes.Index(heard, r.request); at >= 0 {
			heard = append(heard[:0], heard[at+len(r.request):]...)
			r.say(start)
		}
		if len(heard) > 1024 {
			heard = heard[:0]
		}
	}
}

// say sends the frame of the moment.
func (r *player) say(start time.Time) {
	frame := r.frames[int(time.Since(start)/r.hold)%len(r.frames)]
	_, _ = r.wire.Write(frame) // a wire does not tell whether anybody listens
}

func (r *player) where() string { return r.wire.Path() }
func (r *player) close() error  { return r.wire.Close() }

func (r *player) obey(command string, words []string) (string, error) {
	return obeyWire(r.wire, command, words, faultCommands)
}
