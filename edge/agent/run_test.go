package agent_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"steelyard/internal/unit"
)

const tonne = unit.Tonne

// state is what the page knows of the journal.
type state struct {
	Problem string
	Last    uint64
	Backlog uint64
}

func TestFullDiskWhileRunning(t *testing.T) {
	s := newSite(t)
	dir := disk(t, "4m")
	s.configure(fmt.Sprintf("data: %q\n", dir))
	r := s.start()
	r.weigh(12 * tonne)
	r.weighIn("p-1", "豫D12345").must(t, http.StatusCreated)

	filler := fill(t, dir)
	r.exhaust()
	before := into[state](t, r.get("/api/journal"))
	a := r.post("/api/cancel", map[string]string{"passage": "p-1", "operator": "wang", "reason": "mistake"})
	problem := into[struct{ Code, Detail string }](t, a.must(t, http.StatusServiceUnavailable))
	if a.Type != "application/problem+json" || problem.Code != "not-recorded" || !strings.Contains(problem.Detail, "NOT RECORDED") ||
		!strings.Contains(problem.Detail, "free space on the disk") {
		t.Errorf("got %s %+v", a.Type, problem)
	}
	// The lorry on the deck could not be recorded: that is the reason, not that it might still move.
	a = r.weighIn("p-2", "豫D54321")
	problem = into[struct{ Code, Detail string }](t, a.must(t, http.StatusServiceUnavailable))
	if problem.Code != "not-recorded" || !strings.Contains(problem.Detail, "free space on the disk") {
		t.Errorf("weigh-in on a full disk: got %+v", problem)
	}
	if a := r.get("/api/passages"); !strings.Contains(a.Body, "p-1") {
		t.Errorf("the passage is gone, though nothing was recorded: %s", a.Body)
	}
	if now := into[state](t, r.get("/api/journal")); now.Last != before.Last {
		t.Errorf("the journal grew from %d to %d without room", before.Last, now.Last)
	}

	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	r.until("it records again", func() bool { return into[state](t, r.get("/api/journal")).Problem == "" })
	r.until("the load is weighed", func() bool { return r.deckState() == "captured" })
	r.weigh(5 * tonne)
	r.weighOut("p-1", 7*tonne).must(t, http.StatusCreated)
}

// exhaust weighs until the full disk takes nothing any more: the last block of a file still has
// room for a few entries.
func (r *running) exhaust() {
	r.t.Helper()
	for i := range 20 {
		r.deck.Place(0)
		r.until("the deck is empty", func() bool { return r.deckState() == "empty" })
		r.deck.Place(5*tonne + unit.Mass(i)*100*unit.Kilogram)
		problem := ""
		r.until("it is weighed or refused", func() bool {
			problem = into[state](r.t, r.get("/api/journal")).Problem
			return problem != "" || r.deckState() == "captured"
		})
		if strings.Contains(problem, "NOT RECORDED") {
			return
		}
	}
	r.t.Fatal("a full disk recorded 20 weighings")
}

func TestFullDiskIsSeenToBeOverWithoutANewWeighing(t *testing.T) {
	s := newSite(t)
	dir := disk(t, "4m")
	s.configure(fmt.Sprintf("data: %q\n", dir))
	r := s.start()
	filler := fill(t, dir)
	r.exhaust()
	r.deck.Place(0) // from here on nothing happens that would be recorded
	r.until("the deck is empty", func() bool { return r.deckState() == "empty" })
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	r.until("it records again", func() bool { return into[state](t, r.get("/api/journal")).Problem == "" })
}

