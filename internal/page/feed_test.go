package page_test

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"steelyard/internal/page"
)

// listener is one reader of a feed, who merges what it is told as told.js does.
type listener struct {
	*testing.T
	body io.ReadCloser
	in   *bufio.Scanner
	rows map[string]map[string]string // table → key → row
	docs map[string]string
	tick int64
	told int // bytes of all data
}

func listen(t *testing.T, url, encoding string) *listener {
	t.Helper()
	return listenBy(t, http.DefaultTransport, url, encoding)
}

func listenBy(t *testing.T, by http.RoundTripper, url, encoding string) *listener {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept-Encoding", encoding)
	res, err := by.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	if res.Header.Get("Content-Type") != "text/event-stream" || res.Header.Get("X-Accel-Buffering") != "no" || res.Header.Get("Content-Encoding") != encoding {
		t.Errorf("headers %v", res.Header)
	}
	l := &listener{T: t, body: res.Body, rows: map[string]map[string]string{}, docs: map[string]string{}}
	var from io.Reader = res.Body
	if encoding == "gzip" {
		if from, err = gzip.NewReader(from); err != nil {
			t.Fatal(err)
		}
	}
	l.in = bufio.NewScanner(from)
	l.in.Buffer(nil, 16<<20)
	return l
}

// frame reads up to the next tick.
func (l *listener) frame() *listener {
	l.Helper()
	event := ""
	for l.in.Scan() {
		if name, ok := strings.CutPrefix(l.in.Text(), "event: "); ok {
			event = name
		}
		data, ok := strings.CutPrefix(l.in.Text(), "data: ")
		if !ok {
			continue
		}
		l.told += len(data)
		if event == "tick" {
			if err := json.Unmarshal([]byte(data), &l.tick); err != nil {
				l.Fatal(err)
			}
			return l
		}
		l.take(event, data)
	}
	l.Fatalf("the stream ended: %v", l.in.Err())
	return l
}

func (l *listener) take(event, data string) {
	var table struct {
		Key      []string
		All, Set []json.RawMessage
		Drop     [][]string
	}
	if err := json.Unmarshal([]byte(data), &table); err != nil || table.Key == nil {
		l.docs[event] = data
		return
	}
	if l.rows[event] == nil || table.All != nil {
		l.rows[event] = map[string]string{}
	}
	for _, key := range table.Drop {
		delete(l.rows[event], fmt.Sprint(key))
	}
	for _, row := range append(table.All, table.Set...) {
		var fields map[string]any
		if err := json.Unmarshal(row, &fields); err != nil {
			l.Fatal(err)
		}
		var key []string
		for _, k := range table.Key {
			key = append(key, fields[k].(string))
		}
		l.rows[event][fmt.Sprint(key)] = string(row)
	}
}

func feedOn(t *testing.T) (*page.Feed, string) {
	f := page.NewFeed()
	server := httptest.NewServer(f)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return f, server.URL
}

type cell struct {
	A string `json:"a"`
	B string `json:"b"`
	N int    `json:"n"`
}

func put(t *testing.T, table *page.Table, a, b string, n int) {
	t.Helper()
	if err := table.Put(cell{a, b, n}, a, b); err != nil {
		t.Fatal(err)
	}
}

