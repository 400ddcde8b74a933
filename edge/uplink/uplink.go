// Package uplink brings journals to the cloud.
//
// In: journals, and a connection to a broker, again and again. Out: signed batches in order, until
// the cloud's receipt covers every entry.
// It promises that only a receipt signed by the cloud moves the mark from which it sends again:
// neither a publish token nor a PUBACK, no count of tries and no age. What is not receipted is
// sent again after a time without progress, and at the cloud's request from any earlier number.
// It deletes nothing and writes nothing to a journal but the receipt.
package uplink

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"steelyard/edge/journal"
	"steelyard/internal/chain"
	"steelyard/internal/mqtt"
	"steelyard/internal/wire"
)

// log is a journal as it is read: the one that is being written, or an older one of the same
// directory that still holds entries without receipt.
type log interface {
	ID() string
	Last() chain.Link
	After(n uint64) iter.Seq2[journal.Stored, error]
	Receipt() (wire.Receipt, bool)
}

// Config of one stream's way to the cloud. Zero durations and numbers mean the default.
type Config struct {
	Site   string
	Stream wire.Stream
	Key    chain.Key       // signs batches
	Cloud  chain.PublicKey // checks receipts
	Window int             // batches in flight; default 8
	Batch  int             // most entries of a batch; default 256
	Stall  time.Duration   // without progress for so long, all is sent again; default 10 s
	Log    *slog.Logger
	// TrustPuback takes the broker's word for the cloud's: what is acknowledged is never sent again.
	// It exists for the tests that show what is lost then.
	TrustPuback bool
}

// Stream sends the journals of one directory.
type Stream struct {
	config  Config
	journal *journal.Journal

	mu      sync.Mutex // guards the fields below, which the flights and other goroutines share
	refused string     // why the cloud refuses, until the next receipt
	unsaved bool       // the newest receipt could not be saved
	// By journal, up to where entries are done with without a receipt: with TrustPuback what the
	// broker acknowledged, without it the end of an older journal that can't be read any more.
	beyond  map[string]uint64
	flights map[string]*flight
}

// New takes the journal that is being written; those before it are sent too.
func New(c Config, j *journal.Journal) *Stream {
	if c.Window == 0 {
		c.Window = 8
	}
	if c.Batch == 0 {
		c.Batch = 256
	}
	if c.Stall == 0 {
		c.Stall = 10 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Stream{config: c, journal: j, beyond: map[string]uint64{}, flights: map[string]*flight{}}
}

// Refused says why the cloud takes nothing, in its words; empty when it does.
func (s *Stream) Refused() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused
}

func (s *Stream) setRefused(why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = why
}

// doneWith says up to where a journal needs no receipt.
func (s *Stream) doneWith(journal string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.beyond[journal]
}

func (s *Stream) setDoneWith(journal string, n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.beyond[journal] = max(s.beyond[journal], n)
}

// saved takes note of whether a receipt could be saved; first says that it is the first of a row
// that could not.
func (s *Stream) saved(ok bool) (first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first = !ok && !s.unsaved
	s.unsaved = !ok
	return first
}

// Subscribe listens for receipts and requests on a new connection.
func (s *Stream) Subscribe(ctx context.Context, session *mqtt.Session) error {
	return session.Subscribe(ctx, wire.ReceiptTopic(s.config.Site, s.config.Stream), 1, s.Receive)
}

// Receive takes a receipt. It never blocks: a receipt that finds no room is followed by another.
func (s *Stream) Receive(m mqtt.Message) {
	r, err := wire.DecodeReceipt(m.Payload, s.config.Cloud)
	if err != nil {
		s.config.Log.Warn("receipt refused", "stream", s.config.Stream, "err", err)
		return
	}
	if r.Site != s.config.Site || r.Stream != s.config.Stream {
		s.config.Log.Warn("receipt for another stream", "site", r.Site, "stream", r.Stream)
		return
	}
	if f := s.flightOf(r.Journal); f != nil {
		select {
		case f.receipts <- r:
		default:
		}
	}
}

// flightOf finds the sending of a journal on the present connection; nil when there is none.
func (s *Stream) flightOf(journal string) *flight {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.flights[journal]
}

