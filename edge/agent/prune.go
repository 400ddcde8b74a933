package agent

import (
	"context"
	"errors"
	"time"

	"steelyard/edge/journal"
	"steelyard/edge/meaning"
	"steelyard/internal/record"
)

// keepSamples is how long samples stay when there is room.
const keepSamples = 7 * 24 * time.Hour

// prune drops what is receipted and old, and makes room among the samples.
func (a *agent) prune(ctx context.Context) error {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for _, j := range []*journal.Journal{a.records, a.samples} {
			if err := a.pruneJournal(ctx, j); err != nil {
				a.log.Error("cannot prune old segments", "err", err)
			}
		}
	}
}

// pruneJournal drops old segments of one journal. What was dropped unsent is a fact.
func (a *agent) pruneJournal(ctx context.Context, j *journal.Journal) error {
	keep := a.config.Journal.Keep
	if j == a.samples {
		keep = keepSamples
	}
	pruned, err := j.Prune(time.Now(), keep)
	if pruned.Segments > 0 {
		a.log.Info("old segments dropped", "journal", j.ID(), "segments", pruned.Segments, "bytes", pruned.Bytes)
	}
	for _, gap := range pruned.Thinned {
		_, failed := a.loop.do(ctx, func(*meaning.Site) ([]record.Fact, error) {
			return []record.Fact{{At: time.Now(), Body: &gap}}, nil
		})
		err = errors.Join(err, failed)
	}
	return err
}
