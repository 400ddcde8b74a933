package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	influxdb2 "github.com/influxdata/influxdb-client-go/v2"
	"github.com/influxdata/influxdb-client-go/v2/api"

	"steelyard/internal/wire"
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
	Parked  string        // file of the points that it refuses for a reason that can be mended; empty: kept in memory
	Log     *slog.Logger
}

// Influx is the store in InfluxDB.
type Influx struct {
	config   InfluxConfig
	database string
	policy   string
	client   influxdb2.Client
	write    api.WriteAPIBlocking
	doer     httpDoer
	parked   *parkedLines

	mu           sync.Mutex // held for the fields below, never during a request
	backoffUntil time.Time  // no request before
	fails        int        // in a row
	cause        error      // of the last failure
	units        map[machineKey]*unitsNoted
}

// unitsNoted are the units that have been written for one hour of a machine.
type unitsNoted struct {
	hour  int64
	units map[string]string // by tag
}

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
	discardLibraryLog()
	x := &Influx{config: c, doer: newHTTPDoer(c.Timeout, isLoopback(u.Hostname())), units: map[machineKey]*unitsNoted{}}
	if x.parked, err = openParked(c.Parked, maxParkedBytes); err != nil {
		return nil, err
	}
	x.database, x.policy, _ = strings.Cut(c.Bucket, "/")
	options := influxdb2.DefaultOptions().SetPrecision(time.Nanosecond).SetApplicationName("steelyard")
	options.HTTPOptions().SetHTTPDoer(x.doer)
	x.client = influxdb2.NewClientWithOptions(c.URL, c.Token, options)
	x.write = x.client.WriteAPIBlocking(c.Org, c.Bucket)
	return x, nil
}

// isLoopback reports whether a server is on this machine: what is written to it need not be packed.
func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Close returns the connections back.
func (x *Influx) Close() error {
	x.doer.client.CloseIdleConnections()
	return x.parked.db.Close()
}

// Parked implements Store.
func (x *Influx) Parked() Parking { return x.parked.parking() }

// Put implements Store.
func (x *Influx) Put(ctx context.Context, samples []Sample) (err error) {
	p := lineBatcher{sender: sender{x: x, bisections: maxBisections}}
	defer func() {
		if err != nil { // the units go with the samples when those come again
			x.mu.Lock()
			clear(x.units)
			x.mu.Unlock()
		}
	}()
	for i := range samples {
		s := &samples[i]
		if s.Check() != nil {
			x.parked.countBad(1)
			continue
		}
		for _, write := range []func([]byte) []byte{s.appendNumbers, s.appendWords, s.appendNames, x.unitsOf(s)} {
			if err := p.line(ctx, write); err != nil {
				return err
			}
		}
	}
	return p.end(ctx)
}

// unitsOf writes the units that have not been written for the hour of the sample.
func (x *Influx) unitsOf(s *Sample) func([]byte) []byte {
	return func(line []byte) []byte {
		x.mu.Lock()
		defer x.mu.Unlock()
		key, hour := machineKey{s.Site, s.Device}, s.AtMS/hourMS
		noted := x.units[key]
		if noted == nil || noted.hour != hour {
			noted = &unitsNoted{hour, map[string]string{}}
			x.units[key] = noted
		}
		return s.appendUnits(line, func(tag, unit string) bool {
			if noted.units[tag] == unit {
				return false
			}
			noted.units[strings.Clone(tag)] = strings.Clone(unit) // the sample's text must not stay for it
			return true
		})
	}
}

// PutTonnes implements Store.
func (x *Influx) PutTonnes(ctx context.Context, tonnes []Tonne) error {
	p := lineBatcher{sender: sender{x: x, bisections: maxBisections}}
	for _, t := range tonnes {
		if t.Check() != nil {
			x.parked.countBad(1)
			continue
		}
		if err := p.line(ctx, t.appendLine); err != nil {
			return err
		}
	}
	return p.end(ctx)
}

// Place is what people call a site.
type Place struct{ Site, Name, English, District string }

// PutPlaces writes the names of the sites, for the hour of now.
func (x *Influx) PutPlaces(ctx context.Context, now time.Time, places []Place) error {
	p := lineBatcher{sender: sender{x: x, bisections: maxBisections}}
	for _, place := range places {
		fields := [][2]string{{"district", place.District}, {"english", place.English}, {"name", place.Name}}
		err := wire.CheckSlug("site", place.Site)
		for _, field := range fields {
			err = errors.Join(err, checkWord(field[0], field[1], maxText))
		}
		if err != nil || place.Name+place.English+place.District == "" {
			continue // the configuration's own check has said what is wrong, if anything
		}
		err = p.line(ctx, func(line []byte) []byte {
			line = append(append(append(line, siteMeasurement+",site="...), place.Site...), ' ')
			return endLine(appendTexts(line, fields), true, now.UnixMilli()/hourMS*hourMS*perMS)
		})
		if err != nil {
			return err
		}
	}
	return p.end(ctx)
}

