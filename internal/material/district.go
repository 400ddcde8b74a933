package material

import (
	"strings"

	"steelyard/internal/config"
)

// District is a part of the city by which the bureau's tables are broken down.
type District struct {
	Code string `yaml:"code"`
	Zh   string `yaml:"zh"`
	En   string `yaml:"en"`
}

// ParseDistricts reads districts.yaml: the districts in the order of the bureau's tables. The error
// is config.Mistakes.
func ParseDistricts(name string, data []byte) ([]District, error) {
	var f struct {
		Districts []District `yaml:"districts"`
	}
	err := config.Load(name, data, &f, func(c *config.Checker) {
		if len(f.Districts) == 0 {
			c.Fault("districts", "needs at least one district")
		}
		first := map[string]int{}
		for i, d := range f.Districts {
			at := func(key string) string { return config.Path("districts", i, key) }
			if !categoryCode.MatchString(d.Code) || len(d.Code) > 60 {
				c.Fault(at("code"), "invalid code %.60q; use a word such as xinhua, of small letters, digits and hyphens", d.Code)
			} else if j, given := first[d.Code]; given {
				c.Fault(at("code"), "%s is already given (line %d); a district stands here once", d.Code, c.Line(config.Path("districts", j, "code")))
			} else {
				first[d.Code] = i
			}
			if strings.TrimSpace(d.Zh) == "" {
				c.Fault(at("zh"), "is missing; the tables need it")
			}
			if strings.TrimSpace(d.En) == "" {
				c.Fault(at("en"), "is missing; the tables need it")
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return f.Districts, nil
}
