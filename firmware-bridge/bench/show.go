package bench

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/modbus"
	"steelyard/firmware-bridge/serial"
	"steelyard/firmware-bridge/weighbridge"
)

const showSynopsis = "-port P -dialect D | -port P -indicator I | -link L -profile P -unit N  [flags]"

// show watches a line: a picture at a terminal, else a line for each frame.
func show(ctx context.Context, c invocation) error {
	line := c.lineFlags()
	name := c.flags.String("dialect", "", "dialect of the indicator on -port; empty: bytes only")
	indicator := c.flags.String("indicator", "", "indicator on -port, in place of -dialect: a name of the catalogue or a file")
	link := c.flags.String("link", "", "tcp://host:port, rtu:///dev/…?baud=9600&format=8N1 or rtu-over-tcp://host:port")
	profile := c.flags.String("profile", "", "profile of the machine on -link")
	id := c.flags.String("unit", "", "unit id of the machine on -link, or unit of the display on -port")
	every := c.flags.Duration("every", time.Second, "time between two polls on -link")
	frames := c.flags.Int("count", 0, "end after so many frames or polls; 0: never")
	length := c.flags.Duration("for", 0, "end after this time; 0: never")
	silent := c.flags.Bool("silent", false, "never ask, also where the dialect is one that answers")
	asJSON := c.flags.Bool("json", false, "one JSON object for each frame or poll")
	c.catalogFlag()
	adapt := c.showDialectFlags()
	if _, err := c.parse(showSynopsis, 0); err != nil {
		return err
	}
	usage := "usage: firmware-bridge show " + showSynopsis
	if one(line.Port, *link) != 1 {
		return wrongCall(usage, "show needs either a port or a link%s", whichPort())
	}
	if *name != "" && *indicator != "" {
		return wrongCall(usage, "show needs either a dialect or an indicator")
	}
	switch {
	case *link != "" && *profile == "":
		return wrongCall(usage, "show needs the profile of the machine on the link")
	case *link != "" && one(*name, *indicator) > 0, line.Port != "" && *profile != "":
		return wrongCall(usage, "a dialect or an indicator is on a port, a profile on a link")
	}
	if *frames < 0 || *length < 0 {
		return wrongCall(usage, "count %d, for %s: must not be negative", *frames, *length)
	}
	if err := c.checkShow(*line, *link, *name+*indicator); err != nil {
		return err
	}
	out := c.output()
	var picture *screen
	if fd, ok := terminal(c.env.Stdout); ok && !*asJSON {
		picture = &screen{out: out, fd: fd}
		defer picture.leave()
	}
	if *length > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, *length, errTimeOver)
		defer cancel()
	}
	var err error
	came := shown{what: "frame"}
	if *link != "" {
		came, err = c.showMachine(ctx, *link, *profile, *id, *every, *frames, out, picture, *asJSON)
	} else {
		adapt.unit = *id
		w := &watch{line: *line, out: out, picture: picture, asJSON: *asJSON, most: uint64(*frames), silent: *silent, start: time.Now()}
		if err = w.prepare(c, *name, *indicator, adapt); err == nil {
			err = w.run(ctx)
		}
		came.number, came.trouble = w.shown, w.trouble
	}
	if errors.Is(context.Cause(ctx), errTimeOver) && (err == nil || errors.Is(err, errTimeOver)) {
		err = came.enough(line.Port+*link, *length, uint64(*frames))
	}
	return errors.Join(err, out.failed())
}

// errTimeOver ends what was to last so long.
var errTimeOver = errors.New("the time is over")

// shown is what came in the time that was given.
type shown struct {
	what    string // frame or poll
	number  uint64
	trouble string // the latest; empty: none, or it is over
}

// enough reports whether it is what was waited for: a script must not take silence for a weight.
func (s shown) enough(where string, length time.Duration, wanted uint64) error {
	trouble := s.trouble
	if trouble == "" {
		trouble = "is the machine on, its output enabled, the cable plugged? or wait longer"
		if s.what == "poll" {
			trouble = "is the machine on, its Modbus enabled, the unit id right? wait longer, and what comes is said"
		}
	}
	switch {
	case wanted > 0 && s.number < wanted:
		return fmt.Errorf("%s: %d of %s came in %s: %s", where, s.number, count(int(wanted), s.what), length, trouble)
	case s.number == 0:
		return fmt.Errorf("%s: no %s came in %s: %s", where, s.what, length, trouble)
	}
	return nil
}

