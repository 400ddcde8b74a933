package meaning_test

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"steelyard/edge/meaning"
	"steelyard/internal/record"
	"steelyard/internal/unit"
)

func TestTwoPassInbound(t *testing.T) {
	s := newShift(t)
	s.weigh(30000)
	if err := s.weighIn(lorry("p1", "豫D12345", record.Inbound)); err != nil {
		t.Fatal(err)
	}
	s.restart(time.Hour, false) // the lorry unloads while the agent is restarted
	s.weigh(12000)
	ticket, err := s.weighOut(meaning.WeighOut{Passage: "p1"})
	if err != nil {
		t.Fatal(err)
	}
	if ticket.Net != 18*unit.Tonne || ticket.Direction != record.Inbound || ticket.Destination != "" {
		t.Errorf("ticket %+v", ticket)
	}
	if len(ticket.Parts) != 1 || ticket.Parts[0].Material != "steel/heavy-melt" || ticket.Parts[0].Mass != ticket.Net {
		t.Errorf("parts %v", ticket.Parts)
	}
	if ticket.Number != "20261123-0000-0001" {
		t.Errorf("number %s", ticket.Number)
	}
	entries := len(s.journal)
	again, err := s.weighOut(meaning.WeighOut{Passage: "p1"})
	if err != nil || again.Number != ticket.Number || len(s.journal) != entries {
		t.Errorf("repeated: %v, %v, %d entries more", again, err, len(s.journal)-entries)
	}
	s.restart(time.Minute, true)
	if again, err := s.weighOut(meaning.WeighOut{Passage: "p1"}); err != nil || again.Number != ticket.Number {
		t.Errorf("repeated after a restart: %v, %v", again, err)
	}
}

func TestTwoPassOutbound(t *testing.T) {
	s := newShift(t)
	s.weigh(12000)
	if err := s.weighIn(lorry("p1", "豫D12345", record.Outbound)); err != nil {
		t.Fatal(err)
	}
	if err := s.weighIn(lorry("p1", "豫D12345", record.Outbound)); err != nil {
		t.Errorf("repeated: %v", err)
	}
	s.weigh(30000)
	ticket, err := s.weighOut(meaning.WeighOut{Passage: "p1", Destination: record.ToReuse, Parts: []record.Part{
		{Material: "paper/occ", Mass: 10 * unit.Tonne}, {Material: "steel", Mass: 8 * unit.Tonne}}})
	if err != nil || ticket.Net != 18*unit.Tonne || ticket.Gross != 30*unit.Tonne {
		t.Fatalf("%+v, %v", ticket, err)
	}
	if ins := s.site.Passages(); len(ins) != 0 {
		t.Errorf("still open: %v", ins)
	}
}

func TestRefusalsNameTheirRule(t *testing.T) {
	open := func(s *shift) {
		s.weigh(30000)
		if err := s.weighIn(lorry("p1", "豫D12345", record.Inbound)); err != nil {
			t.Fatal(err)
		}
	}
	in := func(change func(*meaning.WeighIn)) func(*shift) error {
		return func(s *shift) error {
			s.weigh(30000)
			w := lorry("p2", "豫D1", record.Inbound)
			change(&w)
			return s.weighIn(w)
		}
	}
	out := func(kg int64, change func(*meaning.WeighOut)) func(*shift) error {
		return func(s *shift) error {
			open(s)
			if kg != 0 {
				s.weigh(kg)
			}
			w := meaning.WeighOut{Passage: "p1"}
			change(&w)
			_, err := s.weighOut(w)
			return err
		}
	}
	for want, act := range map[string]func(*shift) error{
		"missing-vehicle":  in(func(w *meaning.WeighIn) { w.Vehicle = " " }),
		"bad-vehicle":      in(func(w *meaning.WeighIn) { w.Vehicle = "豫D\n1" }),
		"missing-operator": in(func(w *meaning.WeighIn) { w.Operator = "" }),
		"bad-direction":    in(func(w *meaning.WeighIn) { w.Direction = "sideways" }),
		"unknown-material": in(func(w *meaning.WeighIn) { w.Material = "gold" }),
		"no-weighing": func(s *shift) error {
			s.driveOn(30000)
			s.rest(30000, 500*time.Millisecond)
			return s.weighIn(lorry("p", "豫D1", record.Inbound))
		},
		"empty":           func(s *shift) error { s.rest(0, time.Second); return s.weighIn(lorry("p", "豫D1", record.Inbound)) },
		"used":            out(0, func(*meaning.WeighOut) {}),
		"unknown-passage": out(12000, func(w *meaning.WeighOut) { w.Passage = "nobody" }),
		"negative-net":    out(40000, func(*meaning.WeighOut) {}),
		"ticket":          out(12000, func(w *meaning.WeighOut) { w.Destination = "the moon" }),
		"parts": out(12000, func(w *meaning.WeighOut) {
			w.Parts = []record.Part{{Material: "steel", Mass: 17 * unit.Tonne}}
		}),
		"vehicle-on-site": func(s *shift) error {
			open(s)
			s.weigh(30000)
			return s.weighIn(lorry("p2", "豫D12345", record.Inbound))
		},
		"passage-differs": func(s *shift) error { open(s); return s.weighIn(lorry("p1", "豫D2", record.Inbound)) },
	} {
		t.Run(want, func(t *testing.T) {
			s := newShift(t)
			err := act(s)
			if got := code(err); got != want && !(want == "no-weighing" && got == "moving") {
				t.Errorf("want %s, got %s (%v)", want, got, err)
			}
		})
	}
}

