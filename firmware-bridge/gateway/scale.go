package gateway

import (
	"context"
	"encoding/binary"
	"math"
	"sync"
	"time"

	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/modbus"
	"steelyard/internal/unit"
)

// scale is an indicator as a block of registers; the package comment draws it.
type scale struct {
	unit  uint8
	base  uint16
	began time.Time     // of the heartbeat
	limit time.Duration // a frame older than this is of the past

	mu     sync.Mutex
	weight device.Weight // newest; At is zero before the first
	state  device.State  // as last reported
	frames uint32
}

// The block.
const (
	blockRegisters = 16
	blockMagic     = 0x5357
	blockVersion   = 1

	noLong = 0x80000000 // what is not there, in 32 bits
	noWord = 0xFFFF     // and in 16
)

// Bits of the state word.
const (
	bitWeight = 1 << iota
	bitStable
	bitMoving
	bitOver
	bitUnder
	bitZero
	bitNet
	bitPowerUp
	bitSilent
	bitFault
	bitError
	bitNone = 1 << 15
)

func newScale(c Registers) *scale {
	if c.Unit == 0 {
		c.Unit = 1
	}
	return &scale{unit: c.Unit, base: c.Address, began: time.Now()}
}

// Weight takes the newest frame.
func (s *scale) Weight(w device.Weight) {
	w.Raw = nil
	s.mu.Lock()
	defer s.mu.Unlock()
	s.weight = w
	s.frames++
}

// Health takes a change of the line's state.
func (s *scale) Health(h device.Health) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = h.State
}

// Scan never comes from an indicator.
func (s *scale) Scan(device.Scan) {}

// answer serves the block.
func (s *scale) answer(_ context.Context, q modbus.Question) ([]byte, uint8) {
	first := int(q.From) - int(s.base)
	switch {
	case q.Unit != s.unit:
		return nil, modbus.NoPath
	case q.FC != 3 && q.FC != 4:
		return nil, modbus.IllegalFunction
	case first < 0 || first+q.Count > blockRegisters || halved(first) || halved(first+q.Count):
		return nil, modbus.IllegalAddress
	}
	s.mu.Lock()
	block := s.block(time.Now())
	s.mu.Unlock()
	return block[2*first : 2*(first+q.Count)], 0
}

// halved reports whether a cut before register i would divide a 32-bit value.
func halved(i int) bool { return i == 5 || i == 7 || i == 13 || i == 15 }

// block builds the registers of a moment; the lock is held.
func (s *scale) block(now time.Time) []byte {
	w := s.weight
	state, age := uint16(0), uint16(noWord)
	old := true
	if !w.At.IsZero() {
		since := now.Sub(w.At)
		old = since > s.limit
		if ms := max(since.Milliseconds(), 0); ms < noWord {
			age = uint16(ms)
		}
	}
	switch {
	case s.state == device.Faulty:
		state |= bitFault
	case s.state == device.Silent || old:
		state |= bitSilent
	}
	live := !old && s.state == device.Online
	if live {
		state |= said(w)
	}
	// A tare on the display is not the load. Digits that are out of range mean nothing.
	has := live && w.HasValue && w.Kind != device.Tare && state&(bitOver|bitUnder|bitError) == 0
	digits, grams, tare := uint32(noLong), uint32(noLong), uint32(noLong)
	decimals, unitCode, kind := uint16(noWord), uint16(noWord), uint16(noWord)
	if has {
		digits, has = long(w.Value.Coef)
	}
	if has {
		decimals, unitCode, kind = uint16(w.Value.Scale), unitCodes(w.Unit), kinds(w.Kind)
		if m, err := w.Value.Mass(w.Unit); err == nil {
			grams, _ = long(int64(m))
		}
		if w.HasTare && w.Tare.Scale == w.Value.Scale {
			tare, _ = long(w.Tare.Coef)
		}
		state |= bitWeight
	} else {
		state &^= bitStable | bitMoving | bitZero | bitNet
		state |= bitNone
	}
	b := make([]byte, 0, 2*blockRegisters)
	for _, word := range []uint16{blockMagic, blockVersion, uint16(now.Sub(s.began) / time.Second), state} {
		b = binary.BigEndian.AppendUint16(b, word)
	}
	b = binary.BigEndian.AppendUint32(b, grams)
	b = binary.BigEndian.AppendUint32(b, digits)
	for _, word := range []uint16{decimals, unitCode, kind, age} {
		b = binary.BigEndian.AppendUint16(b, word)
	}
	b = binary.BigEndian.AppendUint32(b, s.frames)
	return binary.BigEndian.AppendUint32(b, tare)
}

// said is what the indicator itself states.
func said(w device.Weight) (state uint16) {
	for _, s := range []struct {
		bit uint16
		on  bool
	}{
		{bitStable, w.Stable == device.Yes},
		{bitMoving, w.Stable == device.No},
		{bitOver, w.Range == device.Over || w.Range == device.OverOrUnder},
		{bitUnder, w.Range == device.Under || w.Range == device.OverOrUnder},
		{bitZero, w.Zero == device.Yes},
		{bitNet, w.Kind == device.Net},
		{bitPowerUp, w.PowerUp == device.Yes},
		{bitError, w.Error != "" || w.Range == device.RangeError},
	} {
		if s.on {
			state |= s.bit
		}
	}
	return state
}

// long is a number in 32 bits, or what stands for none when it does not fit.
func long(n int64) (uint32, bool) {
	if n > math.MaxInt32 || n <= math.MinInt32 {
		return noLong, false
	}
	return uint32(int32(n)), true
}

func unitCodes(u unit.Unit) uint16 {
	switch u {
	case unit.G:
		return 1
	case unit.KG:
		return 2
	case unit.T:
		return 3
	case unit.LB:
		return 4
	case unit.OZ:
		return 5
	}
	return 0
}

func kinds(k device.Kind) uint16 {
	switch k {
	case device.Gross:
		return 1
	case device.Net:
		return 2
	}
	return 0
}
