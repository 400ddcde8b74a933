package mqtt_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"steelyard/cloud/broker"
	"steelyard/internal/mqtt"
	"steelyard/internal/port"
)

// limit bounds everything that a test waits for. Nothing is expected to take that long.
const limit = time.Minute

// server is a broker that can be killed and started again on its port.
type server interface {
	start(t testing.TB)
	kill(t testing.TB)
}

// brokers are the embedded broker and mosquitto, each with the account north, which may use
// steelyard/v1/north-1/ but not read anybody's records.
func brokers(t testing.TB) map[string]func(port string) server {
	return map[string]func(string) server{
		"embedded":  func(port string) server { return &embedded{port: port} },
		"mosquitto": func(port string) server { return &mosquitto{port: port, dir: t.TempDir()} },
	}
}

type embedded struct {
	port  string
	b     *broker.Broker
	ended chan error
}

func (e *embedded) start(t testing.TB) {
	t.Helper()
	b, err := broker.Open(broker.Config{Listen: "127.0.0.1:" + e.port, Accounts: []broker.Account{
		{Name: "north", Password: "n-secret", Role: broker.Site, Site: "north-1"},
		{Name: "cloud", Password: "c-secret", Role: broker.Cloud},
	}})
	if err != nil {
		t.Fatal(err)
	}
	e.b, e.ended = b, make(chan error, 1)
	go func() { e.ended <- b.Run(context.Background()) }()
}

func (e *embedded) kill(t testing.TB) {
	t.Helper()
	e.b.Close()
	if err := <-e.ended; err != nil {
		t.Error(err)
	}
}

type mosquitto struct {
	port, dir string
	cmd       *exec.Cmd
	out       bytes.Buffer
}

func (m *mosquitto) start(t testing.TB) {
	t.Helper()
	passwords, acl, conf := filepath.Join(m.dir, "passwords"), filepath.Join(m.dir, "acl"), filepath.Join(m.dir, "conf")
	must(t, os.WriteFile(passwords, []byte("north:n-secret\ncloud:c-secret\n"), 0o600))
	if out, err := exec.Command("mosquitto_passwd", "-U", passwords).CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_passwd: %v: %s", err, out)
	}
	must(t, os.WriteFile(acl, []byte("user north\ntopic write steelyard/v1/north-1/#\ntopic read steelyard/v1/north-1/receipt/+\nuser cloud\ntopic readwrite steelyard/v1/#\n"), 0o600))
	must(t, os.WriteFile(conf, fmt.Appendf(nil, "listener %s 127.0.0.1\nallow_anonymous false\npassword_file %s\nacl_file %s\nuser %s\n", m.port, passwords, acl, owner()), 0o600))
	m.cmd = exec.Command("mosquitto", "-c", conf)
	m.cmd.Stderr = &m.out
	must(t, m.cmd.Start())
}

// owner keeps mosquitto from dropping to an account that can't read the files of the test.
func owner() string {
	if os.Getuid() == 0 {
		return "root"
	}
	return ""
}

func (m *mosquitto) kill(t testing.TB) {
	t.Helper()
	must(t, m.cmd.Process.Kill())
	_ = m.cmd.Wait() // ends with "signal: killed"
	if t.Failed() {
		t.Logf("mosquitto said: %s", m.out.String())
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// freePort returns a port that is this test's until its end, for a broker that comes and goes.
func freePort(t testing.TB) string {
	t.Helper()
	p, err := port.Reserve()
	must(t, err)
	t.Cleanup(func() { must(t, p.Close()) })
	return strconv.Itoa(p.Number())
}

// quick are options for a broker on a port, with short pauses.
func quick(t testing.TB, port string) mqtt.Options {
	return mqtt.Options{
		URL:        "tcp://127.0.0.1:" + port,
		Client:     "test",
		MinBackoff: 10 * time.Millisecond,
		MaxBackoff: 100 * time.Millisecond,
		Log:        slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
}

// run runs sessions until the test ends.
func run(t testing.TB, o mqtt.Options, session func(context.Context, *mqtt.Session) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		if err := mqtt.Run(ctx, o, session); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); done.Wait() })
}

// within waits for a value.
func within[T any](t testing.TB, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(limit):
		t.Fatalf("%s: nothing after %v", what, limit)
		panic("unreachable")
	}
}

// rogue is a peer that behaves as a test wants: it answers CONNECT and then runs the script, once
// per connection. It listens until the test ends.
func rogue(t testing.TB, script func(net.Conn)) (port string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var served sync.WaitGroup
	served.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			served.Go(func() {
				defer conn.Close()
				_ = conn.SetReadDeadline(time.Now().Add(limit))
				if _, err := packet(conn); err == nil {
					script(conn)
				}
			})
		}
	})
	t.Cleanup(func() { l.Close(); served.Wait() })
	_, port, err = net.SplitHostPort(l.Addr().String())
	must(t, err)
	return port
}

// accepted is the CONNACK of a broker that is content.
const accepted = "\x20\x02\x00\x00"

// packet reads one MQTT packet and returns its first byte and content.
func packet(r io.Reader) (whole []byte, err error) {
	head := make([]byte, 1)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	size := 0
	for shift := 0; shift <= 21; shift += 7 {
		c := make([]byte, 1)
		if _, err := io.ReadFull(r, c); err != nil {
			return nil, err
		}
		size |= int(c[0]&0x7f) << shift
		if c[0] < 0x80 {
			break
		}
	}
	body := make([]byte, size)
	_, err = io.ReadFull(r, body)
	return append(head, body...), err
}
