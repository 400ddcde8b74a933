package telemetry

import "strconv"

// The measurements as they stand in InfluxDB; docs/influxdb.md shows them, decision 0025 says why.
const (
	machineMeasurement = "machine" // tags device, kind, site; a float field for each tag with a number
	stateMeasurement   = "state"   // the same tags; a text field for each tag with a word
	unitMeasurement    = "unit"    // the same tags; of each number its unit, as text, every hour
	tonnageMeasurement = "tonnage" // tags category, flow, grade, material, site; field grams (an integer)
	deviceMeasurement  = "device"  // the same tags; fields name, english (text), every hour
	siteMeasurement    = "site"    // tag site; fields name, english, district (text), every hour
)

// hourMS is the step of what is repeated for those who ask: no retention policy is shorter.
const hourMS = 3_600_000

// fieldOf is a tag's name as a field. InfluxDB keeps "time" for itself, and a field named as a tag
// could not be asked for.
func fieldOf(tag string) string {
	switch tag {
	case "time", "device", "kind", "site":
		return tag + "_"
	}
	return tag
}

// appendHead begins a line of a machine. Its names have passed Check: they need no escaping.
func (s *Sample) appendHead(line []byte, measurement string) []byte {
	line = append(line, measurement...)
	line = append(line, ",device="...)
	line = append(line, s.Device...)
	if s.Machine != "" {
		line = append(line, ",kind="...)
		line = append(line, s.Machine...)
	}
	line = append(line, ",site="...)
	line = append(line, s.Site...)
	return append(line, ' ')
}

// appendNumbers writes the numbers of a sample; nothing when there is none. A number keeps its
// digits; without a suffix it is a float there.
func (s *Sample) appendNumbers(line []byte) []byte {
	first := true
	for i := range s.Values {
		v := &s.Values[i]
		if v.Value == "" {
			continue
		}
		if first {
			line, first = s.appendHead(line, machineMeasurement), false
		} else {
			line = append(line, ',')
		}
		line = append(line, fieldOf(v.Tag)...)
		line = append(line, '=')
		line = append(line, v.Value...)
	}
	return endLine(line, !first, s.Stamp())
}

// appendWords writes the words of a sample; nothing when there is none.
func (s *Sample) appendWords(line []byte) []byte {
	first := true
	for i := range s.Values {
		v := &s.Values[i]
		if v.Text == "" {
			continue
		}
		if first {
			line, first = s.appendHead(line, stateMeasurement), false
		} else {
			line = append(line, ',')
		}
		line = appendText(line, fieldOf(v.Tag), v.Text)
	}
	return endLine(line, !first, s.Stamp())
}

// appendUnits writes the units of a sample's numbers that new reports; nothing when there is none.
func (s *Sample) appendUnits(line []byte, news func(tag, unit string) bool) []byte {
	first := true
	for i := range s.Values {
		v := &s.Values[i]
		if v.Value == "" || v.Unit == "" || !news(v.Tag, v.Unit) {
			continue
		}
		if first {
			line, first = s.appendHead(line, unitMeasurement), false
		} else {
			line = append(line, ',')
		}
		line = appendText(line, fieldOf(v.Tag), v.Unit)
	}
	return endLine(line, !first, s.AtMS/hourMS*hourMS*perMS)
}

// appendNames writes what people call the machine, where the sample says it.
func (s *Sample) appendNames(line []byte) []byte {
	if s.Name == "" && s.English == "" {
		return line
	}
	line = appendTexts(s.appendHead(line, deviceMeasurement), [][2]string{{"english", s.English}, {"name", s.Name}})
	return endLine(line, true, s.AtMS/hourMS*hourMS*perMS)
}

// appendTexts writes those of the fields that say something.
func appendTexts(line []byte, fields [][2]string) []byte {
	first := true
	for _, field := range fields {
		if field[1] == "" {
			continue
		}
		if !first {
			line = append(line, ',')
		}
		line, first = appendText(line, field[0], field[1]), false
	}
	return line
}

func endLine(line []byte, begun bool, stamp int64) []byte {
	if !begun {
		return line
	}
	return append(strconv.AppendInt(append(line, ' '), stamp, 10), '\n')
}

func (t Tonne) appendLine(line []byte) []byte {
	line = append(line, tonnageMeasurement+",category="...)
	line = append(line, t.Category...)
	line = append(line, ",flow="...)
	line = append(line, t.Flow...)
	if grade := t.Grade(); grade != "" {
		line = append(line, ",grade="...)
		line = append(line, grade...)
	}
	line = append(line, ",material="...)
	line = append(line, t.Material...)
	line = append(line, ",site="...)
	line = append(line, t.Site...)
	line = append(line, " grams="...)
	line = strconv.AppendInt(line, t.Grams, 10)
	return endLine(append(line, 'i'), true, t.At)
}

// appendText writes a string field. Quote and backslash are the only characters that mean
// something within the quotes; control characters have been refused.
func appendText(line []byte, key, text string) []byte {
	line = append(append(line, key...), '=', '"')
	for i := range len(text) {
		if c := text[i]; c == '"' || c == '\\' {
			line = append(line, '\\')
		}
		line = append(line, text[i])
	}
	return append(line, '"')
}
