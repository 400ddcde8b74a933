package bench

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"steelyard/firmware-bridge/weighbridge"
	"steelyard/internal/unit"
)

// sample is what a line brought while the display showed a weight.
type sample struct {
	from  string // for messages
	known unit.Decimal
	bytes []byte
}

// drafted is a layout that was made from samples, and what it could not be made of.
type drafted struct {
	shape  shape
	layout weighbridge.Layout
	frames [][]byte          // all, in their order
	known  map[string]string // frames of a known weight → what the layout reads there
	same   [][2]int          // places from 1 at which the weight stands as well
	codes  []held            // bytes that the layout holds fast and nobody has explained
	free   []int             // bytes from 1 that change and that nobody has explained
	few    bool              // the frames differ too little to find a checksum
}

// held is bytes beside each other that are the same in every frame, or one of a few.
type held struct {
	at     int // from 1
	texts  []string
	moving string // of two texts the one that came when the weight had changed, and the other never did
}

// place is where the known weight may stand: a span from 0 and how its digits are written.
type place struct {
	from, to int
	layout   weighbridge.Digits
	decimals int // digits behind a point that is not sent
	rank     int // the better the lower
}

// guess makes a layout from samples of one line.
func guess(samples []sample) (*drafted, error) {
	d := &drafted{known: map[string]string{}}
	var all []byte
	for _, s := range samples {
		all = append(all, s.bytes...)
	}
	var ok bool
	if d.shape, ok = shapeOf(all); !ok {
		return nil, fmt.Errorf("%s came, and nothing in them comes again after %d to %d bytes: the frames differ in length, or the speed or format of the line is wrong; the last: %s",
			count(len(all), "byte"), leastPeriod, mostPeriod, weighbridge.Shown(all[max(0, len(all)-32):]))
	}
	var places []place
	for n, s := range samples {
		frames := d.shape.cut(s.bytes)
		if len(frames) < leastFrames {
			return nil, fmt.Errorf("%s: %s of %s in %s: at least %d are needed; let it send longer", s.from, count(len(frames), "frame"), count(d.shape.length, "byte"), count(len(s.bytes), "byte"), leastFrames)
		}
		d.frames = append(d.frames, frames...)
		here := placesIn(frames, s.known)
		if n == 0 {
			places = here
			continue
		}
		places = slices.DeleteFunc(places, func(p place) bool {
			return !slices.ContainsFunc(here, func(o place) bool { return o.layout == p.layout && o.decimals == p.decimals })
		})
	}
	if len(places) == 0 {
		return nil, d.nowhere(samples)
	}
	best := places[0]
	for _, p := range places[1:] {
		if p.from > best.to || p.to < best.from {
			d.same = append(d.same, [2]int{p.from + 1, p.to + 1})
		}
	}
	d.lay(best, samples[0].known.Scale > 0)
	d.watch()
	return d, d.prove(samples)
}

// nowhere says what was looked for.
func (d *drafted) nowhere(samples []sample) error {
	var names []string
	for _, s := range samples {
		names = append(names, s.known.String())
	}
	frame := usual(d.frames)
	remedy := "is it the number on the display, without its unit, and was the load at rest?"
	high := 0
	for _, c := range frame {
		high += int(c >> 7)
	}
	switch {
	case 5*high > len(frame):
		remedy = "many bytes are above 7F: is the line 7E1, read with -format 8N1?"
	case slices.ContainsFunc(samples, func(s sample) bool { return s.known.Coef < 0 }):
		remedy = "take a weight above zero: the sign may stand apart from the digits"
	}
	return fmt.Errorf("%s stands at no one place in the frames of %s: it was looked for as digits, as reversed and as packed digits, with a point and without; %s One of the frames: %s",
		strings.Join(names, " and "), count(d.shape.length, "byte"), remedy, weighbridge.Shown(frame))
}

