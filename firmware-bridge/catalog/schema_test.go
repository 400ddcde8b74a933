package catalog_test

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"steelyard/firmware-bridge/catalog"
	"steelyard/firmware-bridge/modbus"
	"steelyard/internal/config"
)

// The two examples are whole files, which the catalogue reads and whose frames it decodes.
const schemaExamples = "testdata/schema"

// The keys of the files in configs/devices are documented once, at the fields that hold them. The
// page is written from those comments, so it can't speak of a key that is not there, nor keep
// silent about one that is.
func TestSchemaDocumentIsCurrent(t *testing.T) {
	current(t, "profiles.md", schemaDocument(t))
}

// Every key is explained: at its field, or above the struct that it is one of the few keys of.
func TestEveryKeyIsExplained(t *testing.T) {
	s := readSources(t)
	for _, root := range []string{"modbus.Profile", "catalog.Indicator"} {
		s.walk(root, "", func(_ string, about *structure) {
			for _, f := range about.fields {
				if f.means == "" && about.means == "" {
					t.Errorf("%s.%s: say at the field what it means", about.name, f.key)
				}
			}
		})
	}
	if n := len(s.structures["modbus.Point"].fields); n < 15 {
		t.Errorf("only %d keys of a point were found", n)
	}
}

// structure is a struct that a file's keys are read into.
type structure struct {
	name   string // "modbus.Point"
	means  string
	fields []field
}

type field struct {
	key   string
	names string // of the struct that it holds, "modbus.Point"; empty for a plain value
	kind  string // in words
	means string
}

// sources are the structs of the packages that files are read into.
type sources struct {
	structures map[string]*structure
	words      []string // with which a layout says what a part of a frame means
}

