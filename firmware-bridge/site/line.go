package site

import (
	"reflect"
	"strings"
	"time"

	"steelyard/firmware-bridge/serial"
	"steelyard/firmware-bridge/weighbridge"
)

// Line is one serial line with the weighbridges upon it: one, or several that are each asked by
// an address of their own. One reader must serve them all, for a line has one owner.
type Line struct {
	Config       serial.Config
	Weighbridges []Weighbridge
}

// Lines groups the weighbridges of a checked plant by their lines, in the order of the file.
func (p Plant) Lines() []Line {
	var lines []Line
	index := map[string]int{} // by port
	for _, w := range p.Weighbridges {
		i, ok := index[w.Line.Port]
		if !ok {
			i = len(lines)
			index[w.Line.Port] = i
			lines = append(lines, Line{Config: w.Line})
		}
		lines[i].Weighbridges = append(lines[i].Weighbridges, w)
	}
	return lines
}

// Indicators of the line, as its reader takes them.
func (l Line) Indicators() []weighbridge.Indicator {
	var all []weighbridge.Indicator
	for _, w := range l.Weighbridges {
		d, _ := weighbridge.Find(w.Dialect) // checked with the file
		all = append(all, weighbridge.Indicator{Device: w.Device, Dialect: d.For(w.Options), Options: w.Options})
	}
	return all
}

// Turn is the time between two frames of one indicator of the line, as its reader reckons it.
func (l Line) Turn() time.Duration {
	return weighbridge.Reader{Line: l.Config, Indicators: l.Indicators()}.Turn()
}

// The silence that a healthy line may have between two frames of one indicator.
const (
	leastGap  = 500 * time.Millisecond
	mostGap   = 2 * time.Second
	slowBaud  = 1200
	gapFrames = 10
	gapTurns  = 2
)

// Gap is the longest silence between two frames of one indicator through which a load may be said
// to rest: 500 ms; on a line of 1200 baud or less ten frames, and where the indicators are asked
// two turns, so that an indicator may take a while to answer; 2 s at the most.
func (l Line) Gap() time.Duration {
	gap := gapTurns * l.Turn()
	for _, i := range l.Indicators() {
		if i.Dialect.Poll == "" && l.Config.Baud <= slowBaud {
			gap = max(gap, l.Config.TimeOf(gapFrames*i.Dialect.FrameBytes))
		}
	}
	return min(max(leastGap, gap), mostGap)
}

// claim is a weighbridge that wants its line, and where it stands in the file.
type claim struct {
	*Weighbridge
	at place
}

// claim gives a weighbridge its line, alone or beside others.
func (k checking) claim(c claim) {
	// Links of buses name a terminal server without the tcp://.
	port := strings.TrimPrefix(c.Line.Port, "tcp://")
	others := k.lines[port]
	k.lines[port] = append(others, c)
	if len(others) == 0 {
		k.taken("port", port, c.at("line", "port"))
		return
	}
	first := others[0]
	if why := first.apart(c.Weighbridge); why != "" {
		k.Fault(c.at("line", "port"), "port %q is used already (line %d): %s", port, k.Line(first.at("line", "port")), why)
		return
	}
	for _, o := range others {
		if o.Options.Address == c.Options.Address {
			k.Fault(c.at("options", "address"), "address %d is used already on this line by %q (line %d)", c.Options.Address, o.Device, k.Line(o.at("device")))
		}
	}
}

// apart says why two weighbridges can't be on one line, but for equal addresses; "" when they can.
func (w *Weighbridge) apart(other *Weighbridge) string {
	for _, x := range []*Weighbridge{w, other} {
		if d, ok := weighbridge.Find(x.Dialect); !ok || !d.Addressed() {
			return "weighbridges share a line only where each is asked by an address of its own, in one of the dialects " + addressedDialects()
		}
	}
	for _, x := range []*Weighbridge{w, other} {
		if x.Options.Address == 0 {
			return "weighbridges share a line only where each is asked by an address of its own: give " + x.Device + " its options: {address: …}"
		}
	}
	if !reflect.DeepEqual(w.Line, other.Line) {
		return "those that share a line have one speed and one format: write the same for both"
	}
	return ""
}

func addressedDialects() string {
	var names []string
	for _, d := range weighbridge.Dialects() {
		if d.Addressed() {
			names = append(names, d.Name)
		}
	}
	return strings.Join(names, ", ")
}
