package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"steelyard/cloud/demo"
	"steelyard/cloud/ledger/ledgertest"
	"steelyard/cloud/telemetry/influxtest"
	"steelyard/internal/chain"
	"steelyard/internal/mqtt"
	"steelyard/internal/record"
	"steelyard/internal/wire"
)

// The load of BenchmarkSamplesToInflux: readings of four numbers of twelve sites, fifty in a message.
const (
	telegrafVariable = "STEELYARD_TELEGRAF"
	loadSites        = 12
	loadBatches      = 1000 // of each site
	loadBatch        = 50   // readings in a message
	loadReadings     = loadSites * loadBatches * loadBatch
)

// reading is the n-th of a site: four numbers of one moment.
func reading(site, n int) (at time.Time, values [4]string) {
	for i := range values {
		values[i] = fmt.Sprintf("%d.%02d", 10+(n*7+site*13+i*31)%400, (n*3+i)%100)
	}
	return ledgertest.Start().Add(time.Duration(n) * 100 * time.Millisecond), values
}

var loadTags = [4]string{"motor_current", "oil_temperature", "pressure", "speed"}

// BenchmarkSamplesToInflux brings samples through Mosquitto into InfluxDB: signed batches through the
// cloud's own process, with hash chains, the ledger and receipts, and, where STEELYARD_TELEGRAF names a
// Telegraf, the same numbers as plain lines through it, tuned, in the same run. It prints readings/s and
// the processor time of the collector and of InfluxDB for each reading.
func BenchmarkSamplesToInflux(b *testing.B) {
	var payloads [loadSites][][]byte
	keys := map[string]chain.PublicKey{}
	for site := range loadSites {
		j := ledgertest.NewSamples(fmt.Sprint("site-", site), uint64(site+1))
		keys[j.Site] = j.Key.Public()
		for n := range loadBatches * loadBatch {
			at, values := reading(site, n)
			s := &record.Sample{Machine: record.Baler}
			for i, v := range values {
				s.Values = append(s.Values, record.SampleValue{Tag: loadTags[i], Value: v, Unit: "A", OK: true})
			}
			j.Write(at, "baler-1", s)
		}
		for first := uint64(1); first <= j.Last(); first += loadBatch {
			payloads[site] = append(payloads[site], j.Payload(first, first+loadBatch-1))
		}
	}
	b.Run("steelyard", func(b *testing.B) {
		benchLoad(b, payloads, func(site int) string { return wire.TopicOf(fmt.Sprint("site-", site), wire.Samples) }, true,
			func(b *testing.B, broker string, server *influxtest.Server) *os.Process {
				return startCloud(b, broker, server, keys)
			})
	})
	if os.Getenv(telegrafVariable) == "" {
		return
	}
	var lines [loadSites][][]byte
	for site := range loadSites {
		for n := 0; n < loadBatches*loadBatch; n += loadBatch {
			var text []byte
			for k := range loadBatch {
				at, v := reading(site, n+k)
				text = fmt.Appendf(text, "machine,device=baler-1,kind=baler,site=site-%d %s=%s,%s=%s,%s=%s,%s=%s %d\n", site,
					loadTags[0], v[0], loadTags[1], v[1], loadTags[2], v[2], loadTags[3], v[3], at.UnixNano())
			}
			lines[site] = append(lines[site], text)
		}
	}
	b.Run("telegraf", func(b *testing.B) {
		benchLoad(b, lines, func(site int) string { return fmt.Sprint("bench/site-", site) }, false, startTelegraf)
	})
}

