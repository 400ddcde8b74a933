package web_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"steelyard/cloud/ingest"
	"steelyard/cloud/ledger"
	"steelyard/cloud/ledger/ledgertest"
	"steelyard/cloud/rollup"
	"steelyard/cloud/telemetry"
	"steelyard/cloud/web"
	"steelyard/internal/chain"
	"steelyard/internal/wire"
)

// readersOf names the address that this program, called by a benchmark as another process, is to
// read events from.
const readersOf = "WEB_TEST_READERS_OF"

func TestMain(m *testing.M) {
	if address := os.Getenv(readersOf); address != "" {
		readers(address)
		return
	}
	os.Exit(m.Run())
}

// readers opens as many pages' streams as standard input says, and reads them until it ends. After
// each line of input it says how many bytes have come.
func readers(address string) {
	var came atomic.Int64
	var open int
	for {
		var n int
		if _, err := fmt.Scanln(&n); err != nil {
			return
		}
		for ; open < n; open++ {
			c, err := net.Dial("tcp", address)
			if err != nil {
				panic(err)
			}
			fmt.Fprintf(c, "GET /api/events HTTP/1.1\r\nHost: %s\r\nAccept-Encoding: gzip\r\n\r\n", address)
			go func() {
				buffer := make([]byte, 64<<10)
				for {
					n, err := c.Read(buffer)
					if err != nil {
						return
					}
					came.Add(int64(n))
				}
			}()
		}
		fmt.Println(came.Load())
	}
}

// cpu is the time that this process has used so far.
func cpu(tb testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func rss(tb testing.TB) int64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		tb.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		tb.Fatal(err)
	}
	return kb << 10
}

// bigCity is a city of many sites on real stores.
func bigCity(tb testing.TB, sites int) (web.Config, *ledger.Ledger, *rollup.Rollup) {
	tb.Helper()
	ctx, quiet := context.Background(), slog.New(slog.DiscardHandler)
	account, err := ledger.Open(ctx, filepath.Join(tb.TempDir(), "ledger.db"), quiet)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = account.Close() })
	tables, err := rollup.Open(ctx, account, func(material string, _ time.Time) (string, error) {
		code, _, _ := strings.Cut(material, "/")
		return code, nil
	}, quiet)
	if err != nil {
		tb.Fatal(err)
	}
	store, err := telemetry.OpenHistory(ctx, telemetry.HistoryConfig{Path: filepath.Join(tb.TempDir(), "history.db")})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = store.Close() })
	c := web.Config{Name: "city", Ledger: account.Reader, Rollup: tables.Reader, Store: store, Now: time.Now, Log: quiet,
		Ingest: func() ingest.Stats { return ingest.Stats{} }, Behind: func() telemetry.Behind { return telemetry.Behind{} }}
	var names []string
	keys := map[string]chain.PublicKey{}
	for i := range sites {
		name := fmt.Sprintf("site-%05d", i)
		keys[name] = ledgertest.KeyOf(name).Public()
		names = append(names, name)
		c.Sites = append(c.Sites, web.Site{ID: name, Name: name, District: fmt.Sprintf("district-%d", i%12)})
	}
	if err := account.EnrolAll(ctx, keys, time.Now()); err != nil {
		tb.Fatal(err)
	}
	c.Live = telemetry.NewLive(telemetry.LiveConfig{Sites: names})
	return c, account, tables
}

