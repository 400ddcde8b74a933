package journal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"steelyard/internal/durable"
)

// filesystem is what the journal needs of a disk. The second implementation is the crashing one of
// the tests.
type filesystem interface {
	// MkdirAll makes dir and what is missing above it, durably.
	MkdirAll(dir string) error
	List(dir string) ([]string, error)
	// Create makes a file that must not exist yet.
	Create(path string) (file, error)
	Open(path string) (file, error) // for reading, Sync and Forget
	Rename(from, to string) error
	Remove(path string) error
	SyncDir(dir string) error
	// Lock holds path for this process until release.
	Lock(path string) (release func() error, err error)
}

type file interface {
	io.ReaderAt
	io.Writer // at the end
	Sync() error
	// Truncate is a help for readers after a failed append; nothing rests on it.
	Truncate(size int64) error
	Size() (int64, error)
	// DropCache drops what the system remembers of the file, so that the next read comes from the
	// medium. After a failed fsync the two may differ.
	DropCache()
	// StillAt reports whether the file is still to be found under path.
	StillAt(path string) bool
	Close() error
}

// system is the operating system's disk.
type system struct {
	noSync bool
}

func (s system) MkdirAll(dir string) error {
	if info, err := os.Stat(dir); err == nil {
		if !info.IsDir() {
			return fmt.Errorf("%s is not a directory", dir)
		}
		return nil
	}
	above := filepath.Dir(dir)
	if above != dir {
		if err := s.MkdirAll(above); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o750); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return s.SyncDir(above)
}

func (s system) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

func (s system) Create(path string) (file, error) {
	return s.open(path, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

func (s system) Open(path string) (file, error) { return s.open(path, os.O_RDONLY) }

func (s system) open(path string, flag int) (file, error) {
	f, err := os.OpenFile(path, flag, 0o640)
	if err != nil {
		return nil, err
	}
	return systemFile{f, s.noSync}, nil
}

func (s system) Rename(from, to string) error { return os.Rename(from, to) }
func (s system) Remove(path string) error     { return os.Remove(path) }

func (s system) SyncDir(dir string) error {
	if s.noSync {
		return nil
	}
	return durable.SyncDir(dir)
}

// Lock writes nothing: on a full disk the agent must still start, or nothing would ever be uploaded
// and dropped.
func (s system) Lock(path string) (func() error, error) { return durable.LockUnsigned(path) }

type systemFile struct {
	*os.File
	noSync bool
}

func (f systemFile) Sync() error {
	if f.noSync {
		return nil
	}
	return f.File.Sync()
}

func (f systemFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// DropCache is advice: where the kernel does not take it, a failed fsync followed by a kill and then
// by a power cut is the one order of events that it leaves uncovered.
func (f systemFile) DropCache() { _ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) }

func (f systemFile) StillAt(path string) bool {
	there, err := os.Stat(path)
	if err != nil {
		return false
	}
	mine, err := f.Stat()
	return err == nil && os.SameFile(there, mine)
}
