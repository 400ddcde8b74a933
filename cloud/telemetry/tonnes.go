package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"steelyard/cloud/rollup"
)

// TonnesConfig says what Tonnes reads and where it keeps its place.
type TonnesConfig struct {
	// Next returns the postings after a place in their order, at most limit of them, in that order, or
	// rollup.ErrOtherOrder. It must not give a posting before all that come before it can be seen: a
	// reader never goes back.
	Next func(ctx context.Context, after rollup.Place, limit int) ([]rollup.Posting, error)

	// Newest returns the place of the newest posting; nil when nobody asks how far behind we are.
	Newest func(ctx context.Context) (int64, error)

	// Load and Save keep the reader's place. It belongs to one store and to one order of postings:
	// for another store, or an emptied one, start at the zero Place.
	Load func(ctx context.Context) (rollup.Place, error)
	Save func(ctx context.Context, place rollup.Place) error

	Store Store
	Sites []string        // whose tonnage is dropped from the store before it is written from the beginning
	Every time.Duration   // look for new postings; 0 means 2 s
	Wake  <-chan struct{} // look at once; nil when nobody calls
	First time.Duration   // first pause after a failure, doubled up to 60 times as much; 0 means 1 s
	Log   *slog.Logger
}

// Tonnes follows the postings and puts them into the store, in order. After an outage it goes on
// where it was; what it wrote but did not note, it writes again, which changes nothing. When the
// ledger is no longer the one in which its place was counted, it begins again.
type Tonnes struct {
	config TonnesConfig

	mu    sync.Mutex
	state Behind
}

// Behind says how far the store is behind the ledger.
type Behind struct {
	Place    int64     // everything up to here is in the store
	Newest   int64     // place of the newest posting; 0 when that is not known
	Written  int64     // postings since the start, written again included
	Unkept   int64     // postings that can't be stamped; their tonnage is in the ledger only
	CaughtUp bool      // nothing was left at the last look
	Since    time.Time // of the first failure in a row; zero while all is well
	Why      string    // the newest failure; empty while all is well
}

// pageSize is the number of postings put at once.
const pageSize = 2000

// NewTonnes makes the reader; Run reads.
func NewTonnes(c TonnesConfig) *Tonnes {
	if c.Every == 0 {
		c.Every = 2 * time.Second
	}
	if c.First == 0 {
		c.First = time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Tonnes{config: c}
}

// Behind says how far the store is behind the ledger.
func (t *Tonnes) Behind() Behind {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.state
}

// Run reads until ctx ends. A store that is down is waited for; Run gives up on nothing.
func (t *Tonnes) Run(ctx context.Context) error {
	fails := 0
	loaded, begun, place := false, false, rollup.Place{}
	for {
		var err error
		var more bool
		if !loaded {
			if place, err = t.config.Load(ctx); err == nil {
				loaded = true
			} else {
				err = fmt.Errorf("cursor: %w", err)
			}
		}
		if err == nil && place == (rollup.Place{}) && !begun {
			if err = t.config.Store.ForgetTonnes(ctx, t.config.Sites); err == nil {
				begun = true
			} else {
				err = fmt.Errorf("begin: %w", err)
			}
		}
		if err == nil {
			place, more, err = t.page(ctx, place)
		}
		if errors.Is(err, rollup.ErrOtherOrder) {
			t.config.Log.Warn("ledger is not the one the curves were made from: writing tonnage again from its beginning", "number", place.Seq)
			place, begun, more, err = rollup.Place{}, false, true, nil
		}
		if ctx.Err() != nil {
			return nil
		}
		pause := t.config.Every
		if err != nil {
			pause = t.failed(fails, err)
			fails++
		} else {
			t.well(ctx, place.Seq, !more, fails)
			fails = 0
			if more {
				continue
			}
		}
		timer := time.NewTimer(pause)
		wake := t.config.Wake
		if err != nil {
			wake = nil // new postings do not bring the store back
		}
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// page brings one page of postings into the store and then notes the place. It returns the place
// to go on from, whatever failed.
func (t *Tonnes) page(ctx context.Context, place rollup.Place) (next rollup.Place, more bool, err error) {
	postings, err := t.config.Next(ctx, place, pageSize)
	if err != nil {
		return place, false, fmt.Errorf("postings after %d: %w", place.Seq, err)
	}
	if len(postings) == 0 {
		return place, false, nil
	}
	tonnes := make([]Tonne, 0, len(postings))
	unkept, last := int64(0), place
	for _, p := range postings {
		if p.Seq <= last.Seq {
			return place, false, fmt.Errorf("postings after %d: %d comes after %d", place.Seq, p.Seq, last.Seq)
		}
		last = p.Place()
		tonne, err := TonneOf(p)
		if err != nil {
			unkept++
			t.config.Log.Warn("posting is in the ledger but not in the curves", "site", p.Site, "number", p.Seq, "mass", p.Mass, "err", err)
			continue
		}
		tonnes = append(tonnes, tonne)
	}
	if err := t.config.Store.PutTonnes(ctx, tonnes); err != nil {
		return place, false, fmt.Errorf("postings %d to %d: %w", postings[0].Seq, last.Seq, err)
	}
	if err := t.config.Save(ctx, last); err != nil {
		return place, false, fmt.Errorf("cursor %d: %w", last.Seq, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.state.Written += int64(len(tonnes))
	t.state.Unkept += unkept
	return last, len(postings) == pageSize, nil
}

// failed notes a failure and says how long to wait: between half and all of a doubled pause, and
// never less than the store asked for.
func (t *Tonnes) failed(fails int, err error) time.Duration {
	pause := min(t.config.First<<min(fails, 6), 60*t.config.First)
	if _, wrong := errors.AsType[*MisconfiguredError](err); wrong {
		pause = min(pause, mendPauses*t.config.First)
	}
	pause = max(RetryAfter(err), pause/2+rand.N(pause/2+1))
	t.mu.Lock()
	defer t.mu.Unlock()
	if fails == 0 {
		t.state.Since = time.Now()
		t.config.Log.Error("tonnage does not reach the curves (the ledger is not affected)", "err", err)
	}
	t.state.Why, t.state.CaughtUp = err.Error(), false
	return pause
}

func (t *Tonnes) well(ctx context.Context, place int64, caughtUp bool, fails int) {
	newest, err := int64(0), error(nil)
	if t.config.Newest != nil {
		newest, err = t.config.Newest(ctx)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s := &t.state
	if fails > 0 {
		t.config.Log.Info("tonnage reaches the curves again", "after", time.Since(s.Since).Round(time.Second), "number", place)
	}
	s.Place, s.CaughtUp, s.Since, s.Why = place, caughtUp, time.Time{}, ""
	if err == nil {
		s.Newest = newest
	} else if !errors.Is(err, context.Canceled) {
		s.Newest = 0
	}
}
