package serial

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	bugst "go.bug.st/serial"
)

// A pty takes every mode without applying it, so the mapping itself is what can be tested.
func TestMode(t *testing.T) {
	tests := []struct {
		baud   int
		format string
		want   bugst.Mode
	}{
		{0, "", bugst.Mode{BaudRate: 9600, DataBits: 8, Parity: bugst.NoParity, StopBits: bugst.OneStopBit}},
		{600, "8N1", bugst.Mode{BaudRate: 600, DataBits: 8, Parity: bugst.NoParity, StopBits: bugst.OneStopBit}},
		{2400, "7E1", bugst.Mode{BaudRate: 2400, DataBits: 7, Parity: bugst.EvenParity, StopBits: bugst.OneStopBit}},
		{4800, "7E2", bugst.Mode{BaudRate: 4800, DataBits: 7, Parity: bugst.EvenParity, StopBits: bugst.TwoStopBits}},
		{4800, "7O1", bugst.Mode{BaudRate: 4800, DataBits: 7, Parity: bugst.OddParity, StopBits: bugst.OneStopBit}},
		{19200, "8E1", bugst.Mode{BaudRate: 19200, DataBits: 8, Parity: bugst.EvenParity, StopBits: bugst.OneStopBit}},
		{115200, "8N2", bugst.Mode{BaudRate: 115200, DataBits: 8, Parity: bugst.NoParity, StopBits: bugst.TwoStopBits}},
	}
	for _, test := range tests {
		got, err := Config{Port: "/dev/x", Baud: test.baud, Format: test.format}.mode()
		if err != nil {
			t.Errorf("%d %s: %v", test.baud, test.format, err)
			continue
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%d %s: -want +got\n%s", test.baud, test.format, diff)
		}
	}
}
