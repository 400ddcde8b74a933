package weighbridge

// checksumKind is how a checksum is formed.
type checksumKind string

// Kinds of checksum. The Toledo makers disagree on theirs, so the profile names one:
// mt7 Toledo and KERN, neg8 Flintec, sum8 Fairbanks FB2250.
const (
	noChecksum checksumKind = "none"
	xorSum     checksumKind = "xor"  // exclusive or
	sum8       checksumKind = "sum8" // low 8 bits of the sum
	neg8       checksumKind = "neg8" // 0 − sum, 8 bits
	mt7        checksumKind = "mt7"  // 0 − sum, 7 bits
)

// of computes the checksum over b.
func (k checksumKind) of(b []byte) byte {
	var sum byte
	if k == xorSum {
		for _, c := range b {
			sum ^= c
		}
		return sum
	}
	for _, c := range b {
		sum += c
	}
	switch k {
	case neg8:
		return -sum
	case mt7:
		return -sum & 0x7F
	}
	return sum
}

// Encodings of a checksum in a frame.
const (
	encodedRaw    = "raw"    // one byte
	encodedNibble = "nibble" // two characters, high first; ten to fifteen as 'A' to 'F' or as 3Ah to 3Fh
	encodedHex    = "hex"    // two hexadecimal digits of either case
)

// nibblePair reads two characters. Some devices write ten to fifteen as 3Ah to 3Fh.
func nibblePair(high, low byte) (byte, bool) {
	h, okH := nibble(high)
	l, okL := nibble(low)
	return h<<4 | l, okH && okL
}

func nibble(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '?':
		return c - '0', true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

func hexPair(high, low byte) (byte, bool) {
	h, okH := hexDigit(high)
	l, okL := hexDigit(low)
	return h<<4 | l, okH && okL
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	}
	return 0, false
}

// Holds reports whether a frame bears this checksum.
func (c Checksum) Holds(frame []byte) bool {
	m := compiledLayout{Layout: Layout{Checksum: c}, kind: checksumKind(c.Kind)}
	return m.checksumHolds(frame)
}

const upperHex = "0123456789ABCDEF"

// appendHex writes a checksum as two characters, the form that every reader accepts.
func appendHex(b []byte, sum byte) []byte {
	return append(b, upperHex[sum>>4], upperHex[sum&0x0F])
}
