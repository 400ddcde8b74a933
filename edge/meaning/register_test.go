package meaning_test

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"steelyard/edge/meaning"
	"steelyard/firmware-bridge/device"
	"steelyard/internal/record"
	"steelyard/internal/unit"
)

// legal plays a site whose indicator has an alibi memory: it says when it rests, and it is asked to
// register whenever the site wants it. What it answers is the test's.
type legal struct {
	*shift
	asked int
	last  int // number of its memory
}

func newLegal(t testing.TB) *legal {
	s := newShift(t)
	s.config.Decks[0].Stores = true
	s.site = meaning.New(s.config)
	s.stable = device.Yes
	return &legal{shift: s}
}

// play shows one weight and hands every wish to answer, which may be nil: then nothing comes.
func (l *legal) play(kg int64, d time.Duration, answer func()) (entries []meaning.Entry) {
	l.t.Helper()
	for range d / (100 * time.Millisecond) {
		entries = append(entries, l.frame(kg)...)
		for range l.site.ToStore(l.now) {
			l.asked++
			if before := len(l.journal); answer != nil {
				answer()
				entries = append(entries, l.journal[before:]...)
			}
		}
	}
	return entries
}

// number is the n-th of the indicator's memory.
func number(n int) string { return fmt.Sprintf("00126-%06d", n) }

// stores is a whole answer: the indicator has stored a weight under a number.
func (l *legal) stores(kg int64, n int) {
	l.t.Helper()
	l.now = l.now.Add(50 * time.Millisecond)
	l.take(l.site.Weight(device.Weight{Device: deck, At: l.now, HasValue: true, Value: unit.Decimal{Coef: kg}, Unit: unit.KG,
		Stable: device.Yes, Range: device.RangeOK, Kind: device.Gross, Alibi: number(n), Raw: stored(kg, n)}))
}

func stored(kg int64, n int) []byte {
	return fmt.Appendf(nil, "PIDST,1,%10dkg,           0kg,%s\r\n", kg, number(n))
}

// next is an indicator that works: it stores what it shows under its next number.
func (l *legal) next(kg int64) func() {
	return func() {
		l.last++
		l.stores(kg, l.last)
	}
}

func (l *legal) refuses() {
	l.t.Helper()
	l.take(l.site.Weight(device.Weight{Device: deck, At: l.now, Error: "refused: negative or not stable", Raw: []byte("PIDNO\r\n")}))
}

// lorry has a load come and be registered.
func (l *legal) lorry(kg int64) *record.Weighing {
	l.t.Helper()
	before := len(l.weighings())
	l.driveOn(kg)
	l.play(kg, 2*time.Second, l.next(kg))
	all := l.weighings()
	if len(all) != before+1 {
		l.t.Fatalf("%d weighings of a lorry of %d kg, want 1", len(all)-before, kg)
	}
	return all[before]
}

func (l *legal) code() string { return l.site.DeckViews(l.now)[0].Code }

// faults are the texts of what was noted.
func (l *legal) faults() (all []string) {
	for i, e := range l.journal {
		d, ok := e.Body.(*record.Device)
		if !ok || d.State != string(device.Faulty) {
			continue
		}
		all = append(all, d.Detail)
		if i+1 == len(l.journal) {
			l.t.Errorf("the machine stays at fault: %s", d.Detail)
		} else if next, ok := l.journal[i+1].Body.(*record.Device); !ok || next.State != string(device.Online) {
			l.t.Errorf("the machine stays at fault: %s", d.Detail)
		}
	}
	return all
}

// noted fails unless exactly these words are noted, in turn.
func (l *legal) noted(words ...string) {
	l.t.Helper()
	got := l.faults()
	if len(got) != len(words) {
		l.t.Fatalf("noted %q, want %q", got, words)
	}
	for i, w := range words {
		if !strings.Contains(got[i], w) {
			l.t.Errorf("noted %q, want %q", got[i], w)
		}
	}
}

