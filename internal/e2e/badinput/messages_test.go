package badinput

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"steelyard/cloud/ledger/ledgertest"
	"steelyard/internal/mqtt"
	"steelyard/internal/port"
	"steelyard/internal/record"
	"steelyard/internal/wire"
)

// city is a running cloud process with two enrolled sites.
type city struct {
	t      *testing.T
	pages  string
	broker string
	log    string
	exited chan struct{}
	stop   func() // ends it politely and waits
}

// freePort gives the address of a port that is the test's until its end.
func freePort(t *testing.T) string {
	t.Helper()
	p, err := port.Reserve()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p.Address()
}

func startCity(t *testing.T) *city {
	t.Helper()
	dir := t.TempDir()
	c := &city{t: t, broker: freePort(t), log: filepath.Join(dir, "log"), exited: make(chan struct{})}
	pages := freePort(t)
	c.pages = "http://" + pages
	var text strings.Builder
	text.WriteString(fmt.Sprintf("data: data\nlisten: %q\nbroker: {listen: %q}\nsites:\n", pages, c.broker))
	for _, site := range []string{"xinhua-1", "ruzhou-1"} {
		text.WriteString(fmt.Sprintf("  - {id: %s, key: %q}\n", site, ledgertest.KeyOf(site).Public()))
	}
	if err := os.WriteFile(filepath.Join(dir, "cloud.yaml"), []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(c.log)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program("cloud"), "-config", "cloud.yaml")
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.exited)
		_ = cmd.Wait()
	}()
	c.stop = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-c.exited:
		case <-time.After(patience):
			t.Error("the cloud does not stop")
			_ = cmd.Process.Kill()
			<-c.exited
		}
		if cmd.ProcessState.ExitCode() != 0 {
			t.Errorf("the cloud ended with %v", cmd.ProcessState)
		}
		said, err := os.ReadFile(c.log)
		if err = errors.Join(err, log.Close()); err != nil {
			t.Error(err)
		}
		if bytes.Contains(said, []byte("panic")) || t.Failed() {
			t.Errorf("the cloud's log: %s", said[max(0, len(said)-5000):])
		}
	})
	t.Cleanup(c.stop)
	c.until("the cloud answers", func() bool {
		res, err := http.Get(c.pages + "/healthz")
		if err != nil {
			return false
		}
		defer res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
	return c
}

// in is the same city for a part of the test.
func (c *city) in(t *testing.T) *city {
	in := *c
	in.t = t
	return &in
}

func (c *city) until(what string, met func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(patience); !met(); time.Sleep(20 * time.Millisecond) {
		select {
		case <-c.exited:
			said, _ := os.ReadFile(c.log)
			c.t.Fatalf("the cloud has ended before %s: %s", what, said)
		default:
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("waited in vain until %s; quarantine: %+v", what, get[quarantine](c, "/api/quarantine"))
		}
	}
}

// get reads one answer of the API.
func get[T any](c *city, path string) (v T) {
	c.t.Helper()
	res, err := http.Get(c.pages + path)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		c.t.Fatalf("%s: %d %s %v", path, res.StatusCode, data, err)
	}
	if err := json.Unmarshal(data, &v); err != nil {
		c.t.Fatal(err)
	}
	return v
}

type quarantine struct {
	Quarantined []struct {
		Site, Reason, Why string
		Times             int64
	}
}

func (c *city) committed(site string) uint64 {
	c.t.Helper()
	for _, s := range get[struct {
		Sites []struct {
			Site      string
			Committed uint64
		}
	}](c, "/api/sites").Sites {
		if s.Site == site {
			return s.Committed
		}
	}
	c.t.Fatalf("no site %s", site)
	return 0
}

// raw is a connection to the broker that keeps no rule of ours.
type raw struct {
	net.Conn
	t *testing.T
}

func (c *city) dial() raw {
	c.t.Helper()
	conn, err := net.Dial("tcp", c.broker)
	if err != nil {
		c.t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	r := raw{conn, c.t}
	// MQTT 3.1.1, clean session, keep alive 60 s.
	r.packet(0x10, append([]byte("\x00\x04MQTT\x04\x02\x00\x3c"), field("hostile-1")...))
	answer := make([]byte, 4)
	if _, err := io.ReadFull(conn, answer); err != nil || answer[0] != 0x20 || answer[3] != 0 {
		c.t.Fatalf("CONNACK % x %v", answer, err)
	}
	return r
}

func field(text string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(text))), text...)
}

