package broker

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"

	"steelyard/internal/leaktest"
	"steelyard/internal/mqtt"
)

func TestMain(m *testing.M) {
	if os.Getenv("STEELYARD_TEST_PLAIN_BROKER") != "" {
		plainBroker()
		return
	}
	leaktest.Main(m)
}

// issue501 is a SUBSCRIBE of MQTT 5 that ends before its options byte,
// github.com/mochi-mqtt/server issue 501.
const issue501 = "\x82\x06\x00\x01\x00\x00\x01x"

// corpus are packets that no client sends. Each is sent in a session of MQTT 3.1.1 and of MQTT 5.
var corpus = []struct{ name, bytes string }{
	{"issue 501", issue501},
	{"SUBSCRIBE of nothing", "\x82\x00"},
	{"SUBSCRIBE without filters", "\x82\x03\x00\x01\x00"},
	{"SUBSCRIBE with a filter cut off", "\x82\x08\x00\x01\x00\x00\x09abc"},
	{"SUBSCRIBE with packet id 0", "\x82\x07\x00\x00\x00\x00\x01x\x00"},
	{"SUBSCRIBE with wrong flags", "\x80\x06\x00\x01\x00\x01x\x00"},
	{"SUBSCRIBE with 1000 filters", frame(0x82, "\x00\x01\x00"+strings.Repeat(text("a")+"\x00", 1000))},
	{"SUBSCRIBE with 65400 slashes", frame(0x82, "\x00\x01\x00"+text(strings.Repeat("/", 65400))+"\x00")},
	{"SUBSCRIBE with QoS 3", "\x82\x07\x00\x01\x00\x00\x01x\x03"},
	{"SUBSCRIBE to an empty filter", "\x82\x06\x00\x01\x00\x00\x00\x00"},
	{"SUBSCRIBE with a property length past the end", "\x82\x07\x00\x01\x7f\x00\x01x\x00"},
	{"UNSUBSCRIBE with a filter cut off", "\xa2\x08\x00\x01\x00\x00\x09abc"},
	{"UNSUBSCRIBE without filters", "\xa2\x03\x00\x01\x00"},
	{"length of five bytes", "\x30\xff\xff\xff\xff\x01"},
	{"length of 256 MB", "\x30\xff\xff\xff\x7f"},
	{"PUBLISH of nothing", "\x30\x00"},
	{"PUBLISH with topic length 0", frame(0x30, "\x00\x00\x00hello")},
	{"PUBLISH with a topic of 65535 bytes", frame(0x30, text(strings.Repeat("a", 65535))+"\x00x")},
	{"PUBLISH with 65400 slashes", frame(0x30, text(strings.Repeat("/", 65400))+"\x00x")},
	{"PUBLISH with a topic longer than the packet", frame(0x30, "\xff\xffab")},
	{"PUBLISH to +", frame(0x30, text("steelyard/v1/+/records")+"\x00x")},
	{"PUBLISH to #", frame(0x30, text("steelyard/v1/#")+"\x00x")},
	{"PUBLISH to a topic with NUL", frame(0x30, text("steelyard/v1/north-1/rec\x00ords")+"\x00x")},
	{"PUBLISH to a topic with a control character", frame(0x30, text("steelyard/v1/north-1/rec\x1bords")+"\x00x")},
	{"PUBLISH to a topic with U+FEFF", frame(0x30, text("\ufeffsteelyard/v1/north-1/records")+"\x00x")},
	{"PUBLISH to a topic of invalid UTF-8", frame(0x30, text("steelyard/v1/\xff\xfe/records")+"\x00x")},
	{"PUBLISH to a topic with a surrogate", frame(0x30, text("steelyard/v1/\xed\xa0\x80/records")+"\x00x")},
	{"PUBLISH with packet id 0", frame(0x32, text("steelyard/v1/north-1/records")+"\x00\x00\x00x")},
	{"PUBLISH without a packet id", frame(0x32, text("steelyard/v1/north-1/records"))},
	{"PUBLISH with QoS 3", frame(0x36, text("steelyard/v1/north-1/records")+"\x00\x01\x00x")},
	{"PUBLISH with QoS 2", frame(0x34, text("steelyard/v1/north-1/records")+"\x00\x01\x00x")},
	{"PUBLISH with DUP and QoS 0", frame(0x38, text("steelyard/v1/north-1/records")+"\x00x")},
	{"PUBLISH with a topic alias", frame(0x30, text("steelyard/v1/north-1/records")+"\x03\x23\x00\x01x")},
	{"PUBLISH by a topic alias alone", frame(0x30, "\x00\x00\x03\x23\x00\x01x")},
	{"PUBLISH with an unknown property", frame(0x30, text("steelyard/v1/north-1/records")+"\x02\x7f\x00x")},
	{"PUBLISH with a property of CONNACK", frame(0x30, text("steelyard/v1/north-1/records")+"\x03\x21\x00\x01x")},
	{"PUBLISH with 30 user properties", frame(0x30, text("steelyard/v1/north-1/records")+"\xd2\x01"+strings.Repeat("\x26\x00\x01a\x00\x01b", 30)+"x")},
	{"second CONNECT", login{id: "again", name: "north", password: "n-secret"}.packet()},
	{"CONNACK", "\x20\x02\x00\x00"},
	{"SUBACK", "\x90\x04\x00\x01\x00\x00"},
	{"PINGRESP", "\xd0\x00"},
	{"PUBREC", "\x50\x02\x00\x01"},
	{"PUBREL", "\x62\x02\x00\x01"},
	{"PUBCOMP", "\x70\x02\x00\x01"},
	{"PUBACK of nothing", "\x40\x00"},
	{"PINGREQ with content", "\xc0\x01x"},
	{"AUTH", "\xf0\x02\x18\x00"},
	{"packet type 0", "\x00\x00"},
	{"DISCONNECT with half a property", "\xe0\x03\x00\x05\x11"},
}

