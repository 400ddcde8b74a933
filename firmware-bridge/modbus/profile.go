package modbus

import (
	"time"

	"steelyard/internal/unit"
)

// Profile describes one machine model: which registers it has and what they mean. It holds no
// fact of a site: port, unit id and names of machines are elsewhere. A Profile that Load returned
// is never changed again and may be shared by any number of buses.
type Profile struct {
	Name        string     `yaml:"profile"`      // slug: "laumas-tlb"
	Maker       string     `yaml:"maker"`        // as on the plate
	Model       string     `yaml:"model"`        // the models this map is for
	Status      string     `yaml:"status"`       // manual: from paper only; bench: seen on a table; field: seen on a site; template: an example to copy, by which find recognises no machine
	Notes       string     `yaml:"notes"`        // what a fitter must know before trusting it
	Sources     []Source   `yaml:"sources"`      // where each fact was read
	Transport   Transport  `yaml:"transport"`    // what to try first
	AddressBase *uint32    `yaml:"address_base"` // 0, 1, 30001, 40001, 300001 or 400001: what the manual calls the first register. With the last four, coils count from 1, discrete inputs from 10001 or 100001, and input registers may count from 30001 or 300001 beside holding registers from 40001 or 400001
	Limits      Limits     `yaml:"limits"`       // what the machine bears
	Reads       []Read     `yaml:"reads"`        // the tested blocks; without them the planner makes its own
	Points      []Point    `yaml:"points"`       // the values
	Heartbeat   *Heartbeat `yaml:"heartbeat"`    // a register that must keep moving
	Totaliser   *Totaliser `yaml:"totaliser"`    // the register that counts tonnes
	Tests       []Vector   `yaml:"tests"`        // frames and what they mean, checked at each load

	blocks  []block
	decoder []decoder
	byName  map[string]int // index into decoder
}

// Source is a document or a page that a fact was read from.
type Source struct {
	Doc  string `yaml:"doc"`  // title and revision
	Page string `yaml:"page"` // where in it; empty for a page of the web
}

// Transport is what a fitter tries first: the maker's defaults where the sources name them, else
// unit 1 at 9600 8N1. The site's configuration decides.
type Transport struct {
	Unit uint8  `yaml:"unit"` // unit id the machine leaves the factory with
	Port uint16 `yaml:"port"` // TCP port; zero when it has no Ethernet
	RTU  *RTU   `yaml:"rtu"`  // nil when it has no serial line
}

// RTU is a serial line's setting.
type RTU struct {
	Baud   int    `yaml:"baud"`   // bits a second
	Format string `yaml:"format"` // "8N1", "8E1", "8N2"
}

// Limits is what the machine bears. Zero means the default given beside each field.
type Limits struct {
	MaxRegisters int `yaml:"max_registers"` // in one read; 125
	MaxBits      int `yaml:"max_bits"`      // coils or discrete inputs in one read; 2000
	Hole         int `yaml:"hole"`          // undefined registers, coils or inputs that the planner may read across; 0
	GapMS        int `yaml:"gap_ms"`        // silence between a reply and the next request; 0 beyond 3.5 characters
	TimeoutMS    int `yaml:"timeout_ms"`    // until the reply begins; 500 on a serial line, 1000 on TCP
	LatencyMS    int `yaml:"latency_ms"`    // the latest that a reply ever comes; twice the time-out

	OnePointPerRead bool `yaml:"one_point_per_read"` // the machine answers rightly only when each value is asked for by itself; points of one register still come together
	CloseAfterPoll  bool `yaml:"close_after_poll"`   // on TCP the connection is closed after each poll, for machines that bear only short ones; nothing on a serial line
}

// Read is one block that is read with one request.
type Read struct {
	FC    uint8  `yaml:"fc"`    // 1 coils, 2 discrete inputs, 3 holding registers, 4 input registers
	From  uint32 `yaml:"from"`  // as printed in the manual
	Count int    `yaml:"count"` // registers, coils or inputs
	Every string `yaml:"every"` // fast (default): each poll; slow: every tenth period, between the polls
	Whole bool   `yaml:"whole"` // never split: the values belong to one moment
}

// Classes of reads. Slow ones give way to every poll of the line that is due; see Bus.
const (
	Fast = "fast"
	Slow = "slow"

	slowEvery = 10 // periods
)

