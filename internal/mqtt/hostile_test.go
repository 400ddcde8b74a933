package mqtt_test

import (
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"steelyard/internal/mqtt"
)

// hostile brokers: what they answer to CONNECT, and what to SUBSCRIBE.
var hostile = []struct{ name, connect, subscribe string }{
	{"nothing", "", ""},
	{"silence after half a CONNACK", "\x20\x02\x00", ""},
	{"not MQTT", "HTTP/1.1 400 Bad Request\r\n\r\n", ""},
	{"unknown refusal", "\x20\x02\x00\xc8", ""},
	{"long CONNACK", "\x20\x04\x00\x00\x00\x00", ""},
	{"PUBLISH before CONNACK", "\x30\x05\x00\x01ahi", ""},
	{"SUBACK with five codes", accepted, "\x90\x07\x00\x01\x00\x00\x00\x00\x00"},
	{"SUBACK without a code", accepted, "\x90\x02\x00\x01"},
	{"a message of 256 MB", accepted, "\x30\xff\xff\xff\x7f"},
	{"length of five bytes", accepted, "\x30\xff\xff\xff\xff\x01"},
	{"topic longer than its packet", accepted, "\x30\x03\xff\xffa"},
	{"PUBLISH without content", accepted, "\x30\x00"},
	{"PUBLISH of quality of service 3", accepted, "\x36\x05\x00\x01ahi"},
	{"packet type 0", accepted, "\x00\x00"},
	{"packet type 15", accepted, "\xf0\x00"},
	{"CONNECT", accepted, "\x10\x00"},
	{"PUBREL", accepted, "\x62\x02\x00\x01"},
	{"PUBREC for nothing", accepted, "\x50\x02\x00\x01"},
	{"DISCONNECT", accepted, "\xe0\x00"},
	{"PINGRESP with content", accepted, "\xd0\x01x"},
	{"PUBACK without an id", accepted, "\x40\x00"},
}

func TestAHostileBrokerEndsTheConnectionOnly(t *testing.T) {
	for _, h := range hostile {
		t.Run(h.name, func(t *testing.T) {
			visits := newQueue[bool]()
			port := rogue(t, func(conn net.Conn) {
				visits.put(true)
				io.WriteString(conn, h.connect)
				if h.connect == accepted {
					packet(conn)
					io.WriteString(conn, h.subscribe)
				}
			})
			var good bool
			run(t, quick(t, port), func(ctx context.Context, s *mqtt.Session) error {
				err := s.Subscribe(ctx, "a", 1, func(mqtt.Message) {})
				good = good || err == nil
				<-ctx.Done()
				return err
			})
			for range 3 {
				within(t, "next attempt", visits.ch)
			}
		})
	}
}

// child is the process of the test below: the library on its own, against a hostile broker.
func child() {
	port, ok := os.LookupEnv("STEELYARD_TEST_PLAIN_CLIENT")
	if !ok {
		return
	}
	client := plainClient(port, false)
	client.Subscribe("a", 1, nil).Wait()
	os.Exit(0)
}

// The library on its own dies of a SUBACK. That is why guardedConn looks at packets first.
func TestTheLibraryDiesOfASuback(t *testing.T) {
	port := rogue(t, func(conn net.Conn) {
		io.WriteString(conn, accepted)
		packet(conn)
		io.WriteString(conn, "\x90\x07\x00\x01\x00\x00\x00\x00\x00")
		packet(conn)
	})
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), "STEELYARD_TEST_PLAIN_CLIENT="+port)
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "index out of range") {
		t.Errorf("the library survives (%v): the check of SUBACK can go; it said %.300s", err, out)
	}
}
