package rollup

import (
	"fmt"
	"hash/fnv"
	"time"

	"steelyard/internal/record"
	"steelyard/internal/unit"
	"steelyard/internal/wire"
)

// Flow is one of the tonnages of the trade. They are different quantities and are never added up.
type Flow string

// The flows.
const (
	Collected Flow = "collected" // 回收量: net of inbound tickets
	Sorted    Flow = "sorted"    // 分拣量: bales and loose output
	Recycled  Flow = "recycled"  // 循环利用量: net of outbound tickets to reuse
	Residue   Flow = "residue"   // 残渣: net of outbound tickets to disposal
	Transfer  Flow = "transfer"  // 调拨: net of outbound tickets to another centre
)

// Posting is one mass that one entry brings to one category and flow. A reversal has a negative
// mass and points to the entry that caused it.
type Posting struct {
	Seq      int64 // position in the ledger's order of postings
	Trail    int64 // fingerprint of all postings up to this one
	Site     string
	Ref      record.Ref
	Part     int // index within the entry, when it carries several materials
	At       time.Time
	Category string // one of the ten categories
	Material string // category or category/grade, as recorded
	Flow     Flow
	Mass     unit.Mass
	Target   record.Ref // of a reversal: the entry whose mass it takes back; zero otherwise
}

// Place is how far a reader has read the postings: up to Seq, in an order of which Trail is the
// fingerprint. The zero Place is before the first.
type Place struct{ Seq, Trail int64 }

// Place is the place of a reader that has read up to this posting.
func (p Posting) Place() Place { return Place{p.Seq, p.Trail} }

// trailAfter returns the trail of a posting that comes after the given one.
func (p Posting) trailAfter(trail int64) int64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %s %s %d %d %d %s %s %s %d %s %d", trail, p.Site, p.Ref.Journal, p.Ref.N, p.Part, p.At.UnixMicro(),
		p.Category, p.Material, p.Flow, int64(p.Mass), p.Target.Journal, p.Target.N)
	return int64(h.Sum64())
}

// Category finds the category of a material at the time of an entry.
type Category func(material string, at time.Time) (code string, err error)

// Postings returns what an entry brings by itself; most kinds bring nothing. An unweighed bale has no
// mass to post, and corrections depend on what they correct: see [Reversal]. An error says why the
// entry can't be posted; then nothing of it is.
func Postings(e wire.Entry, body record.Body, category Category) ([]Posting, error) {
	var postings []Posting
	post := func(material string, flow Flow, mass unit.Mass) error {
		if mass == 0 {
			return nil
		}
		code, err := category(material, e.At)
		if err != nil {
			return err
		}
		postings = append(postings, Posting{Site: e.Site, Ref: record.Ref{Journal: e.Journal, N: e.N}, Part: len(postings),
			At: e.At, Category: code, Material: material, Flow: flow, Mass: mass})
		return nil
	}
	switch b := body.(type) {
	case *record.Ticket:
		flow, err := flowOf(b)
		if err != nil {
			return nil, err
		}
		for _, part := range b.Parts {
			if err := post(part.Material, flow, part.Mass); err != nil {
				return nil, err
			}
		}
	case *record.Bale:
		if !b.Weighed {
			return nil, nil
		}
		if err := post(b.Material, Sorted, b.Mass); err != nil {
			return nil, err
		}
	}
	return postings, nil
}

func flowOf(t *record.Ticket) (Flow, error) {
	if t.Direction == record.Inbound {
		return Collected, nil
	}
	switch t.Destination {
	case record.ToReuse:
		return Recycled, nil
	case record.ToDisposal:
		return Residue, nil
	case record.ToCentre:
		return Transfer, nil
	}
	return "", fmt.Errorf("ticket %.40q goes %.20q to %.20q: no flow", t.Number, t.Direction, t.Destination)
}

// Reversal takes postings back exactly: the same site, time, category and flow, on behalf of the
// correcting entry. Postings that are reversals themselves stay.
func Reversal(of []Posting, by record.Ref) []Posting {
	var postings []Posting
	for _, p := range of {
		if p.Target != (record.Ref{}) {
			continue
		}
		p.Target, p.Ref, p.Part, p.Mass, p.Seq = p.Ref, by, len(postings), -p.Mass, 0
		postings = append(postings, p)
	}
	return postings
}
