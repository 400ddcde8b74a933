package modbus_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/modbus"
)

// shift is a serial line in memory with five units, on which everything goes wrong now and then. Its
// time is the bubble's.
type shift struct {
	rng     *rand.Rand
	sick    float64   // share of replies with a fault
	outage  time.Time // the adapter is away until then
	asleep  [6]time.Time
	late    []straggler
	opens   int
	closes  int
	strikes map[string]int
}

// straggler is a reply that will still come.
type straggler struct {
	at    time.Time
	unit  uint8
	fc    uint8
	data  []byte
	count int
}

func (s *shift) Open() error {
	if time.Now().Before(s.outage) {
		return errors.New("no such device")
	}
	s.opens++
	return nil
}

func (s *shift) Close() { s.closes++ }

func (s *shift) Read(ctx context.Context, unit, fc uint8, from uint16, count int, timeout time.Duration) ([]byte, error) {
	sent := time.Now()
	var data []byte
	for i := range count {
		data = binary.BigEndian.AppendUint16(data, holds(unit, from+uint16(i)))
	}
	wait := 20*time.Millisecond + time.Duration(s.rng.IntN(30))*time.Millisecond
	strike := func(kind string) { s.strikes[kind]++ }
	silent := func() ([]byte, error) { return nil, s.sleep(ctx, timeout, modbus.ErrNoReply) }
	// What a master that asks too early gets: the reply to an older question of the same form.
	for _, l := range s.late {
		if l.unit == unit && l.fc == fc && l.count == count && l.at.After(sent) && l.at.Before(sent.Add(wait)) {
			return l.data, s.sleep(ctx, l.at.Sub(sent), nil)
		}
	}
	s.late = slices.DeleteFunc(s.late, func(l straggler) bool { return !l.at.After(sent) })
	switch p := s.rng.Float64() / s.sick; {
	case sent.Before(s.outage):
		return nil, modbus.ErrLost
	case sent.Before(s.asleep[unit]):
		return silent()
	case p < 0.35:
		strike("no reply")
		return silent()
	case p < 0.75:
		strike("late reply")
		s.late = append(s.late, straggler{sent.Add(timeout + time.Duration(1+s.rng.IntN(1600))*time.Millisecond), unit, fc, data, count})
		return silent()
	case p < 0.975:
		strike("exception")
		return nil, errors.Join(s.sleep(ctx, wait, nil), modbus.Exception{Code: []uint8{4, 5, 6, 8, 0x0A, 0x0B, 0x41}[s.rng.IntN(7)]})
	case p < 0.99:
		strike("line lost")
		s.outage = sent.Add(time.Duration(s.rng.IntN(20)) * time.Second)
		return nil, modbus.ErrLost
	case p < 1:
		strike("unit off")
		s.asleep[unit] = sent.Add(time.Duration(s.rng.IntN(300)) * time.Second)
		return silent()
	}
	return data, s.sleep(ctx, wait, nil)
}

func (s *shift) sleep(ctx context.Context, d time.Duration, err error) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return err
	}
}

// liveThrough runs five units on one line for so long and returns what went wrong.
func liveThrough(t *testing.T, span time.Duration, trust bool) (wrong []string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &shift{rng: rand.New(rand.NewPCG(8, 15)), sick: 0.02, strikes: map[string]int{}}
		units := map[string]uint8{}
		var config []modbus.Unit
		profile := blocks(t, 2, 200*time.Millisecond, 2*time.Second)
		for id := uint8(1); id <= 5; id++ {
			name := fmt.Sprint("m", id)
			units[name] = id
			config = append(config, modbus.Unit{Device: name, ID: id, Profile: profile, Every: 2 * time.Second})
		}
		book := newBook(units)
		last, longest := map[string]time.Time{}, time.Duration(0)
		book.onScan = func(scan device.Scan) {
			if before, ok := last[scan.Device]; ok {
				longest = max(longest, scan.At.Sub(before))
			}
			last[scan.Device] = scan.At
		}
		bus := newBus(t, modbus.Config{Link: "rtu:///dev/memory", Units: config}, book)
		bus.InMemory(s)
		if trust {
			bus.Trust()
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- bus.Run(ctx) }()
		hold := func() (heap uint64, goroutines int) {
			book.mu.Lock()
			book.health = nil // the test's own record grows
			book.mu.Unlock()
			synctest.Wait()
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return m.HeapAlloc, runtime.NumGoroutine()
		}
		time.Sleep(span / 24)
		heap, goroutines := hold()
		for range 23 {
			time.Sleep(span / 24)
			if _, n := hold(); n > goroutines {
				t.Errorf("%d goroutines, %d after the first hour", n, goroutines)
			}
		}
		after, _ := hold()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		wrong = book.wrong
		stats := bus.Stats()
		t.Logf("%s: %+v, faults %v, longest without a value %s, heap %d KiB after the first hour, %d KiB at the end",
			span, stats, s.strikes, longest, heap>>10, after>>10)
		if trust {
			return
		}
		if after > heap+256<<10 {
			t.Errorf("heap grew from %d to %d bytes", heap, after)
		}
		if s.opens != s.closes {
			t.Errorf("opened %d times, closed %d times", s.opens, s.closes)
		}
		for id, at := range last {
			if time.Since(at) > 6*time.Minute {
				t.Errorf("%s has been without a value for %s", id, time.Since(at))
			}
		}
		if possible := uint64(5 * span / (2 * time.Second)); stats.Scans*10 < possible*8 || stats.Scans > possible+5 {
			t.Errorf("%d scans of %d possible", stats.Scans, possible)
		}
	})
	return wrong
}

// A day of mixed faults: no wrong value, nothing that grows, every unit back.
func TestADayOfFaults(t *testing.T) {
	if wrong := liveThrough(t, 24*time.Hour, false); len(wrong) > 0 {
		t.Errorf("%d wrong values, the first: %s", len(wrong), wrong[0])
	}
}

// Negative control: the same day without the protection has wrong values.
func TestADayOfFaultsIsWrongWithoutTheProtection(t *testing.T) {
	if wrong := liveThrough(t, 4*time.Hour, true); len(wrong) == 0 {
		t.Error("the unprotected bus brought no wrong value: the test above proves nothing")
	}
}
