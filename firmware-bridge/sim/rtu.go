package sim

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"time"
)

// Modbus function and exception codes of the Modbus Application Protocol V1.1b3.
const (
	fcReadCoils            = 1
	fcReadInputs           = 2
	fcReadHolding          = 3
	fcReadInputRegs        = 4
	fcWriteCoil            = 5
	fcWriteRegister        = 6
	fcWriteCoils           = 15
	fcWriteRegisters       = 16
	exceptionFlag          = 0x80
	illegalFunction        = 1
	illegalAddress         = 2
	illegalValue           = 3
	mostRegisters          = 125
	mostBits               = 2000
	longestRTU             = 256
	requestRTU             = 8 // unit, function, address, quantity, CRC
	frameGap               = 50 * time.Millisecond
	broadcast        uint8 = 0
)

// ModbusRTU is a serial line with Modbus slaves on it. It answers FC 1 to 4, refuses the other
// functions with exception 01, and keeps silent for units it has not got and for bad CRCs.
type ModbusRTU struct {
	faulty
	line  Line
	noise *rand.Rand // of Run's goroutine
}

// NewModbusRTU puts units on a line. Run serves them.
func NewModbusRTU(line Line, units Units, seed uint64) *ModbusRTU {
	return &ModbusRTU{faulty: newFaulty(units), line: line, noise: rand.New(rand.NewPCG(seed, 2))}
}

// Run serves until the line is closed; ctx only cuts short the delays of faults.
func (m *ModbusRTU) Run(ctx context.Context) {
	var pending []byte
	var last time.Time
	buf := make([]byte, longestRTU)
	for {
		n, err := m.line.Read(buf)
		if err != nil {
			return
		}
		// Half a request and then silence was noise. The 3.5 characters of the specification
		// cannot be seen through an operating system; masters wait longer before they try again.
		now := time.Now()
		if now.Sub(last) > frameGap {
			pending = pending[:0]
		}
		last = now
		pending = append(pending, buf[:n]...)
		for {
			request, rest := cutRequest(pending)
			pending = rest
			if request == nil {
				break
			}
			m.serve(ctx, request)
		}
		if len(pending) > longestRTU {
			pending = pending[:0]
		}
	}
}

// cutRequest finds the first whole request, and returns what comes after it. Bytes before it were
// noise. With no request it keeps everything: the rest of one may be under way.
func cutRequest(b []byte) (request, rest []byte) {
	for at := 0; at+4 <= len(b); at++ {
		if n := requestLength(b[at:]); n > 0 && at+n <= len(b) && goodCRC(b[at:at+n]) {
			return b[at : at+n], b[at+n:]
		}
	}
	// A function of unknown length ends where its CRC is good.
	for n := 4; n <= len(b) && requestLength(b) == 0; n++ {
		if goodCRC(b[:n]) {
			return b[:n], b[n:]
		}
	}
	return nil, b
}

// requestLength is the length of the request that begins here, 0 when the function is unknown.
func requestLength(b []byte) int {
	switch b[1] {
	case fcReadCoils, fcReadInputs, fcReadHolding, fcReadInputRegs, fcWriteCoil, fcWriteRegister:
		return requestRTU
	case fcWriteCoils, fcWriteRegisters:
		if len(b) < 7 {
			return 7
		}
		return 9 + int(b[6])
	}
	return 0
}

func (m *ModbusRTU) serve(ctx context.Context, request []byte) {
	unit, pdu := request[0], request[1:len(request)-2]
	registers, ok := m.units[unit]
	if unit == broadcast || !ok {
		return
	}
	fault := m.take(unit)
	reply := answer(registers, pdu)
	switch fault.Kind {
	case DroppedReply:
		return
	case LateReply:
		fault.pause(ctx.Done())
	case WrongUnit:
		unit++
	case Exception:
		reply = []byte{pdu[0] | exceptionFlag, fault.Code}
	case ResetLine:
		_ = m.line.Unplug()
		fault.pause(ctx.Done())
		_ = m.line.Replug()
		return
	}
	frame := appendCRC(append([]byte{unit}, reply...))
	switch fault.Kind {
	case HalfReply:
		frame = frame[:len(frame)/2]
	case GarbageReply:
		scramble(frame, m.noise)
	case SlowReply:
		for len(frame) > 1 && fault.pause(ctx.Done()) {
			_, _ = m.line.Write(frame[:1])
			frame = frame[1:]
		}
	}
	_, _ = m.line.Write(frame)
}

// pause waits, and reports whether the wait was not cut short.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func scramble(b []byte, r *rand.Rand) {
	for i := range b {
		b[i] = byte(r.Uint32())
	}
}

// answer is the reply of a unit to a request, both without unit id and check.
func answer(r *Registers, pdu []byte) []byte {
	fc := pdu[0]
	refuse := func(code byte) []byte { return []byte{fc | exceptionFlag, code} }
	if fc < fcReadCoils || fc > fcReadInputRegs || len(pdu) != 5 {
		return refuse(illegalFunction)
	}
	at, n := int(binary.BigEndian.Uint16(pdu[1:])), int(binary.BigEndian.Uint16(pdu[3:]))
	if fc <= fcReadInputs {
		if n < 1 || n > mostBits {
			return refuse(illegalValue)
		}
		bits, ok := r.Bits(fc, at, n)
		if !ok {
			return refuse(illegalAddress)
		}
		reply := make([]byte, 2+(n+7)/8)
		reply[0], reply[1] = fc, byte((n+7)/8)
		for i, set := range bits {
			if set {
				reply[2+i/8] |= 1 << (i % 8)
			}
		}
		return reply
	}
	if n < 1 || n > mostRegisters {
		return refuse(illegalValue)
	}
	words, ok := r.Words(at, n)
	if !ok {
		return refuse(illegalAddress)
	}
	reply := []byte{fc, byte(2 * n)}
	for _, w := range words {
		reply = binary.BigEndian.AppendUint16(reply, w)
	}
	return reply
}

// crc16 is the CRC of Modbus over serial line V1.02: start FFFFh, polynomial A001h reflected.
func crc16(b []byte) uint16 {
	crc := uint16(0xFFFF)
	for _, c := range b {
		crc ^= uint16(c)
		for range 8 {
			low := crc & 1
			crc >>= 1
			if low == 1 {
				crc ^= 0xA001
			}
		}
	}
	return crc
}

func appendCRC(b []byte) []byte { return binary.LittleEndian.AppendUint16(b, crc16(b)) }

func goodCRC(b []byte) bool {
	return binary.LittleEndian.Uint16(b[len(b)-2:]) == crc16(b[:len(b)-2])
}
