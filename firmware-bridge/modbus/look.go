package modbus

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync/atomic"
	"time"
)

// The library keeps the bytes of an answer that it does not take to itself, and takes none under another
// transaction. So its line has a sister whose bytes are seen: it asks once more when the library's answer
// was none, to say what came, and is the line of links that allow a machine its own way (decision 0020).

const headerTCP = 7 // transaction, protocol, length of what follows, unit

// seenTCP is a line on which answers are taken by our own rules.
type seenTCP struct {
	conn        net.Conn
	stale       *atomic.Uint64
	anyID       bool // an answer under another transaction is one
	trailing    bool // so is one with a few more bytes, when the header counts them
	transaction uint16
	answered    []uint16 // transactions under which the last answers came, where any is taken
	brief       bool     // once bytes came it is not waited for others for long
	takesCopies bool     // takes the same answer twice; for a negative control
}

// doubled is how long the second copy of an answer may follow the first where any transaction is taken. One
// that comes later still is known by its number.
const doubled = 10 * time.Millisecond

// lookAfter is how long a look waits for more once bytes came.
const lookAfter = 300 * time.Millisecond

// remembered are so many answers: a copy does not come later than that.
const remembered = 64

// copied reports whether an answer came under this transaction already. A gateway that knows no transaction but
// 0 cannot be told from its copies by it.
func (l *seenTCP) copied(id uint16) bool {
	none := id == 0 && !slices.ContainsFunc(l.answered, func(other uint16) bool { return other != 0 })
	return !none && !l.takesCopies && slices.Contains(l.answered, id)
}

func openSeen(ctx context.Context, l Link, stale *atomic.Uint64) (*seenTCP, error) {
	dialer := net.Dialer{Timeout: 5 * time.Second} // as the library's
	conn, err := dialer.DialContext(ctx, "tcp", l.Address)
	if err != nil {
		return nil, fmt.Errorf("%w; check the machine's power, the network and the port", err)
	}
	return &seenTCP{conn: conn, anyID: l.AnyTransaction, trailing: l.Trailing, stale: stale}, nil
}

func (l *seenTCP) close() { _ = l.conn.Close() } // given up, as the library's

// read asks, and takes what comes for the answer or says why it is none. One that may come under any
// transaction is only safe while nothing else can be under way: what comes before a question is dropped, an
// answer under the transaction of an earlier one is its copy, and after every error the connection is given up.
func (l *seenTCP) read(ctx context.Context, r request) ([]byte, time.Time, error) {
	stop := context.AfterFunc(ctx, func() { _ = l.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if l.anyID && !l.takesCopies {
		// What comes now is an answer to nobody: another copy, or another client's.
		unasked := make([]byte, maxFrame)
		for until := time.Now().Add(doubled); ; {
			if _, err := l.more(unasked, until); errors.Is(err, os.ErrDeadlineExceeded) {
				break
			} else if err != nil {
				return nil, time.Now(), fmt.Errorf("%w: %w", ErrLost, err)
			}
			l.stale.Add(1)
		}
	}
	l.transaction++
	body := ask(r)
	frame := binary.BigEndian.AppendUint16(nil, l.transaction)
	frame = append(frame, 0, 0, 0, byte(len(body)-2))
	frame = append(frame, body[:len(body)-2]...) // without the CRC
	deadline := time.Now().Add(r.timeout)
	if err := l.conn.SetDeadline(deadline); err != nil {
		return nil, time.Now(), fmt.Errorf("%w: %w", ErrLost, err)
	}
	if _, err := l.conn.Write(frame); err != nil {
		return nil, time.Now(), fmt.Errorf("%w: %w", ErrLost, err)
	}
	came, buffer := []byte(nil), make([]byte, 2*maxFrame)
	for {
		n, err := l.more(buffer, deadline)
		came = append(came, buffer[:n]...)
		at := time.Now()
		if data, found, refusal := l.answer(came, r); found {
			return data, at, refusal
		}
		switch {
		case err == nil && len(came) < 4*maxFrame:
			if soon := at.Add(lookAfter); l.brief && soon.Before(deadline) {
				deadline = soon
			}
			continue
		case ctx.Err() != nil:
			return nil, at, ctx.Err()
		case len(came) > 0:
			return nil, at, unanswered(came, explainTCP(came, r, l.transaction))
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, at, errSilentTCP
		}
		return nil, at, fmt.Errorf("%w: %w", ErrLost, err)
	}
}

func (l *seenTCP) more(buffer []byte, until time.Time) (int, error) {
	if err := l.conn.SetReadDeadline(until); err != nil {
		return 0, err
	}
	return l.conn.Read(buffer)
}

// answer looks for the answer among whole frames. A frame under another transaction is an older one, and
// passed over, unless the link takes any.
func (l *seenTCP) answer(came []byte, r request) (data []byte, found bool, err error) {
	for len(came) > headerTCP && binary.BigEndian.Uint16(came[2:]) == 0 {
		end := headerTCP - 1 + int(binary.BigEndian.Uint16(came[4:]))
		if end < headerTCP+1 || end > len(came) {
			return nil, false, nil
		}
		frame, rest := came[:end], came[end:]
		id := binary.BigEndian.Uint16(frame)
		if id == l.transaction && !l.anyID || l.anyID && !l.copied(id) {
			body := frame[headerTCP-1:]
			if whole := 3 + r.bytes(); l.trailing && body[1] == r.fc && len(body) > whole && len(body) <= whole+2 {
				body = body[:whole]
			}
			if unlike(body, r) == "" {
				if l.anyID {
					l.answered = append(l.answered[max(0, len(l.answered)-remembered+1):], id)
				}
				if body[1] == r.fc {
					return body[3:], true, nil
				}
				return nil, true, Exception{body[2]}
			}
		}
		came = rest
	}
	return nil, false, nil
}

// look asks once more over a connection of which the bytes are seen, and says what is wrong with them. It
// returns why when there is nothing to add.
func look(ctx context.Context, l Link, pause time.Duration, r request, why error) error {
	_, refused := errors.AsType[Exception](why)
	_, closed := errors.AsType[*OpenError](why)
	if l.serial() || l.own() || refused || closed || ctx.Err() != nil {
		return why
	}
	opened, err := openSeen(ctx, l, new(atomic.Uint64))
	if err != nil {
		return why
	}
	defer opened.close()
	opened.brief = true
	if sleepUntil(ctx, time.Now().Add(pause)) != nil {
		return why
	}
	r.timeout = max(r.timeout, time.Second) // nobody waits for this answer but a person
	_, _, err = opened.read(ctx, r)
	if _, refused := errors.AsType[Exception](err); err == nil || refused || errors.Is(err, ErrLost) || errors.Is(err, errSilentTCP) || ctx.Err() != nil {
		return why // nothing came, or all is well by now
	}
	return fmt.Errorf("%s: %w", r, err)
}
