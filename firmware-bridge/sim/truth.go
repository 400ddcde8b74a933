package sim

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"steelyard/internal/record"
	"steelyard/internal/unit"
)

// EventKind names what happened.
type EventKind string

// The kinds of events.
const (
	WeighingEvent EventKind = "weighing" // a lorry was on a deck and has left it
	OperatorEvent EventKind = "operator" // the edge acknowledged a weigh-in
	TicketEvent   EventKind = "ticket"   // the edge acknowledged a weigh-out
	RefusedEvent  EventKind = "refused"  // the edge refused for good; Detail says with what code
	BaleEvent     EventKind = "bale"     // a baler ejected a bale: its sequence can be read
	BeltEvent     EventKind = "belt"     // a belt's totaliser stands here
	CounterEvent  EventKind = "counter"  // a counter was set back on command
)

// Event is one line of the truth. Fields that a kind has not got are left out.
type Event struct {
	AtUS   int64     `json:"at_us"` // wall clock, microseconds since 1970
	Kind   EventKind `json:"kind"`
	Device string    `json:"device,omitzero"`
	Key    string    `json:"key,omitzero"` // visit, passage or bale

	// Of a weighing: from the first wheel on to the last wheel off, and what the display showed
	// at rest. Of a ticket, Mass is the net; of a bale, its mass.
	FromUS  int64     `json:"from_us,omitzero"`
	ToUS    int64     `json:"to_us,omitzero"`
	Mass    unit.Mass `json:"mass,omitzero"`
	Text    string    `json:"text,omitzero"`
	Passage string    `json:"passage,omitzero"` // the weighing served this passage

	// Of what the edge acknowledged: its entry, and the weighing that it rests on.
	Journal  string     `json:"journal,omitzero"`
	N        uint64     `json:"n,omitzero"`
	Hash     string     `json:"hash,omitzero"`
	Weighing record.Ref `json:"weighing,omitzero"`
	Number   string     `json:"-"` // of a ticket; in JSON "number", a text

	Vehicle     string        `json:"vehicle,omitzero"`
	Direction   string        `json:"direction,omitzero"`
	Destination string        `json:"destination,omitzero"`
	Material    string        `json:"material,omitzero"`
	Gross       unit.Mass     `json:"gross,omitzero"` // as the display showed it, not as the edge said
	Tare        unit.Mass     `json:"tare,omitzero"`
	Parts       []record.Part `json:"parts,omitzero"`

	Bale uint64 `json:"-"` // number of a bale; in JSON "number", an integer

	// Of a belt. Counts goes on over wraps and resets from Initial; Raw is the register.
	Counts  int64     `json:"counts,omitzero"`
	Initial int64     `json:"initial,omitzero"`
	Raw     int64     `json:"raw,omitzero"`
	Modulus int64     `json:"modulus,omitzero"`
	Step    unit.Mass `json:"step,omitzero"`   // g per count
	Detail  string    `json:"detail,omitzero"` // of a belt: start, tick, wrap, reset or rest
}

// plain is an Event without its methods.
type plain Event

// MarshalJSON writes a ticket's number as a text and a bale's as an integer.
func (e Event) MarshalJSON() ([]byte, error) {
	line := struct {
		plain
		Number any `json:"number,omitempty"`
	}{plain: plain(e)}
	switch {
	case e.Kind == BaleEvent:
		line.Number = e.Bale
	case e.Number != "":
		line.Number = e.Number
	}
	return json.Marshal(line)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (e *Event) UnmarshalJSON(b []byte) error {
	line := struct {
		*plain
		Number json.RawMessage `json:"number"`
	}{plain: (*plain)(e)}
	if err := json.Unmarshal(b, &line); err != nil || len(line.Number) == 0 {
		return err
	}
	if e.Kind == BaleEvent {
		return json.Unmarshal(line.Number, &e.Bale)
	}
	return json.Unmarshal(line.Number, &e.Number)
}

// Truth is the file of what really happened. Each event reaches the kernel before Append returns,
// so it outlives the process, though not a power cut.
type Truth struct {
	now func() time.Time

	mu   sync.Mutex // guards what follows
	file *os.File
	err  error // the first failure; nothing is written after it
}

// OpenTruth opens the file for appending. A line that was torn when a process ended is cut off.
func OpenTruth(path string) (*Truth, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	whole, err := os.ReadFile(path)
	if err == nil {
		err = f.Truncate(int64(bytes.LastIndexByte(whole, '\n') + 1))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Truth{now: time.Now, file: f}, nil
}

// Append writes an event that has happened now, by the clock of its site. A truth with holes is worth nothing: after a
// failure every later Append fails too, and so does Close.
func (t *Truth) Append(e Event) error {
	e.AtUS = t.now().UnixMicro()
	line, err := json.Marshal(e)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil && err == nil {
		_, err = t.file.Write(append(line, '\n'))
	}
	if t.err == nil && err != nil {
		t.err = fmt.Errorf("truth %s: %w; make room and start the site again", t.file.Name(), err)
	}
	return t.err
}

// Close closes the file.
func (t *Truth) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return errors.Join(t.err, t.file.Close())
}

// ReadTruth reads a truth file, also while a site is writing it: an unfinished last line is left
// out.
func ReadTruth(path string) ([]Event, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var events []Event
	r := bufio.NewReader(f)
	for n := 1; ; n++ {
		line, err := r.ReadBytes('\n')
		switch {
		case errors.Is(err, io.EOF):
			return events, nil
		case err != nil:
			return events, err
		}
		var e Event
		if err := json.Unmarshal(line, &e); err != nil {
			return events, fmt.Errorf("truth %s: line %d: %w", path, n, err)
		}
		events = append(events, e)
	}
}

// standings are where the counters stood when a site ended, by device. A site that starts again
// in the same folder goes on from there, as machines do.
func standings(path string) (map[string]Event, error) {
	events, err := ReadTruth(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	last := make(map[string]Event)
	for _, e := range events {
		switch e.Kind {
		case BaleEvent, BeltEvent, CounterEvent:
			last[e.Device] = e
		case WeighingEvent:
			if _, number, ok := strings.Cut(e.Key, "-"); ok {
				if n, err := strconv.ParseInt(number, 10, 64); err == nil {
					last[e.Device] = Event{Counts: n}
				}
			}
		}
	}
	return last, err
}
