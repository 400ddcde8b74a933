package modbus_test

import (
	"context"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/modbus"
	"steelyard/firmware-bridge/sim"
)

// profiled is a whole profile of points and what it is proven with.
func profiled(base, rest string) string {
	return "profile: field\nmaker: Field\nmodel: quirky\nstatus: bench\nsources: [{doc: field reports}]\ntransport: {unit: 1, port: 502}\naddress_base: " + base + "\n" + rest
}

// Machines that a file could not describe: each profile is proven by its own frames at load.
func TestWhatFilesCanSay(t *testing.T) {
	for name, text := range map[string]string{
		"states in coils and discrete inputs": profiled("0", `points:
  - {name: running, at: 40, fc: 1, type: u16, quantity: machine.running}
  - {name: fault, at: 3, fc: 2, type: u16, quantity: machine.fault}
  - {name: wire_low, at: 4, fc: 2, inverted: true, quantity: machine.wire_low}
  - {name: faults, at: 0, fc: 2, type: bits, length: 12, enum: {3: motor, 9: oil}, quantity: machine.warning}
  - {name: bales, at: 100, fc: 3, type: u32, quantity: bale.count}
tests:
  - {request: "01 03 00 64 00 02", reply: "01 03 04 00 00 00 2A", expect: {bales: 42}}
  - {request: "01 01 00 28 00 01", reply: "01 01 01 01", expect: {running: 1}}
  - {request: "01 02 00 00 00 0C", reply: "01 02 02 08 02", expect: {fault: 1, wire_low: 1, faults: "motor, oil"}}
  - {request: "01 02 00 00 00 0C", reply: "01 02 02 10 00", expect: {fault: 0, wire_low: 0, faults: 16}}
`),
		"coils as manuals with five digits count them": profiled("40001", `points:
  - {name: running, at: 41, fc: 1}
  - {name: fault, at: 10004, fc: 2}
  - {name: load, at: 30002, fc: 4, type: u16}
  - {name: bales, at: 40101, type: u32}
tests:
  - {request: "01 01 00 28 00 01", reply: "01 01 01 01", expect: {running: 1}}
  - {request: "01 02 00 03 00 01", reply: "01 02 01 01", expect: {fault: 1}}
  - {request: "01 04 00 01 00 01", reply: "01 04 02 00 07", expect: {load: 7}}
  - {request: "01 03 00 64 00 02", reply: "01 03 04 00 00 00 2A", expect: {bales: 42}}
`),
		"coils as manuals with six digits count them": profiled("400001", `points:
  - {name: running, at: 41, fc: 1}
  - {name: fault, at: 100004, fc: 2}
  - {name: load, at: 300002, fc: 4, type: u16}
tests:
  - {request: "01 01 00 28 00 01", reply: "01 01 01 01", expect: {running: 1}}
  - {request: "01 02 00 03 00 01", reply: "01 02 01 01", expect: {fault: 1}}
  - {request: "01 04 00 01 00 01", reply: "01 04 02 00 07", expect: {load: 7}}
`),
		"a tested block of coils": profiled("1", `reads: [{fc: 1, from: 1, count: 16}, {fc: 3, from: 1, count: 2}]
points:
  - {name: running, at: 3, fc: 1, quantity: machine.running}
  - {name: stopped, at: 9, quantity: machine.emergency_stop}
  - {name: bales, at: 1, fc: 3, type: u32}
tests:
  - {request: "01 01 00 00 00 10", reply: "01 01 02 04 01", expect: {running: 1, stopped: 1}}
`),
		"an exponent with a sign, as in SunSpec": profiled("0", `points:
  - {name: sf, at: 0, type: s16, sentinels: [-32768]}
  - {name: power, at: 1, type: s16, unit: W, quantity: power.active, scale_from: sf}
tests:
  - {request: "01 03 00 00 00 02", reply: "01 03 04 FF FE 04 D2", expect: {power: 12.34}}
  - {request: "01 03 00 00 00 02", reply: "01 03 04 00 01 04 D2", expect: {power: 12340}}
  - {request: "01 03 00 00 00 02", reply: "01 03 04 00 00 04 D2", expect: {power: 1234}}
  - {request: "01 03 00 00 00 02", reply: "01 03 04 80 00 04 D2", expect: {power: none}}
  - {request: "01 03 00 00 00 02", reply: "01 03 04 00 0A 04 D2", expect: {power: none}}
`),
		"a table of the decimal point": profiled("0", `points:
  - {name: point, at: 0, type: u16, enum: {0: "1", 1: "0.1", 2: "0.01", 9: "10"}}
  - {name: gross, at: 1, type: s32, unit: kg, quantity: weight.gross, scale_from: point}
tests:
  - {request: "01 03 00 00 00 03", reply: "01 03 06 00 02 00 00 30 34", expect: {gross: 123.40}}
  - {request: "01 03 00 00 00 03", reply: "01 03 06 00 09 00 00 30 34", expect: {gross: 123400}}
  - {request: "01 03 00 00 00 03", reply: "01 03 06 00 04 00 00 30 34", expect: {gross: none}}
`),
		"ratios of transformers": profiled("0", `points:
  - {name: pt, at: 0, type: u16, scale: "0.1"}
  - {name: ct, at: 1, type: u16}
  - {name: power, at: 2, type: s16, unit: W, quantity: power.active, factor_from: [pt, ct]}
tests: [{request: "01 03 00 00 00 03", reply: "01 03 06 00 0F 00 28 00 7B", expect: {power: 7380}}]
`),
		"tonnes and kilograms apart": profiled("0", `points:
  - {name: t, at: 0, type: u32, unit: t, quantity: totaliser.mass, plus: kg}
  - {name: kg, at: 4, type: u16, scale: "0.001"}
totaliser: {point: t, modulus: 1000000000, step: 1 kg}
limits: {hole: 2}
tests: [{request: "01 03 00 00 00 05", reply: "01 03 0A 00 00 04 D2 00 00 00 00 02 37", expect: {t: 1234.567}}]
`),
		"a minus that is of both parts": profiled("0", `points:
  - {name: whole, at: 0, type: s16, unit: kg, plus: grams, quantity: weight.net}
  - {name: grams, at: 1, type: u16, scale: "0.001"}
tests:
  - {request: "01 03 00 00 00 02", reply: "01 03 04 FF F4 01 54", expect: {whole: -12.340}}
  - {request: "01 03 00 00 00 02", reply: "01 03 04 00 0C 01 54", expect: {whole: 12.34}}
`),
		"BCD of six bytes": profiled("0", `points: [{name: total, at: 0, type: bcd48, unit: kWh, quantity: energy.total, scale: "0.01"}]
tests: [{request: "01 03 00 00 00 03", reply: "01 03 06 00 00 01 23 45 67", expect: {total: 12345.67}}]
`),
		"registers of four decimal digits": profiled("0", `points: [{name: total, at: 0, type: base10000, length: 4, order: CDAB, unit: kWh, quantity: energy.total}]
tests: [{request: "01 03 00 00 00 04", reply: "01 03 08 04 D2 00 01 00 00 00 00", expect: {total: 11234}}]
`),
		"a weight that is text": profiled("40001", `points: [{name: weight, at: 97719, type: digits, length: 4, quantity: weight.gross, unit: kg}]
tests: [{request: "01 03 E1 76 00 04", reply: "01 03 08 20 20 31 32 33 34 30 20", expect: {weight: 12340}}]
`),
		"a float total below its bound": profiled("0", `points:
  - {name: rate, at: 0, type: f32, unit: t/h, quantity: belt.rate}
  - {name: total, at: 2, type: f32, decimals: 3, unit: t, quantity: totaliser.mass}
totaliser: {point: total, modulus: 8192000, step: 1 kg}
tests:
  - {request: "01 03 00 00 00 04", reply: "01 03 08 42 48 00 00 44 9A 52 2B", expect: {rate: 50.0, total: 1234.568}}
  - {request: "01 03 00 00 00 04", reply: "01 03 08 42 48 00 00 46 00 00 00", expect: {total: none}}
`),
		"a number with zeros behind its point": profiled("0", `points: [{name: u, at: 0, type: u16, scale: "0.01", unit: V}]
tests: [{request: "01 03 00 00 00 01", reply: "01 03 02 0B 40", expect: {u: 28.8}}]
`),
	} {
		if _, err := modbus.LoadModel(name, []byte(text)); err != nil {
			t.Error(err)
		}
	}
}

