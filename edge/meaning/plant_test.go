package meaning_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"steelyard/edge/meaning"
	"steelyard/firmware-bridge/device"
	"steelyard/internal/record"
	"steelyard/internal/unit"
)

// The plant is a baler or a belt that does its work and shows it with every fault of the tables of
// docs/decisions/0017, and an edge that reads it, restarts, and at times can't record. What really was
// pressed and carried is compared with what is recorded, at every entry.

// trouble is one thing that happens to the machine, the line or the edge.
type trouble struct {
	Kind  string
	Polls int   // it lasts, or the machine works in peace
	Size  int64 // of it: counts, bales
	Seed  uint64
}

// counting is what stands between the machine and the journal: the rule, or the one of before.
type counting interface {
	Scan(device.Scan) []record.Fact
	Apply(meaning.Entry)
}

// edge reads a machine.
type edge struct {
	start   func() counting
	rule    counting
	now     time.Time
	journal []meaning.Entry
	notes   int
	open    bool // the newest note is not over
	full    bool
	steps   int
	took    func(record.Body) error
	err     error
}

func (e *edge) read(values ...device.Value) {
	e.steps++
	facts := e.rule.Scan(device.Scan{Device: "machine", At: e.now, Values: values})
	if e.full {
		return
	}
	for _, f := range facts {
		entry := meaning.Entry{Ref: record.Ref{Journal: "00000000000000000000000000000001", N: uint64(len(e.journal) + 1)}, At: f.At.Truncate(time.Millisecond), Device: f.Device, Body: f.Body}
		e.journal = append(e.journal, entry)
		e.rule.Apply(entry)
		switch b := f.Body.(type) {
		case *record.Device:
			e.notes++
			e.open = b.State == string(device.Faulty)
		case *record.Belt:
			if e.open = b.Event == record.BeltReset || b.Event == record.BeltJump; e.open {
				e.notes++
			}
		}
		if err := errors.Join(f.Body.Check(), e.took(f.Body)); err != nil && e.err == nil {
			e.err = fmt.Errorf("entry %d at %s: %w", len(e.journal), e.now.Format(time.TimeOnly), err)
		}
	}
}

// restart leaves the edge with its journal, or with a checkpoint.
func (e *edge) restart(checkpoint bool) {
	fresh := e.start()
	old, is := e.rule.(*meaning.Site)
	if s, ok := fresh.(*meaning.Site); ok && is && checkpoint {
		data, err := json.Marshal(old.State())
		var st meaning.State
		if e.err = errors.Join(e.err, err, json.Unmarshal(data, &st)); e.err == nil {
			s.Restore(st)
		}
	} else {
		for _, entry := range e.journal {
			fresh.Apply(entry)
		}
	}
	e.rule = fresh
}

// machine is one machine with its faults.
type machine interface {
	work(d time.Duration, r *rand.Rand) // for a time, seen or not
	shows(t trouble, r *rand.Rand, poll int) []device.Value
	befalls(t trouble, r *rand.Rand) // what stays when the trouble is over
	balance() (missing int64)
	trembles() int64 // of it nobody is told
}

// calm is long enough for everything that can be proven.
const calm = 150

// rest is long enough for what is pressed and carried to be recorded.
const rest = 10

