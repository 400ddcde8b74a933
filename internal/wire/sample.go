package wire

import (
	"strconv"

	"steelyard/internal/record"
)

// Nearly all that a site writes are samples. Those of which no text needs an escape are written
// without reflection, in the same form as all others.

func plainSample(s *record.Sample) bool {
	if s.Values == nil || !plainText(s.Machine) || !plainText(s.Name) || !plainText(s.English) {
		return false
	}
	for i := range s.Values {
		v := &s.Values[i]
		if !plainText(v.Tag) || !plainText(v.Value) || !plainText(v.Text) || !plainText(v.Unit) {
			return false
		}
	}
	return true
}

func plainText(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

func appendSample(to []byte, s *record.Sample) []byte {
	to = append(to, '{')
	for _, said := range [...]struct{ key, text string }{{"machine", s.Machine}, {"name", s.Name}, {"english", s.English}} {
		if said.text != "" {
			to = append(append(append(to, '"'), said.key...), `":"`...)
			to = append(append(to, said.text...), `",`...)
		}
	}
	to = append(to, `"values":[`...)
	for i := range s.Values {
		v := &s.Values[i]
		if i > 0 {
			to = append(to, ',')
		}
		to = append(append(to, `{"tag":"`...), v.Tag...)
		to = append(append(to, `","value":"`...), v.Value...)
		to = append(append(to, `","text":"`...), v.Text...)
		to = append(append(to, `","unit":"`...), v.Unit...)
		to = append(strconv.AppendBool(append(to, `","ok":`...), v.OK), '}')
	}
	return append(to, `]}`...)
}
