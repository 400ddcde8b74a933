package telemetry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"
)

const (
	minuteNS       = int64(time.Minute)
	downsampleRows = 20_000 // points downsampled in one transaction, so that Put never waits long
)

// The cursors by which points are thought old, Unix ns.
const (
	trusted = "trusted" // the newest time that was believed
	newest  = "newest"  // of all samples
)

// catchUp is how much faster than the time that has passed the trusted time follows a clock that is
// ahead of it: after a stop of a week, it is right again in a week, and a clock that is years ahead
// for a minute makes nothing older than two.
const catchUp = 2

// trust returns the time by which the age of points is told. A wall clock that jumps ahead would empty
// the history, so the trusted time never goes further than what has passed by a clock that does
// not jump, nor further than the newest sample; a wall clock that is behind is followed at once,
// since it keeps more.
func (h *History) trust(ctx context.Context, wall time.Time, passed time.Duration) (now time.Time, err error) {
	err = h.step(ctx, func(tx *sql.Tx) error {
		before, err1 := cursor(ctx, tx, trusted)
		sampled, err2 := cursor(ctx, tx, newest)
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		ns := wall.UnixNano()
		if before != 0 {
			ns = min(ns, before+catchUp*max(0, passed.Nanoseconds()))
		}
		if err := setCursor(ctx, tx, trusted, ns); err != nil {
			return err
		}
		if sampled != 0 {
			ns = min(ns, sampled)
		}
		now = time.Unix(0, ns)
		return nil
	})
	return now, err
}

// Compact downsamples the points older than what is kept raw into rows of a minute and drops what is older
// than all that is kept. It may be stopped at any point and called again. Passed is the time since the
// last call, by a clock that does not jump; 0 at the first one.
func (h *History) Compact(ctx context.Context, wall time.Time, passed time.Duration) error {
	now, err := h.trust(ctx, wall, passed)
	if err != nil {
		return err
	}
	horizon := now.Add(-h.config.Raw).Truncate(time.Minute).UnixNano()
	oldest := now.Add(-h.config.Minutes).UnixNano()
	if err := h.step(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `insert into cursor values (?, ?) on conflict do update set n = max(n, excluded.n)`, downsampled, horizon)
		return err
	}); err != nil {
		return err
	}
	h.mu.Lock()
	ids := make([]int64, 0, len(h.series))
	for r := range maps.Values(h.series) {
		ids = append(ids, r.id)
	}
	h.mu.Unlock()
	slices.Sort(ids)
	for _, id := range ids {
		for more := true; more; {
			if err := h.step(ctx, func(tx *sql.Tx) (err error) {
				more, err = downsample(ctx, tx, id, horizon)
				return err
			}); err != nil {
				return fmt.Errorf("compact series %d: %w", id, err)
			}
		}
		if err := h.step(ctx, func(tx *sql.Tx) error {
			if _, err := tx.ExecContext(ctx, `delete from minute where series = ? and at < ?`, id, oldest/minuteNS); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, `delete from raw where series = ? and at < ?`, id, oldest)
			return err
		}); err != nil {
			return fmt.Errorf("compact series %d: %w", id, err)
		}
	}
	// Readers may hold the log open; the next Compact then shortens it.
	if _, err := h.db.ExecContext(ctx, `pragma wal_checkpoint(truncate)`); err != nil {
		return fmt.Errorf("history: checkpoint: %w", err)
	}
	return nil
}

// step is one transaction between two Puts.
func (h *History) step(ctx context.Context, do func(*sql.Tx) error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.change(ctx, do)
}

// aggregate gathers numbers.
type aggregate struct {
	min, max, sum, last float64
	count, lastAt       int64
}

func (a *aggregate) add(q aggregate) {
	if a.count == 0 {
		*a = q
		return
	}
	a.min, a.max, a.sum, a.count = min(a.min, q.min), max(a.max, q.max), a.sum+q.sum, a.count+q.count
	if q.lastAt >= a.lastAt {
		a.last, a.lastAt = q.last, q.lastAt
	}
}

// downsample moves up to downsampleRows points of a series into their minutes, in one transaction: a point is
// in one or the other, never in both.
func downsample(ctx context.Context, tx *sql.Tx, id, horizon int64) (more bool, err error) {
	rows, err := tx.QueryContext(ctx, `select at, value from raw
		where series = ? and at < ? and word = '' order by at limit ?`, id, horizon, downsampleRows)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	minutes := map[int64]*aggregate{}
	count, last := 0, int64(0)
	for rows.Next() {
		var text string
		if err := rows.Scan(&last, &text); err != nil {
			return false, err
		}
		v, err := float(text)
		if err != nil {
			return false, err
		}
		at := last / minuteNS
		if minutes[at] == nil {
			minutes[at] = new(aggregate)
		}
		minutes[at].add(aggregate{v, v, v, v, 1, last})
		count++
	}
	if err := rows.Err(); err != nil || count == 0 {
		return false, err
	}
	insert := batchInsert{tx: tx, into: "insert into minute values ", row: "(?,?,?,?,?,?,?,?)", columns: 8,
		end: ` on conflict do update set min = min(min, excluded.min), max = max(max, excluded.max),
			sum = sum + excluded.sum, count = count + excluded.count,
			last = case when excluded.last_at >= last_at then excluded.last else last end,
			last_at = max(last_at, excluded.last_at)`}
	for _, at := range slices.Sorted(maps.Keys(minutes)) {
		p := minutes[at]
		if err := insert.add(ctx, id, at, p.min, p.max, p.sum, p.count, p.last, p.lastAt); err != nil {
			return false, err
		}
	}
	if err := insert.flush(ctx); err != nil {
		return false, err
	}
	_, err = tx.ExecContext(ctx, `delete from raw where series = ? and at <= ? and word = ''`, id, last)
	return count == downsampleRows, err
}

// float reads a stored decimal for a picture, to the same bits as InfluxDB does.
func float(text string) (float64, error) { return strconv.ParseFloat(text, 64) }
