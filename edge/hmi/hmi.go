// Package hmi serves the operator of the edge, see [New]: a JSON API and the weighing page on it.
//
// In: requests from the site's own network. Out: what stands on the decks, open passages, tickets,
// the state of the journal; acts of the operator, answered when the journal has them.
// It promises that nothing is answered with success before it is durable, that repeating an act
// with the same passage repeats its answer, and that a refusal names its rule.
// It decides nothing about weights: package meaning does.
package hmi

import (
	"context"
	"embed"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"steelyard/edge/meaning"
	"steelyard/firmware-bridge/device"
	"steelyard/internal/page"
	"steelyard/internal/record"
	"steelyard/internal/unit"
)

//go:embed page
var files embed.FS

// Agent is what the pages may ask of the agent. Every function may be called from any goroutine.
type Agent struct {
	Site  string
	Name  string
	Names map[string]Name // of the machines, by device
	Hosts []string        // names under which the page is asked for, besides addresses and localhost
	// View runs in the goroutine that owns the site's understanding.
	View func(ctx context.Context, look func(*meaning.Site)) error
	// Do journals what the function proposes and returns the entries; no fact, no entry. The error
	// is a *meaning.Refusal, or says why nothing could be recorded.
	Do func(ctx context.Context, act func(*meaning.Site) ([]record.Fact, error)) ([]meaning.Entry, error)
	// Journal tells the state of the records journal and of the way to the cloud.
	Journal func() JournalState
	// Materials lists what may be chosen now.
	Materials func() []Material
	Now       func() time.Time // nil: the computer's clock
	Log       *slog.Logger
}

// JournalState is what the operator must know of the recording.
type JournalState struct {
	Site      string `json:"site"`
	Name      string `json:"name"`    // of the site, for people
	English   string `json:"english"` // likewise; empty where it has none
	Journal   string `json:"journal"`
	Last      uint64 `json:"last"`
	Receipted uint64 `json:"receipted"`
	Backlog   uint64 `json:"backlog"`
	OldestMS  int64  `json:"oldest_ms"` // Unix ms of the oldest entry without receipt; 0 when there is none
	Bytes     int64  `json:"bytes"`
	Budget    int64  `json:"budget"`
	// SampleEveryMS is how seldom the process values of a machine are written, because they change more
	// than the site may write; 0: each change is.
	SampleEveryMS int64  `json:"sample_every_ms"`
	Link          string `json:"link"`    // "online", "offline"
	Problem       string `json:"problem"` // why nothing is recorded, or why the cloud refuses; empty when all is well
	// UnansweredMS is how long the connection has stood and nothing that was sent was receipted; 0 when
	// nothing waits.
	UnansweredMS int64 `json:"unanswered_ms"`
	// ProblemCode says it in one word: a journal.Cause, or "cloud", with "-" and the reason where it is
	// known, when it is the cloud that refuses and no act is confirmed.
	ProblemCode string `json:"problem_code"`
	Clock       string `json:"clock"` // a wire.Clock, or "host": kept from outside this computer
	Version     string `json:"version"`
}

// Name is what people call a machine; empty where it has no name.
type Name struct {
	ZH string `json:"name"`
	EN string `json:"english"`
}

// Material is one choice of the menu.
type Material struct {
	Code string `json:"code"`
	ZH   string `json:"zh"`
	EN   string `json:"en"`
}

// actTimeout bounds how long an act waits for the disk.
const actTimeout = 15 * time.Second

// Pages serves API and pages of a site. Its events come while Run runs.
type Pages struct {
	http.Handler
	Agent
	feed *page.Feed
}

// New makes the pages of a site.
func New(d Agent) *Pages {
	if d.Now == nil {
		d.Now = time.Now
	}
	s := &Pages{Agent: d, feed: page.NewFeed()}
	mux := http.NewServeMux()
	mux.Handle("GET /api/decks", s.answer(s.decks))
	mux.Handle("GET /api/recent", s.answer(s.recent))
	mux.Handle("GET /api/passages", s.answer(s.passages))
	mux.Handle("GET /api/tickets", s.answer(s.tickets))
	mux.Handle("GET /api/lines", s.answer(s.lines))
	mux.Handle("GET /api/materials", s.answer(s.materials))
	mux.Handle("GET /api/journal", s.answer(s.journal))
	mux.Handle("GET /api/events", s.feed)
	mux.Handle("POST /api/weigh-in", s.answer(s.weighIn))
	mux.Handle("POST /api/weigh-out", s.answer(s.weighOut))
	mux.Handle("POST /api/cancel", s.answer(s.cancel))
	mux.Handle("POST /api/date", s.answer(s.date))
	mux.Handle("POST /api/lines/{line}/material", s.answer(s.setMaterial))
	mux.Handle("GET /", page.Files(files))
	s.Handler = page.Secure(mux, d.Hosts)
	return s
}

