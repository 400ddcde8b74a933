package sim_test

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"steelyard/firmware-bridge/sim"
	"steelyard/internal/unit"
)

func kg(n int64) unit.Decimal { return unit.Decimal{Coef: n} }

// The frames of field captures, and of the makers' layouts.
func TestFramesAreThoseOfTheManuals(t *testing.T) {
	for _, c := range []struct {
		name     string
		dialect  sim.Dialect
		sum      sim.Checksum
		division int64
		show     sim.Display
		want     string
	}{
		{"yaohua 20.00", sim.Yaohua, "", 1, sim.Display{Value: unit.Decimal{Coef: 2000, Scale: 2}}, "02 2B 30 30 32 30 30 30 32 31 42 03"},
		{"yaohua 1560", sim.Yaohua, "", 10, sim.Display{Value: kg(1560)}, "02 2B 30 30 31 35 36 30 30 31 39 03"},
		{"yaohua 1650", sim.Yaohua, "", 10, sim.Display{Value: kg(1650)}, "02 2B 30 30 31 36 35 30 30 31 39 03"},
		{"yaohua 23960", sim.Yaohua, "", 20, sim.Display{Value: kg(23960)}, "02 2B 30 32 33 39 36 30 30 31 35 03"},
		{"yaohua 12340", sim.Yaohua, "", 20, sim.Display{Value: kg(12340)}, "02 2B 30 31 32 33 34 30 30 31 46 03"},
		{"yaohua -60", sim.Yaohua, "", 20, sim.Display{Value: kg(-60)}, "02 2D 30 30 30 30 36 30 30 31 42 03"},
		{"yaohua 123.4", sim.Yaohua, "", 1, sim.Display{Value: unit.Decimal{Coef: 1234, Scale: 1}}, "02 2B 30 30 31 32 33 34 31 31 45 03"},
		{"yaohua 123.456", sim.Yaohua, "", 1, sim.Display{Value: unit.Decimal{Coef: 123456, Scale: 3}}, "02 2B 31 32 33 34 35 36 33 31 46 03"},
		{"yaohua blank", sim.Yaohua, "", 20, sim.Display{Blank: true}, "02 2B 20 20 20 20 20 20 30 31 42 03"},
		{"yaohua overload", sim.Yaohua, "", 20, sim.Display{Value: kg(70000), Over: true}, "02 2B 20 20 20 20 20 20 30 31 42 03"},
		{"toledo 12340", sim.Toledo, sim.MT7, 10, sim.Display{Value: kg(12340)}, "02 2A 30 20 30 31 32 33 34 30 30 30 30 30 30 30 0D 2D"},
		{"toledo motion", sim.Toledo, sim.MT7, 2, sim.Display{Value: kg(12342), Motion: true}, "02 32 38 20 30 31 32 33 34 32 30 30 30 30 30 30 0D 1B"},
		{"toledo -60", sim.Toledo, sim.MT7, 10, sim.Display{Value: kg(-60)}, "02 2A 32 20 30 30 30 30 36 30 30 30 30 30 30 30 0D 2F"},
		{"toledo out of range", sim.Toledo, sim.MT7, 10, sim.Display{Value: kg(70000), Over: true}, "02 2A 34 20 30 30 30 30 30 30 30 30 30 30 30 30 0D 33"},
		{"toledo 123.4", sim.Toledo, sim.MT7, 1, sim.Display{Value: unit.Decimal{Coef: 1234, Scale: 1}}, "02 2B 30 20 30 30 31 32 33 34 30 30 30 30 30 30 0D 2C"},
		{"toledo lb", sim.Toledo, sim.MT7, 1, sim.Display{Value: kg(27205), Pounds: true}, "02 2A 20 20 30 32 37 32 30 35 30 30 30 30 30 30 0D 37"},
		{"toledo without checksum", sim.Toledo, sim.NoChecksum, 10, sim.Display{Value: kg(12340)}, "02 2A 30 20 30 31 32 33 34 30 30 30 30 30 30 30 0D"},
	} {
		want, err := hex.DecodeString(strings.ReplaceAll(c.want, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if got := c.dialect.AppendFrame(nil, c.show, c.division, c.sum); !bytes.Equal(got, want) {
			t.Errorf("%s:\n got % X\nwant % X", c.name, got, want)
		}
	}
}

// The rules of the checksums, told apart by the sum over whole frames.
func TestChecksumsCloseTheirFrames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		show := sim.Display{
			Value:  unit.Decimal{Coef: rapid.Int64Range(-99_999, 999_999).Draw(t, "coef"), Scale: uint8(rapid.IntRange(0, 4).Draw(t, "scale"))},
			Motion: rapid.Bool().Draw(t, "motion"), Net: rapid.Bool().Draw(t, "net"), Over: rapid.Bool().Draw(t, "over"),
		}
		sum := func(b []byte) (s byte) {
			for _, c := range b {
				s += c
			}
			return s
		}
		mt7 := sim.Toledo.AppendFrame(nil, show, 20, sim.MT7)
		neg8 := sim.Toledo.AppendFrame(nil, show, 20, sim.Neg8)
		sum8 := sim.Toledo.AppendFrame(nil, show, 20, sim.Sum8)
		if len(mt7) != 18 || sum(mt7)&0x7F != 0 || mt7[17] > 0x7F {
			t.Errorf("mt7: % X", mt7)
		}
		if len(neg8) != 18 || sum(neg8) != 0 {
			t.Errorf("neg8: % X", neg8)
		}
		if len(sum8) != 18 || sum(sum8[:17]) != sum8[17] {
			t.Errorf("sum8: % X", sum8)
		}
		yaohua := sim.Yaohua.AppendFrame(nil, show, 20, "")
		if _, ok := decodeYaohua(yaohua); !ok && !show.Over {
			t.Errorf("yaohua: % X", yaohua)
		}
	})
}

