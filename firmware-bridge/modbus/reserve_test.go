package modbus_test

import (
	"net"
	"os"
	"strconv"
	"syscall"
	"testing"
)

// reserved is a port of this machine at which nobody listens until listen is called, and which nobody
// else is given meanwhile: a port that was only seen to be free may be another's a moment later.
type reserved struct {
	port string
	file *os.File
}

func reserve(t testing.TB) *reserved {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	r := &reserved{file: os.NewFile(uintptr(fd), "reserved port")}
	t.Cleanup(func() { r.file.Close() })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	r.port = strconv.Itoa(name.(*syscall.SockaddrInet4).Port)
	return r
}

// listen begins to listen at the port.
func (r *reserved) listen(t testing.TB) net.Listener {
	t.Helper()
	if err := syscall.Listen(int(r.file.Fd()), 16); err != nil {
		t.Fatal(err)
	}
	l, err := net.FileListener(r.file)
	if err != nil {
		t.Fatal(err)
	}
	return l
}
