package image_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"steelyard/cloud/ledger"
	"steelyard/internal/record"
	"steelyard/internal/unit"
)

const (
	sites  = 6
	rounds = 20
)

// An old image is put back, twice the same one, again and again, at six sites: every lorry that an
// operator saw confirmed is in the account once, and no number was given twice. In each third round
// the broker can't be reached when the image comes back, and the lorry is confirmed before the city
// hears of it; in some it takes the connection and says nothing.
func TestOldImage(t *testing.T) {
	for name, broker := range map[string]func(*testing.T) string{
		"embedded":  func(*testing.T) string { return "" },
		"mosquitto": startMosquitto,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := build(t, sites, broker(t), "")
			var work sync.WaitGroup
			for _, c := range w.centres {
				work.Go(func() {
					for round := range rounds {
						c.round(round)
					}
				})
			}
			work.Wait()
			if t.Failed() {
				return
			}
			for _, fault := range w.audit() {
				t.Error(fault)
			}
		})
	}
}

// Negative control: an edge that goes on in whatever journal its disk holds loses lorries.
func TestGoingOnInAnOldImageLoses(t *testing.T) {
	t.Parallel()
	w := build(t, 1, "", "go-on")
	w.centres[0].cut()
	faults := w.audit()
	if len(faults) == 0 {
		t.Error("nothing was lost: the tests of this protection prove nothing")
	}
	t.Log(faults)
}

// round takes an image, weighs a lorry that it lacks, and puts it back twice.
func (c *centre) round(n int) {
	image := c.image()
	defer os.RemoveAll(image)
	c.start()
	c.lorry()
	c.sent()
	for range 2 {
		c.restore(image)
		closed, silent := n%3 == 2, n%10 == 4
		if closed {
			c.gate.close()
		}
		c.gate.silence(silent)
		c.start()
		c.lorry()
		if closed {
			c.gate.open()
		}
		c.gate.silence(false)
		c.sent()
	}
}

// cut is a round without the broker.
func (c *centre) cut() {
	c.round(2)
}

// image ends the edge with a power cut and copies its disk.
func (c *centre) image() string {
	c.t.Helper()
	c.kill()
	image, err := os.MkdirTemp(filepath.Dir(c.data), "image")
	if err != nil {
		c.t.Fatal(err)
	}
	if err := os.CopyFS(image, os.DirFS(c.data)); err != nil {
		c.t.Fatal(err)
	}
	return image
}

// audit compares what the operators saw with the ledger.
func (w *town) audit() (faults []string) {
	w.t.Helper()
	wrong := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	r, err := ledger.OpenReader(w.t.Context(), filepath.Join(w.dir, "cloud", "ledger.db"))
	if err != nil {
		w.t.Fatal(err)
	}
	defer r.Close()
	head, err := r.Head(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	entries, err := r.EntriesOf(w.t.Context(), 0, head, record.KindTicket)
	if err != nil {
		w.t.Fatal(err)
	}
	held := map[string]int{} // by site, number and lorry
	for _, e := range entries {
		body, err := e.Decode()
		if err != nil || !e.Valid {
			wrong("entry %d is not counted: %s %v", e.Seq, e.Why, err)
			continue
		}
		ticket := body.(*record.Ticket)
		held[e.Site+" "+ticket.Number+" "+ticket.Passage]++
	}
	for _, c := range w.centres {
		for number, passage := range c.given {
			if n := held[c.name+" "+number+" "+passage]; n != 1 {
				wrong("%s: ticket %s of lorry %s is in the ledger %d times", c.name, number, passage, n)
			}
		}
	}
	w.cloud.until("the totals are made", func() bool { return w.total() > 0 })
	want := unit.Mass(0)
	for _, c := range w.centres {
		want += c.net
	}
	if len(faults) == 0 {
		w.cloud.until(fmt.Sprintf("the account says %s", want), func() bool { return w.total() == want })
	} else if got := w.total(); got != want {
		wrong("the account says %s, the operators saw %s", got, want)
	}
	return faults
}

func (w *town) total() (sum unit.Mass) {
	var all struct {
		Totals []struct {
			Flow  string
			Grams unit.Mass
		}
	}
	if err := w.cloud.get("/api/totals", &all); err != nil {
		return 0
	}
	for _, t := range all.Totals {
		if t.Flow == "collected" {
			sum += t.Grams
		}
	}
	return sum
}