// benchLoad lets a collector take the load, anew for each iteration.
func benchLoad(b *testing.B, payloads [loadSites][][]byte, topic func(site int) string, receipts bool, start func(*testing.B, string, *influxtest.Server) *os.Process) {
	var passed, collector, store time.Duration
	for range b.N {
		server := influxtest.Start(b)
		broker := fmt.Sprintf("127.0.0.1:%d", freePort(b))
		startLoadBroker(b, broker)
		process := start(b, broker, server)
		influxd := server.Pid()
		c0, s0, begun := processorOf(b, process.Pid), processorOf(b, influxd), time.Now()
		publishLoad(b, broker, payloads, topic, receipts)
		for written(b, server) < loadReadings {
			time.Sleep(10 * time.Millisecond)
			if time.Since(begun) > settlePatience {
				b.Fatalf("%d of %d readings came", written(b, server), loadReadings)
			}
		}
		passed += time.Since(begun)
		collector += processorOf(b, process.Pid) - c0
		store += processorOf(b, influxd) - s0
		for _, tag := range loadTags {
			if answer := server.Query(fmt.Sprintf(`SELECT count(%q) FROM "machine"`, tag)); !strings.Contains(answer, fmt.Sprintf(",%d]]", loadReadings)) {
				b.Fatalf("of %d readings InfluxDB has %s", loadReadings, answer)
			}
		}
		server.Stop()
		if err := process.Kill(); err != nil {
			b.Error(err)
		}
	}
	readings := float64(b.N) * loadReadings
	b.ReportMetric(readings/passed.Seconds(), "readings/s")
	b.ReportMetric(float64(collector.Nanoseconds())/readings/1000, "cpu-µs/reading")
	b.ReportMetric(float64(store.Nanoseconds())/readings/1000, "influxd-cpu-µs/reading")
	b.ReportMetric(0, "ns/op")
}

// startLoadBroker runs a Mosquitto that drops nothing.
func startLoadBroker(b *testing.B, address string) {
	b.Helper()
	_, number, _ := strings.Cut(address, ":")
	conf := filepath.Join(b.TempDir(), "mosquitto.conf")
	text := fmt.Sprintf("listener %s 127.0.0.1\nallow_anonymous true\npersistence false\nmax_queued_messages 0\nmax_inflight_messages 0\nuser root\nlog_type error\n", number)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	m := &mosquitto{conf: conf}
	m.port, _ = strconv.Atoi(number)
	m.start(b)
	b.Cleanup(func() {
		_ = m.cmd.Process.Kill()
		_, _ = m.cmd.Process.Wait()
	})
}

