package rollup

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"steelyard/internal/record"
)

const selectPostings = `select seq, trail, site, journal, n, part, at_us, category, material, flow, grams, target_journal, target_n from postings `

const maxPage = 100_000 // rows of one answer

// ErrOtherOrder is the error of a place that this ledger does not know: its numbers stand for other postings,
// since an older copy was put back, or the tonnes were made again otherwise. The reader has to begin
// again.
var ErrOtherOrder = errors.New("rollup: the place is of another order of postings")

// PostingsAfter returns up to limit postings after a place, or [ErrOtherOrder].
func (r *Rollup) PostingsAfter(ctx context.Context, after Place, limit int) ([]Posting, error) {
	// The posting at the place is read with those after it: one statement sees one moment.
	rows, err := r.tables.Read().QueryContext(ctx, selectPostings+`where seq >= $1 order by seq limit $2`, after.Seq, min(limit, maxPage)+1)
	if err != nil {
		return nil, wrap("postings", err)
	}
	found, err := scanPostings(rows)
	switch {
	case err != nil:
		return nil, err
	case after.Seq == 0:
		return found[:min(len(found), limit)], nil
	case len(found) == 0 || found[0].Place() != after:
		return nil, ErrOtherOrder
	}
	return found[1:], nil
}

// PostingsOf returns what one entry has brought, and what a correction has taken back of it.
func (r *Rollup) PostingsOf(ctx context.Context, site string, ref record.Ref) ([]Posting, error) {
	rows, err := r.tables.Read().QueryContext(ctx, selectPostings+`
		where site = $1 and journal = $2 and n = $3
		or site = $1 and (journal, n) in (
			select journal, n from corrections where site = $1 and target_journal = $2 and target_n = $3)
		order by seq`, site, ref.Journal, int64(ref.N))
	if err != nil {
		return nil, wrap("postings", err)
	}
	return scanPostings(rows)
}

func scanPostings(rows *sql.Rows) ([]Posting, error) {
	defer rows.Close()
	var all []Posting
	for rows.Next() {
		var p Posting
		var at int64
		err := rows.Scan(&p.Seq, &p.Trail, &p.Site, &p.Ref.Journal, &p.Ref.N, &p.Part, &at, &p.Category, &p.Material, &p.Flow, &p.Mass,
			&p.Target.Journal, &p.Target.N)
		if err != nil {
			return nil, wrap("postings", err)
		}
		p.At = time.UnixMicro(at).UTC()
		all = append(all, p)
	}
	return all, wrap("postings", rows.Err())
}

// Lag returns how many entries of the ledger have not been read yet.
func (r *Rollup) Lag(ctx context.Context) (int64, error) {
	read, _, err := r.cursor(ctx)
	if err != nil {
		return 0, err
	}
	head, err := r.ledger.Head(ctx)
	return max(0, head-read), err
}
