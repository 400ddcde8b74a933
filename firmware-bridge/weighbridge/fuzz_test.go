package weighbridge_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/weighbridge"
)

// checksumHolds checks a frame again, written apart from the decoder. Dialects without a checksum
// have nothing to check.
func checksumHolds(dialect string, raw []byte) bool {
	fold := func(b []byte) (sum byte) {
		for _, c := range b {
			sum ^= c
		}
		return sum
	}
	digit := func(c byte) byte {
		if c >= 'a' {
			c -= 'a' - 'A'
		}
		if c >= 'A' {
			return c - 'A' + 10
		}
		return c - '0'
	}
	pair := func(at int) byte { return digit(raw[at])<<4 | digit(raw[at+1]) }
	switch n := len(raw); dialect {
	case "yaohua-tf0", "yaohua-cmd":
		return fold(raw[1:n-3]) == pair(n-3)
	case "yaohua-a12":
		return fold(raw[:11]) == pair(11)
	case "laumas-td", "laumas-rip":
		return fold(raw[1:15]) == pair(16)
	case "laumas-ascii":
		return fold(bytes.TrimLeft(raw[:n-4], "&")) == pair(n-3)
	case "mt-cont":
		sum := byte(0)
		for _, c := range raw {
			sum += c & 0x7F
		}
		return sum&0x7F == 0
	case "flintec-cont":
		sum := byte(0)
		for _, c := range raw {
			sum += c
		}
		return sum == 0
	}
	return true
}

// FuzzDecoders feeds every decoder with anything: no panic, no value beside an alarm, no value
// from a bad checksum, no frame that was not in the bytes, and the same frames for every split.
func FuzzDecoders(f *testing.F) {
	dialects := weighbridge.Dialects()
	for i, d := range dialects {
		for _, v := range vectors(f) {
			if v.Proto == d.Name {
				f.Add(uint8(i), v.bytes(f), uint16(3))
				f.Add(uint8(i), append([]byte("\x02=9\r"), bytes.Repeat(v.bytes(f), 2)...), uint16(7))
			}
		}
	}
	f.Fuzz(func(t *testing.T, index uint8, input []byte, split uint16) {
		d := dialects[int(index)%len(dialects)]
		o := weighbridge.Options{}
		if d.Name == "generic" {
			o.Layout = tf0()
		}
		all, stats := decode(t, d.Name, o, input)
		if stats.Bytes != uint64(len(input)) || stats.Discarded > stats.Bytes || stats.Frames != uint64(len(all)) {
			t.Errorf("%s: counts %+v", d.Name, stats)
		}
		rest := input
		for _, w := range all {
			at := bytes.Index(rest, w.Raw)
			if at < 0 || len(w.Raw) == 0 || len(w.Raw) > weighbridge.MaxFrame {
				t.Fatalf("%s: frame % x is not in the input", d.Name, w.Raw)
			}
			rest = rest[at+len(w.Raw):]
			if !w.HasValue && w.Value.Coef != 0 {
				t.Errorf("%s: no value, but digits %s", d.Name, w.Value)
			}
			if w.HasValue && (w.Range != device.RangeOK && w.Range != device.RangeUnknown || w.Error != "") {
				t.Errorf("%s: a value beside %q %q", d.Name, w.Range, w.Error)
			}
			if w.HasValue && !checksumHolds(d.Name, w.Raw) {
				t.Errorf("%s: value %s from a bad checksum: % x", d.Name, w.Value, w.Raw)
			}
		}
		if cut := int(split); cut < len(input) {
			again, more := decode(t, d.Name, o, input[:cut], input[cut:])
			more.Bad = stats.Bad // into how many bad frames noise falls apart depends on what is seen at once
			if diff := cmp.Diff(withoutTimes(all), withoutTimes(again)); diff != "" || more != stats {
				t.Errorf("%s: split at %d: %+v, want %+v\n%s", d.Name, cut, more, stats, diff)
			}
		}
	})
}

func BenchmarkDecoder(b *testing.B) {
	seen := make(map[string]bool)
	for _, v := range answers(b) {
		if seen[v.Proto] {
			continue
		}
		seen[v.Proto] = true
		b.Run(v.Proto, func(b *testing.B) {
			stream := bytes.Repeat(v.bytes(b), 1000)
			dec := weighbridge.NewDecoder(dialect(b, v.Proto), v.options())
			b.SetBytes(int64(len(stream)))
			b.ReportAllocs()
			frames, rounds := 0, 0
			for b.Loop() {
				rounds++
				dec.Write(start, stream, func(device.Weight) { frames++ })
			}
			if frames < 1000*rounds-1 { // one may wait for its successor
				b.Fatalf("%d frames in %d rounds of 1000", frames, rounds)
			}
		})
	}
}
