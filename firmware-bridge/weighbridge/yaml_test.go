package weighbridge_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"steelyard/firmware-bridge/weighbridge"
	"steelyard/internal/config"
)

// What an operator writes in a device file must be the layout that the tests prove.
func TestLayoutFromAFile(t *testing.T) {
	var got struct {
		Options weighbridge.Options `yaml:"options"`
	}
	const file = `
options:
  unit: kg
  layout:
    start: "02"
    end: "03"
    length: 12
    checksum: {kind: xor, from: 2, to: 9, at: 10, encoding: nibble}
    sign: {at: 2, plus: "+", minus: "-"}
    digits: {from: 3, to: 8}
    decimals: {at: 9}
`
	if err := config.Load("device.yaml", []byte(file), &got, nil); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(weighbridge.Options{Unit: "kg", Layout: tf0()}, got.Options); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	var toledoFile struct {
		Layout weighbridge.Layout `yaml:"layout"`
	}
	const second = `
layout:
  mask: 0x7F
  start: "02"
  end: "0D"
  length: 17
  checksum: {kind: mt7, after_end: true}
  digits: {from: 5, to: 10, padded: true}
  tare: {from: 11, to: 16, padded: true}
  decimals: {at: 2, kind: toledo}
  bits:
    - {at: 3, mask: 0x01, is: 0x01, then: net, else: gross}
    - {at: 3, mask: 0x02, is: 0x02, then: negative}
    - {at: 3, mask: 0x04, is: 0x04, then: over-or-under, else: ok}
    - {at: 3, mask: 0x08, is: 0x08, then: unstable, else: stable}
    - {at: 3, mask: 0x10, is: 0x10, then: kg, else: lb}
    - {at: 3, mask: 0x40, is: 0x40, then: power-up, else: not-power-up}
`
	if err := config.Load("device.yaml", []byte(second), &toledoFile, nil); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(toledo(), toledoFile.Layout); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}
