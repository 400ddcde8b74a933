package browser_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"steelyard/cloud/web"
	"steelyard/internal/material"
	"steelyard/internal/port"
)

// script is a stream of server-sent events that a test writes. A new reader is first told the
// newest of each event, as the real streams do.
type script struct {
	mu      sync.Mutex // guards the fields below
	newest  map[string]string
	readers map[chan string]struct{}
	down    bool
	asked   int // requests since the start
}

func newScript() *script {
	return &script{newest: map[string]string{}, readers: map[chan string]struct{}{}}
}

func (s *script) send(event string, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	text := "event: " + event + "\ndata: " + string(data) + "\n\n"
	s.mu.Lock()
	defer s.mu.Unlock()
	s.newest[event] = text
	for r := range s.readers {
		select {
		case r <- text:
		default: // a reader that is 64 events behind is told the next one
		}
	}
}

// cut ends all streams and refuses everything until up.
func (s *script) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = true
	for r := range s.readers {
		close(r)
	}
	clear(s.readers)
}

// hush makes the server vanish without a word: open streams stay open and say nothing.
func (s *script) hush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = true
	clear(s.readers)
}

func (s *script) requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func (s *script) up() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = false
}

func (s *script) subscribe() (chan string, []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return nil, nil
	}
	r := make(chan string, 64)
	s.readers[r] = struct{}{}
	var first []string
	for _, event := range slices.Sorted(maps.Keys(s.newest)) {
		first = append(first, s.newest[event])
	}
	return r, first
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	events, first := s.subscribe()
	if events == nil {
		panic(http.ErrAbortHandler)
	}
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.readers, events)
	}()
	w.Header().Set("Content-Type", "text/event-stream")
	write := func(text string) {
		if _, err := w.Write([]byte(text)); err == nil {
			_ = http.NewResponseController(w).Flush() // a reader that went away ends the loop
		}
	}
	write(": \n\n")
	for _, text := range first {
		write(text)
	}
	for {
		select {
		case <-r.Context().Done():
			return
		case text, open := <-events:
			if !open {
				panic(http.ErrAbortHandler)
			}
			write(text)
		}
	}
}

// gate is the whole server while the script is up, and nobody while it is down.
func (s *script) gate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		down := s.down
		s.asked++
		s.mu.Unlock()
		if down {
			panic(http.ErrAbortHandler)
		}
		next.ServeHTTP(w, r)
	})
}

// serve runs a handler on loopback until the test ends.
func serve(t *testing.T, h http.Handler, s *script) string {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	server.Config.ErrorLog = nil
	server.Start()
	t.Cleanup(func() {
		if s != nil {
			s.cut()
		}
		server.CloseClientConnections()
		server.Close()
	})
	return server.URL
}

// now is a Monday noon in Pingdingshan.
var now = time.Date(2026, 11, 23, 4, 21, 7, 0, time.UTC)

// city serves the real page and the real /api/city, and events by script.
func city(t *testing.T, sites []web.Site) (string, *script) {
	t.Helper()
	s := newScript()
	real := web.New(web.Config{Name: "平顶山市", Sites: sites, Categories: categories(t), Now: func() time.Time { return now }})
	mux := http.NewServeMux()
	mux.Handle("GET /api/events", s)
	mux.HandleFunc("GET /api/quarantine", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, quarantined) })
	mux.HandleFunc("GET /api/suspects", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, suspected) })
	mux.Handle("/", real)
	return serve(t, s.gate(mux), s), s
}

const (
	quarantined = `{"quarantined": [
		{"last_ms": 1795400000000, "times": 2, "site": "xinhua-1", "reason": "number-again", "why": "ticket number 1 is that of entry 7", "alarm": true},
		{"last_ms": 1795400000000, "times": 1, "site": "xinhua-1", "reason": "somebody-new", "why": "of a newer city", "alarm": true},
		{"last_ms": 1795400000000, "times": 9, "site": "xinhua-1", "reason": "malformed", "why": "no batch", "alarm": false}]}`
	suspected = `{"suspects": [{"site": "xinhua-1", "journal": "00112233445566778899aabbccddeeff", "n": 42, "kind": "ticket",
		"number": "20261122-0badcafe-0007", "at_ms": 1795300000000, "counted_ms": 1795400000000, "why": "", "grams": 12000000}]}`
)

func categories(t *testing.T) []web.Category {
	t.Helper()
	catalogue, err := material.Open("")
	if err != nil {
		t.Fatal(err)
	}
	var all []web.Category
	for _, c := range catalogue.Categories(now) {
		all = append(all, web.Category{Code: c.Code, ZH: c.Zh, EN: c.En})
	}
	return all
}

var twoSites = []web.Site{
	{ID: "xinhua-1", Name: "新华区绿色分拣中心", English: "Xinhua sorting centre", District: "xinhua"},
	{ID: "weidong-1", Name: "卫东区绿色分拣中心", English: "Weidong sorting centre", District: "weidong"},
}

type object = map[string]any

func value(site, device, tag, number, text, unit string, age int, live bool) object {
	return object{"site": site, "device": device, "tag": tag, "value": number, "text": text, "unit": unit, "age_ms": age, "live": live}
}

