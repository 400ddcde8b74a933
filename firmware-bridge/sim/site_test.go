package sim_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/simonvetter/modbus"

	"steelyard/firmware-bridge/sim"
	"steelyard/internal/record"
	"steelyard/internal/unit"
)

// fakeEdge reads the indicators itself and keeps tickets as an edge does, with an idempotency key;
// and it fails as edges fail: before it has written down, and after.
type fakeEdge struct {
	mu       sync.Mutex
	decks    map[string]*fakeDeck
	open     map[string]map[string]any // weigh-ins by passage
	tickets  map[string]map[string]any
	operator map[string]map[string]any
	n        uint64
	requests int
	refuse   string // code of a problem that never passes
}

type fakeDeck struct {
	mass   unit.Mass
	frames int       // so many have shown mass without a break
	at     time.Time // of the last frame
	armed  bool      // it was empty since the last weighing
}

// The fake edge takes a weight that so many frames have shown, the last of them just now.
const (
	stableFrames = 6
	staleAfter   = 500 * time.Millisecond
)

func newFakeEdge(t *testing.T, ends []sim.WeighbridgeEndpoint) (*fakeEdge, string) {
	t.Helper()
	e := &fakeEdge{decks: map[string]*fakeDeck{}, open: map[string]map[string]any{}, tickets: map[string]map[string]any{}, operator: map[string]map[string]any{}}
	for _, end := range ends {
		e.decks[end.Device] = &fakeDeck{}
		port := dial(t, end.Port)
		done := make(chan bool)
		t.Cleanup(func() { port.Close(); <-done })
		go func() {
			defer close(done)
			e.read(end, port)
		}()
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/decks", e.showDecks)
	mux.HandleFunc("POST /api/weigh-in", e.post(e.weighIn))
	mux.HandleFunc("POST /api/weigh-out", e.post(e.weighOut))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return e, server.URL + "/" // a slash too many is a person's mistake
}

func (e *fakeEdge) read(end sim.WeighbridgeEndpoint, port io.Reader) {
	length, decode := 12, decodeYaohua
	if end.Dialect == sim.Toledo {
		length, decode = 17, decodeToledo
		if end.Checksum == sim.MT7 {
			length = 18
		}
	}
	var pending []byte
	buf := make([]byte, 256)
	for {
		n, err := port.Read(buf)
		if err != nil {
			return
		}
		pending = append(pending, buf[:n]...)
		for len(pending) >= length {
			w, ok := decode(pending[:length])
			if !ok {
				pending = pending[1:]
				continue
			}
			pending = pending[length:]
			e.mu.Lock()
			d := e.decks[end.Device]
			if m := unit.Mass(w) * unit.Kilogram; m != d.mass || time.Since(d.at) > staleAfter {
				d.mass, d.frames = m, 0
			}
			d.frames++
			d.at = time.Now()
			d.armed = d.armed || d.mass == 0
			e.mu.Unlock()
		}
	}
}

func (d *fakeDeck) mayWeigh() bool {
	return d.armed && d.mass >= 400*unit.Kilogram && d.frames >= stableFrames && time.Since(d.at) < staleAfter
}

func (e *fakeEdge) showDecks(w http.ResponseWriter, _ *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var decks []map[string]any
	for device, d := range e.decks {
		decks = append(decks, map[string]any{
			"device": device, "state": "loaded", "text": d.mass.KG(), "unit": "kg", "mass": d.mass,
			"age_ms": 90, "weighing": nil, "may_weigh": d.mayWeigh(), "why": "",
		})
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"decks": decks})
}

// problem answers with problem+json.
func problem(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"status": status, "code": code, "title": code})
}

// post runs a posting with the failures of an edge that is being killed: every third request fails
// before it was written down, every third after.
func (e *fakeEdge) post(do func(w http.ResponseWriter, ask map[string]any) map[string]any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var ask map[string]any
		if err := json.NewDecoder(r.Body).Decode(&ask); err != nil {
			problem(w, http.StatusBadRequest, "not-json")
			return
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		e.requests++
		if e.refuse != "" {
			problem(w, http.StatusUnprocessableEntity, e.refuse)
			return
		}
		mood := e.requests % 3
		if mood == 1 {
			problem(w, http.StatusServiceUnavailable, "starting")
			return
		}
		answer := do(w, ask)
		switch {
		case answer == nil:
		case mood == 2: // written down, and killed before the answer
			panic(http.ErrAbortHandler)
		default:
			w.WriteHeader(http.StatusCreated)
			_ = json.NewEncoder(w).Encode(answer)
		}
	}
}

func (e *fakeEdge) entry() map[string]any {
	e.n++
	return map[string]any{"journal": "9f", "n": e.n, "hash": fmt.Sprintf("%064d", e.n)}
}

