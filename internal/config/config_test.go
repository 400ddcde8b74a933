package config_test

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"steelyard/internal/config"
	"steelyard/internal/config/configtest"
	"steelyard/internal/unit"
)

// site has every kind of field that a configuration of this product uses.
type site struct {
	Name         string        `yaml:"site"`
	Weighbridges []weighbridge `yaml:"weighbridges"`
	Broker       *broker       `yaml:"broker"`
	Window       uint8         `yaml:"window"`
	Offset       int16         `yaml:"offset"`
	Flag         bool          `yaml:"flag"`
	Scale        unit.Decimal  `yaml:"scale"`
	Ratio        float64       `yaml:"ratio"`
	Words        map[string]string
	Registers    map[uint16]string `yaml:"registers"`
	Either       either            `yaml:"either"`
	storage      `yaml:",inline"`
	Secret       string `yaml:"-"`
	hidden       string
}

type weighbridge struct {
	Name     string        `yaml:"name"`
	Port     string        `yaml:"port"`
	Baud     int           `yaml:"baud"`
	Capacity unit.Mass     `yaml:"capacity"`
	Silence  time.Duration `yaml:"silence"`
	Digits   []int         `yaml:"digits"`
}

type broker struct {
	URL string `yaml:"url"`
}

type storage struct {
	Directory string `yaml:"directory"`
}

// either reads a text or a mapping with a url.
type either struct{ Text string }

func (e *either) UnmarshalYAML(unmarshal func(any) error) error {
	if err := unmarshal(&e.Text); err == nil {
		return nil
	}
	var b broker
	if err := unmarshal(&b); err != nil {
		return err
	}
	e.Text = b.URL
	return nil
}

// check is what a caller adds: here that no port is used twice and none is missing.
func (s *site) check(c *config.Checker) {
	user := map[string]int{}
	for i, w := range s.Weighbridges {
		path := config.Path("weighbridges", i, "port")
		if w.Port == "" {
			c.Fault(path, "is missing; name a serial port")
			continue
		}
		if first, taken := user[w.Port]; taken {
			c.Fault(path, "is used by %q (line %d)", s.Weighbridges[first].Name, c.Line(config.Path("weighbridges", first, "port")))
			continue
		}
		user[w.Port] = i
	}
	if s.Broker != nil && !c.Has("broker.url") {
		c.Fault("broker.url", "is missing")
	}
}

func TestGoodFile(t *testing.T) {
	data, err := os.ReadFile("testdata/good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := site{
		Name: "xinhua-1",
		Weighbridges: []weighbridge{
			{Name: "地磅 1", Port: "/dev/ttyUSB0", Baud: 9600, Capacity: 60 * unit.Tonne, Silence: 500 * time.Millisecond, Digits: []int{1, -2, 31}},
			{Name: "off", Port: "tcp://10.0.0.7:4001", Baud: 0, Capacity: 1500 * unit.Kilogram},
		},
		Broker:    &broker{URL: "mqtt://city:1883"},
		Window:    255,
		Offset:    -32768,
		Flag:      true,
		Scale:     unit.Decimal{Coef: 10, Scale: 3},
		Ratio:     -0.5,
		Words:     map[string]string{"no": "yes", "010": "0x10", "paper/occ": "two\nlines\n"},
		Registers: map[uint16]string{40011: "bale counter", 0: ""},
		Either:    either{"x"},
		storage:   storage{Directory: "/var/lib/steelyard"},
		hidden:    "kept",
	}
	for _, text := range []string{string(data), strings.ReplaceAll(string(data), "\n", "\r\n")} {
		got := site{Window: 8, hidden: "kept"}
		if err := config.Load("edge.yaml", []byte(text), &got, got.check); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmp.Exporter(func(reflect.Type) bool { return true })); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
}

