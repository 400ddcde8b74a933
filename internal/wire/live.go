package wire

import (
	"fmt"
	"time"
)

// Live is a message about the newest values of a site, for the eye only. A picture is all of them,
// cut into as many messages as it takes; between two pictures only what changes is said, by its place
// in the picture. Messages are numbered, so that a receiver notices the loss of one; it then knows of
// no value whether it is still so, and asks for a picture.
type Live struct {
	V       int          `json:"v"`
	Site    string       `json:"site"`
	AtMS    int64        `json:"at_ms"`
	Session string       `json:"session"` // as in the status; empty: an older edge, each message stands alone
	N       uint64       `json:"n"`       // of this message in its session, 1 and up without gaps
	Picture uint64       `json:"picture"` // the N with which the picture began that this message is part of, or changes
	First   int          `json:"first"`   // place of the first of Values in the picture
	Of      int          `json:"of"`      // values of the whole picture; 0: this message stands alone
	Values  []LiveValue  `json:"values"`
	AgeMS   int64        `json:"age_ms"` // of the oldest of Changes
	Changes []LiveChange `json:"changes"`
	Ages    []int64      `json:"ages"` // since each device was last heard, in ms, in the order of the picture; empty: not said
}

// LiveValue is one tag of one device. Value is an exact decimal as text, empty when OK is false.
type LiveValue struct {
	Device string `json:"device"`
	Tag    string `json:"tag"`
	Value  string `json:"value"`
	Text   string `json:"text"`
	Unit   string `json:"unit"`
	OK     bool   `json:"ok"`
	AgeMS  int64  `json:"age_ms"`
}

// LiveChange is a value that has changed, by its place in the picture.
type LiveChange struct {
	I     int    `json:"i"`
	Value string `json:"value"`
	Text  string `json:"text"`
	OK    bool   `json:"ok"`
}

// MaxLive is how many live values a site may have: an edge shows no more, a receiver takes no more.
const MaxLive = 10_000

// LiveValues stands in the place of a stream in a request about the live values.
const LiveValues Stream = "live"

// WhyWatch asks for every change of the live values at once, for WatchFor: somebody looks at them.
// WhyHole asks to send again: of the live values, for a picture.
const (
	WhyWatch = "watch"
	WhyHole  = "hole"
	WatchFor = 30 * time.Second
)

// Encode writes the message; V is set.
func (l Live) Encode() []byte { return pack(l.plain()) }

func (l Live) plain() []byte {
	l.V = Version
	// No list is null on the wire.
	if l.Values == nil {
		l.Values = []LiveValue{}
	}
	if l.Changes == nil {
		l.Changes = []LiveChange{}
	}
	if l.Ages == nil {
		l.Ages = []int64{}
	}
	return mustEncode(l)
}

// EncodePicture cuts a picture into messages; head carries what they have in common, and the N of the
// first of them. A picture without values is one message.
func EncodePicture(head Live, values []LiveValue) (messages [][]byte) {
	head.Picture, head.First, head.Of = head.N, 0, len(values)
	for first := true; first || len(values) > 0; first = false {
		n := min(len(values), 512)
		for {
			head.Values = values[:n]
			plain := head.plain()
			if len(plain) <= MaxSmall || n <= 1 {
				messages = append(messages, pack(plain))
				break
			}
			n /= 2
		}
		head.N, head.First, values = head.N+1, head.First+n, values[n:]
	}
	return messages
}

// EncodeChanges writes changes into as many messages as they take, each with the ages.
func EncodeChanges(head Live, changes []LiveChange) (messages [][]byte) {
	for first := true; first || len(changes) > 0; first = false {
		n := min(len(changes), 1024)
		for {
			head.Changes = changes[:n]
			plain := head.plain()
			if len(plain) <= MaxSmall || n <= 1 {
				messages = append(messages, pack(plain))
				break
			}
			n /= 2
		}
		head.N, changes = head.N+1, changes[n:]
	}
	return messages
}

// DecodeLive reads a message about live values and checks it against itself.
func DecodeLive(payload []byte) (l Live, err error) {
	plain, err := unpack(payload)
	if err != nil {
		return l, fmt.Errorf("live: %w", err)
	}
	if err := decode("live", plain, &l); err != nil {
		return l, err
	}
	switch {
	case len(l.Values) > MaxLive, len(l.Changes) > MaxLive, len(l.Ages) > MaxLive, l.Of > MaxLive:
		return l, fmt.Errorf("live: %d values, %d changes, %d ages, a picture of %d: more than %d", len(l.Values), len(l.Changes), len(l.Ages), l.Of, MaxLive)
	case l.First < 0, l.Of < 0, l.Session != "" && l.Of > 0 && l.First+len(l.Values) > l.Of:
		return l, fmt.Errorf("live: values %d to %d of %d", l.First, l.First+len(l.Values), l.Of)
	case l.Session != "" && (l.Picture == 0 || l.Picture > l.N):
		return l, fmt.Errorf("live: message %d of the picture that began with %d", l.N, l.Picture)
	}
	return l, nil
}
