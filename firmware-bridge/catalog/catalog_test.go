package catalog_test

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"steelyard/firmware-bridge/catalog"
	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/modbus"
)

func shipped(t *testing.T) *catalog.Catalog {
	t.Helper()
	c, err := catalog.Load(os.DirFS("../../configs/devices"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Load has run every vector already; here each profile must give back as a simulated machine what
// its vectors say, and no point of it may be without a vector in which it has a value.
func TestEveryShippedProfile(t *testing.T) {
	c := shipped(t)
	if len(c.Names()) < 13 {
		t.Errorf("only %d profiles are shipped", len(c.Names()))
	}
	for _, p := range c.Profiles() {
		t.Run(p.Name, func(t *testing.T) {
			if p.Notes == "" || p.Status != "manual" && p.Status != modbus.Template {
				t.Errorf("notes %q, status %s: say what a fitter must know, and nothing was seen on a table yet", p.Notes, p.Status)
			}
			proven := map[string]bool{}
			for _, v := range p.Tests {
				serve(t, p, v)
				for tag, text := range v.Expect {
					proven[tag] = proven[tag] || text != "none"
				}
			}
			for _, tag := range p.Tags() {
				if !proven[tag] {
					t.Errorf("%s: no vector gives it a value", tag)
				}
			}
		})
	}
}

// strays are the registers that a profile reads and no point of it names.
func strays(p *modbus.Profile) (found []string) {
	all := map[modbus.Register]uint16{}
	for _, b := range p.Blocks() {
		for i := range b.Count {
			all[modbus.Register{FC: b.FC, Address: b.From + uint16(i)}] = 0
		}
	}
	for r := range all {
		rest := maps.Clone(all)
		delete(rest, r)
		missed := fmt.Sprintf("register %d was not read", r.Address)
		if !slices.ContainsFunc(p.Decode(rest), func(v device.Value) bool { return strings.Contains(v.Why, missed) }) {
			found = append(found, fmt.Sprintf("%d.%d", r.FC, r.Address))
		}
	}
	slices.Sort(found)
	return found
}

// A read across registers that no manual names may be refused, or spoil the next reply. Only our own
// tables have spare registers that are certain to be there.
func TestNoReadCrossesUnknownRegisters(t *testing.T) {
	ours := map[string][]string{
		"generic-belt": {"3.11", "3.15"},
		"ssc-baler-v1": {"3.51", "3.52", "3.53", "3.54", "3.55", "3.56", "3.57", "3.58", "3.59", "3.60", "3.61"},
	}
	for _, p := range shipped(t).Profiles() {
		if diff := cmp.Diff(ours[p.Name], strays(p)); diff != "" {
			t.Errorf("%s reads registers that it does not name: -allowed +read\n%s", p.Name, diff)
		}
	}
	crossing, err := modbus.Load("p.yaml", []byte("profile: p\nstatus: manual\nsources: [{doc: d}]\naddress_base: 0\n"+
		"reads: [{fc: 4, from: 2, count: 4}]\npoints: [{name: a, at: 2, type: u16}, {name: b, at: 4, type: u32}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := strays(crossing); !slices.Equal(got, []string{"4.3"}) {
		t.Errorf("a read across register 3 has the strays %q: the test above proves nothing", got)
	}
}

// What the sources leave open must be said where a fitter reads it, beside the value.
func TestUncertainRowsAreMarked(t *testing.T) {
	c := shipped(t)
	for name, tags := range map[string][]string{
		"siemens-bw500":      {"word_order", "rate", "load", "speed", "total", "total_2", "total_decimals", "total_2_decimals"},
		"flintec-ft112":      {"indicated", "tare", "gross", "status", "decimals_bits", "heartbeat"},
		"flintec-ft112-cdab": {"indicated", "tare", "gross", "status", "decimals_bits", "heartbeat"},
		"tunaylar-id551pn":   {"displayed", "gross"},
		"abb-acs":            {"tripped", "alarm", "actual_1", "actual_2"},
		"delta-vfd":          {"setpoint", "frequency", "current", "dc_voltage", "voltage"},
		"md380":              {"current", "speed"},
		"danfoss-fc51":       {"dc_voltage", "energy"},
		"vacon-10":           {"frequency", "current", "dc_voltage"},
		"veda-vf51":          {"setpoint"},
		"chint-dtsu666":      {"reactive", "power_l1"},
		"acrel-adw300":       {"power_l1", "power_l2", "power_l3", "power"},
		"laumas-tlb":         {"division_code"},
		"supmeter-bst106":    {"gross", "net", "state", "total"},
	} {
		p, err := c.Find(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, tag := range tags {
			i := slices.IndexFunc(p.Points, func(v modbus.Point) bool { return v.Name == tag })
			if i < 0 || p.Points[i].Note == "" {
				t.Errorf("%s: %s is not marked as uncertain, or is not there", name, tag)
			}
		}
	}
}

// A meter or transmitter that answers to one unit id only must be asked by it: the page once said
// unit 1 of a machine whose only id is 0.
func TestTheUnitOfTheFactoryIsOnThePage(t *testing.T) {
	page := devicesDocument(shipped(t))
	for _, want := range []string{"HBM/HBK WTX110, WTX120: weight, state of the machine. Unit 0 unless", "Dini Argeo DGT, DGTP: weight. Unit 1 unless"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}

// serve encodes the expected values and decodes them again.
func serve(t *testing.T, p *modbus.Profile, v modbus.Vector) {
	t.Helper()
	values := map[string]string{}
	for tag, text := range v.Expect {
		if text != "none" {
			values[tag] = text
		}
	}
	for _, point := range p.Points {
		if point.Type == "bits" {
			delete(values, point.Name) // words of bits have no inverse
		}
	}
	registers, err := p.Encode(values)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]device.Value{}
	for _, value := range p.Decode(registers) {
		got[value.Tag] = value
	}
	for tag, want := range values {
		if text := modbus.Text(got[tag]); text != want && got[tag].Number.String() != want {
			t.Errorf("%s: served as %q, read as %q %s", tag, want, text, got[tag].Why)
		}
	}
}

func TestFind(t *testing.T) {
	c := shipped(t)
	if p, err := c.Find("ssc-baler-v1"); err != nil || p.Name != "ssc-baler-v1" {
		t.Errorf("Find = %v, %v", p, err)
	}
	if _, err := c.Find("laumas"); err == nil || !strings.Contains(err.Error(), "laumas-tlb") {
		t.Errorf("an unknown name must list what there is, got %v", err)
	}
}

func TestMistakesOfAllFilesAtOnce(t *testing.T) {
	good, err := fs.ReadFile(os.DirFS("../../configs/devices"), "generic-belt.yaml")
	if err != nil {
		t.Fatal(err)
	}
	folder := fstest.MapFS{
		"a.yaml":            {Data: []byte("profile: a\nbogus: 1\n")},
		"b.yaml":            {Data: []byte("profile: [")},
		"other.yaml":        {Data: good},
		"generic-belt.yaml": {Data: good},
	}
	_, err = catalog.Load(folder, fstest.MapFS{"generic-belt.yaml": {Data: good}})
	if err == nil {
		t.Fatal("loaded")
	}
	for _, want := range []string{"a.yaml:2:1", "bogus", "b.yaml:1", `other.yaml:18:1: profile: "generic-belt" stands in a file of another name`, `generic-belt.yaml:18:1: profile: "generic-belt" is there twice`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q:\n%v", want, err)
		}
	}
}
