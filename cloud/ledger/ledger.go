// Package ledger keeps every entry of every journal, once, in the order of commit.
//
// In: batches whose signature has been checked, refused bytes, and the time they were received.
// Out: how far each journal is committed, and readers over entries, gaps, batch headers and quarantine.
// It promises that what Post returns as committed is on disk; that an entry is stored once, with
// its exact bytes, whatever is sent again; that a number is never jumped unless the edge has signed
// that it is gone; that of two entries with one number the first stays and the second is kept in
// quarantine with an alarm; and that nothing in it is ever changed or deleted but quarantine, which
// is bounded.
// It does not check signatures, know what an entry means, publish anything or read a clock.
package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"steelyard/internal/chain"
	"steelyard/internal/wire"
)

// ErrUnknown is the error of a COMMIT that may have happened or not. The Ledger
// takes nothing more; the process has to end, and opening the ledger again decides: what was
// committed is there, and what was not will be sent again.
var ErrUnknown = errors.New("outcome of the commit is unknown: end the process and open the ledger again")

// Ledger is the one writer of its database, and its reader.
type Ledger struct {
	*Reader
	writer *sql.DB   // one connection: statements of this process never wait for each other's locks
	insert *sql.Stmt // of the writer: chunkRows entries
	log    *slog.Logger
	path   string // of the file

	mu      sync.Mutex    // guards what follows, never held over a statement
	changed chan struct{} // closed at the next commit that adds entries
	broken  error         // set once, by a commit of unknown outcome
	held    bool          // the write-ahead log is over logLimit, and that has been logged
}

// Open opens or creates the ledger. The dsn is the path of a file, or "sqlite:" and a path.
//
// Before it returns, everything a previous process left in the write-ahead log is copied into the
// database and synced: a process killed between writing and syncing leaves pages that only the
// kernel holds, and a receipt must not rest on those.
func Open(ctx context.Context, dsn string, log *slog.Logger) (*Ledger, error) {
	path, err := pathOf(dsn)
	if err != nil {
		return nil, err
	}
	unclean := walExists(path)
	writer, err := openFile(ctx, path, readWrite)
	if err != nil {
		return nil, err
	}
	l := &Ledger{writer: writer, log: log, path: path, changed: make(chan struct{})}
	if err := l.start(ctx, path, unclean); err != nil {
		return nil, errors.Join(fmt.Errorf("ledger %s: %w", path, explain(err)), l.Close())
	}
	return l, nil
}

func (l *Ledger) start(ctx context.Context, path string, unclean bool) error {
	if err := recoverWAL(ctx, l.writer, path, unclean, l.log); err != nil {
		return err
	}
	if err := migrate(ctx, l.writer, "ledger", schema); err != nil {
		return err
	}
	var err error
	if l.insert, err = l.writer.PrepareContext(ctx, insertEntries(chunkRows)); err != nil {
		return err
	}
	reader, err := openFile(ctx, path, readOnly)
	if err != nil {
		return err
	}
	l.Reader = &Reader{db: reader}
	return nil
}

// Close waits for running statements and closes the files.
func (l *Ledger) Close() error {
	var err error
	if l.Reader != nil {
		err = l.Reader.Close()
	}
	return errors.Join(err, l.writer.Close())
}

// Enrol pins a site's key at its first enrolment and accepts the same key ever after.
func (l *Ledger) Enrol(ctx context.Context, site string, key chain.PublicKey, at time.Time) error {
	return l.EnrolAll(ctx, map[string]chain.PublicKey{site: key}, at)
}

// EnrolAll is Enrol of many sites in one transaction: all of them, or none.
func (l *Ledger) EnrolAll(ctx context.Context, keys map[string]chain.PublicKey, at time.Time) error {
	return l.write(ctx, func(ctx context.Context, tx *sql.Tx) error {
		for _, site := range slices.Sorted(maps.Keys(keys)) {
			if err := enrol(ctx, tx, site, keys[site], at); err != nil {
				return err
			}
		}
		return nil
	})
}

