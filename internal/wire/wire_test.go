package wire_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"steelyard/internal/chain"
	"steelyard/internal/record"
	"steelyard/internal/wire"
)

var update = flag.Bool("update", false, "write the golden files anew: a change of the contract")

const journal = "00112233445566778899aabbccddeeff"

// key is fixed, so that the golden files are.
func key(t testing.TB) chain.Key {
	t.Helper()
	k, err := chain.ParseKey("steelyard-key-1:" + "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// examples has one body of each kind, with nothing left empty.
func examples() []record.Body {
	return []record.Body{
		&record.Opened{Version: "v1.0.0", Build: "abc", Config: "00", Key: "k", Previous: record.Ref{Journal: journal, N: 9}, Reason: "start"},
		&record.Weighing{Mass: 23_960_000, Text: "23960", Unit: "kg", Shown: "gross", Division: 20_000, Max: 60_000_000,
			Stability: record.Stability{By: "inferred", WindowMS: 2000, Frames: 21, Spread: 0}, Frames: []string{"022b303233393630303135 03"},
			Curve: []record.Point{{MS: -4000, Mass: 8_000_000}, {MS: 0, Mass: 23_960_000}}, Alibi: "17", Flags: []string{"zero-not-seen"}},
		&record.Ticket{Number: "20261123-0011-0001", Direction: "outbound", Destination: "reuse", Mode: "two-pass", Passage: "p-1", Vehicle: "豫D·12345",
			Counterparty: "<钢厂> & Co", Operator: "op-1", Gross: 30_000_000, Tare: 12_000_000, Net: 18_000_000,
			Parts:      []record.Part{{Material: "steel/heavy-melt", Mass: 17_000_000}, {Material: "copper", Mass: 1_000_000}},
			Deductions: []record.Deduction{{Mass: 100_000, Reason: "moisture"}}, GrossRef: record.Ref{Journal: journal, N: 7}, TareRef: record.Ref{Journal: journal, N: 3}, Flags: []string{}},
		&record.Bale{Number: 412, Material: "paper/occ", Mass: 405_300, Weighed: true, LengthMM: 1100, Strokes: 14, Wires: 4, CycleS: 120, PressureMax: 1805, EnergyWh: 2300, EndedAt: 1_795_000_000, Missed: 1},
		&record.Belt{Raw: 999_999, Step: 1000, Modulus: 1_000_000, Standing: 123_456_000, Material: "plastics/pet", Event: "wrap"},
		&record.Tare{Vehicle: "豫D12345", Mass: 12_000_000, Weighing: record.Ref{Journal: journal, N: 3}, Operator: "op-1", ExpiresAt: 1_795_000_000},
		&record.Stock{Material: "steel", Mass: 5_000_000, Method: "count", Operator: "op-1"},
		&record.Correction{Target: record.Ref{Journal: journal, N: 3}, Action: "void", Reason: "wrong plate", Operator: "op-1", Second: "op-2", Replacement: ""},
		&record.Device{State: "silent", Detail: "no answer", Counter: 411},
		&record.Operator{Operator: "op-1", Action: "weigh-in", Passage: "p-1", Vehicle: "豫D12345", Direction: "inbound", Material: "steel", Counterparty: "c",
			Weighing: record.Ref{Journal: journal, N: 3}, Detail: "d", Flags: []string{"f"}},
		&record.Clock{StepMS: -3600000, State: "synced"},
		&record.Gap{Journal: journal, From: 3, To: 9, Reason: "thinned"},
		&record.Sample{Values: []record.SampleValue{{Tag: "rate", Value: "12.34", Text: "", Unit: "t/h", OK: true}, {Tag: "state", Value: "", Text: "running", Unit: "", OK: true}}},
	}
}

func lines(t testing.TB, from uint64, prev chain.Hash, bodies ...record.Body) (all [][]byte) {
	t.Helper()
	for i, b := range bodies {
		body, err := wire.EncodeBody(b)
		if err != nil {
			t.Fatal(err)
		}
		e := wire.Entry{Site: "xinhua-1", Journal: journal, N: from + uint64(i), At: time.Date(2026, 11, 23, 3, 21, 7, 412e6, time.UTC),
			Clock: wire.Synced, Kind: b.Kind(), Device: "weighbridge-1", Prev: prev, Body: body}
		line, err := e.Line()
		if err != nil {
			t.Fatal(err)
		}
		all, prev = append(all, line), chain.Of(line)
	}
	return all
}

// The golden files are the contract: a line of each kind, a batch, a receipt.
func TestGolden(t *testing.T) {
	golden := map[string][]byte{}
	all := lines(t, 1, chain.Hash{}, examples()...)
	for i, b := range examples() {
		golden[string(b.Kind())+".v1.json"] = append(all[i], '\n')
	}
	golden["sample-machine.v1.json"] = append(lines(t, 14, chain.Of(all[12]), &record.Sample{Machine: record.BeltScale, Name: "1号皮带秤", English: "Belt 1",
		Values: []record.SampleValue{{Tag: "rate", Value: "12.34", Text: "", Unit: "t/h", OK: true}}})[0], '\n')
	golden["thinning.v1.json"] = append(lines(t, 15, chain.Hash{}, &record.Thinning{EveryMS: 5000, LeftOut: 12, Daily: 1 << 30})[0], '\n')
	batch, err := wire.EncodeBatch("xinhua-1", journal, wire.Records, 1, chain.Hash{}, all[:1], wire.Hole{}, key(t))
	if err != nil {
		t.Fatal(err)
	}
	golden["batch.v1"] = batch
	golden["receipt.v1.json"] = wire.Receipt{Site: "xinhua-1", Journal: journal, Stream: wire.Records, N: 13, Hash: chain.Of(all[12]), AtMS: 1_795_000_000_000}.Encode(key(t))
	golden["request.v1.json"] = wire.Request{Journal: journal, Stream: wire.Records, From: 5, Why: "hole"}.Encode()
	golden["machines.v1.json"] = wire.Machines{Site: "xinhua-1", Machines: []wire.MachineName{{Device: "weighbridge-1", Name: "1号地磅", English: "Weighbridge 1"}}}.Encode()
	golden["status.v1.json"] = wire.Status{Site: "xinhua-1", Online: true, Session: "s", AtMS: 1, Version: "v", Last: 3, Backlog: 1, Oldest: 2}.Encode()
	head := wire.Live{Site: "xinhua-1", AtMS: 1, Session: "s", N: 8}
	golden["live-picture.v1.json"] = wire.EncodePicture(head, []wire.LiveValue{{Device: "belt-1", Tag: "rate", Value: "1.5", Unit: "t/h", OK: true, AgeMS: 7}})[0]
	head.N, head.Picture, head.AgeMS, head.Ages = 9, 8, 5, []int64{5}
	golden["live-changes.v1.json"] = wire.EncodeChanges(head, []wire.LiveChange{{I: 0, Value: "1.6", OK: true}})[0]
	for name, got := range golden {
		path := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s has changed; got\n%s\nwant\n%s", name, got, want)
		}
	}
}

func TestEveryKindComesBack(t *testing.T) {
	for i, line := range lines(t, 1, chain.Hash{}, examples()...) {
		e, err := wire.ParseEntry(line)
		if err != nil {
			t.Fatal(err)
		}
		body, err := e.Decode()
		if err != nil {
			t.Errorf("%s: %v", e.Kind, err)
			continue
		}
		if diff := cmp.Diff(examples()[i], body); diff != "" {
			t.Errorf("%s: %s", e.Kind, diff)
		}
		if again, err := e.Line(); err != nil || !bytes.Equal(again, line) {
			t.Errorf("%s: line changed, %v", e.Kind, err)
		}
	}
}

func TestEnvelopeHasOneForm(t *testing.T) {
	good := string(lines(t, 1, chain.Hash{}, examples()[10])[0])
	for name, bad := range map[string]string{
		"empty":              "",
		"blank after brace":  strings.Replace(good, `{"v"`, `{ "v"`, 1),
		"other order":        strings.Replace(good, `"site":"xinhua-1","journal":"`+journal+`"`, `"journal":"`+journal+`","site":"xinhua-1"`, 1),
		"doubled key":        strings.Replace(good, `"n":1,`, `"n":1,"n":2,`, 1),
		"escaped site":       strings.Replace(good, `xinhua-1`, `xinhu\u0061-1`, 1),
		"site with slash":    strings.Replace(good, `xinhua-1`, `xinhua/1`, 1),
		"capital in site":    strings.Replace(good, `xinhua-1`, `Xinhua-1`, 1),
		"short journal":      strings.Replace(good, journal, journal[1:], 1),
		"number 0":           strings.Replace(good, `"n":1,`, `"n":0,`, 1),
		"number 01":          strings.Replace(good, `"n":1,`, `"n":01,`, 1),
		"negative number":    strings.Replace(good, `"n":1,`, `"n":-1,`, 1),
		"float number":       strings.Replace(good, `"n":1,`, `"n":1e0,`, 1),
		"number too large":   strings.Replace(good, `"n":1,`, `"n":9223372036854775808,`, 1),
		"time without ms":    strings.Replace(good, `07.412Z`, `07Z`, 1),
		"time with zone":     strings.Replace(good, `07.412Z`, `07.412+08:00`, 1),
		"month 13":           strings.Replace(good, `2026-11`, `2026-13`, 1),
		"clock unknown":      strings.Replace(good, `synced`, `sundial`, 1),
		"prev in capitals":   strings.Replace(good, strings.Repeat("0", 64), strings.Repeat("A", 64), 1),
		"no body":            strings.Split(good, `,"body"`)[0] + "}",
		"body is a number":   strings.Split(good, `,"body"`)[0] + `,"body":5}`,
		"body is two":        strings.Split(good, `,"body"`)[0] + `,"body":{},"x":{}}`,
		"cut off":            good[:len(good)-1],
		"something behind":   good + " ",
		"version 2":          strings.Replace(good, `{"v":1`, `{"v":2`, 1),
		"not UTF-8":          strings.Replace(good, "synced", "syn\xffced", 2),
		"newline in body":    strings.Split(good, `,"body"`)[0] + ",\"body\":{\"a\":\n1}}",
		"longer than a line": strings.Replace(good, `"state":"synced"`, `"state":"`+strings.Repeat("x", wire.MaxLine)+`"`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			if e, err := wire.ParseEntry([]byte(bad)); err == nil {
				t.Errorf("%s was read: %+v", name, e)
			}
		})
	}
}