// strangers are first packets that are no proper CONNECT.
var strangers = []struct{ name, bytes string }{
	{"nothing", ""},
	{"HTTP", "GET / HTTP/1.1\r\nHost: broker\r\n\r\n"},
	{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"},
	{"PUBLISH before CONNECT", publishOf(4, "steelyard/v1/north-1/records", "x", 0, false)},
	{"CONNECT of nothing", "\x10\x00"},
	{"CONNECT cut off", "\x10\x0a\x00\x04MQTT\x04\x02\x00\x00"},
	{"CONNECT of 256 MB", "\x10\xff\xff\xff\x7f"},
	{"CONNECT with a client id of 64 KiB", login{id: strings.Repeat("a", 65535)}.packet()},
	{"CONNECT with a client id of 2 KiB", login{id: strings.Repeat("a", 2000)}.packet()},
	{"CONNECT with a client id with a control character", login{id: "a\nb"}.packet()},
	{"CONNECT of MQTT 3.1", frame(0x10, text("MQIsdp")+"\x03\x02\x00\x0a"+text("a"))},
	{"CONNECT of MQTT 6", frame(0x10, text("MQTT")+"\x06\x02\x00\x0a\x00"+text("a"))},
	{"CONNECT of another protocol", frame(0x10, text("HTTP")+"\x04\x02\x00\x0a"+text("a"))},
	{"CONNECT with the reserved flag", frame(0x10, text("MQTT")+"\x04\x03\x00\x0a"+text("a"))},
	{"CONNECT with will QoS 3", login{id: "a", willTopic: "steelyard/v1/north-1/status", willText: "x", willQoS: 3}.packet()},
	{"CONNECT with a will cut off", frame(0x10, text("MQTT")+"\x04\x06\x00\x0a"+text("a")+"\x00\x05st")},
	{"CONNECT with a password but no name", frame(0x10, text("MQTT")+"\x04\x42\x00\x0a"+text("a")+text("secret"))},
	{"CONNECT with a name flag but no name", frame(0x10, text("MQTT")+"\x04\x82\x00\x0a"+text("a"))},
	{"CONNECT with an authentication method", login{version: 5, id: "a", properties: "\x15\x00\x05SCRAM"}.packet()},
	{"CONNECT with a property length past the end", frame(0x10, text("MQTT")+"\x05\x02\x00\x0a\x7f"+text("a"))},
	{"CONNECT with id __proto__ and no account", login{id: "__proto__"}.packet()},
	{"CONNECT with an unknown account", login{id: "a", name: "nobody", password: "n-secret"}.packet()},
	{"CONNECT with a wrong password", login{id: "a", name: "north", password: "s-secret"}.packet()},
	{"CONNECT with an empty password", login{id: "a", name: "north"}.packet()},
}

// working fails the test when a well-behaved site and the cloud can't talk.
func working(t testing.TB, site *mqtt.Session, records <-chan mqtt.Message, mark string) {
	t.Helper()
	if err := site.Publish(t.Context(), mqtt.Message{Topic: "steelyard/v1/south-1/records", Payload: []byte(mark), QoS: 1}); err != nil {
		t.Fatalf("after %s: %v", mark, err)
	}
	for {
		if string(next(t, records).Payload) == mark {
			return
		}
	}
}

func TestABadPacketEndsItsConnectionOnly(t *testing.T) {
	b := serve(t, Config{Accounts: accounts})
	cloud, south := join(t, b, "cloud", "c-secret"), join(t, b, "south", "s-secret")
	records := collect(t, cloud, "steelyard/v1/south-1/records")
	for _, version := range []byte{4, 5} {
		for _, c := range corpus {
			name := fmt.Sprintf("%s, version %d", c.name, version)
			r := enter(t, b, login{version: version, name: "north", password: "n-secret", id: "bad", keepAlive: 60})
			// Read as MQTT 3.1.1 some of the packets mean something else and are allowed.
			if r.exchange(c.bytes) && version == 5 {
				t.Errorf("%s: the session goes on", name)
			}
			working(t, south, records, name)
		}
	}
	for _, c := range strangers {
		r := dialRaw(t, b)
		r.send(c.bytes)
		if c.bytes == "" || strings.HasSuffix(c.name, "cut off") {
			r.Close() // it would be waited for
			continue
		}
		if got := r.receive(); got != nil && (got[0] != 0x20 || got[2] == 0) {
			t.Errorf("%s: got % x", c.name, got)
		}
		r.Close()
		working(t, south, records, c.name)
	}
	if got := b.Stats(); got.Panics != 0 || got.Refused == 0 {
		t.Errorf("stats %+v: want refusals and no panics", got)
	}
}

func TestRandomBytes(t *testing.T) {
	const connections, at = 10_000, 50
	b := serve(t, Config{Accounts: accounts, Log: slog.New(slog.DiscardHandler)})
	cloud, south := join(t, b, "cloud", "c-secret"), join(t, b, "south", "s-secret")
	records := collect(t, cloud, "steelyard/v1/south-1/records")
	var done sync.WaitGroup
	for worker := range at {
		done.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(worker)))
			for n := range connections / at {
				r := dialRaw(t, b)
				noise := make([]byte, 1+rnd.IntN(200))
				for i := range noise {
					noise[i] = byte(rnd.Uint32())
				}
				switch n % 4 {
				case 1: // a proper start
					noise[0] = 0x10
				case 2: // inside a session
					r.send(login{version: 4 + byte(n/4%2), id: fmt.Sprintf("noise-%d-%d", worker, n), name: "north", password: "n-secret", keepAlive: 60}.packet())
					r.receive()
				case 3: // a plausible packet
					r.send(login{version: 5, id: fmt.Sprintf("noise-%d-%d", worker, n), name: "north", password: "n-secret", keepAlive: 60}.packet())
					r.receive()
					noise[0] = []byte{0x82, 0xa2, 0x30, 0x32, 0x40, 0xe0}[n/4%6]
					noise = []byte(frame(noise[0], string(noise[1:])))
				}
				r.send(string(noise))
				r.Close()
			}
		})
	}
	done.Wait()
	working(t, south, records, "the noise")
	if got := b.Stats(); got.Panics != 0 {
		t.Errorf("stats %+v: want no panics", got)
	}
	// All sessions and handshake slots are given back.
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		got := b.Stats()
		if got.Clients == 2 && got.Waiting == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("stats %+v: want 2 clients and nobody waiting", got)
		}
	}
}

