package telemetry_test

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"steelyard/cloud/ledger"
	"steelyard/cloud/ledger/ledgertest"
	"steelyard/cloud/rollup"
	"steelyard/cloud/telemetry"
	"steelyard/internal/wire"
)

// TestTonnesEveryFailure lets each call around the store fail in turn, before and after its effect,
// while postings keep coming: the sums are the postings' all the same.
func TestTonnesEveryFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := historyAt(t, filepath.Join(t.TempDir(), "history.db"))
		list := postings(9000, start)
		broken := errors.New("broken")
		calls := 0
		fault := func() error { // the first of every three calls fails
			if calls++; calls%3 == 1 {
				return broken
			}
			return nil
		}
		var mu sync.Mutex
		visible := 100
		config := telemetry.TonnesConfig{
			Next: func(ctx context.Context, after rollup.Place, limit int) ([]rollup.Posting, error) {
				if err := fault(); err != nil {
					return nil, err
				}
				mu.Lock()
				defer mu.Unlock()
				return following(list[:visible])(ctx, after, limit)
			},
			Load: func(ctx context.Context) (rollup.Place, error) { return first(h.LoadCursor(ctx))(fault()) },
			Save: func(ctx context.Context, n rollup.Place) error {
				if calls%2 == 0 { // the effect is there, the answer is not
					return errors.Join(h.SaveCursor(ctx, n), fault())
				}
				return errors.Join(fault(), h.SaveCursor(ctx, n))
			},
			Newest: func(context.Context) (int64, error) { return list[len(list)-1].Seq, nil },
			Store:  h, Log: logger(t),
		}
		for visible < len(list) {
			mu.Lock()
			visible = min(visible*3, len(list))
			mu.Unlock()
			ctx, cancel := context.WithCancel(t.Context())
			reader := telemetry.NewTonnes(config)
			done := make(chan error)
			go func() { done <- reader.Run(ctx) }()
			for !reader.Behind().CaughtUp {
				time.Sleep(time.Second)
			}
			if visible == len(list) {
				if b := reader.Behind(); b.Place != b.Newest || b.Why != "" {
					t.Errorf("caught up, but %+v", b)
				}
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		same(t, total(t, h, start, time.Minute), sums(list))
	})
}

// first passes a result on unless there is an error beside it.
func first(n rollup.Place, err error) func(error) (rollup.Place, error) {
	return func(fault error) (rollup.Place, error) { return n, errors.Join(err, fault) }
}

func TestTonnesWaitsAndWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := historyAt(t, filepath.Join(t.TempDir(), "history.db"))
		wake := make(chan struct{}, 1)
		list := postings(10, start)
		var visible []rollup.Posting
		var asked []time.Time
		var down error
		var mu sync.Mutex // for the three above
		reader := telemetry.NewTonnes(telemetry.TonnesConfig{
			Next: func(ctx context.Context, after rollup.Place, limit int) ([]rollup.Posting, error) {
				mu.Lock()
				defer mu.Unlock()
				asked = append(asked, time.Now())
				if down != nil {
					return nil, down
				}
				return following(visible)(ctx, after, limit)
			},
			Load: h.LoadCursor, Save: h.SaveCursor, Store: h, Wake: wake, Every: time.Hour, Log: logger(t),
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- reader.Run(ctx) }()
		synctest.Wait()
		mu.Lock()
		visible = list
		mu.Unlock()
		wake <- struct{}{}
		synctest.Wait()
		if b := reader.Behind(); b.Written != int64(len(list)) || !b.CaughtUp {
			t.Errorf("woken, but %+v", b)
		}
		// In an outage the pauses grow to a minute, and end with it.
		tries := func() int {
			time.Sleep(time.Hour)
			mu.Lock()
			defer mu.Unlock()
			return len(asked)
		}
		mu.Lock()
		down = errors.New("down")
		mu.Unlock()
		tries() // the pauses grow
		before := tries()
		if n := tries() - before; n < 60 || n > 140 {
			t.Errorf("asked %d times in an hour's outage, want a pause of 30 to 60 s", n)
		}
		if b := reader.Behind(); b.Why == "" || b.CaughtUp || b.Since.IsZero() {
			t.Errorf("an outage looks like %+v", b)
		}
		mu.Lock()
		down = nil
		mu.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		if b := reader.Behind(); b.Why != "" || !b.CaughtUp || !b.Since.IsZero() {
			t.Errorf("back, but %+v", b)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestTonnesSenselessPostings(t *testing.T) {
	list := postings(20, start)
	list[3].Part = 600 // beyond what a stamp can tell apart: must not overwrite another part
	list[7].At = time.Date(1969, 1, 1, 0, 0, 0, 0, time.UTC)
	synctest.Test(t, func(t *testing.T) {
		h := historyAt(t, filepath.Join(t.TempDir(), "history.db"))
		reader := telemetry.NewTonnes(telemetry.TonnesConfig{Next: following(list), Load: h.LoadCursor, Save: h.SaveCursor, Store: h, Log: logger(t)})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- reader.Run(ctx) }()
		for !reader.Behind().CaughtUp {
			time.Sleep(time.Second)
		}
		if b := reader.Behind(); b.Unkept != 2 || b.Written != int64(len(list))-2 {
			t.Errorf("two can't be kept: %+v", b)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		good := slices.DeleteFunc(slices.Clone(list), func(p rollup.Posting) bool { return p.Seq == list[3].Seq || p.Seq == list[7].Seq })
		same(t, total(t, h, start, time.Minute), sums(good))
	})
}

// account is a ledger with its tonnes.
type account struct {
	*ledger.Ledger
	*rollup.Rollup
}

func newAccount(t *testing.T, path string) account {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	l, err := ledger.Open(t.Context(), path, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	for _, site := range []string{"site-1", "site-2"} {
		if err := l.Enrol(t.Context(), site, ledgertest.KeyOf(site).Public(), start); err != nil {
			t.Fatal(err)
		}
	}
	r, err := rollup.Open(t.Context(), l, func(name string, _ time.Time) (string, error) {
		category, _, _ := strings.Cut(name, "/")
		return category, nil
	}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	return account{l, r}
}

func (a account) post(t *testing.T, batches ...*wire.Batch) {
	t.Helper()
	for _, b := range batches {
		if _, err := a.Ledger.Post(t.Context(), ledgertest.Start().AddDate(1, 0, 0), []*wire.Batch{b}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.Rollup.Advance(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestRestoredLedger puts an older copy of the ledger back, as the manual says. The sites send again
// what it lacks, in another order, so that the numbers of postings stand for others: the curves
// lacked tonnage for good and said that they had it all.
func TestRestoredLedger(t *testing.T) {
	one, two := ledgertest.New("site-1", 1).Shift(400).Batches(100), ledgertest.New("site-2", 2).Shift(400).Batches(100)
	for name, want := range map[string]bool{"bound to the ledger": true, "control, places are numbers": false} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			store := historyAt(t, filepath.Join(dir, "history.db"))
			follow := func(a account) {
				t.Helper()
				next := a.PostingsAfter
				if !want {
					next = func(ctx context.Context, after rollup.Place, limit int) ([]rollup.Posting, error) {
						all, err := a.PostingsAfter(ctx, rollup.Place{}, limit)
						return all[min(len(all), int(after.Seq)):], err
					}
				}
				reader := telemetry.NewTonnes(telemetry.TonnesConfig{Next: next, Load: store.LoadCursor, Save: store.SaveCursor, Store: store,
					Sites: []string{"site-1", "site-2"}, Every: time.Millisecond, Log: logger(t)})
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error)
				go func() { done <- reader.Run(ctx) }()
				until(t, "the curves have caught up", func() bool { return reader.Behind().CaughtUp })
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
			before := newAccount(t, filepath.Join(dir, "before.db"))
			before.post(t, one[0], two[0])
			copied := filepath.Join(dir, "copy.db")
			db, err := sql.Open("sqlite", filepath.Join(dir, "before.db"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := db.ExecContext(t.Context(), "vacuum into '"+copied+"'"); errors.Join(err, db.Close()) != nil {
				t.Fatal(err)
			}
			before.post(t, one[1], one[2], two[1], two[2])
			follow(before)
			after := newAccount(t, copied)
			follow(after) // started, before anything came again
			after.post(t, two[1], two[2], two[3], one[1])
			follow(after)
			after.post(t, one[2], one[3])
			follow(after)
			all, err := after.PostingsAfter(t.Context(), rollup.Place{}, 1<<30)
			if err != nil {
				t.Fatal(err)
			}
			begin, span := ledgertest.Start(), 24*time.Hour
			if got := gocmp.Equal(total(t, store, begin, span), sums(all)); got != want {
				t.Errorf("curves equal the account: %t, want %t", got, want)
			}
		})
	}
}
