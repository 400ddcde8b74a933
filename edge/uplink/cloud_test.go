package uplink_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"steelyard/edge/journal"
	"steelyard/edge/uplink"
	"steelyard/internal/chain"
	"steelyard/internal/mqtt"
	"steelyard/internal/record"
	"steelyard/internal/wire"
)

const site = "xinhua-1"

var noon = time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC)

// cloud is the far end as the edge meets it: it takes batches in order, and says what it has. The
// tests script what happens to a batch on its way.
type cloud struct {
	t      testing.TB
	key    chain.Key
	edge   chain.Key
	stream *uplink.Sender

	mu sync.Mutex // held for a whole publish: journals are sent side by side

	// fate of the k-th batch, from 0; nil: it arrives and is receipted.
	fate func(k int, b *wire.Batch) fate

	held    map[string]wire.Receipt // by journal: what is committed
	taken   []string                // "journal number line" of each entry, in the order of commit
	batches []*wire.Batch           // every one that was published
	holes   []wire.Hole             // declared by the batches that were taken
	asked   time.Time               // when it last asked for what a hole lacks
	clock   int64
}

// fate is what becomes of one published batch.
type fate struct {
	lost   bool  // the broker acknowledges and drops it
	mute   bool  // it is committed, and the receipt is lost
	silent bool  // the broker does not acknowledge either
	err    error // the result of the publish
}

func newCloud(t testing.TB) *cloud {
	return &cloud{t: t, key: chain.NewKey(), edge: chain.NewKey(), held: map[string]wire.Receipt{}}
}

// connect makes the stream that sends a journal to this cloud.
func (c *cloud) connect(j *journal.Journal, change func(*uplink.Config)) *uplink.Sender {
	config := uplink.Config{Site: site, Stream: wire.Records, Key: c.edge, Cloud: c.key.Public(),
		Log: slog.New(slog.NewTextHandler(c.t.Output(), nil))}
	if change != nil {
		change(&config)
	}
	c.stream = uplink.New(config, j)
	return c.stream
}

// publish is one session's way to the broker.
func (c *cloud) publish(m mqtt.Message) <-chan error {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	result := make(chan error, 1)
	b, err := wire.DecodeBatch(m.Payload)
	if err != nil {
		c.t.Fatalf("the cloud can't read a batch: %v", err)
	}
	if !b.Signed(c.edge.Public()) || m.QoS != 1 || m.Retained || m.Topic != wire.TopicOf(site, b.Stream) {
		c.t.Errorf("batch %d to %d: signed %v, topic %s, QoS %d, retained %v", b.First, b.Last, b.Signed(c.edge.Public()), m.Topic, m.QoS, m.Retained)
	}
	k := len(c.batches)
	c.batches = append(c.batches, b)
	var f fate
	if c.fate != nil {
		f = c.fate(k, b)
	}
	if !f.silent {
		result <- f.err
	}
	if !f.lost && f.err == nil {
		c.post(b, f.mute)
	}
	return result
}

// post commits what follows and says so.
func (c *cloud) post(b *wire.Batch, mute bool) {
	held := c.held[b.Journal]
	from := b.First
	if b.Gap != 0 {
		from = b.Gap
	}
	if from > held.N+1 {
		// Like the real one it asks once a second, not at each batch that comes too early: of a full
		// window most do, each request brings the next window, and a loss in it as many requests.
		if time.Since(c.asked) < time.Second {
			return
		}
		c.asked = time.Now()
		c.stream.Request(wire.Request{V: 1, Journal: b.Journal, Stream: b.Stream, From: held.N + 1, Why: "hole"})
		return
	}
	if b.Gap != 0 && b.First > held.N+1 {
		c.holes = append(c.holes, wire.Hole{From: b.Gap, Reason: b.Reason})
	}
	for i, e := range b.Entries {
		if e.N > held.N {
			c.taken = append(c.taken, fmt.Sprintf("%s %d %s", e.Journal, e.N, b.Lines[i]))
			held.N, held.Hash = e.N, chain.Of(b.Lines[i])
		}
	}
	held.V, held.Site, held.Journal, held.Stream = 1, site, b.Journal, b.Stream
	c.held[b.Journal] = held
	if !mute {
		c.receipt(held)
	}
}

// ledger is what was taken, journal by journal in the order given.
func (c *cloud) ledger(journals ...*journal.Journal) (all []string) {
	for _, j := range journals {
		for _, line := range c.taken {
			if strings.HasPrefix(line, j.ID()) {
				all = append(all, line)
			}
		}
	}
	return all
}

// receipt says what is committed. Its time is what the test's cloud counts.
func (c *cloud) receipt(r wire.Receipt) wire.Receipt {
	c.clock++
	r.AtMS = c.clock
	c.say(r, c.key)
	return r
}

func (c *cloud) say(r wire.Receipt, key chain.Key) {
	c.stream.Receive(mqtt.Message{Topic: wire.ReceiptTopic(site, r.Stream), Payload: r.Encode(key), QoS: 1})
}

// sent are the numbers of a journal in the order in which they were published.
func (c *cloud) sent(id string) (all []uint64) {
	for _, b := range c.batches {
		if b.Journal == id {
			for _, e := range b.Entries {
				all = append(all, e.N)
			}
		}
	}
	return all
}

// running is a Run in the background.
type running struct {
	stop context.CancelFunc
	done chan error
}

func (c *cloud) run(s *uplink.Sender) *running {
	ctx, stop := context.WithCancel(context.Background())
	r := &running{stop, make(chan error, 1)}
	go func() { r.done <- s.Run(ctx, c.publish) }()
	return r
}

// end stops it and gives its error.
func (r *running) end() error {
	r.stop()
	return <-r.done
}

func options(t testing.TB, dir string, stream wire.Stream) journal.Options {
	return journal.Options{Dir: dir, Site: site, Stream: stream, SegmentBytes: 4 << 10, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
}

// open opens a journal that the test closes itself, inside its bubble.
func open(t testing.TB, dir string) *journal.Journal {
	t.Helper()
	j, err := journal.Open(options(t, dir, wire.Records))
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func shut(t testing.TB, j *journal.Journal) {
	t.Helper()
	if err := j.Close(); err != nil {
		t.Error(err)
	}
}

// write appends n facts, a few at a time, each telling its number.
func write(t testing.TB, j *journal.Journal, n int) []journal.Written {
	t.Helper()
	var all []journal.Written
	for range n {
		i := int(j.Last().N) + 1
		w, err := j.Append(wire.Synced, record.Fact{At: noon.Add(time.Duration(i) * time.Second), Device: "weighbridge-1",
			Body: &record.Device{State: "online", Detail: fmt.Sprintf("fact %d of %s %s", i, j.ID(), strings.Repeat("x", i*37%200))}})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, w...)
	}
	return all
}

// lines are the entries of journals as cloud.taken has them.
func lines(written ...[]journal.Written) (all []string) {
	for _, run := range written {
		for _, w := range run {
			all = append(all, fmt.Sprintf("%s %d %s", w.Entry.Journal, w.Entry.N, w.Line))
		}
	}
	return all
}

func numbers(from, to uint64) (all []uint64) {
	for n := from; n <= to; n++ {
		all = append(all, n)
	}
	return all
}
