package ledger_test

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"steelyard/cloud/ledger"
	"steelyard/cloud/ledger/ledgertest"
	"steelyard/internal/chain"
	"steelyard/internal/wire"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(fullDiskLedger); path != "" {
		fillDisk(path)
		return
	}
	os.Exit(m.Run())
}

func received() time.Time { return time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC) }

func open(t testing.TB, path string, sites ...string) *ledger.Ledger {
	t.Helper()
	l, err := ledger.Open(t.Context(), path, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, site := range sites {
		if err := l.Enrol(t.Context(), site, ledgertest.KeyOf(site).Public(), received()); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func fresh(t testing.TB, sites ...string) *ledger.Ledger {
	return open(t, filepath.Join(t.TempDir(), "ledger.db"), sites...)
}

func post(t testing.TB, l *ledger.Ledger, batches ...*wire.Batch) []ledger.Outcome {
	t.Helper()
	outcomes, err := l.Post(t.Context(), received(), batches)
	if err != nil {
		t.Fatal(err)
	}
	return outcomes
}

// holds compares the ledger with what the journals say, entry by entry: nothing lost, nothing
// twice, nothing altered, nothing invented.
func holds(t testing.TB, r *ledger.Reader, journals ...*ledgertest.Journal) {
	t.Helper()
	entries, err := r.Entries(context.Background(), 0, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	if err := audit(entries, journals...); err != nil {
		t.Error(err)
	}
}

// audit is the oracle.
func audit(entries []ledger.Entry, journals ...*ledgertest.Journal) error {
	next := map[string]uint64{}
	of := map[string]*ledgertest.Journal{}
	for _, j := range journals {
		of[j.ID] = j
	}
	for i, e := range entries {
		j := of[e.Journal]
		next[e.Journal]++
		switch n := next[e.Journal]; {
		case j == nil:
			return fmt.Errorf("seq %d: journal %s was never written", e.Seq, e.Journal)
		case e.Seq != int64(i+1):
			return fmt.Errorf("seq %d stands at %d", e.Seq, i+1)
		case e.N != n:
			return fmt.Errorf("site %s: entry %d stands where %d is due", j.Site, e.N, n)
		case n > j.Last() || string(e.Line) != string(j.Lines[n-1]):
			return fmt.Errorf("site %s: entry %d was never written so", j.Site, n)
		case e.Hash != chain.Of(e.Line):
			return fmt.Errorf("site %s: entry %d: hash %s", j.Site, n, e.Hash)
		}
	}
	for _, j := range journals {
		if next[j.ID] != j.Last() {
			return fmt.Errorf("site %s: %d of %d entries", j.Site, next[j.ID], j.Last())
		}
	}
	return nil
}

// digest is over the entries by identity: the order of commit between sites may differ.
func digest(t testing.TB, r *ledger.Reader) string {
	t.Helper()
	entries, err := r.Entries(t.Context(), 0, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(entries, func(a, b ledger.Entry) int {
		if c := strings.Compare(a.Site+a.Journal, b.Site+b.Journal); c != 0 {
			return c
		}
		return int(a.N) - int(b.N)
	})
	h := sha256.New()
	for _, e := range entries {
		fmt.Fprintf(h, "%s %d %t %s\n", e.Journal, e.N, e.Valid, e.Line)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func TestDSN(t *testing.T) {
	for dsn, want := range map[string]string{
		"":                            "no database given",
		"sqlite:":                     "no database given",
		"postgres://db/steelyard":     "postgres databases are not built in: use the path of a file",
		t.TempDir():                   "is a folder: name a file in it",
		t.TempDir() + "/no/ledger":    "make the folder first",
		"sqlite:" + t.TempDir() + "/": "is a folder",
	} {
		t.Run(want, func(t *testing.T) {
			_, err := ledger.Open(t.Context(), dsn, slog.New(slog.DiscardHandler))
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Open(%q): got %v, want %q", dsn, err, want)
			}
		})
	}
	// A name that a URL would read differently.
	dir := filepath.Join(t.TempDir(), "账 50%?#x")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	open(t, "sqlite:"+filepath.Join(dir, "ledger.db"))
	if _, err := os.Stat(filepath.Join(dir, "ledger.db")); err != nil {
		t.Error(err)
	}
}

func TestKeyIsPinned(t *testing.T) {
	l := fresh(t, "xinhua-1")
	if err := l.Enrol(t.Context(), "xinhua-1", ledgertest.KeyOf("xinhua-1").Public(), received()); err != nil {
		t.Errorf("the same key again: %v", err)
	}
	err := l.Enrol(t.Context(), "xinhua-1", ledgertest.KeyOf("another").Public(), received())
	if err == nil || !strings.Contains(err.Error(), "site id xinhua-1 is taken since 2026-11-23") || !strings.Contains(err.Error(), "another site id") {
		t.Errorf("got %v", err)
	}
	if err := l.Enrol(t.Context(), "Xinhua 1", ledgertest.KeyOf("x").Public(), received()); err == nil {
		t.Error("a site id with a blank was enrolled")
	}
	if err := l.Enrol(t.Context(), "xinhua-2", chain.PublicKey{}, received()); err == nil {
		t.Error("a site without a key was enrolled")
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	l := open(t, path)
	tables, err := l.Tables(t.Context(), "notes", fstest.MapFS{"schema/1.sql": {Data: []byte("create table notes (id bigint)")}})
	if err != nil {
		t.Fatal(err)
	}
	err = tables.Update(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `update versions set version = 99 where name = 'ledger'`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, opened := range map[string]func() error{
		"Open":       func() error { _, err := ledger.Open(t.Context(), path, slog.New(slog.DiscardHandler)); return err },
		"OpenReader": func() error { _, err := ledger.OpenReader(t.Context(), path); return err },
	} {
		t.Run(name, func(t *testing.T) {
			if err := opened(); err == nil || !strings.Contains(err.Error(), "version 99") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestTables(t *testing.T) {
	l := fresh(t)
	schema := fstest.MapFS{"schema/1.sql": {Data: []byte("create table notes (id bigint)")}}
	if _, err := l.Tables(t.Context(), "notes", schema); err != nil {
		t.Fatal(err)
	}
	schema["schema/2.sql"] = &fstest.MapFile{Data: []byte("alter table notes add column text text")}
	tables, err := l.Tables(t.Context(), "notes", schema)
	if err != nil {
		t.Fatal(err)
	}
	undone := errors.New("undone")
	for _, want := range []error{undone, nil} {
		err := tables.Update(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
			if _, err := tx.ExecContext(ctx, `insert into notes (id, text) values (1, 'x')`); err != nil {
				return err
			}
			return want
		})
		if !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	var n int
	if err := tables.Read().QueryRowContext(t.Context(), `select count(*) from notes`).Scan(&n); err != nil || n != 1 {
		t.Errorf("%d notes, %v: want the one of the transaction that succeeded", n, err)
	}
	if _, err := tables.Read().ExecContext(t.Context(), `delete from notes`); err == nil {
		t.Error("the readers' handle can write")
	}
}

func TestWait(t *testing.T) {
	l := fresh(t, "xinhua-1")
	j := ledgertest.New("xinhua-1", 1).Shift(10)
	woke := make(chan error, 1)
	go func() { woke <- l.Wait(t.Context(), 5) }()
	post(t, l, j.Batch(1, 5))
	post(t, l, j.Batch(6, 10))
	if err := <-woke; err != nil {
		t.Error(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Wait(ended, 10); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want canceled", err)
	}
}

func TestReaderBesideTheWriter(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger.db")
	if _, err := ledger.OpenReader(t.Context(), path); err == nil {
		t.Error("a reader opened a ledger that is not there")
	}
	l := open(t, path, "xinhua-1")
	r, err := ledger.OpenReader(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	j := ledgertest.New("xinhua-1", 1).Shift(600)
	done := make(chan error, 1)
	go func() {
		for _, b := range j.Batches(20) {
			if _, err := l.Post(t.Context(), received(), []*wire.Batch{b}); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	// Whatever moment a reader sees, head, entries and positions belong to one commit or later ones.
	for running := true; running; {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			running = false
		default:
		}
		head, err := r.Head(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		entries, err := r.Entries(t.Context(), 0, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		if int64(len(entries)) < head || len(entries)%20 != 0 {
			t.Fatalf("head %d, %d entries", head, len(entries))
		}
	}
	holds(t, r, j)
}
