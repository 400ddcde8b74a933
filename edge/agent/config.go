package agent

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"steelyard/configs"
	"steelyard/firmware-bridge/catalog"
	"steelyard/firmware-bridge/modbus"
	"steelyard/firmware-bridge/serial"
	"steelyard/firmware-bridge/weighbridge"
	"steelyard/internal/chain"
	"steelyard/internal/config"
	"steelyard/internal/material"
	"steelyard/internal/mqtt"
	"steelyard/internal/unit"
	"steelyard/internal/wire"
)

// Config is one site's file; configs/edge.yaml shows every key.
type Config struct {
	Site         string        `yaml:"site"`      // slug, unique in the city
	Name         string        `yaml:"name"`      // for people
	Data         string        `yaml:"data"`      // folder of journals, key and checkpoint
	Listen       string        `yaml:"listen"`    // address of the operator's page
	Materials    string        `yaml:"materials"` // catalogue file; empty: the built-in one
	Profiles     string        `yaml:"profiles"`  // folder with profiles and indicators beside the built-in ones; empty: none
	Cloud        Cloud         `yaml:"cloud"`
	Journal      Journal       `yaml:"journal"`
	Weighbridges []Weighbridge `yaml:"weighbridges"`
	Buses        []Bus         `yaml:"buses"`

	digest   string
	profiles *catalog.Catalog
	menu     *material.Catalogue
}

// Cloud says how the city is reached.
type Cloud struct {
	Broker       string `yaml:"broker"`        // tcp://host:port or ssl://host:port
	Username     string `yaml:"username"`      // empty: none
	PasswordFile string `yaml:"password_file"` // mode 0600
	CAFile       string `yaml:"ca_file"`       // authorities of the broker's certificate, PEM; empty: the system's
	Key          string `yaml:"key"`           // the cloud's public key: only its receipts free an entry
}

// Journal bounds what the disk holds.
type Journal struct {
	RecordsMiB int64         `yaml:"records_mib"` // at this size nothing more is weighed
	SamplesMiB int64         `yaml:"samples_mib"` // at this size the oldest samples make room
	Keep       time.Duration `yaml:"keep"`        // records stay at least so long, and until receipted
}

// Weighbridge is one indicator on one serial line. What it sends, either its model's file says or
// Dialect and Options; after Read both are filled in.
type Weighbridge struct {
	Device    string              `yaml:"device"`
	Line      serial.Config       `yaml:"line"`      // speed and format may be left out where the model's file has them
	Indicator string              `yaml:"indicator"` // a model of the catalogue; excludes Dialect and Options
	Dialect   string              `yaml:"dialect"`
	Options   weighbridge.Options `yaml:"options"`
	Unit      unit.Unit           `yaml:"unit"`     // of the display, where neither the dialect nor the model's file says it
	Division  unit.Mass           `yaml:"division"` // e of the type plate
	Min       unit.Mass           `yaml:"min"`      // Min of the type plate; 20 e when left out
	Max       unit.Mass           `yaml:"max"`      // Max of the type plate
	Window    time.Duration       `yaml:"window"`   // rest needed where the indicator has no stability flag
}

// Bus is one RS-485 line or one gateway with the machines on it.
type Bus struct {
	Link         string        `yaml:"link"` // tcp://host:port, rtu:///dev/…?baud=9600&format=8N1, rtu-over-tcp://host:port
	Timeout      time.Duration `yaml:"timeout"`
	Gap          time.Duration `yaml:"gap"`
	ConnectPause time.Duration `yaml:"connect_pause"`
	Machines     []Machine     `yaml:"machines"`
}

// Machine is one unit on a bus. What it is, its profile says.
type Machine struct {
	Device   string        `yaml:"device"`
	Profile  string        `yaml:"profile"`
	Unit     uint8         `yaml:"unit"`
	Every    time.Duration `yaml:"every"`
	Material string        `yaml:"material"` // what it works until an operator says otherwise; belts and balers only
	MaxRate  unit.Mass     `yaml:"max_rate"` // belts: the most it can carry in an hour
	Record   time.Duration `yaml:"record"`   // belts: how often a moving belt's standing is recorded
}

// defaults are what a file that does not say it means.
func defaults() Config {
	return Config{
		Data:    "data",
		Listen:  "127.0.0.1:8081",
		Journal: Journal{RecordsMiB: 2048, SamplesMiB: 2048, Keep: 400 * 24 * time.Hour},
	}
}

const (
	defaultWindow  = 2 * time.Second
	defaultEvery   = time.Second
	defaultRecord  = time.Minute
	defaultMaxRate = 200 * unit.Tonne
	leastMiB       = 16
	mostMiB        = 1 << 20 // a terabyte
	minDivisions   = 20      // Min = 20 e on class III instruments (NAWI Annex I; OIML R 76)
)

