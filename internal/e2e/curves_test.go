package e2e_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"steelyard/cloud/demo"
	"steelyard/cloud/ledger"
	"steelyard/cloud/telemetry"
	"steelyard/cloud/telemetry/influxtest"
	"steelyard/edge/journal"
	"steelyard/internal/record"
	"steelyard/internal/wire"
)

// outage is how long InfluxDB is away.
const outage = 2 * time.Minute

// InfluxDB is stopped for two minutes under load. Ledger and receipts go on; afterwards every sample
// is there once, and the tonnage is the ledger's to the gram.
func TestInfluxOutage(t *testing.T) {
	server := influxtest.Start(t)
	town := build(t, demo.Plan{Sites: 1, Speed: 20, Influx: server.URL, Bucket: server.Bucket, Token: server.Token})
	time.Sleep(15 * time.Second)
	server.Stop()
	before := recordsInLedger(t, town)
	time.Sleep(outage)
	if after := recordsInLedger(t, town); after < before+20 {
		t.Errorf("the ledger went from %d to %d records while InfluxDB was away", before, after)
	}
	if oldest := oldestWaiting(t, town); oldest > 30*time.Second {
		t.Errorf("a record has waited for its receipt for %v", oldest)
	}
	server.Restart()
	time.Sleep(10 * time.Second)
	exact(t, town, 100)
	sameCurves(t, town, func() (telemetry.Store, error) {
		return telemetry.NewInflux(telemetry.InfluxConfig{URL: server.URL, Bucket: server.Bucket, Token: server.Token})
	})
}

// The embedded history holds the same.
func TestEmbeddedHistory(t *testing.T) {
	town := build(t, demo.Plan{Sites: 1, Speed: 20})
	time.Sleep(30 * time.Second)
	exact(t, town, 30)
	sameCurves(t, town, func() (telemetry.Store, error) {
		return telemetry.OpenHistory(context.WithoutCancel(t.Context()), telemetry.HistoryConfig{
			Path: filepath.Join(filepath.Dir(town.LedgerFile()), "history.db"), Log: slog.New(slog.DiscardHandler)})
	})
}

func recordsInLedger(t *testing.T, town *demo.Town) uint64 { return inLedger(t, town, wire.Records) }
func samplesInLedger(t *testing.T, town *demo.Town) uint64 { return inLedger(t, town, wire.Samples) }

