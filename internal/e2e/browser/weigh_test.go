package browser_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"

	"steelyard/firmware-bridge/device"
	"steelyard/internal/e2e/browser"
	"steelyard/internal/record"
	"steelyard/internal/unit"
)

const bridge = "weighbridge-1"

// F2 and F4 are the keys of the two acts.
const (
	keyIn  = kb.F2
	keyOut = kb.F4
)

func enabled(id string) string { return "!document.getElementById('" + id + "').disabled" }

func choose(p *browser.Page, material string) {
	browser.Eval[bool](p, "(() => { const s = document.querySelector('#material'); s.value = '"+material+"'; s.dispatchEvent(new Event('change', {bubbles: true})); s.dispatchEvent(new Event('input', {bubbles: true})); return s.value === '"+material+"' })()")
}

// A lorry comes and goes, and nobody touches a mouse.
func TestWeighingByKeyboard(t *testing.T) {
	t.Parallel()
	y, url := openYard(t, bridge)
	y.show(bridge, 0, device.Yes)
	p := browser.Open(t, url)
	p.WaitText("#sentence", "等待车辆上磅")
	p.Wait("document.activeElement?.id === 'operator'") // nobody is on duty yet
	p.Wait("document.querySelectorAll('#material option').length > 10")
	p.Type("王芳" + kb.Enter)
	p.WaitText("#on-duty", "王芳")
	p.Wait("document.activeElement?.id === 'vehicle'")
	p.Type("豫d·12345" + kb.Tab)
	p.Type("废铜" + kb.Tab) // a list is chosen from by typing
	p.Type("收集点-07" + kb.Tab)
	// The direction is inbound as it is.
	if got := browser.Eval[string](p, "document.querySelector('#material').value"); got != "copper" {
		choose(p, "copper") // some systems have no typing of Chinese into a list
	}
	p.WaitText("#in-rule", "等待车辆上磅")
	p.Type(keyIn) // too early: nothing may happen
	if got := y.passages(); len(got) != 0 {
		t.Fatalf("weighed in on an empty deck: %v", got)
	}
	y.show(bridge, 36440, device.No)
	p.WaitText("#sentence", "请停稳")
	y.show(bridge, 36440, device.Yes)
	p.WaitText("#sentence", "可以称重")
	p.Wait(enabled("in"))
	p.WaitText("#digits", "36440")
	p.Type(keyIn)
	p.WaitText("#result", "一次过磅已记录")
	p.WaitText("#result", "36,440 kg")
	passages := y.passages()
	if len(passages) != 1 || passages[0].Vehicle != "豫D12345" || passages[0].First.Mass != 36_440*unit.Kilogram || passages[0].Material != "copper" ||
		passages[0].Direction != record.Inbound || passages[0].Counterparty != "收集点-07" {
		t.Fatalf("passages: %+v", passages)
	}
	p.WaitText("#open", "豫D12345")
	p.WaitText("#sentence", "已经用过")
	p.Wait("!(" + enabled("out") + ")")

	y.show(bridge, 0, device.Yes)
	p.WaitText("#sentence", "等待车辆上磅")
	y.show(bridge, 14220, device.Yes)
	p.WaitText("#sentence", "可以称重")
	p.WaitText("#out-rule", "请输入车牌或在右侧选择")
	browser.Eval[bool](p, "(() => { document.querySelector('#open .row').focus(); return true })()")
	p.Type(kb.Enter)
	p.WaitText("#chosen-net", "22,220 kg")
	p.Wait(enabled("out"))
	p.Type(keyOut)
	p.WaitText("#result", "净重 22,220 kg")
	tickets := y.tickets()
	if len(tickets) != 1 || tickets[0].Ticket.Net != 22_220*unit.Kilogram {
		t.Fatalf("tickets: %+v", tickets)
	}
	p.WaitText("#tickets", tickets[0].Ticket.Number)
	p.WaitText("#open-empty", "场内没有车")

	browser.Eval[bool](p, "(() => { document.querySelector('#tickets .row').focus(); return true })()")
	p.Type(kb.Enter)
	p.WaitText("#ticket-facts", "36,440 kg")
	p.WaitText("#ticket-facts", "废铜 22,220 kg")
	p.Type(kb.Escape)
	p.Wait("!document.querySelector('#ticket').open")
	p.Reload() // who is on duty is asked once a shift
	p.WaitText("#on-duty", "王芳")
	p.Wait("document.activeElement?.id === 'vehicle'")
	p.Click("#relieve")
	p.Wait("document.activeElement?.id === 'operator' && !document.querySelector('#on-duty').checkVisibility()")
}

