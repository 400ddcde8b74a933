package modbus

import "steelyard/internal/config"

// Load reads a profile and makes it ready. The error holds every mistake of the file with line
// and column. The profile's own vectors are run: one that loads decodes as its file claims.
func Load(name string, data []byte) (*Profile, error) {
	p := new(Profile)
	if err := config.Load(name, data, p, func(c *config.Checker) { p.compile(c.Fault) }); err != nil {
		return nil, err
	}
	return p, nil
}