func startCloud(b *testing.B, broker string, server *influxtest.Server, keys map[string]chain.PublicKey) *os.Process {
	b.Helper()
	dir := b.TempDir()
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte(server.Token+"\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	var text strings.Builder
	fmt.Fprintf(&text, "data: %s/data\nlisten: 127.0.0.1:%d\nbroker: {url: \"tcp://%s\"}\ninflux: {url: %q, bucket: %q, token_file: %s}\nsites:\n",
		dir, freePort(b), broker, server.URL, server.Bucket, token)
	for site := range loadSites {
		name := fmt.Sprint("site-", site)
		fmt.Fprintf(&text, "  - {id: %s, name: n, english: e, district: d, key: %q}\n", name, keys[name].String())
	}
	config := filepath.Join(dir, "cloud.yaml")
	if err := os.WriteFile(config, []byte(text.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := command(b, "")(demo.CloudRole, config)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		b.Fatal(err)
	}
	cmd.Stderr = log
	return running(b, cmd, log.Name(), "broker connected")
}

func startTelegraf(b *testing.B, broker string, server *influxtest.Server) *os.Process {
	b.Helper()
	user, password, _ := strings.Cut(server.Token, ":")
	database, policy, _ := strings.Cut(server.Bucket, "/")
	dir := b.TempDir()
	text := fmt.Sprintf(`[agent]
interval = "1s"
flush_interval = "1s"
metric_batch_size = 5000
metric_buffer_limit = 1000000
omit_hostname = true
logfile = %q
[[inputs.mqtt_consumer]]
servers = ["tcp://%s"]
topics = ["bench/#"]
topic_tag = ""
qos = 1
client_id = "telegraf"
persistent_session = true
max_undelivered_messages = 2000
data_format = "influx"
[[outputs.influxdb]]
urls = [%q]
database = %q
retention_policy = %q
skip_database_creation = true
username = %q
password = %q
content_encoding = "identity"
`, filepath.Join(dir, "log"), broker, server.URL, database, policy, user, password)
	config := filepath.Join(dir, "telegraf.conf")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	return running(b, exec.Command(os.Getenv(telegrafVariable), "--config", config), filepath.Join(dir, "log"), "Connected [")
}

// running starts a program and waits for a word in its log.
func running(b *testing.B, cmd *exec.Cmd, log, word string) *os.Process {
	b.Helper()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	var said []byte
	for begin := time.Now(); !strings.Contains(string(said), word); time.Sleep(50 * time.Millisecond) {
		said, _ = os.ReadFile(log) // it may not be there yet
		if time.Since(begin) > 10*time.Second {
			b.Fatalf("%s: no %q in its log: %s", cmd.Path, word, said)
		}
	}
	time.Sleep(2 * time.Second) // until it has subscribed
	return cmd.Process
}

// loadWindow is how many batches of a site wait for their receipt at once. What gives no receipts is
// held back by the broker.
const loadWindow = 64

// publishLoad sends everything as fast as it is taken, each site's in order.
func publishLoad(b *testing.B, broker string, payloads [loadSites][][]byte, topic func(site int) string, receipts bool) {
	b.Helper()
	var slots [loadSites]chan struct{}
	var taken [loadSites]int // batches with a receipt
	for site := range slots {
		slots[site] = make(chan struct{}, loadBatches+loadWindow)
		for range loadWindow {
			slots[site] <- struct{}{}
		}
	}
	receipt := func(m mqtt.Message) {
		var r wire.Receipt
		err := json.Unmarshal(m.Payload, &r)
		site, err2 := strconv.Atoi(strings.TrimPrefix(r.Site, "site-"))
		if err != nil || err2 != nil {
			b.Error(err, err2)
			return
		}
		for ; taken[site] < int(r.N)/loadBatch; taken[site]++ {
			slots[site] <- struct{}{}
		}
	}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	var once sync.Once
	err := mqtt.Run(ctx, mqtt.Options{URL: "tcp://" + broker, Client: "load", Log: slog.New(slog.DiscardHandler)}, func(ctx context.Context, s *mqtt.Session) error {
		var g errgroup.Group
		if err := s.Subscribe(ctx, "steelyard/v1/+/receipt/samples", 1, receipt); err != nil {
			return err
		}
		once.Do(func() {
			for site := range loadSites {
				g.Go(func() error {
					for _, payload := range payloads[site] {
						if receipts {
							<-slots[site]
						}
						if err := s.Publish(ctx, mqtt.Message{Topic: topic(site), Payload: payload, QoS: 1}); err != nil {
							return err
						}
					}
					return nil
				})
			}
		})
		if err := g.Wait(); err != nil {
			b.Error("publish:", err)
		}
		cancel()
		return nil
	})
	if err != nil && ctx.Err() == nil {
		b.Fatal(err)
	}
}

// written is how many points InfluxDB says it has taken; asking costs it nothing.
func written(b *testing.B, server *influxtest.Server) (points int) {
	b.Helper()
	res, err := http.Get(server.URL + "/debug/vars")
	if err != nil {
		b.Fatal(err)
	}
	defer res.Body.Close()
	var all map[string]json.RawMessage
	if err := json.NewDecoder(res.Body).Decode(&all); err != nil {
		b.Fatal(err)
	}
	for _, part := range all {
		var one struct {
			Name   string `json:"name"`
			Values struct {
				Points int `json:"pointReq"`
			} `json:"values"`
		}
		if json.Unmarshal(part, &one) == nil && one.Name == "write" {
			points += one.Values.Points
		}
	}
	return points
}

// processorOf is the time that a process has used.
func processorOf(b *testing.B, pid int) time.Duration {
	b.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	fields := strings.Fields(rest)
	ticks := int64(0)
	for _, text := range fields[11:13] {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / 100 // USER_HZ
}