func TestDefaultsStayWhereTheFileIsSilent(t *testing.T) {
	got := site{Window: 8, Broker: &broker{URL: "default"}, storage: storage{"here"}}
	if err := config.Load("edge.yaml", []byte("site: a\nbroker: {}\n"), &got, nil); err != nil {
		t.Fatal(err)
	}
	if got.Window != 8 || got.Broker.URL != "default" || got.Directory != "here" || got.Name != "a" {
		t.Errorf("got %+v, want the defaults and site a", got)
	}
}

// Each testdata/*.bad.yaml begins with the lines that it must be answered with.
func TestBadFiles(t *testing.T) {
	configtest.BadFiles(t, func(_ string, data []byte) (string, error) {
		var s site
		return "edge.yaml", config.Load("edge.yaml", data, &s, s.check)
	})
}

// Texts that a file in the repository would not survive: editors and git change them.
func TestBadTexts(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"empty", "", "1:1: is empty"},
		{"only a comment", "# nothing\n---\n", "1:1: is empty"},
		{"byte order mark", "\xef\xbb\xbfsite: a\n", "1:1: begins with a byte order mark; save it as UTF-8 without BOM"},
		{"utf-16", "\xff\xfes\x00", "1:1: is UTF-16; save it as UTF-8 without BOM"},
		{"gbk", "site: a\n# \xb5\xd8\xb0\xf5\n", "2:3: is not UTF-8 (byte 0xb5); save it as UTF-8 without BOM"},
		{"tabs", "site: a\nbroker:\n\turl: x\n \ty: z\n", "3:1: a tab indents this line; use blanks\nedge.yaml:4:2: a tab indents this line; use blanks"},
		{"nul", "site: \x00\n", "1:7: holds the control character U+0000; remove it"},
		{"lone carriage return", "site: a\rwindow: 2\n", "1:8: holds the control character U+000D; remove it"},
		{"line separator", "site: a\u2028\n", "1:8: holds the control character U+2028; remove it"},
		{"huge", strings.Repeat("#", config.MaxSize+1), "1:1: is larger than 4194304 bytes; this is not a configuration"},
		{"not a mapping", "- a\n", "1:1: needs keys with values, not a list"},
		{"just a word", "edge", `1:1: needs keys with values, not the text "edge"`},
		{"a binary", "\x7fELF\x02", "1:1: holds the control character U+007F; remove it\nedge.yaml:1:5: holds the control character U+0002; remove it"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var s site
			err := config.Load("edge.yaml", []byte(tc.text), &s, s.check)
			if got, want := fmt.Sprint(err), "edge.yaml:"+tc.want; got != want {
				t.Errorf("%s: got %q, want %q", tc.name, got, want)
			}
		})
	}
}

// recursive lets the text decide how deep the value goes.
type recursive struct {
	A *recursive  `yaml:"a"`
	L []recursive `yaml:"l"`
}

func TestDepth(t *testing.T) {
	nested := func(levels int) string {
		var b strings.Builder
		for i := range levels - 1 {
			fmt.Fprintf(&b, "%sa:\n", strings.Repeat(" ", i))
		}
		return b.String()
	}
	var r recursive
	if err := config.Load("edge.yaml", []byte(nested(config.MaxDepth)), &r, nil); err != nil {
		t.Errorf("%d levels: got %v, want it accepted", config.MaxDepth, err)
	}
	for name, text := range map[string]string{
		"a little":       nested(config.MaxDepth + 1),
		"lists in place": "l:\n" + deepLists(200),
		"brackets":       strings.Repeat("[", 1000),
		"braces":         strings.Repeat("{a: ", 1000),
		"dashes":         strings.Repeat("- ", 1000),
		"questions":      strings.Repeat("? ", 1000),
	} {
		t.Run(name, func(t *testing.T) {
			err := config.Load("edge.yaml", []byte(text), &r, nil)
			if err == nil || !strings.Contains(err.Error(), "is nested deeper than 32 levels") {
				t.Errorf("%s: got %.200v, want it refused as too deep", name, err)
			}
		})
	}
}

