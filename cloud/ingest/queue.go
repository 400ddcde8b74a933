package ingest

import (
	"context"
	"sync"
	"time"
)

// item is one message as it came.
type item struct {
	site    string // "" when the topic names no enrolled site
	topic   string
	payload []byte
	size    int // of the message; payload may be its beginning only
}

// queue holds what waits to be checked: one queue for each site and one for all unknown sites, emptied in
// turn, so that who sends most waits longest.
type queue struct {
	ready chan struct{} // holds one token when there may be something

	mu      sync.Mutex
	sites   map[string]*siteQueue
	turns   []*siteQueue // queues with items, the next one first
	bytes   int
	limit   int           // of all sites
	perSite int           // of one site
	freed   chan struct{} // closed at the next take; nil unless something waits for room
	stuck   bool          // room has been waited for in vain since the last take
}

type siteQueue struct {
	items []item
	bytes int
}

// overhead is counted for each message beside its bytes, so that empty ones fill a queue as well.
const overhead = 128

// shares is how many sites can fill the queue: one sender alone gets this part of it.
const shares = 4

func newQueue(limit int) *queue {
	return &queue{ready: make(chan struct{}, 1), sites: map[string]*siteQueue{}, limit: limit, perSite: limit / shares}
}

// put waits for room, at most for patience; false means that none came free. Where one has waited in
// vain the next ones do not wait, until something is taken. own says that waiting holds up only who
// fills the site's part; otherwise a full part is not waited for, so that one sender stops no other.
func (q *queue) put(it item, own bool, patience time.Duration) bool {
	weight := len(it.payload) + overhead
	var late <-chan time.Time
	for {
		taken, room := q.try(it, weight, own && patience > 0, patience > 0)
		if taken || room == nil {
			return taken
		}
		if late == nil {
			timer := time.NewTimer(patience)
			defer timer.Stop()
			late = timer.C
		}
		select {
		case <-room:
		case <-late:
			q.mu.Lock()
			q.stuck = true
			q.mu.Unlock()
			return false
		}
	}
}

// try puts the item where there is room; otherwise the channel says when to try again, nil: not at all.
func (q *queue) try(it item, weight int, waitSite, waitAll bool) (taken bool, room <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.sites[it.site]
	if l == nil {
		l = &siteQueue{}
		q.sites[it.site] = l
	}
	full, crowded := q.bytes+weight > q.limit, l.bytes+weight > q.perSite
	if full || crowded {
		if q.stuck || crowded && !waitSite || full && !waitAll {
			return false, nil
		}
		if q.freed == nil {
			q.freed = make(chan struct{})
		}
		return false, q.freed
	}
	if len(l.items) == 0 {
		q.turns = append(q.turns, l)
	}
	l.items = append(l.items, it)
	l.bytes += weight
	q.bytes += weight
	q.wake()
	return true, nil
}

func (q *queue) wake() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// take waits for messages and returns up to count of them, and no more than bytes unless it is one,
// one of each site in turn.
func (q *queue) take(ctx context.Context, count, bytes int) ([]item, error) {
	for {
		if items := q.now(count, bytes); len(items) > 0 {
			return items, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-q.ready:
		}
	}
}

func (q *queue) now(count, bytes int) []item {
	q.mu.Lock()
	defer q.mu.Unlock()
	var items []item
	for len(q.turns) > 0 && len(items) < count && bytes > 0 {
		l := q.turns[0]
		it := l.items[0]
		l.items[0] = item{}
		l.items, q.turns = l.items[1:], q.turns[1:]
		if len(l.items) > 0 {
			q.turns = append(q.turns, l)
		} else {
			l.items = nil
		}
		weight := len(it.payload) + overhead
		l.bytes -= weight
		q.bytes -= weight
		bytes -= weight
		items = append(items, it)
	}
	if len(q.turns) > 0 {
		q.wake()
	}
	if len(items) > 0 {
		q.stuck = false
		if q.freed != nil {
			close(q.freed)
			q.freed = nil
		}
	}
	return items
}
