package modbus_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"steelyard/firmware-bridge/modbus"
)

// Each *.bad.yaml begins with one "# want: …" line per mistake; all must be reported, and no others.
func TestMistakesInProfiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*.bad.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no bad profiles", err)
	}
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			_, err = modbus.Load("p.yaml", data)
			if err == nil {
				t.Fatal("loaded")
			}
			wanted := 0
			for line := range strings.Lines(string(data)) {
				want, ok := strings.CutPrefix(strings.TrimSpace(line), "# want: ")
				if !ok {
					break
				}
				wanted++
				if !strings.Contains(err.Error(), want) {
					t.Errorf("not said: %s", want)
				}
			}
			if got := strings.Count(err.Error(), "\n") + 1; got != wanted {
				t.Errorf("%d mistakes, want %d", got, wanted)
			}
			if t.Failed() {
				t.Log("\n" + err.Error())
			}
		})
	}
}

func TestBaseIsDeclaredOnce(t *testing.T) {
	for base, at := range map[string]string{"0": "6", "1": "7", "30001": "30007", "40001": "40007", "400001": "400007"} {
		p := load(t, "profile: b\nstatus: bench\nsources: [{doc: d}]\naddress_base: "+base+"\npoints: [{name: v, at: "+at+", type: u16}]\n")
		if b := p.Blocks(); len(b) != 1 || b[0].From != 6 || b[0].Count != 1 {
			t.Errorf("base %s: %+v", base, b)
		}
	}
}

func TestNewReportsEveryMistake(t *testing.T) {
	p := blocks(t, 1, 0, 0)
	_, err := modbus.New(modbus.Config{Link: "rtu:///dev/ttyS9?baud=1&format=7E1", Timeout: -1, Units: []modbus.Unit{
		{Device: "a", ID: 0, Profile: p}, {Device: "a", ID: 2, Profile: p}, {Device: "b", ID: 3},
		{Device: "c", ID: 4, Profile: p}, {Device: "d", ID: 4, Profile: p}, {Device: "e", ID: 5, Profile: p, Every: -1}}}, nil, quiet())
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"baud 1", "timeout", `"a" is empty or on this bus already`, "device b: has no profile",
		"unit id 4 is used by c", "device e: poll every"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("not said: %s\n%v", want, err)
		}
	}
	for _, link := range []string{"", "tcp://host", "tcp://:502", "tcp://h:0", "tcp://h:502/x", "tcp://h:502?baud=9600", "udp://h:1",
		"rtu://dev/tty", "rtu:///dev/x?baud=x", "rtu:///dev/x?format=8X1", "rtu:///dev/x?speed=1", "rtu:///dev/x?echo=2", "rtu:///dev/x?echo=1&echo=1", "tcp://h:502?echo=1", "rtu-over-tcp://h", "tcp://h:70000", "::"} {
		if _, err := modbus.ParseLink(link); err == nil {
			t.Errorf("link %q was taken", link)
		}
	}
}
