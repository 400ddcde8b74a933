package config_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"steelyard/internal/config"
)

func place(t *testing.T, name, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReadFileTakesOnlyFiles(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "socket")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	huge := place(t, "huge.yaml", "", 0o600)
	if err := os.Truncate(huge, 1<<40); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"":                        "no file is named; give its path",
		dir:                       dir + ": is a directory; name a file in it",
		fifo:                      fifo + ": is a pipe, not a file",
		socket:                    socket + ": is a socket, not a file",
		"/dev/zero":               "/dev/zero: is a device, not a file",
		huge:                      huge + ": is larger than 4194304 bytes; this is not the file you mean",
		filepath.Join(dir, "no"):  filepath.Join(dir, "no") + ": no such file or directory; check the path",
		filepath.Join(fifo, "no"): filepath.Join(fifo, "no") + ": not a directory",
	} {
		t.Run(path, func(t *testing.T) {
			if _, err := config.ReadFile(path); fmt.Sprint(err) != want {
				t.Errorf("%q: got %v, want %s", path, err, want)
			}
		})
	}
	// A file of the kernel says that it is empty and then goes on and on: the size alone is no limit.
	if _, err := config.ReadFile("/proc/self/maps"); err != nil {
		t.Errorf("a file of unknown size: %v", err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(place(t, "edge.yaml", "site: a\n", 0o644), link); err != nil {
		t.Fatal(err)
	}
	if got, err := config.ReadFile(link); err != nil || string(got) != "site: a\n" {
		t.Errorf("link: got %q, %v", got, err)
	}
}

func TestSecret(t *testing.T) {
	const hidden = "correct-horse"
	for _, mode := range []os.FileMode{0o600, 0o400, 0o700} {
		if got, err := config.Secret(place(t, "key", hidden+"\n", mode)); err != nil || string(got) != hidden+"\n" {
			t.Errorf("mode %o: got %q, %v, want every byte", mode, got, err)
		}
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o660, 0o602, 0o601, 0o644} {
		path := place(t, "key", hidden, mode)
		want := fmt.Sprintf("secret: %s: others may read it (mode %04o); run: chmod 600 %s", path, mode, path)
		if got, err := config.Secret(path); fmt.Sprint(err) != want || got != nil {
			t.Errorf("mode %o: got %q, %v, want %s", mode, got, err, want)
		}
	}
	for _, text := range []string{"", strings.Repeat(hidden, 64<<10/len(hidden)+1)} {
		if got, err := config.Secret(place(t, "key", text, 0o600)); err == nil || got != nil || strings.Contains(err.Error(), hidden) {
			t.Errorf("%d bytes: got %d bytes, %v, want an error without the secret", len(text), len(got), err)
		}
	}
}

func TestPassword(t *testing.T) {
	for text, want := range map[string]string{"a b\n": "a b", "x\r\n": "x", " x ": " x "} {
		t.Run(text, func(t *testing.T) {
			if got, err := config.Password(place(t, "password", text, 0o600)); err != nil || got != want {
				t.Errorf("%q: got %q, %v, want %q", text, got, err, want)
			}
		})
	}
	for _, text := range []string{"hush\nhush\n", "\n", "hush\x00", ""} {
		if got, err := config.Password(place(t, "password", text, 0o600)); err == nil || got != "" || strings.Contains(err.Error(), "hush") {
			t.Errorf("%q: got %q, %v, want an error without the password", text, got, err)
		}
	}
}