func readSources(t *testing.T) *sources {
	t.Helper()
	s := &sources{structures: map[string]*structure{}}
	for _, folder := range []string{"../modbus", "../weighbridge", "."} {
		files, err := filepath.Glob(filepath.Join(folder, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range files {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			places := token.NewFileSet()
			file, err := parser.ParseFile(places, path, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			s.add(places, file)
		}
	}
	if len(s.words) < 10 {
		t.Fatalf("the words of a layout were not found: %q", s.words)
	}
	return s
}

func (s *sources) add(places *token.FileSet, file *ast.File) {
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Name.Name == "statusWords" {
			s.words = keysIn(f)
		}
		g, ok := d.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range g.Specs {
			if named, ok := spec.(*ast.TypeSpec); ok {
				if body, ok := named.Type.(*ast.StructType); ok {
					s.addStruct(places, file.Name.Name, named.Name.Name, g.Doc.Text(), body)
				}
			}
		}
	}
}

// keysIn are the texts that are keys of a literal map.
func keysIn(f *ast.FuncDecl) (all []string) {
	ast.Inspect(f, func(n ast.Node) bool {
		if pair, ok := n.(*ast.KeyValueExpr); ok {
			if key, ok := pair.Key.(*ast.BasicLit); ok && key.Kind == token.STRING {
				word, _ := strconv.Unquote(key.Value)
				all = append(all, word)
			}
		}
		return true
	})
	slices.Sort(all)
	return all
}

func (s *sources) addStruct(places *token.FileSet, pkg, name, doc string, body *ast.StructType) {
	about := &structure{name: pkg + "." + name, means: doc}
	keys := map[string]string{} // field to key
	beside := ""                // the comment above a group of fields without a blank line
	for i, f := range body.Fields.List {
		tag := ""
		if f.Tag != nil {
			text, _ := strconv.Unquote(f.Tag.Value)
			tag = reflect.StructTag(text).Get("yaml")
		}
		key, option, _ := strings.Cut(tag, ",")
		own := f.Doc.Text() + f.Comment.Text()
		if own != "" {
			beside = f.Doc.Text()
		} else if i > 0 && places.Position(f.Pos()).Line > places.Position(body.Fields.List[i-1].End()).Line+1 {
			beside = ""
		}
		means := cmp.Or(own, beside)
		of, kind := s.kind(pkg, f.Type)
		switch {
		case option == "inline":
			about.fields = append(about.fields, field{key: "", names: of})
		case key != "" && key != "-":
			name := f.Names[0].Name
			keys[name] = key
			if rest, ok := strings.CutPrefix(means, name+" "); ok {
				means = "`" + key + "` " + rest
			}
			about.fields = append(about.fields, field{key, of, kind, means})
		}
	}
	if len(keys) > 0 {
		for i := range about.fields {
			about.fields[i].means = inKeys(about.fields[i].means, keys)
		}
		about.means = strings.TrimPrefix(strings.TrimPrefix(inKeys(about.means, keys), name+" "), "is ")
		s.structures[about.name] = about
	}
}

// ofGo are sentences that speak to programmers only.
var ofGo = regexp.MustCompile(` A [A-Za-z]+ that Load returned [^.]*\.`)

var word = regexp.MustCompile(`\b[A-Z][A-Za-z]{2,}\b`)

// inKeys writes the names of fields as the keys that a reader of the page knows.
func inKeys(text string, keys map[string]string) string {
	text = ofGo.ReplaceAllString(strings.Join(strings.Fields(text), " "), "")
	text = strings.NewReplacer(
		"nil when", "left out when",
		"one of weighbridge.Dialects", "a dialect of [devices.md](devices.md)",
		"a key of weighbridge.Description", "a key that `firmware-bridge decode` prints",
		"closed vocabulary, see Quantities", "one of the [quantities](#quantities)",
	).Replace(text)
	var b strings.Builder
	last := 0
	for _, at := range word.FindAllStringIndex(text, -1) {
		key, ok := keys[text[at[0]:at[1]]]
		begins := at[0] == 0 || strings.HasSuffix(text[:at[0]], ". ") // where any word has a capital letter
		if ok && (!begins || strings.Contains(key, "_")) {
			b.WriteString(text[last:at[0]] + "`" + key + "`")
			last = at[1]
		}
	}
	return b.String() + text[last:]
}

// kind says in words what a value is, and which struct it is or holds.
func (s *sources) kind(pkg string, e ast.Expr) (of, kind string) {
	switch e := e.(type) {
	case *ast.StarExpr:
		return s.kind(pkg, e.X)
	case *ast.ArrayType:
		of, kind := s.kind(pkg, e.Elt)
		return of, "list of " + map[bool]string{true: "these", false: kind + "s"}[of != ""]
	case *ast.MapType:
		_, from := s.kind(pkg, e.Key)
		_, to := s.kind(pkg, e.Value)
		return "", from + ": " + to
	case *ast.SelectorExpr:
		name := fmt.Sprint(e.X) + "." + e.Sel.Name
		plain := map[string]string{"time.Duration": "time, as `5s`", "unit.Mass": "mass, as `1 kg`", "unit.Unit": "`kg`, `t`, `g`, `lb` or `oz`"}
		if plain[name] != "" {
			return "", plain[name]
		}
		return name, "these keys"
	case *ast.Ident:
		switch name := e.Name; {
		case name == "string":
			return "", "text"
		case name == "bool":
			return "", "true or false"
		case strings.HasPrefix(name, "int") || strings.HasPrefix(name, "uint"):
			return "", "number"
		case name == "Bytes":
			return "", "bytes, as `\"0D 0A\"`"
		default:
			return pkg + "." + name, "these keys"
		}
	}
	return "", ""
}

// flat returns the fields with those of embedded structs in their place.
func (s *sources) flat(about *structure) []field {
	var all []field
	for _, f := range about.fields {
		if f.key == "" {
			all = append(all, s.structures[f.names].fields...)
		} else {
			all = append(all, f)
		}
	}
	return all
}

// summary is the first sentence about a struct, for a field that says no more.
func (s *sources) summary(name string) string {
	about := s.structures[name]
	if about == nil {
		return ""
	}
	first, _, _ := strings.Cut(about.means, ". ")
	return strings.TrimSuffix(first, ".")
}

// walk visits a struct and those below it, each once, with the path of its keys.
func (s *sources) walk(name, path string, visit func(path string, about *structure)) {
	s.walkNew(map[string]bool{}, name, path, visit)
}

func (s *sources) walkNew(visited map[string]bool, name, path string, visit func(path string, about *structure)) {
	about := s.structures[name]
	if about == nil {
		panic("catalog: no struct " + name + " was found")
	}
	if visited[name] {
		return
	}
	visited[name] = true
	whole := &structure{about.name, about.means, s.flat(about)}
	visit(path, whole)
	for _, f := range whole.fields {
		if f.names != "" {
			s.walkNew(visited, f.names, strings.TrimPrefix(path+"."+f.key, "."), visit)
		}
	}
}

func schemaDocument(t *testing.T) string {
	t.Helper()
	s := readSources(t)
	var b strings.Builder
	b.WriteString(`# Files of machine models

Written from the comments at the structs of ` + "`firmware-bridge/modbus`, `firmware-bridge/catalog` and `firmware-bridge/weighbridge`" + ` by
` + "`go test ./firmware-bridge/catalog -run Document -update`" + `; a test fails when it is not current.

A model is one YAML file, named after it. Its first key says what it describes: ` + "`profile`" + ` a machine on Modbus, ` + "`indicator`" + ` a weighing
indicator on a serial line. ` + "`firmware-bridge check FILE`" + ` names every mistake with its line and column, an unknown key among them. Which
models there are: [devices.md](devices.md).

Where a key *must be there* the last column says so; else it says what leaving it out means, and a dash that nothing is said then.
`)
	for _, file := range []struct{ title, root, example, words string }{
		{"Profile of a machine on Modbus", "modbus.Profile", "acme-b100.yaml", "profile"},
		{"Weighing indicator", "catalog.Indicator", "acme-w200.yaml", "indicator"},
	} {
		path := filepath.Join(schemaExamples, file.example)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := catalog.Read(path, data); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "\n## %s\n\n```yaml\n%s```\n", file.title, data)
		places := map[string]string{} // struct to the path of its table
		s.walk(file.root, "", func(path string, about *structure) { places[about.name] = path })
		s.walk(file.root, "", func(path string, about *structure) {
			if path != "" {
				fmt.Fprintf(&b, "\n### %s: `%s`\n", file.words, path)
			}
			if about.means != "" {
				fmt.Fprintf(&b, "\n%s\n", sentence(about.means))
			}
			b.WriteString("\n| key | is | means | left out |\n|---|---|---|---|\n")
			for _, f := range about.fields {
				fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.key, kindLink(f, file.words, places[f.names]), cell(cmp.Or(f.means, s.summary(f.names))), cell(leftOut(t, f, file.example, data, path)))
			}
		})
	}
	b.WriteString("\n## Quantities\n\nThe vocabulary by which everything behind the bridge knows a value, whatever the machine calls it.\n\n| quantity | unit |\n|---|---|\n")
	for _, m := range modbus.Quantities() {
		fmt.Fprintf(&b, "| `%s` | %s |\n", m.Word, strings.Join(slices.DeleteFunc(slices.Clone(m.Units), func(u string) bool { return u == "" }), ", "))
	}
	b.WriteString("\n## Statuses in a layout\n\nWhat a part of a frame may say, several with blanks between them: `" + strings.Join(s.words, "`, `") + "`.\n")
	return b.String()
}