// lines is a run of lines of the line protocol and where each ends.
type lines struct {
	text []byte
	ends []int // in text, of each line
	base int   // where the first begins
}

func (l lines) String() string { return string(l.text[l.base:l.ends[len(l.ends)-1]]) }

func (l lines) bisect() (lines, lines) {
	mid := len(l.ends) / 2
	return lines{l.text, l.ends[:mid], l.base}, lines{l.text, l.ends[mid:], l.ends[mid-1]}
}

// each returns the lines one by one.
func (l lines) each(do func(line []byte)) {
	from := l.base
	for _, end := range l.ends {
		do(l.text[from:end])
		from = end
	}
}

func (l *lines) add(line []byte) {
	l.text = append(l.text, line...)
	l.ends = append(l.ends, len(l.text))
}

// byField divides the lines of a measurement: one run has what is not in the field, the other the
// field alone. Lines of other measurements and lines without the field are in the first.
func (l lines) byField(measurement, field string) (without, alone lines) {
	l.each(func(line []byte) {
		rest, only := cutField(string(line), measurement, field)
		if rest != "" {
			without.add([]byte(rest))
		}
		if only != "" {
			alone.add([]byte(only))
		}
	})
	return without, alone
}

// cutField takes a field out of a line that this package has written: its tags hold no blanks.
func cutField(line, measurement, field string) (rest, alone string) {
	head, tail, ok := strings.Cut(line, " ")
	name, _, _ := strings.Cut(head, ",")
	stamp := strings.LastIndexByte(tail, ' ')
	if !ok || name != measurement || stamp < 0 {
		return line, ""
	}
	var kept []string
	found := ""
	quoted, from := false, 0
	for i := 0; i <= stamp; i++ {
		switch c := tail[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ',' || i == stamp):
			if part := tail[from:i]; strings.HasPrefix(part, field+"=") {
				found = part
			} else {
				kept = append(kept, part)
			}
			from = i + 1
		}
	}
	if found == "" {
		return line, ""
	}
	if len(kept) > 0 {
		rest = head + " " + strings.Join(kept, ",") + tail[stamp:]
	}
	return rest, head + " " + found + tail[stamp:]
}

// maxBytes bounds one request beside MaxWrite.
const maxBytes = 2 << 20

// lineBatcher gathers lines and writes them, many at a time.
type lineBatcher struct {
	sender
	waiting lines
}

func (p *lineBatcher) line(ctx context.Context, write func([]byte) []byte) error {
	l := &p.waiting
	if l.text == nil {
		l.text, l.ends = make([]byte, 0, 256<<10), make([]int, 0, MaxWrite)
	}
	before := len(l.text)
	if l.text = write(l.text); len(l.text) > before {
		l.ends = append(l.ends, len(l.text))
	}
	if len(l.ends) < MaxWrite && len(l.text) < maxBytes {
		return nil
	}
	return p.flush(ctx)
}

func (p *lineBatcher) flush(ctx context.Context) error {
	if len(p.waiting.ends) == 0 {
		return nil
	}
	err := p.sendAll(ctx, p.waiting)
	p.waiting.text, p.waiting.ends = p.waiting.text[:0], p.waiting.ends[:0]
	return err
}

// end writes the rest and parks what was refused.
func (p *lineBatcher) end(ctx context.Context) error {
	if err := p.flush(ctx); err != nil || len(p.refused) == 0 {
		return err
	}
	news, err := p.x.parked.add(ctx, p.refused)
	if errors.Is(err, errFull) {
		err = &MisconfiguredError{err, "mend what it refuses"}
	}
	if err != nil {
		p.x.failed(0, err)
		return err
	}
	for _, reason := range news {
		p.x.config.Log.Error("telemetry store refuses points (parked, retried automatically)", "err", reason)
	}
	return nil
}

// Mend offers what is parked again: of each reason the point that has waited longest, and when that
// is taken the others.
func (x *Influx) Mend(ctx context.Context) error {
	before := x.Parked()
	if before.Lines+before.Expired == 0 {
		return nil
	}
	reasons, err := x.parked.reasons(ctx)
	if err != nil {
		return err
	}
	for _, reason := range reasons {
		for limit, refusedAll := 1, false; !refusedAll; limit = MaxWrite {
			offered, err := x.parked.first(ctx, reason, limit)
			if err != nil {
				return err
			}
			if len(offered) == 0 {
				break
			}
			s := sender{x: x, bisections: maxBisections}
			var l lines
			for _, o := range offered {
				l.add([]byte(o.text))
			}
			if err := s.sendAll(ctx, l); err != nil {
				return err
			}
			if err := x.parked.resolve(ctx, offered, s.refused); err != nil {
				return err
			}
			refusedAll = len(s.refused) >= len(offered)
		}
	}
	if before.Lines > 0 && x.Parked().Lines == 0 {
		x.config.Log.Info("telemetry store has taken all parked points", "points", before.Lines)
	}
	return nil
}

