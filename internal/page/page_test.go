package page_test

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"

	"steelyard/internal/page"
)

func ask(t *testing.T, h http.Handler, r *http.Request) (*http.Response, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	res := w.Result()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

func TestOwnFilesGoBeforeSharedOnes(t *testing.T) {
	h := page.Files(fstest.MapFS{"page/index.html": {Data: []byte("<p>own")}, "page/base.css": {Data: []byte("own{}")}})
	for path, want := range map[string]string{"/": "<p>own", "/base.css": "own{}", "/language.js": "export", "/icon.svg": "<svg"} {
		if res, body := ask(t, h, httptest.NewRequest("GET", path, nil)); res.StatusCode != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: %d %.40q", path, res.StatusCode, body)
		}
	}
	for _, path := range []string{"/nothing.js", "/../page.go", "/shared/base.css", "/%2e%2e/page.go"} {
		if res, body := ask(t, h, httptest.NewRequest("GET", path, nil)); res.StatusCode == http.StatusOK {
			t.Errorf("%s was served: %.40q", path, body)
		}
	}
}

// guarded is a small service: two acts and a page.
func guarded() http.Handler {
	mux := http.NewServeMux()
	fine := page.JSON(slog.New(slog.DiscardHandler), func(*http.Request) (int, any, error) { return http.StatusOK, "fine", nil })
	mux.Handle("GET /api/city", fine)
	mux.Handle("POST /api/weigh", fine)
	mux.Handle("GET /", page.Files(fstest.MapFS{"page/index.html": {Data: []byte("<p>own")}}))
	return page.Secure(mux, []string{"example.com", "Weigh.Example.org."})
}

// A foreign page whose name resolves to this machine is told by the name that its browser sends: it
// reads nothing and does nothing (F3).
func TestOnlyKnownNamesAreServed(t *testing.T) {
	for host, known := range map[string]bool{
		"127.0.0.1": true, "127.0.0.1:8081": true, "10.1.2.3:80": true, "[::1]:8081": true, "[fe80::1]": true, "localhost": true, "LOCALHOST:8081": true,
		"example.com": true, "weigh.example.org:8443": true, "WEIGH.example.org.": true, "": true,
		"evil.example": false, "evil.example:8081": false, "127.0.0.1.evil.example": false, "localhost.evil.example": false, "example.org": false,
		"evil.localhost": false, "a.example.com": false, "2130706433": false, "0x7f.1": false, "::1.evil.example": false,
	} {
		for _, method := range []string{"GET", "POST"} {
			r := httptest.NewRequest(method, map[string]string{"GET": "/api/city", "POST": "/api/weigh"}[method], nil)
			r.Host = host
			r.Header.Set("Sec-Fetch-Site", "same-origin")
			res, body := ask(t, guarded(), r)
			if known && res.StatusCode != http.StatusOK || !known && (res.StatusCode != http.StatusMisdirectedRequest || !strings.Contains(body, "wrong-host")) {
				t.Errorf("%s for %q: %d %s", method, host, res.StatusCode, body)
			}
		}
	}
	// The page that says so needs its script and style; they hold nothing of this service.
	for path, want := range map[string]int{"/problem.js": 200, "/problem-words.js": 200, "/base.css": 200, "/": 421, "/nope": 421, "/link.js": 421} {
		r := httptest.NewRequest("GET", path, nil)
		r.Host = "evil.example"
		if res, body := ask(t, guarded(), r); res.StatusCode != want {
			t.Errorf("%s: %d %s", path, res.StatusCode, body)
		}
	}
}

