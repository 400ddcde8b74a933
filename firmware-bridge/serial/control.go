package serial

import (
	"errors"
	"fmt"
	"syscall"
)

// ErrNoControl reports that the device has no control lines that could be set: a pseudo-terminal, or
// an adapter that brings out the data lines only.
var ErrNoControl = errors.New("no control lines on this device")

const (
	on  = "on"
	off = "off"
)

// control is one control line and what it shall be.
type control struct {
	name  string // as in the configuration
	level string // on, off, or empty: as the driver has it
	set   func(controlLines, bool) error
}

// controlLines sets the control lines of an open tty.
type controlLines interface {
	SetDTR(bool) error
	SetRTS(bool) error
}

func (c Config) controls() []control {
	return []control{{"dtr", c.DTR, controlLines.SetDTR}, {"rts", c.RTS, controlLines.SetRTS}}
}

// control sets those lines that the configuration speaks of. The driver has raised both when the
// device was opened, so a line that is off has been on for a moment.
func (c Config) control(tty controlLines) error {
	for _, line := range c.controls() {
		if line.level == "" {
			continue
		}
		switch err := line.set(tty, line.level == on); {
		case uncontrolled(err):
			return fmt.Errorf("%s: %w (%w); remove dtr and rts", line.name, ErrNoControl, err)
		case err != nil:
			return fmt.Errorf("%s: %w", line.name, err)
		}
	}
	return nil
}

// uncontrolled reports whether a driver has refused because it has nothing to set.
func uncontrolled(err error) bool {
	return errors.Is(err, syscall.ENOTTY) || errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOSYS) || errors.Is(err, syscall.EOPNOTSUPP)
}
