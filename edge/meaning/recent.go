package meaning

import (
	"slices"
	"time"

	"steelyard/internal/unit"
)

// Seen is what a deck showed at a time. Without a mass it showed none that is the load.
type Seen struct {
	At      time.Time
	Mass    unit.Mass
	HasMass bool
}

// The curve beside a weight: how far back it goes, and how many points of it are kept.
const (
	recentFor   = 30 * time.Second
	recentEvery = 200 * time.Millisecond
)

// see keeps what the newest frame shows. A moment without a mass is never left out.
func (d *deck) see() {
	n := Seen{d.frame.At, d.mass, d.measured}
	if k := len(d.seen); k > 0 && n.HasMass == d.seen[k-1].HasMass && n.At.Sub(d.seen[k-1].At) < recentEvery {
		return
	}
	first := slices.IndexFunc(d.seen, func(s Seen) bool { return n.At.Sub(s.At) <= recentFor })
	if first < 0 {
		first = len(d.seen)
	}
	d.seen = append(slices.Delete(d.seen, 0, first), n)
}

// Recent is what each deck showed in the half minute before a time, oldest first.
func (s *Site) Recent(now time.Time) map[string][]Seen {
	all := map[string][]Seen{}
	for name, d := range s.decks {
		for _, n := range d.seen {
			if age := now.Sub(n.At); age >= 0 && age <= recentFor {
				all[name] = append(all[name], n)
			}
		}
	}
	return all
}
