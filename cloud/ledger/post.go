package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"runtime"
	"sync"
	"time"

	"steelyard/internal/chain"
	"steelyard/internal/wire"
)

// Result is what became of a batch.
type Result string

// The results.
const (
	Accepted Result = "accepted" // entries were added
	Skipped  Result = "skipped"  // everything in it was known
	Hole     Result = "hole"     // numbers before it are missing: send again from Position.N + 1
	Conflict Result = "conflict" // it tells another history; what was known first stays
	Refused  Result = "refused"  // nothing is taken from the journal: Why says so
)

// Position is how far one journal is committed.
type Position struct {
	Site    string
	Journal string
	Stream  wire.Stream
	N       uint64     // 0: nothing of this journal is known
	Hash    chain.Hash // of entry N
}

// Outcome is what became of one batch. The Position is the one after the whole transaction, ready
// for a receipt.
type Outcome struct {
	Position
	Result  Result
	Added   int    // entries stored, or for samples passed
	Invalid int    // of these, kept with their reason
	Lost    uint64 // numbers that the batch states to be gone, newly
	Late    int    // entries that came after their number was stated to be gone: quarantined
	Why     string // of Conflict and Refused
}

// Post adds batches of records in their order, in one transaction. The batches come from
// [wire.DecodeBatch], their signatures checked. An error means that none of them was added, and that
// the same call may be made again, unless it is [ErrUnknown].
func (l *Ledger) Post(ctx context.Context, received time.Time, batches []*wire.Batch) ([]Outcome, error) {
	return l.take(ctx, received, batches, wire.Records)
}

// Advance moves the positions of sample journals past batches whose samples are stored elsewhere.
// The lines are not kept, so an entry sent again is compared at the position only.
func (l *Ledger) Advance(ctx context.Context, received time.Time, batches []*wire.Batch) ([]Outcome, error) {
	return l.take(ctx, received, batches, wire.Samples)
}

func (l *Ledger) take(ctx context.Context, received time.Time, batches []*wire.Batch, stream wire.Stream) ([]Outcome, error) {
	if len(batches) == 0 {
		return nil, nil
	}
	for _, b := range batches {
		if b.Stream != stream {
			return nil, fmt.Errorf("ledger: batch of %s among %s", b.Stream, stream)
		}
	}
	p := postTx{received: received.UnixMicro(), journals: map[journalKey]*journalTx{},
		inserter: entryInserter{chunk: l.insert}, outcomes: make([]Outcome, len(batches))}
	if stream == wire.Records {
		p.invalid = validate(batches) // before the transaction: it needs no lock and half the time
	}
	err := l.write(ctx, func(ctx context.Context, tx *sql.Tx) error {
		p.ctx, p.tx = ctx, tx
		return p.run(batches)
	})
	if err != nil {
		return nil, err
	}
	if p.added > 0 {
		l.notify()
	}
	return p.outcomes, nil
}

// validate decodes every body and returns, per entry, why it is invalid; "" when it is valid.
func validate(batches []*wire.Batch) [][]string {
	why := make([][]string, len(batches))
	var wg sync.WaitGroup
	next := make(chan int, len(batches))
	for i := range batches {
		next <- i
	}
	close(next)
	for range min(runtime.GOMAXPROCS(0), len(batches)) {
		wg.Go(func() {
			for i := range next {
				why[i] = make([]string, len(batches[i].Entries))
				for k, e := range batches[i].Entries {
					if _, err := e.Decode(); err != nil {
						why[i][k] = truncate(err.Error())
					}
				}
			}
		})
	}
	wg.Wait()
	return why
}

// postTx is one transaction of Post or Advance.
type postTx struct {
	ctx        context.Context
	tx         *sql.Tx
	received   int64
	invalid    [][]string // why, for each batch and entry; nil for samples
	seq        int64      // newest of the ledger
	added      int
	journals   map[journalKey]*journalTx
	inserter   entryInserter
	outcomes   []Outcome
	quarantine *quarantineWriter
}

type journalKey struct{ site, journal string }

