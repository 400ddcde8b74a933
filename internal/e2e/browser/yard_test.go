package browser_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"steelyard/edge/hmi"
	"steelyard/edge/journal"
	"steelyard/edge/meaning"
	"steelyard/firmware-bridge/device"
	"steelyard/internal/material"
	"steelyard/internal/record"
	"steelyard/internal/unit"
)

// yard is a site in memory under the real pages and the real rules: its decks show what the test
// puts on them, and its journal is a counter.
type yard struct {
	t    *testing.T
	menu *material.Catalogue

	mu      sync.Mutex // guards the fields below
	site    *meaning.Site
	on      map[string]device.Weight // what each indicator shows now; absent: it is silent
	n       uint64
	problem error  // why nothing was recorded
	cloud   string // why the cloud refuses
	refuse  error  // why the journal takes nothing
	down    bool
	swallow int // answers to acts that are lost on the way after the act was done
}

const journalID = "9f3a5c0d71e84b22a6c0d1e2f3a4b5c6"

// openYard serves a yard with some decks and keeps its indicators sending until the test ends.
func openYard(t *testing.T, decks ...string) (*yard, string) {
	t.Helper()
	menu, err := material.Open("")
	if err != nil {
		t.Fatal(err)
	}
	c := meaning.Config{Material: func(name string, at time.Time) error {
		_, err := menu.Category(name, at)
		return err
	}}
	for _, name := range decks {
		c.Decks = append(c.Decks, meaning.Deck{Device: name, Division: 20 * unit.Kilogram, Min: 400 * unit.Kilogram, Max: 60 * unit.Tonne, Unit: unit.KG, Window: time.Second})
	}
	names := map[string]hmi.Name{}
	for i, name := range decks {
		names[name] = hmi.Name{ZH: fmt.Sprintf("%d号地磅", i+1), EN: fmt.Sprintf("Weighbridge %d", i+1)}
	}
	y := &yard{t: t, menu: menu, site: meaning.New(c), on: map[string]device.Weight{}}
	handler := hmi.New(hmi.Agent{Site: "xinhua-1", Name: "新华区绿色分拣中心", Names: names, Hosts: []string{"weigh.example"}, View: y.look, Do: y.act, Journal: y.journal, Materials: y.materials, Log: slog.New(slog.DiscardHandler)})
	url := serve(t, y.gate(handler), nil)
	ctx, stop := context.WithCancel(context.Background())
	var sending sync.WaitGroup
	sending.Go(func() { y.send(ctx) })
	sending.Go(func() {
		if err := handler.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		stop()
		sending.Wait()
	})
	return y, url
}

// gate is the edge's server: it can be gone, and it can die between an act and its answer.
func (y *yard) gate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		y.mu.Lock()
		down, swallow := y.down, r.Method == http.MethodPost && y.swallow > 0
		if swallow {
			y.swallow--
		}
		y.mu.Unlock()
		if down {
			panic(http.ErrAbortHandler)
		}
		if swallow {
			next.ServeHTTP(nowhere{http.Header{}}, r)
			panic(http.ErrAbortHandler)
		}
		// A connection that is open when the edge goes down is broken within a moment.
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		go y.breakWhenDown(ctx, cancel)
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

func (y *yard) breakWhenDown(ctx context.Context, cancel func()) {
	y.every(ctx, 20*time.Millisecond, func(y *yard) {
		if y.down {
			cancel()
		}
	})
}

// every does something with the yard again and again until ctx ends.
func (y *yard) every(ctx context.Context, period time.Duration, do func(*yard)) {
	tick := time.NewTicker(period)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		y.set(do)
	}
}

// nowhere is a connection whose other end is gone.
type nowhere struct{ header http.Header }

func (n nowhere) Header() http.Header         { return n.header }
func (n nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (n nowhere) WriteHeader(int)             {}

// send lets every indicator send ten frames a second.
func (y *yard) send(ctx context.Context) {
	i := 0
	y.every(ctx, 100*time.Millisecond, func(y *yard) {
		i++
		for name, w := range y.on {
			w.Device, w.At, w.Raw = name, time.Now(), fmt.Appendf(nil, "%s %d", w.Value, i%2)
			facts := y.site.Weight(w)
			if y.refuse == nil {
				y.apply(facts)
			} else if len(facts) > 0 {
				y.problem = y.refuse
			}
		}
	})
}

// apply journals facts. The caller holds mu.
func (y *yard) apply(facts []record.Fact) []meaning.Entry {
	var all []meaning.Entry
	for _, f := range facts {
		y.n++
		e := meaning.Entry{Ref: record.Ref{Journal: journalID, N: y.n}, Hash: fmt.Sprintf("%064x", y.n*0x9e3779b97f4a7c15), At: f.At, Device: f.Device, Body: f.Body}
		y.site.Apply(e)
		all = append(all, e)
	}
	return all
}

// show puts a weight on a deck's display.
func (y *yard) show(deck string, kilograms int64, stable device.Tri) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.on[deck] = device.Weight{Value: unit.Decimal{Coef: kilograms}, HasValue: true, Unit: unit.KG, Stable: stable, Range: device.RangeOK}
}

