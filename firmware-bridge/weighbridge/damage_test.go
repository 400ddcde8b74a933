package weighbridge_test

import (
	"bytes"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"testing"

	"steelyard/firmware-bridge/device"
)

// The bad input that reaches sites, done to every dialect. TestCorpus has the cases of single ones.

// only says that nothing but these values was read, and at least so many of them.
func (s sample) only(t *testing.T, what string, least int, got []string, allowed ...string) {
	t.Helper()
	for _, v := range got {
		if !slices.Contains(allowed, v) {
			t.Errorf("%s: %s: read %q, want nothing but %q", s.name, what, v, allowed)
			return
		}
	}
	if len(got) < least {
		t.Errorf("%s: %s: read %q, want at least %d", s.name, what, got, least)
	}
}

func TestFloodsAndForeignTalkAreNoWeight(t *testing.T) {
	noises := map[string]string{
		"nothing": "", "STX": "\x02", "ETX": "\x03", "CR": "\r", "a line end": "\r\n", "an equals sign": "=", "NUL": "\x00",
		"a modem":         "ATZ\r\nOK\r\nNO CARRIER\r\n+++ATH\r\nRING\r\n",
		"a boot banner":   "U-Boot 2023.01\r\nBooting Linux on physical CPU 0x0\r\nlogin: ",
		"ANSI escapes":    "\x1b[2J\x1b[1;1H\x1b[31mERROR\x1b[0m\r\n",
		"printer escapes": "\x1b@\x1bE\x0c\x1b!0\r\n",
		"GB18030 text":    "\xb5\xd8\xb0\xf5\xb3\xd3\xd6\xd8\xc1\xbf\r\n",
		"CSV":             "2026-03-01,08:00,stable\r\n",
		"NMEA":            "$GPGGA,092750.000,5321.6802,N,00630.3372,W,1,8,1.03,61.7,M,55.2,M,,*76\r\n",
		"Modbus":          "\x01\x03\x04\x00\x00\x30\x34\xee\x0d",
		"JSON":            "{\"weight\":12340,\"unit\":\"kg\"}\n",
	}
	for _, s := range samples(t) {
		for what, noise := range noises {
			s.only(t, what, 0, s.values(t, []byte(noise)))
			s.only(t, what+" before frames", 1, s.values(t, []byte(noise), []byte(strings.Repeat(s.good, 3))), s.value)
		}
		for _, c := range []byte{0x00, 0xFF, '8', ' ', '-', ',', 0x02, 0x03, '\r', '\n', '=', '<', '&', '\\', s.good[0], s.good[len(s.good)-1]} {
			flood := bytes.Repeat([]byte{c}, 4096)
			s.only(t, fmt.Sprintf("a flood of %02x", c), 0, s.values(t, flood))
			s.only(t, fmt.Sprintf("a flood of %02x before frames", c), 1, s.values(t, flood, []byte(strings.Repeat(s.good, 3))), s.value)
		}
	}
}

// A line whose parity bit arrives as bit 7, and one whose line ends were translated on the way.
func TestTranslatedLinesAreRightOrNothing(t *testing.T) {
	for _, s := range samples(t) {
		for _, odd := range []int{0, 1} {
			b := []byte(s.good)
			for i, c := range b {
				b[i] = c&0x7F | byte((bits.OnesCount8(c&0x7F)+odd)%2)<<7
			}
			s.only(t, fmt.Sprintf("parity %d in bit 7", odd), 0, s.values(t, bytes.Repeat(b, 3)), s.value)
		}
		for _, end := range []string{"\r", "\n", "\n\r", "\r\n", "\r\r\n", "\r\n\r\n", ""} {
			for _, was := range []string{"\r\n", "\r", "\n"} {
				b := strings.ReplaceAll(s.good, was, end)
				s.only(t, fmt.Sprintf("%q for %q", end, was), 0, s.values(t, []byte(strings.Repeat(b, 3))), s.value)
			}
		}
	}
}

// A frame that was cut off anywhere is no other weight, whatever follows it; two that touch are two.
func TestCutAndGluedFrames(t *testing.T) {
	for _, s := range samples(t) {
		good := []byte(s.good)
		other, value := s.other(t, 1, 2, 4)
		if got := s.values(t, good, other, good); !slices.Equal(got, []string{s.value, value, s.value}) {
			t.Errorf("%s: glued: read %q", s.name, got)
		}
		for i := range good {
			s.only(t, fmt.Sprintf("%d bytes of an old head", i), 1, s.values(t, other, good[:i], other, other), s.value, value)
			s.only(t, fmt.Sprintf("%d bytes of an old tail", len(good)-i), 1, s.values(t, good[i:], other, other), s.value, value)
			s.only(t, fmt.Sprintf("cut after %d bytes and silent", i), 0, s.values(t, good[:i]), s.value)
		}
	}
}

