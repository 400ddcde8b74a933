package ledger_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"steelyard/cloud/ledger"
	"steelyard/cloud/ledger/ledgertest"
	"steelyard/internal/record"
	"steelyard/internal/wire"
)

func TestPost(t *testing.T) {
	l := fresh(t, "xinhua-1", "ruzhou-1")
	a, b := ledgertest.New("xinhua-1", 1).Shift(300), ledgertest.New("ruzhou-1", 2).Shift(70)
	got := post(t, l, a.Batch(1, 100), b.Batch(1, 70), a.Batch(101, 300))
	at := func(j *ledgertest.Journal) ledger.Position {
		return ledger.Position{Site: j.Site, Journal: j.ID, Stream: wire.Records, N: j.Last(), Hash: j.Hash(j.Last())}
	}
	want := []ledger.Outcome{
		{Position: at(a), Result: ledger.Accepted, Added: 100},
		{Position: at(b), Result: ledger.Accepted, Added: 70},
		{Position: at(a), Result: ledger.Accepted, Added: 200},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	holds(t, l.Reader, a, b)
	p, ok, err := l.Find(t.Context(), "ruzhou-1", b.ID, 33)
	if err != nil || !ok || string(p.Line) != string(b.Lines[32]) || !p.Received.Equal(received()) || !p.Valid {
		t.Errorf("Find: %+v %t %v", p, ok, err)
	}
	if _, ok, err := l.Find(t.Context(), "ruzhou-1", b.ID, 71); ok || err != nil {
		t.Errorf("found entry 71 of 70: %v", err)
	}
	headers, err := l.BatchHeaders(t.Context(), "xinhua-1", a.ID, 0, 10)
	if err != nil || len(headers) != 2 {
		t.Fatalf("%d headers, %v", len(headers), err)
	}
	var header wire.Header
	if err := json.Unmarshal(headers[1], &header); err != nil || !header.Signed(a.Key.Public()) || header.Head != a.Hash(300) {
		t.Errorf("the header does not prove entry 300: %v", err)
	}
}

func TestSentAgainFiftyTimes(t *testing.T) {
	t.Parallel()
	l := fresh(t, "xinhua-1")
	j := ledgertest.New("xinhua-1", 1).Shift(100)
	for range 50 {
		outcomes := post(t, l, j.Batch(1, 50), j.Batch(1, 50), j.Batch(26, 100))
		if o := outcomes[2]; o.N != 100 || o.Result == ledger.Hole {
			t.Fatalf("got %+v", o)
		}
	}
	holds(t, l.Reader, j)
	if c, err := l.Counts(t.Context()); err != nil || c != (ledger.Counts{Entries: 100}) {
		t.Errorf("%+v %v", c, err)
	}
}

func TestHoleIsNotJumped(t *testing.T) {
	l := fresh(t, "xinhua-1")
	j := ledgertest.New("xinhua-1", 1).Shift(40)
	if o := post(t, l, j.Batch(11, 20))[0]; o.Result != ledger.Hole || o.N != 0 {
		t.Errorf("first batch of a journal with a hole: %+v", o)
	}
	if known, err := l.Positions(t.Context()); err != nil || len(known) != 0 {
		t.Errorf("a hole has opened a journal: %v %v", known, err)
	}
	got := post(t, l, j.Batch(1, 10), j.Batch(21, 30), j.Batch(31, 40))
	for i, want := range []ledger.Result{ledger.Accepted, ledger.Hole, ledger.Hole} {
		if got[i].Result != want || got[i].N != 10 {
			t.Errorf("batch %d: %+v, want %s at 10", i, got[i], want)
		}
	}
	post(t, l, j.Batch(11, 20), j.Batch(21, 30), j.Batch(31, 40))
	holds(t, l.Reader, j)
}

func TestGap(t *testing.T) {
	l := fresh(t, "xinhua-1")
	j := ledgertest.New("xinhua-1", 1).Shift(40)
	gone := func(from uint64) wire.Hole { return wire.Hole{From: from, Reason: "damaged"} }
	post(t, l, j.Batch(1, 10))
	if o := post(t, l, j.BatchAfter(21, 30, gone(15)))[0]; o.Result != ledger.Hole {
		t.Errorf("a gap from 15 jumped 11 to 14: %+v", o)
	}
	if o := post(t, l, j.BatchAfter(21, 30, gone(11)))[0]; o.Result != ledger.Accepted || o.Lost != 10 || o.N != 30 {
		t.Errorf("got %+v", o)
	}
	if o := post(t, l, j.BatchAfter(21, 30, gone(11)))[0]; o.Result != ledger.Skipped || o.Lost != 0 {
		t.Errorf("the gap again: %+v", o)
	}
	want := []ledger.Gap{{Site: "xinhua-1", Journal: j.ID, Stream: wire.Records, From: 11, To: 20, Reason: "damaged", Seen: received(), Alarm: true}}
	if got, err := l.Gaps(t.Context(), 10); err != nil || cmp.Diff(want, got) != "" {
		t.Errorf("%v %s", err, cmp.Diff(want, got))
	}
	// What comes after it was given up is evidence, not an entry.
	if o := post(t, l, j.Batch(9, 31))[0]; o.Result != ledger.Accepted || o.Late != 10 || o.N != 31 {
		t.Errorf("entries of the gap: %+v", o)
	}
	c, err := l.Counts(t.Context())
	if want := (ledger.Counts{Entries: 21, Gaps: 1, Lost: 10, Refused: 10, Evidence: 10, Alarms: 10}); err != nil || c != want {
		t.Errorf("got %+v, %v, want %+v", c, err, want)
	}
}

func TestGapOfWhichPartIsKnown(t *testing.T) {
	// The disk lost 5 to 20; the batch with 5 to 10 had got through before.
	l := fresh(t, "xinhua-1")
	j := ledgertest.New("xinhua-1", 1).Shift(30)
	post(t, l, j.Batch(1, 10))
	if o := post(t, l, j.BatchAfter(21, 30, wire.Hole{From: 5, Reason: "damaged"}))[0]; o.Result != ledger.Accepted || o.Lost != 10 {
		t.Errorf("got %+v", o)
	}
}

func TestConflict(t *testing.T) {
	l := fresh(t, "xinhua-1")
	j := ledgertest.New("xinhua-1", 1).Shift(20)
	post(t, l, j.Batch(1, 20))
	other := j.Fork(15, 7).Shift(15) // yesterday's image of the disk, running again
	for _, batch := range []*wire.Batch{other.Batch(11, 20), other.Batch(16, 30), other.Batch(21, 30)} {
		for range 3 {
			o := post(t, l, batch)[0]
			if o.Result != ledger.Conflict || o.N != 20 || o.Hash != j.Hash(20) || o.Why == "" {
				t.Errorf("entries %d to %d: %+v", batch.First, batch.Last, o)
			}
		}
	}
	holds(t, l.Reader, j)
	kept, err := l.Quarantined(t.Context(), 100)
	if err != nil {
		t.Fatal(err)
	}
	// Both histories are kept: every differing line once, however often it came.
	seen := map[uint64]int{}
	for _, q := range kept {
		seen[q.N]++
		if !q.Alarm || q.Reason != ledger.ReasonConflict || string(q.Evidence) != string(other.Lines[q.N-1]) {
			t.Errorf("entry %d: %+v", q.N, q)
		}
	}
	for n := uint64(16); n <= 30; n++ {
		if seen[n] != 1 {
			t.Errorf("entry %d is kept %d times", n, seen[n])
		}
	}
	if len(seen) != 15 {
		t.Errorf("kept %v", seen)
	}
}

func TestAnotherHistoryBeforeTheFirst(t *testing.T) {
	l := fresh(t, "xinhua-1")
	j := ledgertest.New("xinhua-1", 1).Shift(10)
	post(t, l, j.Batch(1, 10))
	other := j.Fork(9, 7).Shift(10)
	if o := post(t, l, other.Batch(11, 19))[0]; o.Result != ledger.Conflict || !strings.Contains(o.Why, "after another entry 10") {
		t.Errorf("got %+v", o)
	}
	if o := post(t, l, j.Shift(1).Batch(11, 11))[0]; o.Result != ledger.Accepted {
		t.Errorf("the first history stands still: %+v", o)
	}
}

func TestInvalidEntryDoesNotBlock(t *testing.T) {
	l := fresh(t, "xinhua-1")
	j := ledgertest.New("xinhua-1", 1).Shift(3)
	for _, bad := range []struct{ kind, body string }{
		{"ticket", `{"number":"T1","net":-1}`},
		{"bale", `{"number":1,"mass":1e400}`},
		{"seance", `{"spirit":"none"}`},
		{"weighing", `{"mass":1,"mass":2}`},
		{"bale", `{"number":1,"material":5}`},
		{"bale", `{"` + strings.Repeat("x", 60_000) + `":1}`},
		{"bale", `{"number":9007199254740993,"deep":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `}`},
	} {
		j.WriteRaw(ledgertest.Start(), "", record.Kind(bad.kind), []byte(bad.body))
	}
	j.Shift(3)
	if o := post(t, l, j.Batch(1, 13))[0]; o.Result != ledger.Accepted || o.Added != 13 || o.Invalid != 7 {
		t.Errorf("got %+v", o)
	}
	holds(t, l.Reader, j)
	bad, err := l.Invalid(t.Context(), 10)
	if err != nil || len(bad) != 7 || bad[6].N != 4 || !strings.HasPrefix(bad[6].Why, "invalid: ticket") || len(bad[1].Why) > 500 {
		t.Errorf("%d invalid, %v", len(bad), err)
	}
	known, err := l.EntriesOf(t.Context(), 0, 12, record.KindTicket, record.KindBale, record.KindBelt, record.KindWeighing)
	if err != nil || len(known) != 11 {
		t.Errorf("%d of known kinds up to 12, %v", len(known), err)
	}
}

func TestSamplesMoveThePositionOnly(t *testing.T) {
	l := fresh(t, "xinhua-1")
	j := ledgertest.NewSamples("xinhua-1", 1)
	for range 30 {
		j.Write(ledgertest.Start(), "baler-1", &record.Sample{Values: []record.SampleValue{{Tag: "pressure", Value: "21.5", Unit: "bar", OK: true}}})
	}
	gone := wire.Hole{From: 11, Reason: "thinned"}
	other := j.Fork(29, 3)
	other.Write(ledgertest.Start(), "baler-2", &record.Sample{Values: []record.SampleValue{}})
	for _, step := range []struct {
		batch *wire.Batch
		want  ledger.Result
		n     uint64
	}{
		{j.Batch(11, 20), ledger.Hole, 0},
		{j.Batch(1, 10), ledger.Accepted, 10},
		{j.Batch(1, 10), ledger.Skipped, 10},
		{j.BatchAfter(21, 25, gone), ledger.Accepted, 25},
		{j.Batch(22, 30), ledger.Accepted, 30},
		{other.Batch(26, 30), ledger.Conflict, 30},
	} {
		expected, err := l.Classify(t.Context(), []*wire.Batch{step.batch})
		if err != nil || expected[0] != step.want && step.want != ledger.Conflict {
			t.Errorf("expected %v, %v, want %s", expected, err, step.want)
		}
		outcomes, err := l.Advance(t.Context(), received(), []*wire.Batch{step.batch})
		if err != nil || outcomes[0].Result != step.want || outcomes[0].N != step.n {
			t.Errorf("%d to %d: %+v, %v, want %s at %d", step.batch.First, step.batch.Last, outcomes, err, step.want, step.n)
		}
	}
	c, err := l.Counts(t.Context())
	if want := (ledger.Counts{Gaps: 1, Refused: 1, Evidence: 1, Alarms: 1}); err != nil || c != want {
		t.Errorf("got %+v, %v, want %+v: a thinned sample is no alarm, and none is stored", c, err, want)
	}
	if _, err := l.Post(t.Context(), received(), []*wire.Batch{j.Batch(1, 10)}); err == nil {
		t.Error("samples were posted as records")
	}
}

func TestRefused(t *testing.T) {
	l := fresh(t, "xinhua-1")
	if o := post(t, l, ledgertest.New("ruzhou-1", 1).Shift(5).Batch(1, 5))[0]; o.Result != ledger.Refused || o.Why != "site ruzhou-1 is not enrolled" {
		t.Errorf("got %+v", o)
	}
	j := ledgertest.New("xinhua-1", 1).Shift(5)
	post(t, l, j.Batch(1, 5))
	crossed := *j
	crossed.Stream = wire.Samples
	outcomes, err := l.Advance(t.Context(), received(), []*wire.Batch{crossed.Batch(1, 5)})
	if err != nil || outcomes[0].Result != ledger.Refused || !strings.Contains(outcomes[0].Why, "carries records, not samples") {
		t.Errorf("got %+v, %v", outcomes, err)
	}
	holds(t, l.Reader, j)
}

func TestJournalsWithoutEnd(t *testing.T) {
	t.Parallel()
	l := fresh(t, "xinhua-1")
	tables, err := l.Tables(t.Context(), "test", fstest.MapFS{})
	if err != nil {
		t.Fatal(err)
	}
	if err := tables.Update(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `
			with recursive k (n) as (select 1 union all select n + 1 from k where n < 19999)
			insert into journals select n, 'xinhua-1', 'journal ' || n, 'records', 1, '', 1, 0, 0, 0 from k`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	got := post(t, l, ledgertest.New("xinhua-1", 1).Shift(1).Batch(1, 1), ledgertest.New("xinhua-1", 2).Shift(1).Batch(1, 1))
	if got[0].Result != ledger.Accepted || got[1].Result != ledger.Refused {
		t.Errorf("journal 20,000: %s, 20,001: %s", got[0].Result, got[1].Result)
	}
}

// schedule delivers the batches of an edge's window in any order, some twice, some not at all, and
// sends again from the committed position until all is there.
func schedule(random *rand.Rand, batches []*wire.Batch, twice int, deliver func([]*wire.Batch) []ledger.Outcome) {
	const window = 8
	for done := 0; done < len(batches); {
		var sent []*wire.Batch
		for _, b := range batches[done:min(done+window, len(batches))] {
			if random.IntN(10) == 0 {
				continue // lost
			}
			sent = append(sent, b)
			if random.IntN(100) < twice {
				sent = append(sent, b)
			}
		}
		random.Shuffle(len(sent), func(i, k int) { sent[i], sent[k] = sent[k], sent[i] })
		var committed uint64
		for _, o := range deliver(sent) {
			committed = max(committed, o.N)
		}
		for done < len(batches) && batches[done].Last <= committed {
			done++
		}
	}
}

func TestSameLedgerHoweverDelivered(t *testing.T) {
	t.Parallel()
	want := ""
	a, b := ledgertest.New("xinhua-1", 1).Shift(360), ledgertest.New("ruzhou-1", 2).Shift(200)
	for _, size := range []int{1, 100, 1000} {
		for _, twice := range []int{0, 50} {
			t.Run(fmt.Sprintf("batches of %d, %d %% twice", size, twice), func(t *testing.T) {
				l := open(t, filepath.Join(t.TempDir(), "ledger.db"), "xinhua-1", "ruzhou-1")
				random := rand.New(rand.NewPCG(uint64(size), uint64(twice)))
				for _, j := range []*ledgertest.Journal{a, b} {
					schedule(random, j.Batches(min(size, 350)), twice, func(sent []*wire.Batch) []ledger.Outcome {
						outcomes, err := l.Post(t.Context(), received(), sent)
						if err != nil {
							t.Fatal(err)
						}
						return outcomes
					})
				}
				got := digest(t, l.Reader)
				if want == "" {
					want = got
				}
				if got != want {
					t.Errorf("digest %s, want %s", got, want)
				}
			})
		}
	}
}

// TestOracleFindsWhatIsPostedTwice is the negative control: a ledger that believes what it is
// sent fails the same oracle under the same deliveries.
func TestOracleFindsWhatIsPostedTwice(t *testing.T) {
	j := ledgertest.New("xinhua-1", 1).Shift(400)
	for _, twice := range []int{0, 50} {
		var believed []ledger.Entry
		schedule(rand.New(rand.NewPCG(1, 1)), j.Batches(10), twice, func(sent []*wire.Batch) (outcomes []ledger.Outcome) {
			for _, b := range sent {
				for k, e := range b.Entries {
					believed = append(believed, ledger.Entry{Entry: e, Seq: int64(len(believed) + 1), Hash: j.Hash(e.N), Line: b.Lines[k]})
				}
				outcomes = append(outcomes, ledger.Outcome{Position: ledger.Position{N: b.Last}})
			}
			return outcomes
		})
		if audit(believed, j) == nil {
			t.Errorf("%d %% twice: a ledger without comparison passed the oracle", twice)
		}
	}
}
