package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"time"

	influxdb2 "github.com/influxdata/influxdb-client-go/v2"
	"github.com/influxdata/influxdb-client-go/v2/api"
)

// MaxWrite is the number of points in one request: the rate does not rise beyond it.
const MaxWrite = 5000

// InfluxConfig says where InfluxDB is. It serves 1.8, 2 and 3: writes go to /api/v2/write,
// questions in InfluxQL to /query. On 2 that needs a DBRP mapping of the bucket.
type InfluxConfig struct {
	URL     string
	Token   string        // "user:password" for 1.8
	Org     string        // empty for 1.8 and 3
	Bucket  string        // "database/retention-policy" for 1.8
	Timeout time.Duration // of one request; 0 means 10 s
	Pause   time.Duration // after the first failure; doubled up to 30 times as much; 0 means 1 s
	Log     *slog.Logger
}

// Influx is the store in InfluxDB.
type Influx struct {
	config   InfluxConfig
	database string
	policy   string
	client   influxdb2.Client
	write    api.WriteAPIBlocking
	post     post

	mu     sync.Mutex // held for the fields below, never during a request
	quiet  time.Time  // not asked before
	fails  int        // in a row
	cause  error      // of the last failure
	parked Parking
}

// Parking is what the store will never take.
type Parking struct {
	Total int64    // since the start
	Last  []Parked // the newest few
}

// Parked is one point that the store will never take.
type Parked struct {
	Line   string // in line protocol; empty when the server did not say which point it was
	Reason string
}

const maxParked = 100

// NewInflux prepares the store. It dials nothing: a server that is down is found out, and waited
// for, by Put.
func NewInflux(c InfluxConfig) (*Influx, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("influxdb address %.100q: use http://host:port or https://host:port", c.URL)
	}
	if c.Bucket == "" {
		return nil, errors.New("influxdb bucket is missing: name it, for 1.8 as database/retention-policy")
	}
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	if c.Pause == 0 {
		c.Pause = time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	silence()
	x := &Influx{config: c, post: newPost(c.Timeout)}
	x.database, x.policy, _ = strings.Cut(c.Bucket, "/")
	options := influxdb2.DefaultOptions().SetPrecision(time.Nanosecond).SetApplicationName("steelyard")
	options.HTTPOptions().SetHTTPDoer(x.post)
	x.client = influxdb2.NewClientWithOptions(c.URL, c.Token, options)
	x.write = x.client.WriteAPIBlocking(c.Org, c.Bucket)
	return x, nil
}

// Close gives the connections back.
func (x *Influx) Close() error {
	x.post.client.CloseIdleConnections()
	return nil
}

// Parked says what was left out for good.
func (x *Influx) Parked() Parking {
	x.mu.Lock()
	defer x.mu.Unlock()
	return Parking{x.parked.Total, append([]Parked(nil), x.parked.Last...)}
}

// Put implements Store.
func (x *Influx) Put(ctx context.Context, points []Point) error {
	return putLines(ctx, x, len(points), func(i int) (func([]byte) []byte, error) {
		return points[i].appendLine, points[i].Check()
	})
}

// PutTonnes implements Store.
func (x *Influx) PutTonnes(ctx context.Context, tonnes []Tonne) error {
	return putLines(ctx, x, len(tonnes), func(i int) (func([]byte) []byte, error) {
		return tonnes[i].appendLine, tonnes[i].Check()
	})
}

// lines is a run of lines of the line protocol and where each ends.
type lines struct {
	text []byte
	ends []int // in text, of each line
	base int   // where the first begins
}

func (l lines) String() string { return string(l.text[l.base:l.ends[len(l.ends)-1]]) }

func (l lines) halves() (lines, lines) {
	mid := len(l.ends) / 2
	return lines{l.text, l.ends[:mid], l.base}, lines{l.text, l.ends[mid:], l.ends[mid-1]}
}

func putLines(ctx context.Context, x *Influx, n int, at func(int) (func([]byte) []byte, error)) error {
	w := writing{x: x, halvings: maxHalvings}
	defer w.report()
	l := lines{text: make([]byte, 0, min(n, MaxWrite)*128), ends: make([]int, 0, min(n, MaxWrite))}
	for i := range n {
		appendLine, err := at(i)
		if err != nil {
			w.park(1, "", err.Error())
			continue
		}
		l.text = appendLine(l.text)
		if l.ends = append(l.ends, len(l.text)); len(l.ends) == MaxWrite {
			if err := w.sendAll(ctx, l); err != nil {
				return err
			}
			l.text, l.ends = l.text[:0], l.ends[:0]
		}
	}
	if len(l.ends) == 0 {
		return nil
	}
	return w.sendAll(ctx, l)
}

