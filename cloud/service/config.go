package service

import (
	"cmp"
	"net"
	"net/url"
	"path/filepath"

	"steelyard/internal/chain"
	"steelyard/internal/config"
	"steelyard/internal/mqtt"
	"steelyard/internal/page"
	"steelyard/internal/wire"
)

// Config is the cloud's file; configs/cloud.yaml shows every key.
type Config struct {
	Name      string   `yaml:"name"`      // of the city, for people
	Data      string   `yaml:"data"`      // folder of ledger, history and key
	Listen    string   `yaml:"listen"`    // address of the pages
	Hosts     []string `yaml:"hosts"`     // names under which they are asked for, besides addresses and localhost
	Materials string   `yaml:"materials"` // catalogue file; empty: the built-in one
	Ledger    string   `yaml:"ledger"`    // where the ledger is kept; empty: ledger.db in data
	Broker    Broker   `yaml:"broker"`
	Influx    Influx   `yaml:"influx"`
	Sites     []Site   `yaml:"sites"`
	Audit     string   `yaml:"audit"` // file with a simulation's audit, shown on the page; empty: none
}

// Broker is either embedded (Listen) or somewhere else (URL).
type Broker struct {
	Listen       string `yaml:"listen"`      // address of the embedded broker
	CertFile     string `yaml:"cert_file"`   // of the embedded broker: its certificate chain, PEM; empty: no TLS
	KeyFile      string `yaml:"key_file"`    // the certificate's key, mode 0600
	MaxClients   int    `yaml:"max_clients"` // of the embedded broker
	URL          string `yaml:"url"`         // tcp:// or ssl:// of any MQTT 3.1.1 broker
	Username     string `yaml:"username"`
	PasswordFile string `yaml:"password_file"`
	CAFile       string `yaml:"ca_file"` // authorities of the other broker's certificate, PEM; empty: the system's
}

// Influx is the store of curves; without a URL the embedded history keeps them.
type Influx struct {
	URL       string `yaml:"url"`
	Org       string `yaml:"org"`
	Bucket    string `yaml:"bucket"` // "database/retention-policy" on InfluxDB 1.8
	TokenFile string `yaml:"token_file"`
}

// Site is one sorting centre that may send.
type Site struct {
	ID           string `yaml:"id"`
	Name         string `yaml:"name"`
	English      string `yaml:"english"`
	District     string `yaml:"district"`
	Key          string `yaml:"key"`           // the edge's public key, as its log shows it
	PasswordFile string `yaml:"password_file"` // for the embedded broker; empty on loopback only
}

func defaults() Config {
	return Config{
		Name: "平顶山市", Data: "data", Listen: "127.0.0.1:8080",
		Broker: Broker{MaxClients: 200},
	}
}

// Read reads and checks the cloud's file, every mistake at once. It looks at no other file.
func Read(path string) (Config, error) { return read(path, false) }

// ReadHere is Read on the machine that the file is for: what would keep the cloud from starting
// there, such as a missing password file, is a mistake too.
func ReadHere(path string) (Config, error) { return read(path, true) }

func read(path string, here bool) (Config, error) {
	c := defaults()
	base := filepath.Dir(path)
	err := config.LoadFile(path, &c, func(k *config.Checker) {
		files := []*string{&c.Data, &c.Materials, &c.Ledger, &c.Broker.PasswordFile, &c.Broker.CertFile, &c.Broker.KeyFile, &c.Broker.CAFile, &c.Influx.TokenFile, &c.Audit}
		for i := range c.Sites {
			files = append(files, &c.Sites[i].PasswordFile)
		}
		for _, p := range files {
			if *p != "" && !filepath.IsAbs(*p) {
				*p = filepath.Join(base, *p)
			}
		}
		c.check(k)
		if here {
			c.checkHere(k)
		}
	})
	return c, err
}

