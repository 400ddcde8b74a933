package telemetry_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	influxdb2 "github.com/influxdata/influxdb-client-go/v2"

	"steelyard/cloud/rollup"
	"steelyard/cloud/telemetry"
	"steelyard/cloud/telemetry/influxtest"
	"steelyard/internal/record"
)

// TestInfluxDB runs everything that needs the real server, on one: each test has sites and weeks
// of its own.
func TestInfluxDB(t *testing.T) {
	server := influxtest.Start(t)
	t.Run("store", func(t *testing.T) { testStore(t, influxAt(t, server, nil)) })
	t.Run("wrong configuration", func(t *testing.T) { testWrongConfiguration(t, server) })
	t.Run("partial write", func(t *testing.T) { testPartialWrite(t, server) })
	t.Run("beyond retention", func(t *testing.T) { testBeyondRetention(t, server) })
	t.Run("outage", func(t *testing.T) { testOutage(t, server) })
	t.Run("asynchronous control", func(t *testing.T) { testAsyncControl(t, server) })
}

// testOutage stops InfluxDB in the middle of samples and of tonnage and brings it back: all is
// there, nothing twice.
func testOutage(t *testing.T, server *influxtest.Server) {
	store := influxAt(t, server, nil)
	start := start.Add(28 * 24 * time.Hour)
	list := postings(20_000, start)
	var place, visible atomic.Int64
	visible.Store(int64(len(list) / 2))
	config := telemetry.TonnesConfig{
		Next: func(ctx context.Context, after rollup.Place, limit int) ([]rollup.Posting, error) {
			return following(list[:visible.Load()])(ctx, after, limit)
		},
		Load: func(context.Context) (rollup.Place, error) { return rollup.Place{Seq: place.Load()}, nil },
		// The cursor is lost now and then, as when the process ends between Put and Save.
		Save:   func(_ context.Context, n rollup.Place) error { place.Store(max(0, n.Seq-3000)); return nil },
		Newest: func(context.Context) (int64, error) { return list[len(list)-1].Seq, nil },
		Store:  store, First: 10 * time.Millisecond, Every: 10 * time.Millisecond, Log: logger(t),
	}
	run := func() (*telemetry.Tonnes, func()) {
		reader := telemetry.NewTonnes(config)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- reader.Run(ctx) }()
		return reader, func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	reader, stop := run()
	until(t, "half of the tonnage is in", func() bool { return reader.Behind().CaughtUp })
	server.Stop()
	visible.Store(int64(len(list)))
	until(t, "the outage is noticed", func() bool { return reader.Behind().Why != "" })

	// Samples meanwhile are refused, so that no receipt is sent.
	points := make([]telemetry.Sample, 12_000)
	for i := range points {
		points[i] = sample(t, "outage", uint64(i+1), start.Add(time.Duration(i)*time.Millisecond), fmt.Sprintf("%d.5", i))
	}
	err := store.Put(t.Context(), points)
	if u, ok := errors.AsType[*telemetry.UnavailableError](err); !ok || u.After <= 0 {
		t.Fatalf("put while InfluxDB is down: got %v, want an UnavailableError", err)
	}
	server.Restart()
	until(t, "samples are taken", func() bool { return store.Put(t.Context(), points) == nil })
	until(t, "tonnage has caught up", func() bool { b := reader.Behind(); return b.CaughtUp && b.Place == b.Newest })
	if b := reader.Behind(); b.Why != "" || !b.Since.IsZero() {
		t.Errorf("caught up, but behind: %+v", b)
	}
	stop()
	reader, stop = run() // from the lost cursor
	until(t, "the repeated page is in", func() bool { return reader.Behind().CaughtUp })
	stop()
	server.Kill() // what was answered with 204 is on the disk
	server.Restart()
	until(t, "it answers", func() bool { _, err := store.Series(t.Context(), "outage"); return err == nil })
	same(t, total(t, store, start, time.Minute), sums(list))
	buckets := curve(t, store, "outage", start, time.Minute, time.Minute)
	if len(buckets) != 1 || buckets[0].Count != 12_000 || buckets[0].Max != 11999.5 {
		t.Errorf("12000 samples over an outage: got %v", buckets)
	}
}

