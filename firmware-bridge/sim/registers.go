package sim

import "sync"

// Registers is the image of one Modbus unit: 16-bit words, the same for FC 3 and FC 4, and their
// bits for FC 1 and FC 2 (bit 0 is the lowest bit of word 0).
//
// A request sees the image as it is at one moment; what a machine writes in two Updates, a
// request may see half of.
type Registers struct {
	mu     sync.Mutex // guards what follows
	words  []uint16
	frozen []uint16 // what readers see instead; nil while the unit is alive
}

// NewRegisters makes an image of n words of zero.
func NewRegisters(n int) *Registers { return &Registers{words: make([]uint16, n)} }

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
		r.frozen = append([]uint16{}, r.words...)
	}
}

// Words reads n words; ok is false when the unit has no such registers.
func (r *Registers) Words(at, n int) (words []uint16, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := r.words
	if r.frozen != nil {
		seen = r.frozen
	}
	if at < 0 || n < 0 || at+n > len(seen) {
		return nil, false
	}
	return append([]uint16{}, seen[at:at+n]...), true
}

// Bits reads n bits.
func (r *Registers) Bits(at, n int) (bits []bool, ok bool) {
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
