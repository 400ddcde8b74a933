package wire_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"steelyard/internal/record"
	"steelyard/internal/wire"
)

// FuzzSampleHasOneForm: a sample is written as every other body, with and without what needs an escape.
func FuzzSampleHasOneForm(f *testing.F) {
	for _, text := range []string{"", "rate", "t/h", "运行", "a\"b", `back\slash`, "<&>", "\x00\x1f\x7f\u2028", "\xff"} {
		f.Add(text, "1.5", "", true)
		f.Add("tag", text, text, false)
	}
	f.Fuzz(func(t *testing.T, tag, value, machine string, ok bool) {
		s := &record.Sample{Machine: machine, Name: tag, English: value, Values: []record.SampleValue{{Tag: tag, Value: value, OK: ok}, {Tag: "x", Text: value, Unit: tag}}}
		got, err := wire.EncodeBody(s)
		if err != nil {
			t.Fatal(err)
		}
		var want bytes.Buffer
		enc := json.NewEncoder(&want)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(s); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, bytes.TrimSuffix(want.Bytes(), []byte("\n"))) {
			t.Errorf("got %s\nwant %s", got, want.Bytes())
		}
	})
}
