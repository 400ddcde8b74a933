package ingest

import (
	"context"
	"sync"
	"time"

	"steelyard/internal/wire"
)

// outbox holds what is to be said to the edges: of each journal only the newest receipt and the
// newest request, so that a slow broker can't make it grow and a late word is never an old one.
type outbox struct {
	ready chan struct{} // holds one token when there may be something

	mu      sync.Mutex
	waiting map[address]message
	order   []address
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
	return &outbox{ready: make(chan struct{}, 1), waiting: map[address]message{}}
}

func (o *outbox) put(to address, m message) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if was, there := o.waiting[to]; !there {
		o.order = append(o.order, to)
	} else if was.n > m.n {
		return
	}
	o.waiting[to] = m
	select {
	case o.ready <- struct{}{}:
	default:
	}
}

func (o *outbox) take(ctx context.Context) (address, message, error) {
	for {
		o.mu.Lock()
		if len(o.order) > 0 {
			to := o.order[0]
			o.order = o.order[1:]
			m := o.waiting[to]
			delete(o.waiting, to)
			o.mu.Unlock()
			return to, m, nil
		}
		o.mu.Unlock()
		select {
		case <-ctx.Done():
			return address{}, message{}, ctx.Err()
		case <-o.ready:
		}
	}
}

// publishAtMost bounds how long one message waits for a broker that does not answer.
const publishAtMost = 10 * time.Second

// send publishes until ctx ends. What can't be published is let go: the edge sends again and is
// answered again, and every new connection begins with Announce.
func (i *Ingest) send(ctx context.Context) error {
	for {
		to, m, err := i.outbox.take(ctx)
		if err != nil {
			return err
		}
		limited, cancel := context.WithTimeout(ctx, publishAtMost)
		err = i.config.Publish(limited, to.topic, m.payload(), m.retained)
		cancel()
		i.count(func(s *Stats) {
			if err != nil {
				s.Unpublished++
			} else {
				s.Published++
			}
		})
		if err != nil {
			i.config.Log.Debug("not published", "topic", to.topic, "err", err)
		}
	}
}

func (i *Ingest) receipt(r wire.Receipt) {
	r.AtMS = i.config.Now().UnixMilli()
	i.outbox.put(address{wire.ReceiptTopic(r.Site, r.Stream), r.Journal},
		message{payload: func() []byte { return r.Encode(i.config.Key) }, retained: true, n: r.N})
}

func (i *Ingest) request(site string, r wire.Request) {
	i.outbox.put(address{wire.RequestTopic(site), string(r.Stream) + r.Journal}, message{payload: r.Encode})
}
