package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"steelyard/firmware-bridge/catalog"
	"steelyard/firmware-bridge/weighbridge"
	"steelyard/internal/config"
	"steelyard/internal/wire"
)

const draftFrameSynopsis = "-known WEIGHT -port P | FILE  or  WEIGHT=FILE…  [flags]"

// draftFrame shows where a known weight stands in the frames of an indicator that nobody described, and writes
// the first file about it. What it does not understand it holds fast, so that a frame that says something else
// is refused and never taken for a weight.
func draftFrame(ctx context.Context, c invocation) error {
	line := c.lineFlags()
	known := c.flags.String("known", "", "the weight on the display, as it stands there")
	listen := c.flags.Duration("for", 4*time.Second, "how long to listen on -port; keep the load at rest for most of it, and move it a little in between")
	request := c.flags.String("request", "", "bytes with which the indicator is asked on -port, as in \"52 57 0D 0A\"; of a closed list, none of which acts")
	recording := c.flags.Bool("recording", false, "the files are recordings, and not lines of hexadecimal")
	name := c.flags.String("name", "own-indicator", "name of the indicator in the file; with -out that of the file")
	path := c.flags.String("out", "", "write the file there, like own/acme-w200.yaml; nothing is overwritten; empty: print it")
	s := search{invocation: c, open: openSerial}
	c.flags.StringVar(&s.unit, "unit", "", "unit of the display, where the frames do not name it")
	c.flags.StringVar(&s.device, "device", "weighbridge-1", "id of the weighbridge in the printed lines")
	c.flags.StringVar(&s.division, "division", "", "division e of the type plate, for the printed lines")
	c.flags.StringVar(&s.max, "max", "", "capacity of the type plate, for the printed lines")
	asJSON := c.flags.Bool("json", false, "print JSON")
	files, err := c.parse(draftFrameSynopsis, -1)
	if err != nil {
		return err
	}
	usage := "usage: firmware-bridge " + c.name + " " + draftFrameSynopsis
	if *path != "" {
		*name = strings.TrimSuffix(filepath.Base(*path), ".yaml")
	}
	var ask weighbridge.Bytes
	b, err := parseHex(*request)
	if err == nil && len(b) > 0 {
		ask = b
		err = weighbridge.CheckRequest(b)
	}
	switch {
	case err != nil:
		return wrongCall(usage, "request: %w", err)
	case (line.Port == "") == (len(files) == 0):
		return wrongCall(usage, "draft frame needs either a port%s or files of what came", whichPort())
	case line.Port != "" && *known == "":
		return wrongCall(usage, "draft frame needs the weight on the display: -known 12340")
	case *listen < 100*time.Millisecond || *listen > 10*time.Minute:
		return wrongCall(usage, "for %s: must be between 100ms and 10m", *listen)
	case wire.CheckSlug("name", *name) != nil:
		return wrongCall(usage, "name %.60q: lower-case letters, digits and dashes, and .yaml behind it in a file's name", *name)
	}
	if err := s.checkPlate(); err != nil {
		return wrongCall(usage, "%w", err)
	}
	var samples []sample
	if line.Port != "" {
		if err := line.Check(); err != nil {
			return wrongCall(usage, "%w", err)
		}
		s.line, s.port, s.listen = *line, line.Port, *listen
		s.bar, s.all = c.progress(*asJSON), *listen
		samples, err = s.listenTo(ctx, *known, ask)
		s.bar.clear()
	} else {
		samples, err = samplesOf(ctx, files, *known, *recording)
	}
	if err != nil {
		return err
	}
	d, err := guess(samples)
	if err != nil {
		return err
	}
	text := d.file(*name, s.unit, ask)
	if _, err := catalog.Read(*name+".yaml", []byte(text)); err != nil {
		return fmt.Errorf("the draft is not in order: %w", err)
	}
	if *path != "" {
		if err := writeNew(*path, text); err != nil {
			return err
		}
	}
	return s.present(d, samples, *path, *name, text, *asJSON)
}

