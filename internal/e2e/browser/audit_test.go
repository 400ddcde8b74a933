package browser_test

import (
	_ "embed"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"steelyard/internal/e2e/browser"
)

// helpers are what the audits of a page share: which texts are to be seen, and where.
const helpers = `
const seen = () => {
  const all = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const text = walk.currentNode.data.trim(), e = walk.currentNode.parentElement;
    if (text && !e.closest('script, noscript, datalist') && e.checkVisibility()) all.push([text, e]);
  }
  for (const e of document.querySelectorAll('[aria-label], [placeholder], [title]')) {
    if (!e.checkVisibility()) continue;
    for (const name of ['aria-label', 'placeholder', 'title']) if (e.getAttribute(name)) all.push([e.getAttribute(name), e]);
  }
  all.push([document.title, document.documentElement]);
  return all;
};
const cjk = /[\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]/;
`

func audit(p *browser.Page, body string) []string {
	return browser.Eval[[]string](p, "(() => {"+helpers+body+"})()")
}

// untranslated gives texts that are in the other language. Data keeps its own: names that people or
// machines have given, which the test lists.
func untranslated(p *browser.Page, data ...string) []string {
	found := audit(p, `
	const english = document.documentElement.lang.startsWith('en');
	return seen().filter(([text, e]) => {
	  if (e.closest('[lang]:not(html)')) return false;
	  if (english) return cjk.test(text);
	  return /[A-Za-z]{2,}/.test(text) && !cjk.test(text) && !e.closest('code, kbd, .unit');
	}).map(([text]) => text);`)
	foreign := latin
	if browser.Eval[string](p, "document.documentElement.lang") == "en-GB" {
		foreign = han
	}
	var all []string
	for _, text := range found {
		rest := text
		for _, d := range data {
			rest = strings.ReplaceAll(rest, d, "")
		}
		if foreign.MatchString(units.ReplaceAllString(rest, "")) {
			all = append(all, text)
		}
	}
	return all
}

// A unit is the same in both languages.
var (
	units = regexp.MustCompile(`\b(kg|t/h|t|KiB|MiB|GiB)\b`)
	latin = regexp.MustCompile(`[A-Za-z]{2,}`)
)

// overflowing gives what is wider than the window or than its own box.
func overflowing(p *browser.Page) []string {
	return audit(p, `
	const wide = [];
	if (document.documentElement.scrollWidth > innerWidth) wide.push('the page: ' + document.documentElement.scrollWidth + ' > ' + innerWidth);
	// Tables of many columns may be scrolled on a small screen only.
	if (innerWidth >= 1200) for (const e of document.querySelectorAll('.scroll')) if (e.scrollWidth > e.clientWidth + 1) wide.push('table needs ' + e.scrollWidth + ' of ' + e.clientWidth);
	for (const e of document.querySelectorAll('body *')) {
	  if (!e.checkVisibility() || e.closest('.sr, .skip, svg, select, .scroll, .rows, dialog:not([open])')) continue;
	  const box = e.getBoundingClientRect();
	  if (box.right > innerWidth + 1 || box.left < -1) wide.push(e.tagName + '.' + e.className + ' "' + e.textContent.trim().slice(0, 40) + '" reaches ' + Math.round(box.right));
	  else if (e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0 && getComputedStyle(e).display !== 'inline' && !e.matches('input, .scroll'))
	    wide.push(e.tagName + '.' + e.className + ' "' + e.textContent.trim().slice(0, 40) + '" needs ' + e.scrollWidth + ' of ' + e.clientWidth);
	}
	return wide;`)
}

// nameless gives controls and pictures that a screen reader can't name.
func nameless(p *browser.Page) []string {
	return audit(p, `
	const name = (e) => (e.getAttribute('aria-label') ?? [...(e.labels ?? [])].map((l) => l.textContent).join(' ')
	  ?? '').trim() || e.textContent.trim() || e.getAttribute('alt');
	const bad = [];
	for (const e of document.querySelectorAll('button, a, input, select, textarea, summary, [role=tab], [role=img], [role=region], [tabindex="0"]'))
	  if (!name(e) || (e.matches('select, input') && !(e.labels?.length || e.getAttribute('aria-label')))) bad.push(e.outerHTML.slice(0, 120));
	for (const e of document.querySelectorAll('img')) if (!e.hasAttribute('alt')) bad.push(e.outerHTML);
	for (const e of document.querySelectorAll('section')) if (!e.getAttribute('aria-label') && !document.getElementById(e.getAttribute('aria-labelledby'))) bad.push('section ' + e.id);
	if (document.querySelectorAll('h1').length !== 1) bad.push('not one h1');
	if (!document.documentElement.lang) bad.push('no language');
	return bad;`)
}

