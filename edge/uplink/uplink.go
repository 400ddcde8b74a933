// Package uplink brings journals to the cloud.
//
// In: journals, and a connection to a broker, again and again. Out: signed batches in order, until
// the cloud's receipt covers every entry.
// It promises that only a receipt signed by the cloud moves the mark from which it sends again:
// neither a publish token nor a PUBACK, no count of tries and no age. What is not receipted is
// sent again after a time without progress, and at the cloud's request from any earlier number.
// Each connection begins with a question: the newest receipted entry is sent again where nothing
// else is to be sent, so that the cloud says how far it holds the journal.
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
	Window int             // most batches in flight; default 8
	Batch  int             // most entries of a batch; default 256
	Stall  time.Duration   // without progress for so long, or longer while the cloud is slow, all is sent again; default 10 s
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
	flights map[string]*flight // of the newest connection
	ready   bool               // no Run has taken them yet
	asked   time.Time          // since when entries of the journal that is written wait for a receipt on this connection; zero: none do
	vouched chan struct{}      // closed when the cloud has vouched for the journal
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
	return &Stream{config: c, journal: j, beyond: map[string]uint64{}, flights: map[string]*flight{}, vouched: make(chan struct{})}
}

// Vouched is closed when the cloud has said, in answer to this process, that it holds of the
// journal that is being written no more than this disk, and the same. A receipt that a broker has
// kept vouches for nothing: the cloud may hold more by now.
func (s *Stream) Vouched() <-chan struct{} { return s.vouched }

func (s *Stream) vouch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.vouched:
	default:
		close(s.vouched)
	}
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

// Unanswered is how long the connection has stood and entries were sent without any receipt; 0 when
// nothing waits. A broker can acknowledge what it drops, and a city can stand still.
func (s *Stream) Unanswered() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked.IsZero() {
		return 0
	}
	return time.Since(s.asked)
}

// waits takes note that entries wait for a receipt, or that none do; again begins the time anew.
func (s *Stream) waits(some, again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !some:
		s.asked = time.Time{}
	case again || s.asked.IsZero():
		s.asked = time.Now()
	}
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

// Subscribe listens for receipts on a new connection. What comes before Run is kept for it: a
// receipt that the broker has kept comes at once.
func (s *Stream) Subscribe(ctx context.Context, session *mqtt.Session) error {
	s.prepare()
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
		case f.receipts <- word{r, !m.Retained}:
		default:
		}
	}
}

// word is a receipt, and whether the cloud has said it just now.
type word struct {
	wire.Receipt
	live bool
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
	defer s.waits(false, false)
	g, ctx := errgroup.WithContext(ctx)
	for _, f := range s.prepared() {
		f.publish = publish
		g.Go(func() error { return f.run(ctx) })
	}
	return g.Wait()
}

// prepare makes the flights of a new connection.
func (s *Stream) prepare() {
	flights := map[string]*flight{}
	for _, older := range s.journal.Older() {
		flights[older.ID()] = s.flight(older, false)
	}
	flights[s.journal.ID()] = s.flight(s.journal, true)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flights, s.ready = flights, true
}

// prepared gives the flights that Subscribe has made, or new ones: each serves one connection.
func (s *Stream) prepared() map[string]*flight {
	s.mu.Lock()
	ready := s.ready
	s.mu.Unlock()
	if !ready {
		s.prepare()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready = false
	return s.flights
}

func (s *Stream) flight(log log, current bool) *flight {
	room := 4 // of an older journal little comes; there may be many
	if current {
		room = 64
	}
	return &flight{Stream: s, log: log, current: current, receipts: make(chan word, room), requests: make(chan wire.Request, room)}
}

// flight is the sending of one journal on one connection.
type flight struct {
	*Stream
	log     log
	current bool // the journal is being written: there is always more to come
	publish func(mqtt.Message) <-chan error

	receipts chan word
	requests chan wire.Request

	acked   uint64 // the cloud has everything up to here, as far as this connection knows
	back    bool   // a request took receipts back: of what was not sent since, a receipt is an old one
	barren  bool   // no entry from next on can be read
	next    uint64 // first number that was not sent yet
	sent    []sending
	highest uint64 // number that was sent before it was gone back; below it all is sent again
	pace    pace
	heard   bool // the cloud has answered on this connection
	moved   time.Time
	pubacks chan puback
	gone    <-chan struct{} // closed when the flight has ended
}

// sending is a batch in flight.
type sending struct {
	last uint64 // its last number
	at   time.Time
}

type puback struct {
	last uint64
	err  error
}

// run sends one journal; an older one ends it when all of it that can be read is receipted.
func (f *flight) run(ctx context.Context) error {
	r, _ := f.log.Receipt()
	f.acked = max(r.N, f.doneWith(f.log.ID()))
	f.next, f.moved = f.begin(), time.Now()
	f.pace = newPace(f.config)
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
			if len(f.sent) > 0 && time.Since(f.moved) >= f.pace.patience {
				f.config.Log.Info("no receipt, sending again", "stream", f.config.Stream, "from", f.acked+1)
				f.pace.stalled()
				f.again(f.begin())
			}
		}
	}
}

