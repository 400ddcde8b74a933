package telemetry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"steelyard/internal/wire"
)

// Series implements Store.
func (h *History) Series(ctx context.Context, site string) ([]SeriesInfo, error) {
	if err := wire.CheckSlug("site", site); err != nil {
		return nil, err
	}
	rows, err := h.read.QueryContext(ctx, `select device, tag, unit, words, machine,
			coalesce((select max(at) from raw where series = id), 0),
			coalesce((select last_at from minute where series = id order by at desc limit 1), 0)
		from series where site = ? order by device, tag`, site)
	if err != nil {
		return nil, fmt.Errorf("series of %s: %w", site, err)
	}
	defer rows.Close()
	var list []SeriesInfo
	for rows.Next() {
		s := SeriesInfo{Site: site}
		var raw, minute int64
		if err := rows.Scan(&s.Device, &s.Tag, &s.Unit, &s.Words, &s.Machine, &raw, &minute); err != nil {
			return nil, fmt.Errorf("series of %s: %w", site, err)
		}
		if raw == 0 && minute == 0 {
			continue // all of it is older than what is kept
		}
		s.Last = timeOf(max(raw, minute))
		list = append(list, s)
	}
	return list, rows.Err()
}

// Range implements Store. What has been downsampled counts where its minute begins.
func (h *History) Range(ctx context.Context, site, device, tag string, from, to time.Time, step time.Duration) ([]Bucket, error) {
	if err := errors.Join(CheckName(site, device, tag), CheckRange(from, to, step)); err != nil {
		return nil, err
	}
	fromNS, toNS, stepNS := from.UnixMilli()*perMS, to.UnixMilli()*perMS, step.Nanoseconds()
	buckets := map[int64]*aggregate{}
	add := func(at int64, p aggregate) {
		at -= at % stepNS
		if buckets[at] == nil {
			buckets[at] = new(aggregate)
		}
		buckets[at].add(p)
	}
	// One transaction: a point that Compact moves in between is seen on one side only.
	tx, err := h.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, fmt.Errorf("curve of %s %s %s: %w", site, device, tag, err)
	}
	defer tx.Rollback()
	err = errors.Join(
		each(ctx, tx, `select at, min, max, sum, count, last, last_at from minute
			where series = (select id from series where site = ? and device = ? and tag = ?) and at >= ? and at < ?`,
			[]any{site, device, tag, (fromNS + minuteNS - 1) / minuteNS, (toNS + minuteNS - 1) / minuteNS},
			func(rows *sql.Rows) error {
				var at int64
				var p aggregate
				err := rows.Scan(&at, &p.min, &p.max, &p.sum, &p.count, &p.last, &p.lastAt)
				add(at*minuteNS, p)
				return err
			}),
		each(ctx, tx, `select at, value from raw
			where series = (select id from series where site = ? and device = ? and tag = ?) and at >= ? and at < ? and value <> ''`,
			[]any{site, device, tag, fromNS, toNS},
			func(rows *sql.Rows) error {
				var at int64
				var text string
				if err := rows.Scan(&at, &text); err != nil {
					return err
				}
				v, err := float(text)
				add(at, aggregate{v, v, v, v, 1, at})
				return err
			}))
	if err != nil {
		return nil, fmt.Errorf("curve of %s %s %s: %w", site, device, tag, err)
	}
	var list []Bucket
	for _, at := range slices.Sorted(maps.Keys(buckets)) {
		p := buckets[at]
		list = append(list, Bucket{timeOf(at), p.min, p.max, p.sum / float64(p.count), p.last, p.count})
	}
	return list, nil
}

// States implements Store.
func (h *History) States(ctx context.Context, site, device, tag string, from, to time.Time) ([]State, error) {
	if err := errors.Join(CheckName(site, device, tag), checkTimes(from, to)); err != nil {
		return nil, err
	}
	var list []State
	err := each(ctx, h.read, `select at, word from raw
		where series = (select id from series where site = ? and device = ? and tag = ?) and at >= ? and at < ? and word <> ''
		order by at desc limit ?`,
		[]any{site, device, tag, from.UnixMilli() * perMS, to.UnixMilli() * perMS, MaxStates},
		func(rows *sql.Rows) error {
			var at int64
			var s State
			err := rows.Scan(&at, &s.Text)
			s.At = timeOf(at)
			list = append(list, s)
			return err
		})
	if err != nil {
		return nil, fmt.Errorf("states of %s %s %s: %w", site, device, tag, err)
	}
	slices.Reverse(list)
	return list, nil
}

// Tonnage implements Store.
func (h *History) Tonnage(ctx context.Context, from, to time.Time) ([]Sum, error) {
	if err := checkTimes(from, to); err != nil {
		return nil, err
	}
	var list []Sum
	err := each(ctx, h.read, `select site, category, material, flow, sum(grams), count(*) from tonnage
		where at >= ? and at < ? group by site, category, material, flow`,
		[]any{from.UnixMilli() * perMS, to.UnixMilli() * perMS},
		func(rows *sql.Rows) error {
			var s Sum
			err := rows.Scan(&s.Site, &s.Category, &s.Material, &s.Flow, &s.Grams, &s.Count)
			list = append(list, s)
			return err
		})
	if err != nil {
		return nil, fmt.Errorf("tonnage: %w", err)
	}
	sortSums(list)
	return list, nil
}

type reader interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// each calls do for every row.
func each(ctx context.Context, r reader, query string, args []any, do func(*sql.Rows) error) error {
	rows, err := r.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := do(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
