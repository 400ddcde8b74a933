package service

import (
	"sync"
	"time"
)

// logLimit decides which refusals of what is shown are logged: the first of a topic, then one an hour with
// the number of those between. Strangers decide how many topics there are, so few are told apart.
type logLimit struct {
	mu     sync.Mutex
	topics map[string]*logState
}

type logState struct {
	until time.Time
	more  int
}

const (
	logEvery  = time.Hour
	maxTopics = 1000
)

func (l *logLimit) note(topic string, now time.Time) (more int, say bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.topics[topic]
	if s == nil {
		if len(l.topics) >= maxTopics {
			topic = "" // all others together
		}
		if s = l.topics[topic]; s == nil {
			s = new(logState)
			if l.topics == nil {
				l.topics = map[string]*logState{}
			}
			l.topics[topic] = s
		}
	}
	if now.Before(s.until) {
		s.more++
		return 0, false
	}
	more, s.more, s.until = s.more, 0, now.Add(logEvery)
	return more, true
}
