package hmi

import (
	"net/http"
	"time"

	"steelyard/internal/page"
)

// The page is shown the decks five times a second and everything else once a second, and only what
// changed.
const (
	deckEvery = 200 * time.Millisecond
	slowEvery = 5 // deckEvery's
)

// events streams server-sent events "decks", "passages", "notes", "tickets" and "journal".
func (s *server) events(w http.ResponseWriter, r *http.Request) {
	out := page.NewEvents(w)
	send := func(event string, v any, err error) bool { return err == nil && out.Send(event, v) == nil }
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
			notes, err := s.noteList(r.Context())
			if !send("notes", notes, err) {
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