// Whoever comes, early or late, packed or not, fast or slow, ends up knowing the same; what has not
// changed is not told again.
func TestAllReadersOfAFeedKnowTheSame(t *testing.T) {
	f, url := feedOn(t)
	table := f.Table("cells", "", "a", "b")
	set := func(v any) {
		if err := f.Set("doc", v); err != nil {
			t.Fatal(err)
		}
	}
	early := listen(t, url, "gzip")
	if err := f.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	put(t, table, "x", "1", 1)
	put(t, table, "x", "2", 2)
	put(t, table, "y", "1", 3)
	set("one")
	f.Publish()
	early.frame()
	late := listen(t, url, "") // is told everything and then what comes
	late.frame()
	before := early.told
	put(t, table, "x", "1", 1)
	set("one")
	f.Publish()
	if early.frame(); early.told-before > 8 {
		t.Errorf("nothing has changed and %d bytes were told", early.told-before)
	}
	table.Drop("x", "2")
	table.Drop("y", "1")
	table.Drop("z", "1")
	put(t, table, "y", "1", 4)
	put(t, table, "x", "3", 5)
	set(map[string]int{"n": 2})
	if err := table.In(map[string]string{"day": "monday"}, "cells"); err != nil {
		t.Fatal(err)
	}
	f.Publish()
	early.frame()
	late.frame().frame()
	last := listen(t, url, "gzip").frame()
	for last.docs["doc"] != late.docs["doc"] { // it may be told what was, and then what has changed
		last.frame()
	}
	want := map[string]string{"[x 1]": `{"a":"x","b":"1","n":1}`, "[y 1]": `{"a":"y","b":"1","n":4}`, "[x 3]": `{"a":"x","b":"3","n":5}`}
	for name, l := range map[string]*listener{"early": early, "late": late, "last": last} {
		if diff := cmp.Diff(want, l.rows["cells"]); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if l.docs["doc"] != `{"n":2}` {
			t.Errorf("%s: %v", name, l.docs)
		}
	}
	// A row that was dropped can come again.
	put(t, table, "x", "2", 6)
	f.Publish()
	for early.rows["cells"]["[x 2]"] == "" {
		early.frame()
	}
	for l := listen(t, url, "").frame(); !maps.Equal(early.rows["cells"], l.rows["cells"]); {
		l.frame() // for ever, if it is not told
	}
}

// A reader who stops reading holds up nobody, and is told everything anew when it reads on.
func TestSlowReaderOfAFeed(t *testing.T) {
	f, url := feedOn(t)
	table := f.Table("cells", "", "a", "b")
	narrow := &http.Transport{DisableCompression: true, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil {
			err = c.(*net.TCPConn).SetReadBuffer(64 << 10) // what lies in it no reader has read
		}
		return c, err
	}}
	t.Cleanup(narrow.CloseIdleConnections)
	slow, fast := listenBy(t, narrow, url, ""), listen(t, url, "gzip")
	if err := f.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	const frames = 80 // of some 200 KB: far beyond what a connection and the feed hold
	long := strings.Repeat("x", 20_000)
	for n := range frames {
		for i := range 10 {
			put(t, table, long, fmt.Sprint(i), n)
		}
		f.Publish()
		fast.frame()
	}
	for !maps.Equal(slow.rows["cells"], fast.rows["cells"]) {
		slow.frame()
	}
	if slow.told > fast.told*3/4 {
		t.Errorf("the slow one was told %d bytes, the fast one %d: nothing was left out", slow.told, fast.told)
	}
}

// While nobody reads nothing is worked out; who comes first waits for news instead of being told
// what is old.
func TestFeedRestsWithoutReaders(t *testing.T) {
	f, url := feedOn(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Await(ctx); err == nil {
		t.Error("there is a reader before one has come")
	}
	set := func(v any) {
		if err := f.Set("doc", v); err != nil {
			t.Fatal(err)
		}
		f.Publish()
	}
	first := listen(t, url, "")
	if err := f.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	set("old")
	first.frame()
	first.body.Close()
	for f.Readers() > 0 {
		f.Publish() // a reader's going is noticed at the latest when it is told something
		time.Sleep(time.Millisecond)
	}
	second := listen(t, url, "")
	if err := f.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	set("new")
	if second.frame(); second.docs["doc"] != `"new"` {
		t.Errorf("told %v", second.docs)
	}
}

// Ages are worked out by the page: a row that only ages is not told again.
func TestFeedClock(t *testing.T) {
	f, url := feedOn(t)
	l := listen(t, url, "")
	if err := f.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	ago := *f.Since(time.Minute)
	f.Publish()
	if l.frame(); l.tick < ago+60_000 || l.tick > ago+120_000 {
		t.Errorf("a minute ago was %d, now is %d", ago, l.tick)
	}
}