// talk lets every site say once a second that all its values have changed, and brings a small batch
// of entries of each, of up to a hundred sites a second, until ctx ends.
func talk(ctx context.Context, tb testing.TB, c web.Config, account *ledger.Ledger, tables *rollup.Rollup, values int) {
	journals := make([]*ledgertest.Journal, len(c.Sites))
	for i, s := range c.Sites {
		journals[i] = ledgertest.New(s.ID, uint64(i))
		journals[i].At = time.Now()
	}
	const parts = 10 // of a second
	tick := time.NewTicker(time.Second / parts)
	defer tick.Stop()
	for n := 0; ; n++ {
		var batches []*wire.Batch
		for i := n % parts; i < len(c.Sites); i += parts {
			m := wire.Live{Site: c.Sites[i].ID, AtMS: time.Now().UnixMilli()}
			for v := range values {
				m.Values = append(m.Values, wire.LiveValue{Device: fmt.Sprintf("belt-%d", v/4), Tag: []string{"rate", "state", "current", "total"}[v%4],
					Value: strconv.Itoa(n*31 + v*7), Unit: "t/h", OK: true})
			}
			if err := c.Live.Message("steelyard/v1/"+m.Site+"/live", m.Encode()); err != nil {
				tb.Error(err)
				return
			}
			if i/parts%max(1, len(c.Sites)/100) != n/parts%max(1, len(c.Sites)/100) {
				continue
			}
			j := journals[i]
			first := j.Last() + 1
			j.Shift(2)
			batches = append(batches, j.Batch(first, j.Last()))
		}
		if _, err := account.Post(ctx, time.Now(), batches); err != nil && ctx.Err() == nil {
			tb.Error(err)
			return
		}
		if _, err := tables.Advance(ctx); err != nil && ctx.Err() == nil {
			tb.Error(err)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// BenchmarkOpenPages is what 200 open pages cost a busy city more than none: all values of all sites
// change each second, and up to 100 sites send a small batch. The target is 15 % of a core and 100 MiB.
// The readers are another process.
func BenchmarkOpenPages(b *testing.B) {
	for _, tc := range []struct{ sites, values int }{{12, 100}, {1000, 20}} {
		b.Run(fmt.Sprintf("%d sites x %d values", tc.sites, tc.values), func(b *testing.B) {
			c, account, tables := bigCity(b, tc.sites)
			pages := web.New(c)
			ctx, cancel := context.WithCancel(context.Background())
			var running sync.WaitGroup
			running.Go(func() { talk(ctx, b, c, account, tables, tc.values) })
			running.Go(func() {
				if err := pages.Run(ctx); err != nil {
					b.Error(err)
				}
			})
			server := httptest.NewServer(pages)
			program := exec.Command(os.Args[0])
			program.Env = append(os.Environ(), readersOf+"="+server.Listener.Addr().String())
			in, err := program.StdinPipe()
			if err != nil {
				b.Fatal(err)
			}
			out, err := program.StdoutPipe()
			if err != nil {
				b.Fatal(err)
			}
			program.Stderr = os.Stderr
			if err := program.Start(); err != nil {
				b.Fatal(err)
			}
			ask := func(n int) (came int64) {
				fmt.Fprintln(in, n)
				if _, err := fmt.Fscanln(out, &came); err != nil {
					b.Fatal(err)
				}
				return came
			}
			const span = 8 * time.Second
			measure := func(n int) (core, bytes float64) {
				ask(n)
				time.Sleep(4 * time.Second)
				came, used, began := ask(n), cpu(b), time.Now()
				time.Sleep(span)
				took := time.Since(began).Seconds()
				return (cpu(b) - used).Seconds() / took, float64(ask(n)-came) / took
			}
			none, _ := measure(0)
			before := rss(b)
			many, bytes := measure(200)
			more := many - none
			b.ReportMetric(100*none, "city-core-%")
			b.ReportMetric(100*more, "pages-core-%")
			b.ReportMetric(more/0.15, "of-target")
			b.ReportMetric(float64(rss(b)-before)/(1<<20), "pages-MiB")
			b.ReportMetric(bytes/1e6, "MB/s")
			b.ReportMetric(0, "ns/op")
			cancel()
			running.Wait()
			_ = in.Close()
			server.CloseClientConnections()
			if err := program.Wait(); err != nil {
				b.Log("readers:", err) // they notice that the server is gone
			}
			_, _ = io.Copy(io.Discard, out)
			server.Close()
		})
	}
}

// BenchmarkSiteStates is the state of all sites, each with a journal in the ledger: the cost of a
// site is the same for 12 and for 10,000.
func BenchmarkSiteStates(b *testing.B) {
	for _, sites := range []int{12, 1000, 10_000} {
		b.Run(fmt.Sprintf("%d sites", sites), func(b *testing.B) {
			c, account, _ := bigCity(b, sites)
			var batches []*wire.Batch
			for i, s := range c.Sites {
				batches = append(batches, ledgertest.New(s.ID, uint64(i)).Shift(1).Batch(1, 1))
				status := wire.Status{Site: s.ID, Session: "s", Online: true, AtMS: 1}
				if err := c.Live.Message("steelyard/v1/"+s.ID+"/status", status.Encode()); err != nil {
					b.Fatal(err)
				}
			}
			for some := range slices.Chunk(batches, 500) {
				if _, err := account.Post(b.Context(), time.Now(), some); err != nil {
					b.Fatal(err)
				}
			}
			pages := web.New(c)
			before := 0 * time.Second
			for b.Loop() {
				if before == 0 {
					before = cpu(b)
				}
				if w := get(pages, "/api/sites"); w.Code != 200 {
					b.Fatal(w.Body)
				}
			}
			b.ReportMetric((cpu(b)-before).Seconds()*1e6/float64(b.N)/float64(sites), "cpu-us/site")
		})
	}
}