// display makes the indicator of a deck send something particular.
func (y *yard) display(deck string, w device.Weight) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.on[deck] = w
}

func (y *yard) silence(deck string) {
	y.mu.Lock()
	defer y.mu.Unlock()
	delete(y.on, deck)
}

func (y *yard) set(change func(*yard)) {
	y.mu.Lock()
	defer y.mu.Unlock()
	change(y)
}

func (y *yard) look(_ context.Context, look func(*meaning.Site)) error {
	y.mu.Lock()
	defer y.mu.Unlock()
	look(y.site)
	return nil
}

func (y *yard) act(_ context.Context, act func(*meaning.Site) ([]record.Fact, error)) ([]meaning.Entry, error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	facts, err := act(y.site)
	if err != nil {
		return nil, err
	}
	if y.refuse != nil && len(facts) > 0 {
		y.problem = y.refuse
		return nil, y.refuse
	}
	return y.apply(facts), nil
}

func (y *yard) journal() hmi.JournalState {
	y.mu.Lock()
	defer y.mu.Unlock()
	state := hmi.JournalState{Name: "新华区绿色分拣中心", English: "Xinhua sorting centre", Journal: journalID, Last: y.n, Receipted: y.n - min(y.n, 2), Backlog: min(y.n, 2), Bytes: 48 << 20, Budget: 2 << 30,
		OldestMS: time.Now().Add(-4 * time.Second).Truncate(10 * time.Second).UnixMilli(), Link: "online", Clock: "synced", Version: "1.4.2"}
	if y.problem != nil {
		state.Problem, state.ProblemCode = y.problem.Error(), string(journal.CauseOf(y.problem))
	} else if y.cloud != "" {
		state.Problem, state.ProblemCode = y.cloud, "cloud"
	}
	return state
}

func (y *yard) materials() []hmi.Material {
	var all []hmi.Material
	for _, m := range y.menu.Materials(time.Now()) {
		all = append(all, hmi.Material{Code: m.Code, ZH: m.Zh, EN: m.En})
	}
	return all
}

// passages and tickets are what is really recorded.
func (y *yard) passages() []meaning.Passage {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.site.Passages()
}

func (y *yard) tickets() []meaning.ClosedPassage {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.site.Tickets()
}

// weighed has a lorry weighed in, and out when out is not 0, without the page.
func (y *yard) weighed(deck, vehicle, direction, menu string, in, out int64) {
	y.t.Helper()
	y.drive(deck, in, func(now time.Time) ([]record.Fact, error) {
		facts, _, err := y.site.WeighIn(now, meaning.WeighIn{Passage: "passage-" + vehicle, Deck: deck, Operator: "王芳", Vehicle: vehicle, Direction: direction, Material: menu, Counterparty: "收集点-07"})
		return facts, err
	})
	if out == 0 {
		return
	}
	destination := ""
	if direction == record.Outbound {
		destination = record.ToReuse
	}
	y.drive(deck, out, func(now time.Time) ([]record.Fact, error) {
		facts, _, err := y.site.WeighOut(now, meaning.WeighOut{Passage: "passage-" + vehicle, Deck: deck, Operator: "王芳", Destination: destination})
		return facts, err
	})
}

// drive lets a load stand on an empty deck until it is weighed, with frames of the last seconds,
// and acts.
func (y *yard) drive(deck string, kilograms int64, act func(time.Time) ([]record.Fact, error)) {
	y.t.Helper()
	y.mu.Lock()
	defer y.mu.Unlock()
	at := time.Now()
	frame := func(kg int64) {
		at = at.Add(100 * time.Millisecond)
		y.apply(y.site.Weight(device.Weight{Device: deck, At: at, Value: unit.Decimal{Coef: kg}, HasValue: true, Unit: unit.KG, Stable: device.Yes, Range: device.RangeOK, Raw: fmt.Append(nil, kg)}))
	}
	frame(0)
	for range 20 {
		frame(kilograms)
	}
	facts, err := act(at)
	if err != nil {
		y.t.Fatal(err)
	}
	y.apply(facts)
	frame(0)
}

var errDisk = fmt.Errorf("append to segment 000003: %w: free space on the data disk", syscall.ENOSPC)
