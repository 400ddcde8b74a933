// Package config is the one door to YAML: what an operator edits becomes a struct, strictly.
//
// In: a file of at most 4 MiB and a pointer to a struct that already holds the defaults.
// Out: the struct filled in, or every mistake of the file at once, sorted, each on its own line as
// "edge.yaml:14:5: weighbridges[1].port: what is wrong and what to do".
// It promises that an unknown or doubled key, a wrong type or an empty value never passes unseen,
// that no text from outside makes it loop, grow or panic, and that a secret never gets into a message.
// It does not read environment variables, merge files, write YAML, or know what any key means:
// that is the caller's check.
package config

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Limits on what comes from outside. A site's own file is a few kilobytes and five levels deep; a
// city of 10,000 sites is 3 MiB with 200,000 keys, values and signs.
const (
	MaxSize   = 4 << 20 // bytes of a file
	MaxDepth  = 32      // levels of nesting
	maxTokens = 500_000 // keys, values and signs
	// The parser's time grows with the square of the keys of one mapping and of the documents in a
	// file, and with nothing else faster than the file: at these limits it is under a second, without
	// them a megabyte would keep it busy for minutes.
	maxKeys      = 5000 // of one mapping
	maxDocuments = 2    // signs that begin one
	maxKey       = 200  // bytes of a key
	maxShown     = 100  // mistakes that are reported; the rest are only counted
)

// Mistake is one fault at one place of a file.
type Mistake struct {
	File   string
	Line   int    // from 1
	Column int    // from 1, in characters; of the key, or of the item in a list
	Path   string // "weighbridges[1].port"; empty for a fault of the text itself
	Text   string // what is wrong and what to do, without a line break
}

func (m Mistake) String() string {
	if m.Path == "" {
		return fmt.Sprintf("%s:%d:%d: %s", m.File, m.Line, m.Column, m.Text)
	}
	return fmt.Sprintf("%s:%d:%d: %s: %s", m.File, m.Line, m.Column, m.Path, m.Text)
}

// Mistakes is the error that Load returns: all mistakes of a file in the order of their lines.
type Mistakes []Mistake

// Error is one line per mistake.
func (ms Mistakes) Error() string {
	lines := make([]string, 0, len(ms))
	for i, m := range ms {
		if i == maxShown {
			lines = append(lines, fmt.Sprintf("%s: and %d more mistakes", m.File, len(ms)-i))
			break
		}
		lines = append(lines, m.String())
	}
	return strings.Join(lines, "\n")
}

// Load reads data into the struct that into points to and then calls check, which may be nil, to
// add what only the caller can know. name is the file's name in messages.
//
// The struct keeps its values where the file is silent, so defaults are set before the call. After
// an error the struct is half filled and must not be used. check runs although keys or types were
// wrong, so that one run shows everything; it must therefore live with zero values. Faults that
// it finds at a place that was already wrong are dropped, for they would only be echoes.
//
// Understood are: string, bool, integers, floats, structs, pointers, slices, maps with string or
// integer keys, time.Duration ("500ms"), and types with UnmarshalYAML(func(any) error) or
// UnmarshalText. Keys are the yaml tags, or the lower-case field names. Any other field type is a
// programmer's error and panics.
func Load(name string, data []byte, into any, check func(*Checker)) error {
	target := reflect.ValueOf(into)
	if target.Kind() != reflect.Pointer || target.IsNil() || target.Elem().Kind() != reflect.Struct {
		panic(fmt.Sprintf("config.Load: needs a pointer to a struct, not %T", into))
	}
	root, mistakes := parse(name, data)
	if len(mistakes) > 0 {
		return sorted(mistakes)
	}
	t := &tree{name: name, at: map[string]position{}}
	t.index(root, "", 1)
	if t.tooDeep {
		return sorted(t.mistakes)
	}
	r := &reader{tree: t, mistakes: t.mistakes, guessed: map[string]bool{}}
	r.value(root, "", target.Elem())
	if check != nil {
		c := &Checker{tree: t, wrong: r.guessed}
		for _, m := range r.mistakes {
			c.wrong[m.Path] = true
		}
		check(c)
		r.mistakes = append(r.mistakes, c.faults...)
	}
	if len(r.mistakes) > 0 {
		return sorted(r.mistakes)
	}
	return nil
}

// LoadFile is ReadFile and Load.
func LoadFile(path string, into any, check func(*Checker)) error {
	data, err := ReadFile(path)
	if err != nil {
		return err
	}
	return Load(path, data, into, check)
}

func sorted(ms Mistakes) Mistakes {
	slices.SortFunc(ms, func(a, b Mistake) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Path, b.Path), cmp.Compare(a.Text, b.Text))
	})
	return slices.Compact(ms)
}
