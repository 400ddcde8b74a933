package bench

import (
	"errors"
	"time"

	"steelyard/firmware-bridge/sim"
)

// The faults that every simulated machine has. They are those of one list, so that whoever tests
// an edge against them need not know which machine is behind the line.
const faultCommands = "late [TIME] | dropped | half | garbage | wrong-unit | slow [TIME] | reset [TIME] | frozen | unplug | replug | healthy | "

// faultOf reads a command as a fault; ok is false when it names none.
func faultOf(command string, words []string) (fault sim.LinkFault, ok bool, err error) {
	fault.Kind = sim.LinkFaultKind(command)
	switch fault.Kind {
	case "healthy":
		fault.Kind = sim.LinkHealthy
	case sim.LateReply:
		fault.Delay, err = duration(words, 700*time.Millisecond)
	case sim.SlowReply:
		fault.Delay, err = duration(words, 5*time.Millisecond)
	case sim.ResetLine:
		fault.Delay, err = duration(words, 100*time.Millisecond)
		fault.Times = 1
	case sim.DroppedReply, sim.HalfReply, sim.GarbageReply, sim.WrongUnit, sim.FrozenReplies:
	default:
		return fault, false, nil
	}
	return fault, true, err
}

// obeyWire does what an indicator's line is told.
func obeyWire(wire *sim.Wire, command string, words []string, commands string) (string, error) {
	switch command {
	case "unplug":
		return "unplugged", wire.Unplug()
	case "replug":
		return "replugged", wire.Replug()
	case "wrap":
		return "", errors.New("wrap: an indicator shows what is on the scale and has no totaliser")
	}
	fault, ok, err := faultOf(command, words)
	switch {
	case !ok:
		return "", unknownCommand(command, commands)
	case err != nil:
		return "", err
	}
	return command, wire.Fault(fault)
}