func TestInvalidBodiesKeepTheirNumber(t *testing.T) {
	ticket := `{"number":"1","direction":"inbound","destination":"","mode":"two-pass","passage":"","vehicle":"v","counterparty":"","operator":"o","gross":30,"tare":10,"net":20,"parts":[{"material":"steel","mass":20}],"deductions":[],"gross_ref":{"journal":"","n":0},"tare_ref":{"journal":"","n":0},"flags":[]}`
	entry := func(kind record.Kind, body string) error {
		e := wire.Entry{Site: "s", Journal: journal, N: 1, At: time.Unix(0, 0), Clock: wire.Synced, Kind: kind, Body: []byte(body)}
		line, err := e.Line()
		if err != nil {
			return fmt.Errorf("envelope: %w", err)
		}
		parsed, err := wire.ParseEntry(line)
		if err != nil {
			return fmt.Errorf("envelope: %w", err)
		}
		_, err = parsed.Decode()
		return err
	}
	if err := entry(record.KindTicket, ticket); err != nil {
		t.Fatalf("the good one: %v", err)
	}
	for name, body := range map[string]string{
		"net is not gross − tare": strings.Replace(ticket, `"net":20`, `"net":21`, 1),
		"parts are not the net":   strings.Replace(ticket, `"mass":20`, `"mass":19`, 1),
		"unknown direction":       strings.Replace(ticket, "inbound", "sideways", 1),
		"unknown field":           strings.Replace(ticket, `"flags"`, `"bonus":1,"flags"`, 1),
		"doubled field":           strings.Replace(ticket, `"net":20`, `"net":20,"net":20`, 1),
		"blank":                   strings.Replace(ticket, `"net":20`, `"net": 20`, 1),
		"float":                   strings.Replace(ticket, `"net":20`, `"net":2e1`, 1),
		"mass as text":            strings.Replace(ticket, `"net":20`, `"net":"20"`, 1),
		"missing field":           strings.Replace(ticket, `"flags":[]`, `"f":[]`, 1),
		"null list":               strings.Replace(ticket, `"parts":[{"material":"steel","mass":20}]`, `"parts":null`, 1),
		"negative":                strings.NewReplacer(`"gross":30`, `"gross":-30`, `"net":20`, `"net":-40`).Replace(ticket),
		"heavier than a mountain": strings.NewReplacer(`"gross":30`, `"gross":99999999999999`, `"net":20`, `"net":99999999999989`, `"mass":20`, `"mass":99999999999989`).Replace(ticket),
		"2^63":                    strings.Replace(ticket, `"net":20`, `"net":9223372036854775808`, 1),
		"empty":                   `{}`,
	} {
		if err := entry(record.KindTicket, body); !errors.Is(err, wire.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := entry("horoscope", `{}`); !errors.Is(err, wire.ErrInvalid) {
		t.Errorf("unknown kind: %v", err)
	}
	if err := entry(record.KindWeighing, `{"mass":23960000,"text":"2396","unit":"kg","shown":"","division":20000,"max":60000000,"stability":{"by":"flag","window_ms":1,"frames":3,"spread":0},"frames":[],"curve":[],"alibi":"","flags":[]}`); !errors.Is(err, wire.ErrInvalid) {
		t.Errorf("digits and mass differ: %v", err)
	}
}

func TestBatchComesBack(t *testing.T) {
	all := lines(t, 5, chain.Of([]byte("4")), examples()...)
	for _, hole := range []wire.Hole{{}, {From: 2, Reason: "damaged"}} {
		payload, err := wire.EncodeBatch("xinhua-1", journal, wire.Records, 5, chain.Of([]byte("4")), all, hole, key(t))
		if err != nil {
			t.Fatal(err)
		}
		b, err := wire.DecodeBatch(payload)
		if err != nil {
			t.Fatal(err)
		}
		if b.First != 5 || b.Last != 17 || b.Gap != hole.From || !b.Signed(key(t).Public()) || b.Signed(chain.NewKey().Public()) {
			t.Errorf("header %+v", b.Header)
		}
		for i := range all {
			if !bytes.Equal(b.Lines[i], all[i]) {
				t.Errorf("line %d changed", i)
			}
		}
	}
}

func TestEveryFieldOfTheHeaderIsSigned(t *testing.T) {
	payload, err := wire.EncodeBatch("xinhua-1", journal, wire.Records, 5, chain.Hash{}, lines(t, 5, chain.Hash{}, examples()[10]), wire.Hole{From: 3, Reason: "thinned"}, key(t))
	if err != nil {
		t.Fatal(err)
	}
	b, err := wire.DecodeBatch(payload)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*wire.Header){
		"site": func(h *wire.Header) { h.Site = "weidong-1" }, "journal": func(h *wire.Header) { h.Journal = strings.Repeat("f", 32) },
		"stream": func(h *wire.Header) { h.Stream = wire.Samples }, "first": func(h *wire.Header) { h.First++ }, "last": func(h *wire.Header) { h.Last++ },
		"prev": func(h *wire.Header) { h.Prev[0]++ }, "head": func(h *wire.Header) { h.Head[0]++ }, "gap": func(h *wire.Header) { h.Gap++ },
		"reason": func(h *wire.Header) { h.Reason = "damaged" }, "version": func(h *wire.Header) { h.V++ },
	} {
		t.Run(name, func(t *testing.T) {
			h := b.Header
			change(&h)
			if h.Signed(key(t).Public()) {
				t.Errorf("%s can be changed under the signature", name)
			}
		})
	}
}

func TestBatchesThatAreRefused(t *testing.T) {
	all := lines(t, 1, chain.Hash{}, examples()...)
	good, err := wire.EncodeBatch("xinhua-1", journal, wire.Records, 1, chain.Hash{}, all, wire.Hole{}, key(t))
	if err != nil {
		t.Fatal(err)
	}
	plain := unzip(t, good)
	bomb := zip(t, bytes.Repeat([]byte("x"), 64<<20))
	swapped := bytes.Join([][]byte{headOf(plain), all[1], all[0], nil}, []byte("\n"))
	header := func(old, new string) []byte { return bytes.Replace(plain, []byte(old), []byte(new), 1) }
	for name, bad := range map[string][]byte{
		"empty": {}, "one byte": {1}, "10 MB": bytes.Repeat([]byte("x"), 10<<20), "zstd bomb": bomb, "truncated zstd": good[:len(good)/2],
		"zstd of nothing": zip(t, nil), "no header": []byte("\n"), "header only": append(headOf(plain), '\n'),
		"cut within a line": plain[:len(plain)-5], "swapped lines": swapped, "version 2": header(`{"v":1,"site"`, `{"v":2,"site"`),
		"unknown header field": header(`{"v":1,"site"`, `{"v":1,"x":1,"site"`), "blank in header": header(`{"v":1,`, `{"v":1, `),
		"another site's entries": header(`{"v":1,"site":"xinhua-1"`, `{"v":1,"site":"weidong-1"`), "stream": header(`"stream":"records"`, `"stream":"gossip"`),
		"first 0": header(`"first":1,"last":13`, `"first":0,"last":13`), "last before first": header(`"first":1,"last":13`, `"first":14,"last":13`),
		"one entry more promised": header(`"last":13`, `"last":14`), "gap after first": header(`"gap":0,"reason":""`, `"gap":1,"reason":"thinned"`),
		"reason without gap": header(`"reason":""`, `"reason":"thinned"`), "BOM": append([]byte("\xef\xbb\xbf"), plain...),
		"altered entry": bytes.Replace(plain, []byte(`"mass":405300`), []byte(`"mass":405301`), 1),
	} {
		t.Run(name, func(t *testing.T) {
			if b, err := wire.DecodeBatch(bad); err == nil {
				t.Errorf("%s was read: %+v", name, b.Header)
			} else if strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: error of more than one line: %v", name, err)
			}
		})
	}
	if _, err := wire.DecodeBatch(header(`{"v":1,"site"`, `{"v":2,"novelty":true,"site"`)); err == nil || !strings.Contains(err.Error(), "newer") {
		t.Errorf("a future version is not told: %v", err)
	}
}

