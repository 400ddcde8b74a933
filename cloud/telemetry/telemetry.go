// Package telemetry turns samples and postings into curves.
//
// In: checked batches of the samples stream, postings of the rollup through a cursor, and the live
// and status messages of the sites. Out: points in InfluxDB or in the embedded history, the answers
// to what the pages ask of them, and the newest values of every site in memory.
// It promises that Samples returns nil only after the store has taken every good value, that
// putting the same thing twice changes nothing, that one bad value never holds up the others, and
// that tonnage is summed in whole grams.
// It is never the source of a tonne: everything here can be lost and made again, tonnage from the
// ledger, samples from the edges' journals as far back as those reach. It sends no receipt and
// judges no machine.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"steelyard/internal/unit"
	"steelyard/internal/wire"
)

// Store keeps points and answers for them. Influx and History are the two; one suite of tests runs
// over both.
type Store interface {
	// Put takes samples, all of them or none: nil means that they are kept. What the store refuses
	// for a reason that somebody can mend is parked, on disk too, and written when it is mended;
	// what no store could keep is left out and counted. The samples of one journal come in the
	// order of their entries. Putting a sample again changes nothing.
	Put(ctx context.Context, samples []Sample) error

	// PutTonnes takes tonnage, under the same promise.
	PutTonnes(ctx context.Context, tonnes []Tonne) error

	// ForgetTonnes drops the tonnage of the sites, parked or not: it is about to be written from the
	// ledger's beginning.
	ForgetTonnes(ctx context.Context, sites []string) error

	// Parked says what is not where it belongs.
	Parked() Parking

	// Series lists what is known of a site, by device and tag.
	Series(ctx context.Context, site string) ([]SeriesInfo, error)

	// Range returns the numbers of one tag from from up to but not including to, in buckets of step
	// aligned to the Unix epoch. Empty buckets are left out.
	Range(ctx context.Context, site, device, tag string, from, to time.Time, step time.Duration) ([]Bucket, error)

	// States returns the words of one tag, oldest first; the newest MaxStates when there are more.
	States(ctx context.Context, site, device, tag string, from, to time.Time) ([]State, error)

	// Tonnage sums the tonnage from from up to but not including to, by site, material and flow.
	Tonnage(ctx context.Context, from, to time.Time) ([]Sum, error)

	Close() error
}

// Limits of the questions: a page has fewer pixels than that.
const (
	MaxBuckets = 10_000
	MaxStates  = 10_000
)

// Parking is what the store has refused.
type Parking struct {
	Lines   int64     // refused for a reason that somebody can mend; written by themselves once it is
	Tonnage int64     // of these, postings: so many are missing in the tonnage
	Since   time.Time // of the oldest of them; zero when there is none
	Why     string    // the newest reason; empty when there is none
	Expired int64     // older than the store keeps anything, by its own configuration
	Bad     int64     // samples since the start that no store could keep
}

// SeriesInfo is one tag of one device.
type SeriesInfo struct {
	Site, Device, Tag string
	Machine           string    // its kind; empty where its edge does not say it
	Unit              string    // of the newest number; empty when there is none
	Last              time.Time // of the newest point
	Words             bool      // the tag carries the words of a state
}

// Bucket sums up the numbers of one step. These are pictures of a process value: a float64 holds
// its first 15 digits. No mass is counted from them.
type Bucket struct {
	At                   time.Time // start of the step
	Min, Max, Mean, Last float64
	Count                int64
}

// State is the word that a machine showed from At on.
type State struct {
	At   time.Time
	Text string
}

// Sum is the tonnage of one site, material and flow.
type Sum struct {
	Site, Category, Material, Flow string
	Grams                          int64
	Count                          int64 // postings in it, reversals included
}

// Mass is the sum as a mass.
func (s Sum) Mass() unit.Mass { return unit.Mass(s.Grams) }

// UnavailableError says that the store takes or answers nothing this time, for the reason Err. The
// same call may succeed after After; until then the store is not asked again.
type UnavailableError struct {
	After time.Duration
	Err   error
}

func (e *UnavailableError) Error() string {
	return fmt.Sprintf("telemetry store: not now, asked again in %v: %v", e.After.Round(time.Millisecond), e.Err)
}

// Unwrap returns the cause.
func (e *UnavailableError) Unwrap() error { return e.Err }

// MisconfiguredError says that the store refuses us, not the data: nothing is lost, and nothing
// moves until somebody corrects the configuration.
type MisconfiguredError struct {
	Err  error
	Hint string // what to do
}

func (e *MisconfiguredError) Error() string {
	return fmt.Sprintf("telemetry store refuses: %v: %s", e.Err, e.Hint)
}

// Unwrap returns the cause.
func (e *MisconfiguredError) Unwrap() error { return e.Err }

// RetryAfter says how long the store asked to be left alone; 0 when err does not say.
func RetryAfter(err error) time.Duration {
	if u, ok := errors.AsType[*UnavailableError](err); ok {
		return u.After
	}
	return 0
}

// CheckName says why no store has a series of that name. Names that it lets through need no quoting.
func CheckName(site, device, tag string) error {
	return errors.Join(wire.CheckSlug("site", site), wire.CheckSlug("device", device), checkTag(tag))
}

// CheckRange refuses questions whose answer no page could show.
func CheckRange(from, to time.Time, step time.Duration) error {
	switch {
	case step < time.Millisecond || step%time.Millisecond != 0:
		return fmt.Errorf("step %v: use whole milliseconds", step)
	case !from.Before(to):
		return fmt.Errorf("range from %s to %s is empty", from.UTC().Format(time.RFC3339), to.UTC().Format(time.RFC3339))
	case to.Sub(from)/step > MaxBuckets:
		return fmt.Errorf("range of %v in steps of %v: more than %d steps: take a longer step", to.Sub(from), step, MaxBuckets)
	}
	return checkTimes(from, to)
}

// checkTimes keeps nanoseconds since 1970 within 64 bits.
func checkTimes(from, to time.Time) error {
	for _, t := range []time.Time{from, to} {
		if ms := t.UnixMilli(); ms < 0 || ms > maxMS {
			return fmt.Errorf("time %s is not between 1970 and 2200", t.UTC().Format(time.RFC3339))
		}
	}
	return nil
}
