package demo

import (
	"slices"
	"time"

	"steelyard/firmware-bridge/sim"
	"steelyard/internal/chain"
	"steelyard/internal/record"
)

// auditor makes the audit of one site.
type auditor struct {
	evidence
	now    time.Time
	final  bool
	kinds  map[record.Kind]*KindAudit
	faults []Fault
	lost   map[record.Ref]bool // entries already called lost
}

func audit(b evidence, now time.Time, final bool) *auditor {
	a := &auditor{evidence: b, now: now, final: final, kinds: map[record.Kind]*KindAudit{}, lost: map[record.Ref]bool{}}
	a.entries()
	a.weighings()
	a.acknowledged(record.KindOperator, sim.OperatorEvent)
	a.acknowledged(record.KindTicket, sim.TicketEvent)
	a.bales()
	a.belts()
	for kind, k := range a.kinds {
		if !slices.Contains(observed(), kind) {
			k.Emitted = k.Journaled
		}
	}
	return a
}

// observed are the kinds of which the truth has an event for each fact.
func observed() []record.Kind {
	return []record.Kind{record.KindWeighing, record.KindOperator, record.KindTicket, record.KindBale}
}

func (a *auditor) kind(k record.Kind) *KindAudit {
	if a.kinds[k] == nil {
		a.kinds[k] = &KindAudit{Kind: k}
	}
	return a.kinds[k]
}

func (a *auditor) fault(code string, values with) {
	if len(a.faults) < 20 {
		a.faults = append(a.faults, faultOf(a.site, code, values))
	}
}

// missing counts what is not in the ledger: lost, or still on its way.
func (a *auditor) missing(k record.Kind, at time.Time, code string, values with) {
	if !a.final && a.now.Sub(at) < patience {
		a.kind(k).Pending++
		return
	}
	a.kind(k).Lost++
	a.fault(code, values)
}

// unexpected counts what is in the ledger and not in the truth, unless the truth is about to say it.
func (a *auditor) unexpected(k record.Kind, at time.Time, code string, values with) {
	if !a.final && a.now.Sub(at) < patience {
		a.kind(k).Pending++
		return
	}
	a.kind(k).Invented++
	a.fault(code, values)
}

// entries compares journal and ledger by identity and digest.
func (a *auditor) entries() {
	journal := map[record.Ref]chain.Hash{}
	for _, l := range a.journal {
		a.kind(l.Kind).Journaled++
		journal[l.ref()] = l.hash
	}
	ledger := map[record.Ref]bool{}
	for _, l := range a.ledger {
		k := a.kind(l.Kind)
		k.InLedger++
		if ledger[l.ref()] {
			k.Duplicated++
			a.fault("twice-in-ledger", with{"kind": l.Kind, "n": l.N})
		}
		ledger[l.ref()] = true
		switch hash, ok := journal[l.ref()]; {
		case !ok:
			a.unexpected(l.Kind, l.At, "nobody-wrote", with{"kind": l.Kind, "n": l.N, "journal": l.Journal})
		case hash != l.hash:
			k.Altered++
			a.fault("differs", with{"kind": l.Kind, "n": l.N})
		}
	}
	for _, l := range a.journal {
		if !ledger[l.ref()] {
			a.lost[l.ref()] = true
			a.missing(l.Kind, l.At, "not-in-ledger", with{"kind": l.Kind, "n": l.N})
		}
	}
}

func (a *auditor) of(k record.Kind) (all []line) {
	for _, l := range a.ledger {
		if l.Kind == k {
			all = append(all, l)
		}
	}
	return all
}

func (a *auditor) events(k sim.EventKind) (all []sim.Event) {
	for _, e := range a.truth {
		if e.Kind == k {
			all = append(all, e)
		}
	}
	return all
}

// weighings: each visit of a lorry to a deck has one weighing with the weight that was displayed.
func (a *auditor) weighings() {
	k := a.kind(record.KindWeighing)
	visits := a.events(sim.WeighingEvent)
	k.Emitted = len(visits)
	found := make([]int, len(visits))
	for _, l := range a.of(record.KindWeighing) {
		at := l.At.UnixMicro()
		i := slices.IndexFunc(visits, func(v sim.Event) bool { return v.Device == l.Device && v.FromUS <= at && at <= v.ToUS })
		w, ok := l.body.(*record.Weighing)
		switch {
		case i < 0 || !ok:
			a.unexpected(record.KindWeighing, l.At, "no-visit", with{"n": l.N, "device": l.Device, "time": l.At.Format(time.TimeOnly)})
			continue
		case w.Mass != visits[i].Mass || w.Text != visits[i].Text:
			k.Altered++
			a.fault("other-weight", with{"n": l.N, "said": w.Text, "shown": visits[i].Text})
		}
		if found[i]++; found[i] > 1 {
			k.Duplicated++
			a.fault("weighed-again", with{"visit": visits[i].Key, "n": l.N})
		}
	}
	for i, v := range visits {
		if found[i] == 0 && !a.journaledAt(v) {
			a.missing(record.KindWeighing, time.UnixMicro(v.ToUS), "no-weighing", with{"visit": v.Key, "shown": v.Text})
		}
	}
}

