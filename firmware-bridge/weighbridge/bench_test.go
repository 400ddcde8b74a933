package weighbridge_test

import (
	"bytes"
	"testing"

	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/weighbridge"
)

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
