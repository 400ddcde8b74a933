package demo

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"steelyard/cloud/ledger"
	"steelyard/cloud/rollup"
	"steelyard/edge/journal"
	"steelyard/firmware-bridge/sim"
	"steelyard/internal/chain"
	"steelyard/internal/record"
	"steelyard/internal/unit"
	"steelyard/internal/wire"
)

// Audit compares three independent books: what the simulated machines and persons really did,
// what the edges wrote down, and what the city's ledger holds.
type Audit struct {
	At     time.Time   `json:"at"`
	Final  bool        `json:"final"` // nothing is under way any more: what is missing is lost
	Exact  bool        `json:"exact"`
	Sites  []SiteAudit `json:"sites"`
	Tonnes []Tonnes    `json:"tonnes"`
	// Faults are the first differences found.
	Faults []Fault `json:"faults"`
}

// SiteAudit is the audit of one site.
type SiteAudit struct {
	Site  string      `json:"site"`
	Kinds []KindAudit `json:"kinds"`
}

// KindAudit counts the facts of one kind. Emitted counts what happened at the machines, or the
// journal's entries for kinds that only the agent itself brings forth.
type KindAudit struct {
	Kind       record.Kind `json:"kind"`
	Emitted    int         `json:"emitted"`
	Journaled  int         `json:"journaled"`
	InLedger   int         `json:"in_ledger"`
	Lost       int         `json:"lost"`
	Duplicated int         `json:"duplicated"`
	Altered    int         `json:"altered"`
	Invented   int         `json:"invented"`
	Pending    int         `json:"pending"` // on its way; none in a final audit
}

// Tonnes compares one category and flow over all sites: the truth with the rolled-up ledger.
type Tonnes struct {
	Category string      `json:"category"`
	Flow     rollup.Flow `json:"flow"`
	Truth    json.Number `json:"truth_kg"`
	Ledger   json.Number `json:"ledger_kg"`
}

// patience is how long a fact may be on its way before an audit that is not final calls it lost.
const patience = 60 * time.Second

// beltSlack is how far apart the truth and a poll of the same totaliser may be in time.
const beltSlack = 3 * time.Second

// evidence is one site's three books, read.
type evidence struct {
	site    string
	truth   []sim.Event
	journal []line
	ledger  []line
}

// line is an entry of a journal or of the ledger.
type line struct {
	wire.Entry
	hash chain.Hash
	body record.Body // nil when the entry is senseless
}

func (l line) ref() record.Ref { return record.Ref{Journal: l.Journal, N: l.N} }

// readJournal reads all journals of one directory.
func readJournal(dir string) ([]line, error) {
	readers, err := journal.Readers(dir)
	if err != nil {
		return nil, err
	}
	var all []line
	for _, r := range readers {
		for stored, err := range r.After(0) {
			if err != nil {
				return nil, err
			}
			e, err := wire.ParseEntry(stored.Line)
			if err != nil {
				return nil, err
			}
			all = append(all, lineOf(e, chain.Of(stored.Line)))
		}
	}
	return all, nil
}

func lineOf(e wire.Entry, hash chain.Hash) line {
	body, err := e.Decode()
	if err != nil {
		body = nil
	}
	return line{e, hash, body}
}

// readLedger reads the records of every site, by site.
func readLedger(ctx context.Context, r *ledger.Reader) (map[string][]line, error) {
	all := map[string][]line{}
	for after := int64(0); ; {
		page, err := r.Entries(ctx, after, 10_000)
		if err != nil || len(page) == 0 {
			return all, err
		}
		for _, p := range page {
			all[p.Site] = append(all[p.Site], lineOf(p.Entry, chain.Of(p.Line)))
		}
		after = page[len(page)-1].Seq
	}
}

// tonnesKey is one row of the comparison of tonnes.
type tonnesKey struct {
	category string
	flow     rollup.Flow
}

// trueTonnes sums the truth. It knows the flows from the lorries' directions, not from the ledger.
func trueTonnes(truth []sim.Event, category func(string, time.Time) (string, error), first map[string]uint64, sums map[tonnesKey]unit.Mass) error {
	add := func(material string, at int64, flow rollup.Flow, mass unit.Mass) error {
		code, err := category(material, time.UnixMicro(at))
		if err != nil {
			return err
		}
		sums[tonnesKey{code, flow}] += mass
		return nil
	}
	for _, e := range truth {
		switch e.Kind {
		case sim.TicketEvent:
			flow := rollup.Collected
			if e.Direction == record.Outbound {
				flow = map[string]rollup.Flow{record.ToReuse: rollup.Recycled, record.ToDisposal: rollup.Residue, record.ToCentre: rollup.Transfer}[e.Destination]
			}
			for _, p := range e.Parts {
				if err := add(p.Material, e.AtUS, flow, p.Mass); err != nil {
					return err
				}
			}
		case sim.BaleEvent:
			if from, known := first[e.Device]; known && e.Bale <= from {
				continue
			}
			if err := add(e.Material, e.AtUS, rollup.Sorted, e.Mass); err != nil {
				return err
			}
		}
	}
	return nil
}

func compareTonnes(truth, ledger map[tonnesKey]unit.Mass) (rows []Tonnes, equal bool) {
	equal = true
	all := maps.Clone(truth)
	maps.Copy(all, ledger)
	keys := slices.SortedFunc(maps.Keys(all), func(x, y tonnesKey) int {
		return cmp.Or(cmp.Compare(x.flow, y.flow), cmp.Compare(x.category, y.category))
	})
	for _, k := range keys {
		equal = equal && truth[k] == ledger[k]
		rows = append(rows, Tonnes{k.category, k.flow, json.Number(truth[k].KG()), json.Number(ledger[k].KG())})
	}
	return rows, equal
}

// differences names the rows that are not equal.
func differences(rows []Tonnes) (faults []Fault) {
	for _, r := range rows {
		if r.Truth != r.Ledger {
			faults = append(faults, faultOf("", "tonnes", with{"flow": r.Flow, "category": r.Category, "truth": r.Truth, "ledger": r.Ledger}))
		}
	}
	return faults
}

// bad counts what must be 0.
func (k KindAudit) bad() int { return k.Lost + k.Duplicated + k.Altered + k.Invented }

// Print writes the audit for a person.
func (a *Audit) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "site\tkind\temitted\tjournaled\tin ledger\tlost\tduplicated\taltered\tinvented\tpending\t")
	for _, s := range a.Sites {
		for _, k := range s.Kinds {
			fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t\n", s.Site, k.Kind, k.Emitted, k.Journaled, k.InLedger, k.Lost, k.Duplicated, k.Altered, k.Invented, k.Pending)
		}
	}
	fmt.Fprintln(t, "\t\t\t\t\t\t\t\t\t\t")
	fmt.Fprintln(t, "flow\tcategory\ttruth kg\tledger kg\t\t\t\t\t\t\t")
	for _, r := range a.Tonnes {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t\t\t\t\t\t\t\n", r.Flow, r.Category, r.Truth, r.Ledger)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	verdict := "the audit is exact"
	if !a.Exact {
		verdict = "THE AUDIT IS NOT EXACT"
		for _, f := range a.Faults {
			verdict += "\n" + f.String()
		}
	}
	_, err := fmt.Fprintln(w, verdict)
	return err
}
