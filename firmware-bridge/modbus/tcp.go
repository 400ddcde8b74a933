package modbus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	library "github.com/simonvetter/modbus"
)

// tcpLine speaks Modbus TCP through the library. Its client is never used before Open succeeded
// nor after an error that is not an exception: a time-out within a frame leaves its stream
// misaligned, and only a new connection is certain to be in order.
type tcpLine struct {
	client *library.ModbusClient
}

// openTCP connects. The library bounds the dial to five seconds and cannot be interrupted; a
// shutdown during a dial to a host that swallows packets waits that long.
func openTCP(address string, timeout time.Duration) (conn, error) {
	client, err := library.NewClient(&library.ClientConfiguration{
		URL:     "tcp://" + address,
		Timeout: timeout,
		Logger:  log.New(io.Discard, "", 0), // without one the library writes to stdout
	})
	if err != nil {
		return nil, err
	}
	if err := client.Open(); err != nil {
		return nil, fmt.Errorf("%w; check the machine's power, the network and the port", err)
	}
	return &tcpLine{client: client}, nil
}

func (l *tcpLine) close() {
	// The connection is given up; whether the last packet reached the peer changes nothing.
	_ = l.client.Close()
}

// read runs one request. The unit id is a setting of the client, which is safe because one
// goroutine owns it. The library checks transaction, unit, function and byte count.
func (l *tcpLine) read(_ context.Context, r request) ([]byte, time.Time, error) {
	if err := l.client.SetUnitId(r.unit); err != nil {
		return nil, time.Time{}, err
	}
	data, err := l.ask(r)
	at := time.Now()
	if err != nil {
		return nil, at, classify(err)
	}
	if len(data) != r.bytes() {
		return nil, at, fmt.Errorf("reply of %d bytes for %d", len(data), r.bytes())
	}
	return data, at, nil
}

func (l *tcpLine) ask(r request) ([]byte, error) {
	switch r.fc {
	case 1:
		bits, err := l.client.ReadCoils(r.from, uint16(r.count))
		return packed(bits), err
	case 2:
		bits, err := l.client.ReadDiscreteInputs(r.from, uint16(r.count))
		return packed(bits), err
	case 4:
		return l.client.ReadRawBytes(r.from, uint16(r.bytes()), library.INPUT_REGISTER)
	}
	return l.client.ReadRawBytes(r.from, uint16(r.bytes()), library.HOLDING_REGISTER)
}

// packed puts bits into bytes as they were on the wire: the first is the lowest of the first byte.
func packed(bits []bool) []byte {
	data := make([]byte, (len(bits)+7)/8)
	for i, b := range bits {
		if b {
			data[i/8] |= 1 << (i % 8)
		}
	}
	return data
}

// classify gives the library's errors their class.
func classify(err error) error {
	codes := map[error]uint8{
		library.ErrIllegalFunction: IllegalFunction, library.ErrIllegalDataAddress: IllegalAddress,
		library.ErrIllegalDataValue: IllegalValue, library.ErrServerDeviceFailure: 0x04,
		library.ErrAcknowledge: atWork, library.ErrServerDeviceBusy: Busy, library.ErrMemoryParityError: memoryParity,
		library.ErrGWPathUnavailable: NoPath, library.ErrGWTargetFailedToRespond: NoAnswer,
	}
	if word, ok := errors.AsType[library.Error](err); ok {
		if code, ok := codes[word]; ok {
			return Exception{code}
		}
		if word == library.ErrRequestTimedOut {
			return errSilentTCP
		}
		return fmt.Errorf("what came is no answer to this question: %w", err)
	}
	var code uint8
	if n, _ := fmt.Sscanf(err.Error(), "unknown exception code (%d)", &code); n == 1 {
		return Exception{code}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errSilentTCP
	}
	return fmt.Errorf("%w: %w", ErrLost, err)
}
