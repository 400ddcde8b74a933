package config

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const maxSecret = 64 << 10

// ReadFile reads a regular file of at most MaxSize bytes. Directories, pipes, devices and large
// files are refused before a byte is read, so that a wrong path can't block or fill the memory.
func ReadFile(path string) ([]byte, error) {
	data, _, err := readRegular(path, MaxSize)
	return data, err
}

// Beside joins the parts of a path that a file names: a relative one counts from the file's own folder.
func Beside(file string, parts ...string) string {
	path := filepath.Join(parts...)
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(file), path)
}

// Secret reads a key or a password of at most 64 KiB, byte for byte. A file that the group or
// others may read is refused, and so is an empty one. No error holds any of its bytes.
func Secret(path string) ([]byte, error) {
	data, info, err := readRegular(path, maxSecret)
	if err != nil {
		return nil, fmt.Errorf("secret: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("secret: %s: others may read it (mode %04o); run: chmod 600 %s", path, mode, path)
	}
	if len(data) == 0 {
		return nil, fmt.Errorf("secret: %s: is empty; write the secret into it", path)
	}
	return data, nil
}

// Password is a Secret of one line, without its line end.
func Password(path string) (string, error) {
	data, err := Secret(path)
	if err != nil {
		return "", err
	}
	line := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if line == "" || strings.ContainsAny(line, "\r\n\x00") {
		return "", fmt.Errorf("secret: %s: needs exactly one line with the password", path)
	}
	return line, nil
}

// Authorities reads the certificates in PEM form that may sign a broker's.
func Authorities(path string) (*x509.CertPool, error) {
	pem, err := ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("broker's authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("broker's authorities: %s contains no PEM certificate: it must hold the authority that signed the broker's certificate", path)
	}
	return pool, nil
}

func readRegular(path string, limit int64) ([]byte, fs.FileInfo, error) {
	if path == "" {
		return nil, nil, errors.New("no file is named; give its path")
	}
	// Looking comes before opening, because opening a device may already act on it. O_NONBLOCK
	// covers a pipe that takes the file's place between the two.
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, reason(path, err)
	}
	if err := fit(path, info, limit); err != nil {
		return nil, nil, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, reason(path, err)
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return nil, nil, reason(path, err)
	}
	if err := fit(path, info, limit); err != nil {
		return nil, nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, nil, reason(path, err)
	}
	if int64(len(data)) > limit {
		return nil, nil, tooLarge(path, limit)
	}
	return data, info, nil
}

func fit(path string, info fs.FileInfo, limit int64) error {
	switch mode := info.Mode(); {
	case mode.IsDir():
		return fmt.Errorf("%s: is a directory; name a file in it", path)
	case !mode.IsRegular():
		return fmt.Errorf("%s: is a %s, not a file", path, kind(mode))
	case info.Size() > limit:
		return tooLarge(path, limit)
	}
	return nil
}

func tooLarge(path string, limit int64) error {
	return fmt.Errorf("%s: is larger than %d bytes; this is not the file you mean", path, limit)
}

func kind(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeNamedPipe != 0:
		return "pipe"
	case mode&fs.ModeSocket != 0:
		return "socket"
	}
	return "device"
}

// reason drops "open" and "stat" from the system's error, which tell an operator nothing, and adds
// what to do.
func reason(path string, err error) error {
	remedy := ""
	switch {
	case errors.Is(err, fs.ErrNotExist):
		remedy = "; check the path"
	case errors.Is(err, fs.ErrPermission):
		remedy = "; give this user the right to read it"
	}
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		err = p.Err
	}
	return fmt.Errorf("%s: %w%s", path, err, remedy)
}
