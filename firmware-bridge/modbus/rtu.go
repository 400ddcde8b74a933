package modbus

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"steelyard/firmware-bridge/serial"
)

// rtuLine speaks Modbus RTU over a serial line, or over the same line behind a terminal server.
//
// The master is our own because the library's cannot be told what to drop: after a time-out it
// takes the late reply for the answer to the next request. A bridge between it and the port would
// also cost two more hops per request on a line of which not one percent can be spared at 19200
// baud. Here a frame is recognised by the length that the request makes certain and by its CRC;
// silence only separates frames.
//
// One goroutine reads the port and hands on what came with the time of its arrival. Bytes that
// come while no request is pending are dropped.
type rtuLine struct {
	port    *serial.Port
	chunks  chan chunk
	failed  chan error // holds the reader's last words
	done    chan struct{}
	baud    int
	echo    bool      // the adapter hears itself
	far     bool      // the line is behind a terminal server
	last    time.Time // last byte in either direction
	pending []byte    // bytes of the reply under way
	stale   *atomic.Uint64
}

// chunk is what one read of the port brought.
type chunk struct {
	at   time.Time
	n    int
	data [64]byte
}

func openRTU(ctx context.Context, l Link, stale *atomic.Uint64) (conn, error) {
	port, err := serial.OpenContext(ctx, l.port())
	if err != nil {
		return nil, err
	}
	opened := &rtuLine{port: port, baud: l.Baud, echo: l.Echo, far: l.Scheme == RTUOverTCP, stale: stale, last: time.Now(),
		chunks: make(chan chunk, 64), failed: make(chan error, 1), done: make(chan struct{})}
	go opened.listen()
	return opened, nil
}

// listen owns reading the port until it is closed or lost.
func (l *rtuLine) listen() {
	defer close(l.done)
	for {
		var c chunk
		n, err := l.port.Read(c.data[:])
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil {
			l.failed <- err
			return
		}
		c.at, c.n = time.Now(), n
		select {
		case l.chunks <- c:
		default: // nobody asked for so much: noise, or another master
		}
	}
}

func (l *rtuLine) close() {
	_ = l.port.Close() // the port is given up; the reader says what there was to say
	<-l.done
}

// read sends one request when the line is silent and waits for its reply.
func (l *rtuLine) read(ctx context.Context, r request) ([]byte, time.Time, error) {
	if err := l.quiet(ctx); err != nil {
		return nil, time.Now(), err
	}
	frame := ask(r)
	if _, err := l.port.Write(frame); err != nil {
		return nil, time.Now(), fmt.Errorf("%w: %w", ErrLost, err)
	}
	sent := time.Now()
	wait := r.timeout + time.Duration(fixedBytes+r.bytes())*charTime(l.baud)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	l.pending, l.last = l.pending[:0], sent
	// The echo of a request can be a sound reply, with the address for a value. It is taken off by
	// what it holds, not by its length: bytes of the line's turnaround may stand before it.
	awaited := l.echo
	for {
		select {
		case c := <-l.chunks:
			l.last = c.at
			l.pending = append(l.pending, c.data[:c.n]...)
			if at := bytes.Index(l.pending, frame); awaited && at >= 0 {
				l.pending, awaited = l.pending[at+len(frame):], false
			}
			if data, found, err := answer(l.pending, r); found && !awaited {
				return bytes.Clone(data), c.at, err // the next reply takes the place of this one
			}
			if len(l.pending) > 4*maxFrame {
				return nil, c.at, unanswered(l.pending, "so many, and no answer among them: is another master on the line?")
			}
		case err := <-l.failed:
			l.failed <- err
			return nil, time.Now(), fmt.Errorf("%w: %w", ErrLost, err)
		case <-ctx.Done():
			return nil, time.Now(), ctx.Err()
		case <-timer.C:
			now := time.Now()
			if awaited && len(l.pending) > 0 {
				l.stale.Add(1)
				return nil, now, unanswered(l.pending, "the echo of the request is not among them; leave echo=1 out of the link, or look for another master on the line")
			}
			if len(l.pending) > 0 {
				l.stale.Add(1)
				return nil, now, unanswered(l.pending, explainSerial(l.pending, r))
			}
			if l.far {
				return nil, now, errFarSilent
			}
			return nil, now, errNoReply
		}
	}
}

// quiet waits until the line has been silent for 3.5 characters and drops what came meanwhile.
func (l *rtuLine) quiet(ctx context.Context) error {
	for babble := 0; babble < 100; {
		select {
		case c := <-l.chunks:
			l.last = c.at
			l.stale.Add(1)
			babble++
			continue
		default:
		}
		until := l.last.Add(silence(l.baud))
		if !time.Now().Before(until) {
			return nil
		}
		if err := sleepUntil(ctx, until); err != nil {
			return err
		}
	}
	return errors.New("the line is never silent; is another master on it, or a machine that sends unasked?")
}

const maxFrame = 256

// ask builds the frame of a request.
func ask(r request) []byte {
	frame := make([]byte, 0, 8)
	frame = append(frame, r.unit, r.fc)
	frame = binary.BigEndian.AppendUint16(frame, r.from)
	frame = binary.BigEndian.AppendUint16(frame, uint16(r.count))
	return binary.LittleEndian.AppendUint16(frame, CRC(frame))
}

// answer looks for the reply to r among the bytes that came. The right unit, function and byte
// count with a right CRC are the reply; everything else is noise, an echo or an older reply.
func answer(came []byte, r request) (data []byte, found bool, err error) {
	for i := 0; i+5 <= len(came); i++ {
		rest := came[i:]
		if rest[0] != r.unit {
			continue
		}
		whole := 5 + r.bytes()
		switch {
		case rest[1] == r.fc|0x80 && sound(rest[:5]):
			return nil, true, Exception{rest[2]}
		case rest[1] == r.fc && int(rest[2]) == r.bytes() && len(rest) >= whole && sound(rest[:whole]):
			return rest[3 : whole-2], true, nil
		}
	}
	return nil, false, nil
}

// sound reports whether a frame's CRC is right.
func sound(frame []byte) bool {
	body := frame[:len(frame)-2]
	return CRC(body) == binary.LittleEndian.Uint16(frame[len(body):])
}

// CRC returns the check of Modbus over serial line V1.02, 2.5.1.2: CRC-16 with the polynomial A001h
// reflected and FFFFh to begin with. It is sent low byte first.
func CRC(bytes []byte) uint16 {
	sum := uint16(0xFFFF)
	for _, b := range bytes {
		sum ^= uint16(b)
		for range 8 {
			if sum&1 == 1 {
				sum = sum>>1 ^ 0xA001
			} else {
				sum >>= 1
			}
		}
	}
	return sum
}
