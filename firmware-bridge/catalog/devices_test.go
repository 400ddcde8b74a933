package catalog_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"steelyard/firmware-bridge/catalog"
	"steelyard/firmware-bridge/modbus"
	"steelyard/firmware-bridge/weighbridge"
)

var update = flag.Bool("update", false, "write docs/devices.md and docs/profiles.md")

// The list of machines in the documentation is written from the catalogue and from the dialects,
// so it cannot promise a machine that the programs do not know.
func TestDevicesDocumentIsCurrent(t *testing.T) {
	current(t, "devices.md", devicesDocument(shipped(t)))
}

// current compares a text with a page of the documentation, or writes the page with -update.
func current(t *testing.T, page, got string) {
	t.Helper()
	path := filepath.Join("../../docs", page)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("docs/%s is not current; run: go test ./firmware-bridge/catalog -run Document -update\n%s", page, diff)
	}
}

func devicesDocument(c *catalog.Catalog) string {
	var b strings.Builder
	b.WriteString(`# Machines

Written from ` + "`configs/devices`" + ` and the dialects of ` + "`firmware-bridge/weighbridge`" + ` by
` + "`go test ./firmware-bridge/catalog -run Document -update`" + `; a test fails when it is not current.

Status: *manual* was read on paper only, *bench* was seen on a table, *field* on a site; a *template* is an example to copy. Prove a machine of the first kind before
you trust it: ` + "`firmware-bridge show`" + ` beside its display.

## Weighing indicators on a serial line

A weighbridge in ` + "`edge.yaml`" + ` and a line in ` + "`gateway.yaml`" + ` name one of these as ` + "`indicator`" + `, or a dialect of the next table. Options
beside an indicator are what this one instrument has otherwise: its address on a shared line, a checksum that was switched off. Where no
speed or format is given, the maker's documents do not say with which one it leaves the factory.

| indicator | maker | model | status | dialect | line |
|---|---|---|---|---|---|
`)
	for _, i := range c.Indicators() {
		fmt.Fprintf(&b, "| [`%s`](#%s) | %s | %s | %s | `%s` | %s |\n", i.Name, i.Name, cell(i.Maker), cell(i.Model), i.Status, i.Dialect, lineOfIndicator(i))
	}
	b.WriteString(`
## Dialects of indicators

| dialect | who speaks it | sends | documented in |
|---|---|---|---|
`)
	for _, d := range weighbridge.Dialects() {
		sends := "by itself"
		switch requests := d.Requests(); {
		case d.Poll != "":
			sends = "when asked for its " + string(d.Poll)
		case len(requests) > 0:
			sends = "answers to " + string(requests[0])
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", d.Name, cell(d.Makes), sends, cell(d.Cites))
	}
	b.WriteString(`
## Modbus machines

Unit and line are what to try first: the setting of the factory where the sources name it, else unit 1 at 9600 baud 8N1.
` + "`firmware-bridge find -modbus`" + ` tries the others.

| profile | maker | model | status | line | tags |
|---|---|---|---|---|---|
`)
	for _, p := range c.Profiles() {
		fmt.Fprintf(&b, "| [`%s`](#%s) | %s | %s | %s | %s | %d |\n", p.Name, p.Name, cell(p.Maker), cell(p.Model), p.Status, lineOf(p), len(p.Points))
	}
	for _, p := range c.Profiles() {
		fmt.Fprintf(&b, "\n### %s\n\n%s %s: %s. Unit %d unless set otherwise; %s.\n", p.Name, p.Maker, p.Model, whatItSays(p), p.Transport.Unit, lineOf(p))
		if notes := strings.TrimSpace(p.Notes); notes != "" {
			fmt.Fprintf(&b, "\n%s\n", notes)
		}
		writeSources(&b, p.Sources)
		b.WriteString("\n| tag | address | type | unit | quantity | note |\n|---|---|---|---|---|---|\n")
		for _, v := range p.Points {
			fmt.Fprintf(&b, "| %s | %d%s | %s | %s | %s | %s |\n", v.Name, v.At, bitOf(v), v.Type, v.Unit, v.Quantity, cell(v.Note))
		}
	}
	b.WriteString("\n## How each indicator is set\n")
	for _, i := range c.Indicators() {
		fmt.Fprintf(&b, "\n### %s\n\n%s %s: dialect `%s`", i.Name, i.Maker, i.Model, i.Dialect)
		if line := lineOfIndicator(i); line != "" {
			b.WriteString(", " + line)
		}
		if i.Unit != "" {
			b.WriteString(", in " + string(i.Unit))
		}
		fmt.Fprintf(&b, ".\n\n%s\n", strings.TrimSpace(i.Notes))
		writeSources(&b, i.Sources)
	}
	return b.String()
}

func writeSources(b *strings.Builder, sources []modbus.Source) {
	b.WriteString("\nSources: ")
	for i, s := range sources {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(s.Doc)
		if s.Page != "" {
			b.WriteString(" p. " + s.Page)
		}
	}
	b.WriteString(".\n")
}

func lineOfIndicator(i *catalog.Indicator) string {
	var all []string
	if i.Line.Baud != 0 {
		all = append(all, strconv.Itoa(i.Line.Baud)+" baud")
	}
	if i.Line.Format != "" {
		all = append(all, i.Line.Format)
	}
	return strings.Join(all, " ")
}

// cell keeps a text within one cell of a table.
func cell(text string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", `\|`)
}

func bitOf(v modbus.Point) string {
	switch {
	case v.Bit != nil:
		return fmt.Sprintf(".%d", *v.Bit)
	case len(v.Bits) == 2:
		return fmt.Sprintf(".%d-%d", v.Bits[0], v.Bits[1])
	}
	return ""
}

func lineOf(p *modbus.Profile) string {
	var all []string
	if r := p.Transport.RTU; r != nil {
		all = append(all, fmt.Sprintf("RTU %d %s", r.Baud, r.Format))
	}
	if p.Transport.Port != 0 {
		all = append(all, fmt.Sprintf("TCP port %d", p.Transport.Port))
	}
	return strings.Join(all, ", ")
}

// whatItSays names the kinds of things that the machine tells, from its quantities.
func whatItSays(p *modbus.Profile) string {
	words := []struct{ prefix, words string }{
		{"weight.", "weight"}, {"totaliser.", "a totaliser"}, {"belt.", "a belt's rate"}, {"bale.", "bales"},
		{"machine.", "state of the machine"}, {"drive.", "a drive"}, {"energy.", "energy"}, {"power.", "power"},
	}
	var said []string
	for _, w := range words {
		for _, v := range p.Points {
			if strings.HasPrefix(v.Quantity, w.prefix) {
				said = append(said, w.words)
				break
			}
		}
	}
	return strings.Join(said, ", ")
}
