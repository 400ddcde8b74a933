package agent_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"steelyard/edge/agent"
	"steelyard/firmware-bridge/serial"
	"steelyard/firmware-bridge/weighbridge"
)

// A weighbridge takes from its model's file what that says, and from the site's file what the site
// says otherwise. A model may also be one of the operator's own.
func TestWeighbridgeByItsIndicator(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if err := os.CopyFS(filepath.Join(dir, "own"), os.DirFS("../../firmware-bridge/catalog/testdata/own")); err != nil {
		t.Fatal(err)
	}
	c, err := agent.Read(write("edge.yaml", `site: xinhua-1
profiles: own
cloud: {broker: "tcp://127.0.0.1:1883", key: "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="}
weighbridges:
  - {device: weighbridge-1, line: {port: /dev/ttyS1}, indicator: mettler-toledo-continuous-plain, unit: kg, division: 20 kg, max: 60 t}
  - {device: weighbridge-2, line: {port: /dev/ttyS2}, indicator: toledo-8217, unit: kg, division: 20 kg, max: 60 t}
  - {device: weighbridge-3, line: {port: /dev/ttyS3, baud: 1200}, indicator: acme-1, division: 20 kg, max: 60 t}
`))
	if err != nil {
		t.Fatal(err)
	}
	type settled struct {
		Line    serial.Config
		Dialect string
		Options weighbridge.Options
		Unit    string
	}
	var got []settled
	for _, w := range c.Weighbridges {
		got = append(got, settled{w.Line, w.Dialect, w.Options, string(w.Unit)})
	}
	layout := weighbridge.Layout{Start: weighbridge.Bytes{2}, End: weighbridge.Bytes{3}, Length: 8,
		Digits: weighbridge.Digits{Span: weighbridge.Span{From: 2, To: 7}}}
	want := []settled{
		{serial.Config{Port: "/dev/ttyS1"}, "mt-cont", weighbridge.Options{Checksum: "none"}, "kg"},
		{serial.Config{Port: "/dev/ttyS2", Baud: 9600, Format: "7E1"}, "toledo8217", weighbridge.Options{}, "kg"},
		{serial.Config{Port: "/dev/ttyS3", Baud: 1200, Format: "7E1"}, "generic", weighbridge.Options{Layout: layout}, "t"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}
