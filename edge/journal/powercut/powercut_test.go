package powercut_test

import (
	"bufio"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"steelyard/edge/journal"
	"steelyard/edge/journal/powercut"
	"steelyard/internal/chain"
	"steelyard/internal/record"
	"steelyard/internal/wire"
)

// The test binary started with this variable is the writer; the value is the journal's directory.
const (
	writerDir    = "POWERCUT_WRITER_DIR"
	writerNoSync = "POWERCUT_WRITER_NOSYNC"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(writerDir); dir != "" {
		if err := write(dir, os.Getenv(writerNoSync) != ""); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

var noon = time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC)

func facts(i int) []record.Fact {
	var list []record.Fact
	for k := range 1 + i%4 {
		list = append(list, record.Fact{At: noon, Device: "weighbridge-1",
			Body: &record.Device{State: "online", Detail: fmt.Sprintf("fact %d.%d %s", i, k, strings.Repeat("x", i*53%700))}})
	}
	return list
}

func options(dir string, noSync bool) journal.Options {
	return journal.Options{Dir: dir, Site: "xinhua-1", Stream: wire.Records, SegmentBytes: 8 << 10, NoSync: noSync}
}

const appends = 400

// write is the writer's work: appends over many segments, receipts, dropping, restarts, and twice a
// new journal because a receipt runs ahead. It tells each thing that it knows to be durable, or is
// about to drop, and waits until that has been noted with the disk's position.
func write(dir string, noSync bool) error {
	answers := bufio.NewReader(os.Stdin)
	var told error
	tell := func(format string, args ...any) {
		fmt.Printf(format+"\n", args...)
		if _, err := answers.ReadByte(); err != nil {
			told = err
		}
	}
	j, err := journal.Open(options(dir, noSync))
	if err != nil {
		return err
	}
	for i := range appends {
		written, err := j.Append(wire.Synced, facts(i)...)
		if err != nil {
			return err
		}
		var text strings.Builder
		for _, w := range written {
			fmt.Fprintf(&text, " %d:%s", w.Entry.N, w.Hash)
		}
		tell("entries %s%s", j.ID(), text.String())
		r := wire.Receipt{V: 1, Site: "xinhua-1", Journal: j.ID(), Stream: wire.Records, N: j.Last().N, Hash: j.Last().Hash, AtMS: int64(i)}
		again := i%37 == 36
		switch {
		case i%150 == 149:
			r.N += 5
			if _, ahead := errors.AsType[*journal.AheadError](j.SetReceipt(r)); !ahead {
				return errors.New("a receipt that runs ahead was taken")
			}
			tell("ended %s", j.ID())
			again = true
		case i%7 == 6:
			if err := j.SetReceipt(r); err != nil {
				return err
			}
			tell("receipt %s %d", j.ID(), r.N)
		case i%23 == 22:
			r, _ := j.Receipt()
			tell("drop %s %d", j.ID(), r.N)
			if _, err := j.Prune(noon.AddDate(2, 0, 0), time.Hour); err != nil {
				return err
			}
		}
		if again {
			if err := j.Close(); err != nil {
				return err
			}
			if j, err = journal.Open(options(dir, noSync)); err != nil {
				return err
			}
		}
		if told != nil {
			return told
		}
	}
	return j.Close()
}

// told is something that the writer knew when the disk was at a position.
type told struct {
	position int
	kind     string // "entries", "receipt", "drop", "ended"
	journal  string
	n        uint64
	hashes   map[uint64]chain.Hash
}

// recordRun runs the writer on the disk and notes what it tells.
func recordRun(t *testing.T, disk *powercut.Disk, noSync bool) []told {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), writerDir+"="+filepath.Join(disk.Dir, "journal"))
	if noSync {
		cmd.Env = append(cmd.Env, writerNoSync+"=1")
	}
	cmd.Stderr = t.Output()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var all []told
	for lines := bufio.NewScanner(out); lines.Scan(); {
		all = append(all, parse(t, lines.Text(), disk.Position()))
		if _, err := in.Write([]byte{'\n'}); err != nil {
			t.Error(err)
			break
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("writer: %v", err)
	}
	return all
}

func parse(t *testing.T, line string, position int) told {
	t.Helper()
	words := strings.Fields(line)
	a := told{position: position, kind: words[0], journal: words[1], hashes: map[uint64]chain.Hash{}}
	for _, word := range words[2:] {
		var hash string
		if _, err := fmt.Sscanf(strings.Replace(word, ":", " ", 1), "%d %s", &a.n, &hash); a.kind != "entries" {
			continue
		} else if err != nil {
			t.Fatalf("writer said %q: %v", line, err)
		}
		h, err := chain.ParseHash(hash)
		if err != nil {
			t.Fatal(err)
		}
		a.hashes[a.n] = h
	}
	return a
}

type key struct {
	journal string
	n       uint64
}

// knowledge is what had been told when the disk was at a position.
type knowledge struct {
	acked     map[key]chain.Hash
	droppable map[string]uint64 // up to here entries may be gone
	receipts  map[string]uint64
}

