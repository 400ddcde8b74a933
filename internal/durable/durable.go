// Package durable replaces files whole, [WriteFile], so that a power cut leaves the old one or the new
// one, and keeps two processes from using one directory, [Lock].
//
// In: a path, bytes and a mode; or the path of a lock.
// Out: a file that is on the disk when the call returns; or the right to be alone.
// It promises that a reader never sees half a file, and that success means the directory entry is
// durable too. It does not make files that grow durable: the journal does that for itself. It does
// not lock between machines that share a network file system.
package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// WriteFile puts data at path, replacing what is there. The mode is perm exactly, whatever the
// umask. If path is a symbolic link, the link is replaced, not its target. A power cut may leave a
// file ".<name>.new-*" beside it, which is never read and may be deleted.
//
//	openat   .<name>.new-123  O_EXCL      a name of its own: two writers never mix
//	write    all bytes
//	fchmod   perm                         before the fsync: the mode is durable too
//	fsync    the file                     before the rename: the name never leads to missing bytes
//	close
//	rename   onto path                    atomic: readers see the old or the new file
//	open     the directory
//	fsync    the directory                the new name survives a power cut
//	close
//
// An error before the rename leaves the old file in place. An error after it says "renamed, but":
// the new file is visible and a power cut may still bring back the old one.
func WriteFile(path string, data []byte, perm fs.FileMode) error {
	dir, name := filepath.Split(path)
	if name == "" {
		return fmt.Errorf("write %q: names a directory, not a file", path)
	}
	if dir == "" {
		dir = "."
	}
	f, err := os.CreateTemp(dir, "."+name+".new-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := writeTemp(f, data, perm); err != nil {
		return fmt.Errorf("write %s: %w", path, errors.Join(err, os.Remove(f.Name())))
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("write %s: %w", path, errors.Join(err, os.Remove(f.Name())))
	}
	if err := SyncDir(dir); err != nil {
		return fmt.Errorf("write %s: renamed, but directory sync failed (may not survive a power cut): %w", path, err)
	}
	return nil
}

func writeTemp(f *os.File, data []byte, perm fs.FileMode) error {
	if _, err := f.Write(data); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Chmod(perm); err != nil {
		return errors.Join(err, f.Close())
	}
	// After a failed fsync the kernel has dropped the dirty pages: this file is given up, never
	// synced again.
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}

// SyncDir makes the names in a directory durable: files created, renamed and removed before the
// call stay so after a power cut.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	if err := d.Sync(); err != nil {
		// Some file systems cannot sync a directory and say so with EINVAL (vfat, some network
		// mounts). The caller must know that its promise does not hold there.
		if errors.Is(err, syscall.EINVAL) {
			err = fmt.Errorf("%w: this file system cannot keep names through a power cut; use ext4, xfs or btrfs", err)
		}
		return fmt.Errorf("sync directory: %w", errors.Join(err, d.Close()))
	}
	if err := d.Close(); err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}
