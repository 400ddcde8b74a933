// Package influxtest runs a real InfluxDB 1.8 for tests.
//
// In: the binary .ci/bin/influxd under the module's root, or influxd in the PATH, or else its
// source, which is built into .ci/bin. Out: a server of its own on a free loopback port, with
// authentication on and an empty database.
// It promises that the server ends with the test, and that Stop and Restart keep its data and its
// address.
// It is no part of the product.
package influxtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"steelyard/internal/port"
)

const (
	source   = "github.com/influxdata/influxdb/cmd/influxd@v1.8.10"
	version  = "1.8.10"
	user     = "steelyard"
	password = "for-tests-only"
	database = "steelyard"
)

// Server is one running InfluxDB.
type Server struct {
	URL    string
	Token  string
	Org    string
	Bucket string // "database/retention-policy"

	t      testing.TB
	binary string
	config string
	log    string        // path of the server's own log
	ended  chan struct{} // closed when the process has ended
	pid    *os.Process
}

// Start runs a server with a user until the test ends.
func Start(t testing.TB) *Server { return start(t, true) }

// StartOpen runs a server as it comes, without users, until the test ends.
func StartOpen(t testing.TB) *Server { return start(t, false) }

func start(t testing.TB, users bool) *Server {
	t.Helper()
	dir := t.TempDir()
	s := &Server{t: t, Token: user + ":" + password, Bucket: database + "/autogen",
		binary: influxd(t), config: filepath.Join(dir, "influxdb.conf"), log: filepath.Join(dir, "influxd.log")}
	at, err := port.Reserve() // also while the server is stopped
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := at.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(s.Stop)
	s.URL = "http://" + at.Address()
	if err := os.WriteFile(s.config, configuration(dir, at.Number(), users), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
	if users {
		s.Query("CREATE USER " + user + " WITH PASSWORD '" + password + "' WITH ALL PRIVILEGES")
	} else {
		s.Token = ""
	}
	s.Query("CREATE DATABASE " + database)
	return s
}

func configuration(dir string, port int, users bool) []byte {
	return fmt.Appendf(nil, `reporting-disabled = true
bind-address = "127.0.0.1:0"
[meta]
  dir = %q
  logging-enabled = false
[data]
  dir = %q
  wal-dir = %q
  index-version = "tsi1"
  query-log-enabled = false
[http]
  enabled = true
  bind-address = "127.0.0.1:%d"
  auth-enabled = %t
  flux-enabled = true
  log-enabled = false
[monitor]
  store-enabled = false
[continuous_queries]
  enabled = false
`, filepath.Join(dir, "meta"), filepath.Join(dir, "data"), filepath.Join(dir, "wal"), port, users)
}

// start runs the process and waits until it answers.
func (s *Server) start() error {
	output, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	cmd := exec.Command(s.binary, "-config", s.config)
	cmd.Stdout, cmd.Stderr = output, output
	dieWithParent(cmd)
	started, ended := make(chan error), make(chan struct{})
	go func() {
		// The kernel ends the child when the thread that made it ends, so the thread stays; also
		// afterwards, for it may be the one that has made another child before.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(ended)
		err := cmd.Start()
		started <- err
		if err == nil {
			cmd.Wait() // how it ends is the test's doing
		}
		output.Close()
	}()
	if err := <-started; err != nil {
		<-ended
		return err
	}
	s.pid, s.ended = cmd.Process, ended
	deadline := time.Now().Add(60 * time.Second)
	for {
		resp, err := http.Get(s.URL + "/ping")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusNoContent {
				return nil
			}
		}
		select {
		case <-ended:
			return fmt.Errorf("influxd ended at its start: %s", s.tail())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			s.Stop()
			return fmt.Errorf("influxd does not answer: %v: %s", err, s.tail())
		}
	}
}

func (s *Server) tail() string {
	log, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	return string(log[max(0, len(log)-2000):])
}

// Pid is the number of the process.
func (s *Server) Pid() int { return s.pid.Pid }

// Stop ends the process, in good order if it does so within 20 s. Its data stays.
func (s *Server) Stop() {
	if s.pid == nil {
		return
	}
	if err := s.pid.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Errorf("stop influxd: %v", err)
	}
	select {
	case <-s.ended:
	case <-time.After(20 * time.Second):
		s.kill()
	}
	s.pid = nil
}

// Kill ends the process as a power cut would, as far as a process can tell.
func (s *Server) Kill() {
	if s.pid != nil {
		s.kill()
		s.pid = nil
	}
}

func (s *Server) kill() {
	if err := s.pid.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Errorf("kill influxd: %v", err)
	}
	<-s.ended
}

// Restart runs it again at the same address with the same data.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	if err := s.start(); err != nil {
		s.t.Fatal(err)
	}
}

// Query puts an InfluxQL statement and returns the answer's JSON.
func (s *Server) Query(statement string) string {
	s.t.Helper()
	return s.post("/query?"+url.Values{"db": {database}, "epoch": {"ns"}}.Encode(), "application/x-www-form-urlencoded",
		strings.NewReader(url.Values{"q": {statement}}.Encode()))
}

// Flux puts a Flux query and returns the answer's CSV.
func (s *Server) Flux(query string) string {
	s.t.Helper()
	return s.post("/api/v2/query", "application/vnd.flux", strings.NewReader(query))
}

// Write puts lines of the line protocol past the product.
func (s *Server) Write(lines string) {
	s.t.Helper()
	s.post("/write?db="+database, "text/plain", strings.NewReader(lines))
}

func (s *Server) post(path, kind string, body io.Reader) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	req.SetBasicAuth(user, password)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	if resp.StatusCode/100 != 2 || bytes.Contains(answer, []byte(`"error"`)) {
		s.t.Fatalf("influxd answers %s: %s", resp.Status, answer)
	}
	return string(answer)
}

// influxd finds the binary, or builds it.
func influxd(t testing.TB) string {
	t.Helper()
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			break
		}
		if root == filepath.Dir(root) {
			t.Fatal("influxd: no go.mod above the test's directory")
		}
		root = filepath.Dir(root)
	}
	bin := filepath.Join(root, ".ci", "bin")
	path := filepath.Join(bin, "influxd")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	if path, err := exec.LookPath("influxd"); err == nil {
		return path
	}
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	// Several test processes may build at once: each in its own place, the last rename wins.
	own, err := os.MkdirTemp(bin, "building-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(own)
	cmd := exec.Command("go", "install", "-ldflags", "-s -w -X main.version="+version, source)
	cmd.Dir = own
	cmd.Env = append(os.Environ(), "GOBIN="+own, "GOFLAGS=", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build influxd %s: %v: %s", version, err, out)
	}
	if err := os.Rename(filepath.Join(own, "influxd"), path); err != nil {
		t.Fatal(err)
	}
	return path
}