// kindLink leads to the table of the keys below.
func kindLink(f field, words, path string) string {
	if f.names == "" {
		return f.kind
	}
	anchor := strings.NewReplacer(".", "", ":", "", " ", "-").Replace(words + ": " + path)
	return fmt.Sprintf("[%s](#%s)", f.kind, anchor)
}

// sentence begins with a capital letter.
func sentence(text string) string { return strings.ToUpper(text[:1]) + text[1:] }

var (
	chosenDefault = regexp.MustCompile(`(\S+) \(default\)`)
	spokenDefault = regexp.MustCompile(`(?:; |, |^)((?:[^;,(]|\([^)]*\))+?) (?:when|if) (?:empty|zero)`)
	limitDefault  = regexp.MustCompile(`; ([^;]+)$`)
)

// leftOut says what the absence of a key means: that the file is refused, which is tried, or what
// its comment names as default.
func leftOut(t *testing.T, f field, example string, data []byte, path string) string {
	t.Helper()
	if refuses(t, example, data, path, f.key) {
		return "*must be there*"
	}
	for _, r := range []*regexp.Regexp{chosenDefault, spokenDefault} {
		if found := r.FindStringSubmatch(f.means); found != nil {
			return found[1]
		}
	}
	if found := limitDefault.FindStringSubmatch(f.means); found != nil && path == "limits" && f.kind == "number" {
		return found[1]
	}
	switch f.kind {
	case "true or false":
		return "false"
	}
	return "–"
}