// A proxy that does not forward Host makes this service's own page look foreign to browsers that say
// nothing else: its name must be listed, and the answer says so (F11).
func TestOriginBehindAProxy(t *testing.T) {
	for _, c := range []struct {
		host, origin, site string
		status             int
		code               string
	}{
		{"127.0.0.1:8081", "http://127.0.0.1:8081", "", 200, ""},
		{"weigh.example.org", "https://weigh.example.org", "", 200, ""},
		{"127.0.0.1:8081", "http://weigh.example.org", "", 200, ""},           // nginx puts the address it asks in place of the name
		{"weigh.example.org", "https://weigh.example.org:8443", "", 200, ""},  // or drops the port
		{"127.0.0.1:8081", "https://any.example", "same-origin", 200, ""},     // a browser of today says it itself
		{"127.0.0.1:8081", "http://10.0.0.5", "", 403, "unlisted-origin"},     // an address is nobody's name
		{"127.0.0.1:8081", "http://evil.example", "", 403, "unlisted-origin"}, // this may be the proxy's name, or not
		{"127.0.0.1:8081", "http://localhost:8081", "", 403, "unlisted-origin"},
		{"127.0.0.1:8081", "http://weigh.example.org", "cross-site", 403, "foreign-origin"},
		{"127.0.0.1:8081", "http://weigh.example.org", "same-site", 403, "foreign-origin"},
		{"127.0.0.1:8081", "null", "", 403, "foreign-origin"},
		{"127.0.0.1:8081", "http://%zz", "", 403, "foreign-origin"},
	} {
		r := httptest.NewRequest("POST", "/api/weigh", nil)
		r.Host = c.host
		r.Header.Set("Origin", c.origin)
		r.Header.Set("Sec-Fetch-Site", c.site)
		if res, body := ask(t, guarded(), r); res.StatusCode != c.status || !strings.Contains(body, c.code) {
			t.Errorf("%+v: %d %s", c, res.StatusCode, body)
		}
	}
}

func TestCheckHost(t *testing.T) {
	for name, good := range map[string]bool{
		"weigh.example.org": true, "edge-1": true, "edge_1.local": true, "10.0.0.7": true, "::1": true, "fe80::1": true,
		"": false, "http://weigh": false, "weigh:8081": false, "weigh/": false, "*.example.org": false, "a..b": false, "地磅": false, "a b": false,
		strings.Repeat("x", 64): false, strings.Repeat("x.", 127) + "xyz": false,
	} {
		if err := page.CheckHost(name); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestEveryAnswerIsGuarded(t *testing.T) {
	for _, c := range []struct {
		method, path, from string
		status             int
	}{
		{"GET", "/", "none", 200}, {"GET", "/api/city", "cross-site", 200}, {"POST", "/api/weigh", "same-origin", 200},
		{"GET", "/nope", "none", 404}, {"POST", "/", "same-origin", 405}, {"POST", "/api/weigh", "cross-site", 403},
	} {
		r := httptest.NewRequest(c.method, c.path, nil)
		r.Header.Set("Sec-Fetch-Site", c.from)
		res, body := ask(t, guarded(), r)
		if res.StatusCode != c.status {
			t.Errorf("%s %s from %s: %d %s", c.method, c.path, c.from, res.StatusCode, body)
		}
		if csp := res.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%d: policy %q", c.status, csp)
		}
		if res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%d: %v", c.status, res.Header)
		}
	}
}

