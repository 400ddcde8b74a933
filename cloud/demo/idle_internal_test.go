package demo

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync/atomic"
	"testing"

	"steelyard/cloud/ledger"
)

// emptyLedger is a reader of a ledger without an entry.
func emptyLedger(t *testing.T) *ledger.Reader {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ledger.db")
	l, err := ledger.Open(t.Context(), path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	reader, err := ledger.OpenReader(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reader.Close() })
	return reader
}

// The time of WaitIdle ends while an audit is being made: the one before it is given, not the
// error of a question that was broken off.
func TestWaitIdleEndsWithTheNewestAudit(t *testing.T) {
	ctx, over := context.WithCancel(t.Context())
	defer over()
	var asked atomic.Int32
	city := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) > 1 {
			over()
			<-r.Context().Done()
			return
		}
		// Nobody has brought this: the audit is not exact, and WaitIdle asks again.
		fmt.Fprint(w, `{"totals":[{"category":"steel","flow":"collected","grams":5000}]}`)
	}))
	defer city.Close()
	audit, err := (&Town{URL: city.URL, reader: emptyLedger(t)}).WaitIdle(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if audit.Exact || len(audit.Tonnes) != 1 || asked.Load() != 2 {
		t.Errorf("got %+v after %d questions", audit, asked.Load())
	}
}

// Without an audit there is nothing to give but the error.
func TestWaitIdleWithoutAnAudit(t *testing.T) {
	ctx, over := context.WithCancel(t.Context())
	over()
	if audit, err := (&Town{reader: emptyLedger(t)}).WaitIdle(ctx); err == nil {
		t.Errorf("got %+v and no error", audit)
	}
}
