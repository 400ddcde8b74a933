package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"steelyard/firmware-bridge/modbus"
	"steelyard/firmware-bridge/serial"
)

// walk asks every unit at every setting until somebody answers, which makes the setting certain,
// and then the others at that setting with more patience.
//
// A late answer must not be credited to what is asked when it comes. To another unit or function it
// can't be: a modbus.Master takes no such reply. To another setting it could, where the same unit is
// asked the same again: so a setting is left only after a silence (settle), and an answer counts only
// when a question of another length is answered too (probe), which nobody had asked before.
func (h *hunt) walk(ctx context.Context) error {
	if err := h.refuseNoisyLine(ctx); err != nil {
		return err
	}
	passes := [][]uint8{h.units}
	if len(h.lines) > 1 && h.named > 0 && h.named < len(h.units) {
		passes = [][]uint8{h.units[:h.named], h.units[h.named:]} // the likely ones at all settings first
	}
	h.estimate(passes)
	for _, pass := range passes {
		for _, line := range h.lines {
			if err := h.visit(ctx, line, pass); err != nil {
				return err
			}
			if h.settled {
				return h.askOthers(ctx)
			}
		}
	}
	return nil
}

// estimate says before anything is asked how long it may take.
func (h *hunt) estimate(passes [][]uint8) {
	for _, pass := range passes {
		for _, line := range h.lines {
			h.all += time.Duration(len(pass)*len(h.probes))*h.cost(line, h.timeout) + h.settleTime()
		}
	}
	where := "over " + h.target
	if h.lines[0].Scheme == modbus.Serial {
		where = "at " + count(len(h.lines), "setting")
	}
	h.say("asking %s %s, with functions 3 and 4: %s at most, less when somebody answers", count(len(h.units), "unit id"), where, minutes(h.all+time.Second-1))
	h.say("nothing is written; but a drive that is set to watch its line may stop when the asking ends, so have drives at rest")
}

// cost is what a question takes that nobody answers.
func (h *hunt) cost(line modbus.Link, patience time.Duration) time.Duration {
	if !h.serial() {
		return patience
	}
	return patience + modbus.Wire{Baud: line.Baud}.Cost(1)
}

// settleTime is how long a setting is listened to before it is left: a reply may be so late.
func (h *hunt) settleTime() time.Duration {
	if !h.serial() {
		return 0 // transactions are numbered
	}
	return 2 * h.timeout
}

// visit asks units at one setting. Those whose answers are heard after their time are asked again
// with more patience.
func (h *hunt) visit(ctx context.Context, line modbus.Link, units []uint8) error {
	if err := h.round(ctx, line, units, h.timeout); err != nil || h.settled || !h.serial() {
		return err
	}
	came, err := h.hear(ctx, line, h.settleTime(), 1)
	if h.done += h.settleTime(); err != nil {
		return err
	}
	late := lateReplies(came, units)
	said := "nobody answers"
	if len(late) > 0 {
		said = "an answer of unit " + list(late) + " comes late, asking again with more patience"
	} else if len(came) > 0 {
		said += ", " + count(len(came), "byte") + " that are no Modbus"
	}
	h.say("%s: %s", at(line), said)
	if len(late) == 0 {
		if len(came) < silent {
			return nil
		}
		// One stray answer may be so; who sends at every setting sends unasked, and was only silent
		// while the line was listened to.
		h.noise = append(h.noise, came...)
		if h.noisySettings++; h.noisySettings < mostNoisy {
			return nil
		}
		if err := h.recognised(line, h.noise); err != nil {
			return err
		}
		return h.unknown(len(h.noise))
	}
	// The answers to what was asked already come first, and each takes its time.
	if _, err := h.hear(ctx, line, 2*h.settleTime(), 1); err != nil {
		return err
	}
	return h.round(ctx, line, late, 4*h.timeout)
}

// askOthers asks at the certain setting everybody who was not found yet.
func (h *hunt) askOthers(ctx context.Context) error {
	line := h.lines[0]
	var others []uint8
	for _, id := range h.units {
		if !slices.ContainsFunc(h.responders, func(l *responder) bool { return l.Unit == id }) {
			others = append(others, id)
		}
	}
	if len(others) == 0 || !h.serial() {
		return nil // over TCP all were asked, and with time enough
	}
	h.done, h.all = 0, time.Duration(len(others)*len(h.probes))*h.cost(line, h.patience)
	h.say("asking %s at %s: %s at most", count(len(others), "other unit id"), at(line), minutes(h.all+time.Second-1))
	return h.round(ctx, line, others, h.patience)
}

