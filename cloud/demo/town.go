package demo

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"steelyard/cloud/ledger"
	"steelyard/cloud/rollup"
	"steelyard/firmware-bridge/sim"
	"steelyard/internal/chain"
	"steelyard/internal/durable"
	"steelyard/internal/material"
	"steelyard/internal/port"
	"steelyard/internal/record"
	"steelyard/internal/unit"
)

// Plan says which town to build.
type Plan struct {
	Dir    string // for everything that is written; must be empty or absent
	Sites  int
	Speed  float64
	Past   time.Duration // worked by every site at the speed of life before it begins; 0: none
	Listen string        // address of the city's pages
	Broker string        // URL of another broker than the embedded one; empty: embedded
	Influx string        // URL of an InfluxDB; empty: the embedded history
	Bucket string        // on it
	Token  string        // for it
	Shape  Shape
	// Arrivals is the mean simulated time between lorries at one weighbridge; 0: the machines' own.
	Arrivals time.Duration
	// Inside bounds the simulated time that a lorry stays on a site; 0: the machines' own.
	Inside time.Duration
	// Via gives the broker's URL as one site sees it; nil: as it is.
	Via     func(site, broker string) string
	Command func(role Role, config string) *exec.Cmd // starts an edge or the cloud as a process
	Log     *slog.Logger
}

// Shape is what each site has.
type Shape struct{ Weighbridges, Belts, Balers int }

// Role of a process.
type Role string

// The roles.
const (
	EdgeRole  Role = "edge"
	CloudRole Role = "cloud"
)

// Town is a number of simulated sites with an edge process each, and the cloud's process.
type Town struct {
	Sites []*Site
	Cloud *Process
	URL   string // of the city's pages

	plan      Plan
	began     time.Time
	ports     []*port.Port // of the pages and the broker: the town's also while a process is down
	catalogue *material.Catalogue
	reader    *ledger.Reader
}

// Site is one sorting centre of the town.
type Site struct {
	Name string
	Dir  string
	Page string // URL of the operator's page
	Sim  *sim.Site
	Edge *Process

	key  chain.PublicKey // the edge's
	past time.Time       // when it begins; zero: there is none
}

// districts of the demonstration's sites, with a name for people.
var districts = [...]struct{ slug, district, zh, en string }{
	{"xinhua-1", "xinhua", "新华区绿色分拣中心", "Xinhua sorting centre"},
	{"weidong-1", "weidong", "卫东区绿色分拣中心", "Weidong sorting centre"},
	{"zhanhe-1", "zhanhe", "湛河区绿色分拣中心", "Zhanhe sorting centre"},
	{"ruzhou-1", "ruzhou", "汝州市绿色分拣中心", "Ruzhou sorting centre"},
	{"wugang-1", "wugang", "舞钢市绿色分拣中心", "Wugang sorting centre"},
	{"baofeng-1", "baofeng", "宝丰县绿色分拣中心", "Baofeng sorting centre"},
	{"yexian-1", "yexian", "叶县绿色分拣中心", "Yexian sorting centre"},
	{"lushan-1", "lushan", "鲁山县绿色分拣中心", "Lushan sorting centre"},
	{"jiaxian-1", "jiaxian", "郏县绿色分拣中心", "Jiaxian sorting centre"},
	{"shilong-1", "shilong", "石龙区绿色分拣中心", "Shilong sorting centre"},
	{"gaoxin-1", "gaoxin", "高新区绿色分拣中心", "Gaoxin sorting centre"},
	{"shifan-1", "shifan", "示范区绿色分拣中心", "Shifan sorting centre"},
}

// MaxSites is how many sites a town may have.
const MaxSites = len(districts)

