// Package image_test proves that a disk which comes back from an old image costs no lorry: real edges
// and clouds, an embedded and a foreign broker, and an operator whose every confirmed ticket must be
// in the account, once, under a number that no other has.
package image_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"steelyard/cloud/service"
	"steelyard/edge/agent"
	"steelyard/firmware-bridge/sim"
	"steelyard/internal/chain"
	"steelyard/internal/port"
	"steelyard/internal/program"
	"steelyard/internal/unit"
)

// The test binary is the edge and the cloud of these tests, so that a protection can be switched off
// without a switch in the product.
const (
	roleVar     = "STEELYARD_TEST_ROLE"
	weaknessVar = "STEELYARD_TEST_WEAKNESS"
)

func TestMain(m *testing.M) {
	switch os.Getenv(roleVar) {
	case "edge":
		program.Main("edge", func(ctx context.Context, env program.Env) error {
			c, err := agent.Read(env.Args[0])
			if err != nil {
				return err
			}
			return agent.Start(ctx, c, agent.Faults{GoOn: os.Getenv(weaknessVar) == "go-on"}, env.Log)
		})
	case "cloud":
		program.Main("cloud", func(ctx context.Context, env program.Env) error {
			c, err := service.Read(env.Args[0])
			if err != nil {
				return err
			}
			return service.Start(ctx, c, env.Log)
		})
	}
	os.Exit(m.Run())
}

// patience bounds what a test waits for; nothing here takes a tenth of it.
const patience = time.Minute

// process is a child that is killed and started again.
type process struct {
	t        *testing.T
	role     string
	config   string
	weakness string
	ready    string // URL that answers when it works

	mu    sync.Mutex
	cmd   *exec.Cmd
	ended chan struct{}
}

func (p *process) launch() {
	p.t.Helper()
	self, err := os.Executable()
	if err != nil {
		p.t.Fatal(err)
	}
	log, err := os.OpenFile(p.config+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(self, p.config)
	cmd.Env = append(os.Environ(), roleVar+"="+p.role, weaknessVar+"="+p.weakness)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // it is killed
	}()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cmd, p.ended = cmd, ended
}

func (p *process) start() {
	p.t.Helper()
	p.launch()
	p.until("it answers", func() bool { return p.get("", nil) == nil })
}

// kill is a power cut.
func (p *process) kill() {
	p.mu.Lock()
	cmd, ended := p.cmd, p.ended
	p.mu.Unlock()
	_ = cmd.Process.Kill() // it may have ended by itself
	<-ended
}

// until waits. A process that ended by itself is started again, as a supervisor would.
func (p *process) until(what string, met func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(patience); !met(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(p.config + ".log")
			p.t.Fatalf("waited in vain until %s\n%s", what, log[max(0, len(log)-8000):])
		}
		select {
		case <-p.ended:
			p.launch()
		default:
		}
	}
}

func (p *process) get(path string, into any) error {
	res, err := http.Get(p.ready + path)
	if err != nil {
		return err
	}
	return read(res, into)
}

func read(res *http.Response, into any) error {
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode >= 300 {
		err = fmt.Errorf("%d %s", res.StatusCode, body)
	}
	if err != nil || into == nil {
		return err
	}
	return json.Unmarshal(body, into)
}

// town is a city with its centres.
type town struct {
	t       *testing.T
	dir     string
	cloud   *process
	centres []*centre
}

// centre is one site with its weighbridge and the way to the broker.
type centre struct {
	*process
	name  string
	data  string
	deck  *sim.Deck
	gate  *gate
	given map[string]string // lorry by ticket number, as the operator saw them confirmed
	net   unit.Mass
	count int
}

