package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"steelyard/firmware-bridge/catalog"
	"steelyard/firmware-bridge/modbus"
	"steelyard/internal/unit"
)

const draftSynopsis = "-link L -unit N [flags]"

// draft writes the first file about a device that nobody described. Of a machine on Modbus it asks which
// addresses answer, watches what stands there and writes a profile of it, with what it read as its test.
func draft(ctx context.Context, c invocation) error {
	d := drafting{invocation: c}
	c.flags.StringVar(&d.link, "link", "", "tcp://host:port, rtu:///dev/…?baud=9600&format=8N1 or rtu-over-tcp://host:port")
	c.flags.UintVar(&d.unit, "unit", 1, "unit id")
	c.flags.StringVar(&d.ranges, "range", "", "addresses to ask, as the manual counts, like 0-299,4096-4196 (default: the first 300)")
	c.flags.UintVar(&d.base, "base", 0, "what the manual calls the first register: 0, 1, 30001, 40001, 300001 or 400001")
	c.flags.StringVar(&d.functions, "fc", "3,4,1,2", "what to ask: 1 coils, 2 discrete inputs, 3 holding registers, 4 input registers")
	c.flags.UintVar(&d.rate, "rate", 20, "requests in a second, at most")
	c.flags.DurationVar(&d.watch, "for", 10*time.Second, "how long to watch what was found; work the machine meanwhile")
	c.flags.DurationVar(&d.timeout, "timeout", 0, "how long to wait until a reply begins (default 500ms on a serial line, 1s over tcp://)")
	display := c.flags.String("display", "", "numbers on the machine's display, like 12340,28.8: the registers that hold them are named")
	c.flags.StringVar(&d.file, "out", "", "write the profile there, like own/acme-b100.yaml; nothing is overwritten; empty: print it")
	c.flags.BoolVar(&d.asJSON, "json", false, "print JSON")
	if _, err := c.parse(draftSynopsis, 0); err != nil {
		return err
	}
	d.invocation = c
	if err := d.check(*display); err != nil {
		return wrongCall("usage: firmware-bridge draft "+draftSynopsis, "%w", err)
	}
	return d.run(ctx)
}

// drafting is one run of draft.
type drafting struct {
	invocation
	link      string
	unit      uint
	ranges    string
	base      uint
	functions string
	rate      uint
	watch     time.Duration
	timeout   time.Duration
	file      string // empty: the profile goes to standard output
	asJSON    bool
	name      string // of the profile
	displays  []unit.Decimal
	line      modbus.Link
	head      *modbus.Profile // knows how the manual counts
	tables    []table
}

// table is what is asked with one function.
type table struct {
	fc    uint8
	spans []modbus.Span // on the wire
}

