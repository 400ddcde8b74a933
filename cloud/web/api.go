package web

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"time"

	"steelyard/cloud/ledger"
	"steelyard/cloud/rollup"
	"steelyard/cloud/telemetry"
	"steelyard/internal/day"
	"steelyard/internal/page"
	"steelyard/internal/record"
	"steelyard/internal/unit"
	"steelyard/internal/wire"
)

// Pages serves API and pages of a city. Its events come while Run runs.
type Pages struct {
	http.Handler
	Config
	hub *hub
}

// New makes the pages of a city.
func New(c Config) *Pages {
	s := &Pages{Config: c}
	s.hub = newHub(s)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.Handle("GET /api/city", s.answer(s.city))
	mux.Handle("GET /api/totals", s.answer(s.totals))
	mux.Handle("GET /api/sites", s.answer(s.sites))
	mux.Handle("GET /api/live", s.answer(s.live))
	mux.Handle("GET /api/series", s.answer(s.series))
	mux.Handle("GET /api/range", s.answer(s.curve))
	mux.Handle("GET /api/curves", s.answer(s.curves))
	mux.Handle("GET /api/quarantine", s.answer(s.quarantine))
	mux.Handle("GET /api/unposted", s.answer(s.unposted))
	mux.Handle("GET /api/suspects", s.answer(s.suspects))
	mux.Handle("GET /api/audit", s.answer(s.audit))
	mux.Handle("GET /api/events", s.hub.feed)
	mux.Handle("GET /", page.Files(files))
	s.Handler = page.Secure(mux, c.Hosts)
	return s
}

// Run tells all open pages what is new until ctx ends.
func (s *Pages) Run(ctx context.Context) error { return s.hub.run(ctx) }

// answer serves what a function reads.
func (s *Pages) answer(read func(*http.Request) (any, error)) http.Handler {
	return page.JSON(s.Log, func(r *http.Request) (int, any, error) {
		body, err := read(r)
		return http.StatusOK, body, err
	})
}

func (s *Pages) city(*http.Request) (any, error) {
	// An empty list is a list: pages count it.
	return map[string]any{"name": s.Name, "sites": append([]Site{}, s.Sites...), "categories": append([]Category{}, s.Categories...),
		"day": day.Of(s.Now()).String(), "audit": s.Audit != ""}, nil
}

type totalJSON struct {
	Site     string      `json:"site,omitempty"`
	District *string     `json:"district,omitempty"` // by district; empty: of the sites without one
	Category string      `json:"category"`
	Flow     rollup.Flow `json:"flow"`
	Grams    unit.Mass   `json:"grams"`
	Count    int64       `json:"count"`
}

func totalsOf(totals []rollup.Total, err error) ([]totalJSON, error) {
	all := make([]totalJSON, 0, len(totals))
	for _, t := range totals {
		all = append(all, totalJSON{Site: t.Site, Category: t.Category, Flow: t.Flow, Grams: t.Mass, Count: t.Count})
	}
	return all, err
}

// totals sums business days: from and to, both included; today when they are left out. by says what
// is told apart besides flows: site, category (all sites together) or district; site asks for one.
func (s *Pages) totals(r *http.Request) (any, error) {
	from, err := s.day(r, "from")
	if err != nil {
		return nil, err
	}
	to, err := s.day(r, "to")
	if err != nil {
		return nil, err
	}
	if to < from {
		return nil, page.BadRequest("bad-range", "to is before from")
	}
	by := cmp.Or(r.FormValue("by"), "site")
	var sums []rollup.Total
	switch {
	case by == "site" && r.FormValue("site") != "":
		site, wrong := s.knownSite(r)
		if wrong != nil {
			return nil, wrong
		}
		sums, err = s.Rollup.SiteTotals(r.Context(), from, to, site)
	case by == "site":
		sums, err = s.Rollup.Totals(r.Context(), from, to)
	case by == "category":
		sums, err = s.Rollup.CityTotals(r.Context(), from, to)
	case by == "district":
		sums, err = s.Rollup.DistrictTotals(r.Context(), from, to)
	default:
		return nil, page.BadRequest("bad-range", "by is site, category or district")
	}
	totals, err := totalsOf(sums, err)
	if by == "district" {
		for i := range totals {
			totals[i].District, totals[i].Site = new(totals[i].Site), ""
		}
	}
	if err != nil {
		return nil, err
	}
	suspect, err := totalsOf(s.Rollup.SuspectTotals(r.Context(), from, to))
	return map[string]any{"from": from.String(), "to": to.String(), "totals": totals, "time_suspect": suspect}, err
}

