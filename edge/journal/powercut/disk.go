// Package powercut pulls the plug on an ext4 file system, thousands of times a minute.
//
// In: a program that writes to a mounted directory. Out: images of the disk as a power cut at any
// moment may have left it, mounted again for inspection.
// It promises that everything written before the last flush barrier that the disk had answered is
// in an image, and that of what came after any part may be missing, the last write torn at a
// sector. It does not model a disk that lies about its flushes. It is for tests, needs root,
// /dev/fuse and loop devices, and everything it mounts is gone when the test ends.
package powercut

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Sector is the unit that a disk writes whole or not at all.
const Sector = 512

// event is a write, or a barrier where data is nil.
type event struct {
	off  int64
	data []byte
}

// Disk is a file that a loop device makes a disk of. It logs what reaches it.
type Disk struct {
	Dir string // where its ext4 is mounted

	fs.Inode
	mu    sync.Mutex
	base  []byte // before the log begins
	now   []byte
	log   []event
	begun bool
}

var (
	_ fs.NodeGetattrer = (*Disk)(nil)
	_ fs.NodeOpener    = (*Disk)(nil)
	_ fs.NodeReader    = (*Disk)(nil)
	_ fs.NodeWriter    = (*Disk)(nil)
	_ fs.NodeFsyncer   = (*Disk)(nil)
)

// Getattr gives the size.
func (d *Disk) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode, out.Size = 0o600, uint64(len(d.now))
	return 0
}

// Open lets everything pass by the page cache, so that a write is here before it is answered.
func (d *Disk) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_DIRECT_IO, 0
}

func (d *Disk) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := copy(dest, d.now[min(off, int64(len(d.now))):])
	return fuse.ReadResultData(dest[:n]), 0
}

func (d *Disk) Write(_ context.Context, _ fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if off < 0 || off+int64(len(data)) > int64(len(d.now)) {
		return 0, syscall.ENOSPC
	}
	copy(d.now[off:], data)
	if d.begun {
		d.log = append(d.log, event{off, append([]byte(nil), data...)})
	}
	return uint32(len(data)), 0
}

// Fsync is the barrier: what was written before it is on the medium.
func (d *Disk) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.begun {
		d.log = append(d.log, event{})
	}
	return 0
}

// Position is how far the log has come.
func (d *Disk) Position() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.log)
}

// Size of the disks. ext4 needs 1,024 blocks for its own journal alone.
const Size = 16 << 20

// NewDisk makes a disk with an empty ext4 and mounts it.
func NewDisk(t testing.TB) *Disk {
	t.Helper()
	needRoot(t)
	d := &Disk{Dir: t.TempDir(), now: formatted(t)}
	fuseDir := t.TempDir()
	root := &fs.Inode{}
	server, err := fs.Mount(fuseDir, root, &fs.Options{
		MountOptions: fuse.MountOptions{DirectMountStrict: true, FsName: "powercut", Name: "powercut", MaxWrite: 1 << 20},
		OnAdd: func(ctx context.Context) {
			root.AddChild("disk", root.NewPersistentInode(ctx, d, fs.StableAttr{Mode: syscall.S_IFREG}), true)
		},
	})
	if err != nil {
		t.Fatalf("mount the FUSE disk: %v: the test needs /dev/fuse", err)
	}
	t.Cleanup(func() {
		if err := server.Unmount(); err != nil {
			t.Errorf("unmount the FUSE disk: %v", err)
		}
		server.Wait()
	})
	back, err := os.OpenFile(filepath.Join(fuseDir, "disk"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	loop := attach(t, back)
	mount(t, loop, d.Dir)
	t.Cleanup(func() { unmount(t, d.Dir) })
	d.mu.Lock()
	defer d.mu.Unlock()
	d.base, d.begun = append([]byte(nil), d.now...), true
	return d
}

// formatted gives the bytes of a disk with an empty ext4, made in a file of the test.
func formatted(t testing.TB) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, Size); err != nil {
		t.Fatal(err)
	}
	// Nothing is left for the kernel to initialise in the background.
	out, err := exec.Command("mkfs.ext4", "-q", "-F", "-b", "1024", "-J", "size=1", "-m", "0",
		"-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0", path).CombinedOutput()
	if err != nil {
		t.Fatalf("mkfs.ext4: %v: %s: install e2fsprogs", err, out)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("power cuts are made with FUSE, loop devices and mounts: run this test as root")
	}
}

