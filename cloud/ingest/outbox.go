package ingest

import (
	"context"
	"sync"
	"time"

	"steelyard/internal/wire"
)

// outbox holds what is to be said to the edges: of each journal only the newest receipt and the
// newest request, so that a slow broker can't make it grow and a late word is never an old one.
// Topics go out side by side; of one topic one message at a time, in the order in which they were
// put, so that the one which a broker keeps is the last.
type outbox struct {
	ready chan struct{} // holds one token when there may be something

	mu     sync.Mutex
	topics map[string]*topicQueue // with messages that wait or are on their way
	order  []string               // of the topics with messages that wait and none on its way
}

// topicQueue is what waits for one topic, by journal.
type topicQueue struct {
	waiting map[string]message
	order   []string
	sending bool
}

type address struct {
	topic   string
	journal string
}

type message struct {
	payload  func() []byte // made when it is sent: signing costs
	retained bool
	n        uint64 // of a receipt: a lower one never replaces a higher one
}

func newOutbox() *outbox {
	return &outbox{ready: make(chan struct{}, 1), topics: map[string]*topicQueue{}}
}

func (o *outbox) put(to address, m message) {
	o.mu.Lock()
	defer o.mu.Unlock()
	bag := o.topics[to.topic]
	if bag == nil {
		bag = &topicQueue{waiting: map[string]message{}}
		o.topics[to.topic] = bag
	}
	if was, there := bag.waiting[to.journal]; there && was.n > m.n {
		return
	} else if !there {
		bag.order = append(bag.order, to.journal)
		if len(bag.order) == 1 && !bag.sending {
			o.due(to.topic)
		}
	}
	bag.waiting[to.journal] = m
}

// due puts a topic into the order. The caller holds mu.
func (o *outbox) due(topic string) {
	o.order = append(o.order, topic)
	o.wake()
}

func (o *outbox) wake() {
	select {
	case o.ready <- struct{}{}:
	default:
	}
}

func (o *outbox) take(ctx context.Context) (topic string, m message, err error) {
	for {
		if topic, m, ok := o.now(); ok {
			return topic, m, nil
		}
		select {
		case <-ctx.Done():
			return "", message{}, ctx.Err()
		case <-o.ready:
		}
	}
}

func (o *outbox) now() (topic string, m message, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.order) == 0 {
		return "", m, false
	}
	topic, o.order = o.order[0], o.order[1:]
	if len(o.order) > 0 {
		o.wake() // the next of the senders
	}
	bag := o.topics[topic]
	m = bag.waiting[bag.order[0]]
	delete(bag.waiting, bag.order[0])
	bag.order, bag.sending = bag.order[1:], true
	return topic, m, true
}

// sent takes note that a topic's message is no longer on its way: the next one may go.
func (o *outbox) sent(topic string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	bag := o.topics[topic]
	if bag.sending = false; len(bag.order) > 0 {
		o.due(topic)
	} else {
		delete(o.topics, topic)
	}
}

// publishAtMost bounds how long one message waits for a broker that does not answer; senders is how
// many are on their way at once, so that a broker that is far away does not set the pace.
const (
	publishAtMost = 10 * time.Second
	senders       = 32
)

// send is one of the senders: it publishes until ctx ends. What can't be published is let go: the edge sends again and is
// answered again, and every new connection begins with Announce.
func (i *Ingest) send(ctx context.Context) error {
	for {
		topic, m, err := i.outbox.take(ctx)
		if err != nil {
			return err
		}
		limited, cancel := context.WithTimeout(ctx, publishAtMost)
		err = i.config.Publish(limited, topic, m.payload(), m.retained)
		cancel()
		i.outbox.sent(topic)
		i.count(func(s *Stats) {
			if err != nil {
				s.Unpublished++
			} else {
				s.Published++
			}
		})
		if err != nil {
			i.config.Log.Debug("not published", "topic", topic, "err", err)
		}
	}
}

func (i *Ingest) receipt(r wire.Receipt) {
	r.AtMS = i.config.Now().UnixMilli()
	i.outbox.put(address{wire.ReceiptTopic(r.Site, r.Stream), r.Journal},
		message{payload: func() []byte { return r.Encode(i.config.Key) }, retained: true, n: r.N})
}

func (i *Ingest) request(site string, r wire.Request) {
	kind := string(r.Stream) + r.Journal
	if r.Why == wire.WhyWatch {
		kind += r.Why // takes the place of no request to send again
	}
	i.outbox.put(address{wire.RequestTopic(site), kind}, message{payload: r.Encode})
}