func (c *Config) check(k *config.Checker) {
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		k.Fault("listen", "%q is not host:port, like 127.0.0.1:8080", c.Listen)
	}
	for i, name := range c.Hosts {
		k.Faults(config.Path("hosts", i), page.CheckHost(name))
	}
	if (c.Broker.CertFile == "") != (c.Broker.KeyFile == "") {
		k.Fault("broker", "cert_file and key_file go together")
	}
	switch {
	case c.Broker.Listen == "" && c.Broker.URL == "":
		k.Fault("broker", "give listen for the embedded broker, or url for another one")
	case c.Broker.Listen != "" && c.Broker.URL != "":
		k.Fault("broker.url", "either listen (embedded) or url, not both")
	case c.Broker.Listen != "" && c.Broker.CAFile != "":
		k.Fault("broker.ca_file", "is for another broker; the embedded one shows cert_file")
	case c.Broker.Listen != "":
		if _, _, err := net.SplitHostPort(c.Broker.Listen); err != nil {
			k.Fault("broker.listen", "%q is not host:port, like 127.0.0.1:1883", c.Broker.Listen)
		}
		if c.Broker.MaxClients < 1 {
			k.Fault("broker.max_clients", "at least 1, or no site can connect")
		} else if c.Broker.MaxClients < len(c.Sites) {
			k.Fault("broker.max_clients", "%d clients and %d sites: raise it, or some sites can't connect", c.Broker.MaxClients, len(c.Sites))
		}
	default:
		k.Faults("broker.url", mqtt.Check(mqtt.Options{URL: c.Broker.URL, Client: "cloud", Username: c.Broker.Username}))
		if c.Broker.PasswordFile != "" && c.Broker.Username == "" {
			k.Fault("broker.password_file", "a password without a username: name the account it belongs to")
		}
	}
	c.checkInflux(k)
	c.checkSites(k)
	c.checkPasswords(k)
}

func (c *Config) checkInflux(k *config.Checker) {
	if c.Influx.URL == "" {
		for key, value := range map[string]string{"org": c.Influx.Org, "bucket": c.Influx.Bucket, "token_file": c.Influx.TokenFile} {
			if value != "" {
				k.Fault("influx."+key, "says nothing without url: give it, or remove this")
			}
		}
		return
	}
	if u, err := url.Parse(c.Influx.URL); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		k.Fault("influx.url", "%.100q is not http://host:port or https://host:port", c.Influx.URL)
	}
	if c.Influx.Bucket == "" {
		k.Fault("influx", "give the bucket; on InfluxDB 1.8 it is database/retention-policy")
	}
}

// checkPasswords: the embedded broker lets in either everybody, which is for one machine only, or
// those who have a password.
func (c *Config) checkPasswords(k *config.Checker) {
	if c.Broker.Listen == "" || c.Broker.URL != "" {
		return
	}
	var without []int
	for i, s := range c.Sites {
		if s.PasswordFile == "" {
			without = append(without, i)
		}
	}
	if len(without) < len(c.Sites) {
		for _, i := range without {
			k.Fault(config.Path("sites", i, "id"), "other sites have a password_file: without one of its own this site can't connect")
		}
		return
	}
	host, _, err := net.SplitHostPort(c.Broker.Listen)
	if ip := net.ParseIP(cmp.Or(host, "0.0.0.0")); err == nil && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		k.Fault("broker.listen", "%s can be reached from outside and no site has a password_file: give each site one, or listen on 127.0.0.1", c.Broker.Listen)
	}
}

func (c *Config) checkSites(k *config.Checker) {
	seen := map[string]int{}
	keys := map[string]int{}
	for i, s := range c.Sites {
		at := func(key string) string { return config.Path("sites", i, key) }
		if err := wire.CheckSlug("site", s.ID); err != nil {
			k.Fault(at("id"), "%v", err)
		} else if first, ok := seen[s.ID]; ok {
			k.Fault(at("id"), "site id %q is taken (line %d): give each site its own", s.ID, k.Line(config.Path("sites", first, "id")))
		} else {
			seen[s.ID] = i
		}
		if _, err := chain.ParsePublicKey(s.Key); err != nil {
			k.Fault(at("key"), "%v: copy what edge -key prints at that site", err)
		} else if first, ok := keys[s.Key]; ok {
			k.Fault(at("key"), "this key is another site's (line %d): every edge has its own", k.Line(config.Path("sites", first, "key")))
		} else {
			keys[s.Key] = i
		}
	}
}
