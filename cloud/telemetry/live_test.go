package telemetry_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"steelyard/cloud/telemetry"
	"steelyard/internal/wire"
)

// wall is a clock that is set by hand.
type wall struct{ now time.Time }

func (w *wall) read() time.Time       { return w.now }
func (w *wall) pass(by time.Duration) { w.now = w.now.Add(by) }

func liveOf(t *testing.T) (*telemetry.Live, *wall) {
	w := &wall{start}
	return telemetry.NewLive(telemetry.LiveConfig{Sites: []string{"xinhua-1", "yulin-2"}, Now: w.read}), w
}

func values(t *testing.T, l *telemetry.Live, atMS int64, list ...wire.LiveValue) {
	t.Helper()
	if err := l.Message("steelyard/v1/xinhua-1/live", wire.Live{Site: "xinhua-1", AtMS: atMS, Values: list}.Encode()); err != nil {
		t.Fatal(err)
	}
}

func status(t *testing.T, l *telemetry.Live, session string, online bool, atMS int64) {
	t.Helper()
	s := wire.Status{Site: "xinhua-1", Session: session, Online: online, AtMS: atMS}
	if err := l.Message("steelyard/v1/xinhua-1/status", s.Encode()); err != nil {
		t.Fatal(err)
	}
}

func amps(value string, ageMS int64) wire.LiveValue {
	return wire.LiveValue{Device: "baler-1", Tag: "motor_current", Value: value, Unit: "A", OK: true, AgeMS: ageMS}
}

func TestLiveAge(t *testing.T) {
	l, clock := liveOf(t)
	// The edge's clock is wrong by years; the age is not.
	values(t, l, 1, amps("12.5", 300), wire.LiveValue{Device: "baler-1", Tag: "state", Text: "running", OK: false, AgeMS: 0})
	clock.pass(2 * time.Second)
	got := l.Snapshot()[0]
	if v := got.Values[0]; v.Age != 2300*time.Millisecond || !v.Live || v.Value != "12.5" {
		t.Errorf("after 2 s: %+v", v)
	}
	if v := got.Values[1]; v.Live {
		t.Errorf("a value that is not valid is shown as live: %+v", v)
	}
	clock.pass(time.Minute)
	got = l.Snapshot()[0]
	if v := got.Values[0]; v.Age != 62300*time.Millisecond || v.Live {
		t.Errorf("after a minute of silence: %+v", v)
	}
	if got.Silence != 62*time.Second {
		t.Errorf("silence %v, want 62 s", got.Silence)
	}
	// A message does not make the values young that it does not carry, nor those it says are old.
	values(t, l, 2, wire.LiveValue{Device: "baler-1", Tag: "state", Text: "running", OK: true, AgeMS: 90_000})
	for _, v := range l.Snapshot()[0].Values {
		if v.Live {
			t.Errorf("stale value shown as live: %+v", v)
		}
	}
	// One that was overtaken changes nothing; a clock set back does not silence the site.
	values(t, l, 100_000, amps("1", 0))
	values(t, l, 99_000, amps("2", 0))
	if v := l.Snapshot()[0].Values[0]; v.Value != "1" {
		t.Errorf("an overtaken message counts: %+v", v)
	}
	values(t, l, 50, amps("3", 0))
	if v := l.Snapshot()[0].Values[0]; v.Value != "3" {
		t.Errorf("after the edge's clock was set back: %+v", v)
	}
	if other := l.Snapshot()[1]; other.Site != "yulin-2" || len(other.Values) != 0 || !other.Heard.IsZero() {
		t.Errorf("the other site: %+v", other)
	}
}

func TestLiveSessions(t *testing.T) {
	l, _ := liveOf(t)
	online := func(want bool, why string) {
		t.Helper()
		if got := l.Snapshot()[0].Online; got != want {
			t.Errorf("online %v, want %v: %s", got, want, why)
		}
	}
	status(t, l, "s1", true, 1000)
	values(t, l, 1, amps("5", 0))
	online(true, "connected")
	status(t, l, "s2", true, 5) // the edge restarted with its clock in 1970
	online(true, "a new session")
	status(t, l, "s1", false, 1000)
	online(true, "the will of the old session comes late")
	status(t, l, "s1", true, 9000)
	if got := l.Snapshot()[0].Status.Session; got != "s2" {
		t.Errorf("session %s, want s2: the old one came back", got)
	}
	status(t, l, "s0", false, 1)
	online(true, "the will of a session that was never seen")
	status(t, l, "s2", false, 5)
	online(false, "the will of this session")
	if v := l.Snapshot()[0].Values[0]; v.Live {
		t.Errorf("a value of a site that is offline is shown as live: %+v", v)
	}
	status(t, l, "s3", true, 1)
	online(true, "back")
	for i := range 100 {
		status(t, l, fmt.Sprint("n", i), true, 1)
	}
	status(t, l, "n98", false, 1)
	online(true, "after many sessions")

	l, _ = liveOf(t)
	status(t, l, "s7", false, 1)
	online(false, "the first that is heard is a retained will")
}

