package durable

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// LockedError is the error of [Lock] while another process, or another part of this one, has the lock.
type LockedError struct {
	Path string
	PID  int // of the holder; 0 when it is not known
}

func (e *LockedError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("lock %s: another process holds it; stop that process or choose another directory", e.Path)
	}
	return fmt.Sprintf("lock %s: process %d holds it; stop that process or choose another directory", e.Path, e.PID)
}

// Lock takes the lock file at path, creating it if need be, or returns a [*LockedError] at once. The
// kernel frees the lock when the process ends, however it ends, so a file left by a crash does not
// lock. release may be called once.
//
//	open     path  O_RDWR|O_CREAT
//	flock    LOCK_EX|LOCK_NB              the lock is on the open file, not on the name
//	ftruncate, write  our process id      for the other's message only; no decision rests on it
//
// and release:
//
//	ftruncate         0
//	flock    LOCK_UN                      not left to close: a child of this process that is just being
//	                                      made holds a copy of the file until it has become a program
//	close
//
// The file stays after release: removing it would let a third process lock a new file of that name
// while a second one still waits to lock the old one.
func Lock(path string) (release func() error, err error) {
	f, err := lockFile(path)
	if err != nil {
		return nil, err
	}
	if err := writePID(f); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return func() error {
		// Without the truncation a later holder's contender could be told our process id.
		return errors.Join(f.Truncate(0), unlock(f))
	}, nil
}

// LockUnsigned is [Lock] for a disk that may be full: it writes nothing, so the LockedError of
// others has no PID.
func LockUnsigned(path string) (release func() error, err error) {
	f, err := lockFile(path)
	if err != nil {
		return nil, err
	}
	return func() error { return unlock(f) }, nil
}

func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	if err := flock(f, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = &LockedError{Path: path, PID: readPID(f)}
		} else {
			err = fmt.Errorf("lock %s: %w; use a local file system", path, err)
		}
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func unlock(f *os.File) error {
	if err := errors.Join(flock(f, syscall.LOCK_UN), f.Close()); err != nil {
		return fmt.Errorf("unlock %s: %w", f.Name(), err)
	}
	return nil
}

// flock retries when a signal interrupts it, which Go's runtime sends to its own threads.
func flock(f *os.File, how int) error {
	for {
		err := syscall.Flock(int(f.Fd()), how)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

func writePID(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt(fmt.Appendln(nil, os.Getpid()), 0)
	return err
}

func readPID(f *os.File) int {
	text, err := io.ReadAll(io.NewSectionReader(f, 0, 32))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 0 {
		return 0
	}
	return pid
}
