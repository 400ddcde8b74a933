package bench

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"steelyard/firmware-bridge/modbus"
)

// The names under which decode takes Modbus frames apart without a profile.
const (
	rtuFrames = "modbus-crc"
	tcpFrames = "modbus-tcp"
)

func withCRC(b []byte) []byte {
	return binary.LittleEndian.AppendUint16(b[:len(b):len(b)], modbus.CRC(b))
}

// requestBody is a read without its CRC.
func requestBody(unit, fc uint8, from uint16, count int) []byte {
	b := binary.BigEndian.AppendUint16([]byte{unit, fc}, from)
	return binary.BigEndian.AppendUint16(b, uint16(count))
}

// headerMBAP is the length of a TCP header without the unit id.
const headerMBAP = 6

// fromTCP cuts the header off; false when the length in it is not the frame's.
func fromTCP(b []byte) ([]byte, bool) {
	if len(b) < headerMBAP+2 || b[2] != 0 || b[3] != 0 || int(binary.BigEndian.Uint16(b[4:])) != len(b)-headerMBAP {
		return nil, false
	}
	return b[headerMBAP:], true
}

// fromRTU cuts the CRC off; false when it is wrong.
func fromRTU(b []byte) ([]byte, bool) {
	if len(b) < 4 || modbus.CRC(b[:len(b)-2]) != binary.LittleEndian.Uint16(b[len(b)-2:]) {
		return nil, false
	}
	return b[:len(b)-2], true
}

// bare returns unit, function and data of a frame that has a CRC, a TCP header or neither, as in the
// tests of a profile. Without a check the length must be right.
func bare(b []byte) ([]byte, bool) {
	if body, ok := fromRTU(b); ok {
		return body, true
	}
	if body, ok := fromTCP(b); ok {
		return body, true
	}
	switch {
	case len(b) == 3 && b[1]&0x80 != 0:
		return b, true
	case len(b) < 4 || b[1] < 1 || b[1] > 4:
		return nil, false
	}
	return b, len(b) == 6 || len(b) == 3+int(b[2])
}

// answers reports whether the reply has the shape that the request asks for.
func answers(request, reply []byte) bool {
	return len(request) == 6 && request[0] == reply[0] && request[1] == reply[1] &&
		dataBytes(request[1], int(binary.BigEndian.Uint16(request[4:]))) == int(reply[2])
}

// dataBytes is how many bytes so many registers, coils or inputs have in a reply.
func dataBytes(fc uint8, count int) int {
	if fc <= 2 {
		return (count + 7) / 8
	}
	return 2 * count
}

func describeRead(body []byte) string {
	return fmt.Sprintf("read %d %s from %d", binary.BigEndian.Uint16(body[4:]), tableName(body[1]), binary.BigEndian.Uint16(body[2:]))
}

// tableName names what a function reads.
func tableName(fc uint8) string {
	return [...]string{1: "coils", 2: "discrete inputs", 3: "holding registers", 4: "input registers"}[fc]
}

// modbusJSON is a Modbus frame in words.
type modbusJSON struct {
	Valid     bool     `json:"valid"` // the CRC, or the length of the TCP header, held
	Line      int      `json:"line"`  // of the input
	Unit      uint8    `json:"unit"`
	Function  uint8    `json:"function"`
	Exception *uint8   `json:"exception"`
	Registers []uint16 `json:"registers"` // of a reply; of one with coils or inputs each bit, to the end of its last byte
	Meaning   string   `json:"meaning"`
	Raw       string   `json:"raw"`
	Why       string   `json:"why,omitempty"`
}

// takeApart says what can be said of a frame without knowing the machine.
func takeApart(b []byte, overTCP bool) modbusJSON {
	w := modbusJSON{Raw: hex.EncodeToString(b), Registers: []uint16{}}
	cut, why := fromRTU, "the CRC is not right"
	if overTCP {
		cut, why = fromTCP, "the header's protocol or length is not right"
	}
	body, ok := cut(b)
	if !ok {
		w.Why = why
		return w
	}
	w.Valid, w.Unit, w.Function = true, body[0], body[1]&0x7F
	data := body[2:]
	switch {
	case body[1]&0x80 != 0 && len(data) == 1:
		w.Exception = new(data[0])
		w.Meaning = modbus.Exception{Code: data[0]}.Error()
	case w.Function >= 1 && w.Function <= 4 && len(data) == 4 && !(w.Function <= 2 && data[0] == 3): // a reply of three bytes of bits looks alike
		w.Meaning = describeRead(body)
	case w.Function >= 1 && w.Function <= 4 && len(data) > 1 && int(data[0]) == len(data)-1 && (w.Function <= 2 || len(data)%2 == 1):
		count := 8 * int(data[0])
		if w.Function > 2 {
			count /= 16
		}
		w.Registers = modbus.Question{FC: w.Function, Count: count}.Words(data[1:])
		w.Meaning = fmt.Sprintf("reply of %d %s", count, tableName(w.Function))
	case w.Function == 5 && len(data) == 4:
		w.Meaning = fmt.Sprintf("write coil %d; this program never sends it", binary.BigEndian.Uint16(data))
	case w.Function == 6 && len(data) == 4:
		w.Meaning = fmt.Sprintf("write register %d: %d; this program never sends it", binary.BigEndian.Uint16(data), binary.BigEndian.Uint16(data[2:]))
	case w.Function == 16 && len(data) >= 4:
		w.Meaning = fmt.Sprintf("write %d registers from %d; this program never sends it", binary.BigEndian.Uint16(data[2:]), binary.BigEndian.Uint16(data))
	default:
		w.Meaning = fmt.Sprintf("function %d with %d bytes", w.Function, len(data))
	}
	return w
}
