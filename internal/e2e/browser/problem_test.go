package browser_test

import (
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"steelyard/firmware-bridge/device"
	"steelyard/internal/e2e/browser"
)

// A missing page, a wrong method and a foreign origin are pages of the service, in the language that
// was chosen on the others.
func TestProblemsArePages(t *testing.T) {
	t.Parallel()
	url, _ := city(t, twoSites)
	p := browser.Open(t, url+"/no/such/page")
	p.Expect("404") // what the browser itself says about the status
	p.WaitText("#what", "没有这个页面")
	p.WaitText("main", "404")
	looks(t, p, "missing", true)

	p.Click("#language")
	p.WaitText("#what", "There is no such page")
	p.Reload()
	p.WaitText("#what", "There is no such page")
	p.Wait("document.title === 'There is no such page'")
	p.Click("a")
	p.WaitText("#link-text", "Live")
	p.Click("#language")
	p.WaitText("#link-text", "实时")

	// A form posts to a page that is only to be read.
	p.Expect("405")
	browser.Eval[bool](p, "(() => { const f = document.createElement('form'); f.method = 'post'; document.body.append(f); f.submit(); return true })()")
	p.WaitText("#what", "不能这样打开")
	p.Wait("document.documentElement.lang === 'zh-CN'")
}

// A page of another site that posts here is refused, and the reader sees why.
func TestForeignPagesAreRefusedInWords(t *testing.T) {
	t.Parallel()
	url, _ := city(t, twoSites)
	foreign := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprintf(w, "<!doctype html><title>f</title><link rel=icon href='data:,'><form method=post action='%s/'><button>free scrap</button></form>", url)
	})
	p := browser.Open(t, serve(t, foreign, nil))
	p.Expect("another host") // it is what the test is about
	p.Expect("403")
	p.Click("button")
	p.WaitText("#what", "已拒绝：请求来自别的网站")
	p.Click("a")
	p.WaitText("#link-text", "实时")
}

// A page whose name resolves to this machine weighs nothing in and reads nothing: it is told why, in
// words (F3). The same page under a listed name works.
func TestReboundNamesAreRefusedInWords(t *testing.T) {
	t.Parallel()
	y, url := openYard(t, "weighbridge-1")
	y.show("weighbridge-1", 20_000, device.Yes)
	rebound := strings.Replace(url, "127.0.0.1", "evil.example", 1)
	p := browser.Open(t, rebound)
	p.Expect("421") // what the browser itself says about the status
	p.WaitText("#what", "这个主机名没有登记")
	p.WaitText("#remedy", "hosts")
	act := `fetch('/api/weigh-in', {method: 'POST', headers: {'Content-Type': 'application/json'}, body: JSON.stringify({passage: 'rebound', deck: 'weighbridge-1',
		operator: 'nobody', vehicle: '豫Z99999', direction: 'inbound', material: 'paper/occ', counterparty: 'evil'})}).then((r) => r.status)`
	read := "fetch('/api/decks').then((r) => r.status)"
	if weighed, seen := browser.Eval[int](p, act), browser.Eval[int](p, read); weighed != 421 || seen != 421 {
		t.Errorf("under a foreign name: weigh-in %d, decks %d", weighed, seen)
	}
	p.Click("#language")
	p.WaitText("#what", "This host name is not listed")

	listed := browser.Open(t, strings.Replace(url, "127.0.0.1", "weigh.example", 1))
	listed.WaitText("#page-link-text", "已连接")
	listed.WaitText("#sentence", "可以称重")
	if weighed, seen := browser.Eval[int](listed, act), browser.Eval[int](listed, read); weighed != 201 || seen != 200 {
		t.Errorf("under a listed name: weigh-in %d, decks %d", weighed, seen)
	}
}

// Every problem that nobody answers has words, in both languages.
func TestEveryProblemHasWords(t *testing.T) {
	zh, en := languagesOf(t, "problem", root+"internal/page/shared/problem-words.js")
	checkLanguages(t, "problem", zh, en)
	var keys []string
	for _, m := range regexp.MustCompile(`return &Problem\{"[a-z ]+", http\.Status\w+, "([a-z-]+)"`).FindAllStringSubmatch(source(t, root+"internal/page/problem.go"), -1) {
		keys = append(keys, "what-"+m[1], "remedy-"+m[1])
	}
	if !slices.Contains(keys, "what-not-found") || len(keys) < 10 {
		t.Errorf("only %q were found in the sources: the search is broken", keys)
	}
	for _, m := range slices.Concat(usedJS.FindAllStringSubmatch(source(t, root+"internal/page/shared/problem.js"), -1),
		usedT.FindAllStringSubmatch(source(t, root+"internal/page/problem.html"), -1)) {
		keys = append(keys, m[1])
	}
	if missing := lacking(keys, zh); len(missing) > 0 {
		t.Errorf("no words for %q", missing)
	}
	delete(zh, "what-not-found")
	if missing := lacking(keys, zh); !slices.Equal(missing, []string{"what-not-found"}) {
		t.Errorf("a problem without words was not noticed: %q", missing)
	}
}

// Every fault of an audit has words in both languages, and the English ones are those of the
// terminal.
func TestEveryFaultOfTheAuditHasWords(t *testing.T) {
	want := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^\t\t"([a-z-]+)": +"(.*)",$`).FindAllStringSubmatch(source(t, root+"cloud/demo/fault.go"), -1) {
		want["fault-"+m[1]] = m[2]
	}
	if len(want) < 20 {
		t.Fatalf("only %d faults were found in the sources: the search is broken", len(want))
	}
	zh, en := dictionaries(t, "city")
	differ := func(en map[string]string) (all []string) {
		for _, key := range slices.Sorted(maps.Keys(want)) {
			if en[key] != want[key] {
				all = append(all, key)
			}
		}
		return all
	}
	if missing := lacking(keysOf(want), zh); len(missing) > 0 {
		t.Errorf("no Chinese for %q", missing)
	}
	if wrong := differ(en); len(wrong) > 0 {
		t.Errorf("the page's English is not the terminal's for %q", wrong)
	}
	for key := range zh {
		if _, known := want[key]; strings.HasPrefix(key, "fault-") && key != "fault-at" && !known {
			t.Errorf("words for %s, which no audit says", key)
		}
	}
	en["fault-tonnes"] = "tonnes differ"
	if wrong := differ(en); !slices.Equal(wrong, []string{"fault-tonnes"}) {
		t.Errorf("other words were not noticed: %q", wrong)
	}
}
