package journal_test

import (
	"bytes"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"

	"steelyard/edge/journal"
	"steelyard/internal/wire"
)

// specimen is a sound journal on a disk in memory, of which damaged copies are made.
type specimen struct {
	disk  *memory
	opt   journal.Options
	id    string
	lines map[key]string
	files []string // segments in order

	extents map[string]map[key][2]int // file → entry → where its frame lies
}

func newSpecimen(t *testing.T, bytes int) *specimen {
	s := &specimen{disk: newMemory(t), opt: options(t, "/journal"), lines: map[key]string{}}
	s.opt.SegmentBytes, s.opt.Log = 16<<10, nil
	j, err := journal.OpenOn(s.disk, s.opt)
	if err != nil {
		t.Fatal(err)
	}
	s.id = j.ID()
	for i := 0; j.State().Bytes < int64(bytes); i += 2 {
		for _, w := range mustAppend(t, j, facts(i, 1+i%3)...) {
			s.lines[key{s.id, w.Entry.N}] = string(w.Line)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	for path := range s.disk.names {
		if strings.HasSuffix(path, ".seg") {
			s.files = append(s.files, path)
		}
	}
	slices.Sort(s.files)
	return s
}

// with gives a copy of the disk in which one file has other bytes.
func (s *specimen) with(path string, data []byte) *memory {
	m := newMemory(s.disk.t)
	m.dirs = maps.Clone(s.disk.dirs)
	for p, f := range s.disk.names {
		n := &inode{data: f.data, durable: f.data}
		if p == path {
			n = &inode{data: data, durable: data}
		}
		m.names[p], m.kept[p] = n, n
	}
	return m
}

// touched gives the entries whose frames lie within bytes from to to of a file.
func (s *specimen) touched(path string, from, to int) map[key]bool {
	if s.extents == nil {
		s.extents = map[string]map[key][2]int{}
		for _, p := range s.files {
			s.extents[p] = map[key][2]int{}
			for k, line := range s.lines {
				if at := bytes.Index(s.disk.names[p].data, []byte(line)); at >= 0 {
					s.extents[p][k] = [2]int{at - 12, at + len(line)}
				}
			}
		}
	}
	hit := map[key]bool{}
	for k, e := range s.extents[path] {
		if e[0] < to && e[1] > from {
			hit[k] = true
		}
	}
	return hit
}

// verdict is what a damaged disk came to.
type verdict struct {
	id      string // of the journal that is written after opening
	damage  []journal.DamageError
	lost    []key
	warned  bool
	started *journal.Journal
}

// open opens a damaged copy and checks what must hold for every damage: it starts, no entry is
// another one than it was, only touched ones are missing, and appending goes on. reuse: numbers of
// entries that are lost may be given again, because nothing tells that they existed.
func (s *specimen) open(t *testing.T, what string, m *memory, touched map[key]bool, reuse bool) verdict {
	t.Helper()
	var log strings.Builder
	opt := s.opt
	opt.Log = slog.New(slog.NewTextHandler(&log, nil))
	j, err := journal.OpenOn(m, opt)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	got, _ := readAll(t, j)
	v := verdict{id: j.ID(), damage: j.State().Damage, started: j}
	for k, line := range got {
		if s.lines[k] != line {
			t.Fatalf("%s: entry %v is %q, was %q", what, k, line, s.lines[k])
		}
	}
	for k := range s.lines {
		if _, ok := got[k]; ok {
			continue
		}
		v.lost = append(v.lost, k)
		if !touched[k] {
			t.Fatalf("%s: entry %v is lost and was not touched", what, k)
		}
	}
	for _, w := range mustAppend(t, j, facts(9000, 2)...) {
		k := key{j.ID(), w.Entry.N}
		if _, taken := s.lines[k]; taken && !reuse {
			t.Fatalf("%s: number %v was given again", what, k)
		}
		got[k] = string(w.Line)
	}
	again, _ := readAll(t, j)
	if !maps.Equal(got, again) {
		t.Fatalf("%s: after an append other entries are there", what)
	}
	v.warned = log.Len() > 0
	if t.Failed() {
		t.Fatal(what)
	}
	return v
}

// every takes a few minutes; without it every 53rd byte is damaged, and each one near the ends of
// the files.
var every = flag.Bool("every", false, "damage every single byte")

// TestFlippedByte flips the bytes of a journal of 64 KiB, one at a time.
func TestFlippedByte(t *testing.T) {
	s := newSpecimen(t, 64<<10)
	ended := 0
	for _, path := range s.files {
		data := bytes.Clone(s.disk.names[path].data)
		for i := range data {
			if !*every && i%53 != 0 && i > 600 && i < len(data)-600 {
				continue
			}
			bit := byte(1) << (i % 8)
			data[i] ^= bit
			what := fmt.Sprintf("%s byte %d flipped", path, i)
			v := s.open(t, what, s.with(path, data), s.touched(path, i, i+1), false)
			if len(v.damage) == 0 || !v.warned {
				t.Fatalf("%s: not detected", what)
			}
			if v.id != s.id {
				ended++
			}
			data[i] ^= bit
		}
	}
	last := len(s.disk.names[s.files[len(s.files)-1]].data)
	if ended == 0 || ended > last {
		t.Errorf("%d flips began a new journal", ended)
	}
	t.Logf("%d files, %d entries, %d flips in the newest entry began a new journal", len(s.files), len(s.lines), ended)
}

// TestAlteredWithChecksum changes an entry and makes its checksum right again, as a person can and
// a disk can't: the entry after it gives it away.
func TestAlteredWithChecksum(t *testing.T) {
	s := newSpecimen(t, 40<<10)
	for k, line := range s.lines {
		if k.n == uint64(len(s.lines)) {
			continue // nothing follows the newest one; the cloud's copy or a signature tells
		}
		for _, path := range s.files {
			data := s.disk.names[path].data
			at := bytes.Index(data, []byte(line))
			if at < 0 {
				continue
			}
			forged := bytes.Replace([]byte(line), []byte("online"), []byte("silent"), 1)
			data = slices.Concat(data[:at-12], journal.Frame(forged), data[at+len(line):])
			v := s.open(t, fmt.Sprintf("entry %d forged", k.n), s.with(path, data), map[key]bool{k: true}, false)
			if len(v.lost) != 1 || len(v.damage) != 1 {
				t.Fatalf("entry %d forged: lost %v, damage %v", k.n, v.lost, v.damage)
			}
		}
	}
}

// TestPages zeroes, doubles and removes pages.
func TestPages(t *testing.T) {
	const page = 4 << 10
	s := newSpecimen(t, 64<<10)
	for i, path := range s.files {
		data := s.disk.names[path].data
		newest := i == len(s.files)-1
		for at := 0; at < len(data); at += 1024 {
			end := min(at+page, len(data))
			zeroed := slices.Concat(data[:at], make([]byte, end-at), data[end:])
			v := s.open(t, fmt.Sprintf("%s zeroed at %d", path, at), s.with(path, zeroed), s.touched(path, at, end), newest && end == len(data))
			if !v.warned {
				t.Fatalf("%s zeroed at %d: not detected", path, at)
			}
			removed := slices.Concat(data[:at], data[end:])
			if !(newest && end == len(data)) { // that is truncation
				v = s.open(t, fmt.Sprintf("%s page at %d removed", path, at), s.with(path, removed), s.touched(path, at, end), false)
				if !v.warned {
					t.Fatalf("%s page at %d removed: not detected", path, at)
				}
			}
			doubled := slices.Concat(data[:end], data[at:end], data[end:])
			s.open(t, fmt.Sprintf("%s page at %d doubled", path, at), s.with(path, doubled), s.touched(path, end, end+1), false)
			for over := 0; over+page <= len(data); over += page {
				if end-at < page || over == at {
					continue
				}
				copied := slices.Concat(data[:over], data[at:end], data[over+page:])
				s.open(t, fmt.Sprintf("%s page at %d copied over %d", path, at, over), s.with(path, copied), s.touched(path, over, over+page), false)
			}
		}
	}
}

// TestTruncated cuts each file at every offset. With a receipt for all of it no number is given
// again; without, those behind the cut of the newest file are free.
func TestTruncated(t *testing.T) {
	s := newSpecimen(t, 40<<10)
	j, err := journal.OpenOn(s.disk, s.opt)
	if err != nil {
		t.Fatal(err)
	}
	receipted := wire.Receipt{V: 1, Site: s.opt.Site, Journal: j.ID(), Stream: s.opt.Stream, N: j.Last().N, Hash: j.Last().Hash, AtMS: 1}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	for _, withReceipt := range []bool{false, true} {
		if withReceipt {
			if j, err = journal.OpenOn(s.disk, s.opt); err != nil {
				t.Fatal(err)
			}
			if err := j.SetReceipt(receipted); err != nil {
				t.Fatal(err)
			}
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
		}
		for i, path := range s.files {
			data := s.disk.names[path].data
			newest := i == len(s.files)-1
			for cut := range data {
				if withReceipt && !newest {
					continue
				}
				if !*every && cut%53 != 0 && cut > 500 && cut < len(data)-500 {
					continue
				}
				what := fmt.Sprintf("%s cut at %d", path, cut)
				v := s.open(t, what, s.with(path, data[:cut:cut]), s.touched(path, cut, len(data)), newest && !withReceipt)
				if withReceipt && v.id == s.id {
					t.Fatalf("%s: the journal goes on though its receipt covers more than is left", what)
				}
				if !newest && !v.warned {
					t.Fatalf("%s: not detected", what)
				}
			}
		}
	}
}

// TestTornTail tears the last append at every byte, as a power cut does: the rest missing, or the
// sectors of it reading as zeros. It was never acknowledged: it is cut, once and with a warning,
// and the same journal goes on under its numbers.
func TestTornTail(t *testing.T) {
	disk := newMemory(t)
	opt := options(t, "/journal")
	opt.Log = nil
	j, err := journal.OpenOn(disk, opt)
	if err != nil {
		t.Fatal(err)
	}
	s := &specimen{disk: disk, opt: opt, id: j.ID(), lines: map[key]string{}}
	for _, w := range mustAppend(t, j, facts(0, 3)...) {
		s.lines[key{s.id, w.Entry.N}] = string(w.Line)
	}
	path := "/journal/" + j.ID() + "/000000000001.seg"
	sure := len(disk.names[path].data)
	torn := map[key]bool{}
	for _, w := range mustAppend(t, j, facts(3, 4)...) {
		s.lines[key{s.id, w.Entry.N}] = string(w.Line)
		torn[key{s.id, w.Entry.N}] = true
	}
	data := disk.names[path].data
	for cut := sure; cut < len(data); cut++ {
		short := data[:cut:cut]
		sector := cut / 512 * 512
		zeros := slices.Concat(data[:max(sector, sure)], make([]byte, len(data)-max(sector, sure)))
		for _, tail := range [][]byte{short, zeros} {
			m := s.with(path, tail)
			v := s.open(t, fmt.Sprintf("torn at %d", cut), m, torn, true)
			if v.id != s.id {
				t.Fatalf("torn at %d: a new journal was begun", cut)
			}
			if len(v.damage) > 0 {
				t.Fatalf("torn at %d: called damage: %v", cut, v.damage)
			}
			if err := v.started.Close(); err != nil {
				t.Fatal(err)
			}
			var log strings.Builder
			opt.Log = slog.New(slog.NewTextHandler(&log, nil))
			again, err := journal.OpenOn(m, opt)
			if err != nil || log.Len() > 0 || again.ID() != s.id {
				t.Fatalf("torn at %d, opened again: err %v, log %s", cut, err, log.String())
			}
		}
	}
}

// TestLostSegments removes whole files.
func TestLostSegments(t *testing.T) {
	s := newSpecimen(t, 64<<10)
	for i, path := range s.files {
		m := s.with("", nil)
		delete(m.names, path)
		delete(m.kept, path)
		newest := i == len(s.files)-1
		v := s.open(t, path+" removed", m, s.touched(path, 0, 1<<30), newest)
		if !newest && !v.warned {
			t.Errorf("%s removed: not detected", path)
		}
	}
}

// TestStrangeFiles lie in the directory: they are left alone.
func TestStrangeFiles(t *testing.T) {
	s := newSpecimen(t, 20<<10)
	dir := "/journal/" + s.id + "/"
	for _, name := range []string{"readme.txt", "1.seg", "000000000000.seg", "999999999999999999999.seg", "-00000000001.seg", "000000000001.seg.bak", "receipt.tmp"} {
		m := s.with("", nil)
		m.names[dir+name] = &inode{data: []byte("strange")}
		if v := s.open(t, name, m, nil, false); v.id != s.id {
			t.Errorf("%s: a new journal was begun", name)
		}
	}
	m := s.with("", nil)
	m.dirs["/journal/lost+found"] = true
	m.dirs["/journal/0123456789abcdef0123456789abcdef"] = true
	if v := s.open(t, "strange directories", m, nil, false); v.id != s.id {
		t.Error("strange directories: a new journal was begun")
	}
}

// TestNewerFormat is refused and not taken for damage.
func TestNewerFormat(t *testing.T) {
	s := newSpecimen(t, 20<<10)
	data := bytes.Clone(s.disk.names[s.files[0]].data)
	data[7] = 2
	journal.SealHeader(data)
	if _, err := journal.OpenOn(s.with(s.files[0], data), s.opt); err == nil || !strings.Contains(err.Error(), "update this software") {
		t.Errorf("got %v", err)
	}
}