// journaledAt reports whether the journal has the visit's weighing and entries has counted it already.
func (a *auditor) journaledAt(v sim.Event) bool {
	return slices.ContainsFunc(a.journal, func(l line) bool {
		at := l.At.UnixMicro()
		return l.Kind == record.KindWeighing && l.Device == v.Device && v.FromUS <= at && at <= v.ToUS && a.lost[l.ref()]
	})
}

// acknowledged: what the edge confirmed to the operator is in the ledger, as confirmed.
func (a *auditor) acknowledged(kind record.Kind, event sim.EventKind) {
	k := a.kind(kind)
	events := a.events(event)
	k.Emitted = len(events)
	byPassage := map[string]line{}
	for _, l := range a.of(kind) {
		passage, counts := passageOf(l.body)
		if !counts {
			continue
		}
		if _, ok := byPassage[passage]; ok {
			k.Duplicated++
			a.fault("two-entries", with{"passage": passage, "kind": kind})
		}
		byPassage[passage] = l
	}
	for _, e := range events {
		l, ok := byPassage[e.Key]
		delete(byPassage, e.Key)
		switch {
		case !ok && a.lost[record.Ref{Journal: e.Journal, N: e.N}]:
		case !ok:
			a.missing(kind, time.UnixMicro(e.AtUS), "confirmed-lost", with{"kind": kind, "passage": e.Key})
		case l.Journal != e.Journal || l.N != e.N || l.hash.String() != e.Hash:
			k.Altered++
			a.fault("other-digest", with{"kind": kind, "passage": e.Key, "n": e.N})
		default:
			if t, ok := l.body.(*record.Ticket); ok && !sameTicket(t, e) {
				k.Altered++
				a.fault("other-ticket", with{"number": t.Number, "said": t.Net, "vehicle": t.Vehicle, "lorry": e.Vehicle, "mass": e.Mass})
			}
			if o, ok := l.body.(*record.Operator); ok && (o.Vehicle != e.Vehicle || o.Direction != e.Direction || o.Material != e.Material) {
				k.Altered++
				a.fault("other-act", with{"passage": e.Key, "vehicle": o.Vehicle, "direction": o.Direction, "material": o.Material,
					"lorry": e.Vehicle, "way": e.Direction, "load": e.Material})
			}
		}
	}
	for passage, l := range byPassage {
		a.unexpected(kind, l.At, "happened-nowhere", with{"kind": kind, "passage": passage})
	}
}

func passageOf(b record.Body) (passage string, counts bool) {
	switch b := b.(type) {
	case *record.Ticket:
		return b.Passage, true
	case *record.Operator:
		return b.Passage, b.Action == record.ActWeighIn
	}
	return "", false
}

func sameTicket(t *record.Ticket, e sim.Event) bool {
	return t.Net == e.Mass && t.Gross == e.Gross && t.Tare == e.Tare && t.Number == e.Number && t.Direction == e.Direction &&
		t.Vehicle == e.Vehicle && t.Destination == e.Destination && slices.Equal(t.Parts, e.Parts)
}

// bales: every bale that was ejected after the baler was first seen has its record.
func (a *auditor) bales() {
	k := a.kind(record.KindBale)
	first := map[string]uint64{}
	for _, l := range a.journal {
		if d, ok := l.body.(*record.Device); ok && d.State == "counter" {
			if _, known := first[l.Device]; !known {
				first[l.Device] = d.Counter
			}
		}
	}
	type key struct {
		baler  string
		number uint64
	}
	found := map[key]line{}
	for _, l := range a.of(record.KindBale) {
		b, ok := l.body.(*record.Bale)
		if !ok {
			continue
		}
		id := key{l.Device, b.Number}
		if _, twice := found[id]; twice {
			k.Duplicated++
			a.fault("bale-twice", with{"number": b.Number, "device": l.Device})
		}
		found[id] = l
	}
	for _, e := range a.events(sim.BaleEvent) {
		if from, known := first[e.Device]; known && e.Bale <= from {
			continue // before the record of this baler began
		}
		k.Emitted++
		id := key{e.Device, e.Bale}
		l, ok := found[id]
		delete(found, id)
		if !ok {
			if !slices.ContainsFunc(a.journal, func(l line) bool {
				b, ok := l.body.(*record.Bale)
				return ok && l.Device == e.Device && b.Number == e.Bale
			}) {
				a.missing(record.KindBale, time.UnixMicro(e.AtUS), "bale-unrecorded", with{"number": e.Bale, "device": e.Device})
			}
			continue
		}
		if b := l.body.(*record.Bale); b.Mass != e.Mass || b.Material != e.Material {
			k.Altered++
			a.fault("bale-differs", with{"number": b.Number, "device": e.Device, "said": b.Mass, "material": b.Material, "mass": e.Mass, "load": e.Material})
		}
	}
	for id, l := range found {
		a.unexpected(record.KindBale, l.At, "bale-invented", with{"number": id.number, "device": id.baler})
	}
}

