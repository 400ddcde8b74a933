package telemetry_test

import (
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"steelyard/cloud/rollup"
	"steelyard/cloud/telemetry"
)

// TestCompact folds two days into minutes; what was asked in minutes before answers the same after.
func TestCompact(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history.db")
	h := historyAt(t, path)
	var points []telemetry.Sample
	n := uint64(0)
	for i := range 3000 {
		n++
		points = append(points, sample(t, "a", n, start.Add(time.Duration(i)*1500*time.Millisecond), fmt.Sprintf("%d.25", i%97-40)))
	}
	n++
	points = append(points, state("a", n, start, "running"))
	put(t, h, points...)
	before := curve(t, h, "a", start, 2*time.Hour, time.Minute)
	last := start
	compact := func(at time.Time) {
		t.Helper()
		put(t, h, state("elsewhere", uint64(at.Unix()), at, "running")) // what is newest decides what is old
		if err := h.Compact(t.Context(), at, at.Sub(last)); err != nil {
			t.Fatal(err)
		}
		last = at
	}
	check := func(when string, want []telemetry.Bucket) {
		t.Helper()
		got := curve(t, h, "a", start, 2*time.Hour, time.Minute)
		if len(got) != len(want) {
			t.Fatalf("%s: %d minutes, want %d", when, len(got), len(want))
		}
		same(t, got, want)
	}
	compact(start.Add(48*time.Hour + 30*time.Minute)) // half of it
	check("half folded", before)
	compact(start.Add(60 * time.Hour))
	check("folded", before)
	compact(start.Add(60 * time.Hour))
	check("folded again", before)
	if got := curve(t, h, "a", start, 2*time.Hour, 90*time.Second); len(got) > 60 {
		t.Errorf("%d steps of 90 s from rows of a minute", len(got))
	}

	// Sent again after the folding, nothing changes, not even after a restart.
	put(t, h, points...)
	check("sent again", before)
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	h = historyAt(t, path)
	put(t, h, points...)
	compact(start.Add(61 * time.Hour))
	check("sent again, opened again, folded again", before)

	// Samples that were held at the site for days come late, twice.
	late := []telemetry.Sample{
		sample(t, "a", n+1, start.Add(10*time.Second), "1000"),
		sample(t, "a", n+2, start.Add(11*time.Second), "-1000"),
	}
	for range 2 {
		put(t, h, late...)
		first := curve(t, h, "a", start, time.Minute, time.Minute)[0]
		if first.Count != before[0].Count+2 || first.Max != 1000 || first.Min != -1000 || first.Last != before[0].Last {
			t.Errorf("late points: got %+v after %+v", first, before[0])
		}
		compact(start.Add(62 * time.Hour))
	}
	put(t, h, late...)
	check("late ones folded", append(curve(t, h, "a", start, time.Minute, time.Minute), before[1:]...))
	if got := curve(t, h, "a", start, time.Minute, time.Minute)[0]; got.Count != before[0].Count+2 {
		t.Errorf("late points folded: got %+v", got)
	}

	// The negative control: from a journal of which nothing is known, the same points count again.
	again := late[0]
	again.Journal = strings.Repeat("f", 32)
	put(t, h, again)
	if got := curve(t, h, "a", start, time.Minute, time.Minute)[0]; got.Count != before[0].Count+3 {
		t.Errorf("a point of another journal: got %+v", got)
	}

	words, err := h.States(t.Context(), "a", "baler-1", "state", start, start.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	same(t, words, []telemetry.State{{At: start, Text: "running"}})
	compact(start.Add(401 * 24 * time.Hour))
	check("older than all that is kept", nil)
	series, err := h.Series(t.Context(), "a")
	if err != nil || len(series) != 0 {
		t.Errorf("series without a point: %v, %v", series, err)
	}
}

// TestCompactKeepsTonnage: tonnage is never thinned.
func TestCompactKeepsTonnage(t *testing.T) {
	h := historyAt(t, filepath.Join(t.TempDir(), "history.db"))
	list := postings(500, start)
	if err := h.PutTonnes(t.Context(), tonnes(t, list)); err != nil {
		t.Fatal(err)
	}
	if err := h.Compact(t.Context(), start.Add(2000*24*time.Hour), 0); err != nil {
		t.Fatal(err)
	}
	same(t, total(t, h, start, time.Minute), sums(list))
}

// TestCityClockJumped: the city's clock was two years ahead for 75 s, and the whole history was gone.
func TestCityClockJumped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history.db")
	h := historyAt(t, path)
	for i := range 100 {
		put(t, h, sample(t, "a", uint64(i+1), start.Add(time.Duration(i)*time.Minute), "1"))
	}
	count := func() (n int64) {
		t.Helper()
		for _, b := range curve(t, h, "a", start, 2*time.Hour, time.Minute) {
			n += b.Count
		}
		return n
	}
	compact := func(wall time.Time, passed time.Duration) {
		t.Helper()
		if err := h.Compact(t.Context(), wall, passed); err != nil {
			t.Fatal(err)
		}
	}
	now := start.Add(3 * time.Hour)
	ahead := now.Add(2 * 365 * 24 * time.Hour)
	compact(ahead, time.Minute) // the first time that anything is looked at, also
	compact(now, time.Minute)
	compact(ahead, time.Minute)
	if err := h.Close(); err != nil { // a start in the wrong time as well
		t.Fatal(err)
	}
	h = historyAt(t, path)
	for range 10 {
		compact(ahead, 0)
		compact(ahead.Add(time.Minute), time.Minute)
	}
	if got := count(); got != 100 {
		t.Errorf("%d points are left of 100", got)
	}
	compact(now.Add(15*time.Minute), 0)
	// A site's clock that was years ahead as well does not help a clock that has jumped.
	put(t, h, sample(t, "b", 1, ahead, "1"))
	compact(ahead, time.Minute)
	if got := count(); got != 100 {
		t.Errorf("%d points are left of 100 after a site's clock was ahead, too", got)
	}
	// The negative control: years that did pass, by the clock that does not jump, make points old.
	compact(ahead, ahead.Sub(now))
	if got := count(); got != 0 {
		t.Errorf("%d points are left after two years: nothing is ever dropped", got)
	}
}