// present prints what was found: to a person the picture, the file and the lines of edge.yaml.
func (s *search) present(d *drafted, samples []sample, path, name, text string, asJSON bool) error {
	dialect, _ := weighbridge.Find("generic")
	var all []byte
	for _, one := range samples {
		all = append(all, one.bytes...)
	}
	weights, decoder := decoded(dialect, d.options(), time.Time{}, all)
	refused := ""
	if n := len(d.frames) - len(weights); n > 0 {
		refused = fmt.Sprintf("; %s refused, most often because %s", plural(n, "is", "are"), decoder.EverRefused())
	}
	var known []string // dialects that read it as well
	for _, c := range new(search).rank([][]byte{all}) {
		if !slices.ContainsFunc(samples, func(one sample) bool { return !c.reads(one.known) }) {
			known = append(known, c.Dialect)
		}
	}
	site := ""
	if path != "" && s.port != "" {
		c := candidate{Dialect: "generic", layout: name, Models: []string{name}, Baud: s.line.Baud, Format: s.line.Format, DTR: s.line.DTR, RTS: s.line.RTS}
		if s.line.Network() {
			c.Baud, c.Format = 0, ""
		}
		data, err := config.ReadFile(path)
		if err != nil {
			return err
		}
		m, err := catalog.Read(path, data)
		if err != nil {
			return err
		}
		s.own, s.models, s.profiles = path, []*catalog.Indicator{m.Indicator}, new(string)
		if d.layout.Unit.From != 0 && len(weights) > 0 {
			c.Unit = string(weights[0].Unit)
		}
		site = s.yaml(c)
	}
	out := s.output()
	if asJSON {
		out.json(map[string]any{"length": d.shape.length, "frames": len(d.frames), "read": len(weights), "weight": [2]int{d.layout.Digits.From, d.layout.Digits.To},
			"also": d.same, "unexplained": append([]int{}, d.free...), "dialects": append([]string{}, known...), "indicator": text, "file": path, "yaml": site})
		return out.failed()
	}
	note := func(format string, args ...any) { fmt.Fprintf(s.env.Stderr, format+"\n", args...) }
	note("%s of %s; the layout reads %d%s", count(len(d.frames), "frame"), count(d.shape.length, "byte"), len(weights), refused)
	for _, row := range d.picture() {
		note("  %s", row)
	}
	for _, at := range d.same {
		if at != [2]int{d.layout.Twin.From, d.layout.Twin.To} {
			note("the same number can be read from bytes %d to %d as well: draft it with another weight too, and with a tare on", at[0], at[1])
		}
	}
	if len(known) > 0 {
		note("this weight is read as well by %s, as firmware-bridge find shows: no draft is needed, unless the lamps contradict", strings.Join(known, ", "))
	}
	if d.few {
		note("the frames differ too little to find a checksum, and whatever is the same in all is held fast: move the load a little while it listens")
	}
	if path == "" {
		out.printf("%s", text)
		return out.failed()
	}
	out.printf("%s: written. Fill in maker, model and what the held bytes mean, then: firmware-bridge check %s\n", path, path)
	if site != "" {
		out.printf("\nFor edge.yaml:\n\n%s", site)
	}
	return out.failed()
}

// listenTo takes what a line brings, or answers when it is asked.
func (s *search) listenTo(ctx context.Context, known string, ask weighbridge.Bytes) ([]sample, error) {
	n, err := displayed(known)
	if err != nil {
		return nil, wrongCall("", "%w", err)
	}
	one := sample{from: s.port, known: n}
	for end := time.Now().Add(s.listen); ; {
		var pieces [][]byte
		if pieces, err = s.hear(ctx, s.line, ask); err != nil {
			return nil, err
		}
		one.bytes = append(one.bytes, slices.Concat(pieces...)...)
		if len(ask) == 0 || len(pieces) == 0 || !time.Now().Before(end) {
			break
		}
	}
	if len(one.bytes) == 0 {
		return nil, fmt.Errorf("%s: nothing came in %s: is the indicator on, its output enabled, the cable plugged? one that only answers needs -request", s.port, s.listen)
	}
	return []sample{one}, nil
}

// samplesOf reads files, each with the weight that the display showed: "12340=rest.txt", or -known for all.
func samplesOf(ctx context.Context, files []string, known string, recording bool) (all []sample, err error) {
	for _, given := range files {
		weight, name, ok := strings.Cut(given, "=")
		if !ok {
			weight, name = known, given
		}
		if weight == "" {
			return nil, wrongCall("", "%s: which weight did the display show? write WEIGHT=%s, or -known WEIGHT", name, name)
		}
		n, err := displayed(weight)
		if err != nil {
			return nil, wrongCall("", "%w", err)
		}
		b, err := bytesOfFile(ctx, name, recording)
		if err != nil {
			return nil, err
		}
		all = append(all, sample{from: name, known: n, bytes: b})
	}
	return all, nil
}

// mostDrafted bounds what is looked at; frames that come ten times a second fill it in an hour.
const mostDrafted = 1 << 20

func bytesOfFile(ctx context.Context, name string, recording bool) (all []byte, err error) {
	file, err := openInput(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in := readLines(ctx, io.LimitReader(file, 4*mostDrafted))
	for n := 1; len(all) < mostDrafted; n++ {
		text, err := in.line(ctx)
		if errors.Is(err, errNoMoreLines) {
			break
		}
		var b []byte
		if err == nil {
			b, err = bytesOf(text, recording)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", name, n, err)
		}
		all = append(all, b...)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s: holds no bytes", name)
	}
	return all, nil
}

// writeNew writes a file that is not there yet.
func writeNew(path, text string) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	switch {
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%s: is there already, and a draft overwrites nothing; choose another name", path)
	case err != nil:
		return fmt.Errorf("%s: %w; check that the folder is there and can be written", path, pathless(err))
	}
	_, err = file.WriteString(text)
	return errors.Join(err, file.Close())
}
