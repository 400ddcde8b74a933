package service_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"database/sql"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"steelyard/cloud/service"
	"steelyard/internal/chain"
	"steelyard/internal/config/configtest"
	"steelyard/internal/leaktest"
	"steelyard/internal/program"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// patience bounds what a test waits for; nothing here takes a tenth of it.
const patience = time.Minute

func TestShippedConfigurationLoads(t *testing.T) {
	c, err := service.Read("../../configs/cloud.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Sites) != 1 || c.Broker.MaxClients != 200 {
		t.Errorf("got %+v", c)
	}
}

// TestCheckNamesWhatWillNotStart: the shipped file on a machine that has none of its files yet.
func TestCheckNamesWhatWillNotStart(t *testing.T) {
	code, out, errs := run(t, "-config", "../../configs/cloud.yaml", "-check")
	for _, want := range []string{":3: broker.cert_file: /etc/steelyard/broker.pem", ":3: broker.key_file", "sites[0].password_file"} {
		if !strings.Contains(errs, want) {
			t.Errorf("-check: got %q, want it to name %q", errs, want)
		}
	}
	if code != program.ExitError || out != "" || strings.Count(errs, "\n") != 3 {
		t.Errorf("-check: got %d %q %q, want one line for each missing file", code, out, errs)
	}
}

// TestCheckCertificate: a key of another certificate, and one that has run out, are found before a start.
func TestCheckCertificate(t *testing.T) {
	now := time.Now()
	good, goodKey := selfSigned(t, now.Add(time.Hour))
	_, otherKey := selfSigned(t, now.Add(time.Hour))
	old, oldKey := selfSigned(t, now.Add(-time.Minute))
	for _, tc := range []struct{ name, cert, key, want string }{
		{"good", good, goodKey, ""},
		{"another key", good, otherKey, "private key does not match public key"},
		{"run out", old, oldKey, "ran out on"},
		{"no certificate", "nothing", goodKey, "broker certificate"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCity(t)
			c.write("broker.pem", tc.cert, 0o644)
			c.write("broker.key", tc.key, 0o600)
			c.configure("broker: {listen: \"127.0.0.1:0\", cert_file: broker.pem, key_file: broker.key}\n")
			code, out, errs := run(t, "-config", c.file, "-check")
			if tc.want == "" && (code != program.ExitOK || errs != "") || tc.want != "" && (code != program.ExitError || !strings.Contains(errs, tc.want) || !strings.Contains(errs, "cloud.yaml:")) {
				t.Errorf("got %d %q %q, want %q", code, out, errs, tc.want)
			}
		})
	}
}

// selfSigned makes a certificate, valid until the given time.
func selfSigned(t *testing.T, until time.Time) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: until.Add(-24 * time.Hour), NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

// TestKeyBeforeTheFirstStart: the key is drawn once, printed as the log shows it, and needs no
// complete configuration.
func TestKeyBeforeTheFirstStart(t *testing.T) {
	c := newCity(t)
	c.write("cloud.yaml", "listen: \"127.0.0.1:0\"\n", 0o600)
	code, first, errs := run(t, "-config", c.file, "-key")
	if _, err := chain.ParsePublicKey(strings.TrimSpace(first)); code != program.ExitOK || err != nil || errs != "" {
		t.Fatalf("got %d %q %q: %v", code, first, errs, err)
	}
	if _, again, _ := run(t, "-config", c.file, "-key"); again != first {
		t.Errorf("got %q the second time and %q the first", again, first)
	}
	c.configure("listen: \"127.0.0.1:0\"\nbroker: {listen: \"127.0.0.1:0\"}\n")
	if _, out, errs := run(t, "-config", c.file, "-check"); !strings.HasSuffix(out, "1 sites: good\n") {
		t.Errorf("-check: got %q %q", out, errs)
	}
	c.write("cloud.yaml", "listen: \"127.0.0.1:0\"\nbroker: {listen: \"127.0.0.1:0\"}\n", 0o600)
	if code, out, _ := run(t, "-config", c.file, "-check"); code != program.ExitOK || !strings.Contains(out, "no site is enrolled") {
		t.Errorf("-check without sites: got %d %q", code, out)
	}
}

// TestBadConfigurations: every mistake of a file at once, each with its place.
func TestBadConfigurations(t *testing.T) {
	configtest.BadFiles(t, func(file string, _ []byte) (string, error) {
		_, err := service.Read(file)
		return file, err
	})
}

// run is the program with a command line, in this process.
func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	env := program.Env{Args: args, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	code = program.RunMain(ctx, "cloud", env, service.Run)
	if ctx.Err() != nil {
		t.Errorf("the cloud started")
	}
	return code, out.String(), errs.String()
}

// city is a folder with a configuration.
type city struct {
	t    *testing.T
	dir  string
	file string
	key  chain.Key // of its one site
}

