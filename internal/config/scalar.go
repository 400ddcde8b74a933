package config

import (
	"fmt"
	"math"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

var (
	durationType = reflect.TypeFor[time.Duration]()

	// YAML 1.1 reads 010 as eight and 1_000 as a thousand, YAML 1.2 does not. A number that two
	// people can read differently is refused.
	decimalDigits = regexp.MustCompile(`^[-+]?(0|[1-9][0-9]*)$`)
	hexDigits     = regexp.MustCompile(`^0x[0-9a-fA-F]+$`)
	octalDigits   = regexp.MustCompile(`^[-+]?0[0-9]+$`)
	floatDigits   = regexp.MustCompile(`^[-+]?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]{1,3})?$`)
)

func (r *reader) scalar(n ast.Node, path string, v reflect.Value) {
	if v.Type() == durationType {
		r.duration(n, path, v)
		return
	}
	switch v.Kind() {
	case reflect.String:
		if b, ok := n.(*ast.BoolNode); ok {
			r.fault(path, "needs a text, not %s; quote it: %q", b.Token.Value, b.Token.Value)
		} else if text, ok := r.scalarText(n, path, "a text"); ok {
			v.SetString(text)
		}
	case reflect.Bool:
		if b, ok := n.(*ast.BoolNode); ok && (b.Token.Value == "true" || b.Token.Value == "false") {
			v.SetBool(b.Token.Value == "true")
		} else if _, null := n.(*ast.NullNode); null {
			r.empty(path)
		} else {
			r.fault(path, "needs true or false, not %s", describe(n))
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if text, ok := r.numberText(n, path, "a whole number"); ok {
			if err := setInteger(v, text); err != nil {
				r.fault(path, "%v", err)
			}
		}
	case reflect.Float32, reflect.Float64:
		if text, ok := r.numberText(n, path, "a number"); ok {
			f, err := strconv.ParseFloat(text, v.Type().Bits())
			if err != nil || !floatDigits.MatchString(text) {
				r.fault(path, "needs a number such as 0.5, not %s", shown(text))
				return
			}
			v.SetFloat(f)
		}
	default:
		panic(fmt.Sprintf("config: %s has the type %s, which no file can fill", path, v.Type()))
	}
}

func (r *reader) empty(path string) {
	r.fault(path, "has no value; give one or remove the key")
}

// scalarText is a scalar as it is written: 0.10 stays "0.10".
func (r *reader) scalarText(n ast.Node, path, want string) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	case *ast.NullNode:
		r.empty(path)
		return "", false
	}
	r.fault(path, "needs %s, not %s", want, describe(n))
	return "", false
}

// numberText refuses "8" in quotes: whoever quotes a number means a text.
func (r *reader) numberText(n ast.Node, path, want string) (string, bool) {
	switch n.(type) {
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	case *ast.NullNode:
		r.empty(path)
		return "", false
	}
	r.fault(path, "needs %s, not %s", want, describe(n))
	return "", false
}

func (r *reader) duration(n ast.Node, path string, v reflect.Value) {
	text, ok := r.scalarText(n, path, "a duration such as 500ms")
	if !ok {
		return
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		r.fault(path, "needs a duration with its unit, such as 500ms, 10s or 24h, not %s", shown(text))
		return
	}
	v.SetInt(int64(d))
}

func setInteger(v reflect.Value, text string) error {
	base, digits := 10, text
	switch {
	case octalDigits.MatchString(text):
		return fmt.Errorf("%s begins with a zero; write it without", shown(text))
	case hexDigits.MatchString(text):
		base, digits = 16, text[2:]
	case !decimalDigits.MatchString(text):
		return fmt.Errorf("needs a whole number, not %s", shown(text))
	}
	var err error
	var low, high string
	bits := v.Type().Bits()
	switch v.Kind() {
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		var u uint64
		if u, err = strconv.ParseUint(strings.TrimPrefix(digits, "+"), base, bits); err == nil {
			v.SetUint(u)
		}
		low, high = "0", strconv.FormatUint(math.MaxUint64>>(64-bits), 10)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		var i int64
		if i, err = strconv.ParseInt(digits, base, bits); err == nil {
			v.SetInt(i)
		}
		low, high = strconv.FormatInt(math.MinInt64>>(64-bits), 10), strconv.FormatInt(math.MaxInt64>>(64-bits), 10)
	default:
		panic(fmt.Sprintf("config: the type %s cannot be a key or a number", v.Type()))
	}
	if err != nil {
		return fmt.Errorf("%s is out of range; it goes from %s to %s", shown(text), low, high)
	}
	return nil
}

// describe says what stands in the file, in the operator's words.
func describe(n ast.Node) string {
	switch n := n.(type) {
	case *ast.StringNode:
		return "the text " + shown(n.Value)
	case *ast.LiteralNode:
		return "a text of several lines"
	case *ast.SequenceNode:
		return "a list"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "keys with values"
	case *ast.NullNode:
		return "nothing"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "the number " + shown(n.GetToken().Value)
	case *ast.BoolNode:
		return n.Token.Value
	}
	return "this"
}

func shown(text string) string {
	if runes := []rune(text); len(runes) > 40 {
		return strconv.Quote(string(runes[:40])) + "…"
	}
	return strconv.Quote(text)
}
