package web_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"steelyard/cloud/ledger"
	"steelyard/cloud/ledger/ledgertest"
	"steelyard/cloud/web"
	"steelyard/internal/record"
	"steelyard/internal/wire"
)

// told is what a page of the city has been told: the newest of each event, tables as their rows.
type told struct {
	*testing.T
	in   *bufio.Scanner
	docs map[string]string
	rows map[string][]string
}

// open runs the pages of a city and opens one.
func open(t *testing.T, c web.Config) *told {
	t.Helper()
	pages := web.New(c)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- pages.Run(ctx) }()
	server := httptest.NewServer(pages)
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		server.CloseClientConnections()
		server.Close()
	})
	res, err := server.Client().Get(server.URL + "/api/events")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	if res.Header.Get("Content-Type") != "text/event-stream" || res.Header.Get("Content-Security-Policy") == "" {
		t.Errorf("headers %v", res.Header)
	}
	return &told{t, bufio.NewScanner(res.Body), map[string]string{}, map[string][]string{}}
}

// until reads on until a condition holds.
func (p *told) until(what string, met func() bool) {
	p.Helper()
	for event := ""; p.in.Scan(); {
		if name, ok := strings.CutPrefix(p.in.Text(), "event: "); ok {
			event = name
		}
		data, ok := strings.CutPrefix(p.in.Text(), "data: ")
		if !ok {
			continue
		}
		p.docs[event] = data
		var table struct {
			Key      []string
			All, Set []json.RawMessage
			In       struct{ Day string }
			Drop     [][]string
		}
		if json.Unmarshal([]byte(data), &table) == nil && table.Key != nil {
			rows := p.rows[event]
			if table.All != nil {
				rows = nil
			}
			for _, row := range append(table.All, table.Set...) {
				rows = append(rows, string(row)) // the newest of a row is the last
			}
			p.rows[event] = rows
		}
		if event == "tick" && met() {
			return
		}
	}
	p.Fatalf("the stream ended before %s: %v; told %v %v", what, p.in.Err(), p.docs, p.rows)
}

// has reports whether the newest row of a table that holds the first text holds all others.
func (p *told) has(table, row string, texts ...string) bool {
	for _, r := range slices.Backward(p.rows[table]) {
		if strings.Contains(r, row) {
			return !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(r, text) })
		}
	}
	return false
}

// A page that has just been opened is told everything at once, on an empty database too.
func TestEventsOfAnEmptyDatabase(t *testing.T) {
	p := open(t, emptyCity(t))
	p.until("everything is told", func() bool { return true })
	for _, event := range []string{"live", "sites", "totals", "hour", "unread"} {
		if p.docs[event] == "" {
			t.Errorf("%s was not told", event)
		}
	}
	if !p.has("sites", "xinhua-1", `"known":false`, `"records":0`, `"since_ms":null`) || p.docs["hour"] != "[]" || !strings.Contains(p.docs["totals"], `"in":{"day":"2026-11-23"}`) {
		t.Errorf("told %v", p.docs)
	}
}

// What the city learns is told to an open page: a value, its growing old, a site's end, a ticket and
// the new day.
func TestOpenPageFollowsTheCity(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	c, account, tables := cityOn(t, path)
	var later atomic.Int64 // by which the test is ahead of the time that really passes
	began := time.Now()
	clock := func() time.Time { return noon.Add(time.Since(began) + time.Duration(later.Load())) }
	c.Now, c.Live = clock, liveAt(clock)
	p := open(t, c)
	live := func(value string) {
		m := wire.Live{Site: "xinhua-1", AtMS: clock().UnixMilli(), Values: []wire.LiveValue{{Device: "belt-1", Tag: "rate", Value: value, Unit: "t/h", OK: true}}}
		if err := c.Live.Message("steelyard/v1/xinhua-1/live", m.Encode()); err != nil {
			t.Fatal(err)
		}
	}
	live("12.5")
	p.until("the value", func() bool { return p.has("live", "belt-1", `"value":"12.5"`, `"live":true`, `"since_ms":null`) })
	later.Add(int64(11 * time.Second))
	p.until("the value grows stale", func() bool {
		return p.has("live", "belt-1", `"live":false`) && !p.has("live", "belt-1", `"since_ms":null`)
	})
	status := func(online bool) {
		m := wire.Status{Site: "xinhua-1", Session: "s", Online: online, Version: "1.4.2", Backlog: 3, AtMS: clock().UnixMilli()}
		if err := c.Live.Message("steelyard/v1/xinhua-1/status", m.Encode()); err != nil {
			t.Fatal(err)
		}
	}
	status(true)
	p.until("the site is online", func() bool { return p.has("sites", "xinhua-1", `"online":true`, `"backlog":3`, `"since_ms":null`) })
	status(false)
	p.until("the site is offline", func() bool {
		return p.has("sites", "xinhua-1", `"online":false`) && !p.has("sites", "xinhua-1", `"since_ms":null`)
	})

	j := ledgertest.New("xinhua-1", 1)
	j.Write(noon, "", &record.Bale{Number: 1, Material: "paper/occ", Mass: 412_000, Weighed: true})
	if _, err := account.Post(t.Context(), noon, []*wire.Batch{j.Batch(1, 1)}); err != nil {
		t.Fatal(err)
	}
	if _, err := tables.Advance(t.Context()); err != nil {
		t.Fatal(err)
	}
	later.Add(int64(time.Minute))
	p.until("the bale", func() bool {
		return p.has("totals", "xinhua-1", `"grams":412000`, `"flow":"sorted"`) && p.has("sites", "xinhua-1", `"records":1`) && strings.Contains(p.docs["hour"], `"grams":412000`)
	})
	// What can't be counted is told with its reason, and stands in no total.
	bad := j.WriteRaw(noon, "", record.KindTicket, []byte(`{"net":1}`))
	if _, err := account.Post(t.Context(), noon, []*wire.Batch{j.Batch(bad.N, bad.N)}); err != nil {
		t.Fatal(err)
	}
	later.Add(int64(time.Minute))
	p.until("an entry in no total", func() bool {
		return strings.Contains(p.docs["unposted"], `"site":"xinhua-1"`) && strings.Contains(p.docs["unposted"], `"kind":"ticket"`) && !strings.Contains(p.docs["unposted"], `"why":""`)
	})
	later.Add(int64(12 * time.Hour))
	p.until("the next day", func() bool {
		return strings.Contains(p.docs["totals"], `"in":{"day":"2026-11-24"}`) && strings.Contains(p.docs["totals"], `"drop":[["xinhua-1","paper","sorted"]]`)
	})
}

// What can't be read is told as such: the page shows old numbers as old.
func TestUnreadableAccountIsTold(t *testing.T) {
	c, account, _ := cityOn(t, filepath.Join(t.TempDir(), "ledger.db"))
	c.Now = time.Now
	p := open(t, c)
	p.until("everything is told", func() bool { return strings.Contains(p.docs["unread"], `"totals":false`) })
	if err := account.Close(); err != nil {
		t.Fatal(err)
	}
	p.until("the ledger can't be read", func() bool {
		return strings.Contains(p.docs["unread"], `"totals":true`) && strings.Contains(p.docs["unread"], `"sites":true`) && strings.Contains(p.docs["unread"], `"audit":false`)
	})
}

// The city's pages need no more than to read the ledger: another process's will do.
func TestPagesOfAnotherProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	c, _, _ := cityOn(t, path)
	reader, err := ledger.OpenReader(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = reader.Close() })
	c.Ledger = reader
	if w := get(web.New(c), "/api/sites"); w.Code != http.StatusOK {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
