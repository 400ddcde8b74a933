package telemetry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"steelyard/internal/wire"
)

// maxAnswer bounds what is read of an answer to a query.
const maxAnswer = 32 << 20

// series is one series of an InfluxQL answer. Numbers are kept as their text: grams beyond 2^53 must
// not pass through a float.
type series struct {
	Tags    map[string]string `json:"tags"`
	Columns []string          `json:"columns"`
	Values  [][]any           `json:"values"`
	Partial bool              `json:"partial"`
}

// query sends an InfluxQL query. Every name in it has been checked or quoted by its caller.
func (x *Influx) query(ctx context.Context, statement string) ([]series, error) {
	return x.request(ctx, http.MethodGet, statement)
}

// request sends InfluxQL statements; what changes something is a POST.
func (x *Influx) request(ctx context.Context, method, statement string) ([]series, error) {
	service := x.client.HTTPService()
	values := url.Values{"db": {x.database}, "epoch": {"ns"}, "q": {statement}}
	if x.policy != "" {
		values.Set("rp", x.policy)
	}
	req, err := http.NewRequestWithContext(ctx, method, service.ServerURL()+"query?"+values.Encode(), nil)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Error   string `json:"error"`
		Results []struct {
			Error  string   `json:"error"`
			Series []series `json:"series"`
		} `json:"results"`
	}
	if err := service.DoHTTPRequest(req, nil, func(resp *http.Response) error {
		defer resp.Body.Close()
		body := &io.LimitedReader{R: resp.Body, N: maxAnswer}
		dec := json.NewDecoder(body)
		dec.UseNumber()
		if err := dec.Decode(&answer); err != nil {
			if body.N <= 0 {
				return fmt.Errorf("answer of more than %d bytes", maxAnswer)
			}
			return fmt.Errorf("%w: %v", errNotInflux, err)
		}
		return nil
	}); err != nil {
		if err := cancelled(ctx); err != nil {
			return nil, err
		}
		switch r := refusalOf(err, 0); r.verdict {
		case again:
			return nil, &UnavailableError{r.after, r.err}
		case alarm:
			return nil, &MisconfiguredError{r.err, r.hint()}
		default:
			return nil, r.err
		}
	}
	if answer.Error != "" {
		return nil, answerError(answer.Error)
	}
	var rows []series
	for _, result := range answer.Results {
		if result.Error != "" {
			return nil, answerError(result.Error)
		}
		for _, r := range result.Series {
			if r.Partial {
				return nil, errors.New("influxdb cut its answer short: raise max-row-limit")
			}
			rows = append(rows, r)
		}
	}
	return rows, nil
}

func answerError(text string) error {
	err := fmt.Errorf("influxdb: %.300s", text)
	if missing(err) {
		return &MisconfiguredError{err, missingHint}
	}
	return err
}

// place finds the columns by their names.
func (r series) place(names ...string) ([]int, error) {
	at := make([]int, len(names))
	for i, name := range names {
		if at[i] = slices.Index(r.Columns, name); at[i] < 0 {
			return nil, fmt.Errorf("influxdb answers without the column %q", name)
		}
	}
	for _, v := range r.Values {
		if len(v) != len(r.Columns) {
			return nil, fmt.Errorf("influxdb answers %d values in %d columns", len(v), len(r.Columns))
		}
	}
	if len(r.Values) == 0 {
		return nil, errors.New("influxdb answers a series without values")
	}
	return at, nil
}

func whole(v any) (int64, error) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, fmt.Errorf("influxdb answers %v where a whole number belongs", v)
	}
	return n.Int64()
}

func number(v any) (float64, error) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, fmt.Errorf("influxdb answers %v where a number belongs", v)
	}
	return n.Float64()
}

// where names one machine and a span. The names have passed checkName: they need no quoting, and
// get it all the same.
func where(site, device string, from, to time.Time) string {
	return fmt.Sprintf(`WHERE "site"='%s' AND "device"='%s' AND time >= %d AND time < %d`,
		site, device, from.UnixMilli()*perMS, to.UnixMilli()*perMS)
}

// tagOf takes a field back to the tag that fieldOf has named.
func tagOf(field string) string {
	if tag, marked := strings.CutSuffix(field, "_"); marked && fieldOf(tag) == field {
		return tag
	}
	return field
}

