package telemetry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// HistoryConfig says where the embedded history lies and how long it keeps what.
type HistoryConfig struct {
	Path    string        // of its own SQLite file
	Full    time.Duration // every point; 0 means 48 h
	Minutes time.Duration // then one row a minute, and the words of states; 0 means 400 days
	Log     *slog.Logger
}

// History is the store in one file beside the ledger's, for when there is no InfluxDB.
//
// A point lies in full until Compact folds it into the row of its minute. A point that comes later
// than that, after a long outage, is folded into the same row at the next Compact; whether it is
// late or merely sent again is told by the entry's number, since entries come in order.
type History struct {
	config HistoryConfig
	db     *sql.DB // one connection writes
	read   *sql.DB

	mu     sync.Mutex // held for a whole Put or step of Compact
	series map[seriesKey]*seriesRow
	parked Parking
}

type seriesKey struct{ site, device, tag string }

type seriesRow struct {
	id    int64
	unit  string
	words bool
}

const historyVersion = 1

// schema of the history. Times are Unix ns in full and tonnage, Unix minutes in minute.
const schema = `
create table series (
	id integer primary key, site text not null, device text not null, tag text not null,
	unit text not null, words integer not null, unique (site, device, tag));
create table full (
	series integer not null, at integer not null,
	value text not null, -- the exact decimal; empty when there is none
	word  text not null, -- of a state; such a point is never folded
	primary key (series, at)) without rowid;
create table minute (
	series integer not null, at integer not null, min real not null, max real not null, sum real not null,
	count integer not null, last real not null, last_at integer not null,
	primary key (series, at)) without rowid;
create table tonnage (
	site text not null, category text not null, flow text not null, at integer not null, grams integer not null,
	primary key (site, category, flow, at)) without rowid;
create index tonnage_at on tonnage (at);
create table taken (site text not null, journal text not null, n integer not null, primary key (site, journal)) without rowid;
create table mark (name text primary key, n integer not null) without rowid;`

// folded is the mark before which points have been folded, Unix ns.
const folded = "folded"

