package bench_test

import (
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"steelyard/firmware-bridge/catalog"
	"steelyard/firmware-bridge/modbus"
	plants "steelyard/firmware-bridge/site"
	"steelyard/internal/program"
)

// undescribed is a machine on Modbus TCP of which nobody has a map.
type undescribed struct {
	words  map[uint16]uint16 // holding registers; the input registers are the same
	coils  map[uint16]bool
	pair   uint16 // a register that is read with the next one only
	most   int    // registers in one read
	asked  atomic.Int64
	clock  uint16 // a register that counts the requests
	writes atomic.Int64
}

func (m *undescribed) serve(t *testing.T) (address string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				stop := make(chan struct{})
				defer close(stop)
				all.Go(func() {
					select {
					case <-t.Context().Done():
						conn.Close()
					case <-stop:
					}
				})
				request := make([]byte, 12)
				for {
					if _, err := io.ReadFull(conn, request); err != nil {
						return
					}
					pdu := m.answer(request[7:])
					reply := append([]byte{request[0], request[1], 0, 0, 0, byte(len(pdu) + 1), request[6]}, pdu...)
					if _, err := conn.Write(reply); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() { l.Close(); all.Wait() })
	return l.Addr().String()
}

func (m *undescribed) answer(q []byte) []byte {
	fc, from, count := q[0], binary.BigEndian.Uint16(q[1:]), int(binary.BigEndian.Uint16(q[3:]))
	refuse := func(code byte) []byte { return []byte{fc | 0x80, code} }
	n := m.asked.Add(1)
	switch {
	case fc == 2:
		return refuse(1)
	case fc > 4:
		m.writes.Add(1)
		return refuse(1)
	case fc > 2 && count > m.most:
		return refuse(3)
	}
	if fc == 1 {
		bits := make([]byte, (count+7)/8)
		for i := range count {
			on, ok := m.coils[from+uint16(i)]
			if !ok {
				return refuse(2)
			}
			if on {
				bits[i/8] |= 1 << (i % 8)
			}
		}
		return append([]byte{fc, byte(len(bits))}, bits...)
	}
	if m.pair > 0 && (from == m.pair+1 || from+uint16(count) == m.pair+1) {
		return refuse(2)
	}
	reply := []byte{fc, byte(2 * count)}
	for i := range count {
		at := from + uint16(i)
		w, ok := m.words[at]
		if !ok {
			return refuse(2)
		}
		if m.clock > 0 && at == m.clock && fc == 3 {
			w = uint16(n)
		}
		reply = binary.BigEndian.AppendUint16(reply, w)
	}
	return reply
}

// A machine that nobody described: what answers is found around the holes, and the draft is a profile that
// check calls good, that names what the display shows and that an edge reads by the printed lines.
func TestDraftOfAMachineThatNobodyDescribed(t *testing.T) {
	t.Parallel()
	m := &undescribed{most: 12, pair: 20, clock: 40, coils: map[uint16]bool{5: true, 6: false, 7: false, 8: true},
		words: map[uint16]uint16{10: 0, 11: 0, 12: 0x3034, 13: 0, 14: 288, 20: 0x4248, 21: 0, 30: 0x4241, 31: 0x4C45, 32: 0x5220, 33: 0x3135, 40: 0}}
	for i := uint16(50); i < 75; i++ {
		m.words[i] = 0x9000 + i // longer than one read
	}
	address := m.serve(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "own", "acme-b100.yaml")
	if err := os.Mkdir(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, code := run(t, "", "draft", "-link", "tcp://"+address, "-unit", "7", "-rate", "1000", "-range", "0-99", "-for", "300ms", "-display", "12340,28.80", "-out", file)
	if code != program.ExitOK {
		t.Fatalf("code %d\n%s\n%s", code, stdout, stderr)
	}
	for _, want := range []string{"function 3: 37 holding registers answer", "function 1: 4 coils answer"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("not said: %s\n%s", want, stderr)
		}
	}
	for _, want := range []string{"read 5 holding registers from 10\n  > 07 03 00 0A 00 05\n  < 07 03 0A 00 00 00 00 30 34 00 00 01 20",
		"function 4: left out: the same as with function 3", "function 2: left out: exception 01", " 3     40  ", "changes", "profiles: " + filepath.Dir(file) + "\n"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("not said: %s\n%s", want, stdout)
		}
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"- {fc: 3, from: 10, count: 5}", "- {fc: 3, from: 20, count: 2}", "- {fc: 3, from: 30, count: 4}", "- {fc: 3, from: 40, count: 1}", "- {fc: 1, from: 5, count: 4}",
		"{name: holding_11, at: 11, fc: 3, type: u32}   # 12340 on the display", `{name: holding_13, at: 13, fc: 3, type: u32, scale: "0.1"}   # 28.80 on the display`,
		"{name: holding_20, at: 20, fc: 3, type: f32}", "{name: holding_30, at: 30, fc: 3, type: string, length: 4}", "{name: coil_5, at: 5, fc: 1}",
		"holding_13: 28.8", `holding_30: "BALER 15"`, "coil_5: 1, coil_6: 0, coil_7: 0, coil_8: 1",
	} {
		if !strings.Contains(string(data), want) {
			t.Errorf("the draft has no %s", want)
		}
	}
	read := 0
	model, err := catalog.Read("acme-b100.yaml", data)
	if err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	for _, b := range model.Profile.Blocks() {
		if b.FC == 3 && b.From >= 50 {
			read += b.Count
		}
	}
	if read != 25 || t.Failed() {
		t.Errorf("%d of 25 registers that are longer than a read\n%s", read, data)
	}
	if _, stderr, code := run(t, "", "check", file); code != program.ExitOK {
		t.Error(stderr)
	}
	if m.writes.Load() > 0 {
		t.Error("something else than a read was sent")
	}
	// The printed lines work as they stand.
	_, yaml, _ := strings.Cut(stdout, "For edge.yaml:\n\n")
	plant, err := plants.Load(filepath.Join(dir, "edge.yaml"), []byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	if b := plant.Buses[0]; b.Link != "tcp://"+address || b.Machines[0].Model == nil || b.Machines[0].Model.Name != "acme-b100" || b.Machines[0].Unit != 7 {
		t.Errorf("%+v", b)
	}
	stdout, stderr, code = run(t, "", "show", "-link", "tcp://"+address, "-unit", "7", "-profile", file, "-count", "1", "-json")
	if code != program.ExitOK || !strings.Contains(stdout, `"holding_13":"28.8"`) {
		t.Errorf("%s\n%s", stdout, stderr)
	}
	stdout, stderr, code = run(t, "", "draft", "-link", "tcp://"+address, "-unit", "7", "-rate", "1000", "-fc", "3,1", "-range", "0-49", "-for", "100ms", "-json")
	got := objects(t, stdout)
	if code != program.ExitOK || stderr != "" || len(got) != 1 || len(got[0]["reads"].([]any)) != 5 || !strings.Contains(got[0]["profile"].(string), "profile: unknown-machine") {
		t.Errorf("code %d: %s\n%s", code, stdout, stderr)
	}
	// A draft never replaces a file that a person has worked on.
	if _, stderr, code := run(t, "", "draft", "-link", "tcp://"+address, "-out", file); code != program.ExitUsage || !strings.Contains(stderr, "is not overwritten") {
		t.Errorf("code %d: %s", code, stderr)
	}
}

