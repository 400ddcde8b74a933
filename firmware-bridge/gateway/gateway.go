// Package gateway lets others read, through [New] and [Gateway.Run], what has only one plug: a serial line,
// a Modbus line, a one-connection Modbus device, a weighing indicator.
//
// In: serial lines with indicators, Modbus links, and for each the address to serve it at and the
// peers that may come.
// Out: over TCP, the bytes of a serial line for many readers; a Modbus line as a Modbus TCP server
// that many may ask; an indicator's weight as a block of registers.
// It promises that nothing which a peer sends can change a machine: raw readers are not listened
// to, and of Modbus the functions 1 to 4 are passed on and no other; that one request is in flight
// on a line and its askers take turns; that a slow or silent peer holds up no other; that a peer off
// the list gets not one byte; that an answer is never older than its max_age; and that "no weight"
// is never a number.
// It does not judge values, keep history or encrypt: its place is a segment of its own.
//
// # The weight block
//
// Sixteen registers, function 3 or 4, high word first. A read may take any part of the block that
// cuts no 32-bit value in two; what one read brings belongs to one moment.
//
//	 0     U16  magic 5357h ("SW")
//	 1     U16  version of this block, 1
//	 2     U16  heartbeat, +1 each second while the gateway runs, wraps
//	 3     U16  state, a bit each:
//	              0  weight: registers 4 to 10 hold one
//	              1  stable
//	              2  moving; with neither 1 nor 2 the indicator does not say
//	              3  over range
//	              4  under range; 3 and 4 together: one of them
//	              5  at the centre of zero
//	              6  net: the weight is without its tare
//	              7  zero not captured since the indicator was switched on
//	              8  silent: no frame in time
//	              9  fault: the line is lost, or bytes come that are no frames
//	             10  the indicator reports an error
//	             15  no weight; always the opposite of bit 0
//	 4–5   S32  weight in g
//	 6–7   S32  weight as its digits are shown, without the point
//	 8     U16  digits after the point
//	 9     U16  unit of the digits: 0 not said, 1 g, 2 kg, 3 t, 4 lb, 5 oz
//	10     U16  kind: 0 as shown, 1 gross, 2 net
//	11     U16  age of the last frame in ms; FFFFh: older, or none yet
//	12–13  U32  frames since the gateway began, wraps
//	14–15  S32  tare as its digits are shown
//
// What is not there is 80000000h in a 32-bit register and FFFFh in 8, 9 and 10, never 0. The weight
// in g is also absent when the unit is not said or no whole grams come out of it (lb, oz), while
// the digits are there.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"steelyard/firmware-bridge/modbus"
	"steelyard/firmware-bridge/serial"
	"steelyard/firmware-bridge/weighbridge"
)

// Gateway is everything that one file describes, with its listeners open.
type Gateway struct {
	acceptors []*acceptor
	tasks     []func(context.Context) error
	addresses map[string]string
}

// New opens every listener of a configuration that Check passed. Machines are not touched before Run.
func New(c Config, log *slog.Logger) (*Gateway, error) {
	g := &Gateway{addresses: map[string]string{}}
	var wrong []error
	for _, l := range c.Lines {
		wrong = append(wrong, g.addLine(l, log))
	}
	for _, b := range c.Buses {
		wrong = append(wrong, g.addBus(b, log.With("device", b.Name)))
	}
	if err := errors.Join(wrong...); err != nil {
		for _, a := range g.acceptors {
			err = errors.Join(err, a.listener.Close())
		}
		return nil, err
	}
	return g, nil
}

// Addresses returns for each configured listen address the one that is really open: it differs where
// port 0 let the system choose.
func (g *Gateway) Addresses() map[string]string { return g.addresses }

// Run serves until ctx ends, which is no error, and waits for every connection. It must be called
// once, for it is also what closes the listeners.
func (g *Gateway) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	errs := make([]error, len(g.tasks))
	var all sync.WaitGroup
	for i, task := range g.tasks {
		all.Go(func() {
			if errs[i] = task(ctx); errs[i] != nil {
				stop() // half a gateway looks like a whole one to those whose half still works
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

func (g *Gateway) open(name string, c Listener, serve func(context.Context, net.Conn), log *slog.Logger) error {
	a, err := listen(c, serve, log.With("listen", c.Listen))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	g.acceptors = append(g.acceptors, a)
	g.tasks = append(g.tasks, a.run)
	g.addresses[c.Listen] = a.listener.Addr().String()
	return nil
}

func (g *Gateway) addBus(c Bus, log *slog.Logger) error {
	master, err := modbus.NewMaster(modbus.MasterConfig{Link: c.Link, Timeout: c.Timeout, Latency: c.Latency,
		Gap: c.Gap, ConnectPause: c.ConnectPause})
	if err != nil {
		return fmt.Errorf("%s: %w", c.Name, err)
	}
	b := newBus(c, master, log)
	g.tasks = append(g.tasks, b.run)
	return g.open(c.Name, c.Serve, func(ctx context.Context, conn net.Conn) { serveModbus(ctx, conn, b.answer) }, log)
}

func (g *Gateway) addLine(c Line, plain *slog.Logger) error {
	log := plain.With("device", c.Device) // a Reader adds its device itself
	if c.Raw == nil {
		return g.addIndicator(c, c.Line, plain)
	}
	h := newHub(c.Line, log)
	g.tasks = append(g.tasks, h.run)
	if err := g.open(c.Device, *c.Raw, h.serve, log); err != nil {
		return err
	}
	if c.Registers == nil {
		return nil
	}
	// The line is the hub's. The indicator's reader is one more of its readers, at an address that
	// only this machine reaches and at which the dialect's own poll, and nothing else, is heard.
	d := c.dialect()
	var poll []byte
	if d.Poll != "" && !c.ListenOnly {
		options := c.Options
		options.Device = c.Device
		var err error
		if poll, err = d.Encode(d.Poll, options); err != nil {
			return err
		}
	}
	own := Listener{Listen: "127.0.0.1:0", Allow: []string{"127.0.0.1"}, Clients: 2}
	inner, err := listen(own, func(ctx context.Context, conn net.Conn) { h.serveClient(ctx, conn, poll) }, log)
	if err != nil {
		return fmt.Errorf("%s: %w", c.Device, err)
	}
	g.acceptors = append(g.acceptors, inner)
	g.tasks = append(g.tasks, inner.run)
	line := c.Line
	line.Port = "tcp://" + inner.listener.Addr().String()
	return g.addIndicator(c, line, plain)
}

func (g *Gateway) addIndicator(c Line, line serial.Config, plain *slog.Logger) error {
	s := newScale(*c.Registers)
	r := weighbridge.Reader{Line: line, Sink: s, Log: plain, RetryTo: 2 * time.Second,
		Indicators: []weighbridge.Indicator{{Device: c.Device, Dialect: c.dialect(), Options: c.Options, Listen: c.ListenOnly}}}
	if err := r.Check(); err != nil {
		return err
	}
	s.limit = r.SilenceAfter()
	g.tasks = append(g.tasks, r.Run)
	return g.open(c.Device, c.Registers.Listener, func(ctx context.Context, conn net.Conn) { serveModbus(ctx, conn, s.answer) }, plain.With("device", c.Device))
}
