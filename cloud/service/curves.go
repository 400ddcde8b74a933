package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"steelyard/cloud/rollup"
	"steelyard/cloud/telemetry"
	"steelyard/internal/config"
	"steelyard/internal/durable"
	"steelyard/internal/wire"
)

// fileCursor keeps in a file a reader's place and the store that it belongs to. Falling behind it
// costs repetition only.
type fileCursor struct{ path, store string }

func (p *platform) openTelemetry(ctx context.Context) (err error) {
	in := p.config.Influx
	cursor := fileCursor{filepath.Join(p.config.Data, "influx.cursor"), in.URL + " " + in.Org + " " + in.Bucket}
	load, save := cursor.load, cursor.save
	if in.URL != "" {
		token := ""
		if in.TokenFile != "" {
			if token, err = config.Password(in.TokenFile); err != nil {
				return err
			}
		}
		p.influx, err = telemetry.NewInflux(telemetry.InfluxConfig{URL: in.URL, Org: in.Org, Bucket: in.Bucket, Token: token,
			Parked: filepath.Join(p.config.Data, "parked.db"), Log: p.log})
		if err != nil {
			return err
		}
		p.store = p.influx
	} else {
		path := filepath.Join(p.config.Data, "history.db")
		if p.history, err = telemetry.OpenHistory(ctx, telemetry.HistoryConfig{Path: path, Log: p.log}); err != nil {
			cause, _, _ := strings.Cut(err.Error(), "\n") // the database says the same again for each of its connections
			return fmt.Errorf("%s: check the disk, or move %s away: it holds curves only, no tonnes", cause, path)
		}
		p.store, load, save = p.history, p.history.LoadCursor, p.history.SaveCursor
	}
	var sites []string
	for _, s := range p.config.Sites {
		sites = append(sites, s.ID)
	}
	p.tonnes = telemetry.NewTonnes(telemetry.TonnesConfig{Next: p.rollup.PostingsAfter, Load: load, Save: save, Store: p.store, Sites: sites, Log: p.log})
	p.live = telemetry.NewLive(telemetry.LiveConfig{Sites: sites, Ask: func(site string, r wire.Request) { p.ingest.Ask(site, r) }})
	return nil
}

// load returns the zero place where the file is of another store, or of an older version of this one.
func (f fileCursor) load(context.Context) (place rollup.Place, err error) {
	data, err := os.ReadFile(f.path)
	if errors.Is(err, os.ErrNotExist) {
		return place, nil
	}
	if err != nil {
		return place, err
	}
	first, store, _ := strings.Cut(strings.TrimSuffix(string(data), "\n"), "\n")
	if _, err := fmt.Sscanf(first, "%d %d", &place.Seq, &place.Trail); err != nil || store != f.store {
		return rollup.Place{}, nil
	}
	return place, nil
}

func (f fileCursor) save(_ context.Context, place rollup.Place) error {
	return durable.WriteFile(f.path, fmt.Appendf(nil, "%d %d\n%s\n", place.Seq, place.Trail, f.store), 0o600)
}

const (
	mendEvery   = 10 * time.Second
	placesEvery = 10 * time.Minute
)

// tendInflux offers it again what it has refused, and tells it the names of the sites.
func (p *platform) tendInflux(ctx context.Context) error {
	if p.influx == nil {
		return nil
	}
	var places []telemetry.Place
	for _, s := range p.config.Sites {
		places = append(places, telemetry.Place{Site: s.ID, Name: s.Name, English: s.English, District: s.District})
	}
	mend, name := time.NewTicker(mendEvery), time.NewTimer(0)
	defer mend.Stop()
	defer name.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-mend.C:
			err = p.influx.Mend(ctx)
		case <-name.C:
			if err = p.influx.PutPlaces(ctx, time.Now(), places); err != nil {
				name.Reset(mendEvery)
			} else {
				name.Reset(placesEvery)
			}
		}
		if err != nil && ctx.Err() == nil {
			p.log.Debug("telemetry store is not tended", "err", err) // it says itself what is wrong with it
		}
	}
}

// compact keeps the embedded history small.
func (p *platform) compact(ctx context.Context) error {
	if p.history == nil {
		return nil
	}
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for last := time.Now(); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := time.Now()
		passed := now.Sub(last) // by the clock that never jumps
		last = now
		if err := p.history.Compact(ctx, now, passed); err != nil && ctx.Err() == nil {
			p.log.Error("history not compacted", "err", err)
		}
	}
}
