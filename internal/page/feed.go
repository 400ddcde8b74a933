package page

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/json"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Limits of what a Feed keeps for readers that are behind. Who is further behind is told everything
// anew.
const (
	maxFrames = 128
	maxHeld   = 4 << 20 // bytes
)

// Feed is a stream of server-sent events for any number of readers: what they are told is worked
// out, written and packed once. A new reader is told everything that is known, and then, like all
// others, what changes. A reader that is slow misses frames and is told everything anew; nobody
// waits for it.
//
// An event is a document, told whole when it changes, or a table, of which changed rows are told:
//
//	event: live
//	data: {"key":["site","device"],"age":"age_ms","as":"","in":null,"all":[row, …]}
//
//	event: live
//	data: {"key":["site","device"],"age":"age_ms","as":"","in":null,"set":[row, …],"drop":[["xinhua-1","belt-1"], …]}
//
//	event: tick
//	data: 73512
//
// key names the fields that tell rows apart. Each frame ends with a tick, the milliseconds of the
// stream's own clock; age, if there is one, is the field that a page fills from a row's since_ms of
// that clock, or with 0 where since_ms is null. So a row need not be told again because it ages. What
// is dropped goes before what is set. With as, the page is given the document in, and the rows as
// its field of that name.
//
// One goroutine calls Await, Set, the Tables and Publish; readers come by ServeHTTP.
type Feed struct {
	begun time.Time

	mu      sync.Mutex // guards the fields below and the tables; never held over a write
	events  []*event   // in the order in which they were first mentioned
	seq     uint64     // of the newest frame
	frames  []*frame   // the newest
	held    int        // bytes of them
	whole   *frame     // everything as of its seq
	readers int
	fresh   bool          // something was published since the first of the readers came
	more    chan struct{} // closed when something is published
	come    chan struct{} // holds one when a reader has come
	packers sync.Pool     // of *flate.Writer
}

// event is the newest of one event.
type event struct {
	name    string
	data    []byte // of a document
	table   *Table
	changed bool
}

// frame is what all readers are told at once.
type frame struct {
	seq    uint64
	plain  []byte
	packed func() []byte // deflated, without reference to any frame before
}

// NewFeed makes a feed that has nothing to tell.
func NewFeed() *Feed {
	return &Feed{begun: time.Now(), more: make(chan struct{}), come: make(chan struct{}, 1), packers: sync.Pool{New: func() any {
		w, err := flate.NewWriter(nil, flate.BestSpeed)
		if err != nil { // the level is a constant, and good
			panic(err)
		}
		return w
	}}}
}

// Since is the place of a moment in the stream's own clock, for a row's since_ms.
func (f *Feed) Since(ago time.Duration) *int64 {
	return new(time.Since(f.begun).Milliseconds() - ago.Milliseconds())
}

// Set tells a document with the next frame, if it differs from the one before.
func (f *Feed) Set(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	e := f.event(name)
	if !bytes.Equal(e.data, data) {
		e.data, e.changed = data, true
	}
	return nil
}

// event finds an event or begins it. The caller holds mu.
func (f *Feed) event(name string) *event {
	for _, e := range f.events {
		if e.name == name {
			return e
		}
	}
	e := &event{name: name}
	f.events = append(f.events, e)
	return e
}

// Publish tells all readers what has changed, at least the time.
func (f *Feed) Publish() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seq++
	var b bytes.Buffer
	for _, e := range f.events {
		if e.changed {
			e.write(&b, false)
			e.changed = false
		}
	}
	f.tick(&b)
	next := f.frame(b.Bytes())
	f.frames, f.held = append(f.frames, next), f.held+len(next.plain)
	for len(f.frames) > 1 && (len(f.frames) > maxFrames || f.held > maxHeld) {
		f.held -= len(f.frames[0].plain)
		f.frames[0] = nil
		f.frames = f.frames[1:]
	}
	f.fresh = true
	close(f.more)
	f.more = make(chan struct{})
}