func TestLiveBounds(t *testing.T) {
	l, clock := liveOf(t)
	fill := func(prefix string) {
		for part := range wire.MaxLive / 500 {
			var list []wire.LiveValue
			for i := range 500 {
				v := amps("1", 0)
				v.Tag = fmt.Sprint(prefix, part*500+i)
				list = append(list, v)
			}
			values(t, l, clock.now.UnixMilli(), list...)
		}
	}
	fill("a")
	fill("b")
	if s := l.Snapshot()[0]; len(s.Values) != wire.MaxLive || s.Refused != wire.MaxLive || s.Values[0].Tag[0] != 'a' {
		t.Errorf("%d values, %d refused, want %d of both", len(s.Values), s.Refused, wire.MaxLive)
	}
	clock.pass(time.Minute) // what is stale makes room
	fill("b")
	if s := l.Snapshot()[0]; len(s.Values) != wire.MaxLive || s.Values[0].Tag[0] != 'b' {
		t.Errorf("%d values of %s, want %d new ones", len(s.Values), s.Values[0].Tag, wire.MaxLive)
	}
	bad := amps("1", 0)
	for _, text := range injections {
		bad.Device = text
		values(t, l, clock.now.UnixMilli(), bad)
	}
	if s := l.Snapshot()[0]; len(s.Values) != wire.MaxLive {
		t.Errorf("%d values, want %d", len(s.Values), wire.MaxLive)
	}
}

func TestLiveRefuses(t *testing.T) {
	l, _ := liveOf(t)
	for _, m := range []struct{ topic, payload string }{
		{"steelyard/v1/xinhua-1/live", string(wire.Live{Site: "yulin-2"}.Encode())},
		{"steelyard/v1/xinhua-1/status", string(wire.Status{Site: "yulin-2", Online: true}.Encode())},
		{"steelyard/v1/elsewhere/live", string(wire.Live{Site: "elsewhere"}.Encode())},
		{"steelyard/v1/xinhua-1/records", "x"},
		{"steelyard/v1/xinhua-1/live", "x"},
		{"steelyard/v1/xinhua-1/live", `{"v":2,"site":"xinhua-1","at_ms":1,"values":[]}`},
		{"steelyard/v1/xinhua-1/status", ""},
		{"elsewhere", "x"},
	} {
		if err := l.Message(m.topic, []byte(m.payload)); err == nil {
			t.Errorf("%s %s: no error", m.topic, m.payload)
		}
	}
	for _, s := range l.Snapshot() {
		if !s.Heard.IsZero() {
			t.Errorf("refused messages count as heard: %+v", s)
		}
	}
}

func TestLiveSubscribe(t *testing.T) {
	l, _ := liveOf(t)
	ctx, cancel := context.WithCancel(t.Context())
	changes, idle := l.Subscribe(ctx), l.Subscribe(ctx)
	for i := range 100 { // a receiver that never reads holds up nobody
		values(t, l, int64(i), amps("1", 0))
	}
	<-changes
	select {
	case <-changes:
		t.Error("100 changes came as two")
	default:
	}
	values(t, l, 1000, amps("2", 0))
	<-changes
	cancel()
	for range changes {
	}
	for range idle {
	}
	values(t, l, 1001, amps("3", 0))
}

