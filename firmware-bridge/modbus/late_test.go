package modbus_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	library "github.com/simonvetter/modbus"

	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/modbus"
)

const (
	lateTimeout = 10 * time.Millisecond
	lateLatency = 20 * time.Millisecond
)

// tardy decides which replies come late: one in two on average, but never a second before
// the bus has brought a scan again, so that recovery can be counted.
type tardy struct {
	mu    sync.Mutex
	rng   *rand.Rand
	armed bool
	late  int
	polls uint64        // of the bus when the reply was made late
	spare time.Duration // a reply may be later than the profile's latency by this
}

func (l *tardy) delay(polls func() uint64) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.armed || l.rng.IntN(2) > 0 {
		return 0
	}
	l.armed = false
	l.late++
	l.polls = polls()
	return lateTimeout + time.Duration(4+l.rng.IntN(6))*time.Millisecond + time.Duration(l.rng.Int64N(int64(l.spare)+1))
}

// lateReplies runs until so many replies were late and checks that none became another value.
func lateReplies(t *testing.T, profile *modbus.Profile, link func(delay func() time.Duration) string, count int, spare time.Duration, trust bool) (wrong int) {
	l := &tardy{rng: rand.New(rand.NewPCG(4, 7)), armed: true, spare: spare}
	book := newBook(map[string]uint8{"plc": 1})
	var bus *modbus.Bus
	ready := make(chan struct{})
	url := link(func() time.Duration {
		<-ready
		return l.delay(func() uint64 { return bus.Stats().Polls })
	})
	slowest := uint64(0)
	book.onScan = func(device.Scan) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if !l.armed {
			slowest = max(slowest, bus.Stats().Polls-l.polls)
		}
		l.armed = true
	}
	bus = newBus(t, modbus.Config{Link: url, Units: []modbus.Unit{
		{Device: "plc", ID: 1, Profile: profile, Every: time.Millisecond}}}, book)
	if trust {
		bus.Trust()
	}
	close(ready)
	stop := run(t, bus)
	book.until(t, "late replies", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.late >= count && l.armed || trust && len(book.wrong) > 0
	})
	stop()
	l.mu.Lock() // the machine may be at work still
	defer l.mu.Unlock()
	t.Logf("late %d, stats %+v, slowest recovery %d polls", l.late, bus.Stats(), slowest)
	return len(book.wrong)
}

func ptyLink(t *testing.T) func(func() time.Duration) string {
	return func(delay func() time.Duration) string {
		path := onPty(t, &slave{reply: func(_ uint8, _, answer []byte) []byte {
			time.Sleep(delay()) // a slow machine
			return answer
		}})
		return "rtu://" + path + "?baud=115200"
	}
}

// lateness is a delay beyond the time-out and within the latency of faultsOf.
func lateness(g *gremlin) time.Duration {
	return faultTimeout + time.Duration(4+g.intn(11))*time.Millisecond
}

func TestLateReplyOnASerialLine(t *testing.T) {
	endure(t, faultsOf(25), func(t *testing.T, g *gremlin) string {
		struck := false // by the machine's one goroutine
		return "rtu://" + onPty(t, &slave{
			sent: func(asked time.Time) {
				if !struck {
					g.answered(asked)
				}
			},
			reply: func(_ uint8, _, answer []byte) []byte {
				if struck = g.strike(); struck {
					time.Sleep(lateness(g)) // a slow machine
				}
				return answer
			},
		}) + "?baud=115200"
	})
}

// A machine that is slower than its profile says: the question of another length alone holds.
func TestLateReplyBeyondTheLatency(t *testing.T) {
	t.Parallel()
	if wrong := lateReplies(t, blocks(t, 4, lateTimeout, lateLatency), ptyLink(t), 12, 60*time.Millisecond, false); wrong > 0 {
		t.Errorf("%d wrong values", wrong)
	}
}

