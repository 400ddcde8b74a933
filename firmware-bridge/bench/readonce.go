package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/modbus"
)

// firstWord is a sink that ends the bus with the first thing it hears.
type firstWord struct {
	heard context.CancelFunc

	mu     sync.Mutex // guards what follows
	scan   *device.Scan
	health device.Health
}

func (f *firstWord) Weight(device.Weight) {}

func (f *firstWord) Scan(s device.Scan) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.scan == nil {
		f.scan = &s
	}
	f.heard()
}

func (f *firstWord) Health(h device.Health) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if h.State != device.Online {
		f.health = h
		f.heard()
	}
}

// readOnce reads registers of a machine whose profile is still to be written: with a profile that
// says nothing but the addresses, over the same bus that reads machines on a site.
func readOnce(ctx context.Context, link string, id, fc uint8, from uint16, number int) ([]uint16, error) {
	var text strings.Builder
	fmt.Fprintf(&text, "profile: registers\nmaker: none\nmodel: none\nstatus: bench\nsources: [{doc: none}]\naddress_base: 0\n")
	fmt.Fprintf(&text, "reads: [{fc: %d, from: %d, count: %d, whole: true}]\npoints:\n", fc, from, number)
	for i := range number {
		fmt.Fprintf(&text, "  - {name: r%d, at: %d, type: u16}\n", i, int(from)+i)
	}
	p, err := modbus.Load("registers", []byte(text.String()))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, 20*time.Second, errors.New("no word from the machine in 20s"))
	defer cancel()
	first := &firstWord{heard: cancel}
	bus, err := modbus.New(modbus.Config{Link: link, Units: []modbus.Unit{{Device: "machine", ID: id, Profile: p}}}, first, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	if err := bus.Run(ctx); err != nil {
		return nil, err
	}
	first.mu.Lock()
	defer first.mu.Unlock()
	switch {
	case first.scan == nil && first.health.Detail != "":
		return nil, fmt.Errorf("unit %d at %s: %s", id, link, first.health.Detail)
	case first.scan == nil:
		return nil, context.Cause(ctx)
	}
	words := make([]uint16, number)
	for i, v := range first.scan.Values {
		if !v.OK {
			return nil, fmt.Errorf("unit %d at %s: register %d: %s", id, link, int(from)+i, v.Why)
		}
		words[i] = uint16(v.Number.Coef)
	}
	return words, nil
}
