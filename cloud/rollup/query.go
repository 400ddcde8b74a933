package rollup

import (
	"context"
	"database/sql"
	"time"

	"steelyard/internal/record"
)

const selectPostings = `select seq, site, journal, n, part, at_us, category, material, flow, grams, target_journal, target_n from postings `

const maxPage = 100_000 // rows of one answer

// PostingsAfter gives up to limit postings after the given seq.
func (r *Rollup) PostingsAfter(ctx context.Context, seq int64, limit int) ([]Posting, error) {
	rows, err := r.tables.Read().QueryContext(ctx, selectPostings+`where seq > $1 order by seq limit $2`, seq, min(limit, maxPage))
	if err != nil {
		return nil, named("postings", err)
	}
	return scanPostings(rows)
}

// PostingsOf gives what one entry has brought, and what a correction has taken back of it.
func (r *Rollup) PostingsOf(ctx context.Context, site string, ref record.Ref) ([]Posting, error) {
	rows, err := r.tables.Read().QueryContext(ctx, selectPostings+`
		where site = $1 and journal = $2 and n = $3
		or site = $1 and (journal, n) in (
			select journal, n from corrections where site = $1 and target_journal = $2 and target_n = $3)
		order by seq`, site, ref.Journal, int64(ref.N))
	if err != nil {
		return nil, named("postings", err)
	}
	return scanPostings(rows)
}

func scanPostings(rows *sql.Rows) ([]Posting, error) {
	defer rows.Close()
	var all []Posting
	for rows.Next() {
		var p Posting
		var at int64
		err := rows.Scan(&p.Seq, &p.Site, &p.Ref.Journal, &p.Ref.N, &p.Part, &at, &p.Category, &p.Material, &p.Flow, &p.Mass,
			&p.Target.Journal, &p.Target.N)
		if err != nil {
			return nil, named("postings", err)
		}
		p.At = time.UnixMicro(at).UTC()
		all = append(all, p)
	}
	return all, named("postings", rows.Err())
}

// Behind says how many entries of the account have not been read yet.
func (r *Rollup) Behind(ctx context.Context) (int64, error) {
	read, _, err := r.cursor(ctx)
	if err != nil {
		return 0, err
	}
	head, err := r.ledger.Head(ctx)
	return max(0, head-read), err
}
