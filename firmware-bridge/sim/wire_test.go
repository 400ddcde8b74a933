package sim_test

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/sim"
	"steelyard/firmware-bridge/weighbridge"
)

// tape is a line that keeps what is written to it and when.
type tape struct {
	start  time.Time
	pieces [][]byte
	at     []time.Duration
	plugs  []string
}

func (w *tape) Write(b []byte) (int, error) {
	w.pieces, w.at = append(w.pieces, bytes.Clone(b)), append(w.at, time.Since(w.start))
	return len(b), nil
}

func (w *tape) Read([]byte) (int, error) { return 0, io.EOF }
func (w *tape) Close() error             { return nil }
func (w *tape) Path() string             { return "tape" }
func (w *tape) Unplug() error            { w.plugs = append(w.plugs, "out"); return nil }
func (w *tape) Replug() error            { w.plugs = append(w.plugs, "in"); return nil }

// Each fault of a wire as bytes and times, and that the next frame after healing is whole.
func TestWireFaults(t *testing.T) {
	frame := []byte("\x02AB+01234001C\x03")
	for _, test := range []struct {
		fault  sim.LinkFault
		pieces []string // of one frame
		at     []time.Duration
		plugs  int
	}{
		{sim.LinkFault{}, []string{string(frame)}, []time.Duration{0}, 0},
		{sim.LinkFault{Kind: sim.LateReply, Delay: time.Second}, []string{string(frame)}, []time.Duration{time.Second}, 0},
		{sim.LinkFault{Kind: sim.DroppedReply}, nil, nil, 0},
		{sim.LinkFault{Kind: sim.HalfReply}, []string{string(frame[:7])}, []time.Duration{0}, 0},
		{sim.LinkFault{Kind: sim.WrongUnit}, []string{"\x02BB+01234001F\x03"}, []time.Duration{0}, 0},
		{sim.LinkFault{Kind: sim.ResetLine, Delay: time.Second}, nil, nil, 2},
	} {
		synctest.Test(t, func(t *testing.T) {
			line := &tape{start: time.Now()}
			w := sim.NewWire(line, "yaohua-cmd", 1)
			if err := w.Fault(test.fault); err != nil {
				t.Fatal(err)
			}
			if n, err := w.Write(frame); n != len(frame) || err != nil {
				t.Errorf("%s: wrote %d, %v", test.fault.Kind, n, err)
			}
			var got []string
			for _, p := range line.pieces {
				got = append(got, string(p))
			}
			if !slices.Equal(got, test.pieces) || !slices.Equal(line.at, test.at) || len(line.plugs) != test.plugs {
				t.Errorf("%s: sent %q at %v, plugged %q", test.fault.Kind, got, line.at, line.plugs)
			}
			if err := w.Fault(sim.LinkFault{}); err != nil {
				t.Error(err)
			}
			before := len(line.pieces)
			if _, err := w.Write(frame); err != nil || len(line.pieces) != before+1 || !bytes.Equal(line.pieces[before], frame) {
				t.Errorf("%s: does not heal: %q, %v", test.fault.Kind, line.pieces, err)
			}
		})
	}
}

func TestWireIsSlowAndFrozen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		line := &tape{start: time.Now()}
		w := sim.NewWire(line, "sics", 1)
		if err := w.Fault(sim.LinkFault{Kind: sim.SlowReply, Delay: time.Second}); err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write([]byte("abc"))
		if !slices.Equal(line.at, []time.Duration{time.Second, 2 * time.Second, 2 * time.Second}) || string(bytes.Join(line.pieces, nil)) != "abc" {
			t.Errorf("slow: %q at %v", line.pieces, line.at)
		}
		if err := w.Fault(sim.LinkFault{Kind: sim.FrozenReplies}); err != nil {
			t.Fatal(err)
		}
		for _, frame := range []string{"1", "2", "3"} {
			_, _ = w.Write([]byte(frame))
		}
		if got := string(bytes.Join(line.pieces[3:], nil)); got != "111" {
			t.Errorf("frozen: sent %q", got)
		}
		if err := w.Fault(sim.LinkFault{Kind: sim.GarbageReply}); err != nil {
			t.Fatal(err)
		}
		frame := []byte("a frame of some length")
		_, _ = w.Write(frame)
		if last := line.pieces[len(line.pieces)-1]; len(last) != len(frame) || bytes.Equal(last, frame) || string(frame) != "a frame of some length" {
			t.Errorf("garbage: sent %q of %q", last, frame)
		}
	})
}

