package e2e_test

import (
	"context"
	"flag"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"steelyard/cloud/demo"
	"steelyard/internal/e2e/browser"
)

var pictures = flag.String("pictures", "", "folder to write the README's pictures to")

// The city's page shows a running town: numbers change without a reload, nothing is asked of
// another host and nothing is written to the console, which package browser checks.
func TestPage(t *testing.T) {
	plan := demo.Plan{Sites: 2, Speed: 20}
	if *pictures != "" {
		plan.Speed, plan.Past = 8, 3*time.Hour // as a newcomer meets it, and quicker
	}
	town := build(t, plan)
	ctx, stop := context.WithCancel(t.Context())
	var publishing sync.WaitGroup
	publishing.Go(func() {
		for ctx.Err() == nil { // the demonstration's command does this
			if a, err := town.Audit(ctx, false); err == nil {
				_ = town.Publish(a)
			}
			time.Sleep(time.Second)
		}
	})
	defer publishing.Wait()
	defer stop()
	city := browser.Open(t, town.URL+"/")
	rate := func() string { return city.Text("#rate .big") }
	city.Wait(`/[1-9]/.test(document.querySelector("#rate .big").innerText)`)
	first := rate()
	eventually(t, "the throughput changes from "+first, func() bool { return rate() != first })
	city.Wait(`/[1-9]/.test(document.querySelector("#table tbody").innerText)`) // tonnes of today
	city.WaitText("#sites", "新华区")
	city.WaitText("[data-site=xinhua-1] [data-device=baler-1]", "1号打包机")
	city.Wait(`!document.querySelector("#audit").hidden`)
	if loaded := browser.Eval[int](city, "performance.getEntriesByType('navigation').length"); loaded != 1 {
		t.Errorf("the page was loaded %d times", loaded)
	}

	weigh := browser.Open(t, town.Sites[0].Page+"/")
	weigh.Wait(`/[1-9]\d{3}/.test(document.body.innerText)`) // a lorry's weight
	if *pictures != "" {
		weigh.Click("#operator")
		weigh.Type("王芳\r")
		time.Sleep(20 * time.Second) // a fuller page
		city.ShotAll(filepath.Join(*pictures, "city.png"))
		weigh.Wait(`/可以称重/.test(document.body.innerText)`)
		weigh.Shot(filepath.Join(*pictures, "weighing.png"))
	}
	exact(t, town, 10)
}
