package journal

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// Cause is why nothing could be recorded, as far as somebody at the site can do something about it.
type Cause string

// The causes.
const (
	NoSpace   Cause = "no-space"   // the disk is full, or the user's share of it
	ReadOnly  Cause = "read-only"  // mounted so, or by the kernel after an error
	DiskFails Cause = "disk-fails" // it can't read or write
	Forbidden Cause = "forbidden"  // the directory is not this user's
	NoBudget  Cause = "no-budget"  // ErrFull
	Otherwise Cause = "otherwise"
)

// CauseOf returns the cause of an error of this package.
func CauseOf(err error) Cause {
	switch {
	case errors.Is(err, ErrFull):
		return NoBudget
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return NoSpace
	case errors.Is(err, syscall.EROFS):
		return ReadOnly
	case errors.Is(err, syscall.EIO):
		return DiskFails
	case errors.Is(err, os.ErrPermission):
		return Forbidden
	}
	return Otherwise
}

// remedy adds to a disk's error what to do about it.
func remedy(err error, dir string) error {
	switch CauseOf(err) {
	case NoSpace:
		return fmt.Errorf("%w: free space on the disk that holds %s", err, dir)
	case ReadOnly:
		return fmt.Errorf("%w: mount the disk that holds %s writable, and check it", err, dir)
	case DiskFails:
		return fmt.Errorf("%w: the disk that holds %s fails, replace it", err, dir)
	case Forbidden:
		return fmt.Errorf("%w: give this user the directory %s", err, dir)
	}
	return err
}
