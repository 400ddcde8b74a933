package modbus_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// No write can be sent, because no call that could is in the sources: not the library's, and no
// frame is built but that of a read. (What is really sent is checked in the fault tests.)
func TestNothingHereCanWriteToAMachine(t *testing.T) {
	writes := regexp.MustCompile(`^(Write(Coils?|CoilValue|Registers?|Uint\w+|Float\w+|Bytes|RawBytes)|SetEncoding)$`)
	find := func(name string, source any) (found []string) {
		file, err := parser.ParseFile(token.NewFileSet(), name, source, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok && writes.MatchString(id.Name) {
				found = append(found, name+": "+id.Name)
			}
			return true
		})
		return found
	}
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		if found := find(name, nil); found != nil {
			t.Error(found)
		}
	}
	if found := find("bad.go", "package bad\nfunc f(c client) { c.WriteRegister(1, 2) }"); len(found) != 1 {
		t.Error("the check does not see a write")
	}
}