// maxHalvings bounds the requests that one Put may cost beyond the first: a batch full of bad
// points must not become thousands of requests. A single bad point in MaxWrite costs 13 halvings.
const maxHalvings = 300

// writing is one Put under way.
type writing struct {
	x        *Influx
	halvings int
	taken    int      // points
	vague    error    // a refusal that does not say that the points are at fault
	parked   []Parked // the first few
	count    int      // of all parked
}

func (w *writing) park(n int, line, reason string) {
	w.count += n
	if len(w.parked) < maxParked {
		w.parked = append(w.parked, Parked{strings.TrimSuffix(line, "\n"), reason})
	}
}

// sendAll writes a run of lines. When the server refuses every single one of them without saying
// what is wrong with them, it is the request that it refuses: nothing is parked then.
func (w *writing) sendAll(ctx context.Context, l lines) error {
	parked, count := len(w.parked), w.count
	w.taken, w.vague = 0, nil
	if err := w.send(ctx, l); err != nil {
		return err
	}
	if w.taken == 0 && w.vague != nil {
		w.parked, w.count = w.parked[:parked], count
		err := &MisconfiguredError{w.vague, "every point is refused: check the organisation, the bucket and what stands between"}
		w.x.failed(0, err)
		return err
	}
	return nil
}

// send writes a run of lines. Points that can't be taken are parked; every other refusal is an
// error, and then the whole Put is repeated by its caller, which changes nothing that was taken.
func (w *writing) send(ctx context.Context, l lines) error {
	if err := w.x.resting(); err != nil {
		return err
	}
	text, size := l.String(), len(l.ends)
	err := w.x.write.WriteRecord(ctx, text)
	if err == nil {
		w.taken += size
		w.x.answered()
		return nil
	}
	if err := cancelled(ctx); err != nil {
		return err
	}
	r := refusalOf(err, size)
	if r.partial {
		w.taken += max(0, size-r.lost)
	} else if (r.verdict == halve || r.verdict == dropped) && !r.pointed {
		w.vague = r.err
	}
	switch r.verdict {
	case again:
		return &UnavailableError{w.x.failed(r.after, r.err), r.err}
	case alarm:
		err := &MisconfiguredError{r.err, r.hint()}
		w.x.failed(0, err)
		return err
	case dropped:
		if size > 1 {
			text = ""
		}
		w.park(size, text, r.err.Error())
		return nil
	case halve:
		w.halvings--
		if w.halvings < 0 && r.partial && r.lost > 0 {
			w.park(r.lost, "", r.err.Error()) // the others have been taken
			return nil
		}
		if w.halvings < 0 {
			w.park(size, "", r.err.Error())
			return nil
		}
	}
	first, second := l.halves()
	if err := w.send(ctx, first); err != nil {
		return err
	}
	return w.send(ctx, second)
}

// report hands the parked points over, once for the whole Put.
func (w *writing) report() {
	if w.count == 0 {
		return
	}
	w.x.mu.Lock()
	p := &w.x.parked
	p.Total += int64(w.count)
	p.Last = append(p.Last, w.parked...)
	p.Last = p.Last[max(0, len(p.Last)-maxParked):]
	total := p.Total
	w.x.mu.Unlock()
	w.x.config.Log.Warn("telemetry points left out for good", "points", w.count, "total", total, "err", w.parked[0].Reason)
}

// resting refuses while the server is left alone: a server that hangs must not hold up every
// caller for the whole time-out.
func (x *Influx) resting() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	rest := time.Until(x.quiet)
	if rest <= 0 {
		return nil
	}
	if m, ok := errors.AsType[*MisconfiguredError](x.cause); ok {
		return m
	}
	return &UnavailableError{rest, x.cause}
}

// failed notes a failure and says how long the server is left alone.
func (x *Influx) failed(asked time.Duration, cause error) time.Duration {
	x.mu.Lock()
	defer x.mu.Unlock()
	pause := x.config.Pause << min(x.fails, 5)
	pause = min(pause, 30*x.config.Pause)
	pause = max(asked, pause/2+rand.N(pause/2+1))
	if x.fails++; x.fails == 1 {
		x.config.Log.Error("telemetry store refused or silent: samples wait at the sites, tonnage in the ledger", "err", cause)
	}
	x.quiet, x.cause = time.Now().Add(pause), cause
	return pause
}

func (x *Influx) answered() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.fails > 0 {
		x.config.Log.Info("telemetry store is back", "failures", x.fails)
	}
	x.fails, x.quiet, x.cause = 0, time.Time{}, nil
}
