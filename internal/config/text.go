package config

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// parse turns a text into its tree, or says why it is no text for us. What could blow up the
// parser (size, depth) or the result (anchors) is refused before the parser sees it.
func parse(name string, data []byte) (ast.Node, Mistakes) {
	if len(data) > MaxSize {
		return nil, Mistakes{{name, 1, 1, "", fmt.Sprintf("is larger than %d bytes; this is no configuration", MaxSize)}}
	}
	if ms := badText(name, data); len(ms) > 0 {
		return nil, ms
	}
	text := strings.ReplaceAll(string(data), "\r\n", "\n")
	tokens, ms := tokenize(name, text)
	if len(ms) > 0 {
		return nil, ms
	}
	file, err := guarded(func() (*ast.File, error) { return parser.Parse(tokens, 0, parser.AllowDuplicateMapKey()) })
	if err != nil {
		return nil, Mistakes{syntax(name, err)}
	}
	var root ast.Node
	for _, doc := range file.Docs {
		switch {
		case doc.Body == nil:
		case root != nil:
			at := where(doc.Body)
			return nil, Mistakes{{name, at.line, at.column, "", "a second document begins here; one file holds one"}}
		default:
			root = doc.Body
		}
	}
	if root == nil {
		return nil, Mistakes{{name, 1, 1, "", "is empty"}}
	}
	return root, nil
}

// badText finds what would make lines and columns lie, or reads differently than it looks.
func badText(name string, data []byte) (ms Mistakes) {
	fault := func(line, column int, format string, args ...any) {
		ms = append(ms, Mistake{name, line, column, "", fmt.Sprintf(format, args...)})
	}
	switch {
	case bytes.HasPrefix(data, []byte("\xef\xbb\xbf")):
		fault(1, 1, "begins with a byte order mark; save it as UTF-8 without BOM")
		return ms
	case bytes.HasPrefix(data, []byte("\xff\xfe")), bytes.HasPrefix(data, []byte("\xfe\xff")):
		fault(1, 1, "is UTF-16; save it as UTF-8 without BOM")
		return ms
	}
	line, column, indent := 1, 1, true
	for i := 0; i < len(data); column++ {
		r, size := utf8.DecodeRune(data[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fault(line, column, "is not UTF-8 (byte 0x%02x); save it as UTF-8 without BOM", data[i])
			return ms
		case r == '\t' && indent:
			fault(line, column, "a tab indents this line; use blanks")
			indent = false
		case r == '\r' && i+1 < len(data) && data[i+1] == '\n', r == '\t':
		case r == '\n':
			line, column, indent = line+1, 0, true
		case r < ' ', r >= 0x7f && r < 0xa0, r == 0x2028, r == 0x2029, r == 0xfeff:
			fault(line, column, "holds the control character U+%04X; remove it", r)
		}
		if r != ' ' && r != '\n' {
			indent = false
		}
		if i += size; len(ms) > maxShown {
			return ms
		}
	}
	return ms
}

// refused are the parts of YAML that an operator does not need and an attacker does: one line of
// anchors can unfold to gigabytes.
func refused(kind token.Type) string {
	switch kind {
	case token.AnchorType:
		return "anchors (&name) are not supported; write the value out"
	case token.AliasType:
		return "aliases (*name) are not supported; write the value out, or quote a text that begins with *"
	case token.MergeKeyType:
		return "merge keys (<<) are not supported; write the keys out"
	case token.TagType:
		return "tags (!name) are not supported; remove the tag, or quote a text that begins with !"
	case token.DirectiveType:
		return "directives (%) are not supported; remove the line, or quote a text that begins with %"
	}
	return ""
}

// tokenize also bounds the number of tokens and the depth: the parser recurses, and a megabyte of brackets would
// exhaust the stack, which no program survives.
func tokenize(name, text string) (tokens token.Tokens, ms Mistakes) {
	tokens, err := guarded(func() (token.Tokens, error) { return lexer.Tokenize(text), nil })
	if err != nil {
		return nil, Mistakes{syntax(name, err)}
	}
	if len(tokens) > maxTokens {
		at := tokens[maxTokens].Position
		return nil, Mistakes{{name, at.Line, at.Column, "",
			fmt.Sprintf("has more than %d keys, values and signs; this is no configuration", maxTokens)}}
	}
	flow := 0
	var block []int // columns of the keys and dashes that the current token stands under
	for _, t := range tokens {
		if why := refused(t.Type); why != "" {
			ms = append(ms, Mistake{name, t.Position.Line, t.Position.Column, "", why})
		}
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow = max(0, flow-1)
		case token.SequenceEntryType, token.MappingKeyType, token.MappingValueType:
			column := t.Position.Column
			if t.Type == token.MappingValueType && t.Prev != nil {
				column = t.Prev.Position.Column
			}
			for len(block) > 0 && block[len(block)-1] >= column {
				block = block[:len(block)-1]
			}
			block = append(block, column)
		}
		// A list may stand in the column of its key, so columns count for up to two levels; the
		// exact depth is measured on the tree.
		if flow+len(block) > 2*MaxDepth {
			return nil, append(ms, Mistake{name, t.Position.Line, t.Position.Column, "", tooDeep()})
		}
	}
	return tokens, ms
}

func tooDeep() string {
	return fmt.Sprintf("is nested deeper than %d levels; this is no configuration", MaxDepth)
}

// guarded turns a panic of the YAML library into an error. The fuzz test has found no text that
// causes one; this is for the text that it has not tried.
func guarded[T any](read func() (T, error)) (result T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errUnreadable
		}
	}()
	return read()
}

var errUnreadable = errors.New("is not readable as YAML")

func syntax(name string, err error) Mistake {
	m := Mistake{File: name, Line: 1, Column: 1}
	at, ok := errors.AsType[yaml.Error](err)
	if !ok {
		m.Text = oneLine(err.Error())
		return m
	}
	// Not err.Error(): it prints an excerpt of the file, in a time that grows with its square.
	m.Text = oneLine(at.GetMessage())
	if t := at.GetToken(); t != nil && t.Position != nil {
		m.Line, m.Column = max(1, t.Position.Line), max(1, t.Position.Column)
	}
	return m
}

// oneLine keeps a message that quotes the file on its line and short.
func oneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	if runes := []rune(text); len(runes) > 300 {
		text = string(runes[:300]) + "…"
	}
	return text
}