// coils are four blocks of 16 coils, all of one length; those from a on hold the bits of holds(unit, a).
func coils(t *testing.T) *modbus.Profile {
	var reads, points strings.Builder
	for at := 0; at < 400; at += 100 {
		fmt.Fprintf(&reads, "  - {fc: 1, from: %d, count: 16}\n", at)
		fmt.Fprintf(&points, "  - {name: r%d, at: %[1]d, type: bits, length: 16}\n", at)
	}
	return load(t, fmt.Sprintf("profile: coils\nstatus: bench\nsources: [{doc: test}]\naddress_base: 0\nlimits: {timeout_ms: %d, latency_ms: %d}\nreads:\n%spoints:\n%s",
		lateTimeout.Milliseconds(), lateLatency.Milliseconds(), &reads, &points))
}

func lateCoils(t *testing.T) func(func() time.Duration) string {
	return func(delay func() time.Duration) string {
		path := onPty(t, &slave{reply: func(unit uint8, request, _ []byte) []byte {
			time.Sleep(delay()) // a slow machine
			bits, count := holds(unit, binary.BigEndian.Uint16(request[2:])), int(request[5])
			answer := []byte{unit, request[1], byte((count + 7) / 8), byte(bits), byte(bits >> 8)}
			return withCRC(answer[:3+(count+7)/8])
		}})
		return "rtu://" + path + "?baud=115200"
	}
}

// Coils have no more of a number than registers: what comes late is never another block's.
func TestLateReplyOfCoils(t *testing.T) {
	t.Parallel()
	if wrong := lateReplies(t, coils(t), lateCoils(t), 12, 60*time.Millisecond, false); wrong > 0 {
		t.Errorf("%d wrong values", wrong)
	}
}

func TestLateReplyOfCoilsIsWrongWithoutTheProtection(t *testing.T) {
	t.Parallel()
	if wrong := lateReplies(t, coils(t), lateCoils(t), 200, 0, true); wrong == 0 {
		t.Error("no wrong value: this proves nothing")
	}
}

func TestLateReplyOnTCP(t *testing.T) {
	endure(t, faultsOf(25), func(t *testing.T, g *gremlin) string {
		return "tcp://" + listen(t, func(conn net.Conn) {
			request := make([]byte, 12)
			for {
				if _, err := io.ReadFull(conn, request); err != nil {
					return
				}
				asked, struck := time.Now(), g.strike()
				if struck {
					time.Sleep(lateness(g)) // a slow machine
				}
				if _, err := conn.Write(mbap(request, respond(request[6:]))); err != nil {
					return
				}
				if !struck {
					g.answered(asked)
				}
			}
		})
	})
}

// mbap puts the header of the request before unit, function and data.
func mbap(request, pdu []byte) []byte {
	frame := append([]byte{request[0], request[1], 0, 0}, 0, byte(len(pdu)))
	return append(frame, pdu...)
}

// Negative control: without settling and without a question of another length, the same bus on
// the same line takes late replies for other registers.
func TestLateReplyIsWrongWithoutTheProtection(t *testing.T) {
	t.Parallel()
	if wrong := lateReplies(t, blocks(t, 4, lateTimeout, lateLatency), ptyLink(t), 200, 0, true); wrong == 0 {
		t.Error("the unprotected bus brought no wrong value: the test above proves nothing")
	}
}

// Negative control: the library alone, as it is used by most.
func TestLateReplyIsWrongWithTheLibraryAlone(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	address := listen(t, func(conn net.Conn) {
		s := &slave{end: conn, reply: func(_ uint8, _, answer []byte) []byte {
			if rng.IntN(5) == 0 {
				time.Sleep(lateTimeout + 5*time.Millisecond)
			}
			return answer
		}}
		s.serve()
	})
	client, err := library.NewClient(&library.ClientConfiguration{URL: "rtuovertcp://" + address, Speed: 115200,
		Timeout: lateTimeout, Logger: log.New(io.Discard, "", 0)})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Open(); err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	wrong := 0
	for i := 0; i < 400 && wrong == 0; i++ {
		from := uint16(i%4) * 100
		data, err := client.ReadRawBytes(from, 20, library.HOLDING_REGISTER)
		if err == nil && binary.BigEndian.Uint16(data) != holds(1, from) {
			wrong++
		}
	}
	if wrong == 0 {
		t.Error("the library brought no wrong value: the tests above prove nothing")
	}
}
