package gateway

import (
	"errors"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"steelyard/firmware-bridge/catalog"
	"steelyard/firmware-bridge/modbus"
	"steelyard/firmware-bridge/serial"
	"steelyard/firmware-bridge/weighbridge"
	"steelyard/internal/config"
)

// Config is one gateway's file; configs/gateway.yaml shows every key.
type Config struct {
	Profiles string `yaml:"profiles"` // folder with indicators beside the built-in ones; empty: none
	Lines    []Line `yaml:"lines"`
	Buses    []Bus  `yaml:"buses"`
}

// Line is a serial line with an indicator, or with anything that sends bytes.
type Line struct {
	Device    string        `yaml:"device"` // its name in the log
	Line      serial.Config `yaml:"line"`
	Raw       *Listener     `yaml:"raw"`       // the bytes, for many readers; nil: not shared
	Registers *Registers    `yaml:"registers"` // the weight, for PLCs; nil: not published

	catalog.Output `yaml:",inline"` // what the indicator sends; needed for registers, and only for them

	ListenOnly bool `yaml:"listen_only"` // a polled indicator that is set to send by itself
}

// Listener says where others come in and who may.
type Listener struct {
	Listen  string   `yaml:"listen"`  // host:port; an address of one network card, or 0.0.0.0 for all
	Allow   []string `yaml:"allow"`   // addresses and networks of the peers; others get not one byte
	Clients int      `yaml:"clients"` // at a time; 8 if zero
}

// Registers says where a weight is published. The package comment draws the block.
type Registers struct {
	Listener `yaml:",inline"`
	Unit     uint8  `yaml:"unit"`    // unit id that it answers to; 1 if zero
	Address  uint16 `yaml:"address"` // of the block's first register, on the wire
}

// Bus is a Modbus line or device that is read for others.
type Bus struct {
	Name         string        `yaml:"name"`          // in the log
	Link         string        `yaml:"link"`          // rtu:///dev/…?baud=9600&format=8N1 with echo=1, dtr=on or rts=off where the adapter needs it, rtu-over-tcp://host:port, tcp://host:port
	Serve        Listener      `yaml:"serve"`         // where it is a Modbus TCP server
	Timeout      time.Duration `yaml:"timeout"`       // until a machine's reply begins; 500ms on a serial line, 1s on TCP
	Latency      time.Duration `yaml:"latency"`       // the latest that a reply ever comes; twice the time-out
	Gap          time.Duration `yaml:"gap"`           // silence between a reply and the next request; 3.5 characters
	ConnectPause time.Duration `yaml:"connect_pause"` // between connecting and the first request; none
	MaxAge       time.Duration `yaml:"max_age"`       // how old an answer may be; 0: always read anew
	Patience     time.Duration `yaml:"patience"`      // how long a client may wait for its turn; 2s if zero
	Units        []uint8       `yaml:"units"`         // unit ids that are passed on; empty: all
}

const longestAge = time.Hour

// Read reads and checks a gateway's file, every mistake at once.
func Read(path string) (Config, error) {
	data, err := config.ReadFile(path)
	if err != nil {
		return Config{}, err
	}
	return Load(path, data)
}

// Load is Read for a file that is in memory already; name is its path.
func Load(name string, data []byte) (Config, error) {
	var c Config
	var broken error // a model file in the folder that this file names
	err := config.Load(name, data, &c, func(k *config.Checker) { broken = c.check(k, filepath.Dir(name)) })
	return c, errors.Join(broken, err)
}

// checking is what one check of a file has seen so far.
type checking struct {
	*config.Checker
	known *catalog.Catalog
	seen  map[string]string // what is taken: path of the first
}

func (k checking) taken(what, name, path string) {
	if name == "" {
		return
	}
	key := what + "\x00" + name
	if first, ok := k.seen[key]; ok {
		k.Fault(path, "%s %q is used already (line %d)", what, name, k.Line(first))
		return
	}
	k.seen[key] = path
}

func (c *Config) check(checker *config.Checker, base string) error {
	if c.Profiles != "" && !filepath.IsAbs(c.Profiles) {
		c.Profiles = filepath.Join(base, c.Profiles)
	}
	known, err := catalog.Open(c.Profiles)
	if _, ok := errors.AsType[*catalog.FolderError](err); ok {
		checker.Fault("profiles", "%v", err)
		known, err = catalog.Open("")
	}
	if err != nil {
		return err
	}
	k := checking{checker, known, map[string]string{}}
	for i := range c.Lines {
		c.Lines[i].check(k, func(keys ...any) string { return config.Path(append([]any{"lines", i}, keys...)...) })
	}
	for i, b := range c.Buses {
		b.check(k, func(keys ...any) string { return config.Path(append([]any{"buses", i}, keys...)...) })
	}
	if len(c.Lines)+len(c.Buses) == 0 {
		k.Fault("lines", "neither lines nor buses: a gateway without them serves nothing")
	}
	return nil
}