// checkShow looks at the line and refuses flags that are about the other kind of it.
func (c invocation) checkShow(line serial.Config, link, names string) error {
	if link == "" {
		if err := c.refuse("is about a machine on a -link; leave it out", "every"); err != nil {
			return err
		}
		if names == "" {
			if err := c.refuse("is about an indicator's frames; name the indicator with -dialect or -indicator", append(optionFlags(), "unit", "silent")...); err != nil {
				return err
			}
		}
		if err := line.Check(); err != nil {
			return wrongCall("", "%w", err)
		}
		return nil
	}
	if err := c.refuse("a link has speed, format and control lines in itself, like rtu:///dev/…?baud=19200&format=8E1; leave it out", "baud", "format", "dtr", "rts"); err != nil {
		return err
	}
	if err := c.refuse("is about an indicator, and a link leads to a machine on Modbus; leave it out", append(optionFlags(), "silent")...); err != nil {
		return err
	}
	if _, err := modbus.ParseLink(link); err != nil {
		return wrongCall("", "%w", err)
	}
	return nil
}

// showDialectFlags leaves -unit to show, where it has two meanings.
func (c invocation) showDialectFlags() *dialectFlags {
	other := newInvocation("options", c.env)
	d := other.dialectFlags()
	for _, name := range optionFlags() {
		f := other.flags.Lookup(name)
		c.flags.Var(f.Value, name, f.Usage)
	}
	return d
}

// watch is one indicator's line being looked at. It belongs to one goroutine.
type watch struct {
	line    serial.Config
	dialect *weighbridge.Dialect // nil: bytes only
	options weighbridge.Options
	silent  bool
	out     *output
	picture *screen // nil: lines
	asJSON  bool
	most    uint64

	start       time.Time
	decoder     *weighbridge.Decoder
	past        weighbridge.Stats // of decoders before, on lines that were lost
	bytes       uint64
	shown       uint64    // frames
	rejected    uint64    // at the latest message about them
	lastErrorAt time.Time // of that message; there is at most one a second
	lastError   string    // the latest error; the same one is not said again
	trouble     string    // the latest error since the latest frame
	heard       time.Time // when the latest frame came, or the line was opened
	came        time.Time // when the latest byte came
	quiet       bool      // that this was long ago is said already
	state       string
	last        *device.Weight
	tail        []byte // the latest bytes
	frames      recent
	errors      recent
	perFrame    rate
	perByte     rate
}

const tailBytes = 48

func (w *watch) prepare(c invocation, name, indicator string, adapt *dialectFlags) error {
	w.frames.most, w.errors.most = 4, 3
	if name == "" && indicator == "" {
		return w.line.Check()
	}
	s, err := c.speaks(name, indicator, adapt)
	if err != nil {
		return err
	}
	if s.model != nil {
		said := map[string]bool{}
		c.flags.Visit(func(f *flag.Flag) { said[f.Name] = true })
		if !said["baud"] && s.model.Line.Baud != 0 {
			w.line.Baud = s.model.Line.Baud
		}
		if !said["format"] && s.model.Line.Format != "" {
			w.line.Format = s.model.Line.Format
		}
	}
	w.dialect, w.options = &s.dialect, s.options
	return w.line.Check()
}

// errEnough reports that as many frames were shown as were wanted.
var errEnough = errors.New("enough")