// A test that says 28.80 holds for 28.8, and one that says 28.81 does not.
func TestNumbersOfTestsAreNumbers(t *testing.T) {
	const profile = "profile: p\nstatus: bench\nsources: [{doc: d}]\naddress_base: 0\npoints: [{name: v, at: 0, type: u16, scale: \"0.1\"}]\ntests: [{request: \"01 03 00 00 00 01\", reply: \"01 03 02 01 20\", expect: {v: %}}]\n"
	for want, good := range map[string]bool{"28.8": true, "28.80": true, "028.800": true, "28.81": false, "\"28,8\"": false, "none": false} {
		if _, err := modbus.Load("p.yaml", []byte(strings.Replace(profile, "%", want, 1))); (err == nil) != good {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestDraftRefusesAndExplains(t *testing.T) {
	t.Parallel()
	m := &undescribed{most: 125, words: map[uint16]uint16{5000: 1}}
	address := m.serve(t)
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{nil, program.ExitUsage, "draft needs the link of a machine that answers; find -modbus finds it"},
		{[]string{"-link", "tcp://" + address, "-range", "9-1"}, program.ExitUsage, "write addresses like 0-299,4096-4196"},
		{[]string{"-link", "tcp://" + address, "-base", "40001", "-range", "1-10", "-fc", "3"}, program.ExitUsage, "lies in none of the tables that are asked"},
		{[]string{"-link", "tcp://" + address, "-base", "7"}, program.ExitUsage, "base 7: is none of 0, 1, 30001"},
		{[]string{"-link", "rtu:///dev/ttyS9", "-unit", "250"}, program.ExitUsage, "a serial line has the units 1 to 247"},
		{[]string{"-link", "tcp://" + address, "-out", "Big Name.yaml"}, program.ExitUsage, "name it like acme-b100.yaml"},
		{[]string{"-link", "tcp://" + address, "-fc", "3", "-range", "0-20", "-rate", "1000"}, program.ExitError, "refuses every address that was asked: try others with -range"},
		{[]string{"-link", "tcp://" + address, "-fc", "2", "-range", "0-20", "-rate", "1000"}, program.ExitError, "has none of the tables that were asked: [function 2: left out: exception 01"},
		{[]string{"-link", "tcp://" + address, "-fc", "3", "-base", "40001", "-range", "45001", "-for", "0s"}, program.ExitOK, ""},
	} {
		stdout, stderr, code := run(t, "", append([]string{"draft"}, test.args...)...)
		if code != test.code || !strings.Contains(stderr, test.want) || code == program.ExitOK && !strings.Contains(stdout, "{name: holding_45001, at: 45001, fc: 3, type: u16}") {
			t.Errorf("%q: code %d: %s\n%s", test.args, code, stderr, stdout)
		}
	}
}
