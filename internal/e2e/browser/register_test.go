package browser_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"

	"steelyard/edge/meaning"
	"steelyard/firmware-bridge/device"
	"steelyard/internal/e2e/browser"
	"steelyard/internal/record"
	"steelyard/internal/unit"
)

// memory is the alibi memory of a yard's indicators: what they are asked to store they answer at
// once, as the test wants it.
type memory struct {
	mu     sync.Mutex // guards the fields below
	answer func(shown device.Weight, n int) *device.Weight
	n      int // weighings stored
}

func (m *memory) set(answer func(shown device.Weight, n int) *device.Weight) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.answer = answer
}

// What an indicator may answer. A nil weight is no answer.
func stores(w device.Weight, n int) *device.Weight {
	w.Kind, w.Alibi, w.Raw = device.Gross, fmt.Sprintf("00126-%06d", n), fmt.Appendf(nil, "PIDST %s %d", w.Value, n)
	return &w
}

func storesAnother(w device.Weight, n int) *device.Weight {
	w.Value.Coef += 100
	return stores(w, n)
}

func repeats(w device.Weight, _ int) *device.Weight { return stores(w, 1) }

func refuses(device.Weight, int) *device.Weight {
	return &device.Weight{Error: "refused: negative or not stable", Raw: []byte("PIDNO")}
}

func fails(device.Weight, int) *device.Weight {
	return &device.Weight{Range: device.RangeError, Error: "ERR01", Raw: []byte("ERR01")}
}

func saysNothing(device.Weight, int) *device.Weight { return nil }

// openLegalYard serves a yard whose one indicator stores each weighing.
func openLegalYard(t *testing.T) (*yard, *memory, string) {
	t.Helper()
	y, url := openYard(t, bridge)
	y.set(func(y *yard) {
		y.site = meaning.New(meaning.Config{Material: func(string, time.Time) error { return nil },
			Decks: []meaning.Deck{{Device: bridge, Division: 20 * unit.Kilogram, Min: 400 * unit.Kilogram, Max: 60 * unit.Tonne, Unit: unit.KG, Window: time.Second, Stores: true}}})
	})
	m := &memory{answer: stores}
	ctx, stop := context.WithCancel(context.Background())
	var asking sync.WaitGroup
	asking.Go(func() { y.every(ctx, 50*time.Millisecond, m.serve) })
	t.Cleanup(func() {
		stop()
		asking.Wait()
	})
	return y, m, url
}

// serve answers what the site wants to be asked. The yard is held.
func (m *memory) serve(y *yard) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range y.site.ToStore(time.Now()) {
		m.n++
		if w := m.answer(y.on[name], m.n); w != nil {
			w.Device, w.At = name, time.Now()
			y.apply(y.site.Weight(*w))
		}
	}
}

// A lorry comes and goes over an indicator that stores each weighing: its number stands beside the
// weight and the time wherever the weighing does.
func TestStoredNumberOnPageAndTicket(t *testing.T) {
	t.Parallel()
	y, m, url := openLegalYard(t)
	y.show(bridge, 0, device.Yes)
	p := browser.Open(t, url)
	p.WaitText("#sentence", "等待车辆上磅")
	if p.Shown("#stored") {
		t.Errorf("a number on an empty deck: %s", p.Text("#stored"))
	}
	arrive(y, p)
	p.WaitText("#stored", "存储编号 00126-000001 36440 kg · ")
	p.Type(keyIn)
	p.WaitText("#result", "一次过磅已记录")
	p.WaitText("#result", "仪表存储编号 00126-000001")
	p.WaitText("#open", "存储编号 00126-000001")
	y.show(bridge, 0, device.Yes)
	p.WaitText("#sentence", "等待车辆上磅")
	p.Wait("document.querySelector('#stored').hidden")
	m.set(repeats)
	y.show(bridge, 14220, device.Yes)
	p.WaitText("#sentence", "可以称重")
	p.Click("#open .row")
	p.Wait(enabled("out"))
	p.Type(keyOut)
	p.WaitText("#result", "净重 22,220 kg")
	p.WaitText("#result", "仪表存储编号 00126-000001")
	p.WaitText("#tickets", "存储编号 00126-000001 · 00126-000001")
	browser.Eval[bool](p, "(() => { document.querySelector('#tickets .row').focus(); return true })()")
	p.Type(kb.Enter)
	p.WaitText("[data-fact=gross]", "存储编号 00126-000001\n36440 kg · ")
	p.WaitText("[data-fact=tare]", "存储编号 00126-000001\n14220 kg · ")
	p.WaitText("[data-fact=flags]", "存储编号与上一次称重相同")
	p.Wait(`/36440 kg · \d+\/\d+ \d\d:\d\d$/.test(document.querySelector('[data-fact=gross]').innerText.trim())`)
	for fault, found := range map[string][]string{"overflows": overflowing(p), "too pale": pale(p), "not translated": untranslated(p, "豫D12345", "王芳", p.Text("[data-fact=digest] dd"))} {
		for _, f := range found {
			t.Errorf("the ticket: %s: %s", fault, f)
		}
	}
	p.ShotAll(t.ArtifactDir() + "/ticket-registered.png")
}

