package wire_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"steelyard/internal/wire"
)

func liveValues(n int, text string) (all []wire.LiveValue) {
	for i := range n {
		all = append(all, wire.LiveValue{Device: fmt.Sprint("belt-", i/40), Tag: fmt.Sprint("tag-", i%40), Text: text, Unit: "t/h", OK: true, AgeMS: int64(i)})
	}
	return all
}

// TestPictureOfAnySizeTravels: what one message can't hold is cut, and each message is within the limit
// that its receiver sets, whatever stands in it.
func TestPictureOfAnySizeTravels(t *testing.T) {
	for _, size := range []int{0, 1, 740, 800, 2400, wire.MaxLive} {
		for _, text := range []string{"running", strings.Repeat("\x01", 200)} {
			want := liveValues(size, text)
			var got []wire.LiveValue
			messages := wire.EncodePicture(wire.Live{Site: "xinhua-1", Session: "s", N: 5}, want)
			for i, m := range messages {
				l, err := wire.DecodeLive(m)
				if err != nil {
					t.Fatalf("%d values: message %d: %v", size, i, err)
				}
				if l.N != uint64(5+i) || l.Picture != 5 || l.First != len(got) || l.Of != size {
					t.Fatalf("%d values: message %d says %d of picture %d, from %d of %d", size, i, l.N, l.Picture, l.First, l.Of)
				}
				got = append(got, l.Values...)
			}
			if !cmp.Equal(want, got) {
				t.Errorf("%d values: another picture comes out", size)
			}
		}
	}
	// Negative control: in one message, as before, they do not.
	if _, err := wire.DecodeLive(wire.Live{Site: "xinhua-1", Values: liveValues(800, "running")}.Encode()); err == nil {
		t.Error("800 values in one message are taken: the test proves nothing")
	}
}

func TestChangesTravel(t *testing.T) {
	var want, got []wire.LiveChange
	for i := range wire.MaxLive {
		want = append(want, wire.LiveChange{I: i, Value: fmt.Sprint(i, ".5"), OK: true})
	}
	for i, m := range wire.EncodeChanges(wire.Live{Site: "xinhua-1", Session: "s", N: 7, Picture: 3, Ages: []int64{1}}, want) {
		l, err := wire.DecodeLive(m)
		if err != nil || l.N != uint64(7+i) || l.Picture != 3 || l.Of != 0 {
			t.Fatalf("message %d: %+v, %v", i, l, err)
		}
		got = append(got, l.Changes...)
	}
	if !cmp.Equal(want, got) {
		t.Error("other changes come out")
	}
}

// TestLiveOfAnOlderEdge: its messages stand alone, and are read.
func TestLiveOfAnOlderEdge(t *testing.T) {
	data, err := os.ReadFile("testdata/live-older.v1.json")
	if err != nil {
		t.Fatal(err)
	}
	l, err := wire.DecodeLive(data)
	if err != nil || l.Session != "" || len(l.Values) != 1 || l.Values[0].Value != "1.5" {
		t.Errorf("got %+v, %v", l, err)
	}
}

func TestInvalidLive(t *testing.T) {
	for name, text := range map[string]string{
		"empty":            "",
		"zstd of nothing":  "\x28\xb5\x2f\xfd",
		"unknown field":    `{"v":1,"site":"xinhua-1","at_ms":1,"values":[],"more":1}`,
		"beyond the end":   `{"v":1,"site":"x","at_ms":1,"session":"s","n":1,"picture":1,"first":5,"of":5,"values":[{"device":"a"}]}`,
		"before the start": `{"v":1,"site":"x","at_ms":1,"session":"s","n":1,"picture":1,"first":-1,"of":5}`,
		"too large":        `{"v":1,"site":"x","at_ms":1,"session":"s","n":1,"picture":1,"first":0,"of":10001}`,
		"no picture":       `{"v":1,"site":"x","at_ms":1,"session":"s","n":1}`,
		"later picture":    `{"v":1,"site":"x","at_ms":1,"session":"s","n":1,"picture":2}`,
	} {
		t.Run(name, func(t *testing.T) {
			if l, err := wire.DecodeLive([]byte(text)); err == nil {
				t.Errorf("%s: read as %+v", name, l)
			}
		})
	}
}