// maxBisections bounds the requests that one Put may cost beyond the first: a batch full of bad
// points must not become thousands of requests. A single bad point in MaxWrite costs 13 bisections.
const maxBisections = 300

// sender is one Put under way.
type sender struct {
	x          *Influx
	bisections int
	taken      int   // points
	ambiguous  error // a refusal that does not say that the points are at fault
	refused    []refused
}

func (s *sender) park(l lines, r refusal) {
	reason := r.reason()
	l.each(func(line []byte) {
		s.refused = append(s.refused, refused{line: string(line), reason: reason, tonnage: siteOfTonnage(string(line)), expired: r.expired})
	})
}

// siteOfTonnage returns the site of a posting's line; of others nothing.
func siteOfTonnage(line string) string {
	if !strings.HasPrefix(line, tonnageMeasurement+",") {
		return ""
	}
	_, site, _ := strings.Cut(line, ",site=")
	site, _, _ = strings.Cut(site, " ")
	return site
}

// sendAll writes a run of lines. When the server refuses every single one of them without saying
// what is wrong with them, it is the request that it refuses: nothing is parked then.
func (s *sender) sendAll(ctx context.Context, l lines) error {
	parked := len(s.refused)
	s.taken, s.ambiguous = 0, nil
	if err := s.send(ctx, l); err != nil {
		return err
	}
	if s.taken == 0 && s.ambiguous != nil {
		s.refused = s.refused[:parked]
		err := &MisconfiguredError{s.ambiguous, "every point is refused: check the organisation, the bucket and what stands between"}
		s.x.failed(0, err)
		return err
	}
	return nil
}

// send writes a run of lines. Points that are refused are parked; every other refusal is an error,
// and then the whole Put is repeated by its caller, which changes nothing that was taken.
func (s *sender) send(ctx context.Context, l lines) error {
	if err := s.x.backingOff(); err != nil {
		return err
	}
	size := len(l.ends)
	err := s.x.write.WriteRecord(ctx, l.String())
	if err == nil {
		s.taken += size
		s.x.answered()
		return nil
	}
	if err := cancelled(ctx); err != nil {
		return err
	}
	r := refusalOf(err, size)
	if r.partial {
		s.taken += max(0, size-r.lost)
	} else if (r.verdict == bisect || r.verdict == dropped) && !r.located {
		s.ambiguous = r.err
	}
	switch r.verdict {
	case again:
		return &UnavailableError{s.x.failed(r.after, r.err), r.err}
	case alarm:
		err := &MisconfiguredError{r.err, r.hint()}
		s.x.failed(0, err)
		return err
	case dropped, bisect:
		s.bisections--
		// One field of the wrong type takes the whole line with it: the others go without it.
		if measurement, field, named := r.conflict(); named && s.bisections >= 0 {
			if without, alone := l.byField(measurement, field); len(without.ends) > 0 && len(alone.ends) > 0 {
				if err := s.send(ctx, without); err != nil {
					return err
				}
				return s.send(ctx, alone)
			}
		}
		if r.verdict == dropped || s.bisections < 0 {
			s.park(l, r)
			return nil
		}
	}
	first, second := l.bisect()
	if err := s.send(ctx, first); err != nil {
		return err
	}
	return s.send(ctx, second)
}

// backingOff refuses while the server is left alone: a server that hangs must not hold up every
// caller for the whole time-out.
func (x *Influx) backingOff() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	rest := time.Until(x.backoffUntil)
	if rest <= 0 {
		return nil
	}
	if m, ok := errors.AsType[*MisconfiguredError](x.cause); ok {
		return m
	}
	return &UnavailableError{rest, x.cause}
}

// mendPauses bounds the pause while it is somebody's turn to mend: who has done it should see it.
const mendPauses = 8

// failed notes a failure and says how long the server is left alone.
func (x *Influx) failed(asked time.Duration, cause error) time.Duration {
	x.mu.Lock()
	defer x.mu.Unlock()
	pause := x.config.Pause << min(x.fails, 5)
	pause = min(pause, 30*x.config.Pause)
	if _, wrong := errors.AsType[*MisconfiguredError](cause); wrong {
		pause = min(pause, mendPauses*x.config.Pause)
	}
	pause = max(asked, pause/2+rand.N(pause/2+1))
	if x.fails++; x.fails == 1 {
		x.config.Log.Error("telemetry store unavailable (samples are held by the sites, tonnage by the ledger)", "err", cause)
	}
	x.backoffUntil, x.cause = time.Now().Add(pause), cause
	return pause
}

func (x *Influx) answered() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.fails > 0 {
		x.config.Log.Info("telemetry store is back", "failures", x.fails)
	}
	x.fails, x.backoffUntil, x.cause = 0, time.Time{}, nil
}
