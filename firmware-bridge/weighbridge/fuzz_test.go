package weighbridge_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/weighbridge"
)

// One target for each dialect, so that each keeps a corpus of its own and none waits for the
// fuzzer to find its number in a list.

func FuzzYaohuaTF0(f *testing.F)            { fuzz(f, "yaohua-tf0") }
func FuzzYaohuaEqualsReversed(f *testing.F) { fuzz(f, "yaohua-eq-rev") }
func FuzzYaohuaEqualsForward(f *testing.F)  { fuzz(f, "yaohua-eq-fwd") }
func FuzzYaohuaCommand(f *testing.F)        { fuzz(f, "yaohua-cmd") }
func FuzzYaohuaA12(f *testing.F)            { fuzz(f, "yaohua-a12") }
func FuzzYaohuaWW(f *testing.F)             { fuzz(f, "yaohua-ww") }
func FuzzToledo(f *testing.F)               { fuzz(f, "mt-cont") }
func FuzzFlintec(f *testing.F)              { fuzz(f, "flintec-cont") }
func FuzzFlintecFast(f *testing.F)          { fuzz(f, "flintec-fast") }
func FuzzSICS(f *testing.F)                 { fuzz(f, "sics") }
func FuzzSMA(f *testing.F)                  { fuzz(f, "sma") }
func FuzzRiceLake(f *testing.F)             { fuzz(f, "rlws") }
func FuzzCardinal(f *testing.F)             { fuzz(f, "cardinal738") }
func FuzzWI120(f *testing.F)                { fuzz(f, "wi120") }
func FuzzFairbanks(f *testing.F)            { fuzz(f, "fairbanks10") }
func FuzzFairbanksConcon(f *testing.F)      { fuzz(f, "fairbanks-concon") }
func FuzzToledo8217(f *testing.F)           { fuzz(f, "toledo8217") }
func FuzzAnD(f *testing.F)                  { fuzz(f, "and18") }
func FuzzCAS(f *testing.F)                  { fuzz(f, "cas22") }
func FuzzOhaus(f *testing.F)                { fuzz(f, "ohaus3000") }
func FuzzDiniShort(f *testing.F)            { fuzz(f, "dini-short") }
func FuzzDiniExtended(f *testing.F)         { fuzz(f, "dini-ext") }
func FuzzDiniStored(f *testing.F)           { fuzz(f, "dini-pid") }
func FuzzLaumas(f *testing.F)               { fuzz(f, "laumas-ascii") }
func FuzzLaumasTX(f *testing.F)             { fuzz(f, "laumas-tx") }
func FuzzLaumasTD(f *testing.F)             { fuzz(f, "laumas-td") }
func FuzzLaumasRemote(f *testing.F)         { fuzz(f, "laumas-rip") }
func FuzzSystec(f *testing.F)               { fuzz(f, "systec-rn") }

// FuzzGeneric makes the layout as well: the file of an operator is input from outside.
func FuzzGeneric(f *testing.F) {
	options := settings(f, "generic", weighbridge.Options{Layout: tf0()})
	for i := range templates() {
		for _, v := range answers(f) {
			if v.Proto == templates()[i].like {
				f.Add(v.bytes(f), []byte{byte(i)}, uint16(1), uint16(5))
				f.Add(bytes.Repeat(v.bytes(f), 2), []byte{byte(i), 3, byte(len(v.bytes(f))), 16, 0xFF}, uint16(0), uint16(7))
			}
		}
	}
	f.Fuzz(func(t *testing.T, input, edits []byte, setting, split uint16) {
		o := options[int(setting)%len(options)]
		o.Layout = layoutFrom(t, edits)
		judge(t, "generic", o, input, int(split))
	})
}

// fuzz feeds one decoder, in every setting that it has, with anything.
func fuzz(f *testing.F, name string) {
	options := settings(f, name, weighbridge.Options{})
	add := func(o weighbridge.Options, frame []byte) {
		for i := range options {
			if cmp.Equal(options[i], o) {
				f.Add(frame, uint16(i), uint16(3))
				f.Add(append([]byte("\x02=9\r"), bytes.Repeat(frame, 2)...), uint16(i), uint16(7))
				return
			}
		}
		f.Fatalf("%s: %+v is not among the settings", name, o)
	}
	for _, v := range vectors(f) {
		if v.Proto == name {
			add(v.options(), v.bytes(f))
			add(weighbridge.Options{}, v.bytes(f))
		}
	}
	if name == "mt-cont" || name == "flintec-cont" {
		for _, kind := range []string{"mt7", "neg8", "sum8"} {
			for _, lf := range []string{"", "\n"} {
				frame := []byte("\x02*0 012340000000\r" + lf)
				add(weighbridge.Options{Checksum: kind}, append(frame, sumOf(kind, frame)))
			}
		}
	}
	f.Fuzz(func(t *testing.T, input []byte, setting, split uint16) {
		judge(t, name, options[int(setting)%len(options)], input, int(split))
	})
}