func deepLists(levels int) string {
	var b strings.Builder
	for i := range levels {
		fmt.Fprintf(&b, "%s- l:\n", strings.Repeat("  ", i))
	}
	return b.String()
}

// Each of these kept the parser busy for minutes, or its stack growing, before tokens were counted.
func TestMegabytesAreRefusedAtOnce(t *testing.T) {
	for name, unit := range map[string]string{
		"braces": "{a: ", "keys": "a: 1\n", "quotes": `"`,
	} {
		t.Run(name, func(t *testing.T) {
			err := config.Load("edge.yaml", []byte(strings.Repeat(unit, config.MaxSize/len(unit))), new(site), nil)
			if err == nil || !strings.Contains(err.Error(), "has more than 500000 keys, values and signs") {
				t.Errorf("%s: got %.200v, want it refused for its size", name, err)
			}
		})
	}
}

// Each of these is small enough and would keep the parser busy for seconds or minutes.
func TestSlowTextsAreRefused(t *testing.T) {
	var mapping, lists, flow, items strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&mapping, "key-%d: 1\n", i)
		fmt.Fprintf(&lists, "key-%d:\n- 1\n", i)
		fmt.Fprintf(&items, "  key-%d: [1, 2]\n", i)
	}
	flow.WriteString("a: {")
	for i := range 20_000 {
		fmt.Fprintf(&flow, "k%d: 1, ", i)
	}
	for name, tc := range map[string]struct{ text, want string }{
		"one mapping":          {mapping.String(), "5001:9: is a mapping of more than 5000 keys"},
		"its values are lists": {lists.String(), "10001:9: is a mapping of more than 5000 keys"},
		"deeper":               {"a:\n" + items.String(), "5002:11: is a mapping of more than 5000 keys"},
		"in an item":           {"a:\n- \n" + items.String(), "5003:11: is a mapping of more than 5000 keys"},
		"on one line":          {flow.String() + "z: 1}", "1:48900: is a mapping of more than 5000 keys"},
		"documents":            {strings.Repeat("---\na: 1\n", 20_000), "5:1: a second document begins here"},
	} {
		t.Run(name, func(t *testing.T) {
			err := config.Load("edge.yaml", []byte(tc.text), new(site), nil)
			if err == nil || !strings.HasPrefix(err.Error(), "edge.yaml:"+tc.want) {
				t.Errorf("%s: got %.200v, want %s", name, err, tc.want)
			}
		})
	}
}

// BenchmarkLoad reads a city's file: the cost of a site is the same for 12 and for 10,000.
func BenchmarkLoad(b *testing.B) {
	for _, sites := range []int{12, 1000, 10_000} {
		b.Run(fmt.Sprintf("%d sites", sites), func(b *testing.B) {
			var text strings.Builder
			text.WriteString("sites:\n")
			for i := range sites {
				fmt.Fprintf(&text, "  - id: site-%d\n    name: 新华区绿色分拣中心\n    english: Xinhua sorting centre\n    district: xinhua\n"+
					"    key: \"PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=\"\n    password_file: /etc/steelyard/site-%d.password\n", i, i)
			}
			for b.Loop() {
				var city struct {
					Sites []map[string]string `yaml:"sites"`
				}
				if err := config.Load("cloud.yaml", []byte(text.String()), &city, nil); err != nil || len(city.Sites) != sites {
					b.Fatal(len(city.Sites), err)
				}
			}
			b.ReportMetric(b.Elapsed().Seconds()*1e6/float64(b.N)/float64(sites), "us/site")
		})
	}
}

