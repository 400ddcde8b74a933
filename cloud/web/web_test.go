package web_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"steelyard/cloud/ingest"
	"steelyard/cloud/ledger"
	"steelyard/cloud/ledger/ledgertest"
	"steelyard/cloud/rollup"
	"steelyard/cloud/telemetry"
	"steelyard/cloud/web"
	"steelyard/internal/page"
	"steelyard/internal/record"
	"steelyard/internal/wire"
)

// noon is a Monday in Pingdingshan, ten hours before the next business day.
var noon = time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC)

// emptyCity is a city of one site from which nothing has come yet, on real stores.
func emptyCity(t *testing.T) web.Config {
	t.Helper()
	c, _, _ := cityOn(t, filepath.Join(t.TempDir(), "ledger.db"))
	return c
}

func liveAt(now func() time.Time) *telemetry.Live {
	return telemetry.NewLive(telemetry.LiveConfig{Sites: []string{"xinhua-1"}, Now: now})
}

func cityOn(t *testing.T, path string) (web.Config, *ledger.Ledger, *rollup.Rollup) {
	t.Helper()
	ctx, quiet := t.Context(), slog.New(slog.DiscardHandler)
	account, err := ledger.Open(ctx, path, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = account.Close() }) // a test may have closed it
	if err := account.Enrol(ctx, "xinhua-1", ledgertest.KeyOf("xinhua-1").Public(), noon); err != nil {
		t.Fatal(err)
	}
	tables, err := rollup.Open(ctx, account, func(string, time.Time) (string, error) { return "paper", nil }, quiet)
	if err != nil {
		t.Fatal(err)
	}
	store, err := telemetry.OpenHistory(ctx, telemetry.HistoryConfig{Path: filepath.Join(t.TempDir(), "history.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	now := func() time.Time { return noon }
	return web.Config{Name: "平顶山市", Sites: []web.Site{{ID: "xinhua-1", Name: "新华区绿色分拣中心"}}, Ledger: account.Reader, Rollup: tables.Reader, Store: store,
		Live:   liveAt(now),
		Ingest: func() ingest.Stats { return ingest.Stats{} }, Behind: func() telemetry.Behind { return telemetry.Behind{} },
		Now: now, Log: quiet}, account, tables
}

func get(h http.Handler, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "http://127.0.0.1"+path, nil))
	return w
}

// Nothing has come: lists are empty and never null, and what is unknown is not said to be 0 or live.
func TestEmptyDatabase(t *testing.T) {
	h := web.New(emptyCity(t))
	for path, want := range map[string]string{
		"/api/city":                 `{"audit":false,"categories":[],"day":"2026-11-23","name":"平顶山市","sites":[{"id":"xinhua-1","name":"新华区绿色分拣中心","english":"","district":""}]}`,
		"/api/totals":               `{"from":"2026-11-23","time_suspect":[],"to":"2026-11-23","totals":[]}`,
		"/api/suspects":             `{"suspects":[]}`,
		"/api/live":                 `{"values":[]}`,
		"/api/unposted":             `{"gaps":[],"unposted":[]}`,
		"/api/series?site=xinhua-1": `{"series":[]}`,
		"/api/curves":               `{"caught_up":false,"alarm":false,"failing_since_ms":0,"why":"","unkept":0,"parked":0,"parked_tonnage":0,"parked_since_ms":0,"expired":0,"left_out":0}`,
		"/api/range?site=xinhua-1&device=belt-1&tag=rate&from=2026-11-22T00:00:00Z&to=2026-11-23T00:00:00Z&step=1h": `{"buckets":[]}`,
	} {
		if w := get(h, path); w.Code != http.StatusOK || strings.TrimSpace(w.Body.String()) != want {
			t.Errorf("%s: %d %s\nwant %s", path, w.Code, w.Body, want)
		}
	}
	var states struct {
		Sites []map[string]any `json:"sites"`
	}
	if err := json.Unmarshal(get(h, "/api/sites").Body.Bytes(), &states); err != nil || len(states.Sites) != 1 {
		t.Fatalf("%v %v", err, states)
	}
	for key, want := range map[string]any{"site": "xinhua-1", "known": false, "online": false, "records": 0.0, "newest_ms": 0.0} {
		if got := states.Sites[0][key]; got != want {
			t.Errorf("%s is %v, want %v", key, got, want)
		}
	}
	if body := get(h, "/api/quarantine").Body.String(); !strings.HasPrefix(body, `{"ingest":{`) || !strings.Contains(body, `"quarantined":[]`) {
		t.Errorf("quarantine: %s", body)
	}
}

