package modbus_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

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

func TestQuestionsThatNoMachineTakes(t *testing.T) {
	t.Parallel()
	m := newMaster(t, modbus.MasterConfig{Link: "rtu:///dev/there-is-none"})
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
	if _, _, err := m.Read(t.Context(), modbus.Question{Unit: 1, FC: 3, Count: 1}); err == nil || !m.Lost() {
		t.Errorf("read of a port that is not there: %v", err)
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

// A unit that lost an answer is asked for another length before it is asked for the same again.
func TestMasterAsksAnotherLengthFirst(t *testing.T) {
	t.Parallel()
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
	m := newMaster(t, modbus.MasterConfig{Link: "rtu://" + path + "?baud=115200", Timeout: 100 * time.Millisecond, Latency: 110 * time.Millisecond})
	ten := modbus.Question{Unit: 1, FC: 3, From: 100, Count: 10}
	if _, _, err := m.Read(t.Context(), ten); err == nil {
		t.Error("an answer out of nothing")
	}
	if _, _, err := m.Read(t.Context(), ten); err == nil {
		t.Error("asked while the answer may still be under way")
	}
	time.Sleep(20 * time.Millisecond) // the rest of the latency
	data, _, err := m.Read(t.Context(), ten)
	if err != nil || binary.BigEndian.Uint16(data) != holds(1, 100) {
		t.Errorf("% X, %v", data, err)
	}
	m.Close()
	mu.Lock()
	defer mu.Unlock()
	want := [][]byte{{3, 0, 100, 0, 10}, {3, 0, 100, 0, 1}, {3, 0, 100, 0, 10}}
	if len(asked) != len(want) {
		t.Fatalf("asked % X", asked)
	}
	for i := range want {
		if !bytes.Equal(asked[i], want[i]) {
			t.Errorf("question %d % X, want % X", i, asked[i], want[i])
		}
	}
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
		m := newMaster(t, modbus.MasterConfig{Link: link})
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
		m := newMaster(t, modbus.MasterConfig{Link: link})
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
