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

// tidy drops what is receipted and old, and makes room among the samples.
func (p *parts) tidy(ctx context.Context) error {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for _, j := range []*journal.Journal{p.records, p.samples} {
			if err := p.prune(ctx, j); err != nil {
				p.log.Error("old segments stay", "err", err)
			}
		}
	}
}

// prune drops old segments of one journal. What was dropped unsent is a fact.
func (p *parts) prune(ctx context.Context, j *journal.Journal) error {
	keep := p.config.Journal.Keep
	if j == p.samples {
		keep = keepSamples
	}
	pruned, err := j.Prune(time.Now(), keep)
	if pruned.Segments > 0 {
		p.log.Info("old segments dropped", "journal", j.ID(), "segments", pruned.Segments, "bytes", pruned.Bytes)
	}
	for _, gap := range pruned.Thinned {
		_, failed := p.desk.act(ctx, func(*meaning.Site) ([]record.Fact, error) {
			return []record.Fact{{At: time.Now(), Body: &gap}}, nil
		})
		err = errors.Join(err, failed)
	}
	return err
}