func TestHostileRequests(t *testing.T) {
	r := newSite(t).start()
	weighIn := `{"passage":"p-1","deck":"weighbridge-1","operator":"wang","vehicle":"豫D1","direction":"inbound","material":"paper/occ","counterparty":""}`
	header := func(key, value string) func(*http.Request) {
		return func(req *http.Request) { req.Header.Set(key, value) }
	}
	for _, tc := range []struct {
		name         string
		method, path string
		body         string
		change       func(*http.Request)
		status       int
		code         string // of the problem; empty: the answer is no problem of ours
	}{
		{"broken JSON", "POST", "/api/weigh-in", `{"passage":`, nil, 400, "bad-request"},
		{"empty body", "POST", "/api/weigh-in", ``, nil, 400, "bad-request"},
		{"wrong type", "POST", "/api/weigh-in", `{"passage":7}`, nil, 400, "bad-request"},
		{"a list", "POST", "/api/weigh-in", `[]`, nil, 400, "bad-request"},
		{"unknown field", "POST", "/api/weigh-in", strings.Replace(weighIn, "{", `{"mass":12000000,`, 1), nil, 400, "bad-request"},
		{"two values", "POST", "/api/weigh-in", weighIn + weighIn, nil, 400, "bad-request"},
		{"a fraction of a gram", "POST", "/api/weigh-out", `{"parts":[{"material":"paper/occ","mass":0.5}]}`, nil, 400, "bad-request"},
		{"more than 64 bits", "POST", "/api/weigh-out", `{"parts":[{"material":"paper/occ","mass":1e400}]}`, nil, 400, "bad-request"},
		{"a megabyte", "POST", "/api/weigh-in", `{"passage":"` + strings.Repeat("x", 1<<20) + `"}`, nil, 400, "bad-request"},
		{"deep nesting", "POST", "/api/weigh-in", strings.Repeat("[", 10_000), nil, 400, "bad-request"},
		{"wrong content type", "POST", "/api/weigh-in", weighIn, header("Content-Type", "text/plain"), 400, "bad-request"},
		{"form", "POST", "/api/weigh-in", "passage=p-1", header("Content-Type", "application/x-www-form-urlencoded"), 400, "bad-request"},
		{"no content type", "POST", "/api/weigh-in", weighIn, func(req *http.Request) { req.Header.Del("Content-Type") }, 400, "bad-request"},
		{"foreign origin", "POST", "/api/weigh-in", weighIn, header("Origin", "https://evil.example"), 403, ""},
		{"null origin", "POST", "/api/weigh-in", weighIn, header("Origin", "null"), 403, ""},
		{"cross-site fetch", "POST", "/api/weigh-in", weighIn, header("Sec-Fetch-Site", "cross-site"), 403, ""},
		{"wrong method", "DELETE", "/api/decks", "", nil, 405, ""},
		{"reading an act", "GET", "/api/weigh-in", "", nil, 404, ""},
		{"no such page", "GET", "/api/../../etc/passwd", "", nil, 404, ""},
		{"empty deck", "POST", "/api/weigh-in", weighIn, nil, 409, ""},
		{"unknown passage", "POST", "/api/weigh-out", `{"passage":"p-9","deck":"weighbridge-1","operator":"wang","destination":"","parts":[],"deductions":[]}`, nil, 409, "unknown-passage"},
		{"unknown line", "POST", "/api/lines/%2e%2e/material", `{"material":"paper/occ","operator":"wang"}`, nil, 409, ""},
		{"hostile words", "POST", "/api/weigh-in", strings.Replace(weighIn, "豫D1", `<svg onload=\u0061lert(1)>\u202e${jndi:x}' OR 1=1--`, 1), nil, 409, ""},
		{"control characters", "POST", "/api/weigh-in", strings.Replace(weighIn, "wang", `wang\u0000\r\nX`, 1), nil, 409, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			req := r.request(tc.method, tc.path, tc.body)
			if tc.change != nil {
				tc.change(req)
			}
			a := r.do(req)
			if a.Status != tc.status {
				t.Fatalf("got %d %.200s, want %d", a.Status, a.Body, tc.status)
			}
			if a.Type == "application/problem+json" {
				p := into[struct{ Title, Code, Detail string }](t, a)
				if p.Title == "" || p.Detail == "" || p.Code == "" || tc.code != "" && p.Code != tc.code || strings.ContainsAny(p.Detail, "\n\r") {
					t.Errorf("got %+v, want code %q", p, tc.code)
				}
			} else if tc.code != "" || a.Body == "" || len(a.Body) > 500 {
				t.Errorf("got %s %q", a.Type, a.Body)
			}
		})
	}
	// It has neither crashed nor recorded anything of that.
	if a := r.get("/api/passages"); a.Body != "{\"passages\":[]}\n" {
		t.Errorf("passages: %s", a.Body)
	}
	r.weigh(10 * tonne)
	r.weighIn("p-1", "豫D1").must(t, http.StatusCreated)
}

