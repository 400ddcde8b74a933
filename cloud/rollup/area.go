package rollup

import (
	"context"
	"database/sql"
	"maps"
)

// wholeCity is the area of all sites. A district's area is its code, which can't be this; the area
// of the sites without one is empty.
const wholeCity = "*"

// InDistricts sets in which district each site lies; a site that is not in the map lies in none. It
// is called before Run. When the districts are others than before, their sums are made anew of those
// of the sites.
func (r *Rollup) InDistricts(ctx context.Context, of map[string]string) error {
	r.reading.Lock()
	defer r.reading.Unlock()
	r.district = map[string]string{}
	for site, district := range of {
		if district != "" {
			r.district[site] = district
		}
	}
	before, err := r.districts(ctx)
	if err != nil || maps.Equal(before, r.district) {
		return err
	}
	return r.tables.Update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `delete from districts`); err != nil {
			return wrap("districts", err)
		}
		for site, district := range r.district {
			if _, err := tx.ExecContext(ctx, `insert into districts (site, district) values ($1, $2)`, site, district); err != nil {
				return wrap("districts", err)
			}
		}
		for _, statement := range []string{
			`delete from area_days where area <> '*'`,
			`delete from area_months where area <> '*'`,
			`insert into area_days (area, day, category, flow, grams, count)
				select coalesce(d.district, ''), s.day, s.category, s.flow, sum(s.grams), sum(s.count)
				from days s left join districts d on d.site = s.site
				group by coalesce(d.district, ''), s.day, s.category, s.flow`,
			`insert into area_months (area, month, category, flow, grams, count)
				select coalesce(d.district, ''), s.month, s.category, s.flow, sum(s.grams), sum(s.count)
				from months s left join districts d on d.site = s.site
				group by coalesce(d.district, ''), s.month, s.category, s.flow`,
		} {
			if _, err := tx.ExecContext(ctx, statement); err != nil {
				return wrap("districts", err)
			}
		}
		return nil
	})
}

func (r *Rollup) districts(ctx context.Context) (map[string]string, error) {
	rows, err := r.db.QueryContext(ctx, `select site, district from districts`)
	if err != nil {
		return nil, wrap("districts", err)
	}
	defer rows.Close()
	of := map[string]string{}
	for rows.Next() {
		var site, district string
		if err := rows.Scan(&site, &district); err != nil {
			return nil, wrap("districts", err)
		}
		of[site] = district
	}
	return of, wrap("districts", rows.Err())
}
