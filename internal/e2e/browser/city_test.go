package browser_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"steelyard/cloud/web"
	"steelyard/internal/e2e/browser"
)

const sum = "#table tfoot [data-flow=collected]"

func TestCityNumbersChangeWithoutReload(t *testing.T) {
	t.Parallel()
	url, s := city(t, twoSites)
	p := browser.Open(t, url)
	// Nothing has come yet: unknown is never 0.
	p.WaitText("#link-text", "实时")
	for _, selector := range []string{".card[data-flow=collected] b", "#rate b", "#loads b", sum, "[data-site=xinhua-1] [data-fact=records] dd"} {
		if got := p.Text(selector); got != "—" {
			t.Errorf("%s shows %q before anything is known", selector, got)
		}
	}
	if p.Shown("#audit") {
		t.Error("an audit is shown where there is none")
	}
	browser.Eval[bool](p, "window.loaded = true")
	fillCity(s)
	p.WaitText(".card[data-flow=collected] b", "3,801.200")
	p.WaitText("#city", "平顶山市")
	p.WaitText("#day", "2026年11月23日")
	p.WaitText("#rate b", "22.25") // 12.50 + 9.75: the belt of the site that is offline is left out
	p.WaitText("#rate .sub", "2/3")
	p.WaitText("#loads b", "4") // bales are no lorries
	p.WaitText("[data-category=steel] [data-flow=sorted]", "104.5605")
	p.WaitText("[data-category=copper] [data-flow=sorted]", "—") // nothing was posted
	p.WaitText("[data-site=xinhua-1] [data-device=baler-1] .value", "压缩")
	p.WaitText("[data-site=xinhua-1] [data-device=weighbridge-1] .value", "36.440 t")
	p.WaitText("[data-site=xinhua-1] [data-device=weighbridge-1] .kind", "1号地磅")
	p.WaitText("[data-site=xinhua-1] [data-device=belt-1] .kind", "皮带") // it has no name
	p.WaitText("[data-site=xinhua-1] [data-fact=records] dd", "18,420")
	p.WaitText("[data-site=weidong-1] [data-fact=backlog] dd", "17")
	p.WaitText("#provisional", "卫东区绿色分拣中心")

	s.send("totals", totals(total("xinhua-1", "steel", "collected", 999_999, 1)))
	p.WaitText(sum, "0.999999")
	s.send("totals", totals(total("xinhua-1", "steel", "collected", 1_000_001, 1)))
	p.WaitText(sum, "1.000001")
	s.send("live", liveValues("0.00"))
	p.WaitText("#rate b", "9.75")
	if !browser.Eval[bool](p, "window.loaded") {
		t.Error("the page was loaded again")
	}
	p.Wait("document.querySelector('#spark .line').getAttribute('d').startsWith('M')")
}

func TestCitySiteFilterAndEmptyDay(t *testing.T) {
	t.Parallel()
	url, s := city(t, twoSites)
	fillCity(s)
	p := browser.Open(t, url)
	p.WaitText(sum, "3,801.200")
	p.Wait("document.querySelectorAll('#site option').length === 3")
	browser.Eval[bool](p, "(() => { const s = document.querySelector('#site'); s.value = 'weidong-1'; s.dispatchEvent(new Event('change')); return true })()")
	p.WaitText(sum, "1,368.900")
	p.WaitText(".card[data-flow=collected] b", "3,801.200")
	s.send("totals", totals())
	p.WaitText("#tonnage-empty", "第一张磅单")
	p.WaitText(sum, "—")
}

// Alarms and doubtful times are lines in the reader's language, as soon as a site's state counts them.
func TestCityAlarms(t *testing.T) {
	t.Parallel()
	url, s := city(t, twoSites)
	p := browser.Open(t, url)
	fillCity(s)
	p.WaitText("[data-site=xinhua-1] [data-fact=records] dd", "18,420")
	if p.Shown("#alarms") {
		t.Error("alarms are shown where there are none")
	}
	states := siteStates()
	states[0]["alarms"], states[0]["suspects"], states[0]["unreceipted_ms"] = 2, 1, 180_000
	s.send("sites", states)
	p.WaitText("[data-site=xinhua-1] .refused", "警报 2 项")
	p.WaitText("[data-site=xinhua-1] .refused", "1 条时间存疑")
	p.WaitText("[data-site=xinhua-1] .pill", "3分钟没有回执")
	p.WaitText("#alarms-list [data-reason=number-again]", "新华区绿色分拣中心：磅单号重复")
	p.WaitText("#alarms-list [data-reason=somebody-new]", "somebody-new")
	p.WaitText("#alarms-list [data-reason=time-suspect]", "20261122-0badcafe-0007")
	p.Click("#language")
	p.WaitText("#alarms-list [data-reason=number-again]", "a ticket number came twice")
	if n := browser.Eval[int](p, "document.querySelectorAll('#alarms-list li').length"); n != 3 {
		t.Errorf("%d lines", n)
	}
}

