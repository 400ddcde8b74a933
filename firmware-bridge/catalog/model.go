package catalog

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"steelyard/firmware-bridge/modbus"
	"steelyard/internal/config"
)

// Model is what one file describes: a profile or an indicator, never both.
type Model struct {
	Profile   *modbus.Profile
	Indicator *Indicator

	line, column int // of the first key
}

// Name of the model, which is the name of its file.
func (m Model) Name() string {
	if m.Profile != nil {
		return m.Profile.Name
	}
	return m.Indicator.Name
}

func (m Model) kind() string {
	if m.Profile != nil {
		return "profile"
	}
	return "indicator"
}

// mistake is one about the name.
func (m Model) mistake(file, text string) error {
	return config.Mistakes{{File: file, Line: m.line, Column: m.column, Path: m.kind(), Text: text}}
}

// Kind says by its first key what a file describes: "profile", "indicator", or "" for neither. Its
// other keys may be wrong.
func Kind(data []byte) string {
	if key, _, _ := firstKey(data); key == "profile" || key == "indicator" {
		return key
	}
	return ""
}

// Read reads one file, checks it whole and runs its tests. name is the file's path; its last part
// must be the model's name.
func Read(name string, data []byte) (Model, error) {
	var m Model
	var key string
	key, m.line, m.column = firstKey(data)
	var err error
	switch key {
	case "profile":
		m.Profile, err = modbus.LoadModel(name, data)
	case "indicator":
		m.Indicator, err = loadIndicator(name, data)
	default:
		err = neither(name, data, m.line, m.column)
	}
	if err != nil {
		return Model{}, err
	}
	if base := strings.TrimSuffix(filepath.Base(name), ".yaml"); base != m.Name() {
		return Model{}, m.mistake(name, fmt.Sprintf("%q stands in a file of another name; name the file %s.yaml", m.Name(), m.Name()))
	}
	return m, nil
}

// neither says what is wrong with a text that begins with another key: first of all that it is
// no text that can be read.
func neither(name string, data []byte, line, column int) error {
	err := config.Load(name, data, new(struct{}), nil)
	if all, ok := errors.AsType[config.Mistakes](err); ok {
		var text config.Mistakes
		for _, m := range all {
			if m.Path == "" {
				text = append(text, m)
			}
		}
		if len(text) > 0 {
			return text
		}
	}
	return config.Mistakes{{File: name, Line: line, Column: column,
		Text: "begin the file with profile: NAME for a machine on Modbus, or indicator: NAME for a weighing indicator on a serial line"}}
}

// firstKey returns the first key of a file and its place, without reading YAML: which reader to use
// must be known before one complains about keys of the other.
func firstKey(data []byte) (key string, line, column int) {
	for text := range strings.Lines(string(data)) {
		line++
		words := strings.TrimSpace(text)
		if words == "" || words[0] == '#' || words == "---" {
			continue
		}
		key, _, _ := strings.Cut(words, ":")
		return strings.Trim(key, `"' `), line, 1 + strings.Index(text, words)
	}
	return "", 1, 1
}
