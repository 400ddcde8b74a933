// Package browser opens the product's pages in a real browser, for tests.
//
// In: an address, and what a person would do there. Out: what is to be read on the page, pictures
// of it, and what it did wrong.
// It promises that a test fails whose page writes an error to the console, breaks its own content
// security policy, throws, or asks any other host than the one it came from, unless the test said
// that it expects that; and that the browser has ended, with its data, when the test has.
// It knows no page: selectors and words are the tests'.
package browser

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// The limits of a browser and of one step. They bound a broken test; a page that works is never
// near them.
const (
	browserLimit = 10 * time.Minute
	stepLimit    = time.Minute
	pollEvery    = 40 * time.Millisecond
)

// Page is one tab of a browser of its own.
type Page struct {
	t    testing.TB
	ctx  context.Context
	host string

	mu       sync.Mutex // guards the fields below
	faults   []string
	expected []string
}

// Open starts a browser with empty data at 1366×768 in light colours, whose reader speaks Chinese,
// and goes to an address. At the end of the test the faults of the page fail it.
func Open(t testing.TB, address string) *Page {
	t.Helper()
	return OpenFor(t, "zh-CN", address)
}

// OpenFor is Open for a reader of other languages, written like "de,en-GB".
func OpenFor(t testing.TB, languages, address string) *Page {
	t.Helper()
	at, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	program := findBrowser()
	if program == "" {
		t.Fatal("no browser: install chromium, or put it on the PATH")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(filepath.Join(t.TempDir(), "profile")),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-domain-reliability", true),
		chromedp.Flag("no-pings", true), chromedp.Flag("lang", "zh-CN"), chromedp.Flag("accept-lang", languages), chromedp.Flag("host-resolver-rules", "MAP *.example 127.0.0.1"), // any name of .example is this machine
		chromedp.WSURLReadTimeout(stepLimit))
	limited, stop := context.WithTimeout(context.Background(), browserLimit)
	allocator, free := chromedp.NewExecAllocator(limited, options...)
	ctx, end := chromedp.NewContext(allocator, chromedp.WithErrorf(func(string, ...any) {}))
	p := &Page{t: t, ctx: ctx, host: at.Host}
	t.Cleanup(func() {
		for _, fault := range p.Faults() {
			t.Errorf("the page: %s", fault)
		}
		if err := chromedp.Cancel(ctx); err != nil {
			t.Logf("browser: %v", err)
		}
		end()
		free()
		chromedp.FromContext(ctx).Allocator.Wait()
		stop()
	})
	p.load(address)
	return p
}

func (p *Page) load(address string) {
	p.t.Helper()
	if err := chromedp.Listen(p.ctx, p.hear); err != nil {
		p.t.Fatalf("browser: %v", err)
	}
	p.View(1366, 768, false)
	p.do(chromedp.Navigate(address))
}

// Tab opens another tab of the same browser. Its faults fail the test at the end, too.
func (p *Page) Tab(address string) *Page {
	p.t.Helper()
	at, err := url.Parse(address)
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, end := chromedp.NewContext(p.ctx)
	tab := &Page{t: p.t, ctx: ctx, host: at.Host}
	p.t.Cleanup(func() {
		for _, fault := range tab.Faults() {
			p.t.Errorf("a tab: %s", fault)
		}
		end()
	})
	tab.load(address)
	return tab
}

// Hide tells the page that nobody sees it, or that somebody does again, as a browser does when
// another tab is chosen.
func (p *Page) Hide(hidden bool) {
	p.t.Helper()
	state := "visible"
	if hidden {
		state = "hidden"
	}
	Eval[bool](p, "(() => { Object.defineProperty(document, 'hidden', {value: "+strconv.FormatBool(hidden)+", configurable: true});"+
		"Object.defineProperty(document, 'visibilityState', {value: '"+state+"', configurable: true}); document.dispatchEvent(new Event('visibilitychange')); return true })()")
}

// findBrowser gives the path of the first browser of the Chromium family on this machine.
func findBrowser() string {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if found, err := exec.LookPath(name); err == nil {
			return found
		}
	}
	return ""
}

// hear takes the events of the tab. It runs in the tab's own loop and must return at once.
func (p *Page) hear(event any) {
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		if e.Type == "error" || e.Type == "warning" || e.Type == "assert" {
			var words []string
			for _, arg := range e.Args {
				words = append(words, string(arg.Value)+arg.Description)
			}
			p.fault("console: %s", strings.Join(words, " "))
		}
	case *runtime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if x := e.ExceptionDetails.Exception; x != nil {
			text += " " + x.Description
		}
		p.fault("exception: %s (%s:%d)", text, e.ExceptionDetails.URL, e.ExceptionDetails.LineNumber+1)
	case *log.EventEntryAdded:
		// A breach of the content security policy arrives here, too.
		if e.Entry.Level == "error" {
			p.fault("%s: %s %s", e.Entry.Source, e.Entry.Text, e.Entry.URL)
		}
	case *network.EventRequestWillBeSent:
		to, err := url.Parse(e.Request.URL)
		if err != nil || (to.Scheme != "data" && to.Scheme != "about" && to.Host != p.host) {
			p.fault("request to another host: %s", e.Request.URL)
		}
	case *network.EventWebSocketCreated:
		p.fault("web socket: %s", e.URL)
	}
}

