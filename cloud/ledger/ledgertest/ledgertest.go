// Package ledgertest writes journals as an edge would have written them, for the tests of those who
// take them in.
//
// In: a site's name and a seed. Out: entry lines, batches and payloads, the same for the same seed,
// so that another process can know what a journal must say.
// It promises entries that follow each other and parts that make the net. It does not model a site.
package ledgertest

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"steelyard/internal/chain"
	"steelyard/internal/record"
	"steelyard/internal/unit"
	"steelyard/internal/wire"
)

// Journal is one journal in memory.
type Journal struct {
	Site   string
	ID     string
	Stream wire.Stream
	Key    chain.Key
	Lines  [][]byte     // entry N is at N−1
	Hashes []chain.Hash // of the lines
	At     time.Time    // of the next entry of Shift
	random *rand.Rand
}

// Start is the time of the first entry of a Shift: the morning of a day in Pingdingshan.
func Start() time.Time { return time.Date(2026, 11, 22, 23, 30, 0, 0, time.UTC) }

// New begins a journal of records.
func New(site string, seed uint64) *Journal { return newJournal(site, seed, wire.Records) }

// NewSamples begins a journal of samples.
func NewSamples(site string, seed uint64) *Journal { return newJournal(site, seed, wire.Samples) }

func newJournal(site string, seed uint64, stream wire.Stream) *Journal {
	id := fmt.Sprintf("%016x%016x", seed, uint64(len(stream)))
	return &Journal{Site: site, ID: id, Stream: stream, Key: KeyOf(site), At: Start(), random: rand.New(rand.NewPCG(seed, 1))}
}

// KeyOf is a site's key; no secret.
func KeyOf(site string) chain.Key {
	seed := make([]byte, 32)
	copy(seed, site)
	binary.BigEndian.PutUint64(seed[24:], uint64(len(site)))
	key, err := chain.ParseKey("steelyard-key-1:" + base64.StdEncoding.EncodeToString(seed))
	must(err)
	return key
}

// Last is the number of the newest entry.
func (j *Journal) Last() uint64 { return uint64(len(j.Lines)) }

// Hash is the hash of entry n, the zero hash for 0.
func (j *Journal) Hash(n uint64) chain.Hash {
	if n == 0 {
		return chain.Hash{}
	}
	return j.Hashes[n-1]
}

// Write adds a fact and returns its reference.
func (j *Journal) Write(at time.Time, device string, body record.Body) record.Ref {
	text, err := wire.EncodeBody(body)
	must(err)
	return j.WriteRaw(at, device, body.Kind(), text)
}

// WriteRaw adds an entry with any JSON object as its body, sensible or not.
func (j *Journal) WriteRaw(at time.Time, device string, kind record.Kind, body []byte) record.Ref {
	e := wire.Entry{Site: j.Site, Journal: j.ID, N: j.Last() + 1, At: wire.Time(at), Clock: wire.Synced,
		Kind: kind, Device: device, Prev: j.Hash(j.Last()), Body: body}
	line, err := e.Line()
	must(err)
	j.Lines = append(j.Lines, line)
	j.Hashes = append(j.Hashes, chain.Of(line))
	return record.Ref{Journal: j.ID, N: e.N}
}

// Fork returns a journal that agrees with this one up to n and can be written on differently: an
// old image of the edge's disk, running again.
func (j *Journal) Fork(n uint64, seed uint64) *Journal {
	other := *j
	other.Lines = append([][]byte(nil), j.Lines[:n]...)
	other.Hashes = append([]chain.Hash(nil), j.Hashes[:n]...)
	other.random = rand.New(rand.NewPCG(seed, 2))
	return &other
}

// Payload packs and signs entries first to last.
func (j *Journal) Payload(first, last uint64) []byte { return j.PayloadAfter(first, last, wire.Hole{}) }

// PayloadAfter packs and signs entries that stand after a hole.
func (j *Journal) PayloadAfter(first, last uint64, hole wire.Hole) []byte {
	payload, err := wire.EncodeBatch(j.Site, j.ID, j.Stream, first, j.Hash(first-1), j.Lines[first-1:last], hole, j.Key)
	must(err)
	return payload
}