// Build starts simulated machines, writes every configuration and starts the processes.
func Build(ctx context.Context, plan Plan) (t *Town, err error) {
	if plan.Sites < 1 || plan.Sites > MaxSites {
		return nil, fmt.Errorf("sites: %d is not between 1 and %d", plan.Sites, MaxSites)
	}
	if plan.Shape == (Shape{}) {
		plan.Shape = Shape{Weighbridges: 1, Belts: 3, Balers: 2}
	}
	if err := empty(plan.Dir); err != nil {
		return nil, err
	}
	if plan.Dir, err = filepath.Abs(plan.Dir); err != nil {
		return nil, err
	}
	t = &Town{plan: plan, began: time.Now()}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.Close())
		}
	}()
	if t.catalogue, err = material.Open(""); err != nil {
		return t, err
	}
	cloudKey := chain.NewKey()
	for range plan.Sites + 1 {
		p, err := port.Reserve()
		if err != nil {
			return t, err
		}
		t.ports = append(t.ports, p)
	}
	broker := plan.Broker
	if broker == "" {
		broker = "tcp://" + t.ports[plan.Sites].Address()
	}
	keys := make([]chain.Key, plan.Sites)
	for i := range keys {
		keys[i] = chain.NewKey()
	}
	if plan.Via == nil {
		t.plan.Via = func(_, broker string) string { return broker }
	}
	if err := t.buildCloud(cloudKey, keys, t.ports[plan.Sites].Number()); err != nil {
		return t, err
	}
	for i, key := range keys {
		if err := t.buildSite(ctx, i, key, cloudKey.Public(), broker, t.ports[i].Number()); err != nil {
			return t, err
		}
	}
	if err := t.live(ctx); err != nil {
		return t, err
	}
	if err := t.Cloud.Start(ctx); err != nil {
		return t, err
	}
	for _, s := range t.Sites {
		s.Sim.Run()
		if err := s.Edge.Start(ctx); err != nil {
			return t, err
		}
		s.Sim.Connect(s.Page)
	}
	t.reader, err = ledger.OpenReader(ctx, t.LedgerFile())
	return t, err
}

// LedgerFile is the cloud's ledger.
func (t *Town) LedgerFile() string { return filepath.Join(t.plan.Dir, "cloud", "data", "ledger.db") }

// AuditFile is where the town's audit stands for the page.
func (t *Town) AuditFile() string { return filepath.Join(t.plan.Dir, "audit.json") }

func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return os.MkdirAll(dir, 0o700)
	}
	if err == nil && len(entries) > 0 {
		err = fmt.Errorf("folder %s is not empty: name another one, or remove it", dir)
	}
	return err
}

func (t *Town) buildCloud(key chain.Key, keys []chain.Key, port int) error {
	dir := filepath.Join(t.plan.Dir, "cloud")
	if err := os.MkdirAll(filepath.Join(dir, "data"), 0o700); err != nil {
		return err
	}
	if err := durable.WriteFile(filepath.Join(dir, "data", "cloud.key"), []byte(key.Text()), 0o600); err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "name: 平顶山市\ndata: data\nlisten: %s\naudit: %s\n", t.plan.Listen, t.AuditFile())
	if t.plan.Broker == "" {
		fmt.Fprintf(&b, "broker: {listen: \"127.0.0.1:%d\"}\n", port)
	} else {
		fmt.Fprintf(&b, "broker: {url: %q}\n", t.plan.Broker)
	}
	if t.plan.Influx != "" {
		if err := durable.WriteFile(filepath.Join(dir, "influx.token"), []byte(t.plan.Token), 0o600); err != nil {
			return err
		}
		fmt.Fprintf(&b, "influx: {url: %q, bucket: %q, token_file: influx.token}\n", t.plan.Influx, t.plan.Bucket)
	}
	b.WriteString("sites:\n")
	for i, k := range keys {
		d := districts[i]
		fmt.Fprintf(&b, "  - {id: %s, name: %s, english: %s, district: %s, key: %q}\n", d.slug, d.zh, d.en, d.district, k.Public())
	}
	path := filepath.Join(dir, "cloud.yaml")
	if err := durable.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		return err
	}
	t.URL = "http://" + t.plan.Listen
	var err error
	t.Cloud, err = t.process("cloud", CloudRole, path, t.URL+"/healthz")
	return err
}

