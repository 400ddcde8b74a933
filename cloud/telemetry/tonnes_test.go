package telemetry_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"steelyard/cloud/rollup"
	"steelyard/cloud/telemetry"
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
			Next: func(ctx context.Context, after int64, limit int) ([]rollup.Posting, error) {
				if err := fault(); err != nil {
					return nil, err
				}
				mu.Lock()
				defer mu.Unlock()
				return following(list[:visible])(ctx, after, limit)
			},
			Load: func(ctx context.Context) (int64, error) { return first(h.LoadCursor(ctx))(fault()) },
			Save: func(ctx context.Context, n int64) error {
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
func first(n int64, err error) func(error) (int64, error) {
	return func(fault error) (int64, error) { return n, errors.Join(err, fault) }
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
			Next: func(ctx context.Context, after int64, limit int) ([]rollup.Posting, error) {
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
