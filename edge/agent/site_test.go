package agent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"steelyard/edge/agent"
	"steelyard/firmware-bridge/sim"
	"steelyard/internal/chain"
	"steelyard/internal/leaktest"
	"steelyard/internal/unit"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// patience bounds what a test waits for; nothing here takes a tenth of it.
const patience = 30 * time.Second

// site is a weighbridge on a pty and the folder of the agent that reads it.
type site struct {
	t         *testing.T
	dir       string
	speaks    string // what its configuration says of line and indicator, with a place for the port
	file      string // its configuration
	cloud     chain.Key
	deck      *sim.Deck
	indicator *sim.Indicator
}

// newSite brings up the machines. They end with the test.
func newSite(t *testing.T) *site {
	t.Helper()
	return bringUp(t, sim.IndicatorConfig{Dialect: sim.Toledo, Checksum: sim.MT7, Rate: 20, Seed: 1},
		"line: {port: %q, baud: 9600, format: 8N1}, dialect: mt-cont, options: {checksum: mt7}")
}

func bringUp(t *testing.T, indicator sim.IndicatorConfig, speaks string) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir(), speaks: speaks, cloud: chain.NewKey()}
	pty, err := sim.OpenPty(sim.PtyConfig{Link: filepath.Join(s.dir, "tty")})
	if err != nil {
		t.Fatal(err)
	}
	s.deck = sim.NewDeck(sim.DeckConfig{Division: 20 * unit.Kilogram, Max: 60 * unit.Tonne, Seed: 1})
	if s.indicator, err = sim.NewIndicator(indicator, s.deck, pty); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.indicator.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		if err := pty.Close(); err != nil { // which ends an indicator that waits for a question
			t.Error(err)
		}
		<-ended
	})
	s.file = filepath.Join(s.dir, "edge.yaml")
	s.configure("")
	return s
}

// configure writes the configuration, with lines of the test's own.
func (s *site) configure(more string) {
	s.t.Helper()
	text := fmt.Sprintf(`site: xinhua-1
name: 新华区绿色分拣中心
cloud: {broker: "tcp://127.0.0.1:1", key: %q}
weighbridges:
  - {device: weighbridge-1, %s, unit: kg, division: 20 kg, max: 60 t}
`, s.cloud.Public(), fmt.Sprintf(s.speaks, filepath.Join(s.dir, "tty")))
	if !strings.Contains(more, "listen:") {
		text += "listen: \"127.0.0.1:0\"\n"
	}
	if err := os.WriteFile(s.file, []byte(text+more), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// running is an agent in this process.
type running struct {
	*site
	page string
	stop context.CancelFunc
	done chan error
}

// tap finds the page's address in the log.
type tap struct {
	slog.Handler
	page chan string
}

func (h tap) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == "edge is running" {
		r.Attrs(func(a slog.Attr) bool {
			if a.Key == "page" {
				h.page <- a.Value.String()
			}
			return true
		})
	}
	return h.Handler.Handle(ctx, r)
}

func (h tap) WithAttrs(attrs []slog.Attr) slog.Handler {
	return tap{h.Handler.WithAttrs(attrs), h.page}
}

// start starts the agent and waits until it runs. It ends with the test, or with end.
func (s *site) start() *running {
	s.t.Helper()
	c, err := agent.Read(s.file)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &running{site: s, stop: stop, done: make(chan error, 1)}
	h := tap{slog.NewTextHandler(s.t.Output(), nil), make(chan string, 1)}
	go func() { r.done <- agent.Start(ctx, c, agent.Faults{}, slog.New(h)) }()
	select {
	case r.page = <-h.page:
	case err := <-r.done:
		stop()
		s.t.Fatalf("the agent ended at its start: %v", err)
	case <-time.After(patience):
		stop()
		s.t.Fatal("the agent did not start")
	}
	s.t.Cleanup(func() { r.end() })
	return r
}

// end stops the agent and waits for it; a second call does nothing.
func (r *running) end() {
	r.t.Helper()
	r.stop()
	if r.done == nil {
		return
	}
	select {
	case err := <-r.done:
		if err != nil && err != context.Canceled {
			r.t.Errorf("the agent ended with %v", err)
		}
		r.done = nil
		http.DefaultClient.CloseIdleConnections()
	case <-time.After(patience):
		r.t.Fatal("the agent does not stop")
	}
}

// answer is what the page's API says.
type answer struct {
	Status int
	Type   string
	Body   string
}

func (r *running) do(req *http.Request) answer {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	res, err := http.DefaultClient.Do(req.WithContext(ctx))
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header.Get("Content-Type"), string(body)}
}

func (r *running) request(method, path, body string) *http.Request {
	r.t.Helper()
	req, err := http.NewRequest(method, r.page+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	}
	return req
}

func (r *running) get(path string) answer { return r.do(r.request(http.MethodGet, path, "")) }

func (r *running) post(path string, body any) answer {
	data, err := json.Marshal(body)
	if err != nil {
		r.t.Fatal(err)
	}
	return r.do(r.request(http.MethodPost, path, string(data)))
}

// into reads an answer's JSON.
func into[T any](t *testing.T, a answer) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.Body), &v); err != nil {
		t.Fatalf("%d %s: %v", a.Status, a.Body, err)
	}
	return v
}

// until waits for a condition that the agent's own goroutines bring about.
func (r *running) until(what string, met func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(patience); !met(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("waited in vain until %s: decks %s, journal %s", what, r.get("/api/decks").Body, r.get("/api/journal").Body)
		}
	}
}

// deckState is the code of the one deck.
func (r *running) deckState() string {
	decks := into[struct{ Decks []struct{ State string } }](r.t, r.get("/api/decks"))
	return decks.Decks[0].State
}

// weigh drives a load onto the deck and waits for its weighing.
func (r *running) weigh(m unit.Mass) {
	r.t.Helper()
	r.deck.Place(0)
	r.until("the deck is empty", func() bool { return r.deckState() == "empty" })
	r.deck.Place(m)
	r.until("the load is weighed", func() bool { return r.deckState() == "captured" })
}

func (r *running) weighIn(passage, vehicle string) answer {
	return r.post("/api/weigh-in", map[string]any{"passage": passage, "deck": "weighbridge-1", "operator": "wang",
		"vehicle": vehicle, "direction": "inbound", "material": "paper/occ", "counterparty": ""})
}

func (r *running) weighOut(passage string, net unit.Mass) answer {
	return r.post("/api/weigh-out", map[string]any{"passage": passage, "deck": "weighbridge-1", "operator": "wang", "destination": "",
		"parts": []map[string]any{{"material": "paper/occ", "mass": net}}, "deductions": []string{}})
}

func (a answer) must(t *testing.T, status int) answer {
	t.Helper()
	if a.Status != status {
		t.Fatalf("got %d %s, want %d", a.Status, a.Body, status)
	}
	return a
}

// disk mounts a small disk of its own, gone at the end of the test.
func disk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatalf("mount a disk of %s: %v: this test needs to be root", size, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill leaves no room on a disk, and gives the file to remove.
func fill(t *testing.T, dir string) string {
	t.Helper()
	name := filepath.Join(dir, "fill")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 64 << 10; size > 0; {
		if _, err := f.Write(bytes.Repeat([]byte("x"), size)); err != nil {
			size /= 2
		}
	}
	return name
}
