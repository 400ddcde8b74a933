package sim

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"steelyard/internal/unit"
)

// IndicatorFault is what can be wrong with an indicator or its cable.
type IndicatorFault string

// The faults. Unplugging belongs to the Line.
const (
	Healthy      IndicatorFault = ""
	WrongSum     IndicatorFault = "wrong-checksum" // every frame's checksum is off by one bit
	HalfFrames   IndicatorFault = "half-frames"    // each frame breaks off in the middle
	Garbage      IndicatorFault = "garbage"        // random bytes in place of frames
	WrongBaud    IndicatorFault = "wrong-baud"     // what a line at another speed looks like: too many bytes, few of them text
	FrozenFrames IndicatorFault = "frozen"         // the same frame for ever, whatever the deck does
	Mute         IndicatorFault = "silence"
)

// IndicatorConfig describes an indicator's output.
type IndicatorConfig struct {
	Dialect  Dialect
	Checksum Checksum
	Rate     int // frames a second; 0 is 10
	Seed     uint64
}

// Indicator sends what a deck's display shows: continuously, or, in the dialect Dini, when it is
// asked, and then it stores weighings too.
type Indicator struct {
	cfg  IndicatorConfig
	deck *Deck
	line Line

	mu     sync.Mutex // guards what follows
	fault  IndicatorFault
	frozen []byte // the frame that FrozenFrames repeats; nil until it has one
	memory memory
}

// NewIndicator connects a deck to a line.
func NewIndicator(cfg IndicatorConfig, deck *Deck, line Line) (*Indicator, error) {
	if cfg.Rate == 0 {
		cfg.Rate = 10
	}
	return &Indicator{cfg: cfg, deck: deck, line: line}, cfg.Dialect.Check(cfg.Checksum)
}

// Fault makes the indicator faulty, or Healthy again.
func (i *Indicator) Fault(f IndicatorFault) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.fault, i.frozen = f, nil
}

// Run sends frames until ctx ends. One that is asked ends with its line.
func (i *Indicator) Run(ctx context.Context) {
	r := rand.New(rand.NewPCG(i.cfg.Seed, 1))
	if i.cfg.Dialect == Dini {
		i.serve(ctx, r)
		return
	}
	tick := time.NewTicker(time.Second / time.Duration(i.cfg.Rate))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if frame := i.frame(now, r); len(frame) > 0 {
				_, _ = i.line.Write(frame) // a wire does not tell whether anybody listens
			}
		}
	}
}

// frame is what goes over the wire now, with the fault of the moment.
func (i *Indicator) frame(now time.Time, r *rand.Rand) []byte {
	i.mu.Lock()
	defer i.mu.Unlock()
	division := int64(i.deck.cfg.Division / unit.Kilogram)
	return i.spoil(i.cfg.Dialect.AppendFrame(nil, i.deck.Shown(now), division, i.cfg.Checksum), r)
}

// spoil makes of a frame what the fault of the moment makes of it. The caller holds the mutex.
func (i *Indicator) spoil(frame []byte, r *rand.Rand) []byte {
	switch i.fault {
	case WrongSum:
		// Toledo's checksum is its last byte; Yaohua's is before the 03h.
		at := len(frame) - 1
		if i.cfg.Dialect == Yaohua {
			at--
		}
		if frame[at] ^= 1; i.cfg.Checksum == NoChecksum || i.cfg.Checksum == "" {
			if i.cfg.Dialect == Toledo { // without a checksum only the end can be wrong
				frame[at] = 0
			}
		}
	case HalfFrames:
		frame = frame[:1+r.IntN(len(frame)-2)]
	case Garbage:
		for k := range frame {
			frame[k] = byte(r.Uint32())
		}
	case WrongBaud:
		frame = append(frame, frame...)
		for k := range frame {
			// A slower or faster line smears bits together: mostly high bits and runs of one level.
			frame[k] = byte(0xFF<<r.IntN(8)) ^ byte(r.IntN(2))
		}
	case FrozenFrames:
		if i.frozen == nil {
			i.frozen = frame
		}
		frame = i.frozen
	case Mute:
		return nil
	}
	return frame
}