func reserve(t *testing.T) string {
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

// build starts a town. A broker of its own, or the one at the address.
func build(t *testing.T, sites int, broker, weakness string) *town {
	t.Helper()
	w := &town{t: t, dir: t.TempDir()}
	web := reserve(t)
	listen := "url: tcp://" + broker
	if broker == "" {
		broker = reserve(t)
		listen = "listen: " + broker
	}
	data := filepath.Join(w.dir, "cloud")
	var city strings.Builder
	fmt.Fprintf(&city, "name: T\ndata: %s\nlisten: %s\nbroker: {%s}\nsites:\n", data, web, listen)
	key := openKey(t, data, "cloud.key")
	for i := range sites {
		c := w.centre(fmt.Sprintf("s%d", i+1), broker, weakness, key.Public())
		fmt.Fprintf(&city, "  - {id: %s, name: %s, english: %s, district: d, key: %q}\n", c.name, c.name, c.name, openKey(t, c.data, "edge.key").Public())
	}
	w.cloud = &process{t: t, role: "cloud", config: filepath.Join(w.dir, "cloud.yaml"), ready: "http://" + web}
	write(t, w.cloud.config, city.String())
	w.cloud.start()
	t.Cleanup(w.cloud.kill)
	for _, c := range w.centres {
		c.start()
		t.Cleanup(c.kill)
	}
	return w
}

func openKey(t *testing.T, data, name string) chain.Key {
	t.Helper()
	if err := os.MkdirAll(data, 0o700); err != nil {
		t.Fatal(err)
	}
	key, err := program.OpenKey(filepath.Join(data, name))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (w *town) centre(name, broker, weakness string, cloud chain.PublicKey) *centre {
	t := w.t
	t.Helper()
	dir := filepath.Join(w.dir, name)
	page := reserve(t)
	c := &centre{process: &process{t: t, role: "edge", config: dir + ".yaml", weakness: weakness, ready: "http://" + page},
		name: name, data: dir, deck: sim.NewDeck(sim.DeckConfig{Division: 20 * unit.Kilogram, Max: 60 * unit.Tonne, Seed: 1}),
		gate: openGate(t, reserve(t), broker), given: map[string]string{}}
	pty, err := sim.OpenPty(sim.PtyConfig{Link: dir + ".tty"})
	if err != nil {
		t.Fatal(err)
	}
	indicator, err := sim.NewIndicator(sim.IndicatorConfig{Dialect: sim.Toledo, Checksum: sim.MT7, Rate: 20, Seed: 1}, c.deck, pty)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		indicator.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		if err := pty.Close(); err != nil {
			t.Error(err)
		}
		<-ended
	})
	write(t, c.config, fmt.Sprintf(`site: %s
name: %s
data: %s
listen: %s
cloud: {broker: "tcp://%s", key: %q}
weighbridges:
  - {device: wb-1, line: {port: %q, baud: 9600, format: 8N1}, dialect: mt-cont, options: {checksum: mt7}, unit: kg, division: 20 kg, max: 60 t}
`, name, name, dir, page, c.gate.address, cloud, dir+".tty"))
	w.centres = append(w.centres, c)
	return c
}

// place puts a load on the deck and waits for its state.
func (c *centre) place(m unit.Mass, state string) {
	c.t.Helper()
	c.deck.Place(m)
	c.until("the deck is "+state, func() bool {
		var d struct{ Decks []struct{ State string } }
		return c.get("/api/decks", &d) == nil && d.Decks[0].State == state
	})
}

// post repeats an act until it is confirmed, as an operator does.
func (c *centre) post(path string, body, into any) {
	c.t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		c.t.Fatal(err)
	}
	said := ""
	c.until("confirmed: "+path, func() bool {
		res, err := http.Post(c.ready+path, "application/json", bytes.NewReader(data))
		if err == nil {
			err = read(res, into)
		}
		if err != nil && err.Error() != said {
			said = err.Error()
			c.t.Logf("%s %s: %s", c.name, path, said)
		}
		return err == nil
	})
}

