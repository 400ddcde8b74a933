package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"steelyard/cloud/service"
	"steelyard/edge/journal"
	"steelyard/edge/uplink"
	"steelyard/internal/chain"
	"steelyard/internal/mqtt"
	"steelyard/internal/program"
	"steelyard/internal/record"
	"steelyard/internal/unit"
	"steelyard/internal/wire"
)

// crowd is a city in this process and the uplinks of many sites, each with a journal of its own.
type crowd struct {
	broker  string // address
	pages   string
	cloud   chain.PublicKey
	members []*member
	links   atomic.Int64 // connections that came up
	sent    atomic.Int64 // entries that left the sites, those sent again included
	working sync.WaitGroup
	stop    context.CancelFunc
}

type member struct {
	site string
	key  chain.Key
	log  *journal.Journal
	way  *uplink.Sender
}

// gather starts a city for so many sites. url names a broker in place of the embedded one; stall is how
// long a site waits for a receipt, 0 as long as the product does.
func gather(t testing.TB, sites int, url string, stall time.Duration) *crowd {
	t.Helper()
	dir := t.TempDir()
	c := &crowd{broker: fmt.Sprintf("127.0.0.1:%d", freePort(t)), pages: fmt.Sprintf("127.0.0.1:%d", freePort(t))}
	var text strings.Builder
	fmt.Fprintf(&text, "data: %s\nlisten: %s\n", filepath.Join(dir, "cloud"), c.pages)
	if url == "" {
		fmt.Fprintf(&text, "broker: {listen: \"%s\", max_clients: %d}\n", c.broker, sites+10)
	} else {
		c.broker = strings.TrimPrefix(url, "tcp://")
		fmt.Fprintf(&text, "broker: {url: \"%s\"}\n", url)
	}
	text.WriteString("sites:\n")
	for k := range sites {
		m := &member{site: fmt.Sprintf("site-%d", k), key: chain.NewKey()}
		c.members = append(c.members, m)
		fmt.Fprintf(&text, "  - {id: %s, name: 站%d, district: 新华区, key: \"%s\"}\n", m.site, k, m.key.Public())
	}
	file := filepath.Join(dir, "cloud.yaml")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	config, err := service.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	t.Cleanup(func() { c.stop(); c.working.Wait() })
	c.working.Go(func() {
		if err := service.Start(ctx, config, slog.New(slog.DiscardHandler)); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "the city is there", func() bool {
		conn, err := net.Dial("tcp", c.pages)
		return err == nil && conn.Close() == nil
	})
	key, err := program.OpenKey(filepath.Join(dir, "cloud", "cloud.key"))
	if err != nil {
		t.Fatal(err)
	}
	c.cloud = key.Public()
	for _, m := range c.members {
		if m.log, err = journal.Open(journal.Options{Dir: filepath.Join(dir, m.site), Site: m.site, Stream: wire.Records, SegmentBytes: 1 << 20, NoSync: true}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			c.stop()
			c.working.Wait()
			if err := m.log.Close(); err != nil {
				t.Error(err)
			}
		})
		m.way = uplink.New(uplink.Config{Site: m.site, Stream: wire.Records, Key: m.key, Cloud: c.cloud, Stall: stall}, m.log)
	}
	return c
}