// fieldsAtOnce bounds the statements of one request.
const fieldsAtOnce = 40

// newest returns of every field of a measurement the newest value that each machine of a site has; the
// measurement may be empty.
func (x *Influx) newest(ctx context.Context, measurement, site string, take func(field string, tags map[string]string, at time.Time, value any)) error {
	keys, err := x.query(ctx, fmt.Sprintf(`SHOW FIELD KEYS FROM %q`, measurement))
	if err != nil {
		return err
	}
	var fields []string
	for _, k := range keys {
		at, err := k.place("fieldKey")
		if err != nil {
			return err
		}
		for _, v := range k.Values {
			if field, ok := v[at[0]].(string); ok && checkTag(field) == nil {
				fields = append(fields, field)
			}
		}
	}
	for some := range slices.Chunk(fields, fieldsAtOnce) {
		var statements strings.Builder
		for _, field := range some {
			fmt.Fprintf(&statements, `SELECT last(%q) AS %q FROM %q WHERE "site"='%s' GROUP BY "device", "kind";`, field, field, measurement, site)
		}
		rows, err := x.query(ctx, statements.String())
		if err != nil {
			return err
		}
		for _, r := range rows {
			if len(r.Columns) != 2 {
				return fmt.Errorf("influxdb answers the columns %q where a time and a field belong", r.Columns)
			}
			at, err := r.place("time", r.Columns[1])
			if err != nil {
				return err
			}
			ns, err := whole(r.Values[0][at[0]])
			if err != nil {
				return err
			}
			take(r.Columns[1], r.Tags, timeOf(ns), r.Values[0][at[1]])
		}
	}
	return nil
}

// Series implements Store.
func (x *Influx) Series(ctx context.Context, site string) ([]SeriesInfo, error) {
	if err := wire.CheckSlug("site", site); err != nil {
		return nil, err
	}
	found := map[seriesName]*SeriesInfo{}
	units := map[seriesName]State{}
	err := x.newest(ctx, unitMeasurement, site, func(field string, tags map[string]string, at time.Time, value any) {
		name := seriesName{tags["device"], tagOf(field)}
		if text, ok := value.(string); ok && !at.Before(units[name].At) {
			units[name] = State{at, text}
		}
	})
	for _, measurement := range []string{machineMeasurement, stateMeasurement} {
		err = errors.Join(err, x.newest(ctx, measurement, site, func(field string, tags map[string]string, at time.Time, _ any) {
			name := seriesName{tags["device"], tagOf(field)}
			s := found[name]
			if s == nil {
				s = &SeriesInfo{Site: site, Device: name.device, Tag: name.tag}
				found[name] = s
			}
			if !at.Before(s.Last) {
				s.Last, s.Machine = at, tags["kind"]
			}
			if measurement == stateMeasurement {
				s.Words = true
			} else {
				s.Unit = units[name].Text
			}
		}))
	}
	if err != nil {
		return nil, fmt.Errorf("series of %s: %w", site, err)
	}
	list := make([]SeriesInfo, 0, len(found))
	for _, s := range found {
		list = append(list, *s)
	}
	slices.SortFunc(list, func(a, b SeriesInfo) int {
		return cmp.Or(strings.Compare(a.Device, b.Device), strings.Compare(a.Tag, b.Tag))
	})
	return list, nil
}

// timeOf takes a stamp back to its millisecond: what is below it told entries apart.
func timeOf(ns int64) time.Time { return time.UnixMilli(ns / perMS).UTC() }

// Range implements Store.
func (x *Influx) Range(ctx context.Context, site, device, tag string, from, to time.Time, step time.Duration) ([]Bucket, error) {
	if err := errors.Join(CheckName(site, device, tag), CheckRange(from, to, step)); err != nil {
		return nil, err
	}
	rows, err := x.query(ctx, fmt.Sprintf(
		`SELECT min(%[1]q), max(%[1]q), mean(%[1]q), last(%[1]q), count(%[1]q) FROM %[2]q %[3]s GROUP BY time(%[4]dms) fill(none)`,
		fieldOf(tag), machineMeasurement, where(site, device, from, to), step.Milliseconds()))
	if err != nil {
		return nil, fmt.Errorf("curve of %s %s %s: %w", site, device, tag, err)
	}
	var list []Bucket
	for _, r := range rows {
		at, err := r.place("time", "count", "min", "max", "mean", "last")
		if err != nil {
			return nil, err
		}
		for _, v := range r.Values {
			ns, err1 := whole(v[at[0]])
			count, err2 := whole(v[at[1]])
			var n [4]float64
			var err3 error
			for i := range n {
				var err error
				n[i], err = number(v[at[2+i]])
				err3 = errors.Join(err3, err)
			}
			if err := errors.Join(err1, err2, err3); err != nil {
				return nil, fmt.Errorf("curve of %s %s %s: %w", site, device, tag, err)
			}
			list = append(list, Bucket{At: timeOf(ns), Min: n[0], Max: n[1], Mean: n[2], Last: n[3], Count: count})
		}
	}
	return list, nil
}

