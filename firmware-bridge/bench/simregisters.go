package bench

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"steelyard/firmware-bridge/modbus"
	"steelyard/firmware-bridge/sim"
	"steelyard/internal/unit"
)

// modbusLink is what the two kinds of simulated links have in common.
type modbusLink interface {
	Fault(sim.LinkFault)
	Requests() int64
}

// overTCP begins the address of a serial line behind a terminal server.
const overTCP = modbus.RTUOverTCP + "://"

// slave serves a profile's registers as one or more units.
type slave struct {
	profile *modbus.Profile
	units   sim.Units
	link    modbusLink
	rtu     *sim.ModbusRTU // nil on TCP
	tcp     *sim.ModbusTCP // nil on a serial line
	line    sim.Line       // of rtu: a pseudo-terminal, or a terminal server; nil on TCP
	counts  atomic.Int64   // of the totaliser in a second

	mu     sync.Mutex // guards values
	values map[string]string
}

const slaveCommands = "set TAG=VALUE | wrap | exception CODE | " + faultCommands

func (c invocation) simulateProfile(ctx context.Context, f simulateFlags) error {
	p, err := c.profile(f.profile)
	if err != nil {
		return err
	}
	s := &slave{profile: p, units: sim.Units{}, values: map[string]string{}}
	s.counts.Store(f.counts)
	if !f.empty && len(p.Tests) > 0 {
		maps.Copy(s.values, p.Tests[0].Expect)
		for _, point := range p.Points {
			if s.values[point.Name] == "none" || point.Type == "bits" {
				delete(s.values, point.Name) // no value, or words of bits, which have no inverse
			}
		}
	}
	if len(f.units) == 0 {
		f.units = texts{"1"}
	}
	for _, text := range f.units {
		id, err := strconv.ParseUint(text, 10, 8)
		overNetwork := strings.HasPrefix(f.listen, "tcp://")
		if err != nil || !overNetwork && (id == 0 || id > 247) {
			return wrongCall("", "unit %.20q: must be between 1 and 247, or over tcp:// between 0 and 255", text)
		}
		s.units[uint8(id)] = sim.NewRegisters(s.size(3, 4))
	}
	for _, text := range f.set {
		if err := s.set(text); err != nil {
			return wrongCall("", "set: %w", err)
		}
	}
	if err := s.serve(); err != nil {
		return err
	}
	if err := s.open(f); err != nil {
		return err
	}
	return c.perform(ctx, s, "machine "+p.Name, slaveCommands, f.asJSON)
}

// open opens the link that was asked for.
func (s *slave) open(f simulateFlags) (err error) {
	if address, ok := strings.CutPrefix(f.listen, "tcp://"); ok {
		if s.tcp, err = listening(sim.ServeModbusTCP(address, s.units, 1)); err != nil {
			return err
		}
		s.link = s.tcp
		return nil
	}
	if address, ok := strings.CutPrefix(f.listen, overTCP); ok {
		s.line, err = openLine("", "tcp://"+address, 0)
	} else {
		s.line, err = openPty(f.pty, f.baud)
	}
	if err != nil {
		return err
	}
	s.rtu = sim.NewModbusRTU(s.line, s.units, 1)
	s.link = s.rtu
	return nil
}

// size is the number of registers, coils or inputs up to the last that the profile reads with these
// functions.
func (s *slave) size(functions ...uint8) int {
	n := 0
	for _, b := range s.profile.Blocks() {
		if slices.Contains(functions, b.FC) {
			n = max(n, int(b.From)+b.Count)
		}
	}
	return n
}

// set changes one value, or none when the registers cannot hold it.
func (s *slave) set(text string) error {
	tag, value, ok := strings.Cut(text, "=")
	if !ok {
		return fmt.Errorf("%.60q: write tag=value, like gross=12340", text)
	}
	s.mu.Lock()
	before, had := s.values[tag]
	s.values[tag] = value
	s.mu.Unlock()
	err := s.serve()
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if delete(s.values, tag); had {
			s.values[tag] = before
		}
	}
	return err
}

