package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"steelyard/firmware-bridge/serial"
)

// A recording is text, one line for each piece that arrived: microseconds since the start, a
// blank, the bytes as hexadecimal. '#' begins a comment.
//
//	# steelyard recording 1
//	0 022b303030303030303142
//	1041 03
const recordingHead = "# steelyard recording 1"

// largestRecording bounds what record writes and what replay reads: a day at 9600 baud.
const largestRecording = 256 << 20

// Chunk is one line of a recording.
type Chunk struct {
	At    time.Duration // since the start, whole microseconds
	Bytes []byte
}

func (c Chunk) append(b []byte) []byte {
	b = strconv.AppendInt(b, c.At.Microseconds(), 10)
	b = append(b, ' ')
	b = hex.AppendEncode(b, c.Bytes)
	return append(b, '\n')
}

// parseChunk reads a line; a comment or an empty line returns a Chunk without bytes.
func parseChunk(line string) (Chunk, error) {
	line, _, _ = strings.Cut(line, "#")
	if line = strings.TrimSpace(line); line == "" {
		return Chunk{}, nil
	}
	at, data, _ := strings.Cut(line, " ")
	us, err := strconv.ParseInt(at, 10, 64)
	if err != nil || us < 0 || us > int64(365*24*time.Hour/time.Microsecond) {
		return Chunk{}, fmt.Errorf("%.40q: begins with no number of microseconds; is it a recording?", line)
	}
	b, err := parseHex(data)
	if err == nil && len(b) == 0 {
		err = errors.New("no bytes behind the time")
	}
	return Chunk{time.Duration(us) * time.Microsecond, b}, err
}

