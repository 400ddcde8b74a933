package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"time"

	"steelyard/firmware-bridge/site"
	"steelyard/internal/chain"
	"steelyard/internal/config"
	"steelyard/internal/material"
	"steelyard/internal/mqtt"
	"steelyard/internal/page"
	"steelyard/internal/program"
	"steelyard/internal/wire"
)

// Config is one site's file; configs/edge.yaml shows every key.
type Config struct {
	Site      string   `yaml:"site"`      // slug, unique in the city
	Name      string   `yaml:"name"`      // for people
	English   string   `yaml:"english"`   // on the English page; where there is none, Name
	Data      string   `yaml:"data"`      // folder of journals, key and checkpoint
	Listen    string   `yaml:"listen"`    // address of the operator's page
	Hosts     []string `yaml:"hosts"`     // names under which it is asked for, besides addresses and localhost
	Materials string   `yaml:"materials"` // catalogue file; empty: the built-in one
	Clock     string   `yaml:"clock"`     // "kernel" knows whether the clock is right; "host": who runs this computer keeps it
	Cloud     Cloud    `yaml:"cloud"`
	Journal   Journal  `yaml:"journal"`

	site.Plant `yaml:",inline"` // the machines

	digest    string
	catalogue *material.Catalogue
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
	RecordsMiB int64         `yaml:"records_mib"`       // at this size nothing more is weighed
	SamplesMiB int64         `yaml:"samples_mib"`       // at this size the oldest samples make room
	DailyMiB   int64         `yaml:"samples_daily_mib"` // samples that would write more in a day are written more seldom
	Keep       time.Duration `yaml:"keep"`              // records stay at least so long, and until receipted
}

// defaults are what a file that does not say it means.
func defaults() Config {
	return Config{
		Data:    "data",
		Listen:  "127.0.0.1:8081",
		Clock:   kernelClock,
		Journal: Journal{RecordsMiB: 2048, SamplesMiB: 2048, DailyMiB: 1536, Keep: 400 * 24 * time.Hour},
	}
}

// Who knows whether the computer's clock is right.
const (
	kernelClock = "kernel"
	hostClock   = "host"
)

const (
	leastMiB = 16
	mostMiB  = 1 << 20 // a terabyte
)

// Read reads and checks a site's file, every mistake at once. Of other files it looks at those of
// models and materials.
func Read(path string) (Config, error) { return read(path, false) }

// ReadHere is Read on the machine that the file is for: what would keep the edge from starting
// there, such as a missing password file, is a mistake too.
func ReadHere(path string) (Config, error) { return read(path, true) }

func read(path string, here bool) (Config, error) {
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
		for _, p := range []*string{&c.Data, &c.Materials, &c.Cloud.PasswordFile, &c.Cloud.CAFile} {
			if *p != "" && !filepath.IsAbs(*p) {
				*p = filepath.Join(base, *p)
			}
		}
		var catalogueErr error
		c.catalogue, catalogueErr = material.Open(c.Materials)
		broken = errors.Join(c.Plant.Resolve(k, base), catalogueErr)
		c.check(k)
		if here {
			c.checkHere(k)
		}
	})
	return c, errors.Join(broken, err)
}

// check reports the mistakes of the edge's own half and of what the machines work.
func (c *Config) check(k *config.Checker) {
	if err := wire.CheckSlug("site", c.Site); err != nil {
		k.Fault("site", "%v", err)
	}
	if c.Clock != kernelClock && c.Clock != hostClock {
		k.Fault("clock", "%q is neither %s nor %s", c.Clock, kernelClock, hostClock)
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		k.Fault("listen", "%q is not host:port, like 127.0.0.1:8081", c.Listen)
	}
	for i, name := range c.Hosts {
		k.Faults(config.Path("hosts", i), page.CheckHost(name))
	}
	k.Faults("cloud.broker", mqtt.Check(c.Cloud.options("site")))
	if c.Cloud.PasswordFile != "" && c.Cloud.Username == "" {
		k.Fault("cloud.password_file", "a password without a username: name the account it belongs to")
	}
	if _, err := chain.ParsePublicKey(c.Cloud.Key); err != nil {
		k.Fault("cloud.key", "%v: copy what cloud -key prints in the city", err)
	}
	for key, size := range map[string]int64{"records_mib": c.Journal.RecordsMiB, "samples_mib": c.Journal.SamplesMiB, "samples_daily_mib": c.Journal.DailyMiB} {
		if size < leastMiB || size > mostMiB {
			k.Fault("journal."+key, "a journal of %d MiB: give it %d to %d", size, leastMiB, mostMiB)
		}
	}
	if c.Journal.Keep < 24*time.Hour {
		k.Fault("journal.keep", "keep records for at least 24h")
	}
	c.checkTurns(k)
	for i, b := range c.Buses {
		for j, m := range b.Machines {
			c.checkMaterial(k, m, func(key string) string { return config.Path("buses", i, "machines", j, key) })
		}
	}
}

// longestTurn is the longest time between two weights of an instrument with which one may work: a
// page shows a weight for two seconds, and a load has to rest for five of them.
const longestTurn = time.Second

// checkTurns refuses a line on which each indicator is asked too seldom.
func (c *Config) checkTurns(k *config.Checker) {
	for _, l := range c.Lines() {
		turn := l.Turn()
		if l.Config.Port == "" || turn <= longestTurn {
			continue
		}
		last := l.Weighbridges[len(l.Weighbridges)-1].Device
		i := slices.IndexFunc(c.Weighbridges, func(w site.Weighbridge) bool { return w.Device == last })
		k.Fault(config.Path("weighbridges", i, "line"), "each of the %d weighbridges on this line would be asked every %v only, for there are 200ms between two questions; "+
			"ask at least every %v: raise the baud, or give some a line of their own",
			len(l.Weighbridges), turn.Round(time.Millisecond), longestTurn)
	}
}

// checkMaterial leaves out a machine whose profile is not known: it might be a belt or not.
func (c *Config) checkMaterial(k *config.Checker, m site.Machine, at func(key string) string) {
	if m.Model == nil {
		return
	}
	counts := isBelt(m.Model) || numbers(m.Model) != ""
	switch {
	case m.Material == "" && counts:
		k.Fault(at("device"), "say which material %q works, like material: paper/occ", m.Device)
	case m.Material != "" && !counts:
		k.Fault(at("material"), "profile %q counts no material", m.Profile)
	case m.Material != "" && c.catalogue != nil:
		if _, err := c.catalogue.Category(m.Material, time.Now()); err != nil {
			k.Fault(at("material"), "%v", err)
		}
	}
}

// keyFile is the edge's signing key in its data folder.
const keyFile = "edge.key"

// checkHere reports every file of this machine that would keep the edge from starting. It creates and
// changes nothing, and leaves ports and machines alone: the edge that runs has them.
func (c *Config) checkHere(k *config.Checker) {
	k.Faults("data", program.CheckData(c.Data, keyFile))
	if c.Cloud.PasswordFile != "" {
		_, err := config.Password(c.Cloud.PasswordFile)
		k.Faults("cloud.password_file", err)
	}
	if c.Cloud.CAFile != "" {
		_, err := config.Authorities(c.Cloud.CAFile)
		k.Faults("cloud.ca_file", err)
	}
}

// options without the secrets.
func (c Cloud) options(site string) mqtt.Options {
	return mqtt.Options{URL: c.Broker, Client: "edge-" + site, Username: c.Username}
}