// A store of curves that somebody must mend is said in the reader's language, until it is mended.
func TestCityCurvesAlarm(t *testing.T) {
	t.Parallel()
	url, s := city(t, twoSites)
	p := browser.Open(t, url)
	fillCity(s)
	s.send("curves", object{"alarm": true, "parked": 12_345})
	p.WaitText("#curves", "12,345 个点待补写")
	p.Click("#language")
	p.WaitText("#curves", "12,345 points wait")
	s.send("curves", object{"alarm": false, "parked": 0})
	p.Wait("document.querySelector('#curves').hidden")
}

func TestCityWithoutSites(t *testing.T) {
	t.Parallel()
	url, s := city(t, nil)
	s.send("live", []object{})
	s.send("sites", []object{})
	p := browser.Open(t, url)
	p.WaitText("#link-text", "实时")
	p.WaitText("#sites", "登记第一个分拣中心")
	p.WaitText("#rate .sub", "暂无")
}

// A page that does not know the city's names yet shows no codes in their place, and says of nothing
// that there is none.
func TestCityWithoutNames(t *testing.T) {
	t.Parallel()
	s := newScript()
	names := make(chan struct{})
	real := web.New(web.Config{Name: "平顶山市", Sites: twoSites, Categories: categories(t), Now: func() time.Time { return now }})
	mux := http.NewServeMux()
	mux.Handle("GET /api/events", s)
	mux.HandleFunc("GET /api/city", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-names:
		case <-r.Context().Done():
		}
		real.ServeHTTP(w, r)
	})
	mux.Handle("GET /", real)
	url := serve(t, s.gate(mux), s)
	fillCity(s)
	s.send("audit", auditOf(3))
	p := browser.Open(t, url)
	p.WaitText(".card[data-flow=collected] b", "3,801.200")
	p.WaitText("#rate b", "22.25")
	p.WaitText("#sites", "正在读取场站")
	p.WaitText("#tonnage-empty", "正在等待总账")
	if p.Shown("#audit") {
		t.Error("the audit is shown in codes")
	}
	for _, text := range untranslated(p) {
		t.Errorf("not translated: %s", text)
	}
	close(names)
	p.WaitText("#faults", "新华区绿色分拣中心")
	p.WaitText("[data-category=steel] th", "废钢铁")
	p.WaitText("[data-site=xinhua-1] h3", "新华区绿色分拣中心")
}

func TestCityStaleValuesAreGrey(t *testing.T) {
	t.Parallel()
	url, s := city(t, twoSites)
	fillCity(s)
	p := browser.Open(t, url)
	stale := "[data-site=weidong-1] [data-device=belt-1]"
	p.WaitText(stale+" .value", "21.30 t/h")
	p.WaitText(stale+" .note", "1分钟前")
	p.Wait("document.querySelector('" + stale + "').matches('.stale')")
	colour := func(selector string) string {
		return browser.Eval[string](p, "getComputedStyle(document.querySelector('"+selector+" .value')).color")
	}
	if live := "[data-site=xinhua-1] [data-device=belt-1]"; colour(live) == colour(stale) {
		t.Error("a stale value has the colour of a live one")
	}
	p.WaitText("[data-site=weidong-1] [data-device=weighbridge-1] .value", "无数值")
}

func TestCityConnectionLostAndBack(t *testing.T) {
	t.Parallel()
	url, s := city(t, twoSites)
	fillCity(s)
	p := browser.Open(t, url)
	p.Expect("net::ERR_") // what the browser itself says about a server that is gone
	p.WaitText("#rate b", "22.25")
	if p.Shown("#band") {
		t.Error("the band is shown while the server is there")
	}
	s.cut()
	p.Wait("!document.querySelector('#band').hidden")
	p.WaitText("#band", "连接已中断")
	p.WaitText("#link-text", "已断开")
	p.WaitText("#rate b", "—")
	p.Wait("document.querySelector('.card[data-flow=collected] b').matches('.stale')")
	p.Wait("[...document.querySelectorAll('.machines li')].every((li) => li.matches('.stale'))")
	p.WaitText(".card[data-flow=collected] b", "3,801.200") // greyed, not gone: it has its age on the band
	s.up()
	s.send("live", liveValues("20.00"))
	p.Wait("document.querySelector('#band').hidden")
	p.WaitText("#link-text", "实时")
	p.WaitText("#rate b", "29.75")
	p.Wait("!document.querySelector('.card[data-flow=collected] b').matches('.stale')")
}