// weigh takes the weight off a deck, or answers that it may not.
func (e *fakeEdge) weigh(w http.ResponseWriter, device any) (unit.Mass, bool) {
	d := e.decks[device.(string)]
	if d == nil || !d.mayWeigh() {
		problem(w, http.StatusConflict, "may-not-weigh")
		return 0, false
	}
	d.armed = false
	return d.mass, true
}

func (e *fakeEdge) weighIn(w http.ResponseWriter, ask map[string]any) map[string]any {
	passage := ask["passage"].(string)
	if a, ok := e.operator[passage]; ok {
		return a
	}
	mass, ok := e.weigh(w, ask["deck"])
	if !ok {
		return nil
	}
	ask["mass"] = mass
	e.open[passage] = ask
	weighing := e.entry()
	e.operator[passage] = map[string]any{"passage": passage, "entry": e.entry(), "weighing": weighing, "mass": mass, "text": mass.KG(), "unit": "kg"}
	return e.operator[passage]
}

func (e *fakeEdge) weighOut(w http.ResponseWriter, ask map[string]any) map[string]any {
	passage := ask["passage"].(string)
	if a, ok := e.tickets[passage]; ok {
		return a
	}
	in, ok := e.open[passage]
	if !ok {
		problem(w, http.StatusNotFound, "no-such-passage")
		return nil
	}
	mass, ok := e.weigh(w, ask["deck"])
	if !ok {
		return nil
	}
	first := in["mass"].(unit.Mass)
	gross, tare := max(first, mass), min(first, mass)
	weighing := e.entry()
	e.tickets[passage] = map[string]any{
		"number": fmt.Sprintf("T-%06d", len(e.tickets)+1), "entry": e.entry(), "weighing": weighing,
		"gross": gross, "tare": tare, "net": gross - tare, "parts": ask["parts"], "destination": ask["destination"],
		"direction": in["direction"], "vehicle": in["vehicle"], "material": in["material"],
	}
	return e.tickets[passage]
}

func startSite(t *testing.T, cfg sim.SiteConfig) *sim.Site {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	cfg.Name = "xinhua-1"
	cfg.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	site, err := sim.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := site.Close(); err != nil {
			t.Error(err)
		}
	})
	return site
}

