package browser_test

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"steelyard/firmware-bridge/device"
	"steelyard/internal/e2e/browser"
)

// streams counts the event streams that a server has open, and the most that it had at once. It can
// take the worker away that all tabs of a browser share.
type streams struct {
	http.Handler
	without bool

	mu   sync.Mutex // guards the fields below
	open int
	most int
}

func (s *streams) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.without && r.URL.Path == "/stream-worker.js" {
		http.NotFound(w, r)
		return
	}
	if r.URL.Path == "/api/events" {
		s.mu.Lock()
		s.open++
		s.most = max(s.most, s.open)
		s.mu.Unlock()
		defer func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.open--
		}()
	}
	s.Handler.ServeHTTP(w, r)
}

func (s *streams) count() (open, most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open, s.most
}

// wait waits until so many streams are open.
func (s *streams) wait(t *testing.T, want int) {
	t.Helper()
	open := 0
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if open, _ = s.count(); open == want {
			return
		}
	}
	t.Fatalf("%d streams are open, want %d", open, want)
}

// through asks another server.
func through(t *testing.T, address string) http.Handler {
	t.Helper()
	at, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(at)
	proxy.FlushInterval = -1
	proxy.ErrorLog = log.New(io.Discard, "", 0) // a reader that goes away is the test's own
	return proxy
}

const asked = "fetch('%s').then((r) => r.status)"

// A city's page in ten tabs, and another ten of the weighing page, all live over one stream each: a
// browser has six connections to a server, and a tab of its own stream used up one (F4).
func TestAnyNumberOfTabs(t *testing.T) {
	t.Parallel()
	const tabs = 10
	city, s := city(t, twoSites)
	fillCity(s)
	yard, edge := openYard(t, "weighbridge-1")
	yard.show("weighbridge-1", 20_000, device.Yes)
	for _, page := range []struct{ name, url, up, shows, text, api string }{
		{"city", city, "#link-text", ".card[data-flow=collected] b", "3,801.200", "/api/city"},
		{"edge", edge, "#page-link-text", "#sentence", "可以称重", "/api/journal"},
	} {
		t.Run(page.name, func(t *testing.T) {
			counted := &streams{Handler: through(t, page.url)}
			at := serve(t, counted, nil)
			if page.name == "edge" {
				at = strings.Replace(at, "127.0.0.1", "weigh.example", 1) // as at a site: no secure context, where browsers take things away
			}
			first := browser.Open(t, at)
			all := []*browser.Page{first}
			for range tabs - 1 {
				all = append(all, first.Tab(at))
			}
			for i, tab := range all {
				tab.WaitText(page.shows, page.text)
				if got := browser.Eval[int](tab, fmt.Sprintf(asked, page.api)); got != http.StatusOK {
					t.Errorf("tab %d asks %s: %d", i, page.api, got)
				}
			}
			if open, most := counted.count(); open != 1 || most != 1 {
				t.Errorf("%d tabs have %d streams open, and had %d", tabs, open, most)
			}
			if page.name == "city" {
				s.send("totals", totals(total("xinhua-1", "steel", "collected", 999_999, 1)))
				for _, tab := range all {
					tab.WaitText(page.shows, "0.999999")
				}
			}
			// Nobody sees them: no stream is open. One that is seen again knows at once what is.
			for _, tab := range all {
				tab.Hide(true)
			}
			counted.wait(t, 0)
			all[3].Hide(false)
			all[3].WaitText(page.up, map[string]string{"city": "实时", "edge": "已连接"}[page.name])
			counted.wait(t, 1)
		})
	}
}

// Where a browser can't share a worker each tab that is seen has a stream of its own. Six of them
// leave no connection for a request, which is what the others share a stream for.
func TestTabsWithoutASharedWorker(t *testing.T) {
	t.Parallel()
	url, s := city(t, twoSites)
	fillCity(s)
	counted := &streams{Handler: through(t, url), without: true}
	at := serve(t, counted, nil)
	p := browser.Open(t, at)
	all := []*browser.Page{p}
	for range 5 {
		all = append(all, p.Tab(at))
	}
	for _, tab := range all {
		tab.Expect("404")
		tab.Expect("worker")
	}
	counted.wait(t, 6)
	const ask = "fetch('/api/city', {signal: AbortSignal.timeout(1500)}).then((r) => r.status, () => 0)"
	if got := browser.Eval[int](p, ask); got != 0 {
		t.Errorf("with six streams open the server answered %d: the tests of tabs prove nothing", got)
	}
	for _, tab := range all[1:] {
		tab.Hide(true)
	}
	counted.wait(t, 1)
	if got := browser.Eval[int](p, ask); got != http.StatusOK {
		t.Errorf("with one stream open: %d", got)
	}
	p.WaitText(".card[data-flow=collected] b", "3,801.200")
}
