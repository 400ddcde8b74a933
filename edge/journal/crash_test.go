package journal_test

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"steelyard/edge/journal"
)

// outcome is what a failing operation has done to the disk all the same.
type outcome int

const (
	nothing outcome = iota
	half            // of a write; of anything else nothing
	all
)

func (o outcome) String() string { return [...]string{"nothing", "half", "all"}[o] }

// memory is a disk that remembers what is visible and what would survive a power cut, writes down
// each operation that changes it, and fails the one it is told to.
type memory struct {
	t  testing.TB
	mu sync.Mutex

	names, kept map[string]*inode // path → file; kept: what survives
	dirs        map[string]bool
	held        map[string]bool

	count   int // operations so far
	failAt  int // 0: none
	outcome outcome
	failed  string // the operation that failed
	full    bool   // every write finds no space
	dying   bool   // after the failing operation the process does nothing more
	trace   []string
}

type inode struct {
	data    []byte // what readers see
	durable []byte
	dropped [][2]int // bytes that a failed fsync has lost: visible, never durable
}

func newMemory(t testing.TB) *memory {
	return &memory{t: t, names: map[string]*inode{}, kept: map[string]*inode{}, dirs: map[string]bool{"/": true}, held: map[string]bool{}}
}

// do counts an operation. It gives whether the operation takes effect, how much of it, and its error.
func (m *memory) do(name, path string) (outcome, error) {
	m.count++
	op := name + " " + strings.TrimPrefix(path, "/journal")
	if m.dying && m.failed != "" {
		return nothing, syscall.EIO
	}
	if m.failAt == m.count {
		m.failed = op
		m.trace = append(m.trace, op+" FAILS")
		return m.outcome, syscall.EIO
	}
	m.trace = append(m.trace, op)
	return all, nil
}

func (m *memory) MkdirAll(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dirs[dir] {
		return nil
	}
	out, err := m.do("mkdir", dir)
	if out == all {
		m.dirs[dir] = true
	}
	return err
}

func (m *memory) List(dir string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.dirs[dir] {
		return nil, os.ErrNotExist
	}
	var names []string
	for path := range m.names {
		if filepath.Dir(path) == dir {
			names = append(names, filepath.Base(path))
		}
	}
	for path := range m.dirs {
		if filepath.Dir(path) == dir && path != dir {
			names = append(names, filepath.Base(path))
		}
	}
	slices.Sort(names)
	return names, nil
}

func (m *memory) Create(path string) (journal.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.names[path] != nil {
		return nil, os.ErrExist
	}
	out, err := m.do("create", path)
	if out == all {
		m.names[path] = new(inode)
	}
	if err != nil {
		return nil, err
	}
	return &handle{m, m.names[path], path}, nil
}

func (m *memory) Open(path string) (journal.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.names[path] == nil {
		return nil, os.ErrNotExist
	}
	return &handle{m, m.names[path], path}, nil
}

func (m *memory) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	out, err := m.do("rename", to)
	if out == all {
		m.names[to] = m.names[from]
		delete(m.names, from)
	}
	return err
}

func (m *memory) Remove(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.names[path] == nil && !m.dirs[path] {
		return os.ErrNotExist
	}
	out, err := m.do("remove", path)
	if out == all {
		delete(m.names, path)
		delete(m.dirs, path)
	}
	return err
}

func (m *memory) SyncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	out, err := m.do("syncdir", dir)
	if out != all {
		return err
	}
	for path := range m.kept {
		if filepath.Dir(path) == dir && m.names[path] == nil {
			delete(m.kept, path)
		}
	}
	for path, f := range m.names {
		if filepath.Dir(path) == dir {
			m.kept[path] = f
		}
	}
	return err
}

func (m *memory) Lock(path string) (func() error, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.held[path] {
		return nil, fmt.Errorf("lock %s: held", path)
	}
	m.held[path] = true
	return func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.held, path)
		return nil
	}, nil
}

// kill ends the process: what is visible stays, locks are gone.
func (m *memory) kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held = map[string]bool{}
	m.failAt, m.failed, m.dying = 0, "", false
}

// crash cuts the power. written: what was visible has reached the medium, but for what a failed
// fsync dropped; else only what was made durable is left. Locks are gone.
func (m *memory) crash(written bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !written {
		m.names = map[string]*inode{}
		maps.Copy(m.names, m.kept)
	}
	m.kept = map[string]*inode{}
	for path, f := range m.names {
		if written {
			f.durable = f.medium()
		}
		f.data, f.dropped = bytes.Clone(f.durable), nil
		m.kept[path] = f
	}
	m.held = map[string]bool{}
	m.failAt = 0
}

// medium is what the file would be if everything that still can be written were.
func (f *inode) medium() []byte {
	data := bytes.Clone(f.data)
	for _, d := range f.dropped {
		if d[0] < len(data) {
			clear(data[d[0]:min(d[1], len(data))])
		}
	}
	return data
}

type handle struct {
	disk *memory
	file *inode
	path string
}

func (h *handle) ReadAt(p []byte, off int64) (int, error) {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if off >= int64(len(h.file.data)) {
		return 0, io.EOF
	}
	n := copy(p, h.file.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (h *handle) Write(p []byte) (int, error) {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	out, err := h.disk.do(fmt.Sprintf("write %d", len(p)), h.path)
	if h.disk.full {
		out, err = half, syscall.ENOSPC
	}
	n := [...]int{0, len(p) / 2, len(p)}[out]
	h.file.data = append(h.file.data, p[:n]...)
	return n, err
}

func (h *handle) Sync() error {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	f := h.file
	out, err := h.disk.do("sync", h.path)
	if out != all {
		// What Linux does: the pages stay readable, count as clean, and are never written.
		f.dropped = append(f.dropped, [2]int{min(len(f.durable), len(f.data)), len(f.data)})
		return err
	}
	f.durable = f.medium()
	return err
}

func (h *handle) Truncate(size int64) error {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	out, err := h.disk.do("truncate", h.path)
	if out == all && size < int64(len(h.file.data)) {
		h.file.data = h.file.data[:size]
	}
	return err
}

func (h *handle) Size() (int64, error) {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	return int64(len(h.file.data)), nil
}

func (h *handle) DropCache() {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	h.file.data = h.file.medium()
}

func (h *handle) StillAt(path string) bool {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	return h.disk.names[path] == h.file
}

func (h *handle) Close() error { return nil }
