package rollup

import (
	"context"
	"database/sql"
	"errors"

	"steelyard/cloud/ledger"
	"steelyard/internal/record"
	"steelyard/internal/unit"
	"steelyard/internal/wire"
)

// sheet is one transaction's work: postings are written as they come, sums at its end.
type sheet struct {
	ctx      context.Context
	tx       *sql.Tx
	find     *ledger.Ledger // what is read there was committed before
	tables   *ledger.Tables
	category Category
	seq      int64 // of the newest posting
	trail    int64 // of it
	insert   *sql.Stmt
	district map[string]string
	hours    map[cell]sum
	days     map[cell]sum
	months   map[cell]sum
	// The same by area in place of the site.
	areaDays   map[cell]sum
	areaMonths map[cell]sum
	latest     map[identity]int64      // of journals, without number: the latest believed time; 0: none
	ends       map[identity]end        // of journals, without number; zero: it goes on
	pending    map[identity]record.Ref // corrections whose target is to come
}

// cell is one sum: an hour's beginning in microseconds, a day, or a month.
type cell struct {
	site     string
	at       int64
	category string
	flow     Flow
}

type sum struct {
	mass  unit.Mass
	count int64
}

// identity is an entry's.
type identity struct {
	site string
	record.Ref
}

func identityOf(e wire.Entry) identity {
	return identity{e.Site, record.Ref{Journal: e.Journal, N: e.N}}
}

func (s *sheet) begin() (err error) {
	s.insert, err = s.tx.PrepareContext(s.ctx, `
		insert into postings (seq, site, journal, n, part, at_us, category, material, flow, grams, target_journal, target_n, trail)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`)
	if err != nil {
		return named("postings", err)
	}
	err = s.tx.QueryRowContext(s.ctx, `select trail from postings where seq = $1`, s.seq).Scan(&s.trail)
	if err != nil && !(errors.Is(err, sql.ErrNoRows) && s.seq == 0) {
		return errors.Join(named("trail", err), s.insert.Close())
	}
	return s.loadPending()
}

// entry takes one entry in. An error is the database's; what can't be counted is written down. The
// body is nil when the ledger does not count the entry.
func (s *sheet) entry(e ledger.Entry, body record.Body) error {
	err := s.own(e, body)
	if by, waits := s.pending[identityOf(e.Entry)]; err == nil && waits {
		return s.correctLate(e, by)
	}
	return err
}

func (s *sheet) own(e ledger.Entry, body record.Body) error {
	if body == nil {
		return nil
	}
	if correction, ok := body.(*record.Correction); ok {
		return s.correction(e, correction)
	}
	if err := s.watch(e, body); err != nil {
		return err
	}
	at, why, err := s.moment(e, body)
	if err != nil {
		return err
	}
	placed := e.Entry
	placed.At = at
	postings, err := Postings(placed, body, s.category)
	if err != nil {
		return s.leaveOut(e, err.Error())
	}
	if why != "" && len(postings) > 0 {
		if err := s.suspect(e, body, at, why); err != nil {
			return err
		}
	}
	return s.post(postings)
}

func (s *sheet) post(postings []Posting) error {
	for _, p := range postings {
		s.seq++
		s.trail = p.follow(s.trail)
		_, err := s.insert.ExecContext(s.ctx, s.seq, p.Site, p.Ref.Journal, int64(p.Ref.N), p.Part, p.At.UnixMicro(),
			p.Category, p.Material, string(p.Flow), int64(p.Mass), p.Target.Journal, int64(p.Target.N), s.trail)
		if err != nil {
			return named("postings", err)
		}
		one := int64(1)
		if p.Target != (record.Ref{}) {
			one = -1
		}
		add(s.hours, cell{p.Site, hourOf(p.At), p.Category, p.Flow}, p.Mass, one)
		day := DayOf(p.At)
		month := int64(day.month())
		add(s.days, cell{p.Site, int64(day), p.Category, p.Flow}, p.Mass, one)
		add(s.months, cell{p.Site, month, p.Category, p.Flow}, p.Mass, one)
		for _, area := range []string{wholeCity, s.district[p.Site]} {
			add(s.areaDays, cell{area, int64(day), p.Category, p.Flow}, p.Mass, one)
			add(s.areaMonths, cell{area, month, p.Category, p.Flow}, p.Mass, one)
		}
	}
	return nil
}

func add(sums map[cell]sum, at cell, mass unit.Mass, count int64) {
	was := sums[at]
	sums[at] = sum{was.mass + mass, was.count + count}
}

func (s *sheet) finish() error {
	defer s.insert.Close()
	if err := s.saveClocks(); err != nil {
		return err
	}
	for _, table := range []struct {
		sums   map[cell]sum
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

func (s *sheet) save(sums map[cell]sum, upsert string) error {
	if len(sums) == 0 {
		return nil
	}
	statement, err := s.tx.PrepareContext(s.ctx, upsert)
	if err != nil {
		return named("sums", err)
	}
	defer statement.Close()
	for at, sum := range sums {
		if _, err := statement.ExecContext(s.ctx, at.site, at.at, at.category, string(at.flow), int64(sum.mass), sum.count); err != nil {
			return named("sums", err)
		}
	}
	return nil
}

// leaveOut writes down that an entry is not counted.
func (s *sheet) leaveOut(e ledger.Entry, why string) error {
	_, err := s.tx.ExecContext(s.ctx, `
		insert into uncounted (seq, site, journal, n, at_us, kind, why) values ($1, $2, $3, $4, $5, $6, $7)`,
		e.Seq, e.Site, e.Journal, int64(e.N), e.At.UnixMicro(), string(e.Kind), why)
	return named("uncounted", err)
}