// usual is the frame that came most often.
func usual(frames [][]byte) (best []byte) {
	times := map[string]int{}
	for _, f := range frames {
		if times[string(f)]++; times[string(f)] > times[string(best)] {
			best = f
		}
	}
	return best
}

// placesIn finds where a number stands in the frame of a weight that rests: the one that came most often.
func placesIn(frames [][]byte, known unit.Decimal) (all []place) {
	frame := usual(frames)
	for from := range frame {
		for to := from; to < len(frame); to++ {
			for _, how := range waysToWrite(known) {
				if p, ok := how.reads(frame, from, to, known); ok {
					all = append(all, p)
				}
			}
		}
	}
	slices.SortStableFunc(all, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(b.to-b.from, a.to-a.from))
	})
	return all
}

// way is one way in which formats write a number.
type way struct {
	digits weighbridge.Digits
	added  int // zeros behind the digits of the display, which the point that is not sent takes off again
	rank   int
}

func waysToWrite(known unit.Decimal) (all []way) {
	for added := range 4 {
		all = append(all,
			way{weighbridge.Digits{Signed: true, Padded: true, Gapped: true}, added, 2 + 4*added},
			way{weighbridge.Digits{Reversed: true}, added, 6 + 4*added},
			way{weighbridge.Digits{BCD: true}, added, 8 + 4*added},
			way{weighbridge.Digits{BCD: true, Reversed: true}, added, 9 + 4*added})
	}
	return append(all, way{weighbridge.Digits{Point: true, Signed: true, Padded: true, Gapped: true}, 0, 0},
		way{weighbridge.Digits{Point: true, Reversed: true}, 0, 1})
}

// widest is the field of a display: eight digits and a point.
const widest = 9

// reads reports whether the bytes are the number, written so.
func (w way) reads(frame []byte, from, to int, known unit.Decimal) (p place, ok bool) {
	field := frame[from : to+1]
	digits := w.digits
	point := bytes.IndexByte(field, '.') >= 0
	if !digits.BCD && point != digits.Point || digits.BCD && len(field) > widest/2 {
		return p, false
	}
	if !digits.BCD {
		if strings.Trim(string(field), " 0123456789.+-") != "" {
			return p, false
		}
		blanks := len(field) - len(bytes.TrimLeft(field, " "))
		if blanks == 0 {
			digits.Padded, digits.Gapped = false, false
		}
		// Blanks before a leading zero are another field, and so may be what is wider than a display.
		if number := field[blanks:]; len(field) > widest || blanks > 0 && len(number) > 1 && number[0] == '0' && number[1] != '.' || field[len(field)-1] == ' ' {
			return p, false
		}
	}
	p = place{from: from, to: to, layout: digits, rank: w.rank}
	p.layout.Span = weighbridge.Span{From: from + 1, To: to + 1}
	decimals := 0
	if !digits.Point {
		decimals = int(known.Scale) + w.added
	}
	if decimals > 9 {
		return p, false
	}
	p.decimals = decimals
	l := weighbridge.Layout{Start: frame[:1], End: frame[len(frame)-1:], Length: len(frame), Digits: p.layout, Decimals: weighbridge.Decimals{Fixed: decimals}}
	dialect, _ := weighbridge.Find("generic")
	o := weighbridge.Options{Layout: l}
	if dialect.Check(o) != nil {
		return p, false
	}
	got, _ := frames(dialect, o, time.Time{}, frame)
	if len(got) != 1 || !got[0].HasValue || !same(got[0].Value, known) {
		return p, false
	}
	if got[0].Value.Scale != known.Scale {
		p.rank += 2 // a digit behind the number that happens to be zero
	}
	return p, true
}

