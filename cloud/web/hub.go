package web

import (
	"context"
	"time"

	"steelyard/cloud/telemetry"
	"steelyard/internal/day"
	"steelyard/internal/page"
	"steelyard/internal/wire"
)

// The paces of the events, while anybody reads them. Live values follow their changes and set no
// other pace; what comes from the ledger is looked at once a second, and read if it has moved.
const (
	minInterval  = 100 * time.Millisecond
	maxInterval  = time.Second
	hourEvery    = 10 * time.Second
	refusedEvery = 5 * time.Second
)

// hub works out once what all open pages are told: tables "live", "sites" and "totals", documents
// "machines", "day", "hour", "audit", "curves" and "unread".
type hub struct {
	*Pages
	feed   *page.Feed
	live   *page.Table
	states *page.Table
	totals *page.Table
	place  map[string]int // of a site in the order of the configuration

	names    map[string][]wire.MachineName // of the machines, by site
	cursor   uint64                        // how far the changes of the live values have been followed
	values   []map[[2]string]bool          // device and tag of the values in live, by site
	sites    []stateRow
	head     int64              // of the ledger, as states show it
	refused  time.Time          // when states were last read
	sums     map[[3]string]bool // site, category and flow of the rows in totals
	totalled bool               // totals have been read
	read     int64              // of the ledger, as totals show it
	day      day.Day
	listed   *[2]int64 // head and read as unposted shows them; nil: it was never read
	polled   time.Time // when the ledger was last looked at
	hour     time.Time // when the last hour was last summed
	failing  map[string]bool
}

func newHub(s *Pages) *hub {
	h := &hub{Pages: s, feed: page.NewFeed(), place: make(map[string]int, len(s.Sites)),
		sites: make([]stateRow, len(s.Sites)), names: map[string][]wire.MachineName{}, values: make([]map[[2]string]bool, len(s.Sites)), failing: map[string]bool{}}
	for i, site := range s.Sites {
		h.place[site.ID] = i
		h.sites[i].Site = site.ID
	}
	h.live = h.feed.Table("live", "age_ms", "site", "device", "tag")
	h.states = h.feed.Table("sites", "silent_ms", "site")
	h.totals = h.feed.Table("totals", "", "site", "category", "flow")
	return h
}

// run publishes while anybody reads, until ctx ends.
func (h *hub) run(ctx context.Context) error {
	changed := h.Live.Subscribe(ctx)
	for {
		if h.feed.Await(ctx) != nil {
			return nil
		}
		h.poll(ctx)
		h.feed.Publish()
		rest := time.NewTimer(minInterval)
		select {
		case <-ctx.Done():
		case <-rest.C:
		}
		rest.Reset(maxInterval - minInterval)
		select {
		case <-ctx.Done():
		case <-changed:
		case <-rest.C:
		}
		rest.Stop()
	}
}

// poll brings the feed up to now. What can't be read now stays as it was, pages are told so, and it
// is read again.
func (h *hub) poll(ctx context.Context) {
	now := h.Now()
	h.followLive()
	if since := now.Sub(h.polled); since < maxInterval && since >= 0 {
		return
	}
	h.polled = now
	for _, site := range h.Sites {
		h.Live.Watch(site.ID)
	}
	for _, part := range []struct {
		name string
		read func(context.Context, time.Time) error
	}{{"sites", h.readSites}, {"totals", h.readTotals}, {"unposted", h.readUnposted}, {"hour", h.readHour}, {"audit", h.readAudit}, {"curves", h.readCurves}} {
		err := part.read(ctx, now)
		if err != nil && ctx.Err() == nil && !h.failing[part.name] {
			h.Log.Error("pages show old numbers, reading again", "part", part.name, "err", err)
		}
		h.failing[part.name] = err != nil
	}
	if err := h.feed.Set("unread", h.failing); err != nil {
		h.Log.Error("an event can't be written", "event", "unread", "err", err)
	}
}

// liveRow is one newest value as pages are told it.
type liveRow struct {
	Site    string `json:"site"`
	Device  string `json:"device"`
	Tag     string `json:"tag"`
	Value   string `json:"value"`
	Text    string `json:"text"`
	Unit    string `json:"unit"`
	Live    bool   `json:"live"`
	SinceMS *int64 `json:"since_ms"` // null while the value is live
}

// stateRow is the state of one site as pages are told it.
type stateRow struct {
	siteJSON
	SinceMS *int64 `json:"since_ms"` // null while the site is online
}