// A list that changes under the operator's hands leaves the keyboard on the same lorry and ticket.
func TestTheKeyboardKeepsItsPlace(t *testing.T) {
	t.Parallel()
	y, url := openYard(t, bridge)
	y.weighed(bridge, "豫D71203", record.Inbound, "paper/occ", 22480, 9060)
	y.weighed(bridge, "豫D33107", record.Inbound, "paper/occ", 22480, 0)
	y.weighed(bridge, "豫D90021", record.Inbound, "steel", 13480, 0)
	y.show(bridge, 30060, device.Yes)
	p := browser.Open(t, url)
	p.WaitText("#sentence", "可以称重")
	for _, c := range []struct{ list, vehicle string }{{"open", "豫D33107"}, {"tickets", "豫D71203"}} {
		p.WaitText("#"+c.list, c.vehicle)
		browser.Eval[bool](p, "(() => { [...document.querySelectorAll('#"+c.list+" .row')].find((r) => r.innerText.includes('"+c.vehicle+"')).focus(); return true })()")
		before := browser.Eval[int](p, "document.querySelectorAll('#"+c.list+" .row').length")
		y.weighed(bridge, "豫A0000"+c.list[:1], record.Inbound, "copper", 12480, map[string]int64{"open": 0, "tickets": 5000}[c.list])
		p.Wait(fmt.Sprintf("document.querySelectorAll('#%s .row').length > %d", c.list, before))
		if text := browser.Eval[string](p, "document.activeElement.closest('.row')?.innerText ?? ''"); !strings.Contains(text, c.vehicle) {
			t.Errorf("the keyboard was on %s of %s and is on %q", c.vehicle, c.list, text)
		}
	}
}

// An outbound lorry needs a destination, and its net is the other way round.
func TestOutboundNeedsADestination(t *testing.T) {
	t.Parallel()
	y, url := openYard(t, bridge)
	y.weighed(bridge, "豫D90021", record.Outbound, "aluminium", 13480, 0)
	y.show(bridge, 30060, device.Yes)
	p := browser.Open(t, url)
	p.WaitText("#sentence", "可以称重")
	p.Click("#operator")
	p.Type("王芳")
	p.Click("#open .row")
	p.WaitText("#out-rule", "请选择去向")
	p.WaitText("#chosen-net", "16,580 kg")
	p.Type(kb.Escape)
	p.Wait("document.querySelector('#chosen').hidden")
	p.Click("#open .row")
	p.Click("[name=destination][value=centre]")
	p.Wait(enabled("out"))
	p.Click("#out")
	p.WaitText("#result", "16,580 kg")
	if got := y.tickets(); len(got) != 1 || got[0].Ticket.Destination != record.ToCentre {
		t.Errorf("tickets: %+v", got)
	}
}

func TestALorryThatGotLighterIsNoInboundLoad(t *testing.T) {
	t.Parallel()
	y, url := openYard(t, bridge)
	y.weighed(bridge, "豫D33107", record.Inbound, "paper", 9000, 0)
	y.show(bridge, 22480, device.Yes)
	p := browser.Open(t, url)
	p.WaitText("#sentence", "可以称重")
	p.Click("#operator")
	p.Type("王芳")
	p.Click("#open .row")
	p.WaitText("#out-rule", "净重不是正数")
	// It can be cancelled, with a reason.
	p.Click("#cancelling summary")
	p.Click("#cancel")
	p.WaitText("#result", "请填写原因")
	p.Click("#reason")
	p.Type("方向选错")
	p.Click("#cancel")
	p.WaitText("#result", "已作废")
	if got := y.passages(); len(got) != 0 {
		t.Errorf("passages: %+v", got)
	}
}

// ready opens a page on which everything is entered and the lorry may be weighed in.
func ready(t *testing.T) (*yard, *browser.Page) {
	t.Helper()
	y, url := openYard(t, bridge)
	y.show(bridge, 0, device.Yes)
	p := browser.Open(t, url)
	p.WaitText("#sentence", "等待车辆上磅")
	arrive(y, p)
	return y, p
}

