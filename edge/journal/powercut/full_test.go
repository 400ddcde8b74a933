package powercut_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"steelyard/edge/journal"
	"steelyard/internal/wire"
)

// tmpfs mounts a small file system that is gone when the test ends.
func tmpfs(t *testing.T, with string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, with); err != nil {
		t.Fatalf("mount a tmpfs: %v: run this test as root", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestRealDisk: a disk that is full, out of inodes or read-only refuses with the remedy, loses
// nothing, and the journal goes on without a restart when the disk does.
func TestRealDisk(t *testing.T) {
	remount := func(dir string, flags uintptr, with string) {
		if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT|flags, with); err != nil {
			t.Fatal(err)
		}
	}
	cases := []struct {
		name     string
		with     string
		want     error
		text     string
		fill     func(t *testing.T, dir string)
		recover  func(t *testing.T, dir string)
		segments int64
	}{
		{"full", "size=256k", syscall.ENOSPC, "free space", func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, "ballast"), make([]byte, 128<<10), 0o600); err != nil {
				t.Fatal(err)
			}
		}, func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "ballast")); err != nil {
				t.Fatal(err)
			}
		}, 8 << 10},
		{"out of inodes", "size=4m,nr_inodes=40", syscall.ENOSPC, "free space", func(t *testing.T, dir string) {
			for i := range 20 {
				if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("ballast", i)), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}, func(t *testing.T, dir string) {
			for i := range 20 {
				if err := os.Remove(filepath.Join(dir, fmt.Sprint("ballast", i))); err != nil {
					t.Fatal(err)
				}
			}
		}, 2 << 10},
		{"read-only", "size=4m", syscall.EROFS, "writable", func(t *testing.T, dir string) {
			// An open file would keep the file system from becoming read-only; a journal whose
			// newest segment was just left has none open.
			remount(dir, syscall.MS_RDONLY, "size=4m")
		}, func(t *testing.T, dir string) {
			remount(dir, 0, "size=4m")
		}, 8 << 10},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := tmpfs(t, c.with)
			opt := options(filepath.Join(dir, "journal"), false)
			opt.SegmentBytes = c.segments
			j, err := journal.Open(opt)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { j.Close() }()
			acked := map[uint64]string{}
			add := func(i int) error {
				w, err := j.Append(wire.Synced, facts(i)...)
				for _, e := range w {
					acked[e.Entry.N] = string(e.Line)
				}
				return err
			}
			if err := add(0); err != nil {
				t.Fatal(err)
			}
			if c.want == syscall.EROFS {
				if err := j.Close(); err != nil {
					t.Fatal(err)
				}
				c.fill(t, dir)
				_, err := journal.Open(opt)
				if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
					t.Fatalf("open: %v", err)
				}
				c.recover(t, dir)
				if j, err = journal.Open(opt); err != nil {
					t.Fatal(err)
				}
			} else {
				c.fill(t, dir)
				for i := 1; ; i++ {
					err := add(i)
					if err == nil && i < 1000 {
						continue
					}
					if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
						t.Fatalf("append %d: %v", i, err)
					}
					break
				}
				c.recover(t, dir)
			}
			for i := range 5 {
				if err := add(2000 + i); err != nil {
					t.Fatalf("after it was over: %v", err)
				}
			}
			seen := 0
			for e, err := range j.After(0) {
				if err != nil || acked[e.Entry.N] != string(e.Line) {
					t.Fatalf("entry %d: %v", e.Entry.N, err)
				}
				seen++
			}
			if seen != len(acked) {
				t.Errorf("%d entries of %d", seen, len(acked))
			}
		})
	}
}

// TestFullDiskStillStarts: an agent that restarts on a full disk must come up, because only then can
// it upload what waits.
func TestFullDiskStillStarts(t *testing.T) {
	dir := tmpfs(t, "size=256k")
	opt := options(filepath.Join(dir, "journal"), false)
	j, err := journal.Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; err == nil; i++ {
		_, err = j.Append(wire.Synced, facts(i)...)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	last := j.Last()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	for size := 4096; size > 0; size /= 2 { // the last bytes, too
		f, err := os.OpenFile(filepath.Join(dir, "ballast"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		for err == nil {
			_, err = f.Write(make([]byte, size))
		}
		f.Close()
	}
	if j, err = journal.Open(opt); err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	n := uint64(0)
	for e, err := range j.After(0) {
		if err != nil {
			t.Fatal(err)
		}
		n = e.Entry.N
	}
	if n != last.N {
		t.Errorf("read up to %d of %d", n, last.N)
	}
	if _, err := j.Prune(noon, time.Hour); err != nil {
		t.Error(err)
	}
}
