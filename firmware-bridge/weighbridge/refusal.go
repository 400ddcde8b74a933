package weighbridge

import (
	"bytes"
	"fmt"
)

// Refusal is the rule that a frame, or what looked like one, has failed. The first one it fails counts.
type Refusal uint8

const (
	accepted Refusal = iota
	badStart
	badLength
	badEnd
	badSum
	badStatus
	badSign
	badDigits
	badPoint
	badTwin
	badUnit
	badAddress
	refusals // how many there are
)

// String says in words what is wrong.
func (r Refusal) String() string {
	return [refusals]string{
		accepted:   "nothing",
		badStart:   "no frame begins there",
		badLength:  "the length is wrong",
		badEnd:     "the end is missing",
		badSum:     "the checksum is wrong",
		badStatus:  "a status or legend is not known",
		badSign:    "the sign is neither plus nor minus",
		badDigits:  "what stands for the weight is no number",
		badPoint:   "the place of the point is not known",
		badTwin:    "two numbers contradict each other",
		badUnit:    "the unit is not known",
		badAddress: "it is from another address",
	}[r]
}

// Refused is what a Decoder has refused, for a message to a fitter.
type Refused struct {
	Rule  Refusal // that failed most often
	Times uint64  // how often; 0: nothing was refused
	Raw   []byte  // the latest piece that failed it, from its beginning
}

// String is a line: how often, why, and the bytes.
func (r Refused) String() string {
	if r.Times == 1 {
		return fmt.Sprintf("%s: %s", r.Rule, Shown(r.Raw))
	}
	return fmt.Sprintf("%s, %d times, the last: %s", r.Rule, r.Times, Shown(r.Raw))
}

// mostShown bytes are enough to see a frame and few enough for a line of text.
const mostShown = 32

// Shown writes bytes for a message, as hexadecimal and as the text that they may be.
func Shown(b []byte) string {
	more := ""
	if len(b) > mostShown {
		b, more = b[:mostShown], " …"
	}
	text := bytes.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '.'
		}
		return r
	}, b)
	return fmt.Sprintf("% X%s (%s%s)", b, more, text, more)
}

// refusedPieces counts what a decoder has refused by rule and keeps the latest piece of each.
type refusedPieces struct {
	times [refusals]uint64
	raw   [refusals][mostShown + 1]byte
	n     [refusals]uint8
}

func (p *refusedPieces) add(r Refusal, b []byte) {
	p.times[r]++
	p.n[r] = uint8(copy(p.raw[r][:], b))
}

// Refused gives the rule that failed most since the Decoder was made. Bytes of which none begins a frame
// count only where nothing else failed.
func (d *Decoder) Refused() Refused {
	worst := badStart
	for r := badStart + 1; r < refusals; r++ {
		if d.refused.times[r] > d.refused.times[worst] || worst == badStart && d.refused.times[r] > 0 {
			worst = r
		}
	}
	n := d.refused.n[worst]
	return Refused{Rule: worst, Times: d.refused.times[worst], Raw: bytes.Clone(d.refused.raw[worst][:n])}
}
