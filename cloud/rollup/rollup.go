// Package rollup makes tonnes of the ledger: per hour and business day, by site, category and flow.
//
// In: the ledger's entries in their order, and the catalogue of materials. Out: postings, one for
// each mass that an entry brings, their sums, and the entries that could not be posted, with the
// reason.
// It promises that the sums of hours, days and postings agree at every moment, that every entry is
// read exactly once, and that a rebuild from the ledger gives the same tables. A correction takes
// back exactly what it corrects, at the time of the original, whichever of the two comes first.
// An entry whose time can't be counts at the bound that it breaks, and is shown apart until two
// persons have dated it. A ticket number that comes twice and a journal that goes on beside its successor are alarms.
// It does not net transfers between sites, judge whether tonnes are plausible, or read a clock.
package rollup

import (
	"context"
	"database/sql"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"steelyard/cloud/ledger"
	"steelyard/internal/record"
)

//go:embed schema/*.sql
var schema embed.FS

// Rollup follows one ledger.
type Rollup struct {
	*Reader
	ledger   *ledger.Ledger
	tables   *ledger.Tables
	category Category
	district map[string]string
	log      *slog.Logger
	reading  sync.Mutex // held while the cursor is moved: a rebuild and Run take turns
}

// Open opens or makes the tables beside the ledger.
func Open(ctx context.Context, l *ledger.Ledger, category Category, log *slog.Logger) (*Rollup, error) {
	tables, err := l.Tables(ctx, "rollup", schema)
	if err != nil {
		return nil, fmt.Errorf("rollup: %w", err)
	}
	return &Rollup{Reader: NewReader(l.Reader), ledger: l, tables: tables, category: category, log: log}, nil
}

// Run follows the ledger until the context ends. A busy database is tried again; what can't be
// known to be written ends it with [ledger.ErrUnknown].
func (r *Rollup) Run(ctx context.Context) error {
	const pause = time.Second
	for failed := false; ; {
		read, err := r.Advance(ctx)
		if err == nil {
			err = r.ledger.Wait(ctx, read)
		}
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, ledger.ErrUnknown) {
			return err
		}
		if err == nil {
			failed = false
			continue
		}
		if !failed {
			r.log.Error("rollup failed, retrying", "err", err)
		}
		failed = true
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// entriesAtOnce bounds one transaction, and so the time in which nothing is posted.
const entriesAtOnce = 5000

// Advance reads on to the end of the ledger and returns how far it has read.
func (r *Rollup) Advance(ctx context.Context) (read int64, err error) {
	r.reading.Lock()
	defer r.reading.Unlock()
	return r.advance(ctx)
}

func (r *Rollup) advance(ctx context.Context) (read int64, err error) {
	for {
		var posted int64
		if read, posted, err = r.cursor(ctx); err != nil {
			return read, err
		}
		head, err := r.ledger.Head(ctx)
		if err != nil || head <= read {
			return read, err
		}
		if err := r.applyRange(ctx, read, min(head, read+entriesAtOnce), posted); err != nil {
			return read, err
		}
	}
}

func (r *Rollup) cursor(ctx context.Context) (read, posted int64, err error) {
	err = r.tables.Read().QueryRowContext(ctx, `select read_seq, post_seq from rollup where id = 1`).Scan(&read, &posted)
	return read, posted, wrap("cursor", err)
}

// applyRange reads the entries in (after, upTo] and writes what they bring together with the cursor.
func (r *Rollup) applyRange(ctx context.Context, after, upTo, posted int64) error {
	entries, err := r.ledger.EntriesOf(ctx, after, upTo, record.KindTicket, record.KindBale, record.KindCorrection, record.KindOpened)
	if err != nil {
		return err
	}
	bodies := make([]record.Body, len(entries))
	for i, e := range entries {
		if !e.Valid {
			continue
		}
		bodies[i] = record.New(e.Kind)
		// The ledger has read it strictly and found it valid; here it is only read.
		if err := json.Unmarshal(e.Body, bodies[i]); err != nil {
			return fmt.Errorf("rollup: entry %d of site %s: %w", e.N, e.Site, err)
		}
	}
	return r.tables.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		s := rollupTx{ctx: ctx, tx: tx, find: r.ledger, tables: r.tables, category: r.category, seq: posted,
			district: r.district, hours: map[bucketKey]sum{}, days: map[bucketKey]sum{}, months: map[bucketKey]sum{},
			areaDays: map[bucketKey]sum{}, areaMonths: map[bucketKey]sum{}, ends: map[entryID]end{}, latest: map[entryID]int64{}}
		if err := s.begin(); err != nil {
			return err
		}
		for i, e := range entries {
			if err := s.entry(e, bodies[i]); err != nil {
				return err
			}
		}
		if err := s.finish(); err != nil {
			return err
		}
		moved, err := tx.ExecContext(ctx, `update rollup set read_seq = $1, post_seq = $2 where id = 1 and read_seq = $3`, upTo, s.seq, after)
		if err != nil {
			return wrap("cursor", err)
		}
		if n, err := moved.RowsAffected(); err != nil || n != 1 {
			return errors.Join(err, errors.New("rollup: another reader has moved the cursor: run one at a time"))
		}
		return nil
	})
}

// Rebuild drops everything and reads the ledger from its beginning. While it runs the sums are
// those of the part that has been read. The numbers of postings come out the same unless the
// catalogue has changed; then readers of [Rollup.PostingsAfter] get [ErrOtherOrder] and begin again as well.
func (r *Rollup) Rebuild(ctx context.Context) error {
	r.reading.Lock()
	defer r.reading.Unlock()
	err := r.tables.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		for _, statement := range []string{
			`delete from postings`,
			`delete from hours`,
			`delete from days`,
			`delete from months`,
			`delete from area_days`,
			`delete from area_months`,
			`delete from unposted`,
			`delete from corrections`,
			`delete from numbers`,
			`delete from successions`,
			`delete from clocks`,
			`delete from suspects`,
			`update rollup set read_seq = 0, post_seq = 0 where id = 1`,
		} {
			if _, err := tx.ExecContext(ctx, statement); err != nil {
				return wrap("rebuild", err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	_, err = r.advance(ctx)
	return err
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("rollup: %s: %w", what, err)
}