func TestWeighingIsTheIndicatorsOwn(t *testing.T) {
	l := newLegal(t)
	begin := l.now.Add(1100 * time.Millisecond) // the first frame after a second of the empty deck
	l.driveOn(23960)
	entries := l.play(23960, 5*time.Second, func() { l.stores(23980, 48) }) // within one e of the display
	if len(entries) != 1 || l.asked != 1 {
		t.Fatalf("%d entries, asked %d times, want one each", len(entries), l.asked)
	}
	w := entries[0].Body.(*record.Weighing)
	if w.Mass != 23980*unit.Kilogram || w.Text != "23980" || w.Alibi != "00126-000048" || w.Shown != "gross" || len(w.Flags) != 0 {
		t.Errorf("got %+v", w)
	}
	if w.Stability.By != "flag" || len(w.Frames) != w.Stability.Frames+1 || w.Frames[len(w.Frames)-1] != hex.EncodeToString(stored(23980, 48)) {
		t.Errorf("evidence %+v, frames %q", w.Stability, w.Frames)
	}
	if live, _ := hex.DecodeString(w.Frames[0]); string(live) != "023960" {
		t.Errorf("the first frame is %q, want a live one", live)
	}
	if want := begin.Sub(entries[0].At).Milliseconds(); w.Curve[0].MS != want {
		t.Errorf("the curve begins %d ms before the answer, the load came at %d", w.Curve[0].MS, want)
	}
	view := l.site.DeckViews(l.now)[0]
	if view.Code != "captured" || !view.MayWeigh || view.OnDeck.Alibi != "00126-000048" || view.Text != "23960" {
		t.Errorf("view %+v", view)
	}
	l.noted()
}

// Negative control of the test above: without a memory the live weight is the weighing, and nobody is asked.
func TestWithoutAMemoryTheLiveWeightIsTheWeighing(t *testing.T) {
	l := newLegal(t)
	l.config.Decks[0].Stores = false
	l.site = meaning.New(l.config)
	l.driveOn(23960)
	entries := l.play(23960, 2*time.Second, func() { t.Error("asked to register") })
	if len(entries) != 1 || entries[0].Body.(*record.Weighing).Alibi != "" {
		t.Errorf("got %v", entries)
	}
}

// With the longest evidence the answer still has its place.
func TestAnswerStandsAmongTheNewestFrames(t *testing.T) {
	l := newLegal(t)
	l.stable = device.Unknown // rest is inferred, over the whole window
	l.config.Decks[0].Window = 8 * time.Second
	l.site = meaning.New(l.config)
	w := func() *record.Weighing {
		l.driveOn(9000)
		l.play(9000, 10*time.Second, l.next(9000))
		return l.weighings()[0]
	}()
	if len(w.Frames) != 40 || w.Frames[39] != hex.EncodeToString(stored(9000, 1)) {
		t.Errorf("%d frames, the last %q", len(w.Frames), w.Frames[len(w.Frames)-1])
	}
}

func TestTicketKnowsBothNumbers(t *testing.T) {
	for _, checkpoint := range []bool{false, true} {
		l := newLegal(t)
		l.lorry(30000)
		if err := l.weighIn(lorry("p1", "豫D12345", record.Inbound)); err != nil {
			t.Fatal(err)
		}
		l.restart(time.Hour, checkpoint)
		l.lorry(12000)
		if _, err := l.weighOut(meaning.WeighOut{Passage: "p1"}); err != nil {
			t.Fatal(err)
		}
		l.restart(time.Hour, checkpoint)
		c := l.site.Ticket("p1")
		got := []string{c.Gross.Text, c.Gross.Alibi, c.Tare.Text, c.Tare.Alibi}
		if diff := cmp.Diff([]string{"30000", number(1), "12000", number(2)}, got); diff != "" {
			t.Errorf("checkpoint %v: -want +got\n%s", checkpoint, diff)
		}
		if c.Gross.At.IsZero() || !c.Tare.At.After(c.Gross.At) {
			t.Errorf("times %v and %v", c.Gross.At, c.Tare.At)
		}
	}
}

func TestNoSecondRequestWhileOneIsOut(t *testing.T) {
	l := newLegal(t)
	l.driveOn(23960)
	l.play(23960, 2*time.Second, nil)
	l.rest(0, 200*time.Millisecond) // another lorry, at once
	l.play(9000, 800*time.Millisecond, nil)
	if l.asked != 1 || l.code() != "registering" {
		t.Errorf("asked %d times, %s", l.asked, l.code())
	}
	if len(l.weighings()) != 0 {
		t.Error("weighed without an answer")
	}
}

