package ingest_test

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"steelyard/cloud/ingest"
	"steelyard/cloud/ledger"
	"steelyard/cloud/ledger/ledgertest"
	"steelyard/internal/record"
	"steelyard/internal/wire"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(childLedger); path != "" {
		child(path, os.Getenv(childMode))
		return
	}
	os.Exit(m.Run())
}

func TestReceiptAfterCommit(t *testing.T) {
	town := newTown(t, 0, "xinhua-1")
	town.start()
	j := ledgertest.New("xinhua-1", 1).Shift(300)
	for first := uint64(1); first <= 300; first += 50 {
		town.send(j, first, first+49)
	}
	town.until("all is receipted", func() bool { return town.receipted(j) == 300 })
	town.holds(j)
	if s := town.Stats(); s.Accepted != 300 || s.Queued != 0 {
		t.Errorf("%+v", s)
	}
}

// edge sends a journal over a network that loses, repeats, shuffles and replays, until it is
// receipted.
func edge(town *town, j *ledgertest.Journal, random *rand.Rand) {
	type sending struct {
		last    uint64
		payload []byte
	}
	var batches []sending
	for first := uint64(1); first <= j.Last(); {
		last := min(first+uint64(random.IntN(40)), j.Last())
		batches = append(batches, sending{last, j.Payload(first, last)})
		first = last + 1
	}
	const window = 10
	for done := 0; done < len(batches); {
		var air [][]byte
		for k, b := range batches[done:min(done+window, len(batches))] {
			if random.IntN(5) == 0 {
				continue
			}
			air = append(air, b.payload)
			if k == 0 {
				for range 50 {
					air = append(air, b.payload)
				}
			}
		}
		air = append(air, batches[random.IntN(done+1)].payload) // a replay
		random.Shuffle(len(air), func(a, b int) { air[a], air[b] = air[b], air[a] })
		for _, payload := range air {
			town.Handle(wire.TopicOf(j.Site, j.Stream), payload, false)
		}
		town.until("the queue is empty", func() bool { return town.Stats().Queued == 0 })
		n := town.receipted(j)
		for done < len(batches) && batches[done].last <= n {
			done++
		}
	}
}

func TestExactlyOnceOverABadNetwork(t *testing.T) {
	t.Parallel()
	sites := []string{"xinhua-1", "ruzhou-1", "wugang-1"}
	town := newTown(t, 0, sites...)
	town.start()
	var journals []*ledgertest.Journal
	var wg sync.WaitGroup
	for k, site := range sites {
		j := ledgertest.New(site, uint64(k+1)).Shift(400)
		journals = append(journals, j)
		wg.Go(func() { edge(town, j, rand.New(rand.NewPCG(uint64(k), 5))) })
	}
	wg.Wait()
	town.holds(journals...)
	s := town.Stats()
	if s.Skipped == 0 || s.Holes == 0 || s.Conflicts != 0 || len(s.Refused) != 0 {
		t.Errorf("the network was not bad, or something was refused: %+v", s)
	}
}

func TestHoleIsAskedFor(t *testing.T) {
	town := newTown(t, 0, "xinhua-1")
	town.start()
	j := ledgertest.New("xinhua-1", 1).Shift(60)
	town.send(j, 1, 20)
	town.until("20 is receipted", func() bool { return town.receipted(j) == 20 })
	town.send(j, 41, 60)
	town.until("the edge is asked", func() bool { return town.told("xinhua-1", "hole") })
	town.mu.Lock()
	if r := town.requests["xinhua-1"][0]; r.From != 21 || r.Journal != j.ID || r.Stream != wire.Records {
		t.Errorf("asked for %+v", r)
	}
	town.mu.Unlock()
	town.send(j, 21, 60)
	town.until("60 is receipted", func() bool { return town.receipted(j) == 60 })
	town.holds(j)
}

func TestConflictIsToldAndTheFirstGoesOn(t *testing.T) {
	town := newTown(t, 0, "xinhua-1")
	town.start()
	j := ledgertest.New("xinhua-1", 1).Shift(20)
	town.send(j, 1, 20)
	town.until("20 is receipted", func() bool { return town.receipted(j) == 20 })
	other := j.Fork(10, 9).Shift(30)
	town.send(other, 1, 40)
	town.until("the edge is told", func() bool { return town.told("xinhua-1", "entry 11 is known with another hash") })
	j.Shift(5)
	town.send(j, 21, 25)
	town.until("25 is receipted", func() bool { return town.receipted(j) == 25 })
	town.holds(j)
	if s := town.Stats(); s.Conflicts != 1 || s.Refused[ledger.ReasonConflict] != 1 {
		t.Errorf("%+v", s)
	}
	if c, err := town.ledger.Counts(t.Context()); err != nil || c.Alarms != 30 {
		t.Errorf("%+v %v", c, err)
	}
}

func TestRetainedAndForeignTopics(t *testing.T) {
	town := newTown(t, 0, "xinhua-1")
	town.start()
	j := ledgertest.New("xinhua-1", 1).Shift(5)
	town.Handle(wire.TopicOf("xinhua-1", wire.Records), j.Payload(1, 5), true)
	for _, topic := range []string{"", "steelyard/v1/xinhua-1", "steelyard/v1/xinhua-1/receipt/records", "steelyard/v2/xinhua-1/records",
		"steelyard/v1/Xinhua 1/records", "steelyard/v1/+/records", "steelyard/v1/xinhua-1/live", "steelyard/v1/xinhua-1/records/x"} {
		town.Handle(topic, j.Payload(1, 5), false)
	}
	if s := town.Stats(); s.Retained != 1 || s.Foreign != 8 || s.Queued != 0 {
		t.Errorf("%+v", s)
	}
}

