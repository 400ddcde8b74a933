package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"steelyard/cloud/demo"
	"steelyard/cloud/ledger"
	"steelyard/internal/record"
	"steelyard/internal/unit"
)

// eventually waits for what other processes do.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for begin := time.Now(); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Since(begin) > settlePatience {
			t.Fatalf("waited %v: %s", settlePatience, what)
		}
	}
}

// foreignBus is the part of an edge's file that reads a plant with the shipped models.
func foreignBus(p *plant, link string) string {
	bus := fmt.Sprintf("  - link: %q\n    machines:\n", link)
	if p.baler != "" {
		bus += fmt.Sprintf("      - {device: %s, profile: ssc-baler-v1, unit: 1, every: 200ms, material: paper/occ, max_bales: 3600}\n", p.baler)
	}
	return bus + fmt.Sprintf("      - {device: %s, profile: generic-belt, unit: 2, every: 200ms, material: plastics/pet, max_rate: 200 t, record: 1s}\n", p.belt)
}

// readPlants reads what the ledger holds of each device, and how often each fell silent.
func readPlants(t *testing.T, reader *ledger.Reader, plants []*plant) (books map[*plant]*read, silent map[string]int) {
	t.Helper()
	books, silent = map[*plant]*read{}, map[string]int{}
	of := map[string]*read{}
	for _, p := range plants {
		books[p] = new(read)
		of[p.belt], of[p.baler] = books[p], books[p]
	}
	delete(of, "") // a plant without a baler
	posted, err := reader.Entries(t.Context(), 0, 100_000)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range posted {
		r := of[e.Device]
		if r == nil {
			continue
		}
		body, err := e.Decode()
		if err != nil || !e.Valid {
			r.odd = append(r.odd, fmt.Sprintf("%s %d of %s is not counted: %s %v", e.Kind, e.N, e.Device, e.Why, err))
			continue
		}
		switch b := body.(type) {
		case *record.Bale:
			r.bales = append(r.bales, b)
		case *record.Belt:
			r.belts = append(r.belts, b)
		case *record.Device:
			switch b.State {
			case "counter":
				r.first = append(r.first, b.Counter)
			case "silent":
				silent[e.Device]++
			}
		}
	}
	return books, silent
}

