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
)

// maxAnswer bounds what is read of an answer to a question.
const maxAnswer = 32 << 20

// row is one series of an InfluxQL answer. Numbers are kept as their text: grams beyond 2^53 must
// not pass through a float.
type row struct {
	Tags    map[string]string `json:"tags"`
	Columns []string          `json:"columns"`
	Values  [][]any           `json:"values"`
	Partial bool              `json:"partial"`
}

// ask puts one InfluxQL statement. Every name in it has been checked or quoted by its caller.
func (x *Influx) ask(ctx context.Context, statement string) ([]row, error) {
	service := x.client.HTTPService()
	values := url.Values{"db": {x.database}, "epoch": {"ns"}, "q": {statement}}
	if x.policy != "" {
		values.Set("rp", x.policy)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, service.ServerURL()+"query?"+values.Encode(), nil)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Error   string `json:"error"`
		Results []struct {
			Error  string `json:"error"`
			Series []row  `json:"series"`
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
		return nil, fmt.Errorf("influxdb: %.300s", answer.Error)
	}
	var rows []row
	for _, result := range answer.Results {
		if result.Error != "" {
			return nil, fmt.Errorf("influxdb: %.300s", result.Error)
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

// place finds the columns by their names.
func (r row) place(names ...string) ([]int, error) {
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

// where names one series and a span. The names have passed checkName: they need no quoting, and
// get it all the same.
func where(site, device, tag string, from, to time.Time) string {
	return fmt.Sprintf(`WHERE "site"='%s' AND "device"='%s' AND "tag"='%s' AND time >= %d AND time < %d`,
		site, device, tag, from.UnixMilli()*perMS, to.UnixMilli()*perMS)
}

func checkName(site, device, tag string) error {
	return Point{Site: site, Device: device, Tag: tag, Numeric: true}.Check()
}

// Series implements Store.
func (x *Influx) Series(ctx context.Context, site string) ([]SeriesInfo, error) {
	if err := checkName(site, "any", "any"); err != nil {
		return nil, err
	}
	type key struct{ device, tag string }
	found := map[key]*SeriesInfo{}
	for _, field := range []string{"value", "text"} {
		rows, err := x.ask(ctx, fmt.Sprintf(`SELECT last(%q) AS "newest", "unit" FROM %q WHERE "site"='%s' GROUP BY "device", "tag"`,
			field, sampleMeasurement, site))
		if err != nil {
			return nil, fmt.Errorf("series of %s: %w", site, err)
		}
		for _, r := range rows {
			at, err := r.place("time", "unit")
			if err != nil {
				return nil, fmt.Errorf("series of %s: %w", site, err)
			}
			ns, err := whole(r.Values[0][at[0]])
			if err != nil {
				return nil, fmt.Errorf("series of %s: %w", site, err)
			}
			k := key{r.Tags["device"], r.Tags["tag"]}
			s := found[k]
			if s == nil {
				s = &SeriesInfo{Site: site, Device: k.device, Tag: k.tag}
				found[k] = s
			}
			if at := moment(ns); at.After(s.Last) {
				s.Last = at
			}
			if unit, ok := r.Values[0][at[1]].(string); ok && field == "value" {
				s.Unit = unit
			}
			s.Words = s.Words || field == "text"
		}
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

// moment takes a stamp back to its millisecond: what is below it told entries apart.
func moment(ns int64) time.Time { return time.UnixMilli(ns / perMS).UTC() }

// Range implements Store.
func (x *Influx) Range(ctx context.Context, site, device, tag string, from, to time.Time, step time.Duration) ([]Bucket, error) {
	if err := errors.Join(checkName(site, device, tag), checkRange(from, to, step)); err != nil {
		return nil, err
	}
	rows, err := x.ask(ctx, fmt.Sprintf(
		`SELECT min("value"), max("value"), mean("value"), last("value"), count("value") FROM %q %s GROUP BY time(%dms) fill(none)`,
		sampleMeasurement, where(site, device, tag, from, to), step.Milliseconds()))
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
			list = append(list, Bucket{At: moment(ns), Min: n[0], Max: n[1], Mean: n[2], Last: n[3], Count: count})
		}
	}
	return list, nil
}

// States implements Store.
func (x *Influx) States(ctx context.Context, site, device, tag string, from, to time.Time) ([]State, error) {
	if err := errors.Join(checkName(site, device, tag), checkTimes(from, to)); err != nil {
		return nil, err
	}
	rows, err := x.ask(ctx, fmt.Sprintf(`SELECT "text" FROM %q %s ORDER BY time DESC LIMIT %d`,
		sampleMeasurement, where(site, device, tag, from, to), MaxStates))
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
			list = append(list, State{moment(ns), text})
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
	rows, err := x.ask(ctx, fmt.Sprintf(
		`SELECT sum("grams"), count("grams") FROM %q WHERE time >= %d AND time < %d GROUP BY "site", "category", "flow"`,
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
		list = append(list, Sum{r.Tags["site"], r.Tags["category"], r.Tags["flow"], grams, count})
	}
	sortSums(list)
	return list, nil
}

func sortSums(list []Sum) {
	slices.SortFunc(list, func(a, b Sum) int {
		return cmp.Or(strings.Compare(a.Site, b.Site), strings.Compare(a.Category, b.Category), strings.Compare(a.Flow, b.Flow))
	})
}
