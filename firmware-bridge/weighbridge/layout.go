package weighbridge

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// Layout describes the frames of an indicator that has no dialect of its own, and most of those
// that have one. It is what an operator writes in a device file.
//
// Positions count from 1 at the first byte of the frame, as manuals do; negative positions count
// back from the last byte, which is -1. A position of 0 means that the frame has no such field.
type Layout struct {
	Mask     uint8 `yaml:"mask"`      // 0x7F on a line that carries parity in bit 7; 0 means 0xFF
	Start    Bytes `yaml:"start"`     // how each frame begins; empty: where the one before ended
	End      Bytes `yaml:"end"`       // how each frame ends
	Length   int   `yaml:"length"`    // bytes from Start to End, both included; 0: as far as End
	OrLength int   `yaml:"or_length"` // a second length, of the form without or with a point
	Between  Bytes `yaml:"between"`   // bytes that may stand between frames and mean nothing

	// NextStartEnds is for formats without an end: the start of the next frame proves that this
	// one has neither lost nor gained a byte. Needs Start and Length, excludes End.
	NextStartEnds bool `yaml:"next_start_ends"`

	Checksum Checksum          `yaml:"checksum"`
	Means    string            `yaml:"means"`  // what every frame of this layout says, as "gross"
	Sign     Sign              `yaml:"sign"`   // a sign with a place of its own
	Digits   Digits            `yaml:"digits"` // the weight
	Decimals Decimals          `yaml:"decimals"`
	Tare     Digits            `yaml:"tare"`  // a tare with as many decimals as the weight
	Gross    Digits            `yaml:"gross"` // a gross weight beside a net one
	Twin     Span              `yaml:"twin"`  // must repeat Digits byte for byte
	Codes    []Code            `yaml:"codes"`
	Bits     []Bit             `yaml:"bits"`
	Unit     UnitField         `yaml:"unit"`
	Texts    map[string]string `yaml:"texts"`      // what stands for digits, without blanks → status
	Messages map[string]string `yaml:"messages"`   // what stands for a whole frame of any length, without blanks → status
	BlankIs  string            `yaml:"blank_is"`   // status of a weight field of blanks; nothing if empty
	DashesIs string            `yaml:"dashes_are"` // status of a weight field of dashes; nothing if empty
}

// Checksum says where a checksum stands and what it covers.
type Checksum struct {
	Kind     string `yaml:"kind"`     // xor, sum8, neg8, mt7 or none; none if empty
	From     int    `yaml:"from"`     // first byte covered
	To       int    `yaml:"to"`       // last byte covered
	At       int    `yaml:"at"`       // first byte of the checksum
	Encoding string `yaml:"encoding"` // raw, nibble or hex; raw if empty

	// AfterEnd is for a raw checksum behind the end of the frame (Toledo). It covers everything
	// before it; a line feed that some models send before it belongs to the frame.
	AfterEnd bool `yaml:"after_end"`
}

// Sign is a sign with its own place. A character in neither set rejects the frame.
type Sign struct {
	At    int    `yaml:"at"`    // byte
	Plus  string `yaml:"plus"`  // characters that mean positive
	Minus string `yaml:"minus"` // characters that mean negative
}

// Span is a run of bytes.
type Span struct {
	From int `yaml:"from"` // first byte
	To   int `yaml:"to"`   // last byte
}

// Digits is a field with a number.
type Digits struct {
	Span     `yaml:",inline"`
	Reversed bool `yaml:"reversed"` // least significant character first
	BCD      bool `yaml:"bcd"`      // two packed digits a byte, any number of bytes
	Point    bool `yaml:"point"`    // may contain a point
	Pointed  bool `yaml:"pointed"`  // must contain a point: without it a lost point would multiply the weight
	Signed   bool `yaml:"signed"`   // may begin with '+' or '-'
	Padded   bool `yaml:"padded"`   // blanks instead of leading zeros
	Gapped   bool `yaml:"gapped"`   // blanks may follow the sign
	Trailing bool `yaml:"trailing"` // a number without a point has one blank behind it, where the point would stand
	Count    int  `yaml:"count"`    // how many characters, the point not counted; 0: not checked
}

// Decimals says how many of the digits stand behind the point that is not sent.
type Decimals struct {
	Fixed int    `yaml:"fixed"` // digits behind the point, in every frame
	At    int    `yaml:"at"`    // byte that says so; excludes Fixed
	To    int    `yaml:"to"`    // of the kind exponent: its last byte
	Kind  string `yaml:"kind"`  // digit ('0' to '4'), bits (a number under Mask), toledo, or exponent (a power of ten with its sign: "-2" is two digits behind the point); digit if empty
	Mask  uint8  `yaml:"mask"`  // of the kind bits: those of the byte that are the number
	Less  int    `yaml:"less"`  // taken off the number: 1 where it is 1 without a point

	// Is is a table in place of the number: its character, or of the kind bits the number under Mask →
	// digits behind the point; below zero, zeros that are shown but not sent. What is not in it is refused.
	Is map[string]int `yaml:"is"`

	// MultiplyDummyZeros takes Toledo's codes XXXX00 and XXXXX0 as zeros that are shown but not
	// sent. Sources differ, so it is off until a known weight has shown it.
	MultiplyDummyZeros bool `yaml:"multiply_dummy_zeros"`
}

// Code is a field whose text is one of a few. A text that is not listed rejects the frame, unless
// Other says what it means. Where texts say gross or net, Other must too, or be out of range.
type Code struct {
	At    int               `yaml:"at"`    // first byte
	Is    map[string]string `yaml:"is"`    // text, all of one length → status
	Other string            `yaml:"other"` // status of any other text; "ignore" takes it as saying nothing
}

// Bit is a statement of some bits of one byte.
type Bit struct {
	At   int    `yaml:"at"`   // byte
	Mask uint8  `yaml:"mask"` // its bits that count
	Is   uint8  `yaml:"is"`   // the value under Mask that makes Then true
	Then string `yaml:"then"` // status
	Else string `yaml:"else"` // status otherwise
}

// UnitField says in which unit the digits are.
type UnitField struct {
	Fixed string            `yaml:"fixed"` // unit of every frame
	Span  `yaml:",inline"`  // excludes Fixed
	Is    map[string]string `yaml:"is"` // text without blanks → unit; the usual spellings if empty
}

// Bytes are bytes written as hexadecimal pairs: "02", "0D 0A".
type Bytes []byte

// UnmarshalYAML reads pairs of hexadecimal digits, with or without blanks.
func (b *Bytes) UnmarshalYAML(unmarshal func(any) error) error {
	var text string
	if err := unmarshal(&text); err != nil {
		return err
	}
	decoded, err := hex.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		return fmt.Errorf("bytes %.40q: write hexadecimal pairs in quotes, as in %q", text, "0D 0A")
	}
	*b = decoded
	return nil
}

// usualUnits are the spellings of units that need no table in a layout.
func usualUnits() map[string]string {
	return map[string]string{
		"kg": "kg", "KG": "kg", "Kg": "kg", "g": "g", "G": "g", "t": "t",
		"lb": "lb", "LB": "lb", "oz": "oz", "OZ": "oz",
	}
}