func (e *event) write(b *bytes.Buffer, all bool) {
	b.WriteString("event: ")
	b.WriteString(e.name)
	b.WriteString("\ndata: ")
	if e.table != nil {
		e.table.write(b, all)
	} else {
		b.Write(e.data)
	}
	b.WriteString("\n\n")
}

func (f *Feed) tick(b *bytes.Buffer) {
	b.WriteString("event: tick\ndata: ")
	b.WriteString(strconv.FormatInt(*f.Since(0), 10))
	b.WriteString("\n\n")
}

func (f *Feed) frame(plain []byte) *frame {
	return &frame{f.seq, plain, sync.OnceValue(func() []byte { return f.pack(plain) })}
}

// pack deflates a frame by itself and up to a whole byte, so that packed frames can follow each
// other in one stream in any order.
func (f *Feed) pack(plain []byte) []byte {
	var b bytes.Buffer
	w := f.packers.Get().(*flate.Writer)
	defer f.packers.Put(w)
	w.Reset(&b)
	_, _ = w.Write(plain) // a buffer takes everything
	_ = w.Flush()
	return b.Bytes()
}

// Await returns when there is a reader, with the context's error when it ends. What it returns to
// must look at everything anew: while nobody reads nothing is published.
func (f *Feed) Await(ctx context.Context) error {
	for {
		f.mu.Lock()
		reading := f.readers > 0
		f.mu.Unlock()
		if reading {
			return ctx.Err()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-f.come:
		}
	}
}

// Readers counts those who read now.
func (f *Feed) Readers() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.readers
}

func (f *Feed) enter() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.readers++; f.readers == 1 {
		f.fresh, f.frames, f.held, f.whole = false, nil, 0, nil // what was published is old
	}
	select {
	case f.come <- struct{}{}:
	default:
	}
}

func (f *Feed) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.readers--
}

// after returns the frames that follow seq, and what is closed when there are more. To one who knows
// nothing, or misses what is gone, the first of them says everything.
func (f *Feed) after(seq uint64) ([]*frame, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.fresh {
		return nil, f.more
	}
	first := f.frames[0].seq
	var told []*frame
	if seq == 0 || seq+1 < first {
		if f.whole == nil || f.whole.seq+1 < first {
			var b bytes.Buffer
			for _, e := range f.events {
				e.write(&b, true)
			}
			f.tick(&b)
			f.whole = f.frame(b.Bytes())
		}
		told, seq = append(told, f.whole), f.whole.seq
	}
	return append(told, f.frames[seq+1-first:]...), f.more
}

// gzipHeader begins a stream that has no end: RFC 1952 without name, time and system.
const gzipHeader = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"

// ServeHTTP tells one reader until it goes away or does not take what it is told.
func (f *Feed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.enter()
	defer f.leave()
	out := http.NewResponseController(w)
	header := w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("X-Accel-Buffering", "no") // nginx holds back what it proxies, unless it is told so
	header.Add("Vary", "Accept-Encoding")
	packed := takesGzip(r)
	if packed {
		header.Set("Content-Encoding", "gzip")
		if _, err := w.Write([]byte(gzipHeader)); err != nil {
			return
		}
	}
	for seq := uint64(0); ; {
		frames, more := f.after(seq)
		if err := out.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			return
		}
		for _, next := range frames {
			data := next.plain
			if packed {
				data = next.packed()
			}
			if _, err := w.Write(data); err != nil {
				return
			}
			seq = next.seq
		}
		if out.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-more:
		}
	}
}

func takesGzip(r *http.Request) bool {
	for accepted := range strings.SplitSeq(strings.Join(r.Header.Values("Accept-Encoding"), ","), ",") {
		coding, settings, err := mime.ParseMediaType(accepted)
		if err == nil && coding == "gzip" {
			q, given := settings["q"]
			return !given || strings.Trim(q, "0.") != ""
		}
	}
	return false
}

