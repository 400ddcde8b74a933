package arch

import (
	"slices"
	"strings"
)

// upstream is the map: for each package what it may import of the three parts, besides internal
// and configs, which are open to all. A folder below a package has its rights, and the two may
// import each other. "edge" stands for that part's main and "edge/..." for all of the part.
//
// Imports point up the pipeline only. What must be pushed downstream is handed in as a function by
// the wiring: edge/agent, cloud/service and cloud/demo.
var upstream = map[string][]string{
	"firmware-bridge":             {"firmware-bridge/..."},
	"firmware-bridge/device":      {},
	"firmware-bridge/serial":      {"firmware-bridge/device"},
	"firmware-bridge/weighbridge": {"firmware-bridge/device", "firmware-bridge/serial"},
	"firmware-bridge/modbus":      {"firmware-bridge/device", "firmware-bridge/serial"},
	"firmware-bridge/catalog":     {"firmware-bridge/device", "firmware-bridge/serial", "firmware-bridge/weighbridge", "firmware-bridge/modbus"},
	"firmware-bridge/site":        {"firmware-bridge/device", "firmware-bridge/serial", "firmware-bridge/weighbridge", "firmware-bridge/modbus", "firmware-bridge/catalog"},
	"firmware-bridge/gateway":     {"firmware-bridge/device", "firmware-bridge/serial", "firmware-bridge/weighbridge", "firmware-bridge/modbus", "firmware-bridge/catalog"},
	"firmware-bridge/sim":         {"firmware-bridge/..."},
	"firmware-bridge/bench":       {"firmware-bridge/..."},

	"edge":         {"edge/..."},
	"edge/agent":   {"edge/...", "firmware-bridge/..."},
	"edge/meaning": {"firmware-bridge/device"},
	"edge/journal": {},
	"edge/uplink":  {"edge/journal"},
	"edge/hmi":     {"edge/meaning", "edge/journal", "firmware-bridge/device"},

	"cloud":           {"cloud/..."},
	"cloud/service":   {"cloud/..."},
	"cloud/demo":      {"cloud/...", "edge/...", "firmware-bridge/..."},
	"cloud/broker":    {},
	"cloud/ingest":    {"cloud/ledger"}, // the ledger's writer: what it receipts is what the ledger has
	"cloud/ledger":    {},
	"cloud/rollup":    {"cloud/ledger"},
	"cloud/balance":   {"cloud/ledger", "cloud/rollup"},
	"cloud/rules":     {"cloud/ledger", "cloud/rollup"},
	"cloud/telemetry": {"cloud/ledger", "cloud/rollup"},
	"cloud/report":    {"cloud/ledger", "cloud/rollup", "cloud/balance", "cloud/rules"},
	"cloud/delivery":  {"cloud/ledger", "cloud/rollup", "cloud/report"},
	"cloud/access":    {"cloud/ledger"},
	"cloud/web": {"cloud/ingest", "cloud/ledger", "cloud/rollup", "cloud/balance", "cloud/rules", "cloud/telemetry",
		"cloud/report", "cloud/delivery", "cloud/access"},
}

// doors: each outside library that the product must be able to replace is imported in these
// folders only.
var doors = map[string][]string{
	"github.com/eclipse/paho.mqtt.golang":      {"internal/mqtt"},
	"go.bug.st/serial":                         {"firmware-bridge/serial"},
	"github.com/simonvetter/modbus":            {"firmware-bridge/modbus", "firmware-bridge/gateway", "firmware-bridge/sim"},
	"modernc.org/sqlite":                       {"cloud/ledger", "cloud/telemetry"},
	"github.com/jackc/pgx":                     {"cloud/ledger"},
	"github.com/influxdata/influxdb-client-go": {"cloud/telemetry"},
	"github.com/goccy/go-yaml":                 {"internal/config"},
	"github.com/mochi-mqtt/server":             {"cloud/broker"},
	"github.com/xuri/excelize":                 {"cloud/report"},
	"github.com/hanwen/go-fuse":                {"edge/journal/powercut", "internal/e2e"},
}

// harnesses are packages that only tests and each other may import: what they carry has no place in
// a program.
var harnesses = []string{"edge/journal/powercut", "cloud/telemetry/influxtest", "cloud/ledger/ledgertest", "internal/config/configtest", "internal/leaktest"}

// known reports whether the map has a place for a folder.
func known(dir string) bool {
	if within(dir, "internal") || dir == "configs" {
		return true
	}
	_, ok := rightsOf(dir)
	return ok
}

// rightsOf finds a folder's package on the map: itself or the nearest one above it. A part's own
// main does not lend its rights.
func rightsOf(dir string) (owner string, ok bool) {
	for d := dir; d != ""; d = d[:max(0, strings.LastIndexByte(d, '/'))] {
		if _, ok := upstream[d]; ok && (d == dir || strings.Contains(d, "/")) {
			return d, true
		}
	}
	return "", false
}

// part is the first step of a folder: edge, cloud, firmware-bridge, internal, configs.
func part(dir string) string {
	first, _, _ := strings.Cut(dir, "/")
	return first
}

// forbidden returns the reason why a package may not import another one of this module, or "".
func forbidden(from, to string, test bool) string {
	fromPart, toPart := part(from), part(to)
	switch {
	case within(from, "internal/e2e"), within(from, "internal/arch"):
		return ""
	case within(to, "internal/e2e") || within(to, "internal/arch"):
		return "a test of the whole product is not a package to build on"
	case !test && inside(to, harnesses) && !inside(from, harnesses):
		return "only tests may"
	case toPart == "internal" || toPart == "configs":
		return ""
	case within(from, "cloud/demo"):
		return ""
	// Both hold for tests too: one part's tests that need the other are whole-house tests. The
	// embedded broker is the exception, for it is the real thing at the other end of the line.
	case fromPart == "edge" && toPart == "cloud" && !(test && to == "cloud/broker"):
		return "edge never imports cloud"
	case fromPart == "cloud" && (toPart == "edge" || toPart == "firmware-bridge"):
		return "cloud never imports " + toPart
	case test:
		return ""
	case fromPart == "internal":
		return "internal holds words and tools and imports no part of the product"
	case fromPart == "firmware-bridge" && toPart != "firmware-bridge":
		return "firmware-bridge imports neither edge nor cloud"
	}
	owner, ok := rightsOf(from)
	if !ok || within(to, owner) && strings.Contains(owner, "/") {
		return "" // a package off the map has its own finding
	}
	allowed := upstream[owner]
	if slices.ContainsFunc(allowed, func(a string) bool {
		if all, ok := strings.CutSuffix(a, "/..."); ok {
			return within(to, all)
		}
		return within(to, a)
	}) {
		return ""
	}
	if len(allowed) == 0 {
		return owner + " may import only internal packages"
	}
	return owner + " may import only internal packages and " + strings.Join(allowed, ", ")
}
