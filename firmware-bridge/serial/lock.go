package serial

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// A process that is just ending, or a child between fork and exec, holds the lock a moment longer
// than its owner had the line; only what is held for longer is in use.
const (
	lockPatience = time.Second
	lockStep     = 20 * time.Millisecond
)

// lockDevice takes a lock beside the kernel's own exclusive mode, which does not bind root. The
// caller resolves links first, so that two links to one adapter meet in one lock.
// The lock file stays when the lock is freed: to remove it would let two owners in.
func lockDevice(device string) (*os.File, error) {
	name := filepath.Join(os.TempDir(), "steelyard-line"+url.PathEscape(device)+".lock")
	file, err := openLock(name)
	if err != nil {
		return nil, fmt.Errorf("lock file %s: %w; remove it or check its rights", name, cause(err))
	}
	for waited := time.Duration(0); ; waited += lockStep {
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) || waited >= lockPatience {
			break
		}
		time.Sleep(lockStep)
	}
	if err != nil {
		err = errors.Join(fmt.Errorf("%w by another steelyard process or device entry; find it with: fuser -v %s %s", ErrInUse, device, name), file.Close())
		return nil, err
	}
	return file, nil
}

// openLock opens before it creates: in a sticky directory the kernel refuses to "create" a file
// that another user owns, while a lock needs no more than the right to read.
func openLock(name string) (*os.File, error) {
	for range 2 {
		file, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
		if !errors.Is(err, fs.ErrNotExist) {
			return file, err
		}
		file, err = os.OpenFile(name, os.O_RDONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if !errors.Is(err, fs.ErrExist) {
			return file, err
		}
	}
	return nil, fs.ErrExist
}

// openFile opens the device without waiting for a carrier and without making it our terminal, in
// the runtime's poller, so that deadlines and Close work.
func openFile(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|syscall.O_NOCTTY|syscall.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, syscall.EBUSY):
		return nil, fmt.Errorf("%w by another program; find it with: fuser -v %s", ErrInUse, path)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%w; add this user to the group dialout", cause(err))
	case err != nil:
		return nil, cause(err)
	}
	if err := file.SetDeadline(time.Time{}); err != nil {
		return nil, errors.Join(fmt.Errorf("not a serial device: %w", err), file.Close())
	}
	return file, nil
}

// ignoreLost drops what a hung-up tty answers to housekeeping.
func ignoreLost(err error) error {
	if errors.Is(err, syscall.EIO) || errors.Is(err, syscall.ENXIO) || errors.Is(err, syscall.ENODEV) || errors.Is(err, syscall.ENOTTY) {
		return nil
	}
	return err
}
