package site

import (
	"strings"
	"unicode"
)

// Names are what people call a machine. Pages show them, with the device's id in small print; where
// there is none they show what kind of machine it is.
type Names struct {
	Name    string `yaml:"name"`    // in Chinese, like 1号地磅
	English string `yaml:"english"` // on the English page, like Weighbridge 1; where there is none, Name
}

// longestName is what a page has room for.
const longestName = 40

func (n Names) check(k checking, at place) {
	for _, named := range []struct{ key, text string }{{"name", n.Name}, {"english", n.English}} {
		switch {
		case len([]rune(named.text)) > longestName:
			k.Fault(at(named.key), "a name of %d characters: at most %d have room on a page", len([]rune(named.text)), longestName)
		case strings.ContainsFunc(named.text, func(r rune) bool { return !unicode.IsPrint(r) }):
			k.Fault(at(named.key), "%q has characters that can't be shown", named.text)
		}
	}
	if n.English != "" && n.Name == "" {
		k.Fault(at("english"), "say name, too: the pages are Chinese first")
	}
}
