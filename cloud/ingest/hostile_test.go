package ingest_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"steelyard/cloud/ingest"
	"steelyard/cloud/ledger"
	"steelyard/cloud/ledger/ledgertest"
	"steelyard/internal/chain"
	"steelyard/internal/record"
	"steelyard/internal/wire"
)

// small is a journal whose batches travel uncompressed, so that they can be spoilt by hand.
func small(site string, seed uint64) *ledgertest.Journal {
	j := ledgertest.New(site, seed)
	for n := range 3 {
		j.Write(ledgertest.Start(), "baler-1", &record.Device{State: "online", Detail: fmt.Sprint(n)})
	}
	return j
}

func packed(t *testing.T, plain []byte, window int) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil, zstd.WithWindowSize(window))
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(plain, nil)
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	const site = "xinhua-1"
	j := small(site, 77)
	plain := j.Payload(1, 1)
	change := func(old, replaced string) []byte {
		if !bytes.Contains(plain, []byte(old)) {
			t.Fatalf("%q is not in the batch", old)
		}
		return bytes.Replace(plain, []byte(old), []byte(replaced), 1)
	}
	header, line, _ := bytes.Cut(plain, []byte("\n"))
	big := ledgertest.New(site, 78).Shift(100).Payload(1, 100)
	flipped := bytes.Clone(big)
	flipped[len(flipped)/2] ^= 1
	stolen := small(site, 79)
	stolen.Key = ledgertest.KeyOf("ruzhou-1")
	samples := ledgertest.NewSamples(site, 80)
	samples.Write(ledgertest.Start(), "", &record.Sample{Values: []record.SampleValue{}})
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	if _, err := z.Write(plain); err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	records := wire.TopicOf(site, wire.Records)

	cases := []struct {
		name, topic string
		payload     []byte
		reason      string
	}{
		{"empty", records, nil, ingest.ReasonMalformed},
		{"one byte", records, []byte{0}, ingest.ReasonMalformed},
		{"64 KiB and one", records, make([]byte, 64<<10+1), ingest.ReasonMalformed},
		{"10 MB", records, make([]byte, 10_000_000), ingest.ReasonSize},
		{"cut zstd", records, big[:len(big)/2], ingest.ReasonMalformed},
		{"flipped bit in zstd", records, flipped, ingest.ReasonMalformed},
		{"zstd bomb", records, packed(t, make([]byte, 200<<20), 1<<20), ingest.ReasonMalformed},
		{"zstd bomb with a wide window", records, packed(t, make([]byte, 64<<20), 64<<20), ingest.ReasonMalformed},
		{"gzip", records, zipped.Bytes(), ingest.ReasonMalformed},
		{"byte order mark", records, append([]byte("\xEF\xBB\xBF"), plain...), ingest.ReasonMalformed},
		{"not UTF-8", records, append([]byte{0xC3, 0x28}, plain...), ingest.ReasonMalformed},
		{"header twice", records, append(append(bytes.Clone(header), '\n'), plain...), ingest.ReasonMalformed},
		{"duplicate key", records, change(`{"v":1,"site"`, `{"v":1,"v":1,"site"`), ingest.ReasonMalformed},
		{"unknown field", records, change(`{"v":1,"site"`, `{"x":1,"v":1,"site"`), ingest.ReasonMalformed},
		{"deep", records, []byte(strings.Repeat("[", 10_000) + "\n"), ingest.ReasonMalformed},
		{"number of 2⁵³+1 entries", records, change(`"last":1,`, `"last":9007199254740993,`), ingest.ReasonMalformed},
		{"first after last", records, change(`"first":1,`, `"first":2,`), ingest.ReasonMalformed},
		{"first 0", records, change(`"first":1,`, `"first":0,`), ingest.ReasonMalformed},
		{"1e400", records, change(`"first":1,`, `"first":1e400,`), ingest.ReasonMalformed},
		{"NaN", records, change(`"first":1,`, `"first":NaN,`), ingest.ReasonMalformed},
		{"trailing data", records, append(bytes.Clone(plain), "x\n"...), ingest.ReasonMalformed},
		{"no newline at the end", records, plain[:len(plain)-1], ingest.ReasonMalformed},
		{"header only", records, append(bytes.Clone(header), '\n'), ingest.ReasonMalformed},
		{"entry only", records, line, ingest.ReasonMalformed},
		{"altered entry", records, change(`"detail":"0"`, `"detail":"1"`), ingest.ReasonMalformed},
		{"broken chain", records, change(j.Hash(1).String(), chain.Of([]byte("x")).String()), ingest.ReasonMalformed},
		{"gap for no reason", records, change(`"gap":0,"reason":""`, `"gap":0,"reason":"thinned"`), ingest.ReasonMalformed},
		{"future version", records, change(`{"v":1,"site"`, `{"v":2,"site"`), ingest.ReasonVersion},
		{"future version with new fields", records, change(`{"v":1,"site"`, `{"v":7,"lane":3,"site"`), ingest.ReasonVersion},
		{"another site's batch", records, small("ruzhou-1", 81).Payload(1, 2), ingest.ReasonSite},
		{"samples among records", records, samples.Payload(1, 1), ingest.ReasonStream},
		{"records among samples", wire.TopicOf(site, wire.Samples), j.Payload(1, 2), ingest.ReasonStream},
		{"signed by another site", records, stolen.Payload(1, 3), ingest.ReasonSignature},
		{"unsigned", records, change(`"sig":"`, `"sig":"AAAA`), ingest.ReasonSignature},
		{"not enrolled", wire.TopicOf("stranger", wire.Records), small("stranger", 82).Payload(1, 3), ingest.ReasonUnknownSite},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			town := newTown(t, 0, site, "ruzhou-1")
			town.start()
			good := ledgertest.New("ruzhou-1", 5).Shift(20)
			town.send(good, 1, 10)
			town.Handle(c.topic, c.payload, false)
			town.send(good, 11, 20)
			town.until("it is refused", func() bool { return town.Stats().Refused[c.reason] == 1 })
			town.until("good ones flow", func() bool { return town.receipted(good) == 20 })
			town.until("evidence is kept", func() bool {
				counts, err := town.ledger.Counts(t.Context())
				return err == nil && counts.Evidence == 1
			})
			if len(town.Stats().Refused) != 1 {
				t.Errorf("%+v", town.Stats())
			}
			kept, err := town.ledger.Quarantined(t.Context(), 10)
			if err != nil || len(kept) != 1 {
				t.Fatalf("%d kept, %v", len(kept), err)
			}
			q := kept[0]
			want := c.payload[:min(len(c.payload), ledger.MaxEvidence)]
			if q.Reason != c.reason || q.Why == "" || q.Size != len(c.payload) || !bytes.Equal(q.Evidence, want) {
				t.Errorf("kept %s (%s), %d bytes", q.Reason, q.Why, q.Size)
			}
			if q.Alarm != (c.reason == ingest.ReasonSignature) {
				t.Errorf("alarm: %v", q.Alarm)
			}
			if c.reason != ingest.ReasonUnknownSite {
				town.until("the site is told", func() bool { return town.told(site, c.reason) })
			}
			town.holds(good)
			if known, err := town.ledger.Positions(t.Context()); err != nil || len(known) != 1 {
				t.Errorf("refused bytes have opened a journal: %+v, %v", known, err)
			}
		})
	}
}

