package ledger_test

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"steelyard/cloud/ledger"
	"steelyard/cloud/ledger/ledgertest"
	"steelyard/internal/wire"
)

// fullDiskLedger names the environment variable that makes the test program fill its disk.
const fullDiskLedger = "STEELYARD_TEST_FULL_DISK"

// fillDisk posts until the process may write no more, and prints what it would have receipted.
func fillDisk(path string) {
	signal.Ignore(syscall.SIGXFSZ) // the write fails instead
	ctx := context.Background()
	l, err := ledger.Open(ctx, path, slog.New(slog.DiscardHandler))
	if err != nil {
		fmt.Println("open:", err)
		return
	}
	limit := &syscall.Rlimit{Cur: 300_000, Max: 300_000}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, limit); err != nil {
		fmt.Println("limit:", err)
		return
	}
	for _, b := range ledgertest.New("xinhua-1", 1).Shift(2000).Batches(20) {
		outcomes, err := l.Post(ctx, received(), []*wire.Batch{b})
		if errors.Is(err, ledger.ErrUnknown) {
			_, again := l.Post(ctx, received(), []*wire.Batch{b})
			fmt.Println("unknown", errors.Is(again, ledger.ErrUnknown))
			return
		}
		if err != nil {
			fmt.Println("refused", err)
			return
		}
		fmt.Println("receipt", outcomes[0].N)
	}
	fmt.Println("no limit was felt")
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger.db")
	j := ledgertest.New("xinhua-1", 1).Shift(2000)
	l := open(t, path, "xinhua-1")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), fullDiskLedger+"="+path)
	out, err := child.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var receipted uint64
	said := ""
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		if n, ok := strings.CutPrefix(lines.Text(), "receipt "); ok {
			if receipted, err = strconv.ParseUint(n, 10, 64); err != nil {
				t.Fatal(err)
			}
			continue
		}
		said = lines.Text()
	}
	if said != "unknown true" || receipted == 0 || receipted == j.Last() {
		t.Fatalf("receipted %d, then said %q: want a commit of unknown outcome, and nothing taken after it", receipted, said)
	}
	// There is room again, and the edge sends everything from its last receipt.
	l = open(t, path)
	known, err := l.Positions(t.Context())
	if err != nil || len(known) != 1 || known[0].N < receipted {
		t.Fatalf("receipted %d, found %+v, %v", receipted, known, err)
	}
	for first := receipted + 1; first <= j.Last(); first += 100 {
		post(t, l, j.Batch(first, min(first+99, j.Last())))
	}
	holds(t, l.Reader, j)
}

func TestLockedByAnother(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger.db")
	l := open(t, path, "xinhua-1")
	j := ledgertest.New("xinhua-1", 1).Shift(50)
	other, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	conn, err := other.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(t.Context(), "begin exclusive"); err != nil {
		t.Fatal(err)
	}
	if o, err := l.Post(t.Context(), received(), []*wire.Batch{j.Batch(1, 50)}); err == nil || errors.Is(err, ledger.ErrUnknown) {
		t.Errorf("while locked: %+v, %v: want an error that allows another try", o, err)
	}
	if _, err := conn.ExecContext(t.Context(), "rollback"); err != nil {
		t.Fatal(err)
	}
	post(t, l, j.Batch(1, 50))
	holds(t, l.Reader, j)
}

// persist posts as ingest does: the other instance may hold the lock whenever this one looks, for
// longer than the database waits.
func persist(t *testing.T, l *ledger.Ledger, b *wire.Batch) (err error) {
	for range 20 {
		if _, err = l.Post(t.Context(), received(), []*wire.Batch{b}); err == nil || errors.Is(err, ledger.ErrUnknown) {
			return err
		}
	}
	return err
}

