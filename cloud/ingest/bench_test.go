package ingest_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"steelyard/cloud/ingest"
	"steelyard/cloud/ledger"
	"steelyard/cloud/ledger/ledgertest"
	"steelyard/cloud/rollup"
	"steelyard/internal/chain"
	"steelyard/internal/wire"
)

// BenchmarkEndToEnd takes signed, compressed batches of 100 entries of twelve sites from the bytes
// to the receipt, and on to tonnes: signature, chain, strict reading, commit to disk, rollup.
func BenchmarkEndToEnd(b *testing.B) {
	const sites, each, size = 12, 10_000, 100
	type sending struct {
		topic   string
		payload []byte
	}
	var air []sending
	keys, journals := map[string]chain.PublicKey{}, []*ledgertest.Journal{}
	for k := range sites {
		j := ledgertest.New(fmt.Sprintf("site-%d", k), uint64(k+1)).Shift(each)
		journals, keys[j.Site] = append(journals, j), j.Key.Public()
	}
	bytes := 0
	for first := uint64(1); first <= each; first += size {
		for _, j := range journals {
			air = append(air, sending{wire.TopicOf(j.Site, j.Stream), j.Payload(first, first+size-1)})
			bytes += len(air[len(air)-1].payload)
		}
	}
	lines := 0
	for _, line := range journals[0].Lines {
		lines += len(line)
	}
	log := slog.New(slog.DiscardHandler)
	var used, passed time.Duration
	entries := 0
	for b.Loop() {
		b.StopTimer()
		ctx, cancel := context.WithCancel(b.Context())
		l, err := ledger.Open(ctx, filepath.Join(b.TempDir(), "ledger.db"), log)
		if err != nil {
			b.Fatal(err)
		}
		for site, key := range keys {
			if err := l.Enrol(ctx, site, key, ledgertest.Start()); err != nil {
				b.Fatal(err)
			}
		}
		r, err := rollup.Open(ctx, l, func(material string, _ time.Time) (string, error) {
			code, _, _ := strings.Cut(material, "/")
			return code, nil
		}, log)
		if err != nil {
			b.Fatal(err)
		}
		receipts := make(chan wire.Receipt, 10_000)
		i, err := ingest.New(ingest.Config{Sites: keys, Key: ledgertest.KeyOf("the-cloud"), Ledger: l, Log: log, Now: time.Now,
			Samples: func(context.Context, []*wire.Batch) error { return nil },
			Publish: func(_ context.Context, _ string, payload []byte, _ bool) error {
				r, err := wire.DecodeReceipt(payload, ledgertest.KeyOf("the-cloud").Public())
				receipts <- r
				return err
			}})
		if err != nil {
			b.Fatal(err)
		}
		ended := make(chan error, 2)
		go func() { ended <- i.Run(ctx) }()
		go func() { ended <- r.Run(ctx) }()
		used -= processor(b)
		from := time.Now()
		b.StartTimer()
		for _, s := range air {
			i.Handle(s.topic, s.payload, false)
		}
		for done := map[string]bool{}; len(done) < sites; {
			if r := <-receipts; r.N == each {
				done[r.Site] = true
			}
		}
		for behind := int64(1); behind > 0; {
			if behind, err = r.Lag(ctx); err != nil {
				b.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		b.StopTimer()
		passed += time.Since(from)
		used += processor(b)
		entries += sites * each
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				b.Error(err)
			}
		}
		if err := l.Close(); err != nil {
			b.Error(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(entries)/passed.Seconds(), "entries/s")
	b.ReportMetric(float64(used.Nanoseconds())/1000/float64(entries), "cpu-µs/entry")
	b.ReportMetric(float64(bytes)/float64(sites*each), "wire-B/entry")
	b.ReportMetric(float64(lines)/each, "line-B/entry")
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
