package broker

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// raw is a connection that sends whatever bytes it is told to.
type raw struct {
	net.Conn
	t testing.TB
}

func dialRaw(t testing.TB, b *Broker) raw {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := b.Dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return raw{conn, t}
}

// send writes and ignores an error: a broker that has had enough closes while we speak.
func (r raw) send(bytes string) {
	_ = r.SetWriteDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(r.Conn, bytes)
}

// exchange sends while it receives, since a pipe holds nothing, and reports whether the broker has
// answered a ping at the end of bytes.
func (r raw) exchange(bytes string) (answered bool) {
	r.t.Helper()
	var sending sync.WaitGroup
	sending.Go(func() { r.send(bytes + ping) })
	for got := r.receive(); got != nil && !answered; {
		if answered = got[0] == 0xd0; !answered {
			got = r.receive()
		}
	}
	r.Close()
	sending.Wait()
	return answered
}

// receive gives the next packet, nil when the broker has closed the connection.
func (r raw) receive() []byte {
	r.t.Helper()
	_ = r.SetReadDeadline(time.Now().Add(patience))
	head := make([]byte, 2)
	if _, err := io.ReadFull(r.Conn, head); err != nil {
		if e, ok := err.(net.Error); ok && e.Timeout() {
			r.t.Error("neither an answer nor an end")
		}
		return nil
	}
	size, shift := int(head[1]&0x7f), 7
	for c := head[1]; c&0x80 != 0; shift += 7 {
		next := make([]byte, 1)
		if _, err := io.ReadFull(r.Conn, next); err != nil {
			return nil
		}
		c = next[0]
		size |= int(c&0x7f) << shift
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(r.Conn, body); err != nil {
		return nil
	}
	return append(head[:1], body...)
}

// login is what a CONNECT says.
type login struct {
	version             byte
	id, name, password  string
	willTopic, willText string
	willRetain          bool
	willQoS             byte
	keepAlive           uint16
	properties          string // MQTT 5
}

func text(s string) string { return string(binary.BigEndian.AppendUint16(nil, uint16(len(s)))) + s }

// frame puts a header in front of a body.
func frame(head byte, body string) string {
	out := []byte{head}
	for n := len(body); ; {
		c := byte(n & 0x7f)
		if n >>= 7; n > 0 {
			out = append(out, c|0x80)
			continue
		}
		return string(append(out, c)) + body
	}
}

func (l login) packet() string {
	flags := byte(2)
	if l.willTopic != "" {
		flags |= 4 | l.willQoS<<3
		if l.willRetain {
			flags |= 0x20
		}
	}
	if l.name != "" {
		flags |= 0x80
	}
	if l.password != "" {
		flags |= 0x40
	}
	version := l.version
	if version == 0 {
		version = 4
	}
	body := text("MQTT") + string([]byte{version, flags}) + string(binary.BigEndian.AppendUint16(nil, l.keepAlive))
	if version == 5 {
		body += string([]byte{byte(len(l.properties))}) + l.properties
	}
	body += text(l.id)
	if l.willTopic != "" {
		if version == 5 {
			body += "\x00"
		}
		body += text(l.willTopic) + text(l.willText)
	}
	if l.name != "" {
		body += text(l.name)
	}
	if l.password != "" {
		body += text(l.password)
	}
	return frame(0x10, body)
}

// publishOf and subscribeTo have packet id 1 where there is one.
func publishOf(version byte, topic, payload string, qos byte, retain bool) string {
	head, body := 0x30|qos<<1, text(topic)
	if retain {
		head |= 1
	}
	if qos > 0 {
		body += "\x00\x01"
	}
	if version == 5 {
		body += "\x00"
	}
	return frame(head, body+payload)
}

func subscribeTo(version byte, filter string) string {
	body := "\x00\x01"
	if version == 5 {
		body += "\x00"
	}
	return frame(0x82, body+text(filter)+"\x01")
}

const ping = "\xc0\x00"

// enter connects as an account and fails the test when it is refused.
func enter(t testing.TB, b *Broker, l login) raw {
	t.Helper()
	r := dialRaw(t, b)
	r.send(l.packet())
	if got := r.receive(); len(got) < 3 || got[0] != 0x20 || got[2] != 0 {
		t.Fatalf("connect: got % x", got)
	}
	return r
}
