package modbus_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/modbus"
)

// paced is a line in memory on which each read takes the time of its bytes. Its clock is the bubble's.
type paced struct {
	wire   modbus.Wire
	answer func(unit uint8, from uint16, count int) ([]byte, error) // nil: what the machine holds
	opened []time.Time
	asked  []question
	closed int
}

// question is one that a line in memory was asked.
type question struct {
	at   time.Time
	unit uint8
	from uint16
}

func (p *paced) Open() error {
	p.opened = append(p.opened, time.Now())
	return nil
}

func (p *paced) Close() { p.closed++ }

func (p *paced) Read(ctx context.Context, unit, _ uint8, from uint16, count int, timeout time.Duration) ([]byte, error) {
	p.asked = append(p.asked, question{time.Now(), unit, from})
	takes := p.wire.Cost(count)
	var data []byte
	for i := range count {
		data = binary.BigEndian.AppendUint16(data, holds(unit, from+uint16(i)))
	}
	var err error
	if p.answer != nil {
		if data, err = p.answer(unit, from, count); err == modbus.ErrNoReply {
			takes += timeout
		}
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(takes):
		return data, err
	}
}

// within lives on a line in memory for so long and stops the bus.
func within(t *testing.T, span time.Duration, bus *modbus.Bus, line *paced) {
	t.Helper()
	bus.InMemory(line)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- bus.Run(ctx) }()
	time.Sleep(span)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if len(line.opened) != line.closed {
		t.Errorf("opened %d times, closed %d times", len(line.opened), line.closed)
	}
}

// keepTimes keeps the moments at which each tag of each device was read.
func keepTimes(b *book) map[string][]time.Time {
	times := map[string][]time.Time{}
	b.onScan = func(s device.Scan) {
		for _, v := range s.Values {
			if v.OK {
				key := s.Device + " " + v.Tag
				times[key] = append(times[key], s.At)
			}
		}
	}
	return times
}

func longestPause(times []time.Time, begun, ended time.Time) (longest time.Duration) {
	for _, at := range append(slices.Clone(times), ended) {
		longest = max(longest, at.Sub(begun))
		begun = at
	}
	return longest
}

// load of five units at 19200 baud with a fast block of four registers and three slow ones each.
type load5 struct {
	every time.Duration
	slow  int // registers of a slow block
	hasty bool
}

// result of a load, over all units.
type result struct {
	share       int64         // of the polls that were due, in percent: the unit with the fewest
	latest      time.Duration // longest time between two polls of a unit, over its period
	slowest     time.Duration // longest time between two readings of a slow block
	most, least int           // polls of the units
}

func (l load5) live(t *testing.T) (r result) {
	t.Helper()
	const span = 20 * time.Minute
	var text strings.Builder
	text.WriteString("profile: p\nstatus: bench\nsources: [{doc: d}]\naddress_base: 0\nreads:\n  - {fc: 3, from: 0, count: 4}\n")
	for b := 1; b <= 3; b++ {
		fmt.Fprintf(&text, "  - {fc: 3, from: %d, count: %d, every: slow}\n", b*200, l.slow)
	}
	text.WriteString("points:\n  - {name: r0, at: 0, type: u16}\n")
	for b := 1; b <= 3; b++ {
		fmt.Fprintf(&text, "  - {name: r%d, at: %[1]d, type: u16}\n", b*200)
	}
	profile := load(t, text.String())
	synctest.Test(t, func(t *testing.T) {
		ids := map[string]uint8{}
		var units []modbus.Unit
		for id := uint8(1); id <= 5; id++ {
			name := fmt.Sprint("m", id)
			ids[name] = id
			units = append(units, modbus.Unit{Device: name, ID: id, Profile: profile, Every: l.every})
		}
		book := newBook(ids)
		times := keepTimes(book)
		bus := newBus(t, modbus.Config{Link: "rtu:///dev/memory?baud=19200", Units: units}, book)
		if l.hasty {
			bus.Hasty()
		}
		t.Logf("load of the line %d %%", bus.Load())
		begun := time.Now()
		within(t, span, bus, &paced{wire: modbus.Wire{Baud: 19200}})
		book.check(t)
		r.least = 1 << 30
		for name := range ids {
			polls := times[name+" r0"]
			r.least, r.most = min(r.least, len(polls)), max(r.most, len(polls))
			r.latest = max(r.latest, longestPause(polls, begun, time.Now())-l.every)
			for b := 1; b <= 3; b++ {
				r.slowest = max(r.slowest, longestPause(times[fmt.Sprintf("%s r%d", name, b*200)], begun, time.Now()))
			}
		}
		r.share = 100 * int64(r.least) / int64(span/l.every)
	})
	t.Logf("%+v: %+v", l, r)
	return r
}