// begin is the number from which to send: what follows the receipt, or the question where nothing
// follows it and the cloud was not heard yet.
func (f *flight) begin() uint64 {
	if last := f.log.Last().N; f.current && !f.heard && last > 0 {
		return min(f.acked+1, last)
	}
	return f.acked + 1
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
	f.highest = max(f.highest, f.next-1)
	f.next, f.sent, f.moved, f.barren = from, nil, time.Now(), false
}

// fill keeps the window full.
func (f *flight) fill(ctx context.Context) error {
	for len(f.sent) < f.pace.window && f.next <= f.log.Last().N && ctx.Err() == nil {
		payload, last, err := f.batch()
		if err != nil {
			return err
		}
		if f.barren = payload == nil; f.barren {
			return nil
		}
		if len(f.sent) == 0 {
			f.moved = time.Now()
		}
		if f.current {
			f.waits(true, false)
		}
		result := f.publish(mqtt.Message{Topic: wire.TopicOf(f.config.Site, f.config.Stream), Payload: payload, QoS: 1})
		go func() { // ends with the session, which bounds every publish
			p := puback{last, <-result}
			select {
			case f.pubacks <- p:
			case <-f.gone:
			}
		}()
		f.sent, f.next = append(f.sent, sending{last, time.Now()}), last+1
	}
	return nil
}

// after gives the entries after n: those written a moment ago from memory.
func (f *flight) after(n uint64) iter.Seq2[journal.Stored, error] {
	if f.current {
		if run := f.journal.Fresh(n, f.pace.entries+1); len(run) > 0 {
			return func(yield func(journal.Stored, error) bool) {
				for _, e := range run {
					if !yield(e, nil) {
						return
					}
				}
			}
		}
	}
	return f.log.After(n)
}

// batch packs entries from next on. Damaged entries at its front are declared as a hole, so that
// the cloud knows that waiting for them is in vain.
func (f *flight) batch() (payload []byte, last uint64, err error) {
	var lines [][]byte
	var hole wire.Hole
	first, size := uint64(0), wire.MaxHeader
	var prev chain.Hash
	for stored, err := range f.after(f.next - 1) {
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
		if size += len(stored.Line) + 1; len(lines) > 0 && (size > f.pace.bytes || len(lines) == f.pace.entries) {
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
func (f *flight) receipt(r word) error {
	if r.N >= f.next && f.back && r.N <= f.log.Last().N {
		return nil // one that the cloud's request has taken back, still under way
	}
	var err error
	if r.N > f.acked {
		err = f.journal.SetReceipt(r.Receipt)
	} else {
		err = f.journal.Compare(r.Receipt)
	}
	if journal.Broken(err) {
		if f.current {
			return err
		}
		f.giveUp(err)
		return nil
	}
	f.setRefused("")
	if f.heard = f.heard || r.live; f.current && r.live {
		f.vouch()
	}
	if r.N <= f.acked {
		f.pace.heard()
	}
	if r.N < f.acked {
		return nil
	}
	// A disk that takes no receipt is no reason to send less: the cloud has the entries, and what is
	// not saved only costs sending them again after the next start.
	if f.saved(err == nil) {
		f.config.Log.Error("receipt not saved", "stream", f.config.Stream, "number", r.N, "err", err)
	}
	f.trust(r.N)
	return nil
}

// giveUp ends the sending of an older journal that the cloud holds otherwise: it is not continued
// anyway, and what it holds beyond the cloud's history stays on the disk for a person to compare.
func (f *flight) giveUp(err error) {
	f.config.Log.Error("an older journal is not sent any more", "stream", f.config.Stream, "err", err)
	f.acked = f.log.Last().N
	f.setDoneWith(f.log.ID(), f.acked)
}

func (f *flight) trust(n uint64) {
	if n > f.acked {
		f.acked, f.moved = n, time.Now()
		f.next = max(f.next, n+1)
		done := 0
		for done < len(f.sent) && f.sent[done].last <= n {
			done++
		}
		if done > 0 {
			newest := f.sent[done-1]
			f.pace.receipted(done, f.moved.Sub(newest.at), newest.last <= f.highest)
			f.sent = f.sent[done:]
		}
	}
	if f.current {
		f.waits(len(f.sent) > 0, true)
	}
}

func (f *flight) request(r wire.Request) {
	if r.Journal != f.log.ID() || f.config.TrustPuback {
		return
	}
	if r.Why != wire.WhyHole {
		if f.current && f.acked < f.log.Last().N { // otherwise nothing can have been refused: nobody has signed a request
			f.setRefused(r.Why)
		}
		return // sending the same again at once would be refused again; the stall timer tries later
	}
	if r.From >= 1 && r.From <= f.next {
		f.back = f.back || r.From <= f.acked
		f.acked = min(f.acked, r.From-1)
		f.again(r.From)
	}
}
