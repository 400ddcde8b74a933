package wire

import (
	"bytes"
	"encoding/json"
	"fmt"

	"steelyard/internal/chain"
)

// Receipt is the cloud's word: every entry of the journal up to N is durable in the ledger.
// Nothing else frees an entry on the edge.
type Receipt struct {
	V       int        `json:"v"`
	Site    string     `json:"site"`
	Journal string     `json:"journal"`
	Stream  Stream     `json:"stream"`
	N       uint64     `json:"n"`    // 0: the ledger holds nothing of this journal
	Hash    chain.Hash `json:"hash"` // of entry N
	AtMS    int64      `json:"at_ms"`
	Sig     string     `json:"sig"` // Ed25519 by the cloud's key
}

func (r Receipt) signed() string {
	return fmt.Sprintf("steelyard receipt %d\n%s\n%s\n%s\n%d\n%s\n%d\n", r.V, r.Site, r.Journal, r.Stream, r.N, r.Hash, r.AtMS)
}

// Encode signs the receipt.
func (r Receipt) Encode(key chain.Key) []byte {
	r.V = Version
	r.Sig = key.Sign(r.signed())
	return mustEncode(r)
}

// DecodeReceipt reads a receipt and checks that it was signed by the cloud.
func DecodeReceipt(payload []byte, by chain.PublicKey) (r Receipt, err error) {
	if err := decode("receipt", payload, &r); err != nil {
		return r, err
	}
	if r.V != Version || !IsJournal(r.Journal) || r.Stream != Records && r.Stream != Samples {
		return r, fmt.Errorf("receipt: version %d, journal %.40q, stream %.20q", r.V, r.Journal, r.Stream)
	}
	if !by.Verify(r.signed(), r.Sig) {
		return r, fmt.Errorf("receipt for journal %s: not signed by the cloud's key %s", r.Journal, by)
	}
	return r, nil
}

// Request asks an edge to send again. It can cost no more than a retransmission, so it carries no
// signature.
type Request struct {
	V       int    `json:"v"`
	Journal string `json:"journal"`
	Stream  Stream `json:"stream"`
	From    uint64 `json:"from"`
	Why     string `json:"why"` // for the edge's log: "hole", or why batches are refused
}

// Status is retained on its topic; the last will puts Online false. Session tells the will of an
// older connection from the state of a newer one.
type Status struct {
	V       int    `json:"v"`
	Site    string `json:"site"`
	Online  bool   `json:"online"`
	Session string `json:"session"`
	AtMS    int64  `json:"at_ms"`
	Version string `json:"version"`
	Last    uint64 `json:"last"`    // newest number of the records journal
	Backlog uint64 `json:"backlog"` // records not yet receipted
	Oldest  int64  `json:"oldest"`  // time of the oldest of them, Unix ms; 0 when there is none
}

// MaxSmall bounds every message but a batch: its bytes before compression.
const MaxSmall = 64 << 10

// Encode writes the message; V is set.
func (r Request) Encode() []byte { r.V = Version; return mustEncode(r) }

// Encode writes the message; V is set.
func (s Status) Encode() []byte { s.V = Version; return mustEncode(s) }

// DecodeRequest reads a request.
func DecodeRequest(payload []byte) (r Request, err error) {
	return r, decode("request", payload, &r)
}

// DecodeStatus reads a status.
func DecodeStatus(payload []byte) (s Status, err error) {
	return s, decode("status", payload, &s)
}

func mustEncode(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil { // plain structs of strings and numbers
		panic(err)
	}
	return data
}

func decode(what string, payload []byte, into any) error {
	if len(payload) > MaxSmall {
		return fmt.Errorf("%s of %d bytes: more than %d", what, len(payload), MaxSmall)
	}
	dec := json.NewDecoder(bytes.NewReader(payload))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
