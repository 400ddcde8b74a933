package sim

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/simonvetter/modbus"
)

// ModbusTCP is a Modbus TCP server. A server of the library answers; before it stands a door
// that owns the public port, passes one request at a time and spoils replies on command.
type ModbusTCP struct {
	faulty
	server *modbus.ModbusServer
	inner  string // address of the library's server
	seed   uint64

	ctx    context.Context // ended by Close: cuts short the delays of faults
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex // guards what follows
	addr     string
	listener net.Listener
	conns    map[net.Conn]bool
	closed   bool
}

// Connections beyond this number are turned away, and silent ones closed after this time.
const (
	maxModbusClients = 32
	idleModbusClient = 2 * time.Minute
)

// ServeModbusTCP serves units on addr ("127.0.0.1:0" picks a port and keeps it over replugging).
func ServeModbusTCP(addr string, units Units, seed uint64) (*ModbusTCP, error) {
	m := &ModbusTCP{faulty: newFaulty(units), addr: addr, seed: seed, conns: make(map[net.Conn]bool)}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	if err := m.startServer(); err != nil {
		m.cancel()
		return nil, err
	}
	if err := m.Replug(); err != nil {
		m.cancel()
		return nil, errors.Join(err, m.server.Stop())
	}
	return m, nil
}

// startServer starts the library's server. It does not say which port it took, so it is given one
// that was free a moment ago; somebody else may have taken it since.
func (m *ModbusTCP) startServer() (err error) {
	for range 20 {
		probe, listenErr := net.Listen("tcp", "127.0.0.1:0")
		if listenErr != nil {
			return listenErr
		}
		m.inner = probe.Addr().String()
		probe.Close()
		m.server, err = modbus.NewServer(&modbus.ServerConfiguration{
			URL:        "tcp://" + m.inner,
			Timeout:    time.Hour, // the door ends idle connections with its own
			MaxClients: maxModbusClients,
			Logger:     log.New(io.Discard, "", 0),
		}, handler{m.units})
		if err != nil {
			return err
		}
		if err = m.server.Start(); err == nil {
			return nil
		}
	}
	return fmt.Errorf("modbus server: no free port in 20 attempts: %w", err)
}

// Addr is host:port.
func (m *ModbusTCP) Addr() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.addr
}

// Replug listens again on the same port.
func (m *ModbusTCP) Replug() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return errClosed
	}
	if m.listener != nil {
		return nil
	}
	listener, err := net.Listen("tcp", m.addr)
	if err != nil {
		return err
	}
	m.listener, m.addr = listener, listener.Addr().String()
	m.wg.Go(func() { m.accept(listener) })
	return nil
}

// Unplug closes the port and every connection.
func (m *ModbusTCP) Unplug() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.hangUp()
}

func (m *ModbusTCP) hangUp() error {
	if m.listener == nil {
		return nil
	}
	err := m.listener.Close()
	m.listener = nil
	for c := range m.conns {
		c.Close()
	}
	return err
}

// Close ends the server and waits for its goroutines.
func (m *ModbusTCP) Close() error {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return nil
	}
	m.closed = true
	err := errors.Join(m.hangUp(), m.server.Stop())
	m.mu.Unlock()
	m.cancel()
	m.wg.Wait()
	return err
}

func (m *ModbusTCP) accept(listener net.Listener) {
	for n := uint64(0); ; n++ {
		c, err := listener.Accept()
		if err != nil {
			return
		}
		m.mu.Lock()
		welcome := m.listener == listener && len(m.conns) < maxModbusClients
		if welcome {
			m.conns[c] = true
			m.wg.Go(func() { m.serve(c, rand.New(rand.NewPCG(m.seed, n))) })
		}
		m.mu.Unlock()
		if !welcome {
			c.Close()
		}
	}
}