// Batch is Payload, decoded.
func (j *Journal) Batch(first, last uint64) *wire.Batch {
	return j.BatchAfter(first, last, wire.Hole{})
}

// BatchAfter is PayloadAfter, decoded.
func (j *Journal) BatchAfter(first, last uint64, hole wire.Hole) *wire.Batch {
	b, err := wire.DecodeBatch(j.PayloadAfter(first, last, hole))
	must(err)
	return b
}

// Batches cuts the whole journal into batches of so many entries.
func (j *Journal) Batches(size int) []*wire.Batch {
	var all []*wire.Batch
	for first := uint64(1); first <= j.Last(); first += uint64(size) {
		all = append(all, j.Batch(first, min(first+uint64(size)-1, j.Last())))
	}
	return all
}

// Materials that a Shift uses.
func Materials() []string {
	return []string{"steel", "steel/heavy", "copper", "aluminium", "paper/occ", "plastics/pet", "glass", "battery"}
}

// Shift adds n facts of a working day: lorries weighed in and out, bales, belt standings.
func (j *Journal) Shift(n int) *Journal {
	for range n {
		j.At = j.At.Add(time.Duration(2+j.random.IntN(40)) * time.Second)
		switch pick := j.random.IntN(20); {
		case pick < 4:
			j.Write(j.At, "weighbridge-1", j.weighing())
		case pick < 6:
			j.Write(j.At, "weighbridge-1", j.ticket())
		case pick < 10:
			j.Write(j.At, "baler-1", j.bale())
		default:
			j.Write(j.At, "belt-1", &record.Belt{Raw: int64(j.Last()), Step: unit.Kilogram, Modulus: 1 << 31,
				Standing: unit.Mass(j.Last()) * unit.Kilogram, Material: "steel", Event: record.BeltTick})
		}
	}
	return j
}

func (j *Journal) weighing() *record.Weighing {
	mass := unit.Mass(800+j.random.IntN(2000)) * 20 * unit.Kilogram
	w := &record.Weighing{Mass: mass, Text: mass.KG(), Unit: unit.KG, Shown: "gross", Division: 20 * unit.Kilogram,
		Max: 60 * unit.Tonne, Stability: record.Stability{By: "flag", WindowMS: 2000, Frames: 4, Spread: 0},
		Frames: []string{}, Curve: []record.Point{}, Flags: []string{}}
	for i := range 4 {
		w.Frames = append(w.Frames, fmt.Sprintf("022b303233393630303142%02x03", i))
		w.Curve = append(w.Curve, record.Point{MS: int64(i-4) * 500, Mass: mass})
	}
	return w
}

func (j *Journal) ticket() *record.Ticket {
	t := &record.Ticket{Number: "T" + strconv.FormatUint(j.Last(), 10), Mode: record.TwoPass, Vehicle: "豫D12345",
		Counterparty: "鹰城再生", Operator: "zhang", Tare: 12_300 * unit.Kilogram,
		Parts: []record.Part{}, Deductions: []record.Deduction{}, Flags: []string{}}
	for range 1 + j.random.IntN(2) {
		part := record.Part{Material: j.material(), Mass: unit.Mass(1+j.random.IntN(900)) * 20 * unit.Kilogram}
		t.Parts = append(t.Parts, part)
		t.Net += part.Mass
	}
	t.Gross = t.Tare + t.Net
	t.Direction = record.Inbound
	if j.random.IntN(3) == 0 {
		t.Direction = record.Outbound
		t.Destination = []string{record.ToReuse, record.ToDisposal, record.ToCentre}[j.random.IntN(3)]
	}
	return t
}

func (j *Journal) bale() *record.Bale {
	b := &record.Bale{Number: j.Last(), Material: j.material(), LengthMM: 1100, Strokes: 14, Wires: 5, CycleS: 210, PressureMax: 2150, EnergyWh: 4200}
	if b.Weighed = j.random.IntN(8) != 0; b.Weighed {
		b.Mass = unit.Mass(300+j.random.IntN(400)) * unit.Kilogram
	}
	return b
}

func (j *Journal) material() string { return Materials()[j.random.IntN(len(Materials()))] }

// must stops a test that has asked for what no edge can write.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
