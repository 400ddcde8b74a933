package telemetry_test

import (
	"context"
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"steelyard/cloud/telemetry"
	"steelyard/cloud/telemetry/influxtest"
	"steelyard/internal/record"
	"steelyard/internal/wire"
)

// BenchmarkSamples prints points/s from decoded batches to the store's word that it has them, and
// the processor time of this process per point: 12 sites, 50 values a sample, as the collectors
// were measured that people use instead.
func BenchmarkSamples(b *testing.B) {
	b.Run("influx", func(b *testing.B) { benchSamples(b, influxAt(b, influxtest.Start(b), nil)) })
	b.Run("history", func(b *testing.B) { benchSamples(b, historyAt(b, filepath.Join(b.TempDir(), "history.db"))) })
	b.Run("encode only", func(b *testing.B) { benchSamples(b, nowhere{}) })
}

// nowhere takes everything and keeps nothing: the cost without a store.
type nowhere struct{ telemetry.Store }

func (nowhere) Put(context.Context, []telemetry.Sample) error { return nil }

func benchSamples(b *testing.B, store telemetry.Store) {
	const sites, values, entries = 12, 50, 10
	r := telemetry.NewRecorder(store, 0, nil)
	n := uint64(1)
	round := func() []*wire.Batch {
		var list []*wire.Batch
		for site := range sites {
			var bodies []any
			for e := range entries {
				s := &record.Sample{}
				for v := range values {
					s.Values = append(s.Values, record.SampleValue{Tag: fmt.Sprint("register_", v), Value: fmt.Sprintf("%d.%d", v*7+e, e), Unit: "A", OK: true})
				}
				bodies = append(bodies, s)
			}
			batch := batchOf(b, fmt.Sprint("site-", site), n, bodies...)
			for i := range batch.Entries {
				batch.Entries[i].At = start.Add(time.Duration(n+uint64(i)) * time.Second)
			}
			list = append(list, batch)
		}
		n += entries
		return list
	}
	var points int
	var cpu time.Duration
	b.ResetTimer()
	for range b.N {
		b.StopTimer()
		batches := round()
		b.StartTimer()
		before := processor(b)
		if err := r.Samples(b.Context(), batches); err != nil {
			b.Fatal(err)
		}
		cpu += processor(b) - before
		points += sites * values * entries
	}
	b.ReportMetric(float64(points)/b.Elapsed().Seconds(), "points/s")
	b.ReportMetric(float64(cpu.Nanoseconds())/float64(points), "cpu-ns/point")
}

// processor is the time that this process has used.
func processor(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkTonnage(b *testing.B) {
	h := historyAt(b, filepath.Join(b.TempDir(), "history.db"))
	all := tonnes(b, postings(50_000, start))
	if err := h.PutTonnes(b.Context(), all); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := h.Tonnage(b.Context(), start, start.Add(time.Minute)); err != nil {
			b.Fatal(err)
		}
	}
}