// Healing cuts short what the fault has begun.
func TestWireHealsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		line := &tape{start: time.Now()}
		w := sim.NewWire(line, "sics", 1)
		if err := w.Fault(sim.LinkFault{Kind: sim.SlowReply, Delay: time.Hour}); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Second, func() { _ = w.Fault(sim.LinkFault{}) })
		_, _ = w.Write([]byte("frame"))
		if passed := time.Since(line.start); passed != time.Second || string(bytes.Join(line.pieces, nil)) != "frame" {
			t.Errorf("sent %q in %s", line.pieces, passed)
		}
	})
}

// A wire that is closed in the middle of a long delay does not wait for it.
func TestWireCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		line := &tape{start: time.Now()}
		w := sim.NewWire(line, "sics", 1)
		if err := w.Fault(sim.LinkFault{Kind: sim.LateReply, Delay: time.Hour}); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Second, func() { w.Close() })
		_, _ = w.Write([]byte("frame"))
		if passed := time.Since(line.start); passed != time.Second {
			t.Errorf("ended after %s", passed)
		}
	})
}

// An answer from another indicator is whole and right, to that one's reader; the reader of the one
// that was asked must refuse it.
func TestWireAnswersFromAnother(t *testing.T) {
	for _, test := range []struct {
		dialect, frame string
		own, other     int // addresses
	}{
		{"yaohua-cmd", "\x02AB+01234001C\x03", 1, 2},
		{"yaohua-cmd", "\x02ZB+012340007\x03", 26, 1},
		{"laumas-ascii", "&&01012340t\\71\r", 1, 2},
		{"dini-short", "01ST,GS,   12340,kg\r\n", 1, 2},
		{"dini-short", "ST,GS,   12340,kg\r\n", 0, 99},
		{"dini-ext", "1ST,      4340,PT      8000,         0,kg\r\n", 1, 99},
	} {
		d, ok := weighbridge.Find(test.dialect)
		if !ok {
			t.Fatal(test.dialect)
		}
		reads := func(address int, frame []byte) (n int) {
			decoder := weighbridge.NewDecoder(d, weighbridge.Options{Address: address})
			decoder.Write(time.Time{}, frame, func(device.Weight) { n++ })
			return n
		}
		line := new(tape)
		w := sim.NewWire(line, test.dialect, 1)
		if err := w.Fault(sim.LinkFault{Kind: sim.WrongUnit}); err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write([]byte(test.frame))
		spoiled := line.pieces[0]
		if reads(test.other, spoiled) != 1 {
			t.Errorf("%q: %q is not whole to the reader of %d", test.frame, spoiled, test.other)
		}
		if test.own > 0 && reads(test.own, spoiled) != 0 {
			t.Errorf("%q: %q is read by the reader of %d", test.frame, spoiled, test.own)
		}
	}
	w := sim.NewWire(new(tape), "yaohua-tf0", 1)
	if err := w.Fault(sim.LinkFault{Kind: sim.WrongUnit}); err == nil || !strings.Contains(err.Error(), "no addresses") {
		t.Errorf("wrong-unit without addresses: %v", err)
	}
	if err := w.Fault(sim.LinkFault{Kind: sim.Exception}); err == nil {
		t.Error("an exception of an indicator")
	}
}