func known(all []told, position int) knowledge {
	k := knowledge{map[key]chain.Hash{}, map[string]uint64{}, map[string]uint64{}}
	var ended []string
	for _, a := range all {
		if a.position > position {
			break
		}
		switch a.kind {
		case "entries":
			for n, h := range a.hashes {
				k.acked[key{a.journal, n}] = h
			}
		case "ended":
			ended = append(ended, a.journal)
		case "drop":
			k.droppable[a.journal] = a.n
			for _, id := range ended { // receipted to the end and beyond
				k.droppable[id] = math.MaxUint64
			}
		case "receipt":
			k.receipts[a.journal] = a.n
		}
	}
	return k
}

// lossError says that an image lacks what had been acknowledged.
type lossError struct{ what string }

func (e *lossError) Error() string { return e.what }

// look opens the journal of an image and compares it with what was known, appends, and opens again.
func look(dir string, k knowledge) error {
	for range 2 {
		j, err := journal.Open(options(filepath.Join(dir, "journal"), false))
		if err != nil {
			return err
		}
		err = compare(j, k)
		if err == nil {
			err = goOn(j, k)
		}
		if err := errors.Join(err, j.Close()); err != nil {
			return err
		}
	}
	return nil
}

func compare(j *journal.Journal, k knowledge) error {
	got := map[key]chain.Hash{}
	for _, o := range j.Older() {
		for e, err := range o.After(0) {
			if err == nil {
				got[key{o.ID(), e.Entry.N}] = e.Hash
			}
		}
		if err := receipted(o.ID(), k, o.Receipt); err != nil {
			return err
		}
	}
	for e, err := range j.After(0) {
		if err == nil {
			got[key{j.ID(), e.Entry.N}] = e.Hash
		}
	}
	if err := receipted(j.ID(), k, j.Receipt); err != nil {
		return err
	}
	for id, hash := range k.acked {
		have, there := got[id]
		if there && have != hash {
			return fmt.Errorf("entry %v is another one than was acknowledged", id)
		}
		if !there && id.n > k.droppable[id.journal] {
			return &lossError{fmt.Sprintf("acknowledged entry %v is lost", id)}
		}
	}
	return nil
}

func receipted(id string, k knowledge, receipt func() (wire.Receipt, bool)) error {
	if r, _ := receipt(); r.N < k.receipts[id] {
		return &lossError{fmt.Sprintf("the saved receipt of journal %s covers %d, %d was saved", id, r.N, k.receipts[id])}
	}
	return nil
}

// goOn appends; the entries are acknowledged from then on.
func goOn(j *journal.Journal, k knowledge) error {
	written, err := j.Append(wire.Synced, facts(7001)...)
	if err != nil {
		return err
	}
	for _, w := range written {
		id := key{j.ID(), w.Entry.N}
		if _, taken := k.acked[id]; taken {
			return &lossError{fmt.Sprintf("number %v is given a second time", id)}
		}
		k.acked[id] = w.Hash
	}
	return nil
}

// cut cuts the power at random positions of a run and looks at each image. It gives how many lost
// something acknowledged; any other fault fails the test.
func cut(t *testing.T, disk *powercut.Disk, all []told, images int, seed uint64) (lost int64, first error) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 1))
	positions := make([]int, images)
	for i := range positions {
		positions[i] = 1 + random.IntN(disk.Position())
	}
	slices.Sort(positions)
	work := make(chan powercut.Image)
	var count atomic.Int64
	var once sync.Once
	var workers sync.WaitGroup
	for range 2 {
		slot := powercut.NewSlot(t)
		workers.Go(func() {
			for image := range work {
				err := slot.Mount(image, func(dir string) error { return look(dir, known(all, image.Position)) })
				if _, loss := errors.AsType[*lossError](err); loss {
					count.Add(1)
					once.Do(func() { first = fmt.Errorf("position %d: %w", image.Position, err) })
				} else if err != nil {
					t.Errorf("seed %d, position %d: %v", seed, image.Position, err)
				}
			}
		})
	}
	disk.Images(positions, random, func(image powercut.Image) bool {
		work <- image
		return !t.Failed()
	})
	close(work)
	workers.Wait()
	return count.Load(), first
}

// TestPowerCut pulls the plug 2,000 times. Nothing acknowledged may be lost, changed or given away.
func TestPowerCut(t *testing.T) {
	const images = 2000
	disk := powercut.NewDisk(t)
	all := recordRun(t, disk, false)
	seed := uint64(time.Now().UnixNano())
	start := time.Now()
	lost, first := cut(t, disk, all, images, seed)
	t.Logf("seed %d: %d positions, %d images, %.0f a second", seed, disk.Position(), images, images/time.Since(start).Seconds())
	if lost > 0 {
		t.Errorf("seed %d: %d of %d images lost something acknowledged, first: %v", seed, lost, images, first)
	}
}

// TestWithoutFsyncLoses is the control: the same with the fsyncs left out must lose.
func TestWithoutFsyncLoses(t *testing.T) {
	const images = 100
	disk := powercut.NewDisk(t)
	all := recordRun(t, disk, true)
	lost, first := cut(t, disk, all, images, 1)
	t.Logf("%d of %d images lost something, first: %v", lost, images, first)
	if lost < images/4 {
		t.Errorf("without fsync only %d of %d images lost something: the power cuts prove nothing", lost, images)
	}
}
