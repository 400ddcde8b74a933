package bench

import (
	"context"
	"errors"
	"fmt"

	"steelyard/firmware-bridge/catalog"
	"steelyard/internal/config"
)

// fileWords is what check says about one file.
type fileWords struct {
	File     string         `json:"file"`
	OK       bool           `json:"ok"`
	Profile  string         `json:"profile"`   // empty: an indicator
	Points   int            `json:"points"`    // of a profile
	Model    string         `json:"indicator"` // empty: a profile
	Dialect  string         `json:"dialect"`   // of an indicator
	Tests    int            `json:"tests"`
	Mistakes []mistakeWords `json:"mistakes"`
}

type mistakeWords struct {
	Line   int    `json:"line"` // 0 when the mistake is about the whole file
	Column int    `json:"column"`
	Path   string `json:"path"`
	Text   string `json:"text"`
	whole  string // as one line
}

// check loads profiles and indicators as an edge does.
func check(_ context.Context, c call) error {
	asJSON := c.flags.Bool("json", false, "one JSON object for each file")
	const synopsis = "FILE…"
	files, err := c.parse(synopsis, -1)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return wrongCall("usage: firmware-bridge check "+synopsis, "check needs the names of profiles or indicators")
	}
	out := c.output()
	mistakes, wrong := 0, 0
	for _, name := range files {
		f := checkFile(name)
		if mistakes += len(f.Mistakes); !f.OK {
			wrong++
		}
		switch {
		case *asJSON:
			out.json(f)
		case f.OK:
			out.printf("%s: in order: %s, %s passed\n", name, f.what(), count(f.Tests, "test"))
		default:
			for _, m := range f.Mistakes {
				out.printf("%s\n", m.whole)
			}
		}
	}
	if err := out.failed(); err != nil || wrong == 0 {
		return err
	}
	return fmt.Errorf("%s in %d of %s", count(mistakes, "mistake"), wrong, count(len(files), "file"))
}

func checkFile(name string) fileWords {
	f := fileWords{File: name, Mistakes: []mistakeWords{}}
	data, err := config.ReadFile(name)
	var m catalog.Model
	if err == nil {
		m, err = catalog.Read(name, data)
	}
	if all, ok := errors.AsType[config.Mistakes](err); ok {
		for _, m := range all {
			f.Mistakes = append(f.Mistakes, mistakeWords{m.Line, m.Column, m.Path, m.Text, m.String()})
		}
	} else if err != nil {
		f.Mistakes = append(f.Mistakes, mistakeWords{Text: err.Error(), whole: err.Error()})
	}
	switch {
	case m.Profile != nil:
		f.Profile, f.Points, f.Tests = m.Profile.Name, len(m.Profile.Points), len(m.Profile.Tests)
	case m.Indicator != nil:
		f.Model, f.Dialect, f.Tests = m.Indicator.Name, m.Indicator.Dialect, len(m.Indicator.Tests)
	}
	f.OK = len(f.Mistakes) == 0
	return f
}

// what is in the file.
func (f fileWords) what() string {
	if f.Model != "" {
		return "indicator " + f.Model + ", dialect " + f.Dialect
	}
	return "profile " + f.Profile + ", " + count(f.Points, "point")
}

// count writes "1 point", "2 points".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