func (p *Page) fault(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = append(p.faults, fmt.Sprintf(format, args...))
}

// Expect says that faults that contain a text are no faults in this test.
func (p *Page) Expect(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expected = append(p.expected, text)
}

// Faults gives what the page has done wrong since the last call, without what was expected.
func (p *Page) Faults() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []string
next:
	for _, fault := range p.faults {
		for _, text := range p.expected {
			if strings.Contains(fault, text) {
				continue next
			}
		}
		all = append(all, fault)
	}
	p.faults = nil
	return all
}

func (p *Page) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, stepLimit)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		p.t.Fatalf("browser: %v\n%s", err, strings.Join(p.Faults(), "\n"))
	}
}

// View sets the size of the window and whether the reader prefers dark colours.
func (p *Page) View(width, height int64, dark bool) {
	p.t.Helper()
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	ctx, cancel := context.WithTimeout(p.ctx, stepLimit)
	defer cancel()
	if _, err := chromedp.Call(ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: width, Height: height, DeviceScaleFactor: 1, Mobile: width < 600}); err != nil {
		p.t.Fatalf("browser: size: %v", err)
	}
	if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}); err != nil {
		p.t.Fatalf("browser: colours: %v", err)
	}
}

// Reload loads the page again, as a reader does.
func (p *Page) Reload() {
	p.t.Helper()
	p.do(chromedp.Reload())
}

// Eval gives the value of a JavaScript expression; a promise is awaited.
func Eval[T any](p *Page, expression string) T {
	p.t.Helper()
	v, err := evaluate[T](p, expression)
	if err != nil {
		p.t.Fatalf("browser: %s: %v", expression, err)
	}
	return v
}

func evaluate[T any](p *Page, expression string) (T, error) {
	ctx, cancel := context.WithTimeout(p.ctx, stepLimit)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// leaving says that the document went away while it was asked, for the page goes to another one.
func leaving(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "Inspected target navigated or closed") ||
		strings.Contains(err.Error(), "Execution context was destroyed") || strings.Contains(err.Error(), "Cannot find default execution context"))
}

// Wait waits until a JavaScript expression is true, in this document or in one that the page is on
// its way to.
func (p *Page) Wait(expression string) {
	p.t.Helper()
	deadline := time.Now().Add(stepLimit)
	for {
		met, err := evaluate[bool](p, "Boolean("+expression+")")
		if err != nil && !leaving(err) {
			p.t.Fatalf("browser: %s: %v", expression, err)
		}
		if err == nil && met {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("waited for %s; the page shows:\n%s\n%s", expression, Eval[string](p, "document.body.innerText"), strings.Join(p.Faults(), "\n"))
		}
		time.Sleep(pollEvery)
	}
}

// quoted writes a text as JavaScript does.
func quoted(text string) string { return strconv.QuoteToASCII(text) }

// Text gives the text that is to be seen of the first element of a CSS selector.
func (p *Page) Text(selector string) string {
	p.t.Helper()
	p.Wait("document.querySelector(" + quoted(selector) + ")")
	return Eval[string](p, "document.querySelector("+quoted(selector)+").innerText.trim()")
}

// WaitText waits until an element shows a text: a hidden one has its text, too, and shows nothing.
func (p *Page) WaitText(selector, text string) {
	p.t.Helper()
	p.Wait("((e) => e?.checkVisibility() && e.innerText.includes(" + quoted(text) + "))(document.querySelector(" + quoted(selector) + "))")
}

// Shown reports whether there is a visible element for a selector.
func (p *Page) Shown(selector string) bool {
	p.t.Helper()
	return Eval[bool](p, "Boolean(document.querySelector("+quoted(selector)+")?.checkVisibility())")
}

// Click clicks in the middle of the first element of a selector.
func (p *Page) Click(selector string) {
	p.t.Helper()
	p.do(chromedp.Click(chromedp.CSS(selector)))
}

// Type writes a text as a person would, into what has the focus: each rune is a key. Keys without
// a rune are those of package kb.
func (p *Page) Type(text string) {
	p.t.Helper()
	p.do(chromedp.KeyEvent(text))
}

// Shot writes a picture of the window to a file.
func (p *Page) Shot(file string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, stepLimit)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err == nil {
		err = os.WriteFile(file, png, 0o600)
	}
	if err != nil {
		p.t.Fatalf("browser: picture: %v", err)
	}
}

// ShotAll writes a picture of the whole page to a file, below the window's edge too.
func (p *Page) ShotAll(file string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, stepLimit)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(file, png, 0o600)
	}
	if err != nil {
		p.t.Fatalf("browser: picture: %v", err)
	}
}