// TestWhatTheCorpusSpoils is the control of the one above: the same batch, not spoilt, is taken.
func TestWhatTheCorpusSpoils(t *testing.T) {
	town := newTown(t, 0, "xinhua-1")
	town.start()
	j := small("xinhua-1", 77)
	town.send(j, 1, 1)
	town.until("it is receipted", func() bool { return town.receipted(j) == 1 })
}

func TestFloodOfRubbish(t *testing.T) {
	t.Parallel()
	town := newTown(t, 0, "xinhua-1", "ruzhou-1")
	town.start()
	good := ledgertest.New("ruzhou-1", 5).Shift(400)
	for n := range 400 {
		for k := range 5 {
			town.Handle(wire.TopicOf("xinhua-1", wire.Records), fmt.Appendf(nil, "rubbish %d %d", n, k), false)
			town.Handle(wire.TopicOf(fmt.Sprintf("stranger-%d", n), wire.Records), fmt.Appendf(nil, "rubbish %d %d", n, k), false)
		}
		town.send(good, uint64(n+1), uint64(n+1))
	}
	town.until("all is judged", func() bool {
		s := town.Stats()
		return s.Refused[ingest.ReasonMalformed] == 2000 && s.Refused[ingest.ReasonUnknownSite] == 2000 && town.receipted(good) == 400
	})
	town.holds(good)
	c, err := town.ledger.Counts(t.Context())
	if s := town.Stats(); err != nil || c.Evidence == 0 || c.Evidence > 100 || s.EvidenceDropped < 3900 {
		t.Errorf("%d pieces kept of 4000, %d not: %v", c.Evidence, s.EvidenceDropped, err)
	}
}
