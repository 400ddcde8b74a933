package weighbridge

import (
	"bytes"
	"time"

	"steelyard/firmware-bridge/device"
)

// MaxFrame bounds every frame of every dialect and with it the memory of a Decoder.
const MaxFrame = 128

// codec is one dialect, made ready by its options: where a frame ends and what it says. Both
// functions are pure, so any split of the same bytes gives the same frames.
type codec struct {
	mask     byte // bits of a character that count; 0 means all
	start    byte // first byte of every frame, if hasStart
	hasStart bool
	between  []byte // bytes that may stand between frames without being counted as discarded

	// take looks at what may be the start of a frame, at most MaxFrame bytes. What it has decided
	// it decides again when more bytes follow. final says that the line has fallen silent: what is
	// not complete now will not become so.
	take func(b []byte, final bool) (n int, v verdict)

	// decode reads a whole frame, or says which rule it fails.
	decode func(frame []byte, w *device.Weight) Refusal
}

// verdict is what take says about the first n bytes.
type verdict uint8

const (
	more  verdict = iota // not decided yet
	whole                // a frame
	junk                 // no frame begins here; drop n bytes and search again
	bad                  // and above: something like a frame, but broken; drop n bytes and search again
)

// broken is the verdict on something like a frame that fails a rule.
func broken(r Refusal) verdict { return bad + verdict(r) }

// Stats counts what a Decoder has seen since it was made. No count depends on the pieces in which
// the bytes arrived.
type Stats struct {
	Bytes     uint64 // bytes taken in
	Frames    uint64 // frames emitted
	Bad       uint64 // frames rejected: checksum, layout, digits, unit, address
	Discarded uint64 // bytes that belong to no emitted frame, those of rejected frames included
}

// Decoder cuts a stream of bytes into frames and decodes them. It belongs to one goroutine.
type Decoder struct {
	codec  codec
	device string
	stats  Stats

	refused refusedPieces

	raw   [2 * MaxFrame]byte // as it came
	text  [2 * MaxFrame]byte // masked; used only when the codec masks
	n     int                // bytes held
	fresh int                // index of the first byte of the latest Write
	last  time.Time          // time of the Write before the latest
	at    time.Time          // time of the latest Write
	w     device.Weight      // here and not on the stack: decode is called through a pointer
}

// NewDecoder makes a decoder. The options must have passed d.Check; NewDecoder panics when they
// have not, because a decoder with half its options would read other weights than the fitter saw.
func NewDecoder(d Dialect, o Options) *Decoder {
	c, err := d.codec(o)
	if err != nil {
		panic("weighbridge: options not checked: " + err.Error())
	}
	return &Decoder{codec: c, device: o.Device}
}

// Stats returns the counts so far.
func (d *Decoder) Stats() Stats { return d.stats }

// Write takes bytes that arrived at the given time and calls emit for every frame that they
// complete, in order. Raw points into the decoder and is valid until emit returns.
func (d *Decoder) Write(at time.Time, p []byte, emit func(device.Weight)) {
	if len(p) == 0 {
		return
	}
	d.last, d.at = d.at, at
	d.fresh = d.n
	d.stats.Bytes += uint64(len(p))
	for len(p) > 0 {
		k := copy(d.raw[d.n:], p)
		if d.codec.mask != 0 && d.codec.mask != 0xFF {
			for i := range k {
				d.text[d.n+i] = p[i] & d.codec.mask
			}
		}
		d.n += k
		p = p[k:]
		d.cut(false, emit)
	}
}

// Flush tells the decoder that the line has been silent for longer than a frame takes. A frame that was only
// waiting for the start of its successor is complete; a piece of a frame is discarded, so that
// it can't be glued to what comes after the silence.
func (d *Decoder) Flush(emit func(device.Weight)) {
	d.cut(true, emit)
}

// cut emits all frames it can find and moves the rest to the front.
func (d *Decoder) cut(final bool, emit func(device.Weight)) {
	c := &d.codec
	text := d.raw[:d.n]
	if c.mask != 0 && c.mask != 0xFF {
		text = d.text[:d.n]
	}
	pos := 0
	for pos < len(text) {
		b := text[pos:]
		if c.hasStart && b[0] != c.start {
			skip := bytes.IndexByte(b, c.start)
			if skip < 0 {
				skip = len(b)
			}
			d.refused.add(badStart, d.raw[pos:pos+skip])
			d.discard(b[:skip])
			pos += skip
			continue
		}
		// A verdict may depend on no more bytes than a frame can have, or it would depend on how
		// many happened to arrive together.
		n, v := c.take(b[:min(len(b), MaxFrame)], final)
		if v == more {
			if !final && len(b) < MaxFrame {
				break
			}
			n, v = 1, junk // no frame is that long, or the rest never came
			if final && !c.hasStart {
				n, v = len(b), broken(badEnd)
			} else {
				d.refused.add(badEnd, d.raw[pos:d.n])
			}
		}
		switch v {
		case whole:
			d.w = device.Weight{Device: d.device}
			refusal := c.decode(b[:n], &d.w)
			if refusal == accepted {
				d.w.At = d.at
				if pos+n <= d.fresh {
					d.w.At = d.last
				}
				d.w.Raw = d.raw[pos : pos+n : pos+n]
				d.stats.Frames++
				d.refused.forget()
				emit(d.w)
				break
			}
			d.stats.Bad++
			d.refused.add(refusal, d.raw[pos:pos+n])
			if c.hasStart {
				n = 1 // the true start may lie inside
			}
			d.discard(b[:n])
		case more, junk:
			d.discard(b[:n])
		default:
			d.stats.Bad++
			end := pos + n
			if n == 1 {
				end = d.n // the search goes on inside, but a person wants to see the whole
			}
			d.refused.add(Refusal(v-bad), d.raw[pos:end])
			d.discard(b[:n])
		}
		pos += n
	}
	if pos > 0 {
		copy(d.raw[:], d.raw[pos:d.n])
		if c.mask != 0 && c.mask != 0xFF {
			copy(d.text[:], d.text[pos:d.n])
		}
		d.n -= pos
		d.fresh = max(0, d.fresh-pos)
	}
}

// discard counts bytes that belong to no frame.
func (d *Decoder) discard(b []byte) {
	if len(d.codec.between) == 0 {
		d.stats.Discarded += uint64(len(b))
		return
	}
	for _, c := range b {
		if bytes.IndexByte(d.codec.between, c) < 0 {
			d.stats.Discarded++
		}
	}
}

// takeLine frames what has no start of its own: everything up to end is one frame, whatever its
// length, so that a line with a lost or an added byte is rejected as a whole and never read from
// its middle.
func takeLine(b, end []byte) (int, verdict) {
	i := bytes.Index(b, end)
	switch {
	case i < 0:
		return 0, more
	case i == 0:
		return len(end), junk // an empty line
	}
	return i + len(end), whole
}