func TestTwoInstancesTakeTheSame(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger.db")
	j := ledgertest.New("xinhua-1", 1).Shift(800)
	batches := j.Batches(10)
	var wg sync.WaitGroup
	for _, l := range []*ledger.Ledger{open(t, path, "xinhua-1"), open(t, path)} {
		wg.Go(func() {
			for _, b := range batches {
				if err := persist(t, l, b); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	r, err := ledger.OpenReader(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	holds(t, r, j)
}

func TestEndedContextPostsNothing(t *testing.T) {
	l := fresh(t, "xinhua-1")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Post(ctx, received(), []*wire.Batch{ledgertest.New("xinhua-1", 1).Shift(5).Batch(1, 5)}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if head, err := l.Head(t.Context()); head != 0 || err != nil {
		t.Errorf("head %d, %v", head, err)
	}
}

func TestDamageIsFound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	l := open(t, path, "xinhua-1")
	post(t, l, ledgertest.New("xinhua-1", 1).Shift(500).Batches(100)...)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	clear(data[5*4096 : 6*4096]) // a page of zeros
	if err := errors.Join(os.WriteFile(path, data, 0o600), os.WriteFile(path+"-wal", []byte("torn"), 0o600)); err != nil {
		t.Fatal(err)
	}
	damaged, err := ledger.Open(t.Context(), path, slog.New(slog.DiscardHandler))
	if err == nil {
		damaged.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "check after an unclean stop") {
		t.Errorf("got %v", err)
	}
}

// TestWriteAheadLogUnderAnOpenReader: somebody looks at the ledger with another program and goes home.
// The log of the process says so, and when the reader ends the file is short again.
func TestWriteAheadLogUnderAnOpenReader(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger.db")
	var said lockedBuffer
	l, err := ledger.Open(t.Context(), path, slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	serial := uint64(0)
	write := func(bytes int) {
		t.Helper()
		for size := 0; size < bytes; size += 8 << 10 {
			evidence := make([]byte, 8<<10)
			serial++
			binary.BigEndian.PutUint64(evidence, serial)
			r := ledger.Refusal{Site: "xinhua-1", Reason: "malformed", Size: len(evidence), Evidence: evidence}
			if err := l.Quarantine(t.Context(), received(), []ledger.Refusal{r}); err != nil {
				t.Fatal(err)
			}
		}
	}
	other, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	reading, err := other.BeginTx(t.Context(), &sql.TxOptions{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if err := reading.QueryRowContext(t.Context(), "select count(*) from quarantine").Scan(&n); err != nil {
		t.Fatal(err)
	}
	for i := 0; !strings.Contains(said.String(), "write-ahead log grows"); i++ {
		if i == 1000 {
			t.Fatalf("a gigabyte and nothing said: %q", said.String())
		}
		write(1 << 20)
	}
	if err := reading.Rollback(); err != nil {
		t.Fatal(err)
	}
	write(64 << 10)
	for i := 0; !strings.Contains(said.String(), "short again"); i++ {
		if i == 100 {
			t.Fatalf("the reader has ended and the log is still long: %q", said.String())
		}
		write(1 << 20)
	}
	if got := strings.Count(said.String(), "write-ahead log grows"); got != 1 {
		t.Errorf("said %d times, want once", got)
	}
}

// lockedBuffer is what a log is written to.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// TestForeignLog: a backup is put in place and the log of the file before is left beside it.
func TestForeignLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, other := filepath.Join(dir, "ledger.db"), filepath.Join(dir, "other.db")
	l := open(t, path, "xinhua-1")
	post(t, l, ledgertest.New("xinhua-1", 1).Shift(50).Batches(20)...)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	// The other's log holds what was written since it was last opened, and is copied as after a kill.
	batches := ledgertest.New("xinhua-1", 1).Shift(4000).Batches(20)
	for _, some := range [][]*wire.Batch{batches[:100], batches[100:]} {
		l := open(t, other, "xinhua-1")
		post(t, l, some...)
		wal, err := os.ReadFile(other + "-wal")
		if err != nil || len(wal) == 0 {
			t.Fatalf("log of %d bytes, %v", len(wal), err)
		}
		if err := os.WriteFile(filepath.Join(dir, "left-wal"), wal, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(filepath.Join(dir, "left-wal"), path+"-wal"); err != nil {
		t.Fatal(err)
	}
	_, err := ledger.Open(t.Context(), path, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "-wal") || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v, want one line that speaks of the -wal file", err)
	}
}

// TestOnlyTheOwnerReadsTheLedger: plates and counterparties stand in it.
func TestOnlyTheOwnerReadsTheLedger(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	l := open(t, path, "xinhua-1")
	post(t, l, ledgertest.New("xinhua-1", 1).Shift(50).Batches(50)...)
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %04o", name, info.Mode().Perm())
		}
	}
}
