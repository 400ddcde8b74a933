package journal

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"

	"steelyard/internal/chain"
	"steelyard/internal/wire"
)

// A segment is a header and frames, nothing between them and nothing after them. Whole numbers
// are big-endian. These bytes are on disk at the sites: do not change them, raise the format
// version instead. docs/journal-format.md draws the same boxes with their reasons.
//
//	    0                8               16               24               32
//	  0 ┌────────────────┬───────────────┴────────────────┬────────────────┐
//	    │ magic, version │ journal id, 128 random bits    │ generation     │
//	 32 ├────────────────┼────────────────┬───────────────┴────────────────┤
//	    │ segment number │ first number   │ hash of the entry before the   │
//	 64 ├────────────────┴────────────────┼────────────────┬───────────────┤
//	    │ … first one, 32 bytes           │ segment before │ its bytes     │
//	 96 ├──┬──┬───────────────────────────┴────────────────┴───────────────┤
//	    │s │l │ site, l bytes, the rest zero (40)                          │
//	138 ├──┴──┴────────────────────────────────────────────────┬───────────┤
//	    │ zero                                                 │ CRC-32C   │
//	192 └──────────────────────────────────────────────────────┴───────────┘
//	    frame, frame, frame, …
//
//	    0        4        8        12                     12 + length
//	    ┌────────┬────────┬────────┬──────────────────────┐
//	    │ mark   │ length │ CRC-32C│ entry line           │
//	    └────────┴────────┴────────┴──────────────────────┘
//
// The frame's CRC covers length and line. No byte of the mark can stand in a line, because lines
// are UTF-8 and 0xF5 and 0xFF never occur in it: whatever is damaged, reading goes on at the next
// mark.
const (
	headerMagic   = "STLYARD"
	formatVersion = 1
	headerSize    = 192
	frameSize     = 12 // before the line
	frameMark     = "\xf5sy\xff"
	maxFrame      = frameSize + wire.MaxLine
	segmentSuffix = ".seg"
	receiptName   = "receipt"
	lockName      = "lock"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// header says where a segment stands in its journal. Its word about the segment before it is
// final: what lies behind before's bytes there belongs to an append that was never acknowledged.
type header struct {
	journal     string
	generation  uint64 // 1 for the first journal of a directory, one more for each after it
	segment     uint64 // number of this segment; gaps are segments that were never used
	first       uint64 // number of the first entry here
	prev        chain.Hash
	before      uint64 // number of the segment that was written before; 0: none
	beforeBytes int64  // how much of that one counts
	stream      wire.Stream
	site        string
}

func (h header) encode() []byte {
	b := make([]byte, headerSize)
	copy(b, headerMagic)
	b[7] = formatVersion
	id, err := hex.DecodeString(h.journal)
	if err != nil || len(id) != 16 {
		panic("journal: header with the id " + h.journal) // ids are drawn or checked before
	}
	copy(b[8:], id)
	binary.BigEndian.PutUint64(b[24:], h.generation)
	binary.BigEndian.PutUint64(b[32:], h.segment)
	binary.BigEndian.PutUint64(b[40:], h.first)
	copy(b[48:], h.prev[:])
	binary.BigEndian.PutUint64(b[80:], h.before)
	binary.BigEndian.PutUint64(b[88:], uint64(h.beforeBytes))
	b[96] = h.stream[0]
	b[97] = byte(len(h.site))
	copy(b[98:138], h.site)
	binary.BigEndian.PutUint32(b[headerSize-4:], crc32.Checksum(b[:headerSize-4], castagnoli))
	return b
}

// errHeader says that a header is damaged: the segment's frames are read without it.
var errHeader = errors.New("header damaged")

// errVersion says that a segment was written by newer software. It is not damage: reading it by
// this version's rules could give a wrong weight.
var errVersion = errors.New("was written by a newer version: update this software")

func decodeHeader(b []byte) (h header, err error) {
	if len(b) < headerSize || string(b[:7]) != headerMagic ||
		crc32.Checksum(b[:headerSize-4], castagnoli) != binary.BigEndian.Uint32(b[headerSize-4:]) {
		return h, errHeader
	}
	if b[7] != formatVersion {
		return h, fmt.Errorf("format %d %w", b[7], errVersion)
	}
	h.journal = hex.EncodeToString(b[8:24])
	h.generation = binary.BigEndian.Uint64(b[24:])
	h.segment = binary.BigEndian.Uint64(b[32:])
	h.first = binary.BigEndian.Uint64(b[40:])
	copy(h.prev[:], b[48:80])
	h.before = binary.BigEndian.Uint64(b[80:])
	h.beforeBytes = int64(binary.BigEndian.Uint64(b[88:]))
	switch b[96] {
	case 'r':
		h.stream = wire.Records
	case 's':
		h.stream = wire.Samples
	}
	h.site = string(b[98 : 98+min(int(b[97]), wire.MaxSlug)])
	if h.first == 0 || h.stream == "" || wire.CheckSlug("site", h.site) != nil {
		return header{}, errHeader
	}
	return h, nil
}

// appendFrame adds the frame of a line.
func appendFrame(b, line []byte) []byte {
	at := len(b)
	b = append(b, frameMark...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(line)))
	sum := crc32.Update(crc32.Checksum(b[at+4:], castagnoli), castagnoli, line)
	b = binary.BigEndian.AppendUint32(b, sum)
	return append(b, line...)
}