// One byte between two frames, as a checksum that nobody looks for or a glitch of the line, may cost
// frames and is never a weight, be it a start or an end itself.
func TestAByteBetweenFrames(t *testing.T) {
	for _, s := range samples(t) {
		least := 1
		if s.name == "mt-cont/none" {
			least = 4
		}
		for c := range 256 {
			good, between := []byte(s.good), []byte{byte(c)}
			s.only(t, fmt.Sprintf("%02x between frames", c), least, s.values(t, good, between, good, between, good, good), s.value)
		}
	}
}

// What is no number is no weight and never 0, though every checksum is right.
func TestNoDigitIsGuessed(t *testing.T) {
	for _, s := range samples(t) {
		width := s.to - s.from
		for _, text := range []string{"-", "+", "--1", "+-1", "-+1", "1-2", "1 2", "1 ", "O1", "1O", "l2", "1e3", "0x1", "1_0", "NaN", "nan", "Inf",
			"½", "１２", "٣", "1.2.3", "..", "1,5", "1'0", "1\x00", "\x001", "1\x7f", "1?", "1:", "1/"} {
			for _, pad := range []string{"0", " "} {
				if len(text) > width {
					continue
				}
				s.only(t, fmt.Sprintf("%q padded with %q", text, pad), 0, s.values(t, s.with(strings.Repeat(pad, width-len(text))+text)))
			}
		}
		s.only(t, "20 digits", 0, s.values(t, s.with("12345678901234567890")))
		for _, c := range []string{" ", "-", "_", "\x00", "\xFF", "*"} {
			if c == " " && s.goesOn {
				continue // "   .345" is a number
			}
			s.only(t, fmt.Sprintf("digits of %q", c), 0, s.values(t, s.with(strings.Repeat(c, width))))
		}
		for i := range width {
			b := []byte(s.good[s.from:s.to])
			for _, c := range []byte{' ', '-', '.', ',', 'O', 0, 0x0B, 0x70} {
				b[i] = c
				got := s.values(t, s.with(string(b)))
				if c == '.' && s.name == "yaohua-cmd" {
					continue // a point among seven characters is the other variant of the answer
				}
				if c == ' ' || c == '-' || c == '.' {
					// A blank or a sign before the digits and a point among them are documented for some. They
					// make no digit: the number is the one that is left.
					left := bytes.Trim(bytes.Clone(b), " ")
					if s.reversed {
						slices.Reverse(left)
					}
					for _, v := range got {
						if digitsOf(v) != digitsOf(string(left)+s.rest()) {
							t.Errorf("%s: %q in the place of the digits: read %q", s.name, b, v)
						}
					}
					continue
				}
				s.only(t, fmt.Sprintf("%q in the place of the digits", b), 0, got)
			}
		}
	}
}

// rest is what stands behind the sample's digits and belongs to the number.
func (s sample) rest() string {
	if !s.goesOn {
		return ""
	}
	end := s.to
	for end < len(s.good) && strings.IndexByte("0123456789.", s.good[end]) >= 0 {
		end++
	}
	return s.good[s.to:end]
}

// digitsOf are the significant digits of a number.
func digitsOf(text string) string {
	only := strings.Map(func(c rune) rune {
		if c < '0' || c > '9' {
			return -1
		}
		return c
	}, text)
	return strings.TrimLeft(only, "0")
}

// The documented frames without a weight: each is told, with its bytes as evidence, and is neither 0
// nor in range.
func TestFramesWithoutAWeight(t *testing.T) {
	for _, s := range samples(t) {
		for _, frame := range s.silent {
			got, stats := decode(t, s.dialect(t).Name, s.o, []byte(frame))
			if len(got) != 1 || stats.Bad != 0 {
				t.Errorf("%s: %q: %d frames, %+v", s.name, frame, len(got), stats)
				continue
			}
			w := got[0]
			if w.HasValue || w.Value.Coef != 0 || w.HasTare || w.HasGross || w.Alibi != "" || w.Range == device.RangeOK || string(w.Raw) != frame {
				t.Errorf("%s: %q is read as %+v", s.name, frame, w)
			}
		}
	}
}

// The same frame a thousand times is a thousand weights; whether a rest is too perfect is not judged here.
func TestEqualFramesAreAllTaken(t *testing.T) {
	for _, s := range samples(t) {
		got, stats := decode(t, s.dialect(t).Name, s.o, bytes.Repeat([]byte(s.good), 1000))
		if len(got) != 1000 || stats.Bad != 0 || stats.Discarded != 0 {
			t.Errorf("%s: %d weights, %+v", s.name, len(got), stats)
		}
	}
}