// lay makes the layout around the place of the weight. Where the display has a point the field must have one:
// without it a lost point would multiply the weight.
func (d *drafted) lay(p place, pointed bool) {
	l := d.shape.frameLayout()
	l.Digits, l.Decimals.Fixed = p.layout, p.decimals
	if l.Digits.Point && pointed {
		l.Digits.Point, l.Digits.Pointed = false, true
	}
	taken := make([]bool, d.shape.length)
	take := func(from, to int) {
		for i := from; i <= to; i++ {
			taken[i] = true
		}
	}
	take(0, len(d.shape.start)-1)
	take(d.shape.length-len(d.shape.end), d.shape.length-1)
	take(p.from, p.to)
	if before := p.from - 1; before >= 0 && !taken[before] && d.only(before, "+-") {
		l.Sign = weighbridge.Sign{At: before + 1, Plus: "+", Minus: "-"}
		l.Digits.Signed = false
		take(before, before)
	}
	for _, s := range d.same {
		if s[1]-s[0] == p.to-p.from && d.everywhere(func(f []byte) bool { return bytes.Equal(f[s[0]-1:s[1]], f[p.from:p.to+1]) }) {
			l.Twin = weighbridge.Span{From: s[0], To: s[1]}
			take(s[0]-1, s[1]-1)
			break
		}
	}
	l.Unit = d.unitField(p.to+1, taken)
	if l.Unit.From != 0 {
		take(l.Unit.From-1, l.Unit.To-1)
	}
	if sum, n := d.checksum(p, taken); n > 0 {
		l.Checksum = sum
		take(sum.At-1, sum.At-2+n)
	}
	l.Codes = d.hold(taken)
	d.layout = l
}

func (d *drafted) everywhere(is func([]byte) bool) bool {
	return !slices.ContainsFunc(d.frames, func(f []byte) bool { return !is(f) })
}

func (d *drafted) only(i int, set string) bool {
	return d.everywhere(func(f []byte) bool { return strings.IndexByte(set, f[i]) >= 0 })
}

// unitField is where a unit stands behind the weight.
func (d *drafted) unitField(from int, taken []bool) (u weighbridge.UnitField) {
	free := from
	for free < len(taken) && !taken[free] && d.only(free, " ") {
		free++
	}
	for _, text := range []string{"kg", "KG", "Kg", "lb", "LB", "t", "g"} {
		end := free + len(text)
		if end > len(taken) || slices.Contains(taken[free:end], true) {
			continue
		}
		behind := end == len(taken) || taken[end] || !d.everywhere(func(f []byte) bool { return f[end] >= 'a' && f[end] <= 'z' })
		if behind && d.everywhere(func(f []byte) bool { return string(f[free:end]) == text }) {
			u.Span = weighbridge.Span{From: free + 1, To: end}
			return u
		}
	}
	return u
}

// leastDifferent is how many different frames a checksum must hold for: by chance it holds for one in 256.
const leastDifferent = 3

// checksum finds one that holds for every frame, and how many bytes it has; 0 when there is none. It must stand
// behind the weight and change with it.
func (d *drafted) checksum(p place, taken []bool) (weighbridge.Checksum, int) {
	var different [][]byte
	seen := map[string]bool{}
	for _, f := range d.frames {
		if !seen[string(f)] {
			seen[string(f)], different = true, append(different, f)
		}
	}
	if d.few = len(different) < leastDifferent; d.few {
		return weighbridge.Checksum{}, 0
	}
	for at := len(taken) - 1; at > p.to; at-- {
		if taken[at] || !slices.ContainsFunc(different, func(f []byte) bool { return f[at] != different[0][at] }) {
			continue
		}
		for _, encoding := range []struct {
			name  string
			bytes int
		}{{"raw", 1}, {"hex", 2}, {"nibble", 2}} {
			first := at - encoding.bytes + 1
			if first <= p.to || taken[first] {
				continue
			}
			// mt7 before neg8: where the eighth bit was never set, neg8 holds for both.
			for _, kind := range []string{"xor", "sum8", "mt7", "neg8"} {
				for from := 1; from <= 2; from++ {
					for to := first; to >= p.to+1; to-- {
						c := weighbridge.Checksum{Kind: kind, From: from, To: to, At: first + 1, Encoding: encoding.name}
						if !slices.ContainsFunc(different, func(f []byte) bool { return !c.Holds(f) }) {
							return c, encoding.bytes
						}
					}
				}
			}
		}
	}
	return weighbridge.Checksum{}, 0
}

