package bench

import (
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"steelyard/firmware-bridge/modbus"
	"steelyard/internal/unit"
)

// lines are what stands in the registers, in the types that it is likely to be of.
func (s *scan) lines() []string {
	all := []string{fmt.Sprintf("%2s %6s  %-4s  %6s %6s  %11s  %-14s %-14s", "fc", "at", "raw", "u16", "s16", "u32", "f32", "f32 CDAB")}
	for _, r := range s.found {
		if r.FC <= 2 {
			all = append(all, s.bitLines(r)...)
			continue
		}
		for i, w := range r.words {
			if w == 0 && !r.changed[i] && !(i > 0 && r.words[i-1] != 0) {
				continue
			}
			wide, float, swapped := "", "", ""
			if i+1 < len(r.words) {
				wide = likely("u32", "ABCD", r.words[i:i+2])
				float, swapped = likely("f32", "ABCD", r.words[i:i+2]), likely("f32", "CDAB", r.words[i:i+2])
			}
			line := fmt.Sprintf("%2d %6d  %04X  %6d %6d  %11s  %-14s %-14s", r.FC, s.printed(r, i), w, w, int16(w), wide, float, swapped)
			if r.changed[i] {
				line += "  changes"
			}
			all = append(all, strings.TrimRight(line, " "))
		}
	}
	return all
}

// bitLines are the coils or inputs that are on, or change.
func (s *scan) bitLines(r *run) []string {
	var all []string
	for i, w := range r.words {
		switch {
		case r.changed[i]:
			all = append(all, fmt.Sprintf("%2d %6d  %d  changes", r.FC, s.printed(r, i), w))
		case w == 1:
			all = append(all, fmt.Sprintf("%2d %6d  1", r.FC, s.printed(r, i)))
		}
	}
	return all
}

// likely returns a number that a machine of this trade may show, or nothing.
func likely(kind, order string, words []uint16) string {
	n, why := modbus.Interpret(kind, order, words)
	if size := math.Abs(real64(n)); why != "" || kind == "f32" && size != 0 && (size < 1e-3 || size > 1e7) || kind == "f32" && n.Scale > 9 {
		return ""
	}
	return n.String()
}

// printed is an address as the manual has it.
func (s *scan) printed(r *run, i int) uint32 { return s.head.Printed(r.FC, r.From+uint16(i)) }

// report prints the frames and what stands in them.
func (s *scan) report(out *output) {
	serial := s.line.Scheme != modbus.TCP
	frame := func(body []byte) string {
		if serial {
			body = withCRC(body)
		}
		return spaced(body)
	}
	for _, r := range s.found {
		request, reply := r.frames()
		out.printf("%s\n  > %s\n", describeRead(request), frame(request))
		for i, row := range slices.Collect(slices.Chunk([]byte(frame(reply)), 96)) {
			out.printf("  %s %s\n", []string{"<", " "}[min(i, 1)], strings.TrimRight(string(row), " "))
		}
	}
	for _, text := range s.notes() {
		out.printf("%s\n", text)
	}
	out.printf("\n%s\n", strings.Join(s.lines(), "\n"))
}

// draftJSON is what draft prints as JSON.
type draftJSON struct {
	Reads   []readWord `json:"reads"`
	Notes   []string   `json:"notes"`
	Profile string     `json:"profile"` // the file's text
	File    string     `json:"file"`    // empty: it was not written
	YAML    string     `json:"yaml"`    // for edge.yaml
}

// readWord is a read that is answered.
type readWord struct {
	Function uint8    `json:"function"`
	From     uint32   `json:"from"`  // as the manual counts
	Words    []uint16 `json:"words"` // of the latest answer
	Changed  []uint32 `json:"changed"`
	Request  string   `json:"request"`
	Reply    string   `json:"reply"`
}

func (s *scan) words(profile, yaml string) draftJSON {
	w := draftJSON{Reads: []readWord{}, Notes: s.notes(), Profile: profile, File: s.file, YAML: yaml}
	for _, r := range s.found {
		request, reply := r.frames()
		read := readWord{r.FC, s.printed(r, 0), r.words, []uint32{}, spaced(request), spaced(reply)}
		for i, changed := range r.changed {
			if changed {
				read.Changed = append(read.Changed, s.printed(r, i))
			}
		}
		w.Reads = append(w.Reads, read)
	}
	return w
}

// notes are what is to be known about what is not in the draft.
func (s *scan) notes() []string {
	all := append([]string{}, s.absent...)
	if s.quiet > 0 {
		all = append(all, count(s.quiet, "read")+" got no answer: such addresses are left out")
	}
	return all
}

// frames are request and reply as in a profile's tests.
func (r *run) frames() (request, reply []byte) {
	return requestBody(r.Unit, r.FC, r.From, r.Count), append([]byte{r.Unit, r.FC, byte(len(r.data))}, r.data...)
}

// mostPoints of one draft, well below what a profile may have.
const mostPoints = 800