// samplesInJournal is how far the samples journals of the first site are written.
func samplesInJournal(t *testing.T, town *demo.Town) (n uint64) {
	t.Helper()
	readers, err := journal.Readers(filepath.Join(town.Sites[0].Dir, "data", "samples"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range readers {
		n += r.Last().N
	}
	return n
}

// inLedger counts the entries of a stream that the ledger has, or has passed on.
func inLedger(t *testing.T, town *demo.Town, stream wire.Stream) (n uint64) {
	t.Helper()
	for _, p := range positions(t, town) {
		if p.Stream == stream {
			n += p.N
		}
	}
	return n
}

func positions(t *testing.T, town *demo.Town) []ledger.JournalState {
	t.Helper()
	reader, err := ledger.OpenReader(t.Context(), town.LedgerFile())
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	all, err := reader.Positions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// oldestWaiting asks the edge how long its oldest record has no receipt.
func oldestWaiting(t *testing.T, town *demo.Town) time.Duration {
	t.Helper()
	res, err := http.Get(town.Sites[0].Page + "/api/journal")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var state struct {
		OldestMS int64 `json:"oldest_ms"`
	}
	if err := json.NewDecoder(res.Body).Decode(&state); err != nil {
		t.Fatal(err)
	}
	if state.OldestMS == 0 {
		return 0
	}
	return time.Since(time.UnixMilli(state.OldestMS))
}

// sameCurves stops the programs and compares the store with the edge's samples journal, point by
// point, and with the ledger's totals, gram by gram.
func sameCurves(t *testing.T, town *demo.Town, open func() (telemetry.Store, error)) {
	t.Helper()
	type sum struct{ Site, Category, Flow string }
	want := map[sum]int64{}
	for _, row := range totals(t, town) {
		want[sum{row.Site, row.Category, row.Flow}] += row.Grams
	}
	// The store follows the ledger, after an outage with pauses of up to a minute.
	for begin := time.Now(); !caughtUp(t, town); {
		if time.Since(begin) > 3*time.Minute {
			t.Fatal("the store of curves does not catch up")
		}
		time.Sleep(time.Second)
	}
	// So do the samples, at the edge's pace: its newest are always on their way.
	eventually(t, "the samples are receipted", func() bool { return samplesInJournal(t, town) < samplesInLedger(t, town)+100 })
	time.Sleep(5 * time.Second)
	if err := town.Sites[0].Edge.Stop(); err != nil {
		t.Fatal(err)
	}
	// What the edge has sent is stored and then receipted. A cloud that is stopped between the two has
	// points without a receipt, which is right, and not what is compared here.
	for quiet, before := 0, samplesInLedger(t, town); quiet < 10; time.Sleep(500 * time.Millisecond) {
		now := samplesInLedger(t, town)
		if quiet++; now != before {
			quiet, before = 0, now
		}
	}
	if err := town.Cloud.Stop(); err != nil {
		t.Fatal(err)
	}
	store, err := open()
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	from, to := time.Now().Add(-24*time.Hour), time.Now().Add(time.Hour)
	got := map[sum]int64{}
	sums, err := store.Tonnage(t.Context(), from, to)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sums {
		got[sum{s.Site, s.Category, s.Flow}] += s.Grams
	}
	if diff := cmp.Diff(want, got); diff != "" || len(want) == 0 {
		t.Errorf("tonnage of ledger (-) and store (+), %d rows: %s", len(want), diff)
	}

	wantPoints := samplePoints(t, town)
	gotPoints := map[string]int64{}
	series, err := store.Series(t.Context(), town.Sites[0].Name)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range series {
		buckets, err := store.Range(t.Context(), s.Site, s.Device, s.Tag, from, to, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range buckets {
			gotPoints[s.Device+" "+s.Tag] += b.Count
		}
		if gotPoints[s.Device+" "+s.Tag] == 0 {
			delete(gotPoints, s.Device+" "+s.Tag) // a tag of words
		}
	}
	if diff := cmp.Diff(wantPoints, gotPoints); diff != "" || len(wantPoints) < 10 {
		t.Errorf("points of journal (-) and store (+), %d series: %s", len(wantPoints), diff)
	}
}

func caughtUp(t *testing.T, town *demo.Town) bool {
	t.Helper()
	res, err := http.Get(town.URL + "/api/curves")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var state struct {
		CaughtUp bool `json:"caught_up"`
	}
	if err := json.NewDecoder(res.Body).Decode(&state); err != nil {
		t.Fatal(err)
	}
	return state.CaughtUp
}

// samplePoints counts the numbers in the samples journal that the cloud has receipted, by tag.
func samplePoints(t *testing.T, town *demo.Town) map[string]int64 {
	t.Helper()
	receipted := map[string]uint64{}
	for _, p := range positions(t, town) {
		if p.Stream == wire.Samples {
			receipted[p.Journal] = p.N
		}
	}
	readers, err := journal.Readers(filepath.Join(town.Sites[0].Dir, "data", "samples"))
	if err != nil {
		t.Fatal(err)
	}
	points := map[string]int64{}
	for _, r := range readers {
		if receipted[r.ID()]+200 < r.Last().N {
			t.Errorf("samples: %d of %d are receipted", receipted[r.ID()], r.Last().N)
		}
		for stored, err := range r.After(0) {
			if err != nil {
				t.Fatal(err)
			}
			body, err := stored.Entry.Decode()
			if err != nil {
				t.Fatal(err)
			}
			sample, ok := body.(*record.Sample)
			if !ok || stored.Entry.N > receipted[r.ID()] {
				continue
			}
			for _, v := range sample.Values {
				if v.OK && v.Value != "" {
					points[stored.Entry.Device+" "+v.Tag]++
				}
			}
		}
	}
	return points
}

type totalRow struct {
	Site, Category, Flow string
	Grams                int64
}

func totals(t *testing.T, town *demo.Town) []totalRow {
	t.Helper()
	res, err := http.Get(town.URL + "/api/totals?from=2000-01-01&to=2100-01-01")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var shown struct{ Totals []totalRow }
	if err := json.NewDecoder(res.Body).Decode(&shown); err != nil {
		t.Fatal(err)
	}
	return shown.Totals
}
