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

// LoadModel is Load of a file that a catalogue offers to others: it must also say for which plate it
// is and how the machine is reached first, and prove itself with a frame.
func LoadModel(name string, data []byte) (*Profile, error) {
	p := new(Profile)
	if err := config.Load(name, data, p, func(c *config.Checker) {
		p.checkModel(c.Fault)
		p.compile(c.Fault)
	}); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *Profile) checkModel(report fault) {
	if p.Maker == "" {
		report("maker", "is missing: write it as on the plate")
	}
	if p.Model == "" {
		report("model", "is missing: write it as on the plate")
	}
	switch t := p.Transport; {
	case t.RTU == nil && t.Port == 0:
		report("transport", "is missing: say what to try first, as in {unit: 1, rtu: {baud: 9600, format: 8N1}} or {unit: 1, port: 502}")
	case t.RTU != nil && (t.Unit < 1 || t.Unit > 247):
		report("transport.unit", "%d: a serial line has the units 1 to 247", t.Unit)
	}
	if len(p.Tests) == 0 {
		report("tests", "a map without a frame is not proven: give one with what it means")
	}
}
