// Package web is what people see of the city: a JSON API, live events and the pages on them.
//
// In: requests, and the readers of the ledger, its totals, the curves and the newest values.
// Out: answers and pages, Chinese first, that load nothing from elsewhere.
// It promises that a number that is unknown or old is never shown as 0 or as live.
// It changes nothing: it only reads.
package web

import (
	"embed"
	"log/slog"
	"time"

	"steelyard/cloud/ingest"
	"steelyard/cloud/ledger"
	"steelyard/cloud/rollup"
	"steelyard/cloud/telemetry"
)

//go:embed page
var files embed.FS

// Config is what the pages read from.
type Config struct {
	Name   string
	Hosts  []string // names under which the pages are asked for, besides addresses and localhost
	Sites  []Site
	Ledger *ledger.Reader
	Rollup *rollup.Reader
	Store  telemetry.Store
	Live   *telemetry.Live
	Ingest func() ingest.Stats
	Behind func() telemetry.Behind // how far the tonnage of the curves is behind the ledger
	// Categories are the ten, in the order of the bureau's tables.
	Categories []Category
	Audit      string // file with a simulation's audit; empty: none
	Now        func() time.Time
	Log        *slog.Logger
}

// Category is one category with its names.
type Category struct {
	Code string `json:"code"`
	ZH   string `json:"zh"`
	EN   string `json:"en"`
}

// Site is one sorting centre as people know it.
type Site struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	English  string `json:"english"`
	District string `json:"district"`
}
