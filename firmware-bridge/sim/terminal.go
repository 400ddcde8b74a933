package sim

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// OpenTerminal opens a pseudo-terminal with the settings that the kernel gives it: echoing, and
// eating 03h, as a line that nobody has set. Closing the machine's end wakes its reader and hangs up.
//
// The number of the terminal is asked for by hand: github.com/creack/pty v1.1.24 gives the kernel an
// address on a stack that the collector may move meanwhile, and the kernel then writes into what is
// somebody else's. Under load that killed programs.
func OpenTerminal() (machine, tty *os.File, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("/dev/ptmx: %w", err)
	}
	machine = os.NewFile(uintptr(fd), "/dev/ptmx")
	number := uint32(0)
	if err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err == nil {
		number, err = unix.IoctlGetUint32(fd, unix.TIOCGPTN)
	}
	if err == nil {
		tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("pseudo-terminal: %w", err), machine.Close())
	}
	return machine, tty, nil
}