// refuses reports whether the example without the key is a mistake that is about the key. A key that
// the example does not have can be left out.
func refuses(t *testing.T, name string, data []byte, path, key string) bool {
	t.Helper()
	without, ok := removeKey(string(data), path, key)
	if !ok {
		return false
	}
	if path == "" && lackedByAny(t, strings.SplitN(string(data), ":", 2)[0], key) {
		return false // as in a model whose dialect has no options
	}
	if path != "" && lackedByOne(string(data), path, key) {
		return false // as the type of a point that is a bit
	}
	_, err := catalog.Read(name, []byte(without))
	mistakes, _ := errors.AsType[config.Mistakes](err)
	if err != nil && path == "" && key == strings.SplitN(string(data), ":", 2)[0] {
		return true // without its first key the file is of no kind
	}
	for _, m := range mistakes {
		if last := m.Path[strings.LastIndexByte(m.Path, '.')+1:]; last == key || strings.HasPrefix(m.Text, key+":") || strings.HasPrefix(m.Text, key+" ") {
			return true
		}
	}
	return false
}

// lackedByAny reports whether a shipped model of this kind does without the key.
func lackedByAny(t *testing.T, kind, key string) bool {
	t.Helper()
	files, err := filepath.Glob("../../configs/devices/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(err, "no models")
	}
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		data = append([]byte("\n"), data...)
		if bytes.Contains(data, []byte("\n"+kind+":")) && !bytes.Contains(data, []byte("\n"+key+":")) {
			return true
		}
	}
	return false
}

// lackedByOne reports whether the example itself has a list below the path in which one does without
// the key.
func lackedByOne(text, path, key string) bool {
	block := regexp.MustCompile(`(?m)^` + path + `:.*\n((?:[ #].*\n)*)`).FindStringSubmatch(text)
	if block == nil {
		return false
	}
	for line := range strings.Lines(block[1]) {
		if strings.HasPrefix(line, "  - {") && !strings.Contains(line, key+":") {
			return true
		}
	}
	return false
}

// removeKey cuts a key out of a file: at the margin with all that is indented below it, elsewhere
// from the first {…} below the keys of the path.
func removeKey(text, path, key string) (string, bool) {
	if path == "" {
		block := regexp.MustCompile(`(?m)^` + key + `:.*\n(?:[ #].*\n)*`)
		return block.ReplaceAllString(text, ""), block.MatchString(text)
	}
	at := 0
	for part := range strings.SplitSeq(path, ".") {
		found := regexp.MustCompile(`\b` + part + `:`).FindStringIndex(text[at:])
		if found == nil {
			return "", false
		}
		at += found[1]
	}
	end := len(text)
	if next := regexp.MustCompile(`\n[a-z]`).FindStringIndex(text[at:]); next != nil {
		end = at + next[0]
	}
	open := strings.IndexByte(text[at:end], '{')
	if open < 0 {
		return "", false
	}
	begin := at + open + 1
	parts, length := flowParts(text[begin:])
	kept := slices.DeleteFunc(slices.Clone(parts), func(p string) bool { return strings.HasPrefix(strings.TrimSpace(p), key+":") })
	return text[:begin] + strings.TrimSpace(strings.Join(kept, ",")) + text[begin+length:], len(kept) < len(parts)
}

// flowParts splits the inside of a {…} at its own commas.
func flowParts(text string) (parts []string, length int) {
	depth, quoted, from := 0, false, 0
	for i, c := range text {
		switch {
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
		case depth > 0 && (c == '}' || c == ']'):
			depth--
		case c == '}':
			return append(parts, text[from:i]), i
		case c == ',' && depth == 0:
			parts, from = append(parts, text[from:i]), i+1
		}
	}
	return nil, 0
}

// What stands as *must be there* was tried; here the trial itself is tried.
func TestKeysThatMustBeThere(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(schemaExamples, "acme-b100.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, at := range [][2]string{{"", "profile"}, {"", "address_base"}, {"", "notes"}, {"", "limits"}, {"points", "name"}, {"points", "type"}, {"heartbeat", "limit"}, {"sources", "page"}} {
		got[strings.TrimPrefix(at[0]+"."+at[1], ".")] = refuses(t, "acme-b100.yaml", data, at[0], at[1])
	}
	want := map[string]bool{"profile": true, "address_base": true, "notes": false, "limits": false, "points.name": true, "points.type": false, "heartbeat.limit": true, "sources.page": false}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if without, ok := removeKey(string(data), "points", "type"); !ok || bytes.Equal([]byte(without), data) || !strings.Contains(without, "constant: 16979}") {
		t.Errorf("the type was not cut out of the first point:\n%s", without)
	}
	if names := slices.Sorted(maps.Keys(readSources(t).structures)); !slices.Contains(names, "weighbridge.Layout") {
		t.Errorf("structs: %q", names)
	}
}
