package hmi

import (
	"encoding/json"
	"net/http"
	"time"
)

// The page is shown the decks five times a second and everything else once a second, and only what
// changed. An operator who stops reading is cut off, not waited for.
const (
	deckEvery    = 200 * time.Millisecond
	slowEvery    = 5 // deckEvery's
	writeTimeout = 5 * time.Second
)

// events streams server-sent events "decks", "passages", "tickets" and "journal".
func (s *server) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	sent := map[string]string{}
	send := func(event string, v any, err error) bool {
		if err != nil {
			return false
		}
		data, err := json.Marshal(v)
		if err != nil {
			return false
		}
		if sent[event] == string(data) {
			return true
		}
		sent[event] = string(data)
		_ = out.SetWriteDeadline(time.Now().Add(writeTimeout))
		if _, err := w.Write([]byte("event: " + event + "\ndata: " + string(data) + "\n\n")); err != nil {
			return false
		}
		return out.Flush() == nil
	}
	tick := time.NewTicker(deckEvery)
	defer tick.Stop()
	for i := 0; ; i++ {
		decks, err := s.deckList(r.Context())
		if !send("decks", decks, err) {
			return
		}
		if i%slowEvery == 0 {
			passages, err := s.passageList(r.Context())
			if !send("passages", passages, err) {
				return
			}
			tickets, err := s.ticketList(r.Context())
			if !send("tickets", tickets, err) || !send("journal", s.Journal(), nil) {
				return
			}
		}
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
		}
	}
}
