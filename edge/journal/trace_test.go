package journal_test

import (
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"steelyard/edge/journal"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestTrace holds the order of the operations that change the disk: open, append, the next segment,
// a receipt, dropping, a restart.
func TestTrace(t *testing.T) {
	disk := newMemory(t)
	opt := options(t, "/journal")
	opt.SegmentBytes, opt.Log = 1<<10, nil
	step := func(name string) { disk.trace = append(disk.trace, "# "+name) }
	open := func() *journal.Journal {
		j, err := journal.OpenOn(disk, opt)
		if err != nil {
			t.Fatal(err)
		}
		return j
	}
	step("open, first time")
	j := open()
	step("append one fact")
	mustAppend(t, j, fact(0))
	step("append two facts")
	w := mustAppend(t, j, facts(1, 2)...)
	step("append beyond the end of the segment")
	mustAppend(t, j, fact(3))
	step("save a receipt")
	if err := j.SetReceipt(receipt(j, w[1], 1)); err != nil {
		t.Fatal(err)
	}
	step("the same receipt again")
	if err := j.SetReceipt(receipt(j, w[1], 2)); err != nil {
		t.Fatal(err)
	}
	step("prune")
	if _, err := j.Prune(noon.AddDate(2, 0, 0), time.Hour); err != nil {
		t.Fatal(err)
	}
	step("close")
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	step("open again")
	id := j.ID()
	j = open()
	step("append, fsync fails")
	disk.failAt, disk.outcome = disk.count+6, nothing
	if _, err := j.Append("synced", fact(4)); err == nil {
		t.Fatal("no error")
	}
	step("append after that")
	mustAppend(t, j, fact(5))

	got := strings.ReplaceAll(strings.Join(disk.trace, "\n"), id, "ID") + "\n"
	const golden = "testdata/trace.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	diff(t, "operations", strings.Split(got, "\n"), strings.Split(string(want), "\n"))
}