// A shift at fifty times the speed of life: what an edge made of it is what happened.
func TestAShift(t *testing.T) {
	t.Parallel()
	site := startSite(t, sim.SiteConfig{
		Seed: 42, Speed: 50, Weighbridges: 2, Belts: 2, Balers: 2,
		Arrivals: 5 * time.Minute, Rest: 500 * time.Millisecond, Between: 500 * time.Millisecond, Modulus: 10_000,
	})
	ends := site.Endpoints()
	edge, url := newFakeEdge(t, ends.Weighbridges)
	site.Connect(url)

	// The Modbus side of the edge: two belts on one serial line, each baler on its own port.
	bus := open(t, strings.Split(ends.Belts[0].Link, "?")[0], 1)
	standing, raw := make([]int64, 2), make([]int64, 2)
	for i, end := range ends.Belts { // from the first line, as a belt may wrap before the first poll
		first := readTruth(t, site.Truth())
		first = slices.DeleteFunc(first, func(e sim.Event) bool { return e.Device != end.Device })
		standing[i], raw[i] = first[0].Counts, first[0].Raw
	}
	pollBelts := func() {
		for i, end := range ends.Belts {
			if err := bus.SetUnitId(end.Unit); err != nil {
				t.Error(err)
			}
			w, err := bus.ReadRegisters(0, sim.BeltRegisters, modbus.HOLDING_REGISTER)
			if err != nil {
				t.Error(err)
				return
			}
			now := int64(u32(w, 12))
			standing[i] += (now - raw[i] + end.Modulus) % end.Modulus
			raw[i] = now
		}
	}
	balers := make([]*modbus.ModbusClient, 2)
	accepted := make(map[string]unit.Mass)
	before := make([][]uint16, 2)
	sequence := make([]uint32, 2)
	pollBalers := func() {
		for i, end := range ends.Balers {
			if balers[i] == nil {
				balers[i] = open(t, end.Link, end.Unit)
			}
			w, err := balers[i].ReadRegisters(0, sim.BalerRegisters, modbus.HOLDING_REGISTER)
			if err != nil {
				t.Error(err)
				return
			}
			if before[i] == nil {
				sequence[i] = u32(w, 10)
			} else if s := u32(w, 10); s == u32(before[i], 10) && s != sequence[i] {
				sequence[i] = s
				accepted[fmt.Sprint(end.Device, " ", s)] = unit.Mass(u32(before[i], 12))
			}
			before[i] = w
		}
	}

	poll := func() { pollBelts(); pollBalers(); time.Sleep(200 * time.Millisecond) }
	count := func() (tickets int64) {
		for _, w := range site.Snapshot().Weighbridges {
			tickets += w.Tickets
		}
		return tickets
	}
	await(t, "two tickets", func() bool { poll(); return count() >= 2 })
	quiet := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		quiet <- site.Quiesce(ctx)
	}()
	for done := false; !done; {
		poll()
		select {
		case err := <-quiet:
			if err != nil {
				t.Fatal(err)
			}
			done = true
		default:
		}
	}
	poll()
	poll()

	snapshot := site.Snapshot()
	for _, w := range snapshot.Weighbridges {
		if w.State != "empty" || w.Shown != "0" { // lorries that are not ready stay in the yard
			t.Errorf("not at rest: %+v", w)
		}
	}
	for _, b := range snapshot.Belts {
		if b.State != "stopped" {
			t.Errorf("not at rest: %+v", b)
		}
	}
	if err := site.Close(); err != nil {
		t.Fatal(err)
	}
	truth := readTruth(t, site.Truth())
	for _, d := range compare(edge, truth, ends, standing, accepted) {
		t.Error(d)
	}
	t.Logf("%d tickets, %d bales, %d requests to the edge", len(edge.tickets), len(accepted), edge.requests)

	// The comparison sees a line that is missing, told twice, or off by one division.
	for _, kind := range []sim.EventKind{sim.WeighingEvent, sim.OperatorEvent, sim.TicketEvent, sim.BaleEvent, sim.BeltEvent} {
		at := len(truth) - 1
		for truth[at].Kind != kind || kind == sim.BeltEvent && truth[at].Device != "belt-1" {
			at--
		}
		wrong := map[string]func([]sim.Event) []sim.Event{
			"missing": func(e []sim.Event) []sim.Event { return slices.Delete(e, at, at+1) },
			"twice":   func(e []sim.Event) []sim.Event { return append(e, e[at]) },
			"altered": func(e []sim.Event) []sim.Event {
				e[at].Mass += division
				e[at].Counts++
				return e
			},
		}
		for name, spoil := range wrong {
			if kind == sim.BeltEvent && name == "twice" || kind == sim.BaleEvent && name == "twice" {
				continue // a standing may be told twice, and a bale has its number
			}
			if kind == sim.BeltEvent && name == "missing" && truth[at].Counts == truth[lastBelt(truth, at)].Counts {
				continue
			}
			if len(compare(edge, spoil(slices.Clone(truth)), ends, standing, accepted)) == 0 {
				t.Errorf("%s %s is not noticed", kind, name)
			}
		}
	}
}

// lastBelt is the line before at that tells of belt-1.
func lastBelt(truth []sim.Event, at int) int {
	for at--; truth[at].Device != "belt-1"; at-- {
	}
	return at
}

// compare tells where what the edge has differs from the truth.
func compare(edge *fakeEdge, truth []sim.Event, ends sim.Endpoints, standing []int64, bales map[string]unit.Mass) (wrong []string) {
	edge.mu.Lock()
	defer edge.mu.Unlock()
	fault := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	wantBales, gotStanding := make(map[string]unit.Mass), make(map[string]int64)
	weighings, operators, tickets := 0, 0, 0
	for _, e := range truth {
		switch e.Kind {
		case sim.WeighingEvent:
			weighings++
			if e.Mass%division != 0 || e.Text != e.Mass.KG() || e.FromUS >= e.ToUS || e.ToUS > e.AtUS {
				fault("weighing %+v", e)
			}
		case sim.OperatorEvent:
			operators++
			in := edge.operator[e.Key]
			if in == nil || in["mass"] != e.Mass || in["entry"].(map[string]any)["n"] != e.N || in["weighing"].(map[string]any)["n"] != e.Weighing.N {
				fault("weigh-in %+v, the edge has %v", e, in)
			}
		case sim.TicketEvent:
			tickets++
			has := edge.tickets[e.Key]
			if has == nil {
				fault("the edge has no ticket %s", e.Key)
				continue
			}
			if has["number"] != e.Number || has["gross"] != e.Gross || has["tare"] != e.Tare || has["net"] != e.Mass ||
				has["direction"] != e.Direction || has["destination"] != e.Destination || has["vehicle"] != e.Vehicle {
				fault("ticket %+v, the edge has %v", e, has)
			}
			sum := unit.Mass(0)
			for _, p := range e.Parts {
				sum += p.Mass
			}
			if sum != e.Mass || (e.Direction == record.Outbound) != (e.Destination != "") {
				fault("ticket %+v", e)
			}
			if e.Parts[0].Material != has["material"] {
				fault("ticket of %s, weighed in as %s", e.Parts[0].Material, has["material"])
			}
		case sim.BaleEvent:
			wantBales[e.Device+" "+e.Key] = e.Mass
		case sim.BeltEvent:
			gotStanding[e.Device] = e.Counts
		case sim.RefusedEvent:
			fault("refused: %+v", e)
		}
	}
	if operators != len(edge.operator) || tickets != len(edge.tickets) || weighings != operators+tickets || tickets < 2 {
		fault("truth: %d weighings, %d weigh-ins, %d tickets; edge: %d weigh-ins, %d tickets",
			weighings, operators, tickets, len(edge.operator), len(edge.tickets))
	}
	if d := cmp.Diff(wantBales, bales); d != "" || len(bales) == 0 {
		fault("bales (-truth +edge):\n%s", d)
	}
	for i, end := range ends.Belts {
		if gotStanding[end.Device] != standing[i] {
			fault("%s stands at %d, the edge followed to %d", end.Device, gotStanding[end.Device], standing[i])
		}
	}
	return wrong
}

