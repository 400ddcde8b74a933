package browser_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"steelyard/configs"
	"steelyard/internal/e2e/browser"
	"steelyard/internal/record"
)

const root = "../../../"

var pages = map[string]string{"city": root + "cloud/web/page", "weigh": root + "edge/hmi/page"}

func source(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

var entryLine = regexp.MustCompile(`(?m)^    '([^']+)': '(.*)',$`)

// dictionaries reads both languages of a page.
func dictionaries(t *testing.T, page string) (zh, en map[string]string) {
	t.Helper()
	return languagesOf(t, page, pages[page]+"/words.js")
}

func languagesOf(t *testing.T, page, file string) (zh, en map[string]string) {
	t.Helper()
	chinese, english, ok := strings.Cut(source(t, file), "\n  en: {")
	if !ok {
		t.Fatalf("%s: %s has no English", page, file)
	}
	read := func(text string) map[string]string {
		all := map[string]string{}
		for _, m := range entryLine.FindAllStringSubmatch(text, -1) {
			if _, twice := all[m[1]]; twice {
				t.Errorf("%s: %s stands twice", page, m[1])
			}
			all[m[1]] = m[2]
		}
		return all
	}
	return read(chinese), read(english)
}

// lacking gives the keys that a dictionary does not have.
func lacking(keys []string, dictionary map[string]string) []string {
	var all []string
	for _, key := range keys {
		if _, ok := dictionary[key]; !ok {
			all = append(all, key)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func keysOf(m map[string]string) []string {
	var all []string
	for key := range m {
		all = append(all, key)
	}
	return all
}

var (
	slots  = regexp.MustCompile(`\{\w+\}`)
	han    = regexp.MustCompile(`\p{Han}`)
	usedJS = regexp.MustCompile(`(?:\bt\(|\[)'([a-z_]+(?:-[a-z]+)+)'`)
	usedT  = regexp.MustCompile(`data-t(?:-label|-hint)?="([^"]+)"`)
)

// checkLanguages holds both languages of a page to the same keys and slots, and each to its own script.
func checkLanguages(t *testing.T, page string, zh, en map[string]string) {
	t.Helper()
	if missing := append(lacking(keysOf(zh), en), lacking(keysOf(en), zh)...); len(missing) > 0 {
		t.Errorf("%s: in one language only: %q", page, missing)
	}
	for key := range zh {
		a, b := slots.FindAllString(zh[key], -1), slots.FindAllString(en[key], -1)
		slices.Sort(a)
		slices.Sort(b)
		if !slices.Equal(a, b) {
			t.Errorf("%s: %s is filled with %q in Chinese and %q in English", page, key, a, b)
		}
		if key == "other-language" {
			continue // each is named in its own language
		}
		bare := slots.ReplaceAllString(zh[key], "")
		if !han.MatchString(bare) && strings.ContainsFunc(bare, func(r rune) bool { return r >= 'A' && r <= 'z' }) {
			t.Errorf("%s: %s is not Chinese: %s", page, key, zh[key])
		}
		if han.MatchString(en[key]) || en[key] == "" {
			t.Errorf("%s: %s is not English: %s", page, key, en[key])
		}
	}
}

func TestDictionaries(t *testing.T) {
	for page, dir := range pages {
		zh, en := dictionaries(t, page)
		if len(zh) < 50 {
			t.Fatalf("%s: only %d words were read", page, len(zh))
		}
		checkLanguages(t, page, zh, en)
		var used []string
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			text := source(t, dir+"/"+f.Name())
			for _, m := range append(usedT.FindAllStringSubmatch(text, -1), usedJS.FindAllStringSubmatch(text, -1)...) {
				if !strings.HasSuffix(f.Name(), ".css") && f.Name() != "words.js" {
					used = append(used, m[1])
				}
			}
		}
		if missing := lacking(used, zh); len(missing) > 0 || len(used) < 40 {
			t.Errorf("%s: of %d keys in use these have no words: %q", page, len(used), missing)
		}
	}
}

// codesIn gives every code by which package meaning and the page's own server can refuse.
func codesIn(text string) []string {
	var all []string
	for _, form := range []string{`refuse\("([a-z-]+)"`, `\bwhy = "([a-z-]+)"`, `why: "([a-z-]+)"`, `return (?:0|mass), "([a-z-]+)"`,
		`d\.why[^=\n]*= [^"\n]*"([a-z-]+)"`, `\.Code[^=\n]*= "([a-z-]+)"`, `Code: "([a-z-]+)"`, `BadRequest\("([a-z-]+)"`} {
		for _, m := range regexp.MustCompile(form).FindAllStringSubmatch(text, -1) {
			if !strings.HasSuffix(m[1], "-") { // the beginning of a code that checkText completes
				all = append(all, m[1])
			}
		}
	}
	for _, m := range regexp.MustCompile(`checkText\("([a-z]+)"`).FindAllStringSubmatch(text, -1) {
		all = append(all, "missing-"+m[1], "bad-"+m[1])
	}
	return all
}

func TestEveryRuleHasWords(t *testing.T) {
	var codes []string
	for _, dir := range []string{"edge/meaning", "edge/hmi", "internal/page"} {
		files, err := fs.Glob(os.DirFS(root+dir), "*.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if !strings.HasSuffix(f, "_test.go") {
				codes = append(codes, codesIn(source(t, path.Join(root+dir, f)))...)
			}
		}
	}
	for i, code := range codes {
		codes[i] = "rule-" + code
	}
	for _, known := range []string{"rule-moving", "rule-over", "rule-silent", "rule-negative-net", "rule-missing-vehicle", "rule-not-recorded", "rule-captured"} {
		if !slices.Contains(codes, known) {
			t.Errorf("%s was not found in the sources: the search is broken", known)
		}
	}
	zh, en := dictionaries(t, "weigh")
	if missing := append(lacking(codes, zh), lacking(codes, en)...); len(missing) > 0 {
		t.Errorf("no words for %q", missing)
	}
	delete(zh, "rule-moving")
	if missing := lacking(codes, zh); !slices.Equal(missing, []string{"rule-moving"}) {
		t.Errorf("a rule without words was not noticed: %q", missing)
	}
}

// Every cause for which nothing is recorded is told in both languages.
func TestEveryCauseHasWords(t *testing.T) {
	keys := []string{"problem-cloud", "problem-cloud-conflict", "problem-cloud-signature", "problem-cloud-version", "problem-cloud-stopped"}
	for _, m := range regexp.MustCompile(`Cause = "([a-z-]+)"`).FindAllStringSubmatch(source(t, root+"edge/journal/cause.go"), -1) {
		keys = append(keys, "problem-"+m[1])
	}
	if len(keys) < 6 {
		t.Fatalf("only %q were found in the sources: the search is broken", keys)
	}
	zh, en := dictionaries(t, "weigh")
	if missing := append(lacking(keys, zh), lacking(keys, en)...); len(missing) > 0 {
		t.Errorf("no words for %q", missing)
	}
}

func TestEveryStateAndKindHasWords(t *testing.T) {
	zh, _ := dictionaries(t, "city")
	var keys []string
	files, err := fs.Glob(configs.Files, "devices/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	states := regexp.MustCompile(`quantity: machine\.state,?\s+enum: \{([^}]*)\}`)
	word := regexp.MustCompile(`\d+: "?([a-z-]+)"?`)
	for _, f := range files {
		data, err := configs.Files.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range states.FindAllStringSubmatch(string(data), -1) {
			for _, w := range word.FindAllStringSubmatch(m[1], -1) {
				keys = append(keys, "state-"+w[1])
			}
		}
	}
	if len(keys) < 15 {
		t.Errorf("only %d states were found in the profiles", len(keys))
	}
	for _, k := range []record.Kind{record.KindOpened, record.KindWeighing, record.KindTicket, record.KindBale, record.KindBelt, record.KindTare, record.KindStock,
		record.KindCorrection, record.KindDevice, record.KindOperator, record.KindClock, record.KindGap, record.KindSample, record.KindThinning} {
		keys = append(keys, "kind-"+string(k))
	}
	if missing := lacking(keys, zh); len(missing) > 0 {
		t.Errorf("no words for %q", missing)
	}
}

func filesOf(t *testing.T, dir string) (files []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		files = append(files, dir+"/"+e.Name())
	}
	return files
}

func TestPagesAreLight(t *testing.T) {
	const most = 100 << 10
	for page, dir := range pages {
		sum := 0
		for _, file := range slices.Concat(filesOf(t, dir), filesOf(t, "../../page/shared")) {
			var packed bytes.Buffer
			z := gzip.NewWriter(&packed)
			if _, err := z.Write([]byte(source(t, file))); err != nil {
				t.Fatal(err)
			}
			if err := z.Close(); err != nil {
				t.Fatal(err)
			}
			sum += packed.Len()
		}
		t.Logf("%s: %d bytes gzipped", page, sum)
		if sum > most || sum == 0 {
			t.Errorf("%s: %d bytes gzipped", page, sum)
		}
	}
}

func TestMeasuresAreExact(t *testing.T) {
	t.Parallel()
	_, url := openYard(t, "weighbridge-1")
	p := browser.Open(t, url)
	js := func(call string) string {
		return browser.Eval[string](p, fmt.Sprintf("import('/measure.js').then((m) => String(m.%s))", call))
	}
	for call, want := range map[string]string{
		"kilograms(0, 'zh-CN')":               "0",
		"kilograms(1, 'zh-CN')":               "0.001",
		"kilograms(36440000, 'zh-CN')":        "36,440",
		"kilograms(-60500, 'zh-CN')":          "−60.5",
		"tonnes(0, 'zh-CN')":                  "0.000",
		"tonnes(1, 'en-GB')":                  "0.000001",
		"tonnes(999999, 'en-GB')":             "0.999999",
		"tonnes(36440000, 'zh-CN')":           "36.440",
		"tonnes(57033500, 'en-GB')":           "57.0335",
		"tonnes(9007199254740991, 'zh-CN')":   "9,007,199,254.740991",
		"tonnes(1234567890123, 'en-GB')":      "1,234,567.890123",
		"aligned(['1.5', '22', '3.25', '—'])": "1.5\u2007,22\u2008\u2007\u2007,3.25,—\u2008\u2007\u2007",
		"gramsIn('36.44', 't')":               "36440000",
		"gramsIn('36440', 'kg')":              "36440000",
		"gramsIn('36440', 'lb')":              "null",
		"gramsOf(57033.5)":                    "57033500",
		"gramsOf('0.001')":                    "1",
		"gramsOf('0.0001')":                   "null",
		"gramsOf('x')":                        "null",
		"gramsOf('9007199254740.991')":        "9007199254740991",
		"digits(m.sum([m.decimal('0.1'), m.decimal('0.2')]), 'zh-CN')": "0.3",
		"digits(m.decimal('-12.50'), 'en-GB')":                         "−12.50",
		"decimal('1e3')":                                               "null",
		"decimal('')":                                                  "null",
		"age(0, 'zh-CN')":                                              "0秒",
		"age(59999, 'en-GB')":                                          "59 secs",
		"age(7200000, 'zh-CN')":                                        "2小时",
		"day('2026-11-23', 'zh-CN')":                                   "2026年11月23日星期一",
		"day('2026-11-23', 'en-GB')":                                   "Monday, 23 November 2026",
		"clock(Date.UTC(2026, 10, 22, 16, 0), 'zh-CN')":                "00:00:00",
	} {
		if got := js(call); got != want {
			t.Errorf("%s: got %s, want %s", call, got, want)
		}
	}
}

var (
	importsJS = regexp.MustCompile(`import \{([^}]+)\} from '\./([a-z-]+\.js)'`)
	exportsJS = regexp.MustCompile(`(?m)^export (?:async )?(?:const|let|class|function) ([\w$]+)`)
)

// What a module imports the other one exports: a browser gives up a whole page for one name.
func TestImportsAreExported(t *testing.T) {
	checked := 0
	for page, dir := range pages {
		for _, file := range slices.Concat(filesOf(t, dir), filesOf(t, "../../page/shared")) {
			for _, m := range importsJS.FindAllStringSubmatch(source(t, file), -1) {
				from := dir + "/" + m[2]
				if _, err := os.Stat(from); err != nil {
					from = "../../page/shared/" + m[2]
				}
				exported := map[string]string{}
				for _, e := range exportsJS.FindAllStringSubmatch(source(t, from), -1) {
					exported[e[1]] = e[1]
				}
				for name := range strings.SplitSeq(m[1], ",") {
					name, _, _ = strings.Cut(strings.TrimSpace(name), " as ")
					if checked++; exported[name] == "" {
						t.Errorf("%s: %s imports %s, which %s does not export", page, file, name, from)
					}
				}
			}
		}
	}
	if checked < 60 {
		t.Errorf("only %d imports were found: the search is broken", checked)
	}
}