func (l *Line) check(k checking, at func(...any) string) {
	if l.Device == "" {
		k.Fault(at("device"), "has no name")
	}
	k.taken("device", l.Device, at("device"))
	l.speak(k, at) // before the line is checked, whose speed and format it may fill in
	k.Faults(at("line"), l.Line.Check())
	k.taken("port", l.Line.Port, at("line", "port"))
	if l.Raw == nil && l.Registers == nil {
		k.Fault(at("raw"), "give raw, registers or both: a line that is not shared needs no gateway")
	}
	if l.Raw != nil {
		l.Raw.check(k, func(keys ...any) string { return at(append([]any{"raw"}, keys...)...) })
	}
	if l.Registers == nil {
		return
	}
	l.Registers.check(k, func(keys ...any) string { return at(append([]any{"registers"}, keys...)...) })
	if int(l.Registers.Address)+blockRegisters > 1<<16 {
		k.Fault(at("registers", "address"), "the block has %d registers and ends above 65535", blockRegisters)
	}
}

// speak resolves what the indicator sends.
func (l *Line) speak(k checking, at func(...any) string) {
	if l.Registers == nil {
		for _, key := range []string{"indicator", "dialect", "options"} {
			if k.Has(at(key)) {
				k.Fault(at(key), "is for registers, which are not given; remove it")
			}
		}
		return
	}
	model, _ := l.Resolve(&l.Line, k.known, k.Checker, at)
	if model != nil && !k.Has(at("options", "unit")) {
		l.Options.Unit = model.Unit
	}
}

// dialect of a checked line.
func (l Line) dialect() weighbridge.Dialect {
	d, _ := weighbridge.Find(l.Dialect)
	return d.For(l.Options)
}

func (b Bus) check(k checking, at func(...any) string) {
	if b.Name == "" {
		k.Fault(at("name"), "has no name")
	}
	k.taken("device", b.Name, at("name"))
	link, err := modbus.ParseLink(b.Link)
	if err != nil {
		k.Fault(at("link"), "%v", err)
	} else if link.Scheme == modbus.Serial {
		k.taken("port", link.Address, at("link"))
	} else {
		k.taken("host", link.Address, at("link"))
	}
	b.Serve.check(k, func(keys ...any) string { return at(append([]any{"serve"}, keys...)...) })
	for _, d := range []struct {
		key   string
		value time.Duration
		most  time.Duration
	}{{"timeout", b.Timeout, time.Minute}, {"latency", b.Latency, time.Minute}, {"gap", b.Gap, time.Minute},
		{"connect_pause", b.ConnectPause, time.Minute}, {"max_age", b.MaxAge, longestAge}, {"patience", b.Patience, time.Minute}} {
		if d.value < 0 || d.value > d.most {
			k.Fault(at(d.key), "%s is not between 0s and %s", d.value, d.most)
		}
	}
	if b.Latency != 0 && b.Latency < b.Timeout {
		k.Fault(at("latency"), "%s is shorter than the timeout of %s", b.Latency, b.Timeout)
	}
	seen := map[uint8]bool{}
	for i, u := range b.Units {
		switch {
		case seen[u]:
			k.Fault(at("units", i), "unit %d is there twice", u)
		case err == nil && link.Scheme != modbus.TCP && (u < 1 || u > 247):
			k.Fault(at("units", i), "unit %d: a serial line has the units 1 to 247", u)
		}
		seen[u] = true
	}
}

func (l Listener) check(k checking, at func(...any) string) {
	host, port, err := net.SplitHostPort(l.Listen)
	if n, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil || net.ParseIP(host) == nil {
		k.Fault(at("listen"), "%.60q: write address:port of one network card, like 192.168.10.5:1502, or 0.0.0.0:1502 for all", l.Listen)
	} else if n != 0 {
		k.taken("address", l.Listen, at("listen"))
	}
	if len(l.Allow) == 0 {
		k.Fault(at("allow"), "names no peer; write who may come, like [192.168.10.7, 192.168.20.0/24]")
	}
	for i, text := range l.Allow {
		if _, err := prefixes([]string{text}); err != nil {
			k.Fault(at("allow", i), "%v", err)
		}
	}
	if l.Clients < 0 || l.Clients > mostClients {
		k.Fault(at("clients"), "%d is not between 1 and %d", l.Clients, mostClients)
	}
}
