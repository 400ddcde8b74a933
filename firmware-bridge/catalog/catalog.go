// Package catalog finds what is known of a machine model by its name: [Open] reads the files, one a model.
//
// In: the files of configs/devices, or any other folder of such files. The first key of a file says
// what it describes: "profile" a machine on Modbus, "indicator" a weighing indicator on a serial
// line. And what the file of a site says about one of its indicators.
// Out: a profile or an indicator by its name; what that one indicator sends; or every mistake, each
// with file, line and column.
// It promises that everything it returns was checked whole and reads its own vectors and frames as
// its file says, and that a file's name is its model's name.
// It does not open a line and keeps nothing of a site.
package catalog

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"steelyard/configs"
	"steelyard/firmware-bridge/modbus"
)

// Catalog holds models by name. It is never changed after Load.
type Catalog struct {
	profiles   []*modbus.Profile // by name
	indicators []*Indicator      // by name
}

// largest is more than any model: a thousand points with a note each.
const largest = 1 << 20

// Open is Load of the built-in models and of those in an operator's own folder, if one is named.
func Open(folder string) (*Catalog, error) {
	shipped, err := fs.Sub(configs.Files, "devices")
	if err != nil {
		return nil, err
	}
	if folder == "" {
		return Load(shipped)
	}
	if _, err := os.ReadDir(folder); err != nil {
		return nil, &FolderError{Folder: folder, Err: err}
	}
	return Load(shipped, os.DirFS(folder))
}

// FolderError reports that a folder of models can't be looked into: nothing is wrong with a model.
type FolderError struct {
	Folder string
	Err    error
}

func (e *FolderError) Error() string {
	cause := e.Err
	if p, ok := errors.AsType[*fs.PathError](cause); ok {
		cause = p.Err
	}
	return fmt.Sprintf("folder %s: %v; name the folder that holds your profiles and indicators", e.Folder, cause)
}

func (e *FolderError) Unwrap() error { return e.Err }

// Load reads every *.yaml of the folders. The error holds the mistakes of all files. Files of
// operators may be loaded beside the shipped ones; a name that is there twice is a mistake.
func Load(folders ...fs.FS) (*Catalog, error) {
	c := new(Catalog)
	var wrong []error
	for _, folder := range folders {
		names, err := fs.Glob(folder, "*.yaml")
		wrong = append(wrong, err)
		for _, name := range names {
			wrong = append(wrong, c.add(folder, name))
		}
	}
	if err := errors.Join(wrong...); err != nil {
		return nil, err
	}
	slices.SortFunc(c.profiles, func(a, b *modbus.Profile) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(c.indicators, func(a, b *Indicator) int { return cmp.Compare(a.Name, b.Name) })
	return c, nil
}

func (c *Catalog) add(folder fs.FS, name string) error {
	file, err := folder.Open(name)
	if err != nil {
		return err
	}
	data, err := io.ReadAll(io.LimitReader(file, largest+1))
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	m, err := Read(name, data)
	if err != nil {
		return err
	}
	if c.profile(m.Name()) != nil || c.indicator(m.Name()) != nil {
		return m.mistake(name, fmt.Sprintf("%q is there twice; name the copy differently", m.Name()))
	}
	if m.Profile != nil {
		c.profiles = append(c.profiles, m.Profile)
	} else {
		c.indicators = append(c.indicators, m.Indicator)
	}
	return nil
}

func (c *Catalog) profile(name string) *modbus.Profile {
	for _, p := range c.profiles {
		if p.Name == name {
			return p
		}
	}
	return nil
}

func (c *Catalog) indicator(name string) *Indicator {
	for _, i := range c.indicators {
		if i.Name == name {
			return i
		}
	}
	return nil
}

// Find returns the profile of that name.
func (c *Catalog) Find(name string) (*modbus.Profile, error) {
	if p := c.profile(name); p != nil {
		return p, nil
	}
	if c.indicator(name) != nil {
		return nil, fmt.Errorf("device profile %q: is an indicator on a serial line; name it as indicator of a weighbridge", name)
	}
	return nil, fmt.Errorf("device profile %.60q: not in the catalogue, which has %s", name, strings.Join(c.Names(), ", "))
}

// FindIndicator returns the indicator of that name.
func (c *Catalog) FindIndicator(name string) (*Indicator, error) {
	if i := c.indicator(name); i != nil {
		return i, nil
	}
	if c.profile(name) != nil {
		return nil, fmt.Errorf("indicator %q: is a machine on Modbus; name it as profile of a machine on a bus", name)
	}
	names := make([]string, len(c.indicators))
	for n, i := range c.indicators {
		names[n] = i.Name
	}
	return nil, fmt.Errorf("indicator %.60q: not in the catalogue, which has %s", name, strings.Join(names, ", "))
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

// Indicators in the order of their names.
func (c *Catalog) Indicators() []*Indicator { return slices.Clone(c.indicators) }
