package arch

import (
	"go/ast"
	"regexp"
	"slices"
	"strings"
)

var (
	// In these the time comes with the fact, so that a replay returns the same answer.
	clockless = []string{"edge/meaning", "cloud/ledger", "cloud/rollup", "cloud/balance", "cloud/rules"}
	// In these a number may be a mass, and a mass is never rounded.
	floatless = []string{"internal/unit", "internal/record", "internal/wire", "internal/chain", "edge/meaning", "edge/journal", "cloud/ledger", "cloud/rollup"}
	// A machine is read, never driven.
	readOnly = []string{"firmware-bridge/modbus"}

	modbusWrite = regexp.MustCompile(`^Write(Single|Multiple)?(Coils?|Registers?|Uint\d+s?|Float\d+s?|Bytes|RawBytes|FileRecord)$`)
)

func inside(dir string, folders []string) bool {
	return slices.ContainsFunc(folders, func(f string) bool { return within(dir, f) })
}

// bans holds law 3 over one file, but for its package variables.
func (h *house) bans(dir string, s source) {
	names := importNames(s.tree)
	testing := names["testing"] == "testing"
	for _, d := range s.tree.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
			h.found(f.Pos(), "func init: nothing may happen before main; call it, or list it in a literal")
		}
	}
	ast.Inspect(s.tree, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			on, ok := n.X.(*ast.Ident)
			if !ok {
				break
			}
			switch n.Sel.Name {
			case "Now", "Since", "Until":
				if names[on.Name] == "time" && on.Obj == nil && !s.test && inside(dir, clockless) {
					h.found(n.Pos(), "time.%s: %s has no clock; the time comes with the fact", n.Sel.Name, dir)
				}
			case "Skip", "Skipf", "SkipNow":
				if testing && slices.Contains([]string{"t", "b", "f", "tb"}, on.Name) {
					h.found(n.Pos(), "%s.%s: a skipped test proves nothing; let it run or remove it", on.Name, n.Sel.Name)
				}
			}
		case *ast.Ident:
			switch {
			case (n.Name == "float64" || n.Name == "float32") && !s.test && inside(dir, floatless):
				h.found(n.Pos(), "%s: %s holds masses, which are whole grams", n.Name, dir)
			case !s.test && modbusWrite.MatchString(n.Name) && inside(dir, readOnly):
				h.found(n.Pos(), "%s: %s reads machines and never writes to them", n.Name, dir)
			}
		}
		return true
	})
}

// importNames maps each name in a file to the path that it stands for.
func importNames(f *ast.File) map[string]string {
	names := map[string]string{}
	for _, spec := range f.Imports {
		name := strings.Trim(spec.Path.Value, "`\"")
		local := name[strings.LastIndexByte(name, '/')+1:]
		if spec.Name != nil {
			local = spec.Name.Name
		}
		names[local] = name
	}
	return names
}
