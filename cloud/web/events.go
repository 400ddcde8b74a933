package web

import (
	"encoding/json"
	"net/http"
	"time"
)

// The page is told at most so often; live values set the pace, the rest follows once a second or
// rarer. A reader that stops reading is cut off, not waited for.
const (
	shortest     = 250 * time.Millisecond
	longest      = time.Second
	accountEvery = 2 * time.Second
	writeTimeout = 5 * time.Second
)

// stream sends server-sent events, each only when it differs from the one before.
type stream struct {
	w    http.ResponseWriter
	out  *http.ResponseController
	sent map[string]string
}

func (s *stream) send(event string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if s.sent[event] == string(data) {
		return nil
	}
	s.sent[event] = string(data)
	if err := s.out.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	if _, err := s.w.Write([]byte("event: " + event + "\ndata: " + string(data) + "\n\n")); err != nil {
		return err
	}
	return s.out.Flush()
}

// events streams "live", "sites", "totals", "hour" and "account".
func (s *server) events(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	w.Header().Set("Content-Type", "text/event-stream")
	out := &stream{w, http.NewResponseController(w), map[string]string{}}
	changed := s.Live.Subscribe(ctx)
	var slow, account time.Time
	for {
		now := s.Now()
		if out.send("live", s.liveValues()) != nil {
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
			if data, err := s.accountFile(); err == nil && data != nil && out.send("account", data) != nil {
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
func (s *server) sendSlow(r *http.Request, out *stream) error {
	today := s.Now()
	sites, err := s.siteStates(r.Context())
	if err == nil {
		err = out.send("sites", sites)
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
	if err := out.send("totals", map[string]any{"day": day.String(), "totals": totals}); err != nil {
		return err
	}
	hour, err := totalsOf(s.Rollup.LastHour(r.Context(), today))
	if err != nil {
		return err
	}
	return out.send("hour", hour)
}
