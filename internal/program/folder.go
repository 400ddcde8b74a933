package program

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// CheckData is [CheckFolder] for a data folder, and [CheckKey] for the key in it.
func CheckData(path, key string) error {
	if err := CheckFolder(path); err != nil {
		return err
	}
	return CheckKey(filepath.Join(path, key))
}

// CheckFolder reports why a data folder could not be used: it, or where it is not there yet the
// nearest folder above it, must be one that this user may write to. It changes nothing.
func CheckFolder(path string) error {
	for at := path; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		switch {
		case errors.Is(err, fs.ErrNotExist) && at != filepath.Dir(at):
			continue
		case err != nil:
			return fmt.Errorf("data folder: %w: create it, or name another as data", err)
		case !info.IsDir():
			return fmt.Errorf("data folder: %s: not a directory: name another as data", at)
		}
		if err := unix.Access(at, unix.W_OK|unix.X_OK); err != nil {
			return fmt.Errorf("data folder: %s: %w: it must be writable for the user who runs the program", at, err)
		}
		return nil
	}
}
