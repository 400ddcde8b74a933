package weighbridge

import (
	"fmt"
	"slices"
	"strings"
)

// Request is something that an indicator may be asked. All of them read; Store makes a legal
// indicator weigh and store, and is therefore never polled. There is no request that zeroes,
// tares, clears, erases or resets, and Encode builds nothing from free text.
type Request string

// The requests. Which a dialect knows is in its list.
const (
	Handshake    Request = "handshake"
	ReadWeight   Request = "weight"   // the displayed weight, at once
	ReadStable   Request = "stable"   // the displayed weight when it is stable: blocks the line for up to tens of seconds
	ReadRepeated Request = "repeated" // the displayed weight, again and again
	ReadGross    Request = "gross"
	ReadNet      Request = "net"
	ReadTare     Request = "tare"
	Store        Request = "store" // weigh, store in the indicator's alibi memory, answer
)

// Requests lists what Encode can encode. A Yaohua indicator is asked for tare and net only when
// Options.TareIs names the command, because makers have swapped the two.
func (d Dialect) Requests() []Request { return slices.Clone(d.requests) }

// Encode returns the bytes that ask for r.
func (d Dialect) Encode(r Request, o Options) ([]byte, error) {
	if err := d.Check(o); err != nil {
		return nil, err
	}
	if !slices.Contains(d.requests, r) {
		return nil, fmt.Errorf("weighbridge dialect %s: cannot ask for %.40q; it knows %q", d.Name, r, d.requests)
	}
	frame := d.encode(r, o)
	if frame == nil {
		return nil, fmt.Errorf("weighbridge dialect %s: %s needs option tare_is: C and D are swapped between models, so prove with a known tare which one reads it", d.Name, r)
	}
	return frame, nil
}

// encodeYaohua writes 02 address command XOR XOR 03. Commands E to I read on some models and
// tare, zero or erase on others (XK3190-A9+ manual p. 11 against Keli K9-R manual pp. 9-10), so
// they do not exist here; neither do the A22's '0', 'T' and 'R'.
func encodeYaohua(r Request, o Options) []byte {
	var command byte
	switch r {
	case Handshake:
		command = 'A'
	case ReadGross:
		command = 'B'
	case ReadTare, ReadNet:
		if o.TareIs == "" {
			return nil
		}
		if command = 'C'; (r == ReadTare) != (o.TareIs == "C") {
			command = 'D'
		}
	}
	address := yaohuaAddress(o)
	return append(appendHex([]byte{0x02, address, command}, address^command), 0x03)
}

func encodeSICS(r Request, _ Options) []byte {
	switch r {
	case ReadStable:
		return []byte("S\r\n")
	case ReadRepeated:
		return []byte("SIR\r\n")
	case ReadTare:
		return []byte("TA\r\n")
	}
	return []byte("SI\r\n")
}

func encodeSMA(Request, Options) []byte { return []byte("\nW\r") }

func encode8217(Request, Options) []byte { return []byte("W") }

func encodeSystec(Request, Options) []byte { return []byte("<RN>") }

// encodeDini writes the command that asks for the live string, or PID, which weighs and stores.
// ALRD, which reads a stored weighing back, does not exist here: the pages that were read say
// neither how it names the record nor how the answer is laid out, so it could be neither formed
// nor understood. Z, ZERO, T, TARE and C act.
func encodeDini(live string) func(Request, Options) []byte {
	return func(r Request, o Options) []byte {
		command := live
		if r == Store {
			command = diniStored
		}
		if o.Address == 0 {
			return []byte(command + "\r\n")
		}
		return fmt.Appendf(nil, "%02d%s\r\n", o.Address, command)
	}
}

func encodeLaumas(r Request, o Options) []byte {
	what := byte('t')
	if r == ReadNet {
		what = 'n'
	}
	frame := append(fmt.Appendf(nil, "$%02d", max(1, o.Address)), what)
	return append(appendHex(frame, xorSum.of(frame[1:])), '\r')
}

// question is bytes with which some maker's indicators are asked for the weight.
type question struct {
	bytes string
	cites string
	again bool // it differs from one before by its address alone
}

// questions are all that an indicator with a layout of its own may be asked. Each reads the display and does
// nothing else on the indicators of its source. None prints either: a printing is stored by some. Those that wait
// for a rest, S and SU, are not here: asked again meanwhile, a scale would answer ever later.
func questions() []question {
	all := []question{
		{"W", "Toledo 8217; Mettler Toledo DIVA manual p. 45", false},
		{"R", "Yaohua A12+SS: read; Selleton SL-7515 manual p. 12", false},
		{"SI\r\n", "MT-SICS: the weight at once; METTLER AL-IC balance manual", false},
		{"RW\r\n", "A&D AD-4402 manual: the displayed weight", false},
		{"RG\r\n", "A&D AD-4402 manual: the gross weight", false},
		{"RN\r\n", "A&D AD-4402 manual: the net weight", false},
		{"READ\r\n", "Dini Argeo DGT4X manual pp. 11-58", false},
		{"\nW\r", "SMA SCP-0499", false},
		{"Q\r\n", "A&D HV-G, HW-G manual p. 71: the current weighing data", false},
		{"SUI\r\n", "RADWAG PUE C41H manual p. 143: the result at once in the current unit", false},
		{"$", "Gram K3P manual p. 37: weight request, answered in format PC0", false},
		{"W\r", "Adam Equipment MDW manual p. 15", false},
		{"\x05", "DIGI DS-470 manual p. 18: data is sent on ENQ", false},
		{"20050026:\r\n", "Rinstrum 003R-618-310 p. 12: the gross weight as text", false},
	}
	for id := 1; id <= 99; id++ {
		all = append(all, question{fmt.Sprintf("%02dRW\r\n", id), "CAS CI-400 manual p. 106: weight data of a device by its number", id > 1})
	}
	for address := 1; address <= 26; address++ {
		ask := encodeYaohua(ReadGross, Options{Address: address})
		if strings.ContainsAny(string(ask), actingLetters) {
			continue
		}
		all = append(all, question{string(ask), "XK3190-A9+ manual p. 11: gross of an address", address > 1})
	}
	return all
}

// actingLetters make some indicator tare, zero, clear or print, whatever they stand for elsewhere.
const actingLetters = "TtZzCcPp"

// CheckRequest refuses bytes that are not one of the closed list of questions.
func CheckRequest(request []byte) error {
	if slices.ContainsFunc(questions(), func(q question) bool { return q.bytes == string(request) }) {
		return nil
	}
	return fmt.Errorf("request % X: not one of the questions that are known to read only: %s", request, questionList())
}

// questionList names them for a message; those that differ by their address alone are named once.
func questionList() string {
	var all []string
	for _, q := range questions() {
		if !q.again {
			all = append(all, fmt.Sprintf("% X (%q)", q.bytes, q.bytes))
		}
	}
	return strings.Join(all, ", ") + "; the last two of other addresses as well"
}
