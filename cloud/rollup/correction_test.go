package rollup_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"steelyard/cloud/ledger/ledgertest"
	"steelyard/cloud/rollup"
	"steelyard/internal/day"
	"steelyard/internal/record"
	"steelyard/internal/unit"
	"steelyard/internal/wire"
)

func void(target record.Ref) *record.Correction {
	return &record.Correction{Target: target, Action: "void", Reason: "wrong lorry", Operator: "li", Second: "wang"}
}

func amend(target record.Ref, body record.Body) *record.Correction {
	text, err := wire.EncodeBody(body)
	if err != nil {
		panic(err)
	}
	c := void(target)
	c.Action, c.Replacement = "amend", string(text)
	return c
}

func TestVoid(t *testing.T) {
	b := newBench(t, "xinhua-1")
	j := ledgertest.New("xinhua-1", 1)
	at := ledgertest.Start() // 07:30 of the 23rd in China
	first := j.Write(at, "", ticket(record.Inbound, "", record.Part{Material: "steel", Mass: 5}, record.Part{Material: "glass", Mass: 7}))
	second := j.Write(at, "", ticket(record.Outbound, record.ToReuse, record.Part{Material: "steel", Mass: 3}))
	voided := j.Write(at.Add(72*time.Hour), "", void(first))
	j.Write(at.Add(73*time.Hour), "", void(first))
	j.Write(at.Add(74*time.Hour), "", void(voided))
	j.Write(at.Add(75*time.Hour), "", void(record.Ref{Journal: j.ID, N: 99}))
	b.post(j.Batch(1, j.Last()))
	if diff := cmp.Diff(sums{"xinhua-1 steel recycled": 3}, b.agree()); diff != "" {
		t.Error(diff)
	}
	b.leftOut("already corrected by entry 3", "a void, which can't be taken back", "was written after it")
	date, err := day.Parse("2026-11-23")
	if err != nil {
		t.Fatal(err)
	}
	got, err := b.Day(t.Context(), date, "xinhua-1")
	if err != nil {
		t.Fatal(err)
	}
	want := []rollup.Total{
		{Site: "xinhua-1", Category: "glass", Flow: rollup.Collected},
		{Site: "xinhua-1", Category: "steel", Flow: rollup.Collected},
		{Site: "xinhua-1", Category: "steel", Flow: rollup.Recycled, Mass: 3, Count: 1},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("the reversal stands at the time of the original:", diff)
	}
	trail, err := b.PostingsOf(t.Context(), "xinhua-1", first)
	if err != nil || len(trail) != 4 || trail[2].Mass != -5 || trail[2].Ref != voided || trail[2].Target != first || !trail[2].At.Equal(at) {
		t.Errorf("%+v %v", trail, err)
	}
	if p, err := b.PostingsOf(t.Context(), "xinhua-1", second); err != nil || len(p) != 1 {
		t.Errorf("%+v %v", p, err)
	}
}

func TestAmendUponAmendment(t *testing.T) {
	b := newBench(t, "xinhua-1")
	j := ledgertest.New("xinhua-1", 1)
	at := ledgertest.Start()
	inbound := func(mass unit.Mass) *record.Ticket {
		return ticket(record.Inbound, "", record.Part{Material: "steel", Mass: mass})
	}
	first := j.Write(at, "", inbound(10))
	second := j.Write(at, "", amend(first, inbound(20)))
	third := j.Write(at, "", amend(second, inbound(30)))
	j.Write(at, "", amend(second, inbound(40)))
	nonsense := amend(third, inbound(50))
	nonsense.Replacement = `{"net":-50}`
	j.Write(at, "", nonsense)
	outside := amend(first, inbound(60))
	outside.Target.Journal = strings.Repeat("ab", 16)
	waiting := j.Write(at, "", outside)
	j.Write(at, "", amend(waiting, inbound(70)))
	b.post(j.Batch(1, j.Last()))
	if diff := cmp.Diff(sums{"xinhua-1 steel collected": 30}, b.agree()); diff != "" {
		t.Error(diff)
	}
	b.leftOut("already corrected by entry 3", "amendment: invalid", "not in force")
	j.Write(at, "", void(third))
	b.post(j.Batch(j.Last(), j.Last()))
	if diff := cmp.Diff(sums{}, b.agree()); diff != "" {
		t.Error(diff)
	}
}

func TestCorrectionBeforeItsTarget(t *testing.T) {
	// The disk was changed; what was left on the old one arrives last.
	b := newBench(t, "xinhua-1")
	old, young := ledgertest.New("xinhua-1", 1), ledgertest.New("xinhua-1", 2)
	first := old.Write(ledgertest.Start(), "", ticket(record.Inbound, "", record.Part{Material: "steel", Mass: 10}))
	second := old.Write(ledgertest.Start(), "", ticket(record.Inbound, "", record.Part{Material: "glass", Mass: 20}))
	bad := old.WriteRaw(ledgertest.Start(), "", record.KindTicket, []byte(`{"net":1}`))
	young.Write(ledgertest.Start(), "", void(first))
	young.Write(ledgertest.Start(), "", amend(second, ticket(record.Inbound, "", record.Part{Material: "copper", Mass: 2})))
	young.Write(ledgertest.Start(), "", amend(bad, ticket(record.Inbound, "", record.Part{Material: "battery", Mass: 1})))
	b.post(young.Batch(1, 3))
	if diff := cmp.Diff(sums{}, b.agree()); diff != "" {
		t.Error(diff)
	}
	b.post(old.Batch(1, 3))
	want := sums{"xinhua-1 copper collected": 2, "xinhua-1 battery collected": 1}
	if diff := cmp.Diff(want, b.agree()); diff != "" {
		t.Error(diff)
	}
	before := b.postings()
	if err := b.Rebuild(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, b.postings()); diff != "" {
		t.Error("rebuilt:", diff)
	}
}
