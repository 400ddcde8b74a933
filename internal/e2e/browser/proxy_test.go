package browser_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"steelyard/firmware-bridge/device"
	"steelyard/internal/e2e/browser"
	"steelyard/internal/page"
	"steelyard/internal/port"
)

// proxy runs nginx or haproxy with a configuration of its own until the end of the test. In the
// configuration PORT is where it listens, UPSTREAM what it asks, and DIR a folder.
func proxy(t *testing.T, kind, text, upstream string) (address string) {
	t.Helper()
	program, err := exec.LookPath(kind)
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/" + kind); err != nil {
			t.Fatalf("%v: run make peers", err)
		}
	}
	at, err := port.Reserve()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = at.Close() })
	dir := t.TempDir()
	write(t, filepath.Join(dir, "pair.pem"), selfSigned(t))
	write(t, filepath.Join(dir, "users"), "office:{PLAIN}change-me\n")
	text = strings.NewReplacer("PORT", at.Address(), "UPSTREAM", strings.TrimPrefix(upstream, "http://"), "DIR", dir).Replace(text)
	file := filepath.Join(dir, "conf")
	write(t, file, text)
	args := []string{"-f", file, "-db"}
	if kind == "nginx" {
		args = []string{"-c", file, "-p", dir, "-e", filepath.Join(dir, "error.log")}
	}
	cmd := exec.Command(program, args...)
	said := new(strings.Builder)
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
	})
	for {
		c, err := net.Dial("tcp", at.Address())
		if err == nil {
			c.Close()
			return at.Address()
		}
		select {
		case <-ended:
			t.Fatalf("%s ended: %s\n%s", kind, said, text)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// selfSigned is a certificate and its key.
func selfSigned(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"steelyard.example.org"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})) + string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
}

// nginxAround puts servers into a configuration that needs no folder of the system; all else are
// nginx's defaults.
func nginxAround(servers string) string {
	return `daemon off; user root; pid DIR/pid; worker_processes 1; events {}
http { access_log off; client_body_temp_path DIR/b; proxy_temp_path DIR/p; fastcgi_temp_path DIR/f; uwsgi_temp_path DIR/u; scgi_temp_path DIR/s;
` + servers + "\n}\n"
}

var (
	nginxDefaults   = nginxAround("server { listen PORT; location / { proxy_pass http://UPSTREAM; } }")
	haproxyDefaults = "defaults\n mode http\n timeout client 30s\n timeout server 30s\n timeout connect 5s\nfrontend f\n bind PORT\n default_backend b\nbackend b\n server s UPSTREAM\n"
)

// manual gives an example of docs/operations.md for this machine's files and ports.
func manual(t *testing.T, language string) string {
	t.Helper()
	found := regexp.MustCompile("(?s)```" + language + "\n(.*?)```").FindStringSubmatch(source(t, root+"docs/operations.md"))
	if found == nil {
		t.Fatalf("docs/operations.md has no example for %s", language)
	}
	return strings.NewReplacer("listen 443", "listen PORT", "bind :443", "bind PORT", "127.0.0.1:8080", "UPSTREAM", "/etc/nginx/steelyard.users", "DIR/users",
		"/etc/ssl/steelyard.pem", "DIR/pair.pem", "/etc/ssl/steelyard.key", "DIR/pair.pem", "/etc/haproxy/steelyard.pem", "DIR/pair.pem").Replace(found[1])
}

// guarded is a small service with a feed and an act, that knows one name. Its feed says something
// when it is asked to.
func guarded(t *testing.T, buffered bool) (url string, feed *page.Feed) {
	t.Helper()
	feed = page.NewFeed()
	mux := http.NewServeMux()
	mux.Handle("GET /api/events", feed)
	mux.Handle("POST /api/act", page.JSON(slog.New(slog.DiscardHandler), func(*http.Request) (int, any, error) { return http.StatusOK, "done", nil }))
	handler := page.Secure(mux, []string{"steelyard.example.org"})
	return serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if buffered {
			w = withhold{w}
		}
		handler.ServeHTTP(w, r)
	}), nil), feed
}

// withhold is an answer that does not ask a proxy for no buffering.
type withhold struct{ http.ResponseWriter }

func (w withhold) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w withhold) Write(b []byte) (int, error) {
	w.Header().Del("X-Accel-Buffering")
	return w.ResponseWriter.Write(b)
}

