package bench

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/modbus"
)

// machineWatch shows the scans of one machine. The bus calls it from its own goroutine.
type machineWatch struct {
	link    string
	id      uint8
	profile *modbus.Profile
	most    uint64
	asJSON  bool
	enough  context.CancelFunc
	bus     *modbus.Bus
	start   time.Time

	mu      sync.Mutex // guards what follows
	out     *output
	picture *screen // nil: lines
	scan    *device.Scan
	latest  map[string]device.Value // of every scan: slow registers have scans of their own
	scans   uint64
	state   string
	trouble string // the latest since it was online
	errors  recent
	perScan rate
}

func (c invocation) showMachine(ctx context.Context, link, profile, id string, every time.Duration, most int, out *output, picture *screen, asJSON bool) (came shown, err error) {
	came.what = "poll"
	p, err := c.profile(profile)
	if err != nil {
		return came, err
	}
	unit := uint64(p.Transport.Unit)
	if id != "" {
		if unit, err = strconv.ParseUint(id, 10, 8); err != nil {
			return came, wrongCall("", "unit %.20q: a unit id on a link is between 0 and 255", id)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := &machineWatch{link: link, id: uint8(unit), profile: p, most: uint64(most), asJSON: asJSON, enough: cancel,
		start: time.Now(), out: out, picture: picture, state: "connecting", latest: map[string]device.Value{}, errors: recent{most: 4}}
	w.bus, err = modbus.New(modbus.Config{Link: link, Units: []modbus.Unit{{Device: "machine", ID: uint8(unit), Profile: p, Every: every}}},
		w, slog.New(slog.DiscardHandler))
	if err != nil {
		return came, err
	}
	var drawing sync.WaitGroup
	if picture != nil {
		drawing.Go(func() {
			for wait(ctx, leastRedraw) == nil {
				w.refresh(time.Now())
			}
		})
	}
	err = w.bus.Run(ctx)
	cancel()
	drawing.Wait()
	if picture != nil {
		w.refresh(time.Now())
	}
	came.number, came.trouble = w.scans, w.trouble
	return came, err
}

func (w *machineWatch) Weight(device.Weight) {}

func (w *machineWatch) Scan(s device.Scan) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.scans++; w.most > 0 && w.scans > w.most {
		return
	}
	w.scan = &s
	for _, v := range s.Values {
		w.latest[v.Tag] = v
	}
	switch {
	case w.asJSON:
		values, missing := map[string]string{}, map[string]string{}
		for _, v := range s.Values {
			if values[v.Tag] = modbus.Text(v); !v.OK {
				missing[v.Tag] = v.Why
			}
		}
		w.out.json(map[string]any{"at": stamp(s.At), "values": values, "missing": missing})
	case w.picture == nil:
		w.out.printf("%s ", clock(s.At))
		for _, v := range s.Values {
			w.out.printf(" %s=%s", v.Tag, modbus.Text(v))
		}
		w.out.printf("\n")
	}
	if w.out.err != nil || w.most > 0 && w.scans >= w.most {
		w.enough()
	}
}

func (w *machineWatch) Health(h device.Health) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.state, w.trouble = string(h.State), ""; h.State != device.Online {
		w.trouble = h.Detail
	}
	switch {
	case w.asJSON:
		w.out.json(map[string]string{"at": stamp(h.At), "state": string(h.State), "detail": h.Detail})
	case w.picture == nil && h.State != device.Online:
		w.out.printf("%s  %s: %s\n", clock(h.At), h.State, h.Detail)
	case h.State != device.Online:
		w.errors.add(fmt.Sprintf("%s  %s: %s", clock(h.At), h.State, h.Detail))
	}
}

func (w *machineWatch) refresh(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.bus.Stats()
	w.perScan.update(now, s.Scans)
	lines := []string{
		fmt.Sprintf("%s  unit %d  %s  %s for %s", w.link, w.id, w.profile.Name, w.state, now.Sub(w.start).Truncate(time.Second)),
		fmt.Sprintf("polls %d  scans %d  %s   requests %d  replies %d  refused %d  failed %d  stray %d",
			s.Polls, s.Scans, w.perScan, s.Requests, s.Replies, s.Exceptions, s.Failures, s.Stale), "",
	}
	if len(w.errors.lines) > 0 {
		lines = append(lines, "errors")
		lines = append(lines, w.errors.folded(w.picture.width())...)
		lines = append(lines, "")
	}
	if w.scan != nil {
		lines = append(lines, "values of "+clock(w.scan.At))
		for _, tag := range w.profile.Tags() {
			v, read := w.latest[tag]
			if !read {
				continue
			}
			text := modbus.Text(v)
			if v.OK && v.Text != "" {
				text = v.Text + " (" + v.Number.String() + ")"
			}
			if v.OK && v.Unit != "" {
				text += " " + v.Unit
			}
			lines = append(lines, fmt.Sprintf("  %-20s %-24s %s%s", v.Tag, text, v.Quantity, v.Why))
		}
	}
	w.picture.draw(now, lines)
}
