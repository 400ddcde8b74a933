package durable_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"steelyard/internal/durable"
)

// The test binary plays a second process when this variable names a lock.
const contender = "STEELYARD_TEST_LOCK"

func TestMain(m *testing.M) {
	path := os.Getenv(contender)
	if path == "" {
		os.Exit(m.Run())
	}
	if _, err := durable.Lock(path); err != nil {
		fmt.Println(err)
		os.Exit(3)
	}
	fmt.Println("locked")
	// The lock is left to the kernel, as by a crash.
}

// contend tries to lock path in a process of its own and gives what it said.
func contend(t *testing.T, path string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), contender+"="+path)
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() != 3) {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func write(t *testing.T, path, text string, perm fs.FileMode) {
	t.Helper()
	if err := durable.WriteFile(path, []byte(text), perm); err != nil {
		t.Fatal(err)
	}
}

func names(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestWriteFileReplacesWithExactlyTheMode(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	dir := t.TempDir()
	path := filepath.Join(dir, "site.key")
	for _, tc := range []struct {
		text string
		perm fs.FileMode
	}{{"one", 0o644}, {"", 0o600}, {strings.Repeat("long", 1<<18), 0o640}} {
		write(t, path, tc.text, tc.perm)
		got, err := os.ReadFile(path)
		if err != nil || string(got) != tc.text {
			t.Errorf("got %d bytes (%v), want %d", len(got), err, len(tc.text))
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode() != tc.perm {
			t.Errorf("mode: got %v (%v), want %v", info.Mode(), err, tc.perm)
		}
	}
	if got := names(t, dir); len(got) != 1 {
		t.Errorf("left behind: %v", got)
	}
}

func TestWriteFileReplacesALinkAndLeavesItsTarget(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	write(t, target, "target", 0o600)
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	write(t, link, "new", 0o600)
	if got, _ := os.ReadFile(target); string(got) != "target" {
		t.Errorf("target: got %q, want it untouched", got)
	}
	if info, err := os.Lstat(link); err != nil || !info.Mode().IsRegular() {
		t.Errorf("link: got %v (%v), want a file", info, err)
	}
}

func TestWriteFileWhenItCannot(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "full", "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{
		filepath.Join(dir, "absent", "file"), // no directory
		filepath.Join(dir, "full"),           // a directory is in the place
		dir + "/",                            // no name
		"",
	} {
		before := names(t, dir)
		err := durable.WriteFile(path, []byte("x"), 0o600)
		if err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: got %v, want an error of one line", path, err)
		}
		if after := names(t, dir); len(after) != len(before) {
			t.Errorf("%q: left behind: %v", path, after)
		}
	}
}

// A full disk shows while the new file is filled: the old one must stay and the new one vanish.
func TestFullDiskLeavesTheOldFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state")
	write(t, path, "old", 0o600)
	limit := func(n uint64) {
		var l syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &l); err != nil {
			t.Fatal(err)
		}
		l.Cur = min(n, l.Max)
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &l); err != nil {
			t.Fatal(err)
		}
	}
	limit(1000)
	err := durable.WriteFile(path, make([]byte, 5000), 0o600)
	limit(^uint64(0))
	if !errors.Is(err, syscall.EFBIG) {
		t.Fatalf("got %v, want EFBIG: the disk was not full", err)
	}
	if got, _ := os.ReadFile(path); string(got) != "old" {
		t.Errorf("got %q, want the old file", got)
	}
	if got := names(t, dir); len(got) != 1 {
		t.Errorf("left behind: %v", got)
	}
}

