// Package material is the catalogue of what is weighed, [Open]: categories, their grades, and the
// districts that they come from.
//
// In: materials.yaml and districts.yaml. Out: for a code and a time, the category that it counts
// under and its names; menus for operators.
// It promises that a code counts under exactly one category, for ever: the one before its slash. So
// a lead-acid battery is a battery and never lead, and a report on a past day comes out the same.
// It does not weigh, sum or net anything, and it does not know targets.
package material

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"steelyard/internal/config"
	"steelyard/internal/day"
)

// Category is one line of the bureau's tables.
type Category struct {
	Code string // "paper"
	Zh   string // 废纸
	En   string
}

// Material is what an operator chooses: a category as a whole ("paper") or one of its grades
// ("paper/occ").
type Material struct {
	Code     string
	Category string // code of the category that it counts under
	Zh       string
	En       string
}

// Catalogue is one version of materials.yaml. It does not change and may be shared.
type Catalogue struct {
	version    string
	categories []entry
	grades     []entry
}

// entry is one line of the file: a code and its names from one day to another.
type entry struct {
	Code  string  `yaml:"code"`
	Zh    string  `yaml:"zh"`
	En    string  `yaml:"en"`
	From  day.Day `yaml:"from"`  // first day of use; 0: always has been
	Until day.Day `yaml:"until"` // last day of use; 0: without end
}

type file struct {
	Categories []entry `yaml:"categories"`
	Grades     []entry `yaml:"grades"`
}

// Parse reads materials.yaml; name is its name in messages. The error is config.Mistakes.
func Parse(name string, data []byte) (*Catalogue, error) {
	var f file
	if err := config.Load(name, data, &f, f.check); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	return &Catalogue{hex.EncodeToString(sum[:]), f.Categories, f.Grades}, nil
}

// Version is the SHA-256 of the file in hexadecimal. A statement that names it can be made again.
func (c *Catalogue) Version() string { return c.version }

// Category returns the category under which material counts at a time.
func (c *Catalogue) Category(material string, at time.Time) (Category, error) {
	m, err := c.Material(material, at)
	if err != nil {
		return Category{}, err
	}
	e, err := find(c.categories, m.Category, day.Of(at))
	if err != nil {
		return Category{}, err
	}
	return Category{e.Code, e.Zh, e.En}, nil
}

// Material returns the names of a code at a time.
func (c *Catalogue) Material(code string, at time.Time) (Material, error) {
	category, _, graded := strings.Cut(code, "/")
	on := day.Of(at)
	top, err := find(c.categories, category, on)
	if err != nil {
		return Material{}, err
	}
	if !graded {
		return Material{top.Code, top.Code, top.Zh, top.En}, nil
	}
	e, err := find(c.grades, code, on)
	if err != nil {
		return Material{}, err
	}
	return Material{e.Code, category, e.Zh, e.En}, nil
}

// Categories lists the categories of a time in the order of the file.
func (c *Catalogue) Categories(at time.Time) []Category {
	list := []Category{}
	for _, e := range c.categories {
		if e.covers(day.Of(at)) {
			list = append(list, Category{e.Code, e.Zh, e.En})
		}
	}
	return list
}

// Materials lists what may be chosen at a time: each category, followed by its grades.
func (c *Catalogue) Materials(at time.Time) []Material {
	list := []Material{}
	for _, top := range c.Categories(at) {
		list = append(list, Material{top.Code, top.Code, top.Zh, top.En})
		for _, e := range c.grades {
			if strings.HasPrefix(e.Code, top.Code+"/") && e.covers(day.Of(at)) {
				list = append(list, Material{e.Code, top.Code, e.Zh, e.En})
			}
		}
	}
	return list
}

// find looks for the entry of a code on a day. When there is none its error names what is nearest: the code
// on other days, or nothing of that name.
func find(entries []entry, code string, on day.Day) (entry, error) {
	var spans []string
	for _, e := range entries {
		if e.Code != code {
			continue
		}
		if e.covers(on) {
			return e, nil
		}
		spans = append(spans, e.span())
	}
	if len(spans) > 0 {
		return entry{}, fmt.Errorf("material %q is not in use on %s, only %s", code, on, strings.Join(spans, " and "))
	}
	return entry{}, fmt.Errorf("material %.60q is not in the catalogue; add it to materials.yaml or choose another", code)
}

func (e entry) covers(on day.Day) bool {
	return (e.From == 0 || on >= e.From) && (e.Until == 0 || on <= e.Until)
}

func (e entry) span() string {
	switch {
	case e.From == 0:
		return "until " + e.Until.String()
	case e.Until == 0:
		return "from " + e.From.String()
	}
	return "from " + e.From.String() + " until " + e.Until.String()
}

// overlaps reports whether some day belongs to both entries.
func (e entry) overlaps(o entry) bool {
	return (e.Until == 0 || o.From == 0 || e.Until >= o.From) &&
		(o.Until == 0 || e.From == 0 || o.Until >= e.From)
}

const slug = `[a-z0-9]+(?:-[a-z0-9]+)*`

var (
	categoryCode = regexp.MustCompile(`^` + slug + `$`)
	gradeCode    = regexp.MustCompile(`^` + slug + `/` + slug + `$`)
	// The names under which batteries are traded. Their lead is in the battery's weight already.
	batteryName = regexp.MustCompile(`(?i)lead[- ]acid|batter|accumulator|电池|电瓶|铅酸`)
)

const battery = "battery"

func (f *file) check(c *config.Checker) {
	if len(f.Categories) == 0 {
		c.Fault("categories", "needs at least one category")
	}
	checkEntries(c, "categories", f.Categories, categoryCode, "a word such as paper")
	checkEntries(c, "grades", f.Grades, gradeCode, "a category and a word such as paper/occ")
	for i, g := range f.Grades {
		path := config.Path("grades", i, "code")
		category, _, ok := strings.Cut(g.Code, "/")
		if !ok {
			continue
		}
		if !slices.ContainsFunc(f.Categories, func(e entry) bool { return e.Code == category }) {
			c.Fault(path, "unknown category %q; add it under categories or choose one of them", category)
		}
		if category != battery && batteryName.MatchString(g.Code+" "+g.Zh+" "+g.En) {
			c.Fault(path, "a battery counts once, as battery, never as %s; write %s/lead-acid or the like", category, battery)
		}
	}
}

func checkEntries(c *config.Checker, list string, entries []entry, code *regexp.Regexp, example string) {
	for i, e := range entries {
		at := func(key string) string { return config.Path(list, i, key) }
		switch {
		case e.Code == "":
			c.Fault(at("code"), "is missing")
			continue
		case !code.MatchString(e.Code) || len(e.Code) > 60:
			c.Fault(at("code"), "invalid code %.60q; use %s, of small letters, digits and hyphens", e.Code, example)
		}
		if strings.TrimSpace(e.Zh) == "" {
			c.Fault(at("zh"), "is missing; the operator's menu needs it")
		}
		if strings.TrimSpace(e.En) == "" {
			c.Fault(at("en"), "is missing; the operator's menu needs it")
		}
		if e.From != 0 && e.Until != 0 && e.Until < e.From {
			c.Fault(at("until"), "%s is before the first day %s", e.Until, e.From)
		}
		for j, earlier := range entries[:i] {
			if earlier.Code == e.Code && earlier.overlaps(e) {
				c.Fault(at("code"), "%s is already given (line %d) for some of these days; end one with until", e.Code, c.Line(config.Path(list, j, "code")))
				break
			}
		}
	}
}