func TestBombOfAnchors(t *testing.T) {
	var bomb strings.Builder
	bomb.WriteString("a: &a [x, x]\n")
	for i := range 25 {
		fmt.Fprintf(&bomb, "%c: &%c [*%c, *%c]\n", 'b'+i, 'b'+i, 'a'+i, 'a'+i)
	}
	err := config.Load("edge.yaml", []byte(bomb.String()), new(site), nil)
	if err == nil || !strings.HasPrefix(err.Error(), "edge.yaml:1:4: anchors (&name) are not supported") {
		t.Errorf("got %.200v, want the anchors refused", err)
	}
}

func TestManyMistakesAreCounted(t *testing.T) {
	var b strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&b, "wrong-%d: 1\n", i)
	}
	err := config.Load("edge.yaml", []byte(b.String()), new(site), nil)
	lines := strings.Split(fmt.Sprint(err), "\n")
	if got, want := lines[len(lines)-1], "edge.yaml: and 4900 more mistakes"; len(lines) != 101 || got != want {
		t.Errorf("got %d lines that end in %q, want 101 and %q", len(lines), got, want)
	}
}

func TestPaths(t *testing.T) {
	for want, parts := range map[string][]any{
		"":                              nil,
		"a":                             {"a"},
		"a[2].b":                        {"a", 2, "b"},
		"materials.paper/occ.zh":        {"materials", "paper/occ", "zh"},
		`devices["a.b"]["[1]"].x`:       {"devices", "a.b", "[1]", "x"},
		`devices["say \"no\""][0].deep`: {"devices", `say "no"`, 0, "deep"},
	} {
		t.Run(want, func(t *testing.T) {
			if got := config.Path(parts...); got != want {
				t.Errorf("%v: got %s, want %s", parts, got, want)
			}
		})
	}
}

// A fault at a place that is not in the file stands where its nearest relative does.
func TestFaultsStandSomewhere(t *testing.T) {
	text := "\nsite: a\nweighbridges:\n  - name: x\nWords:\n"
	err := config.Load("edge.yaml", []byte(strings.ToLower(text)+"  \"a.b\": c\n"), new(site), func(c *config.Checker) {
		c.Fault("", "needs more")
		c.Fault("broker.tls.key", "is missing")
		c.Fault("weighbridges[0].port", "is missing")
		c.Fault("weighbridges[7].port", "is missing")
		c.Fault(config.Path("words", "a.b"), "is no word")
		c.Fault(config.Path("words", "x.y", 3), "is missing")
	})
	want := `edge.yaml:2:1: needs more
edge.yaml:2:1: broker.tls.key: is missing
edge.yaml:3:1: weighbridges[7].port: is missing
edge.yaml:4:5: weighbridges[0].port: is missing
edge.yaml:5:1: words["x.y"][3]: is missing
edge.yaml:6:3: words["a.b"]: is no word`
	if diff := cmp.Diff(want, fmt.Sprint(err)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestLoadFileNamesThePath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "edge.yaml")
	if err := os.WriteFile(path, []byte("sites: a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := config.LoadFile(path, new(site), nil)
	if got, want := fmt.Sprint(err), path+`:1:1: sites: unknown key; did you mean "site"?`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// FuzzLoad: no text makes Load panic or answer without a place in the text.
func FuzzLoad(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, text := range []string{"? a\n: b\n", "a: |+2\n    x\n", "{a: [}", "- - -", "a: \"\\x\"", "%YAML 1.2\n---\na", "!!binary x", "<<: {a: b}", "a: b: c", "'", "...\n---\n"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var s site
		err := config.Load("edge.yaml", data, &s, s.check)
		if err == nil {
			return
		}
		ms, ok := errors.AsType[config.Mistakes](err)
		if !ok || len(ms) == 0 {
			t.Fatalf("got %v, want Mistakes", err)
		}
		for _, m := range ms {
			if m.Line < 1 || m.Column < 1 || m.Text == "" || strings.ContainsAny(m.String(), "\r\n\x00") {
				t.Fatalf("mistake %+v of\n%s", m, hex.Dump(data))
			}
		}
	})
}