// What registers cannot carry is refused, with what to write in its place.
func TestWhatFilesCannotSay(t *testing.T) {
	for rest, want := range map[string]string{
		"points: [{name: w, at: 97719, type: string, length: 4, quantity: weight.gross, unit: kg}]":                                                                    "weight.gross is a number, and a string is none; a number that is written as text is of type digits",
		"points: [{name: n, at: 40001, type: string, length: 4, scale: \"0.1\"}]":                                                                                      "a number that is written as text is of type digits",
		"points: [{name: w, at: 40001, type: f32, quantity: totaliser.mass, unit: t}]":                                                                                 "where the machine has none say decimals, and the value is one only below the number up to which it is exact: decimals 0 below 8388608, 1 below 524288, 3 below 8192 t",
		"points: [{name: w, at: 40001, type: f32, decimals: 3, quantity: totaliser.mass, unit: t}]\ntotaliser: {point: w, modulus: 1000000000, step: 1 kg}":            "an f32 with 3 decimals counts exactly below 8192: at most 8192000; fewer decimals count further",
		"points: [{name: w, at: 40001, type: f32, decimals: 3, quantity: totaliser.mass, unit: t}]\ntotaliser: {point: w, modulus: 1000, step: 1 t}":                   "1000000 g is not the point's factor, one count of which is 1000 g",
		"points: [{name: w, at: 40001, type: u16, decimals: 3}]":                                                                                                       "3: is for floats",
		"points: [{name: c, at: 1, fc: 1, type: f32}]":                                                                                                                 "a coil or an input is 0 or 1",
		"points: [{name: c, at: 1, fc: 5, type: u16}]":                                                                                                                 "5 is none of 1 (coils), 2 (discrete inputs), 3 (holding registers), 4 (input registers)",
		"points: [{name: c, at: 5, fc: 2}]":                                                                                                                            "address 5 lies before the base 10001 of the discrete inputs",
		"points: [{name: c, at: 1, fc: 1, type: bits, length: 64}]":                                                                                                    "64 is not between 1 and 63",
		"points: [{name: c, at: 40001, type: u16, inverted: true}]":                                                                                                    "is for one bit, a coil or an input",
		"points: [{name: c, at: 40001, type: u16, scale: \"-1\", quantity: bale.count}]":                                                                               "bale.count never counts below 0",
		"points: [{name: c, at: 40001, type: u16, scale_from: s}, {name: s, at: 40002, type: u16, enum: {1: kg}}]":                                                     `"s" has the word "kg" for 1, which is no factor`,
		"points: [{name: c, at: 40001, type: u16, plus: s}, {name: s, at: 40012, type: u16}]\nreads: [{fc: 3, from: 40001, count: 1}, {fc: 3, from: 40012, count: 1}]": `"s" is read with another request`,
		"points: [{name: c, at: 40001, type: u16, unit: t, plus: s}, {name: s, at: 40002, type: u16, unit: kg}]":                                                       `"s" is in kg and this point in t: give it a scale that makes it t`,
		"points: [{name: c, at: 40001, type: u16, plus: s}, {name: s, at: 40002, type: f32, every: slow}]":                                                             `"s" is read at other times`,
		"points: [{name: c, at: 40001, type: u16}]\nreads: [{fc: 1, from: 1, count: 2001}, {fc: 3, from: 40001, count: 1}]":                                            "2001 is not between 1 and 2000 bits",
		"points: [{name: c, at: 40001, type: bcd24}]":                                                                                                                  `"bcd24" is none of u16`,
		"points: [{name: c, at: 40001, type: u16}]\ntests: [{request: \"01 01 00 00 00 0A\", reply: \"01 01 01 00\", expect: {c: none}}]":                              "does not answer the request for 10 bits",
	} {
		if _, err := modbus.Load("p.yaml", []byte(profiled("40001", rest+"\n"))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n  %v\n  want %s", rest, err, want)
		}
	}
}

