package ingest

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"steelyard/cloud/ledger"
	"steelyard/internal/wire"
)

// post takes a set of records into the ledger: commit first, receipts after.
func (i *Ingest) post(ctx context.Context, set []checked) error {
	batches := batchesOf(set)
	outcomes, err := retry(ctx, i, "post", func() ([]ledger.Outcome, error) {
		return i.config.Ledger.Post(ctx, i.config.Now(), batches)
	})
	if err != nil {
		return err
	}
	i.answer(outcomes, batches)
	return i.refuse(ctx, set)
}

// storeSamples hands a set of samples to their store and, when it has them, moves the positions.
func (i *Ingest) storeSamples(ctx context.Context, set []checked) error {
	batches := batchesOf(set)
	expected, err := retry(ctx, i, "look up", func() ([]ledger.Result, error) {
		return i.config.Ledger.Classify(ctx, batches)
	})
	if err != nil {
		return err
	}
	var wanted []*wire.Batch
	for k, b := range batches {
		if expected[k] == ledger.Accepted {
			wanted = append(wanted, b)
		}
	}
	if len(wanted) > 0 {
		if _, err := retry(ctx, i, "store samples", func() (struct{}, error) {
			return struct{}{}, i.config.Samples(ctx, wanted)
		}); err != nil {
			return err
		}
	}
	outcomes, err := retry(ctx, i, "pass samples", func() ([]ledger.Outcome, error) {
		return i.config.Ledger.Advance(ctx, i.config.Now(), batches)
	})
	if err != nil {
		return err
	}
	i.answer(outcomes, batches)
	return i.refuse(ctx, set)
}

// batchesOf returns the good batches, each journal's in order of number: what the network has
// shuffled within one set needs no second sending.
func batchesOf(set []checked) []*wire.Batch {
	var batches []*wire.Batch
	for _, c := range set {
		if c.batch != nil {
			batches = append(batches, c.batch)
		}
	}
	slices.SortStableFunc(batches, func(a, b *wire.Batch) int {
		return cmp.Or(cmp.Compare(a.Site, b.Site), cmp.Compare(a.Journal, b.Journal), cmp.Compare(a.First, b.First))
	})
	return batches
}

// retry tries again until it succeeds or ctx ends. Nothing is lost meanwhile: the queue drops
// what it can't hold, and the edges send again.
func retry[T any](ctx context.Context, i *Ingest, what string, do func() (T, error)) (T, error) {
	const first, longest = 200 * time.Millisecond, 20 * time.Second
	for pause, failed := first, false; ; pause = min(2*pause, longest) {
		result, err := do()
		if err == nil && failed {
			i.config.Log.Info("recovered", "what", what)
		}
		if err == nil || errors.Is(err, ledger.ErrUnknown) {
			return result, err
		}
		if !failed && ctx.Err() == nil {
			i.config.Log.Error("failed, retrying", "what", what, "err", err)
		}
		failed = true
		again := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			again.Stop()
			return result, ctx.Err()
		case <-again.C:
		}
	}
}

// answer tells the edges what became of their batches.
func (i *Ingest) answer(outcomes []ledger.Outcome, batches []*wire.Batch) {
	now := i.config.Now()
	for k, o := range outcomes {
		b := batches[k]
		i.tally(o)
		log := i.config.Log.With("site", b.Site, "journal", b.Journal, "number", b.First)
		if o.Lost > 0 && b.Stream == wire.Records {
			log.Error("records are gone from the edge for good", "from", b.First-o.Lost, "to", b.First-1, "reason", b.Reason)
		}
		switch o.Result {
		case ledger.Accepted, ledger.Skipped:
			i.receipt(receiptOf(o.Position))
		case ledger.Hole:
			if i.resendLimit.allow(b.Site+" "+string(b.Stream), now) {
				i.request(b.Site, wire.Request{Journal: b.Journal, Stream: b.Stream, From: o.N + 1, Why: wire.WhyHole})
			}
		case ledger.Conflict, ledger.Refused:
			if i.refusalLimit.allow(b.Site+" "+string(b.Stream), now) {
				log.Error("batch is not taken in", "result", o.Result, "why", o.Why)
				i.request(b.Site, wire.Request{Journal: b.Journal, Stream: b.Stream, From: o.N + 1, Why: reasonOf(o.Result) + ": " + o.Why})
			}
			if o.Result == ledger.Conflict {
				// The signed proof that another history is held here: an edge that was put back from an
				// old copy learns it in no other way, as the broker keeps the receipt of another journal.
				i.receipt(receiptOf(o.Position))
			}
		}
	}
}

// reasonOf is the word that the site's page knows a refusal of the ledger by.
func reasonOf(r ledger.Result) string {
	if r == ledger.Conflict {
		return ledger.ReasonConflict
	}
	return ReasonStopped
}

func (i *Ingest) tally(o ledger.Outcome) {
	i.count(func(s *Stats) {
		s.Accepted += int64(o.Added)
		s.Invalid += int64(o.Invalid)
		s.Lost += int64(o.Lost)
		s.Late += int64(o.Late)
		if o.Late > 0 {
			s.Refused[ledger.ReasonLate] += int64(o.Late)
		}
		switch o.Result {
		case ledger.Skipped:
			s.Skipped++
		case ledger.Hole:
			s.Holes++
		case ledger.Conflict:
			s.Conflicts++
			s.Refused[ledger.ReasonConflict]++
		case ledger.Refused:
			s.Refused[ReasonStopped]++
		}
	})
}

// refuse keeps evidence of what was refused, as much as a site is allowed, and tells the site.
func (i *Ingest) refuse(ctx context.Context, set []checked) error {
	now := i.config.Now()
	var kept []ledger.Refusal
	for _, c := range set {
		r := c.refusal
		if r.Reason == "" {
			continue
		}
		keep := i.evidenceLimit.allow(r.Site, now)
		i.count(func(s *Stats) {
			s.Refused[r.Reason]++
			if !keep {
				s.EvidenceDropped++
			}
		})
		if keep {
			kept = append(kept, r)
		}
		if r.Site != "" && i.refusalLimit.allow(r.Site+" refused", now) {
			i.notifySite(ctx, c)
		}
	}
	_, err := retry(ctx, i, "keep evidence", func() (struct{}, error) {
		return struct{}{}, i.config.Ledger.Quarantine(ctx, now, kept)
	})
	return err
}

// notifySite lets the site's operator know that its batches are refused. The journal may be unknown, as
// nothing can be read of it; then the one that was begun last is meant.
func (i *Ingest) notifySite(ctx context.Context, c checked) {
	stream, journal := wire.Records, c.refusal.Journal
	if c.topic == wire.TopicOf(c.site, wire.Samples) {
		stream = wire.Samples
	}
	if known, err := i.config.Ledger.Newest(ctx); journal == "" && err == nil {
		for _, s := range known {
			if s.Site == c.site && s.Stream == stream {
				journal = s.Journal
			}
		}
	}
	i.config.Log.Warn("batch is refused", "site", c.site, "reason", c.refusal.Reason, "why", c.refusal.Why)
	i.request(c.site, wire.Request{Journal: journal, Stream: stream, Why: c.refusal.Reason + ": " + c.refusal.Why})
}
