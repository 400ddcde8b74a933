package config

import (
	"fmt"
	"strconv"
	"strings"
)

// Checker takes the faults that only the owner of a configuration can see.
type Checker struct {
	tree   *tree
	faults Mistakes
	wrong  map[string]bool // paths that already have a mistake
}

// Fault reports that the value at path is wrong. A path that is not in the file, because a key is
// missing, is reported at the nearest place above it that is.
func (c *Checker) Fault(path, format string, args ...any) {
	for p := path; ; p = parent(p) {
		if c.wrong[p] && p != "" {
			return
		}
		if p == "" {
			break
		}
	}
	c.faults = append(c.faults, c.tree.mistake(path, fmt.Sprintf(format, args...)))
}

// Faults reports each line of an error as a fault of its own. It reports whether there was none.
func (c *Checker) Faults(path string, err error) (ok bool) {
	if err == nil {
		return true
	}
	for mistake := range strings.SplitSeq(err.Error(), "\n") {
		c.Fault(path, "%s", mistake)
	}
	return false
}

// Line returns the line of path, to name the other place in a message; of a path that is not in the
// file, the line of what would hold it.
func (c *Checker) Line(path string) int { return c.tree.position(path).line }

// Has reports whether the path is in the file at all, though the value may be empty.
func (c *Checker) Has(path string) bool {
	_, ok := c.tree.at[path]
	return ok
}

// Path joins keys (strings) and list indexes (ints) to the path of a value:
// Path("weighbridges", 1, "port") is "weighbridges[1].port". A key that holds a dot, a bracket or a
// blank is quoted.
func Path(parts ...any) string {
	path := ""
	for _, part := range parts {
		switch part := part.(type) {
		case int:
			path = item(path, part)
		case string:
			path = member(path, part)
		default:
			panic(fmt.Sprintf("config.Path: %T is neither a key nor an index", part))
		}
	}
	return path
}

func item(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

func member(path, key string) string {
	if key == "" || strings.ContainsFunc(key, func(r rune) bool {
		return r <= ' ' || r == 0x7f || strings.ContainsRune(`.[]":`, r) || !strconv.IsPrint(r)
	}) {
		return path + "[" + strconv.Quote(key) + "]"
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// parent drops the last step of a path. Quoted keys may hold dots and brackets, so steps are
// looked for from the left.
func parent(path string) string {
	last, quoted := 0, false
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && (c == '.' || c == '['):
			last = i
		}
	}
	return path[:last]
}