// arrive enters a lorry and puts it on the empty deck.
func arrive(y *yard, p *browser.Page) {
	p.Wait("document.querySelectorAll('#material option').length > 10")
	p.Click("#vehicle")
	p.Type("豫D12345")
	choose(p, "paper/occ")
	p.Click("#operator")
	p.Type("王芳")
	y.show(bridge, 36440, device.Yes)
	p.Wait(enabled("in"))
}

// The answer is lost after the act was journaled: the page sees that the lorry is there.
func TestAnAnswerIsLost(t *testing.T) {
	t.Parallel()
	y, p := ready(t)
	p.Expect("net::ERR_")
	y.set(func(y *yard) { y.swallow = 1 })
	p.Click("#in")
	p.WaitText("#result", "一次过磅已记录")
	if got := y.passages(); len(got) != 1 {
		t.Errorf("passages: %+v", got)
	}
	if got := browser.Eval[string](p, "String(sessionStorage.getItem('steelyard.unanswered'))"); got != "null" {
		t.Errorf("the act is still unanswered: %s", got)
	}
}

// The act did not arrive: pressing again sends the same one, over a reload too.
func TestAnActThatDidNotArriveIsRepeated(t *testing.T) {
	t.Parallel()
	y, p := ready(t)
	p.Expect("503")
	y.set(func(y *yard) { y.refuse = errDisk })
	p.Click("#in")
	p.WaitText("#result", "未记录，请再按一次")
	p.WaitText("#problem", "磁盘已满")
	first := browser.Eval[string](p, "JSON.parse(sessionStorage.getItem('steelyard.unanswered')).passage")
	p.Reload()
	p.WaitText("#result", "请再按一次")
	if got := browser.Eval[string](p, "document.querySelector('#vehicle').value"); got != "豫D12345" {
		t.Errorf("the plate was forgotten: %q", got)
	}
	y.set(func(y *yard) { y.refuse = nil })
	p.Wait(enabled("in"))
	p.Click("#in")
	p.WaitText("#result", "一次过磅已记录")
	if got := y.passages(); len(got) != 1 || got[0].ID != first {
		t.Errorf("passages: %+v, the first try was %s", got, first)
	}
}

// randomUUID is missing where the page comes over plain http from another machine.
func TestPassagesWithoutRandomUUID(t *testing.T) {
	t.Parallel()
	y, url := openYard(t, bridge)
	y.show(bridge, 0, device.Yes)
	p := browser.Open(t, url)
	p.WaitText("#sentence", "等待车辆上磅")
	browser.Eval[bool](p, "(() => { Crypto.prototype.randomUUID = undefined; return true })()")
	p.Wait("document.querySelectorAll('#material option').length > 10")
	p.Click("#operator")
	p.Type("王芳")
	for _, vehicle := range []string{"豫D00001", "豫D00002"} { // the first number was drawn before
		y.show(bridge, 0, device.Yes)
		p.WaitText("#sentence", "等待车辆上磅")
		p.Click("#vehicle")
		p.Type(vehicle)
		choose(p, "steel")
		y.show(bridge, 20000, device.Yes)
		p.Wait(enabled("in"))
		p.Click("#in")
		p.WaitText("#open", vehicle)
		p.WaitText("#result", vehicle)
	}
	got := y.passages()
	if len(got) != 2 || got[0].ID == got[1].ID || len(got[1].ID) != 36 || got[1].ID[14] != '4' || !strings.Contains("89ab", got[1].ID[19:20]) {
		t.Errorf("passages: %+v", got)
	}
}