func (t *Town) buildSite(ctx context.Context, i int, key chain.Key, cloud chain.PublicKey, broker string, port int) error {
	d := districts[i]
	dir := filepath.Join(t.plan.Dir, d.slug)
	if err := os.MkdirAll(filepath.Join(dir, "data"), 0o700); err != nil {
		return err
	}
	if err := durable.WriteFile(filepath.Join(dir, "data", "edge.key"), []byte(key.Text()), 0o600); err != nil {
		return err
	}
	var past time.Time
	if t.plan.Past > 0 {
		past = t.began.Add(-t.plan.Past)
	}
	machines, err := sim.Open(ctx, sim.SiteConfig{Name: d.slug, Dir: filepath.Join(dir, "machines"), Seed: uint64(i + 1), Speed: t.plan.Speed, Past: past,
		Weighbridges: t.plan.Shape.Weighbridges, Belts: t.plan.Shape.Belts, Balers: t.plan.Shape.Balers, Arrivals: t.plan.Arrivals, Inside: t.plan.Inside, Log: t.plan.Log})
	if err != nil {
		return err
	}
	s := &Site{Name: d.slug, Dir: dir, Sim: machines, key: key.Public(), past: past, Page: fmt.Sprintf("http://127.0.0.1:%d", port)}
	t.Sites = append(t.Sites, s)
	path := filepath.Join(dir, "edge.yaml")
	if err := durable.WriteFile(path, []byte(edgeConfig(d.slug, d.zh, d.en, t.plan.Via(d.slug, broker), cloud, port, machines.Endpoints(), t.plan.Speed)), 0o600); err != nil {
		return err
	}
	s.Edge, err = t.process(d.slug, EdgeRole, path, s.Page+"/api/decks")
	return err
}

// edgeConfig writes what a commissioning engineer would.
func edgeConfig(site, name, english, broker string, cloud chain.PublicKey, port int, e sim.Endpoints, speed float64) string {
	var b strings.Builder
	fmt.Fprintf(&b, "site: %s\nname: %s\nenglish: %s\ndata: data\nclock: host\nlisten: \"127.0.0.1:%d\"\ncloud: {broker: %q, key: %q}\nweighbridges:\n", site, name, english, port, broker, cloud)
	named := func(i int, zh, en string) string {
		return fmt.Sprintf("name: %d号%s, english: %s %d", i+1, zh, en, i+1)
	}
	for i, w := range e.Weighbridges {
		options := ""
		if w.Dialect == sim.Toledo {
			options = fmt.Sprintf(", options: {checksum: %s}", w.Checksum)
		}
		fmt.Fprintf(&b, "  - {device: %s, %s, line: {port: %q, baud: %d, format: %s}, dialect: %s%s, unit: %s, division: %s, max: %s t}\n",
			w.Device, named(i, "地磅", "Weighbridge"), w.Port, w.Baud, w.Format, w.Dialect, options, w.Unit, w.Division, w.Max.Tonnes())
	}
	links := map[string][]string{}
	for i, m := range e.Belts {
		rate := unit.Mass(200*speed) * unit.Tonne
		links[m.Link] = append(links[m.Link], fmt.Sprintf("{device: %s, %s, profile: %s, unit: %d, material: %s, max_rate: %s t, record: 5s}",
			m.Device, named(i, "皮带秤", "Belt"), m.Profile, m.Unit, m.Material, rate.Tonnes()))
	}
	for i, m := range e.Balers {
		links[m.Link] = append(links[m.Link], fmt.Sprintf("{device: %s, %s, profile: %s, unit: %d, material: %s}", m.Device, named(i, "打包机", "Baler"), m.Profile, m.Unit, m.Material))
	}
	b.WriteString("buses:\n")
	for _, link := range slices.Sorted(maps.Keys(links)) {
		fmt.Fprintf(&b, "  - link: %q\n    machines:\n", link)
		for _, m := range links[link] {
			fmt.Fprintf(&b, "      - %s\n", m)
		}
	}
	return b.String()
}

