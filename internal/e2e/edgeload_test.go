package e2e_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"steelyard/cloud/demo"
	"steelyard/internal/mqtt"
	"steelyard/internal/wire"
)

const (
	loadMachines  = 40
	loadRegisters = 60
	loadLasts     = 6 * time.Second // each case is measured so long, and each peer
)

// loadPlant are machines on Modbus TCP. While restless, each register holds the time of the reply in
// ms and something of its own, modulo 65536: all change at each poll, and the first says how old it is.
type loadPlant struct {
	addresses []string
	restless  bool
	polls     atomic.Int64
}

func startLoadPlant(b testing.TB, restless bool) *loadPlant {
	b.Helper()
	p := &loadPlant{restless: restless}
	for range loadMachines {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { l.Close() })
		p.addresses = append(p.addresses, l.Addr().String())
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				go p.serve(conn)
			}
		}()
	}
	return p
}

func (p *loadPlant) serve(conn net.Conn) {
	defer conn.Close()
	request := make([]byte, 12)
	for {
		if _, err := io.ReadFull(conn, request); err != nil {
			return
		}
		count := int(binary.BigEndian.Uint16(request[10:]))
		value := uint16(4711)
		if p.restless {
			value = uint16(time.Now().UnixMilli())
		}
		reply := append(slices.Clone(request[:4]), byte((3+2*count)>>8), byte(3+2*count), request[6], request[7], byte(2*count))
		for range count {
			reply = binary.BigEndian.AppendUint16(reply, value)
			value += 7919 // or the registers would all say the same, and compress to nothing
		}
		p.polls.Add(1)
		if _, err := conn.Write(reply); err != nil {
			return
		}
	}
}

// meter is a cable that counts what goes to the broker.
func meter(b testing.TB, to string) (address string, bytes *atomic.Int64) {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	bytes = new(atomic.Int64)
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				continue
			}
			go func() { defer near.Close(); _, _ = io.Copy(near, far) }()
			go func() { defer far.Close(); _, _ = io.Copy(countingWriter{far, bytes}, near) }()
		}
	}()
	return l.Addr().String(), bytes
}

type countingWriter struct {
	io.Writer
	n *atomic.Int64
}

func (c countingWriter) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return c.Writer.Write(p)
}

// loadEdge starts an edge process that polls the plant and a city that takes what it sends.
func loadEdge(b testing.TB, p *loadPlant, every time.Duration) (pid int, bytes *atomic.Int64, city *crowd) {
	b.Helper()
	city = gather(b, 1, "", 0)
	m := city.members[0]
	address, bytes := meter(b, city.broker)
	dir := b.TempDir()
	must := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(dir, "data"), 0o700))
	must(os.WriteFile(filepath.Join(dir, "data", "edge.key"), []byte(m.key.Text()), 0o600))
	must(os.Mkdir(filepath.Join(dir, "models"), 0o700))
	profile := fmt.Sprintf("profile: load\nmaker: any\nmodel: %d registers\nstatus: manual\nsources: [{doc: \"this benchmark\"}]\ntransport: {unit: 1, port: 502}\naddress_base: 0\npoints:\n", loadRegisters)
	for r := range loadRegisters {
		profile += fmt.Sprintf("  - {name: r%d, at: %d, type: u16}\n", r, r)
	}
	profile += fmt.Sprintf("tests:\n  - request: \"01 03 00 00 00 %02X\"\n    reply: \"01 03 %02X%s\"\n    expect: {", loadRegisters, 2*loadRegisters, strings.Repeat(" 00 07", loadRegisters))
	for r := range loadRegisters {
		profile += fmt.Sprintf("r%d: 7, ", r)
	}
	profile = strings.TrimSuffix(profile, ", ") + "}\n"
	must(os.WriteFile(filepath.Join(dir, "models", "load.yaml"), []byte(profile), 0o600))
	var text strings.Builder
	fmt.Fprintf(&text, "site: %s\ndata: %s\nlisten: 127.0.0.1:0\nprofiles: models\ncloud: {broker: \"tcp://%s\", key: \"%s\"}\nbuses:\n", m.site, filepath.Join(dir, "data"), address, city.cloud)
	for i, a := range p.addresses {
		fmt.Fprintf(&text, "  - {link: \"tcp://%s\", machines: [{device: m-%d, profile: load, unit: 1, every: %s}]}\n", a, i, every)
	}
	file := filepath.Join(dir, "edge.yaml")
	must(os.WriteFile(file, []byte(text.String()), 0o600))
	cmd := command(b, "")(demo.EdgeRole, file)
	var said strings.Builder
	cmd.Stderr = &said
	must(cmd.Start())
	b.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		if err := cmd.Wait(); err != nil || b.Failed() {
			b.Logf("edge: %v\n%s", err, said.String())
		}
	})
	begun := time.Now()
	for p.polls.Load() < 3*loadMachines {
		if time.Since(begun) > 20*time.Second {
			b.Fatalf("the edge does not poll:\n%s", said.String())
		}
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(2 * time.Second) // the first pictures are sent, and every tag is written once
	return cmd.Process.Pid, bytes, city
}