// play lets a plan happen and tells whether more was recorded than was done, or less without a note.
func play(plan []trouble, e *edge, m machine) error {
	begun := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	e.now, e.rule = begun, e.start()
	missing, notes, open := m.balance(), 0, false
	still := func(r *rand.Rand) {
		m.befalls(trouble{Kind: "rest"}, r)
		for range rest {
			e.now = e.now.Add(time.Second)
			e.read(m.shows(trouble{Kind: "peace"}, r, 0)...)
		}
	}
	for i, t := range plan {
		r := rand.New(rand.NewPCG(t.Seed, 17))
		changes := t.Kind == "older save" || t.Kind == "reset" || t.Kind == "set"
		if changes {
			still(r) // nobody misses what was not seen before
		}
		if m.befalls(t, r); changes {
			still(r) // nor what has come again before it was looked at
		}
		switch t.Kind {
		case "silence", "off":
			d := time.Duration(t.Polls*t.Polls) * time.Second
			if t.Kind == "silence" {
				m.work(d, r)
			}
			e.now = e.now.Add(d)
		case "restart", "restart from a checkpoint":
			d := time.Duration(t.Polls) * time.Second
			m.work(d, r)
			e.now = e.now.Add(d)
			e.restart(t.Kind != "restart")
		case "clock back":
			e.now = e.now.Add(-time.Duration(t.Polls) * time.Minute)
		}
		e.full = t.Kind == "full"
		for poll := range t.Polls {
			d := time.Duration(500+r.IntN(1000)) * time.Millisecond
			m.work(d, r)
			e.now = e.now.Add(d)
			e.read(m.shows(t, r, poll)...)
			if e.err != nil {
				return fmt.Errorf("trouble %d, %+v, poll %d: %w", i, t, poll, e.err)
			}
		}
		e.full = false
		if t.Kind == "peace" && t.Polls >= calm {
			still(r)
			if now := m.balance(); now > missing+m.trembles() && e.notes == notes && !open {
				return fmt.Errorf("trouble %d, %+v: %d are missing, and nothing was noted", i, t, now-missing)
			}
			missing, notes, open = m.balance(), e.notes, e.open
		}
	}
	return nil
}

// beltModulus is so large that nonsense does not happen to be what a belt could carry, which nobody could tell.
const beltModulus = 100_000_000_000

// plantBelt carries 100 t an hour at most.
type plantBelt struct {
	*edge
	modulus  int64
	at       int64 // the register, without the modulus
	carried  int64 // counts since the first sight
	rest     time.Duration
	idle     bool
	said     int64 // counts by the newest record
	save     int64 // the register when the trouble began
	nonsense int64
}

func newPlantBelt(start func() counting) *plantBelt {
	b := &plantBelt{edge: &edge{start: start}, modulus: beltModulus, at: beltModulus - 20_000}
	b.took = func(body record.Body) error {
		belt, ok := body.(*record.Belt)
		if !ok {
			return fmt.Errorf("a belt made a %s", body.Kind())
		}
		if b.said = int64(belt.Standing / unit.Kilogram); b.said > b.carried {
			return fmt.Errorf("%d counts are recorded, and %d were carried", b.said, b.carried)
		}
		return nil
	}
	return b
}

const perCount = time.Hour / 100_000

func (b *plantBelt) work(d time.Duration, r *rand.Rand) {
	if b.idle || len(b.journal) == 0 {
		return
	}
	b.rest += time.Duration(r.Int64N(int64(d) + 1))
	counts := int64(b.rest / perCount)
	b.rest %= perCount
	if b.at += counts; b.at%b.modulus == 0 {
		b.at, counts = b.at+1, counts+1 // at 0 nobody can tell that it came around, until the next count
	}
	b.carried += counts
}

func (b *plantBelt) balance() int64  { return b.carried - b.said }
func (b *plantBelt) trembles() int64 { return 1 }

func (b *plantBelt) befalls(t trouble, r *rand.Rand) {
	b.idle, b.save, b.nonsense = r.IntN(3) == 0, b.at%b.modulus, r.Int64N(b.modulus)
	last := b.at%b.modulus >= b.modulus/10*9
	switch t.Kind {
	case "older save":
		b.at = max(0, b.at-50-t.Size) // less is carried before the next look, and nobody sees it
	case "reset":
		if !last && b.at%b.modulus >= 50 { // there it can't be told from a wrap, and here from nothing
			b.at = 0
		}
	case "set":
		b.at = (r.Int64N(b.modulus) + int64(b.steps)*100_000_000) % (b.modulus / 10 * 8)
	}
}