// A line that slow reads would load to more than it carries: the polls keep their period, and every
// slow block is still read within the time that turn.go promises.
func TestPollsKeepTheirPeriodOnALineThatIsOverloaded(t *testing.T) {
	t.Parallel()
	// Five polls take 80 ms of each 100, and the slow blocks want as much again.
	l := load5{every: 100 * time.Millisecond, slow: 40}
	r := l.live(t)
	takes := modbus.Wire{Baud: 19200}.Cost(l.slow)
	switch {
	case r.share < 99:
		t.Errorf("%d %% of the polls were made", r.share)
	case r.latest > takes+l.every*8/10: // a slow read and the polls of the others that waited for it too
		t.Errorf("a poll came %s late, a slow read takes %s", r.latest, takes)
	case r.most-r.least > 2:
		t.Errorf("the units are not served alike: %d to %d polls", r.least, r.most)
	}
	// Two periods of its own, and ten rounds for each of fifteen slow blocks; a round lasts a period and
	// a slow read at most.
	if bound := 20*l.every + 150*(l.every+takes/10); r.slowest > bound {
		t.Errorf("a slow block was not read for %s, promised %s", r.slowest, bound)
	}
}

// Negative control: the same line without the order, first come first served.
func TestPollsLoseTheirPeriodWhenSlowReadsDoNotWait(t *testing.T) {
	t.Parallel()
	if r := (load5{every: 100 * time.Millisecond, slow: 40, hasty: true}).live(t); r.share > 85 {
		t.Errorf("%d %% of the polls were made: the test above proves nothing", r.share)
	}
}

// Where the gaps are wide enough no poll is late at all, and the slow reads keep their period too.
func TestSlowReadsFitIntoTheGaps(t *testing.T) {
	t.Parallel()
	l := load5{every: 400 * time.Millisecond, slow: 40}
	r := l.live(t)
	if r.latest > 5*(modbus.Wire{Baud: 19200}).Cost(4) { // the spread of the first polls
		t.Errorf("a poll came %s late", r.latest)
	}
	if r.share < 99 || r.slowest > 11*l.every {
		t.Errorf("%d %% of the polls, a slow block was not read for %s", r.share, r.slowest)
	}
	hasty := l
	hasty.hasty = true
	if h := hasty.live(t); h.latest <= r.latest {
		t.Errorf("without the order a poll was late by %s, with it by %s: this proves nothing", h.latest, r.latest)
	}
}

