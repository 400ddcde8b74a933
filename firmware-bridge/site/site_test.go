package site_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"steelyard/firmware-bridge/modbus"
	"steelyard/firmware-bridge/serial"
	"steelyard/firmware-bridge/site"
	"steelyard/firmware-bridge/weighbridge"
	"steelyard/internal/config/configtest"
	"steelyard/internal/unit"
)

// Each testdata/*.bad.yaml begins with the lines that it must be answered with.
func TestMistakesAllAtOnce(t *testing.T) {
	configtest.BadFiles(t, func(file string, data []byte) (string, error) {
		_, err := site.Load(file, data)
		return file, err
	})
}

// A site with every kind of machine. The edge's half may hold anything: it is not read here.
const plant = `site: [whatever, {the: edge}]
cloud: 7
journal:
weighbridges:
  - {device: weighbridge-1, line: {port: /dev/ttyS1}, indicator: mettler-toledo-continuous, options: {checksum: none}, unit: kg, division: 20 kg, max: 60 t}
  - {device: weighbridge-2, line: {port: /dev/ttyS2, baud: 4800}, indicator: yaohua-xk3190-a9-command, unit: kg, division: 20 kg, min: 200 kg, max: 60 t}
  - {device: weighbridge-3, line: {port: /dev/ttyS3, baud: 1200}, indicator: acme-1, options: {layout: {end: "03", length: 8, start: "01", digits: {from: 2, to: 7}}}, division: 20 kg, max: 60 t, window: 5s}
  - {device: weighbridge-4, line: {port: /dev/ttyS2, baud: 4800}, indicator: yaohua-xk3190-a9-command, options: {address: 26}, unit: t, division: 20 kg, max: 60 t}
profiles: own
buses:
  - link: rtu:///dev/ttyS9?baud=19200
    gap: 5ms
    timeout: 700ms
    connect_pause: 2s
    machines:
      - {device: belt-1, profile: generic-belt, unit: 1, every: 2s}
      - {device: belt-2, profile: generic-belt, unit: 2, material: paper/occ, max_rate: 50 t, record: 5m}
`

const behindAGateway = `  - link: tcp://192.168.10.21:502
    close_after_poll: true
    machines: [{device: baler-1, profile: ssc-baler-v1, unit: 1}]
`

