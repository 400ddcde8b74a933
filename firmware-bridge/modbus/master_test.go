package modbus_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"steelyard/firmware-bridge/modbus"
)

func newMaster(t *testing.T, c modbus.MasterConfig) *modbus.Master {
	t.Helper()
	m, err := modbus.NewMaster(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// patient is a time-out that no machine of these tests lets pass, however busy the computer is. It is for
// tests that are not about time-outs.
const patient = 30 * time.Second

func TestQuestionsThatNoMachineTakes(t *testing.T) {
	t.Parallel()
	m := newMaster(t, modbus.MasterConfig{Link: "rtu:///dev/there-is-none"}) // never opened for these
	for _, c := range []struct {
		q    modbus.Question
		want uint8
	}{
		{modbus.Question{FC: 0, Count: 1}, 1}, {modbus.Question{FC: 5, Count: 1}, 1}, {modbus.Question{FC: 6, Count: 1}, 1},
		{modbus.Question{FC: 16, Count: 1}, 1}, {modbus.Question{FC: 131, Count: 1}, 1}, {modbus.Question{FC: 3}, 3},
		{modbus.Question{FC: 3, Count: 126}, 3}, {modbus.Question{FC: 1, Count: 2001}, 3}, {modbus.Question{FC: 4, Count: -1}, 3},
		{modbus.Question{FC: 4, From: 65535, Count: 2}, 2}, {modbus.Question{FC: 2, From: 65535, Count: 2}, 2},
	} {
		_, _, err := m.Read(t.Context(), c.q)
		if refusal, ok := errors.AsType[modbus.Exception](err); !ok || refusal.Code != c.want {
			t.Errorf("%+v: %v, want exception %d", c.q, err, c.want)
		}
	}
	if _, err := modbus.NewMaster(modbus.MasterConfig{Link: "udp://x", Timeout: -1}); err == nil {
		t.Error("a wrong configuration passed")
	}
}

// lateAnswers asks over and over; one answer in three comes after the time-out. It counts those
// that were taken for the answer to another question.
func lateAnswers(t *testing.T, questions int, trust bool) (wrong int) {
	rng := rand.New(rand.NewPCG(5, 5))
	path := onPty(t, &slave{reply: func(_ uint8, _, answer []byte) []byte {
		if rng.IntN(3) == 0 {
			time.Sleep(lateTimeout + time.Duration(rng.IntN(8))*time.Millisecond) // a slow machine
		}
		return answer
	}})
	m := newMaster(t, modbus.MasterConfig{Link: "rtu://" + path + "?baud=115200", Timeout: lateTimeout, Latency: lateLatency})
	if trust {
		m.TrustMaster()
	}
	right := 0
	for i := range questions {
		from := uint16(i%7) * 10
		unit := uint8(1 + i%40) // the protected master leaves a unit alone, so it gets many
		if trust {
			unit = 1
		}
		data, _, err := m.Read(context.Background(), modbus.Question{Unit: unit, FC: 3, From: from, Count: 10})
		if err != nil {
			continue
		}
		if right++; binary.BigEndian.Uint16(data) != holds(unit, from) {
			wrong++
		}
	}
	if right == 0 {
		t.Error("no answer at all")
	}
	return wrong
}

func TestMasterAndLateAnswers(t *testing.T) {
	t.Parallel()
	if wrong := lateAnswers(t, 600, false); wrong > 0 {
		t.Errorf("%d wrong answers", wrong)
	}
}

// Negative control: a master that asks again at once takes late answers for others.
func TestMasterAndLateAnswersWithoutTheProtection(t *testing.T) {
	t.Parallel()
	if wrong := lateAnswers(t, 300, true); wrong == 0 {
		t.Error("the unprotected master took no wrong answer: the test above proves nothing")
	}
}

// A unit that lost an answer is asked for another length before it is asked for the same again. A computer
// that stands still longer than half the latency proves nothing, and it is tried again.
func TestMasterAsksAnotherLengthFirst(t *testing.T) {
	t.Parallel()
	for range 5 {
		if anotherLengthFirst(t) {
			return
		}
	}
	t.Error("no answer in time, five times: the master does not come back, or the computer is too busy for this test")
}

// anotherLengthFirst loses one answer. It reports whether master and machine had the processor in time.
func anotherLengthFirst(t *testing.T) (proved bool) {
	t.Helper()
	var mu sync.Mutex
	var asked [][]byte
	mute := true
	path := onPty(t, &slave{reply: func(_ uint8, request, answer []byte) []byte {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, bytes.Clone(request[1:6]))
		if mute {
			mute = false
			return nil
		}
		return answer
	}})
	const latency = 2 * time.Second
	m := newMaster(t, modbus.MasterConfig{Link: "rtu://" + path + "?baud=115200", Timeout: latency / 2, Latency: latency})
	defer m.Close()
	ten := modbus.Question{Unit: 1, FC: 3, From: 100, Count: 10}
	begun := time.Now()
	if _, _, err := m.Read(t.Context(), ten); err == nil {
		t.Fatal("an answer out of nothing")
	}
	silence := time.Now() // the question was sent before
	if _, _, err := m.Read(t.Context(), ten); time.Since(begun) >= latency {
		return false
	} else if err == nil {
		t.Fatal("asked while the answer may still be under way")
	}
	time.Sleep(time.Until(silence.Add(latency))) // until the latency is over
	again := time.Now()
	data, _, err := m.Read(t.Context(), ten)
	if err != nil && time.Since(again) >= latency/2 {
		return false // a time-out has passed
	}
	if err != nil || binary.BigEndian.Uint16(data) != holds(1, 100) {
		t.Errorf("% X, %v", data, err)
	}
	mu.Lock()
	defer mu.Unlock()
	want := [][]byte{{3, 0, 100, 0, 10}, {3, 0, 100, 0, 1}, {3, 0, 100, 0, 10}}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("questions -want +got:\n%s", diff)
	}
	return true
}