// frameLength reads how long the frame that begins b says it is; 0 when no frame begins there.
func frameLength(b []byte) int {
	if len(b) < frameSize || string(b[:4]) != frameMark {
		return 0
	}
	n := binary.BigEndian.Uint32(b[4:])
	if n == 0 || n > wire.MaxLine {
		return 0
	}
	return frameSize + int(n)
}

// frameLine returns the line of a whole frame, if its checksum holds.
func frameLine(frame []byte) ([]byte, bool) {
	sum := crc32.Update(crc32.Checksum(frame[4:8], castagnoli), castagnoli, frame[frameSize:])
	return frame[frameSize:], sum == binary.BigEndian.Uint32(frame[8:])
}

// segmentName is the file name of a segment.
func segmentName(n uint64) string { return fmt.Sprintf("%012d%s", n, segmentSuffix) }

// segmentNumber reads what segmentName writes.
func segmentNumber(name string) (n uint64, ok bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(digits) < 12 || len(digits) > 18 {
		return 0, false
	}
	for _, c := range []byte(digits) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, n > 0 && segmentName(n) == name
}

// unfinished reports whether the bytes behind the last good frame can be the rest of a write that
// was cut off by a crash, and so of an append that was never acknowledged. at is their offset in
// the file, and no sound frame that follows is among them. A cut-off write leaves a frame that ends early, or sectors that were never written and
// read as zeros. Bytes that look like neither may be an acknowledged entry that was damaged later.
func unfinished(tail []byte, at int64) bool {
	if len(tail) < frameSize {
		head := tail[:min(len(frameMark), len(tail))]
		return strings.HasPrefix(frameMark, string(head)) || zeroSector(tail, at)
	}
	n := frameLength(tail)
	if n > len(tail) {
		// A damaged length may only seem to reach beyond the end. The line itself tells: when it
		// stands there whole, the write was not cut off.
		_, err := wire.ParseEntry(tail[frameSize:])
		return err != nil
	}
	if n > 0 {
		tail = tail[:n]
	}
	return zeroSector(tail[:min(len(tail), maxFrame)], at)
}

// sector is the unit in which storage loses what it was writing.
const sector = 512

// zeroSector reports whether zeros reach to the end of a sector or of b, two of them at least: a
// single zero can be one damaged byte.
func zeroSector(b []byte, at int64) bool {
	run := 0
	for i, c := range b {
		if c != 0 {
			run = 0
			continue
		}
		run++
		if edge := at + int64(i) + 1; run >= 2 && (edge%sector == 0 || i == len(b)-1) {
			return true
		}
	}
	return false
}

// nextMark finds the next frame mark in b from index from on; -1: none.
func nextMark(b []byte, from int) int {
	if from >= len(b) {
		return -1
	}
	i := bytes.Index(b[from:], []byte(frameMark))
	if i < 0 {
		return -1
	}
	return from + i
}
