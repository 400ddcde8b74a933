package bench

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"steelyard/firmware-bridge/weighbridge"
)

// mostTests are as many frames as a draft proves itself with.
const mostTests = 6

// file writes the draft as an indicator's file. What only a person can say stands there as a comment.
func (d *drafted) file(name, unitOf string, request weighbridge.Bytes) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("indicator: %s", name)
	line("maker: unknown                    # as on the plate")
	line("model: unknown                    # as on the plate, and the setting of its output")
	line("status: bench")
	line("notes: Drafted from recorded frames; compare rest, kind and zero with the lamps before it is trusted.")
	line("sources:")
	line("  - {doc: \"frames recorded beside the display\"}")
	line("dialect: generic")
	line("options:")
	if len(request) > 0 {
		line("  request: %q", spaced(request))
	}
	line("  layout:")
	l := d.layout
	if len(l.Start) > 0 {
		line("    start: %q", spaced(l.Start))
	}
	if len(l.End) > 0 {
		line("    end: %q", spaced(l.End))
	}
	line("    length: %d", l.Length)
	if l.NextStartEnds {
		line("    next_start_ends: true")
	}
	if c := l.Checksum; c.Kind != "" {
		line("    checksum: {kind: %s, from: %d, to: %d, at: %d, encoding: %s}", c.Kind, c.From, c.To, c.At, c.Encoding)
	}
	if l.Sign.At != 0 {
		line("    sign: {at: %d, plus: %q, minus: %q}", l.Sign.At, l.Sign.Plus, l.Sign.Minus)
	}
	line("    digits: {from: %d, to: %d%s}", l.Digits.From, l.Digits.To, style(l.Digits))
	if l.Decimals.Fixed != 0 {
		line("    decimals: {fixed: %d}             # no point is sent: if a byte says where it stands, use at in place of fixed", l.Decimals.Fixed)
	}
	if l.Twin.From != 0 {
		line("    twin: {from: %d, to: %d}            # the same number again; if one is net and one gross, a tare will show", l.Twin.From, l.Twin.To)
	}
	if l.Unit.From != 0 {
		line("    unit: {from: %d, to: %d}", l.Unit.From, l.Unit.To)
	}
	if len(d.codes) > 0 {
		line("    # Held as they were seen: a frame that says something else here is refused until its text is written down.")
		line("    # Between the quotes behind a text stands what it means: stable, unstable, gross, net, zero, over, …")
		line("    codes:")
		for _, c := range d.codes {
			var texts []string
			for _, text := range c.texts {
				texts = append(texts, strconv.QuoteToASCII(text)+`: ""`)
			}
			hint := ""
			if c.moving != "" {
				hint = fmt.Sprintf("  # whenever the weight had changed it was %s: unstable, and the other stable?", strconv.QuoteToASCII(c.moving))
			}
			line("      - {at: %d, is: {%s}}%s", c.at, strings.Join(texts, ", "), hint)
		}
	}
	if len(d.free) > 0 {
		line("    # Not explained and not looked at: %s.", bytesAt(d.free))
	}
	for _, at := range d.same {
		if at != [2]int{l.Twin.From, l.Twin.To} {
			line("    # The same number can be read from bytes %d to %d: one of the two may be net. Draft again with a tare on.", at[0], at[1])
		}
	}
	if unitOf != "" && l.Unit.From == 0 {
		line("unit: %s", unitOf)
	}
	line("tests:")
	for _, t := range d.tests() {
		line("  - {frame: %q, expect: {value: %q}}", spaced(t.frame), t.value)
	}
	return b.String()
}

func style(d weighbridge.Digits) (text string) {
	for _, s := range []struct {
		is   bool
		name string
	}{{d.Reversed, "reversed"}, {d.BCD, "bcd"}, {d.Point, "point"}, {d.Pointed, "pointed"}, {d.Signed, "signed"}, {d.Padded, "padded"}, {d.Gapped, "gapped"}} {
		if s.is {
			text += ", " + s.name + ": true"
		}
	}
	return text
}

// bytesAt names bytes: "byte 7", "bytes 7, 9".
func bytesAt(all []int) string {
	var names []string
	for _, at := range all {
		names = append(names, strconv.Itoa(at))
	}
	if len(names) == 1 {
		return "byte " + names[0]
	}
	return "bytes " + strings.Join(names, ", ")
}

type recordedTest struct {
	frame []byte
	value string
}

// tests are the frames of the known weights, and a few others as the layout reads them.
func (d *drafted) tests() (all []recordedTest) {
	dialect, _ := weighbridge.Find("generic")
	seen := map[string]bool{}
	add := func(f []byte) {
		if seen[string(f)] || len(all) == mostTests {
			return
		}
		seen[string(f)] = true
		if got, _ := frames(dialect, d.options(), time.Time{}, f); len(got) == 1 && got[0].HasValue {
			all = append(all, recordedTest{f, got[0].Value.String()})
		}
	}
	for _, f := range d.frames {
		if _, known := d.known[string(f)]; known {
			add(f)
		}
	}
	for _, f := range d.frames {
		add(f)
	}
	return all
}

// picture shows a frame with what is known of each byte below it.
func (d *drafted) picture() (rows []string) {
	var frame []byte
	for _, f := range d.frames {
		if _, known := d.known[string(f)]; known {
			frame = f
			break
		}
	}
	marks := []byte(strings.Repeat("=", len(frame)))
	mark := func(c byte, from, to int) {
		for i := from; i <= to && from > 0; i++ {
			marks[i-1] = c
		}
	}
	for _, at := range d.free {
		mark('?', at, at)
	}
	for _, c := range d.codes {
		if len(c.texts) > 1 {
			mark('~', c.at, c.at)
		}
	}
	l := d.layout
	mark('W', l.Digits.From, l.Digits.To)
	mark('W', l.Twin.From, l.Twin.To)
	mark('S', l.Sign.At, l.Sign.At)
	mark('U', l.Unit.From, l.Unit.To)
	if c := l.Checksum; c.Kind != "" {
		n := 1
		if c.Encoding == "raw" {
			n = 0
		}
		mark('C', c.At, c.At+n)
	}
	const row = 16
	for at := 0; at < len(frame); at += row {
		var number, hex, text, what strings.Builder
		for i := at; i < min(at+row, len(frame)); i++ {
			fmt.Fprintf(&number, "%3d", i+1)
			fmt.Fprintf(&hex, " %02X", frame[i])
			fmt.Fprintf(&text, "  %s", printable(frame[i:i+1]))
			fmt.Fprintf(&what, "  %c", marks[i])
		}
		rows = append(rows, "byte "+number.String(), "hex  "+hex.String(), "text "+text.String(), "is   "+what.String())
	}
	legend := []string{"W the weight", "= the same in every frame"}
	for _, m := range []string{"S the sign", "U the unit", "C a checksum that holds for every frame", "~ one of a few texts: a status?", "? changes, and nothing says what it is"} {
		if slices.Contains(marks, m[0]) {
			legend = append(legend, m)
		}
	}
	return append(rows, strings.Join(legend, ", "))
}