// testAsyncControl shows what the library's asynchronous writer makes of the same outage: the
// reason why this package writes blocking, and the proof that the test above can fail.
func testAsyncControl(t *testing.T, server *influxtest.Server) {
	store := influxAt(t, server, nil)
	client := influxdb2.NewClientWithOptions(server.URL, server.Token,
		influxdb2.DefaultOptions().SetBatchSize(50).SetApplicationName("steelyard").SetRetryBufferLimit(50))
	async := client.WriteAPI("", server.Bucket)
	errs := async.Errors()
	go func() {
		for range errs { // ends when the client is closed
		}
	}()
	const points = 1000
	for i := range points {
		if i == points/4 {
			server.Stop()
		}
		async.WritePoint(influxdb2.NewPoint("machine", map[string]string{"site": "async", "device": "baler-1"},
			map[string]any{"motor_current": float64(i)}, start.Add(time.Duration(i)*time.Millisecond)))
	}
	async.Flush()
	server.Restart()
	async.Flush()
	client.Close()
	buckets := curve(t, store, "async", start, time.Minute, time.Minute)
	if len(buckets) == 1 && buckets[0].Count == points {
		t.Error("the asynchronous writer lost nothing: the outage test proves nothing")
	}
	t.Logf("of %d points the asynchronous writer brought in %v", points, buckets)
}

// following serves a fixed list as a ledger does.
func following(list []rollup.Posting) func(context.Context, rollup.Place, int) ([]rollup.Posting, error) {
	return func(_ context.Context, after rollup.Place, limit int) ([]rollup.Posting, error) {
		for i, p := range list {
			if p.Seq > after.Seq {
				return list[i:min(i+limit, len(list))], nil
			}
		}
		return nil, nil
	}
}

// until waits for something that must come; how fast is not judged.
func until(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited for ever until %s", what)
		}
	}
}

