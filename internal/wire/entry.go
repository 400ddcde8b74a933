// Package wire turns facts into bytes and back: entry lines, batches, receipts, topics.
//
// In: facts of package record with their identity. Out: the exact bytes that are hashed, signed,
// stored and sent, and the same facts read back.
// It promises that decode(encode(x)) = x, that two different byte strings never mean the same
// entry, and that nothing larger than the stated limits is read. The golden files under testdata
// are the contract (docs/wire-format.md).
// It does no I/O, holds no keys and does not judge whether a fact counts.
package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"steelyard/internal/chain"
	"steelyard/internal/record"
)

// Limits of the contract. A sender keeps them, a receiver refuses what exceeds them.
const (
	Version     = 1
	MaxLine     = 64 << 10  // bytes of one entry line
	MaxEntries  = 1024      // entries of one batch
	MaxBatch    = 192 << 10 // bytes of one batch before compression, header included
	MaxSlug     = 40        // characters of a site's or device's name
	CompressAt  = 1 << 10   // batches larger than this travel compressed
	timeLayout  = "2006-01-02T15:04:05.000Z"
	journalSize = 32 // hexadecimal digits of a journal id
)

// Clock says how far the edge's wall clock could be trusted when a fact was written.
type Clock string

// Clock states.
const (
	Synced   Clock = "synced"
	Holdover Clock = "holdover"
	Unsynced Clock = "unsynced"
)

// Stream is one of the two journals of a site.
type Stream string

// The streams.
const (
	Records Stream = "records"
	Samples Stream = "samples"
)

// Entry is a fact with its identity (site, journal, number) and its place in the chain.
type Entry struct {
	Site    string
	Journal string // 128 random bits, hex
	N       uint64 // 1 and up, without gaps
	At      time.Time
	Clock   Clock
	Kind    record.Kind
	Device  string     // empty for facts of the whole site
	Prev    chain.Hash // of entry N−1; zero for N = 1
	Body    []byte     // canonical JSON of a record.Body
}

