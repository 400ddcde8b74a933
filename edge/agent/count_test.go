package agent_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"steelyard/firmware-bridge/sim"
	"steelyard/internal/record"
)

// The ten lines that CONTRIBUTING.md shows were called good and never made a bale.
func TestTheTenLinesOfContributingMakeABale(t *testing.T) {
	text, err := os.ReadFile("../../CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	_, profile, _ := strings.Cut(string(text), "```yaml\n")
	profile, _, _ = strings.Cut(profile, "```")
	machine := regexp.MustCompile("`({device: baler-1,[^`]*})`").FindSubmatch(text)
	if !strings.HasPrefix(profile, "profile: acme-b100 ") || machine == nil {
		t.Fatalf("CONTRIBUTING.md shows no profile or no machine: %.60q", profile)
	}

	registers := sim.NewRegisters(12) // 40011 and 40012 are 10 and 11
	count := func(n uint16) { registers.Update(func(w []uint16) { w[10], w[11] = 0, n }) }
	count(42)
	server, err := sim.ServeModbusTCP("127.0.0.1:0", sim.Units{1: registers}, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })

	s := newSite(t)
	if err := os.Mkdir(filepath.Join(s.dir, "models"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "models", "acme-b100.yaml"), []byte(profile), 0o600); err != nil {
		t.Fatal(err)
	}
	s.configure(fmt.Sprintf("profiles: models\nbuses:\n  - link: tcp://%s\n    machines:\n      - %s\n", server.Addr(), machine[1]))
	r := s.start()
	bales := func() uint64 {
		lines := into[struct {
			Lines []struct {
				Device string
				Bales  uint64
			}
		}](t, r.get("/api/lines"))
		for _, l := range lines.Lines {
			if l.Device == "baler-1" {
				return l.Bales
			}
		}
		return 0
	}
	r.until("the counter is known", func() bool { return bales() == 42 })
	count(43)
	r.until("the bale is recorded", func() bool { return bales() == 43 })
	// What is not counted is shown to people, and that it is over.
	notes := func() string { return r.get("/api/lines").Body }
	count(0)
	r.until("a zero is noted", func() bool { return strings.Contains(notes(), `"code":"counter-lower"`) })
	count(43)
	r.until("the note is over", func() bool { return !strings.Contains(notes(), `"over_ms":0`) })
	r.end()
	for _, body := range s.records(s.data()) {
		if b, ok := body.(*record.Bale); ok && (b.Number != 43 || b.Material != "paper/occ" || b.Weighed || b.Mass != 0) {
			t.Errorf("the bale is recorded as %+v", b)
		}
	}
}
