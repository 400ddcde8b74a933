package service

import (
	"sync"
	"time"
)

// unshown says which refusals of what is shown are logged: the first of a topic, then one an hour with
// the number of those between. Strangers decide how many topics there are, so few are told apart.
type unshown struct {
	mu     sync.Mutex
	topics map[string]*silence
}

type silence struct {
	until time.Time
	more  int
}

const (
	sayAgain   = time.Hour
	mostTopics = 1000
)

func (u *unshown) note(topic string, now time.Time) (more int, say bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	s := u.topics[topic]
	if s == nil {
		if len(u.topics) >= mostTopics {
			topic = "" // all others together
		}
		if s = u.topics[topic]; s == nil {
			s = new(silence)
			if u.topics == nil {
				u.topics = map[string]*silence{}
			}
			u.topics[topic] = s
		}
	}
	if now.Before(s.until) {
		s.more++
		return 0, false
	}
	more, s.more, s.until = s.more, 0, now.Add(sayAgain)
	return more, true
}
