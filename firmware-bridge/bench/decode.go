package bench

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/modbus"
	"steelyard/firmware-bridge/weighbridge"
)

const decodeSynopsis = "-dialect NAME | -indicator NAME|FILE | -profile NAME|FILE [flags] [FILE]"

// decode reads lines of hexadecimal and prints one JSON object for each frame.
func decode(ctx context.Context, c call) error {
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
	out := c.output()
	take, end, err := c.taker(*name, *indicator, *profile, adapt, *stream || *recording, out)
	if err != nil {
		return err
	}
	input := c.env.Stdin
	if len(given) == 1 && given[0] != "-" {
		file, err := os.Open(given[0])
		if err != nil {
			return err
		}
		defer file.Close()
		input = io.LimitReader(file, largestRecording)
	}
	in, unread := readLines(ctx, input), 0
	for n := 1; ; n++ {
		text, err := in.line(ctx)
		if errors.Is(err, errNoMoreLines) {
			end()
			if err := out.failed(); err != nil || unread == 0 {
				return err
			}
			return fmt.Errorf("%s of %d could not be read", count(unread, "line"), n-1)
		}
		if err != nil {
			return err
		}
		var b []byte
		if *recording {
			var chunk Chunk
			if chunk, err = parseChunk(text); err == nil {
				b = chunk.Bytes
			}
		} else {
			b, err = parseHex(text)
		}
		switch {
		case err != nil:
			unread++ // one bad line does not take the others with it
			out.json(unreadable{Line: n, Why: err.Error()})
		case len(b) > 0:
			take(b)
		}
		if out.err != nil {
			return out.failed()
		}
	}
}

// unreadable stands for a line that holds no bytes to decode.
type unreadable struct {
	Valid bool   `json:"valid"` // always false
	Line  int    `json:"line"`
	Why   string `json:"why"`
}

// taker gives what is done with each line, and at the end.
func (c call) taker(name, indicator, profile string, adapt *dialectFlags, stream bool, out *output) (take func([]byte), end func(), err error) {
	nothing := func() {}
	switch {
	case profile != "":
		p, err := c.profile(profile)
		if err != nil {
			return nil, nil, err
		}
		r := replies{profile: p}
		return func(b []byte) { out.json(r.take(b)) }, nothing, nil
	case name == rtuFrames || name == tcpFrames:
		return func(b []byte) { out.json(takeApart(b, name == tcpFrames)) }, nothing, nil
	}
	s, err := c.speaks(name, indicator, adapt)
	if err != nil {
		return nil, nil, err
	}
	if stream {
		decoder := weighbridge.NewDecoder(s.dialect, s.options)
		emit := func(w device.Weight) { out.json(weighbridge.Describe(w)) }
		return func(b []byte) { decoder.Write(time.Now(), b, emit) }, func() { decoder.Flush(emit) }, nil
	}
	return func(b []byte) {
		for _, f := range decodeLine(s.dialect, s.options, s.given, b) {
			out.json(f)
		}
	}, nothing, nil
}

// frameWords is a frame in words, as decode prints it.
type frameWords struct {
	weighbridge.Description
	Request string `json:"request,omitempty"` // the frame is not an answer but this request of a host
	Options string `json:"options,omitempty"` // of the variant that explains the line, when none was given
	Why     string `json:"why,omitempty"`     // why the line is no frame
}

// decodeLine decodes a line that stands for itself. Without options, one that the usual variant
// does not explain wholly is tried with the others: here, unlike on a live line, it is known where
// the frame begins and ends, and the variant is named.
func decodeLine(d weighbridge.Dialect, o weighbridge.Options, given bool, b []byte) []frameWords {
	weights, stats := frames(d, o, time.Now(), b)
	used := ""
	if !given && (len(weights) == 0 || stats.Discarded > 0) && d.Name != "generic" {
		for _, v := range variants(d)[1:] {
			v.Unit = o.Unit
			if other, s := frames(d, v, time.Now(), b); len(other) == 1 && s.Discarded == 0 {
				weights, used = other, describeOptions(v)
				break
			}
		}
	}
	if len(weights) > 0 {
		var all []frameWords
		for _, w := range weights {
			all = append(all, frameWords{Description: weighbridge.Describe(w), Options: used})
		}
		return all
	}
	none := frameWords{Description: weighbridge.Description{Raw: hex.EncodeToString(b)}}
	if r, ok := requestOf(d, b); ok {
		none.Valid, none.Request = true, string(r)
	} else {
		none.Why = fmt.Sprintf("no frame of %s: checksum, length, digits or unit are not right, or it is a command that this program never sends", d.Name)
	}
	return []frameWords{none}
}

// replies decodes what a machine with a profile answered.
type replies struct {
	profile *modbus.Profile
	asked   []byte // the latest request, without CRC
}

// replyWords is a reply in words.
type replyWords struct {
	Valid   bool              `json:"valid"`
	Unit    uint8             `json:"unit"`
	Request string            `json:"request,omitempty"` // the frame is a request
	Values  map[string]string `json:"values,omitempty"`  // as in a profile's tests: tag to text, "none" for no value
	Missing map[string]string `json:"missing,omitempty"` // tag to the reason why there is no value
	Raw     string            `json:"raw"`
	Why     string            `json:"why,omitempty"`
}

func (r *replies) take(b []byte) replyWords {
	w := replyWords{Raw: hex.EncodeToString(b)}
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
	case fc != 3 && fc != 4:
		w.Why = fmt.Sprintf("function %d: profiles read with 3 and 4 only", fc)
		return w
	case len(body) == 6:
		r.asked, w.Valid, w.Request = body, true, readWords(body)
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
		return b.FC != body[1] || 2*b.Count != int(body[2])
	})
	if len(fitting) != 1 {
		return nil, fmt.Sprintf("the request is not known and %d reads of %s have this length: give the request in the line before", len(fitting), r.profile.Name)
	}
	b := fitting[0]
	return requestBody(body[0], b.FC, b.From, b.Count), ""
}
