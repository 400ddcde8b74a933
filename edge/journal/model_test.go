package journal_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"steelyard/edge/journal"
	"steelyard/internal/wire"
)

// TestModel compares the journal with a list of lines, over any order of appends, restarts, kills,
// receipts, dropping and reading.
func TestModel(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		disk := newMemory(t)
		opt := journal.Options{Dir: "/journal", Site: "xinhua-1", Stream: wire.Records,
			SegmentBytes: rapid.Int64Range(1<<10, 6<<10).Draw(r, "segment")}
		open := func() *journal.Journal {
			j, err := journal.OpenOn(disk, opt)
			if err != nil {
				r.Fatal(err)
			}
			return j
		}
		j := open()
		id := j.ID()
		var lines []string // of entries 1, 2, …
		var written []journal.Written
		highest, count := uint64(0), 0
		r.Repeat(map[string]func(*rapid.T){
			"append": func(r *rapid.T) {
				n := rapid.IntRange(1, 6).Draw(r, "facts")
				w, err := j.Append(wire.Synced, facts(count, n)...)
				if err != nil {
					r.Fatal(err)
				}
				count += n
				written = append(written, w...)
				for _, e := range w {
					lines = append(lines, string(e.Line))
				}
			},
			"restart": func(r *rapid.T) {
				if err := j.Close(); err != nil {
					r.Fatal(err)
				}
				j = open()
			},
			"power cut": func(r *rapid.T) {
				disk.crash(rapid.Bool().Draw(r, "written"))
				j = open()
			},
			"receipt": func(r *rapid.T) {
				if len(written) == 0 {
					r.Skip("nothing to receipt")
				}
				w := written[rapid.IntRange(0, len(written)-1).Draw(r, "entry")]
				if err := j.SetReceipt(receipt(j, w, int64(count))); err != nil {
					r.Fatal(err)
				}
				got, ok := j.Receipt()
				if !ok || got.N != w.Entry.N {
					r.Fatalf("receipt %+v", got)
				}
				highest = max(highest, got.N)
			},
			"prune": func(r *rapid.T) {
				if _, err := j.Prune(noon.AddDate(1, 0, 0), time.Hour); err != nil {
					r.Fatal(err)
				}
			},
			"": func(r *rapid.T) {
				if j.ID() != id || j.Last().N != uint64(len(lines)) {
					r.Fatalf("journal %s, last %d, want %s, %d", j.ID(), j.Last().N, id, len(lines))
				}
				after := uint64(rapid.IntRange(0, len(lines)+1).Draw(r, "after"))
				due := after + 1
				for e, err := range j.After(after) {
					if d, ok := err.(*journal.DamageError); ok && d.Reason == journal.Thinned && d.From == due {
						due = d.To + 1
						continue
					}
					if err != nil || e.Entry.N != due || string(e.Line) != lines[due-1] {
						r.Fatalf("after %d: entry %d, due %d, err %v", after, e.Entry.N, due, err)
					}
					due++
				}
				if due <= uint64(len(lines)) {
					r.Fatalf("after %d: reading ended before entry %d of %d", after, due, len(lines))
				}
				if s := j.State(); s.First > highest+1 || len(s.Damage) > 0 {
					r.Fatalf("state %+v", s)
				}
			},
		})
	})
}