// packet writes one MQTT packet; the other end may close the line meanwhile.
func (r raw) packet(head byte, body []byte) {
	length := []byte{}
	for n := len(body); ; {
		b := byte(n & 0x7f)
		if n >>= 7; n > 0 {
			length = append(length, b|0x80)
			continue
		}
		length = append(length, b)
		break
	}
	_, _ = r.Write(append(append([]byte{head}, length...), body...))
}

// publish sends with QoS 1 and reports whether the broker has acknowledged it.
func (r raw) publish(topic string, payload []byte) bool {
	r.packet(0x32, append(append(field(topic), 0, 1), payload...))
	answer := make([]byte, 4)
	_, err := io.ReadFull(r, answer)
	return err == nil && answer[0] == 0x40
}

// bomb is small and unpacks to half a gigabyte.
func bomb(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := zstd.NewWriter(&out, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(1<<20), zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, 1<<20)
	for range 512 {
		if _, err := w.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestHostileMessages(t *testing.T) {
	c := startCity(t)
	defer http.DefaultClient.CloseIdleConnections()

	// Meanwhile an honest site sends batch after batch, one for each step below.
	honest := ledgertest.New("xinhua-1", 1)
	ctx, end := context.WithCancel(t.Context())
	var sending sync.WaitGroup
	defer sending.Wait()
	defer end()
	batches, sent := make(chan []byte), make(chan error)
	sending.Go(func() {
		_ = mqtt.Run(ctx, mqtt.Options{URL: "tcp://" + c.broker, Client: "edge-xinhua-1", Log: slog.New(slog.DiscardHandler)},
			func(ctx context.Context, s *mqtt.Session) error {
				for {
					select {
					case b := <-batches:
						err := s.Publish(ctx, mqtt.Message{Topic: wire.TopicOf("xinhua-1", wire.Records), Payload: b, QoS: 1})
						select {
						case sent <- err:
						case <-ctx.Done():
						}
						if err != nil {
							return err
						}
					case <-ctx.Done():
						return context.Cause(ctx)
					}
				}
			})
	})
	flow := func(t *testing.T) {
		t.Helper()
		c := c.in(t)
		first := honest.Last() + 1
		honest.Shift(10)
		select {
		case batches <- honest.Payload(first, honest.Last()):
		case <-time.After(patience):
			t.Fatal("the honest site can't connect")
		}
		select {
		case err := <-sent:
			if err != nil {
				t.Fatalf("the honest site can't send: %v", err)
			}
		case <-time.After(patience):
			t.Fatal("the honest site's connection ended under its batch")
		}
		c.until("the honest site's batch is committed", func() bool { return c.committed("xinhua-1") == honest.Last() })
	}
	flow(t)

	victim := ledgertest.New("ruzhou-1", 2).Shift(30)
	good := victim.Payload(1, 30)
	small := ledgertest.New("ruzhou-1", 7)
	small.Write(ledgertest.Start(), "baler-1", &record.Device{State: "online"})
	plain := small.Payload(1, 1) // small enough to travel as text
	forged := ledgertest.New("ruzhou-1", 3).Shift(5)
	forged.Key = ledgertest.KeyOf("somebody")
	stranger := ledgertest.New("atlantis-1", 4).Shift(3)
	foreign := ledgertest.New("xinhua-1", 5).Shift(3)
	samples := ledgertest.NewSamples("ruzhou-1", 6).Shift(3)
	altered := bytes.Replace(plain, []byte(`"v":1,"site":"ruzhou-1"`), []byte(`"v":1,"site":"ruzhou-2"`), 1)
	if bytes.Equal(altered, plain) {
		t.Fatalf("nothing was altered in %q", plain)
	}
	own := wire.TopicOf("ruzhou-1", wire.Records)
	for _, tc := range []struct {
		name    string
		topic   string
		payload []byte
		site    string // in the quarantine; empty: no enrolled one
		reason  string
		why     string
	}{
		{"empty", own, nil, "ruzhou-1", "malformed", "empty"},
		{"one byte", own, []byte{0}, "ruzhou-1", "malformed", "no header line"},
		{"truncated zstd", own, good[:len(good)/2], "ruzhou-1", "malformed", "compressed payload"},
		{"zstd with a flipped bit", own, flipped(good), "ruzhou-1", "malformed", ""},
		{"zstd bomb", own, bomb(t), "ruzhou-1", "malformed", "compressed payload"},
		{"too large for a batch", own, bytes.Repeat([]byte("x"), wire.MaxBatch+1), "ruzhou-1", "size", "more than"},
		{"JSON of something else", own, []byte(`{"weight": 12000}` + "\n"), "ruzhou-1", "malformed", "batch header"},
		{"ten thousand brackets", own, []byte(strings.Repeat("[", 10_000) + "\n"), "ruzhou-1", "malformed", ""},
		{"header without entries", own, append(bytes.SplitAfterN(plain, []byte("\n"), 2)[0], '\n'), "ruzhou-1", "malformed", ""},
		{"entry cut off", own, plain[:len(plain)-20], "ruzhou-1", "malformed", "cut off"},
		{"trailing bytes", own, append(bytes.Clone(plain), "{}\n"...), "ruzhou-1", "malformed", ""},
		{"wrong signature", own, forged.Payload(1, 5), "ruzhou-1", "signature", "not signed with the key"},
		{"foreign site on our topic", own, foreign.Payload(1, 3), "ruzhou-1", "site", "batch of site xinhua-1"},
		{"entries of another site", own, altered, "ruzhou-1", "malformed", ""},
		{"samples on the topic of records", own, samples.Payload(1, 3), "ruzhou-1", "stream", "batch of samples"},
		{"site that nobody enrolled", wire.TopicOf("atlantis-1", wire.Records), stranger.Payload(1, 3), "", "unknown-site", "no enrolled site"},
		{"future version", own, bytes.Replace(plain, []byte(`{"v":1,`), []byte(`{"v":9,`), 1), "ruzhou-1", "version", "newer"},
		{"future header", own, []byte(`{"v":2,"sealed":"yes"}` + "\n"), "ruzhou-1", "version", "update the cloud first"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := c.in(t)
			before := times(c, tc.site, tc.reason, tc.why)
			r := c.dial()
			defer r.Close()
			if !r.publish(tc.topic, tc.payload) {
				t.Fatal("the broker has not taken it")
			}
			c.until("it is shown in quarantine", func() bool { return times(c, tc.site, tc.reason, tc.why) > before })
			flow(t)
		})
	}
	if n := c.committed("ruzhou-1"); n != 0 {
		t.Errorf("%d entries of what was refused are in the account", n)
	}

	t.Run("ten megabytes", func(t *testing.T) {
		c := c.in(t)
		r := c.dial()
		defer r.Close()
		if r.publish(own, make([]byte, 10<<20)) {
			t.Error("the broker took ten megabytes")
		}
		flow(t)
	})
	t.Run("topics of nobody", func(t *testing.T) {
		c := c.in(t)
		for _, topic := range []string{"x", "steelyard/v1", "steelyard/v1/../records", "steelyard/v9/ruzhou-1/records", "$SYS/broker"} {
			r := c.dial()
			_ = r.publish(topic, good)
			r.Close()
		}
		flow(t)
	})
	t.Run("the honest half of the same site goes on", func(t *testing.T) {
		c := c.in(t)
		r := c.dial()
		defer r.Close()
		r.publish(own, good)
		c.until("its batch is committed", func() bool { return c.committed("ruzhou-1") == 30 })
	})
	c.stop()
}

// flipped is a copy with one bit turned in the middle.
func flipped(data []byte) []byte {
	data = bytes.Clone(data)
	data[len(data)/2] ^= 4
	return data
}

// times counts what the quarantine shows of a site, a reason and words of the explanation.
func times(c *city, site, reason, why string) (n int64) {
	c.t.Helper()
	for _, q := range get[quarantine](c, "/api/quarantine").Quarantined {
		if q.Site == site && q.Reason == reason && strings.Contains(q.Why, why) {
			n += q.Times
		}
	}
	return n
}