// run watches the line, and opens it again when it is lost.
func (w *watch) run(ctx context.Context) error {
	for {
		w.state = "opening"
		err := w.session(ctx)
		switch {
		case errors.Is(err, errEnough):
			w.refresh(time.Now(), true)
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		w.fault(err)
		w.state = "lost"
		for range 10 {
			w.refresh(time.Now(), false)
			if err := wait(ctx, leastRedraw); err != nil {
				return err
			}
		}
	}
}

func (w *watch) session(ctx context.Context) error {
	w.line.Poll = 50 * time.Millisecond
	port, err := openPort(ctx, w.line)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { port.Close() }) // wakes Read and Write
	defer stop()
	defer port.Close() // the line is only looked at; what was lost is said already
	w.state, w.lastError = "listening", ""
	w.heard, w.quiet = time.Now(), false
	var poll []byte
	if w.dialect != nil {
		w.decoder = weighbridge.NewDecoder(*w.dialect, w.options)
		defer w.keepCounts()
		if w.dialect.Poll != "" && !w.silent {
			if poll, err = w.dialect.Encode(w.dialect.Poll, w.options); err != nil {
				return err
			}
			w.state = "asking"
		}
	}
	buf := make([]byte, 4096)
	var nextPoll, lastByte time.Time
	for {
		now := time.Now()
		if poll != nil && now.After(nextPoll) {
			if _, err := port.Write(poll); err != nil {
				return err
			}
			nextPoll = now.Add(answerTime + askPause) // brought forward by an answer
		}
		n, err := port.Read(buf)
		now = time.Now()
		switch {
		case n > 0:
			lastByte = now
			before := w.shown
			if w.take(now, buf[:n]); w.shown != before {
				nextPoll = now.Add(askPause)
			}
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return err
		case w.decoder != nil && !lastByte.IsZero() && now.Sub(lastByte) > max(250*time.Millisecond, w.line.TimeOf(3*w.dialect.FrameBytes)):
			w.decoder.Flush(w.frame)
			lastByte = time.Time{}
		}
		w.checkSilence(now)
		if w.most > 0 && w.shown >= w.most {
			return errEnough
		}
		if w.out.err != nil {
			return errEnough // nobody looks any more
		}
		w.refresh(now, false)
	}
}

// askPause is what every indicator needs between its answer and the next request; an edge leaves
// it the same (see weighbridge.Reader).
const askPause = 200 * time.Millisecond

// checkSilence says once that the line has brought no frame for long.
func (w *watch) checkSilence(now time.Time) {
	const least, frames, lately = 2 * time.Second, 10, time.Second
	if w.dialect == nil || w.quiet {
		return
	}
	limit := max(least, w.line.TimeOf(frames*w.dialect.FrameBytes))
	unasked := w.silent || w.dialect.Poll == ""
	if now.Sub(w.heard) < limit || unasked && len(w.dialect.Requests()) > 0 {
		return // or nobody has asked one that only answers
	}
	w.quiet = true
	switch {
	case w.came.After(w.heard) && now.Sub(w.came) < lately:
		w.fault(errors.New(weighbridge.NoFrame(w.line, *w.dialect, limit, w.decoder.Refused())))
	case unasked:
		w.fault(fmt.Errorf("no frame for %s: is the indicator on, its output enabled, the cable plugged?", limit))
	default:
		w.fault(fmt.Errorf("no answer for %s: is the indicator on and set to answer, the cable plugged, the address right?", limit))
	}
}

// keepCounts keeps the counts of a decoder that is given up.
func (w *watch) keepCounts() {
	w.past = w.stats()
	w.decoder = nil
}

func (w *watch) stats() weighbridge.Stats {
	s := w.past
	if w.decoder != nil {
		now := w.decoder.Stats()
		s.Bytes, s.Frames, s.Bad, s.Discarded = s.Bytes+now.Bytes, s.Frames+now.Frames, s.Bad+now.Bad, s.Discarded+now.Discarded
	}
	return s
}

func (w *watch) take(now time.Time, b []byte) {
	w.came = now
	w.bytes += uint64(len(b))
	w.tail = append(w.tail, b...)
	w.tail = append(w.tail[:0], w.tail[max(0, len(w.tail)-tailBytes):]...)
	if w.decoder != nil {
		w.decoder.Write(now, b, w.frame)
		if s := w.stats(); s.Bad > w.rejected && now.Sub(w.lastErrorAt) >= time.Second {
			w.lastErrorAt = now
			w.fault(fmt.Errorf("frame rejected: %s", w.decoder.LastRefused()))
			w.rejected = s.Bad
		}
		return
	}
	w.trouble = ""
	if w.shown++; w.picture == nil {
		if w.asJSON {
			w.out.json(map[string]string{"at": stamp(now), "raw": fmt.Sprintf("%x", b)})
		} else {
			w.out.printf("%s  %s  %s\n", clock(now), spaced(b), printable(b))
		}
	}
}

