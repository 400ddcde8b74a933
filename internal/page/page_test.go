package page_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
	"time"

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

func TestEveryAnswerIsGuarded(t *testing.T) {
	h := page.Guard(page.Answer(func(*http.Request) (int, any, error) { return http.StatusOK, "fine", nil }))
	res, _ := ask(t, h, httptest.NewRequest("GET", "/", nil))
	if csp := res.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
		t.Errorf("policy %q", csp)
	}
	foreign := httptest.NewRequest("POST", "/", nil)
	foreign.Header.Set("Sec-Fetch-Site", "cross-site")
	if res, _ := ask(t, h, foreign); res.StatusCode != http.StatusForbidden {
		t.Errorf("another site's page may post: %d", res.StatusCode)
	}
}

func TestErrorsBecomeProblems(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		want   string
	}{
		{page.Wrong("bad-day", "no such day"), 400, `"code":"bad-day"`},
		{&page.Problem{Title: "refused", Status: 409, Code: "moving", Detail: "wait"}, 409, `"code":"moving"`},
		{errors.New("disk <full>"), 503, `"detail":"disk <full>"`},
	} {
		h := page.Answer(func(*http.Request) (int, any, error) { return 200, "unused", c.err })
		res, body := ask(t, h, httptest.NewRequest("GET", "/", nil))
		if res.StatusCode != c.status || !strings.Contains(body, c.want) || res.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%v: %d %s", c.err, res.StatusCode, body)
		}
	}
}

func TestBodiesAreReadStrictly(t *testing.T) {
	h := page.Answer(func(r *http.Request) (int, any, error) {
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

// deadliner is a recorder with the deadlines of a real connection.
type deadliner struct{ *httptest.ResponseRecorder }

func (deadliner) SetWriteDeadline(time.Time) error { return nil }

func TestAnEventIsSentWhenItChanges(t *testing.T) {
	w := httptest.NewRecorder()
	e := page.NewEvents(deadliner{w})
	for _, v := range []int{1, 1, 2, 2, 1} {
		if err := e.Send("n", v); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.Body.String(); got != "event: n\ndata: 1\n\nevent: n\ndata: 2\n\nevent: n\ndata: 1\n\n" {
		t.Errorf("got %q", got)
	}
}
