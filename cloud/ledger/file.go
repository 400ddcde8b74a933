package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"modernc.org/sqlite" // the driver "sqlite", too
	sqlite3 "modernc.org/sqlite/lib"
)

// pathOf reads a dsn. Other databases are refused by name, so that a mistyped path can't silently
// become an empty ledger in a file called "postgres:…".
func pathOf(dsn string) (string, error) {
	path, named := strings.CutPrefix(dsn, "sqlite:")
	scheme, _, hasScheme := strings.Cut(path, ":")
	switch {
	case path == "":
		return "", errors.New("ledger: no database given: use the path of a file, like /var/lib/steelyard/ledger.db")
	case !named && hasScheme && !strings.ContainsAny(scheme, "/.") && len(scheme) > 1:
		return "", fmt.Errorf("ledger: %s databases are not built in: use the path of a file, or sqlite: and a path", scheme)
	case strings.ContainsRune(path, 0):
		return "", errors.New("ledger: the path holds a zero byte")
	}
	return path, nil
}

// mode is what a handle is for.
type mode int

const (
	readWrite mode = iota
	readOnly       // the pool beside the writer
	external       // another process's ledger: must exist, is never written
)

// The pragmas stand in the DSN because each of a pool's connections has its own. Not by default:
// the driver's busy timeout is 0 and its foreign keys are off.
const (
	pragmas      = "_pragma=busy_timeout(5000)&_pragma=foreign_keys(1)&_pragma=synchronous(FULL)"
	writePragmas = "&_txlock=immediate&_pragma=journal_mode(WAL)&_pragma=cache_size(-65536)&_pragma=wal_autocheckpoint(4000)&_pragma=journal_size_limit(33554432)"
	readPragmas  = "&_pragma=query_only(1)"
	readers      = 4
)

func openFile(ctx context.Context, path string, as mode) (*sql.DB, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return nil, fmt.Errorf("ledger %s: is a folder: name a file in it, like %s", path, filepath.Join(path, "ledger.db"))
	} else if err != nil && as == external {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	if _, err := os.Stat(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("ledger %s: %w: make the folder first", path, err)
	}
	dsn := "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + pragmas
	switch as {
	case readWrite:
		dsn += writePragmas
	case readOnly:
		dsn += readPragmas
	case external:
		dsn += readPragmas + "&mode=ro"
	}
	if as == readWrite {
		if err := private(path); err != nil {
			return nil, fmt.Errorf("ledger: %w", err)
		}
	}
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, fmt.Errorf("ledger %s: %w", path, err)
	}
	db.SetMaxOpenConns(readers)
	db.SetMaxIdleConns(readers)
	if as == readWrite {
		db.SetMaxOpenConns(1)
	}
	if err := verifyPragmas(ctx, db); err != nil {
		return nil, errors.Join(fmt.Errorf("ledger %s: %w", path, explain(err)), db.Close())
	}
	return db, nil
}

// private makes the file, and has those who are not its owner read nothing of it: vehicles and
// counterparties stand in it. The files that SQLite lays beside it get its mode.
func private(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	err = f.Chmod(0o600)
	return errors.Join(err, f.Close())
}

const restoreHint = "restore the last backup, having removed the -wal and -shm files beside it, for those of another copy damage it; the edges send the rest again"

// explain adds to an error of the database what to do about it.
func explain(err error) error {
	e, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return err
	}
	remedy := ""
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_FULL:
		remedy = "free space on its disk; the sites keep what is not receipted and send it again"
	case sqlite3.SQLITE_IOERR:
		remedy = "look at its disk (full, failing or read-only) and start again"
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM:
		remedy = "the file, its folder and the -wal and -shm files beside it must belong to the user who runs the cloud"
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		remedy = restoreHint
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		remedy = "another program holds the file: end it first"
	default:
		return err
	}
	return fmt.Errorf("%w: %s", err, remedy)
}

// verifyPragmas reads back what the DSN asked for: drivers differ in how they read one, and a ledger
// without these settings loses entries in a power cut.
func verifyPragmas(ctx context.Context, db *sql.DB) error {
	for _, want := range []struct{ pragma, value, meaning string }{
		{"journal_mode", "wal", "write-ahead log"},
		{"synchronous", "2", "FULL"},
		{"foreign_keys", "1", "on"},
		{"busy_timeout", "5000", "5 s"},
	} {
		var got string
		if err := db.QueryRowContext(ctx, "pragma "+want.pragma).Scan(&got); err != nil {
			return fmt.Errorf("%s: %w", want.pragma, err)
		}
		if got != want.value {
			return fmt.Errorf("%s is %s, not %s (%s): is the file on a network drive or opened by other software?", want.pragma, got, want.value, want.meaning)
		}
	}
	return nil
}

// logLimit is the size of the write-ahead log that no load explains: SQLite begins it anew every few
// thousand pages, unless a reader still needs what is in it.
const logLimit = 64 << 20

// watchLog logs once that a reader keeps the write-ahead log from being begun anew, for it then grows
// until the disk is full.
func (l *Ledger) watchLog() {
	info, err := os.Stat(l.path + "-wal")
	if err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch held := info.Size() > logLimit; {
	case held && !l.held:
		l.log.Error("ledger's write-ahead log grows", "bytes", info.Size(),
			"remedy", "a program keeps a reading transaction open on the ledger: end it (fuser "+l.path+" names it)")
		l.held = true
	case !held && l.held:
		l.log.Info("ledger's write-ahead log is short again", "bytes", info.Size())
		l.held = false
	}
}

// checkAtMost bounds the size of a database that is checked after an unclean stop: about a second.
const checkAtMost = 128 << 20

// recoverWAL copies the write-ahead log into the database and syncs it, and looks the database over
// when the last process did not close it.
func recoverWAL(ctx context.Context, db *sql.DB, path string, unclean bool, log *slog.Logger) error {
	var busy, inLog, copied int
	if err := db.QueryRowContext(ctx, "pragma wal_checkpoint(truncate)").Scan(&busy, &inLog, &copied); err != nil {
		return fmt.Errorf("sync what the last process left: %w", err)
	}
	if busy != 0 && inLog != copied {
		return errors.New("sync what the last process left: the database is in use by another process: end it first")
	}
	if !unclean {
		return nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Size() > checkAtMost {
		log.Info("ledger was not closed; too large to be checked at every start", "bytes", info.Size())
		return nil
	}
	var found string
	if err := db.QueryRowContext(ctx, "pragma quick_check(1)").Scan(&found); err != nil {
		return fmt.Errorf("check after an unclean stop: %w", err)
	}
	if found != "ok" {
		return fmt.Errorf("check after an unclean stop: %s: %s", found, restoreHint)
	}
	log.Info("ledger was not closed; checked and sound", "bytes", info.Size())
	return nil
}

// walExists reports whether a write-ahead log is there: the last process to close the database removes it.
func walExists(path string) bool {
	info, err := os.Stat(path + "-wal")
	return !errors.Is(err, fs.ErrNotExist) && (err != nil || info.Size() > 0)
}
