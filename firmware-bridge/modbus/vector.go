package modbus

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"steelyard/firmware-bridge/device"
)

// Vector is a request, the machine's reply and what it means: the proof that a profile reads what
// its sources say. Both frames are unit id, function and data, without the CRC.
type Vector struct {
	Request string            `yaml:"request"` // hexadecimal: unit id, function, first address and count
	Reply   string            `yaml:"reply"`   // hexadecimal: unit id, function, number of bytes and the registers
	Expect  map[string]string `yaml:"expect"`  // tag: value as text; "none" when the device has no value
}

// Registers gives the registers that the reply brings, checked as the bus checks a reply.
func (v Vector) Registers() (map[Register]uint16, error) {
	request, err := frame(v.Request)
	if err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	reply, err := frame(v.Reply)
	if err != nil {
		return nil, fmt.Errorf("reply: %w", err)
	}
	if len(request) != 6 || request[1] != 3 && request[1] != 4 {
		return nil, fmt.Errorf("request: %d bytes, a read of registers has 6: unit, 3 or 4, address, count", len(request))
	}
	from, count := binary.BigEndian.Uint16(request[2:]), int(binary.BigEndian.Uint16(request[4:]))
	switch {
	case count < 1 || count > 125 || int(from)+count > 65536:
		return nil, fmt.Errorf("request: %d registers from %d cannot be read at once", count, from)
	case len(reply) != 3+2*count || reply[0] != request[0] || reply[1] != request[1] || int(reply[2]) != 2*count:
		return nil, fmt.Errorf("reply: does not answer the request for %d registers", count)
	}
	registers := make(map[Register]uint16, count)
	for i := range count {
		registers[Register{request[1], from + uint16(i)}] = binary.BigEndian.Uint16(reply[3+2*i:])
	}
	return registers, nil
}

func frame(text string) ([]byte, error) {
	return hex.DecodeString(strings.ReplaceAll(text, " ", ""))
}

// checkVector runs one vector through the decoder.
func (p *Profile) checkVector(i int, report fault) {
	v := p.Tests[i]
	at := fmt.Sprintf("tests[%d]", i)
	registers, err := v.Registers()
	if err != nil {
		report(at, "%v", err)
		return
	}
	if len(v.Expect) == 0 {
		report(at+".expect", "expects nothing")
	}
	values := map[string]device.Value{}
	for _, value := range p.Decode(registers) {
		values[value.Tag] = value
	}
	for _, tag := range slices.Sorted(maps.Keys(v.Expect)) {
		value, known := values[tag]
		if !known {
			report(at+".expect", "%.60q: no such point", tag)
		} else if got, want := Text(value), v.Expect[tag]; got != want && (value.Text == "" || value.Number.String() != want) {
			report(at+".expect", "%s reads %q, expected %q %s", tag, got, want, value.Why)
		}
	}
}

// Text writes a value as the tests of a profile do: the word of an enumeration, a text, the
// decimal, or "none".
func Text(v device.Value) string {
	switch {
	case !v.OK:
		return "none"
	case v.Text != "":
		return v.Text
	}
	return v.Number.String()
}