func TestWhatTheDeckSays(t *testing.T) {
	t.Parallel()
	y, url := openYard(t, bridge)
	p := browser.Open(t, url)
	p.WaitText("#sentence", "收不到仪表数据")
	p.WaitText("#age", "还没有收到过读数")
	if got := p.Text("#digits"); got != "—" {
		t.Errorf("nothing was ever heard, the page shows %q", got)
	}
	kg := func(n int64) unit.Decimal { return unit.Decimal{Coef: n} }
	for _, c := range []struct {
		w        device.Weight
		sentence string
		digits   string
	}{
		{device.Weight{Value: kg(0), HasValue: true, Unit: unit.KG}, "等待车辆上磅", "0"},
		{device.Weight{Value: kg(200), HasValue: true, Unit: unit.KG}, "低于最小称量", "200"},
		{device.Weight{Value: kg(-60), HasValue: true, Unit: unit.KG}, "重量为负", "-60"},
		{device.Weight{Range: device.Over}, "超出最大称量", "—"},
		{device.Weight{Range: device.Under}, "低于零位", "—"},
		{device.Weight{}, "没有给出重量", "—"},
		{device.Weight{Value: kg(36440), HasValue: true, Unit: unit.KG, Kind: device.Net}, "净重状态", "36440"},
		{device.Weight{Value: kg(36440), HasValue: true, Unit: unit.KG, PowerUp: device.Yes}, "未归零", "36440"},
		{device.Weight{Value: kg(36440), HasValue: true, Unit: unit.LB}, "单位不明", "36440"},
		{device.Weight{Value: kg(36440), HasValue: true, Unit: unit.KG, Stable: device.No}, "请停稳", "36440"},
		{device.Weight{Value: unit.Decimal{Coef: 3645, Scale: 2}, HasValue: true, Unit: unit.T, Stable: device.Yes}, "不是分度值的整数倍", "36.45"},
	} {
		y.display(bridge, c.w)
		p.WaitText("#sentence", c.sentence)
		p.WaitText("#digits", c.digits)
		if p.Text("#in-rule") == "可以称重" || !browser.Eval[bool](p, "document.querySelector('#in').disabled") {
			t.Errorf("%s: the button does not say why it is off: %s", c.sentence, p.Text("#in-rule"))
		}
	}
	// The indicator falls silent: no old weight stays, and its age grows.
	y.show(bridge, 36440, device.Yes)
	p.WaitText("#digits", "36440")
	p.Wait("!document.querySelector('#weight').matches('.stale')")
	y.silence(bridge)
	p.WaitText("#sentence", "收不到仪表数据")
	p.WaitText("#digits", "—")
	p.WaitText("#age", "最后读数")
	p.Wait("document.querySelector('#weight').matches('.stale')")
	p.Wait("document.querySelector('[data-lamp=line]').dataset.on === 'off' && document.querySelector('[data-lamp=stable]').dataset.on === 'unknown'")
}

func TestWeighingPageLosesTheEdge(t *testing.T) {
	t.Parallel()
	y, p := ready(t)
	p.Expect("net::ERR_")
	y.set(func(y *yard) { y.down = true })
	p.WaitText("#band", "连接已中断")
	p.WaitText("#sentence", "恢复后才能称重")
	p.WaitText("#in-rule", "恢复后才能称重")
	p.Wait("document.querySelector('#in').disabled && document.querySelector('#weight').matches('.stale')")
	p.WaitText("#age", "最后读数")
	p.WaitText("#digits", "36440") // greyed, with its age
	y.set(func(y *yard) { y.down = false })
	p.Wait("document.querySelector('#band').hidden")
	p.Wait("!document.querySelector('#weight').matches('.stale')")
	p.Wait(enabled("in"))
}

func TestNotRecordedIsSaidInRed(t *testing.T) {
	t.Parallel()
	y, url := openYard(t, bridge)
	y.set(func(y *yard) { y.refuse = errDisk })
	y.show(bridge, 0, device.Yes)
	p := browser.Open(t, url)
	p.WaitText("#sentence", "等待车辆上磅")
	y.show(bridge, 36440, device.Yes)
	p.WaitText("#problem", "未记录：磁盘已满")
	p.WaitText("#problem", "no space left on device") // for the fitter, as it is
	p.Wait("document.querySelector('#in').disabled")
	p.Click("#language")
	p.WaitText("#problem", "the disk is full")
	p.Click("#language")
	y.set(func(y *yard) { y.refuse, y.problem = nil, errors.New("something that nobody has thought of") })
	p.WaitText("#problem", "请联系维护人员")
	y.set(func(y *yard) { y.problem, y.cloud = nil, "the key of this site is not known" })
	p.WaitText("#problem", "城市平台拒收本站数据")
	p.WaitText("#problem", "the key of this site is not known")
	p.Wait("document.querySelector('#problem').dataset.tone === 'bad' && document.querySelector('#in').disabled")
	p.WaitText("#sentence", "暂停过磅")
}

func TestSeveralDecks(t *testing.T) {
	t.Parallel()
	y, url := openYard(t, "weighbridge-1", "weighbridge-2")
	y.show("weighbridge-1", 0, device.Yes)
	y.show("weighbridge-2", 22480, device.Yes)
	p := browser.Open(t, url)
	p.WaitText("#digits", "0")
	p.Wait("document.querySelectorAll('[role=tab]').length === 2")
	browser.Eval[bool](p, "(() => { document.querySelector('[role=tab]').focus(); return true })()")
	p.Type(kb.ArrowRight)
	p.WaitText("#digits", "22480")
	p.Wait("document.activeElement.getAttribute('aria-selected') === 'true'")
	p.Click("[data-device=weighbridge-1]")
	p.Wait("document.querySelector('#digits').innerText === '0'")
}

