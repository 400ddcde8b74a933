package bench

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/modbus"
	"steelyard/firmware-bridge/weighbridge"
)

const decodeSynopsis = "-dialect NAME | -indicator NAME|FILE | -profile NAME|FILE [flags] [FILE]"

// decode reads lines of hexadecimal and prints one JSON object for each frame.
func decode(ctx context.Context, c invocation) error {
	name := c.flags.String("dialect", "", "dialect of an indicator; modbus-crc and modbus-tcp take Modbus frames apart")
	indicator := c.flags.String("indicator", "", "indicator: a name of the catalogue or a file")
	profile := c.flags.String("profile", "", "profile of a Modbus machine: lines are requests and replies, with or without CRC or TCP header")
	stream := c.flags.Bool("stream", false, "lines are pieces of one stream, frames may span them")
	recording := c.flags.Bool("recording", false, "the input is a recording; implies -stream")
	c.flags.Bool("json", true, "this command always prints JSON")
	c.catalogFlag()
	adapt := c.dialectFlags()
	given, err := c.parse(decodeSynopsis, 1)
	if err != nil {
		return err
	}
	if one(*name, *profile, *indicator) != 1 {
		return wrongCall("usage: firmware-bridge decode "+decodeSynopsis, "decode needs a dialect, an indicator or a profile, and one of them only")
	}
	if *profile != "" || isModbus(*name) {
		if err := c.refuse("is about an indicator's frames, and these are of Modbus; leave it out", append(optionFlags(), "unit", "stream")...); err != nil {
			return err
		}
	}
	out := c.output()
	t, err := c.lineDecoder(*name, *indicator, *profile, adapt, *stream || *recording, out)
	if err != nil {
		return err
	}
	input := c.env.Stdin
	if len(given) == 1 && given[0] != "-" {
		file, err := openInput(given[0])
		if err != nil {
			return err
		}
		defer file.Close()
		input = file
	}
	return t.all(ctx, readLines(ctx, input), *recording, out)
}

// lineDecoder is what is done with each line of the input.
type lineDecoder struct {
	take   func(n int, b []byte)
	unread func(n int, why string) // one that holds no bytes to decode
	end    func() error            // says why there was nothing
}

// all takes all lines. One that can't be read does not take the others with it.
func (t lineDecoder) all(ctx context.Context, in *lines, recording bool, out *output) error {
	unread, taken, first := 0, 0, ""
	for n := 1; ; n++ {
		text, err := in.line(ctx)
		switch {
		case errors.Is(err, errNoMoreLines):
			nothing := t.end()
			if taken == 0 && unread == 0 {
				nothing = errors.New("the input holds no bytes: write each line of hexadecimal, as in 02 2B 30, or give a recording with -recording")
			}
			if err := out.failed(); err != nil || unread == 0 {
				return errors.Join(err, nothing)
			}
			return fmt.Errorf("%s of %d could not be read; the first is %s", count(unread, "line"), n-1, first)
		case err != nil && !errors.Is(err, errLongLine):
			return err
		}
		var b []byte
		if err == nil {
			b, err = bytesOf(text, recording)
		}
		switch {
		case err != nil:
			if unread++; unread == 1 {
				first = fmt.Sprintf("line %d: %v", n, err)
			}
			t.unread(n, err.Error())
		case len(b) > 0:
			taken++
			t.take(n, b)
		}
		if out.err != nil {
			return out.failed()
		}
	}
}

// bytesOf reads a line of hexadecimal or of a recording.
func bytesOf(text string, recording bool) ([]byte, error) {
	if recording {
		chunk, err := parseChunk(text)
		return chunk.Bytes, err
	}
	return parseHex(text)
}

func isModbus(dialect string) bool { return dialect == rtuFrames || dialect == tcpFrames }

