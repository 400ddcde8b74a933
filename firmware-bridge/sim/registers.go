package sim

import (
	"slices"
	"sync"
)

// Registers is the image of one Modbus unit: 16-bit words, the same for FC 3 and FC 4, and for FC 1
// and FC 2 their bits (bit 0 is the lowest bit of word 0), or coils and inputs of its own.
//
// A request sees the image as it is at one moment; what a machine writes in two Updates, a
// request may see half of.
type Registers struct {
	mu sync.Mutex // guards what follows
	image
	frozen *image // what readers see instead; nil while the unit is alive
}

type image struct {
	words []uint16
	bits  [2][]bool // of FC 1 and FC 2; nil: those of the words
}

// NewRegisters makes an image of n words of zero.
func NewRegisters(n int) *Registers { return &Registers{image: image{words: make([]uint16, n)}} }

// SetBits gives the unit coils (FC 1) or discrete inputs (FC 2) of its own.
func (r *Registers) SetBits(fc uint8, bits []bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bits[fc-fcReadCoils] = bits
}

// Update changes the image in one step.
func (r *Registers) Update(change func(words []uint16)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(r.words)
}

// Freeze makes readers see the image of this moment for ever, while the machine goes on.
func (r *Registers) Freeze(on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.frozen = nil
	if on {
		r.frozen = &image{slices.Clone(r.words), r.bits} // bits are replaced, never changed
	}
}

// seen is what readers see; the lock is held.
func (r *Registers) seen() *image {
	if r.frozen != nil {
		return r.frozen
	}
	return &r.image
}

// Words reads n words; ok is false when the unit has no such registers.
func (r *Registers) Words(at, n int) (words []uint16, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.seen().words
	if at < 0 || n < 0 || at+n > len(all) {
		return nil, false
	}
	return slices.Clone(all[at : at+n]), true
}

// Bits reads n coils (FC 1) or discrete inputs (FC 2).
func (r *Registers) Bits(fc uint8, at, n int) (bits []bool, ok bool) {
	r.mu.Lock()
	own := r.seen().bits[fc-fcReadCoils]
	r.mu.Unlock()
	if own != nil {
		if at < 0 || n < 0 || at+n > len(own) {
			return nil, false
		}
		return own[at : at+n], true
	}
	words, ok := r.Words(at/16, (at+n+15)/16-at/16)
	for i := at % 16; ok && i < at%16+n; i++ {
		bits = append(bits, words[i/16]>>(i%16)&1 == 1)
	}
	return bits, ok
}

// setU32 writes a 32-bit value, high word first.
func setU32(words []uint16, at int, v uint32) {
	words[at], words[at+1] = uint16(v>>16), uint16(v)
}
