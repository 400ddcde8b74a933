package telemetry_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"steelyard/cloud/telemetry"
	"steelyard/internal/wire"
)

// plant is a site that changes, and the messages that an edge would send of it.
type plant struct {
	values  []wire.LiveValue
	head    wire.Live
	changes []wire.LiveChange
	random  *rand.Rand
}

func newPlant(session string, values int) *plant {
	p := &plant{head: wire.Live{Site: "xinhua-1", Session: session, N: 1}, random: rand.New(rand.NewPCG(1, 2))}
	for i := range values {
		p.values = append(p.values, wire.LiveValue{Device: fmt.Sprintf("belt-%02d", i/40), Tag: fmt.Sprint("tag-", i%40), Value: "0", OK: true})
	}
	return p
}

func (p *plant) picture() [][]byte {
	p.head.Picture, p.changes = p.head.N, nil
	all := wire.EncodePicture(p.head, p.values)
	p.head.N += uint64(len(all))
	return all
}

func (p *plant) change() {
	for range 5 {
		i := p.random.IntN(len(p.values))
		p.values[i].Value = fmt.Sprint(p.random.IntN(1000))
		p.changes = append(p.changes, wire.LiveChange{I: i, Value: p.values[i].Value, OK: true})
	}
}

func (p *plant) told() [][]byte {
	head := p.head
	for range (len(p.values) + 39) / 40 {
		head.Ages = append(head.Ages, 20)
	}
	all := wire.EncodeChanges(head, p.changes)
	p.changes = nil
	p.head.N += uint64(len(all))
	return all
}

// TestLiveAfterLosses: messages are lost, doubled and overtaken. What is shown as live is always what
// the plant says, or what it said within the time after which a value is stale; after the last loss the
// picture is whole again. Without the numbers a lost change would be shown as live for ever, which is
// the negative control.
func TestLiveAfterLosses(t *testing.T) {
	const rounds = 600
	for _, numbered := range []bool{true, false} {
		clock := &wall{start}
		asked := false
		l := telemetry.NewLive(telemetry.LiveConfig{Sites: []string{"xinhua-1"}, Now: clock.read, Ask: func(_ string, r wire.Request) {
			asked = asked || r.Why == wire.WhyHole && r.Stream == wire.LiveValues
		}})
		status(t, l, "s", true, 1)
		p := newPlant("s", 900)
		said := map[string]map[string]time.Time{} // of each tag: when each value was last the plant's
		lies, fresh := 0, 0
		message := func(m []byte) {
			if err := l.Message("steelyard/v1/xinhua-1/live", m); err != nil {
				t.Fatal(err)
			}
		}
		var late []byte
		number := uint64(0)
		for round := range rounds {
			p.change()
			for _, v := range p.values {
				name := v.Device + v.Tag
				if said[name] == nil {
					said[name] = map[string]time.Time{}
				}
				said[name][v.Value] = clock.now
			}
			messages := p.told
			if round == 0 || asked || round%400 == 0 {
				messages, asked = p.picture, false
			}
			for _, m := range messages() {
				if !numbered { // as if none were missing
					d, err := wire.DecodeLive(m)
					if err != nil {
						t.Fatal(err)
					}
					if d.Of == 0 && number > 0 {
						d.N, d.Picture = number+1, min(d.Picture, number)
					}
					number = d.N
					m = d.Encode()
				}
				switch luck := p.random.IntN(20); {
				case luck == 0 && round < rounds-100:
					if !numbered {
						number--
					}
				case luck == 1 && round < rounds-100 && numbered:
					late = m
				case luck == 2:
					message(m)
					message(m)
				default:
					message(m)
				}
			}
			if late != nil && p.random.IntN(3) == 0 {
				message(late)
				late = nil
			}
			clock.pass(100 * time.Millisecond)
			if round%7 > 0 {
				continue
			}
			for _, v := range l.Snapshot()[0].Values {
				if !v.Live {
					continue
				}
				fresh++
				if at := said[v.Device+v.Tag][v.Value]; clock.now.Sub(at) > 10*time.Second {
					lies++
				}
			}
		}
		if numbered {
			want := map[string]string{}
			for _, v := range p.values {
				want[v.Device+v.Tag] = v.Value
			}
			for _, v := range l.Snapshot()[0].Values {
				if want[v.Device+v.Tag] != v.Value || !v.Live {
					t.Errorf("%s %s: shown %s, live %t; the plant says %s", v.Device, v.Tag, v.Value, v.Live, want[v.Device+v.Tag])
				}
			}
		}
		switch {
		case numbered && (lies > 0 || fresh < 900*rounds/20):
			t.Errorf("of %d values shown as live %d were not the plant's", fresh, lies)
		case !numbered && lies == 0:
			t.Error("without numbers nothing wrong is shown: the test proves nothing")
		}
	}
}

// TestLateComerAsksForAPicture: a city that starts while a site is connected can do nothing with
// changes, and says so; a part of a picture is not the whole; what a picture has not is gone.
func TestLateComerAsksForAPicture(t *testing.T) {
	clock := &wall{start}
	holes := 0
	l := telemetry.NewLive(telemetry.LiveConfig{Sites: []string{"xinhua-1"}, Now: clock.read, Ask: func(string, wire.Request) { holes++ }})
	message := func(m []byte) {
		t.Helper()
		if err := l.Message("steelyard/v1/xinhua-1/live", m); err != nil {
			t.Fatal(err)
		}
	}
	p := newPlant("s", 900)
	unseen := p.picture()
	for range 5 {
		p.change()
		message(p.told()[0])
		clock.pass(100 * time.Millisecond)
	}
	if got := l.Snapshot()[0]; len(got.Values) != 0 || holes != 1 {
		t.Errorf("%d values of changes alone, asked %d times within a second", len(got.Values), holes)
	}
	message(unseen[1]) // overtaken by all of them
	if got := l.Snapshot()[0]; len(got.Values) != 0 {
		t.Errorf("%d values of a part of a picture", len(got.Values))
	}
	for _, m := range p.picture() {
		message(m)
	}
	if got := l.Snapshot()[0]; len(got.Values) != 900 {
		t.Errorf("%d values, want 900", len(got.Values))
	}
	p.values = p.values[:860] // a device was taken away
	for _, m := range p.picture() {
		message(m)
	}
	if got := l.Snapshot()[0]; len(got.Values) != 860 || got.Refused != 0 {
		t.Errorf("%d values, %d refused, want 860 and none", len(got.Values), got.Refused)
	}
	// A change of what is not there is refused and harms nothing.
	p.changes = []wire.LiveChange{{I: 860, Value: "1", OK: true}, {I: -1, Value: "1", OK: true}}
	message(p.told()[0])
	if got := l.Snapshot()[0]; got.Refused != 2 || len(got.Values) != 860 {
		t.Errorf("%d refused of %d values, want 2 of 860", got.Refused, len(got.Values))
	}
	// Silence makes them stale, and nothing else does.
	clock.pass(11 * time.Second)
	for _, v := range l.Snapshot()[0].Values {
		if v.Live {
			t.Fatalf("%s %s is live after 11 s of silence", v.Device, v.Tag)
		}
	}
	message(p.told()[0])
	for _, v := range l.Snapshot()[0].Values {
		if !v.Live {
			t.Fatalf("%s %s is stale though its device was heard", v.Device, v.Tag)
		}
	}
	if err := l.Message("steelyard/v1/xinhua-1/live", []byte("nonsense")); err == nil || l.Snapshot()[0].Refused != 3 {
		t.Errorf("nonsense: %v, %d refused", err, l.Snapshot()[0].Refused)
	}
}