// Without a memory in the indicator nothing of it is on page and ticket.
func TestNoNumberWhereNothingIsStored(t *testing.T) {
	t.Parallel()
	y, url := openYard(t, bridge)
	y.weighed(bridge, "豫D71203", record.Inbound, "steel/heavy-melt", 38640, 14220)
	y.show(bridge, 36440, device.Yes)
	p := browser.Open(t, url)
	p.WaitText("#sentence", "可以称重")
	p.WaitText("#tickets", "豫D71203")
	browser.Eval[bool](p, "(() => { document.querySelector('#tickets .row').focus(); return true })()")
	p.Type(kb.Enter)
	p.WaitText("#ticket-facts", "38,640 kg")
	if text := browser.Eval[string](p, "document.body.innerText"); strings.Contains(text, "存储") || strings.Contains(text, "undefined") || strings.Contains(text, "false") {
		t.Errorf("the page shows: %s", text)
	}
}

// watchSentence begins to note what the page says.
const watchSentence = `(() => {
	const at = (id) => document.getElementById(id);
	const note = () => said.push([at('sentence').innerText, at('in').disabled && at('in-rule').innerText === at('sentence').innerText]);
	window.said = [];
	window.watch?.disconnect();
	window.watch = new MutationObserver(note);
	window.watch.observe(document.body, {childList: true, subtree: true, characterData: true, attributes: true});
	note();
	return true;
})()`

// Why nothing is captured stands on the page, in both languages.
func TestWhyNothingIsRegistered(t *testing.T) {
	t.Parallel()
	y, m, url := openLegalYard(t)
	y.show(bridge, 0, device.Yes)
	p := browser.Open(t, url)
	for _, c := range []struct {
		name    string
		answer  func(device.Weight, int) *device.Weight
		zh, en  string
		blocked bool
	}{
		{"refused", refuses, "仪表拒绝存储", "The indicator refused: negative or not stable", true},
		{"failed", fails, "仪表对存储命令报错", "The indicator answers registering with an error", true},
		{"differs", storesAnother, "仪表存储的重量与显示不符", "The indicator stored another weight than it shows", true},
		{"stored", stores, "可以称重", "Ready to weigh", false},
		{"registering", saysNothing, "仪表正在存储", "being registered by the indicator", true},
		{"unanswered", saysNothing, "仪表没有答复存储命令", "No answer to registering: perhaps stored there, the next number tells", true},
	} {
		m.set(c.answer)
		// Everything that the page says from here on, with whether the button says the same and is off:
		// one of these states lasts three seconds only, in which a busy computer may not ask.
		browser.Eval[bool](p, watchSentence)
		if c.name != "unanswered" { // which is what becomes of the one before
			y.show(bridge, 0, device.Yes)
			p.WaitText("#sentence", "等待车辆上磅")
			y.show(bridge, 36440, device.Yes)
		}
		p.Wait("window.said.some(([sentence]) => sentence.includes('" + c.zh + "'))")
		if blocked := browser.Eval[bool](p, "window.said.findLast(([sentence]) => sentence.includes('"+c.zh+"'))[1]"); blocked != c.blocked {
			t.Errorf("%s: the button is off and says why: %v, want %v", c.name, blocked, c.blocked)
		}
		if c.name == "registering" {
			continue // it lasts three seconds only: its English is held by the dictionary's test
		}
		p.Click("#language")
		p.WaitText("#sentence", c.en)
		p.Click("#language")
		p.WaitText("#sentence", c.zh)
	}
	looks(t, p, "weigh-unanswered", true)
}

// The page with numbers everywhere, in every size.
func TestRegisteredLooks(t *testing.T) {
	t.Parallel()
	y, _, url := openLegalYard(t)
	y.show(bridge, 0, device.Yes)
	p := browser.Open(t, url)
	weigh := func(kilograms int64, act func(now time.Time) ([]record.Fact, error)) {
		t.Helper()
		p.WaitText("#sentence", "等待车辆上磅")
		y.show(bridge, kilograms, device.Yes)
		p.WaitText("#sentence", "可以称重")
		if act != nil {
			y.set(func(y *yard) {
				facts, err := act(time.Now())
				if err != nil {
					t.Error(err)
				}
				y.apply(facts)
			})
			y.show(bridge, 0, device.Yes)
		}
	}
	in := func(vehicle string) func(time.Time) ([]record.Fact, error) {
		return func(now time.Time) ([]record.Fact, error) {
			facts, _, err := y.site.WeighIn(now, meaning.WeighIn{Passage: "passage-" + vehicle, Deck: bridge, Operator: "王芳", Vehicle: vehicle,
				Direction: record.Inbound, Material: "paper/occ", Counterparty: "收集点-07"})
			return facts, err
		}
	}
	weigh(38640, in("豫D71203"))
	weigh(14220, func(now time.Time) ([]record.Fact, error) {
		facts, _, err := y.site.WeighOut(now, meaning.WeighOut{Passage: "passage-豫D71203", Deck: bridge, Operator: "王芳"})
		return facts, err
	})
	weigh(22480, in("豫D0816A"))
	weigh(36440, nil)
	p.WaitText("#tickets", "存储编号 00126-000001 · 00126-000002")
	p.WaitText("#open", "存储编号 00126-000003")
	p.WaitText("#stored", "00126-000004")
	looks(t, p, "weigh-registered", false, "豫D")
}
