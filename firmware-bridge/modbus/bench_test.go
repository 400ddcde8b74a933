package modbus_test

import (
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	library "github.com/simonvetter/modbus"

	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/modbus"
)

// counted is a sink that only counts.
type counted struct{ scans chan struct{} }

func (counted) Weight(device.Weight) {}
func (counted) Health(device.Health) {}
func (c counted) Scan(device.Scan)   { c.scans <- struct{}{} }

// wide is a profile of one block.
func wide(t testing.TB, count int) *modbus.Profile {
	t.Helper()
	var text strings.Builder
	text.WriteString("profile: wide\nstatus: bench\nsources: [{doc: test}]\naddress_base: 0\nlimits: {timeout_ms: 1000}\npoints:\n")
	for r := range count {
		fmt.Fprintf(&text, "  - {name: r%d, at: %d, type: u16}\n", r, r)
	}
	return load(t, text.String())
}

// wire makes a slave take exactly the time that its line takes: the request's eight characters, the
// silence, the reply; all of it arrives with its last character, as USB adapters hand it on. Each
// deadline counts from the request, so that lateness does not add up, and how late this machine
// was itself is counted.
type wire struct {
	baud int
	late atomic.Int64 // nanoseconds
}

func (w *wire) reply(_ uint8, _, answer []byte) []byte {
	char := 11 * time.Second / time.Duration(w.baud)
	silence := char * 7 / 2
	if w.baud > 19200 {
		silence = 1750 * time.Microsecond
	}
	until := time.Now().Add(8*char + silence + time.Duration(len(answer))*char)
	exactly(until)
	w.late.Add(int64(time.Since(until)))
	return answer
}

// exactly waits as a machine does that has nothing else to do: the last of it awake.
func exactly(until time.Time) {
	for d := time.Until(until); d > 0; d = time.Until(until) {
		if d > 200*time.Microsecond {
			t := syscall.NsecToTimespec(int64(d - 150*time.Microsecond))
			_ = syscall.Nanosleep(&t, nil)
		}
	}
}

// contestant asks for so many replies and says how long they took. The first question of a turn is
// not counted: the silence before it is over already.
type contestant struct {
	name  string
	wire  *wire
	ask   func(replies int) time.Duration
	spent time.Duration
}

// BenchmarkLine says what share of the possible requests five units on a paced line get: ours, and
// beside it the library alone, in turns, so that all see the same load of the computer. The library
// is on TCP, so the like of it is "tcp"; "pty" has the kernel's terminal between the ends. late-µs is
// what the simulated line itself was late by, per request of any of them: a share that the computer
// took, not the master.
func BenchmarkLine(b *testing.B) {
	for _, baud := range []int{9600, 19200, 115200} {
		for _, count := range []int{60, 10} {
			b.Run(fmt.Sprintf("%d/%d", baud, count), func(b *testing.B) { race(b, baud, count) })
		}
	}
}

func race(b *testing.B, baud, count int) {
	possible := modbus.Wire{Baud: baud}.Cost(count)
	contestants := []*contestant{libraryAlone(b, baud, count), oursOn(b, "tcp", baud, count), oursOn(b, "pty", baud, count)}
	for _, c := range contestants {
		c.ask(3)
		c.wire.late.Store(0)
	}
	const turn = 20
	b.ResetTimer()
	for done := 0; done < b.N; done += turn {
		for _, c := range contestants {
			c.spent += c.ask(min(turn, b.N-done))
		}
	}
	b.StopTimer()
	var late int64
	for _, c := range contestants {
		b.ReportMetric(100*float64(possible)*float64(b.N)/float64(c.spent), "%"+c.name)
		late += c.wire.late.Load()
	}
	b.ReportMetric(float64(late)/1000/float64(b.N*len(contestants)), "late-µs")
	b.ReportMetric(0, "ns/op")
	b.Log(load1())
}

// load1 is how busy the computer is, without which no figure here means anything.
func load1() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return err.Error()
	}
	return "load average " + strings.TrimSpace(string(text))
}

// oursOn is a bus that is held in its sink while the others have their turn.
func oursOn(b *testing.B, kind string, baud, count int) *contestant {
	w := &wire{baud: baud}
	link := "rtu-over-tcp://"
	if kind == "pty" {
		link = "rtu://" + onPty(b, &slave{reply: w.reply})
	} else {
		link += listen(b, func(conn net.Conn) { (&slave{end: conn, reply: w.reply}).serve() })
	}
	sink := counted{make(chan struct{})}
	var units []modbus.Unit
	for id := uint8(1); id <= 5; id++ {
		units = append(units, modbus.Unit{Device: fmt.Sprint("m", id), ID: id, Profile: wide(b, count), Every: time.Millisecond})
	}
	stop := run(b, newBus(b, modbus.Config{Link: fmt.Sprintf("%s?baud=%d", link, baud), Units: units}, sink))
	b.Cleanup(func() {
		go func() {
			for range sink.scans {
			}
		}()
		stop()
		close(sink.scans)
	})
	return &contestant{name: kind, wire: w, ask: func(replies int) time.Duration {
		<-sink.scans // read in the last turn; taking it sets the bus free
		<-sink.scans
		begun := time.Now()
		for range replies {
			<-sink.scans
		}
		return time.Since(begun)
	}}
}

