package config

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// reader fills a Go value from a tree and collects what does not fit.
type reader struct {
	tree     *tree
	mistakes Mistakes
	guessed  map[string]bool // keys that an unknown key was probably meant for
}

func (r *reader) fault(path, format string, args ...any) {
	r.mistakes = append(r.mistakes, r.tree.mistake(path, fmt.Sprintf(format, args...)))
}

// yamlReader is the form of UnmarshalYAML that needs no YAML library to write.
type yamlReader interface {
	UnmarshalYAML(unmarshal func(any) error) error
}

func (r *reader) value(n ast.Node, path string, v reflect.Value) {
	_, null := n.(*ast.NullNode)
	if v.Kind() == reflect.Pointer {
		if null {
			v.SetZero()
			return
		}
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		r.value(n, path, v.Elem())
		return
	}
	own := v.Addr().Interface()
	if custom, ok := own.(yamlReader); ok && !null {
		r.custom(n, path, custom)
		return
	}
	if v.Type() != durationType {
		if custom, ok := own.(encoding.TextUnmarshaler); ok && !null {
			r.text(n, path, custom)
			return
		}
	}
	switch v.Kind() {
	case reflect.Struct:
		r.structure(n, path, v)
	case reflect.Slice:
		r.list(n, path, v)
	case reflect.Map:
		r.mapping(n, path, v)
	default:
		r.scalar(n, path, v)
	}
}

// custom lets a type read itself. What it asks for is read on the side, so that a type may try one
// form and then another without leaving the first try's mistakes behind.
func (r *reader) custom(n ast.Node, path string, into yamlReader) {
	err := into.UnmarshalYAML(func(part any) error {
		v := reflect.ValueOf(part)
		if v.Kind() != reflect.Pointer || v.IsNil() {
			panic(fmt.Sprintf("config: UnmarshalYAML of %T asks for %T, which is not a pointer", into, part))
		}
		aside := &reader{tree: r.tree, guessed: r.guessed}
		aside.value(n, path, v.Elem())
		if len(aside.mistakes) > 0 {
			return aside.mistakes
		}
		return nil
	})
	if inner, ok := errors.AsType[Mistakes](err); ok {
		r.mistakes = append(r.mistakes, inner...)
	} else if err != nil {
		r.fault(path, "%v", err)
	}
}

func (r *reader) text(n ast.Node, path string, into encoding.TextUnmarshaler) {
	text, ok := r.scalarText(n, path, "a text")
	if !ok {
		return
	}
	if err := into.UnmarshalText([]byte(text)); err != nil {
		r.fault(path, "%v", err)
	}
}

func (r *reader) structure(n ast.Node, path string, v reflect.Value) {
	if _, null := n.(*ast.NullNode); null {
		return
	}
	if !isMapping(n) {
		r.fault(path, "needs keys with values, not %s", describe(n))
		return
	}
	fields := map[string]reflect.Value{}
	var known []string
	collect(v, func(key string, field reflect.Value) {
		fields[key] = field
		known = append(known, key)
	})
	for _, p := range pairs(n) {
		field, ok := fields[p.key]
		if ok {
			r.value(p.value, member(path, p.key), field)
			continue
		}
		if near := closest(p.key, known); near != "" {
			r.fault(member(path, p.key), "unknown key; did you mean %q?", near)
			r.guessed[member(path, near)] = true
		} else {
			r.fault(member(path, p.key), "unknown key; known here: %s", strings.Join(known, ", "))
		}
	}
}

// collect names the fields of a struct; those of an embedded struct, or of one tagged "inline",
// belong to the outer one.
func collect(v reflect.Value, found func(key string, field reflect.Value)) {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		tag, options, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		inline := strings.Contains(","+options+",", ",inline,") || field.Anonymous && tag == ""
		if tag == "-" || !field.IsExported() && !(inline && field.Type.Kind() == reflect.Struct) {
			continue
		}
		inner := v.Field(i)
		if inline && inner.Kind() == reflect.Pointer && inner.Type().Elem().Kind() == reflect.Struct {
			if inner.IsNil() {
				inner.Set(reflect.New(inner.Type().Elem()))
			}
			inner = inner.Elem()
		}
		if inline && inner.Kind() == reflect.Struct {
			collect(inner, found)
			continue
		}
		if tag == "" {
			tag = strings.ToLower(field.Name)
		}
		found(tag, inner)
	}
}

func (r *reader) list(n ast.Node, path string, v reflect.Value) {
	if _, null := n.(*ast.NullNode); null {
		v.SetZero()
		return
	}
	list, ok := n.(*ast.SequenceNode)
	if !ok {
		r.fault(path, "needs a list, not %s; begin each item with \"- \"", describe(n))
		return
	}
	out := reflect.MakeSlice(v.Type(), len(list.Values), len(list.Values))
	for i, item1 := range list.Values {
		r.value(item1, item(path, i), out.Index(i))
	}
	v.Set(out)
}

func (r *reader) mapping(n ast.Node, path string, v reflect.Value) {
	if _, null := n.(*ast.NullNode); null {
		v.SetZero()
		return
	}
	if !isMapping(n) {
		r.fault(path, "needs keys with values, not %s", describe(n))
		return
	}
	out := reflect.MakeMap(v.Type())
	for _, p := range pairs(n) {
		key := reflect.New(v.Type().Key()).Elem()
		if err := setKey(key, p.key); err != nil {
			r.fault(member(path, p.key), "key %v", err)
			continue
		}
		if out.MapIndex(key).IsValid() {
			r.fault(member(path, p.key), "is the same key as another one, written differently; remove one")
			continue
		}
		one := reflect.New(v.Type().Elem()).Elem()
		r.value(p.value, member(path, p.key), one)
		out.SetMapIndex(key, one)
	}
	v.Set(out)
}

func setKey(key reflect.Value, text string) error {
	if custom, ok := key.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return custom.UnmarshalText([]byte(text))
	}
	if key.Kind() == reflect.String {
		key.SetString(text)
		return nil
	}
	return setInteger(key, text)
}

func isMapping(n ast.Node) bool {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return true
	}
	return false
}