// lineDecoder makes the one for what is decoded.
func (c invocation) lineDecoder(name, indicator, profile string, adapt *dialectFlags, stream bool, out *output) (lineDecoder, error) {
	t := lineDecoder{end: func() error { return nil }}
	switch {
	case profile != "":
		p, err := c.profile(profile)
		r := replies{profile: p}
		t.take = func(n int, b []byte) { w := r.take(b); w.Line = n; out.json(w) }
		t.unread = func(n int, why string) { out.json(replyJSON{Line: n, Why: why}) }
		return t, err
	case isModbus(name):
		t.take = func(n int, b []byte) { w := takeApart(b, name == tcpFrames); w.Line = n; out.json(w) }
		t.unread = func(n int, why string) { out.json(modbusJSON{Line: n, Why: why, Registers: []uint16{}}) }
		return t, nil
	}
	if _, known := weighbridge.Find(name); indicator == "" && !known {
		_, err := findDialect(name)
		return t, wrongCall("", "%w; or of Modbus: %s, %s", err, rtuFrames, tcpFrames)
	}
	s, err := c.speaks(name, indicator, adapt)
	if err != nil {
		return t, err
	}
	t.unread = func(n int, why string) { out.json(frameJSON{Line: n, Why: why}) }
	if stream {
		decoder, line, began := weighbridge.NewDecoder(s.dialect, s.options), 0, []byte{}
		emit := func(w device.Weight) { out.json(frameJSON{Description: weighbridge.Describe(w), Line: line}) }
		t.take = func(n int, b []byte) {
			line = n
			began = append(began, b[:min(len(b), longestLine-len(began))]...)
			decoder.Write(time.Now(), b, emit)
		}
		t.end = func() error {
			decoder.Flush(emit)
			if decoder.Stats().Frames > 0 {
				return nil
			}
			return s.unexplained(decoder, began)
		}
		return t, nil
	}
	t.take = func(n int, b []byte) {
		for _, f := range decodeLine(s.dialect, s.options, s.given, b) {
			f.Line = n
			out.json(f)
		}
	}
	return t, nil
}

// unexplained says of bytes that hold no frame how many there are, which rule failed most, and which options of
// the dialect would explain them.
func (s chosenDialect) unexplained(decoder *weighbridge.Decoder, b []byte) error {
	other := ""
	if !s.given && s.dialect.Name != "generic" {
		for _, v := range lineVariants(s.dialect) {
			if weights, stats := frames(s.dialect, v, time.Time{}, b); len(weights) > 0 && 2*stats.Discarded < stats.Bytes {
				other = fmt.Sprintf("; with {%s} they hold %s", describeOptions(v), count(len(weights), "frame"))
				break
			}
		}
	}
	return fmt.Errorf("%s and no frame of %s: %s%s", count(int(decoder.Stats().Bytes), "byte"), s.dialect.Name, decoder.Refused(), other)
}

// frameJSON is a frame in words, as decode prints it.
type frameJSON struct {
	weighbridge.Description
	Line    int    `json:"line"`              // of the input, on which the frame ends
	Request string `json:"request,omitempty"` // the frame is not an answer but this request of a host
	Options string `json:"options,omitempty"` // of the variant that explains the line, when none was given
	Why     string `json:"why,omitempty"`     // why the line is no frame
}

// decodeLine decodes a line that stands for itself. Without options, one that the usual variant
// does not explain wholly is tried with the others: here, unlike on a live line, it is known where
// the frame begins and ends, and the variant is named.
func decodeLine(d weighbridge.Dialect, o weighbridge.Options, given bool, b []byte) []frameJSON {
	weights, decoder := decoded(d, o, time.Now(), b)
	stats, used := decoder.Stats(), ""
	if !given && (len(weights) == 0 || stats.Discarded > 0) && d.Name != "generic" {
		for _, v := range lineVariants(d) {
			v.Unit = o.Unit
			if other, s := frames(d, v, time.Now(), b); len(other) == 1 && s.Discarded == 0 {
				weights, used = other, describeOptions(v)
				break
			}
		}
	}
	if len(weights) > 0 {
		var all []frameJSON
		for _, w := range weights {
			all = append(all, frameJSON{Description: weighbridge.Describe(w), Options: used})
		}
		return all
	}
	none := frameJSON{Description: weighbridge.Description{Raw: hex.EncodeToString(b)}}
	if r, ok := requestOf(d, b); ok {
		none.Valid, none.Request = true, string(r)
	} else {
		none.Why = fmt.Sprintf("no frame of %s: %s; or it is a command that this program never sends", d.Name, decoder.Refused())
	}
	return []frameJSON{none}
}

