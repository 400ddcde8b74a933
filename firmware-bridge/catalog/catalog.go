// Package catalog is the list of machine models that are known, one file each.
//
// In: the profiles of configs/devices, or any other folder of such files.
// Out: a profile by its name.
// It promises that every profile it gives was checked whole and decodes its own vectors, and that
// a file's name is its profile's name.
// It does not open a line and knows no site.
package catalog

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"steelyard/firmware-bridge/modbus"
)

// Catalog holds profiles by name. It is never changed after Load.
type Catalog struct {
	profiles []*modbus.Profile // by name
}

// largest is more than any profile: a thousand points with a note each.
const largest = 1 << 20

// Load reads every *.yaml of the folder. The error holds the mistakes of all files. Files of
// operators may be loaded beside the shipped ones; a name that is there twice is a mistake.
func Load(folders ...fs.FS) (*Catalog, error) {
	c := new(Catalog)
	var wrong []error
	for _, folder := range folders {
		names, err := fs.Glob(folder, "*.yaml")
		wrong = append(wrong, err)
		for _, name := range names {
			p, err := load(folder, name)
			if err == nil && c.find(p.Name) != nil {
				err = fmt.Errorf("%s: profile %q is there twice; name the copy differently", name, p.Name)
			}
			if err != nil {
				wrong = append(wrong, err)
				continue
			}
			c.profiles = append(c.profiles, p)
		}
	}
	if err := errors.Join(wrong...); err != nil {
		return nil, err
	}
	slices.SortFunc(c.profiles, func(a, b *modbus.Profile) int { return cmp.Compare(a.Name, b.Name) })
	return c, nil
}

func load(folder fs.FS, name string) (*modbus.Profile, error) {
	file, err := folder.Open(name)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(file, largest+1))
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(data) > largest {
		return nil, fmt.Errorf("%s: is larger than %d bytes and no profile", name, largest)
	}
	p, err := modbus.Load(name, data)
	if err != nil {
		return nil, err
	}
	if base := strings.TrimSuffix(path.Base(name), ".yaml"); base != p.Name {
		return nil, fmt.Errorf("%s: holds profile %q; name the file %s.yaml", name, p.Name, p.Name)
	}
	return p, nil
}

func (c *Catalog) find(name string) *modbus.Profile {
	for _, p := range c.profiles {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// Find gives the profile of that name.
func (c *Catalog) Find(name string) (*modbus.Profile, error) {
	if p := c.find(name); p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("device profile %.60q: not in the catalogue, which has %s", name, strings.Join(c.Names(), ", "))
}

// Names of all profiles, sorted.
func (c *Catalog) Names() []string {
	names := make([]string, len(c.profiles))
	for i, p := range c.profiles {
		names[i] = p.Name
	}
	return names
}

// Profiles in the order of their names.
func (c *Catalog) Profiles() []*modbus.Profile { return slices.Clone(c.profiles) }