// lorry is weighed in and out; its ticket is one that the operator saw confirmed.
func (c *centre) lorry() {
	c.t.Helper()
	c.count++
	passage, net := fmt.Sprintf("%s-%d", c.name, c.count), unit.Tonne*unit.Mass(1+c.count%7)
	c.place(0, "empty")
	c.place(8*unit.Tonne+net, "captured")
	c.post("/api/weigh-in", map[string]any{"passage": passage, "deck": "wb-1", "operator": "wang", "vehicle": passage,
		"direction": "inbound", "material": "paper/occ", "counterparty": ""}, nil)
	c.place(0, "empty")
	c.place(8*unit.Tonne, "captured")
	var ticket struct {
		Number string
		Net    unit.Mass
	}
	c.post("/api/weigh-out", map[string]any{"passage": passage, "deck": "wb-1", "operator": "wang", "destination": "",
		"parts": []map[string]any{{"material": "paper/occ", "mass": net}}, "deductions": []string{}}, &ticket)
	if before := c.given[ticket.Number]; before != "" {
		c.t.Errorf("%s: lorry %s was confirmed under the number %s of lorry %s", c.name, passage, ticket.Number, before)
	}
	c.given[ticket.Number] = passage
	c.net += ticket.Net
}

// sent waits until the city has all that this disk holds.
func (c *centre) sent() {
	c.t.Helper()
	c.until("the city has everything", func() bool {
		var j struct {
			Last, Backlog uint64
			Link          string
		}
		return c.get("/api/journal", &j) == nil && j.Last > 0 && j.Backlog == 0 && j.Link == "online"
	})
}

// restore is a power cut, after which the disk is as it was in the image.
func (c *centre) restore(image string) {
	c.t.Helper()
	c.kill()
	if err := os.RemoveAll(c.data); err != nil {
		c.t.Fatal(err)
	}
	if err := os.CopyFS(c.data, os.DirFS(image)); err != nil {
		c.t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(c.data, "edge.key"), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// gate is the way from a centre to the broker. Closed, nobody listens; silent, nothing is answered.
type gate struct {
	t       *testing.T
	address string
	target  string
	silent  atomic.Bool // for connections made from now on

	mu       sync.Mutex
	listener net.Listener
	conns    map[net.Conn]bool
	done     sync.WaitGroup
}

func openGate(t *testing.T, address, target string) *gate {
	g := &gate{t: t, address: address, target: target, conns: map[net.Conn]bool{}}
	g.open()
	t.Cleanup(func() {
		g.close()
		g.done.Wait()
	})
	return g
}

func (g *gate) open() {
	l, err := net.Listen("tcp", g.address)
	if err != nil {
		g.t.Error(err)
		return
	}
	g.mu.Lock()
	g.listener = l
	g.mu.Unlock()
	g.done.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			if g.silent.Load() {
				g.mu.Lock()
				g.conns[near] = true
				g.mu.Unlock()
				continue
			}
			far, err := net.Dial("tcp", g.target)
			if err != nil {
				near.Close()
				continue
			}
			g.mu.Lock()
			open := g.listener == l
			g.conns[near], g.conns[far] = true, true
			g.mu.Unlock()
			if !open {
				near.Close()
				far.Close()
			}
			for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
				g.done.Go(func() {
					_, _ = io.Copy(way[0], way[1])
					way[0].Close()
					way[1].Close()
					g.mu.Lock()
					delete(g.conns, way[0])
					g.mu.Unlock()
				})
			}
		}
	})
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.listener != nil {
		g.listener.Close()
		g.listener = nil
	}
	g.drop()
}

// silence ends what was not answered, so that the next connection is.
func (g *gate) silence(on bool) {
	if g.silent.Swap(on) && !on {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.drop()
	}
}

func (g *gate) drop() {
	for c := range g.conns {
		c.Close()
	}
}

// startMosquitto gives its address.
func startMosquitto(t *testing.T) string {
	t.Helper()
	address := reserve(t)
	conf := filepath.Join(t.TempDir(), "mosquitto.conf")
	write(t, conf, fmt.Sprintf("listener %s 127.0.0.1\nallow_anonymous true\npersistence false\nuser root\nlog_type error\n", address[strings.LastIndexByte(address, ':')+1:]))
	cmd := exec.Command("mosquitto", "-c", conf)
	if err := cmd.Start(); err != nil {
		t.Fatalf("mosquitto: %v: run make peers", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_, _ = cmd.Process.Wait()
	})
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			return address
		}
		if time.Now().After(deadline) {
			t.Fatal("mosquitto does not listen")
		}
	}
}
