package modbus

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// conn is an open connection to the machines: a TCP connection or a serial line.
type conn interface {
	// read asks for registers or bits and returns their bytes with the time at which the last
	// arrived. The bytes are the caller's. Every error but an Exception leaves open what may still be
	// under way.
	read(ctx context.Context, r request) ([]byte, time.Time, error)
	close()
}

// request is one read. Function codes other than 1 to 4 do not exist here: nothing that this
// package sends can change a machine.
type request struct {
	unit    uint8
	fc      uint8
	from    uint16
	count   int
	timeout time.Duration
}

func (r request) String() string {
	what := "registers"
	if r.bits() {
		what = "bits"
	}
	return fmt.Sprintf("unit %d: function %d: %s %d to %d", r.unit, r.fc, what, r.from, int(r.from)+r.count-1)
}

// bits reports whether the request is for coils or discrete inputs.
func (r request) bits() bool { return isBits(r.fc) }

func isBits(fc uint8) bool { return fc == 1 || fc == 2 }

// bytes is how many bytes of data the reply must have.
func (r request) bytes() int {
	if r.bits() {
		return (r.count + 7) / 8
	}
	return 2 * r.count
}

// OpenError reports that the line could not be opened: no machine was asked, and none is to blame.
type OpenError struct{ Err error }

func (e *OpenError) Error() string { return "cannot open the line: " + e.Err.Error() }

func (e *OpenError) Unwrap() error { return e.Err }

// ErrLost reports that the line was open and is gone, and perhaps more than one machine with it.
var ErrLost = errors.New("connection lost")

// Exception is a machine's (or a gateway's) orderly refusal: the line is in order.
type Exception struct{ Code uint8 }

// The exceptions that are treated differently from one another, of a machine and of a gateway.
const (
	IllegalFunction = 0x01
	IllegalAddress  = 0x02
	IllegalValue    = 0x03
	atWork          = 0x05
	Busy            = 0x06
	memoryParity    = 0x08
	NoPath          = 0x0A
	NoAnswer        = 0x0B
)

// Absent reports whether a gateway speaks for a machine from which nothing comes: the line is in order and
// the machine is as silent as one that lets the time-out pass.
func (e Exception) Absent() bool { return e.Code == NoPath || e.Code == NoAnswer }

func (e Exception) Error() string {
	words := map[uint8]string{
		IllegalFunction: "illegal function; the profile does not fit the machine",
		IllegalAddress:  "illegal address; the profile does not fit the machine, or a read crosses a gap",
		IllegalValue:    "illegal value; the machine takes no read of this length",
		0x04:            "the machine reports a failure of its own",
		atWork:          "the machine is at work and answers later",
		Busy:            "the machine is busy",
		0x07:            "the machine refuses",
		memoryParity:    "memory parity error in the machine; have its maker look at it",
		NoPath:          "the gateway has no path to this unit; check the gateway's settings",
		NoAnswer:        "the gateway is there but the unit behind it does not answer; check its power, cable and unit id",
	}
	word, known := words[e.Code]
	if !known {
		word = "a maker's own code; see the machine's manual"
	}
	return fmt.Sprintf("exception %02X: %s", e.Code, word)
}

// What is said when nothing came: what there is to check depends on the line.
var (
	errNoReply   = errors.New("no reply in time; check power, cable, unit id, baud and format")
	errFarSilent = errors.New("no reply in time; check power, cable, unit id, and speed and format as the terminal server has them; is it Modbus TCP (a link that begins with tcp://)?")
	errSilentTCP = errors.New("no reply in time; check that the machine is on and its Modbus enabled, and the unit id; is it Modbus RTU (a link that begins with rtu-over-tcp://)?")
)
