package telemetry

import (
	"database/sql"
	"net/http"
	"testing"
	"time"

	"steelyard/internal/record"
)

// FastDecode lets the tests hold the fast decoder against the general one.
func FastDecode(body []byte) (record.Sample, bool) { return fastDecode(string(body)) }

// Post sends a request as the store does.
func Post(req *http.Request, plain bool) (*http.Response, error) {
	return newHTTPDoer(time.Minute, plain).Do(req)
}

// ParkedLines are the lines that wait to be mended, and those that have expired.
func ParkedLines(t testing.TB, x *Influx) (lines []string) {
	t.Helper()
	err := each(t.Context(), x.parked.db, `select text from line order by text`, nil, func(rows *sql.Rows) error {
		var line string
		err := rows.Scan(&line)
		lines = append(lines, line)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// SetParkedRoom bounds the file of parked points.
func SetParkedRoom(x *Influx, bytes int64) { x.parked.maxBytes = bytes }
