package telemetry

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"sync"
	"time"
)

// parkedLines keeps on disk the lines that InfluxDB has refused for a reason that somebody can mend. What is
// in it counts as kept: receipts rest on it.
type parkedLines struct {
	db       *sql.DB // one connection
	maxBytes int64   // of the file

	mu    sync.Mutex
	now   Parking // as last counted
	stale bool    // it has to be counted again
	bad   int64
}

// refused is a line with the reason why it is not in the store.
type refused struct {
	line, reason string
	tonnage      string // the site of a posting; empty for samples
	expired      bool   // older than the store keeps anything
}

const (
	maxParkedBytes = 256 << 20
	maxExpired     = 100_000 // lines; the oldest of them make room: nobody is expected to mend that
)

const parkedSchema = `
create table line (
	id      integer primary key, -- in the order in which they are offered again
	digest  blob    not null unique,
	since   integer not null,    -- Unix ms
	text    text    not null,    -- line protocol, ended by \n
	reason  text    not null,
	tonnage text    not null,    -- the site of a posting; empty for samples
	expired integer not null);
create index line_reason on line (reason, id);
create index line_expired on line (expired, id);
create index line_tonnage on line (tonnage, id);`

// openParked opens the file, or makes it; an empty path keeps everything in memory.
func openParked(path string, maxBytes int64) (*parkedLines, error) {
	dsn := ":memory:"
	if path != "" {
		full, err := filepath.Abs(path)
		if err != nil {
			return nil, fmt.Errorf("parked points: %w", err)
		}
		dsn = (&url.URL{Scheme: "file", OmitHost: true, Path: full}).String() +
			"?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_txlock=immediate"
	}
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, fmt.Errorf("parked points: %w", err)
	}
	db.SetMaxOpenConns(1)
	l := &parkedLines{db: db, maxBytes: maxBytes, stale: true}
	var version int
	if err = db.QueryRow(`pragma user_version`).Scan(&version); err == nil && version == 0 {
		_, err = db.Exec("begin immediate;" + parkedSchema + "pragma user_version=1;commit")
	} else if err == nil && version != 1 {
		err = fmt.Errorf("version %d is not this software's 1: use the newer software", version)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("parked points %s: %w: check the disk, or move the file away: the curves then lack what is in it", path, err), db.Close())
	}
	return l, nil
}

// change runs one transaction.
func (l *parkedLines) change(ctx context.Context, do func(*sql.Tx) error) error {
	l.mu.Lock()
	l.stale = true
	l.mu.Unlock()
	tx, err := l.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("parked points: %w", err)
	}
	if err := do(tx); err != nil {
		return fmt.Errorf("parked points: %w", errors.Join(err, tx.Rollback()))
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("parked points: commit: %w", err)
	}
	return nil
}

// errFull says that nothing more is parked.
var errFull = errors.New("no room for more parked points")

// add parks lines and gives the reasons that no line had before.
func (l *parkedLines) add(ctx context.Context, lines []refused) (news []string, err error) {
	err = l.change(ctx, func(tx *sql.Tx) error {
		var size int64
		err := tx.QueryRowContext(ctx, `select (page_count - freelist_count) * page_size from pragma_page_count, pragma_freelist_count, pragma_page_size`).Scan(&size)
		if err != nil {
			return err
		}
		if size > l.maxBytes {
			return fmt.Errorf("%w: %d MiB are full, the newest reason is: %s", errFull, l.maxBytes>>20, lines[0].reason)
		}
		known := map[string]bool{}
		for _, r := range lines {
			if !known[r.reason] {
				known[r.reason] = true
				var there bool
				if err := tx.QueryRowContext(ctx, `select exists (select 1 from line where reason = ?)`, r.reason).Scan(&there); err != nil {
					return err
				}
				if !there && !r.expired {
					news = append(news, r.reason)
				}
			}
			digest := sha256.Sum256([]byte(r.line))
			_, err := tx.ExecContext(ctx, `insert into line (digest, since, text, reason, tonnage, expired) values (?,?,?,?,?,?)
				on conflict (digest) do update set reason = excluded.reason, expired = excluded.expired`,
				digest[:16], time.Now().UnixMilli(), r.line, r.reason, r.tonnage, r.expired)
			if err != nil {
				return err
			}
		}
		_, err = tx.ExecContext(ctx, `delete from line where expired = 1 and id <=
			(select id from line where expired = 1 order by id desc limit 1 offset ?)`, maxExpired)
		return err
	})
	return news, err
}

// row is a parked line.
type row struct {
	id   int64
	text string
}

// first returns the first lines of a reason.
func (l *parkedLines) first(ctx context.Context, reason string, limit int) (rows []row, err error) {
	err = each(ctx, l.db, `select id, text from line where reason = ? order by id limit ?`, []any{reason, limit}, func(found *sql.Rows) error {
		var r row
		err := found.Scan(&r.id, &r.text)
		rows = append(rows, r)
		return err
	})
	return rows, err
}

// reasons returns the reasons for which lines are parked, those that have waited longest first.
func (l *parkedLines) reasons(ctx context.Context) (reasons []string, err error) {
	err = each(ctx, l.db, `select reason from line group by reason order by min(id) limit 50`, nil, func(found *sql.Rows) error {
		var reason string
		err := found.Scan(&reason)
		reasons = append(reasons, reason)
		return err
	})
	return reasons, err
}

// resolve takes out what was offered again and is in the store now; what was refused again waits
// behind everything else.
func (l *parkedLines) resolve(ctx context.Context, offered []row, again []refused) error {
	return l.change(ctx, func(tx *sql.Tx) error {
		for _, r := range offered {
			if _, err := tx.ExecContext(ctx, `update line set reason = '', id = (select max(id) + 1 from line) where id = ?`, r.id); err != nil {
				return err
			}
		}
		for _, r := range again {
			digest := sha256.Sum256([]byte(r.line))
			// A line that was divided comes back as parts, which are lines of their own.
			if _, err := tx.ExecContext(ctx, `insert into line (digest, since, text, reason, tonnage, expired) values (?,?,?,?,?,?)
				on conflict (digest) do update set reason = excluded.reason, expired = excluded.expired`,
				digest[:16], time.Now().UnixMilli(), r.line, r.reason, r.tonnage, r.expired); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, `delete from line where reason = ''`)
		return err
	})
}

// forgetTonnes drops the postings of the sites.
func (l *parkedLines) forgetTonnes(ctx context.Context, sites []string) error {
	return l.change(ctx, func(tx *sql.Tx) error {
		for _, site := range sites {
			if _, err := tx.ExecContext(ctx, `delete from line where tonnage = ?`, site); err != nil {
				return err
			}
		}
		return nil
	})
}

// parking counts what is parked.
func (l *parkedLines) parking() Parking {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stale {
		var p Parking
		var since int64
		err := l.db.QueryRow(`select count(*), coalesce(sum(tonnage <> ''), 0), coalesce(min(since), 0),
				(select count(*) from line where expired = 1),
				coalesce((select reason from line where expired = 0 order by id desc limit 1), '')
			from line where expired = 0`).Scan(&p.Lines, &p.Tonnage, &since, &p.Expired, &p.Why)
		switch {
		case err != nil:
			p, p.Why = l.now, err.Error() // and counted again
		default:
			l.stale = false
		}
		if since > 0 {
			p.Since = time.UnixMilli(since)
		}
		l.now = p
	}
	p := l.now
	p.Bad = l.bad
	return p
}

// countBad counts samples that no store could keep.
func (l *parkedLines) countBad(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bad += int64(n)
}
