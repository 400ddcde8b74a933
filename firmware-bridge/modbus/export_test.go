package modbus

// Trust switches off what keeps late replies away, for negative controls.
func (b *Bus) Trust() { b.trusting = true }

// CRC is the checksum, for machines in tests that must compute it themselves.
func CRC(frame []byte) uint16 { return crc(frame) }

// Answer looks for a reply among bytes.
func Answer(bytes []byte, unit, fc uint8, from uint16, count int) ([]byte, bool, error) {
	return answer(bytes, request{unit: unit, fc: fc, from: from, count: count})
}

// Ask builds a request.
func Ask(unit, fc uint8, from uint16, count int) []byte {
	return ask(request{unit: unit, fc: fc, from: from, count: count})
}