func newCity(t *testing.T) *city {
	t.Helper()
	c := &city{t: t, dir: t.TempDir(), key: chain.NewKey()}
	c.file = filepath.Join(c.dir, "cloud.yaml")
	c.configure("listen: \"127.0.0.1:0\"\nbroker: {listen: \"127.0.0.1:0\"}\n")
	return c
}

func (c *city) configure(more string) {
	c.t.Helper()
	c.write("cloud.yaml", fmt.Sprintf("sites:\n  - {id: xinhua-1, key: %q}\n", c.key.Public())+more, 0o600)
}

// write makes a file of the city's folder.
func (c *city) write(name, text string, mode os.FileMode) {
	c.t.Helper()
	path := filepath.Join(c.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), mode), os.Chmod(path, mode)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *city) mkdir(name string) {
	c.t.Helper()
	if err := os.MkdirAll(filepath.Join(c.dir, name), 0o700); err != nil {
		c.t.Fatal(err)
	}
}

// tap finds the pages' address in the log.
type tap struct {
	slog.Handler
	pages chan string
}

func (h tap) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == "cloud is running" {
		r.Attrs(func(a slog.Attr) bool {
			if a.Key == "pages" {
				h.pages <- a.Value.String()
			}
			return true
		})
	}
	return h.Handler.Handle(ctx, r)
}

// start runs the cloud until the end of the test, or until the function it gives is called.
func (c *city) start() (pages string, end func()) {
	c.t.Helper()
	conf, err := service.Read(c.file)
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	h := tap{slog.NewTextHandler(c.t.Output(), nil), make(chan string, 1)}
	done := make(chan error, 1)
	go func() { done <- service.Start(ctx, conf, slog.New(h)) }()
	ended := false
	end = func() {
		c.t.Helper()
		stop()
		if ended {
			return
		}
		select {
		case err := <-done:
			ended = true
			if err != nil && !errors.Is(err, context.Canceled) {
				c.t.Errorf("the cloud ended with %v", err)
			}
			http.DefaultClient.CloseIdleConnections()
		case <-time.After(patience):
			c.t.Fatal("the cloud does not stop")
		}
	}
	c.t.Cleanup(end)
	select {
	case pages = <-h.pages:
	case err := <-done:
		ended = true
		c.t.Fatalf("the cloud ended at its start: %v", err)
	case <-time.After(patience):
		c.t.Fatal("the cloud did not start")
	}
	return pages, end
}