// Table is an event whose rows are told apart.
type Table struct {
	feed    *Feed
	event   *event
	head    tableHead
	begins  []byte // how each message begins
	rows    []row  // in the order in which they came; dropped ones have no data
	index   map[string]int
	touched []int      // rows that have changed
	dropped [][]string // keys, which the rows that follow may have again
}

type tableHead struct {
	Key []string `json:"key"`
	Age string   `json:"age"`
	As  string   `json:"as"`
	In  any      `json:"in"`
}

type row struct {
	key     []string
	data    []byte
	touched bool
}

// Table begins a table. key names the fields that tell its rows apart; age is the field that a page
// fills from since_ms, or empty.
func (f *Feed) Table(name, age string, key ...string) *Table {
	f.mu.Lock()
	defer f.mu.Unlock()
	e := f.event(name)
	t := &Table{feed: f, event: e, head: tableHead{Key: key, Age: age}, index: map[string]int{}}
	e.table = t
	if err := t.begin(); err != nil { // texts can be written
		panic(err)
	}
	return t
}

// In puts the rows into a document, as its field of that name.
func (t *Table) In(document any, as string) error {
	t.feed.mu.Lock()
	defer t.feed.mu.Unlock()
	t.head.In, t.head.As = document, as
	return t.begin()
}

func (t *Table) begin() error {
	head, err := json.Marshal(t.head)
	if err != nil {
		return err
	}
	if head = head[:len(head)-1]; !bytes.Equal(t.begins, head) {
		t.begins, t.event.changed = head, true
	}
	return nil
}

// Put sets a row, whose key is given as the values of the fields that the table names.
func (t *Table) Put(v any, key ...string) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	id := idOf(key)
	t.feed.mu.Lock()
	defer t.feed.mu.Unlock()
	i, known := t.index[id]
	if !known {
		i = len(t.rows)
		t.index[id] = i
		t.rows = append(t.rows, row{key: key})
	}
	r := &t.rows[i]
	if bytes.Equal(r.data, data) {
		return nil
	}
	r.data = data
	if !r.touched {
		r.touched = true
		t.touched = append(t.touched, i)
	}
	t.event.changed = true
	return nil
}

func idOf(key []string) string { return strings.Join(key, "\x00") }

// Drop takes a row out.
func (t *Table) Drop(key ...string) {
	t.feed.mu.Lock()
	defer t.feed.mu.Unlock()
	i, known := t.index[idOf(key)]
	if !known || t.rows[i].data == nil {
		return
	}
	t.dropped = append(t.dropped, t.rows[i].key)
	t.rows[i].data = nil
	t.event.changed = true
}

// write tells all rows, or those that have changed, which are then forgotten. The caller holds the
// feed's lock.
func (t *Table) write(b *bytes.Buffer, all bool) {
	b.Write(t.begins)
	comma := ""
	put := func(r *row) {
		if r.data != nil {
			b.WriteString(comma)
			b.Write(r.data)
			comma = ","
		}
	}
	if all {
		b.WriteString(`,"all":[`)
		for i := range t.rows {
			put(&t.rows[i])
		}
		b.WriteString("]}")
		return
	}
	b.WriteString(`,"set":[`)
	for _, i := range t.touched {
		put(&t.rows[i])
		t.rows[i].touched = false
	}
	b.WriteString(`],"drop":`)
	gone, err := json.Marshal(append([][]string{}, t.dropped...))
	if err != nil { // texts can be written
		panic(err)
	}
	b.Write(gone)
	b.WriteString("}")
	t.touched = t.touched[:0]
	if t.dropped != nil {
		t.compact()
	}
}

// compact forgets dropped rows.
func (t *Table) compact() {
	t.dropped = nil
	kept := t.rows[:0]
	for _, r := range t.rows {
		if r.data != nil {
			kept = append(kept, r)
		}
	}
	clear(t.rows[len(kept):])
	t.rows = kept
	clear(t.index)
	for i, r := range t.rows {
		t.index[idOf(r.key)] = i
	}
}
