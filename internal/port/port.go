// Package port reserves TCP ports of 127.0.0.1, [Reserve], for programs that start later, or start again.
//
// In: nothing. Out: the number of a port without a listener.
// It promises that until Close the kernel does not give the port to whoever asks for any port, a
// listener on port 0 or a connection that goes out; that a connection to it is refused while no
// program listens there; and that a program may listen there, end and listen again, if it sets
// SO_REUSEADDR, as Go's net package and the brokers do.
// It does not listen, and does not keep out a program that is told to use this very port. Elsewhere
// than on Linux the port is merely one that was free when it was asked for.
package port

import (
	"net"
	"strconv"
)

// Port is one port of 127.0.0.1.
type Port struct {
	number  int
	release func() error
}

// Number of the port.
func (p *Port) Number() int { return p.number }

// Address is the port's, as host:port.
func (p *Port) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.number)) }

// Close returns the port. A program that listens there goes on. It may be called again.
func (p *Port) Close() error { return p.release() }