// Readers and writers at once: every read sees one whole version. The negative control is
// os.WriteFile, which a reader catches empty or half written.
func TestReadersNeverSeeHalfAFile(t *testing.T) {
	torn := func(put func(string, []byte, fs.FileMode) error, more func(rounds int, bad int64) bool) int64 {
		path := filepath.Join(t.TempDir(), "file")
		versions := [][]byte{bytes.Repeat([]byte("a"), 1<<20), bytes.Repeat([]byte("b"), 1<<20)}
		if err := put(path, versions[0], 0o600); err != nil {
			t.Fatal(err)
		}
		var done sync.WaitGroup
		stop := make(chan struct{})
		var bad atomic.Int64
		done.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				got, err := os.ReadFile(path)
				if err != nil || !bytes.Equal(got, versions[0]) && !bytes.Equal(got, versions[1]) {
					bad.Add(1)
				}
			}
		})
		for i := 0; more(i, bad.Load()); i++ {
			if err := put(path, versions[i%2], 0o600); err != nil {
				t.Error(err)
			}
		}
		close(stop)
		done.Wait()
		return bad.Load()
	}
	if got := torn(durable.WriteFile, func(rounds int, _ int64) bool { return rounds < 50 }); got != 0 {
		t.Errorf("%d reads saw half a file", got)
	}
	// On one processor reader and writer take turns that may hide it for long.
	deadline := time.Now().Add(30 * time.Second)
	if got := torn(os.WriteFile, func(_ int, bad int64) bool { return bad == 0 && time.Now().Before(deadline) }); got == 0 {
		t.Error("negative control: os.WriteFile was never caught half written, so this test shows nothing")
	}
}

func TestSyncDir(t *testing.T) {
	if err := durable.SyncDir(t.TempDir()); err != nil {
		t.Error(err)
	}
	if err := durable.SyncDir(filepath.Join(t.TempDir(), "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want that it does not exist", err)
	}
}

func TestLockKeepsTheSecondProcessOut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	release, err := durable.Lock(path)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("lock %s: process %d holds it; stop that process or choose another directory", path, os.Getpid())
	if got := contend(t, path); got != want {
		t.Errorf("second process: got %q, want %q", got, want)
	}
	_, err = durable.Lock(path)
	if held, ok := errors.AsType[*durable.LockedError](err); !ok || held.PID != os.Getpid() || held.Path != path {
		t.Errorf("second lock in this process: got %v, want a LockedError with our id", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if got := contend(t, path); got != "locked" {
		t.Errorf("after the release: got %q, want locked", got)
	}
	// The second process is gone without a release and left its id in the file.
	release, err = durable.Lock(path)
	if err != nil {
		t.Fatalf("after a crash: %v", err)
	}
	if err := release(); err != nil {
		t.Error(err)
	}
}

// A child that another goroutine is making has copies of all files until it has become a program.
func TestReleaseFreesWhatAChildStillHolds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	release, err := durable.Lock(path)
	if err != nil {
		t.Fatal(err)
	}
	held := -1
	for _, name := range names(t, "/proc/self/fd") {
		if target, err := os.Readlink("/proc/self/fd/" + name); err != nil || target != path {
			continue
		}
		fd, err := strconv.Atoi(name)
		if err != nil {
			t.Fatal(err)
		}
		if held, err = syscall.Dup(fd); err != nil {
			t.Fatal(err)
		}
		defer syscall.Close(held)
	}
	if held < 0 {
		t.Fatal("the lock's file was not found")
	}
	if _, err := durable.Lock(path); err == nil {
		t.Error("two have the lock")
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	again, err := durable.Lock(path)
	if err != nil {
		t.Fatalf("released, and yet: %v", err)
	}
	if err := again(); err != nil {
		t.Error(err)
	}
}

func TestLockWhoseHolderIsNotKnown(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	release, err := durable.Lock(path)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	for _, text := range []string{"", "-4\n", "x", strings.Repeat("9", 100)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		want := "lock " + path + ": another process holds it; stop that process or choose another directory"
		if got := contend(t, path); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestLockWhereNoneCanBe(t *testing.T) {
	if _, err := durable.Lock(filepath.Join(t.TempDir(), "absent", "lock")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want that the directory does not exist", err)
	}
}
