package modbus

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"steelyard/internal/unit"
)

// compileReads makes the blocks: those of the file, exactly as they were tested, or without any
// the planner's. Then it finds the block of each point, unless some point is broken already.
func (p *Profile) compileReads(report fault, broken bool) {
	if p.Limits.OnePointPerRead && len(p.Reads) > 0 {
		report("limits.one_point_per_read", "stands beside reads, which say themselves what is read together: leave out one of the two")
	}
	if p.Limits.OnePointPerRead && p.Limits.Hole > 0 {
		report("limits.one_point_per_read", "stands beside hole: a read of one point crosses no hole, leave out one of the two")
	}
	if len(p.Reads) == 0 && !broken {
		p.planReads(report)
	}
	for i, r := range p.Reads {
		at := func(key string) string { return fmt.Sprintf("reads[%d].%s", i, key) }
		if r.FC < 1 || r.FC > 4 {
			report(at("fc"), "%d is none of 1 (coils), 2 (discrete inputs), 3 (holding registers), 4 (input registers)", r.FC)
		}
		checkClass(at("every"), r.Every, report)
		most, what := p.Limits.MaxRegisters, "registers"
		if isBits(r.FC) {
			most, what = p.Limits.MaxBits, "bits"
		}
		if r.Count < 1 || r.Count > most {
			report(at("count"), "%d is not between 1 and %d %s", r.Count, most, what)
			continue
		}
		from, err := p.wire(r.FC, r.From, r.Count)
		if err != nil {
			report(at("from"), "%v", err)
			continue
		}
		b := Block{r.FC, from, r.Count, cmp.Or(r.Every, Fast), r.Whole}
		for j, o := range p.blocks {
			if o.FC == b.FC && int(o.From) < int(b.From)+b.Count && int(b.From) < int(o.From)+o.Count {
				report(at("from"), "overlaps reads[%d]", j)
			}
		}
		p.blocks = append(p.blocks, block{Block: b})
	}
	if broken {
		return
	}
	for i := range p.decoder {
		p.placePoint(i, report)
	}
	for i := range p.blocks {
		slices.SortStableFunc(p.blocks[i].points, func(a, b int) int {
			return cmp.Compare(p.decoder[a].first, p.decoder[b].first)
		})
	}
	p.sortBlocks()
}

// sortBlocks puts the reads with weights first and the slow ones last: what money rests on is asked
// for at the moment when the poll is due.
func (p *Profile) sortBlocks() {
	slices.SortStableFunc(p.blocks, func(a, b block) int { return cmp.Compare(p.rank(a), p.rank(b)) })
	for i, b := range p.blocks {
		for _, d := range b.points {
			p.decoder[d].block = i
		}
	}
}

func (p *Profile) rank(b block) int {
	rank := 0
	if b.Every == Slow {
		rank = 2
	}
	weighs := func(i int) bool {
		q, _ := quantityOf(p.decoder[i].Quantity)
		return q.Exact || strings.HasPrefix(q.Word, "weight.")
	}
	if !slices.ContainsFunc(b.points, weighs) {
		rank++
	}
	return rank
}

// together returns the blocks that are read in one go and make one scan: all fast ones, then each slow
// one with those that its points rest on. The first is what tells whether the machine answers.
func (p *Profile) together() [][]int {
	group := make([]int, len(p.blocks)) // of a block: the first block that it is read with
	for i, b := range p.blocks {
		if b.Every == Slow {
			group[i] = i // the fast ones are at the front and all in group 0
		}
	}
	for i := range p.decoder {
		d := &p.decoder[i]
		for _, on := range append([]int{d.sign, d.valid, d.decimals, d.plus, d.unitFrom}, d.factors...) {
			if on < 0 {
				continue
			}
			a, b := group[d.block], group[p.decoder[on].block]
			for i, g := range group {
				if g == max(a, b) {
					group[i] = min(a, b)
				}
			}
		}
	}
	var all [][]int
	at := map[int]int{}
	for i, g := range group {
		if _, ok := at[g]; !ok {
			at[g] = len(all)
			all = append(all, nil)
		}
		all[at[g]] = append(all[at[g]], i)
	}
	return all
}

// placePoint finds the one block that holds all of the point.
func (p *Profile) placePoint(i int, report fault) {
	d := &p.decoder[i]
	found := -1
	for b := range p.blocks {
		block := &p.blocks[b]
		wire, err := p.wire(block.FC, d.At, d.width)
		if d.FC != 0 && d.FC != block.FC || err != nil || wire < block.From || int(wire)+d.width > int(block.From)+block.Count {
			continue
		}
		if found >= 0 {
			report(fmt.Sprintf("points[%d].at", i), "address %d is in the blocks of more than one table: say fc", d.At)
			return
		}
		found = b
	}
	if found < 0 {
		wire, _ := p.wire(p.table(d.Point), d.At, d.width)
		report(fmt.Sprintf("points[%d].at", i), "address %d (on the wire %d) with %d registers lies in no read", d.At, wire, d.width)
		return
	}
	wire, _ := p.wire(p.blocks[found].FC, d.At, d.width)
	d.block, d.first = found, int(wire-p.blocks[found].From)
	p.blocks[found].points = append(p.blocks[found].points, i)
}

