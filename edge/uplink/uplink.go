// Package uplink brings journals to the cloud, with a [Sender] for each directory of them.
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

// source is a journal as it is read: the one that is being written, or an older one of the same
// directory that still holds entries without receipt.
type source interface {
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

// Sender sends the journals of one directory.
type Sender struct {
	config  Config
	journal *journal.Journal

	mu      sync.Mutex // guards the fields below, which the journals' senders and other goroutines share
	refused string     // why the cloud refuses, until the next receipt
	unsaved bool       // the newest receipt could not be saved
	// By journal, up to where entries are done with without a receipt: with TrustPuback what the
	// broker acknowledged, without it the end of an older journal that can't be read any more.
	skip         map[string]uint64
	senders      map[string]*journalSender // of the newest connection
	ready        bool                      // no Run has taken them yet
	waitingSince time.Time                 // since when entries of the journal that is written wait for a receipt on this connection; zero: nothing waits
	vouched      chan struct{}             // closed when the cloud has vouched for the journal
}

// New takes the journal that is being written; those before it are sent too.
func New(c Config, j *journal.Journal) *Sender {
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
	return &Sender{config: c, journal: j, skip: map[string]uint64{}, senders: map[string]*journalSender{}, vouched: make(chan struct{})}
}

// Vouched is closed when the cloud has said, in answer to this process, that it holds of the
// journal that is being written no more than this disk, and the same. A receipt that a broker has
// kept vouches for nothing: the cloud may hold more by now.
func (s *Sender) Vouched() <-chan struct{} { return s.vouched }

func (s *Sender) setVouched() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.vouched:
	default:
		close(s.vouched)
	}
}

// Refused returns why the cloud takes nothing, in its words; empty when it does.
func (s *Sender) Refused() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused
}

func (s *Sender) setRefused(why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = why
}

// Unanswered is how long the connection has stood and entries were sent without any receipt; 0 when
// nothing waits. A broker can acknowledge what it drops, and a city can stand still.
func (s *Sender) Unanswered() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waitingSince.IsZero() {
		return 0
	}
	return time.Since(s.waitingSince)
}

// setWaiting takes note that entries wait for a receipt, or no longer; again begins the time anew.
func (s *Sender) setWaiting(some, again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !some:
		s.waitingSince = time.Time{}
	case again || s.waitingSince.IsZero():
		s.waitingSince = time.Now()
	}
}

// skipTo returns the last number of a journal that needs no receipt.
func (s *Sender) skipTo(journal string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.skip[journal]
}

func (s *Sender) setSkipTo(journal string, n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.skip[journal] = max(s.skip[journal], n)
}

// setSaved takes note of whether a receipt could be saved; first reports whether it is the first of a row
// that could not.
func (s *Sender) setSaved(ok bool) (first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first = !ok && !s.unsaved
	s.unsaved = !ok
	return first
}

// Subscribe listens for receipts on a new connection. What comes before Run is kept for it: a
// receipt that the broker has kept comes at once.
func (s *Sender) Subscribe(ctx context.Context, session *mqtt.Session) error {
	s.prepare()
	return session.Subscribe(ctx, wire.ReceiptTopic(s.config.Site, s.config.Stream), 1, s.Receive)
}

// Receive takes a receipt. It never blocks: a receipt that finds no room is followed by another.
func (s *Sender) Receive(m mqtt.Message) {
	r, err := wire.DecodeReceipt(m.Payload, s.config.Cloud)
	if err != nil {
		s.config.Log.Warn("receipt refused", "stream", s.config.Stream, "err", err)
		return
	}
	if r.Site != s.config.Site || r.Stream != s.config.Stream {
		s.config.Log.Warn("receipt for another stream", "site", r.Site, "stream", r.Stream)
		return
	}
	if j := s.senderOf(r.Journal); j != nil {
		select {
		case j.receipts <- received{r, !m.Retained}:
		default:
		}
	}
}

// received is a receipt, and whether the cloud has said it just now.
type received struct {
	wire.Receipt
	live bool
}

// senderOf returns the sender of a journal on the present connection, or nil.
func (s *Sender) senderOf(journal string) *journalSender {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.senders[journal]
}

// Request takes the cloud's word that something is to be sent again.
func (s *Sender) Request(r wire.Request) {
	if r.Stream != s.config.Stream {
		return
	}
	if j := s.senderOf(r.Journal); j != nil {
		select {
		case j.requests <- r:
		default:
		}
	}
}

// Run sends on one connection until it ends, and never returns nil. All journals are sent side by
// side: one that the cloud does not take, because it was forked, must not hold up the others. A
// *journal.AheadError or *journal.ForkError says that the journal must not be continued.
func (s *Sender) Run(ctx context.Context, publish func(mqtt.Message) <-chan error) error {
	defer s.setWaiting(false, false)
	g, ctx := errgroup.WithContext(ctx)
	for _, j := range s.prepared() {
		j.publish = publish
		g.Go(func() error { return j.run(ctx) })
	}
	return g.Wait()
}