// coilBaler is an existing baler's controller: its states are coils and inputs, one register counts.
const coilBaler = `profile: coil-baler
status: bench
sources: [{doc: field report}]
address_base: 0
limits: {timeout_ms: 1000}
points:
  - {name: running, at: 40, fc: 1, quantity: machine.running}
  - {name: auto, at: 41, fc: 1, quantity: machine.mode, enum: {0: manual, 1: automatic}}
  - {name: fault, at: 3, fc: 2, quantity: machine.fault}
  - {name: wire_low, at: 9, fc: 2, inverted: true, quantity: machine.wire_low}
  - {name: bales, at: 100, fc: 3, type: u32, quantity: bale.count}
`

// seen is a sink that keeps the newest value of each tag.
type seen struct {
	mu     sync.Mutex
	values map[string]string
	whole  func(map[string]string) bool
	done   context.CancelFunc
}

func (s *seen) Weight(device.Weight) {}
func (s *seen) Health(device.Health) {}
func (s *seen) Scan(scan device.Scan) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range scan.Values {
		s.values[v.Quantity] = modbus.Text(v)
	}
	if s.whole(s.values) {
		s.done()
	}
}

// A baler of coils, inputs and one counter is read whole, over TCP and on a serial line, and a coil
// that changes is seen.
func TestBalerOfCoilsIsRead(t *testing.T) {
	p := load(t, coilBaler)
	serve := func(t *testing.T, units sim.Units, serial bool) (link string) {
		if !serial {
			server, err := sim.ServeModbusTCP("127.0.0.1:0", units, 1)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { server.Close() })
			return "tcp://" + server.Addr()
		}
		line, err := sim.OpenPty(sim.PtyConfig{Link: filepath.Join(t.TempDir(), "plc")})
		if err != nil {
			t.Fatal(err)
		}
		var running sync.WaitGroup
		running.Go(func() { sim.NewModbusRTU(line, units, 1).Run(t.Context()) })
		t.Cleanup(func() { line.Close(); running.Wait() })
		return "rtu://" + line.Path() + "?baud=19200"
	}
	for name, serial := range map[string]bool{"tcp": false, "serial": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			unit := sim.NewRegisters(102)
			unit.Update(func(words []uint16) { words[101] = 42 })
			coils, inputs := make([]bool, 48), make([]bool, 16)
			coils[40], coils[41], inputs[9] = true, true, true
			unit.SetBits(1, coils)
			unit.SetBits(2, inputs)
			link := serve(t, sim.Units{1: unit}, serial)
			until := func(want map[string]string) {
				t.Helper()
				ctx, cancel := context.WithTimeout(t.Context(), patient)
				defer cancel()
				sink := &seen{values: map[string]string{}, done: cancel, whole: func(got map[string]string) bool { return cmp.Equal(got, want) }}
				bus := newBus(t, modbus.Config{Link: link, Units: []modbus.Unit{{Device: "baler", ID: 1, Profile: p, Every: 20 * time.Millisecond}}}, sink)
				if err := bus.Run(ctx); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, sink.values); diff != "" {
					t.Error(diff)
				}
				if s := bus.Stats(); s.Failures+s.Exceptions > 0 {
					t.Errorf("%+v", s)
				}
			}
			want := map[string]string{"machine.running": "1", "machine.mode": "automatic", "machine.fault": "0", "machine.wire_low": "0", "bale.count": "42"}
			until(want)
			unit.SetBits(1, make([]bool, 48))
			unit.SetBits(2, []bool{3: true, 15: false})
			want = map[string]string{"machine.running": "0", "machine.mode": "manual", "machine.fault": "1", "machine.wire_low": "1", "bale.count": "42"}
			until(want)
		})
	}
}

// A machine refuses a read of coils that it has only some of: those it has are read.
func TestRefusedCoilsAreSplit(t *testing.T) {
	t.Parallel()
	unit := sim.NewRegisters(0)
	unit.SetBits(1, []bool{2: true, 6: false})
	server, err := sim.ServeModbusTCP("127.0.0.1:0", sim.Units{1: unit}, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	p := load(t, "profile: p\nstatus: bench\nsources: [{doc: d}]\naddress_base: 0\nreads: [{fc: 1, from: 0, count: 12}]\npoints:\n"+
		"  - {name: a, at: 2, quantity: machine.running}\n  - {name: b, at: 3, quantity: machine.ready}\n  - {name: c, at: 8, quantity: machine.fault}\n")
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	sink := &seen{values: map[string]string{}, done: cancel, whole: func(got map[string]string) bool { return len(got) == 3 }}
	bus := newBus(t, modbus.Config{Link: "tcp://" + server.Addr(), Units: []modbus.Unit{{Device: "plc", ID: 1, Profile: p, Every: time.Millisecond}}}, sink)
	if err := bus.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"machine.running": "1", "machine.ready": "0", "machine.fault": "none"}, sink.values); diff != "" {
		t.Error(diff)
	}
}