// profileText writes the profile: the reads that were answered, a point for what holds something, and the
// answers as its tests.
func (d *drafting) profileText(s *scan) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "profile: %s\nmaker: unknown              # as on the plate\nmodel: unknown\nstatus: bench\n", d.name)
	b.WriteString("notes: Drafted from what the machine answered. Which value is which was not seen yet.\n")
	fmt.Fprintf(&b, "sources:\n  - {doc: \"answers of the machine on %s, unit %d, recorded by firmware-bridge draft\"}\n", d.line.Scheme, d.unit)
	if d.line.Scheme == modbus.TCP {
		_, port, _ := strings.Cut(d.line.Address[strings.LastIndexByte(d.line.Address, ']')+1:], ":")
		fmt.Fprintf(&b, "transport: {unit: %d, port: %s}\n", d.unit, port)
	} else {
		fmt.Fprintf(&b, "transport: {unit: %d, rtu: {baud: %d, format: %s}}\n", d.unit, d.line.Baud, d.line.Format)
	}
	fmt.Fprintf(&b, "address_base: %d\nreads:\n", d.base)
	for _, r := range s.found {
		fmt.Fprintf(&b, "  - {fc: %d, from: %d, count: %d}\n", r.FC, s.printed(r, 0), r.Count)
	}
	b.WriteString("points:\n")
	points := 0
	for _, r := range s.found {
		for i := 0; i < len(r.words) && points < mostPoints; {
			line, used := s.point(r, i, points == 0 && r == s.found[len(s.found)-1] && i == len(r.words)-1)
			if line != "" {
				b.WriteString(line)
				points++
			}
			i += used
		}
	}
	p, err := modbus.Load(d.name, []byte(b.String()))
	if err != nil {
		return "", err
	}
	b.WriteString("tests:\n")
	for _, r := range s.found {
		request, reply := r.frames()
		v := modbus.Vector{Request: hex.EncodeToString(request), Reply: hex.EncodeToString(reply)}
		registers, err := v.Registers()
		if err != nil {
			return "", err
		}
		var expect []string
		for _, value := range p.Decode(registers) {
			if value.OK {
				expect = append(expect, fmt.Sprintf("%s: %s", value.Tag, quoted(modbus.Text(value))))
			}
		}
		if len(expect) > 0 {
			fmt.Fprintf(&b, "  - request: %q\n    reply: %q\n    expect: {%s}\n", spaced(request), spaced(reply), strings.Join(expect, ", "))
		}
	}
	return b.String(), nil
}

// quoted writes a value as YAML takes it for a text or a number.
func quoted(text string) string {
	if _, err := unit.ParseDecimal(text); err == nil {
		return text
	}
	return strconv.Quote(text)
}

// point writes a point for what begins at a register, and says how many registers it takes. Registers that
// hold 0 all the time get none, unless there would be no point at all.
func (s *scan) point(r *run, i int, must bool) (line string, used int) {
	at, w := s.printed(r, i), r.words[i]
	name := fmt.Sprintf("%s%d", map[uint8]string{1: "coil_", 2: "input_", 3: "holding_", 4: "register_"}[r.FC], at)
	head := fmt.Sprintf("  - {name: %s, at: %d, fc: %d", name, at, r.FC)
	if line, used := s.displayedPoint(r, i, head); used > 0 {
		return line, used
	}
	if r.FC <= 2 {
		if w == 0 && !r.changed[i] && len(r.words) > 64 && !must {
			return "", 1
		}
		return head + "}\n", 1
	}
	if n := textLength(r.words[i:]); n >= 3 {
		return fmt.Sprintf("%s, type: string, length: %d}\n", head, n), n
	}
	if w == 0 && !r.changed[i] && !must && !(i+1 < len(r.words) && r.changed[i+1]) {
		return "", 1
	}
	also := ""
	if i+1 < len(r.words) {
		pair := r.words[i : i+2]
		if f := likely("f32", "ABCD", pair); f != "" && w != 0 {
			return fmt.Sprintf("%s, type: f32}   # or u16 %d and %d\n", head, w, pair[1]), 2
		}
		if f := likely("f32", "CDAB", pair); f != "" && pair[1] != 0 {
			return fmt.Sprintf("%s, type: f32, order: CDAB}   # or u16 %d and %d\n", head, w, pair[1]), 2
		}
		if n := likely("u32", "ABCD", pair); w != 0 && w < 256 {
			also = "   # with the next as u32: " + n
		} else if n := likely("u32", "CDAB", pair); pair[1] != 0 && pair[1] < 256 {
			also = "   # with the next as u32, order CDAB: " + n
		}
	}
	return fmt.Sprintf("%s, type: u16}%s\n", head, also), 1
}

// displayedPoint is the point of a register that holds a number which a person read off the display.
func (s *scan) displayedPoint(r *run, i int, head string) (line string, used int) {
	if r.FC <= 2 {
		return "", 0
	}
	for _, shown := range s.displays {
		for _, k := range kinds() {
			if i+k.length > len(r.words) || shown.Coef == 0 {
				continue
			}
			for _, order := range orders() {
				n, why := modbus.Interpret(k.name, order, r.words[i:i+k.length])
				if why != "" || k.wide && leading(r.words[i:i+k.length], order) == 0 {
					continue // a narrower type holds the same
				}
				word, scale := match(n, shown, k.name[0] == 'f')
				if word != "exact" || k.length == 1 && (order == "CDAB" || order == "BADC" && n.Coef < 256) {
					continue
				}
				line := fmt.Sprintf("%s, type: %s", head, k.name)
				if k.sized() {
					line += fmt.Sprintf(", length: %d", k.length)
				}
				if order != "ABCD" {
					line += ", order: " + order
				}
				if scale != "" {
					line += fmt.Sprintf(", scale: %q", scale)
				}
				return line + fmt.Sprintf("}   # %s on the display\n", shown), k.length
			}
		}
	}
	return "", 0
}

// leading is the most significant register.
func leading(words []uint16, order string) uint16 {
	if order == "CDAB" || order == "DCBA" {
		return words[len(words)-1]
	}
	return words[0]
}

// textLength is how many registers from here hold text as of a name, a version or a date.
func textLength(words []uint16) int {
	for i, w := range words {
		pair := []byte{byte(w >> 8), byte(w)}
		if strings.ContainsFunc(string(pair), func(c rune) bool {
			return c > '~' || !unicode.In(c, unicode.Letter, unicode.Digit) && !strings.ContainsRune(" .-_/:", c)
		}) {
			return i
		}
	}
	return len(words)
}