// pale gives texts below the contrast of WCAG 2 level AA. What is switched off is exempt there.
func pale(p *browser.Page) []string {
	return audit(p, `
	const channels = (c) => {
	  const m = c.match(/[\d.]+/g).map(Number);
	  return {rgb: m.slice(0, 3), a: m.length > 3 ? m[3] : 1};
	};
	const light = (rgb) => {
	  const [r, g, b] = rgb.map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
	  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
	};
	const ground = (e) => {
	  for (; e; e = e.parentElement) {
	    const c = channels(getComputedStyle(e).backgroundColor);
	    if (c.a === 1) return c.rgb;
	  }
	  return [255, 255, 255];
	};
	const bad = new Set();
	for (const [text, e] of seen()) {
	  if (e.matches('html, input, [aria-label]:not(button)') || e.closest('button:disabled, .sr, svg')) continue;
	  const style = getComputedStyle(e), ink = light(channels(style.color).rgb), paper = light(ground(e));
	  const ratio = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
	  const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
	  if (ratio < (large ? 3 : 4.5)) bad.add(text.slice(0, 40) + ' ' + ratio.toFixed(2) + ' ' + style.color);
	}
	return [...bad];`)
}

// breaches gives what axe-core finds against WCAG 2.2 up to level AA and its good practice, and where a
// control's name is not what it shows.
func breaches(p *browser.Page) []string {
	if !browser.Eval[bool](p, "'axe' in window") {
		browser.Eval[bool](p, axe+"\n;'axe' in window")
	}
	return browser.Eval[[]string](p, `axe.run(document, {
		runOnly: {type: 'tag', values: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']},
		rules: {'label-content-name-mismatch': {enabled: true}},
		resultTypes: ['violations'],
	}).then((found) => found.violations.flatMap((v) => v.nodes.map((n) => v.id + ': ' + v.help + ': ' + n.html.slice(0, 200) + ' ' + n.failureSummary.replace(/\s+/g, ' ').slice(0, 200))))`)
}

//go:embed testdata/axe-core/axe.min.js
var axe string

// looks audits a page in both languages, all sizes and both colour schemes, or only at the ends of
// that range when brief, and keeps a picture of each. The page is left in the language it began with.
func looks(t *testing.T, p *browser.Page, name string, brief bool, data ...string) {
	t.Helper()
	for _, language := range []string{"zh", "en"} {
		p.Wait("document.documentElement.lang.startsWith('" + language + "')")
		for _, c := range []struct {
			size          string
			width, height int64
			dark, extreme bool
		}{
			{"desk", 1366, 768, false, true}, {"desk-dark", 1366, 768, true, false}, {"phone", 390, 844, false, false}, {"phone-dark", 390, 844, true, true},
			{"wall-dark", 1920, 1080, true, false}, {"tablet", 820, 1180, false, false},
		} {
			if brief && !c.extreme {
				continue
			}
			p.View(c.width, c.height, c.dark)
			at := name + "-" + language + "-" + c.size
			p.ShotAll(filepath.Join(t.ArtifactDir(), at+".png"))
			for fault, found := range map[string][]string{"overflows": overflowing(p), "too pale": pale(p), "without a name": nameless(p), "not translated": untranslated(p, data...),
				"axe-core": breaches(p)} {
				for _, f := range found {
					t.Errorf("%s: %s: %s", at, fault, f)
				}
			}
		}
		p.View(1366, 768, false)
		p.Click("#language")
	}
}

// The audits must find what they are for.
func TestAuditsFindFaults(t *testing.T) {
	t.Parallel()
	_, url := openYard(t, bridge)
	p := browser.Open(t, url)
	p.WaitText("#sentence", "收不到仪表数据")
	browser.Eval[bool](p, `(() => {
		const e = document.createElement('div');
		e.innerHTML = '<button></button><b>Waiting here</b><p id=pale>很淡</p><p id=wide>很宽</p><button aria-label="重来">放大</button>';
		document.querySelector('main').after(e);
		document.querySelector('#pale').style.color = '#ddd';
		document.querySelector('#wide').style.width = '3000px';
		return true;
	})()`)
	for fault, found := range map[string][]string{"<button": nameless(p), "Waiting here": untranslated(p), "很淡": pale(p), "很宽": overflowing(p), "label-content-name-mismatch": breaches(p)} {
		if !strings.Contains(strings.Join(found, "\n"), fault) {
			t.Errorf("%s was not found: %q", fault, found)
		}
	}
}
