package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/klauspost/compress/zstd"

	"steelyard/internal/chain"
)

// Header is the first line of a batch. The signature covers every other field and, through Head,
// every byte of every entry.
type Header struct {
	V       int        `json:"v"`
	Site    string     `json:"site"`
	Journal string     `json:"journal"`
	Stream  Stream     `json:"stream"`
	First   uint64     `json:"first"` // number of the first entry
	Last    uint64     `json:"last"`  // number of the last entry
	Prev    chain.Hash `json:"prev"`  // what the first entry follows
	Head    chain.Hash `json:"head"`  // hash of the last entry
	Gap     uint64     `json:"gap"`   // 0, or: numbers Gap to First−1 are gone from the edge for good
	Reason  string     `json:"reason"`
	Sig     string     `json:"sig"` // Ed25519 by the edge's key over signed()
}

// signed is the text under the signature: one field a line, so that no two headers share it.
func (h Header) signed() string {
	return fmt.Sprintf("steelyard batch %d\n%s\n%s\n%s\n%d\n%d\n%s\n%s\n%d\n%s\n",
		h.V, h.Site, h.Journal, h.Stream, h.First, h.Last, h.Prev, h.Head, h.Gap, h.Reason)
}

// Signed reports whether the header carries the key's signature.
func (h Header) Signed(by chain.PublicKey) bool { return by.Verify(h.signed(), h.Sig) }

// Batch is a run of entries of one journal. Lines are the exact bytes; Entries the same, parsed.
type Batch struct {
	Header
	Entries []Entry
	Lines   [][]byte
}

// Hole tells a batch's receiver which numbers before its first entry are gone, and why.
type Hole struct {
	From   uint64 // 0: none
	Reason string // "thinned" or "damaged"
}

// EncodeBatch signs and packs consecutive entry lines. prev is the hash of the entry before the
// first one.
func EncodeBatch(site, journal string, stream Stream, first uint64, prev chain.Hash, lines [][]byte, hole Hole, key chain.Key) ([]byte, error) {
	if len(lines) == 0 || len(lines) > MaxEntries {
		return nil, fmt.Errorf("batch of %d entries: 1 to %d fit", len(lines), MaxEntries)
	}
	h := Header{V: Version, Site: site, Journal: journal, Stream: stream,
		First: first, Last: first + uint64(len(lines)) - 1, Prev: prev, Head: chain.Of(lines[len(lines)-1]),
		Gap: hole.From, Reason: hole.Reason}
	h.Sig = key.Sign(h.signed())
	head, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	plain := append(head, '\n')
	for _, line := range lines {
		plain = append(append(plain, line...), '\n')
	}
	if len(plain) > MaxBatch {
		return nil, fmt.Errorf("batch of %d bytes: more than %d", len(plain), MaxBatch)
	}
	return pack(plain), nil
}

// pack compresses what is large enough to gain by it.
func pack(plain []byte) []byte {
	if len(plain) <= CompressAt {
		return plain
	}
	return packer.EncodeAll(plain, nil)
}

// packer and unpacker are made once: each takes longer to make than to use. Both serve many goroutines
// at a time and keep nothing of one payload for the next.
var packer, unpacker = newPacker(), newUnpacker()

func newPacker() *zstd.Encoder {
	w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(2), zstd.WithWindowSize(256<<10), zstd.WithLowerEncoderMem(true))
	if err != nil { // constants only
		panic(err)
	}
	w.EncodeAll(nil, nil) // what it makes at its first use belongs to no test's bubble
	return w
}

func newUnpacker() *zstd.Decoder {
	r, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(MaxBatch), zstd.WithDecoderMaxWindow(1<<20))
	if err != nil {
		panic(err)
	}
	return r
}

// ErrNewer is the error of a batch of a version that only newer software reads.
var ErrNewer = errors.New("update the cloud first")

// MaxHeader bounds the bytes of a header line.
const MaxHeader = 1 << 10