// suspects returns the entries whose time can't be, until they are dated.
func (s *Pages) suspects(r *http.Request) (any, error) {
	type row struct {
		Site      string    `json:"site"`
		Journal   string    `json:"journal"`
		N         uint64    `json:"n"`
		Kind      string    `json:"kind"`
		Number    string    `json:"number"` // of the ticket or bale
		AtMS      int64     `json:"at_ms"`  // by the edge
		CountedMS int64     `json:"counted_ms"`
		Why       string    `json:"why"`
		Grams     unit.Mass `json:"grams"`
	}
	rows := []row{}
	found, err := s.Rollup.Suspects(r.Context(), 1000)
	for _, x := range found {
		rows = append(rows, row{x.Site, x.Ref.Journal, x.Ref.N, string(x.Kind), x.Number, x.At.UnixMilli(), x.Counted.UnixMilli(), x.Why, x.Mass})
	}
	return map[string]any{"suspects": rows}, err
}

func (s *Pages) day(r *http.Request, name string) (day.Day, error) {
	text := r.FormValue(name)
	if text == "" {
		return day.Of(s.Now()), nil
	}
	date, err := day.Parse(text)
	if err != nil {
		return 0, page.BadRequest("bad-day", name+": write a day like 2026-11-23")
	}
	return date, nil
}

// siteJSON is the state of one site: what it says of itself and what the ledger holds of it.
type siteJSON struct {
	Site      string `json:"site"`
	Known     bool   `json:"known"` // it was heard since the start of this program
	Online    bool   `json:"online"`
	SilentMS  int64  `json:"silent_ms"` // since the last message; meaningful if Known
	Version   string `json:"version"`
	Backlog   uint64 `json:"backlog"`   // records that the edge holds without receipt, by its last word
	OldestMS  int64  `json:"oldest_ms"` // Unix ms of the oldest of them; 0 when there is none
	Records   int64  `json:"records"`   // records in the ledger
	NewestMS  int64  `json:"newest_ms"` // Unix ms at which the newest of them was received; 0 when there is none
	Refused   int64  `json:"refused"`   // batches refused and kept in quarantine
	Committed uint64 `json:"committed"` // number of the newest record of the present journal
	Alarms    int64  `json:"alarms"`    // causes of alarms in quarantine
	Suspects  int64  `json:"suspects"`  // entries whose time is to be dated
	// UnreceiptedMS is how long it has been online with records that wait and none was receipted, in whole minutes.
	UnreceiptedMS int64 `json:"unreceipted_ms"`
}

func (s *Pages) siteStates(ctx context.Context) ([]siteJSON, error) {
	all, err := s.ledgerStates(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range s.Live.Snapshot() {
		if i, known := s.hub.place[n.Site]; known {
			all[i].say(n)
		}
	}
	return all, nil
}

// ledgerStates returns the sites in their order, with what the ledger holds of each.
func (s *Pages) ledgerStates(ctx context.Context) ([]siteJSON, error) {
	positions, err := s.Ledger.Positions(ctx)
	if err != nil {
		return nil, err
	}
	refusals, err := s.Ledger.Refusals(ctx)
	if err != nil {
		return nil, err
	}
	alarms, err := s.Ledger.Alarms(ctx)
	if err != nil {
		return nil, err
	}
	suspects, err := s.Rollup.SuspectCounts(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]siteJSON, len(s.Sites))
	for i, site := range s.Sites {
		all[i].Site, all[i].Alarms, all[i].Suspects = site.ID, alarms[site.ID], suspects[site.ID]
		for _, n := range refusals[site.ID] {
			all[i].Refused += n
		}
	}
	for _, p := range positions {
		if i, known := s.hub.place[p.Site]; known && p.Stream == wire.Records {
			all[i].add(p)
		}
	}
	return all, nil
}

// say takes in what a site says of itself.
func (o *siteJSON) say(n telemetry.SiteNow) {
	if n.Heard.IsZero() {
		return
	}
	o.Known, o.Online, o.SilentMS = true, n.Online, n.Silence.Milliseconds()
	o.UnreceiptedMS = n.Unreceipted.Truncate(time.Minute).Milliseconds()
	o.Version, o.Backlog, o.OldestMS = n.Status.Version, n.Status.Backlog, n.Status.Oldest
}

func (o *siteJSON) add(p ledger.JournalState) {
	o.Records += p.Entries
	o.Committed = p.N // the journal that was begun last comes last
	if !p.Last.IsZero() {
		o.NewestMS = max(o.NewestMS, p.Last.UnixMilli())
	}
}

func (s *Pages) sites(r *http.Request) (any, error) {
	all, err := s.siteStates(r.Context())
	return map[string]any{"sites": all}, err
}

