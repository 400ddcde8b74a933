package mqtt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// Window is how many publishes of a session may be in flight at once.
const Window = 256

// ErrWindow is the result of a [Session.Start] beyond [Window].
var ErrWindow = fmt.Errorf("%d publishes are in flight already", Window)

// Session is one connection. Its methods may be called from several goroutines, and fail once the
// link is lost.
type Session struct {
	id     string
	o      Options
	client paho.Client
	link   context.Context // ends when the link is lost, with the cause
	drop   context.CancelCauseFunc

	mu       sync.Mutex // held to keep Start and finish apart
	ended    bool
	window   chan struct{}     // one per publication in flight
	queue    chan *publication // started, not yet handed to the library; as deep as window
	inFlight chan *publication // handed over, not yet acknowledged; as deep as window
	done     sync.WaitGroup
}

// publication is one message on its way.
type publication struct {
	message Message
	token   paho.Token
	result  chan error // of one
}

func newSession(id string, o Options, client paho.Client, link context.Context, drop context.CancelCauseFunc) *Session {
	s := &Session{id: id, o: o, client: client, link: link, drop: drop,
		window:   make(chan struct{}, Window),
		queue:    make(chan *publication, Window),
		inFlight: make(chan *publication, Window),
	}
	s.done.Go(s.send)
	s.done.Go(s.awaitAcks)
	return s
}

// ID is the client id of this connection, different for each.
func (s *Session) ID() string { return s.id }

// Subscribe asks for the messages of a topic filter and waits until the broker has agreed. A
// refusal is an error.
//
// handle runs on the goroutine that reads the connection, in the order of arrival. It should only
// put the message into a bounded channel. It may block for a moment to slow the broker down, but
// for less than ConnectTimeout, or the connection is given up; it must not use the Session. It may
// still be called after the session function has returned, until Run goes on.
func (s *Session) Subscribe(ctx context.Context, topic string, qos byte, handle func(Message)) error {
	token := s.client.Subscribe(topic, qos, func(_ paho.Client, m paho.Message) {
		handle(Message{Topic: m.Topic(), Payload: bytes.Clone(m.Payload()), QoS: m.Qos(), Retained: m.Retained()})
	})
	patience := time.NewTimer(s.o.AckTimeout)
	defer patience.Stop()
	select {
	case <-token.Done():
	case <-s.link.Done():
		return fmt.Errorf("subscribe %q: %w", topic, context.Cause(s.link))
	case <-ctx.Done():
		return fmt.Errorf("subscribe %q: %w", topic, context.Cause(ctx))
	case <-patience.C:
		return fmt.Errorf("subscribe %q: no answer from the broker for %v", topic, s.o.AckTimeout)
	}
	if err := token.Error(); err != nil {
		return fmt.Errorf("subscribe %q: %w", topic, err)
	}
	for _, granted := range token.(*paho.SubscribeToken).Result() {
		if granted > 2 {
			return fmt.Errorf("subscribe %q: refused by the broker: check the account's rights to this topic", topic)
		}
		if granted < qos {
			return fmt.Errorf("subscribe %q: the broker grants quality of service %d instead of %d", topic, granted, qos)
		}
	}
	return nil
}

// Publish sends one message and waits until the broker has it, the link is lost or ctx ends. Nil
// proves nothing about delivery. After an error the broker may have the message all the same.
func (s *Session) Publish(ctx context.Context, m Message) error {
	result := s.Start(m)
	select {
	case err := <-result:
		return err
	case <-s.link.Done():
		// The acknowledgement may have come just before the end.
		select {
		case err := <-result:
			return err
		default:
			return fmt.Errorf("publish %q: %w", m.Topic, context.Cause(s.link))
		}
	case <-ctx.Done():
		return fmt.Errorf("publish %q: %w", m.Topic, context.Cause(ctx))
	}
}

// Start sends one message and does not wait. The channel carries exactly one result, like that of
// Publish: at the acknowledgement, or at the latest WriteTimeout after the link was lost. Messages
// leave in the order of Start; one that fails ends the connection, so that none overtakes it.
// Beyond Window in flight the result is ErrWindow, at once.
func (s *Session) Start(m Message) <-chan error {
	p := &publication{message: m, result: make(chan error, 1)}
	switch {
	case len(m.Payload) > MaxPacket:
		p.result <- fmt.Errorf("publish %q: %d bytes are more than the %d allowed", m.Topic, len(m.Payload), MaxPacket)
		return p.result
	case m.QoS > 1:
		p.result <- fmt.Errorf("publish %q: quality of service %d: use 0 or 1", m.Topic, m.QoS)
		return p.result
	case m.Topic == "" || len(m.Topic) > 1024:
		p.result <- fmt.Errorf("publish %.80q: a topic has 1 to 1024 bytes", m.Topic)
		return p.result
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || s.link.Err() != nil {
		p.result <- fmt.Errorf("publish %q: %w", m.Topic, context.Cause(s.link))
		return p.result
	}
	select {
	case s.window <- struct{}{}:
		s.queue <- p
	default:
		p.result <- fmt.Errorf("publish %q: %w", m.Topic, ErrWindow)
	}
	return p.result
}

// send hands messages to the library, which may block for WriteTimeout when the link has just
// dropped. That is why no caller does it.
func (s *Session) send() {
	defer close(s.inFlight)
	for p := range s.queue {
		if s.link.Err() != nil {
			s.complete(p, context.Cause(s.link))
			continue
		}
		m := p.message
		p.token = s.client.Publish(m.Topic, m.QoS, m.Retained, m.Payload)
		s.inFlight <- p
	}
}

// awaitAcks waits for the acknowledgements in the order of sending.
func (s *Session) awaitAcks() {
	patience := time.NewTimer(s.o.AckTimeout)
	defer patience.Stop()
	for p := range s.inFlight {
		patience.Reset(s.o.AckTimeout)
		select {
		case <-p.token.Done():
		case <-s.link.Done():
		case <-patience.C:
			s.drop(fmt.Errorf("the broker acknowledged nothing for %v", s.o.AckTimeout))
		}
		select {
		case <-p.token.Done():
			err := p.token.Error()
			if err != nil {
				s.drop(err) // keeps the first cause
				err = context.Cause(s.link)
			}
			s.complete(p, err)
		default:
			s.complete(p, context.Cause(s.link))
		}
	}
}

func (s *Session) complete(p *publication, err error) {
	if err != nil {
		err = fmt.Errorf("publish %q: %w", p.message.Topic, err)
	}
	p.result <- err
	<-s.window
}

// errEnded is the cause for publications that the session function left behind.
var errEnded = errors.New("the session has ended")

// finish ends every publication and waits for both goroutines.
func (s *Session) finish() {
	s.mu.Lock()
	s.ended = true
	close(s.queue)
	s.mu.Unlock()
	s.drop(errEnded)
	s.done.Wait()
}