func (b *plantBelt) shows(t trouble, r *rand.Rand, poll int) []device.Value {
	raw := b.at % b.modulus
	v := device.Value{Tag: "total", Quantity: "totaliser.mass", Unit: "kg", OK: true}
	switch t.Kind {
	case "tremble":
		if r.IntN(2) == 0 && raw > 0 {
			raw--
		}
	case "zero":
		raw = 0
	case "older for a while":
		if raw = max(0, raw-2-t.Size); t.Seed%2 == 0 {
			raw = max(0, b.save-2-t.Size)
		}
	case "nonsense":
		raw = b.nonsense
	case "nonsense each time":
		raw = r.Int64N(b.modulus)
	case "unread":
		v.OK = false
	}
	v.Number = unit.Decimal{Coef: raw}
	return []device.Value{v}
}

func beltRule() counting {
	return meaning.New(meaning.Config{Belts: []meaning.Belt{{Device: "machine", Step: unit.Kilogram, Modulus: beltModulus,
		MaxRate: 100 * unit.Tonne, Every: time.Minute, Material: "plastics/pet"}}})
}

// plantBaler presses a bale in six seconds at the soonest. Each has a mass of its own.
type plantBaler struct {
	*edge
	byCount  bool
	number   int64 // the counter
	pressed  []unit.Mass
	block    unit.Mass     // the mass that stands in the registers
	late     unit.Mass     // and the one that comes in a while; 0: none
	lateIn   time.Duration // when
	left     time.Duration // until the bale in it is done
	save     int64         // an older number
	saved    unit.Mass     // and its bale
	nonsense int64
	counted  map[unit.Mass]bool
	bales    int64 // recorded, and missed
}

func newPlantBaler(start func() counting, byCount bool) *plantBaler {
	b := &plantBaler{edge: &edge{start: start}, byCount: byCount, number: 41, block: 450_000, counted: map[unit.Mass]bool{}}
	b.took = func(body record.Body) error {
		bale, ok := body.(*record.Bale)
		if !ok {
			return nil
		}
		b.bales += int64(bale.Missed) + 1
		switch i := int(bale.Mass-500_000) - 1; {
		case i < 0 || i >= len(b.pressed):
			return fmt.Errorf("bale %d of %d g was never pressed", bale.Number, bale.Mass)
		case b.counted[bale.Mass]:
			return fmt.Errorf("bale %d of %d g is recorded again", bale.Number, bale.Mass)
		case b.bales > int64(len(b.pressed)):
			return fmt.Errorf("%d bales are recorded, and %d were pressed", b.bales, len(b.pressed))
		}
		b.counted[bale.Mass] = true
		return nil
	}
	return b
}

func (b *plantBaler) balance() int64  { return int64(len(b.pressed)) - b.bales }
func (b *plantBaler) trembles() int64 { return 0 }

func (b *plantBaler) work(d time.Duration, r *rand.Rand) {
	if len(b.journal) == 0 {
		return
	}
	for {
		if b.late != 0 {
			if b.lateIn -= min(d, b.left); b.lateIn <= 0 {
				b.block, b.late = b.late, 0
			}
		}
		if d < b.left {
			b.left -= d
			return
		}
		d -= b.left
		b.left = 6*time.Second + time.Duration(r.IntN(30_000))*time.Millisecond
		mass := unit.Mass(500_001 + len(b.pressed))
		b.pressed = append(b.pressed, mass)
		b.number++
		if b.block = mass; b.byCount {
			b.left += 10 * time.Second // count and mass find rest
			if r.IntN(2) == 0 {
				b.block, b.late, b.lateIn = b.pressed[max(0, len(b.pressed)-2)], mass, time.Duration(r.IntN(4000))*time.Millisecond
			}
		}
	}
}

func (b *plantBaler) befalls(t trouble, r *rand.Rand) {
	b.nonsense = r.Int64N(1 << 32)
	switch t.Kind {
	case "older save":
		b.number = max(0, b.number-1-t.Size%50)
		b.left = max(b.left, time.Minute) // or it is pressed before the next look, and nobody sees it
	case "older for a while":
		older := 1 + t.Size%50
		b.save, b.saved = max(0, b.number-older), 450_000
		if i := int64(len(b.pressed)) - 1 - older; i >= 0 {
			b.saved = b.pressed[i]
		}
	case "reset":
		b.number = 0
	case "set":
		b.number = r.Int64N(1<<31) + int64(b.steps)*1000
	case "rest", "off": // between count and mass there are some seconds, and no power cut
		if b.late != 0 {
			b.block, b.late = b.late, 0
		}
	}
}

