package e2e_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"steelyard/internal/record"
	"steelyard/internal/unit"
)

// plant is a process that serves machines which are not ours: pymodbus or libmodbus, with a memory
// that outlives it. testdata/plant says what the machines do and how the memory is written.
type plant struct {
	baler, belt string // devices; baler is empty where there is none
	memory      string
	command     []string
	cmd         *exec.Cmd
}

func (p *plant) start(t *testing.T) {
	t.Helper()
	p.cmd = exec.Command(p.command[0], p.command[1:]...)
	p.cmd.Stdout, p.cmd.Stderr = t.Output(), t.Output()
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("%s: %v; .ci/peers installs it", p.command[0], err)
	}
}

func (p *plant) kill() {
	_ = p.cmd.Process.Kill() // one that has ended by itself shows in what the ledger lacks
	_ = p.cmd.Wait()
}

// compiledPlant builds the plant on libmodbus.
func compiledPlant(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "plant")
	gcc := exec.Command("sh", "-c", `gcc -o "$0" testdata/plant/plant.c $(pkg-config --cflags --libs libmodbus)`, binary)
	if out, err := gcc.CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v; .ci/peers installs it, libmodbus-dev and pkg-config\n%s", err, out)
	}
	return binary
}

// socatLine is a serial line between two terminals. The test holds both ends open, as a cable stays
// plugged in when a machine is switched off.
func socatLine(t *testing.T) (ours, theirs string) {
	t.Helper()
	folder := t.TempDir()
	ours, theirs = filepath.Join(folder, "ours"), filepath.Join(folder, "theirs")
	socat := exec.Command("socat", "pty,raw,echo=0,link="+ours, "pty,raw,echo=0,link="+theirs)
	if err := socat.Start(); err != nil {
		t.Fatalf("socat: %v; .ci/peers installs it", err)
	}
	t.Cleanup(func() {
		_ = socat.Process.Kill()
		_ = socat.Wait()
	})
	for _, end := range []string{ours, theirs} {
		eventually(t, "socat makes "+end, func() bool {
			f, err := os.OpenFile(end, os.O_RDWR, 0)
			if err == nil {
				t.Cleanup(func() { f.Close() })
			}
			return err == nil
		})
	}
	return ours, theirs
}

// kept is what the machines of a plant have counted by their own memory.
type kept struct {
	port   int64                // where it serves; 0 while it does not yet
	grams  map[uint64]unit.Mass // of each bale
	said   []uint64             // bales that were shown long enough to be seen
	last   uint64               // bale
	counts []int64              // the totaliser's register after each step
}

func (p *plant) recall(t *testing.T) kept {
	t.Helper()
	f, err := os.Open(p.memory)
	if os.IsNotExist(err) {
		return kept{}
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	k := kept{grams: map[uint64]unit.Mass{}}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var number, value int64
		word, rest, _ := strings.Cut(lines.Text(), " ")
		if n, _ := fmt.Sscan(rest, &number, &value); n == 0 {
			t.Fatalf("%s: %q", p.memory, lines.Text())
		}
		switch word {
		case "port":
			k.port = number
		case "bale":
			k.last = uint64(number)
			k.grams[k.last] = unit.Mass(value)
		case "said":
			k.said = append(k.said, uint64(number))
		case "belt":
			k.counts = append(k.counts, number)
		}
	}
	return k
}

// read is what the ledger holds of one plant's machines, in order.
type read struct {
	first []uint64 // the baler's counter where its record began
	bales []*record.Bale
	belts []*record.Belt
	odd   []string // entries of these machines that are not counted
}

func (r *read) lastBale() uint64 {
	if len(r.bales) == 0 {
		return 0
	}
	return r.bales[len(r.bales)-1].Number
}

func (r *read) lastCount() int64 {
	if len(r.belts) == 0 {
		return -1
	}
	return r.belts[len(r.belts)-1].Raw
}

// differences compares a plant's memory with the ledger: every bale that the machine showed is there
// once, with its grams; one that it did not show is known by its number; every standing is one that
// the totaliser had, in its order, and what was carried between the two is to the kilogram the same.
func differences(k kept, r *read) []string {
	all := slices.Clone(r.odd)
	wrong := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if len(k.said) > 0 {
		all = append(all, balesOf(k, r)...)
	}
	modulus, at, carried := int64(1_000_000), 0, unit.Mass(0)
	for i, b := range r.belts {
		begin := at
		for at < len(k.counts) && k.counts[at] != b.Raw {
			at++
		}
		if at == len(k.counts) {
			wrong("standing %d: the totaliser never stood at %d after %d", i, b.Raw, k.counts[begin])
			return all
		}
		if i == 0 {
			begin = at
		}
		for s := begin; s < at; s++ {
			carried += unit.Mass((k.counts[s+1]-k.counts[s]+modulus)%modulus) * unit.Kilogram
		}
		if b.Standing != carried || b.Step != unit.Kilogram || b.Modulus != modulus {
			wrong("standing %d: %s of %s steps up to %d, the belt carried %s", i, b.Standing, b.Step, b.Modulus, carried)
		}
		if b.Event != record.BeltTick && b.Event != record.BeltWrap {
			wrong("standing %d is called a %s", i, b.Event)
		}
	}
	if n := len(k.counts); n == 0 || r.lastCount() != k.counts[n-1] {
		wrong("the last standing is %d of %v", r.lastCount(), k.counts[max(0, n-1):])
	}
	return all
}

func balesOf(k kept, r *read) (all []string) {
	wrong := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if !slices.Equal(r.first, k.said[:1]) {
		wrong("the record of the baler begins at %d, the machine's at %d", r.first, k.said[0])
	}
	previous := k.said[0]
	seen := map[uint64]bool{previous: true} // it stood there before the record began
	for _, b := range r.bales {
		if seen[b.Number] {
			wrong("bale %d stands twice", b.Number)
		}
		seen[b.Number] = true
		if grams, pressed := k.grams[b.Number]; !pressed || !b.Weighed || b.Mass != grams {
			wrong("bale %d: %s, pressed: %v with %s", b.Number, b.Mass, pressed, grams)
		}
		if b.Number != previous+1+b.Missed {
			wrong("bale %d after %d misses %d", b.Number, previous, b.Missed)
		}
		previous = b.Number
	}
	for _, number := range k.said {
		if !seen[number] {
			wrong("bale %d was shown and is not in the ledger", number)
		}
	}
	if previous != k.last {
		wrong("the last bale is %d, the machine counts %d", previous, k.last)
	}
	return all
}