// A whole edge process reads machines that are served by programs of other people: pymodbus and
// libmodbus on TCP, libmodbus on a serial line of socat. All of them are killed and started again,
// and meanwhile the machines go on. What they count by their own memory is what the ledger holds.
func TestForeignMachines(t *testing.T) {
	town := build(t, demo.Plan{Sites: 1, Speed: 1, Broker: startMosquitto(t).url(), Shape: demo.Shape{Weighbridges: 1}})
	folder, binary := t.TempDir(), compiledPlant(t)
	ours, theirs := socatLine(t)
	memory := func(name string) string { return filepath.Join(folder, name) }
	plants := []*plant{
		{baler: "baler-1", belt: "belt-1", memory: memory("1"), command: []string{"/usr/bin/python3", "testdata/plant/plant.py", memory("1")}},
		{baler: "baler-2", belt: "belt-2", memory: memory("2"), command: []string{binary, memory("2")}},
		{belt: "belt-3", memory: memory("3"), command: []string{binary, memory("3"), theirs}},
	}
	file, err := os.OpenFile(filepath.Join(town.Sites[0].Dir, "edge.yaml"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, p := range plants {
		p.start(t)
		t.Cleanup(p.kill)
		link := "rtu://" + ours + "?baud=19200"
		if p.baler != "" {
			eventually(t, "the server of "+p.baler+" listens", func() bool { return p.recall(t).port > 0 })
			link = fmt.Sprintf("tcp://127.0.0.1:%d", p.recall(t).port)
		}
		if _, err := file.WriteString(foreignBus(p, link)); err != nil { // the file ends with its list of buses
			t.Fatal(err)
		}
	}
	if err := town.Sites[0].Edge.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := town.Sites[0].Edge.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	reader, err := ledger.OpenReader(t.Context(), town.LedgerFile())
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	dark := map[*plant]kept{} // what each had counted when it was killed
	defer func() {
		books, _ := readPlants(t, reader, plants)
		for _, p := range plants {
			k, r := p.recall(t), books[p]
			t.Logf("%s of %s: %d bales and %d steps of the belt, %d and %d of them when it was killed; in the ledger up to bale %d and %d counts, %d bales, %d standings", p.belt,
				filepath.Base(p.command[0]), len(k.grams), len(k.counts), len(dark[p].grams), len(dark[p].counts), r.lastBale(), r.lastCount(), len(r.bales), len(r.belts))
		}
	}()

	all := func(is func(*plant, *read) bool) func() bool {
		return func() bool {
			books, _ := readPlants(t, reader, plants)
			return !slices.ContainsFunc(plants, func(p *plant) bool { return !is(p, books[p]) })
		}
	}
	eventually(t, "two bales and three standings of each plant are in the ledger", all(func(p *plant, r *read) bool {
		return len(r.belts) >= 3 && (p.baler == "" || len(r.bales) >= 2)
	}))
	_, before := readPlants(t, reader, plants)
	for _, p := range plants {
		p.kill()
	}
	eventually(t, "every machine is known to be silent", func() bool {
		_, now := readPlants(t, reader, plants)
		return !slices.ContainsFunc(plants, func(p *plant) bool {
			return now[p.belt] == before[p.belt] || p.baler != "" && now[p.baler] == before[p.baler]
		})
	})
	for _, p := range plants {
		dark[p] = p.recall(t)
		p.start(t)
	}
	eventually(t, "the machines have done their work and the ledger has the last of it", all(func(p *plant, r *read) bool {
		k := p.recall(t)
		return len(k.counts) >= 150 && r.lastCount() == k.counts[len(k.counts)-1] &&
			(p.baler == "" || k.last >= 421 && r.lastBale() == k.last && slices.Contains(k.said, k.last))
	}))
	books, _ := readPlants(t, reader, plants)
	for _, p := range plants {
		k := p.recall(t)
		for _, d := range differences(k, books[p]) {
			t.Errorf("%s of %s: %s", p.belt, p.command[0], d)
		}
		missed := uint64(0)
		for _, b := range books[p].bales {
			missed += b.Missed
		}
		if p.baler != "" && (missed == 0 || len(k.grams) != len(books[p].bales)+int(missed)+1) {
			t.Errorf("%s: %d bales, %d in the ledger and %d missed: the machine pressed two in the dark and showed one", p.baler, len(k.grams), len(books[p].bales), missed)
		}
	}
}

// Negative control: the comparison finds a bale or a kilogram that is wrong, lost or there twice.
func TestForeignBooksAreCompared(t *testing.T) {
	const kg = unit.Kilogram
	machine := kept{grams: map[uint64]unit.Mass{412: 400 * kg, 413: 410 * kg, 414: 420 * kg, 415: 430 * kg}, last: 415, said: []uint64{412, 413, 415},
		counts: []int64{999_990, 999_995, 3, 8, 12}}
	bale := func(number uint64, mass unit.Mass, missed uint64) *record.Bale {
		return &record.Bale{Number: number, Mass: mass, Weighed: true, Missed: missed}
	}
	belt := func(raw int64, standing unit.Mass) *record.Belt {
		return &record.Belt{Raw: raw, Step: kg, Modulus: 1_000_000, Standing: standing, Event: record.BeltTick}
	}
	good := func() *read {
		return &read{first: []uint64{412}, bales: []*record.Bale{bale(413, 410*kg, 0), bale(415, 430*kg, 1)},
			belts: []*record.Belt{belt(999_995, 0), belt(3, 8*kg), belt(12, 17*kg)}}
	}
	if found := differences(machine, good()); len(found) > 0 {
		t.Fatalf("good books: %q", found)
	}
	for want, harm := range map[string]func(*read){
		"bale 413: 411 kg":                              func(r *read) { r.bales[0].Mass += kg },
		"bale 413 stands twice":                         func(r *read) { r.bales = slices.Insert(r.bales, 0, r.bales[0]) },
		"bale 413 was shown and is not in the ledger":   func(r *read) { r.bales, r.bales[1].Missed = r.bales[1:], 2 },
		"bale 415 after 413 misses 0":                   func(r *read) { r.bales[1].Missed = 0 },
		"bale 416":                                      func(r *read) { r.bales = append(r.bales, bale(416, 400*kg, 0)) },
		"the last bale is 413, the machine counts 415":  func(r *read) { r.bales = r.bales[:1] },
		"begins at [412 413]":                           func(r *read) { r.first = append(r.first, 413) },
		"the totaliser never stood at 4 after 999995":   func(r *read) { r.belts[1].Raw = 4 },
		"the totaliser never stood at 999995 after 3":   func(r *read) { r.belts[1], r.belts[0] = r.belts[0], r.belts[1] },
		"standing 2: 18 kg of 1 kg steps up to 1000000": func(r *read) { r.belts[2].Standing += kg },
		"standing 1 is called a jump":                   func(r *read) { r.belts[1].Event = record.BeltJump },
		"the last standing is 3 of [12]":                func(r *read) { r.belts = r.belts[:2] },
		"not counted":                                   func(r *read) { r.odd = []string{"bale 9 of baler-1 is not counted"} },
	} {
		r := good()
		harm(r)
		if found := differences(machine, r); !strings.Contains(strings.Join(found, "\n"), want) {
			t.Errorf("got %q, want %q", found, want)
		}
	}
}