// fewTexts are as many as a status has states; a byte with more is a number.
const fewTexts = 4

// hold makes codes of the bytes that are the same in every frame or one of a few, so that a frame in which they
// say something else is refused: what is not understood must not become a weight.
func (d *drafted) hold(taken []bool) (codes []weighbridge.Code) {
	for i := 0; i < len(taken); i++ {
		if taken[i] {
			continue
		}
		if n := d.number(i, taken); n > 0 {
			for at := range n {
				d.free = append(d.free, i+at+1)
			}
			i += n - 1
			continue
		}
		texts := d.texts(i, 1)
		n := 1
		switch {
		case len(texts) > fewTexts || slices.ContainsFunc(texts, func(s string) bool { return s[0] >= 0x80 }):
			d.free = append(d.free, i+1)
			continue
		case len(texts) == 1:
			for i+n < len(taken) && !taken[i+n] && len(d.texts(i+n, 1)) == 1 && d.frames[0][i+n] < 0x80 {
				n++
			}
			texts = d.texts(i, n)
		}
		c := weighbridge.Code{At: i + 1, Is: map[string]string{}}
		for _, text := range texts {
			c.Is[text] = ""
		}
		codes, d.codes = append(codes, c), append(d.codes, held{at: i + 1, texts: texts})
		i += n - 1
	}
	return codes
}

// number is the length of another number that begins there, a tare or a net weight: digits of which some change.
// One that never changes is held, as anything else.
func (d *drafted) number(i int, taken []bool) int {
	const least = 4
	n := 0
	for i+n < len(taken) && !taken[i+n] && d.only(i+n, " .+-0123456789") {
		n++
	}
	if n < least || len(d.texts(i, n)) == 1 {
		return 0
	}
	return n
}

// texts are what stands there in the frames, sorted; of more than a status has, as many as prove it.
func (d *drafted) texts(i, n int) (all []string) {
	for _, f := range d.frames {
		if s := string(f[i : i+n]); !slices.Contains(all, s) {
			if all = append(all, s); len(all) > fewTexts {
				break
			}
		}
	}
	slices.Sort(all)
	return all
}

// watch looks which texts came while the weight changed: of a byte with two texts, one that never did may mean
// rest, and the other motion.
func (d *drafted) watch() {
	digits := d.layout.Digits
	for n := range d.codes {
		c := &d.codes[n]
		if len(c.texts) != 2 || len(c.texts[0]) != 1 {
			continue
		}
		changed := map[string]int{}
		for i, f := range d.frames[1:] {
			if before := d.frames[i]; !bytes.Equal(before[digits.From-1:digits.To], f[digits.From-1:digits.To]) {
				changed[string(f[c.at-1:c.at])]++
			}
		}
		if len(changed) == 1 {
			for c.moving = range changed {
			}
		}
	}
}

// options are those of the dialect generic with the layout.
func (d *drafted) options() weighbridge.Options { return weighbridge.Options{Layout: d.layout} }

// prove runs the layout over the samples: each must be read as its display showed it.
func (d *drafted) prove(samples []sample) error {
	dialect, _ := weighbridge.Find("generic")
	if err := dialect.Check(d.options()); err != nil {
		return err
	}
	for _, s := range samples {
		frame := usual(d.shape.cut(s.bytes))
		weights, decoder := decoded(dialect, d.options(), time.Time{}, frame)
		if len(weights) != 1 || !weights[0].HasValue || !same(weights[0].Value, s.known) {
			return fmt.Errorf("%s: the layout does not read %s from its usual frame: %s", s.from, s.known, decoder.Refused())
		}
		d.known[string(frame)] = weights[0].Value.String()
	}
	return nil
}
