package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"steelyard/cloud/telemetry"
	"steelyard/internal/config"
	"steelyard/internal/durable"
	"steelyard/internal/wire"
)

// fileCursor keeps a reader's place in a file. Falling behind it costs repetition only.
type fileCursor string

func (p *parts) openTelemetry(ctx context.Context) (err error) {
	cursor := fileCursor(filepath.Join(p.config.Data, "influx.cursor"))
	load, save := cursor.load, cursor.save
	if in := p.config.Influx; in.URL != "" {
		token := ""
		if in.TokenFile != "" {
			if token, err = config.Password(in.TokenFile); err != nil {
				return err
			}
		}
		influx, err := telemetry.NewInflux(telemetry.InfluxConfig{URL: in.URL, Org: in.Org, Bucket: in.Bucket, Token: token, Log: p.log})
		if err != nil {
			return err
		}
		p.store = influx
	} else {
		path := filepath.Join(p.config.Data, "history.db")
		if p.history, err = telemetry.OpenHistory(ctx, telemetry.HistoryConfig{Path: path, Log: p.log}); err != nil {
			cause, _, _ := strings.Cut(err.Error(), "\n") // the database says the same again for each of its connections
			return fmt.Errorf("%s: check the disk, or move %s away: it holds curves only, no tonnes", cause, path)
		}
		p.store, load, save = p.history, p.history.LoadCursor, p.history.SaveCursor
	}
	p.tonnes = telemetry.NewTonnes(telemetry.TonnesConfig{Next: p.rollup.PostingsAfter, Load: load, Save: save, Store: p.store, Log: p.log})
	var sites []string
	for _, s := range p.config.Sites {
		sites = append(sites, s.ID)
	}
	p.live = telemetry.NewLive(telemetry.LiveConfig{Sites: sites, Ask: func(site string, r wire.Request) { p.ingest.Ask(site, r) }})
	return nil
}

func (f fileCursor) load(context.Context) (int64, error) {
	data, err := os.ReadFile(string(f))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
}

func (f fileCursor) save(_ context.Context, place int64) error {
	return durable.WriteFile(string(f), strconv.AppendInt(nil, place, 10), 0o600)
}

// compact keeps the embedded history small.
func (p *parts) compact(ctx context.Context) error {
	if p.history == nil {
		return nil
	}
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := p.history.Compact(ctx, time.Now()); err != nil && ctx.Err() == nil {
			p.log.Error("history is not compacted", "err", err)
		}
	}
}
