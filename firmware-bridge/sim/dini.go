package sim

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"steelyard/internal/unit"
)

// A Dini Argeo indicator with alibi memory says nothing by itself. It answers READ with the short
// string and PID by storing what it shows under the next number, both on one line (Dini Argeo DGT
// manual). The number is of the form XXXXX-YYYYYY, of which the first five digits are the rewrite
// id. It stores nothing, and says NO, while the load moves or is negative. The manual does not say
// what it answers beyond its range: this one says NO there, too.

// Faults of an indicator that registers. The weight is shown as ever.
const (
	LostAnswer     IndicatorFault = "lost-answer"     // stored, and the answer does not arrive
	LateAnswer     IndicatorFault = "late-answer"     // stored, and the answer comes when the fault is over
	RepeatedNumber IndicatorFault = "repeated-number" // stored under the number of the one before
	Refusing       IndicatorFault = "refusing"        // says NO to everything: its own judgement of rest is stricter than what it shows
	NoMemory       IndicatorFault = "no-memory"       // the alibi memory is not fitted: an error in place of an answer
)

// Stored is a weighing in an indicator's alibi memory.
type Stored struct {
	Number string
	Mass   unit.Mass
}

const rewriteID = 126 // of the memory of every simulated indicator

// memory is an indicator's alibi memory. The indicator's mutex guards it.
type memory struct {
	last   int // number of the newest
	stored []Stored
	held   []byte // the answer that LateAnswer keeps
}

// Stored is everything that the indicator has in its alibi memory, oldest first.
func (i *Indicator) Stored() []Stored {
	i.mu.Lock()
	defer i.mu.Unlock()
	return append([]Stored(nil), i.memory.stored...)
}

// longestCommand bounds what is kept of a line without end.
const longestCommand = 64

// serve answers what is asked until the line is closed or ctx ends.
func (i *Indicator) serve(ctx context.Context, r *rand.Rand) {
	var line []byte
	for buf := make([]byte, 64); ctx.Err() == nil; {
		n, err := i.line.Read(buf)
		if err != nil {
			return
		}
		for _, c := range buf[:n] {
			if line = append(line, c); len(line) > longestCommand {
				line = line[:0]
			}
			if command, whole := bytes.CutSuffix(line, []byte("\r\n")); whole {
				if answer := i.answer(time.Now(), string(command), r); len(answer) > 0 {
					_, _ = i.line.Write(answer) // a wire does not tell whether anybody listens
				}
				line = line[:0]
			}
		}
	}
}

// answer is what goes over the wire for a command; nothing for one that is not known here.
func (i *Indicator) answer(now time.Time, command string, r *rand.Rand) (said []byte) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.fault != LateAnswer {
		said, i.memory.held = i.memory.held, nil
	}
	v := i.deck.Shown(now)
	switch command {
	case "READ":
		said = append(said, i.spoil(appendDini(nil, v), r)...)
	case "PID":
		said = append(said, i.register(v)...)
	}
	if i.fault == Mute {
		return nil
	}
	return said
}

// register stores what is shown. The caller holds the mutex.
func (i *Indicator) register(v Display) []byte {
	m := &i.memory
	if i.fault == NoMemory {
		return []byte("ERR01\r\n")
	}
	if v.Motion || v.Over || v.Value.Coef < 0 || i.fault == Refusing {
		status := "ST"
		if v.Motion {
			status = "US"
		}
		return fmt.Appendf(nil, "PID%s,1,%10dkg,  %10dkg,NO\r\n", status, v.Value.Coef, 0)
	}
	if i.fault != RepeatedNumber || m.last == 0 {
		m.last++
	}
	number := fmt.Sprintf("%05d-%06d", rewriteID, m.last)
	m.stored = append(m.stored, Stored{Number: number, Mass: unit.Mass(v.Value.Coef) * unit.Kilogram})
	answer := fmt.Appendf(nil, "PIDST,1,%10dkg,  %10dkg,%s\r\n", v.Value.Coef, 0, number)
	switch i.fault {
	case LostAnswer:
		return nil
	case LateAnswer:
		m.held = append(m.held, answer...)
		return nil
	}
	return answer
}

// appendDini appends the short string that shows v.
func appendDini(b []byte, v Display) []byte {
	status, kind := "ST", "GS"
	switch {
	case v.Over:
		status = "OL"
	case v.Motion:
		status = "US"
	}
	if v.Net {
		kind = "NT"
	}
	return fmt.Appendf(b, "%s,%s,%8s,kg\r\n", status, kind, v.Value)
}
