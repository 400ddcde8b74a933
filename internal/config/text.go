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

// parse turns a text into its tree, or returns why it can not be read. What could blow up the
// parser (size, depth) or the result (anchors) is refused before the parser sees it.
func parse(name string, data []byte) (ast.Node, Mistakes) {
	if len(data) > MaxSize {
		return nil, Mistakes{{name, 1, 1, "", fmt.Sprintf("is larger than %d bytes; this is not a configuration", MaxSize)}}
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

// tokenize also bounds what the parser can't take: the number of tokens, the keys of one mapping, and
// the depth, for it recurses, and a megabyte of brackets would exhaust the stack, which no program
// survives.
func tokenize(name, text string) (tokens token.Tokens, ms Mistakes) {
	if line, column, many := manySigns(text); many {
		return nil, Mistakes{tooLong(name, line, column)}
	}
	tokens, err := guarded(func() (token.Tokens, error) { return lexer.Tokenize(text), nil })
	if err != nil {
		return nil, Mistakes{syntax(name, err)}
	}
	if len(tokens) > maxTokens {
		at := tokens[maxTokens].Position
		return nil, Mistakes{tooLong(name, at.Line, at.Column)}
	}
	var o outline
	for _, t := range tokens {
		if why := refused(t.Type); why != "" {
			ms = append(ms, Mistake{name, t.Position.Line, t.Position.Column, "", why})
		}
		if why := o.follow(t); why != "" {
			return nil, append(ms, Mistake{name, t.Position.Line, t.Position.Column, "", why})
		}
	}
	return tokens, ms
}

func tooLong(name string, line, column int) Mistake {
	return Mistake{name, line, column, "", fmt.Sprintf("has more than %d keys, values and signs; this is not a configuration", maxTokens)}
}

// manySigns finds the place from which on a text has more signs than there may be tokens. A token
// takes hundreds of bytes, so they are bounded before they are made.
func manySigns(text string) (line, column int, many bool) {
	signs, begin := 0, 0
	line = 1
	for i := range len(text) {
		switch text[i] {
		case '\n':
			line, begin = line+1, i+1
		case '{', '}', '[', ']', ',', ':', '"', '\'':
		default:
			continue
		}
		if signs++; signs > maxTokens {
			return line, 1 + utf8.RuneCountInString(text[min(begin, i):i]), true
		}
	}
	return 0, 0, false
}

// outline is where a token stands: under which keys and dashes, and in which brackets.
type outline struct {
	block     []step
	flow      []int // keys so far in each open bracket
	documents int
}

// step is a key or a dash that the present token stands under.
type step struct {
	column int
	dash   bool
	keys   int // of the mapping, up to this one
}

// follow takes the next token, or returns why the parser must not see this text.
func (o *outline) follow(t *token.Token) string {
	switch t.Type {
	case token.DocumentHeaderType:
		if o.documents++; o.documents > maxDocuments {
			return "a second document begins here; one file holds one"
		}
	case token.SequenceStartType, token.MappingStartType:
		o.flow = append(o.flow, 0)
	case token.SequenceEndType, token.MappingEndType:
		o.flow = o.flow[:max(0, len(o.flow)-1)]
	case token.SequenceEntryType:
		// A list may stand in the column of its key, and is under it.
		o.leave(t.Position.Column, true)
		o.block = append(o.block, step{column: t.Position.Column, dash: true})
	case token.MappingKeyType, token.MappingValueType:
		if n := len(o.flow); n > 0 {
			o.flow[n-1]++
			return tooMany(o.flow[n-1])
		}
		column := t.Position.Column
		if t.Type == token.MappingValueType && t.Prev != nil {
			column = t.Prev.Position.Column
		}
		keys := o.leave(column, false) + 1
		o.block = append(o.block, step{column: column, keys: keys})
		if why := tooMany(keys); why != "" {
			return why
		}
	}
	// The exact depth is measured on the tree; a level is a key, a dash or both.
	if len(o.flow)+len(o.block) > 2*MaxDepth {
		return tooDeep()
	}
	return ""
}

// leave drops what a token in a column does not stand under, and returns the keys of the mapping that
// a key there goes on.
func (o *outline) leave(column int, dash bool) (keys int) {
	for n := len(o.block); n > 0; n-- {
		last := o.block[n-1]
		if last.column < column || dash && last.column == column && !last.dash {
			break
		}
		if last.column == column && !last.dash {
			keys = last.keys
		}
		o.block = o.block[:n-1]
	}
	return keys
}

func tooMany(keys int) string {
	if keys <= maxKeys {
		return ""
	}
	return fmt.Sprintf("is a mapping of more than %d keys; this is not a configuration", maxKeys)
}

func tooDeep() string {
	return fmt.Sprintf("is nested deeper than %d levels; this is not a configuration", MaxDepth)
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