func headOf(plain []byte) []byte {
	head, _, _ := bytes.Cut(plain, []byte("\n"))
	return bytes.Clone(head)
}

func zip(t testing.TB, plain []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(plain, nil)
}

func unzip(t testing.TB, data []byte) []byte {
	t.Helper()
	r, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	plain, err := r.DecodeAll(data, nil)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

func TestReceipts(t *testing.T) {
	cloud, other := chain.NewKey(), chain.NewKey()
	r := wire.Receipt{Site: "xinhua-1", Journal: journal, Stream: wire.Records, N: 9, Hash: chain.Of([]byte("9")), AtMS: 5}
	payload := r.Encode(cloud)
	got, err := wire.DecodeReceipt(payload, cloud.Public())
	if err != nil || got.N != 9 || got.Hash != r.Hash {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := wire.DecodeReceipt(payload, other.Public()); err == nil {
		t.Error("a receipt of another key frees entries")
	}
	for _, change := range []string{`"n":9→"n":10`, `xinhua-1→xinhua-2`, `"records"→"samples"`, `"at_ms":5→"at_ms":6`, journal + "→" + strings.Repeat("0", 32)} {
		old, new, _ := strings.Cut(change, "→")
		if _, err := wire.DecodeReceipt(bytes.Replace(payload, []byte(old), []byte(new), 1), cloud.Public()); err == nil {
			t.Errorf("forged: %s", change)
		}
	}
	for _, bad := range []string{"", "{}", "null", "[]", strings.Repeat("[", 70000), `{"v":1,"n":-1}`} {
		if _, err := wire.DecodeReceipt([]byte(bad), cloud.Public()); err == nil {
			t.Errorf("%.20q was taken for a receipt", bad)
		}
	}
}

func TestTopics(t *testing.T) {
	site, rest, err := wire.SplitTopic(wire.TopicOf("xinhua-1", wire.Records))
	if err != nil || site != "xinhua-1" || rest != "records" {
		t.Error(site, rest, err)
	}
	for _, topic := range []string{"", "steelyard/v1", "steelyard/v1/x", "steelyard/v2/x/records", "steelyard/v1/+/records", "steelyard/v1//records", "other/x/records"} {
		t.Run(topic, func(t *testing.T) {
			if _, _, err := wire.SplitTopic(topic); err == nil {
				t.Errorf("%q was split", topic)
			}
		})
	}
}

func FuzzEntry(f *testing.F) {
	for _, line := range lines(f, 1, chain.Hash{}, examples()...) {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		e, err := wire.ParseEntry(line)
		if err != nil {
			return
		}
		again, err := e.Line()
		if err != nil || !bytes.Equal(again, line) {
			t.Fatalf("two forms of one entry:\n%q\n%q\n%v", line, again, err)
		}
		body, err := e.Decode()
		if err != nil {
			return
		}
		encoded, err := wire.EncodeBody(body)
		if err != nil || !bytes.Equal(encoded, e.Body) {
			t.Fatalf("two forms of one body: %q, %q", encoded, e.Body)
		}
		if !json.Valid(line) {
			t.Fatalf("not JSON: %q", line)
		}
	})
}

func FuzzBatch(f *testing.F) {
	all := lines(f, 1, chain.Hash{}, examples()...)
	for _, n := range []int{1, 5, 13} {
		payload, err := wire.EncodeBatch("xinhua-1", journal, wire.Records, 1, chain.Hash{}, all[:n], wire.Hole{}, key(f))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(payload)
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		b, err := wire.DecodeBatch(payload)
		if err != nil {
			return
		}
		if len(b.Lines) != int(b.Last-b.First+1) || chain.Of(b.Lines[len(b.Lines)-1]) != b.Head {
			t.Fatalf("a batch that is not what its header says: %+v", b.Header)
		}
	})
}