// What is not answered is asked again, later each time, as long as the load rests, and never again
// when it has been weighed.
func TestSilenceIsFollowedByPatience(t *testing.T) {
	l := newLegal(t)
	l.driveOn(23960)
	var at []time.Duration
	begin := l.now
	l.play(23960, 4*time.Minute, func() { at = append(at, l.now.Sub(begin)) })
	var gaps []time.Duration
	for i := 1; i < len(at); i++ {
		gaps = append(gaps, (at[i] - at[i-1]).Round(time.Second))
	}
	// Three seconds for an answer, and a pause of five that doubles up to a minute.
	if diff := cmp.Diff([]time.Duration{8 * time.Second, 13 * time.Second, 23 * time.Second, 43 * time.Second, 63 * time.Second, 63 * time.Second}, gaps); diff != "" {
		t.Errorf("asked at %v: -want +got\n%s", at, diff)
	}
	if l.code() != "register-unanswered" {
		t.Errorf("the page says %s", l.code())
	}
	for _, f := range l.faults() {
		if !strings.Contains(f, "no answer; perhaps it has stored") {
			t.Errorf("noted %q", f)
		}
	}
	n := len(l.faults())
	if n != len(at) && n != len(at)-1 {
		t.Errorf("%d notes of %d silences", n, len(at))
	}
	l.play(23960, 70*time.Second, l.next(23960))
	if len(l.weighings()) != 1 || l.code() != "captured" {
		t.Errorf("%d weighings, %s", len(l.weighings()), l.code())
	}
	asked := l.asked
	l.play(23960, time.Minute, nil)
	if l.asked != asked {
		t.Error("asked again after the weighing")
	}
	// The next load waits for nobody.
	l.rest(0, time.Second)
	if w := l.lorry(9000); w.Alibi != number(2) {
		t.Errorf("got %+v", w)
	}
}

// A request takes the turn of a poll, and one without an answer half a second more: the load does not
// begin to rest anew for that. Without a request such a silence is one.
func TestSilenceOfARequestIsNoUnrest(t *testing.T) {
	for _, c := range []struct {
		name string
		ask  func(*legal)
		want string
	}{
		{"no answer", func(l *legal) { l.site.ToStore(l.now) }, "registering"},
		{"answered", func(l *legal) { l.site.ToStore(l.now); l.refuses() }, "register-refused"},
		{"nobody asked", func(*legal) {}, "moving"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLegal(t)
			l.driveOn(23960)
			l.rest(23960, time.Second)
			c.ask(l)
			l.now = l.now.Add(800 * time.Millisecond)
			if l.frame(23960); l.code() != c.want {
				t.Errorf("%s: the page says %s, want %s", c.name, l.code(), c.want)
			}
		})
	}
}

func TestRefusalIsSaidAndAskedAgain(t *testing.T) {
	l := newLegal(t)
	l.driveOn(23960)
	l.play(23960, 2*time.Second, l.refuses)
	if l.asked != 1 || l.code() != "register-refused" || len(l.weighings()) != 0 {
		t.Errorf("asked %d times, %s, %d weighings", l.asked, l.code(), len(l.weighings()))
	}
	if err := l.weighIn(lorry("p1", "豫D1", record.Inbound)); code(err) != "register-refused" {
		t.Errorf("weighed in: %v", err)
	}
	l.play(23960, 5*time.Second, l.next(23960))
	if len(l.weighings()) != 1 || l.code() != "captured" {
		t.Errorf("%d weighings, %s", len(l.weighings()), l.code())
	}
	l.noted() // the indicator has stored nothing
}

// A refusal that nobody asked for holds nothing up.
func TestRefusalThatNobodyAskedFor(t *testing.T) {
	l := newLegal(t)
	l.driveOn(23960)
	l.rest(23960, time.Second)
	l.refuses()
	if got := l.site.ToStore(l.now); len(got) != 1 {
		t.Errorf("to be asked: %v, %s", got, l.code())
	}
}

