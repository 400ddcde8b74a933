package rollup

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"

	"steelyard/cloud/ledger"
	"steelyard/internal/day"
	"steelyard/internal/record"
	"steelyard/internal/unit"
)

// Reader reads the sums and what could not be posted. It writes nothing, and may be in another
// process than the Rollup.
type Reader struct{ db *sql.DB }

// NewReader reads the tables that a Rollup keeps beside the ledger.
func NewReader(l *ledger.Reader) *Reader { return &Reader{l.Derived()} }

// Total is one sum.
type Total struct {
	Site     string // or the district of Districts; empty where sites are added up
	Category string
	Flow     Flow
	Mass     unit.Mass
	Count    int64 // postings less reversals
}

// Hour is the sum of one hour.
type Hour struct {
	Start time.Time
	Total
}

// Day returns the sums of one business day of one site, or of all sites when site is empty.
func (r *Reader) Day(ctx context.Context, on day.Day, site string) ([]Total, error) {
	if site == "" {
		return r.Totals(ctx, on, on)
	}
	return r.SiteTotals(ctx, on, on, site)
}

// Totals returns the sums of the business days from and to, both included, by site, category and flow.
func (r *Reader) Totals(ctx context.Context, from, to day.Day) ([]Total, error) {
	if from == to { // the pages ask for today every second
		return totals(ctx, r.db, `
			select site, category, flow, grams, count from days where day = $1 order by site, category, flow`, int64(from))
	}
	return r.long(ctx, from, to, `
		select site, category, flow, sum(grams), sum(count) from days where day >= $1 and day <= $2
		group by site, category, flow`, `
		select site, category, flow, sum(grams), sum(count) from months where month >= $1 and month <= $2
		group by site, category, flow`)
}

// SiteTotals is Totals of one site.
func (r *Reader) SiteTotals(ctx context.Context, from, to day.Day, site string) ([]Total, error) {
	return r.long(ctx, from, to, `
		select site, category, flow, sum(grams), sum(count) from days where day >= $1 and day <= $2 and site = $3
		group by site, category, flow`, `
		select site, category, flow, sum(grams), sum(count) from months where month >= $1 and month <= $2 and site = $3
		group by site, category, flow`, site)
}

// CityTotals is Totals added up over all sites.
func (r *Reader) CityTotals(ctx context.Context, from, to day.Day) ([]Total, error) {
	return r.long(ctx, from, to, `
		select '', category, flow, sum(grams), sum(count) from area_days where day >= $1 and day <= $2 and area = '*'
		group by category, flow`, `
		select '', category, flow, sum(grams), sum(count) from area_months where month >= $1 and month <= $2 and area = '*'
		group by category, flow`)
}

// DistrictTotals is Totals added up by district.
func (r *Reader) DistrictTotals(ctx context.Context, from, to day.Day) ([]Total, error) {
	return r.long(ctx, from, to, `
		select area, category, flow, sum(grams), sum(count) from area_days where day >= $1 and day <= $2 and area <> '*'
		group by area, category, flow`, `
		select area, category, flow, sum(grams), sum(count) from area_months where month >= $1 and month <= $2 and area <> '*'
		group by area, category, flow`)
}

// long adds up whole months where it can and days at both ends.
func (r *Reader) long(ctx context.Context, from, to day.Day, days, months string, more ...any) ([]Total, error) {
	type part struct {
		query    string
		from, to int64
	}
	parts := []part{{days, int64(from), int64(to)}}
	first, last := monthOf(from-1)+1, monthOf(to+1)-1 // whole months
	if first <= last {
		parts = []part{{days, int64(from), int64(first.first()) - 1}, {months, int64(first), int64(last)}, {days, int64((last + 1).first()), int64(to)}}
	}
	// One moment for all parts: what is posted between them would be there half.
	tx, err := r.db.BeginTx(ctx, nil)
	if err != nil {
		return nil, wrap("totals", err)
	}
	defer tx.Rollback()
	place := map[Total]int{} // by what is added up
	var all []Total
	for _, p := range parts {
		if p.from > p.to {
			continue
		}
		found, err := totals(ctx, tx, p.query, append([]any{p.from, p.to}, more...)...)
		if err != nil {
			return nil, err
		}
		for _, t := range found {
			key := Total{Site: t.Site, Category: t.Category, Flow: t.Flow}
			i, known := place[key]
			if !known {
				i = len(all)
				place[key] = i
				all = append(all, key)
			}
			all[i].Mass += t.Mass
			all[i].Count += t.Count
		}
	}
	slices.SortFunc(all, func(a, b Total) int {
		return cmp.Or(cmp.Compare(a.Site, b.Site), cmp.Compare(a.Category, b.Category), cmp.Compare(a.Flow, b.Flow))
	})
	return all, nil
}

