package ledger_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"steelyard/cloud/ledger"
	"steelyard/cloud/ledger/ledgertest"
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
		reason := ledger.ReasonConflict
		if !alarm {
			reason = "form"
		}
		return ledger.Refusal{Site: site, Reason: reason, Alarm: alarm, Evidence: fmt.Appendf(nil, "%s %d", site, i)}
	}
	quiet := []ledger.Refusal{piece("ruzhou-1", 1, false), piece("ruzhou-1", 2, true)}
	if err := l.Quarantine(t.Context(), received(), quiet); err != nil {
		t.Fatal(err)
	}
	flood := []ledger.Refusal{piece("xinhua-1", 0, true)}
	for i := range ledger.MaxQuarantine + 150 {
		flood = append(flood, piece("xinhua-1", i+1, false))
	}
	for i := range 100 { // forged batches are alarms, and push out no proof of a fork
		flood = append(flood, ledger.Refusal{Site: "xinhua-1", Reason: "signature", Alarm: true, Evidence: fmt.Append(nil, i)})
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
		if q.Site == "ruzhou-1" || q.Reason == ledger.ReasonConflict {
			found[q.Site]++
		}
	}
	if want := (map[string]int{"ruzhou-1": 2, "xinhua-1": 1}); cmp.Diff(want, found) != "" {
		t.Error("the quiet site's evidence or an alarm was pushed out", found)
	}
	counts, err := l.Refusals(t.Context())
	if err != nil || counts["xinhua-1"]["form"] != ledger.MaxQuarantine+150 {
		t.Errorf("counted %v, %v", counts, err)
	}
}

// A forked batch of 300 entries is one row, and what else was refused stands beside it.
func TestOneRowForACause(t *testing.T) {
	t.Parallel()
	l := fresh(t, "xinhua-1")
	j := ledgertest.New("xinhua-1", 1).Shift(10)
	fork := j.Fork(5, 9).Shift(300)
	post(t, l, j.Batch(1, 10))
	post(t, l, fork.Batch(1, fork.Last()))
	if err := l.Quarantine(t.Context(), received(), []ledger.Refusal{
		{Site: "xinhua-1", Reason: "form", Why: "no batch", Evidence: []byte("1")},
		{Site: "xinhua-1", Journal: "whatever it says", Reason: "form", Why: "no batch either", Evidence: []byte("2")},
		{Site: "xinhua-1", Journal: "a", Reason: "signature", Alarm: true, Evidence: []byte("1")},
		{Site: "xinhua-1", Journal: "b", Reason: "signature", Alarm: true, Evidence: []byte("2")},
	}); err != nil {
		t.Fatal(err)
	}
	causes, err := l.Causes(t.Context(), 100)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range causes {
		got = append(got, fmt.Sprintf("%s of %d pieces, alarm %v, %d to %d, %s", c.Reason, c.Pieces, c.Alarm, c.From, c.To, c.Why))
	}
	want := []string{
		"signature of 2 pieces, alarm true, 0 to 0, ",
		fmt.Sprintf("conflict of %d pieces, alarm true, 6 to %d, entry 6 is known with another hash", fork.Last()-5, fork.Last()),
		"form of 2 pieces, alarm false, 0 to 0, no batch either",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}