// reply is what a handler answers with.
type reply struct {
	status int
	body   any
}

// answer serves a handler. An act that the rules forbid is a conflict; anything else that went
// wrong means that nothing was recorded.
func (s *Pages) answer(handle func(*http.Request) (reply, error)) http.Handler {
	return page.JSON(s.Log, func(r *http.Request) (int, any, error) {
		ctx, cancel := context.WithTimeout(r.Context(), actTimeout)
		defer cancel()
		out, err := handle(r.WithContext(ctx))
		if refusal, ok := errors.AsType[*meaning.Refusal](err); ok {
			err = &page.Problem{Title: "refused", Status: http.StatusConflict, Code: refusal.Code, Detail: refusal.Text}
		} else if _, known := errors.AsType[*page.Problem](err); err != nil && !known {
			err = &page.Problem{Title: "not recorded", Status: http.StatusServiceUnavailable, Code: "not-recorded", Detail: err.Error()}
		}
		return out.status, out.body, err
	})
}

type entryJSON struct {
	Journal string `json:"journal"`
	N       uint64 `json:"n"`
	Hash    string `json:"hash"`
}

type weighingJSON struct {
	entryJSON
	AtMS  int64     `json:"at_ms"`
	Mass  unit.Mass `json:"mass"`
	Text  string    `json:"text"`
	Unit  unit.Unit `json:"unit"`
	Alibi string    `json:"alibi"` // number in the indicator's own memory; empty where it has none
}

func weighingOf(c meaning.Capture) *weighingJSON {
	if c.Ref.N == 0 {
		return nil
	}
	return &weighingJSON{entryJSON{c.Ref.Journal, c.Ref.N, c.Hash}, c.At.UnixMilli(), c.Mass, c.Text, c.Unit, c.Alibi}
}

type deckJSON struct {
	Device string `json:"device"`
	Name
	State    string        `json:"state"` // the code of meaning.DeckView
	Text     string        `json:"text"`
	Unit     unit.Unit     `json:"unit"`
	Mass     *unit.Mass    `json:"mass"` // null when there is no weight: never 0 for unknown
	AgeMS    int64         `json:"age_ms"`
	Stable   *bool         `json:"stable"` // null when the indicator does not say
	Zero     bool          `json:"zero"`
	Division unit.Mass     `json:"division"`
	Max      unit.Mass     `json:"max"`
	Weighing *weighingJSON `json:"weighing"`
	MayWeigh bool          `json:"may_weigh"`
	Why      string        `json:"why"` // code of the rule that forbids weighing; empty when it is allowed
}

func deckOf(v meaning.DeckView, now time.Time) deckJSON {
	d := deckJSON{Device: v.Deck.Device, State: v.Code, Text: v.Text, Unit: v.Unit, Zero: v.Zero,
		Division: v.Deck.Division, Max: v.Deck.Max, Weighing: weighingOf(v.OnDeck), MayWeigh: v.MayWeigh}
	if !v.At.IsZero() {
		d.AgeMS = now.Sub(v.At).Milliseconds()
	}
	if v.HasMass {
		d.Mass = &v.Mass
	}
	if v.Stable != device.Unknown {
		stable := v.Stable == device.Yes
		d.Stable = &stable
	}
	if !v.MayWeigh {
		d.Why = v.Code
	}
	return d
}

func (s *Pages) deckList(ctx context.Context) ([]deckJSON, error) {
	list := []deckJSON{}
	now := s.Now()
	err := s.View(ctx, func(site *meaning.Site) {
		for _, v := range site.DeckViews(now) {
			d := deckOf(v, now)
			d.Name = s.Names[d.Device]
			list = append(list, d)
		}
	})
	return list, err
}

func (s *Pages) decks(r *http.Request) (reply, error) {
	list, err := s.deckList(r.Context())
	return reply{http.StatusOK, map[string]any{"decks": list}}, err
}

// recent returns the curve beside the weight to a page that was just opened.
func (s *Pages) recent(r *http.Request) (reply, error) {
	type point struct {
		AgeMS int64      `json:"age_ms"`
		Mass  *unit.Mass `json:"mass"` // null when there was none
	}
	curves := map[string][]point{}
	now := s.Now()
	err := s.View(r.Context(), func(site *meaning.Site) {
		for name, seen := range site.Recent(now) {
			for _, n := range seen {
				p := point{AgeMS: now.Sub(n.At).Milliseconds()}
				if n.HasMass {
					p.Mass = &n.Mass
				}
				curves[name] = append(curves[name], p)
			}
		}
	})
	return reply{http.StatusOK, map[string]any{"curves": curves}}, err
}

