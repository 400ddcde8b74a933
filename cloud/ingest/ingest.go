// Package ingest lets the sites' entries into the ledger.
//
// In: messages as the broker hands them over. Out: entries in the ledger, receipts for what is
// committed there, requests for what is missing, and evidence of what was refused.
// It promises that a receipt is sent only after the commit that it tells of; that nothing reaches
// the ledger without the signature of the site's pinned key, whoever the broker says has sent it;
// that one sender, however loud or broken, neither stops the others nor fills the disk; and that
// samples which can't be stored hold up no records.
// It keeps nothing that is not committed: the edges send again what was not receipted. It does not
// connect, subscribe, or know what an entry means.
package ingest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"steelyard/cloud/ledger"
	"steelyard/internal/chain"
	"steelyard/internal/wire"
)

// Config is what an Ingest works with. All fields but the last two are needed.
type Config struct {
	Sites  map[string]chain.PublicKey // enrolled in the ledger under these keys
	Key    chain.Key                  // signs receipts
	Ledger *ledger.Ledger
	Log    *slog.Logger
	// Samples stores the batches' samples, twice if need be. An error means: not now; the edges
	// keep them, and the same batches are offered again.
	Samples  func(ctx context.Context, batches []*wire.Batch) error
	Publish  func(ctx context.Context, topic string, payload []byte, retained bool) error
	Now      func() time.Time
	MaxQueue int // bytes that wait to be checked; 0: 64 MiB. Half is for samples.
	// Patience is how long Handle waits for room; 0: 5 s, less than the time-outs of MQTT clients.
	// Negative: not at all.
	Patience time.Duration
}

// Ingest takes in what one broker connection after another delivers.
type Ingest struct {
	config        Config
	records       *queue
	samples       *queue
	outbox        *outbox
	evidenceLimit *limiter // evidence kept of a site
	refusalLimit  *limiter // refusals told to a site
	resendLimit   *limiter // requests to send again, for a stream of a site

	mu    sync.Mutex // guards stats
	stats Stats
}

// Stats counts since the start. Refused is by reason, the ledger's reasons included.
type Stats struct {
	Accepted        int64 // entries stored, or samples passed on
	Skipped         int64 // batches that were known
	Holes           int64 // batches that came too early
	Conflicts       int64 // batches of another history
	Invalid         int64 // entries stored, but invalid
	Lost            int64 // numbers that edges stated to be gone
	Late            int64 // entries that came after their number was stated to be gone
	Dropped         int64 // messages for which there was no room
	Retained        int64 // messages that a broker had kept: never taken
	Foreign         int64 // messages on topics of others
	Refused         map[string]int64
	EvidenceDropped int64 // refusals counted whose evidence was not kept: too many at once
	Published       int64
	Unpublished     int64
	Queued          int // bytes that wait
}

