package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"steelyard/firmware-bridge/serial"
	"steelyard/firmware-bridge/weighbridge"
	"steelyard/internal/unit"
	"steelyard/internal/wire"
)

// search is one run of find.
type search struct {
	call
	port     string
	bauds    []int
	formats  []string
	listen   time.Duration
	ask      bool
	only     string
	known    string
	division string
	max      string
	unit     string
	device   string
	asJSON   bool
}

// found is what find prints as JSON.
type found struct {
	Candidates []candidate `json:"candidates"`
	Confirmed  *candidate  `json:"confirmed"`
	YAML       string      `json:"yaml"`
}

const findSynopsis = "-port P [-known WEIGHT] [flags]"

// find walks through speeds and formats until a dialect explains what the line brings, and asks a
// person for the weight on the display: several formats can't be told apart by their bytes.
func find(ctx context.Context, c call) error {
	s := search{call: c}
	c.flags.StringVar(&s.port, "port", "", "the line: /dev/serial/by-id/…, or tcp://host:port of a terminal server, which sets its own speed")
	bauds := c.flags.String("baud", "9600,4800,2400,1200,19200,600", "speeds to try")
	formats := c.flags.String("format", "8N1,7E1,7O1,8E1,7E2", "formats to try")
	c.flags.DurationVar(&s.listen, "listen", 1500*time.Millisecond, "how long to listen at each setting, twice as long at 1200 baud and below; answers are waited for 500ms at most")
	c.flags.BoolVar(&s.ask, "ask", false, "ask where nothing is heard: read commands only, and none with a letter that makes some device tare or zero")
	c.flags.StringVar(&s.only, "dialect", "", "look for this dialect only")
	c.flags.StringVar(&s.known, "known", "", "the weight on the display; without it you are asked")
	c.flags.StringVar(&s.division, "division", "", "division e of the type plate, like \"20 kg\", for the printed lines")
	c.flags.StringVar(&s.max, "max", "", "capacity of the type plate, like \"60 t\", for the printed lines")
	c.flags.StringVar(&s.unit, "unit", "", "unit of the display, where the frames do not name it")
	c.flags.StringVar(&s.device, "device", "weighbridge-1", "id of the weighbridge in the printed lines")
	c.flags.BoolVar(&s.asJSON, "json", false, "print JSON")
	if _, err := c.parse(findSynopsis, 0); err != nil {
		return err
	}
	if err := s.check(*bauds, *formats); err != nil {
		return wrongCall("usage: firmware-bridge find "+findSynopsis, "%w", err)
	}
	candidates, err := s.walk(ctx)
	if err != nil {
		return err
	}
	return s.confirm(ctx, candidates)
}

func (s *search) check(bauds, formats string) error {
	if s.port == "" {
		return errors.New("find needs a port")
	}
	if s.listen < 50*time.Millisecond || s.listen > time.Minute {
		return fmt.Errorf("listen %s: must be between 50ms and 1m", s.listen)
	}
	if s.only != "" {
		if _, err := findDialect(s.only); err != nil {
			return err
		}
	}
	if s.known != "" {
		if _, err := displayed(s.known); err != nil {
			return err
		}
	}
	if err := wire.CheckSlug("device", s.device); err != nil {
		return err
	}
	if s.unit != "" && !slices.Contains([]unit.Unit{unit.KG, unit.T, unit.G}, unit.Unit(s.unit)) {
		return fmt.Errorf("unit %.20q: say kg, t or g, as on the display", s.unit)
	}
	for _, text := range []string{s.division, s.max} {
		if text != "" {
			if _, err := unit.ParseMass(text); err != nil {
				return err
			}
		}
	}
	for text := range strings.SplitSeq(bauds, ",") {
		baud, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil {
			return fmt.Errorf("baud %.20q: is no number", text)
		}
		s.bauds = append(s.bauds, baud)
	}
	s.formats = strings.Split(formats, ",")
	if strings.HasPrefix(s.port, "tcp://") {
		s.bauds, s.formats = s.bauds[:1], s.formats[:1] // the terminal server has set the line
	}
	for _, baud := range s.bauds {
		for _, format := range s.formats {
			if err := (serial.Config{Port: s.port, Baud: baud, Format: format}).Check(); err != nil {
				return err
			}
		}
	}
	return nil
}

// displayed reads the number that a person reads off, with or without its unit.
func displayed(text string) (unit.Decimal, error) {
	number := strings.TrimSpace(strings.TrimRight(strings.TrimSpace(text), "abcdefghijklmnopqrstuvwxyz"))
	d, err := unit.ParseDecimal(number)
	if err != nil {
		return d, fmt.Errorf("weight %.40q: write the number on the display, like 23960", text)
	}
	return d, nil
}

