package modbus

import (
	"log/slog"
	"time"

	"steelyard/firmware-bridge/device"
	"steelyard/internal/unit"
)

// member is a unit as the bus knows it. Only the bus's goroutine touches it.
type member struct {
	Unit
	log     *slog.Logger
	timeout time.Duration
	latency time.Duration

	asked  request   // last
	settle time.Time // it is not asked before: a reply may still be under way
	fence  bool      // a reply may still be under way after that: ask something else first

	jobs       []job // the first tells whether the machine answers
	responding bool  // the first was answered when it was last done: only then the others are
	parts      []part
	snapshot   *snapshot
	state      device.State // last reported; empty: none yet

	beat   unit.Decimal // last heartbeat
	beatAt time.Time    // when it moved last; zero: never seen
}

// part is a run of registers that is read with one request: a whole block, or what became of it
// after the machine refused the block.
type part struct {
	block, first, count int
	depth               int       // times that it was split
	why                 string    // not empty: the machine refuses it
	again               time.Time // when a refused part is tried again
}

// refusedPause is how long a refused part is left alone. A programmer may be correcting the
// machine's map meanwhile.
const refusedPause = time.Minute

func newMember(u Unit, timeout time.Duration, log *slog.Logger) *member {
	m := &member{Unit: u, log: log, timeout: timeout, latency: u.Profile.latency(timeout), snapshot: u.Profile.newSnapshot()}
	for i, b := range u.Profile.blocks {
		m.parts = append(m.parts, part{block: i, count: b.Count})
	}
	for _, blocks := range u.Profile.together() {
		m.jobs = append(m.jobs, newJob(u, blocks))
	}
	return m
}

func (m *member) request(p part) request {
	b := m.Profile.blocks[p.block]
	return request{unit: m.ID, fc: b.FC, from: b.From + uint16(p.first), count: p.count, timeout: m.timeout}
}

// probe is a read whose reply cannot be taken for that of any other read of this unit, because
// it has another length. A machine answers in order: once the probe is answered, nothing older
// is under way. ok is false when no block can be cut to a length of its own.
func (m *member) probe() (r request, ok bool) {
	taken := map[int]bool{}
	for _, p := range m.parts {
		taken[m.request(p).bytes()] = true
	}
	for _, p := range m.parts {
		whole := p.count
		for p.count = 1; p.count < whole; p.count++ {
			if r := m.request(p); !taken[r.bytes()] {
				return r, true
			}
		}
	}
	return request{}, false
}

// split cuts a part in two at the boundary between two points that lies nearest its middle. ok is
// false when no boundary is left.
func (m *member) split(p part) (left, right part, ok bool) {
	var spans []Span
	for _, i := range m.Profile.blocks[p.block].points {
		d := &m.Profile.decoder[i]
		if d.first >= p.first && d.first < p.first+p.count {
			s := Span{d.first, d.width}
			if d.plus >= 0 {
				o := &m.Profile.decoder[d.plus]
				s = s.with(Span{o.first, o.width})
			}
			spans = append(spans, s)
		}
	}
	spans = join(spans)
	cut, distance := 0, p.count
	for i := 1; i < len(spans); i++ {
		if away := max(2*(spans[i].From-p.first)-p.count, p.count-2*(spans[i].From-p.first)); away < distance {
			cut, distance = i, away
		}
	}
	if cut == 0 {
		return p, p, false
	}
	// Registers between the points belong to no point and are asked for no more.
	left, right = p, p
	left.first, left.count = spans[0].From, spans[cut-1].end()-spans[0].From
	right.first, right.count = spans[cut].From, spans[len(spans)-1].end()-spans[cut].From
	left.depth, right.depth = p.depth+1, p.depth+1
	return left, right, true
}