// testPartialWrite mixes good points with some of a conflicting type: every good one is stored,
// every bad one parked by name.
func testPartialWrite(t *testing.T, server *influxtest.Server) {
	store := influxAt(t, server, nil)
	start := start.Add(70 * 24 * time.Hour)
	// In the week of start the field "motor_current" is a text, put there by somebody else.
	server.Write(fmt.Sprintf("machine,device=other,site=other motor_current=\"text\" %d\n", start.UnixNano()))
	var points []telemetry.Sample
	week := start.Add(14 * 24 * time.Hour)
	for i := range 6000 {
		at := week
		if i == 17 || i == 5555 {
			at = start
		}
		p := sample(t, "mixed", uint64(i+1), at, "1")
		p.Values = append(p.Values, record.SampleValue{Tag: "oil", Value: "40", OK: true}) // which has no conflict
		points = append(points, p)
	}
	put(t, store, points...)
	if got := curve(t, store, "mixed", week, time.Hour, time.Hour); len(got) != 1 || got[0].Count != 5998 {
		t.Errorf("got %v, want 5998 good points", got)
	}
	oil := func() (n int64) {
		t.Helper()
		got, err := store.Range(t.Context(), "mixed", "baler-1", "oil", start, start.Add(30*24*time.Hour), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range got {
			n += b.Count
		}
		return n
	}
	if got := oil(); got != 6000 {
		t.Errorf("%d values beside the bad ones are there, want all 6000", got)
	}
	parked := telemetry.ParkedLines(t, store)
	if p := store.Parked(); len(parked) != 2 || p.Lines != 2 || p.Tonnage != 0 || p.Since.IsZero() || !strings.Contains(p.Why, "type conflict") ||
		!strings.HasSuffix(parked[0], fmt.Sprintln(points[17].Stamp())) || !strings.HasSuffix(parked[1], fmt.Sprintln(points[5555].Stamp())) {
		t.Errorf("parked %+v %q, want points 17 and 5555", p, parked)
	}
	// All bad is answered once for all, without a request for each; sent again it is not parked again.
	all := make([]telemetry.Sample, 5000)
	for i := range all {
		all[i] = sample(t, "mixed", uint64(10_000+i), start, "1")
	}
	for range 2 {
		put(t, store, all...)
		if got := store.Parked().Lines; got != 5002 {
			t.Errorf("parked %d, want 5002", got)
		}
	}
	// Not mended, nothing changes; mended, everything is where it belongs.
	if err := store.Mend(t.Context()); err != nil || store.Parked().Lines != 5002 {
		t.Errorf("offered again: %v, %d parked, want 5002", err, store.Parked().Lines)
	}
	server.Query(`DROP SERIES FROM "machine" WHERE "site" = 'other'`)
	server.Query(fmt.Sprintf(`DELETE FROM "machine" WHERE "site" = 'mixed' AND time < %d`, start.Add(24*time.Hour).UnixNano()))
	server.Restart() // only a shard that is opened again has forgotten the type
	until(t, "what was parked is written", func() bool { return store.Mend(t.Context()) == nil && store.Parked().Lines == 0 })
	if got := curve(t, store, "mixed", start, time.Hour, time.Hour); len(got) != 1 || got[0].Count != 5002 {
		t.Errorf("got %v, want the 5002 points that were parked", got)
	}
	if p := store.Parked(); !p.Since.IsZero() || p.Why != "" {
		t.Errorf("mended, but %+v", p)
	}
}

func testBeyondRetention(t *testing.T, server *influxtest.Server) {
	server.Query(`CREATE RETENTION POLICY "short" ON "steelyard" DURATION 24h REPLICATION 1 SHARD DURATION 1h`)
	store := influxAt(t, server, func(c *telemetry.InfluxConfig) { c.Bucket = "steelyard/short" })
	now := time.Now().Truncate(time.Minute)
	put(t, store,
		sample(t, "old", 1, now.Add(-72*time.Hour), "1"),
		sample(t, "old", 2, now, "2"),
		sample(t, "old", 3, now.Add(-48*time.Hour), "3"))
	if got := curve(t, store, "old", now.Add(-100*time.Hour), 101*time.Hour, time.Hour); len(got) != 1 || got[0].Last != 2 {
		t.Errorf("got %v, want the young point only", got)
	}
	// One unit of each of their hours is beyond it as well.
	if parked := store.Parked(); parked.Lines != 0 || parked.Expired != 4 {
		t.Errorf("parked %+v, want the two old points with their units, and no alarm", parked)
	}
	server.Query(`ALTER RETENTION POLICY "short" ON "steelyard" DURATION 8760h`)
	until(t, "a longer policy takes them", func() bool { return store.Mend(t.Context()) == nil && store.Parked().Expired == 0 })
	if got := curve(t, store, "old", now.Add(-100*time.Hour), 101*time.Hour, time.Hour); len(got) != 3 {
		t.Errorf("got %v, want all three", got)
	}
}

func testWrongConfiguration(t *testing.T, server *influxtest.Server) {
	for name, change := range map[string]func(*telemetry.InfluxConfig){
		"password": func(c *telemetry.InfluxConfig) { c.Token = "steelyard:wrong" },
		"database": func(c *telemetry.InfluxConfig) { c.Bucket = "nowhere/autogen" },
		"policy":   func(c *telemetry.InfluxConfig) { c.Bucket = "steelyard/nowhere" },
	} {
		t.Run(name, func(t *testing.T) {
			store := influxAt(t, server, change)
			err := store.Put(t.Context(), []telemetry.Sample{sample(t, "a", 1, start, "1")})
			if m, ok := errors.AsType[*telemetry.MisconfiguredError](err); !ok || m.Hint == "" {
				t.Errorf("got %v, want a MisconfiguredError with a hint", err)
			}
			if p := store.Parked().Lines; p != 0 {
				t.Errorf("%d points parked: they are good", p)
			}
			t.Log(err)
		})
	}
}

// TestWithoutUsers: InfluxDB 1.8 as it comes asks nobody who he is.
func TestWithoutUsers(t *testing.T) { testStore(t, influxAt(t, influxtest.StartOpen(t), nil)) }

func TestSenselessConfiguration(t *testing.T) {
	for _, bad := range []telemetry.InfluxConfig{{}, {URL: "ftp://x", Bucket: "b"}, {URL: "http://x"}, {URL: "::", Bucket: "b"}} {
		if _, err := telemetry.NewInflux(bad); err == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
}

// TestParked: what InfluxDB refuses for a reason that somebody can mend is on disk before it counts as
// kept, and in InfluxDB once it is mended, whatever restarts in between. The control keeps it in
// memory only: those points are gone.
func TestParked(t *testing.T) {
	for name, want := range map[string]int64{"on disk": 100, "control, in memory": 0} {
		t.Run(name, func(t *testing.T) {
			server := influxtest.Start(t)
			server.Write(fmt.Sprintf("tonnage,site=other grams=1.5 %d\n", start.UnixNano()))
			parked := ""
			if want > 0 {
				parked = filepath.Join(t.TempDir(), "parked.db")
			}
			open := func() *telemetry.Influx {
				return influxAt(t, server, func(c *telemetry.InfluxConfig) { c.Parked = parked })
			}
			var all []telemetry.Tonne
			for i := range 100 {
				all = append(all, telemetry.Tonne{Site: "a", Category: "paper", Material: "paper/occ", Flow: "sorted", At: start.UnixNano() + int64(i), Grams: 7})
			}
			store := open()
			for range 2 { // sent again, parked once
				if err := store.PutTonnes(t.Context(), all); err != nil {
					t.Fatal(err)
				}
				if p := store.Parked(); p.Lines != 100 || p.Tonnage != 100 || p.Since.IsZero() || !strings.Contains(p.Why, "grams") {
					t.Errorf("parked %+v", p)
				}
			}
			store.Close()
			store = open()
			server.Query(`DROP MEASUREMENT "tonnage"`)
			until(t, "what was parked is written", func() bool { return store.Mend(t.Context()) == nil && store.Parked().Lines == 0 })
			var grams int64
			for _, sum := range total(t, store, start, time.Minute) {
				grams += sum.Grams
			}
			if grams != 7*want {
				t.Errorf("%d g are there, want %d", grams, 7*want)
			}
		})
	}
}

// TestParkedHasNoRoom: beyond its room nothing counts as kept: samples wait at their sites.
func TestParkedHasNoRoom(t *testing.T) {
	server := influxtest.Start(t)
	server.Write(fmt.Sprintf("machine,device=x,site=other motor_current=\"text\" %d\n", start.UnixNano()))
	store := influxAt(t, server, nil)
	telemetry.SetParkedRoom(store, 64<<10)
	var err error
	for n := uint64(1); err == nil && n < 20_000; n += 200 {
		var samples []telemetry.Sample
		for i := range uint64(200) {
			samples = append(samples, sample(t, "full", n+i, start.Add(time.Duration(n+i)*time.Millisecond), "1"))
		}
		err = store.Put(t.Context(), samples)
	}
	if m, ok := errors.AsType[*telemetry.MisconfiguredError](err); !ok || !strings.Contains(m.Error(), "type conflict") {
		t.Errorf("got %v, want to hear that there is no room, and what must be mended", err)
	}
	if p := store.Parked(); p.Lines == 0 || p.Lines > 2000 {
		t.Errorf("parked %d lines in 64 KiB", p.Lines)
	}
	// Mended, everything is taken: what was parked, and what waited.
	server.Query(`DROP MEASUREMENT "machine"`)
	until(t, "there is room again", func() bool { return store.Mend(t.Context()) == nil && store.Parked().Lines == 0 })
	put(t, store, sample(t, "full", 20_000, start, "1"))
}
