package bench

import (
	"context"
	"fmt"
	"strings"

	"steelyard/firmware-bridge/catalog"
	"steelyard/internal/config"
)

// fileJSON is what check says about one file.
type fileJSON struct {
	File    string `json:"file"`
	OK      bool   `json:"ok"`
	Kind    string `json:"kind"`      // profile, indicator, site or gateway; empty: not to be told
	Profile string `json:"profile"`   // of a profile
	Points  int    `json:"points"`    // of a profile
	Model   string `json:"indicator"` // of an indicator
	Dialect string `json:"dialect"`   // of an indicator
	Tests   int    `json:"tests"`     // of a profile or an indicator
	installation
	Mistakes []mistakeJSON `json:"mistakes"`
}

type mistakeJSON struct {
	Line   int    `json:"line"` // 0 when the mistake is about the whole file
	Column int    `json:"column"`
	Path   string `json:"path"`
	Text   string `json:"text"`
	whole  string // as one line
}

// check loads files as the programs do that they are for.
func check(_ context.Context, c invocation) error {
	asJSON := c.flags.Bool("json", false, "one JSON object for each file")
	const synopsis = "FILE…"
	files, err := c.parse(synopsis, -1)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return wrongCall("usage: firmware-bridge check "+synopsis, "check needs the names of profiles, indicators, a site's file or a gateway's")
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
			f.print(out)
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

func checkFile(name string) fileJSON {
	f := fileJSON{File: name, installation: nothingInstalled()}
	data, err := config.ReadFile(name)
	if err == nil {
		f.Kind, err = kindOf(name, data)
	}
	if err == nil {
		err = f.load(data)
	}
	f.Mistakes = mistakesOf(err)
	f.OK = len(f.Mistakes) == 0
	return f
}

// load reads a file of a known kind and notes what is in it.
func (f *fileJSON) load(data []byte) error {
	switch f.Kind {
	case kindSite:
		return f.loadSite(f.File, data)
	case kindGateway:
		return f.loadGateway(f.File, data)
	}
	m, err := catalog.Read(f.File, data)
	switch {
	case m.Profile != nil:
		f.Profile, f.Points, f.Tests = m.Profile.Name, len(m.Profile.Points), len(m.Profile.Tests)
	case m.Indicator != nil:
		f.Model, f.Dialect, f.Tests = m.Indicator.Name, m.Indicator.Dialect, len(m.Indicator.Tests)
	}
	return err
}

// mistakesOf takes an error apart: one file's mistakes, those of several files, or something else
// that is about a whole file.
func mistakesOf(err error) []mistakeJSON {
	all := []mistakeJSON{}
	switch err := err.(type) {
	case nil:
	case config.Mistakes:
		for _, m := range err {
			all = append(all, mistakeJSON{m.Line, m.Column, m.Path, m.Text, m.String()})
		}
	case interface{ Unwrap() []error }:
		for _, e := range err.Unwrap() {
			all = append(all, mistakesOf(e)...)
		}
	default:
		all = append(all, mistakeJSON{Text: err.Error(), whole: err.Error()})
	}
	return all
}

// print says what a file without mistakes holds.
func (f fileJSON) print(out *output) {
	out.printf("%s: in order: ", f.File)
	switch f.Kind {
	case kindSite:
		out.printf("site with %s, and %s on %s\n", count(f.weighbridges(), "weighbridge"), count(f.machines(), "machine"), plural(len(f.Buses), "bus", "buses"))
		f.installation.print(out)
		out.printf("  not checked here: %s, and what the machines work; edge -config %s -check does\n", strings.Join(f.Unchecked, ", "), f.File)
	case kindGateway:
		out.printf("gateway with %s and %s\n", count(len(f.Lines), "serial line"), plural(len(f.Buses), "bus", "buses"))
		f.installation.print(out)
	case kindIndicator:
		out.printf("indicator %s, dialect %s, %s passed\n", f.Model, f.Dialect, count(f.Tests, "test"))
	default:
		out.printf("profile %s, %s, %s passed\n", f.Profile, count(f.Points, "point"), count(f.Tests, "test"))
	}
}

// count writes "1 point", "2 points".
func count(n int, noun string) string { return plural(n, noun, noun+"s") }

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
