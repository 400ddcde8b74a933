package ledger_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"steelyard/cloud/ledger/ledgertest"
	"steelyard/internal/wire"
)

// BenchmarkPost posts decoded batches of 100 entries, so many in one transaction.
func BenchmarkPost(b *testing.B) {
	for _, together := range []int{1, 16, 128} {
		b.Run(fmt.Sprintf("%d batches a transaction", together), func(b *testing.B) {
			l := fresh(b, "xinhua-1")
			j := ledgertest.New("xinhua-1", 1)
			entries, used := 0, time.Duration(0)
			for b.Loop() {
				b.StopTimer()
				first := j.Last() + 1
				j.Shift(100 * together)
				var batches []*wire.Batch
				for ; first <= j.Last(); first += 100 {
					batches = append(batches, j.Batch(first, first+99))
				}
				used -= processor(b)
				b.StartTimer()
				for _, o := range post(b, l, batches...) {
					entries += o.Added
				}
				used += processor(b)
			}
			b.ReportMetric(float64(entries)/b.Elapsed().Seconds(), "entries/s")
			b.ReportMetric(float64(used.Nanoseconds())/1000/float64(entries), "cpu-µs/entry")
		})
	}
}

// processor is the processor time that this process has used: the figure that others on the same
// machine don't disturb.
func processor(t testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