// planReads writes the cheapest reads into the profile, per table and class.
func (p *Profile) planReads(report fault) {
	w := Wire{Baud: 9600, Latency: 10 * time.Millisecond, Max: p.Limits.MaxRegisters, Hole: p.Limits.Hole, Apart: p.Limits.OnePointPerRead}
	if r := p.Transport.RTU; r != nil {
		w.Baud = r.Baud
	} else if p.Transport.Port != 0 {
		w.Baud = 0
	}
	for _, fc := range []uint8{1, 2, 3, 4} {
		for _, every := range []string{Fast, Slow} {
			var spans []Span
			for i := range p.decoder {
				d := &p.decoder[i]
				if cmp.Or(d.FC, 3) == fc && cmp.Or(d.Every, Fast) == every {
					spans = append(spans, p.span(fc, d))
				}
			}
			if w.Bits, w.Max = isBits(fc), p.Limits.MaxRegisters; w.Bits {
				w.Max = p.Limits.MaxBits
			}
			plan, ok := Plan(spans, w)
			if !ok {
				report("limits.max_registers", "a point is longer than the %d registers of one read", w.Max)
			}
			for _, s := range plan {
				p.Reads = append(p.Reads, Read{FC: fc, From: p.Printed(fc, uint16(s.From)), Count: s.Count, Every: every})
			}
		}
	}
}

// span is what must be read together for a point: its registers, and those of what is added to it.
func (p *Profile) span(fc uint8, d *decoder) Span {
	place := func(d *decoder) Span {
		at, _ := p.wire(fc, d.At, d.width) // reported already when it can't be
		return Span{int(at), d.width}
	}
	if i, ok := p.byName[d.Plus]; ok {
		if o := &p.decoder[i]; cmp.Or(o.FC, 3) == fc && cmp.Or(o.Every, Fast) == cmp.Or(d.Every, Fast) {
			return place(d).with(place(o))
		}
	}
	return place(d)
}

// checkOverlap refuses two values in one register, unless they are bits of the same one.
func (p *Profile) checkOverlap(report fault) {
	for i := range p.decoder {
		a := &p.decoder[i]
		for j := range i {
			b := &p.decoder[j]
			if a.coils || a.block < 0 || a.block != b.block || a.first >= b.first+b.width || b.first >= a.first+a.width {
				continue
			}
			same := a.first == b.first && a.width == b.width && a.lowFirst == b.lowFirst && a.swapped == b.swapped
			if !same || a.bitCount == 0 && b.bitCount == 0 {
				report(fmt.Sprintf("points[%d].at", i), "%q shares registers with %q (points[%d])", a.Name, b.Name, j)
			}
		}
	}
}

// compileReferences finds the points that a point rests on. They must be read in the same poll.
func (p *Profile) compileReferences(i int, report fault) {
	d := &p.decoder[i]
	find := func(key, name string) int {
		path := fmt.Sprintf("points[%d].%s", i, key)
		index, ok := p.byName[name]
		if !ok {
			report(path, "%.60q: no such point", name)
			return -1
		}
		o := &p.decoder[index]
		switch {
		case index == i || o.SignFrom != nil || o.Valid != nil || o.ScaleFrom != "" || o.FactorFrom != nil || o.Plus != "" || o.UnitFrom != "" || o.kind == wording || o.kind == floating && key != "plus" && key != "factor_from":
			report(path, "%q is no plain number", name)
			return -1
		case o.block < 0 || d.block < 0:
			return -1 // said already
		case p.blocks[o.block].Every != p.blocks[d.block].Every:
			report(path, "%q is read at other times than this point", name)
			return -1
		}
		return index
	}
	bitOf := func(key string, b *BitOf) int {
		if b == nil {
			return -1
		}
		index := find(key, b.Point)
		if index >= 0 {
			if o := &p.decoder[index]; b.Bit < 0 || b.Bit >= o.size() || o.bitCount > 0 || !o.isInteger() {
				report(fmt.Sprintf("points[%d].%s", i, key), "bit %d is not in %q", b.Bit, b.Point)
			}
		}
		return index
	}
	d.sign, d.valid = bitOf("sign_from", d.SignFrom), bitOf("valid_from", d.Valid)
	if d.ScaleFrom != "" {
		d.decimals = find("scale_from", d.ScaleFrom)
	}
	if d.decimals >= 0 {
		for n, word := range p.decoder[d.decimals].Enum {
			if factor, err := unit.ParseDecimal(word); err != nil || factor.Coef <= 0 {
				report(fmt.Sprintf("points[%d].scale_from", i), "%q has the word %.40q for %d, which is no factor: write decimals like \"0.01\"", d.ScaleFrom, word, n)
			}
		}
	}
	for _, name := range d.FactorFrom {
		if index := find("factor_from", name); index >= 0 {
			d.factors = append(d.factors, index)
		}
	}
	if d.Plus != "" {
		d.plus = find("plus", d.Plus)
	}
	if d.plus >= 0 {
		switch o := &p.decoder[d.plus]; {
		case o.Unit != "" && o.Unit != d.Unit:
			report(fmt.Sprintf("points[%d].plus", i), "%q is in %s and this point in %s: give it a scale that makes it %[3]s", d.Plus, o.Unit, d.Unit)
		case o.block >= 0 && d.block >= 0 && o.block != d.block:
			report(fmt.Sprintf("points[%d].plus", i), "%q is read with another request, and one of the two may be of before a carry: read both with one", d.Plus)
		}
	}
	if d.UnitFrom != "" {
		if d.unitFrom = find("unit_from", d.UnitFrom); d.unitFrom >= 0 && p.decoder[d.unitFrom].Enum == nil {
			report(fmt.Sprintf("points[%d].unit_from", i), "%q has no enum of units", d.UnitFrom)
		}
	}
}

