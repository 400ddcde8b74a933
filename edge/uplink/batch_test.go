package uplink_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"steelyard/edge/journal"
	"steelyard/edge/uplink"
	"steelyard/internal/record"
	"steelyard/internal/wire"
)

func TestBatchesKeepTheLimitsOfTheWire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opt := options(t, t.TempDir(), wire.Records)
		opt.SegmentBytes = 1 << 20
		j, err := journal.Open(opt)
		if err != nil {
			t.Fatal(err)
		}
		defer shut(t, j)
		largest := func() record.Fact {
			return record.Fact{At: noon, Body: &record.Device{State: "online", Detail: strings.Repeat("长", (wire.MaxLine-420)/3)}}
		}
		var all []journal.Written
		for range 20 {
			w, err := j.Append(wire.Synced, largest())
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, w...)
		}
		if got := len(all[0].Line); got < wire.MaxLine-200 {
			t.Fatalf("lines of %d bytes, want them near %d", got, wire.MaxLine)
		}
		all = append(all, write(t, j, 1500)...)
		c := newCloud(t)
		r := c.run(c.connect(j, func(c *uplink.Config) { c.Batch = wire.MaxEntries }))
		synctest.Wait()
		r.end()
		equal(t, "ledger", len(c.taken), len(all))
		most, plain := 0, 0
		for _, b := range c.batches { // the cloud has decoded each, with its limits
			size := 0
			for _, line := range b.Lines {
				size += len(line) + 1
			}
			most, plain = max(most, len(b.Entries)), max(plain, size)
		}
		if most > wire.MaxEntries || plain > wire.MaxBatch || plain < wire.MaxBatch/2 {
			t.Errorf("at most %d entries and %d bytes in a batch", most, plain)
		}
	})
}

func TestRecordsAndSamplesAreIndependent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		records := open(t, t.TempDir())
		defer shut(t, records)
		samples, err := journal.Open(options(t, t.TempDir(), wire.Samples))
		if err != nil {
			t.Fatal(err)
		}
		defer shut(t, samples)
		want := write(t, records, 40)
		write(t, samples, 40)
		c, curves := newCloud(t), newCloud(t)
		curves.key, curves.edge = c.key, c.edge
		curves.fate = func(int, *wire.Batch) fate { return fate{lost: true} } // InfluxDB is down
		r := c.run(c.connect(records, nil))
		q := curves.run(curves.connect(samples, func(c *uplink.Config) { c.Stream = wire.Samples }))
		synctest.Wait()
		// A receipt of records says nothing of samples, and the other way round.
		curves.say(c.held[records.ID()], c.key)
		time.Sleep(time.Minute)
		r.end()
		q.end()
		equal(t, "ledger", c.taken, lines(want))
		if _, ok := samples.Receipt(); ok || len(curves.taken) > 0 {
			t.Error("samples were receipted")
		}
	})
}

// segments are the files of a journal, in order.
func segments(t testing.TB, dir, id string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, id, "*"))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, f := range files {
		if name := filepath.Base(f); name != "receipt" && !strings.HasSuffix(name, ".tmp") {
			all = append(all, f)
		}
	}
	if len(all) == 0 {
		t.Fatalf("no segment of %s in %s", id, dir)
	}
	return all
}

// spoil flips a byte in the entry that holds a text.
func spoil(t testing.TB, dir, id, text string) {
	t.Helper()
	for _, f := range segments(t, dir, id) {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if i := bytes.Index(data, []byte(text)); i >= 0 {
			data[i] ^= 1
			if err := os.WriteFile(f, data, 0o600); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("%q is in no segment", text)
}

func TestDamageIsDeclaredAsAHole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		j := open(t, dir)
		all := write(t, j, 40)
		shut(t, j) // what is written while it is open is sent from memory, whatever the disk says
		spoil(t, dir, j.ID(), "fact 1 of")
		spoil(t, dir, j.ID(), "fact 17 of")
		spoil(t, dir, j.ID(), "fact 18 of")
		j = open(t, dir)
		defer shut(t, j)
		c := newCloud(t)
		r := c.run(c.connect(j, func(c *uplink.Config) { c.Batch = 10 }))
		synctest.Wait()
		r.end()
		equal(t, "ledger", c.taken, lines(all[1:16], all[18:]))
		equal(t, "holes", c.holes, []wire.Hole{{From: 1, Reason: "damaged"}, {From: 17, Reason: "damaged"}})
		if got, _ := j.Receipt(); got.N != 40 {
			t.Errorf("receipted up to %d, want 40", got.N)
		}
	})
}