// What nobody answers reaches a person as a page and a program as a problem.
func TestUnansweredRequests(t *testing.T) {
	const browser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
	const html, problem = "text/html; charset=utf-8", "application/problem+json"
	for _, c := range []struct {
		method, path, accept, kind string
		code                       string
	}{
		{"GET", "/nope", browser, html, "not-found"},
		{"GET", "/a/b/", browser, html, "not-found"},
		{"GET", "/%2e%2e/page.go", browser, html, "not-found"},
		{"DELETE", "/nope", browser, html, "wrong-method"},
		{"POST", "/", browser, html, "wrong-method"},
		{"PUT", "/", browser + " , application/json;q=0.5", html, "wrong-method"},
		{"GET", "/nope", "application/json", problem, "not-found"},
		{"GET", "/nope", "application/json, text/html;q=0.9", problem, "not-found"},
		{"GET", "/nope", "text/html;q=0", problem, "not-found"},
		{"GET", "/nope", "text/html;q=much, *;;", problem, "not-found"},
		{"GET", "/nope", "*/*", problem, "not-found"},
		{"GET", "/nope", "", problem, "not-found"},
		{"GET", "/api", browser, problem, "not-found"},
		{"GET", "/api/nope", browser, problem, "not-found"},
		{"GET", "/api/weigh", browser, problem, "not-found"}, // the files take every GET, and have none of that name
		{"GET", "/apiary", browser, html, "not-found"},
		{"POST", "/api/city", browser, problem, "wrong-method"},
	} {
		r := httptest.NewRequest(c.method, c.path, nil)
		r.Header.Set("Accept", c.accept)
		res, body := ask(t, guarded(), r)
		if res.Header.Get("Content-Type") != c.kind || !strings.Contains(body, `"`+c.code+`"`) || res.Header.Get("Vary") != "Accept" {
			t.Errorf("%s %s for %q: %d %v %s", c.method, c.path, c.accept, res.StatusCode, res.Header, body)
		}
		if want := map[string]int{"not-found": 404, "wrong-method": 405}[c.code]; res.StatusCode != want {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, res.StatusCode, want)
		}
		if allow := res.Header.Get("Allow"); (allow == "GET, HEAD") != (c.code == "wrong-method") {
			t.Errorf("%s %s: Allow is %q", c.method, c.path, allow)
		}
		if c.kind == html && !strings.Contains(body, `lang="zh-CN"`) {
			t.Errorf("%s: not Chinese first: %s", c.path, body)
		}
		if c.kind != problem {
			continue
		}
		var p page.Problem
		if err := json.Unmarshal([]byte(body), &p); err != nil || p.Status != res.StatusCode || p.Title == "" || p.Detail == "" {
			t.Errorf("%s: %v %+v", c.path, err, p)
		}
	}
}

func TestErrorsBecomeProblems(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		want   string
	}{
		{page.BadRequest("bad-day", "no such day"), 400, `"code":"bad-day"`},
		{&page.Problem{Title: "refused", Status: 409, Code: "moving", Detail: "wait"}, 409, `"code":"moving"`},
		{errors.New("ledger: disk <full>"), 503, `"code":"unavailable"`},
	} {
		var logged strings.Builder
		h := page.JSON(slog.New(slog.NewTextHandler(&logged, nil)), func(*http.Request) (int, any, error) { return 200, "unused", c.err })
		res, body := ask(t, h, httptest.NewRequest("GET", "/", nil))
		if res.StatusCode != c.status || !strings.Contains(body, c.want) || res.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%v: %d %s", c.err, res.StatusCode, body)
		}
		// What went wrong inside is for the log, and only that.
		if inside := c.status == 503; strings.Contains(logged.String(), "disk <full>") != inside || strings.Contains(body, "disk") {
			t.Errorf("%v: logged %q, said %s", c.err, logged.String(), body)
		}
	}
}

func TestBodiesAreReadStrictly(t *testing.T) {
	h := page.JSON(slog.New(slog.DiscardHandler), func(r *http.Request) (int, any, error) {
		v, err := page.Read[struct {
			Name string `json:"name"`
		}](r)
		return http.StatusOK, v.Name, err
	})
	post := func(kind, body string) int {
		r := httptest.NewRequest("POST", "/", strings.NewReader(body))
		r.Header.Set("Content-Type", kind)
		res, _ := ask(t, h, r)
		return res.StatusCode
	}
	if got := post("application/json; charset=utf-8", `{"name":"x"}`); got != 200 {
		t.Errorf("good body: %d", got)
	}
	for name, c := range map[string][2]string{
		"no kind": {"", `{}`}, "form": {"application/x-www-form-urlencoded", "name=x"}, "unknown field": {"application/json", `{"name":"x","y":1}`},
		"two values": {"application/json", `{} {}`}, "cut": {"application/json", `{"name":`}, "empty": {"application/json", ``},
		"too large": {"application/json", `{"name":"` + strings.Repeat("x", 70000) + `"}`},
	} {
		if got := post(c[0], c[1]); got != 400 {
			t.Errorf("%s: %d", name, got)
		}
	}
}