// What became of the request for a lorry that has left is not held against the next one.
func TestNextLoadDoesNotWait(t *testing.T) {
	for name, then := range map[string]func(*legal){
		"no answer": func(l *legal) { l.rest(0, 3*time.Second) },
		"refused":   func(l *legal) { l.rest(0, time.Second); l.refuses() },
		"error": func(l *legal) {
			l.rest(0, time.Second)
			l.take(l.site.Weight(device.Weight{Device: deck, At: l.now, Range: device.RangeError, Error: "ERR01", Unit: unit.KG}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLegal(t)
			l.driveOn(23960)
			l.play(23960, time.Second, nil)
			then(l)
			asked := l.asked
			if l.play(9000, time.Second, l.next(9000)); l.asked != asked+1 || len(l.weighings()) != 1 {
				t.Errorf("%s: asked %d times for the next load, %s", name, l.asked-asked, l.code())
			}
		})
	}
}

// A second plateau of a load that was registered after a refusal begins without it.
func TestRefusalIsForgottenWithTheWeighing(t *testing.T) {
	l := newLegal(t)
	l.driveOn(23960)
	l.play(23960, time.Second, l.refuses)
	l.play(23960, 3*time.Second, l.next(23960))
	if l.rest(15000, 700*time.Millisecond); l.code() != "registering" {
		t.Errorf("the page says %s", l.code())
	}
}

func TestErrorInPlaceOfAnAnswer(t *testing.T) {
	l := newLegal(t)
	fails := func() {
		l.take(l.site.Weight(device.Weight{Device: deck, At: l.now, Range: device.RangeError, Error: "ERR01", Unit: unit.KG}))
	}
	fails() // nobody has asked: it is of the poll
	l.noted()
	l.driveOn(23960)
	l.play(23960, 2*time.Second, fails)
	if l.asked != 1 || l.code() != "register-failed" {
		t.Errorf("asked %d times, %s", l.asked, l.code())
	}
	l.noted(`answered "ERR01"`)
}

// What the indicator stored and nobody here weighed is found in the journal, with its number.
func TestStoredAndNoWeighing(t *testing.T) {
	for name, test := range map[string]struct {
		play      func(*legal)
		weighings int
		noted     []string
	}{
		"nobody asked, empty deck": {func(l *legal) { l.rest(0, time.Second); l.stores(0, 7); l.rest(0, time.Second) },
			0, []string{"nobody here had asked"}},
		"nobody asked, under a load": {func(l *legal) {
			l.driveOn(23960)
			l.stores(23960, 7)
			l.rest(23960, time.Second)
		}, 0, []string{"stored 23960 kg as 00126-000007, which is no weighing here: nobody here had asked"}},
		"nobody asked, under a load at rest": {func(l *legal) {
			l.driveOn(23960)
			l.rest(23960, time.Second)
			l.stores(23960, 7)
			l.rest(23960, time.Second)
		}, 0, []string{"stored 23960 kg as 00126-000007, which is no weighing here: nobody here had asked"}},
		"the number of the weighing with another weight": {func(l *legal) { l.lorry(23960); l.stores(23980, 1); l.rest(23960, time.Second) },
			1, []string{"stored 23980 kg as 00126-000001"}},
		"negative meanwhile": {func(l *legal) { // one lorry left and another came, too fast for the zero to be seen
			l.driveOn(23960)
			l.play(23960, time.Second, nil)
			l.rest(-60, 200*time.Millisecond)
			l.rest(23960, time.Second)
			l.stores(23960, 7)
			l.rest(23960, time.Second)
		}, 0, []string{"stored 23960 kg as 00126-000007, which is no weighing here: the load had gone or changed"}},
		"printed again by hand after the weighing": {func(l *legal) { l.lorry(23960); l.stores(23960, 2); l.rest(23960, time.Second) },
			1, []string{"stored 23960 kg as 00126-000002"}},
		"another weight than the display's": {func(l *legal) {
			l.driveOn(23960)
			l.play(23960, 2*time.Second, func() { l.stores(24000, 7) })
			if l.code() != "register-differs" {
				l.t.Errorf("the page says %s", l.code())
			}
		}, 0, []string{"stored 24000 kg as 00126-000007, which is no weighing here: the display did not show the same"}},
		"over": {func(l *legal) { l.driveOn(60000); l.play(60180, 2*time.Second, func() { l.stores(60200, 7) }) },
			0, []string{"the display did not show the same"}},
		"the display fell silent meanwhile": {func(l *legal) {
			l.driveOn(23960)
			l.play(23960, time.Second, nil)
			l.now = l.now.Add(2500 * time.Millisecond)
			l.stores(23960, 7)
		}, 0, []string{"the display did not show the same"}},
		"asked in vain, and registered by hand much later": {func(l *legal) {
			l.driveOn(23960)
			l.play(23960, time.Second, nil)
			l.rest(0, 2*time.Minute)
			l.stores(0, 7)
			l.rest(0, time.Second)
		}, 0, []string{"no answer", "nobody here had asked"}},
		"the load has gone": {func(l *legal) {
			l.driveOn(23960)
			l.play(23960, time.Second, nil)
			l.rest(0, time.Second)
			l.stores(23960, 7)
			l.rest(0, time.Second)
		}, 0, []string{"the load had gone or changed"}},
		"the load has gone, and the next is there": {func(l *legal) {
			l.driveOn(23960)
			l.play(23960, time.Second, nil)
			l.rest(0, time.Second)
			l.play(9000, 500*time.Millisecond, nil)
			l.stores(23960, 7)
			l.play(9000, 2*time.Second, func() { l.stores(9000, 8) })
		}, 1, []string{"stored 23960 kg as 00126-000007"}},
		"the load has changed": {func(l *legal) {
			l.driveOn(23960)
			l.play(23960, time.Second, nil)
			l.rest(15000, 200*time.Millisecond)
			l.stores(23960, 7)
			l.play(15000, 3*time.Second, func() { l.stores(15000, 8) })
		}, 1, []string{"the load had gone or changed"}},
		"asked twice, answered twice": {func(l *legal) {
			l.driveOn(23960)
			l.play(23960, 4*time.Second, nil)
			l.stores(23960, 1) // late: it is the load that was asked for
			l.play(23960, 10*time.Second, nil)
			l.stores(23960, 2)
			l.rest(23960, time.Second)
		}, 1, []string{"no answer", "stored 23960 kg as 00126-000002"}},
		"the line fell while it was out": {func(l *legal) {
			l.driveOn(23960)
			l.play(23960, time.Second, nil)
			l.take(l.site.Health(device.Health{Device: deck, At: l.now, State: device.Faulty, Detail: "unplugged"}))
			l.take(l.site.Health(device.Health{Device: deck, At: l.now, State: device.Online}))
			l.play(23960, 2*time.Second, l.next(23960))
		}, 1, []string{"no answer", "unplugged"}},
	} {
		l := newLegal(t)
		test.play(l)
		if got := l.weighings(); len(got) != test.weighings {
			t.Errorf("%s: %d weighings, want %d", name, len(got), test.weighings)
		}
		t.Run(name, func(t *testing.T) { l.t = t; l.noted(test.noted...) })
	}
}

// A line that repeats itself fills no journal, and an indicator without a memory that is in the
// site's file makes no weighing of a stored one either.
func TestNobodyAskedAndItRepeats(t *testing.T) {
	for _, register := range []bool{true, false} {
		l := newLegal(t)
		l.config.Decks[0].Stores = register
		l.site = meaning.New(l.config)
		l.driveOn(23960)
		for range 300 {
			l.stores(23960, 7)
		}
		if len(l.weighings()) != 0 {
			t.Errorf("register %v: a weighing that nobody asked for", register)
		}
		l.noted("nobody here had asked")
	}
}

func TestAnswerThatComesTwiceIsOne(t *testing.T) {
	l := newLegal(t)
	l.driveOn(23960)
	l.play(23960, 2*time.Second, func() { l.stores(23960, 7); l.stores(23960, 7) })
	if len(l.weighings()) != 1 {
		t.Errorf("%d weighings", len(l.weighings()))
	}
	l.noted()
}

func TestRepeatedNumberIsFlagged(t *testing.T) {
	l := newLegal(t)
	l.lorry(23960)
	l.restart(time.Minute, true)
	l.last = 0
	if w := l.lorry(9000); w.Alibi != number(1) || !has(w.Flags, "alibi-repeated") {
		t.Errorf("number %s, flags %v", w.Alibi, w.Flags)
	}
	if w := l.lorry(12000); w.Alibi != number(2) || has(w.Flags, "alibi-repeated") { // the control
		t.Errorf("number %s, flags %v", w.Alibi, w.Flags)
	}
}

func TestRegisteredLorryIsNotRegisteredAgainAfterARestart(t *testing.T) {
	for _, checkpoint := range []bool{false, true} {
		l := newLegal(t)
		l.lorry(23960)
		asked := l.asked
		l.restart(10*time.Minute, checkpoint)
		l.play(23960, 20*time.Second, l.next(23960))
		if l.asked != asked || len(l.weighings()) != 1 {
			t.Errorf("checkpoint %v: asked %d times after the restart", checkpoint, l.asked-asked)
		}
		if err := l.weighIn(lorry("p1", "豫D12345", record.Inbound)); err != nil {
			t.Errorf("checkpoint %v: %v", checkpoint, err)
		}
		if c := l.site.Passage("p1").First; c.Alibi != number(1) {
			t.Errorf("checkpoint %v: number %q", checkpoint, c.Alibi)
		}
	}
	// The negative control: without the journal's word it is registered again.
	l := newLegal(t)
	l.lorry(23960)
	l.site = meaning.New(l.config)
	l.play(23960, 5*time.Second, l.next(23960))
	if l.asked != 2 {
		t.Errorf("asked %d times, want 2: the test of the restart proves nothing", l.asked)
	}
}

// The indicator has stored it: it is proposed until the journal has it, and if the load leaves
// before that, it is noted.
func TestAnswerIsKeptUntilTheJournalHasIt(t *testing.T) {
	l := newLegal(t)
	l.driveOn(23960)
	l.full = true
	l.play(23960, 5*time.Second, l.next(23960))
	if l.asked != 1 || len(l.journal) != 0 {
		t.Fatalf("asked %d times, %d entries", l.asked, len(l.journal))
	}
	l.full = false
	if got := l.play(23960, time.Second, nil); len(got) != 1 || got[0].Body.(*record.Weighing).Alibi != number(1) {
		t.Errorf("got %v", got)
	}
	l.rest(0, time.Second)
	l.driveOn(9000)
	l.full = true
	l.play(9000, 5*time.Second, l.next(9000))
	l.rest(0, time.Second)
	l.full = false
	l.rest(0, time.Second)
	l.noted("stored 9000 kg as 00126-000002, which is no weighing here: the load left before the journal took it")
	if len(l.weighings()) != 1 {
		t.Errorf("%d weighings, want 1", len(l.weighings()))
	}
}

// The extended string names net always. Without a tare that is the gross; with one it is none.
func TestNetWithoutTareIsGross(t *testing.T) {
	for _, c := range []struct {
		registers bool
		tare      int64
		want      string
	}{{true, 0, "captured"}, {true, 8000, "net-mode"}, {false, 0, "captured"}, {false, 8000, "net-mode"}} {
		l := newLegal(t)
		if !c.registers {
			l.config.Decks[0].Stores = false
			l.site = meaning.New(l.config)
		}
		show := func(kg int64, d time.Duration) {
			for range d / (100 * time.Millisecond) {
				l.now = l.now.Add(100 * time.Millisecond)
				l.take(l.site.Weight(device.Weight{Device: deck, At: l.now, HasValue: true, Value: unit.Decimal{Coef: kg}, Unit: unit.KG,
					Stable: device.Yes, Kind: device.Net, HasTare: true, Tare: unit.Decimal{Coef: c.tare}, Raw: fmt.Append(nil, kg)}))
				for range l.site.ToStore(l.now) {
					l.stores(kg, 1)
				}
			}
		}
		show(0, time.Second)
		show(12000, 2*time.Second)
		if l.code() != c.want {
			t.Errorf("registers %t, tare %d: %s, want %s", c.registers, c.tare, l.code(), c.want)
		}
	}
}

// A wish is of the moment: when the newest weight is old, moves or is gone, nobody is to be asked.
func TestWishEndsWithTheRest(t *testing.T) {
	for name, then := range map[string]func(*legal){
		"moves":     func(l *legal) { l.stable = device.No; l.frame(23960) },
		"old":       func(l *legal) { l.now = l.now.Add(3 * time.Second) },
		"gone":      func(l *legal) { l.frame(0) },
		"no weight": func(l *legal) { l.take(l.site.Weight(device.Weight{Device: deck, At: l.now, Range: device.Over})) },
		"another":   func(l *legal) { l.frame(9000) },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLegal(t)
			l.driveOn(23960)
			l.rest(23960, 2*time.Second)
			then(l)
			if got := l.site.ToStore(l.now); len(got) != 0 {
				t.Errorf("%s: %v is to be asked", name, got)
			}
		})
	}
	l := newLegal(t)
	l.driveOn(23960)
	l.rest(23960, 2*time.Second)
	if got := l.site.ToStore(l.now); !slices.Equal(got, []string{deck}) {
		t.Errorf("the control: %v", got)
	}
}
