package modbus

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"steelyard/firmware-bridge/device"
	"steelyard/internal/unit"
)

// Vector is a request, the machine's reply and what it means: the proof that a profile reads what
// its sources say. Both frames are unit id, function and data, without the CRC.
type Vector struct {
	Request string            `yaml:"request"` // hexadecimal: unit id, function, first address and count
	Reply   string            `yaml:"reply"`   // hexadecimal: unit id, function, number of bytes and the registers, or the coils or inputs packed into bytes
	Expect  map[string]string `yaml:"expect"`  // tag: value as text; "none" when the device has no value
}

// Registers returns the registers that the reply brings, checked as the bus checks a reply.
func (v Vector) Registers() (map[Register]uint16, error) {
	request, err := frame(v.Request)
	if err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	reply, err := frame(v.Reply)
	if err != nil {
		return nil, fmt.Errorf("reply: %w", err)
	}
	if len(request) != 6 || request[1] < 1 || request[1] > 4 {
		return nil, fmt.Errorf("request: %d bytes, a read has 6: unit, function 1 to 4, address, count", len(request))
	}
	q := Question{Unit: request[0], FC: request[1], From: binary.BigEndian.Uint16(request[2:]), Count: int(binary.BigEndian.Uint16(request[4:]))}
	switch bytes := q.request(0).bytes(); {
	case q.Check() != nil:
		return nil, fmt.Errorf("request: %d from %d cannot be read at once", q.Count, q.From)
	case len(reply) != 3+bytes || reply[0] != request[0] || reply[1] != request[1] || int(reply[2]) != bytes:
		what := "registers"
		if isBits(q.FC) {
			what = "bits"
		}
		return nil, fmt.Errorf("reply: does not answer the request for %d %s", q.Count, what)
	}
	registers := make(map[Register]uint16, q.Count)
	for i, w := range q.Words(reply[3:]) {
		registers[Register{q.FC, q.From + uint16(i)}] = w
	}
	return registers, nil
}

// Words takes the data of an answer apart: registers as they came, or 0 and 1 for each coil or input.
// The data must have the length that the question asks for.
func (q Question) Words(data []byte) []uint16 {
	words := make([]uint16, q.Count)
	for i := range words {
		if isBits(q.FC) {
			words[i] = uint16(data[i/8] >> (i % 8) & 1)
		} else {
			words[i] = binary.BigEndian.Uint16(data[2*i:])
		}
	}
	return words
}

func (q Question) request(timeout time.Duration) request {
	return request{unit: q.Unit, fc: q.FC, from: q.From, count: q.Count, timeout: timeout}
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
		} else if got, want := Text(value), v.Expect[tag]; got != want && !(value.OK && same(value.Number, want)) {
			report(at+".expect", "%s reads %q, expected %q %s", tag, got, want, value.Why)
		}
	}
}

// same reports whether a text is a number, however many zeros it ends with.
func same(n unit.Decimal, text string) bool {
	want, err := unit.ParseDecimal(text)
	if err == nil {
		want.Coef = -want.Coef
		want, err = n.Plus(want)
	}
	return err == nil && want.Coef == 0
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