// walk listens at every setting, and then, if it may, asks at every setting. It ends where the
// first dialect is credible. A port hears bytes at any speed and format, only wrong ones: a line
// that brought none in one round of speeds is silent, and other formats are not tried.
func (s *search) walk(ctx context.Context) ([]candidate, error) {
	heard := 0
	for _, format := range s.formats {
		for _, baud := range s.bauds {
			line := serial.Config{Port: s.port, Baud: baud, Format: format}
			pieces, err := s.hear(ctx, line, nil)
			if err != nil {
				return nil, err
			}
			n := 0
			for _, p := range pieces {
				n += len(p)
			}
			heard += n
			candidates := rank(pieces, s.only)
			s.progress("%d %s: %s, %s", baud, format, count(n, "byte"), count(len(candidates), "dialect"))
			if len(candidates) > 0 {
				return setting(candidates, line, false), nil
			}
		}
		if heard == 0 {
			break
		}
	}
	if heard == 0 && s.ask {
		return s.askAll(ctx)
	}
	return nil, s.nothing(heard)
}

func (s *search) nothing(heard int) error {
	switch {
	case heard > 0:
		return fmt.Errorf("%s: %d bytes came and no dialect explains them: try other -baud and -format, or record them and write a layout for the dialect generic", s.port, heard)
	case s.ask:
		return fmt.Errorf("%s: nothing is sent and nothing answers: is the indicator on, its output enabled, the cable right?", s.port)
	}
	return fmt.Errorf("%s: nothing is sent: is the indicator on and its output enabled? one that only answers is found with -ask", s.port)
}

func setting(all []candidate, line serial.Config, asked bool) []candidate {
	for i := range all {
		all[i].Baud, all[i].Format, all[i].Asked = line.Baud, line.Format, asked
	}
	return all
}

func (s *search) progress(format string, args ...any) {
	if !s.asJSON {
		fmt.Fprintf(s.env.Stderr, format+"\n", args...)
	}
}

// Answers are waited for so long, and a dialect that answered is asked so often.
const (
	answerTime = 500 * time.Millisecond
	askTimes   = 6
)

// hear opens the line and takes what comes. With a request it asks first, and goes on asking as
// long as there are answers.
func (s *search) hear(ctx context.Context, line serial.Config, request []byte) (pieces [][]byte, err error) {
	line.Poll = 50 * time.Millisecond
	port, err := serial.OpenContext(ctx, line)
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
	length, rounds := s.listen, 1
	if line.Baud <= 1200 {
		length *= 2
	}
	if request != nil {
		length, rounds = min(answerTime, s.listen)+line.TimeOf(len(request)+weighbridge.MaxFrame/2), askTimes
	}
	buf := make([]byte, 4096)
	for range rounds {
		if request != nil {
			if _, err := port.Write(request); err != nil {
				return nil, err
			}
		}
		answered := false
		for end := time.Now().Add(length); time.Now().Before(end); {
			n, err := port.Read(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				if answered && request != nil {
					break // the answer is over
				}
				continue
			}
			if err != nil {
				return nil, err
			}
			answered = true
			pieces = append(pieces, append([]byte(nil), buf[:n]...))
		}
		if !answered {
			break
		}
	}
	return pieces, nil
}

// askAll asks every dialect that answers, at every setting.
func (s *search) askAll(ctx context.Context) ([]candidate, error) {
	heard := 0
	for _, format := range s.formats {
		for _, baud := range s.bauds {
			line := serial.Config{Port: s.port, Baud: baud, Format: format}
			for _, d := range weighbridge.Dialects() {
				request, ok := harmless(d)
				if !ok || s.only != "" && d.Name != s.only {
					continue
				}
				pieces, err := s.hear(ctx, line, request)
				if err != nil {
					return nil, err
				}
				for _, p := range pieces {
					heard += len(p)
				}
				candidates := rank(pieces, s.only)
				s.progress("%d %s: asked with %q: %s, %s", baud, format, request, count(len(pieces), "piece"), count(len(candidates), "dialect"))
				if len(candidates) > 0 {
					return setting(candidates, line, true), nil
				}
			}
		}
	}
	return nil, s.nothing(heard)
}

// harmless gives the request with which an unknown device may be asked. Some obey single letters:
// R, T and Z on an A12+SS, P, T, Z and C on indicators with Toledo's output. A request that holds
// T, Z or C could tare or zero them, even when it means a reading to the one it is for.
func harmless(d weighbridge.Dialect) ([]byte, bool) {
	if d.Poll == "" {
		return nil, false
	}
	request, err := d.Encode(d.Poll, weighbridge.Options{})
	if err != nil || strings.ContainsAny(string(request), "TtZzCc") {
		return nil, false
	}
	return request, true
}
