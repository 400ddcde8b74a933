package sim

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
)

// Wire is an indicator's line that spoils frames on command, with the same faults as a Modbus link.
// Each Write is one frame. An exception is Modbus's own, and what is wrong-unit there is here an
// answer from another indicator on the line.
type Wire struct {
	Line
	dialect string
	done    chan struct{} // closed by Close: cuts short the delays of faults
	closing sync.Once

	mu      sync.Mutex // guards what follows
	fault   LinkFault
	changed chan struct{} // closed with the next Fault
	frozen  []byte        // the frame that FrozenReplies repeats; nil until there was one
	noise   *rand.Rand
}

// NewWire takes over a line to an indicator that speaks the dialect.
func NewWire(line Line, dialect string, seed uint64) *Wire {
	return &Wire{Line: line, dialect: dialect, done: make(chan struct{}), changed: make(chan struct{}), noise: rand.New(rand.NewPCG(seed, 3))}
}

// Fault sets the fault of the wire; the zero LinkFault heals it.
func (w *Wire) Fault(fault LinkFault) error {
	switch fault.Kind {
	case WrongUnit:
		if !addressed(w.dialect) {
			return fmt.Errorf("%s: dialect %s has no addresses, so no other indicator can answer", WrongUnit, w.dialect)
		}
	case LinkHealthy, LateReply, DroppedReply, HalfReply, GarbageReply, ResetLine, SlowReply, FrozenReplies:
	default:
		return fmt.Errorf("%s: no fault of an indicator", fault.Kind)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fault, w.frozen = fault, nil
	close(w.changed)
	w.changed = make(chan struct{})
	return nil
}

// take returns the fault of the moment and the frame as it spoils it. A reset happens once.
func (w *Wire) take(frame []byte) (LinkFault, []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fault := w.fault
	fault.over = w.changed
	switch fault.Kind {
	case DroppedReply:
		frame = nil
	case HalfReply:
		frame = frame[:(len(frame)+1)/2]
	case GarbageReply:
		frame = bytes.Clone(frame)
		scramble(frame, w.noise)
	case WrongUnit:
		frame = fromAnother(w.dialect, frame)
	case FrozenReplies:
		if w.frozen == nil {
			w.frozen = bytes.Clone(frame)
		}
		frame = w.frozen
	case ResetLine:
		w.fault = LinkFault{}
	}
	return fault, frame
}

// Write sends one frame with the fault of the moment. Like the line it says that all was sent,
// whatever became of it.
func (w *Wire) Write(frame []byte) (int, error) {
	all := len(frame)
	fault, frame := w.take(frame)
	switch fault.Kind {
	case ResetLine:
		if err := w.Unplug(); err != nil {
			return 0, err
		}
		fault.pause(w.done)
		return all, w.Replug()
	case LateReply:
		fault.pause(w.done)
	case SlowReply:
		for len(frame) > 1 && fault.pause(w.done) {
			if _, err := w.Line.Write(frame[:1]); err != nil {
				return 0, err
			}
			frame = frame[1:]
		}
	}
	if len(frame) == 0 {
		return all, nil
	}
	_, err := w.Line.Write(frame)
	return all, err
}

// Close ends the line and every delay.
func (w *Wire) Close() error {
	w.closing.Do(func() { close(w.done) })
	return w.Line.Close()
}

// addressed reports whether an answer of the dialect carries the address of its indicator.
func addressed(dialect string) bool {
	return dialect == "yaohua-cmd" || dialect == "laumas-ascii" || dialect == "dini-short" || dialect == "dini-ext"
}

// fromAnother is the same answer, as whole as before, from the indicator after the one that was
// asked.
func fromAnother(dialect string, frame []byte) []byte {
	b := bytes.Clone(frame)
	switch n := len(b); {
	case dialect == "yaohua-cmd" && n > 5:
		// 02, address, command, …, XOR of all between as two characters, 03. After Z comes A.
		b[1] = 'A' + (b[1]-'A'+1)%26
		sum := xorOf(b[1 : n-3])
		b[n-3], b[n-2] = nibble(sum>>4), nibble(sum&0x0F)
	case dialect == "laumas-ascii" && n > 8:
		// "&&" or "&", two digits of address, …, "\", XOR of address and content, CR.
		at := bytes.LastIndexByte(b, '&') + 1
		b[at+1] = '0' + (b[at+1]-'0'+1)%10
		sum := xorOf(b[at : n-4])
		b[n-3], b[n-2] = nibble(sum>>4), nibble(sum&0x0F)
	case n > 2 && digit(b[0]) && digit(b[1]):
		b[1] = '0' + (b[1]-'0'+1)%10
	default: // Dini Argeo: without an address so far
		b = append([]byte("99"), b...)
	}
	return b
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

func xorOf(b []byte) (sum byte) {
	for _, c := range b {
		sum ^= c
	}
	return sum
}
