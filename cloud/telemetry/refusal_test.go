package telemetry_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"steelyard/cloud/telemetry"
)

// patience is the time-out of requests that must be answered: a slow machine is no outage.
const patience = time.Minute

// scripted is a server that answers writes as told, one answer a request, then 204; it keeps the
// lines that it took.
type scripted struct {
	*httptest.Server
	mu       sync.Mutex
	answers  []func(http.ResponseWriter, *http.Request, []string) // first is next
	taken    map[string]int
	requests int
}

func script(t *testing.T, answers ...func(http.ResponseWriter, *http.Request, []string)) *scripted {
	s := &scripted{answers: answers, taken: map[string]int{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := gunzip(r)
		if err != nil || r.URL.Path != "/api/v2/write" || r.URL.Query().Get("precision") != "ns" {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
		}
		lines := strings.Split(strings.TrimSuffix(body, "\n"), "\n")
		s.mu.Lock()
		s.requests++
		var answer func(http.ResponseWriter, *http.Request, []string)
		if len(s.answers) > 0 {
			answer, s.answers = s.answers[0], s.answers[1:]
		}
		s.mu.Unlock()
		if answer != nil {
			answer(w, r, lines)
			return
		}
		s.take(lines)
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *scripted) take(lines []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, line := range lines {
		if !strings.HasPrefix(line, "unit,") { // those are written beside the first sample of an hour
			s.taken[line]++
		}
	}
}

// asked counts the requests and the different lines taken. A request that its sender has given up
// may still be at work.
func (s *scripted) asked() (requests, lines int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests, len(s.taken)
}

func gunzip(r *http.Request) (string, error) {
	packed, err := io.ReadAll(r.Body)
	if err != nil || r.Header.Get("Content-Encoding") == "" {
		return string(packed), err
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(z)
	return string(body), err
}

func answer(status int, header, body string) func(http.ResponseWriter, *http.Request, []string) {
	return func(w http.ResponseWriter, _ *http.Request, _ []string) {
		if key, value, ok := strings.Cut(header, ": "); ok {
			w.Header().Set(key, value)
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

func scriptedStore(t *testing.T, url string, timeout time.Duration) *telemetry.Influx {
	t.Helper()
	x, err := telemetry.NewInflux(telemetry.InfluxConfig{URL: url, Org: "city", Bucket: "steelyard", Timeout: timeout,
		Pause: time.Millisecond, Log: logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	return x
}

// TestAnswers holds every answer against what must follow: taken, asked again, or an alarm, and
// never a point lost for an answer that is not about the point.
func TestAnswers(t *testing.T) {
	const (
		taken = iota
		again
		alarm
	)
	jsonType := "Content-Type: application/json"
	for _, c := range []struct {
		name   string
		answer func(http.ResponseWriter, *http.Request, []string)
		want   int
		after  time.Duration
	}{
		{"429", answer(429, "Retry-After: 70", ""), again, 70 * time.Second},
		{"503", answer(503, "Retry-After: 120", "down"), again, 2 * time.Minute},
		{"503 for a year", answer(503, "Retry-After: 31536000", "down"), again, 5 * time.Minute},
		{"503 by date", answer(503, "Retry-After: Fri, 31 Dec 1999 23:59:59 GMT", ""), again, 0},
		{"500", answer(500, jsonType, `{"code":"internal error","message":"boom"}`), again, 0},
		{"502 of a proxy", answer(502, "Content-Type: text/html", "<html>bad gateway</html>"), again, 0},
		{"408", answer(408, "", ""), again, 0},
		{"401", answer(401, jsonType, `{"code":"unauthorized","message":"unauthorized access"}`), alarm, 0},
		{"403", answer(403, "", ""), alarm, 0},
		{"404", answer(404, jsonType, `{"code":"not found","message":"bucket not found"}`), alarm, 0},
		{"405", answer(405, "", ""), alarm, 0},
		{"200 of a portal", answer(200, "Content-Type: text/html", "<html>please sign in</html>"), alarm, 0},
		{"302 to a portal", answer(302, "Location: /login", ""), alarm, 0},
		{"hang", func(_ http.ResponseWriter, r *http.Request, _ []string) { <-r.Context().Done() }, again, 0},
		{"hang-up", func(http.ResponseWriter, *http.Request, []string) { panic(http.ErrAbortHandler) }, again, 0},
		{"broken JSON", answer(503, jsonType, `{"code":`), again, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := script(t, c.answer)
			timeout := patience
			if c.name == "hang" {
				timeout = 300 * time.Millisecond
			}
			x := scriptedStore(t, s.URL, timeout)
			points := []telemetry.Sample{sample(t, "a", 1, start, "1"), sample(t, "a", 2, start, "2")}
			err := x.Put(t.Context(), points)
			switch u, isAgain := errors.AsType[*telemetry.UnavailableError](err); {
			case c.want == again && (!isAgain || u.After < c.after || c.after > 0 && u.After > c.after):
				t.Fatalf("got %v, want to ask again after %v", err, c.after)
			case c.want == again && telemetry.RetryAfter(err) != u.After:
				t.Errorf("RetryAfter is %v, want %v", telemetry.RetryAfter(err), u.After)
			}
			if _, isAlarm := errors.AsType[*telemetry.MisconfiguredError](err); c.want == alarm && !isAlarm {
				t.Fatalf("got %v, want an alarm", err)
			}
			if p := x.Parked(); p.Lines != 0 {
				t.Fatalf("parked %+v: good points", p)
			}
			if c.after > 0 { // until then the server is left alone
				again := x.Put(t.Context(), points)
				if requests, _ := s.asked(); again == nil || requests != 1 {
					t.Errorf("asked %d times, got %v", requests, again)
				}
				return
			}
			until(t, "the points are taken", func() bool { return x.Put(t.Context(), points) == nil })
			if _, lines := s.asked(); lines != 2 {
				t.Errorf("%d points taken, want both", lines)
			}
		})
	}
}

// refusing answers 400 as long as a line contains bad, in the manner of a version of InfluxDB.
func refusing(status int, bad, kind, body string) func(http.ResponseWriter, *http.Request, []string) bool {
	return func(w http.ResponseWriter, _ *http.Request, lines []string) bool {
		if !strings.Contains(strings.Join(lines, "\n"), bad) {
			return false
		}
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(status)
		io.WriteString(w, body)
		return true
	}
}

// TestBadPoint isolates one bad point among 3000 whatever the server calls it, and parks nothing
// when it is the request that the server refuses.
func TestBadPoint(t *testing.T) {
	for name, refuse := range map[string]func(http.ResponseWriter, *http.Request, []string) bool{
		"2, whole batch refused": refusing(400, "motor_current=666", "application/json", `{"code":"invalid","message":"unable to parse 'x'"}`),
		"2, unprocessable":       refusing(422, "motor_current=666", "application/json", `{"code":"unprocessable entity","message":"failure writing points"}`),
		"3":                      refusing(400, "motor_current=666", "application/json", `{"error":"partial write of line protocol occurred"}`),
		"plain text":             refusing(400, "motor_current=666", "text/plain", "no"),
	} {
		t.Run(name, func(t *testing.T) {
			s := script(t)
			s.Config.Handler = wrap(s.Config.Handler, refuse)
			x := scriptedStore(t, s.URL, patience)
			var points []telemetry.Sample
			for i := range 3000 {
				value := "1"
				if i == 1234 {
					value = "666"
				}
				points = append(points, sample(t, "a", uint64(i+1), start, value))
			}
			put(t, x, points...)
			if p := telemetry.ParkedLines(t, x); len(p) != 1 || !strings.Contains(p[0], "motor_current=666") {
				t.Errorf("parked %q, want the bad point", p)
			}
			if _, lines := s.asked(); lines != 2999 {
				t.Errorf("%d points taken, want 2999", lines)
			}
		})
	}
	t.Run("the request is refused", func(t *testing.T) {
		s := script(t)
		s.Config.Handler = wrap(s.Config.Handler, refusing(400, "", "text/plain", "no such organisation"))
		x := scriptedStore(t, s.URL, patience)
		err := x.Put(t.Context(), []telemetry.Sample{sample(t, "a", 1, start, "1"), sample(t, "a", 2, start, "1")})
		if _, ok := errors.AsType[*telemetry.MisconfiguredError](err); !ok || x.Parked().Lines != 0 {
			t.Errorf("got %v and %d parked, want an alarm and nothing parked", err, x.Parked().Lines)
		}
	})
	t.Run("all bad costs few requests", func(t *testing.T) {
		s := script(t)
		var requests atomic.Int64
		refuse := refusing(400, "", "application/json", `{"code":"invalid","message":"unable to parse"}`)
		s.Config.Handler = wrap(s.Config.Handler, func(w http.ResponseWriter, r *http.Request, lines []string) bool {
			requests.Add(1)
			return refuse(w, r, lines)
		})
		x := scriptedStore(t, s.URL, patience)
		points := make([]telemetry.Sample, 5000)
		for i := range points {
			points[i] = sample(t, "a", uint64(i+1), start, "1")
		}
		put(t, x, points...)
		if p := x.Parked(); p.Lines != 5001 {
			t.Errorf("parked %d, want 5000 and their unit", p.Lines)
		}
		if n := requests.Load(); n > 1000 {
			t.Errorf("%d requests for one batch", n)
		}
	})
	t.Run("too large", func(t *testing.T) {
		s := script(t)
		s.Config.Handler = wrap(s.Config.Handler, func(w http.ResponseWriter, _ *http.Request, lines []string) bool {
			if len(lines) > 100 {
				w.WriteHeader(http.StatusRequestEntityTooLarge)
			}
			return len(lines) > 100
		})
		x := scriptedStore(t, s.URL, patience)
		var points []telemetry.Sample
		for i := range 5000 {
			points = append(points, sample(t, "a", uint64(i+1), start, "1"))
		}
		put(t, x, points...)
		if _, lines := s.asked(); lines != 5000 || x.Parked().Lines != 0 {
			t.Errorf("%d taken, %d parked, want 5000 and none", lines, x.Parked().Lines)
		}
	})
}

// TestPacked: what goes to another machine is compressed, what stays on this one is not.
func TestPacked(t *testing.T) {
	for _, plain := range []bool{true, false} {
		s := script(t)
		s.Config.Handler = wrap(s.Config.Handler, func(_ http.ResponseWriter, r *http.Request, _ []string) bool {
			if packed := r.Header.Get("Content-Encoding") == "gzip"; packed == plain {
				t.Errorf("to this machine %t: packed %t", plain, packed)
			}
			return false
		})
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/api/v2/write?precision=ns", strings.NewReader("line 1\n"))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := telemetry.Post(req, plain)
		if err != nil || resp.StatusCode != http.StatusNoContent {
			t.Fatal(resp, err)
		}
		resp.Body.Close()
		if _, lines := s.asked(); lines != 1 {
			t.Errorf("%d lines arrived, want 1", lines)
		}
	}
}

// wrap lets refuse answer first.
func wrap(h http.Handler, refuse func(http.ResponseWriter, *http.Request, []string) bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		packed, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(packed))
		body, err := gunzip(r)
		r.Body = io.NopCloser(bytes.NewReader(packed))
		if err != nil || !refuse(w, r, strings.Split(strings.TrimSuffix(body, "\n"), "\n")) {
			h.ServeHTTP(w, r)
		}
	})
}

// TestRefusedQuestion: what answers a question may be no InfluxDB at all.
func TestRefusedQuestion(t *testing.T) {
	for status, body := range map[int]string{200: "<html>", 503: "", 401: "", 400: `{"error":"no"}`, 204: ""} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			io.WriteString(w, body)
		}))
		x := scriptedStore(t, s.URL, patience)
		_, err := x.Tonnage(t.Context(), start, start.Add(time.Hour))
		if err == nil {
			t.Errorf("status %d %q: no error", status, body)
		}
		s.Close()
	}
	for _, body := range []string{`{"results":[{"error":"x"}]}`, `{"error":"x"}`,
		`{"results":[{"series":[{"columns":["time","sum"],"values":[[1,2]]}]}]}`,
		`{"results":[{"series":[{"columns":["time","sum","count"],"values":[[1,2]]}]}]}`,
		`{"results":[{"series":[{"columns":["time","sum","count"],"values":[]}]}]}`,
		`{"results":[{"series":[{"columns":["time","sum","count"],"values":[[1,2.5,1]]}]}]}`,
		`{"results":[{"series":[{"columns":["time","sum","count"],"values":[[1,null,1]]}]}]}`,
		`{"results":[{"series":[{"partial":true,"columns":["time","sum","count"],"values":[[1,2,1]]}]}]}`} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) }))
		x := scriptedStore(t, s.URL, patience)
		if got, err := x.Tonnage(t.Context(), start, start.Add(time.Hour)); err == nil {
			t.Errorf("%s: got %v", body, got)
		}
		s.Close()
	}
}
