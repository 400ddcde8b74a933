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

// Refused is what a Decoder has refused by one rule, for a message to a fitter.
type Refused struct {
	Rule   Refusal
	Times  uint64 // how often; 0: never
	Raw    []byte // the latest piece that failed it, from its beginning
	begins string // what each frame begins with; empty where nothing is said of it
}

// String says why and shows the bytes.
func (r Refused) String() string {
	why := r.Rule.String()
	if r.Rule == badStart && r.begins != "" {
		why = "no byte " + r.begins + ", with which a frame begins"
	}
	times := ""
	if r.Times > 1 && r.Rule != badStart {
		times = fmt.Sprintf(" (%d times)", r.Times)
	}
	return fmt.Sprintf("%s%s: %s", why, times, Shown(r.Raw))
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

// refusedPieces counts by rule what a decoder has refused since its latest frame, and keeps the latest piece
// of each rule.
type refusedPieces struct {
	times [refusals]uint64
	ever  [refusals]uint64 // since the decoder was made
	raw   [refusals][mostShown + 1]byte
	n     [refusals]uint8
	last  Refusal
	any   bool
}

func (p *refusedPieces) add(r Refusal, b []byte) {
	p.times[r]++
	p.ever[r]++
	p.n[r] = uint8(copy(p.raw[r][:], b))
	if p.any = true; r != badStart {
		p.last = r
	}
}

// forget begins anew behind a frame.
func (p *refusedPieces) forget() {
	if p.any {
		p.times, p.any = [refusals]uint64{}, false
	}
}

// Refused returns the rule that failed most since the latest frame. Bytes of which none begins a frame count
// only where nothing else failed.
func (d *Decoder) Refused() Refused { return d.refusedBy(worst(&d.refused.times), &d.refused.times) }

// EverRefused is Refused since the Decoder was made.
func (d *Decoder) EverRefused() Refused { return d.refusedBy(worst(&d.refused.ever), &d.refused.ever) }

func worst(times *[refusals]uint64) Refusal {
	worst := badStart
	for r := badStart + 1; r < refusals; r++ {
		if times[r] > times[worst] || worst == badStart && times[r] > 0 {
			worst = r
		}
	}
	return worst
}

// LastRefused returns the latest frame that was refused.
func (d *Decoder) LastRefused() Refused { return d.refusedBy(d.refused.last, &d.refused.times) }

func (d *Decoder) refusedBy(r Refusal, times *[refusals]uint64) Refused {
	is := Refused{Rule: r, Times: times[r], Raw: bytes.Clone(d.refused.raw[r][:d.refused.n[r]])}
	if d.codec.hasStart {
		is.begins = fmt.Sprintf("%02X", d.codec.start)
	}
	return is
}
