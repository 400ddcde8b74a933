package rollup

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"time"

	"steelyard/cloud/ledger"
	"steelyard/internal/day"
	"steelyard/internal/record"
	"steelyard/internal/unit"
)

// slack is by how much the clocks of a site and of the city may differ without anything being wrong.
const slack = 5 * time.Minute

// boundedTime returns the time at which an entry counts. Its own time is bounded by two that no clock of
// the edge can move: it was written before it arrived, and after what stands before it in its
// journal, or in the journal before. Outside these bounds it counts at the bound, and why says so.
func (s *rollupTx) boundedTime(e ledger.Entry, body record.Body) (at time.Time, why string, err error) {
	latest, err := s.latestOf(e.Site, e.Journal)
	if err != nil {
		return at, "", err
	}
	if o, ok := body.(*record.Opened); ok && o.Previous.Journal != "" {
		before, err := s.latestOf(e.Site, o.Previous.Journal)
		if err != nil {
			return at, "", err
		}
		latest = max(latest, before)
		s.latest[entryID{e.Site, record.Ref{Journal: e.Journal}}] = latest
	}
	switch at := e.At.UnixMicro(); {
	case at > e.Received.Add(slack).UnixMicro():
		return e.Received, fmt.Sprintf("it is dated %s and arrived at %s: the edge's clock was ahead", stamp(e.At), stamp(e.Received)), nil
	case at < latest-slack.Microseconds():
		was := time.UnixMicro(latest).UTC()
		return was, fmt.Sprintf("it is dated %s and was written after an entry of %s: the edge's clock went back", stamp(e.At), stamp(was)), nil
	default:
		s.latest[entryID{e.Site, record.Ref{Journal: e.Journal}}] = max(latest, min(at, e.Received.UnixMicro()))
	}
	return e.At, "", nil
}

func stamp(t time.Time) string { return t.In(day.Shanghai()).Format("2006-01-02 15:04") }

// latestOf is the latest believed time of a journal, in microseconds; 0 before the first.
func (s *rollupTx) latestOf(site, journal string) (us int64, err error) {
	key := entryID{site, record.Ref{Journal: journal}}
	us, known := s.latest[key]
	if known {
		return us, nil
	}
	err = s.tx.QueryRowContext(s.ctx, `select latest_us from clocks where site = $1 and journal = $2`, site, journal).Scan(&us)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, wrap("clocks", err)
	}
	s.latest[key] = us
	return us, nil
}

func (s *rollupTx) saveClocks() error {
	for key, us := range s.latest {
		if us == 0 {
			continue
		}
		_, err := s.tx.ExecContext(s.ctx, `
			insert into clocks (site, journal, latest_us) values ($1, $2, $3)
			on conflict (site, journal) do update set latest_us = excluded.latest_us`, key.site, key.Journal, us)
		if err != nil {
			return wrap("clocks", err)
		}
	}
	return nil
}

// suspect writes down that an entry's time can't be.
func (s *rollupTx) suspect(e ledger.Entry, body record.Body, counted time.Time, why string) error {
	number := ""
	switch b := body.(type) {
	case *record.Ticket:
		number = b.Number
	case *record.Bale:
		number = strconv.FormatUint(b.Number, 10)
	}
	_, err := s.tx.ExecContext(s.ctx, `
		insert into suspects (site, journal, n, seq, kind, number, at_us, counted_us, why, dated) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0)`,
		e.Site, e.Journal, int64(e.N), e.Seq, string(e.Kind), number, e.At.UnixMicro(), counted.UnixMicro(), why)
	return wrap("suspects", err)
}

// countedAt returns the time at which an entry was counted: its own, or that of its bound.
func (s *rollupTx) countedAt(e ledger.Entry) (time.Time, error) {
	var us int64
	err := s.tx.QueryRowContext(s.ctx, `select counted_us from suspects where site = $1 and journal = $2 and n = $3`,
		e.Site, e.Journal, int64(e.N)).Scan(&us)
	if errors.Is(err, sql.ErrNoRows) {
		return e.At, nil
	}
	return time.UnixMicro(us).UTC(), wrap("suspects", err)
}

// markDated takes note that a correction is in force for an entry whose time could not be.
func (s *rollupTx) markDated(site string, root record.Ref) error {
	_, err := s.tx.ExecContext(s.ctx, `update suspects set dated = 1 where site = $1 and journal = $2 and n = $3`, site, root.Journal, int64(root.N))
	return wrap("suspects", err)
}

// Suspect is an entry whose time can't be. It counts at Counted until it is dated.
type Suspect struct {
	Site    string
	Ref     record.Ref
	Kind    record.Kind
	Number  string    // of the ticket or bale
	At      time.Time // by the edge
	Counted time.Time
	Why     string
	Mass    unit.Mass // of its postings
}

// Suspects returns the newest entries that are to be dated.
func (r *Reader) Suspects(ctx context.Context, limit int) ([]Suspect, error) {
	rows, err := r.db.QueryContext(ctx, `
		select s.site, s.journal, s.n, s.kind, s.number, s.at_us, s.counted_us, s.why,
			(select coalesce(sum(p.grams), 0) from postings p where p.site = s.site and p.journal = s.journal and p.n = s.n)
		from suspects s where s.dated = 0 order by s.seq desc limit $1`, min(limit, maxPage))
	if err != nil {
		return nil, wrap("suspects", err)
	}
	defer rows.Close()
	var all []Suspect
	for rows.Next() {
		var x Suspect
		var at, counted int64
		if err := rows.Scan(&x.Site, &x.Ref.Journal, &x.Ref.N, &x.Kind, &x.Number, &at, &counted, &x.Why, &x.Mass); err != nil {
			return nil, wrap("suspects", err)
		}
		x.At, x.Counted = time.UnixMicro(at).UTC(), time.UnixMicro(counted).UTC()
		all = append(all, x)
	}
	return all, wrap("suspects", rows.Err())
}

// SuspectTotals returns, of the sums of the days from and to, the part whose time is to be dated.
func (r *Reader) SuspectTotals(ctx context.Context, from, to day.Day) ([]Total, error) {
	return totals(ctx, r.db, `
		select p.site, p.category, p.flow, sum(p.grams), count(*)
		from suspects s join postings p on p.site = s.site and p.journal = s.journal and p.n = s.n
		where s.dated = 0 and p.at_us >= $1 and p.at_us < $2
		group by p.site, p.category, p.flow order by p.site, p.category, p.flow`, from.Start().UnixMicro(), (to + 1).Start().UnixMicro())
}

// SuspectCounts counts the entries that are to be dated, by site.
func (r *Reader) SuspectCounts(ctx context.Context) (map[string]int64, error) {
	rows, err := r.db.QueryContext(ctx, `select site, count(*) from suspects where dated = 0 group by site`)
	if err != nil {
		return nil, wrap("suspects", err)
	}
	defer rows.Close()
	counts := map[string]int64{}
	for rows.Next() {
		var site string
		var n int64
		if err := rows.Scan(&site, &n); err != nil {
			return nil, wrap("suspects", err)
		}
		counts[site] = n
	}
	return counts, wrap("suspects", rows.Err())
}
