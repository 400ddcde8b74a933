package ingest_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"steelyard/cloud/ingest"
	"steelyard/cloud/ledger"
	"steelyard/cloud/ledger/ledgertest"
	"steelyard/internal/chain"
	"steelyard/internal/wire"
)

// The environment variables that make the test program a cloud which is going to be killed.
const (
	childLedger = "STEELYARD_TEST_INGEST"
	childMode   = "STEELYARD_TEST_MODE"
	early       = "early" // receipts go out before the commit: the negative control
)

// doomed is the journal that both processes know.
func doomed() *ledgertest.Journal { return ledgertest.New("xinhua-1", 42).Shift(4_000) }

// child takes in the journal from where the ledger stands, sending everything twice, and prints
// its receipts. It ends when it is killed, or when all is in.
func child(path, mode string) {
	stop := func(err error) {
		if err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
	}
	ctx := context.Background()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	l, err := ledger.Open(ctx, path, log)
	stop(err)
	j := doomed()
	key := j.Key.Public()
	stop(l.Enrol(ctx, j.Site, key, ledgertest.Start()))
	receipted := make(chan uint64, 1000)
	i, err := ingest.New(ingest.Config{Sites: map[string]chain.PublicKey{j.Site: key}, Key: ledgertest.KeyOf("the-cloud"), Ledger: l,
		Log: log, Now: time.Now, Samples: func(context.Context, []*wire.Batch) error { return nil },
		Publish: func(_ context.Context, topic string, payload []byte, _ bool) error {
			r, err := wire.DecodeReceipt(payload, ledgertest.KeyOf("the-cloud").Public())
			if err != nil {
				return nil // a request
			}
			fmt.Printf("receipt %d %s\n", r.N, r.Hash)
			receipted <- r.N
			return nil
		}})
	stop(err)
	known, err := l.Positions(ctx)
	stop(err)
	var n uint64
	if len(known) > 0 {
		n = known[0].N
	}
	fmt.Println("ready")
	go func() { stop(i.Run(ctx)) }()
	for n < j.Last() {
		last := min(n+5, j.Last())
		if mode == early {
			fmt.Printf("receipt %d %s\n", last, j.Hash(last))
			if n > 50 {
				stop(syscall.Kill(os.Getpid(), syscall.SIGKILL))
			}
		}
		for range 2 {
			i.Handle(wire.TopicOf(j.Site, j.Stream), j.Payload(n+1, last), false)
		}
		for n < last {
			n = max(n, <-receipted)
		}
	}
	fmt.Println("all")
}

// run starts a child, kills it a little after so many receipts, and gives the newest one it has
// printed.
func run(t *testing.T, path, mode string, j *ledgertest.Journal, receipts int, after time.Duration) (receipted uint64, all bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childLedger+"="+path, childMode+"="+mode)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	for said := 0; ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			break // killed; a last line without its end was not said
		}
		var n uint64
		var hash string
		_, other := fmt.Sscanf(line, "receipt %d %s\n", &n, &hash)
		switch {
		case other == nil && (n > j.Last() || hash != j.Hash(n).String()):
			t.Errorf("receipt for entry %d with hash %s", n, hash)
		case other == nil:
			receipted = max(receipted, n)
			said++
		case line == "all\n":
			all = true
		case strings.HasPrefix(line, "error"):
			t.Error(line)
		}
		if (other == nil || line == "ready\n") && said == receipts {
			timer := time.AfterFunc(after, func() { cmd.Process.Kill() })
			defer timer.Stop()
		}
	}
	if _, err := io.Copy(io.Discard, lines); err != nil {
		t.Log(err)
	}
	cmd.Wait() // killed, or ended
	return receipted, all
}

// position reads how far the ledger has come and holds it against the journal.
func position(t *testing.T, path string, j *ledgertest.Journal) uint64 {
	t.Helper()
	l, err := ledger.Open(t.Context(), path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	known, err := l.Positions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var n uint64
	if len(known) > 0 {
		n = known[0].N
	}
	part := *j
	part.Lines, part.Hashes = j.Lines[:n], j.Hashes[:n]
	if err := audit(l.Reader, &part); err != nil {
		t.Error(err)
	}
	return n
}

func TestKilledAtAnyTime(t *testing.T) {
	t.Parallel()
	const enough = 30
	dir := t.TempDir()
	j := doomed()
	random := rand.New(rand.NewPCG(1, 1))
	var before uint64
	ledgers, kills, busy := 0, 0, 0
	for path := ""; kills < enough; {
		if path == "" {
			if ledgers++; ledgers > enough {
				t.Fatalf("after %d whole journals only %d kills: this machine lets the child run too long", enough, kills)
			}
			path, before = filepath.Join(dir, fmt.Sprintf("ledger-%d.db", ledgers)), 0
		}
		receipted, all := run(t, path, "", j, random.IntN(12), time.Duration(random.IntN(3000))*time.Microsecond)
		n := position(t, path, j)
		if receipted > n || n < before {
			t.Fatalf("kill %d: receipted up to %d, the ledger ends at %d, and ended at %d before", kills, receipted, n, before)
		}
		if all { // the child was faster than its killer: there is nothing left to be killed in
			path = ""
			continue
		}
		kills++
		if n > before {
			busy++
		}
		before = n
	}
	if busy < 10 {
		t.Errorf("only %d of %d kills had work to be killed in", busy, kills)
	}
	t.Logf("%d kills in %d ledgers, %d with work", kills, ledgers, busy)
}

// TestReceiptBeforeCommitIsFound is the negative control.
func TestReceiptBeforeCommitIsFound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	j := doomed()
	receipted, _ := run(t, path, early, j, -1, 0)
	if n := position(t, path, j); receipted <= n {
		t.Errorf("receipted up to %d, the ledger ends at %d: the oracle finds nothing", receipted, n)
	}
}
