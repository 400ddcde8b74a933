package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"steelyard/internal/record"
	"steelyard/internal/unit"
)

// Weighbridge is a deck, its indicator, the lorries that come to it and the operator at its window.
type Weighbridge struct {
	Device    string
	Deck      *Deck
	Indicator *Indicator
	Line      Line

	cfg      SiteConfig
	fleet    *Fleet
	timing   *rand.Rand // when lorries come; not the physics
	next     time.Time  // when the next one comes
	clock    *clock
	operator *operator
	truth    *Truth
	log      *slog.Logger
	closing  chan struct{} // closed when no new lorry may come
	rested   chan struct{} // closed when none is left

	mu      sync.Mutex // guards what follows, for the display
	state   string
	vehicle string
	visits  int64
	yard    []onSite
	tickets int64
	refused int64
}

// onSite is a lorry between its two weighings.
type onSite struct {
	lorry   Lorry
	passage string
	first   unit.Mass // shown when it came
	due     time.Time // done with unloading or loading
}

// mostOnSite is how many lorries are let in at once.
const mostOnSite = 6

// Words of the display.
const (
	deckEmpty    = "empty"
	deckEntering = "driving on"
	deckStanding = "standing"
	deckLeaving  = "driving off"
)

// run lets lorries come and go until ctx ends.
func (w *Weighbridge) run(ctx context.Context) {
	for ctx.Err() == nil {
		switch {
		case w.serve(ctx):
		case closed(w.closing):
			close(w.rested)
			return
		default:
			w.clock.pause(ctx, machineTick)
		}
	}
}

// serve weighs the lorry whose turn it is, and reports whether there was one.
func (w *Weighbridge) serve(ctx context.Context) bool {
	now := w.clock.now()
	if l, ok := w.returning(now); ok {
		w.weighOut(ctx, l)
		return true
	}
	if closed(w.closing) || w.onSite() >= mostOnSite || now.Before(w.next) {
		return false
	}
	w.next = now.Add(w.gap())
	w.weighIn(ctx, w.fleet.Next())
	return true
}

func closed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// gap is the real time until the next lorry comes.
func (w *Weighbridge) gap() time.Duration {
	return time.Duration(w.timing.ExpFloat64() * float64(w.cfg.Arrivals) / w.cfg.Speed)
}

func (w *Weighbridge) onSite() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.yard)
}

// returning takes the lorry out of the yard that has been ready for longest.
func (w *Weighbridge) returning(now time.Time) (onSite, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	first := -1
	for i, l := range w.yard {
		if !l.due.After(now) && (first < 0 || l.due.Before(w.yard[first].due)) {
			first = i
		}
	}
	if first < 0 {
		return onSite{}, false
	}
	l := w.yard[first]
	w.yard = slices.Delete(w.yard, first, first+1)
	return l, true
}

// weighIn weighs a lorry that comes.
func (w *Weighbridge) weighIn(ctx context.Context, l Lorry) {
	passage := newPassage()
	shown := rounded(l.First.Mass(), w.Deck.cfg.Division)
	w.visit(ctx, l, l.First, passage, func() error {
		if _, err := w.operator.look(ctx, w.Device); err != nil {
			return err
		}
		var answer weighedIn
		err := w.operator.press(ctx, "/api/weigh-in", weighIn{
			Passage: passage, Deck: w.Device, Operator: w.operator.name, Vehicle: l.Vehicle,
			Direction: l.Direction, Material: l.Material, Counterparty: l.Counterparty,
		}, &answer)
		if err != nil {
			return w.refuse(passage, l, err)
		}
		if answer.Mass != shown {
			w.log.Error("weigh-in has another mass than the display", "mass", answer.Mass.KG(), "shown", shown.KG(), "vehicle", l.Vehicle)
		}
		w.mu.Lock()
		w.yard = append(w.yard, onSite{lorry: l, passage: passage, first: shown, due: w.clock.now().Add(w.inside(l))})
		w.mu.Unlock()
		return w.truth.Append(Event{
			Kind: OperatorEvent, Device: w.Device, Key: passage, Mass: shown,
			Journal: answer.Entry.Journal, N: answer.Entry.N, Hash: answer.Entry.Hash,
			Weighing: record.Ref{Journal: answer.Weighing.Journal, N: answer.Weighing.N},
			Vehicle:  l.Vehicle, Direction: l.Direction, Material: l.Material,
		})
	})
}