// Bits come as they were on the wire, over TCP as over a serial line.
func TestMasterReadsBits(t *testing.T) {
	t.Parallel()
	bits := func(request []byte) []byte { // unit, function, count and bytes of the right answer
		n := (int(binary.BigEndian.Uint16(request[4:])) + 7) / 8
		answer := []byte{request[0], request[1], byte(n), 0xB5, 0x3A ^ request[1], 0x05}
		return answer[:3+n]
	}
	address := listen(t, func(conn net.Conn) { serve(conn, bits) })
	path := onPty(t, &slave{reply: func(_ uint8, request, _ []byte) []byte { return withCRC(bits(request)) }})
	for _, link := range []string{"tcp://" + address, "rtu://" + path + "?baud=115200"} {
		m := newMaster(t, modbus.MasterConfig{Link: link, Timeout: patient})
		for fc := uint8(1); fc <= 2; fc++ {
			data, _, err := m.Read(t.Context(), modbus.Question{Unit: 3, FC: fc, From: 7, Count: 19})
			if want := []byte{0xB5, 0x3A ^ fc, 0x05}; err != nil || !bytes.Equal(data, want) {
				t.Errorf("%s function %d: % X, %v, want % X", link, fc, data, err, want)
			}
		}
	}
}

// An answer that the caller keeps, as a cache does, stays what it was when the next one has come. Over
// a serial line the next answer was once written over it.
func TestAnAnswerWasOverwrittenByTheNext(t *testing.T) {
	t.Parallel()
	tcp := listen(t, func(conn net.Conn) { serve(conn, respond) })
	for _, link := range []string{"rtu://" + onPty(t, &slave{}) + "?baud=115200", "tcp://" + tcp} {
		m := newMaster(t, modbus.MasterConfig{Link: link, Timeout: patient})
		var kept [][]byte
		for from := range uint16(20) {
			data, _, err := m.Read(t.Context(), modbus.Question{Unit: 1, FC: 3, From: from, Count: 1 + int(from%3)})
			if err != nil {
				t.Fatal(err)
			}
			kept = append(kept, data)
		}
		for from, data := range kept {
			if got, want := binary.BigEndian.Uint16(data), holds(1, uint16(from)); got != want {
				t.Errorf("%s: register %d became %d, was %d", link, from, got, want)
			}
		}
	}
}

