package record_test

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"steelyard/internal/chain"
	"steelyard/internal/record"
	"steelyard/internal/unit"
	"steelyard/internal/wire"
)

const document = "../../docs/wire-format.md"

// row is one field of a table: its path and its type in the document's words.
type row struct{ Path, Type string }

// rowsOf reads the table "| field | type | meaning |" under a heading.
func rowsOf(text, heading string) (rows []row) {
	inside, table := false, false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") {
			inside, table = strings.TrimLeft(line, "# ") == heading, false
			continue
		}
		if line == "| field | type | meaning |" {
			table = inside
			continue
		}
		table = table && line != ""
		cells := strings.Split(line, "|")
		if !table || len(cells) < 4 || strings.HasPrefix(line, "|---") {
			continue
		}
		rows = append(rows, row{strings.Trim(cells[1], " `"), strings.TrimSpace(cells[2])})
	}
	return rows
}

// fieldsOf lists the fields of a struct as they stand on the wire, those of its parts behind it.
func fieldsOf(t testing.TB, of reflect.Type, before string) (rows []row) {
	for field := range of.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		path := before + name
		word, inner := typeOf(t, field.Type)
		rows = append(rows, row{path, word})
		if inner != nil {
			if field.Type.Kind() == reflect.Slice {
				path += "[]"
			}
			rows = append(rows, fieldsOf(t, inner, path+".")...)
		}
	}
	return rows
}

// typeOf is the document's word for a type, and the struct in it when there is one.
func typeOf(t testing.TB, of reflect.Type) (word string, inner reflect.Type) {
	t.Helper()
	switch {
	case of == reflect.TypeFor[unit.Mass]():
		return "grams", nil
	case of == reflect.TypeFor[chain.Hash]():
		return "hash", nil
	}
	switch of.Kind() {
	case reflect.String:
		return "text", nil
	case reflect.Bool:
		return "yes/no", nil
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return "number", nil
	case reflect.Struct:
		return "object", of
	case reflect.Slice:
		if of.Elem().Kind() == reflect.Struct {
			return "list", of.Elem()
		}
		word, _ := typeOf(t, of.Elem())
		return "list of " + word, nil
	}
	t.Fatalf("%v has no word in the document", of)
	return "", nil
}

// The tables of the document are the fields of the types: every one, in order, and none besides.
func TestDocumentNamesEveryField(t *testing.T) {
	data, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	types := map[string]reflect.Type{
		"header": reflect.TypeFor[wire.Header](), "receipt": reflect.TypeFor[wire.Receipt](), "request": reflect.TypeFor[wire.Request](),
		"status": reflect.TypeFor[wire.Status](), "machines": reflect.TypeFor[wire.Machines](), "live": reflect.TypeFor[wire.Live](),
	}
	for _, kind := range kinds(t) {
		types[string(kind)] = reflect.TypeOf(record.New(kind)).Elem()
	}
	for heading, of := range types {
		want := fieldsOf(t, of, "")
		if diff := cmp.Diff(want, rowsOf(text, heading)); diff != "" {
			t.Errorf("%s, section %q: the table differs from %v (-type +document):\n%s", document, heading, of, diff)
		}
		// Negative control: a document without the last field does not pass.
		last := "| `" + want[len(want)-1].Path + "` |"
		_, section, _ := strings.Cut(text, "\n### "+heading+"\n")
		at := strings.Index(section, last)
		if at < 0 {
			continue // said above
		}
		end := at + strings.IndexByte(section[at:], '\n') + 1
		if cmp.Equal(want, rowsOf("### "+heading+"\n"+section[:at]+section[end:], heading)) {
			t.Errorf("section %q passes without the row of %s: this test proves nothing", heading, last)
		}
	}
}
