package bench_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"steelyard/internal/program"
)

// coilBaler is an existing baler whose controller says its states in coils and inputs and counts in one
// register.
const coilBaler = `profile: coil-baler
maker: Field
model: PLC with states in coils
status: bench
sources: [{doc: field report}]
transport: {unit: 1, port: 502, rtu: {baud: 9600, format: 8N1}}
address_base: 0
points:
  - {name: running, at: 40, fc: 1, type: u16, quantity: machine.running}
  - {name: fault, at: 3, fc: 2, type: u16, quantity: machine.fault}
  - {name: wire_low, at: 4, fc: 2, inverted: true, quantity: machine.wire_low}
  - {name: bales, at: 100, fc: 3, type: u32, quantity: bale.count}
tests:
  - {request: "01 03 00 64 00 02", reply: "01 03 04 00 00 00 2A", expect: {bales: 42}}
`

// Every command knows machines of coils.
func TestMachineOfCoils(t *testing.T) {
	t.Parallel()
	profile := filepath.Join(t.TempDir(), "coil-baler.yaml")
	if err := os.WriteFile(profile, []byte(coilBaler), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, listen := range []string{"tcp://127.0.0.1:0", "rtu-over-tcp://127.0.0.1:0"} {
		m := start(t, "simulate", "-profile", profile, "-listen", listen, "-set", "running=1", "-set", "wire_low=1")
		stdout, stderr, code := run(t, "", "show", "-link", m.at(), "-profile", profile, "-unit", "1", "-count", "1", "-json")
		if code != program.ExitOK || !strings.Contains(stdout, `"values":{"bales":"42","fault":"0","running":"1","wire_low":"1"}`) {
			t.Errorf("code %d: %s\n%s", code, stdout, stderr)
		}
		m.says("set running=0\nset fault=1")
		m.out.has(t, "fault=1")
		stdout, stderr, code = run(t, "", "show", "-link", m.at(), "-profile", profile, "-unit", "1", "-count", "1", "-json")
		if code != program.ExitOK || !strings.Contains(stdout, `"values":{"bales":"42","fault":"1","running":"0","wire_low":"1"}`) {
			t.Errorf("code %d: %s\n%s", code, stdout, stderr)
		}
		if stdout, stderr, code = run(t, "", "find", "-modbus", "-link", m.at(), "-units", "1", "-profiles", filepath.Dir(profile)); code != program.ExitOK || !strings.Contains(stdout, "coil-baler") || !strings.Contains(stdout, "profiles: "+filepath.Dir(profile)+"\n") {
			t.Errorf("code %d: %s\n%s", code, stdout, stderr)
		}
	}
	stdout, _, _ := run(t, "", "plan", "-profile", profile)
	for _, want := range []string{"  1      40     40      1  fast   01 01 00 28 00 01 7D C2", "  2       3      3      2  fast   01 02 00 03 00 02 09 CB"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("plan has no %q:\n%s", want, stdout)
		}
	}
	stdout, _, _ = run(t, "01 02 00 03 00 02\n01 02 01 01\n01 01 00 28 00 01\n01 01 01 00\n01 81 02\n", "decode", "-profile", profile)
	for _, want := range []string{`"request":"read 2 discrete inputs from 3"`, `"values":{"fault":"1","wire_low":"1"}`, `"values":{"running":"0"}`, "exception 02"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("decode has no %s:\n%s", want, stdout)
		}
	}
	stdout, _, _ = run(t, "01 02 02 08 02 3F B9\n01 01 00 28 00 01 7D C2\n", "decode", "-dialect", "modbus-crc")
	for _, want := range []string{`"meaning":"reply of 16 discrete inputs"`, `"registers":[0,0,0,1,0,0,0,0,0,1,0,0,0,0,0,0]`, `"meaning":"read 1 coils from 40"`} {
		if !strings.Contains(stdout, want) {
			t.Errorf("decode has no %s:\n%s", want, stdout)
		}
	}
}
