package ledger

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"steelyard/internal/chain"
	"steelyard/internal/wire"
)

// journalTx is a journal's row during a transaction.
type journalTx struct {
	Position
	id               int64
	was              uint64 // position in the database
	entries, invalid int64  // added by this transaction
	refused          string // why nothing is taken from it
}

// maxJournals bounds what one site can make of new journals. A start that can't ask the city begins
// one: ten a day for five years.
const maxJournals = 20_000

// journal finds the row of a batch's journal, as this transaction sees it.
func (p *postTx) journal(b *wire.Batch) (*journalTx, error) {
	key := journalKey{b.Site, b.Journal}
	if s := p.journals[key]; s != nil {
		return s, nil
	}
	s := &journalTx{Position: Position{Site: b.Site, Journal: b.Journal, Stream: b.Stream}}
	var stream, hash string
	err := p.tx.QueryRowContext(p.ctx, `select id, stream, n, hash from journals where site = $1 and journal = $2`,
		b.Site, b.Journal).Scan(&s.id, &stream, &s.N, &hash)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		err = p.checkNewJournal(s)
	case err != nil:
	case stream != string(b.Stream):
		s.N, s.refused = 0, fmt.Sprintf("journal %s carries %s, not %s", b.Journal, stream, b.Stream)
	default:
		s.Hash, err = chain.ParseHash(hash)
	}
	if err != nil {
		return nil, fmt.Errorf("ledger: journal of site %s, %s: %w", b.Site, b.Journal, err)
	}
	s.was = s.N
	p.journals[key] = s
	return s, nil
}

// checkNewJournal refuses a journal that the site may not begin.
func (p *postTx) checkNewJournal(s *journalTx) error {
	var enrolled, journals int
	err := p.tx.QueryRowContext(p.ctx, `
		select (select count(*) from sites where id = $1), (select count(*) from journals where site = $1)`,
		s.Site).Scan(&enrolled, &journals)
	switch {
	case err != nil:
		return err
	case enrolled == 0:
		s.refused = fmt.Sprintf("site %s is not enrolled", s.Site)
	case journals >= maxJournals:
		s.refused = fmt.Sprintf("site %s has begun %d journals, no more are taken: look for the fault that makes it begin again", s.Site, journals)
	}
	return nil
}

func (p *postTx) insertJournal(s *journalTx) error {
	err := p.tx.QueryRowContext(p.ctx, `
		insert into journals (id, site, journal, stream, n, hash, entries, invalid, first_us, last_us)
		values ((select coalesce(max(id), 0) + 1 from journals), $1, $2, $3, 0, $4, 0, 0, $5, $5)
		returning id`, s.Site, s.Journal, string(s.Stream), s.Hash.String(), p.received).Scan(&s.id)
	if err != nil {
		return fmt.Errorf("ledger: open journal %s of site %s: %w", s.Journal, s.Site, err)
	}
	return nil
}

// save writes the position. The old position in the condition is the lock of a shared database.
func (p *postTx) save(s *journalTx) error {
	if s.N == s.was {
		return nil
	}
	done, err := p.tx.ExecContext(p.ctx, `
		update journals set n = $1, hash = $2, entries = entries + $3, invalid = invalid + $4, last_us = $5
		where id = $6 and n = $7`,
		int64(s.N), s.Hash.String(), s.entries, s.invalid, p.received, s.id, int64(s.was))
	if err != nil {
		return fmt.Errorf("ledger: position of site %s, journal %s: %w", s.Site, s.Journal, err)
	}
	if n, err := done.RowsAffected(); err != nil || n != 1 {
		return errors.Join(err, fmt.Errorf("ledger: position of site %s, journal %s moved under the transaction", s.Site, s.Journal))
	}
	return nil
}

func (p *postTx) insertGap(s *journalTx, b *wire.Batch) error {
	_, err := p.tx.ExecContext(p.ctx, `
		insert into gaps (journal_id, from_n, to_n, reason, seen_us, alarm) values ($1, $2, $3, $4, $5, $6)`,
		s.id, int64(s.N+1), int64(b.First-1), b.Reason, p.received, boolInt(b.Stream == wire.Records))
	if err != nil {
		return fmt.Errorf("ledger: gap of site %s, journal %s: %w", s.Site, s.Journal, err)
	}
	return nil
}

func (p *postTx) insertHeader(s *journalTx, b *wire.Batch) error {
	header, err := json.Marshal(b.Header)
	if err != nil {
		return fmt.Errorf("ledger: batch header: %w", err)
	}
	_, err = p.tx.ExecContext(p.ctx, `insert into batch_headers (journal_id, n, header) values ($1, $2, $3)`, s.id, int64(b.Last), string(header))
	if err != nil {
		return fmt.Errorf("ledger: batch header of site %s, journal %s: %w", s.Site, s.Journal, err)
	}
	return nil
}

func boolInt(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