// ReadRecording reads all chunks. Their times must not run backwards. A last line without its end
// that cannot be read is what a power cut left of it, and is no mistake.
func ReadRecording(r io.Reader) ([]Chunk, error) {
	limited := &io.LimitedReader{R: r, N: largestRecording + 1}
	in := lineReader{bufio.NewReader(limited)}
	var all []Chunk
	for n := 1; ; n++ {
		line, err := in.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if limited.N <= 0 {
			return nil, fmt.Errorf("is larger than %d MiB; cut it into pieces at line ends", largestRecording>>20)
		}
		c, err := parseChunk(line.text)
		switch {
		case line.long:
			err = errLongLine
		case err != nil && !line.ended && len(all) > 0:
			return all, nil
		case err == nil && len(all) > 0 && len(c.Bytes) > 0 && c.At < all[len(all)-1].At:
			err = errors.New("timestamps go backwards; two recordings joined?")
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if len(c.Bytes) > 0 {
			all = append(all, c)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("holds no bytes; record again while the line sends")
	}
	return all, nil
}

// lineFlags are the flags of a serial line.
func (c invocation) lineFlags() *serial.Config {
	l := new(serial.Config)
	c.flags.StringVar(&l.Port, "port", "", "the line: /dev/serial/by-id/…, or tcp://host:port of a terminal server")
	c.flags.IntVar(&l.Baud, "baud", 9600, "speed of the line")
	c.flags.StringVar(&l.Format, "format", "8N1", "data bits, parity, stop bits")
	c.flags.StringVar(&l.DTR, "dtr", "", "control line DTR: on or off; empty: as the driver raises it")
	c.flags.StringVar(&l.RTS, "rts", "", "control line RTS: on or off; empty: as the driver raises it")
	return l
}

// record keeps what a line brings.
func record(ctx context.Context, c invocation) error {
	line := c.lineFlags()
	length := c.flags.Duration("for", 0, "stop after this time; 0: when it is interrupted")
	asJSON := c.flags.Bool("json", false, "print JSON at the end")
	const synopsis = "-port P [flags] FILE"
	given, err := c.parse(synopsis, 1)
	if err != nil {
		return err
	}
	const usage = "usage: firmware-bridge record " + synopsis
	switch {
	case line.Port == "":
		return wrongCall(usage, "record needs a port%s", whichPort())
	case len(given) != 1:
		return wrongCall(usage, "record needs the name of a file that is not there yet")
	case *length < 0:
		return wrongCall(usage, "for %s: must not be negative", *length)
	}
	if err := line.Check(); err != nil {
		return wrongCall(usage, "%w", err)
	}
	name := given[0]
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	switch {
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%s: is there already, and a recording is never overwritten; choose another name", name)
	case err != nil:
		return fmt.Errorf("%s: %w; check that the folder is there and can be written", name, pathless(err))
	}
	port, err := openPort(ctx, *line)
	if err != nil {
		return errors.Join(err, file.Close(), os.Remove(name))
	}
	stop := context.AfterFunc(ctx, func() { port.Close() }) // wakes Read
	defer stop()
	k := keeper{port: port, line: *line, length: *length, file: file, bar: c.progress(*asJSON)}
	err = k.keep(ctx)
	k.bar.clear()
	if errors.Is(err, os.ErrClosed) && ctx.Err() != nil {
		err = nil // stopped by a signal, as is usual
	}
	err = errors.Join(err, file.Sync(), file.Close(), port.Close())
	if k.pieces == 0 {
		err = errors.Join(err, os.Remove(name)) // it would only be in the way of the next attempt
		if err == nil && ctx.Err() == nil {
			err = fmt.Errorf("%s: nothing came in %s, and %s is not kept: is the machine on, its output enabled, the cable plugged?", line.Port, *length, name)
		}
	}
	switch out := c.output(); {
	case *asJSON:
		out.json(map[string]any{"file": name, "bytes": k.bytes, "pieces": k.pieces, "lost": err != nil})
		return errors.Join(err, out.failed())
	case k.pieces == 0:
		if err == nil {
			fmt.Fprintf(c.env.Stderr, "nothing came, and %s is not kept\n", name)
		}
	default:
		fmt.Fprintf(c.env.Stderr, "%s: %s in %s\n", name, count(int(k.bytes), "byte"), count(k.pieces, "piece"))
	}
	return err
}

// keeper writes one recording.
type keeper struct {
	port   io.Reader
	line   serial.Config
	length time.Duration // 0: until it is interrupted
	file   recordingFile
	bar    *progress

	waiting []byte // whole lines that are not in the file yet
	sizes   []int  // of the pieces in waiting, in bytes of the line
	written int64  // of the file, up to the end of a line
	pieces  int    // in the file
	bytes   int64  // in the file
}

// recordingFile is what keeper needs of a file.
type recordingFile interface {
	io.Writer
	Truncate(size int64) error
}

// mostWaiting is how much is lost at most when the process is killed.
const mostWaiting = 4096

// keep writes pieces until the time is over, the line is lost or the file is full. What came
// before a failure stays in the file.
func (k *keeper) keep(ctx context.Context) (err error) {
	start := time.Now()
	k.waiting = fmt.Appendf(nil, "%s\n# %s %d %s, %s\n", recordingHead, k.line.Port, k.line.Baud, k.line.Format, start.UTC().Format(time.RFC3339))
	full := false
	defer func() {
		if !full {
			err = errors.Join(err, k.flush())
		}
	}()
	var buf [4096]byte
	var text []byte
	came := int64(0)
	for ctx.Err() == nil && (k.length == 0 || time.Since(start) < k.length) {
		k.bar.show(time.Since(start), k.length, fmt.Sprintf("%s in %s", count(int(came), "byte"), count(k.pieces+len(k.sizes), "piece")))
		n, err := k.port.Read(buf[:])
		at := time.Since(start)
		silent := errors.Is(err, os.ErrDeadlineExceeded)
		if err != nil && !silent {
			return err
		}
		if n > 0 {
			text = Chunk{at, buf[:n]}.append(text[:0])
			if k.written+int64(len(k.waiting)+len(text)) > largestRecording {
				return fmt.Errorf("the recording would be larger than %d MiB: begin a new one", largestRecording>>20)
			}
			came += int64(n)
			k.waiting, k.sizes = append(k.waiting, text...), append(k.sizes, n)
		}
		if silent || len(k.waiting) > mostWaiting { // a silent line is a good moment
			if err := k.flush(); err != nil {
				full = true
				return err
			}
		}
	}
	return nil
}

// flush writes what is waiting. Of a line that has no room on the disk nothing stays: a torn one
// would hold fewer bytes than came, and nothing would say so.
func (k *keeper) flush() error {
	n, err := k.file.Write(k.waiting)
	whole := bytes.LastIndexByte(k.waiting[:n], '\n') + 1
	k.written += int64(whole)
	if err != nil {
		err = fmt.Errorf("%w; what came before is kept: make room, or record to another disk", err)
		if cut := k.file.Truncate(k.written); cut != nil {
			err = errors.Join(err, cut)
		}
	}
	for line := range bytes.Lines(k.waiting[:whole]) {
		if line[0] != '#' {
			k.pieces, k.bytes, k.sizes = k.pieces+1, k.bytes+int64(k.sizes[0]), k.sizes[1:]
		}
	}
	k.waiting, k.sizes = k.waiting[:0], k.sizes[:0]
	return err
}