// Should a panic come from elsewhere in the library it is contained too: the filter is off here.
func TestAPanicIsContained(t *testing.T) {
	b, err := Open(Config{Accounts: accounts, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	b.filtered = false
	run(t, b)
	cloud, south := join(t, b, "cloud", "c-secret"), join(t, b, "south", "s-secret")
	records := collect(t, cloud, "steelyard/v1/south-1/records")

	r := enter(t, b, login{version: 5, id: "bad", name: "north", password: "n-secret", keepAlive: 60})
	defer r.Close()
	r.send(subscribeTo(5, "steelyard/v1/north-1/request"))
	r.receive()
	subscriptions := b.server.Info.Clone().Subscriptions
	r.send(issue501)
	if got := r.receive(); got != nil {
		t.Errorf("got % x", got)
	}
	working(t, south, records, "the panic")
	// The library closes the connection before the panic reaches the broker, so its traces come later.
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		_, known := b.server.Clients.Get("bad")
		left := b.server.Info.Clone().Subscriptions
		stats := b.Stats()
		if !known && left == subscriptions-1 && stats.Clients == 2 && stats.Panics == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("stats %+v, want 2 clients and one panic; the client is known: %t; %d subscriptions, want %d", stats, known, left, subscriptions-1)
		}
	}
}