func TestWeighingLooks(t *testing.T) {
	t.Parallel()
	y, url := openYard(t, bridge)
	y.weighed(bridge, "豫D71203", record.Inbound, "steel/heavy-melt", 38640, 14220)
	y.weighed(bridge, "豫D0816A", record.Inbound, "paper/occ", 22480, 9060)
	y.weighed(bridge, "豫A55K19", record.Outbound, "copper", 12480, 30060)
	y.weighed(bridge, "豫D33107", record.Inbound, "paper/occ", 22480, 0)
	y.weighed(bridge, "豫D90021", record.Outbound, "aluminium/profile", 13480, 0)
	y.show(bridge, 36440, device.Yes)
	p := browser.Open(t, url)
	p.WaitText("#sentence", "可以称重")
	p.Click("#vehicle")
	p.Type("豫D12345")
	p.Click("#operator")
	p.Type("王芳")
	choose(p, "paper/occ")
	p.Click("[data-passage='passage-豫D90021']")
	p.WaitText("#chosen-net", "22,960 kg")
	data := []string{"豫D", "豫A", "王芳", "收集点-07"}
	looks(t, p, "weigh", false, data...)
	p.Click("#tickets .row")
	p.WaitText("#ticket-facts", "30,060 kg")
	for _, b := range breaches(p) {
		t.Errorf("an open ticket: axe-core: %s", b)
	}
	p.Type(kb.Escape)
	y.display(bridge, device.Weight{Value: unit.Decimal{Coef: -1820}, HasValue: true, Unit: unit.KG, Stable: device.Yes})
	y.set(func(y *yard) { y.problem = errDisk })
	p.WaitText("#problem", "未记录")
	looks(t, p, "weigh-bad", true, append(data, errDisk.Error())...)
}

// A page that was just opened, on a site of two weighbridges whose indicators say nothing yet.
func TestFreshPageLooks(t *testing.T) {
	t.Parallel()
	_, url := openYard(t, "weighbridge-1", "weighbridge-2")
	p := browser.Open(t, url)
	p.WaitText("#sentence", "收不到仪表数据")
	p.WaitText("#tabs", "2号地磅")
	p.Wait("document.querySelectorAll('#material option').length > 10")
	looks(t, p, "weigh-fresh", false)
}

// A plate that is typed and is on the site chooses its passage, wherever the list stands, and lets it
// go when it becomes another one.
func TestTypedPlateChoosesItsPassage(t *testing.T) {
	t.Parallel()
	y, url := openYard(t, bridge)
	y.weighed(bridge, "豫D33107", record.Inbound, "paper/occ", 22480, 0)
	y.weighed(bridge, "豫D90021", record.Outbound, "aluminium", 13480, 0)
	y.show(bridge, 9060, device.Yes)
	p := browser.Open(t, url)
	p.WaitText("#sentence", "可以称重")
	p.WaitText("#open", "豫D33107")
	p.Click("#operator")
	p.Type("王芳" + kb.Enter)
	p.Type("豫d 3310")
	p.WaitText("#in-rule", "请选择物料")
	if p.Shown("#chosen") {
		t.Error("half a plate chose a lorry")
	}
	p.Type("7")
	p.WaitText("#chosen-vehicle", "豫D33107")
	p.WaitText("#chosen-gross", "22,480 kg")
	p.WaitText("#chosen-tare", "9,060 kg")
	p.WaitText("#chosen-net", "13,420 kg")
	p.WaitText("#in-rule", "已在场内")
	p.Type("8")
	p.Wait("!document.querySelector('#chosen').checkVisibility()")
	p.Type(kb.Backspace)
	p.WaitText("#chosen-net", "13,420 kg")
	p.Type(keyOut)
	p.WaitText("#result", "净重 13,420 kg")
	p.Wait("document.querySelector('#vehicle').value === ''")
	if got := y.tickets(); len(got) != 1 || got[0].Ticket.Vehicle != "豫D33107" {
		t.Errorf("tickets: %+v", got)
	}
	// An outbound lorry's first weight is its tare; what is not weighed yet is a dash.
	y.show(bridge, 0, device.Yes)
	p.Type("豫D90021")
	p.WaitText("#chosen-tare", "13,480 kg")
	p.WaitText("#chosen-gross", "—")
	p.WaitText("#chosen-net", "—")
}

