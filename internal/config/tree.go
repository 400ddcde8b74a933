package config

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

type position struct{ line, column int }

// tree knows where every path of a file stands.
type tree struct {
	name     string
	at       map[string]position
	mistakes Mistakes
	tooDeep  bool
}

// pair is one key of a mapping with its value.
type pair struct {
	key   string
	value ast.Node
}

// index notes the place of every value and reports doubled and unusable keys. It follows the text
// alone, so also values under unknown keys get their place.
func (t *tree) index(n ast.Node, path string, depth int) {
	if _, ok := t.at[path]; !ok {
		t.at[path] = where(n)
	}
	if depth > MaxDepth {
		if !t.tooDeep {
			t.mistakes = append(t.mistakes, t.mistake(path, tooDeep()))
		}
		t.tooDeep = true
		return
	}
	if list, ok := n.(*ast.SequenceNode); ok {
		for i, v := range list.Values {
			t.index(v, item(path, i), depth+1)
		}
		return
	}
	seen := map[string]int{}
	for _, entry := range entries(n) {
		at := where(entry.Key)
		fault := func(path, format string, args ...any) {
			t.mistakes = append(t.mistakes, Mistake{t.name, at.line, at.column, path, oneLine(fmt.Sprintf(format, args...))})
		}
		key, ok := keyText(entry.Key)
		switch first := seen[key]; {
		case !ok:
			fault(path, "a key must be a plain word or a quoted text")
			continue
		case len(key) > maxKey:
			fault(path, "key %.40q… is longer than %d bytes", key, maxKey)
			continue
		case first != 0:
			fault(member(path, key), "is given twice (first on line %d); remove one", first)
			continue
		}
		seen[key] = at.line
		t.at[member(path, key)] = at
		t.index(entry.Value, member(path, key), depth+1)
	}
}

// pairs returns the usable keys of a mapping, each once: the first one counts.
func pairs(n ast.Node) []pair {
	var out []pair
	seen := map[string]bool{}
	for _, entry := range entries(n) {
		if key, ok := keyText(entry.Key); ok && len(key) <= maxKey && !seen[key] {
			seen[key] = true
			out = append(out, pair{key, entry.Value})
		}
	}
	return out
}

func entries(n ast.Node) []*ast.MappingValueNode {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}
	}
	return nil
}

// keyText is the text of a key as it is written, so that 010: stays "010".
func keyText(n ast.MapKeyNode) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	}
	return "", false
}

// where is the place at which a reader would point: the first key of a mapping, the first letter
// of a scalar.
func where(n ast.Node) position {
	if all := entries(n); len(all) > 0 {
		if m, ok := n.(*ast.MappingNode); !ok || !m.IsFlowStyle {
			return where(all[0].Key)
		}
	}
	if n == nil || n.GetToken() == nil || n.GetToken().Position == nil {
		return position{1, 1}
	}
	at := n.GetToken().Position
	return position{max(1, at.Line), max(1, at.Column)}
}

func (t *tree) position(path string) position {
	for {
		if at, ok := t.at[path]; ok || path == "" {
			return position{max(1, at.line), max(1, at.column)}
		}
		path = parent(path)
	}
}

func (t *tree) mistake(path, text string) Mistake {
	at := t.position(path)
	return Mistake{t.name, at.line, at.column, path, oneLine(text)}
}

// closest finds the word that was probably meant, or "".
func closest(word string, known []string) string {
	best, least := "", max(1, len(word)/3)+1
	for _, k := range known {
		if d := distance(strings.ToLower(word), k, least); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance counts the letters to insert, drop, change or swap with their neighbour; it stops
// caring at limit.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			rows[i][j] = min(change, rows[i-1][j]+1, rows[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
