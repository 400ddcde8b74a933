package arch

import (
	"go/ast"
	"go/token"
	"slices"
	"strings"
)

// variables holds the rest of law 3 over one package: a variable of the package is set where it is
// declared and never again. Tests are exempt, for their flags and their roles.
func (h *house) variables(sources []source) {
	declared := map[string]ast.Node{} // by name: the ValueSpec
	for _, s := range sources {
		for _, d := range s.tree.Decls {
			vars, ok := d.(*ast.GenDecl)
			if !ok || vars.Tok != token.VAR || s.test {
				continue
			}
			for _, spec := range vars.Specs {
				spec := spec.(*ast.ValueSpec)
				for _, name := range spec.Names {
					declared[name.Name] = spec
					if kind := lockOf(s, spec); kind != "" {
						h.found(name.Pos(), "package variable %s is a %s: state belongs to a value that somebody made", name.Name, kind)
					}
				}
			}
		}
	}
	for _, s := range sources {
		if s.test {
			continue
		}
		names := importNames(s.tree)
		changed := func(e ast.Expr, how string) {
			root, outside := rootOf(e)
			switch {
			case root == nil:
			case outside != "" && root.Obj == nil && within(names[root.Name], module):
				h.found(e.Pos(), "%s.%s is %s: a package's variables are its own and do not change", root.Name, outside, how)
			case declared[root.Name] != nil && (root.Obj == nil || root.Obj.Decl == declared[root.Name]):
				h.found(e.Pos(), "package variable %s is %s after its declaration", root.Name, how)
			}
		}
		ast.Inspect(s.tree, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.AssignStmt:
				if n.Tok != token.DEFINE {
					for _, left := range n.Lhs {
						changed(left, "written")
					}
				}
			case *ast.IncDecStmt:
				changed(n.X, "written")
			case *ast.RangeStmt:
				if n.Tok == token.ASSIGN {
					changed(n.Key, "written")
					changed(n.Value, "written")
				}
			case *ast.UnaryExpr:
				if n.Op == token.AND {
					changed(n.X, "lent by its address")
				}
			case *ast.CallExpr:
				if len(n.Args) > 0 && writes(n.Fun) {
					changed(n.Args[0], "written")
				}
			}
			return true
		})
	}
}

// lockOf names the type of a variable that exists only to be changed.
func lockOf(s source, spec *ast.ValueSpec) string {
	types := []ast.Expr{spec.Type}
	for _, v := range spec.Values {
		if u, ok := v.(*ast.UnaryExpr); ok {
			v = u.X
		}
		if lit, ok := v.(*ast.CompositeLit); ok {
			types = append(types, lit.Type)
		}
	}
	names := importNames(s.tree)
	for _, t := range types {
		switch inner := t.(type) {
		case *ast.StarExpr:
			t = inner.X
		case *ast.IndexExpr:
			t = inner.X
		}
		sel, ok := t.(*ast.SelectorExpr)
		if !ok {
			continue
		}
		if on, ok := sel.X.(*ast.Ident); ok && slices.Contains([]string{"sync", "sync/atomic"}, names[on.Name]) {
			return on.Name + "." + sel.Sel.Name
		}
	}
	return ""
}

// writes reports whether a function changes its first argument in place.
func writes(f ast.Expr) bool {
	switch f := f.(type) {
	case *ast.Ident:
		return f.Obj == nil && slices.Contains([]string{"delete", "clear", "copy"}, f.Name)
	case *ast.SelectorExpr:
		on, ok := f.X.(*ast.Ident)
		if !ok || on.Obj != nil {
			return false
		}
		name := f.Sel.Name
		switch on.Name {
		case "slices":
			return strings.HasPrefix(name, "Sort") && !strings.HasPrefix(name, "Sorted") || name == "Reverse"
		case "sort":
			return slices.Contains([]string{"Slice", "SliceStable", "Strings", "Ints", "Sort", "Stable"}, name)
		case "maps":
			return name == "Copy" || name == "DeleteFunc" || name == "Insert"
		}
	}
	return false
}

// rootOf finds the variable behind x, x.f, x[i], *x and (x). For a selector it also returns the
// first field's name, since what looks like x.f may be a package and its variable.
func rootOf(e ast.Expr) (root *ast.Ident, field string) {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x, field
		case *ast.SelectorExpr:
			e, field = x.X, x.Sel.Name
		case *ast.IndexExpr:
			e = x.X
		case *ast.SliceExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return nil, ""
		}
	}
}