func TestTicketNumbersBeginAnewAtMidnightInShanghai(t *testing.T) {
	s := newShift(t)
	s.now = time.Date(2026, 11, 23, 15, 40, 0, 0, time.UTC) // 23:40 in Shanghai
	var numbers []string
	for i := range 3 {
		passage := string(rune('a' + i))
		s.weigh(30000)
		if err := s.weighIn(lorry(passage, "豫D"+passage, record.Inbound)); err != nil {
			t.Fatal(err)
		}
		s.weigh(12000)
		ticket, err := s.weighOut(meaning.WeighOut{Passage: passage})
		if err != nil {
			t.Fatal(err)
		}
		numbers = append(numbers, ticket.Number)
		s.now = s.now.Add(10 * time.Minute)
	}
	if numbers[0] != "20261123-0000-0001" || numbers[1] != "20261123-0000-0002" || numbers[2] != "20261124-0000-0001" {
		t.Errorf("numbers %v", numbers)
	}
}

// tickets weighs lorries and gives their tickets' numbers.
func (s *shift) tickets(passages ...string) (numbers []string) {
	s.t.Helper()
	for _, passage := range passages {
		s.weigh(30000)
		if err := s.weighIn(lorry(passage, "豫D"+passage, record.Inbound)); err != nil {
			s.t.Fatal(err)
		}
		s.weigh(12000)
		ticket, err := s.weighOut(meaning.WeighOut{Passage: passage})
		if err != nil {
			s.t.Fatal(err)
		}
		numbers = append(numbers, ticket.Number)
	}
	return numbers
}

// A clock that was 10 h ahead over a restart and was then set right, or that went back over midnight,
// gave ticket numbers twice.
func TestAClockThatWentBackGaveNumbersTwice(t *testing.T) {
	for _, checkpoint := range []bool{false, true} {
		s := newShift(t)
		s.now = time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC) // 16:00 in Shanghai
		numbers := s.tickets("a", "b")
		s.restart(10*time.Hour, checkpoint)
		numbers = append(numbers, s.tickets("c")...)
		s.now = s.now.Add(-10 * time.Hour)
		numbers = append(numbers, s.tickets("d", "e")...)
		s.restart(10*time.Hour, checkpoint)
		numbers = append(numbers, s.tickets("f")...)
		want := []string{"20261123-0000-0001", "20261123-0000-0002", "20261124-0000-0001", "20261123-0000-0003", "20261123-0000-0004", "20261124-0000-0002"}
		if !slices.Equal(numbers, want) {
			t.Errorf("checkpoint %v: numbers %q, want %q", checkpoint, numbers, want)
		}
	}
}

// Whatever the clock does, for more days than are kept one by one.
func TestNoNumberIsGivenTwice(t *testing.T) {
	s := newShift(t)
	r := rand.New(rand.NewPCG(1, 1))
	given := map[string]bool{}
	for i := range 3000 {
		at := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, r.IntN(1500))
		if i%3 > 0 { // the clock is right most of the time
			at = time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC).AddDate(0, 0, i/50)
		}
		number := s.site.NextNumber(at)
		if given[number] {
			t.Fatalf("%s is given twice, after %d", number, i)
		}
		given[number] = true
		s.site.Apply(meaning.Entry{Ref: record.Ref{Journal: "1", N: uint64(i + 1)}, At: at, Body: &record.Ticket{Number: number}})
		if i%500 == 499 {
			data, err := json.Marshal(s.site.State())
			if err != nil || len(data) > 64<<10 {
				t.Fatalf("a state of %d bytes: %v", len(data), err)
			}
			var st meaning.State
			if err := json.Unmarshal(data, &st); err != nil {
				t.Fatal(err)
			}
			s.site = meaning.New(s.config)
			s.site.Restore(st)
		}
	}
}

func TestCancelKeepsTheWeighing(t *testing.T) {
	s := newShift(t)
	s.weigh(30000)
	if err := s.weighIn(lorry("p1", "豫D1", record.Inbound)); err != nil {
		t.Fatal(err)
	}
	facts, err := s.site.Cancel(s.now, "p1", "op-1", "wrong plate")
	if err != nil {
		t.Fatal(err)
	}
	s.take(facts)
	if len(s.site.Passages()) != 0 || len(s.weighings()) != 1 {
		t.Error("the passage is open or the weighing is gone")
	}
}

// Two persons date an entry; one alone, or a time to come, is refused.
func TestDate(t *testing.T) {
	s := newShift(t)
	ref := record.Ref{Journal: strings.Repeat("ab", 16), N: 7}
	at := s.now.Add(-24 * time.Hour)
	facts, err := s.site.Date(s.now, ref, at, "clock was wrong", "wang", "li")
	if err != nil || len(facts) != 1 {
		t.Fatal(facts, err)
	}
	if c := facts[0].Body.(*record.Correction); c.Check() != nil || c.Action != record.Date || c.Target != ref || c.Replacement != at.Format("2006-01-02T15:04:05.000Z") {
		t.Errorf("%+v: %v", c, c.Check())
	}
	for code, refused := range map[string]func() error{
		"same-person":    func() error { _, err := s.site.Date(s.now, ref, at, "r", "wang", "wang"); return err },
		"missing-second": func() error { _, err := s.site.Date(s.now, ref, at, "r", "wang", ""); return err },
		"missing-reason": func() error { _, err := s.site.Date(s.now, ref, at, "", "wang", "li"); return err },
		"bad-entry": func() error {
			_, err := s.site.Date(s.now, record.Ref{Journal: "x", N: 1}, at, "r", "wang", "li")
			return err
		},
		"bad-time": func() error { _, err := s.site.Date(s.now, ref, s.now.Add(time.Hour), "r", "wang", "li"); return err },
	} {
		t.Run(code, func(t *testing.T) {
			if r, ok := errors.AsType[*meaning.Refusal](refused()); !ok || r.Code != code {
				t.Errorf("got %v, want %s", r, code)
			}
		})
	}
}