// Request takes the cloud's word that something is to be sent again.
func (s *Stream) Request(r wire.Request) {
	if r.Stream != s.config.Stream {
		return
	}
	if f := s.flightOf(r.Journal); f != nil {
		select {
		case f.requests <- r:
		default:
		}
	}
}

// Run sends on one connection until it ends, and never returns nil. All journals are sent side by
// side: one that the cloud does not take, because it was forked, must not hold up the others. A
// *journal.AheadError or *journal.ForkError says that the journal must not be continued.
func (s *Stream) Run(ctx context.Context, publish func(mqtt.Message) <-chan error) error {
	g, ctx := errgroup.WithContext(ctx)
	var flights []*flight
	for _, older := range s.journal.Older() {
		flights = append(flights, s.flight(older, false, publish))
	}
	flights = append(flights, s.flight(s.journal, true, publish))
	s.mu.Lock()
	clear(s.flights)
	for _, f := range flights {
		s.flights[f.log.ID()] = f
	}
	s.mu.Unlock()
	for _, f := range flights {
		g.Go(func() error { return f.run(ctx) })
	}
	return g.Wait()
}

func (s *Stream) flight(log log, current bool, publish func(mqtt.Message) <-chan error) *flight {
	return &flight{Stream: s, log: log, current: current, publish: publish,
		receipts: make(chan wire.Receipt, 64), requests: make(chan wire.Request, 16)}
}

// flight is the sending of one journal on one connection.
type flight struct {
	*Stream
	log     log
	current bool // the journal is being written: there is always more to come
	publish func(mqtt.Message) <-chan error

	receipts chan wire.Receipt
	requests chan wire.Request

	acked   uint64   // the cloud has everything up to here, as far as this connection knows
	stale   int64    // receipts up to this time, Unix ms, were taken back by a request
	barren  bool     // no entry from next on can be read
	next    uint64   // first number that was not sent yet
	lasts   []uint64 // last numbers of the batches in flight
	moved   time.Time
	pubacks chan puback
	gone    <-chan struct{} // closed when the flight has ended
}

type puback struct {
	last uint64
	err  error
}

// run sends one journal; an older one ends it when all of it that can be read is receipted.
func (f *flight) run(ctx context.Context) error {
	r, _ := f.log.Receipt()
	f.acked = max(r.N, f.doneWith(f.log.ID()))
	f.next, f.moved = f.acked+1, time.Now()
	f.pubacks = make(chan puback, mqtt.Window)
	wake := make(chan struct{}, 1)
	waiting, stop := context.WithCancel(ctx)
	f.gone = waiting.Done()
	var done sync.WaitGroup
	defer done.Wait()
	defer stop()
	if f.current {
		done.Go(func() { f.watch(waiting, wake) })
	}
	stall := time.NewTicker(f.config.Stall / 4)
	defer stall.Stop()
	for {
		if err := f.fill(ctx); err != nil {
			return err
		}
		if f.done() {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-wake:
		case r := <-f.receipts:
			if err := f.receipt(r); err != nil {
				return err
			}
		case r := <-f.requests:
			f.request(r)
		case p := <-f.pubacks:
			if p.err != nil {
				return p.err
			}
			if f.config.TrustPuback {
				f.setDoneWith(f.log.ID(), p.last)
				f.trust(p.last)
			}
		case <-stall.C:
			if len(f.lasts) > 0 && time.Since(f.moved) >= f.config.Stall {
				f.config.Log.Info("no receipt, sending again", "stream", f.config.Stream, "from", f.acked+1)
				f.again(f.acked + 1)
			}
		}
	}
}

// done says that nothing of an older journal is left to send. Its unreadable end is not
// waited for: what is lost there is named by the first entry of the next journal, which
// says where this one ended.
func (f *flight) done() bool {
	switch last := f.log.Last().N; {
	case f.current:
		return false
	case f.acked >= last:
		return true
	case f.barren && f.acked+1 >= f.next:
		f.config.Log.Error("the end of an older journal can't be read and is not sent", "stream", f.config.Stream,
			"journal", f.log.ID(), "from", f.next, "to", last)
		f.setDoneWith(f.log.ID(), last)
		return true
	}
	return false
}

