package weighbridge_test

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/weighbridge"
)

// answers are the vectors that a decoder reads.
func answers(t testing.TB) []vector {
	t.Helper()
	asked := requests()
	var all []vector
	for _, v := range vectors(t) {
		if _, isRequest := asked[v.ID]; !isRequest {
			all = append(all, v)
		}
	}
	return all
}

func withoutTimes(ws []device.Weight) []device.Weight {
	for i := range ws {
		ws[i].At = time.Time{}
	}
	return ws
}

// read() may return any piece of a line, so every split must give the same frames, each with the
// time of the piece that brought its last byte.
func TestEverySplitGivesTheSameFrames(t *testing.T) {
	for _, v := range answers(t) {
		t.Run(v.ID, func(t *testing.T) {
			frame := v.bytes(t)
			stream := bytes.Repeat(frame, 3)
			want, wantStats := decode(t, v.Proto, v.options(), stream)
			if len(want) != 3 {
				t.Fatalf("%d frames from three", len(want))
			}
			withoutTimes(want)
			for i := 1; i < len(stream); i++ {
				got, stats := decode(t, v.Proto, v.options(), stream[:i], stream[i:])
				for k, w := range got {
					piece := 0
					if end := (k + 1) * len(frame); end > i {
						piece = 1
					}
					if at := start.Add(time.Duration(piece) * time.Millisecond); !w.At.Equal(at) {
						t.Fatalf("split at %d: frame %d arrived at %s, want %s", i, k, w.At, at)
					}
				}
				if diff := cmp.Diff(want, withoutTimes(got)); diff != "" || stats != wantStats {
					t.Fatalf("split at %d: %+v, want %+v\n%s", i, stats, wantStats, diff)
				}
			}
			var single [][]byte
			for i := range stream {
				single = append(single, stream[i:i+1])
			}
			got, stats := decode(t, v.Proto, v.options(), single...)
			if diff := cmp.Diff(want, withoutTimes(got)); diff != "" || stats != wantStats {
				t.Fatalf("byte by byte: %+v, want %+v\n%s", stats, wantStats, diff)
			}
		})
	}
}

// After any noise at most two frames may be lost, and nothing may be read that was not sent.
func TestResynchronisesWithinTwoFrames(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, v := range answers(t) {
		frame := v.bytes(t)
		want, _ := decode(t, v.Proto, v.options(), frame)
		for round := range 50 {
			noise := make([]byte, random.IntN(300))
			for i := range noise {
				switch round % 3 {
				case 0:
					noise[i] = byte(random.IntN(256))
				case 1: // pieces of real frames
					noise[i] = frame[random.IntN(len(frame))]
				default: // starts and ends
					noise[i] = "\x02\x03\r\n=<>&"[random.IntN(8)]
				}
			}
			got, stats := decode(t, v.Proto, v.options(), noise, bytes.Repeat(frame, 5))
			same := 0
			for _, w := range got {
				if cmp.Equal(w.Value, want[0].Value) && w.HasValue == want[0].HasValue && bytes.Equal(w.Raw, frame) {
					same++
				}
			}
			if same < 3 {
				t.Errorf("%s: %d of 5 frames after % x (%+v)", v.ID, same, noise, stats)
			}
			if kept := int(stats.Bytes) - int(stats.Discarded); kept < 3*len(frame) || kept > int(stats.Bytes) {
				t.Errorf("%s: counts %+v", v.ID, stats)
			}
		}
	}
}

// A byte that the line loses or adds must never leave another number behind.
func TestLostOrAddedByteIsNoWeight(t *testing.T) {
	for _, v := range answers(t) {
		frame := v.bytes(t)
		want, _ := decode(t, v.Proto, v.options(), frame)
		check := func(what string, i int, broken []byte) {
			stream := append(append(bytes.Clone(frame), broken...), frame...)
			got, _ := decode(t, v.Proto, v.options(), stream)
			for _, w := range got {
				if w.HasValue && w.Value != want[0].Value {
					t.Errorf("%s: byte %d %s: read %s from % x", v.ID, i, what, w.Value, w.Raw)
				}
			}
		}
		for i := range frame {
			check("lost", i, append(bytes.Clone(frame[:i]), frame[i+1:]...))
			check("doubled", i, append(append(bytes.Clone(frame[:i+1]), frame[i]), frame[i+1:]...))
			check("zero added", i, append(append(bytes.Clone(frame[:i]), '0'), frame[i:]...))
		}
	}
}

// Every single flipped bit in a frame with a checksum must be seen, in every dialect that has one.
// The letter forms of a checksum digit (3Ah and 'A') are the same digit, so the number is compared.
func TestFlippedBitsUnderAChecksum(t *testing.T) {
	checked := map[string]bool{"yaohua-tf0": true, "yaohua-cmd": true, "yaohua-a12": true, "mt-cont": true,
		"flintec-cont": true, "laumas-ascii": true, "laumas-rip": true, "laumas-td": true}
	tested := 0
	for _, v := range answers(t) {
		if !checked[v.Proto] || v.options().Checksum == "none" {
			continue
		}
		tested++
		frame := v.bytes(t)
		want, _ := decode(t, v.Proto, v.options(), frame)
		for i := range frame {
			for bit := range 8 {
				broken := bytes.Clone(frame)
				broken[i] ^= 1 << bit
				got, _ := decode(t, v.Proto, v.options(), broken)
				for _, w := range got {
					if w.HasValue && w.Value != want[0].Value {
						t.Errorf("%s: bit %d of byte %d flipped: read %s", v.ID, bit, i, w.Value)
					}
				}
			}
		}
	}
	if tested < 20 {
		t.Errorf("only %d frames tested", tested)
	}
}

