// Package site reads and checks what a site's file says about its machines: [Load].
//
// In: a site's file, edge.yaml. Out: its weighbridges by the lines they are on, its buses and the
// machines upon them, each with all that its model's file says; or every mistake at once, with
// file, line and column.
// It promises that what it lets pass can be opened as it stands: no port, address, unit id or name
// is taken twice, and each indicator and each machine is one that this program can read.
// It does not open a line. The other half of the file (the site's name, its data, the way to the
// city, and which material a machine works) is the edge's, which builds its configuration upon this
// one: here those keys are known by name only.
package site

import (
	"errors"
	"path/filepath"
	"reflect"
	"slices"

	"steelyard/firmware-bridge/catalog"
	"steelyard/internal/config"
	"steelyard/internal/wire"
)

// Plant is the machines of a site. configs/edge.yaml shows every key.
type Plant struct {
	Profiles     string        `yaml:"profiles"` // folder with profiles and indicators beside the built-in ones; empty: none
	Weighbridges []Weighbridge `yaml:"weighbridges"`
	Buses        []Bus         `yaml:"buses"`
}

// unread stands for a value that is read elsewhere, whatever it holds.
type unread struct{}

func (*unread) UnmarshalYAML(func(any) error) error { return nil }

// edgeKeys are the keys of the edge's half. A test of edge/agent holds them against its Config.
type edgeKeys struct {
	Site      unread `yaml:"site"`
	Name      unread `yaml:"name"`
	English   unread `yaml:"english"`
	Data      unread `yaml:"data"`
	Listen    unread `yaml:"listen"`
	Hosts     unread `yaml:"hosts"`
	Materials unread `yaml:"materials"`
	Clock     unread `yaml:"clock"`
	Cloud     unread `yaml:"cloud"`
	Journal   unread `yaml:"journal"`
}

// EdgeKeys names the keys of a site's file whose values Load does not look at.
func EdgeKeys() []string {
	var keys []string
	for f := range reflect.TypeFor[edgeKeys]().Fields() {
		keys = append(keys, f.Tag.Get("yaml"))
	}
	return keys
}

// Load reads and checks the machines of a whole site's file, whose path is name. The error holds the
// mistakes of this file and of the model files in its folder of profiles.
func Load(name string, data []byte) (Plant, error) {
	var file struct {
		edgeKeys
		Plant
	}
	var broken error
	err := config.Load(name, data, &file, func(k *config.Checker) { broken = file.Resolve(k, filepath.Dir(name)) })
	return file.Plant, errors.Join(broken, err)
}

// Resolve reports every mistake to k and fills in what the file leaves to models and defaults. Paths
// count from base. The error tells of broken model files in the folder of profiles; nothing else
// was checked then, for every name might be one of theirs.
func (p *Plant) Resolve(k *config.Checker, base string) error {
	if p.Profiles != "" && !filepath.IsAbs(p.Profiles) {
		p.Profiles = filepath.Join(base, p.Profiles)
	}
	known, err := catalog.Open(p.Profiles)
	if _, ok := errors.AsType[*catalog.FolderError](err); ok {
		k.Fault("profiles", "%v", err)
		known, err = catalog.Open("")
	}
	if err != nil {
		return err
	}
	c := checking{k, known, map[string]string{}, map[string][]claim{}}
	for i := range p.Weighbridges {
		p.Weighbridges[i].check(c, below("weighbridges", i))
	}
	devices := len(p.Weighbridges)
	for i := range p.Buses {
		p.Buses[i].check(c, below("buses", i))
		devices += len(p.Buses[i].Machines)
	}
	if devices == 0 {
		k.Fault("weighbridges", "no weighbridge and no machine: an agent without devices has nothing to do")
	}
	return nil
}

// checking is what one check has seen so far.
type checking struct {
	*config.Checker
	known *catalog.Catalog
	seen  map[string]string  // what is taken: path of the first
	lines map[string][]claim // who is on a line, by its port
}

// place makes the paths below one place of the file.
type place func(parts ...any) string

func below(parts ...any) place {
	return func(more ...any) string { return config.Path(append(slices.Clone(parts), more...)...) }
}

// taken reports a name that another path has already; ok is true when it is free.
func (k checking) taken(what, name, path string) (ok bool) {
	key := what + "\x00" + name
	if first, ok := k.seen[key]; ok {
		k.Fault(path, "%s %q is used already (line %d)", what, name, k.Line(first))
		return false
	}
	k.seen[key] = path
	return true
}

func (k checking) device(name, path string) {
	if err := wire.CheckSlug("device", name); err != nil {
		k.Fault(path, "%v", err)
		return
	}
	k.taken("device", name, path)
}
