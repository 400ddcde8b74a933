package browser_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"steelyard/internal/e2e/browser"
)

// The browser must see each of these faults; otherwise the tests of the pages prove nothing.
func TestFaultsOfAPageAreSeen(t *testing.T) {
	other := otherHost(t)
	for name, c := range map[string]struct{ head, script, want string }{
		"console": {"", "console.error('the scale is broken')", "the scale is broken"},
		"throw":   {"", "setTimeout(() => { throw new Error('no such deck') })", "no such deck"},
		"promise": {"", "Promise.reject(new Error('nobody waits'))", "nobody waits"},
		"missing": {"", "fetch('/nowhere')", "404"},
		"inline":  {"<script>document.title = 'inline'</script>", "", "Content Security Policy"},
		"style":   {"<p style='color: red'>red</p>", "", "Content Security Policy"},
		"abroad":  {"<img src='" + other + "' alt=''>", "", "another host"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mux := http.NewServeMux()
			mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
				csp := "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'"
				if name == "abroad" {
					csp = "default-src *; script-src 'self'" // the policy would stop the request before it is one
				}
				w.Header().Set("Content-Security-Policy", csp)
				w.Header().Set("Content-Type", "text/html")
				_, _ = w.Write([]byte("<!doctype html><link rel=icon href='data:,'><title>t</title>" + c.head + "<script type=module src=a.js></script>"))
			})
			mux.HandleFunc("GET /a.js", func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/javascript")
				_, _ = w.Write([]byte(c.script + "\nwindow.ran = true"))
			})
			p := browser.Open(t, serve(t, mux, nil))
			if name == "inline" || name == "style" || name == "abroad" {
				p.Expect("img-src")
			}
			p.Wait("window.ran")
			var all []string
			for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
				if all = append(all, p.Faults()...); strings.Contains(strings.Join(all, "\n"), c.want) {
					return
				}
				browser.Eval[bool](p, "new Promise((done) => setTimeout(() => done(true), 50))")
			}
			t.Errorf("want a fault with %q, got %q", c.want, all)
		})
	}
}

func TestWhatIsExpectedIsNoFault(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte("<!doctype html><link rel=icon href='data:,'><script>console.error('dark'); console.error('light')</script><p id=a> a <b>b</b></p>"))
	})
	p := browser.Open(t, serve(t, mux, nil))
	p.Expect("dark")
	if got := p.Text("#a"); got != "a b" {
		t.Errorf("text: %q", got)
	}
	// The console's words come to the tests on their own, beside the answers.
	var got []string
	for deadline := time.Now().Add(time.Minute); len(got) == 0 && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		got = p.Faults()
	}
	if len(got) != 1 || !strings.Contains(got[0], "light") {
		t.Errorf("faults: %q", got)
	}
}