// The negative control: the same corrupted frame is taken when nobody looks at the checksum.
func TestChecksumIsWhatRejects(t *testing.T) {
	broken := []byte("\x02+012340" + "01E\x03") // the right one is 1F
	if got, stats := decode(t, "yaohua-tf0", weighbridge.Options{}, broken); len(got) != 0 || stats.Bad == 0 {
		t.Errorf("with checksum: %d frames, %+v", len(got), stats)
	}
	l := tf0()
	l.Checksum = weighbridge.Checksum{}
	if got, _ := decode(t, "generic", weighbridge.Options{Layout: l}, broken); len(got) != 1 || got[0].Value.String() != "12340" {
		t.Errorf("without checksum: %+v, want the corrupted 12340", got)
	}
	toledo := []byte("\x02*0 912340000000\r-")
	if got, _ := decode(t, "mt-cont", weighbridge.Options{}, toledo); len(got) != 0 {
		t.Errorf("toledo with checksum: %+v", got)
	}
	if got, _ := decode(t, "mt-cont", weighbridge.Options{Checksum: "none"}, toledo); len(got) != 1 {
		t.Errorf("toledo without checksum: %d frames, want the corrupted one", len(got))
	}
}

func TestMemoryIsBounded(t *testing.T) {
	floods := [][]byte{
		bytes.Repeat([]byte{0}, 64<<10), bytes.Repeat([]byte{0xFF}, 64<<10), bytes.Repeat([]byte{0x02}, 64<<10),
		bytes.Repeat([]byte("="), 64<<10), bytes.Repeat([]byte("<"), 64<<10), bytes.Repeat([]byte("&"), 64<<10),
		append([]byte{0x02}, bytes.Repeat([]byte("1"), 64<<10)...), bytes.Repeat([]byte("S S "), 16<<10),
	}
	for _, d := range weighbridge.Dialects() {
		o := weighbridge.Options{}
		if d.Name == "generic" {
			o.Layout = tf0()
		}
		for i, flood := range floods {
			dec := weighbridge.NewDecoder(d, o)
			frames, allocated := 0, 1.0
			for try := 0; try < 5 && allocated > 0; try++ { // now and then the runtime allocates something of its own
				allocated = testing.AllocsPerRun(1, func() {
					dec.Write(start, flood, func(device.Weight) { frames++ })
				})
			}
			if frames != 0 || allocated > 0 {
				t.Errorf("%s: flood %d: %d frames, %.0f allocations", d.Name, i, frames, allocated)
			}
		}
	}
}

func TestContinuousDialectsDoNotAllocate(t *testing.T) {
	for _, v := range answers(t) {
		if d := dialect(t, v.Proto); d.Poll != "" || len(d.Requests()) > 0 {
			continue
		}
		stream := bytes.Repeat(v.bytes(t), 100)
		dec := weighbridge.NewDecoder(dialect(t, v.Proto), v.options())
		frames := 0
		allocated := testing.AllocsPerRun(5, func() {
			dec.Write(start, stream, func(device.Weight) { frames++ })
		})
		if frames < 599 || allocated > 0 {
			t.Errorf("%s: %.0f allocations in %d frames", v.ID, allocated, frames)
		}
	}
}

func TestCheckRefusesOptions(t *testing.T) {
	tests := []struct {
		dialect string
		options weighbridge.Options
		want    string
	}{
		{"mt-cont", weighbridge.Options{Checksum: "auto"}, "name mt7, neg8, sum8 or none"},
		{"mt-cont", weighbridge.Options{Checksum: "crc"}, "checksum"},
		{"mt-cont", weighbridge.Options{DummyZeros: "guess"}, "dummy_zeros"},
		{"mt-cont", weighbridge.Options{Mask: 0x3F}, "mask 0x3f"},
		{"mt-cont", weighbridge.Options{Address: 1}, "option address has no meaning here"},
		{"yaohua-tf0", weighbridge.Options{Checksum: "none"}, "option checksum has no meaning here"},
		{"yaohua-tf0", weighbridge.Options{Unit: "stone"}, "unit"},
		{"yaohua-eq-rev", weighbridge.Options{Characters: 9}, "characters 9"},
		{"yaohua-cmd", weighbridge.Options{Address: 27}, "between 1 and 26"},
		{"yaohua-cmd", weighbridge.Options{TareIs: "E"}, "tare_is"},
		{"dini-short", weighbridge.Options{Address: 100}, "between 1 and 99"},
		{"wi120", weighbridge.Options{Digits: 3}, "digits 3"},
		{"generic", weighbridge.Options{}, "layout"},
	}
	for _, test := range tests {
		err := dialect(t, test.dialect).Check(test.options)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s %+v: %v, want %q", test.dialect, test.options, err, test.want)
		}
	}
	if err := (weighbridge.Dialect{}).Check(weighbridge.Options{}); err == nil {
		t.Error("no dialect at all was accepted")
	}
}

func TestDialectList(t *testing.T) {
	seen := make(map[string]bool)
	for _, d := range weighbridge.Dialects() {
		if seen[d.Name] || d.Makes == "" || d.Cites == "" || d.FrameBytes < 4 || d.FrameBytes > weighbridge.MaxFrame {
			t.Errorf("dialect %+v is not complete, or listed twice", d.Name)
		}
		seen[d.Name] = true
		if d.Name != "generic" {
			if err := d.Check(weighbridge.Options{}); err != nil {
				t.Errorf("%s with default options: %v", d.Name, err)
			}
		}
	}
	for _, v := range vectors(t) {
		if !seen[v.Proto] {
			t.Errorf("no dialect for %s", v.Proto)
		}
	}
	if _, ok := weighbridge.Find("modbus"); ok {
		t.Error("found a dialect that is not in the list")
	}
}