// Point is one value of the machine.
type Point struct {
	Name     string           `yaml:"name"`       // tag: "motor_current"
	At       uint32           `yaml:"at"`         // as printed in the manual
	FC       uint8            `yaml:"fc"`         // only where no block says it: 1 coils, 2 discrete inputs, 3 (default) holding registers, 4 input registers
	Every    string           `yaml:"every"`      // only where no block says it
	Type     string           `yaml:"type"`       // integers u16 s16 u32 s32 u48 s48 u64 s64, floats f32 f64, packed decimals bcd16 bcd32 bcd48 bcd64, registers of two, three or four decimal digits base100 base1000 base10000, words of bits, a text string, a number written as text digits; u16 when bit(s) are given and of a coil or an input, which is 0 or 1
	Length   int              `yaml:"length"`     // registers of a string, digits or base…; of bits also coils or inputs, the first is bit 0
	Order    string           `yaml:"order"`      // ABCD (default) CDAB BADC DCBA: the bytes as they arrive
	Bit      *int             `yaml:"bit"`        // one bit, 0 is the least significant of the ordered value
	Bits     []int            `yaml:"bits"`       // [first, last], inclusive
	Inverted bool             `yaml:"inverted"`   // of a bit, a coil or an input: 0 means yes, as of a contact that opens on a fault
	Scale    string           `yaml:"scale"`      // decimal factor, "1" when empty; below 0 where the machine counts the other way
	Offset   string           `yaml:"offset"`     // decimal, added after the factor
	Unit     string           `yaml:"unit"`       // of the scaled value
	Quantity string           `yaml:"quantity"`   // closed vocabulary, see Quantities
	Enum     map[int64]string `yaml:"enum"`       // words of a state; for type bits the words of single bits
	Sentinel []int64          `yaml:"sentinels"`  // raw values that mean "no value"
	Constant *int64           `yaml:"constant"`   // the raw value it always has: proves device and address base
	SignFrom *BitOf           `yaml:"sign_from"`  // the value is a magnitude, this bit its minus sign
	Valid    *BitOf           `yaml:"valid_from"` // no value while this bit is 0, as of a device that says when its data are valid

	Decimals   *int     `yaml:"decimals"`    // of a float: digits after the point that it is rounded to. A float that tonnes rest on must say it, and is a value only below the number up to which it is exact to that digit: f32 with 3 decimals below 8192
	ScaleFrom  string   `yaml:"scale_from"`  // names the point that holds the number of decimals; one with a sign (s16) holds the power of ten, as in SunSpec: -2 is two decimals, 1 is times ten; one with an enum, the table of the machine, has the factor as its word: {0: "1", 1: "0.1"}
	FactorFrom []string `yaml:"factor_from"` // names the points by whose values this one is multiplied, as by the ratios of transformers
	Plus       string   `yaml:"plus"`        // names the point whose value is added, in the same unit and read with the same request, as of tonnes and kilograms in registers of their own; without a sign of its own it has that of this value
	UnitFrom   string   `yaml:"unit_from"`   // names the enumeration whose word is the unit
	Note       string   `yaml:"note"`        // what is uncertain about this row
}

// BitOf is one bit of another point.
type BitOf struct {
	Point string `yaml:"point"` // name of the other point, read in the same poll
	Bit   int    `yaml:"bit"`   // 0 is the least significant
}

// Heartbeat is a register that moves while the machine's program runs.
type Heartbeat struct {
	Point string        `yaml:"point"` // name of the point, read at each poll
	Limit time.Duration `yaml:"limit"` // standing longer than this, the values are of the past
}

// Totaliser says how the register that counts tonnes counts: value modulo Modulus counts of Step.
type Totaliser struct {
	Point   string    `yaml:"point"`   // name of the point, whose quantity is totaliser.mass
	Modulus int64     `yaml:"modulus"` // counts until it wraps
	Step    unit.Mass `yaml:"step"`    // g per count
}

// Block is one read in wire addresses: what the bus sends, and what a simulator must serve.
type Block struct {
	FC    uint8
	From  uint16
	Count int
	Every string
	Whole bool
}

// Cost is what reading the block costs on a wire.
func (b Block) Cost(w Wire) time.Duration {
	w.Bits = isBits(b.FC)
	return w.Cost(b.Count)
}

// Register names one register, coil or input: 1 is the table of the coils, 2 of the discrete inputs,
// 3 of the holding and 4 of the input registers. A coil or an input holds 0 or 1.
type Register struct {
	FC      uint8
	Address uint16 // on the wire, from 0
}

// Blocks returns the reads in the order in which they are made: those with weights first, the slow
// ones last.
func (p *Profile) Blocks() []Block {
	all := make([]Block, len(p.blocks))
	for i, b := range p.blocks {
		all[i] = b.Block
	}
	return all
}

// Timeout is how long the machine may take before its reply begins.
func (p *Profile) Timeout(serial bool) time.Duration {
	switch {
	case p.Limits.TimeoutMS > 0:
		return time.Duration(p.Limits.TimeoutMS) * time.Millisecond
	case serial:
		return 500 * time.Millisecond
	}
	return time.Second
}

// latency is the age after which no reply to a request can still be on its way.
func (p *Profile) latency(timeout time.Duration) time.Duration {
	if p.Limits.LatencyMS > 0 {
		return time.Duration(p.Limits.LatencyMS) * time.Millisecond
	}
	return 2 * timeout
}

// Tags returns the names of the points in the order of the file.
func (p *Profile) Tags() []string {
	names := make([]string, len(p.Points))
	for i, point := range p.Points {
		names[i] = point.Name
	}
	return names
}
