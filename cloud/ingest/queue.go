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

// queue holds what waits to be checked: one lane for each site and one for strangers, emptied in
// turn, so that who sends most waits longest.
type queue struct {
	ready chan struct{} // holds one token when there may be something

	mu    sync.Mutex
	lanes map[string]*lane
	turn  []*lane // lanes with items, the next one first
	bytes int
	limit int           // of all lanes
	share int           // of one lane
	freed chan struct{} // closed at the next take; nil while nobody waits for room
	stuck bool          // somebody has waited for room in vain since the last take
}

type lane struct {
	items []item
	bytes int
}

// overhead is counted for each message beside its bytes, so that empty ones fill a queue as well.
const overhead = 128

// shares is how many lanes can fill the queue: one sender alone gets this part of it.
const shares = 4

func newQueue(limit int) *queue {
	return &queue{ready: make(chan struct{}, 1), lanes: map[string]*lane{}, limit: limit, share: limit / shares}
}

// put waits for room, at most for patience; false means that there was none. Where one has waited in
// vain the next ones do not wait, until something is taken. own says that waiting holds up only who
// fills the lane; otherwise a full lane is not waited for, so that one sender stops no other.
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
func (q *queue) try(it item, weight int, waitLane, waitAll bool) (taken bool, room <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.lanes[it.site]
	if l == nil {
		l = &lane{}
		q.lanes[it.site] = l
	}
	full, crowded := q.bytes+weight > q.limit, l.bytes+weight > q.share
	if full || crowded {
		if q.stuck || crowded && !waitLane || full && !waitAll {
			return false, nil
		}
		if q.freed == nil {
			q.freed = make(chan struct{})
		}
		return false, q.freed
	}
	if len(l.items) == 0 {
		q.turn = append(q.turn, l)
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

// take waits for messages and gives up to count of them, and no more than bytes unless it is one,
// one of each lane in turn.
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
	for len(q.turn) > 0 && len(items) < count && bytes > 0 {
		l := q.turn[0]
		it := l.items[0]
		l.items[0] = item{}
		l.items, q.turn = l.items[1:], q.turn[1:]
		if len(l.items) > 0 {
			q.turn = append(q.turn, l)
		} else {
			l.items = nil
		}
		weight := len(it.payload) + overhead
		l.bytes -= weight
		q.bytes -= weight
		bytes -= weight
		items = append(items, it)
	}
	if len(q.turn) > 0 {
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
