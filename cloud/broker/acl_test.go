package broker

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// topics and filters that every role tries: own, foreign, outside, with wildcards, shared, of the
// broker itself, and misspelt.
func attempts() []string {
	var out []string
	for _, site := range []string{"north-1", "south-1", "+"} {
		for _, rest := range []string{"records", "samples", "live", "status", "machines", "receipt/records", "receipt/samples",
			"receipt/+", "receipt/#", "receipt", "request", "+", "#", "other", "records/more", "../south-1/records"} {
			out = append(out, "steelyard/v1/"+site+"/"+rest)
		}
	}
	return append(out,
		"#", "+", "steelyard/#", "steelyard/+/north-1/records", "steelyard/v1", "steelyard/v1/#", "steelyard/v1/north-1",
		"steelyard/v1//records", "steelyard/v2/north-1/records", "/steelyard/v1/north-1/records", "Steelyard/v1/north-1/records",
		"steelyard/v1/NORTH-1/records", "steelyard/v1/north-1/Records", "steelyard/v1/north-1/records/", "north-1/records",
		"$SYS/#", "$SYS/broker/version", "$share/g/steelyard/v1/north-1/receipt/+", "$share/g/steelyard/v1/+/records",
		"$share/g/#", "$SHARE/g/steelyard/v1/+/records", "$queue/steelyard/v1/+/records")
}

// allowed says in plain words what each role may do; everything else is refused.
func allowed(role, act, topic string) bool {
	switch {
	case role == "cloud" && act == "subscribe":
		topic = strings.TrimPrefix(topic, "$share/g/")
		return strings.HasPrefix(topic, "steelyard/v1/")
	case role == "cloud":
		site, rest, _ := strings.Cut(strings.TrimPrefix(topic, "steelyard/v1/"), "/")
		return strings.HasPrefix(topic, "steelyard/v1/") && (site == "north-1" || site == "south-1") && rest != "" && !strings.ContainsAny(topic, "+#")
	}
	own := "steelyard/v1/" + role + "-1/"
	switch act {
	case "publish", "will":
		return slices.Contains([]string{own + "records", own + "samples", own + "live", own + "status", own + "machines"}, topic)
	case "publish retained", "will retained":
		return topic == own+"status" || topic == own+"machines"
	}
	return slices.Contains([]string{own + "receipt/+", own + "receipt/records", own + "receipt/samples", own + "request"}, topic)
}

// witness is told by the library what it lets through.
type witness struct {
	mochi.HookBase
	mu   sync.Mutex
	sent []string // "account: act topic"
}

func (w *witness) ID() string { return "witness" }
func (w *witness) Provides(b byte) bool {
	return b == mochi.OnPublished || b == mochi.OnWillSent || b == mochi.OnRetainMessage
}
func (w *witness) saw(cl *mochi.Client, act, topic string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent = append(w.sent, fmt.Sprintf("%s: %s %s", cl.Properties.Username, act, topic))
}
func (w *witness) OnPublished(cl *mochi.Client, pk packets.Packet) {
	w.saw(cl, "publish", pk.TopicName)
}
func (w *witness) OnWillSent(cl *mochi.Client, pk packets.Packet) { w.saw(cl, "will", pk.TopicName) }
func (w *witness) OnRetainMessage(cl *mochi.Client, pk packets.Packet, _ int64) {
	w.saw(cl, "publish retained", pk.TopicName)
}

