package telemetry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"steelyard/cloud/rollup"
	"steelyard/internal/record"
)

// HistoryConfig says where the embedded history lies and how long it keeps what.
type HistoryConfig struct {
	Path    string        // of its own SQLite file
	Raw     time.Duration // every point; 0 means 48 h
	Minutes time.Duration // then one row a minute, and the words of states; 0 means 400 days
	Log     *slog.Logger
}

// History is the store in one file beside the ledger's, for when there is no InfluxDB.
//
// A point stands as it came until Compact downsamples it into the row of its minute. A point that comes later
// than that, after a long outage, is downsampled into the same row at the next Compact; whether it is
// late or merely sent again is told by the entry's number, since entries come in order.
type History struct {
	config HistoryConfig
	db     *sql.DB // one connection writes
	read   *sql.DB

	mu     sync.Mutex // held for a whole Put or step of Compact
	series map[seriesKey]*seriesRow
	bad    int64
}

type seriesKey struct{ site, device, tag string }

type seriesRow struct {
	id      int64
	unit    string
	machine string
	words   bool
}

const historyVersion = 3

// schema of the history. Times are Unix ns in raw and tonnage, Unix minutes in minute.
const schema = `
create table series (
	id integer primary key, site text not null, device text not null, tag text not null,
	unit text not null, words integer not null, machine text not null, unique (site, device, tag));
create table raw (
	series integer not null, at integer not null,
	value text not null, -- the exact decimal; empty when there is none
	word  text not null, -- of a state; such a point is never downsampled
	primary key (series, at)) without rowid;
create table minute (
	series integer not null, at integer not null, min real not null, max real not null, sum real not null,
	count integer not null, last real not null, last_at integer not null,
	primary key (series, at)) without rowid;
create table position (site text not null, journal text not null, n integer not null, primary key (site, journal)) without rowid;
create table cursor (name text primary key, n integer not null) without rowid;` + tonnageSchema

const tonnageSchema = `
create table tonnage (
	site text not null, category text not null, material text not null, flow text not null, at integer not null, grams integer not null,
	primary key (site, material, flow, at)) without rowid;
create index tonnage_at on tonnage (at);`

// fromVersion1 takes a history of before materials and kinds of machines over: samples stay, tonnage
// is written again from the ledger.
const fromVersion1 = `
drop table tonnage;
delete from mark where name = 'tonnes';
alter table series add column machine text not null default '';` + tonnageSchema

// fromVersion2 names the tables by what is in them.
const fromVersion2 = `
alter table full rename to raw;
alter table taken rename to position;
alter table mark rename to cursor;
update cursor set name = 'downsampled' where name = 'folded';`

// downsampled is the cursor before which points have been downsampled, Unix ns.
const downsampled = "downsampled"

// OpenHistory opens the file, or makes it. A receipt follows from what Put says, so every commit
// is synced: a power cut takes nothing back.
func OpenHistory(ctx context.Context, c HistoryConfig) (*History, error) {
	if c.Raw == 0 {
		c.Raw = 48 * time.Hour
	}
	if c.Minutes == 0 {
		c.Minutes = 400 * 24 * time.Hour
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	path, err := filepath.Abs(c.Path)
	if err != nil {
		return nil, fmt.Errorf("history %s: %w", c.Path, err)
	}
	h := &History{config: c, series: map[seriesKey]*seriesRow{}}
	dsn := (&url.URL{Scheme: "file", OmitHost: true, Path: path}).String() +
		"?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)"
	if h.db, err = sql.Open("sqlite", dsn+"&_txlock=immediate"); err != nil {
		return nil, fmt.Errorf("history %s: %w", path, err)
	}
	h.db.SetMaxOpenConns(1)
	if h.read, err = sql.Open("sqlite", dsn+"&_pragma=query_only(1)"); err != nil {
		return nil, errors.Join(fmt.Errorf("history %s: %w", path, err), h.db.Close())
	}
	h.read.SetMaxOpenConns(4)
	if err := h.prepare(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("history %s: %w", path, err), h.Close())
	}
	return h, nil
}