// valueJSON is one newest value. Live is false for what is unknown, stale, or of a site offline.
type valueJSON struct {
	Site   string `json:"site"`
	Device string `json:"device"`
	Tag    string `json:"tag"`
	Value  string `json:"value"`
	Text   string `json:"text"`
	Unit   string `json:"unit"`
	AgeMS  int64  `json:"age_ms"`
	Live   bool   `json:"live"`
}

func (s *Pages) liveValues() []valueJSON {
	all := []valueJSON{}
	for _, site := range s.Live.Snapshot() {
		s.Live.Watch(site.Site)
		for _, v := range site.Values {
			all = append(all, valueJSON{site.Site, v.Device, v.Tag, v.Value, v.Text, v.Unit, v.Age.Milliseconds(), v.Live})
		}
	}
	return all
}

func (s *Pages) live(*http.Request) (any, error) {
	return map[string]any{"values": s.liveValues()}, nil
}

func (s *Pages) knownSite(r *http.Request) (string, error) {
	id := r.FormValue("site")
	if _, known := s.hub.place[id]; !known {
		return "", page.BadRequest("unknown-site", "no site of that name")
	}
	return id, nil
}

func (s *Pages) series(r *http.Request) (any, error) {
	site, err := s.knownSite(r)
	if err != nil {
		return nil, err
	}
	type row struct {
		Device string `json:"device"`
		Tag    string `json:"tag"`
		Unit   string `json:"unit"`
		LastMS int64  `json:"last_ms"`
	}
	rows := []row{}
	found, err := s.Store.Series(r.Context(), site)
	for _, f := range found {
		rows = append(rows, row{f.Device, f.Tag, f.Unit, f.Last.UnixMilli()})
	}
	return map[string]any{"series": rows}, err
}

// Limits of a question for a curve.
const (
	longestRange = 400 * 24 * time.Hour
	mostBuckets  = 5000
)

// curve returns one tag over a time: from and to as RFC 3339, step as 10s or 1m.
func (s *Pages) curve(r *http.Request) (any, error) {
	site, err := s.knownSite(r)
	if err != nil {
		return nil, err
	}
	device, tag := r.FormValue("device"), r.FormValue("tag")
	if err := telemetry.CheckName(site, device, tag); err != nil {
		return nil, page.BadRequest("bad-tag", err.Error())
	}
	from, err1 := time.Parse(time.RFC3339, r.FormValue("from"))
	to, err2 := time.Parse(time.RFC3339, r.FormValue("to"))
	step, err3 := time.ParseDuration(r.FormValue("step"))
	if errors.Join(err1, err2, err3) != nil {
		return nil, page.BadRequest("bad-range", "give from and to like 2026-11-23T08:00:00Z and step like 10s")
	}
	if !to.After(from) || to.Sub(from) > longestRange || step < time.Second || to.Sub(from)/step > mostBuckets {
		return nil, page.BadRequest("bad-range", "a range of up to 400 days in at most 5000 steps of a second or more")
	}
	if err := telemetry.CheckRange(from, to, step); err != nil {
		return nil, page.BadRequest("bad-range", err.Error())
	}
	type row struct {
		AtMS  int64   `json:"at_ms"`
		Min   float64 `json:"min"`
		Max   float64 `json:"max"`
		Mean  float64 `json:"mean"`
		Last  float64 `json:"last"`
		Count int64   `json:"count"`
	}
	rows := []row{}
	buckets, err := s.Store.Range(r.Context(), site, device, tag, from, to, step)
	for _, b := range buckets {
		rows = append(rows, row{b.At.UnixMilli(), b.Min, b.Max, b.Mean, b.Last, b.Count})
	}
	return map[string]any{"buckets": rows}, err
}

// curvesJSON reports whether the store of curves has what it should have. An alarm is something that
// somebody must mend.
type curvesJSON struct {
	CaughtUp       bool   `json:"caught_up"` // all tonnage of the ledger is in the store
	Alarm          bool   `json:"alarm"`
	FailingSinceMS int64  `json:"failing_since_ms"` // nothing is taken since; 0 while all is well
	Why            string `json:"why"`
	Unkept         int64  `json:"unkept"`          // postings that can't be stamped; in the ledger only
	Parked         int64  `json:"parked"`          // points that the store refuses; written by themselves when it is mended
	ParkedTonnage  int64  `json:"parked_tonnage"`  // of these, postings
	ParkedSinceMS  int64  `json:"parked_since_ms"` // the oldest of them; 0 when there is none
	Expired        int64  `json:"expired"`         // points older than the store's retention policy keeps
	LeftOut        int64  `json:"left_out"`        // samples since the start that no store could keep
}

func (s *Pages) curves(*http.Request) (any, error) { return s.curvesNow(), nil }