// OpenHistory opens the file, or makes it. A receipt follows from what Put says, so every commit
// is synced: a power cut takes nothing back.
func OpenHistory(ctx context.Context, c HistoryConfig) (*History, error) {
	if c.Full == 0 {
		c.Full = 48 * time.Hour
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
	switch version {
	case 0:
		if _, err := h.db.ExecContext(ctx, "begin immediate;"+schema+fmt.Sprintf("pragma user_version=%d;commit", historyVersion)); err != nil {
			return err
		}
	case historyVersion:
	default:
		return fmt.Errorf("version %d is not this software's %d: use the newer software, or move the file away", version, historyVersion)
	}
	rows, err := h.db.QueryContext(ctx, `select id, site, device, tag, unit, words from series`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var k seriesKey
		var r seriesRow
		if err := rows.Scan(&r.id, &k.site, &k.device, &k.tag, &r.unit, &r.words); err != nil {
			return err
		}
		h.series[k] = &r
	}
	return rows.Err()
}

// Close closes the file.
func (h *History) Close() error { return errors.Join(h.read.Close(), h.db.Close()) }

// Parked says what was left out for good.
func (h *History) Parked() Parking {
	h.mu.Lock()
	defer h.mu.Unlock()
	return Parking{h.parked.Total, append([]Parked(nil), h.parked.Last...)}
}

// park is called with the lock held.
func (h *History) park(reason error) {
	h.parked.Total++
	h.parked.Last = append(h.parked.Last, Parked{Reason: reason.Error()})
	h.parked.Last = h.parked.Last[max(0, len(h.parked.Last)-maxParked):]
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

// inserting gathers rows into statements of rowsAtOnce.
type inserting struct {
	tx      *sql.Tx
	into    string // "insert into t values "
	row     string // "(?,?)"
	end     string // " on conflict do nothing"
	columns int
	args    []any
	full    *sql.Stmt
}

func (i *inserting) add(ctx context.Context, values ...any) error {
	i.args = append(i.args, values...)
	if len(i.args) < rowsAtOnce*i.columns {
		return nil
	}
	if i.full == nil {
		var err error
		if i.full, err = i.tx.PrepareContext(ctx, i.statement(rowsAtOnce)); err != nil {
			return err
		}
	}
	_, err := i.full.ExecContext(ctx, i.args...)
	i.args = i.args[:0]
	return err
}

func (i *inserting) statement(rows int) string {
	return i.into + strings.TrimSuffix(strings.Repeat(i.row+",", rows), ",") + i.end
}

// flush writes the rest. The statements end with their transaction.
func (i *inserting) flush(ctx context.Context) error {
	if len(i.args) == 0 {
		return nil
	}
	_, err := i.tx.ExecContext(ctx, i.statement(len(i.args)/i.columns), i.args...)
	i.args = i.args[:0]
	return err
}

// Put implements Store, in one transaction.
func (h *History) Put(ctx context.Context, points []Point) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	fresh := map[seriesKey]*seriesRow{}
	var bad []error
	err := h.change(ctx, func(tx *sql.Tx) error {
		var err error
		bad, err = h.put(ctx, tx, points, fresh)
		return err
	})
	if err != nil {
		return err
	}
	maps.Copy(h.series, fresh)
	for _, err := range bad {
		h.park(err)
	}
	return nil
}

type journalKey struct{ site, journal string }

func (h *History) put(ctx context.Context, tx *sql.Tx, points []Point, fresh map[seriesKey]*seriesRow) (bad []error, err error) {
	before, err := mark(ctx, tx, folded)
	if err != nil {
		return nil, err
	}
	had, reached := map[journalKey]int64{}, map[journalKey]int64{}
	rows := inserting{tx: tx, into: "insert into full values ", row: "(?,?,?,?)", end: " on conflict do nothing", columns: 4}
	for _, p := range points {
		if err := p.Check(); err != nil {
			bad = append(bad, err)
			continue
		}
		j := journalKey{p.Site, p.Journal}
		n, known := had[j]
		if !known {
			err := tx.QueryRowContext(ctx, `select n from taken where site = ? and journal = ?`, j.site, j.journal).Scan(&n)
			if err != nil && !errors.Is(err, sql.ErrNoRows) {
				return nil, err
			}
			had[j] = n
		}
		reached[j] = max(reached[j], int64(p.N))
		at := p.Stamp()
		if at < before && int64(p.N) <= n {
			continue // its minute holds it
		}
		id, err := h.seriesOf(ctx, tx, p, fresh)
		if err != nil {
			return nil, err
		}
		value := ""
		if p.Numeric {
			value = p.Value.String()
		}
		if err := rows.add(ctx, id, at, value, p.Text); err != nil {
			return nil, err
		}
	}
	if err := rows.flush(ctx); err != nil {
		return nil, err
	}
	for j, n := range reached {
		if _, err := tx.ExecContext(ctx, `insert into taken values (?,?,?) on conflict do update set n = max(n, excluded.n)`, j.site, j.journal, n); err != nil {
			return nil, err
		}
	}
	return bad, nil
}

// seriesOf gives the number of the point's series. What is new of it stands in fresh until the
// transaction is through.
func (h *History) seriesOf(ctx context.Context, tx *sql.Tx, p Point, fresh map[seriesKey]*seriesRow) (int64, error) {
	k := seriesKey{p.Site, p.Device, p.Tag}
	r := fresh[k]
	if r == nil {
		r = h.series[k]
	}
	next := seriesRow{unit: p.Unit, words: p.Text != ""}
	if r != nil {
		next = seriesRow{r.id, r.unit, r.words || p.Text != ""}
		if p.Numeric {
			next.unit = p.Unit
		}
		if next == *r {
			return r.id, nil
		}
	}
	err := tx.QueryRowContext(ctx, `insert into series (site, device, tag, unit, words) values (?,?,?,?,?)
		on conflict do update set unit = excluded.unit, words = excluded.words returning id`,
		k.site, k.device, k.tag, next.unit, next.words).Scan(&next.id)
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
	var bad []error
	err := h.change(ctx, func(tx *sql.Tx) error {
		rows := inserting{tx: tx, into: "insert into tonnage values ", row: "(?,?,?,?,?)",
			end: " on conflict do update set grams = excluded.grams", columns: 5}
		for _, t := range tonnes {
			if err := t.Check(); err != nil {
				bad = append(bad, err)
				continue
			}
			if err := rows.add(ctx, t.Site, t.Category, t.Flow, t.At, t.Grams); err != nil {
				return err
			}
		}
		return rows.flush(ctx)
	})
	if err != nil {
		return err
	}
	for _, err := range bad {
		h.park(err)
	}
	return nil
}

type queryer interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// mark reads a named number; 0 when it was never set.
func mark(ctx context.Context, q queryer, name string) (n int64, err error) {
	err = q.QueryRowContext(ctx, `select n from mark where name = ?`, name).Scan(&n)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return n, err
}

// LoadCursor and SaveCursor keep a reader's place in the same file, for Tonnes. A cursor that is
// set back only makes what is there be written again.
func (h *History) LoadCursor(ctx context.Context) (int64, error) {
	n, err := mark(ctx, h.read, "tonnes")
	if err != nil {
		return 0, fmt.Errorf("history: cursor: %w", err)
	}
	return n, nil
}

// SaveCursor keeps the reader's place.
func (h *History) SaveCursor(ctx context.Context, n int64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.change(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `insert into mark values ('tonnes', ?) on conflict do update set n = excluded.n`, n)
		return err
	})
}