// What must be entered is marked before a lorry comes, and no longer when it is entered.
func TestMustBeEnteredIsMarked(t *testing.T) {
	t.Parallel()
	y, url := openYard(t, bridge)
	y.show(bridge, 0, device.Yes)
	p := browser.Open(t, url)
	p.WaitText("#sentence", "等待车辆上磅")
	marked := func() string {
		return browser.Eval[string](p, `[...document.querySelectorAll('[data-must]')].filter((l) => getComputedStyle(l.querySelector('em')).visibility === 'visible' && l.checkVisibility())
			.map((l) => l.querySelector('input, select').id).join()`)
	}
	p.Wait("document.querySelectorAll('#material option').length > 10")
	if got := marked(); got != "operator,vehicle,material" {
		t.Errorf("marked: %s", got)
	}
	p.Type("王芳" + kb.Enter + "豫D12345")
	choose(p, "steel")
	if got := marked(); got != "" {
		t.Errorf("marked: %s", got)
	}
	p.WaitText("#counterparty-is", "送货单位")
	p.Click("[name=direction][value=outbound]")
	p.WaitText("#counterparty-is", "客户")
}

// A browser that stores nothing asks again when the page is opened again; until then it knows who is
// on duty. After twelve hours somebody else is.
func TestOnDutyWithoutStorage(t *testing.T) {
	t.Parallel()
	y, url := openYard(t, bridge)
	y.show(bridge, 0, device.Yes)
	p := browser.Open(t, url)
	p.WaitText("#sentence", "等待车辆上磅")
	browser.Eval[bool](p, "(() => { Storage.prototype.setItem = Storage.prototype.getItem = () => { throw new Error('forbidden') }; return true })()")
	p.Type("王芳" + kb.Enter)
	p.WaitText("#on-duty", "王芳")
	y.show(bridge, 36440, device.Yes)
	p.WaitText("#sentence", "可以称重") // the page has been shown again since
	p.WaitText("#on-duty", "王芳")
	p.WaitText("#in-rule", "请填写车牌")
	browser.Eval[bool](p, "(() => { const now = Date.now; Date.now = () => now() + 13 * 3600 * 1000; return true })()")
	p.WaitText("#in-rule", "请填写车牌")
	p.Wait("document.querySelector('#operator').checkVisibility()")
}

// A page that is opened while a lorry stands on the deck shows how it came there.
func TestCurveIsThereAtLoad(t *testing.T) {
	t.Parallel()
	y, url := openYard(t, bridge)
	y.drive(bridge, 36440, func(time.Time) ([]record.Fact, error) { return nil, nil }) // two seconds, ahead of the clock
	y.show(bridge, 14220, device.Yes)
	time.Sleep(2500 * time.Millisecond)
	p := browser.Open(t, url)
	p.WaitText("#digits", "14220")
	p.WaitText("#curve-top", "40,000 kg") // of the load that was there before the page was
}

// The page's first language is the reader's, if it has it, and Chinese otherwise; the reader's choice
// is remembered.
func TestLanguageOfTheBrowser(t *testing.T) {
	t.Parallel()
	for languages, want := range map[string]string{"en-US": "en-GB", "fr-FR,en": "en-GB", "zh-TW,en": "zh-CN", "de-DE": "zh-CN"} {
		t.Run(languages, func(t *testing.T) {
			t.Parallel()
			y, url := openYard(t, bridge)
			y.show(bridge, 0, device.Yes)
			p := browser.OpenFor(t, languages, url)
			title, id := "1号地磅", "weighbridge-1"
			site := "新华区绿色分拣中心"
			if want == "en-GB" {
				title, site = "Weighbridge 1", "Xinhua sorting centre"
			}
			p.WaitText("#deck-title", title)
			p.WaitText("#deck-id", id)
			p.WaitText("#name", site)
			if got := browser.Eval[string](p, "document.documentElement.lang"); got != want {
				t.Errorf("the page speaks %s", got)
			}
			p.Click("#language")
			p.Reload()
			p.Wait("document.documentElement.lang !== '" + want + "'")
		})
	}
}
