package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"steelyard/firmware-bridge/modbus"
	"steelyard/internal/config"
)

// fileWords is what check says about one file.
type fileWords struct {
	File     string         `json:"file"`
	OK       bool           `json:"ok"`
	Profile  string         `json:"profile"`
	Points   int            `json:"points"`
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

// check loads profiles as an edge does.
func check(_ context.Context, c call) error {
	asJSON := c.flags.Bool("json", false, "one JSON object for each file")
	const synopsis = "FILE…"
	files, err := c.parse(synopsis, -1)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return wrongCall("usage: firmware-bridge check "+synopsis, "check needs the names of profiles")
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
			out.printf("%s: in order: profile %s, %s, %s passed\n", name, f.Profile, count(f.Points, "point"), count(f.Tests, "test"))
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
	var p *modbus.Profile
	if err == nil {
		p, err = modbus.Load(name, data)
	}
	if all, ok := errors.AsType[config.Mistakes](err); ok {
		for _, m := range all {
			f.Mistakes = append(f.Mistakes, mistakeWords{m.Line, m.Column, m.Path, m.Text, m.String()})
		}
	} else if err != nil {
		f.Mistakes = append(f.Mistakes, mistakeWords{Text: err.Error(), whole: err.Error()})
	}
	if p == nil {
		return f
	}
	f.Profile, f.Points, f.Tests = p.Name, len(p.Points), len(p.Tests)
	if base := strings.TrimSuffix(filepath.Base(name), ".yaml"); base != p.Name {
		// The catalogue refuses such a file, so a check that passed it would promise too much.
		text := fmt.Sprintf("holds profile %q; name the file %s.yaml", p.Name, p.Name)
		f.Mistakes = append(f.Mistakes, mistakeWords{1, 1, "profile", text, fmt.Sprintf("%s:1:1: %s", name, text)})
	}
	f.OK = len(f.Mistakes) == 0
	return f
}

// count writes "1 point", "2 points".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