// ownIndicator is a model file as an operator writes one.
func ownIndicator(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../catalog/testdata/own/acme-1.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// write puts files into a folder and gives its path.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// What a model's file says, the site's may say otherwise, option by option; the rest are defaults.
func TestPlant(t *testing.T) {
	dir := write(t, map[string]string{"own/acme-1.yaml": ownIndicator(t)})
	p, err := site.Load(filepath.Join(dir, "edge.yaml"), []byte(plant+behindAGateway))
	if err != nil {
		t.Fatal(err)
	}
	type settled struct {
		Line     serial.Config
		Dialect  string
		Options  weighbridge.Options
		Unit     unit.Unit
		Min, Max unit.Mass
		Window   time.Duration
	}
	var got []settled
	for _, w := range p.Weighbridges {
		got = append(got, settled{w.Line, w.Dialect, w.Options, w.Unit, w.Min, w.Max, w.Window})
	}
	layout := weighbridge.Layout{Start: weighbridge.Bytes{1}, End: weighbridge.Bytes{3}, Length: 8,
		Digits: weighbridge.Digits{Span: weighbridge.Span{From: 2, To: 7}}}
	// Two requests of 6 and answers of 14 characters at 4800 baud, each 200 ms after the one before.
	turn := 2 * (200*time.Millisecond + (20*10*time.Second+4799)/4800)
	if got := p.Lines()[1].Turn(); got != turn {
		t.Errorf("the line is asked round in %v, want %v", got, turn)
	}
	if got := p.Lines()[1].Gap(); got != 2*turn {
		t.Errorf("on a line that is asked round in %v a load rests through a silence of %v, want two turns", turn, got)
	}
	// Ten frames of 24 characters at 1200 baud would be 2 s; those of the fast line in no time.
	if slow, fast := p.Lines()[2].Gap(), p.Lines()[0].Gap(); slow != 2*time.Second || fast != 500*time.Millisecond {
		t.Errorf("a load rests through a silence of %v at 1200 baud and of %v at 9600, want 2s and 500ms", slow, fast)
	}
	want := []settled{
		{serial.Config{Port: "/dev/ttyS1"}, "mt-cont", weighbridge.Options{Checksum: "none"}, "kg", 400 * unit.Kilogram, 60 * unit.Tonne, 2 * time.Second},
		{serial.Config{Port: "/dev/ttyS2", Baud: 4800, Format: "8N1"}, "yaohua-cmd", weighbridge.Options{Address: 1}, "kg", 200 * unit.Kilogram, 60 * unit.Tonne, 2 * time.Second},
		{serial.Config{Port: "/dev/ttyS3", Baud: 1200, Format: "7E1"}, "generic", weighbridge.Options{Layout: layout}, "t", 400 * unit.Kilogram, 60 * unit.Tonne, 5 * time.Second},
		{serial.Config{Port: "/dev/ttyS2", Baud: 4800, Format: "8N1"}, "yaohua-cmd", weighbridge.Options{Address: 26}, "t", 400 * unit.Kilogram, 60 * unit.Tonne, 2 * time.Second},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}

	var lines [][]string
	for _, l := range p.Lines() {
		names := []string{l.Config.Port}
		for _, w := range l.Weighbridges {
			names = append(names, w.Device)
		}
		lines = append(lines, names)
	}
	if diff := cmp.Diff([][]string{{"/dev/ttyS1", "weighbridge-1"}, {"/dev/ttyS2", "weighbridge-2", "weighbridge-4"}, {"/dev/ttyS3", "weighbridge-3"}}, lines); diff != "" {
		t.Errorf("lines: -want +got\n%s", diff)
	}

	one, two := p.Buses[0].Machines[0], p.Buses[0].Machines[1]
	if one.Model == nil || one.Model.Name != "generic-belt" || one.MaxRate != 200*unit.Tonne || one.MaxBales != 600 || one.Record != time.Minute || two.Every != time.Second {
		t.Errorf("got %+v and %+v", one, two)
	}
	belt := one.Model
	wantBus := modbus.Config{Link: "rtu:///dev/ttyS9?baud=19200", Gap: 5 * time.Millisecond, Timeout: 700 * time.Millisecond, ConnectPause: 2 * time.Second, Units: []modbus.Unit{
		{Device: "belt-1", ID: 1, Profile: belt, Every: 2 * time.Second}, {Device: "belt-2", ID: 2, Profile: belt, Every: time.Second}}}
	if diff := cmp.Diff(wantBus, p.Buses[0].Config(), cmp.Comparer(func(a, b *modbus.Profile) bool { return a == b })); diff != "" {
		t.Errorf("bus: -want +got\n%s", diff)
	}
	if !p.Buses[1].Config().CloseAfterPoll {
		t.Error("the second bus would keep its connection")
	}
}

// An option that the file gives as nothing is given: it takes the model's away.
func TestOptionGivenAsNothing(t *testing.T) {
	short := strings.NewReplacer("acme-1", "own-2", "dialect: generic", "dialect: wi120", "{layout: {start: \"02\", end: \"03\", length: 8, digits: {from: 2, to: 7}}}",
		"{no_point: true, digits: 6}").Replace(ownIndicator(t))
	short = short[:strings.Index(short, "tests:")] + "tests: [{frame: \"02 31 32 33 34 35 36 03\", expect: {valid: no}}]\n"
	dir := write(t, map[string]string{"own/own-2.yaml": short})
	for options, want := range map[string]weighbridge.Options{
		"": {NoPoint: true, Digits: 6}, "options: {}, ": {NoPoint: true, Digits: 6}, "options: {no_point: false}, ": {Digits: 6},
		"options: {digits: 0}, ": {NoPoint: true}, "options: {digits: 5}, ": {NoPoint: true, Digits: 5},
	} {
		p, err := site.Load(filepath.Join(dir, "edge.yaml"), []byte("profiles: own\nweighbridges:\n  - {device: w, line: {port: /dev/ttyS1}, indicator: own-2, "+
			options+"division: 20 kg, max: 60 t}\n"))
		if err != nil {
			t.Fatalf("%s: %v", options, err)
		}
		if diff := cmp.Diff(want, p.Weighbridges[0].Options); diff != "" {
			t.Errorf("%s: -want +got\n%s", options, diff)
		}
	}
}

// A model file that is broken is named with its own line, beside the mistakes of the site's file.
func TestBrokenModelOfTheSite(t *testing.T) {
	dir := write(t, map[string]string{"own/acme-1.yaml": strings.Replace(ownIndicator(t), "maker:", "makker:", 1)})
	_, err := site.Load(filepath.Join(dir, "edge.yaml"), []byte(plant+"bus: 1\n"))
	if err == nil {
		t.Fatal("loaded")
	}
	for _, want := range []string{"acme-1.yaml:2:1: makker: unknown key", "edge.yaml:18:1: bus: unknown key"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in\n%v", want, err)
		}
	}
}