func TestAnnounce(t *testing.T) {
	town := newTown(t, 0, "xinhua-1", "ruzhou-1")
	old, young, other := ledgertest.New("xinhua-1", 1).Shift(5), ledgertest.New("xinhua-1", 2).Shift(7), ledgertest.New("ruzhou-1", 3).Shift(3)
	// The city's clock goes back meanwhile: which journal is the newest does not hang on it.
	for k, j := range []*ledgertest.Journal{old, other, young} {
		if _, err := town.ledger.Post(t.Context(), time.Now().Add(-time.Duration(k)*time.Hour), []*wire.Batch{j.Batch(1, j.Last())}); err != nil {
			t.Fatal(err)
		}
	}
	town.start()
	for range 2 {
		if err := town.Announce(t.Context()); err != nil {
			t.Fatal(err)
		}
		town.until("all is said", func() bool { return town.receipted(young) == 7 && town.receipted(other) == 3 })
		town.mu.Lock()
		if len(town.receipts) != 2 {
			t.Errorf("receipts %v, want those of each site's newest journal", town.receipts)
		}
		town.receipts = nil
		town.mu.Unlock()
	}
}

func TestStalledSamplesHoldUpNoRecords(t *testing.T) {
	town := newTown(t, 0, "xinhua-1")
	stalled, stored, tries := make(chan struct{}), 0, 0
	town.samples = func(batches []*wire.Batch) error {
		if tries++; tries == 1 {
			<-stalled
			return errors.New("influx: 503")
		}
		stored += len(batches)
		return nil
	}
	town.start()
	samples := ledgertest.NewSamples("xinhua-1", 1)
	for range 30 {
		samples.Write(ledgertest.Start(), "baler-1", &record.Sample{Values: []record.SampleValue{{Tag: "load", Value: "1.5", OK: true}}})
	}
	town.send(samples, 1, 10)
	town.send(samples, 11, 20)
	j := ledgertest.New("xinhua-1", 2).Shift(100)
	town.send(j, 1, 50)
	town.send(j, 51, 100)
	town.until("records are receipted", func() bool { return town.receipted(j) == 100 })
	if n := town.receipted(samples); n != 0 {
		t.Errorf("samples up to %d are receipted while their store stands", n)
	}
	close(stalled)
	town.until("samples are receipted", func() bool { return town.receipted(samples) == 20 })
	town.send(samples, 1, 20)
	town.send(samples, 25, 30)
	town.until("the known and the early are judged", func() bool { s := town.Stats(); return s.Skipped == 1 && s.Holes == 1 })
	if stored != 2 {
		t.Errorf("%d batches of samples were stored, want 2", stored)
	}
	if s := town.Stats(); s.Accepted != 120 {
		t.Errorf("%+v", s)
	}
}

func TestQueueIsBoundedAndFair(t *testing.T) {
	t.Parallel()
	const limit = 1 << 20 // of it, half for records; of that, a quarter for a site
	town := newTown(t, limit, "xinhua-1", "ruzhou-1")
	loud, quiet := ledgertest.New("xinhua-1", 1).Shift(200), ledgertest.New("ruzhou-1", 2).Shift(200)
	for range 200 {
		town.send(loud, 1, 200)
		town.Handle("steelyard/v1/stranger/records", make([]byte, 10_000), false)
	}
	s := town.Stats()
	if s.Dropped == 0 || s.Queued > limit/2 {
		t.Errorf("before: %+v", s)
	}
	for first := uint64(1); first <= 200; first += 20 {
		town.send(quiet, first, first+19)
	}
	if after := town.Stats(); after.Dropped != s.Dropped {
		t.Errorf("the quiet site found no room: %+v", after)
	}
	town.start()
	town.until("both are receipted", func() bool { return town.receipted(quiet) == 200 && town.receipted(loud) == 200 })
	town.holds(loud, quiet)
}

func TestNewChecks(t *testing.T) {
	_, err := ingest.New(ingest.Config{})
	if err == nil || !strings.Contains(err.Error(), "[Ledger Log Now Publish Samples] not given") {
		t.Errorf("got %v", err)
	}
}

// TestManySitesInOneTransaction shows that order within a journal survives turns between sites.
func TestManySitesInOneTransaction(t *testing.T) {
	var sites []string
	for k := range 40 {
		sites = append(sites, fmt.Sprintf("site-%d", k))
	}
	town := newTown(t, 0, sites...)
	var journals []*ledgertest.Journal
	for k, site := range sites {
		j := ledgertest.New(site, uint64(k+1)).Shift(30)
		journals = append(journals, j)
		for first := uint64(1); first <= 30; first += 10 {
			town.send(j, first, first+9)
		}
	}
	town.start()
	town.until("all is receipted", func() bool {
		return !slices.ContainsFunc(journals, func(j *ledgertest.Journal) bool { return town.receipted(j) != 30 })
	})
	town.holds(journals...)
	slices.SortFunc(journals, func(a, b *ledgertest.Journal) int { return cmp.Compare(a.Site, b.Site) })
	if known, err := town.ledger.Positions(t.Context()); err != nil || len(known) != len(journals) {
		t.Errorf("%d journals, %v", len(known), err)
	}
}