// What can't be answered is a problem with a code, whatever is asked.
func TestWrongQuestions(t *testing.T) {
	city := emptyCity(t)
	check := func(h http.Handler, path string, status int, code string) {
		t.Helper()
		w := get(h, path)
		var p page.Problem
		err := json.Unmarshal(w.Body.Bytes(), &p)
		if err != nil || w.Code != status || p.Status != status || p.Code != code || p.Detail == "" || w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %v %s, want %d %s", path, w.Code, w.Header(), w.Body, status, code)
		}
	}
	h := web.New(city)
	const curve = "/api/range?site=xinhua-1&device=belt-1&tag=rate"
	for path, code := range map[string]string{
		"/api/series":                                "unknown-site",
		"/api/series?site=nope":                      "unknown-site",
		"/api/range?site=../etc":                     "unknown-site",
		"/api/totals?from=today":                     "bad-day",
		"/api/totals?by=hour":                        "bad-range",
		"/api/totals?by=site&site=nope":              "unknown-site",
		"/api/totals?to=2026-02-30":                  "bad-day",
		"/api/totals?from=2026-11-24&to=2026-11-23":  "bad-range",
		"/api/range?site=xinhua-1":                   "bad-tag",
		"/api/range?site=xinhua-1&device=B%20&tag=x": "bad-tag",
		"/api/range?site=xinhua-1&device=belt-1&tag=a%27b&from=2026-11-22T00:00:00Z&to=2026-11-23T00:00:00Z&step=1h": "bad-tag", // was answered 503
		curve + "&from=1969-12-31T00:00:00Z&to=1970-01-02T00:00:00Z&step=1h":                                         "bad-range",
		curve: "bad-range",
		curve + "&from=2026-11-22&to=now&step=1h":                            "bad-range",
		curve + "&from=2026-11-23T00:00:00Z&to=2026-11-22T00:00:00Z&step=1h": "bad-range",
		curve + "&from=2000-01-01T00:00:00Z&to=2026-11-22T00:00:00Z&step=1h": "bad-range",
		curve + "&from=2026-11-22T00:00:00Z&to=2026-11-23T00:00:00Z&step=1s": "bad-range",
	} {
		check(h, path, http.StatusBadRequest, code)
	}
	check(h, "/api/nope", http.StatusNotFound, "not-found")
	check(h, "/api/audit", http.StatusNotFound, "no-audit")

	file := filepath.Join(t.TempDir(), "audit.json")
	city.Audit = file
	check(web.New(city), "/api/audit", http.StatusNotFound, "no-audit") // it is not written yet
	if err := os.WriteFile(file, []byte(`{"exact":`), 0o600); err != nil {
		t.Fatal(err)
	}
	check(web.New(city), "/api/audit", http.StatusServiceUnavailable, "unavailable")
	if err := os.WriteFile(file, []byte(`{"exact":true}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if w := get(web.New(city), "/api/audit"); w.Code != http.StatusOK || strings.TrimSpace(w.Body.String()) != `{"exact":true}` {
		t.Errorf("the audit: %d %s", w.Code, w.Body)
	}

	if err := city.Ledger.Close(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/api/totals", "/api/sites", "/api/quarantine"} {
		check(h, path, http.StatusServiceUnavailable, "unavailable")
	}
}

// Sums of a time are told by site, by category over all sites, and by district.
func TestTotalsBy(t *testing.T) {
	c, account, tables := cityOn(t, filepath.Join(t.TempDir(), "ledger.db"))
	if err := tables.InDistricts(t.Context(), map[string]string{"xinhua-1": "xinhua"}); err != nil {
		t.Fatal(err)
	}
	j := ledgertest.New("xinhua-1", 1)
	j.Write(noon, "", &record.Bale{Number: 1, Material: "paper/occ", Mass: 412_000, Weighed: true})
	j.Write(noon.AddDate(0, -3, 0), "", &record.Bale{Number: 2, Material: "paper/occ", Mass: 1, Weighed: true})
	if _, err := account.Post(t.Context(), noon, []*wire.Batch{j.Batch(1, 2)}); err != nil {
		t.Fatal(err)
	}
	if _, err := tables.Advance(t.Context()); err != nil {
		t.Fatal(err)
	}
	h := web.New(c)
	const year = "/api/totals?from=2026-01-01&to=2026-12-31&by="
	const sums = `"category":"paper","flow":"sorted","grams":412001,"count":2}]}`
	for query, want := range map[string]string{
		"site": `[{"site":"xinhua-1",` + sums, "site&site=xinhua-1": `[{"site":"xinhua-1",` + sums, "category": `[{` + sums, "district": `[{"district":"xinhua",` + sums,
	} {
		if w := get(h, year+query); w.Code != http.StatusOK || !strings.HasSuffix(strings.TrimSpace(w.Body.String()), want) {
			t.Errorf("%s: %d %s, want %s", query, w.Code, w.Body, want)
		}
	}
}