// Audit compares truth, journals and ledger as they are now. With final, nothing may be under
// way any more.
func (t *Town) Audit(ctx context.Context, final bool) (*Audit, error) {
	a := &Audit{At: time.Now().UTC(), Final: final, Exact: true, Sites: []SiteAudit{}, Tonnes: []Tonnes{}, Faults: []Fault{}}
	// The order matters while things move: what is in a book that is read first is in the next one.
	posted, err := readLedger(ctx, t.reader)
	if err != nil {
		return nil, err
	}
	truth, inLedger := map[tonnesKey]unit.Mass{}, map[tonnesKey]unit.Mass{}
	for _, s := range t.Sites {
		b := evidence{site: s.Name, ledger: posted[s.Name]}
		if b.journal, err = readJournal(filepath.Join(s.Dir, "data", "records")); err != nil {
			return nil, err
		}
		if b.truth, err = sim.ReadTruth(s.Sim.Truth()); err != nil {
			return nil, err
		}
		audited := audit(b, a.At, final)
		row := SiteAudit{Site: s.Name, Kinds: []KindAudit{}}
		for _, kind := range slices.Sorted(maps.Keys(audited.kinds)) {
			k := *audited.kinds[kind]
			a.Exact = a.Exact && k.bad() == 0
			row.Kinds = append(row.Kinds, k)
		}
		a.Sites, a.Faults = append(a.Sites, row), append(a.Faults, audited.faults...)
		first := map[string]uint64{}
		for _, l := range b.journal {
			if d, ok := l.body.(*record.Device); ok && d.State == "counter" && first[l.Device] == 0 {
				first[l.Device] = d.Counter
			}
		}
		if err := trueTonnes(b.truth, t.category, first, truth); err != nil {
			return nil, err
		}
	}
	if err := t.shownTonnes(ctx, inLedger); err != nil {
		return nil, err
	}
	rows, equal := compareTonnes(truth, inLedger)
	a.Tonnes = append(a.Tonnes, rows...)
	if final && !equal {
		a.Exact = false
		a.Faults = append(a.Faults, differences(rows)...)
	}
	return a, nil
}

// shownTonnes asks the city for its tonnes as a page does, so that what people see is what is
// compared.
func (t *Town) shownTonnes(ctx context.Context, sums map[tonnesKey]unit.Mass) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.URL+"/api/totals?from=2000-01-01&to=2100-01-01", nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var shown struct {
		Totals []struct {
			Category string      `json:"category"`
			Flow     rollup.Flow `json:"flow"`
			Grams    unit.Mass   `json:"grams"`
		} `json:"totals"`
	}
	if err := json.NewDecoder(res.Body).Decode(&shown); err != nil || res.StatusCode != http.StatusOK {
		return fmt.Errorf("the city's totals: status %d, %v", res.StatusCode, err)
	}
	for _, row := range shown.Totals {
		sums[tonnesKey{row.Category, row.Flow}] += row.Grams
	}
	return nil
}

func (t *Town) category(name string, at time.Time) (string, error) {
	c, err := t.catalogue.Category(name, at)
	return c.Code, err
}

// Publish puts an audit where the city's page finds it.
func (t *Town) Publish(a *Audit) error {
	data, err := json.Marshal(a)
	if err != nil {
		return err
	}
	return durable.WriteFile(t.AuditFile(), data, 0o600)
}

// WaitIdle lets the sites come to rest and waits until the ledger has everything.
func (t *Town) WaitIdle(ctx context.Context) (*Audit, error) {
	var rest sync.WaitGroup
	errs := make([]error, len(t.Sites))
	for i, s := range t.Sites {
		rest.Go(func() { errs[i] = s.Sim.Quiesce(ctx) })
	}
	rest.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("the sites did not come to rest: %w", err)
	}
	// The agents need a few polls and the rest of a belt before the last standings are written.
	var newest *Audit
	for quiet := 0; ; {
		a, err := t.Audit(ctx, true)
		if err != nil && ctx.Err() != nil && newest != nil {
			return newest, nil // the time ended while this one was made
		}
		if err != nil {
			return nil, err
		}
		newest = a
		if a.Exact {
			if quiet++; quiet >= 3 {
				return a, nil
			}
		} else {
			quiet = 0
		}
		select {
		case <-ctx.Done():
			return a, nil // what is missing now is missing
		case <-time.After(time.Second):
		}
	}
}

// Close ends machines and processes, the edges before the cloud.
func (t *Town) Close() error {
	var errs []error
	if t.reader != nil {
		errs = append(errs, t.reader.Close())
	}
	var stopping sync.WaitGroup
	stops := make([]error, len(t.Sites))
	for i, s := range t.Sites {
		stopping.Go(func() { stops[i] = errors.Join(s.Edge.Stop(), s.Sim.Close()) })
	}
	stopping.Wait()
	errs = append(append(errs, stops...), t.Cloud.Stop())
	for _, p := range t.ports {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}

// Logs copies the end of every process's log, for a test that failed.
func (t *Town) Logs(w io.Writer) {
	names := []string{"cloud"}
	for _, s := range t.Sites {
		names = append(names, s.Name)
	}
	for _, name := range names {
		fmt.Fprintf(w, "--- %s\n%s\n", name, cmp.Or(lastLines(filepath.Join(t.plan.Dir, name+".log")), "(nothing)"))
	}
}
