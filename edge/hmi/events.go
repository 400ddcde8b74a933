package hmi

import (
	"context"
	"errors"
	"time"
)

// The page is shown the decks five times a second and everything else once a second, and only what
// changed.
const (
	deckEvery = 200 * time.Millisecond
	slowEvery = 5 // deckEvery's
)

// Run tells all open pages what is new, as events "decks", "passages", "notes", "tickets" and
// "journal", until ctx ends. What can't be read now is told when it can.
func (s *Pages) Run(ctx context.Context) error {
	tick := time.NewTicker(deckEvery)
	defer tick.Stop()
	failing := false
	for i := 0; ; i++ {
		if s.feed.Readers() == 0 {
			i = 0 // whoever comes first is shown everything at once
		}
		if s.feed.Await(ctx) != nil {
			return nil
		}
		err := s.refresh(ctx, i%slowEvery == 0)
		if err != nil && !failing && ctx.Err() == nil {
			s.Log.Error("the page shows old values, looking again", "err", err)
		}
		failing = err != nil
		s.feed.Publish()
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// refresh brings the feed up to now.
func (s *Pages) refresh(ctx context.Context, all bool) error {
	decks, err := s.deckList(ctx)
	if err == nil {
		err = s.feed.Set("decks", decks)
	}
	if err != nil || !all {
		return err
	}
	passages, err := s.passageList(ctx)
	if err != nil {
		return err
	}
	notes, err := s.noteList(ctx)
	if err != nil {
		return err
	}
	tickets, err := s.ticketList(ctx)
	if err != nil {
		return err
	}
	return errors.Join(s.feed.Set("passages", passages), s.feed.Set("notes", notes), s.feed.Set("tickets", tickets), s.feed.Set("journal", s.Journal()))
}