func (w *Weighbridge) inside(l Lorry) time.Duration {
	return time.Duration(float64(min(l.Inside, w.cfg.Inside)) / w.cfg.Speed)
}

// weighOut weighs a lorry that goes.
func (w *Weighbridge) weighOut(ctx context.Context, s onSite) {
	l := s.lorry
	last := rounded(l.Last.Mass(), w.Deck.cfg.Division)
	gross, tare := max(s.first, last), min(s.first, last)
	w.visit(ctx, l, l.Last, s.passage, func() error {
		if _, err := w.operator.look(ctx, w.Device); err != nil {
			return err
		}
		parts := l.parts(gross-tare, w.Deck.cfg.Division)
		ask := weighOut{Passage: s.passage, Deck: w.Device, Operator: w.operator.name, Destination: l.Destination, Parts: []record.Part{}}
		if len(parts) > 1 {
			ask.Parts = parts
		}
		var answer weighedOut
		if err := w.operator.press(ctx, "/api/weigh-out", ask, &answer); err != nil {
			return w.refuse(s.passage, l, err)
		}
		if answer.Gross != gross || answer.Tare != tare || answer.Net != gross-tare {
			w.log.Error("ticket has other masses than the display", "number", answer.Number,
				"mass", answer.Net.KG(), "shown", (gross - tare).KG(), "vehicle", l.Vehicle)
		}
		w.mu.Lock()
		w.tickets++
		w.mu.Unlock()
		return w.truth.Append(Event{
			Kind: TicketEvent, Device: w.Device, Key: s.passage, Number: answer.Number,
			Journal: answer.Entry.Journal, N: answer.Entry.N, Hash: answer.Entry.Hash,
			Weighing: record.Ref{Journal: answer.Weighing.Journal, N: answer.Weighing.N},
			Mass:     gross - tare, Gross: gross, Tare: tare, Parts: parts,
			Vehicle: l.Vehicle, Direction: l.Direction, Destination: l.Destination, Material: l.Material,
		})
	})
}

// refuse writes down that the edge would not have it; the lorry drives away without paper.
func (w *Weighbridge) refuse(passage string, l Lorry, err error) error {
	var r *refusal
	if !errors.As(err, &r) {
		return err
	}
	w.log.Error("lorry sent away", "vehicle", l.Vehicle, "passage", passage, "err", err)
	w.mu.Lock()
	w.refused++
	w.mu.Unlock()
	return w.truth.Append(Event{Kind: RefusedEvent, Device: w.Device, Key: passage, Vehicle: l.Vehicle, Detail: r.Code})
}

// visit drives a lorry onto the deck, lets the operator work while it stands, and off again.
func (w *Weighbridge) visit(ctx context.Context, l Lorry, p Pass, passage string, work func() error) {
	w.mu.Lock()
	w.visits++
	key := fmt.Sprintf("visit-%d", w.visits)
	w.mu.Unlock()
	shown := rounded(p.Mass(), w.Deck.cfg.Division)

	from := w.clock.now()
	w.show(deckEntering, l.Vehicle)
	w.Deck.Enter(p, from)
	w.clock.pause(ctx, p.Rest())
	w.show(deckStanding, l.Vehicle)
	standing := w.clock.now()
	err := work()
	w.clock.pause(ctx, w.cfg.Rest-w.clock.now().Sub(standing))
	if ctx.Err() != nil {
		return // the site ends; nobody will see this lorry leave
	}
	if err != nil {
		w.log.Error("weighbridge", "device", w.Device, "err", err)
	}
	w.show(deckLeaving, l.Vehicle)
	w.Deck.Leave(w.clock.now())
	w.clock.pause(ctx, p.On())
	w.Deck.Clear()
	w.show(deckEmpty, "")
	_ = w.truth.Append(Event{ // the truth keeps its failure, and the site ends with it
		Kind: WeighingEvent, Device: w.Device, Key: key, Passage: passage, Vehicle: l.Vehicle,
		FromUS: from.UnixMicro(), ToUS: w.clock.now().UnixMicro(),
		Mass: shown, Text: unit.Decimal{Coef: int64(shown / unit.Kilogram)}.String(),
	})
	w.clock.pause(ctx, w.cfg.Between)
}

func (w *Weighbridge) show(state, vehicle string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state, w.vehicle = state, vehicle
}