// master opens the line at a setting. A reply that comes after its time is that of another unit or
// function or has another length, so nothing is gained by leaving the unit alone for longer.
func (h *hunt) master(line modbus.Link, patience time.Duration) (asker, error) {
	return h.way.master(modbus.MasterConfig{Link: linkText(h.way.reach(line)), Timeout: patience, Latency: patience, Gap: h.gap})
}

// round asks all units with the one function, then those that were silent with the other.
func (h *hunt) round(ctx context.Context, line modbus.Link, units []uint8, patience time.Duration) error {
	m, err := h.master(line, patience)
	if err != nil {
		return err
	}
	defer m.Close()
	for _, probe := range h.probes {
		var silent []uint8
		for _, id := range units {
			h.bar.show(h.done, h.all, fmt.Sprintf("unit %d at %s", id, at(line)))
			probe.Unit = id
			alive, err := h.probe(ctx, m, line, patience, probe)
			if err != nil {
				return err
			}
			if h.done += h.cost(line, patience); !alive {
				silent = append(silent, id)
			}
		}
		units = silent
	}
	return nil
}

// probe asks one unit whether it is there.
func (h *hunt) probe(ctx context.Context, m asker, line modbus.Link, patience time.Duration, q modbus.Question) (alive bool, err error) {
	first, err := h.ask(ctx, m, q)
	if err != nil || !first.came {
		return false, err
	}
	if !h.way.trusting {
		again := q
		again.Count = 2
		confirmed, err := h.ask(ctx, m, again)
		if err != nil {
			return false, err
		}
		if !confirmed.came {
			h.once = append(h.once, q.Unit)
			return false, nil
		}
	}
	if !h.settled {
		h.lines, h.settled, h.patience = []modbus.Link{line}, true, max(patience, 2*h.timeout)
	}
	h.responders = append(h.responders, &responder{Unit: q.Unit, Function: q.FC, Refused: first.refused, Profiles: []fit{}, probe: q})
	answers := "answers"
	if first.refused != "" {
		answers = "answers, and refuses"
	}
	h.say("%s: unit %d %s", at(line), q.Unit, answers)
	return true, nil
}

// reply is what came of a question.
type reply struct {
	came    bool
	refused string // the exception, in words
	final   bool   // the exception is about the question, and not about the moment
	words   []byte
}

// The exceptions with which a gateway says that nobody is behind it at an id (Modbus Application
// Protocol V1.1b3, 7): it is alive, the unit is not.
const (
	gatewayNoPath   = 0x0A
	gatewayNoAnswer = 0x0B
)

// ask makes one request. Silence is no error; a line that is gone is one.
func (h *hunt) ask(ctx context.Context, m asker, q modbus.Question) (r reply, err error) {
	for try := 0; ; try++ {
		if ctx.Err() != nil {
			return r, context.Cause(ctx)
		}
		r.words, _, err = m.Read(ctx, q)
		if _, closed := errors.AsType[*modbus.OpenError](err); !closed {
			break
		}
		// Some gateways need a while between two connections, and an adapter may come back; one that was
		// never open is not there.
		if !h.reached || try == 3 {
			return r, fmt.Errorf("%s: %w", h.target, err)
		}
		if err := wait(ctx, 2*time.Second); err != nil {
			return r, err
		}
	}
	h.reached = true
	switch refusal, refused := errors.AsType[modbus.Exception](err); {
	case err == nil:
		r.came = true
	case refused && (refusal.Code == gatewayNoPath || refusal.Code == gatewayNoAnswer):
	case refused:
		r.came, r.refused, r.final = true, refusal.Error(), refusal.Code <= 3
	case ctx.Err() != nil:
		return r, context.Cause(ctx)
	case h.serial() && errors.Is(err, modbus.ErrLost):
		return r, err
	}
	return r, nil
}

