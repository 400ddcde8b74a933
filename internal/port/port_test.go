package port_test

import (
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"

	"steelyard/internal/port"
)

func reserve(t *testing.T) *port.Port {
	t.Helper()
	p, err := port.Reserve()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func shut(t *testing.T, c io.Closer) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// A program listens on its port, ends, and listens again; in between and before, a connection is
// refused.
func TestAProgramComesAndGoes(t *testing.T) {
	p := reserve(t)
	defer shut(t, p)
	refused := func() {
		t.Helper()
		if conn, err := net.Dial("tcp", p.Address()); err == nil {
			shut(t, conn)
			t.Error("somebody listens")
		} else if !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("got %v, want a refusal", err)
		}
	}
	for range 2 {
		refused()
		l, err := net.Listen("tcp", p.Address())
		if err != nil {
			t.Fatal(err)
		}
		near, err := net.Dial("tcp", p.Address())
		if err != nil {
			t.Fatal(err)
		}
		far, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		shut(t, l)
		shut(t, far) // this end waits on the port for a minute, as after a program was killed
		shut(t, near)
	}
	refused()
}

// bindWithout binds an address as a connection that goes out does: without SO_REUSEADDR.
func bindWithout(t *testing.T, number int) error {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	return syscall.Bind(fd, &syscall.SockaddrInet4{Port: number, Addr: [4]byte{127, 0, 0, 1}})
}

func TestAConnectionThatGoesOutDoesNotTakeIt(t *testing.T) {
	p := reserve(t)
	if err := bindWithout(t, p.Number()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("got %v, want that the port is in use", err)
	}
	shut(t, p)
	shut(t, p)
	if err := bindWithout(t, p.Number()); err != nil { // the control
		t.Errorf("given back, it is still taken: %v", err)
	}
}

func TestPortsDiffer(t *testing.T) {
	seen := map[int]bool{}
	for range 200 {
		p := reserve(t)
		defer shut(t, p)
		if seen[p.Number()] || !strings.HasPrefix(p.Address(), "127.0.0.1:") {
			t.Fatalf("%s was given twice", p.Address())
		}
		seen[p.Number()] = true
	}
}
