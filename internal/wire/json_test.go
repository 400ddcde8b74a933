package wire_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"steelyard/internal/wire"
)

// FuzzObject: what is said of JSON is what the standard library says of it.
func FuzzObject(f *testing.F) {
	for _, text := range []string{
		``, `{`, `{}`, `{ }`, `{}x`, `{} `, ` {}`, `[]`, `{"a":1}`, `{"a":1,}`, `{,}`, `{"a"}`, `{"a":}`, `{a:1}`, `{"a":[]}`, `{"a":[1,2,{"b":null}]}`, `{"a":[1,]}`,
		`{"a":01}`, `{"a":-}`, `{"a":-0}`, `{"a":0.5}`, `{"a":.5}`, `{"a":1.}`, `{"a":1e5}`, `{"a":1E+5}`, `{"a":1e-}`, `{"a":+1}`, `{"a":tru}`, `{"a":true}`, `{"a":false,"b":nul}`,
		`{"a":"\u00e9\n"}`, `{"a":"\u00g9"}`, `{"a":"\x"}`, `{"a":"` + "\n" + `"}`, `{"a":` + "\n" + `1}`, `{"a":"` + "\x7f\xff" + `"}`, "{\"a\":\t1}", `{"a":"\`, `{"a":"\u12`, "{\x00}", `{"a":1` + "\x00" + `}`,
		`{"a":` + strings.Repeat("[", 9_999) + strings.Repeat("]", 9_999) + `}`,
		`{"a":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + `}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		want := len(text) > 0 && text[0] == '{' && text[len(text)-1] == '}' && json.Valid(text) && !bytes.ContainsAny(text, "\n\r")
		if got := wire.IsObject(text); got != want {
			t.Errorf("%.200q: %t, want %t", text, got, want)
		}
	})
}

// FuzzTime: a time is read as the standard library reads it, in its one form.
func FuzzTime(f *testing.F) {
	for _, text := range []string{"2026-11-23T03:21:07.412Z", "2024-02-29T23:59:59.999Z", "2023-02-29T00:00:00.000Z", "2026-13-01T00:00:00.000Z", "2026-00-10T00:00:00.000Z",
		"2026-01-00T00:00:00.000Z", "2026-04-31T00:00:00.000Z", "2026-01-01T24:00:00.000Z", "2026-01-01T00:60:00.000Z", "2026-01-01T00:00:60.000Z", "2026-01-01T00:00:00,000Z",
		"2026-01-01T00:00:00.000z", "0000-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z", "2026-01-01T00:00:00.00Z", "+026-01-01T00:00:00.000Z", ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		want, err := time.Parse(wire.TimeLayout, text)
		ok := err == nil && want.Format(wire.TimeLayout) == text
		if got, read := wire.ParseTimeText([]byte(text)); read != ok || ok && got != want {
			t.Errorf("%q: %v %t, want %v %t", text, got, read, want, ok)
		}
	})
}