// liveValues are three belts, of which one is stale, two balers and a weighbridge.
func liveValues(rate string) []object {
	return []object{
		value("xinhua-1", "belt-1", "rate", rate, "", "t/h", 300, true),
		value("xinhua-1", "belt-1", "state", "", "running", "", 300, true),
		value("xinhua-1", "belt-2", "rate", "9.75", "", "t/h", 300, true),
		value("xinhua-1", "belt-2", "state", "", "running", "", 300, true),
		value("xinhua-1", "baler-1", "state", "", "compressing", "", 300, true),
		value("xinhua-1", "baler-1", "bale_count", "3384", "", "", 300, true),
		value("xinhua-1", "baler-2", "state", "", "fault", "", 300, true),
		value("xinhua-1", "baler-2", "bale_count", "634", "", "", 300, true),
		value("xinhua-1", "weighbridge-1", "weight", "36440", "", "kg", 300, true),
		value("weidong-1", "belt-1", "rate", "21.30", "", "t/h", 95_000, false),
		value("weidong-1", "weighbridge-1", "weight", "", "", "kg", 95_000, false),
	}
}

func siteStates() []object {
	ms := time.Now().UnixMilli()
	return []object{
		{"site": "xinhua-1", "known": true, "online": true, "silent_ms": 180, "version": "1.4.2", "backlog": 0, "oldest_ms": 0, "records": 18420, "newest_ms": ms - 4000, "refused": 0, "committed": 18420, "alarms": 0, "suspects": 0, "unreceipted_ms": 0},
		{"site": "weidong-1", "known": true, "online": false, "silent_ms": 94_000, "version": "1.4.2", "backlog": 17, "oldest_ms": ms - 130_000, "records": 9077, "newest_ms": ms - 96_000, "refused": 0, "committed": 9077, "alarms": 0, "suspects": 0, "unreceipted_ms": 0},
	}
}

func total(site, category, flow string, grams int64, count int) object {
	return object{"site": site, "category": category, "flow": flow, "grams": grams, "count": count}
}

func totals(rows ...object) object {
	return object{"day": "2026-11-23", "totals": append([]object{}, rows...)}
}

func fullDay() object {
	rows := []object{}
	for i, c := range []string{"steel", "copper", "aluminium", "lead", "zinc", "paper", "plastics", "rubber", "glass", "battery"} {
		n := int64(11 - i)
		rows = append(rows, total("xinhua-1", c, "collected", n*37_420_000, 4), total("weidong-1", c, "collected", n*21_060_000, 3),
			total("xinhua-1", c, "recycled", n*18_340_000, 2))
		if c == "paper" || c == "plastics" || c == "steel" {
			rows = append(rows, total("xinhua-1", c, "sorted", n*9_505_500, 18))
		}
	}
	return totals(append(rows, total("xinhua-1", "plastics", "residue", 740_000, 1), total("weidong-1", "glass", "transfer", 12_480_000, 1))...)
}

func kind(name string, emitted, lost, pending int) object {
	return object{"kind": name, "emitted": emitted, "journaled": emitted, "in_ledger": emitted - lost - pending, "lost": lost, "duplicated": 0, "altered": 0, "invented": 0, "pending": pending}
}

func auditOf(lost int) object {
	kinds := []object{kind("bale", 412, 0, 0), kind("belt", 5210, 0, 0), kind("device", 22, 0, 0), kind("opened", 3, 0, 0),
		kind("operator", 388, 0, 1), kind("ticket", 380, lost, 0), kind("weighing", 771, 0, 0)}
	faults := []object{}
	if lost > 0 {
		faults = append(faults, object{"code": "confirmed-lost", "site": "xinhua-1", "with": object{"kind": "ticket", "passage": "4be1"}},
			object{"code": "bale-differs", "site": "weidong-1", "with": object{"number": "42", "device": "baler-1", "said": "410 kg", "material": "paper/occ", "mass": "412 kg", "load": "paper/occ"}},
			object{"code": "tonnes", "site": "", "with": object{"flow": "sorted", "category": "paper", "truth": "821", "ledger": "820.999"}})
	}
	return object{"at": now.Format(time.RFC3339), "final": false, "exact": lost == 0, "faults": faults,
		"sites":  []object{{"site": "xinhua-1", "kinds": kinds}, {"site": "weidong-1", "kinds": kinds}},
		"tonnes": []object{{"category": "steel", "flow": "collected", "truth_kg": 643280, "ledger_kg": 643280}, {"category": "paper", "flow": "sorted", "truth_kg": 57033.5, "ledger_kg": 57033.5}}}
}

// fillCity sends one of everything.
func fillCity(s *script) {
	s.send("live", liveValues("12.50"))
	s.send("machines", object{"xinhua-1": []object{{"device": "weighbridge-1", "name": "1号地磅", "english": "Weighbridge 1"}, {"device": "baler-2", "name": "2号打包机", "english": ""}}})
	s.send("sites", siteStates())
	s.send("totals", fullDay())
	s.send("hour", []object{total("xinhua-1", "steel", "collected", 37_420_000, 4), total("xinhua-1", "paper", "sorted", 1, 9)})
	s.send("audit", auditOf(0))
}

// otherHost is an address of this machine that is not the page's: nobody listens there.
func otherHost(t *testing.T) string {
	t.Helper()
	p, err := port.Reserve()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return fmt.Sprintf("http://%s/", p.Address())
}
