package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// replay sends a recording with the times at which it came.
func replay(ctx context.Context, c invocation) error {
	line := c.lineFlags()
	pty := c.flags.String("pty", "", "make a pseudo-terminal and this link to it")
	listen := c.flags.String("listen", "", "be a terminal server: tcp://host:port")
	speed := c.flags.Float64("speed", 1, "so many times faster")
	after := c.flags.Duration("after", 0, "wait before the first byte, for a reader to open the line")
	loop := c.flags.Bool("loop", false, "again and again")
	asJSON := c.flags.Bool("json", false, "print JSON at the end")
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
		return wrongCall(usage, "replay needs one of -pty, -listen and -port, and only one")
	case !(*speed >= 0.01 && *speed <= 1000):
		return wrongCall(usage, "speed %g: must be between 0.01 and 1000", *speed)
	case *after < 0 || *after > time.Hour:
		return wrongCall(usage, "after %s: must be between 0s and 1h", *after)
	}
	if *pty != "" || *listen != "" {
		if err := c.refuse("sets a real line, which -port names; leave it out", "baud", "format", "dtr", "rts"); err != nil {
			return err
		}
	} else if err := line.Check(); err != nil {
		return wrongCall(usage, "%w", err)
	}
	file, err := openInput(given[0])
	if err != nil {
		return err
	}
	chunks, err := ReadRecording(file)
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("%s: %w", given[0], err)
	}
	var to io.WriteCloser
	if line.Port != "" {
		to, err = openPort(ctx, *line)
	} else {
		to, err = openLine(*pty, *listen, 0)
	}
	if err != nil {
		return err
	}
	r := replaying{to: to, chunks: chunks, speed: *speed, loop: *loop, bar: c.progress(*asJSON)}
	if err = r.send(ctx, *after); err == nil {
		err = wait(ctx, hangUp)
	}
	r.bar.clear()
	if ctx.Err() != nil && *loop {
		err = nil // stopped by a signal, as is usual
	}
	err = errors.Join(err, to.Close())
	out := c.output()
	if *asJSON {
		out.json(map[string]any{"file": given[0], "bytes": r.bytes, "pieces": r.pieces})
	} else {
		fmt.Fprintf(c.env.Stderr, "%s: %s in %s sent\n", given[0], count(r.bytes, "byte"), count(r.pieces, "piece"))
	}
	return errors.Join(err, out.failed())
}

// hangUp is how long the line stays after the last byte: a terminal that hangs up drops what its
// reader has not taken yet.
const hangUp = 250 * time.Millisecond

// replaying is one run of a recording, or many.
type replaying struct {
	to     io.Writer
	chunks []Chunk
	speed  float64
	loop   bool
	bar    *progress

	pieces int
	bytes  int
}

// send writes the chunks at their times, counted from one moment, so that delays do not add up.
func (r *replaying) send(ctx context.Context, after time.Duration) error {
	begin := time.Now()
	start := begin.Add(after)
	last := r.chunks[len(r.chunks)-1].At
	all := after + r.paced(last)
	if r.loop {
		all = 0
	}
	for {
		for _, c := range r.chunks {
			for due := start.Add(r.paced(c.At)); ; {
				r.bar.show(time.Since(begin), all, fmt.Sprintf("%s sent", count(r.pieces, "piece")))
				left := time.Until(due)
				if err := wait(ctx, min(left, leastRedraw)); err != nil {
					return err
				}
				if left <= leastRedraw {
					break
				}
			}
			if _, err := r.to.Write(c.Bytes); err != nil {
				return err
			}
			r.pieces, r.bytes = r.pieces+1, r.bytes+len(c.Bytes)
		}
		if !r.loop {
			return nil
		}
		start = start.Add(r.paced(last) + max(r.paced(last)/time.Duration(len(r.chunks)), time.Millisecond))
	}
}

// paced is a time of the recording at the speed of this run.
func (r *replaying) paced(at time.Duration) time.Duration {
	return time.Duration(float64(at) / r.speed)
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
