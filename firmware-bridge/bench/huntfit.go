package bench

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"steelyard/firmware-bridge/modbus"
)

// fit is a profile that nothing which a unit answered contradicts.
type fit struct {
	Profile   string `json:"profile"`
	Makes     string `json:"makes"`
	Proven    bool   `json:"proven"`    // it has constants, and all of them hold
	Constants int    `json:"constants"` // that hold
	Answered  int    `json:"answered"`  // blocks that were read
	Blocks    int    `json:"blocks"`    // that the profile reads
}

// examine looks for the profiles of every unit that was found.
func (h *hunt) examine(ctx context.Context) error {
	if len(h.responders) == 0 {
		return nil
	}
	h.oneForAll()
	m, err := h.master(h.lines[0], h.patience)
	if err != nil {
		return err
	}
	defer m.Close()
	h.done, h.all = 0, time.Duration(len(h.responders)*len(h.profiles))*aboutProfile
	for _, l := range h.responders {
		if err := h.compare(ctx, m, l); err != nil {
			return err
		}
	}
	return nil
}

// aboutProfile is what comparing a unit with a profile takes where it answers, for the progress.
const aboutProfile = 100 * time.Millisecond

// oneForAll keeps one of the units where all that were asked answer over TCP: a machine on the
// network itself need not look at the id.
func (h *hunt) oneForAll() {
	if h.serial() || len(h.responders) < 3 || len(h.responders) < len(h.units) {
		return
	}
	h.notes = append(h.notes, fmt.Sprintf("Each of the %s that were asked answers: this is one machine that does not look at the id, or a gateway that answers for all. Only unit %d was examined.",
		count(len(h.units), "unit id"), h.responders[0].Unit))
	h.responders = h.responders[:1]
}

// examined is what became of the blocks of one unit.
type examined struct {
	unit    *responder
	blocks  map[modbus.Question]reply
	bits    [3]bool // functions 1 and 2 of which it was silent once: it has no such table
	tries   int     // how often it is asked again while it is busy
	silence bool    // it answers nothing any more
}

// compare reads what each profile would read and keeps the profiles that fit. Blocks that several
// profiles have are read once.
func (h *hunt) compare(ctx context.Context, m asker, l *responder) error {
	r := examined{unit: l, blocks: map[modbus.Question]reply{}, tries: busyTries}
	for _, p := range h.profiles {
		h.bar.show(h.done, h.all, fmt.Sprintf("unit %d: does %s fit?", l.Unit, p.Name))
		h.done += aboutProfile
		f, ok, err := h.fits(ctx, m, &r, p)
		switch {
		case err != nil:
			return err
		case r.silence:
			h.notes = append(h.notes, fmt.Sprintf("Unit %d stopped answering while it was read: check its power and its cable, and run again.", l.Unit))
			return nil
		case ok:
			l.Profiles = append(l.Profiles, f)
		default:
			l.Excluded++
		}
	}
	slices.SortStableFunc(l.Profiles, func(a, b fit) int {
		return cmp.Or(cmp.Compare(b.Constants, a.Constants), cmp.Compare(b.Answered, a.Answered))
	})
	l.Examined = true
	return nil
}

// fits reports whether nothing contradicts a profile: each constant holds, or where it has none, each
// block is answered.
func (h *hunt) fits(ctx context.Context, m asker, r *examined, p *modbus.Profile) (f fit, ok bool, err error) {
	f = fit{Profile: p.Name, Makes: p.Maker + " " + p.Model}
	constants := map[string]bool{}
	for _, point := range p.Points {
		if point.Constant != nil {
			constants[point.Name] = true
		}
	}
	registers := map[modbus.Register]uint16{}
	blocks := p.Blocks()
	f.Blocks = len(blocks)
	for _, b := range blocks {
		read, err := h.block(ctx, m, r, modbus.Question{Unit: r.unit.Unit, FC: b.FC, From: b.From, Count: b.Count})
		if err != nil || r.silence {
			return f, false, err
		}
		if !read.came || read.refused != "" {
			if len(constants) == 0 {
				return f, false, nil
			}
			continue
		}
		f.Answered++
		for i, w := range (modbus.Question{FC: b.FC, Count: b.Count}).Words(read.words) {
			registers[modbus.Register{FC: b.FC, Address: b.From + uint16(i)}] = w
		}
	}
	for _, v := range p.Decode(registers) {
		if !constants[v.Tag] {
			continue
		}
		if !v.OK {
			return f, false, nil
		}
		f.Constants++
	}
	f.Proven = f.Constants > 0
	return f, true, nil
}

// A unit that is busy is asked again so often, after such a pause.
const (
	busyTries = 5
	busyPause = 200 * time.Millisecond
)

// block reads one block. After silence it asks what the unit has answered before: either it is
// silent about these registers, or it is gone.
func (h *hunt) block(ctx context.Context, m asker, r *examined, q modbus.Question) (read reply, err error) {
	if known, ok := r.blocks[q]; ok {
		return known, nil
	}
	bits := q.FC <= 2
	if bits && r.bits[q.FC] {
		return reply{}, nil
	}
	for try := 0; ; try++ {
		read, err = h.ask(ctx, m, q)
		if err != nil || !read.came || read.refused == "" || read.final || try >= r.tries {
			break
		}
		if err := wait(ctx, busyPause); err != nil {
			return read, err
		}
	}
	if err == nil && read.came && read.refused != "" && !read.final {
		r.tries = 0 // it was busy for so long that it will be so for the others
	}
	if err == nil && !read.came {
		known := r.unit.probe
		if q.Count == known.Count {
			known.Count = 2 // as in probe: another length than that of the answer that did not come
		}
		var there reply
		there, err = h.ask(ctx, m, known)
		r.silence = err == nil && !there.came
		if bits {
			r.bits[q.FC] = true
		}
	}
	if err == nil {
		r.blocks[q] = read
	}
	return read, err
}
