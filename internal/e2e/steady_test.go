package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"steelyard/cloud/demo"
	"steelyard/cloud/ledger"
)

// steadyFor is how long a site is watched; its first seconds are not counted.
const (
	steadyFor = 60 * time.Second
	warmUp    = 10 * time.Second
)

// BenchmarkSteadySite runs one site as it comes from the builder: 1 weighbridge at 10 frames a
// second, 3 belts and 2 balers polled each second, real time. It reports what the edge process
// needs and how long a fact takes from the last byte on the wire to the commit of the ledger.
//
//	edge-MiB        resident memory of the edge process at the end
//	edge-%core      processor time of the edge process per time
//	edge-KiB/s      written to the disk by the edge process
//	p50-ms, p99-ms  last byte on the wire → fact visible in the ledger to another process
func BenchmarkSteadySite(b *testing.B) {
	bin := b.TempDir()
	for _, name := range []string{"edge", "cloud"} {
		out, err := exec.Command("go", "build", "-o", filepath.Join(bin, name), "steelyard/"+name).CombinedOutput()
		if err != nil {
			b.Fatalf("%v: %s", err, out)
		}
	}
	for b.Loop() {
		steady(b, bin)
	}
}

func steady(b *testing.B, bin string) {
	b.Helper()
	town, err := demo.Build(b.Context(), demo.Plan{
		Dir: filepath.Join(b.TempDir(), "town"), Sites: 1, Speed: 1, Arrivals: 20 * time.Second, Inside: 30 * time.Second,
		Listen: fmt.Sprintf("127.0.0.1:%d", freePort(b)),
		Command: func(role demo.Role, config string) *exec.Cmd {
			return exec.Command(filepath.Join(bin, string(role)), "-config", config)
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := town.Close(); err != nil {
			b.Error(err)
		}
	}()
	reader, err := ledger.OpenReader(b.Context(), town.LedgerFile())
	if err != nil {
		b.Fatal(err)
	}
	defer reader.Close()
	time.Sleep(warmUp)
	edge := town.Sites[0].Edge.PID()
	busy, written := cpuTime(b, edge), writtenBytes(b, edge)
	began := time.Now()
	var waits []time.Duration
	seq, err := reader.Head(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	for time.Since(began) < steadyFor {
		page, err := reader.Entries(b.Context(), seq, 1000)
		if err != nil {
			b.Fatal(err)
		}
		now := time.Now()
		for _, p := range page {
			seq = p.Seq
			waits = append(waits, now.Sub(p.At))
		}
		time.Sleep(2 * time.Millisecond)
	}
	elapsed := time.Since(began).Seconds()
	b.ReportMetric(float64(memory(b, edge))/(1<<20), "edge-MiB")
	b.ReportMetric(100*(cpuTime(b, edge)-busy).Seconds()/elapsed, "edge-%core")
	b.ReportMetric(float64(writtenBytes(b, edge)-written)/1024/elapsed, "edge-KiB/s")
	if len(waits) == 0 {
		b.Fatal("no fact reached the ledger")
	}
	slices.Sort(waits)
	b.ReportMetric(float64(waits[len(waits)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(waits[len(waits)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(float64(len(waits)), "facts")
}

// memory is VmRSS of proc_pid_status(5), in bytes.
func memory(tb testing.TB, pid int) int64 {
	tb.Helper()
	return 1024 * procNumber(tb, pid, "status", "VmRSS:")
}

// writtenBytes is write_bytes of proc_pid_io(5): what was sent to the storage layer.
func writtenBytes(tb testing.TB, pid int) int64 {
	tb.Helper()
	return procNumber(tb, pid, "io", "write_bytes:")
}

func procNumber(tb testing.TB, pid int, file, field string) int64 {
	tb.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, field); ok {
			n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				tb.Fatal(err)
			}
			return n
		}
	}
	tb.Fatalf("no %s in /proc/%d/%s", field, pid, file)
	return 0
}

// cpuTime is utime + stime of proc_pid_stat(5); the clock ticks at 100 Hz on every Linux.
func cpuTime(tb testing.TB, pid int) time.Duration {
	tb.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		tb.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	fields := strings.Fields(rest)
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			tb.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// ownCPU is the processor time of this process.
func ownCPU(tb testing.TB) time.Duration {
	tb.Helper()
	return cpuTime(tb, os.Getpid())
}
