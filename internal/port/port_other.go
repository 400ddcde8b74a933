//go:build !linux

package port

import (
	"fmt"
	"net"
)

// Reserve finds a port that is free now.
func Reserve() (*Port, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("reserve a port: %w", err)
	}
	number := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		return nil, fmt.Errorf("reserve a port: %w", err)
	}
	return &Port{number, func() error { return nil }}, nil
}
