package mqtt_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"steelyard/internal/mqtt"
)

// A broker that is away for an hour is asked at growing intervals and mentioned once.
func TestAnAbsentBrokerIsMentionedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		var attempts []time.Time
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		err := mqtt.Run(ctx, mqtt.Options{
			URL: "tcp://broker", Client: "edge", Log: slog.New(slog.NewTextHandler(&log, nil)),
			Dial: func(context.Context) (net.Conn, error) {
				attempts = append(attempts, time.Now())
				return nil, errors.New("no route to host")
			},
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(log.String(), "\n"); got != 1 || !strings.Contains(log.String(), "no route") {
			t.Errorf("%d lines, want 1:\n%s", got, log.String())
		}
		same := true
		for i := 1; i < len(attempts); i++ {
			pause := attempts[i].Sub(attempts[i-1])
			longest := min(time.Second<<(i-1), 30*time.Second)
			if i > 10 {
				longest = 30 * time.Second
				same = same && pause == attempts[i-1].Sub(attempts[i-2])
			}
			if pause < longest/2 || pause > longest {
				t.Errorf("pause %d is %v, want %v to %v", i, pause, longest/2, longest)
			}
		}
		if len(attempts) < 120 || same {
			t.Errorf("%d attempts in an hour, all pauses the same: %t", len(attempts), same)
		}
	})
}

// overPipe are options for a broker within the test's bubble.
func overPipe(t *testing.T, log io.Writer, script func(net.Conn)) mqtt.Options {
	return mqtt.Options{
		URL: "tcp://broker", Client: "edge", Log: slog.New(slog.NewTextHandler(log, nil)),
		Dial: func(context.Context) (net.Conn, error) {
			near, far := net.Pipe()
			go func() {
				defer far.Close()
				if _, err := packet(far); err == nil {
					script(far)
				}
			}()
			return near, nil
		},
	}
}

func TestABrokerThatAcknowledgesNothingIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		o := overPipe(t, t.Output(), func(conn net.Conn) {
			io.WriteString(conn, accepted)
			for {
				p, err := packet(conn)
				if err != nil {
					return
				}
				if p[0] == 0xc0 {
					io.WriteString(conn, "\xd0\x00") // the link is fine
				}
			}
		})
		sessions := 0
		err := mqtt.Run(ctx, o, func(sctx context.Context, s *mqtt.Session) error {
			sessions++
			began := time.Now()
			if err := s.Publish(sctx, mqtt.Message{Topic: "a", QoS: 1}); err == nil || !strings.Contains(err.Error(), "acknowledged nothing") {
				t.Errorf("got %v", err)
			}
			if took := time.Since(began); took != 30*time.Second {
				t.Errorf("given up after %v, want 30 s", took)
			}
			if sctx.Err() == nil {
				t.Error("the session goes on")
			}
			if sessions == 2 {
				cancel()
			}
			return nil
		})
		if err != nil || sessions != 2 {
			t.Errorf("%d sessions, %v", sessions, err)
		}
	})
}

// A link that is cut without a word is noticed by the keep-alive.
func TestASilentLinkIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		o := overPipe(t, t.Output(), func(conn net.Conn) {
			io.WriteString(conn, accepted)
			io.Copy(io.Discard, conn)
		})
		err := mqtt.Run(ctx, o, func(sctx context.Context, s *mqtt.Session) error {
			began := time.Now()
			<-sctx.Done()
			if took := time.Since(began); took < 20*time.Second || took > 45*time.Second {
				t.Errorf("noticed after %v, want the keep-alive of 20 s and the time-out of 10 s", took)
			}
			cancel()
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestARefusalNamesTheRemedyOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		o := overPipe(t, &log, func(conn net.Conn) { io.WriteString(conn, "\x20\x02\x00\x05") })
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := mqtt.Run(ctx, o, nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "check username and password") {
			t.Errorf("want one line with the remedy, got:\n%s", got)
		}
	})
}