func (b *plantBaler) shows(t trouble, r *rand.Rand, poll int) []device.Value {
	number, mass := b.number, b.block
	switch t.Kind {
	case "zero":
		if number = 0; r.IntN(2) == 0 {
			mass = 0
		}
	case "older for a while":
		number, mass = b.save, b.saved
	case "nonsense":
		number = b.nonsense
	case "nonsense each time":
		number = r.Int64N(1 << 32)
	}
	v := device.Value{Quantity: meaning.BySequence, OK: t.Kind != "unread", Number: unit.Decimal{Coef: number}}
	if b.byCount {
		v.Quantity = meaning.ByCount
	}
	return []device.Value{v, {Quantity: "bale.mass", Unit: "g", OK: true, Number: unit.Decimal{Coef: int64(mass)}}}
}

func balerRule(word string) func() counting {
	return func() counting {
		return meaning.New(meaning.Config{Balers: []meaning.Baler{{Device: "machine", Material: "paper/occ", Number: word}}})
	}
}

// plans are troubles with some peace behind most of them.
func plans() *rapid.Generator[[]trouble] {
	kinds := []string{"peace", "tremble", "zero", "older for a while", "older save", "reset", "set", "nonsense", "nonsense each time",
		"unread", "silence", "off", "restart", "restart from a checkpoint", "full", "clock back"}
	one := rapid.Custom(func(t *rapid.T) []trouble {
		happens := trouble{Kind: rapid.SampledFrom(kinds).Draw(t, "kind"), Polls: rapid.IntRange(1, 40).Draw(t, "polls"),
			Size: rapid.Int64Range(0, 20_000).Draw(t, "size"), Seed: rapid.Uint64().Draw(t, "seed")}
		after := trouble{Kind: "peace", Polls: rapid.SampledFrom([]int{1, 20, 100, calm, 2 * calm}).Draw(t, "peace"), Seed: rapid.Uint64().Draw(t, "seed")}
		return []trouble{happens, after}
	})
	return rapid.Custom(func(t *rapid.T) (plan []trouble) {
		plan = []trouble{{Kind: "peace", Polls: rest}} // what is shown first is where it begins: nothing is known before
		for _, some := range rapid.SliceOfN(one, 10, 60).Draw(t, "troubles") {
			plan = append(plan, some...)
		}
		return plan
	})
}

// Each machine makes so many steps: -rapid.checks=40000 makes it a hundred times as many.
const enough = 1_000_000

func TestNeverMoreThanWasPressedOrCarried(t *testing.T) {
	for name, run := range plants(beltRule, balerRule(meaning.BySequence), balerRule(meaning.ByCount)) {
		t.Run(name, func(t *testing.T) {
			steps := 0
			for steps < enough && !t.Failed() {
				rapid.Check(t, func(t *rapid.T) {
					n, err := run(plans().Draw(t, "plan"))
					if steps += n; err != nil {
						t.Fatal(err)
					}
				})
			}
			t.Logf("%d steps", steps)
		})
	}
}

// plants are the machines with a rule each.
func plants(belt, sequence, count func() counting) map[string]func([]trouble) (int, error) {
	return map[string]func([]trouble) (int, error){
		"belt": func(p []trouble) (int, error) {
			b := newPlantBelt(belt)
			err := play(p, b.edge, b)
			return b.steps, err
		},
		"baler by sequence": func(p []trouble) (int, error) {
			b := newPlantBaler(sequence, false)
			err := play(p, b.edge, b)
			return b.steps, err
		},
		"baler by count": func(p []trouble) (int, error) {
			b := newPlantBaler(count, true)
			err := play(p, b.edge, b)
			return b.steps, err
		},
	}
}