// prepare asserts what a power cut rests on, makes the tables, and reads the series.
func (h *History) prepare(ctx context.Context) error {
	var mode string
	var sync, version int
	err := errors.Join(
		h.db.QueryRowContext(ctx, `pragma journal_mode`).Scan(&mode),
		h.db.QueryRowContext(ctx, `pragma synchronous`).Scan(&sync),
		h.db.QueryRowContext(ctx, `pragma user_version`).Scan(&version))
	if err != nil {
		return err
	}
	const full = 2
	if mode != "wal" || sync != full {
		return fmt.Errorf("journal_mode %s, synchronous %d: wal and %d are needed: use a local disk", mode, sync, full)
	}
	steps := []string{schema, fromVersion1 + fromVersion2, fromVersion2}
	if version > historyVersion || version < 0 {
		return fmt.Errorf("version %d is not this software's %d: use the newer software, or move the file away", version, historyVersion)
	}
	if version < historyVersion {
		if _, err := h.db.ExecContext(ctx, "begin immediate;"+steps[version]+fmt.Sprintf("pragma user_version=%d;commit", historyVersion)); err != nil {
			return err
		}
	}
	rows, err := h.db.QueryContext(ctx, `select id, site, device, tag, unit, words, machine from series`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var k seriesKey
		var r seriesRow
		if err := rows.Scan(&r.id, &k.site, &k.device, &k.tag, &r.unit, &r.words, &r.machine); err != nil {
			return err
		}
		h.series[k] = &r
	}
	return rows.Err()
}

// Close closes the file.
func (h *History) Close() error { return errors.Join(h.read.Close(), h.db.Close()) }

// Parked implements Store. A file of its own refuses nothing that somebody could mend.
func (h *History) Parked() Parking {
	h.mu.Lock()
	defer h.mu.Unlock()
	return Parking{Bad: h.bad}
}

// change runs one transaction.
func (h *History) change(ctx context.Context, do func(*sql.Tx) error) error {
	tx, err := h.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("history: %w", err)
	}
	if err := do(tx); err != nil {
		return fmt.Errorf("history: %w", errors.Join(err, tx.Rollback()))
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("history: commit: %w", err)
	}
	return nil
}

// rowsAtOnce is the number of rows of one insert: the cost of a statement spreads over them.
const rowsAtOnce = 100

// batchInsert gathers rows into statements of rowsAtOnce.
type batchInsert struct {
	tx      *sql.Tx
	into    string // "insert into t values "
	row     string // "(?,?)"
	end     string // " on conflict do nothing"
	columns int
	args    []any
	all     *sql.Stmt
}

func (i *batchInsert) add(ctx context.Context, values ...any) error {
	i.args = append(i.args, values...)
	if len(i.args) < rowsAtOnce*i.columns {
		return nil
	}
	if i.all == nil {
		var err error
		if i.all, err = i.tx.PrepareContext(ctx, i.statement(rowsAtOnce)); err != nil {
			return err
		}
	}
	_, err := i.all.ExecContext(ctx, i.args...)
	i.args = i.args[:0]
	return err
}

func (i *batchInsert) statement(rows int) string {
	return i.into + strings.TrimSuffix(strings.Repeat(i.row+",", rows), ",") + i.end
}

// flush writes the rest. The statements end with their transaction.
func (i *batchInsert) flush(ctx context.Context) error {
	if len(i.args) == 0 {
		return nil
	}
	_, err := i.tx.ExecContext(ctx, i.statement(len(i.args)/i.columns), i.args...)
	i.args = i.args[:0]
	return err
}

// Put implements Store, in one transaction.
func (h *History) Put(ctx context.Context, samples []Sample) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	fresh := map[seriesKey]*seriesRow{}
	bad := int64(0)
	err := h.change(ctx, func(tx *sql.Tx) (err error) {
		bad, err = h.put(ctx, tx, samples, fresh)
		return err
	})
	if err != nil {
		return err
	}
	for k, r := range fresh {
		k.tag, r.unit, r.machine = strings.Clone(k.tag), strings.Clone(r.unit), strings.Clone(r.machine) // a sample's text must not stay for them
		h.series[k] = r
	}
	h.bad += bad
	return nil
}

type journalKey struct{ site, journal string }

func (h *History) put(ctx context.Context, tx *sql.Tx, samples []Sample, fresh map[seriesKey]*seriesRow) (bad int64, err error) {
	before, err := cursor(ctx, tx, downsampled)
	if err != nil {
		return 0, err
	}
	latest, err := cursor(ctx, tx, newest)
	if err != nil {
		return 0, err
	}
	was := latest
	had, reached := map[journalKey]int64{}, map[journalKey]int64{}
	rows := batchInsert{tx: tx, into: "insert into raw values ", row: "(?,?,?,?)", end: " on conflict do nothing", columns: 4}
	for i := range samples {
		s := &samples[i]
		if s.Check() != nil {
			bad++
			continue
		}
		j := journalKey{s.Site, s.Journal}
		n, known := had[j]
		if !known {
			err := tx.QueryRowContext(ctx, `select n from position where site = ? and journal = ?`, j.site, j.journal).Scan(&n)
			if err != nil && !errors.Is(err, sql.ErrNoRows) {
				return 0, err
			}
			had[j] = n
		}
		reached[j] = max(reached[j], int64(s.N))
		at := s.Stamp()
		latest = max(latest, at)
		if at < before && int64(s.N) <= n {
			continue // its minute holds it
		}
		for k := range s.Values {
			v := &s.Values[k]
			id, err := h.seriesOf(ctx, tx, s, v, fresh)
			if err != nil {
				return 0, err
			}
			if err := rows.add(ctx, id, at, v.Value, v.Text); err != nil {
				return 0, err
			}
		}
	}
	if err := rows.flush(ctx); err != nil {
		return 0, err
	}
	if latest > was {
		if err := setCursor(ctx, tx, newest, latest); err != nil {
			return 0, err
		}
	}
	for j, n := range reached {
		if _, err := tx.ExecContext(ctx, `insert into position values (?,?,?) on conflict do update set n = max(n, excluded.n)`, j.site, j.journal, n); err != nil {
			return 0, err
		}
	}
	return bad, nil
}

