package rollup

import (
	"database/sql"
	"errors"
	"fmt"

	"steelyard/cloud/ledger"
	"steelyard/internal/record"
)

// Reasons of alarms about entries that are in the ledger and counted.
const (
	NumberAgain = "number-again" // a ticket has the number of another one
	OldImage    = "old-image"    // a journal was begun by a disk that did not hold all of the one before
	TwoEdges    = "two-edges"    // a journal goes on although another one has taken its place
)

// watch raises alarms about what the ledger shows of the edges.
func (s *rollupTx) watch(e ledger.Entry, body record.Body) error {
	if err := s.ended(e); err != nil {
		return err
	}
	switch b := body.(type) {
	case *record.Ticket:
		return s.number(e, b)
	case *record.Opened:
		return s.succession(e, b)
	}
	return nil
}

func (s *rollupTx) number(e ledger.Entry, t *record.Ticket) error {
	added, err := s.tx.ExecContext(s.ctx, `
		insert into numbers (site, number, journal, n) values ($1, $2, $3, $4) on conflict (site, number) do nothing`,
		e.Site, t.Number, e.Journal, int64(e.N))
	if err != nil {
		return wrap("numbers", err)
	}
	if n, err := added.RowsAffected(); err != nil || n == 1 {
		return err
	}
	var first record.Ref
	err = s.tx.QueryRowContext(s.ctx, `select journal, n from numbers where site = $1 and number = $2`, e.Site, t.Number).Scan(&first.Journal, &first.N)
	if err != nil {
		return wrap("numbers", err)
	}
	return s.alarm(e, NumberAgain, fmt.Sprintf("ticket number %.40s of vehicle %.20s is that of entry %d of journal %s: both are counted; look at the paper of both", t.Number, t.Vehicle, first.N, first.Journal))
}

// succession takes in where a new journal says that the one before it ended.
func (s *rollupTx) succession(e ledger.Entry, o *record.Opened) error {
	before := o.Previous
	if before.Journal == "" || before.Journal == e.Journal {
		return nil
	}
	_, err := s.tx.ExecContext(s.ctx, `
		insert into successions (site, journal, n, next) values ($1, $2, $3, $4) on conflict (site, journal, next) do nothing`,
		e.Site, before.Journal, int64(before.N), e.Journal)
	if err != nil {
		return wrap("successions", err)
	}
	delete(s.ends, entryID{e.Site, record.Ref{Journal: before.Journal}})
	_, more, err := s.find.Find(s.ctx, e.Site, before.Journal, before.N+1)
	if err != nil || !more {
		return err
	}
	return s.alarm(e, OldImage, fmt.Sprintf("journal %s was begun after entry %d of journal %s, of which the city holds more: the disk came back from an old image", e.Journal, before.N, before.Journal))
}

// end is where a journal ended, by the word of the next one.
type end struct {
	n    uint64
	next string
}

// ended raises an alarm when an entry stands behind its journal's end.
func (s *rollupTx) ended(e ledger.Entry) error {
	key := entryID{e.Site, record.Ref{Journal: e.Journal}}
	at, known := s.ends[key]
	if !known {
		err := s.tx.QueryRowContext(s.ctx, `select n, next from successions where site = $1 and journal = $2 order by n limit 1`,
			e.Site, e.Journal).Scan(&at.n, &at.next)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return wrap("successions", err)
		}
		s.ends[key] = at
	}
	if at.next == "" || e.N <= at.n {
		return nil
	}
	// The same for every such entry: one alarm, counted.
	return s.tables.Alarm(s.ctx, s.tx, e.Received, ledger.Refusal{Site: e.Site, Journal: e.Journal, N: at.n, Reason: TwoEdges,
		Why: fmt.Sprintf("journal %s goes on after entry %d, where journal %s took its place: two edges have the key of this site; both are counted", e.Journal, at.n, at.next)})
}

func (s *rollupTx) alarm(e ledger.Entry, reason, why string) error {
	return s.tables.Alarm(s.ctx, s.tx, e.Received, ledger.Refusal{Site: e.Site, Journal: e.Journal, N: e.N, Reason: reason, Why: why, Evidence: e.Line})
}