// Image is a disk as a power cut at a position of the log may have left it.
type Image struct {
	Position int
	Cut      []byte
}

// Cut makes the image for a position: all that a barrier covers, and of what came after it each
// write with its own luck. loss is the share that is lost.
func (d *Disk) Images(positions []int, random *rand.Rand, give func(Image) bool) {
	d.mu.Lock()
	log, sure := d.log, append([]byte(nil), d.base...)
	d.mu.Unlock()
	done := 0 // events that a barrier covers
	for _, p := range positions {
		for i := done; i < p; i++ {
			if log[i].data == nil {
				for _, e := range log[done:i] {
					copy(sure[e.off:], e.data)
				}
				done = i + 1
			}
		}
		cut := append([]byte(nil), sure...)
		loss := random.Float64()
		switch random.IntN(4) {
		case 0:
			loss = 0
		case 1:
			loss = 1
		}
		for i, e := range log[done:p] {
			if random.Float64() < loss {
				continue
			}
			data := e.data
			if done+i == p-1 {
				data = data[:random.IntN(len(data)/Sector+1)*Sector]
			}
			copy(cut[e.off:], data)
		}
		if !give(Image{p, cut}) {
			return
		}
	}
}

// Slot is a loop device over memory and a directory to mount it on, used for one image after
// another.
type Slot struct {
	Dir  string
	back *os.File
	loop string
}

// NewSlot attaches a slot until the test ends.
func NewSlot(t testing.TB) *Slot {
	t.Helper()
	needRoot(t)
	fd, err := unix.MemfdCreate("powercut", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	back := os.NewFile(uintptr(fd), "powercut")
	if err := back.Truncate(Size); err != nil {
		t.Fatal(err)
	}
	return &Slot{Dir: t.TempDir(), back: back, loop: attach(t, back)}
}

// Mount puts the image on the slot's disk, mounts it, which replays ext4's own journal, and calls
// look.
func (s *Slot) Mount(image Image, look func(dir string) error) (err error) {
	if _, err := s.back.WriteAt(image.Cut, 0); err != nil {
		return err
	}
	if err := syscall.Mount(s.loop, s.Dir, "ext4", syscall.MS_NOATIME, ""); err != nil {
		return fmt.Errorf("mount the image of position %d: %w", image.Position, err)
	}
	defer func() {
		if e := syscall.Unmount(s.Dir, 0); e != nil && err == nil {
			err = fmt.Errorf("unmount the image of position %d: %w", image.Position, e)
		}
	}()
	return look(s.Dir)
}

// attach makes a loop device of a file, until the test ends. It takes the file over.
func attach(t testing.TB, back *os.File) string {
	t.Helper()
	t.Cleanup(func() { back.Close() })
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		t.Fatalf("%v: the test needs loop devices", err)
	}
	defer control.Close()
	for {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			t.Fatalf("find a free loop device: %v", err)
		}
		path := fmt.Sprintf("/dev/loop%d", n)
		loop, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		err = unix.IoctlLoopConfigure(int(loop.Fd()), &unix.LoopConfig{Fd: uint32(back.Fd()), Size: Sector})
		loop.Close()
		if err == unix.EBUSY {
			continue // somebody else took it in between
		}
		if err != nil {
			t.Fatalf("attach %s: %v", path, err)
		}
		t.Cleanup(func() { detach(t, path) })
		return path
	}
}

func detach(t testing.TB, path string) {
	loop, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Error(err)
		return
	}
	defer loop.Close()
	if err := unix.IoctlSetInt(int(loop.Fd()), unix.LOOP_CLR_FD, 0); err != nil {
		t.Errorf("detach %s: %v", path, err)
	}
}

func mount(t testing.TB, device, dir string) {
	t.Helper()
	if err := syscall.Mount(device, dir, "ext4", syscall.MS_NOATIME, "nodiscard,commit=1"); err != nil {
		t.Fatalf("mount %s: %v", device, err)
	}
}

func unmount(t testing.TB, dir string) {
	if err := syscall.Unmount(dir, 0); err == nil {
		return
	}
	if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
		t.Errorf("unmount %s: %v", dir, err)
	}
}