// write appends entries to each journal, as a belt and a baler make them.
func (c *crowd) write(t testing.TB, each int) {
	t.Helper()
	for _, m := range c.members {
		for done := 0; done < each; {
			var facts []record.Fact
			for ; done < each && len(facts) < 500; done++ {
				n := int(m.log.Last().N) + len(facts)
				facts = append(facts, record.Fact{At: time.Now(), Device: "belt-1", Body: &record.Belt{Raw: int64(n), Step: unit.Kilogram, Modulus: 1 << 31,
					Standing: unit.Mass(n) * unit.Kilogram, Material: "paper/occ", Event: record.BeltTick}})
			}
			if _, err := m.log.Append(wire.Synced, facts...); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// connect lets every site connect and send until the end of the test.
func (c *crowd) connect(t testing.TB) {
	ctx, cancel := context.WithCancel(context.Background())
	before := c.stop
	c.stop = func() { cancel(); before() }
	for _, m := range c.members {
		c.working.Go(func() {
			err := mqtt.Run(ctx, mqtt.Options{URL: "tcp://" + c.broker, Client: "edge-" + m.site, MinBackoff: 100 * time.Millisecond},
				func(ctx context.Context, s *mqtt.Session) error {
					c.links.Add(1)
					if err := m.way.Subscribe(ctx, s); err != nil {
						return err
					}
					status := wire.Status{Site: m.site, Online: true, Session: s.ID(), AtMS: time.Now().UnixMilli()}
					if err := s.Publish(ctx, mqtt.Message{Topic: wire.StatusTopic(m.site), Payload: status.Encode(), QoS: 1, Retained: true}); err != nil {
						return err
					}
					return m.way.Run(ctx, func(message mqtt.Message) <-chan error {
						if b, err := wire.DecodeBatch(message.Payload); err == nil {
							c.sent.Add(int64(len(b.Entries)))
						}
						return s.Start(message)
					})
				})
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
}

// receipted says how many entries the sites hold receipts for, and whether that is all.
func (c *crowd) receipted() (n uint64, all bool) {
	all = true
	for _, m := range c.members {
		r, _ := m.log.Receipt()
		n += r.N
		all = all && r.N == m.log.Last().N
	}
	return n, all
}

// online says how many sites the city's page shows as connected.
func (c *crowd) online(t testing.TB) (n int) {
	t.Helper()
	response, err := http.Get("http://" + c.pages + "/api/sites")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		Sites []struct{ Online bool }
	}
	if err := json.Unmarshal(data, &list); err != nil {
		t.Fatalf("%v: %.200s", err, data)
	}
	for _, s := range list.Sites {
		if s.Online {
			n++
		}
	}
	return n
}

// TestThousandSitesOnline: a thousand sites connect at once and send a small batch each second. All
// are shown online, no link is lost, and each entry is sent and counted once.
func TestThousandSitesOnline(t *testing.T) {
	const sites, rounds = 1000, 5
	c := gather(t, sites, "", 2*settlePatience) // what is lost would not be sent again within the test
	c.write(t, 1)
	c.connect(t)
	eventually(t, "all sites are shown online", func() bool { return c.online(t) == sites })
	for range rounds {
		c.write(t, 2)
		eventually(t, "all is receipted", func() bool { _, all := c.receipted(); return all })
	}
	want := int64(sites * (1 + 2*rounds))
	if n, _ := c.receipted(); int64(n) != want || c.sent.Load() != want || c.links.Load() != sites || c.online(t) != sites {
		t.Errorf("%d entries receipted and %d sent, want %d; %d connections and %d shown online, want %d",
			n, c.sent.Load(), want, c.links.Load(), c.online(t), sites)
	}
}

// BenchmarkCatchUp is a city whose sites come back together with a backlog: signed batches over the
// broker into the ledger, up to the receipt in the journal of the edge; both ends in this process.
//
//	entries/s     receipted at the sites
//	cpu-µs/entry  of both ends together
//	sent-twice-%  entries that left a site more than once
//	lost-links    connections that broke
//	×mosquitto    entries/s of the embedded broker against those of Mosquitto with as many sites
func BenchmarkCatchUp(b *testing.B) {
	peer := map[int]float64{}
	for _, broker := range []string{"mosquitto", "embedded"} {
		for _, size := range []struct{ sites, each int }{{12, 8000}, {1000, 96}} {
			b.Run(fmt.Sprintf("%s/%d-sites", broker, size.sites), func(b *testing.B) {
				var spent, used time.Duration
				entries, twice, lost := 0, 0, 0
				for b.Loop() {
					b.StopTimer()
					url := ""
					if broker == "mosquitto" {
						m := startMosquitto(b, "max_queued_messages 0", "max_inflight_messages 0")
						url = m.url()
					}
					c := gather(b, size.sites, url, 0)
					c.write(b, size.each)
					cpu, began := ownCPU(b), time.Now()
					b.StartTimer()
					c.connect(b)
					for all := false; !all; {
						time.Sleep(5 * time.Millisecond)
						_, all = c.receipted()
					}
					b.StopTimer()
					spent, used = spent+time.Since(began), used+ownCPU(b)-cpu
					entries += size.sites * size.each
					twice += int(c.sent.Load()) - size.sites*size.each
					lost += int(c.links.Load()) - size.sites
					c.stop()
					c.working.Wait()
					b.StartTimer()
				}
				speed := float64(entries) / spent.Seconds()
				b.ReportMetric(speed, "entries/s")
				b.ReportMetric(float64(used.Microseconds())/float64(entries), "cpu-µs/entry")
				b.ReportMetric(100*float64(twice)/float64(entries), "sent-twice-%")
				b.ReportMetric(float64(lost), "lost-links")
				if broker == "mosquitto" {
					peer[size.sites] = speed
				} else if peer[size.sites] > 0 {
					b.ReportMetric(speed/peer[size.sites], "×mosquitto")
				}
			})
		}
	}
}