// Read reads and checks a site's file, every mistake at once.
func Read(path string) (Config, error) {
	data, err := config.ReadFile(path)
	if err != nil {
		return Config{}, err
	}
	c := defaults()
	digest := sha256.Sum256(data)
	c.digest = hex.EncodeToString(digest[:])
	base := filepath.Dir(path)
	var broken error // a file that this one names
	err = config.Load(path, data, &c, func(k *config.Checker) {
		for _, p := range []*string{&c.Data, &c.Materials, &c.Profiles, &c.Cloud.PasswordFile, &c.Cloud.CAFile} {
			if *p != "" && !filepath.IsAbs(*p) {
				*p = filepath.Join(base, *p)
			}
		}
		shipped, err := fs.Sub(configs.Files, "devices")
		if err != nil {
			broken = err
			return
		}
		folders := []fs.FS{shipped}
		if c.Profiles != "" {
			folders = append(folders, os.DirFS(c.Profiles))
		}
		var menuErr error
		c.profiles, broken = catalog.Load(folders...)
		c.menu, menuErr = material.Open(c.Materials)
		if broken = errors.Join(broken, menuErr); broken != nil {
			return
		}
		c.check(k)
	})
	return c, errors.Join(broken, err)
}

func (c *Config) check(k *config.Checker) {
	if err := wire.CheckSlug("site", c.Site); err != nil {
		k.Fault("site", "%v", err)
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		k.Fault("listen", "%q is not host:port, like 127.0.0.1:8081", c.Listen)
	}
	if err := mqtt.Check(c.Cloud.options("site")); err != nil {
		faults(k, "cloud.broker", err)
	}
	if c.Cloud.PasswordFile != "" && c.Cloud.Username == "" {
		k.Fault("cloud.password_file", "a password without a username: name the account it belongs to")
	}
	if key, err := chain.ParsePublicKey(c.Cloud.Key); err != nil || key.String() == noKey {
		k.Fault("cloud.key", "%v: copy the line that the cloud prints when it starts", cmp.Or(err, errNoKey))
	}
	for key, size := range map[string]int64{"records_mib": c.Journal.RecordsMiB, "samples_mib": c.Journal.SamplesMiB} {
		if size < leastMiB || size > mostMiB {
			k.Fault("journal."+key, "a journal of %d MiB: give it %d to %d", size, leastMiB, mostMiB)
		}
	}
	if c.Journal.Keep < 24*time.Hour {
		k.Fault("journal.keep", "keep records for at least 24h")
	}
	devices, ports := map[string]string{}, map[string]string{}
	taken := func(seen map[string]string, what, name, path string) {
		if first, ok := seen[name]; ok {
			k.Fault(path, "%s %q is used already (line %d)", what, name, k.Line(first))
			return
		}
		seen[name] = path
	}
	for i := range c.Weighbridges {
		c.Weighbridges[i].check(k, i, c.profiles, taken, devices, ports)
	}
	for i := range c.Buses {
		c.checkBus(k, i, taken, devices, ports)
	}
	if len(devices) == 0 {
		k.Fault("weighbridges", "no weighbridge and no machine: an agent without devices has nothing to do")
	}
}

// faults reports every line of an error as a mistake of its own.
func faults(k *config.Checker, path string, err error) {
	for mistake := range strings.SplitSeq(err.Error(), "\n") {
		k.Fault(path, "%s", mistake)
	}
}

// noKey is what stands in a file that was copied and not filled in. Anybody can sign with it.
const noKey = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

var errNoKey = errors.New("a key of zeros is none")

type takenFunc func(seen map[string]string, what, name, path string)

func checkDevice(k *config.Checker, name, path string, taken takenFunc, devices map[string]string) {
	if err := wire.CheckSlug("device", name); err != nil {
		k.Fault(path, "%v", err)
		return
	}
	taken(devices, "device", name, path)
}

func (w *Weighbridge) check(k *config.Checker, i int, known *catalog.Catalog, taken takenFunc, devices, ports map[string]string) {
	at := func(parts ...any) string { return config.Path(append([]any{"weighbridges", i}, parts...)...) }
	checkDevice(k, w.Device, at("device"), taken, devices)
	w.speak(k, at, known)
	if err := w.Line.Check(); err != nil {
		faults(k, at("line"), err)
	} else {
		// Links of buses name a terminal server without the tcp://.
		taken(ports, "port", strings.TrimPrefix(w.Line.Port, "tcp://"), at("line", "port"))
	}
	if w.Unit != unit.KG && w.Unit != unit.T && w.Unit != unit.G {
		k.Fault(at("unit"), "unit %q: say kg, t or g, as on the display", w.Unit)
	}
	if w.Division <= 0 {
		k.Fault(at("division"), "give the division e of the type plate, like 20 kg")
	}
	if w.Min == 0 {
		w.Min = minDivisions * w.Division
	}
	if w.Max <= w.Min || w.Min < 0 {
		k.Fault(at("max"), "capacity %s is not above the minimum %s", w.Max, w.Min)
	}
	if w.Window == 0 {
		w.Window = defaultWindow
	}
	if w.Window < 500*time.Millisecond || w.Window > 30*time.Second {
		k.Fault(at("window"), "a weight must rest for 500ms to 30s, not %v", w.Window)
	}
}

