package sim

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// Units are the Modbus units on one line, by unit id.
type Units map[uint8]*Registers

// LinkFault is what can be wrong with a Modbus line or the device behind it. Unplugging is a
// method of the link.
type LinkFault struct {
	Kind  LinkFaultKind
	Unit  uint8 // 0: every unit
	Delay time.Duration
	Code  uint8 // of an Exception
	Times int   // so many replies; 0: until another fault is set

	over <-chan struct{} // closed when another fault is set
}

// LinkFaultKind names a fault.
type LinkFaultKind string

// The faults of a Modbus link.
const (
	LinkHealthy   LinkFaultKind = ""
	LateReply     LinkFaultKind = "late"       // the right reply, after Delay
	DroppedReply  LinkFaultKind = "dropped"    // none
	HalfReply     LinkFaultKind = "half"       // the first half, and nothing more
	GarbageReply  LinkFaultKind = "garbage"    // as many random bytes
	WrongUnit     LinkFaultKind = "wrong-unit" // well formed, from the unit id after the one that was asked
	Exception     LinkFaultKind = "exception"  // with Code
	ResetLine     LinkFaultKind = "reset"      // TCP: the connection is reset; serial: hang-up and back after Delay
	SlowReply     LinkFaultKind = "slow"       // Delay between two bytes
	FrozenReplies LinkFaultKind = "frozen"     // the registers stand still
)

// faulty holds the fault of a link. Many connections ask it.
type faulty struct {
	units Units

	mu      sync.Mutex // guards what follows
	fault   LinkFault
	changed chan struct{} // closed with the next Fault

	requests atomic.Int64
}

// Fault sets the fault of the link; the zero LinkFault heals it.
func (f *faulty) Fault(fault LinkFault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
	close(f.changed)
	f.changed = make(chan struct{})
	for id, r := range f.units {
		r.Freeze(fault.Kind == FrozenReplies && (fault.Unit == 0 || fault.Unit == id))
	}
}

// Requests counts the requests that came so far.
func (f *faulty) Requests() int64 { return f.requests.Load() }

// take returns the fault for a reply of unit, and uses it up.
func (f *faulty) take(unit uint8) LinkFault {
	f.requests.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	fault := f.fault
	if fault.Kind == LinkHealthy || fault.Unit != 0 && fault.Unit != unit {
		return LinkFault{}
	}
	fault.over = f.changed
	if fault.Times > 0 && fault.Kind != FrozenReplies {
		if f.fault.Times--; f.fault.Times == 0 {
			f.fault = LinkFault{}
		}
	}
	return fault
}

func newFaulty(units Units) faulty {
	return faulty{units: maps.Clone(units), changed: make(chan struct{})}
}

// pause lets the delay pass, not beyond the moment in which another fault is set, and reports whether
// the machine is still there.
func (f LinkFault) pause(done <-chan struct{}) bool {
	t := time.NewTimer(f.Delay)
	defer t.Stop()
	select {
	case <-t.C:
	case <-f.over:
	case <-done:
		return false
	}
	return true
}