// serve writes the values into the registers of every unit.
func (s *slave) serve() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	registers, err := s.profile.Encode(s.values)
	if err != nil {
		return err
	}
	// A simulated unit has one image for both tables, as many machines have.
	for r, w := range registers {
		if other, ok := registers[modbus.Register{FC: 7 - r.FC, Address: r.Address}]; r.FC > 2 && ok && other != w {
			return fmt.Errorf("profile %s: register %d differs between the tables 3 and 4, which this machine cannot serve", s.profile.Name, r.Address)
		}
	}
	coils, inputs := make([]bool, s.size(1)), make([]bool, s.size(2))
	for r, w := range registers {
		switch r.FC {
		case 1:
			coils[r.Address] = w == 1
		case 2:
			inputs[r.Address] = w == 1
		}
	}
	for _, unit := range s.units {
		unit.SetBits(1, coils)
		unit.SetBits(2, inputs)
		unit.Update(func(words []uint16) {
			for r, w := range registers {
				if r.FC > 2 {
					words[r.Address] = w
				}
			}
		})
	}
	return nil
}

// run moves the heartbeat and the totaliser once a second.
func (s *slave) run(ctx context.Context) {
	var serving sync.WaitGroup
	if s.rtu != nil {
		serving.Go(func() { s.rtu.Run(ctx) })
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			serving.Wait()
			return
		case <-tick.C:
			if h := s.profile.Heartbeat; h != nil {
				s.advance(h.Point, 1, 0)
			}
			if t := s.profile.Totaliser; t != nil && s.counts.Load() > 0 {
				s.advance(t.Point, s.counts.Load(), t.Modulus)
			}
		}
	}
}

// advance adds counts to a value. Past the modulus, or where the register ends, it begins again.
func (s *slave) advance(tag string, by, modulus int64) {
	count := unit.Decimal{Coef: 1}
	for _, p := range s.profile.Points {
		if p.Name == tag && p.Scale != "" {
			count, _ = unit.ParseDecimal(p.Scale) // checked when the profile was loaded
		}
	}
	s.mu.Lock()
	value, err := unit.ParseDecimal(s.values[tag])
	s.mu.Unlock()
	if err != nil {
		value = unit.Decimal{Scale: count.Scale}
	}
	for value.Scale < count.Scale {
		value.Coef, value.Scale = value.Coef*10, value.Scale+1
	}
	value.Coef += by * count.Coef
	if modulus > 0 && count.Coef > 0 {
		value.Coef %= modulus * count.Coef
	}
	if s.set(tag+"="+value.String()) != nil {
		_ = s.set(tag + "=" + unit.Decimal{Scale: count.Scale}.String()) // zero fits every register
	}
}

func (s *slave) where() string {
	if s.tcp != nil {
		return "tcp://" + s.tcp.Addr()
	}
	if address, ok := strings.CutPrefix(s.line.Path(), "tcp://"); ok {
		return overTCP + address
	}
	return s.line.Path()
}

func (s *slave) close() error {
	if s.tcp != nil {
		return s.tcp.Close()
	}
	return s.line.Close()
}

func (s *slave) obey(command string, words []string) (string, error) {
	switch command {
	case "set":
		if len(words) != 1 {
			return "", errors.New("write: set tag=value")
		}
		return words[0], s.set(words[0])
	case "wrap":
		t := s.profile.Totaliser
		if t == nil {
			return "", fmt.Errorf("profile %s has no totaliser", s.profile.Name)
		}
		s.mu.Lock()
		s.values[t.Point] = "0"
		s.mu.Unlock()
		s.advance(t.Point, t.Modulus-3, t.Modulus) // so that a poll sees it on both sides
		s.counts.CompareAndSwap(0, 1)
		return "the totaliser is three counts before it wraps", nil
	case "unplug", "replug":
		return command + "ged", s.plug(command == "unplug")
	}
	fault, ok, err := faultOf(command, words)
	if sim.LinkFaultKind(command) == sim.Exception {
		ok = true
		fault.Code, err = exceptionCode(words)
	}
	switch {
	case !ok:
		return "", unknownCommand(command, slaveCommands)
	case err != nil:
		return "", err
	}
	s.link.Fault(fault)
	return fmt.Sprintf("%s after %d requests", command, s.link.Requests()), nil
}

func exceptionCode(words []string) (uint8, error) {
	if len(words) == 1 {
		if code, err := strconv.ParseUint(words[0], 0, 8); err == nil && code > 0 {
			return uint8(code), nil
		}
	}
	return 0, errors.New("write: exception CODE, as in exception 6")
}

func (s *slave) plug(out bool) error {
	switch {
	case s.tcp != nil && out:
		return s.tcp.Unplug()
	case s.tcp != nil:
		return s.tcp.Replug()
	case out:
		return s.line.Unplug()
	}
	return s.line.Replug()
}