// Slow values come about each tenth poll, in a scan of their own: they were not read together with
// the others. Values that rest on one another stay in one scan.
func TestSlowReads(t *testing.T) {
	t.Parallel()
	p := load(t, "profile: p\nstatus: bench\nsources: [{doc: d}]\naddress_base: 0\npoints:\n"+
		"  - {name: r1, at: 1, type: u16}\n  - {name: r50, at: 50, type: u16, every: slow}\n"+
		"  - {name: r80, at: 80, type: u16, every: slow}\n"+
		"  - {name: r90, at: 90, type: u16, every: slow, sign_from: {point: r50, bit: 15}}\n")
	if n := len(p.Blocks()); n != 4 {
		t.Fatalf("%d reads planned, want 4", n)
	}
	synctest.Test(t, func(t *testing.T) {
		book := newBook(map[string]uint8{"plc": 1})
		scans := map[string]int{}
		book.onScan = func(s device.Scan) {
			var tags []string
			for _, v := range s.Values {
				tags = append(tags, v.Tag)
			}
			scans[strings.Join(tags, " ")]++
		}
		within(t, 10*time.Second, newBus(t, modbus.Config{Link: "rtu:///dev/memory", Units: []modbus.Unit{
			{Device: "plc", ID: 1, Profile: p, Every: 100 * time.Millisecond}}}, book), &paced{wire: modbus.Wire{Baud: 9600}})
		if diff := cmp.Diff(map[string]int{"r1": 100, "r80": 10, "r50 r90": 10}, scans); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

// Reads with weights are made first, slow ones last; otherwise the file's order holds.
func TestWeightBeforeTemperature(t *testing.T) {
	t.Parallel()
	p := load(t, "profile: p\nstatus: bench\nsources: [{doc: d}]\naddress_base: 0\nreads:\n"+
		"  - {fc: 3, from: 10, count: 2, every: slow}\n  - {fc: 3, from: 20, count: 1}\n  - {fc: 3, from: 30, count: 2}\n"+
		"  - {fc: 3, from: 40, count: 1}\n  - {fc: 3, from: 50, count: 2, every: slow}\npoints:\n"+
		"  - {name: hours, at: 10, type: u32, unit: h, quantity: machine.hours}\n"+
		"  - {name: oil, at: 20, type: s16, unit: °C, quantity: machine.temperature}\n"+
		"  - {name: gross, at: 30, type: s32, unit: kg, quantity: weight.gross, scale_from: decimals}\n"+
		"  - {name: decimals, at: 40, type: u16, quantity: weight.decimals}\n"+
		"  - {name: batch, at: 50, type: u32, unit: kg, quantity: totaliser.batch}\n")
	var order []uint16
	for _, b := range p.Blocks() {
		order = append(order, b.From)
	}
	if diff := cmp.Diff([]uint16{30, 40, 20, 50, 10}, order); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	values := p.Decode(map[modbus.Register]uint16{{FC: 3, Address: 20}: 45, {FC: 3, Address: 30}: 0, {FC: 3, Address: 31}: 1234, {FC: 3, Address: 40}: 1})
	if got := modbus.Text(values[1]) + " " + modbus.Text(values[2]); got != "45 123.4" {
		t.Errorf("oil and gross read %s", got)
	}
}

// A machine that answers its polls but not one of its slow reads stays online: the values of that
// read say why they are missing, and it is asked for them less and less often.
func TestASlowReadThatIsNeverAnswered(t *testing.T) {
	t.Parallel()
	p := load(t, "profile: p\nstatus: bench\nsources: [{doc: d}]\naddress_base: 0\nlimits: {timeout_ms: 200, latency_ms: 250}\npoints:\n"+
		"  - {name: r1, at: 1, type: u16}\n  - {name: r50, at: 50, type: u16, every: slow}\n  - {name: r80, at: 80, type: u16, every: slow}\n")
	synctest.Test(t, func(t *testing.T) {
		book := newBook(map[string]uint8{"plc": 1})
		why := ""
		times := keepTimes(book)
		keep := book.onScan
		book.onScan = func(s device.Scan) {
			keep(s)
			if v, ok := s.Find("r50"); ok {
				why = v.Why
			}
		}
		line := &paced{wire: modbus.Wire{Baud: 9600}}
		line.answer = func(unit uint8, from uint16, count int) ([]byte, error) {
			if from == 50 {
				return nil, modbus.ErrNoReply
			}
			return respond([]byte{unit, 3, byte(from >> 8), byte(from), 0, byte(count)})[3:], nil
		}
		within(t, 5*time.Minute, newBus(t, modbus.Config{Link: "rtu:///dev/memory", Units: []modbus.Unit{
			{Device: "plc", ID: 1, Profile: p, Every: 100 * time.Millisecond}}}, book), line)
		states, _ := book.states("plc")
		if diff := cmp.Diff([]device.State{device.Online}, states); diff != "" {
			t.Errorf("health -want +got:\n%s", diff)
		}
		if !strings.Contains(why, "no reply in time") || len(times["plc r50"]) > 0 {
			t.Errorf("r50 says %q", why)
		}
		if n := len(times["plc r1"]); n < 2900 {
			t.Errorf("%d polls of 3000", n)
		}
		if n := len(times["plc r80"]); n < 290 {
			t.Errorf("the other slow block was read %d times of 300", n)
		}
	})
}

// A machine is proved by a constant that is read slowly: no value of it is given away before, nor
// after it was silent. The proof does not wait for a gap between the polls.
func TestNothingIsBelievedBeforeTheMachineIsProved(t *testing.T) {
	t.Parallel()
	for name, takes := range map[string]time.Duration{"free line": 10 * time.Millisecond, "loaded line": 99 * time.Millisecond} {
		t.Run(name, func(t *testing.T) { proveTheMachine(t, takes) })
	}
}

func proveTheMachine(t *testing.T, takes time.Duration) {
	t.Helper()
	p := load(t, "profile: p\nstatus: bench\nsources: [{doc: d}]\naddress_base: 0\nlimits: {timeout_ms: 200, latency_ms: 250}\npoints:\n"+
		"  - {name: r1, at: 1, type: u16}\n  - {name: id, at: 50, type: u16, every: slow, constant: 77}\n")
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		foreign := func() bool { return time.Since(begun) > 20*time.Second } // it was exchanged while it was off
		book := newBook(map[string]uint8{"plc": 1})
		good, foul := 0, 0
		book.onScan = func(s device.Scan) {
			v, ok := s.Find("r1")
			switch {
			case ok && v.OK && foreign():
				foul++
			case ok && v.OK:
				good++
			}
		}
		line := &paced{wire: modbus.Wire{Latency: takes}}
		line.answer = func(_ uint8, from uint16, _ int) ([]byte, error) {
			switch {
			case time.Since(begun) > 10*time.Second && !foreign():
				return nil, modbus.ErrNoReply
			case from == 50 && foreign():
				return []byte{0, 78}, nil
			case from == 50:
				return []byte{0, 77}, nil
			}
			return binary.BigEndian.AppendUint16(nil, holds(1, 1)), nil
		}
		within(t, time.Minute, newBus(t, modbus.Config{Link: "rtu:///dev/memory", Units: []modbus.Unit{
			{Device: "plc", ID: 1, Profile: p, Every: 100 * time.Millisecond}}}, book), line)
		if good < 95 || foul > 0 { // of a hundred in ten seconds
			t.Errorf("%d values of the right machine, %d of another", good, foul)
		}
		states, why := book.states("plc")
		if diff := cmp.Diff([]device.State{device.Online, device.Silent, device.Faulty}, states); diff != "" || !strings.Contains(why, "reads 78, must be 77") {
			t.Errorf("%s, -want +got:\n%s", why, diff)
		}
	})
}

// What follows each refusal, in the bubble's time.
func TestExceptions(t *testing.T) {
	t.Parallel()
	const every = 20 * time.Millisecond
	for _, c := range []struct {
		code     uint8
		refusals int // of the machine, then it answers
		states   []device.State
		shortest time.Duration // between two questions while it refuses
		longest  time.Duration
	}{
		{4, 1, []device.State{device.Online}, every, 40 * time.Millisecond},
		{4, 4, []device.State{device.Faulty, device.Online}, every, 6 * time.Second},
		{5, 4, []device.State{device.Online}, 200 * time.Millisecond, time.Second},
		{6, 4, []device.State{device.Online}, 200 * time.Millisecond, time.Second},
		{6, 40, []device.State{device.Faulty, device.Online}, 200 * time.Millisecond, time.Second},
		{7, 2, []device.State{device.Faulty, device.Online}, every, 2 * time.Second},
		{8, 1, []device.State{device.Faulty, device.Online}, time.Second, 2 * time.Second},
		{0x0A, 2, []device.State{device.Silent, device.Online}, every, 2 * time.Second},
		{0x0B, 2, []device.State{device.Silent, device.Online}, every, 2 * time.Second},
		{0x41, 2, []device.State{device.Faulty, device.Online}, every, 2 * time.Second},
	} {
		t.Run(fmt.Sprintf("%02X %d times", c.code, c.refusals), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				left := c.refusals
				line := &paced{wire: modbus.Wire{Baud: 115200}}
				line.answer = func(unit uint8, from uint16, count int) ([]byte, error) {
					if left--; left >= 0 {
						return nil, modbus.Exception{Code: c.code}
					}
					return respond([]byte{unit, 3, byte(from >> 8), byte(from), 0, byte(count)})[3:], nil
				}
				book := newBook(map[string]uint8{"plc": 1})
				within(t, time.Minute, newBus(t, modbus.Config{Link: "rtu:///dev/memory?baud=115200", Units: []modbus.Unit{
					{Device: "plc", ID: 1, Profile: blocks(t, 1, 200*time.Millisecond, 0), Every: every}}}, book), line)
				book.check(t)
				states, _ := book.states("plc")
				if diff := cmp.Diff(c.states, states); diff != "" {
					t.Errorf("health -want +got:\n%s", diff)
				}
				if len(line.asked) <= c.refusals {
					t.Fatalf("asked %d times in a minute", len(line.asked))
				}
				for i := range c.refusals {
					if d := line.asked[i+1].at.Sub(line.asked[i].at); d < c.shortest || d > c.longest {
						t.Errorf("asked again after %s, want %s to %s", d, c.shortest, c.longest)
					}
				}
				if c.code != 6 && c.code != 5 && !strings.Contains(book.health[0].Detail, fmt.Sprintf("%02X", c.code)) && len(c.states) > 1 {
					t.Errorf("the code is not in %q", book.health[0].Detail)
				}
			})
		})
	}
}
