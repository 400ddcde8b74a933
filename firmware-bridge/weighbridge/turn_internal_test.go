package weighbridge

import (
	"log/slog"
	"testing"
	"time"

	"steelyard/firmware-bridge/device"
)

type states []device.State

func (s *states) Weight(device.Weight)   {}
func (s *states) Scan(device.Scan)       {}
func (s *states) Health(h device.Health) { *s = append(*s, h.State) }

func polledTurns(t *testing.T, n int) *turns {
	t.Helper()
	d, _ := Find("yaohua-cmd")
	all := &turns{}
	for range n {
		all.members = append(all.members, &member{Indicator: Indicator{Dialect: d}, log: slog.New(slog.DiscardHandler)})
	}
	return all
}

// lineMinute plays a minute of a line: a turn with an answer takes 250 ms, one without 700 ms. It
// returns how often each was asked, and the longest that the first one had to wait.
func lineMinute(all *turns, answers func(n int, since time.Duration) bool, tell bool) (asked []int, longest time.Duration) {
	begin := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	asked = make([]int, len(all.members))
	latest := begin
	for at := begin; at.Sub(begin) < time.Minute; {
		m, _ := all.next(at)
		if m == nil {
			at = at.Add(50 * time.Millisecond)
			continue
		}
		for n := range all.members {
			if all.members[n] != m {
				continue
			}
			asked[n]++
			if n == 0 {
				longest, latest = max(longest, at.Sub(latest)), at
			}
			if answers(n, at.Sub(begin)) {
				m.answered()
				at = at.Add(250 * time.Millisecond)
				break
			}
			at = at.Add(700 * time.Millisecond)
			if tell {
				all.missed(m, at)
			}
		}
	}
	return asked, longest
}

// Two living and one dead: the dead one is asked three times and then after 1, 2, 5, 10 and 30 s.
func TestTheDeadDoNotSlowTheLiving(t *testing.T) {
	dead := func(n int, _ time.Duration) bool { return n != 2 }
	asked, _ := lineMinute(polledTurns(t, 3), dead, true)
	if asked[2] < 3+4 || asked[2] > 3+5 {
		t.Errorf("the dead one was asked %d times in a minute, want 3 and then after 1, 2, 5, 10 and 30 s", asked[2])
	}
	if asked[0] < 105 || asked[1] < 105 { // 120 without the dead one
		t.Errorf("the living were asked %v times", asked[:2])
	}
	// The negative control: when nobody is set aside, the dead one takes more than half of the line.
	if asked, _ := lineMinute(polledTurns(t, 3), dead, false); asked[0] > 55 || asked[2] < 45 {
		t.Errorf("without setting aside: %v", asked)
	}
}

// When all are silent it may be the line: all are asked as ever, and all are back at once.
func TestADeadLineHealsAtOnce(t *testing.T) {
	all := polledTurns(t, 3)
	back := 40 * time.Second
	first := map[int]time.Duration{}
	asked, longest := lineMinute(all, func(n int, at time.Duration) bool {
		if at >= back && first[n] == 0 {
			first[n] = at
		}
		return at >= back
	}, true)
	for n := range all.members {
		if late := first[n] - back; first[n] == 0 || late > 5*time.Second {
			t.Errorf("indicator %d was first asked %s after the line was back", n, late)
		}
	}
	if longest > 3*700*time.Millisecond {
		t.Errorf("asked %v, longest wait %s", asked, longest)
	}
}

// One that lives again is asked as often as the others.
func TestOneThatLivesAgainHasItsTurns(t *testing.T) {
	all := polledTurns(t, 2)
	lineMinute(all, func(n int, _ time.Duration) bool { return n == 0 }, true)
	if all.members[1].responding() {
		t.Fatal("a dead indicator is not set aside")
	}
	all.members[1].answered()
	asked, _ := lineMinute(all, func(int, time.Duration) bool { return true }, true)
	if asked[0] != asked[1] {
		t.Errorf("asked %v", asked)
	}
}

// A request from outside goes to its own indicator, in its turn, once, though it is set aside; and
// a flood of them keeps nobody else from being asked.
func TestRequestsWaitForTheirTurn(t *testing.T) {
	all := polledTurns(t, 2)
	ask := make(chan Request, 100)
	all.members[1].Ask = ask
	all.members[1].misses, all.members[1].suspendedUntil = 9, time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	now := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	for range 3 {
		if m, due := all.next(now); m != all.members[0] || due != ReadGross {
			t.Fatalf("asked %q", due)
		}
	}
	for range 10 {
		ask <- Handshake
	}
	ask <- "zero" // unknown: dropped
	ask <- ReadGross
	counts := map[Request]int{}
	for range 24 {
		m, due := all.next(now)
		if m == all.members[1] {
			counts[due]++
		} else {
			counts["of the other"]++
		}
	}
	if counts[Handshake] != 10 || counts[ReadGross] != 1 || counts["of the other"] != 13 || len(counts) != 3 {
		t.Errorf("asked %v", counts)
	}
	close(ask)
	if m, due := all.next(now); m != all.members[0] || due != ReadGross {
		t.Errorf("after the channel was closed: asked %q", due)
	}
}

// An indicator that is set aside is not asked for up to 30 s. It keeps the judgement of its latest
// turn for so long: a fault must not turn into silence and back with each try.
func TestTheJudgementOfATurnStands(t *testing.T) {
	begin := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	const limit = 2 * time.Second
	for _, test := range []struct {
		name  string
		heard time.Duration // after the beginning of its turn
		want  device.State
	}{{"bytes in its turn", 50 * time.Millisecond, device.Faulty}, {"bytes before its turn alone", -3 * time.Second, device.Silent}} {
		got := states{}
		m := &member{asked: begin, heard: begin.Add(test.heard), lastFrame: begin.Add(-time.Minute),
			health: &health{sink: &got, log: slog.New(slog.DiscardHandler)}, decoder: new(Decoder)}
		for at := time.Duration(0); at < 30*time.Second; at += 50 * time.Millisecond {
			m.checkSilence(begin.Add(time.Second+at), limit)
		}
		if len(got) != 1 || got[0] != test.want {
			t.Errorf("%s: judged %v, want %s once", test.name, got, test.want)
		}
	}
}

// Its next turn has begun and nothing has come yet: that is no silence, until the turn has ended.
func TestAnOpenTurnIsNotJudged(t *testing.T) {
	now := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	got := states{}
	m := &member{asked: now.Add(-time.Millisecond), heard: now.Add(-10 * time.Second), lastFrame: now.Add(-time.Minute),
		health: &health{sink: &got, log: slog.New(slog.DiscardHandler), state: device.Faulty}}
	other := &member{lastFrame: now, health: m.health}
	l := &session{turns: turns{members: []*member{m, other}}, current: m, open: true}
	l.checkSilence(now, 2*time.Second)
	if len(got) != 0 {
		t.Errorf("judged %v in its turn", got)
	}
	l.open = false
	l.checkSilence(now, 2*time.Second)
	if len(got) != 1 || got[0] != device.Silent {
		t.Errorf("judged %v after its turn, want %s", got, device.Silent)
	}
}