// seriesOf returns the number of a value's series. What is new of it stands in fresh until the
// transaction is through.
func (h *History) seriesOf(ctx context.Context, tx *sql.Tx, s *Sample, v *record.SampleValue, fresh map[seriesKey]*seriesRow) (int64, error) {
	k := seriesKey{s.Site, s.Device, v.Tag}
	r := fresh[k]
	if r == nil {
		r = h.series[k]
	}
	next := seriesRow{unit: v.Unit, machine: s.Machine, words: v.Text != ""}
	if r != nil {
		next = seriesRow{r.id, r.unit, s.Machine, r.words || v.Text != ""}
		if v.Value != "" {
			next.unit = v.Unit
		}
		if next == *r {
			return r.id, nil
		}
	}
	err := tx.QueryRowContext(ctx, `insert into series (site, device, tag, unit, words, machine) values (?,?,?,?,?,?)
		on conflict do update set unit = excluded.unit, words = excluded.words, machine = excluded.machine returning id`,
		k.site, k.device, k.tag, next.unit, next.words, next.machine).Scan(&next.id)
	if err != nil {
		return 0, fmt.Errorf("series %s %s %s: %w", k.site, k.device, k.tag, err)
	}
	fresh[k] = &next
	return next.id, nil
}

// PutTonnes implements Store, in one transaction.
func (h *History) PutTonnes(ctx context.Context, tonnes []Tonne) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	bad := int64(0)
	err := h.change(ctx, func(tx *sql.Tx) error {
		rows := batchInsert{tx: tx, into: "insert into tonnage values ", row: "(?,?,?,?,?,?)",
			end: " on conflict do update set grams = excluded.grams, category = excluded.category", columns: 6}
		for _, t := range tonnes {
			if t.Check() != nil {
				bad++
				continue
			}
			if err := rows.add(ctx, t.Site, t.Category, t.Material, t.Flow, t.At, t.Grams); err != nil {
				return err
			}
		}
		return rows.flush(ctx)
	})
	if err != nil {
		return err
	}
	h.bad += bad
	return nil
}

// ForgetTonnes implements Store.
func (h *History) ForgetTonnes(ctx context.Context, sites []string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.change(ctx, func(tx *sql.Tx) error {
		for _, site := range sites {
			if _, err := tx.ExecContext(ctx, `delete from tonnage where site = ?`, site); err != nil {
				return err
			}
		}
		return nil
	})
}

type queryer interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// cursor reads a named number; 0 when it was never set.
func cursor(ctx context.Context, q queryer, name string) (n int64, err error) {
	err = q.QueryRowContext(ctx, `select n from cursor where name = ?`, name).Scan(&n)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return n, err
}

func setCursor(ctx context.Context, tx *sql.Tx, name string, n int64) error {
	_, err := tx.ExecContext(ctx, `insert into cursor values (?, ?) on conflict do update set n = excluded.n`, name, n)
	return err
}

// LoadCursor and SaveCursor keep a reader's place in the same file, for Tonnes.
func (h *History) LoadCursor(ctx context.Context) (place rollup.Place, err error) {
	if place.Seq, err = cursor(ctx, h.read, "tonnes"); err == nil {
		place.Trail, err = cursor(ctx, h.read, "tonnes trail")
	}
	if err != nil {
		return rollup.Place{}, fmt.Errorf("history: cursor: %w", err)
	}
	return place, nil
}

// SaveCursor keeps the reader's place.
func (h *History) SaveCursor(ctx context.Context, place rollup.Place) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.change(ctx, func(tx *sql.Tx) error {
		return errors.Join(setCursor(ctx, tx, "tonnes", place.Seq), setCursor(ctx, tx, "tonnes trail", place.Trail))
	})
}