// plainRights are access rights as the library's manual shows them: the account site1 may write
// site1/ and the account reader may read everything.
type plainRights struct{ mochi.HookBase }

func (*plainRights) Provides(b byte) bool {
	return b == mochi.OnConnectAuthenticate || b == mochi.OnACLCheck
}
func (*plainRights) OnConnectAuthenticate(*mochi.Client, packets.Packet) bool { return true }
func (*plainRights) OnACLCheck(cl *mochi.Client, topic string, write bool) bool {
	if string(cl.Properties.Username) == "reader" {
		return !write
	}
	return strings.HasPrefix(topic, "site1/")
}

// plainBroker is the process of the test below: the library as it comes, with an account that may
// only write site1/#.
func plainBroker() {
	server := mochi.New(&mochi.Options{Logger: slog.New(slog.DiscardHandler)})
	if err := server.AddHook(new(plainRights), nil); err != nil {
		panic(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	if err := server.AddListener(listeners.NewNet("plain", l)); err != nil {
		panic(err)
	}
	if err := server.Serve(); err != nil {
		panic(err)
	}
	fmt.Println(l.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin) // until the test has ended
}

// The library as it comes sends a will to a foreign topic, issue 503, and dies of issue 501.
// Should this test fail, an update has mended it.
func TestTheLibraryAsItComes(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), "STEELYARD_TEST_PLAIN_BROKER=1")
	var said strings.Builder
	cmd.Stderr = &said
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	connect := func(l login) raw {
		conn, err := net.Dial("tcp", strings.TrimSpace(addr))
		if err != nil {
			t.Fatal(err)
		}
		r := raw{conn, t}
		r.send(l.packet())
		if got := r.receive(); len(got) < 3 || got[2] != 0 {
			t.Fatalf("connect: got % x", got)
		}
		return r
	}
	reader := connect(login{id: "reader", name: "reader", keepAlive: 60})
	defer reader.Close()
	reader.send(subscribeTo(4, "site2/weigh"))
	reader.receive()
	connect(login{id: "forger", name: "site1", keepAlive: 60, willTopic: "site2/weigh", willText: "FORGED"}).Close()
	if got := reader.receive(); !strings.Contains(string(got), "FORGED") {
		t.Errorf("issue 503: got %q, want the forged will", got)
	}

	bad := connect(login{version: 5, id: "bad", name: "site1", keepAlive: 60})
	defer bad.Close()
	bad.send(issue501)
	if err := cmd.Wait(); err == nil || !strings.Contains(said.String(), "index out of range") {
		t.Errorf("issue 501: the process ended with %v and said %.300s", err, said.String())
	}
}
