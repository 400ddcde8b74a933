package retry_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"steelyard/internal/retry"
)

func TestPausesDoubleUpToTheLongest(t *testing.T) {
	p := retry.Policy{Min: time.Second, Max: 30 * time.Second}
	for n, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		if got := p.After(n); got != want*time.Second {
			t.Errorf("after attempt %d: %v, want %v", n, got, want*time.Second)
		}
	}
	if got := p.After(1 << 40); got != p.Max {
		t.Errorf("after very many: %v, want %v", got, p.Max)
	}
}

func TestJitterSpreadsOverTheUpperHalf(t *testing.T) {
	p := retry.Policy{Min: time.Second, Max: 8 * time.Second, Jitter: true}
	seen := map[time.Duration]bool{}
	for range 1000 {
		got := p.After(2)
		if got < 2*time.Second || got > 4*time.Second {
			t.Fatalf("%v is not within 2 s to 4 s", got)
		}
		seen[got] = true
	}
	if len(seen) < 100 {
		t.Errorf("a thousand pauses are only %d different ones", len(seen))
	}
}

func TestSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if !retry.Sleep(t.Context(), time.Hour) || time.Since(began) != time.Hour {
			t.Errorf("slept for %v, want an hour", time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began = time.Now()
		if retry.Sleep(ctx, time.Hour) || time.Since(began) != time.Minute {
			t.Errorf("slept for %v, want to be woken after a minute", time.Since(began))
		}
	})
}