func TestUnknownDialectsAreRefused(t *testing.T) {
	for _, c := range []struct {
		dialect sim.Dialect
		sum     sim.Checksum
		want    string
	}{
		{"morse", "", `dialect "morse": the simulated indicators speak yaohua-tf0, mt-cont and dini-short`},
		{sim.Yaohua, sim.MT7, `dialect yaohua-tf0 has no checksum "mt7"`},
		{sim.Toledo, "crc", `dialect mt-cont has no checksum "crc"`},
	} {
		if err := c.dialect.Check(c.sum); err == nil || err.Error() != c.want {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}

// decodeYaohua reads one frame as the manual says; ok is false for anything else.
func decodeYaohua(b []byte) (weight int64, ok bool) {
	if len(b) != 12 || b[0] != 2 || b[11] != 3 {
		return 0, false
	}
	xor := byte(0)
	for _, c := range b[1:9] {
		xor ^= c
	}
	if want := strings.ToUpper(hex.EncodeToString([]byte{xor})); want != string(b[9:11]) {
		return 0, false
	}
	for _, c := range b[2:8] {
		if c < '0' || c > '9' {
			return 0, false
		}
		weight = weight*10 + int64(c-'0')
	}
	if b[1] == '-' {
		weight = -weight
	}
	return weight, true
}

// decodeToledo reads one frame with or without the mt7 checksum.
func decodeToledo(b []byte) (weight int64, ok bool) {
	if len(b) < 17 || b[0] != 2 || b[16] != '\r' || b[2]&4 != 0 {
		return 0, false
	}
	if len(b) == 18 {
		sum := byte(0)
		for _, c := range b {
			sum += c
		}
		if sum&0x7F != 0 {
			return 0, false
		}
	}
	for _, c := range b[4:10] {
		if c < '0' || c > '9' {
			return 0, false
		}
		weight = weight*10 + int64(c-'0')
	}
	if b[2]&2 != 0 {
		weight = -weight
	}
	return weight, true
}