// States implements Store.
func (x *Influx) States(ctx context.Context, site, device, tag string, from, to time.Time) ([]State, error) {
	if err := errors.Join(CheckName(site, device, tag), checkTimes(from, to)); err != nil {
		return nil, err
	}
	rows, err := x.query(ctx, fmt.Sprintf(`SELECT %q AS "text" FROM %q %s ORDER BY time DESC LIMIT %d`,
		fieldOf(tag), stateMeasurement, where(site, device, from, to), MaxStates))
	if err != nil {
		return nil, fmt.Errorf("states of %s %s %s: %w", site, device, tag, err)
	}
	var list []State
	for _, r := range rows {
		at, err := r.place("time", "text")
		if err != nil {
			return nil, err
		}
		for _, v := range r.Values {
			ns, err := whole(v[at[0]])
			if err != nil {
				return nil, fmt.Errorf("states of %s %s %s: %w", site, device, tag, err)
			}
			text, ok := v[at[1]].(string)
			if !ok {
				return nil, fmt.Errorf("states of %s %s %s: %v is not a word", site, device, tag, v[at[1]])
			}
			list = append(list, State{timeOf(ns), text})
		}
	}
	slices.Reverse(list)
	return list, nil
}

// Tonnage implements Store.
func (x *Influx) Tonnage(ctx context.Context, from, to time.Time) ([]Sum, error) {
	if err := checkTimes(from, to); err != nil {
		return nil, err
	}
	rows, err := x.query(ctx, fmt.Sprintf(
		`SELECT sum("grams"), count("grams") FROM %q WHERE time >= %d AND time < %d GROUP BY "site", "category", "material", "flow"`,
		tonnageMeasurement, from.UnixMilli()*perMS, to.UnixMilli()*perMS))
	if err != nil {
		return nil, fmt.Errorf("tonnage: %w", err)
	}
	var list []Sum
	for _, r := range rows {
		at, err := r.place("sum", "count")
		if err != nil {
			return nil, fmt.Errorf("tonnage: %w", err)
		}
		grams, err1 := whole(r.Values[0][at[0]])
		count, err2 := whole(r.Values[0][at[1]])
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("tonnage: %w", err)
		}
		list = append(list, Sum{r.Tags["site"], r.Tags["category"], r.Tags["material"], r.Tags["flow"], grams, count})
	}
	sortSums(list)
	return list, nil
}

func sortSums(list []Sum) {
	slices.SortFunc(list, func(a, b Sum) int {
		return cmp.Or(strings.Compare(a.Site, b.Site), strings.Compare(a.Category, b.Category),
			strings.Compare(a.Material, b.Material), strings.Compare(a.Flow, b.Flow))
	})
}

// ForgetTonnes implements Store. A server that can't delete keeps what it has: it is overwritten as
// far as it comes again.
func (x *Influx) ForgetTonnes(ctx context.Context, sites []string) error {
	if err := x.parked.forgetTonnes(ctx, sites); err != nil {
		return err
	}
	for _, site := range sites {
		if err := wire.CheckSlug("site", site); err != nil {
			return err
		}
		_, err := x.request(ctx, http.MethodPost, fmt.Sprintf(`DELETE FROM %q WHERE "site" = '%s'`, tonnageMeasurement, site))
		if _, down := errors.AsType[*UnavailableError](err); down {
			return err
		}
		if _, wrong := errors.AsType[*MisconfiguredError](err); wrong {
			return err
		}
		if err != nil {
			x.config.Log.Warn("former tonnage can't be deleted, it is overwritten as far as it comes again", "site", site, "err", err)
			return nil
		}
	}
	return nil
}