// lineVariants are the variants of one line whose ends are known, the usual one excepted. Which of the
// two commands C and D of a Yaohua indicator reads its tare cannot be seen; on a line that is weighed
// by it must be proven with a known tare. Here C is taken for it, as in half of the documents, and the
// object says so in its options.
func lineVariants(d weighbridge.Dialect) []weighbridge.Options {
	usual := variants(d)
	all := usual[1:]
	for _, o := range usual {
		if o.TareIs = "C"; d.Check(o) == nil {
			all = append(all, o)
		}
	}
	return all
}

// replies decodes what a machine with a profile answered.
type replies struct {
	profile *modbus.Profile
	asked   []byte // the latest request, without CRC
}

// replyJSON is a reply in words.
type replyJSON struct {
	Valid   bool              `json:"valid"`
	Line    int               `json:"line"` // of the input
	Unit    uint8             `json:"unit"`
	Request string            `json:"request,omitempty"` // the frame is a request
	Values  map[string]string `json:"values,omitempty"`  // as in a profile's tests: tag to text, "none" for no value
	Missing map[string]string `json:"missing,omitempty"` // tag to the reason why there is no value
	Raw     string            `json:"raw"`
	Why     string            `json:"why,omitempty"`
}

func (r *replies) take(b []byte) replyJSON {
	w := replyJSON{Raw: hex.EncodeToString(b)}
	body, ok := bare(b)
	if !ok {
		w.Why = "no Modbus frame: the CRC or the length is not right"
		return w
	}
	w.Unit = body[0]
	fc := body[1]
	switch {
	case fc&0x80 != 0:
		w.Why = modbus.Exception{Code: body[2]}.Error()
		return w
	case fc < 1 || fc > 4:
		w.Why = fmt.Sprintf("function %d: profiles read with 1 to 4 only", fc)
		return w
	case len(body) == 6 && !(fc <= 2 && answers(r.asked, body)): // three bytes of bits are as long as a request
		r.asked, w.Valid, w.Request = body, true, describeRead(body)
		return w
	}
	asked := r.asked
	if !answers(asked, body) {
		var why string
		if asked, why = r.guess(body); why != "" {
			w.Why = why
			return w
		}
	}
	registers, err := modbus.Vector{Request: hex.EncodeToString(asked), Reply: hex.EncodeToString(body)}.Registers()
	if err != nil {
		w.Why = err.Error()
		return w
	}
	w.Valid, w.Values = true, map[string]string{}
	for _, v := range r.profile.Decode(registers) {
		if strings.HasSuffix(v.Why, "was not read") {
			continue // of another request
		}
		w.Values[v.Tag] = modbus.Text(v)
		if !v.OK {
			if w.Missing == nil {
				w.Missing = map[string]string{}
			}
			w.Missing[v.Tag] = v.Why
		}
	}
	return w
}

// guess finds the read that has this reply's length, when there is only one.
func (r *replies) guess(body []byte) (request []byte, why string) {
	fitting := slices.DeleteFunc(r.profile.Blocks(), func(b modbus.Block) bool {
		return b.FC != body[1] || dataBytes(b.FC, b.Count) != int(body[2])
	})
	if len(fitting) != 1 {
		return nil, fmt.Sprintf("the request is not known and %d reads of %s have this length: give the request in the line before", len(fitting), r.profile.Name)
	}
	b := fitting[0]
	return requestBody(body[0], b.FC, b.From, b.Count), ""
}
