package gateway

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"time"

	"steelyard/firmware-bridge/modbus"
)

// answer brings the data bytes of a read, or the exception to refuse it with; 0 is none.
type answer func(ctx context.Context, q modbus.Question) (data []byte, exception uint8)

const (
	headerBytes = 7   // transaction, protocol, length, unit
	longestPDU  = 253 // function and data
	readBytes   = 5   // function, address, quantity
	idleLimit   = 2 * time.Minute
	frameLimit  = 2 * time.Second // for the rest of a request once it began
)

// serveModbus answers one client's requests in their order, one at a time: that is also what makes
// the clients of a line take turns. The server is our own because the library's knows no list of
// peers, is not waited for when it stops, and hangs up where an exception is due.
func serveModbus(ctx context.Context, conn net.Conn, ask answer) {
	var frame [headerBytes + longestPDU]byte
	ended := false
	defer func() {
		if !ended {
			reset(conn)
		}
	}()
	for {
		if conn.SetReadDeadline(time.Now().Add(idleLimit)) != nil {
			return
		}
		if _, err := io.ReadFull(conn, frame[:1]); err != nil {
			ended = err == io.EOF // the client's own end: it may still be taking the last answer
			return
		}
		if conn.SetReadDeadline(time.Now().Add(frameLimit)) != nil {
			return
		}
		if _, err := io.ReadFull(conn, frame[1:headerBytes]); err != nil {
			return
		}
		length := int(binary.BigEndian.Uint16(frame[4:]))
		if binary.BigEndian.Uint16(frame[2:]) != 0 || length < 2 || length > 1+longestPDU {
			return // no Modbus: where its next request begins cannot be known
		}
		pdu := frame[headerBytes : headerBytes+length-1]
		if _, err := io.ReadFull(conn, pdu); err != nil {
			return
		}
		data, exception := reply(ctx, frame[6], pdu, ask)
		if ctx.Err() != nil {
			return
		}
		out := make([]byte, 0, headerBytes+2+len(data))
		out = append(out, frame[0], frame[1], 0, 0)
		if exception != 0 {
			out = append(out, 0, 3, frame[6], pdu[0]|0x80, exception)
		} else {
			out = binary.BigEndian.AppendUint16(out, uint16(3+len(data)))
			out = append(out, frame[6], pdu[0], byte(len(data)))
			out = append(out, data...)
		}
		if conn.SetWriteDeadline(time.Now().Add(writeLimit)) != nil {
			return
		}
		if _, err := conn.Write(out); err != nil {
			return
		}
	}
}

// reply lets nothing through but well-formed reads.
func reply(ctx context.Context, unit uint8, pdu []byte, ask answer) ([]byte, uint8) {
	fc := pdu[0]
	if fc < 1 || fc > 4 {
		return nil, modbus.IllegalFunction
	}
	if len(pdu) != readBytes {
		return nil, modbus.IllegalValue
	}
	q := modbus.Question{Unit: unit, FC: fc, From: binary.BigEndian.Uint16(pdu[1:]), Count: int(binary.BigEndian.Uint16(pdu[3:]))}
	if refusal, ok := q.Check().(modbus.Exception); ok {
		return nil, refusal.Code
	}
	return ask(ctx, q)
}