// judge holds a decoder to what it promises: no panic, no value beside an alarm, from a bad
// checksum or of another address, no frame that was not in the bytes, and the same frames and
// counts for every split.
func judge(t *testing.T, name string, o weighbridge.Options, input []byte, cut int) {
	t.Helper()
	all, stats := decode(t, name, o, input)
	if stats.Bytes != uint64(len(input)) || stats.Discarded > stats.Bytes || stats.Frames != uint64(len(all)) {
		t.Errorf("%s: counts %+v", name, stats)
	}
	rest := input
	for _, w := range all {
		at := bytes.Index(rest, w.Raw)
		if at < 0 || len(w.Raw) == 0 || len(w.Raw) > weighbridge.MaxFrame {
			t.Fatalf("%s: frame % x is not in the input", name, w.Raw)
		}
		rest = rest[at+len(w.Raw):]
		if !w.HasValue && (w.Value.Coef != 0 || w.Alibi != "") {
			t.Errorf("%s: no value, but digits %s, alibi number %q", name, w.Value, w.Alibi)
		}
		if w.HasValue && (w.Range != device.RangeOK && w.Range != device.RangeUnknown || w.Error != "") {
			t.Errorf("%s: a value beside %q %q", name, w.Range, w.Error)
		}
		if w.HasValue && !checksumHolds(name, o, w.Raw) {
			t.Errorf("%s %s: value %s from a bad checksum: % x", name, cmp.Diff(weighbridge.Options{}, o), w.Value, w.Raw)
		}
		if !addressHolds(name, o, w.Raw) {
			t.Errorf("%s: address %d reads % x", name, o.Address, w.Raw)
		}
	}
	withoutTimes(all)
	compare := func(what string, pieces ...[]byte) {
		again, more := decode(t, name, o, pieces...)
		if diff := cmp.Diff(all, withoutTimes(again)); diff != "" || more != stats {
			t.Errorf("%s %s: %s: %+v, want %+v\n%s", name, cmp.Diff(weighbridge.Options{}, o), what, more, stats, diff)
		}
	}
	if cut < len(input) {
		compare(fmt.Sprintf("split at %d", cut), input[:cut], input[cut:])
	}
	single := make([][]byte, len(input))
	for i := range input {
		single[i] = input[i : i+1]
	}
	compare("byte by byte", single...)
}

// checksumHolds checks a frame again, written apart from the decoder. What has no checksum has
// nothing to check.
func checksumHolds(dialect string, o weighbridge.Options, raw []byte) bool {
	n := len(raw)
	switch dialect {
	case "yaohua-tf0", "yaohua-cmd":
		return sumOf("xor", raw[1:n-3]) == pairAt(raw, n-3)
	case "yaohua-a12":
		return sumOf("xor", raw[:11]) == pairAt(raw, 11)
	case "laumas-td", "laumas-rip":
		return sumOf("xor", raw[1:15]) == pairAt(raw, 16)
	case "laumas-ascii":
		return sumOf("xor", bytes.TrimLeft(raw[:n-4], "&")) == pairAt(raw, n-3)
	case "mt-cont", "flintec-cont":
		kind, mask := o.Checksum, o.Mask
		if kind == "" {
			kind = map[string]string{"mt-cont": "mt7", "flintec-cont": "neg8"}[dialect]
		}
		if mask == 0 || dialect == "mt-cont" && kind != "mt7" {
			mask = 0xFF
			if dialect == "mt-cont" && (kind == "mt7" || kind == "none") {
				mask = 0x7F
			}
		}
		return kind == "none" || trailerHolds(kind, mask, raw)
	case "generic":
		return layoutHolds(o.Layout, raw)
	}
	return true
}

// trailerHolds checks a raw checksum behind everything that it covers, as far as the line carries
// its bits.
func trailerHolds(kind string, mask byte, raw []byte) bool {
	text := masked(mask, raw)
	last := len(text) - 1
	return text[last] == sumOf(kind, text[:last])&mask
}

func layoutHolds(l weighbridge.Layout, raw []byte) bool {
	c := l.Checksum
	if c.Kind == "" || c.Kind == "none" {
		return true
	}
	mask := l.Mask
	if mask == 0 {
		mask = 0xFF
	}
	if c.AfterEnd {
		return trailerHolds(c.Kind, mask, raw)
	}
	text := masked(mask, raw)
	index := func(position int) int {
		if position < 0 {
			return len(text) + position
		}
		return position - 1
	}
	sum := sumOf(c.Kind, text[index(c.From):index(c.To)+1])
	if c.Encoding == "hex" || c.Encoding == "nibble" {
		return pairAt(text, index(c.At)) == sum
	}
	return text[index(c.At)] == sum&mask
}

func masked(mask byte, raw []byte) []byte {
	text := bytes.Clone(raw)
	for i := range text {
		text[i] &= mask
	}
	return text
}

func sumOf(kind string, b []byte) byte {
	xor, sum := byte(0), byte(0)
	for _, c := range b {
		xor ^= c
		sum += c
	}
	return map[string]byte{"xor": xor, "sum8": sum, "neg8": 0 - sum, "mt7": (0 - sum) & 0x7F}[kind]
}

