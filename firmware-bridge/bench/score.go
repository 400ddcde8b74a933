package bench

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/weighbridge"
	"steelyard/internal/unit"
)

// candidate is a dialect that explains what a line brought.
type candidate struct {
	Dialect   string   `json:"dialect"`
	Options   string   `json:"options"` // as in edge.yaml, without the braces
	Also      []string `json:"also"`    // other options that explain it as well
	Makes     string   `json:"makes"`
	Baud      int      `json:"baud"`
	Format    string   `json:"format"`
	DTR       string   `json:"dtr"`    // on or off: bytes came only with the control line so; empty: as the driver raises it
	RTS       string   `json:"rts"`    // as DTR
	Asked     bool     `json:"asked"`  // it answers and does not send by itself
	Models    []string `json:"models"` // of the catalogue that speak it with these options
	Frames    int      `json:"frames"`
	Checked   bool     `json:"checked"`            // a check guards every digit of a frame
	Score     int      `json:"score"`              // 3 a checked frame, 1 another, -2 a byte of no frame
	Explained int      `json:"explained_permille"` // bytes that belong to frames
	Weights   []string `json:"weights"`            // seen, the latest last
	Unit      string   `json:"unit"`               // empty: the frames do not say
	Kind      string   `json:"kind"`               // of the latest weight; empty: the frames do not say
	Rest      string   `json:"rest"`               // stable, moving, or both; empty: the frames do not say
	Zero      string   `json:"zero"`               // yes, no, or both; empty: the frames do not say

	layout string // model whose file describes the frames; empty for a dialect
	seen   []unit.Decimal
	last   device.Weight
}

// What makes a candidate credible. A dialect without any check explains rubbish now and then, but
// not five times in a row and nearly without a rest.
const (
	leastFrames    = 5
	leastExplained = 900 // permille
	worthHearing   = 500 // permille: with frames among so few bytes, two that were torn weigh too much
	checkedFrame   = 3
	plainFrame     = 1
	strayByte      = -2
	mostSeen       = 64
)

// rank scores every dialect over the pieces of one line, or the one model that is looked for, and
// returns the credible ones, best first.
func (s *search) rank(pieces [][]byte) []candidate {
	all := []candidate{}
	if s.model != nil {
		d, _ := s.model.Speaks()
		if c, ok := score(d, s.model.Options, pieces); ok {
			c.Models = []string{s.model.Name}
			all = append(all, c)
		}
		return all
	}
	for _, d := range weighbridge.Dialects() {
		if d.Name == "generic" || s.only != "" && d.Name != s.only {
			continue // a layout is written, not found
		}
		var best *candidate
		for _, o := range variants(d) {
			c, ok := score(d, o, pieces)
			switch {
			case !ok:
			case best == nil || c.Score > best.Score:
				best = &c
			case c.Score == best.Score && c.agrees(*best) && !strings.Contains(c.Options, ", "):
				best.Also = append(best.Also, c.Options)
			}
		}
		if best != nil {
			all = append(all, *best)
		}
	}
	all = append(all, s.layouts(pieces, all)...)
	for i := range all {
		s.name(&all[i], pieces)
	}
	slices.SortStableFunc(all, func(a, b candidate) int { return cmp.Compare(b.Score, a.Score) })
	return all
}

// fewBytes are too few to say that no dialect explains them.
const fewBytes = 12 * leastFrames

// undecided reports whether the bytes of a line allow no judgement yet: they are few, or a dialect
// explains them and has only not shown enough frames.
func (s *search) undecided(pieces [][]byte) bool {
	came := 0
	for _, p := range pieces {
		came += len(p)
	}
	if came == 0 || len(s.rank(pieces)) > 0 {
		return false
	}
	if came < fewBytes {
		return true
	}
	explains := func(d weighbridge.Dialect, o weighbridge.Options) bool {
		c, _ := score(d, o, pieces)
		return c.Frames > 0 && c.Frames < leastFrames && c.Explained >= worthHearing
	}
	for _, m := range s.models {
		if d, _ := m.Speaks(); (d.Name == "generic" || s.model != nil) && explains(d, m.Options) {
			return true
		}
	}
	return s.model == nil && slices.ContainsFunc(weighbridge.Dialects(), func(d weighbridge.Dialect) bool {
		return d.Name != "generic" && (s.only == "" || s.only == d.Name) &&
			slices.ContainsFunc(variants(d), func(o weighbridge.Options) bool { return explains(d, o) })
	})
}

// layouts scores the models whose frames their own files describe. One that reads the same as a
// dialect adds nothing.
func (s *search) layouts(pieces [][]byte, dialects []candidate) []candidate {
	var all []candidate
	for _, m := range s.models {
		d, _ := m.Speaks()
		if d.Name != "generic" || s.only != "" && s.only != d.Name {
			continue
		}
		c, ok := score(d, m.Options, pieces)
		if ok && !slices.ContainsFunc(dialects, c.agrees) {
			c.Makes, c.layout = m.Maker+" "+m.Model, m.Name
			all = append(all, c)
		}
	}
	return all
}

