package telemetry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	influxhttp "github.com/influxdata/influxdb-client-go/v2/api/http"
)

// verdict is what follows from an answer to a write.
type verdict int

const (
	again   verdict = iota // the same later
	alarm                  // the same, once somebody has corrected the configuration
	large                  // too much at once
	bisect                 // some of it can't be taken: find out which
	dropped                // none of it is taken, for a reason that lies in the points
)

// refusal is an answer to a write that is not 204.
type refusal struct {
	verdict verdict
	after   time.Duration // what the server asked for; 0 when it did not
	partial bool          // the points that could be taken have been
	located bool          // the server says that it is the points, not the request
	lost    int           // points that the server says it dropped; 0 when it does not say
	expired bool          // they are older than the server keeps anything
	err     error
}

var typeConflict = regexp.MustCompile(`input field "([^"]+)" on measurement "([^"]+)" is type`)

// conflict returns the field whose type is another one in the store.
func (r refusal) conflict() (measurement, field string, named bool) {
	m := typeConflict.FindStringSubmatch(r.err.Error())
	if m == nil {
		return "", "", false
	}
	return m[2], m[1], true
}

// reason is the refusal without what differs from one request to the next.
func (r refusal) reason() string {
	return strings.TrimSpace(droppedCount.ReplaceAllString(r.err.Error(), ""))
}

// maxPause bounds what a server may ask for.
const maxPause = 5 * time.Minute

// refusalOf reads the answer to a write of size points.
func refusalOf(err error, size int) refusal {
	r := refusal{verdict: again, err: err}
	answer, ok := errors.AsType[*influxhttp.Error](err)
	if errors.Is(err, errNotInflux) {
		r.verdict = alarm
		return r
	}
	if !ok || answer.StatusCode == 0 {
		return r
	}
	r.err = fmt.Errorf("status %d: %.300s", answer.StatusCode, strings.TrimSpace(cmp.Or(answer.Message, answer.Error())))
	r.after = min(time.Duration(answer.RetryAfter)*time.Second, maxPause)
	switch code := answer.StatusCode; {
	case missing(r.err):
		r.verdict = alarm
	case code == http.StatusRequestTimeout, code == http.StatusTooManyRequests, code >= 500:
	case code == http.StatusRequestEntityTooLarge:
		if r.verdict = large; size == 1 {
			r.verdict = alarm // no point is too large: the server's limit is too small
		}
	case code == http.StatusBadRequest, code == http.StatusUnprocessableEntity:
		r.partial = strings.Contains(answer.Message, "partial write")
		r.located = r.partial || strings.Contains(answer.Message, "unable to parse")
		r.lost = droppedBy(answer.Message)
		r.expired = strings.Contains(answer.Message, "beyond retention policy") || strings.Contains(answer.Message, "outside retention policy")
		if r.verdict = bisect; size == 1 || r.partial && r.lost == size {
			r.verdict = dropped
		}
	default:
		r.verdict = alarm
	}
	return r
}

var droppedCount = regexp.MustCompile(`dropped=(\d{1,9})`)

// droppedBy reads how many points a partial write left out.
func droppedBy(message string) int {
	m := droppedCount.FindStringSubmatch(message)
	if m == nil {
		return 0
	}
	n, err := strconv.Atoi(m[1])
	if err != nil { // nine digits at most
		return 0
	}
	return n
}

// missing reports whether a server says that what we write to is not there; 1.8 does so with a
// status that means a fault of its own.
func missing(err error) bool {
	return strings.Contains(err.Error(), "retention policy not found") || strings.Contains(err.Error(), "database not found")
}

const missingHint = "create the database and its retention policy, or correct the bucket: on 1.8 it is database/retention-policy"

// hint says what to do about an alarm.
func (r refusal) hint() string {
	text := r.err.Error()
	switch {
	case missing(r.err):
		return missingHint
	case strings.HasPrefix(text, "status 401"), strings.HasPrefix(text, "status 403"):
		return "check the token and that it may write to the bucket"
	case strings.HasPrefix(text, "status 413"):
		return "raise max-body-size at the server or its proxy"
	case strings.HasPrefix(text, "status 404"):
		return "check the organisation and the bucket, and create the database if there is none"
	}
	return "check the address: is InfluxDB there?"
}

// cancelled tells our own end from the server's.
func cancelled(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}
