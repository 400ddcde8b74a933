package port

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
)

// Reserve takes a port that is free.
//
//	socket   SOCK_CLOEXEC      no child inherits the reservation
//	SO_REUSEADDR               the program that the port is for may bind it, too
//	bind     127.0.0.1:0       and no listen: a connection is refused
//
// Whoever asks for any port is not given one that is bound, whatever its options; whoever asks for
// this one is, when both have set SO_REUSEADDR and neither listens.
func Reserve() (*Port, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("reserve a port: %w", err)
	}
	// Once: a second close could hit what has the number by then.
	release := sync.OnceValue(func() error { return syscall.Close(fd) })
	if err := errors.Join(
		syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1),
		syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}),
	); err != nil {
		return nil, errors.Join(fmt.Errorf("reserve a port: %w", err), release())
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reserve a port: %w", err), release())
	}
	at, ok := name.(*syscall.SockaddrInet4)
	if !ok {
		return nil, errors.Join(fmt.Errorf("reserve a port: bound to %T", name), release())
	}
	return &Port{at.Port, release}, nil
}