func (p *postTx) run(batches []*wire.Batch) error {
	// The row lock of a shared database; in SQLite the transaction itself is the lock.
	err := p.tx.QueryRowContext(p.ctx, `update head set seq = seq + 0 where id = 1 returning seq`).Scan(&p.seq)
	if err != nil {
		return fmt.Errorf("ledger: head: %w", err)
	}
	before := p.seq
	p.quarantine = &quarantineWriter{ctx: p.ctx, tx: p.tx}
	of := make([]*journalTx, len(batches))
	for i, b := range batches {
		s, err := p.journal(b)
		if err != nil {
			return err
		}
		of[i] = s
		if p.outcomes[i], err = p.batch(s, b, i); err != nil {
			return err
		}
	}
	if err := p.inserter.flush(p.ctx, p.tx); err != nil {
		return err
	}
	for i := range batches {
		p.outcomes[i].Position = of[i].Position
	}
	for _, s := range p.journals {
		if err := p.save(s); err != nil {
			return err
		}
	}
	if p.seq == before {
		return nil
	}
	if _, err := p.tx.ExecContext(p.ctx, `update head set seq = $1 where id = 1`, p.seq); err != nil {
		return fmt.Errorf("ledger: head: %w", err)
	}
	return nil
}

// batch takes in one batch: compares what is known, appends what is new.
func (p *postTx) batch(s *journalTx, b *wire.Batch, index int) (Outcome, error) {
	o := Outcome{Result: Refused, Why: s.refused}
	if s.refused != "" {
		return o, nil
	}
	class := classify(s.Position, b)
	if class.overlap > 0 {
		differs, late, err := p.compare(s, b, class.overlap)
		if err != nil {
			return o, err
		}
		if differs >= 0 {
			class = classification{result: Conflict, overlap: differs,
				why: fmt.Sprintf("entry %d is known with another hash", b.First+uint64(differs))}
		} else if o.Late, err = p.putLate(b, late); err != nil {
			return o, err
		}
	}
	o.Result, o.Why = class.result, class.why
	switch class.result {
	case Conflict:
		return o, p.putConflict(b, class.overlap, class.why)
	case Accepted:
		return p.append(o, s, b, index, class)
	}
	return o, nil
}

// append adds the entries after the known ones.
func (p *postTx) append(o Outcome, s *journalTx, b *wire.Batch, index int, class classification) (Outcome, error) {
	if s.id == 0 {
		if err := p.insertJournal(s); err != nil {
			return o, err
		}
	}
	if b.First > s.N+1 {
		o.Lost = b.First - s.N - 1
		if err := p.insertGap(s, b); err != nil {
			return o, err
		}
	}
	for k := class.overlap; k < len(b.Entries); k++ {
		o.Added++
		if b.Stream == wire.Samples {
			continue
		}
		p.seq++
		p.added++
		why := p.invalid[index][k]
		if why != "" {
			o.Invalid++
		}
		p.inserter.add(p.seq, s.id, &b.Entries[k], hashOf(b, k), p.received, why, b.Lines[k])
		if p.inserter.full() {
			if err := p.inserter.flush(p.ctx, p.tx); err != nil {
				return o, err
			}
		}
	}
	if b.Stream == wire.Records {
		if err := p.insertHeader(s, b); err != nil {
			return o, err
		}
	}
	s.N, s.Hash = b.Last, b.Head
	s.entries += int64(o.Added)
	s.invalid += int64(o.Invalid)
	return o, nil
}

// compare returns where the first entries of a batch differ from what is stored (−1: nowhere), and
// which of them came after their numbers were given up.
func (p *postTx) compare(s *journalTx, b *wire.Batch, overlap int) (differs int, late []int, err error) {
	if b.Stream == wire.Samples {
		if at := s.N - b.First; at < uint64(overlap) && hashOf(b, int(at)) != s.Hash {
			return int(at), nil, nil
		}
		return -1, nil, nil
	}
	// What this transaction has added is looked up like everything else.
	if err := p.inserter.flush(p.ctx, p.tx); err != nil {
		return 0, nil, err
	}
	rows, err := p.tx.QueryContext(p.ctx, `
		select n, hash from entries where journal_id = $1 and n >= $2 and n < $3 order by n`,
		s.id, int64(b.First), int64(b.First)+int64(overlap))
	if err != nil {
		return 0, nil, fmt.Errorf("ledger: compare: %w", err)
	}
	defer rows.Close()
	next := 0
	for rows.Next() {
		var n uint64
		var text string
		if err := rows.Scan(&n, &text); err != nil {
			return 0, nil, fmt.Errorf("ledger: compare: %w", err)
		}
		for ; next < int(n-b.First); next++ {
			late = append(late, next)
		}
		if hashOf(b, next).String() != text {
			return next, nil, nil
		}
		next++
	}
	for ; next < overlap; next++ {
		late = append(late, next)
	}
	if err := rows.Err(); err != nil {
		return 0, nil, fmt.Errorf("ledger: compare: %w", err)
	}
	return -1, late, nil
}