// Through a proxy with its defaults, or as the manual says, events come when they are said and the
// page's own acts are done; what a proxy lacks is told (F11).
func TestBehindProxies(t *testing.T) {
	t.Parallel()
	const name = "steelyard.example.org"
	for _, tc := range []struct {
		name, kind, text string
		scheme           string
		act              map[string]string // origin without port → code of the problem, or empty
	}{
		{"nginx", "nginx", nginxDefaults, "http", map[string]string{"127.0.0.1": "unlisted-origin", "evil.example": "unlisted-origin", name: ""}},
		{"nginx by the manual", "nginx", nginxAround(manual(t, "nginx")), "https", map[string]string{name: "", "evil.example": "unlisted-origin"}},
		{"haproxy", "haproxy", haproxyDefaults, "http", map[string]string{"127.0.0.1": "", name: "", "evil.example": "wrong-host"}},
		{"haproxy by the manual", "haproxy", manual(t, "haproxy"), "https", map[string]string{name: "", "evil.example": "unlisted-origin"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			upstream, feed := guarded(t, false)
			at := proxy(t, tc.kind, tc.text, upstream)
			_, number, err := net.SplitHostPort(at)
			if err != nil {
				t.Fatal(err)
			}
			client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // the test's own certificate
				DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
					return new(net.Dialer).DialContext(ctx, network, at)
				}}}
			t.Cleanup(client.CloseIdleConnections)
			ask := func(method, host, path, origin string) *http.Response {
				t.Helper()
				r, err := http.NewRequestWithContext(t.Context(), method, tc.scheme+"://"+host+":"+number+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				if origin != "" {
					r.Header.Set("Origin", tc.scheme+"://"+origin+":"+number)
				}
				if tc.scheme == "https" {
					r.SetBasicAuth("office", "change-me")
				}
				res, err := client.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { res.Body.Close() })
				return res
			}

			events := ask("GET", name, "/api/events", "")
			if events.StatusCode != http.StatusOK {
				t.Fatalf("events: %s", events.Status)
			}
			if err := feed.Await(t.Context()); err != nil {
				t.Fatal(err)
			}
			for lines, said := bufio.NewScanner(events.Body), 0; said < 5; said++ {
				feed.Publish() // the next only when this one has come
				for lines.Scan() && lines.Text() != "event: tick" {
				}
				if lines.Err() != nil {
					t.Fatal(lines.Err())
				}
			}

			for from, code := range tc.act {
				// A page's own acts go to the name it was loaded from; a proxy of one name is asked for that.
				host := from
				if tc.scheme == "https" {
					host = name
				}
				res := ask("POST", host, "/api/act", from)
				body, err := io.ReadAll(res.Body)
				if err != nil {
					t.Fatal(err)
				}
				if code == "" && res.StatusCode != http.StatusOK || code != "" && !strings.Contains(string(body), `"`+code+`"`) {
					t.Errorf("an act from a page of %s: %d %s, want %q", from, res.StatusCode, body, code)
				}
			}
			if tc.scheme == "https" {
				if res := ask("GET", "evil.example", "/", ""); res.StatusCode != http.StatusMisdirectedRequest {
					t.Errorf("another name: %d", res.StatusCode)
				}
				r, err := client.Get("https://" + name + ":" + number + "/")
				if err != nil {
					t.Fatal(err)
				}
				r.Body.Close()
				if r.StatusCode != http.StatusUnauthorized {
					t.Errorf("without a login: %d", r.StatusCode)
				}
			}
		})
	}
}

// nginx holds back what does not ask for the contrary: without the header nothing comes until the
// stream ends.
func TestNginxHoldsBackWithoutTheHeader(t *testing.T) {
	t.Parallel()
	upstream, feed := guarded(t, true)
	at := proxy(t, "nginx", nginxDefaults, upstream)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", "http://"+at+"/api/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	came := make(chan struct{})
	go func() {
		defer close(came)
		res, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			return
		}
		defer res.Body.Close()
		_, _ = res.Body.Read(make([]byte, 1))
	}()
	if err := feed.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		feed.Publish()
		select {
		case <-came:
			t.Fatal("an event came at once: the test of the header proves nothing")
		case <-time.After(50 * time.Millisecond):
		}
	}
	cancel()
	<-came
}

// People see the city live and weigh in through proxies with their defaults.
func TestPagesBehindProxies(t *testing.T) {
	t.Parallel()
	for kind, text := range map[string]string{"nginx": nginxDefaults, "haproxy": haproxyDefaults} {
		t.Run(kind, func(t *testing.T) {
			yard, edge := openYard(t, "weighbridge-1")
			yard.show("weighbridge-1", 20_000, device.Yes)
			at := proxy(t, kind, text, edge)
			// A name in the site's network: no secure context, and its browser says nothing but Origin.
			p := browser.Open(t, strings.Replace("http://"+at+"/", "127.0.0.1", "weigh.example", 1))
			p.WaitText("#sentence", "可以称重")
			act := `fetch('/api/weigh-in', {method: 'POST', headers: {'Content-Type': 'application/json'}, body: JSON.stringify({passage: 'p', deck: 'weighbridge-1',
				operator: 'li', vehicle: '豫D12345', direction: 'inbound', material: 'paper/occ', counterparty: 'c'})}).then((r) => r.status)`
			if got := browser.Eval[int](p, act); got != http.StatusCreated {
				t.Errorf("weigh-in: %d", got)
			}
			p.WaitText("body", "豫D12345")
			yard.show("weighbridge-1", 0, device.Yes)
			p.WaitText("#sentence", "等待车辆上磅")
		})
	}
}
