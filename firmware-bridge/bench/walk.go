package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"steelyard/firmware-bridge/serial"
	"steelyard/firmware-bridge/weighbridge"
)

// silent is a line that brought fewer bytes in a whole round of speeds: no dialect could be
// credible with so few, and a control line that is switched makes one or two by itself.
const silent = leastFrames

// walk listens at every setting, where nothing is heard with each state of the control lines, and
// then, if it may, asks at every setting. It ends where the first dialect is credible.
func (s *search) walk(ctx context.Context) ([]candidate, error) {
	heard := 0
	given := s.line
	for n, line := range s.controls() {
		s.line = line
		brought, candidates, err := s.listenAll(ctx)
		if n > 0 && errors.Is(err, serial.ErrNoControl) {
			s.say("nothing is heard, and %s has no control lines to try", s.port)
			break
		}
		if err != nil || len(candidates) > 0 {
			return candidates, err
		}
		if heard = max(heard, brought); heard >= silent {
			break
		}
	}
	if s.line = given; heard < silent && s.ask {
		return s.askAll(ctx)
	}
	return nil, s.nothing(heard)
}

// controls are the states of the control lines in the order in which they are tried: as the driver
// raises them, which is both on, then the others. One that was given is the only one.
func (s *search) controls() []serial.Config {
	all := []serial.Config{s.line}
	if s.line.DTR != "" || s.line.RTS != "" || s.line.Network() {
		return all
	}
	for _, level := range [][2]string{{"on", "off"}, {"off", "on"}, {"off", "off"}} {
		line := s.line
		line.DTR, line.RTS = level[0], level[1]
		all = append(all, line)
	}
	return all
}

// listenAll listens at every speed and format. A port hears bytes at any of them, only wrong ones:
// a line that was silent in one round of speeds stays so, and other formats are not tried.
func (s *search) listenAll(ctx context.Context) (heard int, candidates []candidate, err error) {
	var round time.Duration
	for _, baud := range s.bauds {
		round += s.patience(baud)
	}
	s.done, s.all = 0, round
	for _, format := range s.formats {
		for _, baud := range s.bauds {
			line := s.at(baud, format)
			pieces, err := s.hear(ctx, line, nil)
			if err != nil {
				return heard, nil, err
			}
			here := 0
			for _, p := range pieces {
				here += len(p)
			}
			s.remember(line, pieces)
			if heard += here; heard >= silent {
				s.all = time.Duration(len(s.formats)) * round
			}
			candidates := s.rank(pieces)
			s.say("%s: %s, %s", s.settingOf(line), count(here, "byte"), count(len(candidates), "dialect"))
			if s.done += s.patience(baud); len(candidates) > 0 {
				return heard, setting(candidates, line, false), nil
			}
		}
		if heard < silent {
			break
		}
	}
	return heard, nil, nil
}

// settingOf names the speed and the format that are tried; behind a terminal server they are its own.
func (s *search) settingOf(line serial.Config) string {
	if line.Network() {
		return line.Port
	}
	return fmt.Sprintf("%d %s%s", line.Baud, line.Format, raised(line))
}

// raised names the control lines that were set.
func raised(line serial.Config) (text string) {
	if line.DTR != "" {
		text = " DTR " + line.DTR
	}
	if line.RTS != "" {
		text += " RTS " + line.RTS
	}
	return text
}

// patience is how long to listen at a speed.
func (s *search) patience(baud int) time.Duration {
	if baud <= 1200 {
		return 2 * s.listen
	}
	return s.listen
}

// Answers are waited for so long, and a dialect that answered is asked so often.
const (
	answerTime = 500 * time.Millisecond
	askTimes   = 6
	stillFor   = 3 // looks at the line, 50 ms each, after which an answer is over
)

// mostPeriods is for how many times the usual one a line is listened to that brings too little to be
// judged: an indicator that sends once a second has not sent leastFrames in one.
const mostPeriods = 6

// hear opens the line and takes what comes. With a request it asks first, and goes on asking as
// long as there are answers.
func (s *search) hear(ctx context.Context, line serial.Config, request []byte) (pieces [][]byte, err error) {
	line.Poll = 50 * time.Millisecond
	port, err := s.open(ctx, line)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { port.Close() }) // wakes Read and Write
	defer func() {
		stop()
		err = errors.Join(err, port.Close())
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
	}()
	length, rounds, doing := s.patience(line.Baud), 1, "listening"
	longer := func() bool { return false }
	if request == nil {
		periods := 1
		longer = func() bool { periods++; return periods <= mostPeriods && s.undecided(pieces) }
	} else {
		length, rounds = min(answerTime, s.listen)+line.TimeOf(len(request)+weighbridge.MaxFrame/2), askTimes
		doing = "asking"
	}
	began := time.Now()
	buf := make([]byte, 4096)
	for range rounds {
		if request != nil {
			if _, err := port.Write(request); err != nil {
				return nil, err
			}
		}
		answered, still := false, 0
		for end := time.Now().Add(length); ; {
			if now := time.Now(); !now.Before(end) {
				if !longer() {
					break
				}
				end = now.Add(length)
			}
			s.bar.show(s.done+time.Since(began), s.all, fmt.Sprintf("%s at %s", doing, s.settingOf(line)))
			n, err := port.Read(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				if still++; answered && request != nil && still >= stillFor {
					break // the answer is over
				}
				continue
			}
			if err != nil {
				return nil, err
			}
			answered, still = true, 0
			pieces = append(pieces, append([]byte(nil), buf[:n]...))
		}
		if !answered {
			break
		}
	}
	return pieces, nil
}