var profileName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,47}$`)

// check makes everything ready that the command line says.
func (d *drafting) check(display string) (err error) {
	if d.link == "" {
		return errors.New("draft needs the link of a machine that answers; find -modbus finds it")
	}
	if d.line, err = modbus.ParseLink(d.link); err != nil {
		return err
	}
	switch serial := d.line.Scheme != modbus.TCP; {
	case d.unit > 255 || serial && (d.unit < 1 || d.unit > 247):
		return fmt.Errorf("unit %d: a serial line has the units 1 to 247, tcp:// 0 to 255", d.unit)
	case d.rate < 1 || d.rate > 1000:
		return fmt.Errorf("rate %d: must be between 1 and 1000", d.rate)
	case d.watch < 0 || d.watch > time.Hour:
		return fmt.Errorf("for %s: must be between 0s and 1h", d.watch)
	case d.timeout != 0 && d.timeout < 10*time.Millisecond || d.timeout > 15*time.Second:
		return fmt.Errorf("timeout %s: must be between 10ms and 15s", d.timeout)
	}
	d.name = "unknown-machine"
	if d.file != "" {
		d.name = strings.TrimSuffix(filepath.Base(d.file), ".yaml")
		if !profileName.MatchString(d.name) || !strings.HasSuffix(d.file, ".yaml") {
			return fmt.Errorf("out %.80q: name it like acme-b100.yaml, for the maker and the model", d.file)
		}
		if _, err := os.Lstat(d.file); err == nil {
			return fmt.Errorf("out %.80q: is there already and is not overwritten", d.file)
		}
	}
	for text := range strings.SplitSeq(display, ",") {
		if display == "" {
			break
		}
		n, err := displayed(text)
		if err != nil {
			return err
		}
		d.displays = append(d.displays, n)
	}
	return d.plan()
}

// plan reads functions and ranges.
func (d *drafting) plan() (err error) {
	d.head, err = modbus.Load("base", fmt.Appendf(nil, "profile: base\nstatus: bench\nsources: [{doc: base}]\naddress_base: %d\npoints: [{name: p, at: %d, type: u16}]\n", d.base, d.base))
	if err != nil {
		return fmt.Errorf("base %d: is none of 0, 1, 30001, 40001, 300001, 400001", d.base)
	}
	for text := range strings.SplitSeq(d.functions, ",") {
		fc, err := strconv.ParseUint(strings.TrimSpace(text), 10, 8)
		if err != nil || fc < 1 || fc > 4 {
			return fmt.Errorf("fc %.40q: write functions from 1 to 4, like 3,4", d.functions)
		}
		first := int64(d.head.Printed(uint8(fc), 0))
		ranges := d.ranges
		if ranges == "" {
			ranges = fmt.Sprintf("%d-%d", first, first+299)
		}
		t := table{fc: uint8(fc)}
		for part := range strings.SplitSeq(ranges, ",") {
			from, to, isRange := strings.Cut(strings.TrimSpace(part), "-")
			if !isRange {
				to = from
			}
			low, errLow := strconv.ParseInt(from, 0, 32)
			high, errHigh := strconv.ParseInt(to, 0, 32)
			if errors.Join(errLow, errHigh) != nil || low > high {
				return fmt.Errorf("range %.80q: write addresses like 0-299,4096-4196", d.ranges)
			}
			if low < first || high > first+65535 {
				continue // of another table, where the manual tells them apart by their numbers
			}
			t.spans = append(t.spans, modbus.Span{From: int(low - first), Count: int(high - low + 1)})
		}
		if len(t.spans) > 0 {
			d.tables = append(d.tables, t)
		}
	}
	if len(d.tables) == 0 {
		return fmt.Errorf("range %.80q: lies in none of the tables that are asked; what the manual calls the first register is said with -base", d.ranges)
	}
	return nil
}

// run asks, watches and writes.
func (d *drafting) run(ctx context.Context) error {
	s, err := newScan(d)
	if err != nil {
		return err
	}
	defer s.close()
	d.tell("only reads are sent, at most %d in a second; but a machine that clears an event when it is read has one less afterwards", d.rate)
	err = s.all(ctx)
	s.bar.clear()
	if len(s.found) == 0 {
		return errors.Join(err, s.nothing())
	}
	stopped := ctx.Err() != nil // ctrl-C ends the asking, and what was found is written
	if err != nil && !stopped {
		d.tell("%v; what was found until then:", err)
	}
	if !stopped && err == nil {
		if err = s.observe(ctx, d.watch); err != nil && ctx.Err() == nil {
			d.tell("%v; what was seen until then:", err)
		}
	}
	text, err := d.profileText(s)
	if err != nil {
		return err
	}
	if _, err := catalog.Read(d.name+".yaml", []byte(text)); err != nil {
		return fmt.Errorf("the draft is not in order, which is a mistake of this program: %w", err)
	}
	if d.file != "" {
		if err := os.WriteFile(d.file, []byte(text), 0o644); err != nil {
			return err
		}
	}
	out := d.output()
	if d.asJSON {
		out.json(s.words(text, d.siteLines()))
		return out.failed()
	}
	s.report(out)
	d.print(out, text)
	return out.failed()
}

// tell says on standard error what a person who waits wants to know.
func (d *drafting) tell(format string, args ...any) {
	if d.asJSON {
		return
	}
	fmt.Fprintf(d.env.Stderr, format+"\n", args...)
}

// print prints the profile, or where it was written, and what an edge needs to read the machine by it.
func (d *drafting) print(out *output, text string) {
	if d.file == "" {
		out.printf("\nThe draft, for a file own/%s.yaml (-out writes it):\n\n%s", d.name, text)
	} else {
		out.printf("\nwritten: %s; name its points, give them unit, scale and quantity, and take out what nobody needs.\nThen: firmware-bridge check %[1]s, and firmware-bridge show -link %q -unit %d -profile %[1]s beside the display\n", d.file, linkText(d.line), d.unit)
	}
	out.printf("\nFor edge.yaml:\n\n%s", d.siteLines())
}

// siteLines are the lines of edge.yaml, which work as they stand.
func (d *drafting) siteLines() string {
	folder := "own"
	if d.file != "" {
		folder = filepath.Dir(d.file)
	}
	return fmt.Sprintf("profiles: %s\nbuses:\n  - link: %q\n    machines:\n      - device: machine-%d\n        profile: %s\n        unit: %d\n", folder, linkText(d.line), d.unit, d.name, d.unit)
}
