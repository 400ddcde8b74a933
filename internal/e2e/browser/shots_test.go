package browser_test

import (
	"os"
	"testing"
	"time"

	"steelyard/firmware-bridge/device"
	"steelyard/internal/e2e/browser"
)

func TestShots(t *testing.T) {
	dir := os.Getenv("SHOTS")
	url, s := city(t, twoSites)
	fillCity(s)
	p := browser.Open(t, url)
	p.WaitText("#city", "平顶山市")
	p.WaitText("#link-text", "实时")
	for i, r := range []string{"12.50", "13.20", "15.00", "18.40", "14.20"} {
		_ = i
		s.send("live", liveValues(r))
		time.Sleep(2100 * time.Millisecond)
	}
	p.ShotAll(dir + "/city-zh.png")
	p.View(1366, 768, true)
	p.Shot(dir + "/city-zh-dark.png")
	p.Click("#language")
	p.View(390, 844, false)
	p.ShotAll(dir + "/city-en-phone.png")
	p.View(1366, 768, false)
	p.Shot(dir + "/city-en.png")

	y, hurl := openYard(t, "weighbridge-1")
	y.weighed("weighbridge-1", "豫D71203", "inbound", "steel/heavy-melt", 38640, 14220)
	y.weighed("weighbridge-1", "豫D0816A", "inbound", "paper/occ", 22480, 9060)
	y.weighed("weighbridge-1", "豫A55K19", "outbound", "copper", 12480, 30060)
	y.weighed("weighbridge-1", "豫D33107", "inbound", "paper/occ", 22480, 0)
	y.weighed("weighbridge-1", "豫D90021", "outbound", "aluminium/profile", 13480, 0)
	y.show("weighbridge-1", 0, device.Yes)
	h := browser.Open(t, hurl)
	h.WaitText("#sentence", "等待")
	time.Sleep(2 * time.Second)
	h.Shot(dir + "/weigh-empty.png")
	for kg := int64(4000); kg <= 36000; kg += 4000 {
		y.show("weighbridge-1", kg, device.No)
		time.Sleep(300 * time.Millisecond)
	}
	y.show("weighbridge-1", 36440, device.Yes)
	h.WaitText("#sentence", "可以称重")
	h.Click("#vehicle")
	h.Type("豫D12345")
	h.Click("#operator")
	h.Type("王芳")
	h.Shot(dir + "/weigh-zh.png")
	h.Click("[data-passage='passage-豫D90021']")
	time.Sleep(time.Second)
	h.View(1366, 768, true)
	h.Shot(dir + "/weigh-zh-dark.png")
	h.Click("#language")
	h.View(1366, 768, false)
	h.Shot(dir + "/weigh-en.png")
	h.View(390, 844, true)
	h.ShotAll(dir + "/weigh-en-phone.png")
}
