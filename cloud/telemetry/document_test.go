package telemetry_test

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"steelyard/cloud/telemetry"
	"steelyard/cloud/telemetry/influxtest"
	"steelyard/internal/record"
)

const (
	document  = "../../docs/influxdb.md"
	dashboard = "../../configs/deploy/grafana/steelyard.json"
)

// townIn writes, through the product, what a site shows in the last two hours and a half, and what it
// has weighed today.
func townIn(t *testing.T, x *telemetry.Influx) {
	t.Helper()
	number := func(tag string, value float64, unit string) record.SampleValue {
		return record.SampleValue{Tag: tag, Value: fmt.Sprintf("%.2f", value), Unit: unit, OK: true}
	}
	now := time.Now()
	n := uint64(0)
	var samples []telemetry.Sample
	for at := now.Add(-150 * time.Minute); at.Before(now); at = at.Add(20 * time.Second) {
		for device, values := range map[string][]record.SampleValue{
			"weighbridge-1": {number("weight", 20_000+float64(n%7), "kg")},
			"belt-1":        {number("rate", 12+float64(n%5), "t/h")},
			"baler-1": {number("motor_current", 30+float64(n%9), "A"), number("pressure", 150, "bar"), number("bale_count", 400+float64(n/60), ""),
				{Tag: "state", Value: "1", Text: "running", OK: true}, {Tag: "mode", Text: "auto", OK: true}},
		} {
			n++
			kind, _, _ := strings.Cut(device, "-")
			samples = append(samples, telemetry.Sample{Site: "xinhua-1", Device: device, Machine: kind, Name: "1号" + kind, English: kind + " 1", Journal: journal, N: n, AtMS: at.UnixMilli(), Values: values})
		}
	}
	put(t, x, samples...)
	var all []telemetry.Tonne
	for i, material := range []string{"paper/occ", "paper", "steel/heavy"} {
		for k, flow := range []string{"collected", "sorted"} {
			category, _, _ := strings.Cut(material, "/")
			all = append(all, telemetry.Tonne{Site: "xinhua-1", Category: category, Material: material, Flow: flow,
				At: now.Add(-time.Minute).UnixNano() + int64(i), Grams: int64(1_234_567 * (1 + i + 10*k))})
		}
	}
	if err := x.PutTonnes(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	if err := x.PutPlaces(t.Context(), now, []telemetry.Place{{Site: "xinhua-1", Name: "新华区绿色分拣中心", English: `Xinhua "1"`, District: "xinhua"}}); err != nil {
		t.Fatal(err)
	}
}

// TestDocumentedQueries runs every query of the page for Grafana's users and of the dashboard as it
// stands, against the real server.
func TestDocumentedQueries(t *testing.T) {
	server := influxtest.Start(t)
	townIn(t, influxAt(t, server, nil))
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	// What some of the answers must hold, by a part of the query.
	holds := map[string]string{
		`GROUP BY "site", "material"`: `"material":"paper/occ"`,
		`tz('Asia/Shanghai')`:         `3.703701`,
		`"grade" = 'occ'`:             `13.580237`,
		`FROM "site"`:                 `新华区绿色分拣中心`,
		`FROM "device"`:               `1号baler`,
		`last(*) FROM "unit"`:         `"bar"`,
		`"state", "mode"`:             `"running","auto"`,
		`name: r._value_n`:            "新华区绿色分拣中心",
		`unit: units`:                 ",bar,",
		`offset: -8h`:                 "3.703701",
	}
	held := map[string]bool{}
	check := func(where, query, answer string) {
		t.Helper()
		for part, want := range holds {
			if strings.Contains(query, part) && strings.Contains(where, "page") {
				held[part] = true
				if !strings.Contains(answer, want) {
					t.Errorf("%s: %s: answer without %s: %s", where, query, want, answer)
				}
			}
		}
	}
	counts := map[string]int{}
	for _, block := range regexp.MustCompile("(?s)```(influxql|flux)\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		language, query := block[1], strings.TrimSpace(block[2])
		counts[language]++
		answer := ""
		if language == "flux" {
			answer = server.Flux(query)
		} else {
			answer = server.Query(query)
		}
		if rows(t, language, answer) == 0 {
			t.Errorf("page: no answer to: %s", query)
		}
		check("page", query, answer)
	}
	if counts["influxql"] < 8 || counts["flux"] < 4 {
		t.Errorf("the page has %v queries", counts)
	}
	for part := range holds {
		if !held[part] {
			t.Errorf("no query has %s", part)
		}
	}
	for title, query := range dashboardQueries(t) {
		if rows(t, "influxql", server.Query(query)) == 0 {
			t.Errorf("dashboard, %s: no answer to: %s", title, query)
		}
	}
	// The negative control: a query for what is not there is noticed.
	for language, answer := range map[string]string{
		"influxql": server.Query(`SELECT mean("value") FROM "sample" WHERE time > now() - 24h`),
		"flux":     server.Flux(`from(bucket: "steelyard/autogen") |> range(start: -1h) |> filter(fn: (r) => r._measurement == "sample")`),
	} {
		if n := rows(t, language, answer); n != 0 {
			t.Errorf("%s: %d rows of a measurement that there is not", language, n)
		}
	}
}

// dashboardQueries returns the dashboard's queries as Grafana puts them, with everything chosen.
func dashboardQueries(t *testing.T) map[string]string {
	t.Helper()
	data, err := os.ReadFile(dashboard)
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Templating struct {
			List []struct{ Name, Query string }
		}
		Panels []struct {
			Title   string
			Targets []struct{ Query, RefID string }
		}
	}
	if err := json.Unmarshal(data, &board); err != nil {
		t.Fatal(err)
	}
	chosen := strings.NewReplacer("$timeFilter", "time >= now() - 6h", "$__interval", "10s", "$site", ".*", "$device", ".*")
	all := map[string]string{}
	for _, v := range board.Templating.List {
		all["variable "+v.Name] = chosen.Replace(v.Query)
	}
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			all[p.Title+" "+target.RefID] = chosen.Replace(target.Query)
		}
	}
	if len(all) < 12 {
		t.Fatalf("only %d queries in the dashboard", len(all))
	}
	return all
}

// rows counts the rows of an answer that say something.
func rows(t *testing.T, language, answer string) (n int) {
	t.Helper()
	if language == "flux" {
		records := csv.NewReader(strings.NewReader(answer))
		records.FieldsPerRecord, records.Comment = -1, '#'
		all, err := records.ReadAll()
		if err != nil {
			t.Fatalf("%v: %s", err, answer)
		}
		return max(0, len(all)-1)
	}
	var list struct {
		Results []struct {
			Series []struct{ Values [][]any }
		}
	}
	if err := json.Unmarshal([]byte(answer), &list); err != nil {
		t.Fatalf("%v: %s", err, answer)
	}
	for _, result := range list.Results {
		for _, series := range result.Series {
			for _, row := range series.Values {
				if last := row[len(row)-1]; last != nil {
					n++
				}
			}
		}
	}
	return n
}