// hear takes what a line brings by itself in so long a time, and in at most so many of them where it
// is too little to be judged.
func (h *hunt) hear(ctx context.Context, line modbus.Link, length time.Duration, periods int) (came []byte, err error) {
	line = h.way.reach(line)
	config := serial.Config{Port: line.Address, Baud: line.Baud, Format: line.Format, DTR: line.DTR, RTS: line.RTS, Poll: 50 * time.Millisecond}
	if line.Scheme == modbus.RTUOverTCP {
		config.Port = "tcp://" + line.Address
	}
	port, err := h.open(ctx, config)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { port.Close() }) // wakes Read
	defer func() {
		stop()
		if err = errors.Join(err, port.Close()); ctx.Err() != nil {
			err = context.Cause(ctx)
		}
	}()
	buf := make([]byte, 4096)
	for began, end := time.Now(), time.Now().Add(length); len(came) < enoughHeard; {
		if now := time.Now(); !now.Before(end) {
			if periods--; periods < 1 || !h.undecided([][]byte{came}) {
				break
			}
			end = now.Add(length)
		}
		h.bar.show(h.done+time.Since(began), h.all, "listening at "+at(line))
		n, err := port.Read(buf)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, err
		}
		came = append(came, buf[:n]...)
	}
	return came, nil
}

// enoughHeard is more than any line of this trade brings in the time that is listened.
const enoughHeard = 64 << 10

// refuseNoisyLine refuses a line on which somebody sends unasked: on a line of Modbus only the master
// begins, and that is to be us.
func (h *hunt) refuseNoisyLine(ctx context.Context) error {
	if !h.serial() {
		return nil
	}
	heard := 0
	for _, line := range h.lines {
		if line.Format != h.lines[0].Format {
			break
		}
		came, err := h.hear(ctx, line, h.listen, mostPeriods)
		if err != nil {
			return err
		}
		if heard += len(came); heard < silent {
			return nil // a port hears bytes at any speed, only wrong ones: here nobody sends
		}
		h.say("%s: %s unasked", at(line), count(len(came), "byte"))
		if err := h.recognised(line, came); err != nil {
			return err
		}
	}
	return h.unknown(heard)
}

// unknown is what is said of bytes that nobody knows.
func (h *hunt) unknown(heard int) error {
	return fmt.Errorf("%s: %d bytes came unasked, and they are no Modbus: is it an indicator (try find without -modbus), or another master at a speed that was not tried?", h.target, heard)
}

// mostNoisy is at how many settings something may come that is no answer.
const mostNoisy = 4

// recognised says who sends unasked, as far as the bytes tell.
func (h *hunt) recognised(line modbus.Link, came []byte) error {
	if other := modbus.OtherProtocol(came); other != "" {
		return fmt.Errorf("%s: %s came unasked at %s: %s", h.target, count(len(came), "byte"), at(line), other)
	}
	switch candidates := h.rank([][]byte{came}); {
	case len(requests(came)) > 1:
		return fmt.Errorf("%s: another master asks on this line at %s, and a line has only one: stop it, or share the line with firmware-bridge serve", h.target, at(line))
	case len(candidates) > 0:
		return fmt.Errorf("%s: %d bytes came unasked, and they are no Modbus: this looks like an indicator (%s): try find without -modbus", h.target, len(came), candidates[0].Dialect)
	case isText(came):
		return fmt.Errorf("%s: %d bytes came unasked, and they are text and no Modbus: this looks like an indicator: try find without -modbus", h.target, len(came))
	}
	return nil
}

// isText reports whether nearly all bytes are those of a display, with or without a parity bit.
func isText(came []byte) bool {
	plain := 0
	for _, b := range came {
		if b &= 0x7F; b >= ' ' && b <= '~' || b == '\r' || b == '\n' || b == 2 || b == 3 {
			plain++
		}
	}
	return 10*plain >= 9*len(came)
}

// requests finds the units of sound Modbus reads among bytes.
func requests(came []byte) (units []byte) {
	for i := 0; i+8 <= len(came); i++ {
		if fc := came[i+1]; fc < 1 || fc > 6 {
			continue
		}
		if _, sound := fromRTU(came[i : i+8]); sound {
			units = append(units, came[i])
		}
	}
	return units
}

// lateReplies returns the units of sound replies to what was asked.
func lateReplies(came []byte, asked []uint8) (units []uint8) {
	for i := 0; i+5 <= len(came); i++ {
		length := 5
		switch came[i+1] {
		case 0x83, 0x84:
		case 3, 4:
			length += int(came[i+2])
		default:
			continue
		}
		if i+length > len(came) || !slices.Contains(asked, came[i]) || slices.Contains(units, came[i]) {
			continue
		}
		if _, sound := fromRTU(came[i : i+length]); sound {
			units = append(units, came[i])
		}
	}
	return units
}

// list writes ids as people do: "1, 2".
func list(units []uint8) string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(units), " ", ", "), "[]")
}