// belts: every standing is one that the totaliser really had at that time, and the last one is what
// the belt has carried in all.
func (a *auditor) belts() {
	truth := map[string][]sim.Event{}
	for _, e := range a.events(sim.BeltEvent) {
		truth[e.Device] = append(truth[e.Device], e)
	}
	byBelt := map[string][]line{}
	for _, l := range a.of(record.KindBelt) {
		if _, ok := l.body.(*record.Belt); ok {
			byBelt[l.Device] = append(byBelt[l.Device], l)
		}
	}
	for name, entries := range byBelt {
		a.belt(name, truth[name], entries)
	}
	for name, events := range truth {
		if len(byBelt[name]) == 0 {
			a.unseen(name, events)
		}
	}
}

// unseen: a belt that carried something and of which nothing at all was recorded. What was recorded
// and has not arrived is counted by entries.
func (a *auditor) unseen(name string, truth []sim.Event) {
	moved := slices.IndexFunc(truth, func(e sim.Event) bool { return e.Counts != truth[0].Counts })
	if moved >= 0 && !slices.ContainsFunc(a.journal, func(l line) bool { return l.Kind == record.KindBelt && l.Device == name }) {
		a.missing(record.KindBelt, time.UnixMicro(truth[moved].AtUS), "belt-unseen", with{"device": name, "end": truth[len(truth)-1].Counts})
	}
}

func (a *auditor) belt(name string, truth []sim.Event, entries []line) {
	k := a.kind(record.KindBelt)
	if len(truth) == 0 {
		for _, l := range entries {
			a.unexpected(record.KindBelt, l.At, "belt-unknown", with{"device": name})
		}
		return
	}
	for _, l := range entries {
		if b := l.body.(*record.Belt); b.Modulus != truth[0].Modulus || b.Step != truth[0].Step || b.Standing%b.Step != 0 {
			k.Altered++
			a.fault("belt-form", with{"device": name, "step": truth[0].Step, "modulus": truth[0].Modulus, "n": l.N, "said": b.Standing,
				"other_step": b.Step, "other_modulus": b.Modulus})
			return // nothing that follows could be compared
		}
	}
	low, _ := countsAround(truth, entries[0].At)
	origin := entries[0].body.(*record.Belt)
	// The first standing is 0 at a register value near what the truth says; wraps before it are the
	// belt's own past.
	ahead := ((origin.Raw-low)%origin.Modulus + origin.Modulus) % origin.Modulus
	if ahead > origin.Modulus/2 {
		ahead -= origin.Modulus
	}
	base := low + ahead
	for _, l := range entries {
		b := l.body.(*record.Belt)
		counts := base + int64(b.Standing/b.Step)
		low, high := countsAround(truth, l.At)
		if end := time.UnixMicro(truth[len(truth)-1].AtUS); !a.final && end.Before(l.At.Add(beltSlack)) {
			high = max(high, counts) // the truth is not written up to here yet
		}
		if counts%b.Modulus != b.Raw || counts < low || counts > high {
			k.Altered++
			a.fault("belt-standing", with{"device": name, "low": low, "high": high, "time": l.At.Format(time.TimeOnly), "n": l.N, "said": counts})
		}
	}
	last, end := entries[len(entries)-1].body.(*record.Belt), truth[len(truth)-1]
	if got := base + int64(last.Standing/last.Step); a.final && got != end.Counts {
		k.Lost++
		a.fault("belt-end", with{"device": name, "end": end.Counts, "said": got})
	}
}

// countsAround bounds what a totaliser showed around a time.
func countsAround(truth []sim.Event, at time.Time) (low, high int64) {
	from, to := at.Add(-beltSlack).UnixMicro(), at.Add(beltSlack).UnixMicro()
	low, high = truth[0].Counts, truth[0].Counts
	for _, e := range truth {
		if e.AtUS <= from {
			low = e.Counts
		}
		high = max(high, e.Counts)
		if e.AtUS > to {
			break
		}
	}
	return low, high
}