type passageJSON struct {
	Passage      string        `json:"passage"`
	AtMS         int64         `json:"at_ms"`
	Vehicle      string        `json:"vehicle"`
	Direction    string        `json:"direction"`
	Material     string        `json:"material"`
	Counterparty string        `json:"counterparty"`
	Deck         string        `json:"deck"`
	Weighing     *weighingJSON `json:"weighing"`
}

func (s *Pages) passageList(ctx context.Context) ([]passageJSON, error) {
	list := []passageJSON{}
	err := s.View(ctx, func(site *meaning.Site) {
		for _, p := range site.Passages() {
			list = append(list, passageJSON{p.ID, p.At.UnixMilli(), p.Vehicle, p.Direction, p.Material, p.Counterparty, p.Deck, weighingOf(p.First)})
		}
	})
	return list, err
}

func (s *Pages) passages(r *http.Request) (reply, error) {
	list, err := s.passageList(r.Context())
	return reply{http.StatusOK, map[string]any{"passages": list}}, err
}

type ticketJSON struct {
	Number    string        `json:"number"`
	AtMS      int64         `json:"at_ms"`
	Entry     entryJSON     `json:"entry"`
	Direction string        `json:"direction"`
	Vehicle   string        `json:"vehicle"`
	Gross     unit.Mass     `json:"gross"`
	Tare      unit.Mass     `json:"tare"`
	Net       unit.Mass     `json:"net"`
	Parts     []record.Part `json:"parts"`
	Flags     []string      `json:"flags"`
	GrossBy   *weighingJSON `json:"gross_by"` // the weighings; null when this site does not know them
	TareBy    *weighingJSON `json:"tare_by"`
}

func ticketOf(c meaning.ClosedPassage) ticketJSON {
	t := c.Ticket
	return ticketJSON{t.Number, c.At.UnixMilli(), entryJSON{c.Entry.Journal, c.Entry.N, c.Hash}, t.Direction, t.Vehicle, t.Gross, t.Tare, t.Net, t.Parts, t.Flags,
		weighingOf(c.Gross), weighingOf(c.Tare)}
}

func (s *Pages) ticketList(ctx context.Context) ([]ticketJSON, error) {
	list := []ticketJSON{}
	err := s.View(ctx, func(site *meaning.Site) {
		for _, c := range site.Tickets() {
			list = append(list, ticketOf(c))
		}
	})
	return list[:min(len(list), 100)], err
}

func (s *Pages) tickets(r *http.Request) (reply, error) {
	list, err := s.ticketList(r.Context())
	return reply{http.StatusOK, map[string]any{"tickets": list}}, err
}

func (s *Pages) lines(r *http.Request) (reply, error) {
	type line struct {
		Device string `json:"device"`
		Name
		Material string    `json:"material"`
		Standing unit.Mass `json:"standing"`
		AtMS     int64     `json:"at_ms"`
		Bales    uint64    `json:"bales"`
	}
	list := []line{}
	err := s.View(r.Context(), func(site *meaning.Site) {
		belts, balers := site.Lines()
		for name, b := range belts {
			list = append(list, line{name, s.Names[name], b.Material, b.Standing, b.At.UnixMilli(), 0})
		}
		for name, b := range balers {
			list = append(list, line{Device: name, Name: s.Names[name], Material: b.Material, Bales: b.Last})
		}
	})
	if err != nil {
		return reply{}, err
	}
	notes, err := s.noteList(r.Context())
	return reply{http.StatusOK, map[string]any{"lines": list, "notes": notes}}, err
}

// noteJSON is what a belt or a baler has shown and was not counted.
type noteJSON struct {
	Device string `json:"device"`
	Name
	Code   string `json:"code"` // of meaning.Note
	AtMS   int64  `json:"at_ms"`
	Shown  int64  `json:"shown"`
	Known  int64  `json:"known"`
	OverMS int64  `json:"over_ms"` // when it was over; 0: it is not
}

// noteDays is how long a note that is over is still shown: until the next shift has seen it.
const noteDays = 24 * time.Hour

func (s *Pages) noteList(ctx context.Context) ([]noteJSON, error) {
	list := []noteJSON{}
	err := s.View(ctx, func(site *meaning.Site) {
		for _, n := range site.Notes() {
			j := noteJSON{n.Device, s.Names[n.Device], n.Code, n.At.UnixMilli(), n.Shown, n.Known, 0}
			if !n.Over.IsZero() {
				if time.Since(n.Over) > noteDays {
					continue
				}
				j.OverMS = n.Over.UnixMilli()
			}
			list = append(list, j)
		}
	})
	return list, err
}