// LastHour returns the sums of the sixty minutes before now over all sites, for the live pages.
func (r *Reader) LastHour(ctx context.Context, now time.Time) ([]Total, error) {
	return totals(ctx, r.db, `
		select '', category, flow, sum(grams), sum(case when target_n = 0 then 1 else -1 end)
		from postings where at_us > $1 and at_us <= $2
		group by category, flow order by category, flow`, now.Add(-time.Hour).UnixMicro(), now.UnixMicro())
}

// Read returns how far the ledger has been read: nothing that is read here changes before it moves.
func (r *Reader) Read(ctx context.Context) (seq int64, err error) {
	err = r.db.QueryRowContext(ctx, `select read_seq from rollup where id = 1`).Scan(&seq)
	return seq, wrap("cursor", err)
}

// ReadTotals returns the sums of all days from the ledger that another process writes.
func ReadTotals(ctx context.Context, dsn string) (all []Total, err error) {
	r, err := ledger.OpenReader(ctx, dsn)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return totals(ctx, r.Derived(), `
		select site, category, flow, sum(grams), sum(count) from days
		group by site, category, flow order by site, category, flow`)
}

func totals(ctx context.Context, db interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}, query string, args ...any) ([]Total, error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, wrap("totals", err)
	}
	defer rows.Close()
	var all []Total
	for rows.Next() {
		var t Total
		if err := rows.Scan(&t.Site, &t.Category, &t.Flow, &t.Mass, &t.Count); err != nil {
			return nil, wrap("totals", err)
		}
		all = append(all, t)
	}
	return all, wrap("totals", rows.Err())
}

// Hours returns the sums of the hours that begin in [from, to), of one site, or of all sites when
// site is empty.
func (r *Reader) Hours(ctx context.Context, from, to time.Time, site string) ([]Hour, error) {
	rows, err := r.db.QueryContext(ctx, `
		select hour_us, site, category, flow, grams, count from hours
		where hour_us >= $1 and hour_us < $2 and ($3 = '' or site = $3)
		order by hour_us, site, category, flow`, from.UnixMicro(), to.UnixMicro(), site)
	if err != nil {
		return nil, wrap("hours", err)
	}
	defer rows.Close()
	var all []Hour
	for rows.Next() {
		var h Hour
		var start int64
		if err := rows.Scan(&start, &h.Site, &h.Category, &h.Flow, &h.Mass, &h.Count); err != nil {
			return nil, wrap("hours", err)
		}
		h.Start = time.UnixMicro(start).UTC()
		all = append(all, h)
	}
	return all, wrap("hours", rows.Err())
}

// Unposted is an entry of a kind that brings tonnes, which could not be posted.
type Unposted struct {
	Seq  int64 // in the ledger
	Site string
	Ref  record.Ref
	At   time.Time
	Kind record.Kind
	Why  string
}

// Unposted returns the newest entries that could not be posted. Those that are invalid by themselves are
// in [ledger.Reader.Invalid].
func (r *Reader) Unposted(ctx context.Context, limit int) ([]Unposted, error) {
	rows, err := r.db.QueryContext(ctx, `
		select seq, site, journal, n, at_us, kind, why from unposted order by seq desc limit $1`, min(limit, maxPage))
	if err != nil {
		return nil, wrap("unposted", err)
	}
	defer rows.Close()
	var all []Unposted
	for rows.Next() {
		var u Unposted
		var at int64
		if err := rows.Scan(&u.Seq, &u.Site, &u.Ref.Journal, &u.Ref.N, &at, &u.Kind, &u.Why); err != nil {
			return nil, wrap("unposted", err)
		}
		u.At = time.UnixMicro(at).UTC()
		all = append(all, u)
	}
	return all, wrap("unposted", rows.Err())
}
