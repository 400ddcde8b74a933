package agent

import (
	"context"
	"errors"
	"log/slog"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"steelyard/edge/journal"
	"steelyard/internal/mqtt"
)

// How long a start waits for the city's word.
const (
	askAtMost   = 5 * time.Second // for that about the records
	askPatience = time.Second     // for that about the samples, once that about the records is there
	askEvery    = 20 * time.Millisecond
)

// vouch lets the city say whether it holds no more of the journals than this disk, before anything
// is added to them: the disk may have come back from an old image, and the numbers that follow may
// have been given. A journal that is not vouched for is not continued; another one begins, which no
// disk has seen before. So no image, however often it is put back, gives a number twice, whether the
// city can be reached or not. What the disk holds already is sent as ever.
func (a *agent) vouch(ctx context.Context, w Faults) error {
	if w.GoOn {
		return nil
	}
	broken := [2]error{}
	answered := func(int) bool { return false }
	if !a.records.Begun() && a.records.Last().N > 0 {
		a.openUplinks(w)
		answered = func(i int) bool {
			select {
			case <-a.uplinks[i].Vouched():
				return true
			default:
				return false
			}
		}
		if err := a.askCloud(ctx, answered, &broken); err != nil {
			return err
		}
	}
	for i, j := range []*journal.Journal{a.records, a.samples} {
		if j.Begun() || answered(i) && broken[i] == nil {
			continue
		}
		reason := "the city could not be asked how far it holds the journal before"
		if broken[i] != nil {
			reason = broken[i].Error()
		}
		if err := j.BeginNext(reason); err != nil {
			return err
		}
	}
	return nil
}

// askCloud sends what the uplinks have to send until the city has answered for both journals, or it is
// plain that it does not.
func (a *agent) askCloud(ctx context.Context, answered func(int) bool, broken *[2]error) error {
	ctx, stop := context.WithTimeout(ctx, askAtMost)
	defer stop()
	o := a.linkedMQTT()
	o.Log = slog.New(slog.DiscardHandler) // the link that follows says what is wrong
	o.Failed = func(err error) {
		if errors.Is(err, syscall.ECONNREFUSED) {
			stop() // there is a network, and no broker
		}
	}
	words := make(chan brokenJournal, len(broken))
	var g errgroup.Group
	g.Go(func() error {
		return mqtt.Run(ctx, o, func(ctx context.Context, s *mqtt.Session) error { return a.askOnce(ctx, s, words) })
	})
	g.Go(func() error {
		tick := time.NewTicker(askEvery)
		defer tick.Stop()
		defer stop()
		var records time.Time // when the records were answered for
		for {
			now := time.Now()
			decided := func(i int) bool { return answered(i) || broken[i] != nil }
			if records.IsZero() && (decided(0) || a.uplinks[0].Refused() != "") {
				records = now
			}
			if !records.IsZero() && (decided(1) || now.Sub(records) >= askPatience) {
				return nil
			}
			select {
			case <-ctx.Done():
				return nil
			case w := <-words:
				broken[w.index] = w.err
			case <-tick.C:
			}
		}
	})
	return g.Wait()
}

// brokenJournal tells that the city holds more of a journal, or another one.
type brokenJournal struct {
	index int
	err   error
}

// askOnce is one connection of askCloud. One journal that is not to be continued does not keep the
// other's answer back.
func (a *agent) askOnce(ctx context.Context, s *mqtt.Session, words chan<- brokenJournal) error {
	if err := a.subscribe(ctx, s); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for i, u := range a.uplinks {
		g.Go(func() error {
			err := u.Run(ctx, s.Start)
			if !journal.Broken(err) {
				return err
			}
			words <- brokenJournal{i, err}
			<-ctx.Done()
			return context.Cause(ctx)
		})
	}
	return g.Wait()
}
