package unit_test

import (
	"errors"
	"strings"
	"testing"

	"steelyard/internal/unit"
)

func TestDigitsComeBackAsTheyWere(t *testing.T) {
	for text, want := range map[string]string{
		"23960": "23960", "-60": "-60", "+12.340": "12.340", "20.00": "20.00", "0.5": "0.5", ".5": "0.5", "12340.": "12340",
		"-0.005": "-0.005", "000.300": "0.300", "999999999999999999": "999999999999999999",
	} {
		t.Run(text, func(t *testing.T) {
			d, err := unit.ParseDecimal(text)
			if err != nil || d.String() != want {
				t.Errorf("%q: got %q, %v", text, d.String(), err)
			}
		})
	}
}

func TestWhatIsNoNumber(t *testing.T) {
	for _, text := range []string{"", "+", "-", ".", "--1", "1-", "1 2", " 1", "1 ", "1e3", "0x10", "NaN", "Inf", "1.2.3", "1,5", "O1", "１２３",
		"1234567890123456789", "12\x00", "1\n"} {
		t.Run(text, func(t *testing.T) {
			if d, err := unit.ParseDecimal(text); err == nil {
				t.Errorf("%q was read as %s", text, d)
			}
		})
	}
}

func TestMassIsExactOrNotAtAll(t *testing.T) {
	for _, c := range []struct {
		text string
		unit unit.Unit
		want unit.Mass
		bad  bool
	}{
		{"23960", unit.KG, 23_960_000, false}, {"23.96", unit.T, 23_960_000, false}, {"0.001", unit.KG, 1, false}, {"7", unit.G, 7, false},
		{"-60", unit.KG, -60_000, false}, {"1.000000", unit.T, 1_000_000, false}, {"1.0000", unit.KG, 1000, false},
		{"0.0005", unit.KG, 0, true}, {"1", unit.LB, 0, true}, {"1", unit.Unknown, 0, true}, {"999999999999999999", unit.T, 0, true},
		{"-999999999999999999", unit.T, 0, true}, {"0", unit.T, 0, false},
	} {
		d, err := unit.ParseDecimal(c.text)
		if err != nil {
			t.Fatal(err)
		}
		got, err := d.Mass(c.unit)
		if (err != nil) != c.bad || got != c.want {
			t.Errorf("%s %s: got %d, %v", c.text, c.unit, got, err)
		}
	}
	if _, err := (unit.Decimal{Coef: 5, Scale: 4}).Mass(unit.KG); !errors.Is(err, unit.ErrInexact) {
		t.Errorf("half a gram: %v", err)
	}
}

func TestMassAsText(t *testing.T) {
	for m, want := range map[unit.Mass][2]string{
		23_960_000: {"23960", "23.96"}, 1: {"0.001", "0.000001"}, 0: {"0", "0"}, -60_500: {"-60.5", "-0.0605"},
	} {
		if m.KG() != want[0] || m.Tonnes() != want[1] {
			t.Errorf("%d: got %s kg, %s t, want %v", m, m.KG(), m.Tonnes(), want)
		}
	}
	for text, want := range map[string]unit.Mass{"60 t": 60_000_000, "20 kg": 20_000, "500g": 500, "0.5t": 500_000} {
		t.Run(text, func(t *testing.T) {
			if got, err := unit.ParseMass(text); err != nil || got != want {
				t.Errorf("%q: got %d, %v", text, got, err)
			}
		})
	}
	for _, text := range []string{"", "60", "60 lb", "t", "60 tonnes", "6 0 t", "20 KG"} {
		t.Run(text, func(t *testing.T) {
			if got, err := unit.ParseMass(text); err == nil {
				t.Errorf("%q was read as %s", text, got)
			}
		})
	}
}

func TestScaleFactorsMultiplyExactly(t *testing.T) {
	for _, c := range [][3]string{{"1805", "0.1", "180.5"}, {"12340", "1", "12340"}, {"-5", "0.01", "-0.05"}, {"0", "0.001", "0.000"}} {
		d, _ := unit.ParseDecimal(c[0])
		k, _ := unit.ParseDecimal(c[1])
		if got, err := d.Times(k); err != nil || got.String() != c[2] {
			t.Errorf("%s × %s: got %s, %v", c[0], c[1], got, err)
		}
	}
	big, _ := unit.ParseDecimal("999999999999999999")
	if got, err := big.Times(big); err == nil {
		t.Errorf("overflow gave %s", got)
	}
	if got, err := big.Plus(unit.Decimal{Coef: 1, Scale: 18}); err == nil {
		t.Errorf("overflow gave %s", got)
	}
	if got, err := (unit.Decimal{Coef: 15, Scale: 1}).Plus(unit.Decimal{Coef: -2}); err != nil || got.String() != "-0.5" {
		t.Errorf("1.5 − 2: %s, %v", got, err)
	}
}

func FuzzDecimal(f *testing.F) {
	for _, s := range []string{"23960", "-0.5", "12.340", "", "1e3", "+.5"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := unit.ParseDecimal(text)
		if err != nil {
			return
		}
		again, err := unit.ParseDecimal(d.String())
		if err != nil || again != d {
			t.Errorf("%q → %s → %v, %v", text, d, again, err)
		}
		if strings.ContainsAny(text, " eE_") {
			t.Errorf("%q was taken for a number", text)
		}
		m, err := d.Mass(unit.KG)
		if err != nil {
			return
		}
		if back, err := m.In(unit.KG, d.Scale); err == nil && back != d {
			t.Errorf("%s kg → %d g → %s", d, m, back)
		}
	})
}