// prepare makes the senders of a new connection.
func (s *Sender) prepare() {
	senders := map[string]*journalSender{}
	for _, older := range s.journal.Older() {
		senders[older.ID()] = s.newSender(older, false)
	}
	senders[s.journal.ID()] = s.newSender(s.journal, true)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.senders, s.ready = senders, true
}

// prepared returns the senders that Subscribe has made, or new ones: each serves one connection.
func (s *Sender) prepared() map[string]*journalSender {
	s.mu.Lock()
	ready := s.ready
	s.mu.Unlock()
	if !ready {
		s.prepare()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready = false
	return s.senders
}

func (s *Sender) newSender(src source, current bool) *journalSender {
	room := 4 // of an older journal little comes; there may be many
	if current {
		room = 64
	}
	return &journalSender{Sender: s, source: src, current: current, receipts: make(chan received, room), requests: make(chan wire.Request, room)}
}

// journalSender sends one journal on one connection.
type journalSender struct {
	*Sender
	source  source
	current bool // the journal is being written: there is always more to come
	publish func(mqtt.Message) <-chan error

	receipts chan received
	requests chan wire.Request

	acked        uint64 // the cloud has everything up to here, as far as this connection knows
	takenBack    bool   // a request took receipts back: of what was not sent since, a receipt is an old one
	exhausted    bool   // no entry from next on can be read
	next         uint64 // first number that was not sent yet
	inFlight     []sentBatch
	highest      uint64 // number that was sent before a rewind; up to here all is sent again
	pace         pace
	heard        bool // the cloud has answered on this connection
	lastProgress time.Time
	pubacks      chan puback
	ended        <-chan struct{} // closed when run has ended
}

// sentBatch is a batch in flight.
type sentBatch struct {
	last uint64 // its last number
	at   time.Time
}

type puback struct {
	last uint64
	err  error
}

// run sends one journal; an older one ends it when all of it that can be read is receipted.
func (j *journalSender) run(ctx context.Context) error {
	r, _ := j.source.Receipt()
	j.acked = max(r.N, j.skipTo(j.source.ID()))
	j.next, j.lastProgress = j.resumeFrom(), time.Now()
	j.pace = newPace(j.config)
	j.pubacks = make(chan puback, mqtt.Window)
	wake := make(chan struct{}, 1)
	waiting, stop := context.WithCancel(ctx)
	j.ended = waiting.Done()
	var done sync.WaitGroup
	defer done.Wait()
	defer stop()
	if j.current {
		done.Go(func() { j.watch(waiting, wake) })
	}
	stall := time.NewTicker(j.config.Stall / 4)
	defer stall.Stop()
	for {
		if err := j.fill(ctx); err != nil {
			return err
		}
		if j.done() {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-wake:
		case r := <-j.receipts:
			if err := j.receipt(r); err != nil {
				return err
			}
		case r := <-j.requests:
			j.request(r)
		case p := <-j.pubacks:
			if p.err != nil {
				return p.err
			}
			if j.config.TrustPuback {
				j.setSkipTo(j.source.ID(), p.last)
				j.ackTo(p.last)
			}
		case <-stall.C:
			if len(j.inFlight) > 0 && time.Since(j.lastProgress) >= j.pace.patience {
				j.config.Log.Info("no receipt, sending again", "stream", j.config.Stream, "from", j.acked+1)
				j.pace.stalled()
				j.rewind(j.resumeFrom())
			}
		}
	}
}

// resumeFrom is the number from which to send: what follows the receipt, or the question where nothing
// follows it and the cloud was not heard yet.
func (j *journalSender) resumeFrom() uint64 {
	if last := j.source.Last().N; j.current && !j.heard && last > 0 {
		return min(j.acked+1, last)
	}
	return j.acked + 1
}

// done reports whether nothing of an older journal is left to send. Its unreadable end is not
// waited for: what is lost there is named by the first entry of the next journal, which
// says where this one ended.
func (j *journalSender) done() bool {
	switch last := j.source.Last().N; {
	case j.current:
		return false
	case j.acked >= last:
		return true
	case j.exhausted && j.acked+1 >= j.next:
		j.config.Log.Error("the end of an older journal can't be read and is not sent", "stream", j.config.Stream,
			"journal", j.source.ID(), "from", j.next, "to", last)
		j.setSkipTo(j.source.ID(), last)
		return true
	}
	return false
}

// watch wakes the sender when entries are added.
func (j *journalSender) watch(ctx context.Context, wake chan<- struct{}) {
	for n := j.source.Last().N; ; n = j.source.Last().N {
		select {
		case wake <- struct{}{}:
		default:
		}
		if j.journal.Wait(ctx, n) != nil {
			return
		}
	}
}

func (j *journalSender) rewind(from uint64) {
	j.highest = max(j.highest, j.next-1)
	j.next, j.inFlight, j.lastProgress, j.exhausted = from, nil, time.Now(), false
}

// fill keeps the window full.
func (j *journalSender) fill(ctx context.Context) error {
	for len(j.inFlight) < j.pace.window && j.next <= j.source.Last().N && ctx.Err() == nil {
		payload, last, err := j.batch()
		if err != nil {
			return err
		}
		if j.exhausted = payload == nil; j.exhausted {
			return nil
		}
		if len(j.inFlight) == 0 {
			j.lastProgress = time.Now()
		}
		if j.current {
			j.setWaiting(true, false)
		}
		result := j.publish(mqtt.Message{Topic: wire.TopicOf(j.config.Site, j.config.Stream), Payload: payload, QoS: 1})
		go func() { // ends with the session, which bounds every publish
			p := puback{last, <-result}
			select {
			case j.pubacks <- p:
			case <-j.ended:
			}
		}()
		j.inFlight, j.next = append(j.inFlight, sentBatch{last, time.Now()}), last+1
	}
	return nil
}

// after returns the entries after n: those written a moment ago from memory.
func (j *journalSender) after(n uint64) iter.Seq2[journal.Stored, error] {
	if j.current {
		if run := j.journal.Fresh(n, j.pace.entries+1); len(run) > 0 {
			return func(yield func(journal.Stored, error) bool) {
				for _, e := range run {
					if !yield(e, nil) {
						return
					}
				}
			}
		}
	}
	return j.source.After(n)
}

// batch packs entries from next on. Damaged entries at its front are declared as a hole, so that
// the cloud knows that waiting for them is in vain.
func (j *journalSender) batch() (payload []byte, last uint64, err error) {
	var lines [][]byte
	var hole wire.Hole
	first, size := uint64(0), wire.MaxHeader
	var prev chain.Hash
	for stored, err := range j.after(j.next - 1) {
		if err != nil {
			damage, ok := errors.AsType[*journal.DamageError](err)
			if !ok {
				return nil, 0, err
			}
			if len(lines) > 0 {
				break
			}
			if hole.From == 0 && damage.From != 0 {
				hole = wire.Hole{From: j.next, Reason: damage.Reason}
			}
			continue
		}
		if len(lines) == 0 {
			first, prev = stored.Entry.N, stored.Entry.Prev
		}
		if size += len(stored.Line) + 1; len(lines) > 0 && (size > j.pace.bytes || len(lines) == j.pace.entries) {
			break
		}
		lines = append(lines, stored.Line)
	}
	if len(lines) == 0 {
		return nil, 0, nil
	}
	payload, err = wire.EncodeBatch(j.config.Site, j.source.ID(), j.config.Stream, first, prev, lines, hole, j.config.Key)
	return payload, first + uint64(len(lines)) - 1, err
}

// receipt moves the mark. One that says less than is known is an old one still under way: going
// back is the cloud's to request. The journal checks that the cloud holds what it holds.
func (j *journalSender) receipt(r received) error {
	if r.N >= j.next && j.takenBack && r.N <= j.source.Last().N {
		return nil // one that the cloud's request has taken back, still under way
	}
	var err error
	if r.N > j.acked {
		err = j.journal.SetReceipt(r.Receipt)
	} else {
		err = j.journal.Compare(r.Receipt)
	}
	if journal.Broken(err) {
		if j.current {
			return err
		}
		j.giveUp(err)
		return nil
	}
	j.setRefused("")
	if j.heard = j.heard || r.live; j.current && r.live {
		j.setVouched()
	}
	if r.N <= j.acked {
		j.pace.heard()
	}
	if r.N < j.acked {
		return nil
	}
	// A disk that takes no receipt is no reason to send less: the cloud has the entries, and what is
	// not saved only costs sending them again after the next start.
	if j.setSaved(err == nil) {
		j.config.Log.Error("receipt not saved", "stream", j.config.Stream, "number", r.N, "err", err)
	}
	j.ackTo(r.N)
	return nil
}

// giveUp ends the sending of an older journal that the cloud holds otherwise: it is not continued
// anyway, and what it holds beyond the cloud's history stays on the disk for a person to compare.
func (j *journalSender) giveUp(err error) {
	j.config.Log.Error("an older journal is not sent any more", "stream", j.config.Stream, "err", err)
	j.acked = j.source.Last().N
	j.setSkipTo(j.source.ID(), j.acked)
}

func (j *journalSender) ackTo(n uint64) {
	if n > j.acked {
		j.acked, j.lastProgress = n, time.Now()
		j.next = max(j.next, n+1)
		done := 0
		for done < len(j.inFlight) && j.inFlight[done].last <= n {
			done++
		}
		if done > 0 {
			newest := j.inFlight[done-1]
			j.pace.receipted(done, j.lastProgress.Sub(newest.at), newest.last <= j.highest)
			j.inFlight = j.inFlight[done:]
		}
	}
	if j.current {
		j.setWaiting(len(j.inFlight) > 0, true)
	}
}

func (j *journalSender) request(r wire.Request) {
	if r.Journal != j.source.ID() || j.config.TrustPuback {
		return
	}
	if r.Why != wire.WhyHole {
		if j.current && j.acked < j.source.Last().N { // otherwise nothing can have been refused: a request is not signed
			j.setRefused(r.Why)
		}
		return // sending the same again at once would be refused again; the stall timer tries later
	}
	if r.From >= 1 && r.From <= j.next {
		j.takenBack = j.takenBack || r.From <= j.acked
		j.acked = min(j.acked, r.From-1)
		j.rewind(r.From)
	}
}