// An edge that says no for good sends the lorry away, and the truth tells.
func TestARefusedLorryLeavesWithoutPaper(t *testing.T) {
	t.Parallel()
	site := startSite(t, sim.SiteConfig{Seed: 1, Speed: 100, Weighbridges: 1, Rest: 200 * time.Millisecond, Between: 100 * time.Millisecond})
	edge, url := newFakeEdge(t, site.Endpoints().Weighbridges)
	edge.refuse = "unknown-material"
	site.Connect(url)
	await(t, "a refusal", func() bool { return site.Snapshot().Weighbridges[0].Refused > 0 })
	if err := site.Quiesce(t.Context()); err != nil {
		t.Fatal(err)
	}
	events := readTruth(t, site.Truth())
	if len(events) < 2 || events[0].Kind != sim.RefusedEvent || events[0].Detail != "unknown-material" || events[1].Kind != sim.WeighingEvent || events[1].Passage != events[0].Key {
		t.Errorf("truth %+v", events)
	}
}

// Without an edge the lorry stands and waits; Quiesce says who does not rest, and Close ends it all.
func TestALorryWaitsForItsEdge(t *testing.T) {
	t.Parallel()
	site := startSite(t, sim.SiteConfig{Seed: 3, Speed: 100, Weighbridges: 1, Belts: 1, Balers: 1, Rest: time.Millisecond})
	await(t, "a lorry that stands", func() bool { return site.Snapshot().Weighbridges[0].State == "standing" })
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the shift is over"))
	err := site.Quiesce(ctx)
	if err == nil || err.Error() != "site xinhua-1: weighbridge-1 does not rest: the shift is over" {
		t.Errorf("got %v", err)
	}
	port := site.Endpoints().Weighbridges[0].Port
	if err := site.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(port); err == nil {
		t.Error("the line is there after Close")
	}
}

// A site that starts again in its folder goes on counting, as machines do.
func TestASiteStartsAgainWhereItStood(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	look := func() (int64, uint32, int64) {
		site := startSite(t, sim.SiteConfig{Dir: dir, Seed: 5, Speed: 1000, Belts: 1, Balers: 1, Modulus: 1000})
		start := site.Snapshot()
		await(t, "movement", func() bool {
			now := site.Snapshot()
			return now.Balers[0].Bales > start.Balers[0].Bales && now.Belts[0].Counts > start.Belts[0].Counts
		})
		if err := site.Quiesce(t.Context()); err != nil {
			t.Fatal(err)
		}
		end := site.Snapshot()
		if err := site.Close(); err != nil {
			t.Fatal(err)
		}
		return start.Belts[0].Raw, start.Balers[0].Bales, end.Belts[0].Raw*1_000_000 + int64(end.Balers[0].Bales)
	}
	_, _, ended := look()
	raw, bales, _ := look()
	if got := raw*1_000_000 + int64(bales); got != ended {
		t.Errorf("starts at %d, ended at %d", got, ended)
	}
}

func TestMistakenSitesAreRefused(t *testing.T) {
	for _, cfg := range []sim.SiteConfig{
		{}, {Name: "a", Speed: -1}, {Name: "a", Speed: 1e9}, {Name: "a", Modulus: 1 << 33}, {Name: "a", Belts: 300}, {Name: "a", Balers: -1},
	} {
		cfg.Dir = t.TempDir()
		if site, err := sim.Start(t.Context(), cfg); err == nil {
			t.Errorf("started %+v", cfg)
			site.Close()
		}
	}
}
