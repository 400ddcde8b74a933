package journal_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"steelyard/edge/journal"
	"steelyard/internal/chain"
	"steelyard/internal/record"
	"steelyard/internal/wire"
)

var noon = time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC)

// fact is one whose text tells it from every other.
func fact(i int) record.Fact {
	return record.Fact{At: noon.Add(time.Duration(i) * time.Second), Device: "weighbridge-1",
		Body: &record.Device{State: "online", Detail: fmt.Sprintf("fact %d %s", i, strings.Repeat("x", i*37%200))}}
}

func facts(from, n int) []record.Fact {
	var list []record.Fact
	for i := range n {
		list = append(list, fact(from+i))
	}
	return list
}

func options(t testing.TB, dir string) journal.Options {
	return journal.Options{Dir: dir, Site: "xinhua-1", Stream: wire.Records, SegmentBytes: 4 << 10,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
}

func mustOpen(t testing.TB, opt journal.Options) *journal.Journal {
	t.Helper()
	j, err := journal.Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	return j
}

func mustAppend(t testing.TB, j *journal.Journal, list ...record.Fact) []journal.Written {
	t.Helper()
	w, err := j.Append(wire.Synced, list...)
	if err != nil {
		t.Fatal(err)
	}
	if len(w) != len(list) {
		t.Fatalf("got %d entries of %d facts", len(w), len(list))
	}
	return w
}

// key is the identity of an entry.
type key struct {
	journal string
	n       uint64
}

// all reads every journal of the directory: the lines by identity, and the damage.
func readAll(t testing.TB, j *journal.Journal) (map[key]string, []*journal.DamageError) {
	t.Helper()
	lines := map[key]string{}
	var damage []*journal.DamageError
	for _, older := range j.Older() {
		damage = append(damage, readInto(t, lines, older.After(0), older.Last())...)
	}
	return lines, append(damage, readInto(t, lines, j.After(0), j.Last())...)
}

func readInto(t testing.TB, lines map[key]string, run func(func(journal.Stored, error) bool), last chain.Link) (damage []*journal.DamageError) {
	t.Helper()
	due := uint64(1)
	for e, err := range run {
		if d, ok := err.(*journal.DamageError); ok {
			if d.From != due || d.To < d.From {
				t.Errorf("damage from %d to %d where entry %d was due", d.From, d.To, due)
			}
			due = d.To + 1
			damage = append(damage, d)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if e.Entry.N != due {
			t.Errorf("got entry %d where %d was due", e.Entry.N, due)
		}
		due = e.Entry.N + 1
		lines[key{e.Entry.Journal, e.Entry.N}] = string(e.Line)
	}
	if due != last.N+1 {
		t.Errorf("reading ended before entry %d, the last one is %d", due, last.N)
	}
	return damage
}

func diff[T any](t testing.TB, what string, got, want T) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

// receipt is said at milliseconds after a time by which every entry of the tests is old.
func receipt(j *journal.Journal, w journal.Written, at int64) wire.Receipt {
	return wire.Receipt{V: 1, Site: "xinhua-1", Journal: j.ID(), Stream: wire.Records, N: w.Entry.N, Hash: w.Hash, AtMS: noon.AddDate(2, 0, 0).UnixMilli() + at}
}
