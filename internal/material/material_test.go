package material_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"steelyard/configs"
	"steelyard/internal/material"
)

func shipped(t *testing.T, name string) []byte {
	t.Helper()
	data, err := configs.Files.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func at(t *testing.T, moment string) time.Time {
	t.Helper()
	parsed, err := time.Parse(time.RFC3339, moment)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func TestShippedCatalogueHasTheTenCategories(t *testing.T) {
	c, err := material.Parse("materials.yaml", shipped(t, "materials.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	now := at(t, "2026-01-01T00:00:00Z")
	for _, category := range c.Categories(now) {
		got = append(got, category.Code+" "+category.Zh)
	}
	want := []string{"steel 废钢铁", "copper 废铜", "aluminium 废铝", "lead 废铅", "zinc 废锌", "paper 废纸", "plastics 废塑料", "rubber 废橡胶", "glass 废玻璃", "battery 废电池"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	graded := map[string]bool{}
	for _, m := range c.Materials(now) {
		category, err := c.Category(m.Code, now)
		if err != nil || category.Code != m.Category || m.Zh == "" || m.En == "" {
			t.Errorf("%+v counts under %+v, %v", m, category, err)
		}
		if prefix, _, ok := strings.Cut(m.Code, "/"); ok {
			graded[prefix] = true
		}
	}
	if len(graded) != 10 {
		t.Errorf("got example grades under %d categories, want 10", len(graded))
	}
}

func TestShippedDistricts(t *testing.T) {
	districts, err := material.ParseDistricts("districts.yaml", shipped(t, "districts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range districts {
		got = append(got, d.Zh)
	}
	want := strings.Fields("新华区 卫东区 湛河区 石龙区 城乡一体化示范区 高新区 舞钢市 汝州市 宝丰县 叶县 鲁山县 郏县")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Codes have a history: OCC is renamed in 2024, glass is counted from 2023 only.
const history = `
categories:
  - {code: paper, zh: 废纸, en: waste paper}
  - {code: glass, zh: 废玻璃, en: waste glass, from: 2023-01-01}
grades:
  - {code: paper/occ, zh: 旧名, en: old name, until: 2023-12-31}
  - {code: paper/occ, zh: 新名, en: new name, from: 2024-01-01}
  - {code: glass/bottles, zh: 玻璃瓶, en: bottles, until: 2023-06-30}
`

func TestDatesAreWholeDaysInShanghai(t *testing.T) {
	c, err := material.Parse("m.yaml", []byte(history))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ code, moment, want string }{
		{"paper", "2020-01-01T00:00:00Z", "paper 废纸"},
		{"paper/occ", "2023-12-31T15:59:59Z", "paper 旧名"},
		{"paper/occ", "2023-12-31T16:00:00Z", "paper 新名"},
		{"glass", "2022-12-31T15:59:59Z", `material "glass" is not in use on 2022-12-31, only from 2023-01-01`},
		{"glass", "2022-12-31T16:00:00Z", "glass 废玻璃"},
		{"glass/bottles", "2022-06-01T00:00:00Z", `material "glass" is not in use on 2022-06-01, only from 2023-01-01`},
		{"glass/bottles", "2023-06-30T15:59:59Z", "glass 玻璃瓶"},
		{"glass/bottles", "2023-06-30T16:00:00Z", `material "glass/bottles" is not in use on 2023-07-01, only until 2023-06-30`},
		{"gold", "2024-01-01T00:00:00Z", `material "gold" is not in the catalogue; add it to materials.yaml or choose another`},
		{"paper/", "2024-01-01T00:00:00Z", `material "paper/" is not in the catalogue; add it to materials.yaml or choose another`},
		{"", "2024-01-01T00:00:00Z", `material "" is not in the catalogue; add it to materials.yaml or choose another`},
		{"Paper", "2024-01-01T00:00:00Z", `material "Paper" is not in the catalogue; add it to materials.yaml or choose another`},
	} {
		t.Run(tc.code+" "+tc.moment, func(t *testing.T) {
			m, err := c.Material(tc.code, at(t, tc.moment))
			got := m.Category + " " + m.Zh
			if err != nil {
				got = err.Error()
			}
			if got != tc.want {
				t.Errorf("%s at %s: got %s, want %s", tc.code, tc.moment, got, tc.want)
			}
			category, categoryErr := c.Category(tc.code, at(t, tc.moment))
			if fmt.Sprint(categoryErr) != fmt.Sprint(err) || category.Code != m.Category {
				t.Errorf("%s at %s: category %+v, %v; material %+v, %v", tc.code, tc.moment, category, categoryErr, m, err)
			}
		})
	}
	menu := func(moment string) (codes []string) {
		for _, m := range c.Materials(at(t, moment)) {
			codes = append(codes, m.Code+" "+m.Zh)
		}
		return codes
	}
	if diff := cmp.Diff([]string{"paper 废纸", "paper/occ 旧名"}, menu("2022-01-01T00:00:00Z")); diff != "" {
		t.Errorf("menu of 2022, -want +got:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"paper 废纸", "paper/occ 新名", "glass 废玻璃"}, menu("2024-01-01T00:00:00Z")); diff != "" {
		t.Errorf("menu of 2024, -want +got:\n%s", diff)
	}
}

func TestVersionIsTheFile(t *testing.T) {
	a, err := material.Parse("a.yaml", []byte(history))
	if err != nil {
		t.Fatal(err)
	}
	b, err := material.Parse("b.yaml", []byte(history+"# edited\n"))
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Version()) != 64 || a.Version() == b.Version() {
		t.Errorf("got %q and %q, want two digests", a.Version(), b.Version())
	}
}

// The plan counts a lead-acid battery once. No catalogue can make it lead.
func TestBatteryIsNeverLead(t *testing.T) {
	c, err := material.Parse("materials.yaml", shipped(t, "materials.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.Category("battery/lead-acid", at(t, "2026-01-01T00:00:00Z")); err != nil || got.Code != "battery" {
		t.Errorf("battery/lead-acid: got %+v, %v, want battery", got, err)
	}
	for _, grade := range []string{
		"{code: lead/lead-acid, zh: 铅, en: lead}",
		"{code: lead/batteries, zh: 铅, en: lead}",
		"{code: lead/x, zh: 废电瓶, en: lead}",
		"{code: lead/x, zh: 铅酸蓄电池, en: lead}",
		"{code: lead/x, zh: 铅, en: Lead acid accumulators}",
		"{code: steel/x, zh: 电池壳, en: cases}",
	} {
		text := "categories:\n  - {code: lead, zh: 废铅, en: lead}\n  - {code: steel, zh: 废钢铁, en: steel}\ngrades:\n  - " + grade + "\n"
		_, err := material.Parse("m.yaml", []byte(text))
		if !strings.HasPrefix(fmt.Sprint(err), "m.yaml:5:6: grades[0].code: a battery counts once, as battery, never as ") {
			t.Errorf("%s: got %v, want it refused", grade, err)
		}
	}
}

func TestBadCatalogue(t *testing.T) {
	text := `categories:
  - {code: Paper, zh: 废纸, en: paper}
  - {code: glass, zh: 废玻璃, en: glass, from: 2024-02-30}
  - {code: zinc, zh: 废锌, en: zinc, from: 2024-02-02, until: 2024-02-01}
  - {code: glass, zh: 废玻璃, en: glass}
  - {zh: 无, en: none}
grades:
  - {code: glass, zh: 瓶, en: bottle}
  - {code: wood/pallets, zh: 托盘, en: pallets}
  - {code: glass/flat, zh: " ", from: 2024-01-01}
  - {code: glass/flat, zh: 平板, en: flat, until: 2024-01-01}
`
	want := `m.yaml:2:6: categories[0].code: invalid code "Paper"; use a word such as paper, of small letters, digits and hyphens
m.yaml:3:39: categories[1].from: invalid date "2024-02-30", want YYYY-MM-DD
m.yaml:4:54: categories[2].until: 2024-02-01 is before the first day 2024-02-02
m.yaml:5:6: categories[3].code: glass is already given (line 3) for some of these days; end one with until
m.yaml:6:5: categories[4].code: is missing
m.yaml:8:6: grades[0].code: invalid code "glass"; use a category and a word such as paper/occ, of small letters, digits and hyphens
m.yaml:9:6: grades[1].code: unknown category "wood"; add it under categories or choose one of them
m.yaml:10:5: grades[2].en: is missing; the operator's menu needs it
m.yaml:10:24: grades[2].zh: is missing; the operator's menu needs it
m.yaml:11:6: grades[3].code: glass/flat is already given (line 10) for some of these days; end one with until`
	_, err := material.Parse("m.yaml", []byte(text))
	if diff := cmp.Diff(want, fmt.Sprint(err)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	_, err = material.Parse("m.yaml", []byte("grades: []\n"))
	if got, want := fmt.Sprint(err), "m.yaml:1:1: categories: needs at least one category"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestBadDistricts(t *testing.T) {
	text := "districts:\n  - {code: a b, zh: 甲, en: A}\n  - {code: x, zh: 乙, en: B}\n  - {code: x, zh: \"\", en: C}\n"
	want := `d.yaml:2:6: districts[0].code: invalid code "a b"; use a word such as xinhua, of small letters, digits and hyphens
d.yaml:4:6: districts[2].code: x is already given (line 3); a district stands here once
d.yaml:4:15: districts[2].zh: is missing; the tables need it`
	_, err := material.ParseDistricts("d.yaml", []byte(text))
	if diff := cmp.Diff(want, fmt.Sprint(err)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
