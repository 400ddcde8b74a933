package bench

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"steelyard/firmware-bridge/modbus"
	"steelyard/firmware-bridge/serial"
)

// planJSON is what polling a machine costs.
type planJSON struct {
	Profile string        `json:"profile"`
	Units   int           `json:"units"`
	Baud    int           `json:"baud"` // 0: Modbus TCP, where a line has no such limit
	EveryMS int64         `json:"every_ms"`
	Reads   []plannedRead `json:"reads"`
	PollUS  int64         `json:"poll_us"` // wire time of all reads of one unit
	FastUS  int64         `json:"fast_us"` // and of a poll, without the slow reads
	// LoadPermille is the share of the line's time that all units need when they answer at once.
	LoadPermille int64  `json:"load_permille"`
	Warning      string `json:"warning"`
}

type plannedRead struct {
	Function uint8  `json:"function"`
	From     uint32 `json:"from"` // as printed in the manual
	Wire     uint16 `json:"wire"` // as sent
	Count    int    `json:"count"`
	Class    string `json:"class"`
	Request  string `json:"request"` // to the first unit, with its CRC
	WireUS   int64  `json:"wire_us"`
}

// A line that is loaded more has no time left for machines that answer late.
const mostLoad = 700 // permille

// slowPolls is how many periods pass between two reads of the class slow.
const slowPolls = 10

func plan(_ context.Context, c invocation) error {
	name := c.flags.String("profile", "", "profile: a name of the catalogue or a file")
	baud := c.flags.Int("baud", 0, "speed of the line (default: as in the profile)")
	units := c.flags.Int("units", 1, "machines of this profile on the line")
	every := c.flags.Duration("every", time.Second, "time between two polls of one machine")
	latency := c.flags.Duration("latency", 0, "the machine's own time before it answers")
	asJSON := c.flags.Bool("json", false, "print JSON")
	c.catalogFlag()
	const synopsis = "-profile NAME|FILE [flags]"
	if _, err := c.parse(synopsis, 0); err != nil {
		return err
	}
	usage := "usage: firmware-bridge plan " + synopsis
	switch {
	case *name == "":
		return wrongCall(usage, "plan needs a profile")
	case *units < 1 || *units > 247:
		return wrongCall(usage, "units %d: a line has 1 to 247", *units)
	case *every < 10*time.Millisecond || *every > 24*time.Hour:
		return wrongCall(usage, "every %s: must be between 10ms and 24h", *every)
	case *latency < 0 || *latency > time.Minute:
		return wrongCall(usage, "latency %s: must be between 0s and 1m", *latency)
	}
	if err := (serial.Config{Port: "/", Baud: *baud}).Check(); err != nil {
		return wrongCall(usage, "%w", err)
	}
	p, err := c.profile(*name)
	if err != nil {
		return err
	}
	w := makePlan(p, *baud, *units, *every, *latency)
	out := c.output()
	if *asJSON {
		out.json(w)
	} else {
		w.print(out, p, *every)
	}
	return out.failed()
}

func makePlan(p *modbus.Profile, baud, units int, every, latency time.Duration) planJSON {
	if p.Transport.RTU != nil {
		baud = cmp.Or(baud, p.Transport.RTU.Baud)
	}
	w := planJSON{Profile: p.Name, Units: units, Baud: baud, EveryMS: every.Milliseconds(), Reads: []plannedRead{}}
	line := modbus.Wire{Baud: baud, Latency: latency + time.Duration(p.Limits.GapMS)*time.Millisecond}
	unit := max(1, p.Transport.Unit)
	var all, fast time.Duration
	for _, b := range p.Blocks() {
		r := plannedRead{Function: b.FC, From: p.Printed(b.FC, b.From), Wire: b.From, Count: b.Count, Class: b.Every,
			Request: spaced(withCRC(requestBody(unit, b.FC, b.From, b.Count)))}
		if baud > 0 {
			cost := b.Cost(line)
			r.WireUS = cost.Microseconds()
			if all += cost; b.Every != modbus.Slow {
				fast += cost
			}
		}
		w.Reads = append(w.Reads, r)
	}
	w.PollUS, w.FastUS = all.Microseconds(), fast.Microseconds()
	if baud > 0 {
		perPoll := fast + (all-fast)/slowPolls
		w.LoadPermille = int64((time.Duration(units)*perPoll*1000 + every/2) / every)
		switch {
		case w.LoadPermille > 1000:
			w.Warning = "the line cannot carry it: polls will be left out; poll less often, raise the baud or use a second line"
		case w.LoadPermille > mostLoad:
			w.Warning = "more than 70 % of the line: machines that answer late will not fit; poll less often or raise the baud"
		}
	}
	return w
}

func (w planJSON) print(out *output, p *modbus.Profile, every time.Duration) {
	out.printf("%s: %s %s (status %s)\n", p.Name, p.Maker, p.Model, p.Status)
	if w.Baud == 0 {
		out.printf("Modbus TCP: the time on the wire is no limit; -baud N computes a serial line\n\n")
	} else {
		out.printf("%s at %d baud, each polled every %s\n\n", count(w.Units, "machine"), w.Baud, every)
	}
	out.printf("%3s  %6s  %5s  %5s  %-5s  %-23s  %10s\n", "fc", "from", "wire", "count", "class", "request", "wire time")
	for _, r := range w.Reads {
		cost := "-"
		if w.Baud > 0 {
			cost = milliseconds(r.WireUS)
		}
		out.printf("%3d  %6d  %5d  %5d  %-5s  %-23s  %10s\n", r.Function, r.From, r.Wire, r.Count, r.Class, r.Request, cost)
	}
	if w.Baud == 0 {
		return
	}
	out.printf("\na poll takes %s", milliseconds(w.FastUS))
	if w.FastUS != w.PollUS {
		out.printf("; the slow reads %s in every %dth period, one at a time between the polls", milliseconds(w.PollUS-w.FastUS), slowPolls)
	}
	out.printf("\nload of the line: %d.%d %%\n", w.LoadPermille/10, w.LoadPermille%10)
	if w.Warning != "" {
		out.printf("warning: %s\n", w.Warning)
	}
}

// milliseconds rounds to a tenth, so that what is the same does not differ by a digit.
func milliseconds(us int64) string {
	tenths := (us + 50) / 100
	return fmt.Sprintf("%d.%d ms", tenths/10, tenths%10)
}
