package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"steelyard/edge/agent"
	"steelyard/edge/hmi"
	"steelyard/edge/journal"
	"steelyard/edge/meaning"
	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/modbus"
	"steelyard/firmware-bridge/sim"
	"steelyard/firmware-bridge/weighbridge"
	"steelyard/internal/record"
	"steelyard/internal/wire"
)

// pastRecord is how often a moving belt's standing was recorded.
const pastRecord = time.Minute

// live gives every site its past.
func (t *Town) live(ctx context.Context) error {
	if t.plan.Past == 0 {
		return nil
	}
	var living sync.WaitGroup
	errs := make([]error, len(t.Sites))
	for i, s := range t.Sites {
		living.Go(func() { errs[i] = s.live(ctx, t.began) })
	}
	living.Wait()
	return errors.Join(errs...)
}

// live writes the journal of a site's past as its edge would have: frames and registers are decoded,
// understood and journaled by the same packages, and the operator works the same page. Only the
// clock is moved by hand. The edge that is started afterwards goes on with this journal, signs it and
// brings it to the city, as it does with what has waited for a link.
func (s *Site) live(ctx context.Context, to time.Time) (err error) {
	p, err := s.openPast()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.journal.Close()) }()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("operator's page of the past: %w", err)
	}
	page := &http.Server{Handler: hmi.New(hmi.Agent{Now: p.now, View: p.look, Do: p.act}), ReadHeaderTimeout: 10 * time.Second}
	var serving sync.WaitGroup
	serving.Go(func() { _ = page.Serve(listener) }) // it ends with Close
	defer func() { err = errors.Join(err, page.Close()); serving.Wait() }()
	return s.Sim.Live(ctx, sim.Past{To: to, Frame: p.frame, Poll: p.poll, Edge: "http://" + listener.Addr().String()})
}

// past is what an edge is made of, but for its clock.
type past struct {
	journal  *journal.Journal
	decoders map[string]*weighbridge.Decoder
	profiles map[string]*modbus.Profile

	at atomic.Int64 // Unix ns: when the newest frame came

	mu   sync.Mutex // guards what follows
	site *meaning.Site
}

func (s *Site) openPast() (*past, error) {
	c, err := agent.Read(filepath.Join(s.Dir, "edge.yaml"))
	if err != nil {
		return nil, err
	}
	understanding := c.Meaning()
	for i := range understanding.Belts {
		understanding.Belts[i].Every = pastRecord
	}
	p := &past{decoders: map[string]*weighbridge.Decoder{}, profiles: map[string]*modbus.Profile{}, site: meaning.New(understanding)}
	p.at.Store(s.past.UnixNano())
	facts := []record.Fact{{At: s.past, Body: c.Opened(s.key)}}
	online := func(name string) {
		facts = append(facts, record.Fact{At: s.past, Device: name, Body: &record.Device{State: string(device.Online)}})
	}
	for _, l := range c.Lines() {
		for _, i := range l.Indicators() {
			i.Options.Device = i.Device
			p.decoders[i.Device] = weighbridge.NewDecoder(i.Dialect, i.Options)
			online(i.Device)
		}
	}
	for _, b := range c.Buses {
		for _, m := range b.Machines {
			p.profiles[m.Device] = m.Model
			online(m.Device)
		}
	}
	if p.journal, err = journal.Open(journal.Options{Dir: filepath.Join(c.Data, "records"), Site: c.Site, Stream: wire.Records}); err != nil {
		return nil, err
	}
	if _, err := p.record(facts); err != nil {
		return nil, errors.Join(err, p.journal.Close())
	}
	return p, nil
}

// record journals facts and lets the site know, as the edge's desk does.
func (p *past) record(facts []record.Fact) ([]meaning.Entry, error) {
	written, err := p.journal.Append(agent.Clock(), facts...)
	if err != nil {
		return nil, err
	}
	var entries []meaning.Entry
	for i, w := range written {
		e := meaning.Entry{Ref: record.Ref{Journal: w.Entry.Journal, N: w.Entry.N}, Hash: w.Hash.String(),
			At: w.Entry.At, Device: w.Entry.Device, Body: facts[i].Body}
		p.site.Apply(e)
		entries = append(entries, e)
	}
	return entries, nil
}

func (p *past) now() time.Time { return time.Unix(0, p.at.Load()) }

func (p *past) frame(name string, at time.Time, frame []byte) (err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at.Store(at.UnixNano())
	p.decoders[name].Write(at, frame, func(w device.Weight) {
		_, failed := p.record(p.site.Weight(w))
		err = errors.Join(err, failed)
	})
	return err
}

func (p *past) poll(name string, at time.Time, words []uint16) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	registers := map[modbus.Register]uint16{}
	for i, w := range words {
		for _, function := range []uint8{3, 4} {
			registers[modbus.Register{FC: function, Address: uint16(i)}] = w
		}
	}
	_, err := p.record(p.site.Scan(device.Scan{Device: name, At: at, Values: p.profiles[name].Decode(registers)}))
	return err
}

func (p *past) look(_ context.Context, look func(*meaning.Site)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	look(p.site)
	return nil
}

func (p *past) act(_ context.Context, act func(*meaning.Site) ([]record.Fact, error)) ([]meaning.Entry, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	facts, err := act(p.site)
	if err != nil {
		return nil, err
	}
	return p.record(facts)
}
