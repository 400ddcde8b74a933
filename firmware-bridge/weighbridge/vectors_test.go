package weighbridge_test

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"steelyard/firmware-bridge/device"
	"steelyard/firmware-bridge/weighbridge"
)

// vector is one frame of a manual, a capture or a layout, and what it says.
type vector struct {
	ID         string         `json:"id"`
	Proto      string         `json:"proto"`
	Hex        string         `json:"hex"`
	Expect     map[string]any `json:"expect"`
	Provenance string         `json:"provenance"`
}

func (v vector) bytes(t testing.TB) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(v.Hex, " ", ""))
	if err != nil {
		t.Fatalf("%s: %v", v.ID, err)
	}
	return b
}

func vectors(t testing.TB) []vector {
	t.Helper()
	text, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []vector
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// options are those that a fitter would set for the instrument of a vector.
func (v vector) options() weighbridge.Options {
	switch v.ID {
	case "mt-cont-09", "mt-cont-10":
		return weighbridge.Options{Checksum: "none"}
	case "dini-short-02":
		return weighbridge.Options{Address: 1}
	case "dini-pid-03":
		return weighbridge.Options{Address: 7}
	}
	return weighbridge.Options{}
}

// requests are the vectors that the host sends. An empty request means that the bytes make a
// machine act, so nothing here may be able to produce them.
func requests() map[string]struct {
	request weighbridge.Request
	options weighbridge.Options
} {
	type ask = struct {
		request weighbridge.Request
		options weighbridge.Options
	}
	return map[string]ask{
		"yaohua-cmd-01":   {weighbridge.Handshake, weighbridge.Options{Address: 1}},
		"yaohua-cmd-02":   {weighbridge.ReadGross, weighbridge.Options{Address: 1}},
		"yaohua-cmd-04":   {weighbridge.ReadNet, weighbridge.Options{Address: 1, TareIs: "C"}},
		"yaohua-cmd-05":   {},
		"yaohua-cmd-06":   {},
		"yaohua-cmd-11":   {weighbridge.ReadGross, weighbridge.Options{Address: 2}},
		"yaohua-cmd-12":   {},
		"sics-10":         {weighbridge.ReadStable, weighbridge.Options{}},
		"sics-11":         {weighbridge.ReadWeight, weighbridge.Options{}},
		"sics-12":         {weighbridge.ReadRepeated, weighbridge.Options{}},
		"sics-13":         {},
		"sics-15":         {weighbridge.ReadTare, weighbridge.Options{}},
		"sics-16":         {},
		"sma-08":          {weighbridge.ReadWeight, weighbridge.Options{}},
		"toledo8217-07":   {weighbridge.ReadWeight, weighbridge.Options{}},
		"laumas-ascii-01": {weighbridge.ReadGross, weighbridge.Options{}},
	}
}

func dialect(t testing.TB, name string) weighbridge.Dialect {
	t.Helper()
	d, ok := weighbridge.Find(name)
	if !ok {
		t.Fatalf("no dialect %s", name)
	}
	return d
}

// decode returns the frames in the pieces, copied, and the decoder's counts.
func decode(t testing.TB, name string, o weighbridge.Options, pieces ...[]byte) ([]device.Weight, weighbridge.Stats) {
	t.Helper()
	d := dialect(t, name)
	if err := d.Check(o); err != nil {
		t.Fatal(err)
	}
	dec := weighbridge.NewDecoder(d, o)
	var got []device.Weight
	keep := func(w device.Weight) {
		w.Raw = append([]byte(nil), w.Raw...)
		got = append(got, w)
	}
	for i, p := range pieces {
		dec.Write(start.Add(time.Duration(i)*time.Millisecond), p, keep)
	}
	dec.Flush(keep)
	return got, dec.Stats()
}

var start = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)

