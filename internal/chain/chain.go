// Package chain ties entries together: SHA-256 from each to the one before, Ed25519 over the head.
//
// In: the bytes of entries, keys. Out: hashes, signatures, and the first fault of a run of entries.
// It promises that an entry altered, left out, inserted or moved within a verified run is found
// and named. It does not know what entries say, and a chain alone does not prove who wrote it:
// that is the signature's part.
package chain

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Hash is the SHA-256 of an entry's line. The zero Hash stands before the first entry.
type Hash [sha256.Size]byte

// Of hashes the exact bytes of an entry line, without its newline.
func Of(line []byte) Hash { return sha256.Sum256(line) }

// String is 64 lower-case hexadecimal digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// ParseHash reads what String writes, and nothing else: no capitals, no other length.
func ParseHash[Text string | []byte](text Text) (h Hash, err error) {
	raw := []byte(text)
	bad := len(raw) != 2*len(h)
	for _, c := range raw {
		bad = bad || c >= 'A' && c <= 'F'
	}
	if bad {
		return h, fmt.Errorf("hash %.70q: not 64 lower-case hexadecimal digits", text)
	}
	_, err = hex.Decode(h[:], raw)
	return h, err
}

// MarshalText and UnmarshalText make a Hash travel as its text.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText is ParseHash.
func (h *Hash) UnmarshalText(text []byte) (err error) {
	*h, err = ParseHash(string(text))
	return err
}

// Link is what the chain needs to know of an entry.
type Link struct {
	Journal string
	N       uint64
	Prev    Hash // as the entry states it
	Hash    Hash // as computed over its bytes
}

// FaultError names the first entry of a run at which the chain does not hold.
type FaultError struct {
	Journal string
	N       uint64 // the number at which an entry was due
	Fault   string
}

func (e *FaultError) Error() string {
	return fmt.Sprintf("journal %s: entry %d: %s", e.Journal, e.N, e.Fault)
}

// Follows reports whether next may stand after last; the zero N of last stands before entry 1.
func Follows(last, next Link) error {
	due := last.N + 1
	fault := func(format string, args ...any) error {
		return &FaultError{last.Journal, due, fmt.Sprintf(format, args...)}
	}
	switch {
	case next.Journal != last.Journal:
		return fault("belongs to journal %s", next.Journal)
	case next.N > due:
		return fault("missing, the next there is %d", next.N)
	case next.N < due:
		return fault("number %d stands here again", next.N)
	case next.Prev != last.Hash:
		return fault("does not follow entry %d: it was written after %.12s…, and %d is %.12s…", last.N, next.Prev, last.N, last.Hash)
	}
	return nil
}

// Verify checks a run that begins after last and returns the last good link with the first fault.
func Verify(last Link, run []Link) (Link, error) {
	for _, next := range run {
		if err := Follows(last, next); err != nil {
			return last, err
		}
		last = next
	}
	return last, nil
}

// Key signs for one edge or for the cloud.
type Key struct{ private ed25519.PrivateKey }

// PublicKey checks what a Key signed. The zero PublicKey accepts nothing.
type PublicKey struct{ key ed25519.PublicKey }

// NewKey draws a key from the system's random source.
func NewKey() Key {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil { // crypto/rand ends the process before it returns an error
		panic(err)
	}
	return Key{private}
}

// keyPrefix makes a key file recognisable, and keeps other base64 from being taken for a key.
const keyPrefix = "steelyard-key-1:"

// ErrKey is the error of a text that is not a key. It never quotes the text, which may be a secret.
var ErrKey = errors.New("not a key file: expected one line that begins with " + keyPrefix + "…")

// ParseKey reads what Text writes.
func ParseKey(text string) (Key, error) {
	text, ok := strings.CutPrefix(strings.TrimSpace(text), keyPrefix)
	seed, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(seed) != ed25519.SeedSize {
		return Key{}, ErrKey
	}
	return Key{ed25519.NewKeyFromSeed(seed)}, nil
}

// Text is the secret key for its file.
func (k Key) Text() string {
	return keyPrefix + base64.StdEncoding.EncodeToString(k.private.Seed()) + "\n"
}

// Public is the key's public half.
func (k Key) Public() PublicKey { return PublicKey{k.private.Public().(ed25519.PublicKey)} }

// Sign signs a message and returns the signature in base64.
func (k Key) Sign(message string) string {
	return base64.StdEncoding.EncodeToString(ed25519.Sign(k.private, []byte(message)))
}

// ParsePublicKey reads what PublicKey.String writes. A key of zeros is what stands in a file that was
// copied and not filled in; anybody can sign with it, so it is refused.
func ParsePublicKey(text string) (PublicKey, error) {
	raw, err := base64.StdEncoding.DecodeString(text)
	switch {
	case err != nil || len(raw) != ed25519.PublicKeySize:
		return PublicKey{}, fmt.Errorf("public key %.60q: not %d bytes in base64", text, ed25519.PublicKeySize)
	case !slices.ContainsFunc(raw, func(b byte) bool { return b != 0 }):
		return PublicKey{}, errors.New("placeholder key (all zeros)")
	}
	return PublicKey{raw}, nil
}

// String is the public key in base64.
func (p PublicKey) String() string { return base64.StdEncoding.EncodeToString(p.key) }

// IsZero reports whether the key was left out.
func (p PublicKey) IsZero() bool { return len(p.key) == 0 }

// Verify reports whether the signature of the message was made by the key.
func (p PublicKey) Verify(message, signature string) bool {
	raw, err := base64.StdEncoding.DecodeString(signature)
	return err == nil && len(p.key) == ed25519.PublicKeySize && ed25519.Verify(p.key, []byte(message), raw)
}