// TestSiteOfManyValuesIsShown: 40 machines of 60 registers are 2,400 live values. All are shown, and
// as live while somebody looks; when the edge is gone none is.
func TestSiteOfManyValuesIsShown(t *testing.T) {
	pid, _, city := loadEdge(t, startLoadPlant(t, true), time.Second)
	shown := func() (all, live int) {
		response, err := http.Get("http://" + city.pages + "/api/live")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		var list struct {
			Values []struct{ Live bool }
		}
		if err := json.NewDecoder(response.Body).Decode(&list); err != nil {
			t.Fatal(err)
		}
		for _, v := range list.Values {
			if v.Live {
				live++
			}
		}
		return len(list.Values), live
	}
	const want = loadMachines * loadRegisters
	eventually(t, "all values are shown as live", func() bool {
		all, live := shown()
		return all == want && live == want
	})
	edge, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := edge.Signal(syscall.SIGSTOP); err != nil { // its connection stands, and nothing comes
		t.Fatal(err)
	}
	defer func() { _ = edge.Signal(syscall.SIGCONT) }()
	eventually(t, "values of an edge that says nothing are stale", func() bool {
		all, live := shown()
		return all == want && live == 0
	})
}

// watcher looks at the site as the city's pages do, and takes how old a change is when it is there.
type watcher struct {
	mu      sync.Mutex // guards the fields below
	picture int        // bytes of the last picture
	ways    []time.Duration
}

func (w *watcher) message(m mqtt.Message) {
	now := time.Now().UnixMilli()
	l, err := wire.DecodeLive(m.Payload)
	if err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if l.Picture == l.N {
		w.picture = 0
	}
	if l.Of > 0 {
		w.picture += len(m.Payload)
	}
	for _, c := range l.Changes {
		if c.I%loadRegisters != 0 {
			continue
		}
		if n, err := strconv.ParseUint(c.Value, 10, 16); err == nil {
			w.ways = append(w.ways, time.Duration(uint16(now)-uint16(n))*time.Millisecond)
		}
	}
}

// watch asks for every change until the benchmark ends.
func (w *watcher) watch(b *testing.B, c *crowd) {
	b.Helper()
	ready := make(chan struct{})
	once := sync.OnceFunc(func() { close(ready) })
	c.working.Go(func() {
		_ = mqtt.Run(b.Context(), mqtt.Options{URL: "tcp://" + c.broker, Client: "watcher"}, watching(w, c.members[0].site, once))
	})
	<-ready
	time.Sleep(time.Second)
}

// BenchmarkEdgeLoad is an edge process with 40 machines of 60 registers, journal, signatures and all,
// and a city that receipts. With STEELYARD_TELEGRAF naming a Telegraf binary, that polls the same
// machines afterwards and publishes to the same broker, and the ratios stand beside the figures.
//
//	CPU-ms/1000registers  processor time of the edge process
//	B/poll                from the edge to the broker, all protocols' headers but TCP's included, and a
//	                      share of the picture that is sent each minute
//	disk-KiB/s            written by the edge process, before any thinning
//	watched-…             the same while somebody looks at the site
//	change-p50-ms, -p99   a changed register, from the reply to the message of its change in the city
func BenchmarkEdgeLoad(b *testing.B) {
	for _, every := range []time.Duration{100 * time.Millisecond, time.Second} {
		for _, restless := range []bool{false, true} {
			name := map[bool]string{false: "steady", true: "all-change"}[restless]
			b.Run(fmt.Sprintf("%v/%s", every, name), func(b *testing.B) {
				for b.Loop() {
					loadOnce(b, every, restless)
				}
			})
		}
	}
}