func (s *Pages) materials(*http.Request) (reply, error) {
	return reply{http.StatusOK, map[string]any{"materials": s.Materials()}}, nil
}

func (s *Pages) journal(*http.Request) (reply, error) {
	return reply{http.StatusOK, s.Journal()}, nil
}

func (s *Pages) weighIn(r *http.Request) (reply, error) {
	in, err := page.Read[struct {
		Passage      string `json:"passage"`
		Deck         string `json:"deck"`
		Operator     string `json:"operator"`
		Vehicle      string `json:"vehicle"`
		Direction    string `json:"direction"`
		Material     string `json:"material"`
		Counterparty string `json:"counterparty"`
	}](r)
	if err != nil {
		return reply{}, err
	}
	status := http.StatusCreated
	var begun meaning.Passage
	_, err = s.Do(r.Context(), func(site *meaning.Site) ([]record.Fact, error) {
		facts, p, err := site.WeighIn(s.Now(), meaning.WeighIn(in))
		if p != nil {
			status = http.StatusOK
		}
		return facts, err
	})
	if err != nil {
		return reply{}, err
	}
	if err := s.View(r.Context(), func(site *meaning.Site) { begun = site.Passage(in.Passage) }); err != nil {
		return reply{}, err
	}
	return reply{status, map[string]any{
		"passage": in.Passage, "entry": entryJSON{begun.Entry.Journal, begun.Entry.N, begun.Hash},
		"weighing": weighingOf(begun.First), "mass": begun.First.Mass, "text": begun.First.Text, "unit": begun.First.Unit,
	}}, nil
}

func (s *Pages) weighOut(r *http.Request) (reply, error) {
	out, err := page.Read[struct {
		Passage     string             `json:"passage"`
		Deck        string             `json:"deck"`
		Operator    string             `json:"operator"`
		Destination string             `json:"destination"`
		Parts       []record.Part      `json:"parts"`
		Deductions  []record.Deduction `json:"deductions"`
	}](r)
	if err != nil {
		return reply{}, err
	}
	status := http.StatusCreated
	var closed meaning.ClosedPassage
	_, err = s.Do(r.Context(), func(site *meaning.Site) ([]record.Fact, error) {
		facts, c, err := site.WeighOut(s.Now(), meaning.WeighOut(out))
		if c != nil {
			status = http.StatusOK
		}
		return facts, err
	})
	if err != nil {
		return reply{}, err
	}
	if err := s.View(r.Context(), func(site *meaning.Site) { closed = site.Ticket(out.Passage) }); err != nil {
		return reply{}, err
	}
	return reply{status, ticketOf(closed)}, nil
}

func (s *Pages) cancel(r *http.Request) (reply, error) {
	in, err := page.Read[struct {
		Passage  string `json:"passage"`
		Operator string `json:"operator"`
		Reason   string `json:"reason"`
	}](r)
	if err != nil {
		return reply{}, err
	}
	_, err = s.Do(r.Context(), func(site *meaning.Site) ([]record.Fact, error) {
		return site.Cancel(s.Now(), in.Passage, in.Operator, in.Reason)
	})
	return reply{http.StatusOK, map[string]any{"passage": in.Passage}}, err
}

// date says when an entry was written whose time can't be. The city counts by it.
func (s *Pages) date(r *http.Request) (reply, error) {
	in, err := page.Read[struct {
		Journal  string    `json:"journal"`
		N        uint64    `json:"n"`
		At       time.Time `json:"at"`
		Reason   string    `json:"reason"`
		Operator string    `json:"operator"`
		Second   string    `json:"second"`
	}](r)
	if err != nil {
		return reply{}, err
	}
	entries, err := s.Do(r.Context(), func(site *meaning.Site) ([]record.Fact, error) {
		return site.Date(time.Now(), record.Ref{Journal: in.Journal, N: in.N}, in.At, in.Reason, in.Operator, in.Second)
	})
	if err != nil {
		return reply{}, err
	}
	by := entries[0]
	return reply{http.StatusCreated, map[string]any{"entry": entryJSON{by.Ref.Journal, by.Ref.N, by.Hash}}}, nil
}

func (s *Pages) setMaterial(r *http.Request) (reply, error) {
	in, err := page.Read[struct {
		Material string `json:"material"`
		Operator string `json:"operator"`
	}](r)
	if err != nil {
		return reply{}, err
	}
	_, err = s.Do(r.Context(), func(site *meaning.Site) ([]record.Fact, error) {
		return site.SetMaterial(s.Now(), r.PathValue("line"), in.Material, in.Operator)
	})
	return reply{http.StatusOK, map[string]any{"line": r.PathValue("line"), "material": in.Material}}, err
}