// followLive takes over what has changed of the live values.
func (h *hub) followLive() {
	var changed []telemetry.SiteNow
	changed, h.cursor = h.Live.Since(h.cursor)
	for _, n := range changed {
		i, known := h.place[n.Site]
		if !known {
			continue
		}
		h.followValues(i, n)
		h.names[n.Site] = n.Machines
		s := &h.sites[i]
		s.say(n)
		s.SilentMS, s.SinceMS = 0, nil
		if s.Known && !s.Online {
			s.SinceMS = h.feed.Since(n.Silence)
		}
		h.put(h.states, s, n.Site)
	}
	if err := h.feed.Set("machines", h.names); err != nil {
		h.Log.Error("an event can't be written", "event", "machines", "err", err)
	}
}

func (h *hub) followValues(i int, n telemetry.SiteNow) {
	before := h.values[i]
	if n.Whole {
		h.values[i] = make(map[[2]string]bool, len(n.Values))
	}
	for _, v := range n.Values {
		row := liveRow{Site: n.Site, Device: v.Device, Tag: v.Tag, Value: v.Value, Text: v.Text, Unit: v.Unit, Live: v.Live}
		if !v.Live {
			row.SinceMS = h.feed.Since(v.Age)
		}
		h.put(h.live, row, n.Site, v.Device, v.Tag)
		h.values[i][[2]string{v.Device, v.Tag}] = true
	}
	if n.Whole {
		for name := range before {
			if !h.values[i][name] {
				h.live.Drop(n.Site, name[0], name[1])
			}
		}
	}
}

// readSites takes over what the ledger holds of each site, if it has moved. Refusals do not move
// it; they are looked at more seldom.
func (h *hub) readSites(ctx context.Context, now time.Time) error {
	head, err := h.Ledger.Head(ctx)
	if err != nil || head == h.head && now.Sub(h.refused) < refusedEvery && !now.Before(h.refused) {
		return err
	}
	all, err := h.ledgerStates(ctx)
	if err != nil {
		return err
	}
	h.head, h.refused = head, now
	for i := range h.sites {
		s, held := &h.sites[i], all[i]
		s.Records, s.NewestMS, s.Refused, s.Committed = held.Records, held.NewestMS, held.Refused, held.Committed
		s.Alarms, s.Suspects = held.Alarms, held.Suspects
		h.put(h.states, s, s.Site)
	}
	return nil
}

// readTotals takes over the sums of today, if they have moved or the day is another.
func (h *hub) readTotals(ctx context.Context, now time.Time) error {
	today := day.Of(now)
	read, err := h.Rollup.Read(ctx)
	if err != nil || read == h.read && h.totalled && today == h.day {
		return err
	}
	sums, err := totalsOf(h.Rollup.Totals(ctx, today, today))
	if err != nil {
		return err
	}
	before := h.sums
	h.sums = make(map[[3]string]bool, len(sums))
	for _, t := range sums {
		key := [3]string{t.Site, t.Category, string(t.Flow)}
		h.put(h.totals, t, key[:]...)
		h.sums[key] = true
	}
	for key := range before {
		if !h.sums[key] {
			h.totals.Drop(key[:]...)
		}
	}
	h.read, h.day, h.totalled = read, today, true
	return h.totals.In(map[string]string{"day": today.String()}, "totals")
}

// readUnposted takes over what is in no total, when the ledger or its totals have moved.
func (h *hub) readUnposted(ctx context.Context, _ time.Time) error {
	head, err := h.Ledger.Head(ctx)
	if err != nil {
		return err
	}
	read, err := h.Rollup.Read(ctx)
	if moved := [2]int64{head, read}; err != nil || h.listed != nil && *h.listed == moved {
		return err
	}
	rows, err := h.unpostedRows(ctx)
	if err != nil {
		return err
	}
	h.listed = &[2]int64{head, read}
	return h.feed.Set("unposted", rows)
}

func (h *hub) readHour(ctx context.Context, now time.Time) error {
	if since := now.Sub(h.hour); since < hourEvery && since >= 0 {
		return nil
	}
	sums, err := totalsOf(h.Rollup.LastHour(ctx, now))
	if err != nil {
		return err
	}
	h.hour = now
	return h.feed.Set("hour", sums)
}

func (h *hub) readAudit(context.Context, time.Time) error {
	data, err := h.auditFile()
	if err != nil || data == nil {
		return err
	}
	return h.feed.Set("audit", data)
}

func (h *hub) readCurves(context.Context, time.Time) error {
	c := h.curvesNow()
	return h.feed.Set("curves", map[string]any{"alarm": c.Alarm, "parked": c.Parked})
}

// put sets a row. Nothing here is of a kind that can't be written.
func (h *hub) put(t *page.Table, row any, key ...string) {
	if err := t.Put(row, key...); err != nil {
		h.Log.Error("a row can't be written", "key", key, "err", err)
	}
}