func pairAt(b []byte, at int) byte {
	digit := func(c byte) byte {
		if c >= 'a' {
			c -= 'a' - 'A'
		}
		if c >= 'A' {
			return c - 'A' + 10
		}
		return c - '0'
	}
	return digit(b[at])<<4 | digit(b[at+1])
}

// addressHolds looks for the address where the format has its place.
func addressHolds(dialect string, o weighbridge.Options, raw []byte) bool {
	switch dialect {
	case "yaohua-cmd":
		return raw[1] == byte('A'-1+max(1, o.Address))
	case "laumas-ascii":
		return bytes.HasPrefix(bytes.TrimLeft(raw, "&"), fmt.Appendf(nil, "%02d", max(1, o.Address)))
	case "dini-short", "dini-ext", "dini-pid":
		return o.Address == 0 || bytes.HasPrefix(raw, fmt.Appendf(nil, "%02d", o.Address))
	}
	return true
}

// The checks of the fuzzer must themselves see what is wrong, in every variant.
func TestFuzzingSeesABadChecksum(t *testing.T) {
	body := []byte("\x02*0 012340000000\r")
	for _, dialect := range []string{"mt-cont", "flintec-cont"} {
		for _, kind := range []string{"mt7", "neg8", "sum8"} {
			o := weighbridge.Options{Checksum: kind}
			right := append(bytes.Clone(body), sumOf(kind, body))
			if got, _ := decode(t, dialect, o, right); len(got) != 1 || !checksumHolds(dialect, o, right) {
				t.Errorf("%s %s: the right checksum is not seen: %d frames", dialect, kind, len(got))
			}
			for i := range right[:len(right)-1] {
				wrong := bytes.Clone(right)
				wrong[i] ^= 0x01
				if checksumHolds(dialect, o, wrong) {
					t.Errorf("%s %s: a changed byte %d is not seen", dialect, kind, i)
				}
			}
		}
	}
	l := tf0()
	frame := []byte("\x02+01234001F\x03")
	for _, kind := range []string{"xor", "sum8", "neg8", "mt7"} {
		for _, encoding := range []string{"raw", "hex", "nibble"} {
			l.Checksum.Kind, l.Checksum.Encoding = kind, encoding
			sum := sumOf(kind, frame[1:9])
			right := append(bytes.Clone(frame[:9]), fmt.Sprintf("%02X\x03", sum)...)
			if encoding == "raw" {
				right[9] = sum
			}
			wrong := bytes.Clone(right)
			wrong[4] ^= 0x01
			if !layoutHolds(l, right) || layoutHolds(l, wrong) {
				t.Errorf("%s %s: right %t, wrong %t", kind, encoding, layoutHolds(l, right), layoutHolds(l, wrong))
			}
		}
	}
	for dialect, raw := range map[string]string{"yaohua-cmd": "\x02BB+01234001F\x03", "laumas-ascii": laumas("02012340t"),
		"dini-short": "02ST,GS,   12340,kg\r\n", "dini-pid": "PIDNO\r\n"} {
		if addressHolds(dialect, weighbridge.Options{Address: 1}, []byte(raw)) {
			t.Errorf("%s: %q is not of address 1", dialect, raw)
		}
	}
}

// targets reads which dialects a source fuzzes: each function FuzzX that calls fuzz(f, "name"),
// and FuzzGeneric, which judges on its own.
func targets(t *testing.T, source []byte) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "fuzz_test.go", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	by := map[string]string{}
	for _, d := range file.Decls {
		function, ok := d.(*ast.FuncDecl)
		if !ok || !strings.HasPrefix(function.Name.Name, "Fuzz") {
			continue
		}
		ast.Inspect(function.Body, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			name, ok := call.Fun.(*ast.Ident)
			if !ok || name.Name != "fuzz" && name.Name != "judge" || len(call.Args) < 2 {
				return true
			}
			if dialect, ok := call.Args[1].(*ast.BasicLit); ok {
				if text, err := strconv.Unquote(dialect.Value); err == nil {
					by[text] += function.Name.Name
				}
			}
			return true
		})
	}
	return by
}

func TestEveryDialectIsFuzzed(t *testing.T) {
	source, err := os.ReadFile("fuzz_test.go")
	if err != nil {
		t.Fatal(err)
	}
	fuzzed := targets(t, source)
	for _, d := range weighbridge.Dialects() {
		if n := strings.Count(fuzzed[d.Name], "Fuzz"); n != 1 {
			t.Errorf("dialect %s has %d fuzz targets: add one line beside the others in fuzz_test.go", d.Name, n)
		}
		delete(fuzzed, d.Name)
	}
	for dialect, function := range fuzzed {
		t.Errorf("%s fuzzes %q, which is no dialect", function, dialect)
	}
	// A line that is commented out is missing, and one that stands twice is counted twice.
	lost := targets(t, bytes.Replace(source, []byte("func FuzzSMA"), []byte("// func FuzzSMA"), 1))
	if _, still := lost["sma"]; still || len(lost) != len(weighbridge.Dialects())-1 {
		t.Errorf("a lost target is not seen: %v", lost)
	}
}
