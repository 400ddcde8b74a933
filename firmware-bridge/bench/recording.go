package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
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

// parseChunk reads a line; a comment or an empty line gives a Chunk without bytes.
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

// ReadRecording reads all chunks. Their times must not run backwards.
func ReadRecording(r io.Reader) ([]Chunk, error) {
	s := bufio.NewScanner(io.LimitReader(r, largestRecording))
	s.Buffer(make([]byte, 0, 4096), longestLine)
	var all []Chunk
	for n := 1; s.Scan(); n++ {
		c, err := parseChunk(s.Text())
		if err == nil && len(all) > 0 && len(c.Bytes) > 0 && c.At < all[len(all)-1].At {
			err = errors.New("the time runs backwards")
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if len(c.Bytes) > 0 {
			all = append(all, c)
		}
	}
	if err := s.Err(); err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, errors.New("holds no bytes")
	}
	return all, nil
}

// lineFlags are the flags of a serial line.
func (c call) lineFlags() *serial.Config {
	l := new(serial.Config)
	c.flags.StringVar(&l.Port, "port", "", "the line: /dev/serial/by-id/…, or tcp://host:port of a terminal server")
	c.flags.IntVar(&l.Baud, "baud", 9600, "speed of the line")
	c.flags.StringVar(&l.Format, "format", "8N1", "data bits, parity, stop bits")
	c.flags.StringVar(&l.DTR, "dtr", "", "control line DTR: on or off; empty: as the driver raises it")
	c.flags.StringVar(&l.RTS, "rts", "", "control line RTS: on or off; empty: as the driver raises it")
	return l
}

// record keeps what a line brings.
func record(ctx context.Context, c call) error {
	line := c.lineFlags()
	length := c.flags.Duration("for", 0, "stop after this time; 0: when it is interrupted")
	asJSON := c.flags.Bool("json", false, "print JSON at the end")
	const synopsis = "-port P [flags] FILE"
	given, err := c.parse(synopsis, 1)
	if err != nil {
		return err
	}
	if line.Port == "" || len(given) != 1 || *length < 0 {
		return wrongCall("usage: firmware-bridge record "+synopsis, "record needs a port and the name of a file that is not there yet")
	}
	file, err := os.OpenFile(given[0], os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("%w; a recording is never overwritten", err)
	}
	port, err := serial.OpenContext(ctx, *line)
	if err != nil {
		return errors.Join(err, file.Close(), os.Remove(given[0]))
	}
	stop := context.AfterFunc(ctx, func() { port.Close() }) // wakes Read
	defer stop()
	k := keeper{port: port, line: *line, length: *length, bar: c.progress(*asJSON)}
	err = k.keep(ctx, file)
	k.bar.clear()
	if errors.Is(err, os.ErrClosed) && ctx.Err() != nil {
		err = nil // stopped by a signal, as is usual
	}
	err = errors.Join(err, file.Sync(), file.Close(), port.Close())
	switch out := c.output(); {
	case *asJSON:
		out.json(map[string]any{"file": given[0], "bytes": k.bytes, "pieces": k.pieces, "lost": err != nil})
		return errors.Join(err, out.failed())
	case k.bytes == 0:
		fmt.Fprintf(c.env.Stderr, "%s: nothing came\n", given[0])
	default:
		fmt.Fprintf(c.env.Stderr, "%s: %s in %s\n", given[0], count(int(k.bytes), "byte"), count(k.pieces, "piece"))
	}
	return err
}

// keeper writes one recording.
type keeper struct {
	port   *serial.Port
	line   serial.Config
	length time.Duration // 0: until it is interrupted
	bar    *progress

	pieces int
	bytes  int64
}

// keep writes pieces until the time is over, the line is lost or the file is full. What came
// before a failure stays in the file.
func (k *keeper) keep(ctx context.Context, file io.Writer) (err error) {
	w := bufio.NewWriter(file)
	defer func() { err = errors.Join(err, w.Flush()) }()
	start := time.Now()
	fmt.Fprintf(w, "%s\n# %s %d %s, %s\n", recordingHead, k.line.Port, k.line.Baud, k.line.Format, start.UTC().Format(time.RFC3339))
	var buf [4096]byte
	var text []byte
	written := 0
	for ctx.Err() == nil && (k.length == 0 || time.Since(start) < k.length) {
		k.bar.show(time.Since(start), k.length, fmt.Sprintf("%s in %s", count(int(k.bytes), "byte"), count(k.pieces, "piece")))
		n, err := k.port.Read(buf[:])
		at := time.Since(start)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if err := w.Flush(); err != nil { // the line is silent: a good moment
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		text = Chunk{at, bytes.Clone(buf[:n])}.append(text[:0])
		if written += len(text); written > largestRecording {
			return fmt.Errorf("the recording would be larger than %d MiB: begin a new one", largestRecording>>20)
		}
		if _, err := w.Write(text); err != nil {
			return err
		}
		k.pieces, k.bytes = k.pieces+1, k.bytes+int64(n)
	}
	return nil
}