// checkCounting checks heartbeat and totaliser.
func (p *Profile) checkCounting(report fault) {
	if h := p.Heartbeat; h != nil {
		index, ok := p.byName[h.Point]
		switch {
		case !ok:
			report("heartbeat.point", "%.60q: no such point", h.Point)
		case p.decoder[index].block >= 0 && p.blocks[p.decoder[index].block].Every != Fast:
			report("heartbeat.point", "%q is not read at each poll", h.Point)
		}
		if h.Limit <= 0 {
			report("heartbeat.limit", "%s is not above 0", h.Limit)
		}
	}
	t := p.Totaliser
	if t == nil {
		return
	}
	index, ok := p.byName[t.Point]
	if !ok {
		report("totaliser.point", "%.60q: no such point", t.Point)
		return
	}
	d := &p.decoder[index]
	if t.Modulus < 2 || t.Modulus > 1<<53 {
		report("totaliser.modulus", "%d is not between 2 and 2^53", t.Modulus)
	}
	count := d.scale
	if d.plus >= 0 {
		count = p.decoder[d.plus].scale // the register that counts finer
	}
	if d.Decimals != nil {
		count.Scale += uint8(*d.Decimals)
		if bound := floatBound(16*d.width, *d.Decimals); float64(t.Modulus) > bound*math.Pow10(*d.Decimals) {
			report("totaliser.modulus", "an %s with %d decimals counts exactly below %.0f: at most %.0f; fewer decimals count further", d.Type, *d.Decimals, bound, bound*math.Pow10(*d.Decimals))
		}
	}
	step, err := count.Mass(unit.Unit(d.Unit))
	if d.Quantity != "totaliser.mass" || d.offset.Coef != 0 || d.ScaleFrom != "" || d.FactorFrom != nil || err != nil {
		report("totaliser.point", "%q must be a totaliser.mass in g, kg or t with a fixed factor", t.Point)
	} else if step != t.Step {
		report("totaliser.step", "%d g is not the point's factor, one count of which is %d g", int64(t.Step), int64(step))
	}
}

// checkBale keeps the block of the last bale together: what is read at other times than the number
// of the bale may be another bale's, and without a number there is no bale.
func (p *Profile) checkBale(report fault) {
	class := func(d *decoder) string { return p.blocks[d.block].Every }
	numbered := -1
	for _, word := range []string{"bale.sequence", "bale.count"} {
		if numbered < 0 {
			numbered = slices.IndexFunc(p.decoder, func(d decoder) bool { return d.Quantity == word && d.block >= 0 })
		}
	}
	for i := range p.decoder {
		d := &p.decoder[i]
		if d.block < 0 || !strings.HasPrefix(d.Quantity, "bale.") || strings.HasPrefix(d.Quantity, "bale.count") {
			continue // the counters tell of the machine, not of one bale
		}
		switch {
		case numbered < 0:
			report(fmt.Sprintf("points[%d].quantity", i), "%s without bale.sequence or bale.count, which number the bales: no bale would be made of it", d.Quantity)
		case class(d) != class(&p.decoder[numbered]):
			report(fmt.Sprintf("points[%d].quantity", i), "%s is read at other times than %s and may be another bale's: read both %s or both %s", d.Quantity, p.decoder[numbered].Quantity, Fast, Slow)
		}
	}
}
