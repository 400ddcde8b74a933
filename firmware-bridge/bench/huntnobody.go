package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"steelyard/firmware-bridge/modbus"
	"steelyard/firmware-bridge/serial"
)

// nobody says why no machine was found. Before it does, it looks whether somebody is there who speaks
// otherwise: the other framing of Modbus, and with -ask DL/T 645 as meters do, or Modbus ASCII.
func (h *hunt) nobody(ctx context.Context) error {
	if len(h.once) > 0 {
		return fmt.Errorf("%s: unit %d answered once and not again: is it slow, or the line disturbed? run again with -timeout %s", h.target, h.once[0], min(4*h.timeout, 15*time.Second))
	}
	line := h.lines[0]
	if line.Scheme != modbus.Serial {
		if err := h.otherFraming(ctx, line); err != nil {
			return err
		}
	}
	if !h.serial() {
		return fmt.Errorf("%s: somebody takes connections, and no unit answers, neither as Modbus TCP nor as Modbus RTU over it: is its Modbus enabled, and this its port? other ids are asked with -units 0-255", h.target)
	}
	others, more := "", "; Modbus ASCII and DL/T 645 are recognised with -ask"
	if h.search.ask {
		if err := h.otherProtocol(ctx); err != nil {
			return err
		}
		others, more = ", neither as Modbus ASCII nor as DL/T 645", ""
	}
	return fmt.Errorf("%s: nobody answers%s: is the machine on, its Modbus enabled, A and B the right way round? other ids are asked with -units 1-247, a slow machine is waited for with -timeout 2s%s", h.target, others, more)
}

// mostLooked are so many units that are asked otherwise.
const mostLooked = 3

// otherFraming asks over TCP what was asked as the one framing as the other, and first looks at what came.
func (h *hunt) otherFraming(ctx context.Context, line modbus.Link) error {
	nothing := errors.New("nothing came")
	other := line
	if other.Scheme = modbus.RTUOverTCP; line.Scheme == modbus.RTUOverTCP {
		other = modbus.Link{Scheme: modbus.TCP, Address: line.Address}
	}
	for _, id := range h.units[:min(mostLooked, len(h.units))] {
		for _, l := range []modbus.Link{line, other} {
			m, err := modbus.NewMaster(modbus.MasterConfig{Link: linkText(h.way.reach(l)), Timeout: h.timeout})
			if err != nil {
				return err
			}
			q := h.probes[0]
			q.Unit = id
			if l == other {
				_, _, err = m.Read(ctx, q)
			} else {
				err = m.Look(ctx, q, nothing)
			}
			m.Close()
			_, refused := errors.AsType[modbus.Exception](err)
			switch {
			case ctx.Err() != nil:
				return context.Cause(ctx)
			case l == other && (err == nil || refused):
				return fmt.Errorf("%s: unit %d answers to the other framing of Modbus: use -link %s", h.target, id, linkText(other))
			case l == line && !errors.Is(err, nothing):
				return fmt.Errorf("%s: %w", h.target, err)
			}
		}
	}
	return nil
}

// strange is a question of another protocol, at the setting at which its devices leave the factory.
type strange struct {
	baud    int
	format  string
	request []byte
}

// strangers are asked for what can do no harm: a meter for its address (DL/T 645-2007, control code 13h, to
// every address), a machine on Modbus ASCII for its first register.
func strangers() []strange {
	meter := []byte{0xFE, 0xFE, 0xFE, 0xFE, 0x68, 0xAA, 0xAA, 0xAA, 0xAA, 0xAA, 0xAA, 0x68, 0x13, 0x00, 0xDF, 0x16}
	ascii := []byte(":010300000001FB\r\n")
	return []strange{{2400, "8E1", meter}, {9600, "8E1", meter}, {1200, "8E1", meter}, {9600, "7E1", ascii}, {19200, "7E1", ascii}, {9600, "8N1", ascii}}
}

// otherProtocol asks a serial line in other languages.
func (h *hunt) otherProtocol(ctx context.Context) error {
	line := h.way.reach(h.lines[0])
	for i, s := range strangers() {
		if line.Scheme == modbus.RTUOverTCP && i > 0 && bytes.Equal(s.request, strangers()[i-1].request) {
			continue // the terminal server has set the line
		}
		config := serial.Config{Port: line.Address, Baud: s.baud, Format: s.format, DTR: line.DTR, RTS: line.RTS, Poll: 50 * time.Millisecond}
		if line.Scheme == modbus.RTUOverTCP {
			config.Port = "tcp://" + line.Address
		}
		h.bar.show(h.done, 0, fmt.Sprintf("asking in another protocol at %d %s", s.baud, s.format))
		came, err := h.askStrange(ctx, config, s)
		if err != nil {
			return err
		}
		if other := modbus.OtherProtocol(came); other != "" {
			return fmt.Errorf("%s: somebody answers at %d %s: % X: %s", h.target, s.baud, s.format, came, other)
		}
	}
	return nil
}

// askStrange sends one question and takes what comes in the time of two answers.
func (h *hunt) askStrange(ctx context.Context, config serial.Config, s strange) (came []byte, err error) {
	port, err := h.open(ctx, config)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { port.Close() }) // wakes Read
	defer func() {
		stop()
		if err = errors.Join(err, port.Close()); ctx.Err() != nil {
			err = context.Cause(ctx)
		}
	}()
	if _, err := port.Write(s.request); err != nil {
		return nil, err
	}
	buf := make([]byte, 4096)
	for end := time.Now().Add(2 * h.timeout); time.Now().Before(end) && len(came) < enoughHeard; {
		n, err := port.Read(buf)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, err
		}
		came = append(came, buf[:n]...)
	}
	return bytes.ReplaceAll(came, s.request, nil), nil // an adapter may hear itself
}