// TestCheckpoint: whatever is with the checkpoint, the site knows the same after a restart.
func TestCheckpoint(t *testing.T) {
	s := newSite(t)
	r := s.start()
	r.weigh(12 * tonne)
	r.weighIn("p-1", "豫D11111").must(t, http.StatusCreated)
	r.weigh(30 * tonne)
	r.weighIn("p-2", "豫D22222").must(t, http.StatusCreated)
	r.end()
	path := filepath.Join(s.dir, "data", "checkpoint.json")
	early := contents(t, path)

	r = s.start()
	r.weigh(4 * tonne)
	r.weighOut("p-1", 8*tonne).must(t, http.StatusCreated)
	r.weigh(21 * tonne)
	r.weighIn("p-3", "豫D33333").must(t, http.StatusCreated)
	want := r.known()
	if !strings.Contains(want, "p-2") || !strings.Contains(want, "p-3") || !strings.Contains(want, "豫D11111") {
		t.Fatalf("the test proves nothing: %s", want)
	}
	r.end()
	good := contents(t, path)

	foreign := newSite(t)
	f := foreign.start()
	f.weigh(50 * tonne)
	f.weighIn("p-2", "豫D99999").must(t, http.StatusCreated)
	f.end()

	// The weight of the passage that is still open, altered by one bit.
	mass := strings.Index(string(good), `"Mass":30000000`)
	if mass < 0 {
		t.Fatalf("no mass in %s", good)
	}
	bitFlip := []byte(string(good))
	bitFlip[mass+len(`"Mass":`)] ^= 1

	// Another vehicle shows that a checkpoint was believed.
	swap := func(c map[string]any) {
		c["State"].(map[string]any)["Open"].(map[string]any)["p-3"].(map[string]any)["Vehicle"] = "豫D44444"
	}
	for _, tc := range []struct {
		name       string
		checkpoint []byte // nil: none
	}{
		{"good", good},
		{"missing", nil},
		{"of an earlier stop", early},
		{"of another site", contents(t, filepath.Join(foreign.dir, "data", "checkpoint.json"))},
		{"one bit in a weight", bitFlip},
		{"empty", []byte{}},
		{"torn", good[:len(good)/2]},
		{"garbage", []byte(strings.Repeat("\x00\xff", 2000))},
		{"of another history", redated(t, good, func(c map[string]any) { swap(c); c["Hash"] = strings.Repeat("ab", 32) })},
		{"of number 0", redated(t, good, func(c map[string]any) { swap(c); c["N"] = 0 })},
		{"from the future", redated(t, good, func(c map[string]any) { swap(c); c["N"] = 1 << 40 })},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			if tc.checkpoint != nil {
				if err := os.WriteFile(path, tc.checkpoint, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			r := s.start()
			got := r.known()
			r.end()
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}

	// The negative control: a checkpoint that passes its own checks is believed, so it is the digest
	// that has kept the altered weight out.
	if err := os.WriteFile(path, redated(t, good, swap), 0o600); err != nil {
		t.Fatal(err)
	}
	r = s.start()
	if got := r.known(); !strings.Contains(got, "豫D44444") {
		t.Errorf("the checkpoint was not read at all: %s", got)
	}
}

// known is everything that must survive a restart, as the API tells it.
func (r *running) known() string {
	return r.get("/api/passages").must(r.t, 200).Body + r.get("/api/tickets").must(r.t, 200).Body + r.get("/api/lines").must(r.t, 200).Body
}

func contents(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// redated changes a checkpoint and makes its digest right again.
func redated(t *testing.T, file []byte, change func(map[string]any)) []byte {
	t.Helper()
	_, data, _ := strings.Cut(string(file), "\n")
	var c map[string]any
	dec := json.NewDecoder(strings.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(&c); err != nil {
		t.Fatal(err)
	}
	change(c)
	out, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Appendf(nil, "steelyard checkpoint 2 %x\n%s", sha256.Sum256(out), out)
}

// TestStandingLorryIsNotWeighedTwice: the agent stops and starts under a load.
func TestStandingLorryIsNotWeighedTwice(t *testing.T) {
	s := newSite(t)
	r := s.start()
	r.weigh(12 * tonne)
	before := into[struct {
		Decks []struct{ Weighing struct{ N uint64 } }
	}](t, r.get("/api/decks"))
	r.end()
	r = s.start()
	r.until("the deck is known", func() bool { return r.deckState() == "captured" })
	after := into[struct {
		Decks []struct{ Weighing struct{ N uint64 } }
	}](t, r.get("/api/decks"))
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("-before +after:\n%s", diff)
	}
}
