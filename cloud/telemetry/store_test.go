package telemetry_test

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"steelyard/cloud/rollup"
	"steelyard/cloud/telemetry"
	"steelyard/cloud/telemetry/influxtest"
	"steelyard/internal/record"
	"steelyard/internal/unit"
)

const journal = "0123456789abcdef0123456789abcdef"

var start = time.Date(2026, 11, 2, 8, 0, 0, 0, time.UTC)

func logger(t testing.TB) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

func influxAt(t testing.TB, s *influxtest.Server, change func(*telemetry.InfluxConfig)) *telemetry.Influx {
	t.Helper()
	c := telemetry.InfluxConfig{URL: s.URL, Token: s.Token, Org: s.Org, Bucket: s.Bucket,
		Timeout: patience, Pause: 10 * time.Millisecond, Log: logger(t)}
	if change != nil {
		change(&c)
	}
	x, err := telemetry.NewInflux(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	return x
}

func historyAt(t testing.TB, path string) *telemetry.History {
	t.Helper()
	h, err := telemetry.OpenHistory(t.Context(), telemetry.HistoryConfig{Path: path, Log: logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

func put(t testing.TB, s telemetry.Store, samples ...telemetry.Sample) {
	t.Helper()
	if err := s.Put(t.Context(), samples); err != nil {
		t.Fatal(err)
	}
}

// sample is one number of tag motor_current of baler-1.
func sample(t testing.TB, site string, n uint64, at time.Time, value string) telemetry.Sample {
	t.Helper()
	return shown(site, n, at, record.SampleValue{Tag: "motor_current", Value: value, Unit: "A", OK: true})
}

func state(site string, n uint64, at time.Time, word string) telemetry.Sample {
	return shown(site, n, at, record.SampleValue{Tag: "state", Text: word, OK: true})
}

// shown is what baler-1 shows at one moment.
func shown(site string, n uint64, at time.Time, values ...record.SampleValue) telemetry.Sample {
	return telemetry.Sample{Site: site, Device: "baler-1", Machine: record.Baler, Journal: journal, N: n, AtMS: at.UnixMilli(), Values: values}
}

func curve(t testing.TB, s telemetry.Store, site string, from time.Time, span, step time.Duration) []telemetry.Bucket {
	t.Helper()
	list, err := s.Range(t.Context(), site, "baler-1", "motor_current", from, from.Add(span), step)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func same(t testing.TB, got, want any) {
	t.Helper()
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("want -, got +\n%s", diff)
	}
}

// testStore is the one suite that both stores pass.
func testStore(t *testing.T, store telemetry.Store) {
	t.Run("curve", func(t *testing.T) { testCurve(t, store) })
	t.Run("one millisecond", func(t *testing.T) { testOneMillisecond(t, store) })
	t.Run("states and series", func(t *testing.T) { testStates(t, store) })
	t.Run("bad points", func(t *testing.T) { testBadPoints(t, store) })
	t.Run("senseless questions", func(t *testing.T) { testQuestions(t, store) })
	t.Run("one sample", func(t *testing.T) { testOneSample(t, store) })
	t.Run("tonnage", func(t *testing.T) { testTonnage(t, store) })
	t.Run("tonnage from the beginning", func(t *testing.T) { testForget(t, store) })
}

func TestHistory(t *testing.T) {
	testStore(t, historyAt(t, filepath.Join(t.TempDir(), "history.db")))
}

func testCurve(t *testing.T, s telemetry.Store) {
	points := []telemetry.Sample{
		sample(t, "curve", 1, start, "10.5"),
		sample(t, "curve", 2, start.Add(3*time.Second), "-2"),
		sample(t, "curve", 3, start.Add(9999*time.Millisecond), "0.25"),
		sample(t, "curve", 4, start.Add(20*time.Second), "12.340"),
	}
	for range 2 { // sent again, nothing changes
		put(t, s, points...)
	}
	want := []telemetry.Bucket{
		{At: start, Min: -2, Max: 10.5, Mean: 8.75 / 3, Last: 0.25, Count: 3},
		{At: start.Add(20 * time.Second), Min: 12.34, Max: 12.34, Mean: 12.34, Last: 12.34, Count: 1},
	}
	same(t, curve(t, s, "curve", start, time.Minute, 10*time.Second), want)
	// The end does not belong to the span, the start does.
	same(t, curve(t, s, "curve", start, 20*time.Second, 10*time.Second), want[:1])
	if got := curve(t, s, "nobody", start, time.Minute, 10*time.Second); len(got) != 0 {
		t.Errorf("an unknown site has %v", got)
	}
}

func testOneMillisecond(t *testing.T, s telemetry.Store) {
	var points []telemetry.Sample
	for n := range uint64(500) {
		points = append(points, sample(t, "crowd", 1+n, start, "1"))
	}
	put(t, s, points...)
	got := curve(t, s, "crowd", start, time.Second, time.Second)
	if len(got) != 1 || got[0].Count != 500 {
		t.Errorf("500 entries of one millisecond: got %v", got)
	}
	for i := range points {
		points[i].N = 1 // the negative control: without the entry's number in the stamp, one is left
		points[i].Site = "crowd-2"
	}
	put(t, s, points...)
	if got := curve(t, s, "crowd-2", start, time.Second, time.Second); len(got) != 1 || got[0].Count != 1 {
		t.Errorf("500 points of one stamp: got %v, want one", got)
	}
}

// testOneSample: the values of one sample stand together, numbers and words, under names that mean
// something to a database, and can be asked for one by one.
func testOneSample(t *testing.T, s telemetry.Store) {
	number := func(tag, value, unit string) record.SampleValue {
		return record.SampleValue{Tag: tag, Value: value, Unit: unit, OK: true}
	}
	put(t, s,
		shown("whole", 1, start, number("motor_current", "12.50", "A"), number("time", "7", "s"), number("site", "8", ""), number("oil", "41.5", "°C"),
			record.SampleValue{Tag: "mode", Value: "2", Text: "auto, \"slow\"", OK: true}),
		shown("whole", 2, start.Add(time.Second), number("motor_current", "13.5", "A"), number("time", "9", "min")))
	series, err := s.Series(t.Context(), "whole")
	if err != nil {
		t.Fatal(err)
	}
	info := func(tag, unit string, last time.Duration, words bool) telemetry.SeriesInfo {
		return telemetry.SeriesInfo{Site: "whole", Device: "baler-1", Machine: record.Baler, Tag: tag, Unit: unit, Last: start.Add(last), Words: words}
	}
	same(t, series, []telemetry.SeriesInfo{info("mode", "", 0, true), info("motor_current", "A", time.Second, false), info("oil", "°C", 0, false),
		info("site", "", 0, false), info("time", "min", time.Second, false)})
	for tag, want := range map[string]float64{"motor_current": 13.5, "time": 9, "site": 8, "oil": 41.5, "mode": 2} {
		got, err := s.Range(t.Context(), "whole", "baler-1", tag, start, start.Add(time.Minute), time.Minute)
		if err != nil || len(got) != 1 || got[0].Last != want {
			t.Errorf("tag %s: %v, %v, want %v", tag, got, err, want)
		}
	}
	words, err := s.States(t.Context(), "whole", "baler-1", "mode", start, start.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	same(t, words, []telemetry.State{{At: start, Text: `auto, "slow"`}})
}

// testForget: what is written again from the beginning takes the place of what was there.
func testForget(t *testing.T, s telemetry.Store) {
	at := start.Add(21 * 24 * time.Hour)
	tonne := func(site string, grams int64) telemetry.Tonne {
		return telemetry.Tonne{Site: site, Category: "paper", Material: "paper", Flow: "sorted", At: at.UnixNano(), Grams: grams}
	}
	put := func(tonnes ...telemetry.Tonne) {
		t.Helper()
		if err := s.PutTonnes(t.Context(), tonnes); err != nil {
			t.Fatal(err)
		}
	}
	forgotten := tonne("forget-1", 5)
	forgotten.At++
	put(tonne("forget-1", 1), forgotten, tonne("forget-2", 3), tonne("foreign", 7))
	if err := s.ForgetTonnes(t.Context(), []string{"forget-1", "forget-2", "forget-3"}); err != nil {
		t.Fatal(err)
	}
	put(tonne("forget-1", 1), tonne("forget-2", 3))
	var got []string
	for _, sum := range total(t, s, at, time.Minute) {
		got = append(got, fmt.Sprint(sum.Site, " ", sum.Grams))
	}
	same(t, got, []string{"foreign 7", "forget-1 1", "forget-2 3"})
}

func testStates(t *testing.T, s telemetry.Store) {
	put(t, s,
		state("words", 1, start, "running"),
		state("words", 2, start.Add(time.Minute), `fault "E\12", lid`),
		sample(t, "words", 3, start.Add(time.Minute), "7"),
		state("words", 4, start.Add(2*time.Minute), "停机"))
	got, err := s.States(t.Context(), "words", "baler-1", "state", start, start.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, []telemetry.State{{At: start, Text: "running"}, {At: start.Add(time.Minute), Text: `fault "E\12", lid`},
		{At: start.Add(2 * time.Minute), Text: "停机"}})
	series, err := s.Series(t.Context(), "words")
	if err != nil {
		t.Fatal(err)
	}
	same(t, series, []telemetry.SeriesInfo{
		{Site: "words", Device: "baler-1", Machine: record.Baler, Tag: "motor_current", Unit: "A", Last: start.Add(time.Minute)},
		{Site: "words", Device: "baler-1", Machine: record.Baler, Tag: "state", Last: start.Add(2 * time.Minute), Words: true},
	})
}

// injections are names and words that would mean something in the line protocol, in InfluxQL or in
// SQL.
var injections = []string{
	"a,site=other", "a b", "a=b", "a\nsample,site=x value=1 1", "a\r", "a\\", `a"`, "a'", "a' OR '1'='1", `a"; DROP DATABASE steelyard; --`,
	"a\x00", "a\t", "", "-a", "a/../b", "a;b", "é", "粤A", "a\u202eb", "=cmd", "a value=1i 1", strings.Repeat("a", 65), "\xff", "a,", "#a",
}

func testBadPoints(t *testing.T, s telemetry.Store) {
	before := s.Parked()
	var points []telemetry.Sample
	want := int64(0)
	for i, text := range injections {
		for field := range 3 {
			p := sample(t, "inject", uint64(1+i*10+field), start.Add(time.Duration(i)*time.Second), "1")
			*[]*string{&p.Site, &p.Device, &p.Values[0].Tag}[field] = text
			points = append(points, p)
			want++
		}
	}
	good := sample(t, "inject", 9999, start, "3")
	control := state("inject", 10_000, start, "a\nsample,device=baler-1,site=inject,tag=motor_current value=4 1")
	put(t, s, append(points, good, control)...)
	after := s.Parked()
	if got := after.Bad - before.Bad; got != want+1 {
		t.Errorf("left out %d samples, want %d", got, want+1)
	}
	if after.Lines != before.Lines {
		t.Errorf("%d lines are parked: nobody can mend them", after.Lines-before.Lines)
	}
	// Words may hold anything printable, and come back as they are.
	var words []telemetry.State
	for i, text := range injections {
		p := state("inject", uint64(20_000+i), start.Add(time.Duration(i)*time.Second), text)
		if p.Check() != nil {
			continue
		}
		put(t, s, p)
		words = append(words, telemetry.State{At: start.Add(time.Duration(i) * time.Second), Text: text})
	}
	got, err := s.States(t.Context(), "inject", "baler-1", "state", start, start.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, words)
	series, err := s.Series(t.Context(), "inject")
	if err != nil {
		t.Fatal(err)
	}
	if len(series) != 2 {
		t.Errorf("series %v, want the good one and the words", series)
	}
	same(t, curve(t, s, "inject", time.Unix(0, 0), 24*365*100*time.Hour, 24*365*time.Hour)[0].Count, int64(1))
}

func testQuestions(t *testing.T, s telemetry.Store) {
	ctx := t.Context()
	for _, name := range injections {
		if _, err := s.Series(ctx, name); err == nil {
			t.Errorf("series of site %q: no error", name)
		}
		if _, err := s.Range(ctx, "a", "b", name, start, start.Add(time.Hour), time.Minute); err == nil {
			t.Errorf("range of tag %q: no error", name)
		}
		if _, err := s.States(ctx, "a", name, "c", start, start.Add(time.Hour)); err == nil {
			t.Errorf("states of device %q: no error", name)
		}
	}
	for _, q := range []struct{ span, step time.Duration }{{time.Hour, 0}, {time.Hour, -1}, {time.Hour, time.Microsecond},
		{0, time.Second}, {-time.Hour, time.Second}, {1000 * time.Hour, time.Second}} {
		if _, err := s.Range(ctx, "a", "b", "c", start, start.Add(q.span), q.step); err == nil {
			t.Errorf("range of %v in %v: no error", q.span, q.step)
		}
	}
	over, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.Tonnage(over, start, start.Add(time.Hour)); err == nil {
		t.Error("a cancelled question is answered")
	}
}

// postings makes postings as a rollup would: several a millisecond, several parts an entry, and
// corrections that take back and book again.
func postings(count int, from time.Time) []rollup.Posting {
	r := rand.New(rand.NewPCG(7, 11))
	flows := []rollup.Flow{rollup.Collected, rollup.Sorted, rollup.Recycled, rollup.Residue, rollup.Transfer}
	var list []rollup.Posting
	for n := uint64(1); len(list) < count; n++ {
		site := fmt.Sprintf("site-%d", r.IntN(3))
		at := from.Add(time.Duration(r.IntN(20_000)) * time.Millisecond)
		flow, category := flows[r.IntN(len(flows))], fmt.Sprintf("paper-%d", r.IntN(2))
		parts := 1 + r.IntN(4)
		for part := range parts {
			p := rollup.Posting{Site: site, Ref: record.Ref{Journal: journal, N: n}, Part: part, At: at,
				Category: category, Material: category + []string{"", "/occ"}[part%2], Flow: flow, Mass: unit.Mass(1 + r.Int64N(40_000_000))}
			list = append(list, p)
			if r.IntN(10) == 0 {
				back := p
				back.Mass, back.Ref.N = -p.Mass, n+1
				again := back
				again.Mass = p.Mass - 1
				list = append(list, back, again)
			}
		}
		n++
	}
	for i := range list {
		list[i].Seq = int64(i+1) * 3
	}
	return list
}

func sums(list []rollup.Posting) []telemetry.Sum {
	type key struct{ site, category, material, flow string }
	all := map[key]*telemetry.Sum{}
	for _, p := range list {
		k := key{p.Site, p.Category, p.Material, string(p.Flow)}
		if all[k] == nil {
			all[k] = &telemetry.Sum{Site: k.site, Category: k.category, Material: k.material, Flow: k.flow}
		}
		all[k].Grams += int64(p.Mass)
		all[k].Count++
	}
	var sorted []telemetry.Sum
	for _, s := range all {
		sorted = append(sorted, *s)
	}
	slices.SortFunc(sorted, func(a, b telemetry.Sum) int {
		return cmp.Or(strings.Compare(a.Site, b.Site), strings.Compare(a.Category, b.Category),
			strings.Compare(a.Material, b.Material), strings.Compare(a.Flow, b.Flow))
	})
	return sorted
}

func tonnes(t testing.TB, list []rollup.Posting) []telemetry.Tonne {
	t.Helper()
	var all []telemetry.Tonne
	for _, p := range list {
		tonne, err := telemetry.TonneOf(p)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, tonne)
	}
	return all
}

func total(t testing.TB, s telemetry.Store, from time.Time, span time.Duration) []telemetry.Sum {
	t.Helper()
	got, err := s.Tonnage(t.Context(), from, from.Add(span))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func testTonnage(t *testing.T, s telemetry.Store) {
	list := postings(7000, start)
	for range 2 {
		if err := s.PutTonnes(t.Context(), tonnes(t, list)); err != nil {
			t.Fatal(err)
		}
	}
	same(t, total(t, s, start, time.Minute), sums(list))
	// A ledger rebuilt in another order writes the same points.
	shuffled := slices.Clone(list)
	rand.New(rand.NewPCG(1, 1)).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	for i := range shuffled {
		shuffled[i].Seq = int64(i + 1)
	}
	if err := s.PutTonnes(t.Context(), tonnes(t, shuffled)); err != nil {
		t.Fatal(err)
	}
	same(t, total(t, s, start, time.Minute), sums(list))
	var first []rollup.Posting
	for _, p := range list {
		if p.At.Before(start.Add(5 * time.Second)) {
			first = append(first, p)
		}
	}
	same(t, total(t, s, start, 5*time.Second), sums(first))

	// The negative control: stamped by the millisecond alone, grams are lost.
	late := start.Add(time.Hour)
	moved := postings(7000, late)
	colliding := tonnes(t, moved)
	for i := range colliding {
		colliding[i].At -= colliding[i].At % 1_000_000
	}
	if err := s.PutTonnes(t.Context(), colliding); err != nil {
		t.Fatal(err)
	}
	if gocmp.Equal(total(t, s, late, time.Minute), sums(moved)) {
		t.Error("colliding stamps lose nothing: this test proves nothing")
	}

	// Beyond 2^53 a float would drop the gram.
	far := start.Add(2 * time.Hour)
	heavy := []telemetry.Tonne{
		{Site: "site-1", Category: "paper", Material: "paper/occ", Flow: "sorted", At: far.UnixNano(), Grams: 9_007_199_254_740_993},
		{Site: "site-1", Category: "paper", Material: "paper/occ", Flow: "sorted", At: far.UnixNano() + 1, Grams: 9_007_199_254_740_992},
	}
	if err := s.PutTonnes(t.Context(), heavy); err != nil {
		t.Fatal(err)
	}
	same(t, total(t, s, far, time.Minute), []telemetry.Sum{{Site: "site-1", Category: "paper", Material: "paper/occ", Flow: "sorted", Grams: 18_014_398_509_481_985, Count: 2}})
}