func libraryAlone(b *testing.B, baud, count int) *contestant {
	w := &wire{baud: baud}
	address := listen(b, func(conn net.Conn) { (&slave{end: conn, reply: w.reply}).serve() })
	client, err := library.NewClient(&library.ClientConfiguration{URL: "rtuovertcp://" + address, Speed: uint(baud),
		Timeout: time.Second, Logger: log.New(io.Discard, "", 0)})
	if err != nil || client.Open() != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { client.Close() })
	i := 0
	return &contestant{name: "library", wire: w, ask: func(replies int) time.Duration {
		begun := time.Now()
		for n := range replies + 1 {
			if n == 1 {
				begun = time.Now()
			}
			i++
			if err := client.SetUnitId(uint8(1 + i%5)); err != nil {
				b.Fatal(err)
			}
			if _, err := client.ReadRawBytes(0, uint16(2*count), library.HOLDING_REGISTER); err != nil {
				b.Fatal(err)
			}
		}
		return time.Since(begun)
	}}
}

// BenchmarkTCP is one machine of 60 registers on loopback.
func BenchmarkTCP(b *testing.B) {
	address := listen(b, func(conn net.Conn) { serve(conn, respond) })
	// A hundred units behind one gateway, each due every millisecond: the bus never waits.
	var units []modbus.Unit
	profile := wide(b, 60)
	for id := uint8(1); id <= 100; id++ {
		units = append(units, modbus.Unit{Device: fmt.Sprint("m", id), ID: id, Profile: profile, Every: time.Millisecond})
	}
	sink := counted{make(chan struct{}, 1024)}
	stop := run(b, newBus(b, modbus.Config{Link: "tcp://" + address, Units: units}, sink))
	<-sink.scans
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		<-sink.scans
	}
	b.StopTimer()
	go func() {
		for range sink.scans {
		}
	}()
	stop()
	close(sink.scans)
}

func BenchmarkDecode(b *testing.B) {
	p := wide(b, 60)
	r := map[modbus.Register]uint16{}
	for a := range uint16(60) {
		r[modbus.Register{FC: 3, Address: a}] = a
	}
	b.ReportAllocs()
	for b.Loop() {
		p.Decode(r)
	}
}

// BenchmarkDeadUnit says what the living keep of their rate when one of five units on a line of
// 19200 baud, read with 60 registers as often as the line allows, does not answer: time-out 1 s. The
// first half minute, in which the dead unit is found out and set aside step by step, is not counted.
//
//	alive-polls/s  of the four, while the fifth answers
//	kept-%         of that, while it does not
func BenchmarkDeadUnit(b *testing.B) {
	const settling, watched = 32 * time.Second, 31 * time.Second // one period of the longest pause and its time-out
	var dead atomic.Bool
	w := &wire{baud: 19200}
	link := "rtu://" + onPty(b, &slave{reply: func(unit uint8, request, answer []byte) []byte {
		if unit == 5 && dead.Load() {
			return nil
		}
		return w.reply(unit, request, answer)
	}})
	living := &living{}
	var units []modbus.Unit
	for id := uint8(1); id <= 5; id++ {
		units = append(units, modbus.Unit{Device: fmt.Sprint("m", id), ID: id, Profile: wide(b, 60), Every: time.Millisecond})
	}
	run(b, newBus(b, modbus.Config{Link: link + "?baud=19200", Units: units}, living))
	time.Sleep(time.Second)
	for range b.N {
		dead.Store(false)
		time.Sleep(35 * time.Second) // it is asked again at the latest after 30 s
		before := living.rate(10 * time.Second)
		dead.Store(true)
		time.Sleep(settling)
		after := living.rate(watched)
		b.ReportMetric(before, "alive-polls/s")
		b.ReportMetric(100*after/before, "kept-%")
	}
	b.ReportMetric(0, "ns/op")
	b.Log(load1())
}

// living counts the polls of the units that never die.
type living struct{ polls atomic.Int64 }

func (l *living) Weight(device.Weight) {}
func (l *living) Health(device.Health) {}
func (l *living) Scan(s device.Scan) {
	if s.Device != "m5" {
		l.polls.Add(1)
	}
}

func (l *living) rate(d time.Duration) float64 {
	before := l.polls.Load()
	time.Sleep(d)
	return float64(l.polls.Load()-before) / d.Seconds()
}
