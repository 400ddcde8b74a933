package wire

import "fmt"

// Machines are the names that people have given to the machines of a site. They are retained on their
// topic and said once in a connection.
type Machines struct {
	V        int           `json:"v"`
	Site     string        `json:"site"`
	Machines []MachineName `json:"machines"` // those that have a name; at most MaxMachines
}

// MachineName is what people call a device.
type MachineName struct {
	Device  string `json:"device"`
	Name    string `json:"name"`
	English string `json:"english"` // empty where it has none
}

// MaxMachines is how many of the longest names fit into a message.
const MaxMachines = 200

// Encode writes the message; V is set.
func (m Machines) Encode() []byte { m.V = Version; return mustEncode(m) }

// DecodeMachines reads the names of machines.
func DecodeMachines(payload []byte) (m Machines, err error) {
	if err := decode("machines", payload, &m); err != nil {
		return m, err
	}
	if len(m.Machines) > MaxMachines {
		return m, fmt.Errorf("machines: %d names, more than %d", len(m.Machines), MaxMachines)
	}
	return m, nil
}