func loadOnce(b *testing.B, every time.Duration, restless bool) {
	p := startLoadPlant(b, restless)
	pid, bytes, city := loadEdge(b, p, every)
	measure := func() (cpu, perPoll, disk float64) {
		polls, sent, used, written, began := p.polls.Load(), bytes.Load(), cpuExactly(b, pid), writtenBytes(b, pid), time.Now()
		time.Sleep(loadLasts)
		n := float64(p.polls.Load() - polls)
		return float64((cpuExactly(b, pid) - used).Microseconds()) / n / loadRegisters, float64(bytes.Load()-sent) / n,
			float64(writtenBytes(b, pid)-written) / 1024 / time.Since(began).Seconds()
	}
	cpu, perPoll, disk := measure()
	w := new(watcher)
	w.watch(b, city)
	watchedCPU, watchedBytes, _ := measure()
	b.ReportMetric(watchedCPU, "watched-CPU-ms/1000registers")
	b.ReportMetric(watchedBytes, "watched-B/poll")
	w.mu.Lock()
	perPoll += float64(w.picture) / (float64(loadMachines) * float64(time.Minute/every))
	b.ReportMetric(cpu, "CPU-ms/1000registers")
	b.ReportMetric(perPoll, "B/poll")
	b.ReportMetric(disk, "disk-KiB/s")
	if slices.Sort(w.ways); restless && len(w.ways) > 0 {
		b.ReportMetric(float64(w.ways[len(w.ways)/2].Milliseconds()), "change-p50-ms")
		b.ReportMetric(float64(w.ways[len(w.ways)*99/100].Milliseconds()), "change-p99-ms")
	}
	w.mu.Unlock()
	b.ReportMetric(0, "ns/op")
	if program := os.Getenv("STEELYARD_TELEGRAF"); program != "" {
		peerCPU, peerBytes := loadTelegraf(b, program, p, every, city.broker)
		b.ReportMetric(peerCPU, "telegraf-CPU-ms/1000registers")
		b.ReportMetric(peerBytes, "telegraf-B/poll")
		b.ReportMetric(cpu/peerCPU, "CPU×telegraf")
		b.ReportMetric(perPoll/peerBytes, "bytes×telegraf")
	}
}

// loadTelegraf lets Telegraf poll machines of its own kind.
func loadTelegraf(b *testing.B, program string, like *loadPlant, every time.Duration, broker string) (cpu, perPoll float64) {
	p := startLoadPlant(b, like.restless)
	address, bytes := meter(b, broker)
	var text strings.Builder
	fmt.Fprintf(&text, "[agent]\ninterval = \"%s\"\nflush_interval = \"%[1]s\"\nomit_hostname = true\nquiet = true\n[[outputs.mqtt]]\nservers = [\"tcp://%s\"]\ntopic = \"steelyard/v1/telegraf/status\"\nqos = 1\ndata_format = \"influx\"\n", every, address)
	for _, a := range p.addresses {
		fmt.Fprintf(&text, "[[inputs.modbus]]\nname = \"m\"\nslave_id = 1\ntimeout = \"1s\"\ncontroller = \"tcp://%s\"\nholding_registers = [\n", a)
		for r := range loadRegisters {
			fmt.Fprintf(&text, "{name = \"r%d\", byte_order = \"AB\", data_type = \"UINT16\", scale = 1.0, address = [%d]},\n", r, r)
		}
		text.WriteString("]\n")
	}
	config := filepath.Join(b.TempDir(), "telegraf.conf")
	if err := os.WriteFile(config, []byte(text.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(program, "--config", config)
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	for begun := time.Now(); p.polls.Load() < 3*loadMachines && time.Since(begun) < 20*time.Second; {
		time.Sleep(10 * time.Millisecond)
	}
	polls, sent, used := p.polls.Load(), bytes.Load(), cpuExactly(b, cmd.Process.Pid)
	time.Sleep(loadLasts)
	n := float64(p.polls.Load() - polls)
	cpu, perPoll = float64((cpuExactly(b, cmd.Process.Pid)-used).Microseconds())/n/loadRegisters, float64(bytes.Load()-sent)/n
	_ = cmd.Process.Signal(os.Interrupt)
	if err := cmd.Wait(); err != nil || n == 0 || perPoll == 0 {
		b.Errorf("telegraf: %v, %g polls\n%s", err, n, said.String())
	}
	return cpu, perPoll
}

// cpuExactly is the processor time of all threads by schedstat of proc(5), in nanoseconds: a tick of
// cpuTime is as much as an edge needs in a second.
func cpuExactly(b *testing.B, pid int) (used time.Duration) {
	b.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(files) == 0 {
		b.Fatalf("schedstat of %d: %v", pid, err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			continue // a thread that has ended
		}
		first, _, _ := strings.Cut(string(data), " ")
		ns, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		used += time.Duration(ns)
	}
	return used
}

// watching is the session of a watcher.
func watching(w *watcher, site string, ready func()) func(context.Context, *mqtt.Session) error {
	return func(ctx context.Context, s *mqtt.Session) error {
		if err := s.Subscribe(ctx, wire.LiveTopic(site), 0, w.message); err != nil {
			return err
		}
		for {
			r := wire.Request{Stream: wire.LiveValues, Why: wire.WhyWatch}
			if err := s.Publish(ctx, mqtt.Message{Topic: wire.RequestTopic(site), Payload: r.Encode(), QoS: 1}); err != nil {
				return err
			}
			ready()
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(wire.WatchFor / 3):
			}
		}
	}
}
