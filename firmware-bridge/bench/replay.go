package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"steelyard/firmware-bridge/serial"
	"steelyard/firmware-bridge/sim"
)

// replay sends a recording with the times at which it came.
func replay(ctx context.Context, c call) error {
	line := c.lineFlags()
	pty := c.flags.String("pty", "", "make a pseudo-terminal and this link to it")
	listen := c.flags.String("listen", "", "be a terminal server: tcp://host:port")
	speed := c.flags.Float64("speed", 1, "so many times faster")
	after := c.flags.Duration("after", 0, "wait before the first byte, for a reader to open the line")
	loop := c.flags.Bool("loop", false, "again and again")
	const synopsis = "FILE -pty PATH | -listen tcp://host:port | -port P [flags]"
	given, err := c.parse(synopsis, 1)
	if err != nil {
		return err
	}
	usage := "usage: firmware-bridge replay " + synopsis
	switch {
	case len(given) != 1:
		return wrongCall(usage, "replay needs a recording")
	case one(line.Port, *pty, *listen) != 1:
		return wrongCall(usage, "replay needs one of -pty, -listen and -port")
	case !(*speed >= 0.01 && *speed <= 1000):
		return wrongCall(usage, "speed %g: must be between 0.01 and 1000", *speed)
	case *after < 0 || *after > time.Hour:
		return wrongCall(usage, "after %s: must be between 0s and 1h", *after)
	}
	file, err := os.Open(given[0])
	if err != nil {
		return err
	}
	chunks, err := ReadRecording(file)
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("%s: %w", given[0], err)
	}
	var to io.WriteCloser
	if line.Port != "" {
		to, err = serial.OpenContext(ctx, *line)
	} else {
		to, err = openLine(*pty, *listen, 0)
	}
	if err != nil {
		return err
	}
	if err = send(ctx, to, chunks, *after, *speed, *loop); err == nil {
		err = wait(ctx, hangUp)
	}
	return errors.Join(err, to.Close())
}

// hangUp is how long the line stays after the last byte: a terminal that hangs up drops what its
// reader has not taken yet.
const hangUp = 250 * time.Millisecond

// send writes the chunks at their times, counted from one moment, so that delays do not add up.
func send(ctx context.Context, to io.Writer, chunks []Chunk, after time.Duration, speed float64, loop bool) error {
	start := time.Now().Add(after)
	for {
		for _, c := range chunks {
			if err := wait(ctx, time.Until(start.Add(time.Duration(float64(c.At)/speed)))); err != nil {
				return err
			}
			if _, err := to.Write(c.Bytes); err != nil {
				return err
			}
		}
		if !loop {
			return nil
		}
		last := time.Duration(float64(chunks[len(chunks)-1].At) / speed)
		start = start.Add(last + max(last/time.Duration(len(chunks)), time.Millisecond))
	}
}

// one counts the texts that are not empty.
func one(texts ...string) (n int) {
	for _, t := range texts {
		if t != "" {
			n++
		}
	}
	return n
}

// openLine makes a line whose far end somebody else opens.
func openLine(pty, listen string, baud int) (sim.Line, error) {
	if pty != "" {
		return sim.OpenPty(sim.PtyConfig{Link: pty, Baud: baud})
	}
	address, ok := strings.CutPrefix(listen, "tcp://")
	if !ok {
		return nil, wrongCall("", "listen %.80q: write tcp://host:port", listen)
	}
	return sim.ListenTCP(address)
}