func enrol(ctx context.Context, tx *sql.Tx, site string, key chain.PublicKey, at time.Time) error {
	if err := wire.CheckSlug("site", site); err != nil {
		return err
	}
	if key.IsZero() {
		return fmt.Errorf("site %s: no public key given", site)
	}
	_, err := tx.ExecContext(ctx, `
		insert into sites (id, key, since_us) values ($1, $2, $3)
		on conflict (id) do nothing`, site, key.String(), at.UnixMicro())
	if err != nil {
		return fmt.Errorf("enrol site %s: %w", site, err)
	}
	var pinned string
	var since int64
	err = tx.QueryRowContext(ctx, `select key, since_us from sites where id = $1`, site).Scan(&pinned, &since)
	if err != nil {
		return fmt.Errorf("enrol site %s: %w", site, err)
	}
	if pinned != key.String() {
		return fmt.Errorf("site id %s is taken since %s by the key %s, not %s: give the new edge another site id, or put the first key back into the configuration",
			site, timeOf(since).Format(time.DateOnly), pinned, key)
	}
	return nil
}

// write runs do in one transaction. An error of do rolls back and leaves nothing behind, so the
// caller may try again; an error of COMMIT is ErrUnknown and final.
// The transaction can't be cancelled: a cancelled COMMIT would be one of unknown outcome.
func (l *Ledger) write(ctx context.Context, do func(context.Context, *sql.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	l.mu.Lock()
	broken := l.broken
	l.mu.Unlock()
	if broken != nil {
		return broken
	}
	ctx = context.WithoutCancel(ctx)
	tx, err := l.writer.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("ledger: %w", explain(err))
	}
	if err := do(ctx, tx); err != nil {
		err = explain(err)
		if undo := tx.Rollback(); undo != nil {
			// The connection may still hold the transaction open.
			return l.markBroken(fmt.Errorf("%w; roll back: %w", err, undo))
		}
		return err
	}
	if err := tx.Commit(); err != nil {
		return l.markBroken(err)
	}
	l.watchLog()
	return nil
}

func (l *Ledger) markBroken(cause error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = fmt.Errorf("ledger: %w (%w)", ErrUnknown, cause)
	return l.broken
}

// notify wakes those who [Ledger.Wait].
func (l *Ledger) notify() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.changed)
	l.changed = make(chan struct{})
}

// pollInterval bounds how long Wait relies on this process being the only writer.
const pollInterval = 2 * time.Second

// Wait returns when there are entries after the given seq, or with the context's error.
func (l *Ledger) Wait(ctx context.Context, after int64) error {
	for {
		l.mu.Lock()
		changed := l.changed
		l.mu.Unlock()
		head, err := l.Head(ctx)
		if err != nil || head > after {
			return err
		}
		again := time.NewTimer(pollInterval)
		select {
		case <-ctx.Done():
			again.Stop()
			return ctx.Err()
		case <-changed:
			again.Stop()
		case <-again.C:
		}
	}
}

// Tables are derived tables beside the ledger's: a reader's own, kept in the same database so that
// they move in one transaction with the reader's cursor. They can be dropped and made again.
type Tables struct {
	ledger *Ledger
	name   string
}

// Tables brings the tables called name to the newest of the numbered files schema/*.sql.
func (l *Ledger) Tables(ctx context.Context, name string, schema fs.FS) (*Tables, error) {
	if err := migrate(ctx, l.writer, name, schema); err != nil {
		return nil, err
	}
	return &Tables{ledger: l, name: name}, nil
}

// Update runs do in one transaction of the ledger's writer, under the rules of [ErrUnknown]. It must
// be short: while it runs nothing is posted.
func (t *Tables) Update(ctx context.Context, do func(context.Context, *sql.Tx) error) error {
	if err := t.ledger.write(ctx, do); err != nil {
		return fmt.Errorf("%s: %w", t.name, err)
	}
	return nil
}

// Read returns the readers' pool, which can't write.
func (t *Tables) Read() *sql.DB { return t.ledger.db }

func timeOf(us int64) time.Time { return time.UnixMicro(us).UTC() }