// watch wakes the sender when entries are added.
func (f *flight) watch(ctx context.Context, wake chan<- struct{}) {
	for n := f.log.Last().N; ; n = f.log.Last().N {
		select {
		case wake <- struct{}{}:
		default:
		}
		if f.journal.Wait(ctx, n) != nil {
			return
		}
	}
}

func (f *flight) again(from uint64) {
	f.next, f.lasts, f.moved, f.barren = from, nil, time.Now(), false
}

// fill keeps the window full.
func (f *flight) fill(ctx context.Context) error {
	for len(f.lasts) < f.config.Window && f.next <= f.log.Last().N && ctx.Err() == nil {
		payload, last, err := f.batch()
		if err != nil {
			return err
		}
		if f.barren = payload == nil; f.barren {
			return nil
		}
		if len(f.lasts) == 0 {
			f.moved = time.Now()
		}
		result := f.publish(mqtt.Message{Topic: wire.TopicOf(f.config.Site, f.config.Stream), Payload: payload, QoS: 1})
		go func() { // ends with the session, which bounds every publish
			p := puback{last, <-result}
			select {
			case f.pubacks <- p:
			case <-f.gone:
			}
		}()
		f.lasts, f.next = append(f.lasts, last), last+1
	}
	return nil
}

// batch packs entries from next on. Damaged entries at its front are declared as a hole, so that
// the cloud knows that waiting for them is in vain.
func (f *flight) batch() (payload []byte, last uint64, err error) {
	var lines [][]byte
	var hole wire.Hole
	first, size := uint64(0), wire.MaxHeader
	var prev chain.Hash
	for stored, err := range f.log.After(f.next - 1) {
		if err != nil {
			damage, ok := errors.AsType[*journal.DamageError](err)
			if !ok {
				return nil, 0, err
			}
			if len(lines) > 0 {
				break
			}
			if hole.From == 0 && damage.From != 0 {
				hole = wire.Hole{From: f.next, Reason: damage.Reason}
			}
			continue
		}
		if len(lines) == 0 {
			first, prev = stored.Entry.N, stored.Entry.Prev
		}
		if size += len(stored.Line) + 1; len(lines) > 0 && (size > wire.MaxBatch || len(lines) == f.config.Batch) {
			break
		}
		lines = append(lines, stored.Line)
	}
	if len(lines) == 0 {
		return nil, 0, nil
	}
	payload, err = wire.EncodeBatch(f.config.Site, f.log.ID(), f.config.Stream, first, prev, lines, hole, f.config.Key)
	return payload, first + uint64(len(lines)) - 1, err
}

// receipt moves the mark. One that says less than is known is an old one still under way: going
// back is the cloud's to request. The journal checks that the cloud holds what it holds.
func (f *flight) receipt(r wire.Receipt) error {
	if r.Journal != f.log.ID() {
		return nil
	}
	f.setRefused("")
	if r.N <= f.acked {
		return nil
	}
	if r.AtMS <= f.stale {
		return nil // one that the cloud's request has taken back, still under way
	}
	err := f.journal.SetReceipt(r)
	_, ahead := errors.AsType[*journal.AheadError](err)
	_, fork := errors.AsType[*journal.ForkError](err)
	if ahead || fork {
		return err
	}
	// A disk that takes no receipt is no reason to send less: the cloud has the entries, and what is
	// not saved only costs sending them again after the next start.
	if f.saved(err == nil) {
		f.config.Log.Error("receipt not saved", "stream", f.config.Stream, "number", r.N, "err", err)
	}
	f.trust(r.N)
	return nil
}

func (f *flight) trust(n uint64) {
	if n <= f.acked {
		return
	}
	f.acked, f.moved = n, time.Now()
	f.next = max(f.next, n+1)
	for len(f.lasts) > 0 && f.lasts[0] <= n {
		f.lasts = f.lasts[1:]
	}
}

func (f *flight) request(r wire.Request) {
	if r.Journal != f.log.ID() || f.config.TrustPuback {
		return
	}
	if r.Why != "hole" {
		f.setRefused(r.Why)
		return // sending the same again at once would be refused again; the stall timer tries later
	}
	if r.From >= 1 && r.From <= f.next {
		if held, ok := f.log.Receipt(); ok && r.From <= f.acked {
			f.stale = held.AtMS
		}
		f.acked = min(f.acked, r.From-1)
		f.again(r.From)
	}
}
