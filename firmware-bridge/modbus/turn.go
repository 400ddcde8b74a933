package modbus

import (
	"slices"
	"time"
)

// A line is for its polls. A poll reads the fast blocks of one unit and is one scan; each slow block
// is a job of its own with a scan of its own, made in the time that the polls leave:
//
//	due       the poll that has waited longest goes first; a slow read goes only where it ends before
//	          the next poll is due, as reckoned from the time that it took before
//	starving  a slow read that has waited for a whole period of its own, ten of its unit's, goes
//	          before the polls, but only one in ten rounds, a round being a poll for each unit
//
// So slow reads cost a line that has no gaps one of them in ten rounds, and where the gaps are wide
// enough no poll is ever late. However loaded the line, a slow block waits for no more than one period
// of its own and ten rounds for each slow block of the line that starves.

// job is what is read of a unit in one go.
type job struct {
	blocks     []int
	slow       bool
	every      time.Duration
	due        time.Time
	served     uint64        // turn at which it was done last
	took       time.Duration // of the line's time when it was last done; reckoned before that
	fails      int           // in a row
	pause      backoff
	mismatch   string // how its values prove that this is the wrong machine; empty: they do not
	identifies bool   // it has values that can prove it
	identified bool   // they were read since the machine was silent last
}

func newJob(u Unit, blocks []int) job {
	j := job{blocks: blocks, slow: u.Profile.blocks[blocks[0]].Every == Slow, every: u.Every}
	if j.slow {
		j.every *= slowEvery
	}
	for _, i := range blocks {
		j.identifies = j.identifies || slices.ContainsFunc(u.Profile.blocks[i].points, func(d int) bool { return u.Profile.decoder[d].Constant != nil })
	}
	return j
}

// waits reports whether the job gives way to polls. What proves the machine does not until it has: no
// value is given away before.
func (j *job) waits() bool { return j.slow && (j.identified || !j.identifies) }

// reads reports whether a block belongs to the job.
func (j *job) reads(block int) bool { return slices.Contains(j.blocks, block) }

// done sets when the job is due again. What was missed meanwhile is not made up for.
func (j *job) done(begun time.Time) {
	j.fails = 0
	j.pause.reset()
	j.due = j.due.Add(j.every)
	switch {
	case !j.due.Before(begun):
	case j.slow:
		j.due = begun.Add(j.every)
	default:
		j.due = begun
	}
}

// turn is a job of a unit that waits for the line; the zero one is none.
type turn struct {
	*member
	job *job
}

// ready is the earliest moment of its first request.
func (t turn) ready() time.Time {
	if t.settle.After(t.job.due) {
		return t.settle
	}
	return t.job.due
}

// before says which of two has waited longer.
func (t turn) before(o turn) bool {
	if o.job == nil {
		return true
	}
	a, b := t.ready(), o.ready()
	return a.Before(b) || a.Equal(b) && t.job.served < o.job.served
}

// next is the turn that has the line: at once, or at its ready moment.
func (b *Bus) next(now time.Time) turn {
	var poll, slow turn
	for _, m := range b.units {
		for i := range m.jobs {
			// A unit that does not answer its polls is asked nothing else.
			if i > 0 && !m.responding {
				break
			}
			t, best := turn{m, &m.jobs[i]}, &poll
			if t.job.waits() {
				best = &slow
			}
			if t.before(*best) {
				*best = t
			}
		}
	}
	if slow.job == nil || poll.job == nil {
		if slow.job == nil {
			return poll
		}
		return slow
	}
	if b.noPriority {
		if slow.before(poll) {
			return slow
		}
		return poll
	}
	begin := slow.ready()
	starving := !now.Before(begin.Add(slow.job.every)) && b.polled >= slowEvery*len(b.units)
	if begin.Before(now) {
		begin = now
	}
	if starving || !begin.Add(slow.job.took).After(poll.ready()) {
		return slow
	}
	return poll
}

// recordCost keeps how long a job held the line, with the silence that must follow it.
func (b *Bus) recordCost(t turn, begun time.Time) {
	t.job.took = max(0, b.free.Sub(begun)) + silence(b.baud())
}

// estimate gives a job that was never done the time that its bytes take.
func (b *Bus) estimate(t turn) {
	for _, i := range t.job.blocks {
		t.job.took += t.Profile.blocks[i].Cost(Wire{Baud: b.baud()})
	}
}

// baud of the line; 0 on TCP, where bytes cost nothing.
func (b *Bus) baud() int {
	if b.link.serial() {
		return b.link.Baud
	}
	return 0
}
