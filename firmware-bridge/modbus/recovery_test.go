package modbus_test

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"steelyard/firmware-bridge/modbus"
)

// hands is through how many hands a request goes: bus, machine, the reader of the line and the bus again.
// When all of them wait for the processor for a time-out together, one waits for a quarter of it.
const hands = 4

// pilot asks and answers beside the lines, without a bus or a time-out. How long it waits is the
// computer's doing.
type pilot struct {
	limit time.Duration // a round that takes so much longer than the pause between two stood still
	mu    sync.Mutex
	last  time.Time    // end of the last round
	still []standstill // in order
}

type standstill struct{ from, to time.Time }

// pilotPause is between two rounds: a hundredth of a processor at the most.
const pilotPause = 10 * time.Millisecond

// light lets a pilot ask over a connection of its own until the test ends.
func light(t *testing.T, limit time.Duration) *pilot {
	t.Helper()
	address := listen(t, func(conn net.Conn) { _, _ = io.Copy(conn, conn) })
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	p := &pilot{limit: limit, last: time.Now()}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.burn(func() error {
			question := []byte{0}
			if _, err := conn.Write(question); err != nil {
				return err
			}
			_, err := io.ReadFull(conn, question)
			return err
		})
	}()
	t.Cleanup(func() { conn.Close(); <-ended })
	return p
}

// burn makes rounds until one fails.
func (p *pilot) burn(round func() error) {
	for {
		time.Sleep(pilotPause)
		if err := round(); err != nil {
			return
		}
		p.mu.Lock()
		now := time.Now()
		if now.Sub(p.last) >= pilotPause+p.limit {
			p.still = append(p.still, standstill{p.last, now})
		}
		p.last = now
		p.mu.Unlock()
	}
}

// stood is how much of a time the computer stood still.
func (p *pilot) stood(from, to time.Time) (sum time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	part := func(s standstill) time.Duration {
		begin, end := s.from, s.to
		if begin.Before(from) {
			begin = from
		}
		if end.After(to) {
			end = to
		}
		return max(0, end.Sub(begin))
	}
	if now := time.Now(); now.Sub(p.last) >= pilotPause+p.limit { // others woke before it
		sum = part(standstill{p.last, now})
	}
	for i := len(p.still) - 1; i >= 0 && p.still[i].to.After(from); i-- {
		sum += part(p.still[i])
	}
	return sum
}

func TestThePilotSeesAStandstill(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const limit = faultTimeout / hands
		begun := time.Now()
		p := &pilot{limit: limit, last: begun}
		takes := []time.Duration{0, limit - 1, time.Second, 0} // each after the pause
		p.burn(func() error {
			if len(takes) == 0 {
				return io.EOF
			}
			time.Sleep(takes[0])
			if takes[0] == time.Second {
				// Whoever asks before the pilot is back is told the same.
				if got, want := p.stood(begun, time.Now()), pilotPause+time.Second; got != want {
					t.Errorf("meanwhile: stood still for %s, want %s", got, want)
				}
			}
			takes = takes[1:]
			return nil
		})
		from := begun.Add(2*pilotPause + limit - 1)
		for _, c := range []struct {
			from, to time.Time
			want     time.Duration
		}{
			{begun, time.Now(), pilotPause + time.Second},
			{begun, from, 0},
			{begun, from.Add(time.Millisecond), time.Millisecond},
			{from.Add(time.Second), time.Now(), pilotPause},
			{from.Add(pilotPause + time.Second), time.Now(), 0},
		} {
			if got := p.stood(c.from, c.to); got != c.want {
				t.Errorf("from %s to %s: stood still for %s, want %s", c.from.Sub(begun), c.to.Sub(begun), got, c.want)
			}
		}
	})
}

// Negative control: a bus whose recovery is slow is found out, however few polls it makes and however
// many requests it loses. Only the computer's word excuses it, and not too often.
func TestASlowRecoveryIsSeen(t *testing.T) {
	t.Parallel()
	always := func(from, to time.Time) time.Duration { return faultTimeout / hands }
	never := func(from, to time.Time) time.Duration { return faultTimeout/hands - 1 }
	for name, c := range map[string]struct {
		latency time.Duration // how long the bus leaves a unit alone after a fault
		mute    int           // requests that it loses after the fault's own
		late    bool          // the machine itself was late with these
		stood   func(from, to time.Time) time.Duration
		want    tally // of three faults
		wrong   bool
	}{
		"a sound bus":                         {faultLatency, 0, false, never, tally{}, false},
		"too long alone":                      {recovery + time.Second, 0, false, never, tally{slow: 3}, true},
		"too many lost":                       {faultLatency, 4, false, never, tally{slow: 3}, true},
		"too many lost, no pilot":             {faultLatency, 4, false, nil, tally{slow: 3}, true},
		"too many lost, on a busy computer":   {faultLatency, 4, false, always, tally{excused: 3, own: 15}, true},
		"too many lost, by a machine's delay": {faultLatency, 4, true, never, tally{excused: 3, own: 12}, true},
		"too long alone, on a busy computer":  {2 * recovery, 0, false, always, tally{slow: 3, own: 3}, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &gremlin{rng: rand.New(rand.NewPCG(1, 1)), armed: true, share: 3, timeout: faultTimeout, stood: c.stood,
					over: make(chan struct{}), leave: make(chan struct{})}
				line := &paced{wire: modbus.Wire{Baud: 115200}}
				mute := 0
				line.answer = func(unit uint8, from uint16, count int) ([]byte, error) {
					switch {
					case mute > 0:
						if mute--; c.late {
							g.answered(time.Now().Add(-faultTimeout))
						}
						return nil, modbus.ErrNoReply
					case g.strike():
						mute = c.mute
						return nil, modbus.ErrNoReply
					}
					return respond([]byte{unit, 3, byte(from >> 8), byte(from), 0, byte(count)})[3:], nil
				}
				book := newBook(map[string]uint8{"plc": 1})
				book.onScan = g.scan
				g.bus = newBus(t, modbus.Config{Link: "rtu:///dev/memory?baud=115200", Units: []modbus.Unit{
					{Device: "plc", ID: 1, Profile: blocks(t, 4, faultTimeout, c.latency), Every: faultEvery}}}, book)
				g.bus.InMemory(line)
				g.bus.Overhear(g.lost)
				stop := run(t, g.bus)
				<-g.over
				close(g.leave)
				stop()
				book.check(t)
				if got := (tally{slow: g.tally.slow, excused: g.tally.excused, own: g.tally.own}); got != c.want {
					t.Errorf("got %+v, want %+v", got, c.want)
				}
				g.tally.done = g.done
				if err := g.tally.verdict(); (err != nil) != c.wrong {
					t.Errorf("verdict: %v, wrong %v", err, c.wrong)
				}
			})
		})
	}
}