func (m *ModbusTCP) serve(client net.Conn, noise *rand.Rand) {
	defer func() {
		m.mu.Lock()
		delete(m.conns, client)
		m.mu.Unlock()
		client.Close()
	}()
	server, err := net.Dial("tcp", m.inner)
	if err != nil {
		return
	}
	defer server.Close()
	for {
		_ = client.SetReadDeadline(time.Now().Add(idleModbusClient))
		request, err := readADU(client)
		if err != nil {
			return
		}
		if _, err := server.Write(request); err != nil {
			return
		}
		_ = server.SetReadDeadline(time.Now().Add(5 * time.Second))
		reply, err := readADU(server)
		if err != nil || !m.reply(client, request, reply, noise) {
			return
		}
	}
}

// The header of a Modbus TCP message: transaction, protocol, length of what follows, unit.
const (
	lengthMBAP = 7
	unitAt     = 6
	longestADU = 260
)

// readADU reads one message.
func readADU(r io.Reader) ([]byte, error) {
	adu := make([]byte, unitAt, longestADU)
	if _, err := io.ReadFull(r, adu); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(adu[4:]))
	if n < 2 || unitAt+n > longestADU {
		return nil, fmt.Errorf("modbus message of %d bytes: the limit is %d", n, longestADU-unitAt)
	}
	adu = adu[:unitAt+n]
	_, err := io.ReadFull(r, adu[unitAt:])
	return adu, err
}

// reply sends the reply with the fault of the moment, and reports whether the connection lives.
func (m *ModbusTCP) reply(client net.Conn, request, reply []byte, noise *rand.Rand) bool {
	fault := m.take(request[unitAt])
	switch fault.Kind {
	case DroppedReply:
		return true
	case LateReply:
		if !fault.pause(m.ctx.Done()) {
			return false
		}
	case HalfReply:
		reply = reply[:len(reply)/2]
	case GarbageReply:
		scramble(reply, noise)
	case WrongUnit:
		reply[unitAt]++
	case Exception:
		reply = append(reply[:lengthMBAP], request[lengthMBAP]|exceptionFlag, fault.Code)
		binary.BigEndian.PutUint16(reply[4:], 3)
	case ResetLine:
		if c, ok := client.(*net.TCPConn); ok {
			_ = c.SetLinger(0) // makes Close send a reset
		}
		return false
	case SlowReply:
		for len(reply) > 1 && fault.pause(m.ctx.Done()) {
			if _, err := client.Write(reply[:1]); err != nil {
				return false
			}
			reply = reply[1:]
		}
	}
	_ = client.SetWriteDeadline(time.Now().Add(5 * time.Second))
	_, err := client.Write(reply)
	return err == nil
}

// handler answers the library's server from the register images. Every write is refused.
type handler struct{ units Units }

func (h handler) HandleCoils(r *modbus.CoilsRequest) ([]bool, error) {
	if r.IsWrite {
		return nil, modbus.ErrIllegalFunction
	}
	return h.bits(fcReadCoils, r.UnitId, r.Addr, r.Quantity)
}

func (h handler) HandleDiscreteInputs(r *modbus.DiscreteInputsRequest) ([]bool, error) {
	return h.bits(fcReadInputs, r.UnitId, r.Addr, r.Quantity)
}

func (h handler) HandleHoldingRegisters(r *modbus.HoldingRegistersRequest) ([]uint16, error) {
	if r.IsWrite {
		return nil, modbus.ErrIllegalFunction
	}
	return h.words(r.UnitId, r.Addr, r.Quantity)
}

func (h handler) HandleInputRegisters(r *modbus.InputRegistersRequest) ([]uint16, error) {
	return h.words(r.UnitId, r.Addr, r.Quantity)
}

func (h handler) bits(fc, unit uint8, at, n uint16) ([]bool, error) {
	registers, ok := h.units[unit]
	if !ok {
		return nil, modbus.ErrGWTargetFailedToRespond
	}
	bits, ok := registers.Bits(fc, int(at), int(n))
	if !ok {
		return nil, modbus.ErrIllegalDataAddress
	}
	return bits, nil
}

func (h handler) words(unit uint8, at, n uint16) ([]uint16, error) {
	registers, ok := h.units[unit]
	if !ok {
		return nil, modbus.ErrGWTargetFailedToRespond
	}
	words, ok := registers.Words(int(at), int(n))
	if !ok {
		return nil, modbus.ErrIllegalDataAddress
	}
	return words, nil
}
