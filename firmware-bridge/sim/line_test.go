package sim_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"steelyard/firmware-bridge/sim"
	"steelyard/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// dial opens the edge's end of a line.
func dial(t testing.TB, path string) io.ReadWriteCloser {
	t.Helper()
	if addr, ok := strings.CutPrefix(path, "tcp://"); ok {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	conn, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	// A master empties its port when it opens it.
	if err := conn.Control(func(fd uintptr) { err = unix.IoctlSetInt(int(fd), unix.TCFLSH, unix.TCIFLUSH) }); err != nil {
		t.Fatal(err)
	}
	return f
}

func lines(t *testing.T) map[string]sim.Line {
	tty, err := sim.OpenPty(sim.PtyConfig{Link: filepath.Join(t.TempDir(), "line.tty")})
	if err != nil {
		t.Fatal(err)
	}
	paced, err := sim.OpenPty(sim.PtyConfig{Link: filepath.Join(t.TempDir(), "paced.tty"), Baud: 19200, Bits: 11})
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := sim.ListenTCP("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]sim.Line{"pty": tty, "paced pty": paced, "tcp": tcp}
	for _, l := range all {
		t.Cleanup(func() {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return all
}

// greet exchanges a byte with the line, so that both ends know that it stands.
func greet(t *testing.T, line sim.Line, end io.ReadWriter) {
	t.Helper()
	if _, err := end.Write([]byte("?")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(line, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
}

func TestLinesCarryEveryByteBothWays(t *testing.T) {
	every := make([]byte, 256) // 03h, 0Dh, 11h, 13h and the high bits too
	for i := range every {
		every[i] = byte(i)
	}
	for name, line := range lines(t) {
		t.Run(name, func(t *testing.T) {
			end := dial(t, line.Path())
			greet(t, line, end)
			go line.Write(every)
			got := make([]byte, len(every))
			if _, err := io.ReadFull(end, got); err != nil || !bytes.Equal(got, every) {
				t.Errorf("to the edge: % X, %v", got, err)
			}
			if _, err := end.Write(every); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(line, got); err != nil || !bytes.Equal(got, every) {
				t.Errorf("to the machine: % X, %v", got, err)
			}
		})
	}
}

func TestLinesSurviveUnplugging(t *testing.T) {
	for name, line := range lines(t) {
		t.Run(name, func(t *testing.T) {
			path := line.Path()
			for range 3 {
				end := dial(t, line.Path())
				greet(t, line, end)
				if err := line.Unplug(); err != nil {
					t.Fatal(err)
				}
				if n, err := end.Read(make([]byte, 1)); err == nil {
					t.Fatalf("read %d bytes from an unplugged line", n)
				}
				if _, err := os.Stat(path); err == nil {
					t.Fatal("path is there although the line is unplugged")
				}
				if n, err := line.Write([]byte("lost")); n != 4 || err != nil {
					t.Fatalf("the machine noticed: %d, %v", n, err)
				}
				if err := line.Replug(); err != nil {
					t.Fatal(err)
				}
				if line.Path() != path {
					t.Fatalf("path went from %s to %s", path, line.Path())
				}
			}
			end := dial(t, path)
			greet(t, line, end)
			go line.Write([]byte("back"))
			got := make([]byte, 4)
			if _, err := io.ReadFull(end, got); err != nil || string(got) != "back" {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

// An edge that opens the port again reads from now on, not what it left behind.
func TestALineWithoutReaderForgets(t *testing.T) {
	for name, line := range lines(t) {
		t.Run(name, func(t *testing.T) {
			end := dial(t, line.Path())
			greet(t, line, end)
			line.Write([]byte("unread"))
			end.Close()
			for range 10_000 / 6 { // more than any buffer of a terminal holds up in the end
				if n, err := line.Write([]byte("nobody")); n != 6 || err != nil {
					t.Fatalf("%d, %v", n, err)
				}
				if name == "paced pty" {
					break
				}
			}
			end = dial(t, line.Path())
			greet(t, line, end)
			go line.Write([]byte("fresh"))
			got := make([]byte, 5)
			if _, err := io.ReadFull(end, got); err != nil || string(got) != "fresh" {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

func TestCloseEndsAWaitingRead(t *testing.T) {
	for name, line := range lines(t) {
		t.Run(name, func(t *testing.T) {
			read := make(chan error, 1)
			go func() {
				_, err := line.Read(make([]byte, 1))
				read <- err
			}()
			if err := line.Close(); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-read:
				if !errors.Is(err, io.EOF) {
					t.Errorf("got %v, want EOF", err)
				}
			case <-time.After(10 * time.Second):
				t.Error("still reading")
			}
			if err := line.Replug(); err == nil {
				t.Error("a closed line can be plugged in")
			}
		})
	}
}

func TestALineReplacesItsOwnLinkOnly(t *testing.T) {
	dir := t.TempDir()
	stale, file := filepath.Join(dir, "stale.tty"), filepath.Join(dir, "file")
	if err := errors.Join(os.Symlink("/dev/pts/99999", stale), os.WriteFile(file, []byte("letter"), 0o600)); err != nil {
		t.Fatal(err)
	}
	line, err := sim.OpenPty(sim.PtyConfig{Link: stale})
	if err != nil {
		t.Fatal(err)
	}
	defer line.Close()
	dial(t, stale)
	if _, err := sim.OpenPty(sim.PtyConfig{Link: file}); err == nil {
		t.Error("a file was replaced by a line")
	}
}
