package bench

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"steelyard/firmware-bridge/serial"
	"steelyard/firmware-bridge/weighbridge"
)

// heard is what came at one setting and no dialect explains.
type heard struct {
	line  serial.Config
	bytes []byte // the latest
	text  int    // permille of them that are text
}

// mostHeard is more than a few frames of any format.
const mostHeard = 2048

// remember keeps the setting at which the bytes look most like text: at a wrong speed few do.
func (s *search) remember(line serial.Config, pieces [][]byte) {
	all := slices.Concat(pieces...)
	all = all[max(0, len(all)-mostHeard):]
	if len(all) < silent {
		return
	}
	text := 0
	for _, c := range all {
		if c >= ' ' && c <= '~' || c == '\r' || c == '\n' || c == 0x02 || c == 0x03 {
			text++
		}
	}
	if text = 1000 * text / len(all); s.best.bytes == nil || text > s.best.text {
		s.best = heard{line, all, text}
	}
}

// showLines prints the last lines of what came, as bytes and as text.
func (s *search) showLines() {
	if len(s.best.bytes) == 0 {
		return
	}
	s.say("the last that came at %s:", s.settingOf(s.best.line))
	for _, line := range lastLines(s.best.bytes, 3) {
		s.say("  %-48s  %s", spaced(line), printable(line))
	}
}

// lastLines cuts bytes behind CR LF, CR, LF or ETX and gives the last few whole ones, or rows where there is no end.
func lastLines(b []byte, most int) [][]byte {
	end := []byte{0x03}
	for _, e := range [][]byte{[]byte("\n"), []byte("\r")} {
		if bytes.Count(b, e) > bytes.Count(b, end) {
			end = e
		}
	}
	const row = 16
	var lines [][]byte
	if bytes.Count(b, end) < 2 {
		for rest := range slices.Chunk(b[max(0, len(b)-most*row):], row) {
			lines = append(lines, rest)
		}
		return lines
	}
	for rest := range bytes.SplitAfterSeq(b[:bytes.LastIndex(b, end)+1], end) {
		if len(rest) > 0 {
			lines = append(lines, rest[:min(len(rest), 2*row)])
		}
	}
	return lines[max(1, len(lines)-most):]
}

// leastRefused pieces are no chance.
const leastRefused = 3

// nearest names the dialect whose frames the bytes come nearest to, and the rule that they fail.
func (s *search) nearest() string {
	var name string
	var least weighbridge.Refused
	look := func(d weighbridge.Dialect, o weighbridge.Options, as string) {
		if s.only != "" && d.Name != s.only {
			return
		}
		_, decoder := decoded(d, o, time.Time{}, s.best.bytes)
		r := decoder.Refused()
		if r.Times >= leastRefused && r.Rule > least.Rule {
			name, least = as, r
		}
	}
	if s.model != nil {
		d, _ := s.model.Speaks()
		look(d, s.model.Options, s.model.Name)
	} else {
		for _, d := range weighbridge.Dialects() {
			if d.Name != "generic" {
				look(d, weighbridge.Options{}, d.Name)
			}
		}
	}
	if name == "" {
		return ""
	}
	return fmt.Sprintf("nearest is %s, and %s; ", name, least)
}
