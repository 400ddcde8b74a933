package rollup

import (
	"context"
	"database/sql"
	"errors"

	"steelyard/cloud/ledger"
	"steelyard/internal/day"
	"steelyard/internal/record"
	"steelyard/internal/unit"
	"steelyard/internal/wire"
)

// rollupTx is one transaction's work: postings are written as they come, sums at its end.
type rollupTx struct {
	ctx      context.Context
	tx       *sql.Tx
	find     *ledger.Ledger // what is read there was committed before
	tables   *ledger.Tables
	category Category
	seq      int64 // of the newest posting
	trail    int64 // of it
	insert   *sql.Stmt
	district map[string]string
	hours    map[bucketKey]sum
	days     map[bucketKey]sum
	months   map[bucketKey]sum
	// The same by area in place of the site.
	areaDays   map[bucketKey]sum
	areaMonths map[bucketKey]sum
	latest     map[entryID]int64      // of journals, without number: the latest believed time; 0: none
	ends       map[entryID]end        // of journals, without number; zero: it goes on
	pending    map[entryID]record.Ref // corrections whose target is to come
}

// bucketKey names one sum: an hour's beginning in microseconds, a day, or a month.
type bucketKey struct {
	site     string
	at       int64
	category string
	flow     Flow
}

type sum struct {
	mass  unit.Mass
	count int64
}

// entryID names an entry.
type entryID struct {
	site string
	record.Ref
}

func entryIDOf(e wire.Entry) entryID {
	return entryID{e.Site, record.Ref{Journal: e.Journal, N: e.N}}
}

func (s *rollupTx) begin() (err error) {
	s.insert, err = s.tx.PrepareContext(s.ctx, `
		insert into postings (seq, site, journal, n, part, at_us, category, material, flow, grams, target_journal, target_n, trail)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`)
	if err != nil {
		return wrap("postings", err)
	}
	err = s.tx.QueryRowContext(s.ctx, `select trail from postings where seq = $1`, s.seq).Scan(&s.trail)
	if err != nil && !(errors.Is(err, sql.ErrNoRows) && s.seq == 0) {
		return errors.Join(wrap("trail", err), s.insert.Close())
	}
	return s.loadPending()
}

// entry takes one entry in. An error is the database's; what can't be posted is written down. The
// body is nil when the entry is invalid.
func (s *rollupTx) entry(e ledger.Entry, body record.Body) error {
	err := s.postEntry(e, body)
	if by, waits := s.pending[entryIDOf(e.Entry)]; err == nil && waits {
		return s.applyPending(e, by)
	}
	return err
}

func (s *rollupTx) postEntry(e ledger.Entry, body record.Body) error {
	if body == nil {
		return nil
	}
	if correction, ok := body.(*record.Correction); ok {
		return s.correction(e, correction)
	}
	if err := s.watch(e, body); err != nil {
		return err
	}
	at, why, err := s.boundedTime(e, body)
	if err != nil {
		return err
	}
	placed := e.Entry
	placed.At = at
	postings, err := Postings(placed, body, s.category)
	if err != nil {
		return s.recordUnposted(e, err.Error())
	}
	if why != "" && len(postings) > 0 {
		if err := s.suspect(e, body, at, why); err != nil {
			return err
		}
	}
	return s.post(postings)
}

func (s *rollupTx) post(postings []Posting) error {
	for _, p := range postings {
		s.seq++
		s.trail = p.trailAfter(s.trail)
		_, err := s.insert.ExecContext(s.ctx, s.seq, p.Site, p.Ref.Journal, int64(p.Ref.N), p.Part, p.At.UnixMicro(),
			p.Category, p.Material, string(p.Flow), int64(p.Mass), p.Target.Journal, int64(p.Target.N), s.trail)
		if err != nil {
			return wrap("postings", err)
		}
		one := int64(1)
		if p.Target != (record.Ref{}) {
			one = -1
		}
		add(s.hours, bucketKey{p.Site, day.HourOf(p.At), p.Category, p.Flow}, p.Mass, one)
		date := day.Of(p.At)
		month := int64(monthOf(date))
		add(s.days, bucketKey{p.Site, int64(date), p.Category, p.Flow}, p.Mass, one)
		add(s.months, bucketKey{p.Site, month, p.Category, p.Flow}, p.Mass, one)
		for _, area := range []string{wholeCity, s.district[p.Site]} {
			add(s.areaDays, bucketKey{area, int64(date), p.Category, p.Flow}, p.Mass, one)
			add(s.areaMonths, bucketKey{area, month, p.Category, p.Flow}, p.Mass, one)
		}
	}
	return nil
}

func add(sums map[bucketKey]sum, at bucketKey, mass unit.Mass, count int64) {
	was := sums[at]
	sums[at] = sum{was.mass + mass, was.count + count}
}

func (s *rollupTx) finish() error {
	defer s.insert.Close()
	if err := s.saveClocks(); err != nil {
		return err
	}
	for _, table := range []struct {
		sums   map[bucketKey]sum
		upsert string
	}{
		{s.hours, `
		insert into hours (site, hour_us, category, flow, grams, count) values ($1, $2, $3, $4, $5, $6)
		on conflict (site, hour_us, category, flow)
		do update set grams = hours.grams + excluded.grams, count = hours.count + excluded.count`},
		{s.days, `
		insert into days (site, day, category, flow, grams, count) values ($1, $2, $3, $4, $5, $6)
		on conflict (site, day, category, flow)
		do update set grams = days.grams + excluded.grams, count = days.count + excluded.count`},
		{s.months, `
		insert into months (site, month, category, flow, grams, count) values ($1, $2, $3, $4, $5, $6)
		on conflict (site, month, category, flow)
		do update set grams = months.grams + excluded.grams, count = months.count + excluded.count`},
		{s.areaDays, `
		insert into area_days (area, day, category, flow, grams, count) values ($1, $2, $3, $4, $5, $6)
		on conflict (day, area, category, flow)
		do update set grams = area_days.grams + excluded.grams, count = area_days.count + excluded.count`},
		{s.areaMonths, `
		insert into area_months (area, month, category, flow, grams, count) values ($1, $2, $3, $4, $5, $6)
		on conflict (month, area, category, flow)
		do update set grams = area_months.grams + excluded.grams, count = area_months.count + excluded.count`},
	} {
		if err := s.save(table.sums, table.upsert); err != nil {
			return err
		}
	}
	return nil
}

func (s *rollupTx) save(sums map[bucketKey]sum, upsert string) error {
	if len(sums) == 0 {
		return nil
	}
	statement, err := s.tx.PrepareContext(s.ctx, upsert)
	if err != nil {
		return wrap("sums", err)
	}
	defer statement.Close()
	for at, sum := range sums {
		if _, err := statement.ExecContext(s.ctx, at.site, at.at, at.category, string(at.flow), int64(sum.mass), sum.count); err != nil {
			return wrap("sums", err)
		}
	}
	return nil
}

// recordUnposted writes down why an entry is not posted.
func (s *rollupTx) recordUnposted(e ledger.Entry, why string) error {
	_, err := s.tx.ExecContext(s.ctx, `
		insert into unposted (seq, site, journal, n, at_us, kind, why) values ($1, $2, $3, $4, $5, $6, $7)`,
		e.Seq, e.Site, e.Journal, int64(e.N), e.At.UnixMicro(), string(e.Kind), why)
	return wrap("unposted", err)
}