// Time is a time as the wire carries it: UTC, milliseconds.
func Time(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

// FormatTime writes a time as it stands in an entry.
func FormatTime(t time.Time) string { return Time(t).Format(timeLayout) }

// ParseTime reads a time in the one form in which it stands in an entry.
func ParseTime(text string) (time.Time, error) {
	t, ok := parseTime([]byte(text))
	if !ok {
		return t, fmt.Errorf("time %.40q is not like %s", text, timeLayout)
	}
	return t, nil
}

// EncodeBody writes a body in its one canonical form.
func EncodeBody(b record.Body) ([]byte, error) { return appendBody(nil, b) }

func appendBody(to []byte, b record.Body) ([]byte, error) {
	if s, ok := b.(*record.Sample); ok && plainSample(s) {
		return appendSample(to, s), nil
	}
	buf := bytes.NewBuffer(to)
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(b); err != nil {
		return nil, fmt.Errorf("encode %s: %w", b.Kind(), err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// ErrInvalid marks an entry whose envelope is sound but whose content can't be counted. Such an
// entry keeps its number: it must not block the stream.
var ErrInvalid = errors.New("invalid")

// Decode reads the body, strictly: a known kind, exactly the canonical bytes, no contradiction.
// Every error is an [ErrInvalid].
func (e Entry) Decode() (record.Body, error) {
	body := record.New(e.Kind)
	if body == nil {
		return nil, fmt.Errorf("%w: kind %q is not known to this version", ErrInvalid, e.Kind)
	}
	if err := json.Unmarshal(e.Body, body); err != nil {
		return nil, fmt.Errorf("%w: %s body: %v", ErrInvalid, e.Kind, err)
	}
	// Unknown, doubled and missing fields, blanks and other spellings of a number all show here.
	canonical, err := EncodeBody(body)
	if err != nil || !bytes.Equal(canonical, e.Body) {
		return nil, fmt.Errorf("%w: %s body is not in canonical form", ErrInvalid, e.Kind)
	}
	if err := body.Check(); err != nil {
		return nil, fmt.Errorf("%w: %s: %v", ErrInvalid, e.Kind, err)
	}
	return body, nil
}

// LineOf encodes the body and writes the entry's line around it; Body is then a part of the line.
func (e *Entry) LineOf(b record.Body) ([]byte, error) {
	line := e.envelope(make([]byte, 0, 640))
	at := len(line)
	// The envelope is read as its receiver reads it, with nothing in it. A body that was encoded just
	// now is what it should be.
	if _, err := parseEntry(append(line, "{}}"...), e); err != nil {
		return nil, err
	}
	line, err := appendBody(line, b)
	if err != nil {
		return nil, err
	}
	if line = append(line, '}'); len(line) > MaxLine {
		return nil, fmt.Errorf("entry of %d bytes: more than %d", len(line), MaxLine)
	}
	e.Body = line[at : len(line)-1 : len(line)-1]
	return line, nil
}

// Line writes the entry's line, without a newline: the evidence.
func (e Entry) Line() ([]byte, error) {
	line := append(append(e.envelope(make([]byte, 0, 320+len(e.Body))), e.Body...), '}')
	if _, err := ParseEntry(line); err != nil {
		return nil, err
	}
	return line, nil
}

// envelope is the line up to the body.
func (e *Entry) envelope(line []byte) []byte {
	line = append(line, `{"v":1,"site":"`...)
	line = append(line, e.Site...)
	line = append(line, `","journal":"`...)
	line = append(line, e.Journal...)
	line = append(line, `","n":`...)
	line = strconv.AppendUint(line, e.N, 10)
	line = append(line, `,"at":"`...)
	line = e.At.UTC().AppendFormat(line, timeLayout)
	line = append(line, `","clock":"`...)
	line = append(line, e.Clock...)
	line = append(line, `","kind":"`...)
	line = append(line, e.Kind...)
	line = append(line, `","device":"`...)
	line = append(line, e.Device...)
	line = append(line, `","prev":"`...)
	line = append(line, e.Prev.String()...)
	return append(line, `","body":`...)
}

// ParseEntry reads a line that Line wrote. The envelope has one form only: fields in their order,
// no blanks, no escapes. The body is checked for being one JSON object; Decode reads it.
func ParseEntry(line []byte) (Entry, error) { return parseEntry(line, &Entry{}) }

// parseEntry takes what an entry has in common with the one before it from there, so that a batch
// holds each such text once.
func parseEntry(line []byte, before *Entry) (Entry, error) {
	var e Entry
	if len(line) > MaxLine {
		return e, fmt.Errorf("entry of %d bytes: more than %d", len(line), MaxLine)
	}
	if !utf8.Valid(line) {
		return e, errors.New("entry line: not UTF-8")
	}
	p := parser{rest: line}
	p.expect(`{"v":1,"site":"`)
	e.Site = p.text(before.Site)
	p.expect(`,"journal":"`)
	e.Journal = p.text(before.Journal)
	p.expect(`,"n":`)
	e.N = p.number()
	p.expect(`,"at":"`)
	at := p.bytes()
	p.expect(`,"clock":"`)
	e.Clock = Clock(p.text(string(before.Clock)))
	p.expect(`,"kind":"`)
	e.Kind = record.Kind(p.text(string(before.Kind)))
	p.expect(`,"device":"`)
	e.Device = p.text(before.Device)
	p.expect(`,"prev":"`)
	prev := p.bytes()
	p.expect(`,"body":`)
	if p.err != nil {
		return e, fmt.Errorf("entry line: %w", p.err)
	}
	body, closed := bytes.CutSuffix(p.rest, []byte("}"))
	if e.Body = body; !closed || !isObject(body) {
		return e, errors.New("entry line: the body is not one JSON object on one line")
	}
	var err error
	var ok bool
	if e.At, ok = parseTime(at); !ok {
		return e, fmt.Errorf("entry line: time %.40q is not like %s", at, timeLayout)
	}
	if e.Prev, err = chain.ParseHash(prev); err != nil {
		return e, fmt.Errorf("entry line: prev: %w", err)
	}
	if err := CheckSlug("site", e.Site); err != nil {
		return e, fmt.Errorf("entry line: %w", err)
	}
	if e.Device != "" {
		if err := CheckSlug("device", e.Device); err != nil {
			return e, fmt.Errorf("entry line: %w", err)
		}
	}
	if err := CheckSlug("kind", string(e.Kind)); err != nil {
		return e, fmt.Errorf("entry line: %w", err)
	}
	if !IsJournal(e.Journal) {
		return e, fmt.Errorf("entry line: journal id %.40q is not %d hexadecimal digits", e.Journal, journalSize)
	}
	if e.N == 0 {
		return e, errors.New("entry line: number 0")
	}
	switch e.Clock {
	case Synced, Holdover, Unsynced:
		return e, nil
	}
	return e, fmt.Errorf("entry line: clock state %.20q is not known", e.Clock)
}

// Link is the entry's place in the chain; line must be the entry's own line.
func (e Entry) Link(line []byte) chain.Link {
	return chain.Link{Journal: e.Journal, N: e.N, Prev: e.Prev, Hash: chain.Of(line)}
}

// CheckSlug accepts names of lower-case letters, digits and single inner hyphens, as sites and
// devices carry: they stand in topics, file names and tags without any escaping.
func CheckSlug(what, name string) error {
	bad := len(name) == 0 || len(name) > MaxSlug || name[0] == '-' || name[len(name)-1] == '-'
	for i := range len(name) {
		c := name[i]
		bad = bad || c != '-' && (c < 'a' || c > 'z') && (c < '0' || c > '9')
	}
	if bad {
		return fmt.Errorf("%s %.60q: use 1 to %d of a-z, 0-9 and inner hyphens", what, name, MaxSlug)
	}
	return nil
}

// IsJournal reports whether text is a journal id.
func IsJournal(text string) bool {
	if len(text) != journalSize {
		return false
	}
	for i := range len(text) {
		if c := text[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// parser walks the envelope; after the first error it stands still.
type parser struct {
	rest []byte
	err  error
}

func (p *parser) expect(text string) {
	if p.err != nil {
		return
	}
	if !bytes.HasPrefix(p.rest, []byte(text)) {
		p.err = fmt.Errorf("%q expected at %.40q", text, p.rest)
		return
	}
	p.rest = p.rest[len(text):]
}

// parseTime reads a time in the one form that timeLayout writes.
func parseTime(text []byte) (at time.Time, ok bool) {
	if len(text) != len(timeLayout) {
		return at, false
	}
	n := [7]int{}
	field := 0
	for i, c := range text {
		if want := timeLayout[i]; isDigit(want) {
			if !isDigit(c) {
				return at, false
			}
			n[field] = 10*n[field] + int(c-'0')
		} else if c != want {
			return at, false
		} else if i < len(text)-1 {
			field++
		}
	}
	year, month, day, hour, minute, second := n[0], n[1], n[2], n[3], n[4], n[5]
	at = time.Date(year, time.Month(month), day, hour, minute, second, n[6]*int(time.Millisecond), time.UTC)
	// A day that a month does not have comes out as one of the next.
	return at, month >= 1 && month <= 12 && day >= 1 && at.Day() == day && hour < 24 && minute < 60 && second < 60
}

// text reads up to the closing quote; where it is what stood there before, it is that very text.
func (p *parser) text(before string) string {
	if text := p.bytes(); string(text) != before {
		return string(text)
	}
	return before
}

// bytes reads up to the closing quote. Escapes don't occur in an envelope.
func (p *parser) bytes() []byte {
	if p.err != nil {
		return nil
	}
	end := bytes.IndexByte(p.rest, '"')
	if end < 0 || end > 2*chainDigits || bytes.IndexByte(p.rest[:end], '\\') >= 0 {
		p.err = fmt.Errorf("no plain text at %.40q", p.rest)
		return nil
	}
	text := p.rest[:end]
	p.rest = p.rest[end+1:]
	return text
}

// chainDigits is the longest text of an envelope: a hash.
const chainDigits = 64

func (p *parser) number() uint64 {
	if p.err != nil {
		return 0
	}
	end := 0
	for end < len(p.rest) && isDigit(p.rest[end]) {
		end++
	}
	n, err := strconv.ParseUint(string(p.rest[:end]), 10, 63)
	if err != nil || (end > 1 && p.rest[0] == '0') {
		p.err = fmt.Errorf("no number at %.40q", p.rest)
	}
	p.rest = p.rest[end:]
	return n
}
