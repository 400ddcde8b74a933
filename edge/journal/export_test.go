package journal

import (
	"encoding/binary"
	"hash/crc32"
)

// The seam of the fault tests.
type (
	Filesystem = filesystem
	File       = file
)

// OpenOn opens a journal on another disk.
func OpenOn(disk Filesystem, opt Options) (*Journal, error) { return open(disk, opt) }

// Frame is the frame of a line.
func Frame(line []byte) []byte { return appendFrame(nil, line) }

// SealHeader makes the header's checksum right again.
func SealHeader(segment []byte) {
	binary.BigEndian.PutUint32(segment[headerSize-4:], crc32.Checksum(segment[:headerSize-4], castagnoli))
}