// Who asks can tell a line that cannot be opened from one that was lost and from a unit that is silent,
// also while none of them is asked again yet.
func TestTheLineAndTheUnitAreToldApart(t *testing.T) {
	t.Parallel()
	q := modbus.Question{Unit: 1, FC: 3, Count: 1}
	kind := func(m *modbus.Master) string {
		_, _, err := m.Read(t.Context(), q)
		switch _, closed := errors.AsType[*modbus.OpenError](err); {
		case closed && errors.Is(err, modbus.ErrLost):
			return "both"
		case closed:
			return "closed"
		case errors.Is(err, modbus.ErrLost):
			return "lost"
		case err != nil:
			return "silent"
		}
		return "answers"
	}
	twice := func(what, link string, timeout time.Duration, want string) {
		t.Helper()
		m := newMaster(t, modbus.MasterConfig{Link: link, Timeout: timeout})
		for _, when := range []string{"at once", "when asked again"} {
			if got := kind(m); got != want {
				t.Errorf("%s, %s: %s, want %s", what, when, got, want)
			}
		}
	}
	twice("a port that is not there", "rtu:///dev/there-is-none", patient, "closed")
	twice("a gateway that is not there", "tcp://127.0.0.1:"+reserve(t).port, patient, "closed")
	twice("a terminal server that is not there", "rtu-over-tcp://127.0.0.1:"+reserve(t).port, patient, "closed")
	mute := func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }
	twice("a silent unit on TCP", "tcp://"+listen(t, mute), 50*time.Millisecond, "silent")
	twice("a silent unit on a serial line", "rtu://"+onPty(t, &slave{reply: func(uint8, []byte, []byte) []byte { return nil }}), 50*time.Millisecond, "silent")
	gone := func(conn net.Conn) { _, _ = io.ReadFull(conn, make([]byte, 8)) }
	if got := kind(newMaster(t, modbus.MasterConfig{Link: "tcp://" + listen(t, gone), Timeout: patient})); got != "lost" {
		t.Errorf("a gateway that hangs up: %s, want lost", got)
	}
	if got := kind(newMaster(t, modbus.MasterConfig{Link: "tcp://" + listen(t, func(conn net.Conn) { serve(conn, respond) }), Timeout: patient})); got != "answers" {
		t.Errorf("a machine: %s, want answers", got)
	}
}

// A gateway's word that nothing comes from a unit is that unit's silence: it is left alone for a while,
// and who asks is told the same. The others are asked as before, and so is a unit that refuses.
func TestAMasterLeavesAloneWhomAGatewayCallsSilent(t *testing.T) {
	t.Parallel()
	for code, alone := range map[byte]bool{0x0A: true, 0x0B: true, 0x02: false, 0x04: false, 0x06: false} {
		var asked atomic.Int32 // of unit 2
		address := listen(t, func(conn net.Conn) {
			serve(conn, func(request []byte) []byte {
				if request[0] == 2 {
					asked.Add(1)
					return []byte{2, request[1] | 0x80, code}
				}
				return respond(request)
			})
		})
		m := newMaster(t, modbus.MasterConfig{Link: "tcp://" + address, Timeout: patient})
		begun := time.Now()
		const times = 40
		for range times {
			_, _, err := m.Read(t.Context(), modbus.Question{Unit: 2, FC: 3, Count: 1})
			if refusal, ok := errors.AsType[modbus.Exception](err); !ok || refusal.Code != code {
				t.Errorf("exception %02X: %v", code, err)
			}
			if data, _, err := m.Read(t.Context(), modbus.Question{Unit: 1, FC: 3, Count: 1}); err != nil || binary.BigEndian.Uint16(data) != holds(1, 0) {
				t.Errorf("exception %02X: the other unit says % X, %v", code, data, err)
			}
		}
		// Two questions and one a second at the most.
		if n, most := int(asked.Load()), 3+int(time.Since(begun)/time.Second); alone && n > most || !alone && n != times {
			t.Errorf("exception %02X: the unit was asked %d times, left alone %v", code, n, alone)
		}
	}
}