func TestHistoryCursor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "with space?&#.db")
	h := historyAt(t, path)
	for _, n := range []rollup.Place{{}, {Seq: 7, Trail: -9}, {Seq: 5, Trail: 1}} {
		if n.Seq > 0 {
			if err := h.SaveCursor(t.Context(), n); err != nil {
				t.Fatal(err)
			}
			if err := h.Close(); err != nil {
				t.Fatal(err)
			}
			h = historyAt(t, path)
		}
		if got, err := h.LoadCursor(t.Context()); err != nil || got != n {
			t.Errorf("cursor %d, %v, want %d", got, err, n)
		}
	}
}

func TestHistoryWithoutFolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "no", "such", "folder.db")
	if _, err := telemetry.OpenHistory(t.Context(), telemetry.HistoryConfig{Path: path}); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want an error that names %s", err, path)
	}
}

// TestOlderHistory opens the files of the versions before, as their software left them.
func TestOlderHistory(t *testing.T) {
	const old = `
create table full (series integer not null, at integer not null, value text not null, word text not null, primary key (series, at)) without rowid;
create table minute (
	series integer not null, at integer not null, min real not null, max real not null, sum real not null,
	count integer not null, last real not null, last_at integer not null,
	primary key (series, at)) without rowid;
create table taken (site text not null, journal text not null, n integer not null, primary key (site, journal)) without rowid;
create table mark (name text primary key, n integer not null) without rowid;
create table tonnage (
	site text not null, category text not null, material text not null, flow text not null, at integer not null, grams integer not null,
	primary key (site, material, flow, at)) without rowid;
create index tonnage_at on tonnage (at);
insert into mark values ('tonnes', 7);`
	const series = `create table series (
	id integer primary key, site text not null, device text not null, tag text not null,
	unit text not null, words integer not null, %s unique (site, device, tag));
insert into series (id, site, device, tag, unit, words) values (1, '%s', '%s', '%s', 'A', 0);`
	for _, tc := range []struct {
		version int
		machine string
		place   rollup.Place
	}{{1, "", rollup.Place{}}, {2, "machine text not null default '',", rollup.Place{Seq: 7}}} {
		t.Run(fmt.Sprint(tc.version), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "history.db")
			db, err := sql.Open("sqlite", path)
			if err != nil {
				t.Fatal(err)
			}
			late, point := sample(t, "a", 3, start, "5"), sample(t, "a", 4, start.Add(time.Hour), "6")
			_, err = db.Exec(old + fmt.Sprintf(series, tc.machine, late.Site, late.Device, late.Values[0].Tag) +
				fmt.Sprintf("insert into mark values ('folded', %d);", start.Add(time.Minute).UnixNano()) +
				fmt.Sprintf("insert into taken values ('%s', '%s', 4);", late.Site, late.Journal) +
				fmt.Sprintf("insert into full values (1, %d, '6', '');", point.Stamp()) +
				fmt.Sprintf("insert into minute values (1, %d, 5, 5, 5, 1, 5, %d);", start.Unix()/60, late.Stamp()) +
				fmt.Sprintf("pragma user_version=%d", tc.version))
			if err := errors.Join(err, db.Close()); err != nil {
				t.Fatal(err)
			}
			h := historyAt(t, path)
			put(t, h, late, point) // both are there
			got := curve(t, h, "a", start, 2*time.Hour, time.Minute)
			if len(got) != 2 || got[0].Count != 1 || got[0].Max != 5 || got[1].Count != 1 || got[1].Max != 6 {
				t.Errorf("got %+v, want the two points once", got)
			}
			if place, err := h.LoadCursor(t.Context()); err != nil || place != tc.place {
				t.Errorf("cursor %+v, %v, want %+v", place, err, tc.place)
			}
		})
	}
}