func TestEachAccountReachesItsOwnTopicsOnly(t *testing.T) {
	b, err := Open(Config{Accounts: accounts})
	if err != nil {
		t.Fatal(err)
	}
	w := new(witness)
	if err := b.server.AddHook(w, nil); err != nil {
		t.Fatal(err)
	}
	run(t, b)
	cells, yes := 0, 0
	for _, role := range []string{"north", "south", "cloud"} {
		for _, version := range []byte{4, 5} {
			for _, act := range []string{"publish", "publish retained", "subscribe", "will", "will retained"} {
				for _, qos := range []byte{0, 1} {
					for _, topic := range attempts() {
						want := allowed(role, act, topic)
						got := try(t, b, role, version, act, qos, topic)
						if got != want {
							t.Errorf("%s, version %d: %s %q with QoS %d: allowed %t, want %t", role, version, act, topic, qos, got, want)
						}
						cells++
						if got {
							yes++
						}
					}
				}
			}
		}
	}
	t.Logf("%d attempts, %d allowed", cells, yes)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, line := range w.sent {
		role, rest, _ := strings.Cut(line, ": ")
		for _, act := range []string{"publish retained", "publish", "will"} {
			if topic, ok := strings.CutPrefix(rest, act+" "); ok {
				if !allowed(role, act, topic) {
					t.Errorf("let through: %s", line)
				}
				break
			}
		}
	}
	if len(w.sent) == 0 {
		t.Error("nothing was let through")
	}
}

// try does one thing on a connection of its own and reports whether it was allowed.
func try(t testing.TB, b *Broker, role string, version byte, act string, qos byte, topic string) bool {
	t.Helper()
	l := login{version: version, id: role + "-try", name: role, password: role[:1] + "-secret", keepAlive: 60}
	if will, ok := strings.CutPrefix(act, "will"); ok {
		l.willTopic, l.willText, l.willQoS, l.willRetain = topic, "gone", qos, will != ""
	}
	r := dialRaw(t, b)
	defer r.Close()
	r.send(l.packet())
	got := r.receive()
	if l.willTopic != "" {
		return len(got) > 2 && got[0] == 0x20 && got[2] == 0
	}
	if len(got) < 3 || got[2] != 0 {
		t.Fatalf("connect: got % x", got)
	}
	switch act {
	case "subscribe":
		r.send(subscribeTo(version, topic))
		got := r.receive()
		return len(got) > 0 && got[0] == 0x90 && got[len(got)-1] <= 1
	default:
		return r.exchange(publishOf(version, topic, "x", qos, act != "publish"))
	}
}

func TestAnonymousIsTheCloudOnlyWithoutAccounts(t *testing.T) {
	b := serve(t, Config{Listen: "127.0.0.1:0"})
	r := enter(t, b, login{id: "anybody", keepAlive: 60})
	defer r.Close()
	r.send(subscribeTo(4, "steelyard/v1/#"))
	if got := r.receive(); len(got) == 0 || got[len(got)-1] > 1 {
		t.Errorf("subscribe: got % x", got)
	}
	r.send(subscribeTo(4, "#"))
	if got := r.receive(); len(got) == 0 || got[len(got)-1] != 0x80 {
		t.Errorf("subscribe to everything: got % x", got)
	}
}

func TestAClientIDBelongsToTheAccountThatHoldsIt(t *testing.T) {
	b := serve(t, Config{Accounts: accounts})
	first := enter(t, b, login{id: "edge", name: "north", password: "n-secret", keepAlive: 60})
	defer first.Close()
	thief := dialRaw(t, b)
	defer thief.Close()
	thief.send(login{id: "edge", name: "south", password: "s-secret", keepAlive: 60}.packet())
	if got := thief.receive(); len(got) < 3 || got[2] != 2 {
		t.Errorf("another account: got % x, want the code for a refused id", got)
	}
	first.send(ping)
	if got := first.receive(); len(got) == 0 || got[0] != 0xd0 {
		t.Errorf("the first connection: got % x", got)
	}
	var reading sync.WaitGroup
	reading.Go(func() { // a DISCONNECT and the end
		for got := first.receive(); got != nil; got = first.receive() {
			if got[0] != 0xe0 {
				t.Errorf("the first connection after its takeover: got % x", got)
			}
		}
	})
	enter(t, b, login{id: "edge", name: "north", password: "n-secret", keepAlive: 60}).Close()
	reading.Wait()
}