// New checks the configuration.
func New(c Config) (*Ingest, error) {
	var missing []string
	for name, there := range map[string]bool{"Ledger": c.Ledger != nil, "Log": c.Log != nil, "Samples": c.Samples != nil,
		"Publish": c.Publish != nil, "Now": c.Now != nil} {
		if !there {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		return nil, fmt.Errorf("ingest: %v not given", missing)
	}
	for site, key := range c.Sites {
		if err := wire.CheckSlug("site", site); err != nil {
			return nil, fmt.Errorf("ingest: %w", err)
		}
		if key.IsZero() {
			return nil, fmt.Errorf("ingest: site %s has no key", site)
		}
	}
	c.Sites = maps.Clone(c.Sites)
	c.MaxQueue = cmp.Or(c.MaxQueue, 64<<20)
	c.Patience = cmp.Or(c.Patience, 5*time.Second)
	return &Ingest{config: c, records: newQueue(c.MaxQueue / 2), samples: newQueue(c.MaxQueue / 2), outbox: newOutbox(),
		evidenceLimit: newLimiter(20, 10*time.Second), refusalLimit: newLimiter(1, 10*time.Second), resendLimit: newLimiter(1, time.Second),
		stats: Stats{Refused: map[string]int64{}}}, nil
}

// Handle takes a message from a connection that brings those of all sites, and keeps the payload,
// which must not change. Records for which the queue has no room hold the connection up for a
// moment; what finds none then, and samples at once, are dropped and counted: the edge sends them
// again.
func (i *Ingest) Handle(topic string, payload []byte, retained bool) {
	i.handle(topic, payload, retained, false)
}

// HandleOwn is [Ingest.Handle] for a connection that brings the messages of one site only: it is held up also
// while the site's own part of the queue is full.
func (i *Ingest) HandleOwn(topic string, payload []byte, retained bool) {
	i.handle(topic, payload, retained, true)
}

func (i *Ingest) handle(topic string, payload []byte, retained, own bool) {
	site, rest, err := wire.SplitTopic(topic)
	q, patience := i.records, i.config.Patience
	if rest == string(wire.Samples) {
		q, patience = i.samples, 0 // curves hold up no tonne
	} else if err != nil || rest != string(wire.Records) {
		i.count(func(s *Stats) { s.Foreign++ })
		return
	}
	if retained {
		// An honest edge never retains entries, and a kept message proves nothing about now.
		i.count(func(s *Stats) { s.Retained++ })
		return
	}
	it := item{site: site, topic: topic, payload: payload, size: len(payload)}
	if _, enrolled := i.config.Sites[site]; !enrolled {
		it.site = ""
	}
	if it.size > wire.MaxBatch {
		// A copy, so that the queue does not hold on to the whole.
		it.payload = slices.Clone(payload[:ledger.MaxEvidence])
	}
	if !q.put(it, own, patience) {
		i.count(func(s *Stats) { s.Dropped++ })
	}
}

// Limits of one transaction.
const (
	batchesAtOnce = 256
	bytesAtOnce   = 4 << 20
)

// Run works until ctx ends, then returns nil. The error it returns otherwise ends the process:
// [ledger.ErrUnknown].
func (i *Ingest) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, way := range []struct {
		queue  *queue
		stream wire.Stream
		take   func(context.Context, []checked) error
	}{{i.records, wire.Records, i.post}, {i.samples, wire.Samples, i.storeSamples}} {
		// While one set is committed the next is checked, and no more than that.
		ready := make(chan []checked)
		g.Go(func() error {
			for {
				items, err := way.queue.take(ctx, batchesAtOnce, bytesAtOnce)
				if err != nil {
					return err
				}
				select {
				case ready <- i.checkAll(items, way.stream):
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		})
		g.Go(func() error {
			for {
				select {
				case set := <-ready:
					if err := way.take(ctx, set); err != nil {
						return err
					}
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		})
	}
	for range senders {
		g.Go(func() error { return i.send(ctx) })
	}
	if err := g.Wait(); !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// Announce sends again, on a new connection, how far each site's newest journals are committed: what
// was said before may have been lost with the old one, and the broker keeps it for edges that
// connect later. Of an older journal an edge hears when it sends what it has of it.
func (i *Ingest) Announce(ctx context.Context) error {
	known, err := i.config.Ledger.Newest(ctx)
	if err != nil {
		return err
	}
	for _, s := range known {
		if _, enrolled := i.config.Sites[s.Site]; enrolled {
			i.receipt(receiptOf(s.Position))
		}
	}
	return nil
}

// Ask sends a site a request. It does not wait; a newer request of the same kind takes the place of
// one that was not sent yet.
func (i *Ingest) Ask(site string, r wire.Request) { i.request(site, r) }

func receiptOf(p ledger.Position) wire.Receipt {
	return wire.Receipt{Site: p.Site, Journal: p.Journal, Stream: p.Stream, N: p.N, Hash: p.Hash}
}

// Stats returns the counters.
func (i *Ingest) Stats() Stats {
	i.mu.Lock()
	s := i.stats
	s.Refused = maps.Clone(i.stats.Refused)
	i.mu.Unlock()
	for _, q := range []*queue{i.records, i.samples} {
		q.mu.Lock()
		s.Queued += q.bytes
		q.mu.Unlock()
	}
	return s
}

func (i *Ingest) count(change func(*Stats)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change(&i.stats)
}
