package sim

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"steelyard/internal/record"
	"steelyard/internal/unit"
)

// operator works the edge's page over HTTP as a person does: looks until it may weigh, presses
// the button, and presses it again with the same data until it is answered.
type operator struct {
	name   string
	log    *slog.Logger
	client *http.Client
	clock  *clock
	base   atomic.Pointer[string] // of the edge; nil while there is none
}

// How often a person looks and presses.
const (
	lookAgain      = 200 * time.Millisecond
	pressAgain     = 300 * time.Millisecond
	requestTimeout = 10 * time.Second
	longestAnswer  = 1 << 20
	// An edge that calls a request senseless so many times means it.
	patience = 10
)

func newOperator(name string, clock *clock, log *slog.Logger) *operator {
	return &operator{name: name, log: log, clock: clock, client: &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: 8, IdleConnTimeout: 30 * time.Second},
		Timeout:   requestTimeout,
	}}
}

func (o *operator) connect(base string) {
	base = strings.TrimRight(base, "/")
	if base == "" {
		o.base.Store(nil)
		return
	}
	o.base.Store(&base)
}

// The edge's answers, as far as a page needs them.
type (
	deckView struct {
		Device   string    `json:"device"`
		State    string    `json:"state"`
		Mass     unit.Mass `json:"mass"`
		MayWeigh bool      `json:"may_weigh"`
		Why      string    `json:"why"`
	}
	entry struct {
		Journal string `json:"journal"`
		N       uint64 `json:"n"`
		Hash    string `json:"hash"`
	}
	weighIn struct {
		Passage      string `json:"passage"`
		Deck         string `json:"deck"`
		Operator     string `json:"operator"`
		Vehicle      string `json:"vehicle"`
		Direction    string `json:"direction"`
		Material     string `json:"material"`
		Counterparty string `json:"counterparty"`
	}
	weighedIn struct {
		Entry    entry     `json:"entry"`
		Weighing entry     `json:"weighing"`
		Mass     unit.Mass `json:"mass"`
	}
	weighOut struct {
		Passage     string        `json:"passage"`
		Deck        string        `json:"deck"`
		Operator    string        `json:"operator"`
		Destination string        `json:"destination"`
		Parts       []record.Part `json:"parts"`
	}
	weighedOut struct {
		Number   string    `json:"number"`
		Entry    entry     `json:"entry"`
		Weighing entry     `json:"weighing"`
		Gross    unit.Mass `json:"gross"`
		Tare     unit.Mass `json:"tare"`
		Net      unit.Mass `json:"net"`
	}
)

// refusal is the edge's last word: a problem that pressing again does not cure.
type refusal struct {
	Status int    `json:"-"`
	Code   string `json:"code"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
}

func (r *refusal) Error() string {
	return fmt.Sprintf("the edge refused: %d %s %s %s", r.Status, r.Code, r.Title, r.Detail)
}

// passes reports whether the refusal may pass by itself: the edge is starting, or the weight is not
// ready yet.
func (r *refusal) passes() bool {
	switch r.Status {
	case http.StatusConflict, http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return r.Status >= 500
}

var errNoEdge = errors.New("no edge is connected yet")

// ask makes one request.
func (o *operator) ask(ctx context.Context, method, path string, body []byte, into any) error {
	base := o.base.Load()
	if base == nil {
		return errNoEdge
	}
	request, err := http.NewRequestWithContext(ctx, method, *base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := o.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, longestAnswer))
	if err != nil {
		return err
	}
	if response.StatusCode/100 != 2 {
		r := &refusal{Status: response.StatusCode}
		_ = json.Unmarshal(answer, r) // a proxy's refusal is no problem+json; the status says enough
		return r
	}
	return json.Unmarshal(answer, into)
}

// look waits until the page shows that this deck may weigh, and returns what it shows.
func (o *operator) look(ctx context.Context, device string) (deckView, error) {
	for {
		var answer struct {
			Decks []deckView `json:"decks"`
		}
		if err := o.ask(ctx, http.MethodGet, "/api/decks", nil, &answer); err == nil {
			for _, d := range answer.Decks {
				if d.Device == device && d.MayWeigh {
					return d, nil
				}
			}
		}
		if !o.clock.pause(ctx, lookAgain) {
			return deckView{}, ctx.Err()
		}
	}
}

// press sends the same data until it is answered. The edge may be killed at any moment, also
// between writing it down and answering, so only an answer counts.
func (o *operator) press(ctx context.Context, path string, data, into any) error {
	body, err := json.Marshal(data)
	if err != nil {
		return err
	}
	senseless := 0
	for {
		err := o.ask(ctx, http.MethodPost, path, body, into)
		var r *refusal
		switch {
		case err == nil:
			return nil
		case errors.As(err, &r) && !r.passes():
			if senseless++; senseless == patience {
				return r
			}
		}
		o.log.Debug("press again", "path", path, "err", err)
		if !o.clock.pause(ctx, pressAgain) {
			return ctx.Err()
		}
	}
}

// newPassage draws the idempotency key of a passage: a UUID, version 4. It is not drawn from the
// seed: two runs of one seed must not look like repetitions to an edge.
func newPassage() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0F|0x40, b[8]&0x3F|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