// name adds the models of the catalogue that would read the line exactly so.
func (s *search) name(c *candidate, pieces [][]byte) {
	c.Models = []string{}
	for _, m := range s.models {
		if m.Dialect != c.Dialect || c.layout != "" && c.layout != m.Name {
			continue
		}
		d, _ := m.Speaks()
		if own, ok := score(d, m.Options, pieces); ok && own.Score == c.Score && own.agrees(*c) {
			c.Models = append(c.Models, m.Name)
		}
	}
}

// agrees reports whether two readers of the line read the same from it in all that a weighing rests on.
func (c candidate) agrees(o candidate) bool {
	return c.Unit == o.Unit && c.Frames == o.Frames && slices.Equal(c.Weights, o.Weights) &&
		c.last.Kind == o.last.Kind && c.last.Stable == o.last.Stable && c.last.Range == o.last.Range
}

// score runs one variant; ok is false when it is not credible.
func score(d weighbridge.Dialect, o weighbridge.Options, pieces [][]byte) (c candidate, ok bool) {
	weights, stats := inside(d, o, pieces)
	if stats.Bytes == 0 {
		return c, false
	}
	c = candidate{Dialect: d.Name, Options: describeOptions(o), Also: []string{}, Makes: d.Makes, Weights: []string{},
		Frames: len(weights), Explained: int(1000 * (stats.Bytes - stats.Discarded) / stats.Bytes)}
	for i, w := range weights {
		if i == 0 {
			c.Checked = checked(d, o, w.Raw)
		}
		if c.last = w; w.Unit != unit.Unknown {
			c.Unit = string(w.Unit)
		}
		if w.HasValue {
			c.Kind = string(w.Kind)
		}
		c.Rest = both(c.Rest, w.Stable, "stable", "moving")
		c.Zero = both(c.Zero, w.Zero, "yes", "no")
		if w.HasValue && !slices.Contains(c.seen, w.Value) && len(c.seen) < mostSeen {
			c.seen = append(c.seen, w.Value)
			c.Weights = append(c.Weights, w.Value.String())
		}
	}
	each := plainFrame
	if c.Checked {
		each = checkedFrame
	}
	c.Score = each*len(weights) + strayByte*int(stats.Discarded)
	return c, len(weights) >= leastFrames && c.Explained >= leastExplained && c.Score > 0
}

// both adds a statement to what frames have said so far.
func both(so string, now device.Tri, yes, no string) string {
	said := map[device.Tri]string{device.Yes: yes, device.No: no}[now]
	switch {
	case so == "" || said == "" || so == said:
		return cmp.Or(said, so)
	}
	return "both"
}

// inside decodes the pieces and forgives the piece of a frame with which listening began, and the
// one with which it ended.
func inside(d weighbridge.Dialect, o weighbridge.Options, pieces [][]byte) ([]device.Weight, weighbridge.Stats) {
	var all []device.Weight
	var before, latest uint64 // bytes discarded until the first and the latest frame
	decoder := weighbridge.NewDecoder(d, o)
	emit := func(w device.Weight) {
		w.Raw = slices.Clone(w.Raw)
		latest = decoder.Stats().Discarded
		if all = append(all, w); len(all) == 1 {
			before = latest
		}
	}
	for _, p := range pieces {
		decoder.Write(time.Now(), p, emit)
	}
	decoder.Flush(emit)
	stats := decoder.Stats()
	if len(all) == 0 {
		return nil, stats
	}
	part := uint64(len(all[0].Raw) - 1)
	for _, edge := range []uint64{before, stats.Discarded - latest} {
		if edge <= part {
			stats.Discarded, stats.Bytes = stats.Discarded-edge, stats.Bytes-edge
		}
	}
	return all, stats
}

// checked reports whether a frame is guarded: no frame in which one digit is another digit is taken.
// It is tried and not looked up, so it holds for the variant and cannot be out of date.
func checked(d weighbridge.Dialect, o weighbridge.Options, frame []byte) bool {
	tried := 0
	for i, b := range frame {
		if b < '0' || b > '9' {
			continue
		}
		wrong := slices.Clone(frame)
		wrong[i] = b ^ 1 // '0' and '1', '2' and '3' … are each other's
		if tried++; len(first(frames(d, o, time.Time{}, wrong))) > 0 {
			return false
		}
	}
	return tried > 0
}

func first(w []device.Weight, _ weighbridge.Stats) []device.Weight { return w }

// reads reports whether the candidate has shown this number.
func (c candidate) reads(n unit.Decimal) bool {
	return slices.ContainsFunc(c.seen, func(s unit.Decimal) bool { return same(s, n) })
}