// described is the JSON of a description as a map, so that it can be compared key by key.
func described(t testing.TB, w device.Weight) map[string]any {
	t.Helper()
	text, err := json.Marshal(weighbridge.Describe(w))
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestVectors(t *testing.T) {
	asked := requests()
	answers := 0
	for _, v := range vectors(t) {
		if _, isRequest := asked[v.ID]; isRequest {
			continue
		}
		answers++
		t.Run(v.ID, func(t *testing.T) {
			raw := v.bytes(t)
			got, stats := decode(t, v.Proto, v.options(), raw)
			if len(got) != 1 {
				t.Fatalf("%d frames from % x (%+v)", len(got), raw, stats)
			}
			said := described(t, got[0])
			for key, want := range v.Expect {
				value, known := said[key]
				if !known {
					t.Errorf("no key %q in a description", key)
				}
				if diff := cmp.Diff(want, value); diff != "" {
					t.Errorf("%s: -want +got\n%s", key, diff)
				}
			}
			if !cmp.Equal(got[0].Raw, raw) {
				t.Errorf("raw % x, want % x", got[0].Raw, raw)
			}
			if stats.Discarded != 0 || stats.Bad != 0 || stats.Frames != 1 {
				t.Errorf("counts %+v", stats)
			}
			if out := got[0].Range; got[0].HasValue && out != device.RangeOK && out != device.RangeUnknown {
				t.Errorf("a value beside range %s", out)
			}
		})
	}
	if want := len(vectors(t)) - len(asked); answers != want || answers < 80 {
		t.Errorf("%d answers tested, want %d", answers, want)
	}
}

func TestRequestVectors(t *testing.T) {
	byID := make(map[string]vector)
	for _, v := range vectors(t) {
		byID[v.ID] = v
		if _, listed := requests()[v.ID]; len(v.Expect) == 0 && !listed {
			t.Errorf("request vector %s is not tested", v.ID)
		}
	}
	everything := everyRequest(t)
	for id, ask := range requests() {
		v, ok := byID[id]
		if !ok {
			t.Errorf("no vector %s", id)
			continue
		}
		want := v.bytes(t)
		if ask.request != "" {
			got, err := dialect(t, v.Proto).Encode(ask.request, ask.options)
			if err != nil || !cmp.Equal(got, want) {
				t.Errorf("%s: request % x, %v; want % x", id, got, err, want)
			}
			continue
		}
		for _, sent := range everything {
			if string(sent) == string(want) {
				t.Errorf("%s: the acting command % x can be produced", id, want)
			}
		}
	}
}

// everyRequest is all that Encode can produce: every dialect, request and option.
func everyRequest(t *testing.T) [][]byte {
	t.Helper()
	var all [][]byte
	words := []weighbridge.Request{weighbridge.Handshake, weighbridge.ReadWeight, weighbridge.ReadStable,
		weighbridge.ReadRepeated, weighbridge.ReadGross, weighbridge.ReadNet, weighbridge.ReadTare,
		weighbridge.Store, "", "zero", "Z", "T", "C", "E", "\r\nZ\r\n"}
	for _, d := range weighbridge.Dialects() {
		for _, r := range words {
			tares := []string{""}
			if d.Name == "yaohua-cmd" {
				tares = []string{"", "C", "D", "E", "Z"}
			}
			for address := -1; address <= 100; address++ {
				for _, tareIs := range tares {
					if b, err := d.Encode(r, weighbridge.Options{Address: address, TareIs: tareIs}); err == nil {
						all = append(all, b)
					}
				}
			}
		}
	}
	return all
}

// Whatever is asked for, and with whatever options, only these bytes ever leave.
func TestNoActingCommandCanBeProduced(t *testing.T) {
	allowed := make(map[string]bool)
	for _, text := range []string{"S\r\n", "SI\r\n", "SIR\r\n", "TA\r\n", "\nW\r", "W", "<RN>", "READ\r\n", "REXT\r\n", "PID\r\n"} {
		allowed[text] = true
	}
	for n := 1; n <= 99; n++ {
		address := string([]byte{byte('0' + n/10), byte('0' + n%10)})
		allowed[address+"READ\r\n"], allowed[address+"REXT\r\n"], allowed[address+"PID\r\n"] = true, true, true
		for _, what := range "tn" {
			sum := byte(0)
			for _, c := range []byte(address + string(what)) {
				sum ^= c
			}
			allowed["$"+address+string(what)+strings.ToUpper(hex.EncodeToString([]byte{sum}))+"\r"] = true
		}
	}
	for a := 'A'; a <= 'Z'; a++ {
		for _, command := range "ABCD" {
			sum := byte(a) ^ byte(command)
			allowed["\x02"+string(a)+string(command)+strings.ToUpper(hex.EncodeToString([]byte{sum}))+"\x03"] = true
		}
	}
	sent := everyRequest(t)
	if len(sent) < 200 {
		t.Fatalf("only %d requests", len(sent))
	}
	for _, b := range sent {
		if !allowed[string(b)] {
			t.Errorf("request % x (%q) is not on the list of reads", b, b)
		}
	}
}

// C and D are asked only when the fitter has proven which one reads the tare.
func TestYaohuaAsksForTareOnlyWhenProven(t *testing.T) {
	d := dialect(t, "yaohua-cmd")
	for _, r := range []weighbridge.Request{weighbridge.ReadTare, weighbridge.ReadNet} {
		if b, err := d.Encode(r, weighbridge.Options{}); err == nil || !strings.Contains(err.Error(), "tare_is") {
			t.Errorf("%s without proof: % x, %v", r, b, err)
		}
	}
	reply := []byte("\x02AC+008000011\x03")
	for tareIs, want := range map[string]device.Kind{"": device.Tare, "C": device.Tare, "D": device.Net} {
		got, _ := decode(t, "yaohua-cmd", weighbridge.Options{TareIs: tareIs}, reply)
		if len(got) != 1 || got[0].Kind != want {
			t.Errorf("tare_is %q: %+v, want one %s", tareIs, got, want)
		}
	}
}
