package bench

import (
	"bytes"
	"slices"

	"steelyard/firmware-bridge/weighbridge"
)

// shape is where the frames of an unknown format begin and end.
type shape struct {
	length int
	start  []byte // the byte with which each begins; empty: it is known by its end only
	end    []byte // with which each ends; empty: the next start proves the end
}

// What a shape is searched among.
const (
	leastPeriod = 4
	mostPeriod  = 64
	likeness    = 600 // permille of the bytes that are the same one period later; a weight that moves changes few
)

// shapeOf finds the frames of a stream: bytes that come again after a fixed number, and a byte that can begin
// or end them. ok is false when nothing comes again.
func shapeOf(b []byte) (s shape, ok bool) {
	if s.length = periodOf(b); s.length == 0 {
		return s, false
	}
	best, at := -1, 0
	for phase := range s.length {
		if score := anchors(b, phase, s.length); score > best {
			best, at = score, phase
		}
	}
	frames := slices.Collect(slices.Chunk(b[at:at+(len(b)-at)/s.length*s.length], s.length))
	if first := frames[0][0]; steady(frames, 0) && (!text(first) || first == '=') {
		s.start = []byte{first}
	}
	for _, end := range [][]byte{[]byte("\r\n"), []byte("\n\r"), {0x03}, {'\r'}, {'\n'}} {
		if most(frames, func(f []byte) bool { return bytes.HasSuffix(f, end) }) {
			s.end = end
			break
		}
	}
	if s.start == nil && s.end == nil {
		s.start = []byte{frames[0][0]}
	}
	return s, true
}

// periodOf is the shortest distance at which nearly everything comes again; 0 when nothing does.
func periodOf(b []byte) int {
	best, bestAt := 0, 0
	for p := leastPeriod; p <= min(mostPeriod, len(b)/leastFrames); p++ {
		same := 0
		for i := range len(b) - p {
			if b[i] == b[i+p] {
				same++
			}
		}
		// A multiple of the period is as good as the period, so it has to be better by more than chance.
		if share := 1000 * same / (len(b) - p); share > best+best/50+5 {
			best, bestAt = share, p
		}
	}
	if best < likeness {
		return 0
	}
	return bestAt
}

// anchors says how well frames begin at this phase.
func anchors(b []byte, phase, length int) (score int) {
	frames := slices.Collect(slices.Chunk(b[phase:phase+(len(b)-phase)/length*length], length))
	if len(frames) == 0 {
		return -1
	}
	switch first := frames[0][0]; {
	case !steady(frames, 0):
	case first == 0x02:
		score += 12
	case first == '=' || !text(first) && first != '\r' && first != '\n' && first != 0x03 && bytes.Count(frames[0], frames[0][:1]) == 1:
		score += 6
	}
	ends := func(suffix string) bool {
		return most(frames, func(f []byte) bool { return bytes.HasSuffix(f, []byte(suffix)) })
	}
	switch {
	case ends("\r\n"), ends("\n\r"):
		score += 9
	case ends("\x03"):
		score += 6
	case ends("\r"), ends("\n"):
		score += 5
	}
	return score
}

func text(c byte) bool { return c >= ' ' && c <= '~' }

// most reports whether nearly all frames are so; the rest are torn ones.
func most(frames [][]byte, is func([]byte) bool) bool {
	n := 0
	for _, f := range frames {
		if is(f) {
			n++
		}
	}
	return 10*n >= 8*len(frames)
}

// steady reports whether a byte is the same in nearly all frames.
func steady(frames [][]byte, i int) bool {
	return most(frames, func(f []byte) bool { return f[i] == frames[0][i] })
}

// cut returns the whole frames of a stream; what is torn is passed over.
func (s shape) cut(b []byte) (frames [][]byte) {
	for i := 0; i+s.length <= len(b); {
		f := b[i : i+s.length]
		next := b[i+s.length:]
		proven := len(s.end) > 0 || len(next) == 0 || bytes.HasPrefix(next, s.start)
		if !bytes.HasPrefix(f, s.start) || !bytes.HasSuffix(f, s.end) || !proven {
			i++
			continue
		}
		frames = append(frames, f)
		i += s.length
	}
	return frames
}

// frameLayout is the layout of the shape alone.
func (s shape) frameLayout() weighbridge.Layout {
	return weighbridge.Layout{Start: s.start, End: s.end, Length: s.length, NextStartEnds: len(s.end) == 0}
}