func (s *Pages) curvesNow() curvesJSON {
	b, p := s.Behind(), s.Store.Parked()
	c := curvesJSON{CaughtUp: b.CaughtUp && b.Why == "" && p.Tonnage == 0, Alarm: b.Why != "" || p.Lines > 0, Why: cmp.Or(b.Why, p.Why),
		Unkept: b.Unkept, Parked: p.Lines, ParkedTonnage: p.Tonnage, Expired: p.Expired, LeftOut: p.Bad}
	if !b.Since.IsZero() {
		c.FailingSinceMS = b.Since.UnixMilli()
	}
	if !p.Since.IsZero() {
		c.ParkedSinceMS = p.Since.UnixMilli()
	}
	return c
}

// quarantine returns what was refused, and alarms, one row for each cause.
func (s *Pages) quarantine(r *http.Request) (any, error) {
	type row struct {
		LastMS  int64  `json:"last_ms"`
		Times   int64  `json:"times"`
		Pieces  int64  `json:"pieces"` // of evidence
		Site    string `json:"site"`
		Journal string `json:"journal"` // of alarms about one journal
		From    uint64 `json:"from"`    // numbers of its entries
		To      uint64 `json:"to"`
		Reason  string `json:"reason"`
		Why     string `json:"why"`
		Alarm   bool   `json:"alarm"`
	}
	rows := []row{}
	found, err := s.Ledger.Causes(r.Context(), 100)
	for _, c := range found {
		rows = append(rows, row{c.Last.UnixMilli(), c.Times, c.Pieces, c.Site, c.Journal, c.From, c.To, c.Reason, c.Why, c.Alarm})
	}
	return map[string]any{"quarantined": rows, "ingest": s.Ingest()}, err
}

// unpostedJSON is an entry that stands in the ledger and in no total, with the reason.
type unpostedJSON struct {
	Site    string      `json:"site"`
	Journal string      `json:"journal"`
	N       uint64      `json:"n"`
	Kind    record.Kind `json:"kind"`
	AtMS    int64       `json:"at_ms"`
	Why     string      `json:"why"`
}

// mostUnposted bounds the list of what is in no total; the newest are shown.
const mostUnposted = 50

// unpostedRows returns what the ledger holds as invalid, and then what could not be posted.
func (s *Pages) unpostedRows(ctx context.Context) ([]unpostedJSON, error) {
	rows := []unpostedJSON{}
	invalid, err := s.Ledger.Invalid(ctx, mostUnposted)
	if err != nil {
		return nil, err
	}
	for _, e := range invalid {
		rows = append(rows, unpostedJSON{e.Site, e.Journal, e.N, e.Kind, e.At.UnixMilli(), e.Why})
	}
	left, err := s.Rollup.Unposted(ctx, mostUnposted)
	for _, l := range left {
		rows = append(rows, unpostedJSON{l.Site, l.Ref.Journal, l.Ref.N, l.Kind, l.At.UnixMilli(), l.Why})
	}
	return rows, err
}

// unposted returns what is in no total, and the numbers that edges have stated to be gone.
func (s *Pages) unposted(r *http.Request) (any, error) {
	type gap struct {
		Site    string      `json:"site"`
		Journal string      `json:"journal"`
		Stream  wire.Stream `json:"stream"`
		From    uint64      `json:"from"`
		To      uint64      `json:"to"`
		Reason  string      `json:"reason"`
		SeenMS  int64       `json:"seen_ms"`
		Alarm   bool        `json:"alarm"`
	}
	rows, err := s.unpostedRows(r.Context())
	if err != nil {
		return nil, err
	}
	gaps := []gap{}
	found, err := s.Ledger.Gaps(r.Context(), mostUnposted)
	for _, g := range found {
		gaps = append(gaps, gap{g.Site, g.Journal, g.Stream, g.From, g.To, g.Reason, g.Seen.UnixMilli(), g.Alarm})
	}
	return map[string]any{"unposted": rows, "gaps": gaps}, err
}

// maxAudit bounds the file of a simulation's audit.
const maxAudit = 4 << 20

// audit passes on the audit of the simulation that feeds this city, if one does.
func (s *Pages) audit(*http.Request) (any, error) {
	data, err := s.auditFile()
	if err == nil && data == nil {
		err = &page.Problem{Title: "not found", Status: http.StatusNotFound, Code: "no-audit", Detail: "this city is not simulated: there is no truth to compare with"}
	}
	return data, err
}

func (s *Pages) auditFile() (json.RawMessage, error) {
	if s.Audit == "" {
		return nil, nil
	}
	info, err := os.Stat(s.Audit)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil || info.Size() > maxAudit {
		return nil, errors.Join(err, errors.New("audit file can't be shown"))
	}
	data, err := os.ReadFile(s.Audit)
	if err != nil || !json.Valid(data) {
		return nil, errors.Join(err, errors.New("audit file is not JSON"))
	}
	return data, nil
}