// A line that dies without a word is noticed; a stream that is quiet because nothing changes is not
// called lost.
func TestCitySilentLine(t *testing.T) {
	t.Parallel()
	url, s := city(t, twoSites)
	fillCity(s)
	p := browser.Open(t, url)
	p.Expect("net::ERR_")
	p.WaitText("#rate b", "22.25")
	p.WaitText("#city", "平顶山市")
	for before := s.requests(); s.requests() == before; { // the page asks whether anybody is there
		p.WaitText("#link-text", "实时")
	}
	p.WaitText("#link-text", "实时")
	if p.Shown("#band") {
		t.Error("a quiet stream is called lost")
	}
	s.hush()
	p.WaitText("#band", "连接已中断")
	p.WaitText("#rate b", "—")
	s.up()
	s.send("live", liveValues("20.00"))
	p.WaitText("#rate b", "29.75")
}

// What is in no total is listed with its reason; while the account can't be read its tonnage is grey.
func TestCityUnpostedAndUnread(t *testing.T) {
	t.Parallel()
	url, s := city(t, twoSites)
	fillCity(s)
	p := browser.Open(t, url)
	const card = ".card[data-flow=collected] b"
	p.WaitText(card, "3,801.200")
	if p.Shown("#unread") {
		t.Error("the account is said not to be read")
	}
	s.send("unposted", []object{{"site": "xinhua-1", "journal": "9f3a", "n": 42, "kind": "bale", "at_ms": now.UnixMilli(), "why": "material \"rubber\" is not in the catalogue"}})
	p.WaitText("#alarms-list [data-reason=unposted]", "新华区绿色分拣中心：11/23 12:21 的包（第 42 条）未入账")
	p.WaitText("#alarms-list [data-reason=unposted]", "rubber")
	s.send("unread", object{"totals": true, "sites": false, "hour": false})
	p.WaitText("#unread", "总账暂时读不出")
	p.Wait("document.querySelector('" + card + "').matches('.stale')")
	p.WaitText("#link-text", "实时")
	s.send("unread", object{"totals": false, "sites": false, "hour": false})
	p.Wait("!document.querySelector('" + card + "').matches('.stale')")
	p.Wait("!document.querySelector('#unread').checkVisibility()")
	s.send("unposted", []object{})
	p.Wait("!document.querySelector('#alarms').checkVisibility()")
}

func TestCityAudit(t *testing.T) {
	t.Parallel()
	url, s := city(t, twoSites)
	fillCity(s)
	p := browser.Open(t, url)
	p.WaitText("#verdict", "账实相符")
	p.WaitText("#verdict", "2 条在途")
	p.WaitText("#tonnes", "57.0335")
	p.WaitText("#tonnes", "废钢铁")
	if got := browser.Eval[string](p, "document.querySelector('#verdict').dataset.state"); got != "good" {
		t.Errorf("verdict is %s", got)
	}
	s.send("audit", auditOf(3))
	p.WaitText("#verdict", "账实不符")
	p.WaitText("#verdict", "丢失 6")
	p.WaitText("#faults", "新华区绿色分拣中心：进出场 4be1 的磅单已确认，总账里却没有")
	p.WaitText("#faults", "废纸 (paper/occ) 410 kg")
	p.WaitText("#faults", "吨位：分拣量 废纸 实际 821 kg，总账 820.999 kg")
	if got := browser.Eval[string](p, "document.querySelector('#verdict').dataset.state"); got != "bad" {
		t.Errorf("verdict is %s", got)
	}
	p.Wait("document.querySelectorAll('td.bad').length === 2")
}

func TestCityLooks(t *testing.T) {
	t.Parallel()
	url, s := city(t, twoSites)
	fillCity(s)
	p := browser.Open(t, url)
	p.WaitText("#verdict", "账实相符")
	p.WaitText("#city", "平顶山市")
	s.send("live", liveValues("1412.50"))
	p.WaitText("#rate b", "1,422.25")
	looks(t, p, "city", false, "平顶山市", "2号打包机")

	// The language is remembered.
	p.Click("#language")
	p.WaitText("#verdict", "Exact")
	p.Reload()
	p.WaitText("#verdict", "Exact")
	if got := p.Text("#tonnage-title"); !strings.HasPrefix(got, "Tonnage") {
		t.Errorf("after a reload: %s", got)
	}
}

func TestCityLooksWhenLost(t *testing.T) {
	t.Parallel()
	url, s := city(t, twoSites)
	fillCity(s)
	s.send("audit", auditOf(3))
	p := browser.Open(t, url)
	p.Expect("net::ERR_")
	p.WaitText("#verdict", "账实不符")
	s.cut()
	p.WaitText("#band", "连接已中断")
	looks(t, p, "city-lost", true, "平顶山市", "2号打包机")
}