func listen(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

// small mounts a small disk of its own, gone at the end of the test.
func small(t *testing.T, size string) string {
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

// TestStartFailures: one line with thing, cause and remedy, exit status 1, and nothing has started.
func TestStartFailures(t *testing.T) {
	for _, tc := range []struct {
		name    string
		prepare func(c *city)
		want    []string // what the one line says
	}{
		{"key that others can read", func(c *city) { c.write("data/cloud.key", "x", 0o644) }, []string{"cloud.key", "others may read it (mode 0644)", "chmod 600"}},
		{"key that is garbage", func(c *city) { c.write("data/cloud.key", "rubbish and more rubbish", 0o600) }, []string{"cloud.key", "put the right file back"}},
		{"port of the pages in use", func(c *city) {
			c.configure(fmt.Sprintf("listen: %q\nbroker: {listen: \"127.0.0.1:0\"}\n", listen(c.t)))
		}, []string{"pages", "address already in use", "choose another listen"}},
		{"port of the broker in use", func(c *city) {
			c.configure(fmt.Sprintf("listen: \"127.0.0.1:0\"\nbroker: {listen: %q}\n", listen(c.t)))
		}, []string{"broker", "address already in use"}},
		{"a file in the data folder's place", func(c *city) { c.write("data", "x", 0o600) }, []string{"data folder", "not a directory", "name another as data"}},
		{"ledger is a folder", func(c *city) { c.mkdir("data/ledger.db") }, []string{"ledger.db", "is a folder", "name a file"}},
		{"ledger is no database", func(c *city) { c.write("data/ledger.db", strings.Repeat("rubbish and more rubbish ", 400), 0o600) }, []string{"ledger.db", "not a database"}},
		{"ledger of newer software", func(c *city) {
			_, end := c.start()
			end()
			db, err := sql.Open("sqlite", filepath.Join(c.dir, "data", "ledger.db"))
			if err != nil {
				c.t.Fatal(err)
			}
			defer db.Close()
			if _, err := db.Exec(`update versions set version = 9999 where name = 'ledger'`); err != nil {
				c.t.Fatal(err)
			}
		}, []string{"ledger.db", "version 9999", "written by newer software", "update this program"}},
		{"site's id is another key's", func(c *city) {
			_, end := c.start()
			end()
			c.key = chain.NewKey()
			c.configure("listen: \"127.0.0.1:0\"\nbroker: {listen: \"127.0.0.1:0\"}\n")
		}, []string{"site id xinhua-1 is taken since", "another site id"}},
		{"history is a folder", func(c *city) { c.mkdir("data/history.db") }, []string{"history.db", "unable to open", "move"}},
		{"token that others can read", func(c *city) {
			c.write("influx.token", "secret-word", 0o640)
			c.configure("listen: \"127.0.0.1:0\"\nbroker: {listen: \"127.0.0.1:0\"}\ninflux: {url: \"http://127.0.0.1:1\", bucket: x, token_file: influx.token}\n")
		}, []string{"influx.token", "others may read it", "chmod 600"}},
		{"password of a broker that is missing", func(c *city) {
			c.configure("listen: \"127.0.0.1:0\"\nbroker: {url: \"tcp://127.0.0.1:1\", username: cloud, password_file: none}\n")
		}, []string{"none", "no such file", "check the path"}},
		{"catalogue that is missing", func(c *city) {
			c.configure("listen: \"127.0.0.1:0\"\nbroker: {listen: \"127.0.0.1:0\"}\nmaterials: none.yaml\n")
		}, []string{"none.yaml", "no such file", "check the path"}},
		{"another cloud on the same data", func(c *city) { c.start() }, []string{"data folder", "holds it", "choose another directory"}},
		{"read-only disk", func(c *city) {
			dir := small(c.t, "1m")
			if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
				c.t.Fatal(err)
			}
			c.configure(fmt.Sprintf("data: %q\nlisten: \"127.0.0.1:0\"\nbroker: {listen: \"127.0.0.1:0\"}\n", dir))
		}, []string{"read-only file system", "must be writable"}},
		{"disk too small for a ledger", func(c *city) {
			c.configure(fmt.Sprintf("data: %q\nlisten: \"127.0.0.1:0\"\nbroker: {listen: \"127.0.0.1:0\"}\n", small(c.t, "48k")))
		}, []string{"ledger.db", "full"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCity(t)
			tc.prepare(c)
			code, out, errs := run(t, "-config", c.file)
			if code != program.ExitError || out != "" || strings.Count(errs, "\n") != 1 || !strings.HasPrefix(errs, "cloud: ") {
				t.Errorf("got exit %d, %q, %q, want exit 1 and one line", code, out, errs)
			}
			for _, want := range tc.want {
				if !strings.Contains(errs, want) {
					t.Errorf("got %q, want it to say %q", errs, want)
				}
			}
			if strings.Contains(errs, "secret-word") || strings.Contains(errs, "rubbish and") {
				t.Errorf("the message tells a secret: %q", errs)
			}
		})
	}
}

// TestManySites: a city of 5,000 sites starts, and its page names all of them; with too few clients
// for them the broker is told to take more.
func TestManySites(t *testing.T) {
	const many = 5000
	var sites strings.Builder
	for i := range many {
		fmt.Fprintf(&sites, "  - id: site-%d\n    name: 新华区绿色分拣中心\n    english: Xinhua sorting centre\n    district: xinhua\n    key: %q\n", i, chain.NewKey().Public().String())
	}
	c := newCity(t)
	text := "listen: \"127.0.0.1:0\"\nbroker: {listen: \"127.0.0.1:0\", max_clients: %d}\nsites:\n" + sites.String()
	c.write("cloud.yaml", fmt.Sprintf(text, many-1), 0o600)
	if code, _, errs := run(t, "-config", c.file, "-check"); code != program.ExitError || !strings.Contains(errs, "broker.max_clients: 4999 clients and 5000 sites") {
		t.Errorf("-check: %d %q", code, errs)
	}
	c.write("cloud.yaml", fmt.Sprintf(text, many), 0o600)
	pages, _ := c.start()
	res, err := http.Get(pages + "/api/sites")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var answer struct{ Sites []struct{ Site string } }
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || len(answer.Sites) != many {
		t.Errorf("%d sites, %v", len(answer.Sites), err)
	}
}

// TestStartsAgain: what a start has made is what the next one finds.
func TestStartsAgain(t *testing.T) {
	c := newCity(t)
	key := ""
	for range 2 {
		pages, end := c.start()
		res, err := http.Get(pages + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Errorf("healthz: %d", res.StatusCode)
		}
		end()
		data, err := os.ReadFile(filepath.Join(c.dir, "data", "cloud.key"))
		if err != nil {
			t.Fatal(err)
		}
		if key != "" && key != string(data) {
			t.Error("the cloud has drawn another key")
		}
		key = string(data)
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{"-nonsense"}, {"now"}, {"-config"}} {
		code, out, errs := run(t, args...)
		if code != program.ExitUsage || out != "" || errs == "" {
			t.Errorf("%q: got %d %q %q, want exit 2 and a reason", args, code, out, errs)
		}
	}
	if code, out, _ := run(t, "-h"); code != 0 || !strings.Contains(out, "-config") {
		t.Errorf("-h: got %d %q", code, out)
	}
}
