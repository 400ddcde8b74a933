package agent

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"steelyard/firmware-bridge/catalog"
	"steelyard/internal/record"
)

// Every built-in profile is of the kind that its makers would say; a machine whose profile changes
// its kind begins new series in the city's InfluxDB.
func TestKindsOfMachines(t *testing.T) {
	known, err := catalog.Open("")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, name := range []string{"ssc-baler-v1", "generic-belt", "siemens-bw500", "laumas-tlb", "eastron-sdm630", "acrel-adl3000", "danfoss-fc51", "generic-pulse"} {
		p, err := known.Find(name)
		if err != nil {
			t.Fatal(err)
		}
		got[name] = kindOf(p)
	}
	want := map[string]string{"ssc-baler-v1": record.Baler, "generic-belt": record.BeltScale, "siemens-bw500": record.BeltScale, "laumas-tlb": record.Scale,
		"eastron-sdm630": record.Meter, "acrel-adl3000": record.Meter, "danfoss-fc51": record.Drive, "generic-pulse": record.BeltScale}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want -, got +\n%s", diff)
	}
}
