package catalog_test

import (
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"

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

// Load has run every vector already; here each profile must have one, say where it is from, and
// give back as a simulated machine what its vectors say.
func TestEveryShippedProfile(t *testing.T) {
	c := shipped(t)
	if len(c.Names()) < 13 {
		t.Errorf("only %d profiles are shipped", len(c.Names()))
	}
	for _, p := range c.Profiles() {
		t.Run(p.Name, func(t *testing.T) {
			if len(p.Tests) == 0 || p.Maker == "" || p.Model == "" {
				t.Errorf("tests %d, maker %q, model %q: nothing of it may be missing", len(p.Tests), p.Maker, p.Model)
			}
			for _, v := range p.Tests {
				serve(t, p, v)
			}
		})
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
