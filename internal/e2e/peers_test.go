package e2e_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"steelyard/internal/port"
)

// freePort gives a port that is the test's until its end.
func freePort(t testing.TB) int {
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
	return p.Number()
}

// mosquitto is a real broker that keeps little and forgets all when it is killed.
type mosquitto struct {
	port int
	conf string
	cmd  *exec.Cmd
}

// startMosquitto starts one; lines of its configuration replace those for a short queue.
func startMosquitto(t testing.TB, lines ...string) *mosquitto {
	t.Helper()
	dir := t.TempDir()
	m := &mosquitto{port: freePort(t), conf: filepath.Join(dir, "mosquitto.conf")}
	// A short queue overflows soon: what is acknowledged and then dropped must not be missed.
	if len(lines) == 0 {
		lines = []string{"max_queued_messages 20", "max_inflight_messages 5"}
	}
	conf := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\npersistence false\nuser root\nlog_type error\n%s\n", m.port, strings.Join(lines, "\n"))
	if err := os.WriteFile(m.conf, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	m.start(t)
	t.Cleanup(func() {
		if err := m.cmd.Process.Kill(); err == nil {
			_, _ = m.cmd.Process.Wait()
		}
	})
	return m
}

func (m *mosquitto) start(t testing.TB) {
	t.Helper()
	m.cmd = exec.Command("mosquitto", "-c", m.conf)
	if err := m.cmd.Start(); err != nil {
		t.Fatalf("mosquitto: %v: run make peers", err)
	}
	eventually(t, "mosquitto listens", func() bool {
		c, err := net.Dial("tcp", m.address())
		return err == nil && c.Close() == nil
	})
}

func (m *mosquitto) address() string { return fmt.Sprintf("127.0.0.1:%d", m.port) }
func (m *mosquitto) url() string     { return "tcp://" + m.address() }

// killAndForget is a crash of the broker's machine: SIGKILL, and nothing was persisted.
func (m *mosquitto) killAndForget(t testing.TB) {
	t.Helper()
	if err := m.cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_, _ = m.cmd.Process.Wait()
	m.start(t)
}

// link is a cable between a site and the broker that can be cut without either end being told.
type link struct {
	listener  net.Listener
	target    string
	hole      atomic.Bool
	swallowed atomic.Int64
	done      sync.WaitGroup
}

func openLink(t testing.TB, target string) *link {
	t.Helper()
	l := &link{target: target}
	var err error
	if l.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	keep := func(c net.Conn) {
		mu.Lock()
		defer mu.Unlock()
		open[c] = true
	}
	l.done.Go(func() {
		for {
			near, err := l.listener.Accept()
			if err != nil {
				return
			}
			keep(near)
			far, err := net.Dial("tcp", l.target)
			if err != nil {
				near.Close()
				continue
			}
			keep(far)
			l.done.Go(func() { l.carry(far, near) })
			l.done.Go(func() { l.carry(near, far) })
		}
	})
	t.Cleanup(func() {
		l.listener.Close()
		mu.Lock()
		for c := range open {
			c.Close()
		}
		mu.Unlock()
		l.done.Wait()
	})
	return l
}

func (l *link) address() string { return l.listener.Addr().String() }

// blackHole cuts the cable: bytes go in and none comes out, on open and new connections.
func (l *link) blackHole(on bool) { l.hole.Store(on) }

func (l *link) carry(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	cut := false
	for {
		n, err := from.Read(buf)
		if l.hole.Load() {
			cut = true
		}
		if cut { // bytes that were swallowed are gone: this connection is of no use any more
			l.swallowed.Add(int64(n))
			if err != nil {
				return
			}
			if !l.hole.Load() {
				return
			}
			continue
		}
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			if err != io.EOF {
				return
			}
			return
		}
	}
}
