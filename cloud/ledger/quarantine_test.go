package ledger_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"steelyard/cloud/ledger"
)

func TestQuarantine(t *testing.T) {
	l := fresh(t)
	big := bytes.Repeat([]byte{0, 0xFF}, 5<<20)
	r := ledger.Refusal{Site: "xinhua-1", Reason: "size", Why: "batch of 10485760 bytes", Evidence: big}
	for i := range 3 {
		if err := l.Quarantine(t.Context(), received().Add(time.Duration(i)*time.Second), []ledger.Refusal{r}); err != nil {
			t.Fatal(err)
		}
	}
	r.Size, r.Evidence = len(big), big[:ledger.MaxEvidence]
	want := []ledger.Quarantined{{Refusal: r, ID: 1, Seen: received(), Last: received().Add(2 * time.Second), Times: 3}}
	if got, err := l.Quarantined(t.Context(), 10); err != nil || cmp.Diff(want, got) != "" {
		t.Errorf("%v %s", err, cmp.Diff(want, got))
	}
}

func TestFloodPushesOutItsOwn(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	piece := func(site string, i int, alarm bool) ledger.Refusal {
		return ledger.Refusal{Site: site, Reason: "signature", Alarm: alarm, Evidence: fmt.Appendf(nil, "%s %d", site, i)}
	}
	quiet := []ledger.Refusal{piece("ruzhou-1", 1, false), piece("ruzhou-1", 2, true)}
	if err := l.Quarantine(t.Context(), received(), quiet); err != nil {
		t.Fatal(err)
	}
	flood := []ledger.Refusal{piece("xinhua-1", 0, true)}
	for i := range ledger.MaxQuarantine + 150 {
		flood = append(flood, piece("xinhua-1", i+1, false))
	}
	if err := l.Quarantine(t.Context(), received(), flood); err != nil {
		t.Fatal(err)
	}
	kept, err := l.Quarantined(t.Context(), ledger.MaxQuarantine)
	if err != nil {
		t.Fatal(err)
	}
	if len(kept) > ledger.MaxQuarantine || len(kept) < ledger.MaxQuarantine-100 {
		t.Errorf("%d pieces are kept", len(kept))
	}
	found := map[string]int{}
	for _, q := range kept {
		if q.Site == "ruzhou-1" || q.Alarm {
			found[q.Site]++
		}
	}
	if want := (map[string]int{"ruzhou-1": 2, "xinhua-1": 1}); cmp.Diff(want, found) != "" {
		t.Error("the quiet site's evidence or an alarm was pushed out", found)
	}
	counts, err := l.Refusals(t.Context())
	if err != nil || counts["xinhua-1"]["signature"] != ledger.MaxQuarantine+151 {
		t.Errorf("counted %v, %v", counts, err)
	}
}
