package agent

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"steelyard/firmware-bridge/device"
	"steelyard/internal/unit"
	"steelyard/internal/wire"
)

// looking is a viewer in a bubble, and what it has sent.
type looking struct {
	t        *testing.T
	s        *sampler
	requests chan wire.Request
	began    time.Time

	mu  sync.Mutex // guards all
	all []sentLive
}

type sentLive struct {
	at    time.Duration
	bytes int
	wire.Live
}

// look runs one for a while.
func lookAt(t *testing.T, s *sampler, script func(*looking)) *looking {
	t.Helper()
	l := &looking{t: t, s: s, requests: make(chan wire.Request, 8), began: time.Now()}
	v := &viewer{sampler: s, head: wire.Live{Site: "xinhua-1", Session: "s", N: 1}, send: func(payload []byte) error {
		m, err := wire.DecodeLive(payload)
		if err != nil {
			t.Error(err)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.all = append(l.all, sentLive{time.Since(l.began), len(payload), m})
		return nil
	}}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- v.run(ctx, l.requests) }()
	script(l)
	cancel()
	<-ended
	return l
}

// poll lets each device show so many values, changed by what is added.
func (l *looking) poll(devices, tags, add int) {
	for d := range devices {
		scan := device.Scan{Device: fmt.Sprintf("belt-%02d", d), At: time.Now()}
		for i := range tags {
			scan.Values = append(scan.Values, device.Value{Tag: fmt.Sprint("tag-", i), Number: unit.Decimal{Coef: int64(i + add)}, OK: true})
		}
		l.s.scan(scan)
	}
	synctest.Wait()
}

// sent are the messages so far.
func (l *looking) sent() []sentLive {
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.all)
}

// kinds says what the messages from one on were: P a part of a picture, C changes, A ages alone.
func (l *looking) kinds(from int) (text string) {
	for _, m := range l.sent()[from:] {
		switch {
		case m.Of > 0 || m.Picture == m.N:
			text += "P"
		case len(m.Changes) > 0:
			text += "C"
		default:
			text += "A"
		}
	}
	return text
}

func TestLiveIsSentWhileSomebodyLooks(t *testing.T) {
	s, _ := newTestSampler(t)
	synctest.Test(t, func(t *testing.T) {
		s.live = newLiveChanges() // its channel is the bubble's
		lookAt(t, s, func(l *looking) {
			for round := range 300 { // nobody looks: all changes, each second
				l.poll(3, 40, round)
				time.Sleep(time.Second)
			}
			if got := l.kinds(0); got != "PPPPP" && got != "PPPPPP" { // the first before or after the first poll
				t.Errorf("in five minutes without a look: %s, want a picture each minute", got)
			}
			time.Sleep(30 * time.Second)
			mark := len(l.sent())
			l.requests <- wire.Request{Stream: wire.LiveValues, Why: wire.WhyWatch}
			synctest.Wait()
			if got := l.kinds(mark); got != "P" {
				t.Errorf("somebody looks: %s, want a picture at once", got)
			}
			mark = len(l.sent())
			time.Sleep(500 * time.Millisecond)
			l.poll(1, 40, 1000)
			if got := l.kinds(mark); got != "C" || len(l.sent()[mark].Changes) != 40 {
				t.Errorf("a change: %s, want it at once", got)
			}
			changed := time.Since(l.began)
			l.poll(1, 40, 1001)
			time.Sleep(200 * time.Millisecond)
			if got := l.kinds(mark); got != "CC" || l.sent()[mark+1].at != changed+changesAfter || l.sent()[mark+1].AgeMS != 100 {
				t.Errorf("a change soon after it: %s, the last at %v, %d ms old", got, l.sent()[len(l.sent())-1].at, l.sent()[len(l.sent())-1].AgeMS)
			}
			mark = len(l.sent())
			time.Sleep(5 * time.Second)
			if got := l.kinds(mark); got != "AAAAA" || len(l.sent()[mark].Ages) != 3 {
				t.Errorf("five seconds without a change: %s, want an age each second of three devices", got)
			}
			time.Sleep(wire.WatchFor)
			mark = len(l.sent())
			for round := range 20 {
				l.poll(3, 40, round)
				time.Sleep(time.Second)
			}
			if got := l.kinds(mark); len(got) > 1 {
				t.Errorf("nobody has looked for a while: %s", got)
			}
			l.requests <- wire.Request{Stream: wire.LiveValues, Why: wire.WhyHole}
			time.Sleep(2 * time.Second)
			mark = len(l.sent())
			if got := l.kinds(mark - 1); got != "P" {
				t.Errorf("after a loss: %s, want a picture", got)
			}
			for k := range 1000 { // a flood of requests
				select {
				case l.requests <- wire.Request{Stream: wire.LiveValues, Why: wire.WhyHole}:
				default:
				}
				if k%100 == 0 {
					time.Sleep(100 * time.Millisecond)
				}
			}
			if got := l.kinds(mark); len(got) > 2 {
				t.Errorf("a thousand requests in a second: %s", got)
			}
			for i, m := range l.sent() {
				if m.N != uint64(i+1) {
					t.Fatalf("message %d has the number %d", i+1, m.N)
				}
			}
		})
	})
}

func TestSiteOfManyValuesIsShown(t *testing.T) {
	s, _ := newTestSampler(t)
	synctest.Test(t, func(t *testing.T) {
		s.live = newLiveChanges()
		lookAt(t, s, func(l *looking) {
			l.poll(60, 40, 0) // 2,400 values
			time.Sleep(2 * time.Second)
			shown := map[string]bool{}
			for _, m := range l.sent() {
				for _, v := range m.Values {
					shown[v.Device+v.Tag] = true
				}
			}
			if len(shown) != 2400 {
				t.Errorf("%d values are shown, want 2400", len(shown))
			}
			l.poll(300, 40, 0) // 12,000: more than any receiver takes
			time.Sleep(2 * time.Second)
			if of := l.sent()[len(l.sent())-1].Of; of != wire.MaxLive {
				t.Errorf("a picture of %d values, want the first %d", of, wire.MaxLive)
			}
			mark := len(l.sent())
			l.poll(300, 40, 1)
			time.Sleep(10 * time.Second)
			if got := l.kinds(mark); got != "" {
				t.Errorf("what has no place in the picture asks for one again and again: %s", got)
			}
		})
	})
}
