// Package arch holds the house to its three laws: who may import whom, one door per library, and
// what is banned where.
//
// In: the source tree. Out: every break of a law as file:line and the reason.
// It promises to read the sources itself, so that the test cache notices each change of them, and
// it passes on a tree in which packages are still missing. It does not compile anything: a break
// that only types could show passes unseen.
package arch

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const module = "steelyard"

// Finding is one break of a law.
type Finding struct {
	File string
	Line int
	Text string
}

func (f Finding) String() string { return fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.Text) }

// Check reads a module's tree and returns its findings in the order of files and lines. The error is
// that of a tree which cannot be read or parsed.
func Check(tree fs.FS) ([]Finding, error) {
	h := &house{files: token.NewFileSet(), packages: map[string][]source{}}
	if err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && (d.Name() == "testdata" || d.Name() == "vendor" || strings.HasPrefix(d.Name(), ".")):
			return fs.SkipDir
		case d.IsDir() || !d.Type().IsRegular():
			return nil
		}
		return h.read(tree, name)
	}); err != nil {
		return nil, err
	}
	for dir, sources := range h.packages {
		for _, s := range sources {
			h.imports(dir, s)
			h.bans(dir, s)
		}
		h.variables(sources)
	}
	slices.SortFunc(h.findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Text, b.Text))
	})
	return slices.Compact(h.findings), nil
}

type house struct {
	files    *token.FileSet
	packages map[string][]source // by folder
	findings []Finding
}

// source is one Go file.
type source struct {
	name string // from the module's root
	test bool
	tree *ast.File
}

// unfinished marks work that was put off. The words are taken apart so that this file is clean.
var unfinished = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME)\b`)

func (h *house) read(tree fs.FS, name string) error {
	switch path.Ext(name) {
	case ".go", ".md", ".yaml", ".yml", ".sql", ".html", ".css", ".js", ".sh", ".service", ".conf", "":
	default:
		return nil
	}
	info, err := fs.Stat(tree, name)
	if err != nil {
		return err
	}
	if info.Size() > 4<<20 { // data or a program, not a text that people wrote
		return nil
	}
	data, err := fs.ReadFile(tree, name)
	if err != nil {
		return err
	}
	line := 0
	for text := range strings.Lines(string(data)) {
		line++
		if word := unfinished.FindString(text); word != "" {
			h.findings = append(h.findings, Finding{name, line, word + ": finish it or leave it out"})
		}
	}
	if path.Ext(name) != ".go" {
		return nil
	}
	f, err := parser.ParseFile(h.files, name, data, 0)
	if err != nil {
		return fmt.Errorf("parse: %w", err)
	}
	dir := path.Dir(name)
	h.packages[dir] = append(h.packages[dir], source{name, strings.HasSuffix(name, "_test.go"), f})
	return nil
}

func (h *house) found(at token.Pos, format string, args ...any) {
	p := h.files.Position(at)
	h.findings = append(h.findings, Finding{p.Filename, p.Line, fmt.Sprintf(format, args...)})
}

// imports holds laws 1 and 2 over one file.
func (h *house) imports(dir string, s source) {
	if !s.test && !known(dir) {
		h.found(s.tree.Package, "package %s is not on the map; add it to internal/arch/map.go and say what it may import", dir)
	}
	for _, spec := range s.tree.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the parser has accepted it as a string already
		}
		if to, ours := strings.CutPrefix(name, module+"/"); ours {
			if why := forbidden(dir, to, s.test); why != "" {
				h.found(spec.Pos(), "imports %s: %s", to, why)
			}
			continue
		}
		for library, doors := range doors {
			if within(name, library) && !slices.ContainsFunc(doors, func(door string) bool { return within(dir, door) }) {
				h.found(spec.Pos(), "imports %s: its door is %s", name, strings.Join(doors, " or "))
			}
		}
	}
}

// within reports whether a folder or an import path is another one or lies below it.
func within(name, above string) bool {
	return name == above || strings.HasPrefix(name, above+"/")
}