func (w *watch) frame(f device.Weight) {
	f.Raw = bytes.Clone(f.Raw)
	w.last, w.lastError, w.trouble = &f, "", ""
	w.heard, w.quiet = f.At, false
	if w.shown++; w.most > 0 && w.shown > w.most {
		return
	}
	switch {
	case w.asJSON:
		w.out.json(struct {
			At string `json:"at"`
			weighbridge.Description
		}{stamp(f.At), weighbridge.Describe(f)})
	case w.picture == nil:
		w.out.printf("%s  %-28s  %s\n", clock(f.At), formatWeight(f), spaced(f.Raw))
	default:
		w.frames.add(fmt.Sprintf("%s  %-26s  %s", clock(f.At), formatWeight(f), spaced(f.Raw)))
	}
}

// fault says what is wrong, once for each thing.
func (w *watch) fault(err error) {
	if err == nil || err.Error() == w.lastError {
		return
	}
	w.lastError, w.trouble = err.Error(), err.Error()
	switch {
	case w.asJSON:
		w.out.json(map[string]string{"at": stamp(time.Now()), "error": w.lastError})
	case w.picture == nil:
		w.out.printf("%s  error: %s\n", clock(time.Now()), w.lastError)
	default:
		w.errors.add(clock(time.Now()) + "  " + w.lastError)
	}
}

func (w *watch) refresh(now time.Time, last bool) {
	s := w.stats()
	w.perFrame.update(now, s.Frames)
	w.perByte.update(now, w.bytes)
	if w.picture == nil || !last && !w.picture.due(now) {
		return
	}
	name := "bytes only"
	if w.dialect != nil {
		name = w.dialect.Name
	}
	lines := []string{
		fmt.Sprintf("%s  %s  %s for %s", onLine(w.line), name, w.state, now.Sub(w.start).Truncate(time.Second)),
		"",
	}
	if w.dialect != nil {
		reading := "no frame yet"
		if w.last != nil {
			reading = formatWeight(*w.last)
			if age := now.Sub(w.last.At); age > time.Second {
				reading += fmt.Sprintf("  (%s ago)", age.Truncate(time.Second))
			}
		}
		lines = append(lines, bold+"    "+reading, "",
			fmt.Sprintf("frames %8d  %8s   rejected %d", s.Frames, w.perFrame, s.Bad))
	}
	unexplained := ""
	if w.dialect != nil {
		unexplained = fmt.Sprintf("   of no frame %d", s.Discarded)
	}
	lines = append(lines, fmt.Sprintf("bytes  %8d  %8s%s", w.bytes, w.perByte, unexplained), "")
	if len(w.errors.lines) > 0 {
		lines = append(lines, "errors")
		lines = append(lines, w.errors.folded(w.picture.width())...)
		lines = append(lines, "")
	}
	if w.dialect != nil {
		lines = append(lines, "last frames")
		lines = append(lines, w.frames.lines...)
		lines = append(lines, "")
	}
	lines = append(lines, "last bytes")
	for at := 0; at < len(w.tail); at += 16 {
		row := w.tail[at:min(at+16, len(w.tail))]
		lines = append(lines, fmt.Sprintf("%-47s  %s", spaced(row), printable(row)))
	}
	w.picture.draw(now, lines)
}

// onLine names a line with its setting; that of a terminal server is not known here.
func onLine(line serial.Config) string {
	if line.Network() {
		return line.Port
	}
	return fmt.Sprintf("%s  %d %s", line.Port, line.Baud, line.Format)
}

func stamp(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.000Z07:00") }
func clock(at time.Time) string { return at.Format("15:04:05.000") }

// formatWeight is a weight as a person reads it. What the frame does not say is not there.
func formatWeight(w device.Weight) string {
	value := "no weight"
	if w.HasValue {
		value = strings.TrimRight(w.Value.String()+" "+string(w.Unit), " ")
	}
	words := []string{value}
	if w.Kind != device.Shown {
		words = append(words, string(w.Kind))
	}
	words = append(words, map[device.Tri]string{device.Yes: "stable", device.No: "moving"}[w.Stable],
		string(w.Range), map[bool]string{true: "zero"}[w.Zero == device.Yes], w.Error)
	if w.HasTare {
		words = append(words, "tare "+w.Tare.String()+cmp.Or(map[device.TareKind]string{device.TarePreset: " (preset)"}[w.TareKind], ""))
	}
	var said []string
	for _, word := range words {
		if word != "" {
			said = append(said, word)
		}
	}
	return strings.Join(said, "  ")
}
