package journal_test

import (
	"strings"
	"testing"

	"steelyard/edge/journal"
	"steelyard/internal/record"
	"steelyard/internal/wire"
)

// BenchmarkOpenMonth opens a journal of 60,000 entries as a killed process leaves it.
func BenchmarkOpenMonth(b *testing.B) {
	opt := journal.Options{Dir: b.TempDir(), Site: "xinhua-1", Stream: wire.Records, NoSync: true}
	j, err := journal.Open(opt)
	if err != nil {
		b.Fatal(err)
	}
	for i := 0; i < 60_000; i += 100 {
		list := facts(i, 100)
		for k := range list {
			list[k].Body = &record.Device{State: "online", Detail: strings.Repeat("0123456789abcdef", 44)}
		}
		mustAppend(b, j, list...)
	}
	if err := j.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		j, err := journal.Open(opt)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(j.State().Bytes)/1e6, "MB")
		if err := j.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAppend writes one entry at a time, and 64 with one fsync.
func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{1, 64} {
		b.Run(map[int]string{1: "one", 64: "sixty-four"}[n], func(b *testing.B) {
			j, err := journal.Open(journal.Options{Dir: b.TempDir(), Site: "xinhua-1", Stream: wire.Records})
			if err != nil {
				b.Fatal(err)
			}
			list := facts(0, n)
			b.ReportAllocs()
			for b.Loop() {
				mustAppend(b, j, list...)
			}
			b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "entries/s")
			if err := j.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}