// TestWatch: a site is told that somebody looks, and again before it forgets, however often pages
// call; nobody looks at a site that is not configured.
func TestWatch(t *testing.T) {
	clock := &wall{start}
	var asked []string
	l := telemetry.NewLive(telemetry.LiveConfig{Sites: []string{"xinhua-1", "yulin-2"}, Now: clock.read, Ask: func(site string, r wire.Request) {
		asked = append(asked, fmt.Sprint(clock.now.Sub(start), " ", site, " ", r.Stream, " ", r.Why))
	}})
	for range 25 {
		l.Watch("xinhua-1")
		l.Watch("elsewhere")
		clock.pass(time.Second)
	}
	l.Watch("yulin-2")
	want := []string{"0s xinhua-1 live watch", "10s xinhua-1 live watch", "20s xinhua-1 live watch", "25s yulin-2 live watch"}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestSince: whoever follows the changes knows at every moment what a snapshot says, and is told
// nothing twice.
func TestSince(t *testing.T) {
	l, clock := liveOf(t)
	known := map[string]telemetry.ValueNow{} // of xinhua-1
	online, told, mark := false, 0, uint64(0)
	follow := func() {
		t.Helper()
		var sites []telemetry.SiteNow
		sites, mark = l.Since(mark)
		told = 0
		for _, s := range sites {
			if s.Site != "xinhua-1" {
				continue
			}
			online = s.Online
			if s.Whole {
				clear(known)
			}
			for _, v := range s.Values {
				known[v.Device+" "+v.Tag] = v
			}
			told += len(s.Values)
		}
		now := l.Snapshot()[0]
		if now.Online != online || len(now.Values) != len(known) {
			t.Errorf("followed %d values, online %v; a snapshot has %d, online %v", len(known), online, len(now.Values), now.Online)
		}
		for _, v := range now.Values {
			k := known[v.Device+" "+v.Tag]
			if k.Live != v.Live || k.Value != v.Value || k.Text != v.Text {
				t.Errorf("followed %+v, a snapshot has %+v", k, v)
			}
		}
	}
	step := func(what string, want int) {
		t.Helper()
		if follow(); told != want {
			t.Errorf("%s: %d values were told, want %d", what, told, want)
		}
	}
	step("nothing has come", 0)
	state := wire.LiveValue{Device: "baler-1", Tag: "state", Text: "running", OK: true}
	values(t, l, 1, amps("1", 0), state)
	step("two values", 2)
	step("nothing new", 0)
	clock.pass(time.Second)
	values(t, l, 1001, amps("1", 0), state)
	step("the same again", 0)
	values(t, l, 1002, amps("2", 0), state)
	step("one of two", 1)
	clock.pass(8 * time.Second)
	values(t, l, 2001, state)
	step("the other is said again", 0)
	clock.pass(3 * time.Second)
	step("one has grown stale", 1)
	step("and is stale", 0)
	clock.pass(20 * time.Second)
	step("the other, too", 1)
	values(t, l, 3001, state)
	step("it is fresh again", 1)
	status(t, l, "s1", true, 3002)
	step("the site says that it is online", 2)
	status(t, l, "s1", true, 3003)
	step("and again", 0)
	status(t, l, "s1", false, 3004)
	step("its will", 2)
}

// A site that is online, has records that wait and gets no receipt is told apart from one that
// catches up.
func TestUnreceipted(t *testing.T) {
	now := time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC)
	l := telemetry.NewLive(telemetry.LiveConfig{Sites: []string{"xinhua-1"}, Now: func() time.Time { return now }})
	for _, step := range []struct {
		last, backlog uint64
		online        bool
		want          time.Duration
	}{
		{100, 0, true, 0}, {101, 1, true, 0}, {105, 5, true, time.Minute}, {200, 100, true, 2 * time.Minute},
		{250, 120, true, 0}, {260, 130, true, time.Minute}, {260, 130, false, 0}, {260, 0, true, 0},
	} {
		if err := l.Status(wire.Status{V: 1, Site: "xinhua-1", Online: step.online, Session: "a", Last: step.last, Backlog: step.backlog}); err != nil {
			t.Fatal(err)
		}
		if got := l.Snapshot()[0].Unreceipted; got != step.want {
			t.Errorf("%+v: without a receipt for %v", step, got)
		}
		now = now.Add(time.Minute)
	}
}

// The names of machines reach whoever follows a site. What a broker has kept is no sign of life, and
// what is no name is not taken.
func TestLiveMachineNames(t *testing.T) {
	l := telemetry.NewLive(telemetry.LiveConfig{Sites: []string{"xinhua-1"}})
	_, mark := l.Since(0)
	names := []wire.MachineName{{Device: "weighbridge-1", Name: "1号地磅", English: "Weighbridge 1"}}
	if err := l.Message(wire.MachinesTopic("xinhua-1"), wire.Machines{Site: "xinhua-1", Machines: names}.Encode()); err != nil {
		t.Fatal(err)
	}
	changed, _ := l.Since(mark)
	if len(changed) != 1 || !slices.Equal(changed[0].Machines, names) || !changed[0].Heard.IsZero() {
		t.Errorf("got %+v", changed)
	}
	for name, m := range map[string]wire.Machines{
		"foreign": {Site: "weidong-1"},
		"device":  {Site: "xinhua-1", Machines: []wire.MachineName{{Device: "Weighbridge 1", Name: "x"}}},
		"control": {Site: "xinhua-1", Machines: []wire.MachineName{{Device: "belt-1", Name: "1号\x00"}}},
		"many":    {Site: "xinhua-1", Machines: make([]wire.MachineName, wire.MaxMachines+1)},
	} {
		if err := l.Message(wire.MachinesTopic("xinhua-1"), m.Encode()); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if now := l.Snapshot()[0].Machines; !slices.Equal(now, names) {
		t.Errorf("got %+v", now)
	}
}
