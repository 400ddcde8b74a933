package web

import (
	"net/http"
	"time"

	"steelyard/internal/page"
)

// The page is told at most so often; live values set the pace, the rest follows once a second or
// rarer.
const (
	shortest     = 250 * time.Millisecond
	longest      = time.Second
	accountEvery = 2 * time.Second
)

// events streams "live", "sites", "totals", "hour" and "account".
func (s *server) events(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	out := page.NewEvents(w)
	changed := s.Live.Subscribe(ctx)
	var slow, account time.Time
	for {
		now := s.Now()
		if out.Send("live", s.liveValues()) != nil {
			return
		}
		if now.Sub(slow) >= longest {
			slow = now
			if s.sendSlow(r, out) != nil {
				return
			}
		}
		if now.Sub(account) >= accountEvery {
			account = now
			if data, err := s.accountFile(); err == nil && data != nil && out.Send("account", data) != nil {
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(shortest):
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-time.After(longest - shortest):
		}
	}
}

// sendSlow sends what comes from the account. What can't be read now is sent when it can.
func (s *server) sendSlow(r *http.Request, out *page.Events) error {
	today := s.Now()
	sites, err := s.siteStates(r.Context())
	if err == nil {
		err = out.Send("sites", sites)
	}
	if err != nil {
		return err
	}
	day, err := s.day(r, "")
	if err != nil {
		return err
	}
	totals, err := totalsOf(s.Rollup.Totals(r.Context(), day, day))
	if err != nil {
		return err
	}
	if err := out.Send("totals", map[string]any{"day": day.String(), "totals": totals}); err != nil {
		return err
	}
	hour, err := totalsOf(s.Rollup.LastHour(r.Context(), today))
	if err != nil {
		return err
	}
	return out.Send("hour", hour)
}