// speak settles what the indicator sends: from its model's file, or from dialect and options.
func (w *Weighbridge) speak(k *config.Checker, at func(...any) string, known *catalog.Catalog) {
	byHand := k.Has(at("dialect")) || k.Has(at("options"))
	switch {
	case k.Has(at("indicator")) && byHand:
		k.Fault(at("indicator"), "an indicator and a dialect: the indicator's file says what it sends, so remove dialect and options, or the indicator")
	case k.Has(at("indicator")):
		model, err := known.FindIndicator(w.Indicator)
		if err != nil {
			k.Fault(at("indicator"), "%v", err)
			w.Unit = cmp.Or(w.Unit, unit.KG) // its file might have said it: one mistake is enough
			return
		}
		w.Dialect, w.Options = model.Dialect, model.Options
		w.Line.Baud = cmp.Or(w.Line.Baud, model.Line.Baud)
		w.Line.Format = cmp.Or(w.Line.Format, model.Line.Format)
		w.Unit = cmp.Or(w.Unit, model.Unit)
	case !byHand:
		k.Fault(at(), "say what the indicator sends: indicator: NAME of its model, or dialect: NAME with options")
	default:
		w.checkDialect(k, at)
	}
}

func (w *Weighbridge) checkDialect(k *config.Checker, at func(...any) string) {
	if d, ok := weighbridge.Find(w.Dialect); !ok {
		var names []string
		for _, d := range weighbridge.Dialects() {
			names = append(names, d.Name)
		}
		k.Fault(at("dialect"), "dialect %q is not known: choose one of %s", w.Dialect, strings.Join(names, ", "))
	} else if err := d.Check(w.Options); err != nil {
		k.Fault(at("options"), "%v", err)
	}
}

func (c *Config) checkBus(k *config.Checker, i int, taken takenFunc, devices, ports map[string]string) {
	b := &c.Buses[i]
	at := func(parts ...any) string { return config.Path(append([]any{"buses", i}, parts...)...) }
	serialLine := false
	if link, err := modbus.ParseLink(b.Link); err != nil {
		k.Fault(at("link"), "%v", err)
	} else {
		taken(ports, "port", link.Address, at("link"))
		serialLine = link.Scheme != modbus.TCP
	}
	for key, d := range map[string]time.Duration{"timeout": b.Timeout, "gap": b.Gap, "connect_pause": b.ConnectPause} {
		if d < 0 || d > time.Minute {
			k.Fault(at(key), "%v: between 0s and 1m", d)
		}
	}
	units := map[string]string{}
	for j := range b.Machines {
		m := &b.Machines[j]
		mat := func(key string) string { return at("machines", j, key) }
		checkDevice(k, m.Device, mat("device"), taken, devices)
		if serialLine && (m.Unit < 1 || m.Unit > 247) {
			k.Fault(mat("unit"), "unit id %d: machines on a serial line have 1 to 247", m.Unit)
		} else {
			taken(units, "unit id", fmt.Sprint(m.Unit), mat("unit"))
		}
		if m.Every == 0 {
			m.Every = defaultEvery
		}
		if m.Record == 0 {
			m.Record = defaultRecord
		}
		if m.MaxRate == 0 {
			m.MaxRate = defaultMaxRate
		}
		if m.Every < 10*time.Millisecond || m.Every > 24*time.Hour {
			k.Fault(mat("every"), "a poll every %v: between 10ms and 24h", m.Every)
		}
		if m.Record < time.Second || m.Record > 24*time.Hour {
			k.Fault(mat("record"), "a standing every %v: between 1s and 24h", m.Record)
		}
		if m.MaxRate < 0 {
			k.Fault(mat("max_rate"), "a belt can't carry %s in an hour", m.MaxRate)
		}
		p, err := c.profiles.Find(m.Profile)
		if err != nil {
			k.Fault(mat("profile"), "%v", err)
			continue
		}
		if m.Material == "" && (isBelt(p) || isBaler(p)) {
			k.Fault(mat("device"), "say which material %q works, like material: paper/occ", m.Device)
		}
		if m.Material != "" && !isBelt(p) && !isBaler(p) {
			k.Fault(mat("material"), "profile %q counts no material", m.Profile)
		} else if m.Material != "" {
			if _, err := c.menu.Category(m.Material, time.Now()); err != nil {
				k.Fault(mat("material"), "%v", err)
			}
		}
	}
	if len(b.Machines) == 0 {
		k.Fault(at(), "a bus without machines")
	}
}

// A profile that counts tonnes makes its machine a belt, one that numbers bales a baler.
func isBelt(p *modbus.Profile) bool { return p.Totaliser != nil }

func isBaler(p *modbus.Profile) bool {
	return slices.ContainsFunc(p.Points, func(v modbus.Point) bool { return v.Meaning == "bale.sequence" })
}

// options without the secrets.
func (c Cloud) options(site string) mqtt.Options {
	return mqtt.Options{URL: c.Broker, Client: "edge-" + site, Username: c.Username}
}