// DecodeBatch unpacks and checks a batch against itself: limits, form, numbers, chain from the
// header's Prev to its Head. Who signed it, and whether it follows what is known, is the
// receiver's to check. The batch keeps no reference to payload.
func DecodeBatch(payload []byte) (*Batch, error) {
	plain, err := unpack(payload)
	if err != nil {
		return nil, fmt.Errorf("batch: %w", err)
	}
	headLine, rest, ok := bytes.Cut(plain, []byte("\n"))
	if !ok || len(headLine) > MaxHeader {
		return nil, errors.New("batch: no header line")
	}
	b := new(Batch)
	dec := json.NewDecoder(bytes.NewReader(headLine))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&b.Header); err != nil {
		if v := versionOf(headLine); v > Version {
			return nil, fmt.Errorf("batch: version %d is newer than this software's %d: %w", v, Version, ErrNewer)
		}
		return nil, fmt.Errorf("batch header: %v", err)
	}
	if again, err := json.Marshal(b.Header); err != nil || !bytes.Equal(again, headLine) {
		return nil, errors.New("batch header: not in canonical form")
	}
	if err := b.Header.check(); err != nil {
		return nil, err
	}
	last := chain.Link{Journal: b.Journal, N: b.First - 1, Hash: b.Prev}
	before := &Entry{Site: b.Site, Journal: b.Journal}
	promised := int(b.Last - b.First + 1) // the header's check bounds it
	b.Entries, b.Lines = make([]Entry, 0, promised), make([][]byte, 0, promised)
	for line := range bytes.Lines(rest) {
		line, ended := bytes.CutSuffix(line, []byte("\n"))
		if !ended {
			return nil, fmt.Errorf("batch: cut off within entry %d", last.N+1)
		}
		if len(b.Entries) == MaxEntries {
			return nil, fmt.Errorf("batch: more than %d entries", MaxEntries)
		}
		e, err := parseEntry(line, before)
		if err != nil {
			return nil, fmt.Errorf("batch: entry %d: %w", last.N+1, err)
		}
		if e.Site != b.Site {
			return nil, fmt.Errorf("batch of site %s: entry %d is of site %s", b.Site, e.N, e.Site)
		}
		link := e.Link(line)
		if err := chain.Follows(last, link); err != nil {
			return nil, fmt.Errorf("batch: %w", err)
		}
		b.Entries, b.Lines, last = append(b.Entries, e), append(b.Lines, line), link
		before = &b.Entries[len(b.Entries)-1]
	}
	if last.N != b.Last || last.Hash != b.Head {
		return nil, fmt.Errorf("batch: header promises entries %d to %d with head %.12s…, found up to %d with %.12s…", b.First, b.Last, b.Head, last.N, last.Hash)
	}
	return b, nil
}

func (h Header) check() error {
	switch {
	case h.V > Version:
		return fmt.Errorf("batch: version %d is newer than this software's %d: %w", h.V, Version, ErrNewer)
	case h.V != Version:
		return fmt.Errorf("batch: version %d is not known", h.V)
	case h.First == 0 || h.Last < h.First || h.Last-h.First >= MaxEntries:
		return fmt.Errorf("batch: entries %d to %d", h.First, h.Last)
	case h.Stream != Records && h.Stream != Samples:
		return fmt.Errorf("batch: stream %.20q is not known", h.Stream)
	case !IsJournal(h.Journal):
		return fmt.Errorf("batch: journal id %.40q", h.Journal)
	case h.Gap == 0 && h.Reason != "", h.Gap >= h.First && h.Gap != 0:
		return fmt.Errorf("batch: gap from %d before entry %d, reason %.20q", h.Gap, h.First, h.Reason)
	case h.Gap != 0 && h.Reason != "thinned" && h.Reason != "damaged":
		return fmt.Errorf("batch: gap for the unknown reason %.20q", h.Reason)
	}
	return CheckSlug("site", h.Site)
}

// versionOf reads the version of a header this version can't read; 0 when there is none.
func versionOf(headLine []byte) int {
	var v struct {
		V int `json:"v"`
	}
	if json.Unmarshal(headLine, &v) != nil {
		return 0
	}
	return v.V
}

var zstdMagic = string([]byte{0x28, 0xB5, 0x2F, 0xFD})

// unpack returns what pack was given. The limit holds for what comes out, whatever a compressed
// payload claims of itself.
func unpack(payload []byte) ([]byte, error) {
	if len(payload) > MaxBatch {
		return nil, fmt.Errorf("%d bytes: more than %d", len(payload), MaxBatch)
	}
	if len(payload) == 0 {
		return nil, errors.New("empty")
	}
	if !strings.HasPrefix(string(payload[:min(4, len(payload))]), zstdMagic) {
		return bytes.Clone(payload), nil
	}
	plain, err := unpacker.DecodeAll(payload, nil)
	if err != nil {
		return nil, fmt.Errorf("compressed payload: %w", err)
	}
	return plain, nil
}
